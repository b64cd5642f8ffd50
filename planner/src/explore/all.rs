//! All plans there are, one by one: for machines of a few cores, and to check searches by.

use crate::plan::{Plan, Stage, Team};

/// All plans of `layers` layers on clusters of so many cores, with stages that several teams serve
/// or without; None when there are more than `most`.
#[must_use]
pub fn all_plans(
    layers: usize,
    cores: &[usize],
    replication: bool,
    most: usize,
) -> Option<Vec<Plan>> {
    let mut all = All { layers, replication, most, stages: Vec::new(), plans: Vec::new() };
    all.extend(0, cores).then_some(all.plans)
}

struct All {
    layers: usize,
    replication: bool,
    most: usize,
    /// Of the plan under way.
    stages: Vec<Stage>,
    plans: Vec<Plan>,
}

impl All {
    /// Adds the plans whose next stage begins at layer `start`, with so many cores left; false when
    /// there are too many.
    fn extend(&mut self, start: usize, left: &[usize]) -> bool {
        if start == self.layers {
            self.plans.push(Plan { stages: self.stages.clone() });
            return self.plans.len() <= self.most;
        }
        let mut choices = Vec::new();
        teams(left, self.replication, &mut Vec::new(), &mut choices);
        choices.into_iter().all(|teams| {
            let mut left = left.to_vec();
            for team in &teams {
                left[team.cluster] -= team.cores;
            }
            (start + 1..=self.layers).all(|end| {
                self.stages.push(Stage { layers: start..end, teams: teams.clone() });
                let is_room = self.extend(end, &left);
                self.stages.pop();
                is_room
            })
        })
    }
}

/// All multisets of teams, `begun` among them, that fit into what is left of each cluster.
fn teams(left: &[usize], replication: bool, begun: &mut Vec<Team>, all: &mut Vec<Vec<Team>>) {
    if !begun.is_empty() {
        all.push(begun.clone());
        if !replication {
            return;
        }
    }
    for cluster in 0..left.len() {
        for cores in 1..=left[cluster] {
            let team = Team { cluster, cores };
            if begun.last().is_none_or(|&last| last <= team) {
                let mut left = left.to_vec();
                left[cluster] -= cores;
                begun.push(team);
                teams(&left, replication, begun, all);
                begun.pop();
            }
        }
    }
}
