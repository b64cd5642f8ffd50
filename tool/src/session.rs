//! A pipeline on the threads of this machine, for as long as a closure runs.

use std::collections::TryReserveError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pipeit_rt::kernels::{self, KernelTable};
use pipeit_rt::live::{Slowness, Watch};
use pipeit_rt::pipeline::{CallError, InputFrame, OutputFrame, Pipeline, PipelineError, RunError};
use pipeit_rt::plan::{Demand, Plan};
use pipeit_rt::platform::Ticks;
use pipeit_rt::platform::hosted::{Machine, prefer_large_pages};
use pipeit_rt::region::Region;
use pipeit_rt::topology::{CoreId, TooManyCores};
use pipeit_rt::{Admission, Platform, Wait};

/// The kernel tables of this program, the fastest first.
pub const KERNELS: &[&KernelTable] = kernels::ALL;

/// How long a look at the speed of clusters lasts.
const WINDOW: Duration = Duration::from_millis(100);

/// Why a session could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The machine is larger than the runtime allows for.
    #[error(transparent)]
    Machine(#[from] TooManyCores),
    /// The system does not have the memory.
    #[error("the pipeline takes {bytes} bytes of memory")]
    Memory {
        /// Bytes wanted.
        bytes: usize,
        /// Why they are not to be had.
        source: TryReserveError,
    },
    /// The pipeline could not be made.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// Sets up `plan` on `machine`, with its clock and events of `P`, and runs `body` beside its
/// cores.
///
/// # Errors
///
/// [`SessionError`].
pub fn with_pipeline<P: Platform, R>(
    plan: &Plan<'_>,
    machine: &Machine,
    body: impl FnOnce(&Pipeline<'_, P>) -> R,
) -> Result<R, SessionError> {
    let mut memory = memory::<P>(plan.demand())?;
    let pipeline = set_up(plan, machine, &mut memory)?;
    Ok(beside_cores(&pipeline, machine, || body(&pipeline)))
}

/// Runs `body` beside the cores of `pipeline`, and stops it then.
fn beside_cores<P: Platform, R>(
    pipeline: &Pipeline<'_, P>,
    machine: &Machine,
    body: impl FnOnce() -> R,
) -> R {
    let core = |core| {
        // Whatever ends a core early is reported to `body` by its next call, too.
        let _ = pipeline.run_core(core);
    };
    machine.run(core, || {
        let _stop = pipeline.stop_on_drop();
        body()
    })
}

/// As [`with_pipeline`], but no thread is beside the cores: the first that has a frame, the leader
/// of a team of the first stage, calls `feed` between frames. `feed` says until when it need not
/// be called again, and None when that is all.
///
/// # Errors
///
/// [`SessionError`]; inside, what made the pipeline fail.
pub fn with_fed_pipeline<P: Platform>(
    plan: &Plan<'_>,
    machine: &Machine,
    feed: impl FnMut(&Pipeline<'_, P>) -> Option<Ticks> + Send,
) -> Result<Result<(), RunError>, SessionError> {
    let leader = plan.teams_of(0).first().map(|team| {
        let clusters = machine.clusters.iter().take(team.cluster.0.into());
        let before: usize = clusters.map(|cluster| cluster.cpus.len()).sum();
        CoreId(before as u8 + team.first_core)
    });
    let feed = Mutex::new((feed, Ok(())));
    let mut memory = memory::<P>(plan.demand())?;
    let pipeline = &set_up(plan, machine, &mut memory)?;
    let core = |core| {
        if leader != Some(core) {
            let _ = pipeline.run_core(core);
            return;
        }
        let _stop = pipeline.stop_on_drop();
        let (feed, result) = &mut *feed.lock().unwrap_or_else(PoisonError::into_inner);
        *result = pipeline.run_core_beside(core, || {
            feed(pipeline).unwrap_or_else(|| {
                pipeline.stop();
                Ticks::NEVER
            })
        });
    };
    machine.run(core, || ());
    Ok(feed.into_inner().unwrap_or_else(PoisonError::into_inner).1)
}

fn ticks<P: Platform>(time: Duration) -> Ticks {
    let ticks = time.as_nanos().saturating_mul(P::tick_hz().into()) / 1_000_000_000;
    Ticks(u64::try_from(ticks).unwrap_or(u64::MAX))
}

/// Memory for the largest pipeline.
fn memory<P: Platform>(demand: Demand) -> Result<Vec<u8>, SessionError> {
    let bytes = Pipeline::<P>::memory_bytes(demand);
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|source| SessionError::Memory { bytes, source })?;
    prefer_large_pages(memory.as_ptr(), memory.capacity());
    Ok(memory)
}

fn set_up<'a, P: Platform>(
    plan: &'a Plan<'a>,
    machine: &Machine,
    memory: &'a mut Vec<u8>,
) -> Result<Pipeline<'a, P>, SessionError> {
    let mut region = Region::new(memory.spare_capacity_mut());
    Ok(Pipeline::<P>::new(plan, &machine.topology()?, KERNELS, &mut region)?)
}

