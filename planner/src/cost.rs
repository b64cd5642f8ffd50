//! What a plan costs: periods, latencies, energy, from times of layers on teams.
//!
//! ```text
//! team    = hand-over + (1 + contention · (busy clusters − 1)) · Σ layers
//! stage   = 1 / Σ 1 / team            frames are dealt out by the teams' rates
//! period  = max stage                 latency = Σ max team of each stage
//! ```
//!
//! Times are nanoseconds. The same functions serve every search, so that none of them can
//! disagree about what a plan costs.

use std::ops::Range;

use crate::plan::{ClusterSet, Plan, Stage, Team};

/// One cluster: its name and what each layer takes there.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// As the board names it.
    pub name: String,
    /// Nanoseconds of layer `l` on a team of `c` cores: `team_ns[c - 1][l]`.
    pub team_ns: Vec<Vec<f64>>,
    /// Watts of one busy core beyond those of an idle one.
    pub core_watts: f64,
}

/// Why times are refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CostsError {
    /// No clusters, or more than a [`ClusterSet`] holds.
    #[error("{clusters} clusters; want 1 to {MAX_CLUSTERS}")]
    Clusters {
        /// How many.
        clusters: usize,
    },
    /// A cluster has no cores.
    #[error("cluster \"{cluster}\" has no cores")]
    NoCores {
        /// The cluster.
        cluster: String,
    },
    /// Teams of different numbers of layers, or of none.
    #[error("{layers} layers on {cores} cores of cluster \"{cluster}\", others have {expected}")]
    Layers {
        /// The cluster.
        cluster: String,
        /// The team.
        cores: usize,
        /// Its layers.
        layers: usize,
        /// Those of the first team of the first cluster.
        expected: usize,
    },
    /// A time below zero or not a number.
    #[error("layer {layer} takes {ns} ns on {cores} cores of cluster \"{cluster}\"")]
    Time {
        /// The cluster.
        cluster: String,
        /// The team.
        cores: usize,
        /// The layer.
        layer: usize,
        /// Its time.
        ns: f64,
    },
}

/// Most clusters of a machine.
pub const MAX_CLUSTERS: usize = 8;

/// What the layers of one network cost on one machine.
#[derive(Clone, Debug)]
pub struct Costs {
    clusters: Vec<Cluster>,
    layers: usize,
    /// Per cluster and team, what all layers before layer `l` take together.
    before_ns: Vec<Vec<Vec<f64>>>,
    /// Per cut, cluster before (the source last), cluster after.
    handover_ns: Vec<f64>,
    contention: f64,
}

/// What a plan is predicted to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Time between frames.
    pub period_ns: f64,
    /// Time of one frame through all stages when no frame waits.
    pub latency_ns: f64,
    /// Energy of the busy cores per frame, in nanojoules.
    pub energy_nj: f64,
    /// The stages.
    pub stages: Vec<StagePrediction>,
}

/// What a stage is predicted to do.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePrediction {
    /// Time between the frames it can do.
    pub period_ns: f64,
    /// Time of one frame on its slowest team.
    pub latency_ns: f64,
    /// Energy of its busy cores per frame, in nanojoules.
    pub energy_nj: f64,
    /// Time of one frame on each team, in the order of the plan.
    pub team_ns: Vec<f64>,
}

impl Prediction {
    /// The stage that limits the throughput; the first of those that do.
    #[must_use]
    pub fn bottleneck(&self) -> usize {
        let slowest = |stage: &StagePrediction| stage.period_ns >= self.period_ns;
        self.stages.iter().position(slowest).unwrap_or(0)
    }

    /// Mean load of the stages over that of the busiest, 0 to 1.
    #[must_use]
    pub fn balance(&self) -> f64 {
        let sum: f64 = self.stages.iter().map(|stage| stage.period_ns).sum();
        sum / (self.period_ns * self.stages.len() as f64)
    }

    /// Share of every period for which each stage has nothing to do.
    #[must_use]
    pub fn bubbles(&self) -> Vec<f64> {
        self.stages.iter().map(|stage| 1.0 - stage.period_ns / self.period_ns).collect()
    }

