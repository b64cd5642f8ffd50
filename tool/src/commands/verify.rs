//! `pipeit verify`: golden vectors, bit for bit, over plans of every kind.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;

use indicatif::ProgressBar;
use pipeit_rt::model::Model;
use pipeit_rt::platform::hosted::Hosted;

use super::{CommandError, progress};
use crate::artefact;
use crate::differences::{self, Compared, Difference, Frame};
use crate::goldens::{self, Golden, GoldenError};
use crate::load::load;
use crate::machine::CoreArgs;
use crate::noise::Noise;
use crate::planning::Planner;
use crate::report;
use crate::session::{fill, stream, with_pipeline};
use crate::trials::{Trial, Trials};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Folder of in_K.npy and ref_K.npy, or in_K_J.npy and ref_K_J.npy
    #[arg(long, value_name = "DIR")]
    pub goldens: PathBuf,
    /// Random plans to try beside the usual ones
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub plans: usize,
    /// Seed of the random plans
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Which CPUs stand for the cores, and which kernels run.
    #[command(flatten)]
    pub cores: CoreArgs,
}

/// Why a network does not meet its golden vectors, or they could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The golden vectors could not be read.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// A byte differs.
    #[error(
        "plan \"{plan}\", frame {frame}: {tensor} differs first at index {index}: \
         expected {expected}, found {found}"
    )]
    Differs {
        /// The plan.
        plan: String,
        /// Number of the frame.
        frame: u32,
        /// The output, or the intermediate tensor.
        tensor: String,
        /// The first element that differs.
        index: usize,
        /// The code expected.
        expected: i16,
        /// The code found.
        found: i16,
    },
}

/// Runs the command.
///
/// # Errors
///
/// A byte differs; the network or the golden vectors cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let cpus = args.cores.cpus()?;
    let loaded = load(&args.model, &[args.cores.own_target()?])?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let model = artefact::open(&loaded.bytes, &mut tables)?.model;
    let golden = goldens::read(&args.goldens, model).map_err(VerifyError::from)?;
    let planner = Planner::new(model, args.cores.path_in(model));
    let all = Trials { planner: &planner, cpus: &cpus };
    let mut noise = Noise::new(args.seed);
    let mut trials = all.usual()?;
    for _ in 0..args.plans {
        trials.push(all.random(&mut noise)?);
    }
    let bar = progress(trials.len() * golden.len(), "comparing");
    for trial in &trials {
        compare(model, trial, &golden, &bar)?;
    }
    bar.finish_and_clear();
    writeln!(out, "{} frames x {} plans: every byte equal", golden.len(), trials.len())?;

    let intermediates = match goldens::read_intermediates(&args.goldens) {
        Err(GoldenError::NoIntermediates { .. }) => return Ok(()),
        intermediates => intermediates.map_err(VerifyError::from)?,
    };
    let (Some(origin), Some(first)) = (&loaded.origin, golden.iter().find(|g| g.number == 0))
    else {
        writeln!(out, "intermediate tensors left out: they need the .tflite and in_0.npy")?;
        return Ok(());
    };
    let frame = differences::of_frame(model, &origin.file_tensors, first, &intermediates);
    let Frame { compared, folded } = frame.map_err(VerifyError::from)?;
    for Compared { writer, tensor, difference, .. } in &compared {
        if let Some(difference) = difference {
            return Err(
                differs("one core", 0, &format!("{writer} (`{tensor}`)"), difference).into()
            );
        }
    }
    writeln!(out, "{} intermediate tensors: every byte equal", intermediates.len() - folded.len())?;
    if !folded.is_empty() {
        writeln!(out, "{} folded away: {}", folded.len(), folded.join(", "))?;
    }
    Ok(())
}

/// Streams all frames through a plan and compares the outputs.
fn compare(
    model: &Model<'_>,
    trial: &Trial,
    golden: &[Golden],
    bar: &ProgressBar,
) -> Result<(), CommandError> {
    let plan = trial.plan.check(model)?;
    let name = format!("{}: {}", trial.name, report::spec(&plan, &trial.machine));
    let (mut frames, mut expected) = (golden.iter(), golden.iter());
    let difference = RefCell::new(None);
    with_pipeline::<Hosted, _>(&plan, &trial.machine, |pipeline| {
        stream(
            pipeline,
            |frame| {
                let next = frames.next().filter(|_| difference.borrow().is_none());
                next.map(|golden| fill(frame, &golden.inputs)).is_some()
            },
            |frame| {
                let Some(golden) = expected.next() else { return };
                let outputs = golden.outputs.iter().zip(model.outputs).enumerate();
                let mut differences = outputs.filter_map(|(index, (expected, port))| {
                    let found = frame.output(index).unwrap_or_default();
                    let difference = Difference::between(expected, found, port.element)?;
                    Some(differs(&name, golden.number, &format!("output {index}"), &difference))
                });
                let first = difference.take().or_else(|| differences.next());
                difference.replace(first);
                bar.inc(1);
            },
        )
    })??;
    difference.into_inner().map_or(Ok(()), |error| Err(error.into()))
}

fn differs(plan: &str, frame: u32, tensor: &str, difference: &Difference) -> VerifyError {
    let Difference { index, expected, found, .. } = *difference;
    let (plan, tensor) = (plan.to_owned(), tensor.to_owned());
    VerifyError::Differs { plan, frame, tensor, index, expected, found }
}
