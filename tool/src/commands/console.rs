//! `pipeit console`: a profile or a trace of what firmware told on its console.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use pipeit_rt::artefact::Header;

use super::import::write_file;
use super::profile::write_rows;
use super::{CommandError, fit};
use crate::artefact;
use crate::console::{ConsoleError, Log, Subject, profile};
use crate::load::load;
use crate::trace;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What firmware with the feature `trace` told
    pub log: PathBuf,
    /// Artefacts (.pipeit) that it ran
    #[arg(required = true)]
    pub artefacts: Vec<PathBuf>,
    /// Profile to write, of the plans of one stage
    #[arg(long, value_name = "FILE", required_unless_present = "trace")]
    pub profile: Option<PathBuf>,
    /// Trace to write for chrome://tracing or Perfetto, of the first artefact
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Index of the plan whose trace is written
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub plan: usize,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A file cannot be used; the log tells nothing of an artefact or plan.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let text = fs::read_to_string(&args.log);
    let text = text.map_err(|source| CommandError::File { path: args.log.clone(), source })?;
    let log: Log = text.parse()?;
    let loaded = args.artefacts.iter().map(|path| Ok(load(path, &[])?.bytes));
    let loaded: Vec<_> = loaded.collect::<Result<_, CommandError>>()?;
    let mut tables = loaded.iter().map(|bytes| artefact::tables(bytes));
    let mut tables: Vec<_> = tables.by_ref().collect::<Result<_, _>>()?;
    let mut subjects = Vec::new();
    for ((path, bytes), tables) in args.artefacts.iter().zip(&loaded).zip(&mut tables) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let crc = Header::read(bytes)?.crc;
        subjects.push(Subject { name, crc, artefact: artefact::open(bytes, tables)? });
    }
    if let (Some(file), Some(subject)) = (&args.trace, subjects.first()) {
        let none = ConsoleError::NoPlan { plan: args.plan };
        let plan = subject.artefact.plans.get(args.plan).ok_or(none)?;
        let spans = log.of_plan(subject.crc, args.plan)?;
        write_file(file, trace::of_run(&log.machine, &spans, plan).to_string().as_bytes())?;
    }
    if let Some(file) = &args.profile {
        write_rows(&profile(&log, &subjects)?, file)?;
        fit::write_profile(file, args.json, out)?;
    }
    Ok(())
}