    /// Frames per second.
    #[must_use]
    pub fn frames_per_s(&self) -> f64 {
        1e9 / self.period_ns
    }
}

impl Costs {
    /// Without hand-over and contention.
    ///
    /// # Errors
    ///
    /// [`CostsError`].
    pub fn new(clusters: Vec<Cluster>) -> Result<Self, CostsError> {
        if clusters.is_empty() || clusters.len() > MAX_CLUSTERS {
            return Err(CostsError::Clusters { clusters: clusters.len() });
        }
        let layers = clusters.first().and_then(|c| c.team_ns.first()).map_or(0, Vec::len);
        for cluster in &clusters {
            check(cluster, layers)?;
        }
        let before = |team: &Vec<f64>| {
            let mut sum = 0.0;
            let sums = team.iter().map(|ns| {
                sum += ns;
                sum
            });
            std::iter::once(0.0).chain(sums).collect()
        };
        let before_ns = clusters.iter().map(|c| c.team_ns.iter().map(before).collect()).collect();
        let handover_ns = vec![0.0; layers * (clusters.len() + 1) * clusters.len()];
        Ok(Self { clusters, layers, before_ns, handover_ns, contention: 0.0 })
    }

    /// With these hand-over times: `ns(cut, from, to)` is what a team of cluster `to` spends on
    /// taking over a frame before layer `cut` from a stage on cluster `from`. Before layer 0 it is
    /// asked once, with no `from`, for taking a frame from the source. Infinite where there can
    /// be no cut.
    #[must_use]
    pub fn with_handover(mut self, ns: impl Fn(usize, Option<usize>, usize) -> f64) -> Self {
        for to in 0..self.clusters.len() {
            let source = self.handover_index(0, self.clusters.len(), to);
            self.handover_ns[source] = ns(0, None, to).max(0.0);
            for cut in 1..self.layers {
                for from in 0..self.clusters.len() {
                    let at = self.handover_index(cut, from, to);
                    self.handover_ns[at] = ns(cut, Some(from), to).max(0.0);
                }
            }
        }
        self
    }

    /// With layers that take `1 + contention · (n − 1)` times as long when `n` clusters are busy
    /// together.
    #[must_use]
    pub fn with_contention(mut self, contention: f64) -> Self {
        self.contention = contention.max(0.0);
        self
    }

    /// With all layers `factor` times as long on `cluster`.
    #[must_use]
    pub fn with_slowdown(mut self, cluster: usize, factor: f64) -> Self {
        let times = self.clusters.get_mut(cluster).map(|cluster| &mut cluster.team_ns);
        let sums = self.before_ns.get_mut(cluster);
        for ns in times.into_iter().chain(sums).flatten().flatten() {
            *ns *= factor;
        }
        self
    }

    /// The same with groups of layers in place of layers: there are cuts between groups only.
    /// `starts` has the first layer of each group but the first, ascending.
    #[must_use]
    pub fn grouped(&self, starts: &[usize]) -> Self {
        let bounds: Vec<_> = std::iter::once(0).chain(starts.iter().copied()).collect();
        let ends = starts.iter().copied().chain([self.layers]);
        let groups: Vec<_> = bounds.iter().copied().zip(ends).map(|(from, to)| from..to).collect();
        let team = |before: &Vec<f64>| {
            groups.iter().map(|group| before[group.end] - before[group.start]).collect()
        };
        let clusters = self.clusters.iter().zip(&self.before_ns).map(|(cluster, before)| Cluster {
            team_ns: before.iter().map(team).collect(),
            ..cluster.clone()
        });
        let clusters: Vec<_> = clusters.collect();
        let before = |team: &Vec<f64>| {
            bounds.iter().map(|&start| team[start]).chain(team.last().copied()).collect()
        };
        let before_ns =
            self.before_ns.iter().map(|teams| teams.iter().map(before).collect()).collect();
        let per_cut = (self.clusters.len() + 1) * self.clusters.len();
        let handover_ns = bounds
            .iter()
            .flat_map(|&cut| self.handover_ns[cut * per_cut..(cut + 1) * per_cut].iter().copied());
        Self {
            layers: groups.len(),
            before_ns,
            handover_ns: handover_ns.collect(),
            contention: self.contention,
            clusters,
        }
    }

