//! The heuristic of Pipe-it (Wang et al., *High-throughput CNN inference on embedded ARM
//! big.LITTLE multi-core processors*, arXiv 1903.05898): `work_flow` inside `merge_stage`.
//!
//! As read here, the pair of stages that gains most by it is merged, and two neighbours share
//! their layers as well as two can.
//! It knows teams, one per stage, but neither hand-over nor contention; what it finds is
//! predicted with both all the same.

use crate::cost::Costs;
use crate::plan::{Plan, Stage, Team};

/// The plan of the heuristic.
///
/// Starts with one stage per core, the fastest clusters first, and merges neighbours of the same
/// cluster while that shortens the period.
#[must_use]
pub fn paper(costs: &Costs) -> Plan {
    let mut order: Vec<_> = (0..costs.clusters().len()).collect();
    let one_core_ns =
        |&cluster: &usize| costs.work_ns(0..costs.layers(), Team { cluster, cores: 1 });
    order.sort_by(|a, b| one_core_ns(a).total_cmp(&one_core_ns(b)));
    let cores = order
        .iter()
        .flat_map(|&cluster| std::iter::repeat_n(Team { cluster, cores: 1 }, costs.cores(cluster)));
    let mut teams: Vec<_> = cores.collect();
    let mut flow = work_flow(costs, &teams);
    loop {
        let merged =
            (1..teams.len()).filter(|&second| teams[second - 1].cluster == teams[second].cluster);
        let merged = merged.map(|second| {
            let mut merged = teams.clone();
            merged[second - 1].cores += merged.remove(second).cores;
            let flow = work_flow(costs, &merged);
            (merged, flow)
        });
        let best = merged.min_by(|(_, a), (_, b)| a.period_ns.total_cmp(&b.period_ns));
        let Some(best) = best.filter(|(_, best)| best.period_ns < flow.period_ns) else { break };
        (teams, flow) = best;
    }
    let ends = flow.ends.iter().copied();
    let starts = std::iter::once(0).chain(ends.clone());
    let stages = starts.zip(ends).zip(teams).filter(|((start, end), _)| start < end);
    Plan {
        stages: stages
            .map(|((start, end), team)| Stage { layers: start..end, teams: vec![team] })
            .collect(),
    }
}

/// Layers as they flow down a pipeline.
struct Flow {
    /// One past the last layer of each stage.
    ends: Vec<usize>,
    period_ns: f64,
}

/// All layers start in the first stage. Neighbours share theirs so that the slower of the two
/// is as fast as can be, from the first pair to the last, until no cut moves any more.
fn work_flow(costs: &Costs, teams: &[Team]) -> Flow {
    let mut ends = vec![costs.layers(); teams.len()];
    loop {
        let mut is_stable = true;
        for (pair, two) in teams.windows(2).enumerate() {
            let &[first, second] = two else { continue };
            let start = if pair == 0 { 0 } else { ends[pair - 1] };
            let end = ends[pair + 1];
            let slower_ns =
                |cut: usize| costs.work_ns(start..cut, first).max(costs.work_ns(cut..end, second));
            let best = (start..=end).min_by(|&a, &b| slower_ns(a).total_cmp(&slower_ns(b)));
            if let Some(cut) = best.filter(|&cut| slower_ns(cut) < slower_ns(ends[pair])) {
                ends[pair] = cut;
                is_stable = false;
            }
        }
        if is_stable {
            break;
        }
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let stages = starts.zip(&ends).zip(teams);
    let periods = stages.map(|((start, &end), &team)| costs.work_ns(start..end, team));
    Flow { period_ns: periods.fold(0.0, f64::max), ends }
}
