//! The search finds what trying all plans finds, for every objective.

use std::ops::Range;

use pipeit_planner::cost::{Cluster, Costs};
use pipeit_planner::explore::{
    Candidate, Criterion, Explorer, Limits, Memory, Objective, all_plans, paper,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    costs: Costs,
    cores: Vec<usize>,
    replication: bool,
    /// Per layer, and per team.
    bytes: Vec<u64>,
    limits: [f64; 3],
}

impl Memory for Case {
    fn stage_bytes(&self, layers: Range<usize>, teams: usize) -> u64 {
        let inside = self.bytes[layers.clone()].iter().max().copied().unwrap_or(0);
        teams as u64 * (inside + 2 * self.bytes[layers.start])
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let cores = prop_oneof![
        prop::collection::vec(1usize..=2, 1..=3),
        Just(vec![4]),
        Just(vec![3, 1]),
        Just(vec![2, 3]),
    ];
    (1usize..=6, cores, any::<bool>())
        .prop_flat_map(|(layers, cores, replication)| {
            // The more ways there are, the fewer layers.
            let total: usize = cores.iter().sum();
            let layers = if total > 4 && replication { layers.min(4) } else { layers };
            let clusters = cores.len();
            // Few values, so that many plans are equal.
            let times = prop::collection::vec(1u32..20, layers * total);
            let handovers = prop::collection::vec(
                prop_oneof![3 => (0u32..8).prop_map(f64::from), 1 => Just(f64::INFINITY)],
                layers * (clusters + 1) * clusters,
            );
            let kind = 0..3;
            let rest = (
                prop::collection::vec(1u64..9, layers),
                prop::collection::vec(1u32..5, clusters),
                prop_oneof![Just(0.0), Just(0.2), Just(0.5)],
                [0.0..1.5, 0.0..1.5, 0.0..1.5],
            );
            (Just((layers, cores, replication)), times, handovers, kind, rest)
        })
        .prop_map(|((layers, cores, replication), times, handovers, kind, rest)| {
            let (bytes, watts, contention, limits) = rest;
            let mut times = times.chunks(layers);
            let cluster = |(index, &count): (usize, &usize)| {
                let team = |cores| {
                    let one = times.next().unwrap();
                    one.iter().map(|&ns| f64::from(ns) / f64::from(cores)).collect()
                };
                Cluster {
                    name: format!("c{index}"),
                    team_ns: (1..=count as u32).map(team).collect(),
                    core_watts: f64::from(watts[index]),
                }
            };
            let clusters = cores.len();
            let costs = Costs::new(cores.iter().enumerate().map(cluster).collect()).unwrap();
            // None, the same for all clusters, or one that depends on the cluster before.
            let costs =
                costs.with_contention(contention).with_handover(|cut, from, to| match kind {
                    0 => 0.0,
                    1 => handovers[cut * (clusters + 1) * clusters].min(9.0),
                    _ if cut == 0 => handovers[to].min(9.0),
                    _ => handovers[(cut * (clusters + 1) + from.unwrap()) * clusters + to],
                });
            Case { costs, cores, replication, bytes, limits }
        })
}

/// The least by the first criterion, and among those the least by the second.
fn least(candidates: &[Candidate], criteria: [Criterion; 2]) -> Option<[f64; 2]> {
    let values = candidates.iter().map(|c| criteria.map(|criterion| c.value(criterion)));
    values.filter(|values| values[0].is_finite()).reduce(|a, b| {
        let equal = (a[0] - b[0]).abs() <= 1e-9 * a[0];
        let is_less = if equal { b[1] < a[1] } else { b[0] < a[0] };
        if is_less { b } else { a }
    })
}

fn check(
    what: &str,
    found: Option<&Candidate>,
    expected: Option<[f64; 2]>,
    criteria: [Criterion; 2],
) -> Result<(), TestCaseError> {
    let found = found.map(|c| criteria.map(|criterion| c.value(criterion)));
    match (found, expected) {
        (Some(found), Some(expected)) => {
            for (found, expected) in found.into_iter().zip(expected) {
                prop_assert!(
                    (found - expected).abs() <= 1e-6 * expected.max(1e-3),
                    "{what}: {found} is not {expected}"
                );
            }
        }
        (found, expected) => prop_assert_eq!(found, expected),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn the_search_equals_brute_force(case in cases()) {
        use Criterion::{Energy, Latency, Period, Ram};
        let explorer = Explorer::new(&case.costs).with_replication(case.replication);
        let explorer = explorer.with_memory(&case);
        let plans = all_plans(case.costs.layers(), &case.cores, case.replication, usize::MAX).unwrap();
        let all: Vec<_> = plans.into_iter().map(|plan| explorer.candidate(plan)).collect();

        let fastest = least(&all, [Period, Latency]);
        check("fastest", explorer.best(Objective::Throughput).as_ref(), fastest, [Period, Latency])?;
        let thrifty = least(&all, [Energy, Energy]);
        check("least-energy", explorer.best(Objective::Energy).as_ref(), thrifty, [Energy, Energy])?;

        // Limits between what is never and what is always kept.
        let between = |criterion: Criterion, at: f64| {
            let values = || all.iter().map(|c| c.value(criterion)).filter(|v| v.is_finite());
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            low + (high - low) * (at - 0.1)
        };
        let limits = Limits {
            period_ns: between(Period, case.limits[0]),
            latency_ns: between(Latency, case.limits[1]),
            ram_bytes: between(Ram, case.limits[2]).max(0.0) as u64,
        };
        let select = |limits: Limits| -> Vec<Candidate> {
            let within = all.iter().filter(|c| {
                c.prediction.period_ns <= limits.period_ns
                    && c.prediction.latency_ns <= limits.latency_ns
                    && c.ram_bytes.unwrap() <= limits.ram_bytes
            });
            within.cloned().collect()
        };
        let only = [
            Limits { period_ns: limits.period_ns, ..Limits::default() },
            Limits { latency_ns: limits.latency_ns, ..Limits::default() },
            Limits { ram_bytes: limits.ram_bytes, ..Limits::default() },
            limits,
        ];
        for limits in only {
            let within = select(limits);
            let explorer = explorer.with_limits(limits);
            let found = explorer.best(Objective::Throughput);
            check("fastest-within", found.as_ref(), least(&within, [Period, Latency]), [Period, Latency])?;
            let found = explorer.best(Objective::Energy);
            check("least-energy-within", found.as_ref(), least(&within, [Energy, Energy]), [Energy, Energy])?;
        }

        // Every plan is as bad as some plan of the front, and none of the front as another.
        for criteria in [&[Period, Latency][..], &[Period, Energy], &[Period, Latency, Energy, Ram]] {
            let front = explorer.front(criteria);
            let as_good = |a: &Candidate, b: &Candidate| {
                criteria.iter().all(|&c| a.value(c) <= b.value(c) * (1.0 + 1e-9))
            };
            for plan in all.iter().filter(|plan| plan.prediction.period_ns.is_finite()) {
                prop_assert!(front.iter().any(|best| as_good(best, plan)));
            }
            for (i, a) in front.iter().enumerate() {
                prop_assert!(front[..i].iter().all(|b| !as_good(a, b) && !as_good(b, a)));
                prop_assert!(all.iter().any(|plan| as_good(plan, a)));
            }
        }

        // Candidates: the best of their kind, best first.
        let candidates = explorer.candidates(usize::MAX);
        let periods: Vec<_> = candidates.iter().map(|c| c.value(Period)).collect();
        prop_assert!(periods.windows(2).all(|two| two[0] <= two[1] * (1.0 + 1e-6)));
        let first = periods.first().zip(fastest);
        prop_assert!(first.is_some_and(|(found, least)| *found <= least[0] * (1.0 + 1e-6)));
        for candidate in &candidates {
            let alike: Vec<_> = all.iter().filter(|other| {
                other.plan.stages.len() == candidate.plan.stages.len()
                    && other.plan.clusters() == candidate.plan.clusters()
            }).cloned().collect();
            check("candidate", Some(candidate), least(&alike, [Period, Latency]), [Period, Latency])?;
        }

        // The heuristic makes a plan, no better than the best.
        if !case.replication {
            let plan = explorer.candidate(paper(&case.costs));
            let covered: usize = plan.plan.stages.iter().map(|stage| stage.layers.len()).sum();
            prop_assert_eq!(covered, case.costs.layers());
            prop_assert!(plan.prediction.period_ns * (1.0 + 1e-9) >= fastest.unwrap()[0]);
        }
    }
}
