//! Plans: which layers each stage has, and which teams serve it.

use std::fmt;
use std::ops::Range;

/// Some cores of one cluster that work on a layer together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Team {
    /// Index of the cluster.
    pub cluster: usize,
    /// Number of cores, at least one.
    pub cores: usize,
}

/// Consecutive layers and the teams that serve them, each taking whole frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stage {
    /// The layers, at least one.
    pub layers: Range<usize>,
    /// At least one.
    pub teams: Vec<Team>,
}

/// The stages of a pipeline, in the order of their layers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// At least one; together they cover every layer once.
    pub stages: Vec<Stage>,
}

impl Plan {
    /// One stage of `layers` layers, served by `teams`.
    #[must_use]
    pub fn one_stage(layers: usize, teams: Vec<Team>) -> Self {
        Self { stages: vec![Stage { layers: 0..layers, teams }] }
    }

    /// The clusters that are busy, as bits.
    #[must_use]
    pub fn clusters(&self) -> ClusterSet {
        self.stages.iter().fold(ClusterSet::default(), |all, stage| all.union(stage.clusters()))
    }

    /// All teams, in the order of their stages.
    pub fn teams(&self) -> impl Iterator<Item = Team> + '_ {
        self.stages.iter().flat_map(|stage| stage.teams.iter().copied())
    }

    /// The plan as text, `0-11=big*1+big*1 12-16=little*4`, with the names of the clusters.
    #[must_use]
    pub fn spec<'a>(&'a self, names: &'a [&'a str]) -> Spec<'a> {
        Spec { plan: self, names }
    }
}

impl Stage {
    /// The clusters of its teams.
    #[must_use]
    pub fn clusters(&self) -> ClusterSet {
        self.teams.iter().fold(ClusterSet::default(), |all, team| all.with(team.cluster))
    }
}

/// A set of clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterSet(u32);

impl ClusterSet {
    /// The set whose bit `i` stands for cluster `i`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Bit `i` stands for cluster `i`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// This set and `cluster`.
    #[must_use]
    pub const fn with(self, cluster: usize) -> Self {
        Self(self.0 | 1 << cluster)
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `cluster` is in it.
    #[must_use]
    pub const fn contains(self, cluster: usize) -> bool {
        self.0 >> cluster & 1 == 1
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The clusters, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..u32::BITS as usize).filter(move |&cluster| self.contains(cluster))
    }
}

/// A plan to be written: see [`Plan::spec`].
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    plan: &'a Plan,
    names: &'a [&'a str],
}

impl fmt::Display for Spec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let (first, last) = (stage.layers.start, stage.layers.end.saturating_sub(1));
            if first == last {
                write!(f, "{space}{first}=")?;
            } else {
                write!(f, "{space}{first}-{last}=")?;
            }
            for (index, team) in stage.teams.iter().enumerate() {
                let plus = if index == 0 { "" } else { "+" };
                let name = self.names.get(team.cluster).unwrap_or(&"?");
                write!(f, "{plus}{name}*{}", team.cores)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_written_as_the_tool_reads_them() {
        let team = |cluster, cores| Team { cluster, cores };
        let plan = Plan {
            stages: vec![
                Stage { layers: 0..12, teams: vec![team(0, 1), team(0, 1)] },
                Stage { layers: 12..13, teams: vec![team(1, 4)] },
            ],
        };
        assert_eq!(plan.spec(&["big", "little"]).to_string(), "0-11=big*1+big*1 12=little*4");
        assert_eq!(plan.clusters().iter().collect::<Vec<_>>(), [0, 1]);
    }
}
