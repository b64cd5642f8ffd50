//! `cargo xtask fuzz`: feeds the decoders made-up inputs, by libFuzzer.
//!
//! The targets are those of the package `fuzz`, which cargo-fuzz builds with a nightly compiler;
//! both are installed where they are missing. What libFuzzer has learnt is kept in
//! `fuzz/corpus`, and the next run begins with it.

mod seeds;
mod stats;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::command::{announce, capture, stream};
use crate::workspace::Workspace;
use stats::Stats;

/// What is installed where there is no nightly compiler yet.
const NIGHTLY: &str = "nightly-2026-05-20";

/// The version of cargo-fuzz.
const CARGO_FUZZ: &str = "0.13.2";

/// Longest time to install one of them, in seconds.
const INSTALL_LIMIT_S: u32 = 900;

/// Longest time for one input, in seconds. More is a finding, as is more memory than the
/// package's allocator gives.
const INPUT_LIMIT_S: u32 = 10;

/// What is fuzzed: a binary of the package `fuzz` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Artefacts: validated and run
    Artefact,
    /// Networks: imported, planned, written, read and run
    Tflite,
    /// NumPy arrays, archives of them, and pictures
    Arrays,
}

impl Target {
    /// Most bytes of an input: small ones are fast.
    const fn max_bytes(self) -> u64 {
        match self {
            Self::Tflite => 2048,
            Self::Artefact | Self::Arrays => 4096,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Artefact => "artefact",
            Self::Tflite => "tflite",
            Self::Arrays => "arrays",
        })
    }
}

/// Flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Time for each target, in seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Inputs for each target, however long they take
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    runs: Option<u64>,
    /// Fuzzes only this target; may be given several times
    #[arg(long, value_name = "NAME")]
    target: Vec<Target>,
    /// Builds with AddressSanitizer, with which inputs take several times as long
    #[arg(long)]
    asan: bool,
    /// Prints the results as JSON
    #[arg(long)]
    json: bool,
}

/// Fuzzes the targets one after another; false if anything was found.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let fuzzer = Fuzzer::new(workspace, args)?;
    stream(&mut fuzzer.cargo_fuzz("build"))?;
    let all = Target::value_variants().iter().copied();
    let targets = all.filter(|target| args.target.is_empty() || args.target.contains(target));
    let results: Vec<_> =
        targets.map(|target| Ok((target, fuzzer.fuzz(target)?))).collect::<Result<_>>()?;
    println!("{}", if args.json { stats::json(&results) } else { stats::table(&results) });
    Ok(results.iter().all(|(_, stats)| stats.finding.is_none()))
}

/// The tools, and where what they make goes.
struct Fuzzer<'a> {
    workspace: &'a Workspace,
    args: &'a Args,
    nightly: String,
    /// The search path with cargo-fuzz.
    path: OsString,
    /// Folder of binaries, seeds and logs.
    work_dir: PathBuf,
}

impl<'a> Fuzzer<'a> {
    fn new(workspace: &'a Workspace, args: &'a Args) -> Result<Self> {
        let nightly = nightly(workspace)?;
        let mut path = cargo_fuzz(workspace)?.into_os_string();
        if let Some(rest) = env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        // Apart from one another: the flags differ.
        let name = if args.asan { "fuzz-asan" } else { "fuzz" };
        let work_dir = workspace.target_dir().join(name);
        Ok(Self { workspace, args, nightly, path, work_dir })
    }

    /// A subcommand of cargo-fuzz.
    fn cargo_fuzz(&self, subcommand: &str) -> Command {
        let mut command = self.workspace.command("rustup");
        command.args(["run", &self.nightly, "cargo", "fuzz", subcommand, "--sanitizer"]);
        command.arg(if self.args.asan { "address" } else { "none" });
        command.arg("--target-dir").arg(&self.work_dir);
        // The toolchain that runs this program is not that of the build.
        command.env("PATH", &self.path).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        command
    }

    fn fuzz(&self, target: Target) -> Result<Stats> {
        let package = self.workspace.root().join("fuzz");
        let folder = |dir: PathBuf| -> Result<PathBuf> {
            fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
            Ok(dir)
        };
        let name = target.to_string();
        let corpus = folder(package.join("corpus").join(&name))?;
        let seeds = folder(self.work_dir.join("seeds").join(&name))?;
        let log = folder(self.work_dir.join("logs"))?.join(format!("{name}.log"));
        seeds::make(self.workspace, target, &seeds)?;

        let mut command = self.cargo_fuzz("run");
        command.arg(&name).arg(corpus).arg(seeds).arg("--");
        command.arg(match self.args.runs {
            Some(runs) => format!("-runs={runs}"),
            None => format!("-max_total_time={}", self.args.seconds),
        });
        command.arg(format!("-max_len={}", target.max_bytes()));
        command.arg(format!("-timeout={INPUT_LIMIT_S}"));
        command.args(["-len_control=0", "-print_final_stats=1"]);
        match target {
            Target::Arrays => {
                command.arg(format!("-dict={}", package.join("arrays.dict").display()))
            }
            // What is made of an input that is no longer valid is not, either.
            Target::Artefact | Target::Tflite => command.arg("-mutate_depth=1"),
        };
        follow(&mut command, target, &log)
    }
}

/// Runs a target to its end, with what it has come to in the terminal and all it says in `log`.
fn follow(command: &mut Command, target: Target, log: &Path) -> Result<Stats> {
    let mut file = File::create(log).with_context(|| log.display().to_string())?;
    let style = ProgressStyle::with_template("{spinner} {prefix:8} {elapsed:>4} {msg}")?;
    let progress = ProgressBar::new_spinner().with_style(style).with_prefix(target.to_string());
    progress.enable_steady_tick(Duration::from_millis(200));
    let start = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn().context("cannot start the target")?;
    let stderr = child.stderr.take().context("no output to follow")?;
    let mut stats = Stats::default();
    // Not lines of text: it quotes parts of inputs.
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line.context("cannot follow the target")?;
        let written = file.write_all(&line).and_then(|()| file.write_all(b"\n"));
        written.with_context(|| log.display().to_string())?;
        stats.read(&String::from_utf8_lossy(&line));
        progress.set_message(stats.summary());
    }
    progress.finish_and_clear();
    let status = child.wait().context("cannot await the target")?;
    let is_known = status.success() || stats.finding.is_some();
    ensure!(is_known, "{target}: {status}; see {}", log.display());
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(stats)
}

/// The name of a nightly toolchain, installed where there is none.
fn nightly(workspace: &Workspace) -> Result<String> {
    let list = capture(workspace.command("rustup").args(["toolchain", "list"]))?;
    let mut names = list.lines().filter_map(|line| line.split_whitespace().next());
    if let Some(name) = names.find(|name| name.starts_with("nightly")) {
        return Ok(name.to_owned());
    }
    let mut install = workspace.limited(INSTALL_LIMIT_S, "rustup");
    announce(install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]))?;
    Ok(NIGHTLY.to_owned())
}

/// The folder with cargo-fuzz, installed where it is missing: apart from the user's programs.
fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.target_dir().join("tools");
    let tools = root.join("bin");
    let version = capture(workspace.command(tools.join("cargo-fuzz")).arg("--version"));
    if !version.is_ok_and(|version| version.trim().ends_with(CARGO_FUZZ)) {
        let mut install = workspace.limited_cargo(INSTALL_LIMIT_S);
        install.args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]);
        announce(install.arg("--root").arg(&root))?;
    }
    Ok(tools)
}
