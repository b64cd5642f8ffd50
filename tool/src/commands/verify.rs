//! `pipeit verify`: golden vectors, bit for bit, over plans of every kind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use indicatif::ProgressBar;
use pipeit_rt::model::{Element, Model, Port, Tensor, TensorId};

use super::{CommandError, progress};
use crate::arrays::ArrayReason;
use crate::artefact;
use crate::goldens::{self, Golden, GoldenError, Intermediate};
use crate::load::{Origin, load};
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
    /// An intermediate tensor has another type or size than the golden one.
    #[error("intermediate tensor {tensor}")]
    Intermediate {
        /// Its name among the golden ones.
        tensor: String,
        /// Why.
        source: ArrayReason,
    },
}

/// Runs the command.
///
/// # Errors
///
/// A byte differs; the network or the golden vectors cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let cpus = args.cores.cpus()?;
    let path = args.cores.path()?;
    let loaded = load(&args.model)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let model = artefact::open(&loaded.bytes, &mut tables)?.model;
    let golden = goldens::read(&args.goldens, model).map_err(VerifyError::from)?;
    let planner = Planner::new(model, path);
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

    let intermediates = goldens::read_intermediates(&args.goldens).map_err(VerifyError::from)?;
    let first = golden.iter().find(|golden| golden.number == 0);
    match (&loaded.origin, first) {
        _ if intermediates.is_empty() => {}
        (Some(origin), Some(golden)) => {
            let tensors = all_tensors(model, &all.keeping()?, golden)?;
            let Outcome { equal, folded, strided } =
                compare_intermediates(model, origin, &tensors, &intermediates)?;
            writeln!(out, "{equal} intermediate tensors: every byte equal")?;
            if !folded.is_empty() {
                writeln!(out, "{} folded away: {}", folded.len(), folded.join(", "))?;
            }
            if !strided.is_empty() {
                writeln!(out, "{} not compared: {}", strided.len(), strided.join(", "))?;
            }
        }
        _ => writeln!(out, "intermediate tensors left out: they need the .tflite and in_0.npy")?,
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
    with_pipeline(&plan, &trial.machine, |pipeline| {
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
                    let tensor = || format!("output {index}");
                    differs(&name, golden.number, tensor, expected, found, port.element)
                });
                let first = difference.take().or_else(|| differences.next());
                difference.replace(first);
                bar.inc(1);
            },
        )
    })??;
    difference.into_inner().map_or(Ok(()), |error| Err(error.into()))
}

/// The first difference, in the codes of the original file.
fn differs(
    plan: &str,
    frame: u32,
    tensor: impl Fn() -> String,
    expected: &[i8],
    found: &[i8],
    element: Element,
) -> Option<VerifyError> {
    let index = (0..expected.len()).find(|&i| expected.get(i) != found.get(i))?;
    let offset = if element == Element::U8 { 128 } else { 0 };
    let code = |codes: &[i8]| codes.get(index).map_or(i16::MIN, |&c| i16::from(c) + offset);
    Some(VerifyError::Differs {
        plan: plan.to_owned(),
        frame,
        tensor: tensor(),
        index,
        expected: code(expected),
        found: code(found),
    })
}

/// Contents of all tensors that lie without gaps, after one frame of a plan that reuses none.
fn all_tensors(
    model: &Model<'_>,
    trial: &Trial,
    golden: &Golden,
) -> Result<BTreeMap<TensorId, Vec<i8>>, CommandError> {
    let plan = trial.plan.check(model)?;
    let mut tensors = BTreeMap::new();
    let mut frames = std::iter::once(golden);
    with_pipeline(&plan, &trial.machine, |pipeline| {
        stream(
            pipeline,
            |frame| frames.next().map(|golden| fill(frame, &golden.inputs)).is_some(),
            |frame| {
                for id in (0..model.tensors.len() as u16).map(TensorId) {
                    tensors.extend(frame.tensor(id).map(|codes| (id, codes.to_vec())));
                }
            },
        )
    })??;
    Ok(tensors)
}

/// What became of the golden intermediate tensors.
struct Outcome {
    equal: usize,
    folded: Vec<String>,
    strided: Vec<String>,
}

fn compare_intermediates(
    model: &Model<'_>,
    origin: &Origin,
    tensors: &BTreeMap<TensorId, Vec<i8>>,
    intermediates: &[Intermediate],
) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome { equal: 0, folded: Vec::new(), strided: Vec::new() };
    // The codes inside a legacy network are those of its ports.
    let is_legacy = model.inputs.iter().any(|port| port.element == Element::U8);
    let element = if is_legacy { Element::U8 } else { Element::I8 };
    for Intermediate { name, tensor, array } in intermediates {
        let Some(id) = origin.tensor_of.get(*tensor).copied().flatten() else {
            outcome.folded.push(name.clone());
            continue;
        };
        let found = match (tensors.get(&id), model.tensor(id)) {
            (Some(codes), _) => Some(codes.clone()),
            (None, Some(tensor)) => gather(model, tensors, tensor),
            (None, None) => None,
        };
        let (Some(found), Some(tensor)) = (found, model.tensor(id)) else {
            outcome.strided.push(name.clone());
            continue;
        };
        let port = Port { tensor: id, scale: 1.0, zero_point: 0, element };
        let expected = array
            .one(&port, &tensor.shape)
            .map_err(|source| VerifyError::Intermediate { tensor: name.clone(), source })?;
        if let Some(error) = differs("one core", 0, || name.clone(), &expected, &found, element) {
            return Err(error.into());
        }
        outcome.equal += 1;
    }
    Ok(outcome)
}

/// A tensor with gaps, out of one without that covers its storage.
fn gather(
    model: &Model<'_>,
    tensors: &BTreeMap<TensorId, Vec<i8>>,
    tensor: &Tensor,
) -> Option<Vec<i8>> {
    let storage = tensors.iter().find_map(|(&id, codes)| {
        let whole = model.tensor(id)?;
        let covers = codes.len() >= *model.storages.get(usize::from(whole.storage.0))? as usize;
        (whole.storage == tensor.storage && covers).then_some(codes)
    })?;
    let layout = tensor.layout;
    let mut gathered = Vec::with_capacity(layout.hwc.elements());
    for y in 0..layout.hwc.h {
        for x in 0..layout.hwc.w {
            let start = tensor.offset + y * layout.row_stride + x * layout.pixel_stride;
            let pixel = start as usize..(start + layout.hwc.c) as usize;
            gathered.extend_from_slice(storage.get(pixel)?);
        }
    }
    Some(gathered)
}
