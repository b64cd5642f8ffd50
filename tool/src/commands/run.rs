//! `pipeit run`: pictures, arrays or noise through a network.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pipeit_rt::artefact::Checksum;
use pipeit_rt::live::Slowness;
use pipeit_rt::model::Port;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_rt::topology::ClusterId;
use pipeit_rt::{Plan, Platform};
use serde_json::{Value, json};

use super::import::write_file;
use super::{CommandError, progress};
use crate::arrays::{Array, ArrayReason, dequantize};
use crate::artefact;
use crate::images::{self, ImageInput, Normalize};
use crate::load::load;
use crate::noise::Noise;
use crate::planning::{PlanArgs, choose, choose_all};
use crate::report;
use crate::session::{fill, stream_live};
use crate::trace::{self, Tracing};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Pictures (PNG, JPEG, BMP), folders of them, or arrays (.npy) of one or more frames
    #[arg(required_unless_present = "noise")]
    pub images: Vec<PathBuf>,
    /// Sends N frames of noise instead and prints a checksum of all outputs: what a firmware
    /// has to print, too
    #[arg(long, value_name = "N", conflicts_with_all = ["images", "labels", "normalize"])]
    pub noise: Option<usize>,
    /// Text file with the name of a class per line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Classes to print per picture
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub top: usize,
    /// What the network expects for a pixel [default: what fits its input's quantisation]
    #[arg(long)]
    pub normalize: Option<Normalize>,
    /// Which plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Change to another plan when a cluster is slower than predicted for long, or fast again
    #[arg(long, conflicts_with = "trace")]
    pub live: bool,
    /// Write what every core did when, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Changes from one plan to another.
#[derive(Debug)]
struct Changes {
    begun: Instant,
    all: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    /// Frames finished before, and the seconds they took.
    frames: u64,
    seconds: f64,
    stages: String,
    /// Clusters and how many times the predicted time they take.
    slowness: Vec<(String, f64)>,
}

impl Changes {
    fn new() -> Self {
        Self { begun: Instant::now(), all: Vec::new() }
    }

    fn add(&mut self, frames: u64, plan: &Plan<'_>, slowness: &Slowness, machine: &Machine) {
        let factor = |(index, cluster): (u8, &HostCluster)| {
            (cluster.name.clone(), f64::from(slowness.permille(ClusterId(index))) / 1e3)
        };
        let slowness = (0..).zip(&machine.clusters).map(factor).collect();
        let (seconds, stages) = (self.begun.elapsed().as_secs_f64(), report::spec(plan, machine));
        self.all.push(Change { frames, seconds, stages, slowness });
    }

    fn json(&self) -> Value {
        let change = |change: &Change| {
            json!({
                "frames": change.frames,
                "seconds": change.seconds,
                "stages": change.stages,
                "slowness": change.slowness.iter().cloned().collect::<BTreeMap<_, _>>(),
            })
        };
        self.all.iter().map(change).collect()
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for Change { frames, seconds, stages, slowness } in &self.all {
            let slowness: Vec<_> =
                slowness.iter().map(|(name, factor)| format!("{name} {factor:.2}")).collect();
            let slowness = slowness.join(", ");
            writeln!(
                out,
                "after {frames} frames, {seconds:.2} s: {stages} (times predicted: {slowness})"
            )?;
        }
        Ok(())
    }
}

/// A frame to be.
enum Source {
    Picture(PathBuf),
    Frame { name: String, codes: Vec<i8> },
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Picture(path) => path.display().to_string(),
            Self::Frame { name, .. } => name.clone(),
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// The network, the plan, a picture or an array is refused; the pipeline fails.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    match args.trace {
        Some(_) => run_on::<Tracing>(args, out),
        None => run_on::<Hosted>(args, out),
    }
}

