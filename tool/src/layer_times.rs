//! How long each layer takes, measured where it runs: on the cores of a pipeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipeit_rt::model::MAX_LAYERS;
use pipeit_rt::pipeline::{CallError, Pipeline};
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::{Hosted, Machine, ParkingEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::{Admission, Wait, kernels};

use crate::artefact;
use crate::load::from_bytes;
use crate::noise::Noise;
use crate::partition::Partition;
use crate::planning::{Planner, PlanningError};
use crate::session::{fill, with_fed_pipeline};
use crate::{commands::CommandError, zoo};

/// [`Hosted`], with a record of when each core last began and ended each layer.
#[derive(Debug)]
struct Recording;

/// When a core last began and ended a layer.
#[derive(Debug, Default)]
struct Record {
    started: AtomicU64,
    ended: AtomicU64,
}

/// Records of one core, by layer: its own, so that no core waits for another's to write there.
type Records = Arc<[Record]>;

/// Those of all cores of the pipeline at work.
static CORES: Mutex<Vec<Records>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Records = {
        let records: Records = (0..MAX_LAYERS).map(|_| Record::default()).collect();
        CORES.lock().unwrap_or_else(PoisonError::into_inner).push(records.clone());
        records
    };
}

impl Platform for Recording {
    type Relax = Yield;
    type Event = ParkingEvent;
    const INTERLEAVES: bool = false;

    fn now() -> Ticks {
        Hosted::now()
    }

    fn tick_hz() -> u64 {
        Hosted::tick_hz()
    }

    fn after_layer(layer: u16, started: Ticks) {
        Hosted::after_layer(layer, started);
        OWN.with(|records| {
            if let Some(record) = records.get(usize::from(layer)) {
                record.started.store(started.0, Ordering::Relaxed);
                record.ended.store(Hosted::now().0, Ordering::Relaxed);
            }
        });
    }
}

/// When the first core began `layer` and the last ended it, of those that did since `begun`.
fn last_run(cores: &[Records], layer: u16, begun: Ticks) -> [u64; 2] {
    let records = cores.iter().filter_map(|records| records.get(usize::from(layer)));
    let times = records.map(|record| {
        [record.started.load(Ordering::Relaxed), record.ended.load(Ordering::Relaxed)]
    });
    let of_this_frame = times.filter(|&[started, _]| started >= begun.0);
    of_this_frame.fold([u64::MAX, 0], |[begun, done], [started, ended]| {
        [begun.min(started), done.max(ended)]
    })
}

/// Frames that are timed at least, after one that is not.
const LEAST_FRAMES: usize = 5;

/// How long the core that feeds a pipeline waits for a frame before it looks for its result.
const PATIENCE: Ticks = Ticks(20_000);

/// Sends one frame at a time through a pipeline of `plan` for `length`, so that no other work
/// disturbs it; `done` is called after each, with the time it was begun. A core of the pipeline
/// sends them: none sleeps in between, unless `done` takes long.
fn one_by_one<P: Platform>(
    plan: &Plan<'_>,
    machine: &Machine,
    frames: &[Vec<Vec<i8>>],
    length: Duration,
    mut done: impl FnMut(&Pipeline<'_, P>, Ticks) + Send,
) -> Result<(), CommandError> {
    let started = Instant::now();
    let mut inputs = frames.iter().cycle();
    let (mut count, mut begun) = (0, None);
    let mut result = Ok(());
    let mut step = |pipeline: &Pipeline<'_, P>| -> Result<bool, CallError> {
        if let Some(begun) = begun {
            match pipeline.poll(Wait::Never) {
                Ok(_) => {}
                Err(CallError::TimedOut) => return Ok(true),
                Err(error) => return Err(error),
            }
            done(pipeline, begun);
        }
        if count > LEAST_FRAMES && started.elapsed() > length {
            return Ok(false);
        }
        let mut frame = pipeline.acquire(Admission::Block(Wait::Forever))?;
        if let Some(inputs) = inputs.next() {
            fill(&mut frame, inputs);
        }
        (count, begun) = (count + 1, Some(P::now()));
        frame.submit()?;
        Ok(true)
    };
    with_fed_pipeline::<P>(plan, machine, |pipeline| match step(pipeline) {
        Ok(more) => more.then(|| P::now().after(PATIENCE)),
        Err(error) => {
            result = Err(error);
            None
        }
    })?
    .map_err(CallError::Failed)?;
    result?;
    Ok(())
}

