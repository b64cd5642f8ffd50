//! `pipeit import`: a network becomes an artefact with plans and golden vectors.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use pipeit_rt::Model;
use pipeit_rt::kernels::Path;

use super::{CommandError, progress, spinner};
use crate::artefact::{self, OwnedPlan};
use crate::load::load;
use crate::machine::{CoreArgs, MachineArgs};
use crate::noise::Noise;
use crate::planning::Planner;
use crate::report::grouped;
use crate::session::{fill, stream, with_pipeline};
use crate::trials::Trials;

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
    let loaded = load(&args.model)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let plans = plans(artefact.model, &args.machine, &args.stages)?;
    bar.finish_and_clear();
    let goldens = goldens(artefact.model)?;
    let bytes = artefact::write(artefact.model, &plans, &goldens)?;
    write_file(&args.output, &bytes)?;
    let (layers, plans) = (artefact.model.layers.len(), plans.len());
    let size = grouped(bytes.len() as u64);
    writeln!(out, "{}: {layers} layers, {plans} plans, {size} bytes", args.output.display())?;
    Ok(())
}

/// The plans of an artefact for the machine that `args` describe: those stated, the best,
/// then for ever fewer cores down to one.
///
/// # Errors
///
/// The machine or a plan is refused.
pub fn plans(
    model: &Model<'_>,
    args: &MachineArgs,
    stages: &[String],
) -> Result<Vec<OwnedPlan>, CommandError> {
    let machine = args.machine()?;
    let planner = Planner::new(model, args.cores.path()?);
    let stated = stages.iter().map(|stages| planner.stated(Some(stages), &machine, None));
    let mut plans = stated.collect::<Result<Vec<_>, _>>()?;
    plans.extend(planner.ladder(&machine)?);
    Ok(plans)
}

/// Noise and what one core makes of it: per frame all inputs, then all outputs.
fn goldens(model: &Model<'_>) -> Result<Vec<u8>, CommandError> {
    let cpus = CoreArgs::default().cpus()?;
    let planner = Planner::new(model, Path::Reference);
    let trial = Trials { planner: &planner, cpus: &cpus }.keeping()?;
    let plan = trial.plan.check(model)?;
    let bar = progress(GOLDENS, "golden vectors");
    let mut noise = Noise::new(0);
    let frames: Vec<_> = (0..GOLDENS).map(|_| noise.frame(model)).collect();
    let mut outputs = Vec::new();
    let mut inputs = frames.iter();
    with_pipeline(&plan, &trial.machine, |pipeline| {
        stream(
            pipeline,
            |frame| inputs.next().map(|codes| fill(frame, codes)).is_some(),
            |frame| {
                let codes = (0..).map_while(|index| frame.output(index));
                outputs.push(codes.flatten().copied().collect::<Vec<_>>());
                bar.inc(1);
            },
        )
    })??;
    bar.finish_and_clear();
    let whole = frames.into_iter().zip(outputs).map(|(inputs, outputs)| [inputs.concat(), outputs]);
    Ok(whole.flatten().flatten().map(|code| code as u8).collect())
}

/// Writes `bytes` to `path` whole or not at all.
///
/// # Errors
///
/// [`CommandError::File`].
pub fn write_file(path: &std::path::Path, bytes: &[u8]) -> Result<(), CommandError> {
    let error = |source| CommandError::File { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| error(io::ErrorKind::InvalidFilename.into()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // It may not even exist.
        let _ = fs::remove_file(&temporary);
        error(source)
    })
}
