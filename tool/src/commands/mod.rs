//! The commands, one module each: flags, what they do, what they print.
//!
//! Every command is a function of its flags that writes its report to `out`.

pub mod bench;
pub mod boards;
pub mod console;
pub mod demo;
pub mod diff;
pub mod fit;
pub mod gain;
pub mod import;
pub mod inspect;
pub mod memory;
pub mod plan;
pub mod profile;
pub mod report;
pub mod run;
pub mod simulate;
pub mod verify;
pub mod zoo;

use std::io;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use pipeit_planner::board::BoardError;
use pipeit_planner::published::PublishedError;
use pipeit_planner::table::TableError;
use pipeit_rt::artefact::ArtefactError;
use pipeit_rt::pipeline::CallError;
use pipeit_rt::plan::PlanError;

use crate::arrays::ArrayError;
use crate::artefact::WriteError;
use crate::console::ConsoleError;
use crate::images::ImageError;
use crate::load::{LoadError, LoadReason};
use crate::machine::MachineError;
use crate::partition::PartitionError;
use crate::planning::PlanningError;
use crate::session::SessionError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A network or artefact could not be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The network built into this program could not be used.
    #[error("the built-in network")]
    BuiltIn(#[from] LoadReason),
    /// What firmware has told is of no use.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// There is no plan.
    #[error(transparent)]
    Planning(#[from] PlanningError),
    /// The pipeline could not be set up.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The pipeline failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An artefact could not be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An artefact made here was refused.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// A NumPy array could not be used.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// There is no such board.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The timings of a board could not be used.
    #[error(transparent)]
    Timings(#[from] TableError),
    /// Published timings could not be used.
    #[error(transparent)]
    Published(#[from] PublishedError),
    /// A picture could not be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] io::Error),
    /// A network with several inputs cannot be fed pictures.
    #[error("the network has {inputs} inputs; pictures and arrays go into networks with one")]
    Inputs {
        /// Inputs of the network.
        inputs: usize,
    },
    /// Two networks of a profile could not be told apart.
    #[error("two of the networks are called {name}; a profile tells them apart by name")]
    SameName {
        /// The name.
        name: String,
    },
    /// The golden vectors cannot be used, or are not met.
    #[error(transparent)]
    Verify(#[from] verify::VerifyError),
    /// The network differs from its golden vectors, or could not be compared.
    #[error(transparent)]
    Diff(#[from] diff::DiffError),
    /// The demo's outputs are not those expected.
    #[error("frame {frame} of the {what} differs from the expected output")]
    Demo {
        /// Which run.
        what: &'static str,
        /// Which frame.
        frame: usize,
    },
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        Self::Planning(error.into())
    }
}

impl From<MachineError> for CommandError {
    fn from(error: MachineError) -> Self {
        Self::Planning(error.into())
    }
}

impl From<PartitionError> for CommandError {
    fn from(error: PartitionError) -> Self {
        Self::Planning(error.into())
    }
}

impl CommandError {
    /// True when the flags are to blame, not a file.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Planning(PlanningError::Machine(_) | PlanningError::Partition(_))
                | Self::Board(BoardError::Unknown { .. })
                | Self::Image(ImageError::Channels)
        )
    }
}

/// A bar on the terminal, if there is one, for `len` steps.
pub(crate) fn progress(len: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(len as u64);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// Something under way on the terminal, if there is one.
fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_message(what);
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}
