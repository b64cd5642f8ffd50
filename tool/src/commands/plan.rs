//! `pipeit plan`: the best stages and teams, and why.

use std::io::Write;
use std::path::PathBuf;

use pipeit_planner::cost::Costs;
use pipeit_planner::explain::Ranked;
use pipeit_planner::explore::Candidate;
use pipeit_planner::predict::Predictor;
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::Machine;
use serde_json::{Value, json};

use super::CommandError;
use super::import::write_file;
use crate::artefact;
use crate::contest::Contest;
use crate::load::load;
use crate::partition::Partition;
use crate::planning::{PlanArgs, Planner, Target, choose};
use crate::report::{self, grouped, table};
use crate::search::{Found, SearchArgs};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Which plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Plan for a board instead of this machine: its name, see `pipeit boards`, or its board.toml
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["clusters", "cores", "path"])]
    pub board: Option<String>,
    /// How to search.
    #[command(flatten)]
    pub search: SearchArgs,
    /// Runs the best plans and takes the fastest
    #[arg(long, conflicts_with = "board")]
    pub measure: bool,
    /// Runs all plans there are, and says how the one picked does among them
    #[arg(long, requires = "measure")]
    pub exhaustive: bool,
    /// Lists the plans of which none is better in both throughput and latency
    #[arg(long, conflicts_with_all = ["measure", "output", "stages"])]
    pub pareto: bool,
    /// Write an artefact with this plan
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The network, the machine or the stages are refused; no plan keeps to the limits.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let PlanArgs { machine, stages, slots, profile } = &args.plan;
    let target = Target::of(machine, args.board.as_deref(), profile.as_deref())?;
    let loaded = load(&args.model, &target.pack)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let planner = Planner::by(artefact.model, target.predictor.clone());
    if args.pareto {
        let front = args.search.front(&planner, &target.machine)?;
        return write_front(&front, &planner.costs(&target.machine)?, args.json, out);
    }
    let is_given = stages.is_some() || !(artefact.plans.is_empty() || args.search.is_stated());
    let (owned, found) = if is_given && target.is_here {
        (choose(&artefact, &args.plan)?.1, None)
    } else if is_given {
        (planner.stated(stages.as_deref(), &target.machine, *slots)?, None)
    } else {
        let mut found = args.search.run(&planner, &target.machine)?;
        let contest = match args.measure {
            true => Some(Contest::hold(&mut found, &planner, &target.machine, args.exhaustive)?),
            false => None,
        };
        let best = &found.ranked[0];
        let slots = slots.unwrap_or(best.slots);
        let partition = Partition::from(&best.candidate.plan);
        let owned = planner.plan(&partition, &target.machine, Some(slots))?;
        (owned, Some((found, contest)))
    };
    let plan = owned.check(artefact.model)?;
    if let Some(path) = &args.output {
        write_file(path, &artefact::write(artefact.model, std::slice::from_ref(&owned), &[])?)?;
    }
    let shown = Shown { plan: &plan, machine: &target.machine, predictor: &planner.predictor };
    if args.json {
        let mut json = report::plan_json(&plan, &target.machine);
        json["source"] = planner.predictor.source.clone().into();
        if let Some((found, contest)) = &found {
            shown.add_json(found, contest.as_ref(), &mut json);
        }
        writeln!(out, "{json}")?;
        return Ok(());
    }
    writeln!(out, "{}", report::spec(&plan, &target.machine))?;
    match &found {
        Some((found, contest)) => shown.write(found, contest.as_ref(), out)?,
        None => {
            let periods = (0..plan.stages.len()).map(|stage| report::period_ns(&plan, stage));
            let period_us = periods.fold(0.0, f64::max) / 1e3;
            let balance = 100.0 * report::predicted_balance(&plan);
            writeln!(out, "{}", report::plan_table(&plan, &target.machine))?;
            writeln!(out, "balance {balance:.1} %, {period_us:.0} us between frames (predicted)")?;
        }
    }
    writeln!(out, "{}", report::memory_line(&plan))?;
    writeln!(out, "times: {}", planner.predictor.source)?;
    Ok(())
}

