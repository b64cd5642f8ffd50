//! Throughput, latency and load of a pipeline that always has frames waiting.

use std::time::{Duration, Instant};

use pipeit_rt::pipeline::{CallError, InputFrame, OutputFrame, Pipeline, StageStats};
use pipeit_rt::platform::hosted::Hosted;

use crate::session::stream;

/// What was measured, warm-up and end left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Frames finished.
    pub frames: usize,
    /// The time they took.
    pub seconds: f64,
    /// From submission to result, of each frame, sorted.
    pub latencies: Vec<Duration>,
    /// Per stage.
    pub stages: Vec<Load>,
}

/// What the teams of a stage did with their time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Part of the time spent on frames, 0 to 1.
    pub busy: f64,
    /// Part of the time spent waiting for frames, 0 to 1.
    pub starved: f64,
}

impl Measurement {
    /// Frames per second.
    #[must_use]
    pub fn frames_per_second(&self) -> f64 {
        if self.frames == 0 { 0.0 } else { self.frames as f64 / self.seconds }
    }

    /// The latency that `part` (0 to 1) of the frames do not exceed, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, part: f64) -> f64 {
        let index = (self.latencies.len() as f64 * part).ceil() as usize;
        let latency = self.latencies.get(index.saturating_sub(1));
        latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    /// Mean load of the stages over that of the busiest: 1 when all are equally busy.
    #[must_use]
    pub fn balance(&self) -> f64 {
        balance(self.stages.iter().map(|load| load.busy))
    }
}

/// Mean over maximum.
pub fn balance(loads: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = loads.len() as f64;
    let most = loads.clone().fold(0.0, f64::max);
    if most > 0.0 { loads.sum::<f64>() / (count * most) } else { 1.0 }
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Seconds, after a warm-up of a tenth of it in which every team has seen a frame; longer
    /// where it takes longer to finish six frames per team.
    pub seconds: f64,
    /// Frames to send at least, those of the warm-up included.
    pub frames: usize,
}

/// The frames counted.
struct Window {
    /// The first frame.
    first: usize,
    begun: Instant,
    before: Vec<StageStats>,
    after: Vec<StageStats>,
    /// When each frame was finished, and its latency.
    finished: Vec<(Instant, Duration)>,
}

/// Sends frames for as long as `length` says. `fill` writes the inputs of frame 0, 1, …;
/// `take` receives the results in the same order, those outside the measurement too.
///
/// # Errors
///
/// What made the pipeline fail.
pub fn measure<'a>(
    pipeline: &Pipeline<'a, Hosted>,
    length: Length,
    mut fill: impl FnMut(usize, &mut InputFrame<'_, 'a, Hosted>),
    mut take: impl FnMut(usize, &OutputFrame<'_, 'a, Hosted>),
) -> Result<Measurement, CallError> {
    let time = Duration::from_secs_f64(length.seconds);
    let warm_up = pipeline.plan().teams.len();
    let least = 6 * warm_up;
    let stats = || -> Vec<_> { (0..).map_while(|stage| pipeline.stats(stage)).collect() };
    let started = std::cell::RefCell::new(Vec::new());
    let window = std::cell::RefCell::new(None::<Window>);
    let is_over = |sent: usize| {
        let window = window.borrow();
        window.as_ref().is_some_and(|w| w.begun.elapsed() >= time && sent >= w.first + least)
    };
    let mut taken = 0;
    stream(
        pipeline,
        |frame| {
            let index = started.borrow().len();
            if index >= length.frames && is_over(index) {
                return false;
            }
            fill(index, frame);
            started.borrow_mut().push(Instant::now());
            true
        },
        |frame| {
            let now = Instant::now();
            take(taken, frame);
            taken += 1;
            let mut window = window.borrow_mut();
            match window.as_mut() {
                None if taken >= warm_up && now - started.borrow()[0] >= time / 10 => {
                    let before = stats();
                    let (after, finished) = (before.clone(), Vec::new());
                    *window = Some(Window { first: taken, begun: now, before, after, finished });
                }
                Some(w) if w.finished.len() < least || now - w.begun <= time => {
                    w.finished.push((now, now - started.borrow()[taken - 1]));
                    w.after = stats();
                }
                _ => {}
            }
        },
    )?;
    let side_by_side = (0..).map_while(|stage| match pipeline.plan().teams_of(stage).len() {
        0 => None,
        teams => Some(teams),
    });
    let side_by_side = side_by_side.max().unwrap_or(1);
    Ok(window.into_inner().map_or_else(
        || Measurement { frames: 0, seconds: 0.0, latencies: Vec::new(), stages: Vec::new() },
        |window| window.finish(side_by_side),
    ))
}

impl Window {
    /// Teams of one stage finish `side_by_side` frames at about the same time, so that only a
    /// multiple of that many takes a time that says anything about the next.
    fn finish(self, side_by_side: usize) -> Measurement {
        let frames = self.finished.len() - self.finished.len() % side_by_side;
        let counted = self.finished.get(..frames).unwrap_or(&[]);
        let ended = counted.last().map_or(self.begun, |&(finished, _)| finished);
        let mut latencies: Vec<_> = counted.iter().map(|&(_, latency)| latency).collect();
        latencies.sort_unstable();
        let load = |(before, after): (&StageStats, &StageStats)| {
            let busy = after.busy.since(before.busy).0 as f64;
            let starved = after.starved.since(before.starved).0 as f64;
            let all = (busy + starved).max(1.0);
            Load { busy: busy / all, starved: starved / all }
        };
        Measurement {
            frames,
            seconds: (ended - self.begun).as_secs_f64(),
            stages: self.before.iter().zip(&self.after).map(load).collect(),
            latencies,
        }
    }
}
