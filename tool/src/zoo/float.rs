//! The operators in single precision, on several frames at once.
//!
//! Plain additions and multiplications in a fixed order, which every machine rounds alike.

use std::ops::Range;

use super::network::Window;

/// A value of all frames.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// Rows, columns, channels.
    pub(super) hwc: [usize; 3],
    /// Frame by frame, then as `hwc`.
    pub(super) data: Vec<f32>,
}

/// Pixels whose sums a convolution keeps in registers.
const PIXELS: usize = 4;
/// Channels of them.
const CHANNELS: usize = 8;
/// Blocks of pixels for which a panel of weights is unpacked once.
const BLOCKS: usize = 32;

impl Batch {
    pub(super) fn elements(&self) -> usize {
        self.hwc.iter().product()
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.elements())
    }

    /// One vector of channels after another.
    fn pixels(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.hwc[2])
    }

    /// Least and largest element.
    pub(super) fn range(&self) -> [f32; 2] {
        let ends = [f32::INFINITY, f32::NEG_INFINITY];
        self.data.iter().fold(ends, |[low, high], &x| [low.min(x), high.max(x)])
    }

    /// Mean and variance of each channel.
    pub(super) fn moments(&self) -> Vec<[f64; 2]> {
        let count = (self.data.len() / self.hwc[2]) as f64;
        let mut moments = vec![[0.0; 2]; self.hwc[2]];
        for pixel in self.pixels() {
            for ([mean, _], &x) in moments.iter_mut().zip(pixel) {
                *mean += f64::from(x) / count;
            }
        }
        for pixel in self.pixels() {
            for ([mean, variance], &x) in moments.iter_mut().zip(pixel) {
                let deviation = f64::from(x) - *mean;
                *variance += deviation * deviation / count;
            }
        }
        moments
    }

    /// `change` applied to each element; it also gets the number of the channel.
    pub(super) fn map(&mut self, change: impl Fn(usize, f32) -> f32) {
        for pixel in self.data.chunks_exact_mut(self.hwc[2]) {
            for (channel, x) in pixel.iter_mut().enumerate() {
                *x = change(channel, *x);
            }
        }
    }

    /// The same elements in another shape.
    pub(super) fn shaped(&self, hwc: [usize; 3]) -> Self {
        Self { hwc, data: self.data.clone() }
    }

    /// Convolution with filters `[channels, taps, taps, c / groups]`.
    pub(super) fn conv(&self, window: Window, groups: usize, filters: &[i8]) -> Self {
        let [h, w, c] = self.hwc;
        let filter = window.area() * c / groups;
        let channels = filters.len() / filter;
        let hwc = window.slide([h, w, channels]);
        let frames = self.data.len() / self.elements();
        let mut sums = Self { hwc, data: vec![0.0; frames * hwc.iter().product::<usize>()] };
        let (deep, wide) = (c / groups, channels / groups);
        for (group, filters) in filters.chunks_exact(wide * filter).enumerate() {
            self.conv_group(
                window,
                group * deep..(group + 1) * deep,
                filters,
                group * wide,
                &mut sums,
            );
        }
        sums
    }

    /// Convolution of the channels `taken` to those of `sums` from `first` on: the product of
    /// a matrix of pixels and what the window sees there, and a matrix of filters.
    fn conv_group(
        &self,
        window: Window,
        taken: Range<usize>,
        filters: &[i8],
        first: usize,
        sums: &mut Self,
    ) {
        let depth = window.area() * taken.len();
        let channels = sums.hwc[2];
        let pixels = sums.data.len() / channels;
        let mut blocks = vec![[0.0; PIXELS]; BLOCKS * depth];
        let mut panel = vec![[0.0; CHANNELS]; depth];
        for start in (0..pixels).step_by(BLOCKS * PIXELS) {
            let chunk = start..pixels.min(start + BLOCKS * PIXELS);
            self.gather(window, sums.hwc, chunk.clone(), taken.clone(), &mut blocks);
            for (channel, filters) in
                (first..).step_by(CHANNELS).zip(filters.chunks(CHANNELS * depth))
            {
                unpack(filters, &mut panel);
                let lanes = filters.len() / depth;
                for (start, block) in chunk.clone().step_by(PIXELS).zip(blocks.chunks_exact(depth))
                {
                    for (pixel, found) in (start..chunk.end).zip(multiply(block, &panel)) {
                        let at = pixel * channels + channel;
                        sums.data[at..at + lanes].copy_from_slice(&found[..lanes]);
                    }
                }
            }
        }
    }

    /// What the window sees at each of `pixels` of an output of `hwc`, in the channels
    /// `taken`: `PIXELS` of them at a time, beside each other.
    fn gather(
        &self,
        window: Window,
        [oh, ow, _]: [usize; 3],
        pixels: Range<usize>,
        taken: Range<usize>,
        blocks: &mut [[f32; PIXELS]],
    ) {
        let [h, w, c] = self.hwc;
        let [down, across] = window.taps;
        let depth = window.area() * taken.len();
        let before = [window.before(0, h), window.before(1, w)];
        for (index, pixel) in pixels.enumerate() {
            let (frame, y, x) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
            let (block, lane) = (index / PIXELS, index % PIXELS);
            let mut to = blocks[block * depth..(block + 1) * depth].iter_mut();
            for tap in 0..down * across {
                // Rows and columns above or left of the image wrap around to beyond it.
                let y = (y * window.stride[0] + tap / across).wrapping_sub(before[0]);
                let x = (x * window.stride[1] + tap % across).wrapping_sub(before[1]);
                let to = to.by_ref().take(taken.len());
                if y < h && x < w {
                    let from = ((frame * h + y) * w + x) * c;
                    let from = &self.data[from + taken.start..from + taken.end];
                    to.zip(from).for_each(|(to, &from)| to[lane] = from);
                } else {
                    to.for_each(|to| to[lane] = 0.0);
                }
            }
        }
    }

    /// For each pixel of the output, a fold over the pixels the window sees inside the image;
    /// `step` also gets the number of the tap, and `finish` how many there were.
    fn slide(
        &self,
        window: Window,
        start: f32,
        step: impl Fn(usize, &mut [f32], &[f32]),
        finish: impl Fn(&mut [f32], usize),
    ) -> Self {
        let [h, w, c] = self.hwc;
        let hwc = window.slide(self.hwc);
        let before = [window.before(0, h), window.before(1, w)];
        let across = window.taps[1];
        let mut data = Vec::new();
        for frame in self.frames() {
            for pixel in 0..hwc[0] * hwc[1] {
                let (y, x) = (pixel / hwc[1], pixel % hwc[1]);
                let at = data.len();
                data.resize(at + c, start);
                let mut seen = 0;
                for tap in 0..window.area() {
                    let y = (y * window.stride[0] + tap / across).wrapping_sub(before[0]);
                    let x = (x * window.stride[1] + tap % across).wrapping_sub(before[1]);
                    if y < h && x < w {
                        let from = (y * w + x) * c;
                        step(tap, &mut data[at..], &frame[from..from + c]);
                        seen += 1;
                    }
                }
                finish(&mut data[at..], seen);
            }
        }
        Self { hwc, data }
    }

    /// Depthwise convolution with filters `[taps, taps, c]`.
    pub(super) fn depthwise(&self, window: Window, filters: &[i8]) -> Self {
        let filters: Vec<f32> = filters.iter().map(|&code| code.into()).collect();
        let filters: Vec<_> = filters.chunks_exact(self.hwc[2]).collect();
        let step = |tap: usize, sums: &mut [f32], pixel: &[f32]| {
            for ((sum, x), weight) in sums.iter_mut().zip(pixel).zip(filters[tap]) {
                *sum += x * weight;
            }
        };
        self.slide(window, 0.0, step, |_, _| {})
    }

    pub(super) fn max_pool(&self, window: Window) -> Self {
        let step = |_, most: &mut [f32], pixel: &[f32]| {
            most.iter_mut().zip(pixel).for_each(|(most, &x)| *most = most.max(x));
        };
        self.slide(window, f32::NEG_INFINITY, step, |_, _| {})
    }

    pub(super) fn average_pool(&self, window: Window) -> Self {
        let step = |_, sums: &mut [f32], pixel: &[f32]| {
            sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
        };
        let finish = |sums: &mut [f32], seen| sums.iter_mut().for_each(|sum| *sum /= seen as f32);
        self.slide(window, 0.0, step, finish)
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let sums = self.data.iter().zip(&other.data).map(|(a, b)| a + b);
        Self { hwc: self.hwc, data: sums.collect() }
    }

    /// One after another along the channels.
    pub(super) fn concat(parts: &[&Self]) -> Self {
        let [h, w, _] = parts[0].hwc;
        let hwc = [h, w, parts.iter().map(|part| part.hwc[2]).sum()];
        let mut pixels: Vec<_> = parts.iter().map(|part| part.pixels()).collect();
        let mut data = Vec::new();
        while let Some(pixel) = pixels.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
            pixel.into_iter().for_each(|part| data.extend_from_slice(part));
        }
        Self { hwc, data }
    }

    /// With `by` rows and columns of zeros on each side.
    pub(super) fn pad(&self, by: usize) -> Self {
        let [h, w, c] = self.hwc;
        let hwc = [h + 2 * by, w + 2 * by, c];
        let mut data = Vec::new();
        for frame in self.frames() {
            data.resize(data.len() + by * hwc[1] * c, 0.0);
            for row in frame.chunks_exact(w * c) {
                data.resize(data.len() + by * c, 0.0);
                data.extend_from_slice(row);
                data.resize(data.len() + by * c, 0.0);
            }
            data.resize(data.len() + by * hwc[1] * c, 0.0);
        }
        Self { hwc, data }
    }
}

