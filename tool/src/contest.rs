//! Plans measured against each other, in rounds: what disturbs one disturbs all.

use std::time::Duration;

use pipeit_planner::explain::rank;
use pipeit_planner::explore::{Explorer, all_plans};
use pipeit_planner::plan::Plan;
use pipeit_rt::pipeline::InputFrame;
use pipeit_rt::plan::MAX_SLOTS;
use pipeit_rt::platform::hosted::{Hosted, Machine};

use crate::artefact::OwnedPlan;
use crate::commands::{CommandError, progress};
use crate::measure::{Length, measure};
use crate::noise::Noise;
use crate::partition::Partition;
use crate::planning::{Planner, PlanningError};
use crate::search::Found;
use crate::session::fill;

/// How long each plan runs per round.
const TIME: Duration = Duration::from_millis(200);
/// Rounds over all plans, and over the fastest and the one picked.
const ROUNDS: usize = 5;
const FINAL_ROUNDS: usize = 9;
/// Plans that are measured once more.
const FINALISTS: usize = 4;
/// Plans that are measured at most.
const MOST: usize = 1000;

/// How the plan that was picked does among those measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    /// Plans measured.
    pub plans: usize,
    /// The plan that the search picked, by index in the order of what was measured.
    pub picked: usize,
    /// Nanoseconds between frames of each plan, fastest first.
    pub period_ns: Vec<f64>,
    /// Median over the plans of the error of their simulated periods, without sign.
    pub simulation_error: f64,
}

impl Contest {
    /// Measures the plans that were found, and orders them by that, the fastest first. All plans
    /// there are are measured with them if `is_exhaustive`.
    ///
    /// # Errors
    ///
    /// A plan cannot be run; there are too many.
    pub fn hold(
        found: &mut Found,
        planner: &Planner<'_>,
        machine: &Machine,
        is_exhaustive: bool,
    ) -> Result<Self, CommandError> {
        if is_exhaustive {
            add_others(found)?;
        }
        let mut plans: Vec<OwnedPlan> = Vec::new();
        for ranked in &found.ranked {
            let partition = Partition::from(&ranked.candidate.plan);
            plans.push(planner.plan(&partition, machine, Some(ranked.slots))?);
        }
        let all: Vec<_> = (0..plans.len()).collect();
        let mut period_ns = vec![f64::INFINITY; plans.len()];
        measure_some(&all, ROUNDS, &plans, planner, machine, &mut period_ns)?;
        let by_period = |order: &mut Vec<usize>, period_ns: &[f64]| {
            order.sort_by(|&a, &b| period_ns[a].total_cmp(&period_ns[b]));
        };
        let mut order = all;
        by_period(&mut order, &period_ns);
        // The fastest of many owes something to chance: once more, beside the one picked.
        let mut finalists: Vec<_> = order.iter().copied().take(FINALISTS).collect();
        if !finalists.contains(&0) {
            finalists.push(0);
        }
        finalists.iter().for_each(|&plan| period_ns[plan] = f64::INFINITY);
        measure_some(&finalists, FINAL_ROUNDS, &plans, planner, machine, &mut period_ns)?;
        by_period(&mut finalists, &period_ns);
        let (fastest, mut rest) = (finalists[0], order);
        rest.retain(|&plan| plan != fastest);
        by_period(&mut rest, &period_ns);
        let order: Vec<_> = std::iter::once(fastest).chain(rest).collect();
        found.ranked = order.iter().map(|&plan| found.ranked[plan].clone()).collect();
        let period_ns: Vec<_> = order.iter().map(|&plan| period_ns[plan]).collect();
        let simulated = found.ranked.iter().zip(&period_ns);
        let mut errors: Vec<_> = simulated
            .map(|(ranked, period_ns)| (ranked.simulated.period_ns / period_ns - 1.0).abs())
            .collect();
        errors.sort_by(f64::total_cmp);
        Ok(Self {
            plans: plans.len(),
            picked: order.iter().position(|&plan| plan == 0).unwrap_or(0),
            simulation_error: errors[errors.len() / 2],
            period_ns,
        })
    }

    /// By which share the plan that was picked is slower than the fastest.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.period_ns[self.picked] / self.period_ns[0] - 1.0
    }
}

/// Adds all plans that were not found.
fn add_others(found: &mut Found) -> Result<(), PlanningError> {
    let costs = &found.costs;
    let cores: Vec<_> = (0..costs.clusters().len()).map(|cluster| costs.cores(cluster)).collect();
    let plans = all_plans(costs.layers(), &cores, true, MOST);
    let plans = plans.ok_or(PlanningError::TooMany { most: MOST })?;
    let is_new = |plan: &Plan| !found.ranked.iter().any(|ranked| ranked.candidate.plan == *plan);
    let explorer = Explorer::new(costs);
    let others = plans.into_iter().filter(is_new).map(|plan| explorer.candidate(plan));
    let mut others = rank(costs, others.collect(), MAX_SLOTS - 1);
    others.iter_mut().for_each(|ranked| ranked.slots += 1);
    found.ranked.extend(others);
    Ok(())
}

/// Runs the plans of these indices in rounds; the time between frames is that of the calmest round,
/// for other programs only ever make it longer.
fn measure_some(
    which: &[usize],
    rounds: usize,
    plans: &[OwnedPlan],
    planner: &Planner<'_>,
    machine: &Machine,
    period_ns: &mut [f64],
) -> Result<(), CommandError> {
    let frames = Noise::new(0).frame(planner.model);
    let bar = progress(rounds * which.len(), "measuring");
    for _ in 0..rounds {
        for &index in which {
            let plan = plans[index].check(planner.model)?;
            let length = Length { time: TIME, frames: 0 };
            let next = |_, frame: &mut InputFrame<'_, '_, Hosted>| fill(frame, &frames);
            let measured = measure(&plan, machine, length, next, |_, _| {})??;
            period_ns[index] = period_ns[index].min(1e9 / measured.frames_per_second());
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
