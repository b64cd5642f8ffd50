//! How calls go, in numbers and in words.

use core::ffi::{CStr, c_char};

use pipeit_rt::artefact::ArtefactError;
use pipeit_rt::pipeline::{CallError, PipelineError, RunError};
use pipeit_rt::region::OutOfMemory;

/// How a call went.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As asked.
    Ok = 0,
    /// A pointer that must not be null is.
    NullPointer = 1,
    /// A length that no memory has, or RAM and artefact overlap.
    BadMemory = 2,
    /// No open pipeline is at this address.
    NotOpen = 3,
    /// The artefact does not start at a multiple of 64.
    Misaligned = 4,
    /// The artefact is cut off, damaged, or not one.
    BadArtefact = 5,
    /// The artefact is of a version that this library does not read.
    BadVersion = 6,
    /// Too little RAM; see `pipeit_ram_bytes`.
    OutOfMemory = 7,
    /// More clusters or cores than the library allows for, or none.
    BadClusters = 8,
    /// No plan of the artefact fits the cores there are.
    NoPlan = 9,
    /// The library lacks kernels that the plan asks for.
    NoKernel = 10,
    /// The machine has no such core.
    NoSuchCore = 11,
    /// Someone works for this core already, or has done so.
    CoreTaken = 12,
    /// The core cannot execute the kernels it was planned for.
    CannotExecute = 13,
    /// A core did not finish its share of a layer in time; see `pipeit_failure`.
    Stalled = 14,
    /// A core left its work before the end; see `pipeit_failure`.
    Died = 15,
    /// It could not be done in the time given.
    TimedOut = 16,
    /// The pipeline is drained or stopped.
    Stopped = 17,
    /// Cores are at work or frames held: not the time for it.
    Busy = 18,
    /// The frame was submitted or released before, or never was.
    StaleFrame = 19,
    /// The frame is one of another pipeline.
    ForeignFrame = 20,
    /// The frame is to be filled, not read, or the other way round.
    WrongFrame = 21,
    /// There is no input, output or stage of this index.
    NoSuchIndex = 22,
}

impl From<ArtefactError> for Status {
    fn from(error: ArtefactError) -> Self {
        match error {
            ArtefactError::Misaligned => Self::Misaligned,
            ArtefactError::Version { .. } => Self::BadVersion,
            ArtefactError::Memory(_) => Self::OutOfMemory,
            _ => Self::BadArtefact,
        }
    }
}

impl From<OutOfMemory> for Status {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<PipelineError> for Status {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Memory(_) => Self::OutOfMemory,
            PipelineError::Plan(_) => Self::NoPlan,
            _ => Self::NoKernel,
        }
    }
}

impl From<RunError> for Status {
    fn from(error: RunError) -> Self {
        match error {
            RunError::NoCore { .. } => Self::NoSuchCore,
            RunError::CoreTaken { .. } => Self::CoreTaken,
            RunError::PathNotSupported { .. } => Self::CannotExecute,
            RunError::Stalled { .. } => Self::Stalled,
            _ => Self::Died,
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::TimedOut => Self::TimedOut,
            CallError::Failed(error) => error.into(),
            _ => Self::Stopped,
        }
    }
}

/// A status in words, without a line's end; never null. Whatever number is given.
#[unsafe(no_mangle)]
pub extern "C" fn pipeit_status_text(status: i32) -> *const c_char {
    const TEXTS: [&CStr; 23] = [
        c"ok",
        c"a pointer is null",
        c"a length that no memory has, or RAM and artefact overlap",
        c"no open pipeline at this address",
        c"the artefact is not 64-byte aligned",
        c"the artefact is damaged, or not one",
        c"the artefact is of another version",
        c"too little RAM",
        c"too many clusters or cores, or none",
        c"no plan fits the cores there are",
        c"kernels are missing",
        c"no such core",
        c"the core is at work already",
        c"the core cannot execute the kernels planned for it",
        c"a core stalled",
        c"a core died",
        c"timed out",
        c"the pipeline has stopped",
        c"cores are at work or frames are held",
        c"the frame is not held any more",
        c"the frame is one of another pipeline",
        c"the frame is of the other kind",
        c"no such input, output or stage",
    ];
    let text = usize::try_from(status).ok().and_then(|index| TEXTS.get(index));
    text.unwrap_or(&c"no such status").as_ptr()
}