/// Nanoseconds of each layer in each of several frames, sorted, for `length`: from when the first
/// member of the team begins it until the first begins the next of the stage, so that the way from
/// one to the other is in them.
///
/// # Errors
///
/// The pipeline does not start, or fails.
pub fn layer_times(
    plan: &Plan<'_>,
    machine: &Machine,
    frames: &[Vec<Vec<i8>>],
    length: Duration,
) -> Result<Vec<Vec<u64>>, CommandError> {
    let layers = plan.stages.last().map_or(0, |stage| usize::from(stage.layers.end));
    let mut times = vec![Vec::new(); layers];
    let cores = || CORES.lock().unwrap_or_else(PoisonError::into_inner);
    cores().clear();
    one_by_one::<Recording>(plan, machine, frames, length, |_, begun| {
        let cores = cores();
        for stage in plan.stages {
            let mut next = None;
            for layer in stage.layers.clone().rev() {
                let [started, ended] = last_run(&cores, layer, begun);
                if let Some(times) = times.get_mut(usize::from(layer)) {
                    times.push(next.unwrap_or(ended).saturating_sub(started));
                }
                next = Some(started);
            }
        }
    })?;
    Ok(times.into_iter().map(without_first).collect())
}

/// What frames take, in nanoseconds, sorted.
#[derive(Debug)]
pub struct FrameTimes {
    /// All teams together, at work.
    pub busy: Vec<u64>,
    /// From the beginning of one frame to that of the next, but for that.
    pub between: Vec<u64>,
}

/// Times of several frames, for `length`. Before each, the core that sends it reads `evict` bytes,
/// which leaves nothing else in caches of that size.
///
/// # Errors
///
/// The pipeline does not start, or fails.
pub fn frame_times(
    plan: &Plan<'_>,
    machine: &Machine,
    frames: &[Vec<Vec<i8>>],
    length: Duration,
    evict: usize,
) -> Result<FrameTimes, CommandError> {
    let (mut before, mut last) = (0, None);
    let others = vec![1u8; evict];
    let (mut times, mut between) = (Vec::new(), Vec::new());
    one_by_one::<Hosted>(plan, machine, frames, length, |pipeline, begun| {
        let stages = (0..).map_while(|stage| pipeline.stats(stage));
        let busy = stages.map(|stats| stats.busy.0).sum();
        times.push(busy - before);
        if let Some((last, busy)) = last.replace((begun, busy - before)) {
            between.push(begun.since(last).0.saturating_sub(busy));
        }
        before = busy;
        std::hint::black_box(others.iter().step_by(64).fold(0, |sum, &byte| sum ^ byte));
    })?;
    Ok(FrameTimes { busy: without_first(times), between: without_first(between) })
}

/// Sorted, without the first frame's, which found nothing in the caches.
fn without_first(times: Vec<u64>) -> Vec<u64> {
    let mut times: Vec<_> = times.into_iter().skip(1).collect();
    times.sort_unstable();
    times
}

/// How long the best multiplying is measured.
const PROBE: Duration = Duration::from_millis(200);

/// Multiply-accumulates per nanosecond of one core of `machine` at its busiest, with the kernels
/// of `path`.
///
/// # Errors
///
/// The pipeline does not start, or fails.
pub fn peak(machine: &Machine, path: kernels::Path) -> Result<f64, CommandError> {
    let loaded = from_bytes(&zoo::busy_convolution(), Some("tflite"), &[path.into()])?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let model = artefact::open(&loaded.bytes, &mut tables)?.model;
    let planner = Planner::new(model, path);
    let plan =
        planner.plan(&Partition::one_core(), machine, Some(1)).map_err(PlanningError::from)?;
    let plan = plan.check(model).map_err(PlanningError::from)?;
    let times = layer_times(&plan, machine, &[Noise::new(0).frame(model)], PROBE)?;
    let macs: u64 = (0..times.len() as u16).map(|layer| model.macs(layer)).sum();
    let least: u64 = times.iter().filter_map(|times| times.first()).sum();
    Ok(macs as f64 / (least as f64).max(1.0))
}
