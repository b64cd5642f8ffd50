//! `pipeit demo`: the built-in network reads handwritten digits on this machine's cores.

use std::io::Write;
use std::time::Duration;

use pipeit_rt::model::Model;
use pipeit_rt::pipeline::InputFrame;
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use serde_json::json;

use super::CommandError;
use super::bench::{report_json, stage_table};
use super::run::best;
use crate::arrays::{Array, ArrayReason, Elements, dequantize};
use crate::artefact;
use crate::load::from_bytes;
use crate::machine::MachineArgs;
use crate::measure::{Length, Measurement, measure};
use crate::partition::Partition;
use crate::planning::Planner;
use crate::session::fill;

/// Flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// The machine to run on.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

const NETWORK: &[u8] = include_bytes!("../../data/digits/digits.tflite");
const IMAGES: &[u8] = include_bytes!("../../data/digits/images.npy");
const LABELS: &[u8] = include_bytes!("../../data/digits/labels.npy");
const EXPECTED: &[u8] = include_bytes!("../../data/digits/expected.npy");
const NAMES: &str = include_str!("../../data/digits/labels.txt");

/// Pixels of a side of an image.
const SIDE: usize = 8;
/// Images printed.
const SHOWN: usize = 4;
/// How long the pipeline runs.
const PIPELINE_TIME: Duration = Duration::from_secs(2);
/// How long one core runs for comparison.
const SINGLE_TIME: Duration = Duration::from_secs(1);

/// The held-out images with their classes and the outputs of TFLite's reference kernels.
struct Digits {
    images: Vec<Vec<i8>>,
    labels: Vec<u8>,
    expected: Vec<Vec<i8>>,
}

impl Digits {
    fn read(model: &Model<'_>) -> Result<Self, ArrayReason> {
        let codes = |bytes, ports: &[pipeit_rt::model::Port]| {
            let port = ports.first().zip(ports.first().and_then(|p| model.tensor(p.tensor)));
            let array = Array::read(bytes)?;
            port.map_or(Ok(Vec::new()), |(port, tensor)| array.codes(port, &tensor.shape))
        };
        let labels = match Array::read(LABELS)?.elements {
            Elements::U8(labels) => labels,
            _ => Vec::new(),
        };
        let images = codes(IMAGES, model.inputs)?;
        Ok(Self { images, labels, expected: codes(EXPECTED, model.outputs)? })
    }

    /// The part of the images whose likeliest class is their own, 0 to 1.
    fn accuracy(&self, outputs: &[Vec<i8>]) -> f64 {
        let right = outputs.iter().zip(&self.labels);
        let right = right.filter(|(codes, label)| class(codes).0 == usize::from(**label));
        right.count() as f64 / self.labels.len().max(1) as f64
    }
}

/// The likeliest class and its code.
fn class(codes: &[i8]) -> (usize, i8) {
    best(codes, 1).first().copied().unwrap_or_default()
}

