//! The search for a plan: objectives and limits, rivals ranked by simulation and measurement.

use std::time::Instant;

use clap::ValueEnum;
use pipeit_planner::cost::Costs;
use pipeit_planner::explain::{Ranked, Slowed, rank, slowed};
use pipeit_planner::explore::{Candidate, Criterion, Explorer, Limits, Memory, Objective, paper};
use pipeit_planner::plan::Plan;
use pipeit_planner::simulate::{Simulation, simulate};
use pipeit_rt::model::Model;
use pipeit_rt::pipeline::Pipeline;
use pipeit_rt::plan::{Lifetime, MAX_SLOTS};
use pipeit_rt::platform::hosted::{Hosted, Machine};

use crate::artefact::OwnedPlan;
use crate::memory::lifetimes;
use crate::partition::{Partition, usual_slots};
use crate::planning::{Planner, PlanningError, groups, is_vast, ungrouped};

/// How to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// All plans there are
    #[default]
    Exact,
    /// The heuristic of the Pipe-it paper
    Paper,
}

/// Flags of the search.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SearchArgs {
    /// How to search
    #[arg(long, value_enum, default_value_t)]
    pub search: Method,
    /// One team per stage: no stage is served by several
    #[arg(long)]
    pub one_team: bool,
    /// Milliseconds that a frame may take through all stages
    #[arg(long, value_name = "MS", value_parser = parse_positive)]
    pub max_latency: Option<f64>,
    /// Bytes of memory that the pipeline may take, such as 300k or 2M
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_ram: Option<u64>,
    /// Least energy of a frame at so many frames per second or more
    #[arg(long, value_name = "FPS", value_parser = parse_positive)]
    pub min_energy: Option<f64>,
    /// Plans to compare by simulation
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub top: usize,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "want a number above 0".to_owned())
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = match unit {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1u64 << 30),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    bytes.ok_or_else(|| "want a number of bytes such as 300000, 300k or 2M".to_owned())
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the layers cost.
    pub costs: Costs,
    /// The plan, and the rivals it was compared with, best first.
    pub ranked: Vec<Ranked>,
    /// Time of the search for the best plan, in milliseconds: the shortest of several, because
    /// a busy machine only ever makes it longer.
    pub search_ms: f64,
    /// What a cluster 10 % slower does to the plan.
    pub slowed: Vec<Slowed>,
}

/// Searches that are timed.
const SEARCHES: usize = 5;
/// How much slower a cluster is in what explains a plan.
pub const SLOWER: f64 = 1.1;

