//! How long each layer takes, measured where it runs: on the cores of a pipeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pipeit_rt::model::MAX_LAYERS;
use pipeit_rt::pipeline::CallError;
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::{Hosted, Machine, ParkingEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::{Admission, Wait, kernels};

use crate::artefact;
use crate::load::from_bytes;
use crate::noise::Noise;
use crate::partition::Partition;
use crate::planning::{Planner, PlanningError};
use crate::session::{fill, with_pipeline};
use crate::{commands::CommandError, zoo};

/// [`Hosted`], with a record of the time each layer took last.
#[derive(Debug)]
struct Recording;

/// Per layer, the longest time of a team's members since it was last taken, in nanoseconds.
static TIMES: [AtomicU64; MAX_LAYERS] = [const { AtomicU64::new(0) }; MAX_LAYERS];

impl Platform for Recording {
    type Relax = Yield;
    type Event = ParkingEvent;

    fn now() -> Ticks {
        Hosted::now()
    }

    fn tick_hz() -> u64 {
        Hosted::tick_hz()
    }

    fn after_layer(layer: u16, started: Ticks) {
        Hosted::after_layer(layer, started);
        if let Some(time) = TIMES.get(usize::from(layer)) {
            time.fetch_max(Hosted::now().since(started).0, Ordering::Relaxed);
        }
    }
}

/// Frames that are timed at least, after one that is not.
const LEAST_FRAMES: usize = 5;

/// Nanoseconds of each layer in each of several frames, for `length`: one frame at a time goes
/// through the pipeline of `plan`, so that no other work disturbs it.
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
    with_pipeline::<Recording, _>(plan, machine, |pipeline| {
        let begun = Instant::now();
        for (number, inputs) in frames.iter().cycle().enumerate() {
            if number > LEAST_FRAMES && begun.elapsed() > length {
                break;
            }
            let mut frame = pipeline.acquire(Admission::Block(Wait::Forever))?;
            fill(&mut frame, inputs);
            frame.submit()?;
            pipeline.poll(Wait::Forever)?;
            for (time, times) in TIMES.iter().zip(&mut times) {
                let time = time.swap(0, Ordering::Relaxed);
                if number > 0 {
                    times.push(time);
                }
            }
        }
        Ok::<_, CallError>(())
    })??;
    times.iter_mut().for_each(|times| times.sort_unstable());
    Ok(times)
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
