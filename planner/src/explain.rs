//! Why a plan: rivals re-ranked by simulation, and what happens when a cluster slows down.

use crate::cost::Costs;
use crate::explore::{Candidate, Explorer, Objective};
use crate::simulate::{Outcome, Simulation, least_slots, simulate};

/// By which share the time of a frame on a team may vary before a plan has too few slots.
pub const JITTER: f64 = 0.2;

/// A candidate at work.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The plan and what the cost model says.
    pub candidate: Candidate,
    /// The least number of frames in flight that keeps it busy.
    pub slots: usize,
    /// What it does with so many, in the simulation.
    pub simulated: Outcome,
}

/// What becomes of a plan when a cluster slows down.
#[derive(Clone, Debug, PartialEq)]
pub struct Slowed {
    /// Index of the cluster.
    pub cluster: usize,
    /// The plan's period then.
    pub period_ns: f64,
    /// The best plan then.
    pub best: Candidate,
}

/// The candidates as the simulation ranks them, fastest first, with up to `most_slots` frames in
/// flight.
#[must_use]
pub fn rank(costs: &Costs, candidates: Vec<Candidate>, most_slots: usize) -> Vec<Ranked> {
    let ranked = candidates.into_iter().map(|candidate| {
        let slots = least_slots(costs, &candidate.plan, most_slots, JITTER);
        let simulated = simulate(costs, &candidate.plan, Simulation::saturated(slots));
        Ranked { candidate, slots, simulated }
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by(|a, b| a.simulated.period_ns.total_cmp(&b.simulated.period_ns));
    ranked
}

/// For every cluster, what `candidate` does when layers take `factor` times as long there, and
/// what would then be best.
#[must_use]
pub fn slowed(costs: &Costs, candidate: &Candidate, factor: f64) -> Vec<Slowed> {
    let on = |cluster: usize| {
        let costs = costs.clone().with_slowdown(cluster, factor);
        let best = Explorer::new(&costs).best(Objective::Throughput)?;
        Some(Slowed { cluster, period_ns: costs.predict(&candidate.plan).period_ns, best })
    };
    (0..costs.clusters().len()).filter_map(on).collect()
}
