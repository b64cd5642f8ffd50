//! `pipeit`: imports, plans, verifies and runs int8 CNNs.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pipeit_tool::commands::{
    CommandError, bench, boards, console, demo, diff, fit, gain, import, inspect, memory, plan,
    profile, report, run, simulate, verify, zoo,
};

/// Int8 CNN inference, pipelined over unequal cores, bit-exact to TFLite's reference kernels.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make an artefact of a network
    Import(import::Args),
    /// Show the layers, plans and memory of a network or artefact
    Inspect(inspect::Args),
    /// Find the best stages and teams, and say why
    Plan(plan::Args),
    /// Show what networks take of RAM and flash
    Memory(memory::Args),
    /// Time layers on this machine, for planning by
    Profile(profile::Args),
    /// Make a profile or a trace of what firmware told on its console
    Console(console::Args),
    /// Show what a plan does on a machine that need not be here
    Simulate(simulate::Args),
    /// Write a page with pictures about a network and its plan
    Report(report::Args),
    /// Classify pictures, or run noise
    Run(run::Args),
    /// Compare with golden vectors, bit for bit, over many plans
    Verify(verify::Args),
    /// Show where tensors differ from golden ones, and where first
    Diff(diff::Args),
    /// Measure frames per second and latency
    Bench(bench::Args),
    /// Show the boards there are timings of
    Boards(boards::Args),
    /// Show how much faster than its best cluster a board is
    Gain(gain::Args),
    /// Fit the cost of kernels to timings of layers
    Fit(fit::Args),
    /// List or write networks of the literature, with random weights
    Zoo(zoo::Args),
    /// Read handwritten digits with the built-in network (default)
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run_command(&cli.command.unwrap_or(Command::Demo(demo::Args::default()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit_code(&error),
    }
}

fn run_command(command: &Command) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        Command::Import(args) => import::run(args, &mut out)?,
        Command::Inspect(args) => inspect::run(args, &mut out)?,
        Command::Plan(args) => plan::run(args, &mut out)?,
        Command::Memory(args) => memory::run(args, &mut out)?,
        Command::Profile(args) => profile::run(args, &mut out)?,
        Command::Console(args) => console::run(args, &mut out)?,
        Command::Simulate(args) => simulate::run(args, &mut out)?,
        Command::Report(args) => report::run(args, &mut out)?,
        Command::Run(args) => run::run(args, &mut out)?,
        Command::Verify(args) => verify::run(args, &mut out)?,
        Command::Diff(args) => diff::run(args, &mut out)?,
        Command::Bench(args) => bench::run(args, &mut out)?,
        Command::Boards(args) => boards::run(args, &mut out)?,
        Command::Gain(args) => gain::run(args, &mut out)?,
        Command::Fit(args) => fit::run(args, &mut out)?,
        Command::Zoo(args) => zoo::run(args, &mut out)?,
        Command::Demo(args) => demo::run(args, &mut out)?,
    }
    out.flush().map_err(CommandError::from)?;
    Ok(())
}

/// 2 when the flags are to blame, as clap does, else 1.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let command = error.downcast_ref::<CommandError>();
    if let Some(CommandError::Report(error)) = command
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        // The reader, such as `head`, has seen enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    ExitCode::from(if command.is_some_and(CommandError::is_usage) { 2 } else { 1 })
}
