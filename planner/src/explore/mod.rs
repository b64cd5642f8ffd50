//! The best pipeline for a network on a machine.
//!
//! Every stage has consecutive layers and one or several teams, each of cores of one cluster. The
//! search goes over all cuts, all allotments of cores and all their splits into teams, so what
//! it finds is the best there is under the cost model of [`cost`](crate::cost). Contention
//! depends on which clusters are busy together: an outer loop over those sets.
//!
//! A cluster of more than eight cores is split into teams of equal size only. Time and memory grow
//! with the square of the number of ways to use some cores of each cluster: 25 for 4 + 4 cores.

mod all;
mod front;
mod paper;
mod space;
mod sweep;

use std::cmp::Ordering;
use std::ops::Range;

pub use all::all_plans;
pub use paper::paper;

use crate::cost::{Costs, Prediction};
use crate::plan::{ClusterSet, Plan};
use front::Front;
use space::Space;
use sweep::{Bottleneck, Spent, Table};

/// Periods that differ by less than this share of them count as equal.
const EQUAL: f64 = 1e-9;

/// By which factor the period of the first attempt is above what cannot be beaten.
const TIGHT: f64 = 1.04;

/// Memory that a plan takes, as a sum over its stages.
pub trait Memory {
    /// Bytes that a stage of `layers` with `teams` teams adds: the arenas of its teams, and the
    /// buffers of the frames that wait for it or are in its hands.
    fn stage_bytes(&self, layers: Range<usize>, teams: usize) -> u64;
}

impl<F: Fn(Range<usize>, usize) -> u64> Memory for F {
    fn stage_bytes(&self, layers: Range<usize>, teams: usize) -> u64 {
        self(layers, teams)
    }
}

/// What is to be least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// The period; the latency among plans of equal period.
    #[default]
    Throughput,
    /// The energy of a frame.
    Energy,
}

/// What a plan is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// Time between frames.
    Period,
    /// Time of a frame through all stages.
    Latency,
    /// Energy of a frame.
    Energy,
    /// Bytes of memory.
    Ram,
}

/// What a plan may not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Time between frames.
    pub period_ns: f64,
    /// Time of a frame through all stages.
    pub latency_ns: f64,
    /// Bytes of memory.
    pub ram_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { period_ns: f64::INFINITY, latency_ns: f64::INFINITY, ram_bytes: u64::MAX }
    }
}

/// A search.
#[derive(Clone, Copy)]
pub struct Explorer<'a> {
    costs: &'a Costs,
    replication: bool,
    limits: Limits,
    memory: Option<&'a dyn Memory>,
}

impl std::fmt::Debug for Explorer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explorer")
            .field("replication", &self.replication)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A plan and what it is predicted to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The plan.
    pub plan: Plan,
    /// What it does.
    pub prediction: Prediction,
    /// Bytes of memory, when the search was told.
    pub ram_bytes: Option<u64>,
}

impl<'a> Explorer<'a> {
    /// Over all plans for `costs`, without limits.
    #[must_use]
    pub fn new(costs: &'a Costs) -> Self {
        Self { costs, replication: true, limits: Limits::default(), memory: None }
    }

    /// With several teams for one stage, or one team only.
    #[must_use]
    pub fn with_replication(mut self, replication: bool) -> Self {
        self.replication = replication;
        self
    }