/// Runs the command.
///
/// # Errors
///
/// An output differs from that of TFLite's reference kernels; the machine is refused.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let machine = args.machine.machine()?;
    let target = args.machine.cores.own_target()?;
    let loaded = from_bytes(NETWORK, Some("tflite"), &[target])?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let model = artefact::open(&loaded.bytes, &mut tables)?.model;
    let planner = Planner::new(model, target.path);
    let partition = planner.pipeline(&machine)?;
    let plan = |partition: &Partition| planner.plan(partition, &machine, None);
    let (owned, owned_single) = (plan(&partition)?, plan(&Partition::one_core())?);
    let (plan, plan_single) = (owned.check(model)?, owned_single.check(model)?);
    let digits = Digits::read(model).map_err(|reason| reason.of("the built-in digits".as_ref()))?;

    let (measured, outputs) = stream(&plan, &machine, &digits, "pipeline", PIPELINE_TIME)?;
    let (single, _) = stream(&plan_single, &machine, &digits, "single core", SINGLE_TIME)?;
    let accuracy = 100.0 * digits.accuracy(&outputs);
    if args.json {
        let report = json!({
            "accuracy_percent": accuracy,
            "images": outputs.len(),
            "bit_exact": true,
            "pipeline": report_json(&measured, &plan, &machine),
            "one_core_frames_per_second": single.frames_per_second(),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    let layers = model.layers.len();
    writeln!(
        out,
        "handwritten digits, {layers} layers, planned over {}\n",
        machine_line(&machine)
    )?;
    print_digits(&digits, &outputs, model, out)?;
    writeln!(out)?;
    writeln!(out, "{}", stage_table(&measured, &plan, &machine))?;
    if plan.stages.len() == 1 {
        writeln!(out, "one core, thus one stage")?;
    } else {
        writeln!(out, "balance {:.1} %", 100.0 * measured.balance())?;
    }
    let (fast, slow) = (measured.frames_per_second(), single.frames_per_second());
    writeln!(out, "{fast:.0} frames/s through the pipeline, {slow:.0} frames/s on one core")?;
    writeln!(out, "accuracy {accuracy:.1} % on {} held-out images", outputs.len())?;
    writeln!(out, "every byte equals one core's and those of TFLite's reference kernels")?;
    Ok(())
}

/// The clusters with their CPUs: `big 0,1, little 2`.
fn machine_line(machine: &Machine) -> String {
    let cluster = |cluster: &HostCluster| {
        let cpus: Vec<_> = cluster.cpus.iter().map(usize::to_string).collect();
        format!("{} {}", cluster.name, cpus.join(","))
    };
    machine.clusters.iter().map(cluster).collect::<Vec<_>>().join(", ")
}

/// Streams the images over and over; the outputs are those of the first round. Every output
/// of every round is compared.
fn stream(
    plan: &Plan<'_>,
    machine: &Machine,
    digits: &Digits,
    what: &'static str,
    time: Duration,
) -> Result<(Measurement, Vec<Vec<i8>>), CommandError> {
    let count = digits.images.len();
    let mut outputs = Vec::with_capacity(count);
    let mut wrong = None;
    let next = |index: usize, frame: &mut InputFrame<'_, '_, Hosted>| {
        fill(frame, std::slice::from_ref(&digits.images[index % count]));
    };
    let length = Length { time, frames: count };
    let measured = measure(plan, machine, length, next, |index, frame| {
        let found = frame.output(0).unwrap_or_default();
        if found != digits.expected[index % count] {
            wrong = wrong.or(Some(index));
        }
        if index < count {
            outputs.push(found.to_vec());
        }
    })??;
    match wrong {
        Some(frame) => Err(CommandError::Demo { what, frame }),
        None => Ok((measured, outputs)),
    }
}

/// The first images side by side, with the classes found.
fn print_digits(
    digits: &Digits,
    outputs: &[Vec<i8>],
    model: &Model<'_>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    const INK: &[u8] = b" .:-=+*#%@";
    let ink = |code: i8| {
        let level = (i16::from(code) + 128) as usize * INK.len() / 256;
        char::from(INK[level]).to_string().repeat(2)
    };
    for y in 0..SIDE {
        let row = |image: &Vec<i8>| {
            image.chunks(SIDE).nth(y).unwrap_or_default().iter().map(|&code| ink(code)).collect()
        };
        let rows: Vec<String> = digits.images.iter().take(SHOWN).map(row).collect();
        writeln!(out, "  {}", rows.join("  ").trim_end())?;
    }
    let caption = |codes: &Vec<i8>| {
        let (index, code) = class(codes);
        let name = NAMES.lines().nth(index).unwrap_or_default();
        let part = model.outputs.first().map_or(0.0, |port| dequantize(code, port));
        format!("{:<16}", format!("{name} ({:.1} %)", 100.0 * part))
    };
    let captions: Vec<_> = outputs.iter().take(SHOWN).map(caption).collect();
    writeln!(out, "  {}", captions.join("  ").trim_end())
}
