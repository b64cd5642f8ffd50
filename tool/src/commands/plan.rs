//! `pipeit plan`: stages, teams and their predicted balance.

use std::io::Write;
use std::path::PathBuf;

use super::CommandError;
use super::import::write_file;
use crate::artefact;
use crate::load::load;
use crate::planning::{PlanArgs, choose};
use crate::report;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Which plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Write an artefact with this plan
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The network, the machine or the stages are refused.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let loaded = load(&args.model, args.plan.machine.cores.target())?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let (machine, owned) = choose(&artefact, &args.plan)?;
    let plan = owned.check(artefact.model)?;
    if let Some(path) = &args.output {
        write_file(path, &artefact::write(artefact.model, std::slice::from_ref(&owned), &[])?)?;
    }
    if args.json {
        writeln!(out, "{}", report::plan_json(&plan, &machine))?;
        return Ok(());
    }
    let periods = (0..plan.stages.len()).map(|stage| report::period_ns(&plan, stage));
    let period_us = periods.fold(0.0, f64::max) / 1e3;
    let balance = 100.0 * report::predicted_balance(&plan);
    writeln!(out, "{}", report::spec(&plan, &machine))?;
    writeln!(out, "{}", report::plan_table(&plan, &machine))?;
    writeln!(out, "balance {balance:.1} %, {period_us:.0} us between frames (predicted)")?;
    writeln!(out, "{}", report::memory_line(&plan))?;
    Ok(())
}
