//! Drawings for the report, as SVG whose colors the page decides: by classes, light or dark.

use std::fmt::Write;
use std::ops::Range;

/// A drawing under way. Lengths are pixels; y grows downwards.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Number of colors that the page has classes for.
const COLORS: usize = 8;

/// The class of the color of a stage.
#[must_use]
pub fn color(stage: usize) -> String {
    format!("c{}", stage % COLORS)
}

/// Text as it stands in a page.
#[must_use]
pub fn escape(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

impl Svg {
    /// An empty drawing.
    #[must_use]
    pub const fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A rectangle that tells `title` when pointed at.
    pub fn rect(&mut self, x: Range<f64>, y: Range<f64>, class: &str, title: &str) {
        let (width, height) = ((x.end - x.start).max(0.0), (y.end - y.start).max(0.0));
        // Writing to a string cannot fail.
        let _ = write!(
            self.body,
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             class=\"{class}\"><title>{}</title></rect>",
            x.start,
            y.start,
            escape(title),
        );
    }

    /// A straight line.
    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], class: &str) {
        let ([x1, y1], [x2, y2]) = (from, to);
        let _ = write!(
            self.body,
            "<line x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\" class=\"{class}\"/>"
        );
    }

    /// An arc below the line between two points of equal height.
    pub fn arc(&mut self, x: Range<f64>, y: f64, depth: f64, class: &str) {
        let (from, to, bottom) = (x.start, x.end, y + depth);
        let _ = write!(
            self.body,
            "<path d=\"M{from:.2} {y:.2}C{from:.2} {bottom:.2} {to:.2} {bottom:.2} {to:.2} {y:.2}\" \
             class=\"{class}\"/>"
        );
    }

    /// A dot that tells `title` when pointed at.
    pub fn dot(&mut self, at: [f64; 2], radius: f64, class: &str, title: &str) {
        let [x, y] = at;
        let title = escape(title);
        let _ = write!(
            self.body,
            "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\" class=\"{class}\">\
             <title>{title}</title></circle>"
        );
    }

    /// Text that starts, is centered, or ends at `x`, as `anchor` says.
    pub fn text(&mut self, at: [f64; 2], anchor: &str, text: &str) {
        let ([x, y], text) = (at, escape(text));
        let _ = write!(
            self.body,
            "<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    /// The drawing, described as `label` to those who do not see it.
    #[must_use]
    pub fn finish(self, label: &str) -> String {
        let Self { width, height, body } = self;
        let label = escape(label);
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\" \
             aria-label=\"{label}\">{body}</svg>\n"
        )
    }
}

/// Maps values from 0 to the largest to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    largest: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// 0 at `start`, `largest` at `end`.
    #[must_use]
    pub const fn new(largest: f64, start: f64, end: f64) -> Self {
        Self { largest, start, end }
    }

    /// Where a value is.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        self.start + (self.end - self.start) * value / self.largest.max(f64::MIN_POSITIVE)
    }

    /// Some four or five round values along it.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        let rough = self.largest.max(f64::MIN_POSITIVE) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        (0..=10).map(|index| step * f64::from(index)).take_while(|v| *v <= self.largest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::new(100.0, 0.0, 1.0).ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::new(7.0, 0.0, 1.0).ticks(), [0.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn what_pages_would_take_for_tags_is_escaped() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text([0.0, 0.0], "start", "a<b & \"c\"");
        assert!(svg.finish("x>y").contains("a&lt;b &amp; &quot;c&quot;"));
    }
}
