//! Throughput, latency and load of a pipeline that always has frames waiting.

use std::time::{Duration, Instant};

use pipeit_rt::pipeline::{CallError, InputFrame, OutputFrame, Pipeline, StageStats};
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::Ticks;
use pipeit_rt::platform::hosted::{Hosted, Machine};
use pipeit_rt::{Admission, Platform, Wait};

use crate::session::{SessionError, with_fed_pipeline};

/// What was measured, warm-up and end left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Frames finished.
    pub frames: usize,
    /// The time they took.
    pub seconds: f64,
    /// From before a frame is filled to its result, of each frame, sorted.
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
    /// The time, after a warm-up of a tenth of it in which every team has seen a frame; longer
    /// where it takes longer to finish six frames per team.
    pub time: Duration,
    /// Frames to send at least, those of the warm-up included.
    pub frames: usize,
}

/// How long the core that feeds a pipeline waits for a frame before it looks for results: other
/// cores do not wake it when they are through with one.
const PATIENCE: Duration = Duration::from_micros(20);

/// What every stage has done so far.
fn stats(pipeline: &Pipeline<'_, Hosted>) -> Vec<StageStats> {
    (0..).map_while(|stage| pipeline.stats(stage)).collect()
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

/// A measurement under way.
struct Measuring<F, T> {
    length: Length,
    fill: F,
    take: T,
    /// When each frame was begun to be filled.
    started: Vec<Instant>,
    taken: usize,
    window: Option<Window>,
}

impl<F, T> Measuring<F, T>
where
    F: FnMut(usize, &mut InputFrame<'_, '_, Hosted>),
    T: FnMut(usize, &OutputFrame<'_, '_, Hosted>),
{
    /// Takes all results there are, and sends as many frames as find room; says whether there is
    /// more to do.
    fn step(&mut self, pipeline: &Pipeline<'_, Hosted>) -> Result<bool, CallError> {
        // Asked once: beside frames of a few microseconds, looks at the clock count.
        let now = Instant::now();
        while self.taken < self.started.len() {
            match pipeline.poll(Wait::Never) {
                Ok(frame) => self.finish(now, pipeline, &frame),
                Err(CallError::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
        while !self.is_over(now, pipeline) {
            match pipeline.acquire(Admission::Block(Wait::Never)) {
                Ok(mut frame) => {
                    self.started.push(now);
                    (self.fill)(self.started.len() - 1, &mut frame);
                    frame.submit()?;
                }
                Err(CallError::TimedOut) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        // Once: reading what another core counts takes time from both.
        if let Some(window) = self.window.as_mut().filter(|window| window.after.is_empty()) {
            window.after = stats(pipeline);
        }
        Ok(self.taken < self.started.len())
    }

    /// Frames of the warm-up.
    fn warm_up(pipeline: &Pipeline<'_, Hosted>) -> usize {
        pipeline.plan().teams.len()
    }

    /// Whether enough frames have been sent.
    fn is_over(&self, now: Instant, pipeline: &Pipeline<'_, Hosted>) -> bool {
        let (sent, least) = (self.started.len(), 6 * Self::warm_up(pipeline));
        let is_long = |w: &Window| now - w.begun >= self.length.time && sent >= w.first + least;
        sent >= self.length.frames && self.window.as_ref().is_some_and(is_long)
    }

    fn finish(
        &mut self,
        now: Instant,
        pipeline: &Pipeline<'_, Hosted>,
        frame: &OutputFrame<'_, '_, Hosted>,
    ) {
        (self.take)(self.taken, frame);
        self.taken += 1;
        let time = self.length.time;
        let warm_up = Self::warm_up(pipeline);
        match &mut self.window {
            None if self.taken >= warm_up && now - self.started[0] >= time / 10 => {
                let (first, before) = (self.taken, stats(pipeline));
                let (after, finished) = (Vec::new(), Vec::new());
                self.window = Some(Window { first, begun: now, before, after, finished });
            }
            Some(w) if w.finished.len() < 6 * warm_up || now - w.begun <= time => {
                w.finished.push((now, now - self.started[self.taken - 1]));
            }
            _ => {}
        }
    }
}

/// Sends frames through a pipeline of `plan` for as long as `length` says. `fill` writes the
/// inputs of frame 0, 1, …; `take` receives the results in the same order, those outside the
/// measurement too. Both are called by a core between its frames.
///
/// # Errors
///
/// The pipeline does not start; inside, what made it fail.
pub fn measure(
    plan: &Plan<'_>,
    machine: &Machine,
    length: Length,
    fill: impl FnMut(usize, &mut InputFrame<'_, '_, Hosted>) + Send,
    take: impl FnMut(usize, &OutputFrame<'_, '_, Hosted>) + Send,
) -> Result<Result<Measurement, CallError>, SessionError> {
    let (started, window) = (Vec::new(), None);
    let mut measuring = Measuring { length, fill, take, started, taken: 0, window };
    let mut result = Ok(());
    let run = with_fed_pipeline::<Hosted>(plan, machine, |pipeline| {
        let step = measuring.step(pipeline);
        let more = step.unwrap_or(false);
        result = step.map(|_| ());
        more.then(|| Hosted::now().after(Ticks(PATIENCE.as_nanos() as u64)))
    })?;
    if let Err(error) = run.map_err(CallError::Failed).and(result) {
        return Ok(Err(error));
    }
    let stages = (0..).map(|stage| plan.teams_of(stage).len());
    let side_by_side = stages.take_while(|&teams| teams > 0).max().unwrap_or(1);
    Ok(Ok(measuring.window.map_or_else(
        || Measurement { frames: 0, seconds: 0.0, latencies: Vec::new(), stages: Vec::new() },
        |window| window.finish(side_by_side),
    )))
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