    /// Number of layers.
    #[must_use]
    pub const fn layers(&self) -> usize {
        self.layers
    }

    /// The clusters.
    #[must_use]
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// The names of the clusters.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.clusters.iter().map(|cluster| cluster.name.as_str()).collect()
    }

    /// Number of cores of `cluster`.
    #[must_use]
    pub fn cores(&self, cluster: usize) -> usize {
        self.clusters[cluster].team_ns.len()
    }

    /// By which factor layers take longer while the clusters of `busy` work.
    #[must_use]
    pub fn slowdown(&self, busy: ClusterSet) -> f64 {
        1.0 + self.contention * busy.len().saturating_sub(1) as f64
    }

    /// Time of `layers` on `team` while no other cluster is busy, without hand-over.
    #[must_use]
    pub fn work_ns(&self, layers: Range<usize>, team: Team) -> f64 {
        let before = &self.before_ns[team.cluster][team.cores - 1];
        before[layers.end] - before[layers.start]
    }

    /// Time for which cluster `to` takes over a frame before layer `cut`: the longest that any
    /// cluster of the stage before causes. Nobody is before the first stage but the source.
    #[must_use]
    pub fn handover_ns(&self, cut: usize, from: ClusterSet, to: usize) -> f64 {
        if from.is_empty() {
            return self.handover_ns[self.handover_index(cut, self.clusters.len(), to)];
        }
        let ns = from.iter().map(|from| self.handover_ns[self.handover_index(cut, from, to)]);
        ns.fold(0.0, f64::max)
    }

    fn handover_index(&self, cut: usize, from: usize, to: usize) -> usize {
        (cut * (self.clusters.len() + 1) + from) * self.clusters.len() + to
    }

    /// What `stage` does after a stage on `from`, while the clusters of `busy` work.
    #[must_use]
    pub fn stage(&self, stage: &Stage, from: ClusterSet, busy: ClusterSet) -> StagePrediction {
        let slowdown = self.slowdown(busy);
        let team_ns: Vec<_> = stage
            .teams
            .iter()
            .map(|&team| {
                let handover = self.handover_ns(stage.layers.start, from, team.cluster);
                handover + slowdown * self.work_ns(stage.layers.clone(), team)
            })
            .collect();
        let period_ns = 1.0 / team_ns.iter().map(|ns| 1.0 / ns).sum::<f64>();
        let watts = |team: &Team| team.cores as f64 * self.clusters[team.cluster].core_watts;
        StagePrediction {
            period_ns,
            latency_ns: team_ns.iter().copied().fold(0.0, f64::max),
            energy_nj: period_ns * stage.teams.iter().map(watts).sum::<f64>(),
            team_ns,
        }
    }

    /// What `plan` does.
    #[must_use]
    pub fn predict(&self, plan: &Plan) -> Prediction {
        let busy = plan.clusters();
        let mut from = ClusterSet::default();
        let mut stages = Vec::new();
        for stage in &plan.stages {
            stages.push(self.stage(stage, from, busy));
            from = stage.clusters();
        }
        Prediction {
            period_ns: stages.iter().map(|stage| stage.period_ns).fold(0.0, f64::max),
            latency_ns: stages.iter().map(|stage| stage.latency_ns).sum(),
            energy_nj: stages.iter().map(|stage| stage.energy_nj).sum(),
            stages,
        }
    }
}

fn check(cluster: &Cluster, expected: usize) -> Result<(), CostsError> {
    let name = || cluster.name.clone();
    if cluster.team_ns.is_empty() {
        return Err(CostsError::NoCores { cluster: name() });
    }
    for (cores, team) in (1..).zip(&cluster.team_ns) {
        let layers = team.len();
        if layers == 0 || layers != expected {
            return Err(CostsError::Layers { cluster: name(), cores, layers, expected });
        }
        for (layer, &ns) in team.iter().enumerate() {
            if !(ns.is_finite() && ns >= 0.0) {
                return Err(CostsError::Time { cluster: name(), cores, layer, ns });
            }
        }
    }
    Ok(())
}
