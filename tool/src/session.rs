//! A pipeline on the threads of this machine, for as long as a closure runs.

use std::collections::TryReserveError;
use std::sync::{Mutex, PoisonError};

use pipeit_rt::kernels::{self, KernelTable};
use pipeit_rt::pipeline::{CallError, InputFrame, OutputFrame, Pipeline, PipelineError, RunError};
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::Ticks;
use pipeit_rt::platform::hosted::Machine;
use pipeit_rt::region::Region;
use pipeit_rt::topology::{CoreId, TooManyCores};
use pipeit_rt::{Admission, Platform, Wait};

/// The kernel tables of this program, the fastest first.
pub const KERNELS: &[&KernelTable] = kernels::ALL;

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
    set_up(plan, machine, |pipeline| {
        let core = |core| {
            // Whatever ends a core early is reported to `body` by its next call, too.
            let _ = pipeline.run_core(core);
        };
        machine.run(core, || {
            let _stop = pipeline.stop_on_drop();
            body(pipeline)
        })
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
    set_up(plan, machine, |pipeline| {
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
    })?;
    Ok(feed.into_inner().unwrap_or_else(PoisonError::into_inner).1)
}

fn set_up<P: Platform, R>(
    plan: &Plan<'_>,
    machine: &Machine,
    run: impl FnOnce(&Pipeline<'_, P>) -> R,
) -> Result<R, SessionError> {
    let bytes = Pipeline::<P>::memory_bytes(plan.demand());
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|source| SessionError::Memory { bytes, source })?;
    let mut region = Region::new(memory.spare_capacity_mut());
    let pipeline = Pipeline::<P>::new(plan, &machine.topology()?, KERNELS, &mut region)?;
    Ok(run(&pipeline))
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
pub fn stream<'a, P: Platform>(
    pipeline: &Pipeline<'a, P>,
    mut fill: impl FnMut(&mut InputFrame<'_, 'a, P>) -> bool,
    mut take: impl FnMut(&OutputFrame<'_, 'a, P>),
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
        }
    }
    Ok(())
}
