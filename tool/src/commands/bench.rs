//! `pipeit bench`: frames per second and latency on this machine.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use pipeit_rt::kernels::Path;
use pipeit_rt::pipeline::InputFrame;
use pipeit_rt::platform::hosted::{Hosted, Machine};
use pipeit_rt::{Model, Plan};
use serde_json::{Value, json};

use super::{CommandError, spinner};
use crate::artefact;
use crate::layer_times::{layer_times, peak};
use crate::load::load;
use crate::measure::{Length, Measurement, measure};
use crate::noise::Noise;
use crate::planning::{PlanArgs, choose};
use crate::report::{self, table};
use crate::session::fill;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Which plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// How long to measure
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Times each layer, too, and says how near it comes to what the core can multiply
    #[arg(long)]
    pub per_layer: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=86400.0).contains(seconds));
    seconds.ok_or_else(|| "want 0.001 to 86400 seconds".to_owned())
}

/// Different frames that are sent in turn.
const FRAMES: usize = 4;

/// Runs the command.
///
/// # Errors
///
/// The network, the machine or the plan is refused; the pipeline fails.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let loaded = load(&args.model, &[args.plan.machine.cores.own_target()?])?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let (machine, plan) = choose(&artefact, &args.plan)?;
    let plan = plan.check(artefact.model)?;
    let mut noise = Noise::new(0);
    let frames: Vec<_> = (0..FRAMES).map(|_| noise.frame(artefact.model)).collect();
    let bar = spinner("measuring");
    let next = |index: usize, frame: &mut InputFrame<'_, '_, Hosted>| {
        fill(frame, &frames[index % FRAMES]);
    };
    let length = Length { time: Duration::from_secs_f64(args.seconds), frames: 0 };
    let measured = measure(&plan, &machine, length, next, |_, _| {})??;
    let layers = match args.per_layer {
        true => Some(Layers::measure(&plan, &machine, artefact.model, &frames, args.seconds)?),
        false => None,
    };
    bar.finish_and_clear();
    if args.json {
        let mut report = report_json(&measured, &plan, &machine);
        if let Some(layers) = &layers {
            report["peak_gmac_per_s"] = layers.peak.into();
            report["layers"] = layers.rows.iter().map(LayerRow::json).collect();
        }
        writeln!(out, "{report}")?;
        return Ok(());
    }
    if let Some(layers) = &layers {
        writeln!(out, "{}", layers.table())?;
        writeln!(
            out,
            "peak of one core: {:.1} GMAC/s, of a convolution in the caches, without Winograd's filtering\n",
            layers.peak
        )?;
    }
    writeln!(out, "{}", stage_table(&measured, &plan, &machine))?;
    let (frames, seconds) = (measured.frames, measured.seconds);
    let (rate, balance) = (measured.frames_per_second(), 100.0 * measured.balance());
    writeln!(out, "{frames} frames in {seconds:.2} s: {rate:.1} frames/s, balance {balance:.1} %")?;
    let ms = |part| measured.latency_ms(part);
    let [p50, p90, p99, max] = [ms(0.5), ms(0.9), ms(0.99), ms(1.0)];
    writeln!(out, "latency in ms: p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, max {max:.3}")?;
    Ok(())
}

/// Every layer, measured.
struct Layers {
    rows: Vec<LayerRow>,
    /// What one core can multiply, in GMAC/s.
    peak: f64,
}

struct LayerRow {
    layer: u16,
    op: &'static str,
    /// Input and output extents.
    shapes: String,
    macs: u64,
    outputs: usize,
    /// Medians over frames.
    ns: u64,
    /// Part of what the team's cores can multiply.
    share: f64,
}

