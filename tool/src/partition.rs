//! Partitions: stages and teams as a person states them, cut points balanced by cost.
//!
//! A partition is written as stages separated by spaces, each `[FIRST-LAST=]TEAM[+TEAM…]`
//! with a team `CLUSTER*CORES`:
//!
//! ```text
//! big*2 little*4            two stages, cut where the cost balances
//! 0-11=big*1+big*1 12-=little*4   layers 0 to 11 on two teams, the rest on one
//! ```
//!
//! Cores are taken from each cluster in order.

use std::ops::Range;

use pipeit_planner::cost::{Costs, CostsError};
use pipeit_planner::explain::JITTER;
use pipeit_planner::plan as planner;
use pipeit_planner::predict::Cores;
use pipeit_planner::simulate::least_slots;
use pipeit_rt::kernels::Path;
use pipeit_rt::model::Model;
use pipeit_rt::plan::{MAX_SLOTS, Needs, Stage, Team};
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_rt::topology::ClusterId;

use crate::artefact::OwnedPlan;
use crate::memory::{self, StageNeeds};

/// Some cores of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamSpec {
    /// Index of the cluster.
    pub cluster: usize,
    /// Number of cores.
    pub cores: u8,
}

/// A stage: its layers, where they are given, and its teams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSpec {
    /// Half-open range of layers.
    pub layers: Option<Range<u16>>,
    /// At least one.
    pub teams: Vec<TeamSpec>,
}

/// Stages with their teams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// In the order of their layers.
    pub stages: Vec<StageSpec>,
}

/// Why a partition was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PartitionError {
    /// Not written as it should be.
    #[error("stage \"{stage}\" is not [FIRST-LAST=]CLUSTER*CORES[+CLUSTER*CORES...]")]
    Syntax {
        /// The stage as written.
        stage: String,
    },
    /// An unknown cluster.
    #[error("no cluster \"{name}\"; the machine has {known}")]
    Cluster {
        /// As written.
        name: String,
        /// The clusters there are.
        known: String,
    },
    /// More cores than the cluster has.
    #[error("the stages use {asked} cores of cluster \"{cluster}\", which has {present}")]
    Cores {
        /// The cluster.
        cluster: String,
        /// Cores asked.
        asked: usize,
        /// Cores present.
        present: usize,
    },
    /// Layers are left out or repeated, or only some stages state theirs.
    #[error("the stages must cover layers 0 to {last} once each, in order, or state none")]
    Layers {
        /// The last layer.
        last: usize,
    },
    /// More stages than layers, or none.
    #[error("{stages} stages for {layers} layers")]
    Stages {
        /// Stages.
        stages: usize,
        /// Layers.
        layers: usize,
    },
    /// A slot or an arena would be larger than the runtime can address.
    #[error("the activations of one frame take 4 GiB or more")]
    Memory,
    /// A slot count outside the runtime's bounds.
    #[error("{slots} slots, want 1 to {MAX_SLOTS}")]
    Slots {
        /// Slots asked.
        slots: usize,
    },
    /// The times of layers are none.
    #[error(transparent)]
    Costs(CostsError),
}

/// The cores of `machine` as the planner wants them.
#[must_use]
pub fn cores(machine: &Machine) -> Vec<Cores> {
    let cores = |cluster: &HostCluster| Cores {
        name: cluster.name.clone(),
        cores: cluster.cpus.len(),
        slowdown: f64::from(cluster.slowdown_permille) / 1000.0,
    };
    machine.clusters.iter().map(cores).collect()
}