/// The weights of up to `CHANNELS` filters, beside each other.
fn unpack(filters: &[i8], panel: &mut [[f32; CHANNELS]]) {
    for (lane, filter) in filters.chunks_exact(panel.len()).enumerate() {
        for (to, &code) in panel.iter_mut().zip(filter) {
            to[lane] = code.into();
        }
    }
}

/// Every pixel with every filter.
fn multiply(block: &[[f32; PIXELS]], panel: &[[f32; CHANNELS]]) -> [[f32; CHANNELS]; PIXELS] {
    let mut sums = [[0.0; CHANNELS]; PIXELS];
    for (pixels, weights) in block.iter().zip(panel) {
        for (sums, x) in sums.iter_mut().zip(pixels) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::network::{Padding, window};
    use super::*;
    use crate::noise::Noise;

    /// Two frames of small integers, with which sums are exact in any order.
    fn batch(hwc: [usize; 3], noise: &mut Noise) -> Batch {
        let count = 2 * hwc.iter().product::<usize>();
        let data = noise.codes(count).into_iter().map(|code| f32::from(code / 16)).collect();
        Batch { hwc, data }
    }

    /// The element at `y`, `x` of `frame`, which may lie outside.
    fn element(batch: &Batch, frame: usize, [y, x]: [isize; 2], channel: usize) -> Option<f32> {
        let [h, w, c] = batch.hwc;
        let inside = |at: isize, extent| usize::try_from(at).ok().filter(|&at| at < extent);
        let (y, x) = inside(y, h).zip(inside(x, w))?;
        Some(batch.data[((frame * h + y) * w + x) * c + channel])
    }

    /// By the definition, one output after another.
    fn slow_conv(from: &Batch, window: Window, groups: usize, filters: &[i8]) -> Vec<f32> {
        let depth = from.hwc[2] / groups;
        let filter = window.area() * depth;
        let channels = filters.len() / filter;
        let [h, w, _] = window.slide(from.hwc);
        let before = [window.before(0, from.hwc[0]), window.before(1, from.hwc[1])];
        let sum = |output: usize| {
            let (pixel, channel) = (output / channels, output % channels);
            let (frame, y, x) = (pixel / (h * w), pixel / w % h, pixel % w);
            let group = channel / (channels / groups);
            let term = |at: usize| {
                let (tap, deep) = (at / depth, at % depth);
                let y = y * window.stride[0] + tap / window.taps[1];
                let x = x * window.stride[1] + tap % window.taps[1];
                let place = [y as isize - before[0] as isize, x as isize - before[1] as isize];
                let x = element(from, frame, place, group * depth + deep).unwrap_or(0.0);
                x * f32::from(filters[channel * filter + at])
            };
            (0..filter).map(term).sum()
        };
        (0..2 * h * w * channels).map(sum).collect()
    }

    #[test]
    fn convolutions_are_what_their_definition_says() {
        let mut noise = Noise::new(0);
        let cases = [
            ([5, 7, 3], 1, 9, window([3, 3])),
            ([9, 9, 4], 2, 6, window([5, 3]).stride(2)),
            ([12, 11, 1], 1, 8, window([4, 2]).stride(3).valid()),
            ([1, 1, 20], 1, 17, window([1, 1])),
            ([17, 13, 6], 3, 27, window([1, 1])),
        ];
        for (hwc, groups, channels, window) in cases {
            let from = batch(hwc, &mut noise);
            let filters = noise.codes(channels * window.area() * hwc[2] / groups);
            let found = from.conv(window, groups, &filters);
            assert_eq!(found.hwc, window.slide([hwc[0], hwc[1], channels]));
            assert_eq!(found.data, slow_conv(&from, window, groups, &filters), "{hwc:?}");
        }
    }

    #[test]
    fn a_depthwise_convolution_has_a_group_per_channel() {
        let mut noise = Noise::new(1);
        let from = batch([6, 5, 7], &mut noise);
        let window = window([3, 3]).stride(2);
        let filters = noise.codes(9 * 7);
        let transposed: Vec<_> =
            (0..7 * 9).map(|index| filters[index % 9 * 7 + index / 9]).collect();
        let found = from.depthwise(window, &filters);
        assert_eq!(found.data, from.conv(window, 7, &transposed).data);
    }

    #[test]
    fn pools_see_only_what_is_inside() {
        let image = Batch { hwc: [2, 3, 1], data: (1..=6).map(|x| x as f32).collect() };
        let window = Window { padding: Padding::Same, ..window([2, 2]) };
        assert_eq!(image.max_pool(window).data, [5.0, 6.0, 6.0, 5.0, 6.0, 6.0]);
        assert_eq!(image.average_pool(window).data, [3.0, 4.0, 4.5, 4.5, 5.5, 6.0]);
    }

    #[test]
    fn values_are_joined_and_framed_frame_by_frame() {
        let ones = Batch { hwc: [1, 2, 1], data: vec![1.0, 2.0, 3.0, 4.0] };
        let twos = Batch { hwc: [1, 2, 2], data: (5..13).map(|x| x as f32).collect() };
        let joined = Batch::concat(&[&ones, &twos]);
        assert_eq!(joined.hwc, [1, 2, 3]);
        let elements = [1, 5, 6, 2, 7, 8, 3, 9, 10, 4, 11, 12].map(|x| x as f32);
        assert_eq!(joined.data, elements);
        let padded = ones.pad(1);
        assert_eq!(padded.hwc, [3, 4, 1]);
        let rows: Vec<_> = padded.data.chunks(4).collect();
        let empty = [0.0; 4];
        let (first, second) = ([0.0, 1.0, 2.0, 0.0], [0.0, 3.0, 4.0, 0.0]);
        assert_eq!(rows, [empty, first, empty, empty, second, empty]);
    }

    #[test]
    fn moments_are_those_of_each_channel() {
        let batch = Batch { hwc: [1, 2, 2], data: vec![1.0, 5.0, 3.0, 5.0, 1.0, 5.0, 3.0, 5.0] };
        assert_eq!(batch.moments(), [[2.0, 1.0], [5.0, 0.0]]);
        assert_eq!(batch.range(), [1.0, 5.0]);
    }
}
