//! The steps of the test suite.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::bare_metal::{self, Scope};
use crate::command::stream;
use crate::setup::{CROSS_GCC, Item, QEMU, Setup};
use crate::skips::SkipLog;
use crate::summary::{Outcome, Summary, seconds};
use crate::toolchain::{BARE_TARGET, LINUX_TARGET};
use crate::workspace::Workspace;
use crate::{frame_path, microkernels};

/// Longest time for one emulated test binary, in seconds.
const EMULATED_LIMIT_S: u32 = 900;

/// The core that emulated tests see: an in-order one, without dot product instructions.
const EMULATED_CPU: &str = "cortex-a53";

/// One step, in the order of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// The formatting of all code
    Format,
    /// Lints of all code, on the host
    Clippy,
    /// All unit, integration and doc tests, on the host
    #[value(alias = "host tests")]
    HostTests,
    /// The concurrent parts of the runtime in all interleavings, by the model checker loom
    Loom,
    /// The documentation, without warnings
    Docs,
    /// Build and lints of the runtime for a machine without operating system
    #[value(alias = "no_std")]
    NoStd,
    /// The machine code of the frame path: no panics, floats only where they must be, and sums
    /// in registers
    #[value(alias = "frame path")]
    FramePath,
    /// Firmware in an emulator: networks, faults, sizes, logs; C programs
    #[value(alias = "bare metal")]
    BareMetal,
    /// Tests of runtime and tool for 64-bit Arm Linux, emulated
    #[value(alias = "aarch64 tests")]
    Aarch64Tests,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::HostTests => "host tests",
            Self::Loom => "loom",
            Self::Docs => "docs",
            Self::NoStd => "no_std",
            Self::FramePath => "frame path",
            Self::BareMetal => "bare metal",
            Self::Aarch64Tests => "aarch64 tests",
        }
    }

    /// What has to be installed for this step.
    fn needs(self) -> &'static [Item] {
        match self {
            Self::Format => &[Item::Rustfmt],
            Self::Clippy => &[Item::Clippy],
            Self::HostTests | Self::Loom | Self::Docs => &[],
            Self::NoStd => &[Item::Clippy, Item::BareTarget],
            Self::FramePath => &[Item::BareTarget],
            Self::BareMetal => {
                &[Item::Rustfmt, Item::Clippy, Item::BareTarget, Item::CrossGcc, Item::QemuSystem]
            }
            Self::Aarch64Tests => &[Item::LinuxTarget, Item::CrossGcc, Item::Qemu],
        }
    }

    /// What it can do without: the tests that use it are skipped, and say so.
    fn wants(self) -> &'static [Item] {
        match self {
            Self::HostTests => &[Item::Chromium],
            _ => &[],
        }
    }

    /// The commands of this step; each runs even if an earlier one failed.
    fn commands(self, workspace: &Workspace, skips: &SkipLog) -> Vec<Command> {
        let cargo = |args: &[&str]| {
            let mut command = workspace.cargo();
            command.args(args);
            command
        };
        match self {
            Self::Format => {
                let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
                vec![cargo(&["fmt", "--all", "--check"]), cargo(&fuzz)]
            }
            Self::Clippy => {
                let args = ["clippy", "--workspace", "--all-targets", "--keep-going"];
                let fuzz = ["clippy", "--manifest-path", "fuzz/Cargo.toml", "--all-targets"];
                vec![deny_warnings(cargo(&args)), deny_warnings(cargo(&fuzz))]
            }
            Self::HostTests => {
                let check = ["test", "--package", "pipeit-rt", "--features", "check-kernels"];
                let mut check = cargo(&check);
                check.args(["--test", "pipeline", "a_kernel_that_writes_other_bytes"]);
                vec![logging(cargo(&["test", "--workspace", "--no-fail-fast"]), skips), check]
            }
            Self::Loom => {
                let mut test = cargo(&["test", "--package", "pipeit-rt", "--release", "--lib"]);
                // Apart from other builds, which it would invalidate: the flags differ.
                test.arg("--target-dir").arg(workspace.target_dir().join("loom"));
                test.arg("loom_models").env("RUSTFLAGS", "--cfg loom");
                vec![test]
            }
            Self::Docs => {
                let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--keep-going"]);
                doc.env("RUSTDOCFLAGS", "-D warnings");
                vec![doc]
            }
            Self::NoStd => {
                let bare = |subcommand, features: &[&str]| {
                    let mut command = cargo(&[subcommand, "--package", "pipeit-rt", "--release"]);
                    command.args(["--target", BARE_TARGET, "--no-default-features"]).args(features);
                    command
                };
                let variants: [&[&str]; 4] = [
                    &[],
                    &["--features", "defmt"],
                    &["--features", "log"],
                    &["--features", "baremetal"],
                ];
                let both = |&features: &&[&str]| {
                    [bare("build", features), deny_warnings(bare("clippy", features))]
                };
                variants.iter().flat_map(both).collect()
            }
            Self::FramePath => vec![frame_path::build(workspace)],
            // More than commands: see `run`.
            Self::BareMetal => vec![],
            Self::Aarch64Tests => {
                let mut test = cargo(&["test", "--package", "pipeit-rt"]);
                test.args(["--package", "pipeit-tool", "--target", LINUX_TARGET]);
                test.arg("--no-fail-fast");
                let mut tests = vec![emulated(logging(test, skips), EMULATED_CPU)];
                // The kernels that other cores have.
                for cpu in ["cortex-a76", "max"] {
                    let mut test = cargo(&["test", "--package", "pipeit-rt"]);
                    test.args(["--target", LINUX_TARGET, "--test", "kernels"]);
                    tests.push(emulated(test, cpu));
                }
                tests
            }
        }
    }

    /// Runs it; returns why it failed, if it did.
    fn run(self, workspace: &Workspace, skips: &SkipLog, scope: Scope) -> Vec<String> {
        match self {
            Self::FramePath => {
                let found = frame_path::clean(workspace).and_then(|()| {
                    self.commands(workspace, skips).iter_mut().try_for_each(stream)?;
                    let mut findings = frame_path::findings(workspace)?;
                    findings.extend(microkernels::findings(&frame_path::assembly_dir(workspace))?);
                    Ok(findings)
                });
                found.unwrap_or_else(|error| vec![format!("{error:#}")])
            }
            Self::BareMetal => bare_metal::run_suite(workspace, skips, scope),
            _ => failures(&mut self.commands(workspace, skips)),
        }
    }
}