impl Partition {
    /// Reads a partition of a network of `layers` layers over `machine`.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn parse(text: &str, machine: &Machine, layers: usize) -> Result<Self, PartitionError> {
        let stages: Result<_, _> =
            text.split_whitespace().map(|stage| parse_stage(stage, machine, layers)).collect();
        Ok(Self { stages: stages? })
    }

    /// One stage on all cores of all clusters, each core a team: every core runs the whole
    /// network on frames of its own.
    #[must_use]
    pub fn replicated(machine: &Machine) -> Self {
        Self::pipeline(machine, 1)
    }

    /// `stages` stages, at least one, on all cores in their order, as equally many for each as
    /// possible, each core a team.
    #[must_use]
    pub fn pipeline(machine: &Machine, stages: usize) -> Self {
        let teams = machine.clusters.iter().enumerate().flat_map(|(cluster, found)| {
            std::iter::repeat_n(TeamSpec { cluster, cores: 1 }, found.cpus.len())
        });
        let teams: Vec<_> = teams.collect();
        let start = |stage: usize| teams.len() * stage / stages;
        let stage = |stage| StageSpec {
            layers: None,
            teams: teams[start(stage)..start(stage + 1)].to_vec(),
        };
        Self { stages: (0..stages).map(stage).collect() }
    }

    /// One stage per cluster, served by all its cores as one team.
    #[must_use]
    pub fn stage_per_cluster(machine: &Machine) -> Self {
        let stages = machine.clusters.iter().enumerate().map(|(cluster, found)| StageSpec {
            layers: None,
            teams: vec![TeamSpec { cluster, cores: found.cpus.len() as u8 }],
        });
        Self { stages: stages.collect() }
    }

    /// One stage per core, cluster by cluster.
    #[must_use]
    pub fn stage_per_core(machine: &Machine) -> Self {
        Self::pipeline(machine, machine.clusters.iter().map(|c| c.cpus.len()).sum())
    }

    /// One stage, served by one core of the first cluster.
    #[must_use]
    pub fn one_core() -> Self {
        let teams = vec![TeamSpec { cluster: 0, cores: 1 }];
        Self { stages: vec![StageSpec { layers: None, teams }] }
    }

    /// The layers of each stage: those stated, else cut so that the slowest stage is fastest,
    /// hand-over left aside.
    ///
    /// # Errors
    ///
    /// [`PartitionError::Layers`], [`PartitionError::Stages`].
    pub fn cut(&self, costs: &Costs) -> Result<Vec<Range<u16>>, PartitionError> {
        let layers = costs.layers();
        let count = self.stages.len();
        if count == 0 || count > layers {
            return Err(PartitionError::Stages { stages: count, layers });
        }
        let stated: Vec<_> = self.stages.iter().filter_map(|s| s.layers.clone()).collect();
        if stated.is_empty() {
            return Ok(self.balance(costs));
        }
        let starts = std::iter::once(0).chain(stated.iter().map(|range| range.end));
        let joined = stated.iter().zip(starts).all(|(r, start)| r.start == start && !r.is_empty());
        let end = stated.last().map(|range| usize::from(range.end));
        if stated.len() == count && joined && end == Some(layers) {
            Ok(stated)
        } else {
            Err(PartitionError::Layers { last: layers - 1 })
        }
    }

    /// Dynamic programming over (stages, layers): the least slowest stage.
    fn balance(&self, costs: &Costs) -> Vec<Range<u16>> {
        let n = costs.layers();
        let layers = n as u16;
        // best[i]: (slowest stage, cut before the last stage) for the first i layers.
        let mut best = vec![(f64::INFINITY, 0u16); n + 1];
        best[0].0 = 0.0;
        let mut cuts = Vec::new();
        for stage in &self.stages {
            let mut next = vec![(f64::INFINITY, 0u16); n + 1];
            // Every stage before this one has at least a layer.
            let first = cuts.len() as u16;
            for end in first + 1..=layers {
                // The later this stage starts, the sooner it is through, and the later those
                // before it are: the best start is where the one overtakes the other.
                let before = |start: u16| best[usize::from(start)].0;
                let period = |start: u16| stage.period_ns(costs, start..end);
                let slowest = |start: u16| before(start).max(period(start));
                let (mut low, mut high) = (first, end - 1);
                while low < high {
                    let middle = low.midpoint(high);
                    if before(middle) < period(middle) {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                let sooner = low.saturating_sub(1).max(first);
                let start = if slowest(sooner) <= slowest(low) { sooner } else { low };
                next[usize::from(end)] = (slowest(start), start);
            }
            best = next;
            cuts.push(best.clone());
        }
        let mut end = layers;
        let mut ranges: Vec<_> = cuts
            .iter()
            .rev()
            .map(|table| {
                let start = table[usize::from(end)].1;
                let range = start..end;
                end = start;
                range
            })
            .collect();
        ranges.reverse();
        ranges
    }

    /// Stages and teams as the planner knows them.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut); [`PartitionError::Cores`].
    pub fn stages(&self, costs: &Costs) -> Result<planner::Plan, PartitionError> {
        let ranges = self.cut(costs)?;
        let mut used = vec![0usize; costs.clusters().len()];
        for team in self.stages.iter().flat_map(|stage| &stage.teams) {
            let present = costs.cores(team.cluster);
            used[team.cluster] += usize::from(team.cores);
            let asked = used[team.cluster];
            if asked > present {
                let cluster = costs.clusters()[team.cluster].name.clone();
                return Err(PartitionError::Cores { cluster, asked, present });
            }
        }
        let team = |team: &TeamSpec| planner::Team {
            cluster: team.cluster,
            cores: usize::from(team.cores),
        };
        let stages = self.stages.iter().zip(ranges).map(|(stage, layers)| planner::Stage {
            layers: layers.start.into()..layers.end.into(),
            teams: stage.teams.iter().map(team).collect(),
        });
        Ok(planner::Plan { stages: stages.collect() })
    }

    /// The plan: memory placed, times predicted. With no `slots` given, as many as keep it busy
    /// and one for the source and the sink to work at.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn plan(
        &self,
        model: &Model<'_>,
        costs: &Costs,
        slots: Option<usize>,
    ) -> Result<OwnedPlan, PartitionError> {
        place(model, costs, &self.stages(costs)?, slots)
    }
}

