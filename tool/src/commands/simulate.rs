//! `pipeit simulate`: a plan at work, event by event, on a machine that need not be here.

use std::io::Write;
use std::path::PathBuf;

use pipeit_planner::cost::Costs;
use pipeit_planner::plan::Plan;
use pipeit_planner::simulate::{Outcome, Simulation, Source, simulate_traced};
use serde_json::{Value, json};

use super::CommandError;
use super::import::write_file;
use crate::artefact;
use crate::load::load;
use crate::partition::{stages_of, usual_slots};
use crate::planning::{PlanArgs, Planner, Target, choose};
use crate::report::table;
use crate::search::SearchArgs;
use crate::trace;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Which plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Simulate a board instead of this machine: its name, see `pipeit boards`, or its board.toml
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["clusters", "cores", "path"])]
    pub board: Option<String>,
    /// Frames per second that come [default: a frame whenever there is a slot]
    #[arg(long, value_name = "FPS", value_parser = parse_positive)]
    pub rate: Option<f64>,
    /// Percent of the time between frames by which one is early or late at most
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, requires = "rate")]
    pub source_jitter: f64,
    /// Percent by which the time of a frame on a team varies at most
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub jitter: f64,
    /// Frames to simulate; the first quarter fills the pipeline and is not counted
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub frames: usize,
    /// Seed of what varies
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write a trace for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "want a number above 0".to_owned())
}

/// Runs the command.
///
/// # Errors
///
/// The network, the machine or the stages are refused.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let PlanArgs { machine, stages, slots, profile } = &args.plan;
    let target = Target::of(machine, args.board.as_deref(), profile.as_deref())?;
    let loaded = load(&args.model, &target.pack)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let planner = Planner::by(artefact.model, target.predictor.clone());
    let costs = planner.costs(&target.machine)?;
    let owned = match (stages, artefact.plans) {
        (None, [_, ..]) if target.is_here => choose(&artefact, &args.plan)?.1,
        (None, _) => {
            let found = SearchArgs::default().run(&planner, &target.machine)?;
            let partition = (&found.ranked[0].candidate.plan).into();
            planner.plan(&partition, &target.machine, *slots)?
        }
        (Some(text), _) => planner.stated(Some(text), &target.machine, *slots)?,
    };
    let plan = stages_of(&owned);
    let source = match args.rate {
        None => Source::Saturated,
        Some(rate) => Source::Paced { interval_ns: 1e9 / rate, jitter: args.source_jitter / 100.0 },
    };
    let simulation = Simulation {
        slots: slots.unwrap_or_else(|| usual_slots(&costs, &plan)),
        frames: args.frames,
        source,
        jitter: args.jitter / 100.0,
        seed: args.seed,
    };
    let (outcome, spans) = simulate_traced(&costs, &plan, simulation);
    if let Some(path) = &args.trace {
        write_file(path, trace::of_simulation(&spans, &plan, &costs).to_string().as_bytes())?;
    }
    let simulated = Simulated { outcome: &outcome, plan: &plan, costs: &costs, simulation };
    if args.json {
        writeln!(out, "{}", simulated.json())?;
        return Ok(());
    }
    simulated.write(out)?;
    writeln!(out, "times: {}", planner.predictor.source)?;
    Ok(())
}

struct Simulated<'a> {
    outcome: &'a Outcome,
    plan: &'a Plan,
    costs: &'a Costs,
    simulation: Simulation,
}

impl Simulated<'_> {
    fn teams(&self, stage: usize) -> String {
        let names = self.costs.names();
        let teams = self.plan.stages[stage].teams.iter();
        let team =
            |team: &pipeit_planner::plan::Team| format!("{}*{}", names[team.cluster], team.cores);
        teams.map(team).collect::<Vec<_>>().join("+")
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let outcome = self.outcome;
        writeln!(out, "{}", self.plan.spec(&self.costs.names()))?;
        let mut rows = table(&["stage", "teams", ">busy %", ">waits us", ">longest queue"]);
        let us = |ns: f64| format!("{:.1}", ns / 1e3);
        rows.add_row(["source", "", "", &us(outcome.source_wait_ns), ""]);
        for (index, stage) in outcome.stages.iter().enumerate() {
            let busy: Vec<_> = stage.busy.iter().map(|b| format!("{:.0}", 100.0 * b)).collect();
            rows.add_row([
                index.to_string(),
                self.teams(index),
                busy.join(" "),
                us(stage.wait_ns),
                stage.longest_queue.to_string(),
            ]);
        }
        rows.add_row(["sink", "", "", &us(outcome.sink_wait_ns), ""]);
        writeln!(out, "{rows}")?;
        let (frames, slots) = (self.simulation.frames, self.simulation.slots);
        writeln!(
            out,
            "{frames} frames, {slots} slots: {:.1} frames/s, {} us between frames; predicted {} us",
            1e9 / outcome.period_ns,
            us(outcome.period_ns),
            us(self.costs.predict(self.plan).period_ns),
        )?;
        let latency = &outcome.latency;
        let [min, median, p95, p99, max] =
            [latency.min_ns, latency.median_ns, latency.p95_ns, latency.p99_ns, latency.max_ns]
                .map(us);
        writeln!(out, "latency in us: min {min}, median {median}, p95 {p95}, p99 {p99}, max {max}")
    }

    fn json(&self) -> Value {
        let outcome = self.outcome;
        let stage = |(index, stage): (usize, &pipeit_planner::simulate::StageOutcome)| {
            json!({
                "teams": self.teams(index),
                "busy": stage.busy,
                "wait_ns": stage.wait_ns,
                "longest_queue": stage.longest_queue,
            })
        };
        json!({
            "spec": self.plan.spec(&self.costs.names()).to_string(),
            "slots": self.simulation.slots,
            "frames": self.simulation.frames,
            "period_ns": outcome.period_ns,
            "frames_per_second": 1e9 / outcome.period_ns,
            "predicted_period_ns": self.costs.predict(self.plan).period_ns,
            "latency_ns": {
                "min": outcome.latency.min_ns,
                "median": outcome.latency.median_ns,
                "p95": outcome.latency.p95_ns,
                "p99": outcome.latency.p99_ns,
                "max": outcome.latency.max_ns,
            },
            "source_wait_ns": outcome.source_wait_ns,
            "sink_wait_ns": outcome.sink_wait_ns,
            "stages": outcome.stages.iter().enumerate().map(stage).collect::<Vec<_>>(),
        })
    }
}