fn deny_warnings(mut clippy: Command) -> Command {
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

/// Tells tests where to note that they skipped themselves.
fn logging(mut test: Command, skips: &SkipLog) -> Command {
    test.env("PIPEIT_SKIP_LOG", skips.path());
    test
}

/// Has cargo link for [`LINUX_TARGET`] and run what it linked under emulation.
///
/// Linked statically: with a dynamic C library, threads may hang in the emulator.
fn emulated(mut test: Command, cpu: &str) -> Command {
    let triple = LINUX_TARGET.to_uppercase().replace('-', "_");
    let setting = |name: &str| format!("CARGO_TARGET_{triple}_{name}");
    let flags = "-Ctarget-feature=+crt-static";
    test.env(setting("LINKER"), CROSS_GCC)
        .env(setting("RUSTFLAGS"), flags)
        .env(setting("RUSTDOCFLAGS"), flags)
        .env(setting("RUNNER"), format!("timeout {EMULATED_LIMIT_S} {QEMU} -cpu {cpu}"))
        .env(format!("CC_{}", LINUX_TARGET.replace('-', "_")), CROSS_GCC)
        .env("PIPEIT_EMULATED", "1");
    test
}

/// Sets up what `steps` need, runs them all and shows what came of them.
pub(crate) fn run_all(workspace: &Workspace, steps: &[Step], scope: Scope) -> Result<Summary> {
    println!("=== setup");
    let needed = |item: &Item| {
        steps.iter().any(|step| step.needs().contains(item) || step.wants().contains(item))
    };
    let items: Vec<Item> = Item::ALL.iter().copied().filter(needed).collect();
    let missing = Setup::new(workspace)?.run(&items);

    let skips = SkipLog::create(workspace.target_dir())?;
    let mut outcomes = Vec::new();
    for step in steps {
        println!("\n=== {}", step.name());
        let start = Instant::now();
        let failures = match missing.reason(step.needs()) {
            Some(reason) => vec![reason],
            None => step.run(workspace, &skips, scope),
        };
        let outcome = Outcome { name: step.name(), took: start.elapsed(), failures };
        println!("=== {}: {} ({})", outcome.name, outcome.word(), seconds(outcome.took));
        outcomes.push(outcome);
    }
    let summary = Summary { steps: outcomes, skipped: skips.finish()? };
    println!("\n=== summary\n{summary}");
    Ok(summary)
}

fn failures(commands: &mut [Command]) -> Vec<String> {
    let failed = commands.iter_mut().filter_map(|command| stream(command).err());
    failed.map(|error| format!("{error:#}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_are_those_shown() {
        for step in Step::value_variants() {
            assert_eq!(Step::from_str(step.name(), false).as_ref(), Ok(step));
        }
    }

    #[test]
    fn emulation_is_configured_for_the_target() {
        let test = emulated(Command::new("cargo"), EMULATED_CPU);
        let set: Vec<_> = test.get_envs().filter_map(|(name, _)| name.to_str()).collect();
        assert!(set.contains(&"CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER"), "{set:?}");
        assert!(set.contains(&"CC_aarch64_unknown_linux_gnu"), "{set:?}");
    }
}