    /// Over the plans within these limits. A limit on memory needs
    /// [`with_memory`](Self::with_memory).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With the memory of stages as `memory` says.
    #[must_use]
    pub fn with_memory(mut self, memory: &'a dyn Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The best plan within the limits; `None` when there is none.
    #[must_use]
    pub fn best(&self, objective: Objective) -> Option<Candidate> {
        match (objective, self.is_unlimited()) {
            (Objective::Throughput, true) => self.fastest(),
            (Objective::Throughput, false) => self.fastest_within(),
            (Objective::Energy, true) => {
                self.least_spent(self.busy_sets(), self.limits.period_ns, true)
            }
            (Objective::Energy, false) => self.least_by(Criterion::Energy),
        }
    }

    /// The fastest plan within the limits: among plans little slower than the fastest of all if
    /// there are any, else among ever more.
    fn fastest_within(&self) -> Option<Candidate> {
        let fastest_ns = self.with_limits(Limits::default()).fastest()?.prediction.period_ns;
        let mut slack = TIGHT;
        loop {
            let period_ns = self.limits.period_ns.min(fastest_ns * slack);
            let capped = self.with_limits(Limits { period_ns, ..self.limits });
            let found = capped.least_by(Criterion::Period);
            if found.is_some() || period_ns >= self.limits.period_ns {
                return found;
            }
            slack *= slack;
        }
    }

    /// The plan within the limits that is best by one criterion, and by latency among equals.
    fn least_by(&self, first: Criterion) -> Option<Candidate> {
        let front = self.front(&[first, Criterion::Latency, Criterion::Ram]);
        let least = front.first()?.value(first) * (1.0 + EQUAL);
        let equal = front.into_iter().filter(|candidate| candidate.value(first) <= least);
        equal.min_by(|a, b| a.prediction.latency_ns.total_cmp(&b.prediction.latency_ns))
    }

    /// The plans within the limits of which none is better than another by all `criteria`, best
    /// by the first criterion first.
    #[must_use]
    pub fn front(&self, criteria: &[Criterion]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for busy in self.busy_sets() {
            let space = Space::new(self.costs, busy, self.replication);
            let front = Front { space: &space, criteria, limits: self.limits, memory: self.memory };
            candidates.extend(front.plans().into_iter().map(|plan| self.candidate(plan)));
        }
        let as_good = |a: &Candidate, b: &Candidate| {
            criteria.iter().all(|&at| a.value(at) <= b.value(at) * (1.0 + EQUAL))
        };
        let mut front: Vec<Candidate> = Vec::new();
        for candidate in candidates {
            if !front.iter().any(|other| as_good(other, &candidate)) {
                front.retain(|other| !as_good(&candidate, other));
                front.push(candidate);
            }
        }
        front.sort_by(|a, b| {
            let pairs = criteria.iter().map(|&at| a.value(at).total_cmp(&b.value(at)));
            pairs.reduce(Ordering::then).unwrap_or(Ordering::Equal)
        });
        front
    }

    /// Up to `count` plans of the shortest periods, no two of them with equally many stages on
    /// the same clusters: what a simulation or a measurement should compare.
    #[must_use]
    pub fn candidates(&self, count: usize) -> Vec<Candidate> {
        let mut found = Vec::new();
        for busy in self.busy_sets() {
            let space = Space::new(self.costs, busy, self.replication);
            let cores: usize = busy.iter().map(|cluster| self.costs.cores(cluster)).sum();
            let measure = Bottleneck { cap_ns: self.limits.period_ns };
            let mut table = Table::start::<Bottleneck>(&space);
            for stages in 1..=cores.min(self.costs.layers()) {
                table = table.one_more_stage(&space, &measure);
                if let Some((period_ns, _)) = table.best(&space) {
                    found.push((period_ns, busy, stages));
                }
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut candidates: Vec<Candidate> = Vec::new();
        for (period_ns, busy, stages) in found {
            if candidates.len() >= count {
                break;
            }
            let space = Space::new(self.costs, busy, self.replication);
            let measure = Spent { cap_ns: period_ns * (1.0 + EQUAL), energy_first: false };
            let mut tables = vec![Table::start::<Spent>(&space)];
            for _ in 0..stages {
                tables.extend(tables.last().map(|table| table.one_more_stage(&space, &measure)));
            }
            let end = tables.last().and_then(|table| table.best(&space));
            let plan = end.map(|(_, state)| Table::plan(&space, &tables[1..], state));
            // A plan that leaves a cluster idle is found without contention from it, too.
            if let Some(plan) = plan.filter(|plan| plan.clusters() == busy) {
                candidates.push(self.candidate(plan));
            }
        }
        candidates
    }

    /// A plan and what it does.
    #[must_use]
    pub fn candidate(&self, plan: Plan) -> Candidate {
        let bytes = |memory: &dyn Memory| {
            let stages = plan.stages.iter();
            stages.map(|stage| memory.stage_bytes(stage.layers.clone(), stage.teams.len())).sum()
        };
        let ram_bytes = self.memory.map(bytes);
        Candidate { prediction: self.costs.predict(&plan), plan, ram_bytes }
    }

    fn is_unlimited(&self) -> bool {
        self.limits.latency_ns == f64::INFINITY && self.limits.ram_bytes == u64::MAX
    }

    /// The sets of clusters that may be busy, the largest first.
    fn busy_sets(&self) -> impl Iterator<Item = ClusterSet> + use<> {
        (1..1 << self.costs.clusters().len()).rev().map(ClusterSet::from_bits)
    }

    /// The least period, then the least latency at it.
    fn fastest(&self) -> Option<Candidate> {
        let one_team = |cluster: usize| {
            let team = crate::plan::Team { cluster, cores: self.costs.cores(cluster) };
            self.costs.predict(&Plan::one_stage(self.costs.layers(), vec![team])).period_ns
        };
        let known = (0..self.costs.clusters().len()).map(one_team);
        let known = known.fold(self.limits.period_ns, f64::min);
        let known = known.min(self.costs.predict(&paper(self.costs)).period_ns);
        let mut cap_ns = known * (1.0 + EQUAL);
        let mut periods = Vec::new();
        for busy in self.busy_sets() {
            let space = Space::new(self.costs, busy, self.replication);
            // A tight cap makes for a quick search; one that is too tight, for a vain one.
            // Rounding must not take away a plan.
            if space.least_period_ns() * (1.0 - EQUAL) > cap_ns {
                continue;
            }
            let (least_ns, mut slack) = (space.least_period_ns().max(1.0), TIGHT);
            let period_ns = loop {
                let tried_ns = least_ns * slack;
                let measure = Bottleneck { cap_ns: cap_ns.min(tried_ns) };
                let best = Table::any_stages(&space, &measure).best(&space);
                if best.is_some() || tried_ns >= cap_ns {
                    break best.map(|(period_ns, _)| period_ns);
                }
                slack *= slack;
            };
            if let Some(period_ns) = period_ns {
                cap_ns = cap_ns.min(period_ns * (1.0 + EQUAL));
                periods.push((busy, period_ns));
            }
        }
        let fastest = periods.into_iter().filter(|&(_, period_ns)| period_ns <= cap_ns);
        self.least_spent(fastest.map(|(busy, _)| busy), cap_ns, false)
    }

    /// The least sum over the stages of energy or latency at periods up to `cap_ns`, over plans
    /// for these sets of clusters.
    fn least_spent(
        &self,
        busy_sets: impl Iterator<Item = ClusterSet>,
        cap_ns: f64,
        energy_first: bool,
    ) -> Option<Candidate> {
        let measure = Spent { cap_ns, energy_first };
        let mut best: Option<([f64; 2], Plan)> = None;
        for busy in busy_sets {
            let space = Space::new(self.costs, busy, self.replication);
            let table = Table::any_stages(&space, &measure);
            if let Some((spent, state)) = table.best(&space)
                && best.as_ref().is_none_or(|(least, _)| spent < *least)
            {
                best = Some((spent, Table::plan(&space, &[table], state)));
            }
        }
        best.map(|(_, plan)| self.candidate(plan))
    }
}

impl Candidate {
    /// How it does by one criterion.
    #[must_use]
    pub fn value(&self, criterion: Criterion) -> f64 {
        match criterion {
            Criterion::Period => self.prediction.period_ns,
            Criterion::Latency => self.prediction.latency_ns,
            Criterion::Energy => self.prediction.energy_nj,
            Criterion::Ram => self.ram_bytes.unwrap_or(0) as f64,
        }
    }
}