impl Layers {
    fn measure(
        plan: &Plan<'_>,
        machine: &Machine,
        model: &Model<'_>,
        frames: &[Vec<Vec<i8>>],
        seconds: f64,
    ) -> Result<Self, CommandError> {
        let times = layer_times(plan, machine, frames, Duration::from_secs_f64(seconds))?;
        let path = plan.needs.paths.first().copied().unwrap_or(Path::Reference);
        let peak = peak(machine, path)?;
        let row = |(layer, times): (u16, &Vec<u64>)| {
            let stage = plan.stages.iter().position(|stage| stage.layers.contains(&layer));
            let cores = stage.and_then(|stage| plan.teams_of(stage).first()).map_or(1, |t| t.cores);
            let ns = times.get(times.len() / 2).copied().unwrap_or(0);
            let macs = model.macs(layer);
            LayerRow {
                layer,
                op: report::op_name(model, layer),
                shapes: report::shapes(model, layer),
                macs,
                outputs: report::outputs(model, layer),
                ns,
                share: macs as f64 / (ns.max(1) as f64 * peak * f64::from(cores)),
            }
        };
        Ok(Self { rows: (0..).zip(&times).map(row).collect(), peak })
    }

    fn table(&self) -> comfy_table::Table {
        let headings =
            ["layer", "operator", "shapes", ">MMAC", ">us", ">GMAC/s", ">ns/output", ">of peak"];
        let mut table = table(&headings);
        for row in &self.rows {
            table.add_row([
                row.layer.to_string(),
                row.op.to_owned(),
                row.shapes.clone(),
                format!("{:.2}", row.macs as f64 / 1e6),
                format!("{:.1}", row.ns as f64 / 1e3),
                format!("{:.1}", row.gmac_per_s()),
                format!("{:.3}", row.ns_per_output()),
                if row.macs > 0 { format!("{:.0} %", 100.0 * row.share) } else { String::new() },
            ]);
        }
        table
    }
}

impl LayerRow {
    fn gmac_per_s(&self) -> f64 {
        self.macs as f64 / self.ns.max(1) as f64
    }

    fn ns_per_output(&self) -> f64 {
        self.ns as f64 / self.outputs.max(1) as f64
    }

    fn json(&self) -> Value {
        json!({
            "layer": self.layer,
            "op": self.op,
            "shapes": self.shapes,
            "macs": self.macs,
            "ns": self.ns,
            "gmac_per_s": self.gmac_per_s(),
            "ns_per_output": self.ns_per_output(),
            "of_peak": self.share,
        })
    }
}

/// The stages of a measured plan, a row each.
#[must_use]
pub fn stage_table(
    measured: &Measurement,
    plan: &Plan<'_>,
    machine: &Machine,
) -> comfy_table::Table {
    let mut table = table(&["stage", "layers", "teams", "CPUs", ">busy", ">starved"]);
    for (index, (stage, load)) in plan.stages.iter().zip(&measured.stages).enumerate() {
        let teams = plan.teams_of(index);
        let cpus: Vec<_> = report::cpus(teams, machine).iter().map(usize::to_string).collect();
        table.add_row([
            index.to_string(),
            report::layers(stage),
            report::teams(teams, machine),
            cpus.join(","),
            format!("{:.1} %", 100.0 * load.busy),
            format!("{:.1} %", 100.0 * load.starved),
        ]);
    }
    table
}

/// What was measured of a plan.
#[must_use]
pub fn report_json(measured: &Measurement, plan: &Plan<'_>, machine: &Machine) -> Value {
    let stages = plan.stages.iter().zip(&measured.stages).enumerate();
    let stages = stages.map(|(index, (stage, load))| {
        let teams = plan.teams_of(index);
        json!({
            "layers": [stage.layers.start, stage.layers.end - 1],
            "teams": report::teams(teams, machine),
            "cpus": report::cpus(teams, machine),
            "busy": load.busy,
            "starved": load.starved,
        })
    });
    let mut cores = report::cpus(plan.teams, machine);
    cores.sort_unstable();
    cores.dedup();
    json!({
        "frames_per_second": measured.frames_per_second(),
        "frames": measured.frames,
        "seconds": measured.seconds,
        "latency_ms": {
            "p50": measured.latency_ms(0.5),
            "p90": measured.latency_ms(0.9),
            "p99": measured.latency_ms(0.99),
            "max": measured.latency_ms(1.0),
        },
        "cores": cores,
        "balance": measured.balance(),
        "plan": report::spec(plan, machine),
        "stages": stages.collect::<Vec<_>>(),
    })
}
