//! Sets the project up and runs its whole test suite: `cargo xtask --help`.
//!
//! ```text
//! main -> steps -> skips, summary                  runs the suite, reports all failures
//!           |---> frame_path -> assembly           looks at machine code
//! main -----+---> microkernels -> frame_path       what inner loops cost
//! main -----+---> bare_metal                       boots firmware in an emulator
//!           v
//! main -> setup -> apt, build_std -> rust_src      installs what is missing
//! main -> fuzz                                     looks for inputs that do harm
//!           |
//!           v
//!         toolchain -> workspace, command          used by all of the above
//! ```
#![forbid(unsafe_code)]

mod apt;
mod assembly;
mod bare_metal;
mod build_std;
mod command;
mod frame_path;
mod fuzz;
mod microkernels;
mod rust_src;
mod setup;
mod skips;
mod steps;
mod summary;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::bare_metal::Scope;
use crate::bare_metal::commands::{self, CountArgs, ProfileArgs, QemuArgs};
use crate::setup::{Item, Setup};
use crate::steps::Step;
use crate::workspace::Workspace;

/// Sets the project up and runs its whole test suite.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the test suite needs and is missing.
    ///
    /// One line per item tells whether it was present or how it was installed. Rust targets come
    /// from rustup; where it does not answer, their libraries are built once from Debian's
    /// `rust-src` of the same version. Packages come from apt, which needs root: without it, the
    /// commands to run are listed instead. Fails if anything is still missing at the end.
    Setup,
    /// Runs the whole test suite, as continuous integration does.
    ///
    /// Sets up what the steps need, runs every step even if an earlier one failed, and lists all
    /// results and all skipped tests at the end. A step whose needs cannot be met has failed.
    Test {
        /// Runs only this step; may be given several times.
        #[arg(long, value_name = "NAME")]
        only: Vec<Step>,
        /// Boots all networks on all kinds of cores, not a choice of them
        #[arg(long)]
        all: bool,
        /// Takes what firmware prints as what it should print
        #[arg(long)]
        bless: bool,
    },
    /// Boots a network on an emulated board and compares it with the hosted run.
    ///
    /// Imports and plans it, builds the board's firmware, and boots that. Succeeds only if the
    /// self-test is met and all outputs are those of the hosted run.
    Qemu(QemuArgs),
    /// Times layers on an emulated board, for planning by.
    Profile(ProfileArgs),
    /// Counts the guest instructions of one inference on one core, exactly repeatable.
    Count(CountArgs),
    /// Shows what the inner loops of the kernels for Arm cost: instructions, and cycles by the
    /// static model llvm-mca.
    Microkernels(microkernels::Args),
    /// Feeds the decoders made-up inputs in search of one that does harm.
    ///
    /// Not part of the test suite: it needs a nightly compiler, which it installs, and has no end
    /// of its own. Fails if it finds an input, and says where that is.
    Fuzz(fuzz::Args),
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let workspace = Workspace::from_env()?;
    let good = match cli.task {
        Task::Setup => Setup::new(&workspace)?.run(Item::ALL).is_complete(),
        Task::Qemu(args) => {
            Setup::new(&workspace)?.require(&[Item::BareTarget, Item::QemuSystem])?;
            commands::qemu(&workspace, &args)?
        }
        Task::Profile(args) => {
            Setup::new(&workspace)?.require(&[Item::BareTarget, Item::QemuSystem])?;
            commands::profile(&workspace, &args)?;
            true
        }
        Task::Count(args) => {
            Setup::new(&workspace)?.require(&[Item::BareTarget, Item::QemuSystem])?;
            commands::count(&workspace, &args)?;
            true
        }
        Task::Test { only, all, bless } => {
            let wanted = |step: &Step| only.is_empty() || only.contains(step);
            let steps: Vec<Step> = Step::value_variants().iter().copied().filter(wanted).collect();
            steps::run_all(&workspace, &steps, Scope { all, bless })?.is_success()
        }
        Task::Microkernels(args) => {
            Setup::new(&workspace)?.require(&[Item::BareTarget, Item::LlvmMca])?;
            microkernels::run(&workspace, &args)?;
            true
        }
        Task::Fuzz(args) => fuzz::run(&workspace, &args)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