fn run_on<P: Platform>(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let labels = args.labels.as_deref().map(read_labels).transpose()?.unwrap_or_default();
    let loaded = load(&args.model, &[args.plan.machine.cores.own_target()?])?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let model = artefact.model;
    let (machine, plans) = match args.live {
        true => choose_all(&artefact, &args.plan)?,
        false => choose(&artefact, &args.plan).map(|(machine, plan)| (machine, vec![plan]))?,
    };
    let plans: Vec<_> = plans.iter().map(|plan| plan.check(model)).collect::<Result<_, _>>()?;
    let [plan, ..] = &plans[..] else { return Ok(()) };
    if let Some(frames) = args.noise {
        run_noise::<P>(&plans, &machine, frames, args.json, out)?;
        return write_trace(args.trace.as_deref(), plan);
    }
    let ([input], [output, ..]) = (model.inputs, model.outputs) else {
        return Err(CommandError::Inputs { inputs: model.inputs.len() });
    };
    let Some(shape) = model.tensor(input.tensor).map(|tensor| tensor.shape) else {
        return Err(CommandError::Inputs { inputs: 0 });
    };
    let mut sources = Vec::new();
    for path in &args.images {
        if path.extension().is_some_and(|extension| extension == "npy") {
            let error = |reason: ArrayReason| reason.of(path);
            let frames = Array::load(path)?.codes(input, &shape).map_err(error)?;
            if frames.is_empty() {
                return Err(error(ArrayReason::Frames { found: 0, wanted: "one or more" }).into());
            }
            sources.extend(frames.into_iter().enumerate().map(|(i, codes)| Source::Frame {
                name: format!("{}[{i}]", path.display()),
                codes,
            }));
        } else {
            sources.extend(images::files(path)?.into_iter().map(Source::Picture));
        }
    }
    let is_picture = |source: &Source| matches!(source, Source::Picture(_));
    let pictures = sources
        .iter()
        .any(is_picture)
        .then(|| ImageInput::new(input, &shape, args.normalize))
        .transpose()?;

    let bar = progress(sources.len(), "frames");
    let names: Vec<_> = sources.iter().map(Source::name).collect();
    let mut sources = sources.into_iter();
    let mut failure = None;
    let mut results = Vec::new();
    let mut changes = Changes::new();
    stream_live::<P>(
        &plans,
        &machine,
        |frame| {
            let codes = match (sources.next(), &pictures) {
                (Some(Source::Picture(path)), Some(pictures)) => pictures.load(&path),
                (Some(Source::Frame { codes, .. }), _) => Ok(codes),
                _ => return false,
            };
            match codes {
                Ok(codes) => fill(frame, &[codes]),
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        },
        |frame| {
            results.push(best(frame.output(0).unwrap_or_default(), args.top));
            bar.inc(1);
        },
        |plan, slowness| changes.add(bar.position(), plan, slowness, &machine),
    )??;
    let seconds = changes.begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if let Some(error) = failure {
        return Err(error.into());
    }
    write_trace(args.trace.as_deref(), plan)?;

    let results: Vec<_> = names.into_iter().zip(results).collect();
    let frames_per_second = results.len() as f64 / seconds;
    let label = |index: usize| labels.get(index).map(String::as_str);
    if args.json {
        let images = results.iter().map(|(name, top)| image_json(name, top, output, label));
        let report = json!({
            "images": images.collect::<Vec<_>>(),
            "frames": results.len(),
            "seconds": seconds,
            "frames_per_second": frames_per_second,
            "changes": changes.json(),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    changes.write(out)?;
    for (name, top) in &results {
        writeln!(out, "{name}")?;
        for &(index, code) in top {
            let name = label(index).map_or_else(|| index.to_string(), str::to_owned);
            writeln!(out, "  {:8.4}  {name}", dequantize(code, output))?;
        }
    }
    let frames = results.len();
    writeln!(out, "{frames} frames in {seconds:.2} s: {frames_per_second:.1} frames/s")?;
    Ok(())
}

fn write_trace(path: Option<&Path>, plan: &Plan<'_>) -> Result<(), CommandError> {
    let Some(path) = path else { return Ok(()) };
    write_file(path, trace::of_run("pipeit run", &trace::take(), plan).to_string().as_bytes())
}

/// The seed of the frames of `--noise`: another than that of golden vectors.
const NOISE_SEED: u64 = 1;

fn run_noise<P: Platform>(
    plans: &[Plan<'_>],
    machine: &Machine,
    frames: usize,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut noise = Noise::new(NOISE_SEED);
    let mut left = frames;
    let mut outputs = Checksum::new();
    let bar = progress(frames, "frames");
    let mut changes = Changes::new();
    stream_live::<P>(
        plans,
        machine,
        |frame| {
            let more = left > 0;
            if more {
                left -= 1;
                fill(frame, &noise.frame(plans[0].model()));
            }
            more
        },
        |frame| {
            for codes in (0..).map_while(|output| frame.output(output)) {
                outputs.update(&codes.iter().map(|&code| code as u8).collect::<Vec<_>>());
            }
            bar.inc(1);
        },
        |plan, slowness| changes.add(bar.position(), plan, slowness, machine),
    )??;
    let seconds = changes.begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let hash = format!("{:08x}", outputs.finish());
    if json {
        let changes = changes.json();
        let report =
            json!({ "frames": frames, "seconds": seconds, "hash": hash, "changes": changes });
        writeln!(out, "{report}")?;
    } else {
        changes.write(out)?;
        writeln!(out, "{frames} frames of noise in {seconds:.2} s, hash {hash}")?;
    }
    Ok(())
}

fn image_json<'l>(
    name: &str,
    top: &[(usize, i8)],
    output: &Port,
    label: impl Fn(usize) -> Option<&'l str>,
) -> Value {
    let class = |&(index, code): &(usize, i8)| json!({ "index": index, "label": label(index), "value": dequantize(code, output) });
    json!({ "image": name, "top": top.iter().map(class).collect::<Vec<_>>() })
}

/// The `count` largest codes with their indices, largest first, the first of equals first.
#[must_use]
pub fn best(codes: &[i8], count: usize) -> Vec<(usize, i8)> {
    let mut classes: Vec<_> = codes.iter().copied().enumerate().collect();
    classes.sort_by_key(|&(_, code)| std::cmp::Reverse(code));
    classes.truncate(count);
    classes
}

fn read_labels(path: &Path) -> Result<Vec<String>, CommandError> {
    let text = fs::read_to_string(path)
        .map_err(|source| CommandError::File { path: path.to_owned(), source })?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_comes_first() {
        assert_eq!(best(&[1, 3, -5, 3], 3), [(1, 3), (3, 3), (0, 1)]);
        assert_eq!(best(&[7], 5), [(0, 7)]);
    }
}
