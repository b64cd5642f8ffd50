//! The frame path of the runtime as a firmware would compile it.
//!
//! Every public function is a root from which `cargo xtask test` walks the calls in the
//! machine code. Nothing runs this crate.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pipeit_rt::kernels::{ALL, KernelTable};
use pipeit_rt::model::TensorId;
use pipeit_rt::pipeline::{CallError, FrameId, InputFrame, OutputFrame, RunError, StageStats};
use pipeit_rt::platform::{Event, Platform, Ticks};
use pipeit_rt::topology::CoreId;
use pipeit_rt::{Admission, Pipeline, Wait};

/// A machine as simple as can be: it waits by looking again.
#[derive(Debug)]
pub struct Bare;

static CLOCK: AtomicU64 = AtomicU64::new(0);

impl Platform for Bare {
    type Relax = spin::relax::Spin;
    type Event = Counter;

    fn now() -> Ticks {
        Ticks(CLOCK.load(Ordering::Relaxed))
    }

    fn tick_hz() -> u64 {
        1_000_000
    }
}

/// A count to look at.
#[derive(Debug)]
pub struct Counter(AtomicU32);

impl Event for Counter {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn wait(&self, _seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()> {
        deadline().map(drop)
    }
}

type Pipe = Pipeline<'static, Bare>;

/// Every kernel that the runtime may call.
#[inline(never)]
#[must_use]
pub fn kernels() -> &'static [&'static KernelTable] {
    ALL
}

/// A core's whole work.
///
/// # Errors
///
/// What made the pipeline fail.
#[inline(never)]
pub fn run_core(pipeline: &Pipe, core: CoreId) -> Result<(), RunError> {
    pipeline.run_core(core)
}

/// An empty slot.
///
/// # Errors
///
/// [`CallError`].
#[inline(never)]
pub fn acquire(
    pipeline: &Pipe,
    admission: Admission,
) -> Result<InputFrame<'_, 'static, Bare>, CallError> {
    pipeline.acquire(admission)
}

/// The bytes to fill.
#[inline(never)]
#[must_use]
pub fn input<'f>(
    frame: &'f mut InputFrame<'_, 'static, Bare>,
    index: usize,
) -> Option<&'f mut [i8]> {
    frame.input(index)
}

/// A frame sent on its way.
///
/// # Errors
///
/// [`CallError::Stopped`].
#[inline(never)]
pub fn submit(frame: InputFrame<'_, 'static, Bare>) -> Result<FrameId, CallError> {
    frame.submit()
}

/// A slot given back unused.
#[inline(never)]
pub fn give_back(frame: InputFrame<'_, 'static, Bare>) {
    drop(frame);
}

/// The next result.
///
/// # Errors
///
/// [`CallError`].
#[inline(never)]
pub fn poll(pipeline: &Pipe, wait: Wait) -> Result<OutputFrame<'_, 'static, Bare>, CallError> {
    pipeline.poll(wait)
}

/// The bytes of a result, and its number.
#[inline(never)]
#[must_use]
pub fn output<'f>(
    frame: &'f OutputFrame<'_, 'static, Bare>,
    index: usize,
) -> (FrameId, Option<&'f [i8]>) {
    (frame.id(), frame.output(index))
}

/// The bytes of any tensor.
#[inline(never)]
#[must_use]
pub fn tensor<'f>(frame: &'f OutputFrame<'_, 'static, Bare>, tensor: TensorId) -> Option<&'f [i8]> {
    frame.tensor(tensor)
}

/// A result given back.
#[inline(never)]
pub fn release(frame: OutputFrame<'_, 'static, Bare>) {
    frame.release();
}

/// Figures that a program may read while frames flow.
#[inline(never)]
#[must_use]
pub fn figures(pipeline: &Pipe, stage: usize) -> (Option<StageStats>, u32) {
    (pipeline.stats(stage), pipeline.dropped())
}

/// The end of the work.
///
/// # Errors
///
/// [`CallError`].
#[inline(never)]
pub fn end(pipeline: &Pipe, wait: Wait) -> Result<(), CallError> {
    let drained = pipeline.drain(wait);
    pipeline.stop();
    drained
}
