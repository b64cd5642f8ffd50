//! `pipeit import`: a network becomes an artefact with plans and golden vectors.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pipeit_rt::Model;
use pipeit_rt::kernels::Path as KernelPath;

use super::{CommandError, progress, spinner};
use crate::artefact::{self, OwnedPlan};
use crate::interpreter::Interpreter;
use crate::load::load;
use crate::machine::MachineArgs;
use crate::noise::Noise;
use crate::planning::{Planner, Target};
use crate::report::grouped;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite)
    pub model: PathBuf,
    /// Artefact to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The machine to plan for.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Plan for a board instead: its name, see `pipeit boards`, or its board.toml
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["clusters", "cores", "path"])]
    pub board: Option<String>,
    /// Times measured by `pipeit profile` to plan by
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// A plan to put first, see `pipeit plan`; repeatable
    #[arg(long, value_name = "SPEC")]
    pub stages: Vec<String>,
}

/// Frames of golden vectors.
const GOLDENS: usize = 2;

/// Runs the command.
///
/// # Errors
///
/// The network, the machine or a plan is refused; the artefact cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let bar = spinner("importing");
    let target = Target::of(&args.machine, args.board.as_deref(), args.profile.as_deref())?;
    let loaded = load(&args.model, &target.pack)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let plans = plans(artefact.model, &target, &args.stages)?;
    // Of filters as the file has them, which portable kernels go through much faster.
    let unpacked = load(&args.model, &[KernelPath::Reference.into()])?;
    bar.finish_and_clear();
    let mut tables = artefact::tables(&unpacked.bytes)?;
    let goldens = goldens(artefact::open(&unpacked.bytes, &mut tables)?.model);
    let bytes = artefact::write(artefact.model, &plans, &goldens)?;
    write_file(&args.output, &bytes)?;
    let (layers, plans) = (artefact.model.layers.len(), plans.len());
    let size = grouped(bytes.len() as u64);
    writeln!(out, "{}: {layers} layers, {plans} plans, {size} bytes", args.output.display())?;
    Ok(())
}

/// The plans of an artefact for `target`: those stated, the fastest, then those for fewer cores
/// and for slowed clusters.
///
/// # Errors
///
/// A plan is refused.
pub fn plans(
    model: &Model<'_>,
    target: &Target,
    stages: &[String],
) -> Result<Vec<OwnedPlan>, CommandError> {
    let (machine, planner) = (&target.machine, Planner::by(model, target.predictor.clone()));
    let stated = stages.iter().map(|stages| planner.stated(Some(stages), machine, None));
    let mut plans = stated.collect::<Result<Vec<_>, _>>()?;
    plans.extend(planner.plans(machine)?);
    Ok(plans)
}

/// Noise and what the portable kernels make of it: per frame all inputs, then all outputs.
fn goldens(model: &Model<'_>) -> Vec<u8> {
    let interpreter = Interpreter::new(model);
    let bar = progress(GOLDENS, "golden vectors");
    let mut noise = Noise::new(0);
    let mut goldens = Vec::new();
    for _ in 0..GOLDENS {
        let inputs = noise.frame(model);
        let outputs = interpreter.run(&inputs);
        goldens.extend(inputs.iter().chain(&outputs).flatten().map(|code| code.cast_unsigned()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    goldens
}

/// Writes `bytes` to `path` whole or not at all: to another file first, which takes the name
/// when it is on the disk. What is no file, such as a device, is written as it is.
///
/// # Errors
///
/// [`CommandError::File`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let written = if path.metadata().is_ok_and(|found| !found.is_file()) {
        File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes))
    } else {
        replace(path, bytes)
    };
    written.map_err(|source| CommandError::File { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // It may not even exist.
        let _ = fs::remove_file(&temporary);
    })
}