/// Writes the codes of each input into `frame`.
pub fn fill<P: Platform>(frame: &mut InputFrame<'_, '_, P>, inputs: &[Vec<i8>]) {
    for (index, codes) in inputs.iter().enumerate() {
        if let Some(input) = frame.input(index) {
            input.copy_from_slice(codes);
        }
    }
}

/// Sends frames through a pipeline and hands the results back in order, on one thread.
///
/// `fill` writes the inputs of the next frame and says false when there are no more; `take`
/// receives each result.
///
/// # Errors
///
/// What made the pipeline fail.
pub fn stream<P: Platform>(
    pipeline: &Pipeline<'_, P>,
    fill: impl FnMut(&mut InputFrame<'_, '_, P>) -> bool,
    take: impl FnMut(&OutputFrame<'_, '_, P>),
) -> Result<(), CallError> {
    stream_while(pipeline, fill, take, || true)
}

/// As [`stream`], but sends no more frames once `go_on`, asked after each result, says false.
fn stream_while<P: Platform>(
    pipeline: &Pipeline<'_, P>,
    mut fill: impl FnMut(&mut InputFrame<'_, '_, P>) -> bool,
    mut take: impl FnMut(&OutputFrame<'_, '_, P>),
    mut go_on: impl FnMut() -> bool,
) -> Result<(), CallError> {
    let mut under_way = 0usize;
    let mut more = true;
    while more || under_way > 0 {
        while more {
            match pipeline.acquire(Admission::Block(Wait::Never)) {
                Ok(mut frame) => {
                    more = fill(&mut frame);
                    if more {
                        frame.submit()?;
                        under_way += 1;
                    }
                }
                Err(CallError::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
        if under_way > 0 {
            take(&pipeline.poll(Wait::Forever)?);
            under_way -= 1;
            more = more && go_on();
        }
    }
    Ok(())
}

/// As [`stream`] through the first of `plans`, and then through whichever is best once clusters
/// have become slower than predicted for long, or fast again; no frame is lost. `changed` is told
/// each change before it is made.
///
/// # Errors
///
/// A pipeline does not start; inside, what made one fail.
pub fn stream_live<P: Platform>(
    plans: &[Plan<'_>],
    machine: &Machine,
    mut fill: impl FnMut(&mut InputFrame<'_, '_, P>) -> bool,
    mut take: impl FnMut(&OutputFrame<'_, '_, P>),
    mut changed: impl FnMut(&Plan<'_>, &Slowness),
) -> Result<Result<(), CallError>, SessionError> {
    let topology = machine.topology()?;
    let demand = plans.iter().map(|plan| plan.demand()).fold(Demand::default(), Demand::max);
    let mut memory = memory::<P>(demand)?;
    let mut next = plans.first();
    let mut watch = Watch::new(ticks::<P>(WINDOW));
    while let Some(plan) = next.take() {
        let pipeline = &set_up::<P>(plan, machine, &mut memory)?;
        let go_on = || {
            let slowness = watch.look(pipeline);
            next = slowness.and_then(|slowness| {
                let better = slowness.better_plan(plans, &topology, plan)?;
                changed(better, &slowness);
                Some(better)
            });
            next.is_none()
        };
        let streamed =
            beside_cores(pipeline, machine, || stream_while(pipeline, &mut fill, &mut take, go_on));
        if streamed.is_err() {
            return Ok(streamed);
        }
    }
    Ok(Ok(()))
}
