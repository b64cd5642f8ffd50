//! `pipeit bench`: frames per second and latency on this machine.

use std::io::Write;
use std::path::PathBuf;

use pipeit_rt::Plan;
use pipeit_rt::pipeline::InputFrame;
use pipeit_rt::platform::hosted::{Hosted, Machine};
use serde_json::{Value, json};

use super::{CommandError, spinner};
use crate::artefact;
use crate::load::load;
use crate::measure::{Length, Measurement, measure};
use crate::noise::Noise;
use crate::planning::{PlanArgs, choose};
use crate::report::{self, table};
use crate::session::{fill, with_pipeline};

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
    let loaded = load(&args.model, args.plan.machine.cores.path()?)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let (machine, plan) = choose(&artefact, &args.plan)?;
    let plan = plan.check(artefact.model)?;
    let mut noise = Noise::new(0);
    let frames: Vec<_> = (0..FRAMES).map(|_| noise.frame(artefact.model)).collect();
    let bar = spinner("measuring");
    let measured = with_pipeline(&plan, &machine, |pipeline| {
        let next = |index: usize, frame: &mut InputFrame<'_, '_, Hosted>| {
            fill(frame, &frames[index % FRAMES]);
        };
        measure(pipeline, Length { seconds: args.seconds, frames: 0 }, next, |_, _| {})
    })??;
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{}", report_json(&measured, &plan, &machine))?;
        return Ok(());
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