impl From<&planner::Plan> for Partition {
    fn from(plan: &planner::Plan) -> Self {
        let team =
            |team: &planner::Team| TeamSpec { cluster: team.cluster, cores: team.cores as u8 };
        let stages = plan.stages.iter().map(|stage| StageSpec {
            layers: Some(stage.layers.start as u16..stage.layers.end as u16),
            teams: stage.teams.iter().map(team).collect(),
        });
        Self { stages: stages.collect() }
    }
}

/// The stages of a plan as the planner knows them.
#[must_use]
pub fn stages_of(plan: &OwnedPlan) -> planner::Plan {
    let team =
        |team: &Team| planner::Team { cluster: team.cluster.0.into(), cores: team.cores.into() };
    let stages = plan.stages.iter().map(|stage| planner::Stage {
        layers: stage.layers.start.into()..stage.layers.end.into(),
        teams: plan.teams[usize::from(stage.teams.start)..usize::from(stage.teams.end)]
            .iter()
            .map(team)
            .collect(),
    });
    planner::Plan { stages: stages.collect() }
}

/// Slots that keep `stages` busy, and one more.
#[must_use]
pub fn usual_slots(costs: &Costs, stages: &planner::Plan) -> usize {
    let most = (2 * stages.teams().count() + 1).min(MAX_SLOTS - 1);
    1 + least_slots(costs, stages, most, JITTER)
}

/// The plan of `stages`, whose cores `costs` has.
fn place(
    model: &Model<'_>,
    costs: &Costs,
    stages: &planner::Plan,
    slots: Option<usize>,
) -> Result<OwnedPlan, PartitionError> {
    let slots = slots.unwrap_or_else(|| usual_slots(costs, stages));
    if !(1..=MAX_SLOTS).contains(&slots) {
        return Err(PartitionError::Slots { slots });
    }
    let needs = stages.stages.iter().map(|stage| StageNeeds {
        layers: stage.layers.start as u16..stage.layers.end as u16,
        teams: stage.teams.len(),
    });
    let layout = memory::place(model, &needs.collect::<Vec<_>>(), slots);
    let layout = layout.ok_or(PartitionError::Memory)?;
    let predicted = costs.predict(stages);
    let mut used = vec![0usize; costs.clusters().len()];
    let mut teams = Vec::new();
    let mut placed = Vec::new();
    for ((stage, prediction), &arena_bytes) in
        stages.stages.iter().zip(&predicted.stages).zip(&layout.arena_bytes)
    {
        let first_team = teams.len() as u8;
        for (team, frame_ns) in stage.teams.iter().zip(&prediction.team_ns) {
            teams.push(Team {
                cluster: ClusterId(team.cluster as u8),
                first_core: used[team.cluster] as u8,
                cores: team.cores as u8,
                frame_ns: *frame_ns as u32,
            });
            used[team.cluster] += team.cores;
        }
        placed.push(Stage {
            layers: stage.layers.start as u16..stage.layers.end as u16,
            teams: first_team..teams.len() as u8,
            arena_bytes,
        });
    }
    let paths = costs.clusters().iter().map(|_| Path::Reference).collect();
    let needs = Needs { paths, slots: slots as u8, slot_bytes: layout.slot_bytes };
    Ok(OwnedPlan { needs, stages: placed, teams, placements: layout.placements })
}

