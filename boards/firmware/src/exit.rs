//! How the program can end.

use core::fmt;

use pipeit_board::exceptions;
use pipeit_rt::artefact::ArtefactError;
use pipeit_rt::pipeline::{CallError, FrameId, PipelineError, RunError};
use pipeit_rt::plan::PlanError;
use pipeit_rt::region::OutOfMemory;

use crate::arguments::ArgumentError;

/// Why the program failed. Each kind has an exit code of its own; 0 is success.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// What it was called with makes no sense.
    Argument(ArgumentError),
    /// The artefact is refused.
    Artefact(ArtefactError),
    /// No plan of the artefact fits the cores there are.
    NoPlan(Option<PlanError>),
    /// There is too little memory.
    Memory(OutOfMemory),
    /// The pipeline cannot be set up.
    Pipeline(PipelineError),
    /// A golden vector was not met.
    SelfTest {
        /// The frame.
        frame: u32,
        /// The output.
        output: usize,
    },
    /// A core did not finish a layer in time.
    Stalled(RunError),
    /// A core cannot work.
    Core(RunError),
    /// A frame did not come back in order.
    Lost {
        /// The frame due.
        frame: u32,
        /// The frame found.
        found: FrameId,
    },
    /// The pipeline has stopped before its time.
    Stopped(CallError),
}

impl Failure {
    /// Its name in reports, and the exit code.
    #[must_use]
    pub const fn code(&self) -> (&'static str, u8) {
        // 1 and 2 are QEMU's own, 124 and more those of `timeout`.
        const { assert!(exceptions::PANIC == 16 && exceptions::EXCEPTION == 17) };
        match self {
            Self::Argument(_) => ("argument", 18),
            Self::Artefact(_) => ("artefact", 19),
            Self::NoPlan(_) => ("no plan", 20),
            Self::Memory(_) => ("memory", 21),
            Self::Pipeline(_) => ("pipeline", 22),
            Self::SelfTest { .. } => ("self-test", 23),
            Self::Stalled(_) => ("stalled", 24),
            Self::Core(_) => ("core", 25),
            Self::Lost { .. } => ("lost", 26),
            Self::Stopped(_) => ("stopped", 27),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(error) => error.fmt(f),
            Self::Artefact(error) => error.fmt(f),
            Self::NoPlan(Some(error)) => write!(f, "no plan fits these cores; the best {error}"),
            Self::NoPlan(None) => f.write_str("the artefact has no plans"),
            Self::Memory(error) => error.fmt(f),
            Self::Pipeline(error) => error.fmt(f),
            Self::SelfTest { frame, output } => {
                write!(f, "output {output} of golden frame {frame} differs")
            }
            Self::Stalled(error) | Self::Core(error) => error.fmt(f),
            Self::Lost { frame, found } => write!(f, "frame {} came instead of {frame}", found.0),
            Self::Stopped(error) => error.fmt(f),
        }
    }
}

impl From<ArgumentError> for Failure {
    fn from(error: ArgumentError) -> Self {
        Self::Argument(error)
    }
}

impl From<ArtefactError> for Failure {
    fn from(error: ArtefactError) -> Self {
        match error {
            ArtefactError::Memory(error) => Self::Memory(error),
            error => Self::Artefact(error),
        }
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Memory(error) => Self::Memory(error),
            error => Self::Pipeline(error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Stalled { .. } => Self::Stalled(error),
            error => Self::Core(error),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(error) => error.into(),
            error => Self::Stopped(error),
        }
    }
}