impl SearchArgs {
    /// Whether the flags ask for a search, whatever plans there are.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.search != Method::Exact
            || self.one_team
            || self.max_latency.is_some()
            || self.max_ram.is_some()
            || self.min_energy.is_some()
    }

    fn limits(&self) -> Limits {
        Limits {
            period_ns: self.min_energy.map_or(f64::INFINITY, |frames_per_s| 1e9 / frames_per_s),
            latency_ns: self.max_latency.map_or(f64::INFINITY, |ms| ms * 1e6),
            ram_bytes: u64::MAX,
        }
    }

    /// The best plan and its rivals.
    ///
    /// # Errors
    ///
    /// [`PlanningError::Limits`]; the machine has no cores.
    pub fn run(&self, planner: &Planner<'_>, machine: &Machine) -> Result<Found, PlanningError> {
        let costs = planner.costs(machine)?;
        let groups = groups(&costs);
        let grouped = costs.grouped(&groups);
        let explorer = Explorer::new(&grouped).with_replication(!self.one_team);
        let explorer = explorer.with_limits(self.limits());
        let layers = costs.layers();
        let over_layers = |found: Candidate| {
            Explorer::new(&costs).candidate(ungrouped(&found.plan, &groups, layers))
        };
        let is_paper = self.search == Method::Paper || is_vast(&costs);
        let objective = match self.min_energy {
            Some(_) => Objective::Energy,
            None => Objective::Throughput,
        };
        let search = || match is_paper {
            true => Some(explorer.candidate(paper(&grouped))).filter(|found| self.allows(found)),
            false => explorer.best(objective),
        };
        let timed = |_| {
            let begun = Instant::now();
            let best = search();
            (1e3 * begun.elapsed().as_secs_f64(), best)
        };
        let times = (0..SEARCHES).map(timed).min_by(|a, b| a.0.total_cmp(&b.0));
        let (search_ms, best) = times.unwrap_or((0.0, None));
        let best = best.ok_or_else(|| self.limits_error(&grouped))?;
        let mut rivals = match (is_paper, self.max_ram) {
            (true, _) => Vec::new(),
            (false, None) => explorer.candidates(self.top),
            (false, Some(_)) => {
                let memory = StageMemory::of(planner.model, &groups);
                explorer.with_memory(&memory).front(&[Criterion::Period, Criterion::Ram])
            }
        };
        rivals.retain(|rival| rival.plan != best.plan && self.allows(rival));
        let all = std::iter::once(best).chain(rivals).map(over_layers);
        let ranked = match self.max_ram {
            Some(bytes) => self.within(bytes, planner, machine, &costs, all.collect())?,
            None => {
                let mut ranked = rank(&costs, all.collect(), MAX_SLOTS - 1);
                ranked.iter_mut().for_each(|ranked| ranked.slots += 1);
                ranked
            }
        };
        let mut ranked = self.in_order(ranked);
        ranked.truncate(self.top.max(1));
        let slowed = match is_vast(&costs) {
            true => Vec::new(),
            false => {
                let chosen = Candidate {
                    plan: regrouped(&ranked[0].candidate.plan, &groups),
                    ..ranked[0].candidate.clone()
                };
                let mut slowed = slowed(&grouped, &chosen, SLOWER);
                for slowed in &mut slowed {
                    slowed.best.plan = ungrouped(&slowed.best.plan, &groups, layers);
                }
                slowed
            }
        };
        Ok(Found { costs, ranked, search_ms, slowed })
    }

    /// Whether a plan keeps to the limits on time.
    fn allows(&self, found: &Candidate) -> bool {
        let limits = self.limits();
        found.prediction.period_ns <= limits.period_ns
            && found.prediction.latency_ns <= limits.latency_ns
    }

    fn limits_error(&self, costs: &Costs) -> PlanningError {
        let best = Explorer::new(costs).best(Objective::Throughput);
        PlanningError::Limits {
            best: best.map_or_else(String::new, |best| {
                format!(
                    "the fastest does {:.1} frames/s at a latency of {:.3} ms",
                    best.prediction.frames_per_s(),
                    best.prediction.latency_ns / 1e6,
                )
            }),
        }
    }

    /// The candidates that fit into so many bytes, with as many slots as do.
    fn within(
        &self,
        bytes: u64,
        planner: &Planner<'_>,
        machine: &Machine,
        costs: &Costs,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Ranked>, PlanningError> {
        let mut fit = Vec::new();
        let mut least = u64::MAX;
        for candidate in candidates {
            let partition = Partition::from(&candidate.plan);
            for slots in (1..=usual_slots(costs, &candidate.plan)).rev() {
                let plan = planner.plan(&partition, machine, Some(slots))?;
                let found = ram_bytes(&plan);
                least = least.min(found);
                if found <= bytes {
                    let simulated = simulate(costs, &candidate.plan, Simulation::saturated(slots));
                    let candidate = Candidate { ram_bytes: Some(found), ..candidate };
                    fit.push(Ranked { candidate, slots, simulated });
                    break;
                }
            }
        }
        if fit.is_empty() {
            return Err(PlanningError::Limits {
                best: format!("the smallest takes {least} bytes"),
            });
        }
        Ok(fit)
    }

    /// The plan first that is best by what was asked.
    fn in_order(&self, mut ranked: Vec<Ranked>) -> Vec<Ranked> {
        let key = |ranked: &Ranked| match self.min_energy {
            Some(_) => ranked.candidate.prediction.energy_nj,
            None => ranked.simulated.period_ns,
        };
        ranked.sort_by(|a, b| key(a).total_cmp(&key(b)));
        ranked
    }

    /// The plans of which none is better than another in both throughput and latency.
    ///
    /// # Errors
    ///
    /// The machine has no cores.
    pub fn front(
        &self,
        planner: &Planner<'_>,
        machine: &Machine,
    ) -> Result<Vec<Candidate>, PlanningError> {
        let costs = planner.costs(machine)?;
        let groups = groups(&costs);
        let grouped = costs.grouped(&groups);
        if is_vast(&costs) {
            let plan = ungrouped(&paper(&grouped), &groups, costs.layers());
            return Ok(vec![Explorer::new(&costs).candidate(plan)]);
        }
        let explorer = Explorer::new(&grouped).with_replication(!self.one_team);
        let front =
            explorer.with_limits(self.limits()).front(&[Criterion::Period, Criterion::Latency]);
        let mut all = Vec::new();
        for found in front {
            let plan = ungrouped(&found.plan, &groups, costs.layers());
            let slots = usual_slots(&costs, &plan);
            let placed = planner.plan(&Partition::from(&plan), machine, Some(slots))?;
            all.push(Candidate {
                ram_bytes: Some(ram_bytes(&placed)),
                ..Explorer::new(&costs).candidate(plan)
            });
        }
        Ok(all)
    }
}