/// Plans that are listed at most.
const RIVALS: usize = 10;

/// A plan and what it was found by.
struct Shown<'a> {
    plan: &'a Plan<'a>,
    machine: &'a Machine,
    predictor: &'a Predictor,
}

impl Shown<'_> {
    /// Mean error of predicted times, the largest of the clusters at work; None where a cluster
    /// has not been measured.
    fn error(&self, candidate: &Candidate) -> Option<f64> {
        let clusters = candidate.plan.clusters();
        let errors = clusters.iter().map(|cluster| {
            let name = &self.machine.clusters.get(cluster)?.name;
            self.predictor.cluster(name)?.error
        });
        errors.collect::<Option<Vec<_>>>().map(|errors| errors.into_iter().fold(0.0, f64::max))
    }

    fn spec(&self, candidate: &Candidate, costs: &Costs) -> String {
        candidate.plan.spec(&costs.names()).to_string()
    }

    fn write(
        &self,
        found: &Found,
        contest: Option<&Contest>,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let Ranked { candidate, simulated, .. } = &found.ranked[0];
        let prediction = &candidate.prediction;
        let error = self.error(candidate);
        let bar = |ns: f64| match error {
            Some(error) => format!("{:.1} ±{:.1}", ns / 1e3, error * ns / 1e3),
            None => format!("{:.1}", ns / 1e3),
        };
        let bubbles = prediction.bubbles();
        let mut stages = table(&[
            "stage",
            "layers",
            "teams",
            ">predicted us",
            ">idle %",
            ">waits us",
            ">arena bytes/team",
        ]);
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let wait_ns = simulated.stages.get(index).map_or(0.0, |stage| stage.wait_ns);
            stages.add_row([
                index.to_string(),
                report::layers(stage),
                report::teams(self.plan.teams_of(index), self.machine),
                prediction.stages.get(index).map_or_else(String::new, |s| bar(s.period_ns)),
                format!("{:.1}", 100.0 * bubbles.get(index).copied().unwrap_or(0.0)),
                format!("{:.1}", wait_ns / 1e3),
                grouped(stage.arena_bytes.into()),
            ]);
        }
        writeln!(out, "{stages}")?;
        writeln!(
            out,
            "{} us between frames, {:.1} frames/s; simulated {:.1} us",
            bar(prediction.period_ns),
            prediction.frames_per_s(),
            simulated.period_ns / 1e3,
        )?;
        writeln!(
            out,
            "latency {:.1} us alone; simulated, full: median {:.1} us, p99 {:.1} us",
            prediction.latency_ns / 1e3,
            simulated.latency.median_ns / 1e3,
            simulated.latency.p99_ns / 1e3,
        )?;
        writeln!(
            out,
            "bottleneck: stage {}; balance {:.1} %; {:.3} mJ per frame",
            prediction.bottleneck(),
            100.0 * prediction.balance(),
            prediction.energy_nj / 1e6,
        )?;
        if found.ranked.len() > 1 {
            writeln!(out, "\nplans compared:")?;
            writeln!(out, "{}", self.rivals(found, contest))?;
        }
        if let Some(contest) = contest {
            writeln!(
                out,
                "{} plans measured: the one picked is {:.1} % slower than the fastest; simulated \
                 periods are off by {:.1} % in the median",
                contest.plans,
                100.0 * contest.loss(),
                100.0 * contest.simulation_error,
            )?;
        }
        if !found.slowed.is_empty() {
            writeln!(out, "\n10 % slower:")?;
            writeln!(out, "{}", self.slower(found))?;
        }
        writeln!(out)?;
        Ok(())
    }

    fn rivals(&self, found: &Found, contest: Option<&Contest>) -> comfy_table::Table {
        let mut headings = vec!["plan", ">predicted us", ">simulated us", ">slots"];
        if contest.is_some() {
            headings.push(">measured us");
        }
        let mut rivals = table(&headings);
        let shown = found.ranked.iter().enumerate().take(RIVALS);
        for (index, Ranked { candidate, slots, simulated }) in shown {
            let us = |ns: f64| format!("{:.1}", ns / 1e3);
            let mut row = vec![
                self.spec(candidate, &found.costs),
                us(candidate.prediction.period_ns),
                us(simulated.period_ns),
                slots.to_string(),
            ];
            row.extend(contest.and_then(|contest| contest.period_ns.get(index)).map(|&ns| us(ns)));
            rivals.add_row(row);
        }
        rivals
    }

    fn slower(&self, found: &Found) -> comfy_table::Table {
        let mut rows = table(&["cluster", ">this plan us", ">best then us", "best then"]);
        for slowed in &found.slowed {
            rows.add_row([
                found.costs.names()[slowed.cluster].to_owned(),
                format!("{:.1}", slowed.period_ns / 1e3),
                format!("{:.1}", slowed.best.prediction.period_ns / 1e3),
                self.spec(&slowed.best, &found.costs),
            ]);
        }
        rows
    }

    fn add_json(&self, found: &Found, contest: Option<&Contest>, json: &mut Value) {
        let Ranked { candidate, simulated, .. } = &found.ranked[0];
        let prediction = &candidate.prediction;
        json["search_ms"] = found.search_ms.into();
        json["period_ns"] = prediction.period_ns.into();
        json["frames_per_second"] = prediction.frames_per_s().into();
        json["latency_ns"] = prediction.latency_ns.into();
        json["energy_nj"] = prediction.energy_nj.into();
        json["error"] = self.error(candidate).into();
        json["bottleneck"] = prediction.bottleneck().into();
        json["bubbles"] = prediction.bubbles().into();
        json["simulated_period_ns"] = simulated.period_ns.into();
        json["simulated_latency_ns"] = json!({
            "median": simulated.latency.median_ns,
            "p99": simulated.latency.p99_ns,
        });
        let rival = |(index, ranked): (usize, &Ranked)| {
            json!({
                "spec": self.spec(&ranked.candidate, &found.costs),
                "period_ns": ranked.candidate.prediction.period_ns,
                "simulated_period_ns": ranked.simulated.period_ns,
                "slots": ranked.slots,
                "measured_period_ns": contest.map(|contest| contest.period_ns[index]),
            })
        };
        json["plans"] = found.ranked.iter().enumerate().map(rival).collect();
        if let Some(contest) = contest {
            json["measured"] = json!({
                "plans": contest.plans,
                "picked": contest.picked,
                "picked_period_ns": contest.period_ns[contest.picked],
                "fastest_period_ns": contest.period_ns[0],
                "loss": contest.loss(),
                "simulation_error": contest.simulation_error,
            });
        }
        let slower = found.slowed.iter().map(|slowed| {
            json!({
                "cluster": found.costs.names()[slowed.cluster],
                "period_ns": slowed.period_ns,
                "best_period_ns": slowed.best.prediction.period_ns,
                "best": self.spec(&slowed.best, &found.costs),
            })
        });
        json["slower_10_percent"] = slower.collect();
    }
}

fn write_front(
    front: &[Candidate],
    costs: &Costs,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    if json {
        let plan = |candidate: &Candidate| {
            json!({
                "spec": candidate.plan.spec(&costs.names()).to_string(),
                "period_ns": candidate.prediction.period_ns,
                "latency_ns": candidate.prediction.latency_ns,
                "energy_nj": candidate.prediction.energy_nj,
                "ram_bytes": candidate.ram_bytes,
            })
        };
        writeln!(out, "{}", Value::Array(front.iter().map(plan).collect()))?;
        return Ok(());
    }
    let mut rows = table(&["plan", ">frames/s", ">latency us", ">mJ", ">RAM bytes"]);
    for candidate in front {
        let prediction = &candidate.prediction;
        rows.add_row([
            candidate.plan.spec(&costs.names()).to_string(),
            format!("{:.1}", prediction.frames_per_s()),
            format!("{:.1}", prediction.latency_ns / 1e3),
            format!("{:.3}", prediction.energy_nj / 1e6),
            grouped(candidate.ram_bytes.unwrap_or(0)),
        ]);
    }
    writeln!(out, "{rows}")?;
    Ok(())
}