impl StageSpec {
    /// Nanoseconds between frames that leave the stage, without hand-over: its teams work at
    /// the same time.
    fn period_ns(&self, costs: &Costs, layers: Range<u16>) -> f64 {
        let rate = |team: &TeamSpec| {
            let cores = usize::from(team.cores).min(costs.cores(team.cluster));
            let layers = layers.start.into()..layers.end.into();
            1.0 / costs.work_ns(layers, planner::Team { cluster: team.cluster, cores })
        };
        1.0 / self.teams.iter().map(rate).sum::<f64>()
    }
}

fn parse_stage(text: &str, machine: &Machine, layers: usize) -> Result<StageSpec, PartitionError> {
    let syntax = || PartitionError::Syntax { stage: text.to_owned() };
    let (range, teams) = match text.split_once('=') {
        Some((range, teams)) => (Some(range), teams),
        None => (None, text),
    };
    let range = range
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first: u16 = first.parse().map_err(|_| syntax())?;
            let last = match last {
                "" => layers.saturating_sub(1) as u16,
                last => last.parse().map_err(|_| syntax())?,
            };
            Ok(first..last.saturating_add(1))
        })
        .transpose()?;
    let team = |text: &str| {
        let (name, cores) = text.split_once('*').ok_or_else(syntax)?;
        let cores = cores.parse().ok().filter(|&cores| cores > 0).ok_or_else(syntax)?;
        let cluster = machine.clusters.iter().position(|cluster| cluster.name == name);
        let cluster = cluster.ok_or_else(|| PartitionError::Cluster {
            name: name.to_owned(),
            known: machine.clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "),
        })?;
        Ok(TeamSpec { cluster, cores })
    };
    let teams: Result<_, _> = teams.split('+').map(team).collect();
    Ok(StageSpec { layers: range, teams: teams? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::describe;
    use crate::{import, lower};
    use pipeit_planner::predict::Predictor;

    #[test]
    fn no_cut_makes_the_slowest_stage_faster() {
        let digits = include_bytes!("../data/digits/digits.tflite");
        let network = lower::lower(&import::tflite(digits).unwrap()).unwrap();
        let model = network.check().unwrap();
        let (described, predictor) = (describe(&model), Predictor::typical(Path::Reference));
        for slowdowns in [[1000, 1000, 1000], [1000, 2500, 4000], [9000, 1000, 3000]] {
            let cluster = |(i, &slowdown_permille): (usize, &u32)| HostCluster {
                slowdown_permille,
                ..HostCluster::new(&format!("c{i}"), vec![0; i + 1])
            };
            let machine = Machine { clusters: slowdowns.iter().enumerate().map(cluster).collect() };
            let costs = predictor.costs(&described, &cores(&machine)).unwrap();
            let partition = Partition::stage_per_cluster(&machine);
            let period_ns = |cut: &[Range<u16>]| {
                let stages = partition.stages.iter().zip(cut);
                let periods = stages.map(|(stage, layers)| stage.period_ns(&costs, layers.clone()));
                periods.fold(0.0, f64::max)
            };
            let best = period_ns(&partition.cut(&costs).unwrap());
            let ends = costs.layers() as u16;
            let cuts = (1..ends).flat_map(|a| (a + 1..ends).map(move |b| [0..a, a..b, b..ends]));
            let periods = cuts.map(|cut| period_ns(&cut));
            assert_eq!(periods.fold(f64::INFINITY, f64::min), best);
        }
    }
}