/// Bytes of a pipeline of `plan` on an ordinary machine.
#[must_use]
pub fn ram_bytes(plan: &OwnedPlan) -> u64 {
    Pipeline::<Hosted>::memory_bytes(plan.tables().demand()) as u64
}

/// The inverse of [`ungrouped`].
fn regrouped(plan: &Plan, groups: &[usize]) -> Plan {
    let group = |layer: usize| groups.partition_point(|&start| start <= layer);
    let stages = plan.stages.iter().map(|stage| pipeit_planner::plan::Stage {
        layers: group(stage.layers.start)..group(stage.layers.end - 1) + 1,
        teams: stage.teams.clone(),
    });
    Plan { stages: stages.collect() }
}

/// About what stages take of memory: exactly only a whole plan tells.
struct StageMemory {
    /// `arena[start][length - 1]`: the most bytes live at once of those only these groups use.
    arenas: Vec<Vec<u64>>,
    /// Bytes that cross the cut before each group, and none at the end.
    crossing: Vec<u64>,
}

impl StageMemory {
    fn of(model: &Model<'_>, groups: &[usize]) -> Self {
        let lifetimes = lifetimes(model);
        let group = |layer: u16| groups.partition_point(|&start| start <= usize::from(layer));
        let lives = lifetimes.iter().zip(model.storages);
        let lives = lives.filter(|(lifetime, _)| **lifetime != Lifetime::NEVER);
        let lives: Vec<_> = lives
            .map(|(lifetime, &bytes)| (group(lifetime.first), group(lifetime.last), bytes.into()))
            .collect();
        let count = groups.len() + 1;
        let arena = |start: usize, end: usize| {
            let mut change = vec![0i64; end - start + 1];
            for &(first, last, bytes) in &lives {
                if start <= first && last < end {
                    let bytes: u64 = bytes;
                    change[first - start] += bytes as i64;
                    change[last - start + 1] -= bytes as i64;
                }
            }
            let live = change.iter().scan(0, |live, change| {
                *live += change;
                Some(*live)
            });
            live.max().unwrap_or(0) as u64
        };
        let arenas =
            (0..count).map(|start| (start + 1..=count).map(|end| arena(start, end)).collect());
        let crossing = (0..=count).map(|cut| {
            let crosses = lives.iter().filter(|(first, last, _)| *first < cut && cut <= *last);
            crosses.map(|(_, _, bytes)| bytes).sum()
        });
        Self { arenas: arenas.collect(), crossing: crossing.collect() }
    }
}

impl Memory for StageMemory {
    fn stage_bytes(&self, layers: std::ops::Range<usize>, teams: usize) -> u64 {
        let arena = self.arenas[layers.start][layers.len() - 1];
        let slot = self.crossing[layers.start].max(self.crossing[layers.end]);
        teams as u64 * (arena + 2 * slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("300"), Ok(300));
        assert_eq!(parse_bytes("2k"), Ok(2048));
        assert_eq!(parse_bytes("3M"), Ok(3 << 20));
        for text in ["", "k", "1.5M", "1 k", "99999999999G", "-1"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
