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

use pipeit_rt::kernels::Path;
use pipeit_rt::model::Model;
use pipeit_rt::plan::{MAX_SLOTS, Needs, Stage, Team};
use pipeit_rt::platform::hosted::Machine;
use pipeit_rt::topology::ClusterId;

use crate::artefact::OwnedPlan;
use crate::cost::Costs;
use crate::memory::{self, StageNeeds};

/// Most stages of a partition that is not stated.
const MAX_STAGES: usize = 8;

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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

    /// The layers of each stage: those stated, else cut so that the slowest stage is fastest.
    ///
    /// # Errors
    ///
    /// [`PartitionError::Layers`], [`PartitionError::Stages`].
    pub fn cut(
        &self,
        machine: &Machine,
        costs: &Costs,
        layers: usize,
    ) -> Result<Vec<Range<u16>>, PartitionError> {
        let count = self.stages.len();
        if count == 0 || count > layers {
            return Err(PartitionError::Stages { stages: count, layers });
        }
        let stated: Vec<_> = self.stages.iter().filter_map(|s| s.layers.clone()).collect();
        if stated.is_empty() {
            return Ok(self.balance(machine, costs, layers as u16));
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
    fn balance(&self, machine: &Machine, costs: &Costs, layers: u16) -> Vec<Range<u16>> {
        let n = usize::from(layers);
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
                let period = |start: u16| stage.period_ns(machine, costs, start..end);
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

    /// The plan: memory placed, times predicted. With no `slots` given, two for every team and
    /// one for the source and the sink to work at.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn plan(
        &self,
        model: &Model<'_>,
        machine: &Machine,
        costs: &Costs,
        slots: Option<usize>,
    ) -> Result<OwnedPlan, PartitionError> {
        let ranges = self.cut(machine, costs, model.layers.len())?;
        let mut used = vec![0usize; machine.clusters.len()];
        let mut teams = Vec::new();
        let mut stages = Vec::new();
        let teams_planned = self.stages.iter().map(|stage| stage.teams.len());
        let slots =
            slots.unwrap_or_else(|| (2 * teams_planned.clone().sum::<usize>() + 1).min(MAX_SLOTS));
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(PartitionError::Slots { slots });
        }
        let needs: Vec<_> = ranges
            .iter()
            .zip(teams_planned)
            .map(|(layers, teams)| StageNeeds { layers: layers.clone(), teams })
            .collect();
        let layout = memory::place(model, &needs, slots);
        let layout = layout.ok_or(PartitionError::Memory)?;
        for ((spec, layers), &arena_bytes) in
            self.stages.iter().zip(ranges).zip(&layout.arena_bytes)
        {
            let first_team = teams.len() as u8;
            for team in &spec.teams {
                let cluster = &machine.clusters[team.cluster];
                let first_core = used[team.cluster];
                used[team.cluster] += usize::from(team.cores);
                if used[team.cluster] > cluster.cpus.len() {
                    return Err(PartitionError::Cores {
                        cluster: cluster.name.clone(),
                        asked: used[team.cluster],
                        present: cluster.cpus.len(),
                    });
                }
                teams.push(Team {
                    cluster: ClusterId(team.cluster as u8),
                    first_core: first_core as u8,
                    cores: team.cores,
                    frame_ns: team.frame_ns(machine, costs, layers.clone()) as u32,
                });
            }
            stages.push(Stage { layers, teams: first_team..teams.len() as u8, arena_bytes });
        }
        let paths = machine.clusters.iter().map(|_| Path::Reference).collect();
        let needs = Needs { paths, slots: slots as u8, slot_bytes: layout.slot_bytes };
        Ok(OwnedPlan { needs, stages, teams, placements: layout.placements })
    }

    /// Predicted nanoseconds between frames.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut).
    pub fn period_ns(
        &self,
        machine: &Machine,
        costs: &Costs,
        layers: usize,
    ) -> Result<f64, PartitionError> {
        let ranges = self.cut(machine, costs, layers)?;
        let periods = self.stages.iter().zip(ranges);
        Ok(periods.map(|(s, range)| s.period_ns(machine, costs, range)).fold(0.0, f64::max))
    }

    /// The partition with the shortest predicted period among some usual ones of at least
    /// `stages` stages, where machine and network have room for so many.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut).
    pub fn best(
        machine: &Machine,
        costs: &Costs,
        layers: usize,
        stages: usize,
    ) -> Result<Self, PartitionError> {
        let cores = machine.clusters.iter().map(|cluster| cluster.cpus.len()).sum();
        let most = layers.min(cores).min(MAX_STAGES);
        let least = stages.clamp(1, most.max(1));
        let mut best = Self::pipeline(machine, least);
        let mut shortest = best.period_ns(machine, costs, layers)?;
        let others = (least + 1..=most).map(|stages| Self::pipeline(machine, stages));
        for candidate in others.chain([Self::stage_per_cluster(machine)]) {
            if (least..=most).contains(&candidate.stages.len()) {
                let period = candidate.period_ns(machine, costs, layers)?;
                if period < shortest {
                    (shortest, best) = (period, candidate);
                }
            }
        }
        Ok(best)
    }
}

impl TeamSpec {
    fn frame_ns(&self, machine: &Machine, costs: &Costs, layers: Range<u16>) -> f64 {
        let slowdown = f64::from(machine.clusters[self.cluster].slowdown_permille) / 1000.0;
        costs.stage_ns(layers, self.cores, slowdown)
    }
}

impl StageSpec {
    /// Nanoseconds between frames that leave the stage: its teams work at the same time.
    fn period_ns(&self, machine: &Machine, costs: &Costs, layers: Range<u16>) -> f64 {
        let rate = |team: &TeamSpec| 1.0 / team.frame_ns(machine, costs, layers.clone());
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
    use crate::{import, lower};
    use pipeit_rt::platform::hosted::HostCluster;

    #[test]
    fn no_cut_makes_the_slowest_stage_faster() {
        let digits = include_bytes!("../data/digits/digits.tflite");
        let network = lower::lower(&import::tflite(digits).unwrap()).unwrap();
        let model = network.check().unwrap();
        let (costs, layers) = (Costs::of(&model), model.layers.len());
        for slowdowns in [[1000, 1000, 1000], [1000, 2500, 4000], [9000, 1000, 3000]] {
            let cluster = |(i, &slowdown_permille): (usize, &u32)| HostCluster {
                slowdown_permille,
                ..HostCluster::new(&format!("c{i}"), vec![0; i + 1])
            };
            let machine = Machine { clusters: slowdowns.iter().enumerate().map(cluster).collect() };
            let mut partition = Partition::stage_per_cluster(&machine);
            let best = partition.period_ns(&machine, &costs, layers).unwrap();
            let ends = layers as u16;
            let cuts = (1..ends).flat_map(|a| (a + 1..ends).map(move |b| [0..a, a..b, b..ends]));
            let periods = cuts.map(|cut| {
                for (stage, range) in partition.stages.iter_mut().zip(cut) {
                    stage.layers = Some(range);
                }
                partition.period_ns(&machine, &costs, layers).unwrap()
            });
            assert_eq!(periods.fold(f64::INFINITY, f64::min), best);
        }
    }
}
