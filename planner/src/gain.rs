//! The question of Pipe-it: how much faster than its best cluster is a whole board?
//!
//! Throughput over that of the best single cluster, all whose cores share every layer: for the
//! ideal sum of all clusters, one stage per cluster, the paper's heuristic, and the exact search
//! without and with several teams per stage.

use crate::board::Board;
use crate::cost::Costs;
use crate::explore::{Explorer, Objective, paper};
use crate::plan::{Plan, Stage, Team};
use crate::table::{Table, TableError};

/// Throughputs of a network over that of its best cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// All clusters' own throughputs together.
    pub ideal: f64,
    /// One stage per cluster, on all its cores, in the best order and cut.
    pub stage_per_cluster: f64,
    /// The paper's heuristic.
    pub paper: f64,
    /// The best plan with one team per stage.
    pub exact: f64,
    /// The best plan.
    pub replicated: f64,
}

/// Gains of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkGains {
    /// The network.
    pub network: String,
    /// The best single cluster.
    pub cluster: String,
    /// Its frames per second.
    pub frames_per_s: f64,
    /// The gains.
    pub gains: Gains,
    /// The best plan with one team per stage, and the best plan.
    pub plans: [String; 2],
}

/// Gains on a board.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardGains {
    /// By which share layers take longer per further busy cluster.
    pub contention: f64,
    /// Per network.
    pub networks: Vec<NetworkGains>,
    /// The geometric means.
    pub mean: Gains,
}

impl Gains {
    /// What each is called.
    pub const NAMES: [&'static str; 5] =
        ["ideal sum", "stage per cluster", "paper", "exact", "exact, replicated"];

    /// In the order of [`NAMES`](Self::NAMES).
    #[must_use]
    pub const fn values(&self) -> [f64; 5] {
        [self.ideal, self.stage_per_cluster, self.paper, self.exact, self.replicated]
    }

    fn mean(all: &[NetworkGains]) -> Self {
        let [ideal, stage_per_cluster, paper, exact, replicated] = [0, 1, 2, 3, 4].map(|at| {
            let logarithms = all.iter().map(|network| network.gains.values()[at].ln());
            (logarithms.sum::<f64>() / all.len() as f64).exp()
        });
        Self { ideal, stage_per_cluster, paper, exact, replicated }
    }
}

/// The gains of all networks that `table` has, on `board`.
///
/// # Errors
///
/// [`TableError`].
pub fn gains(board: &Board, table: &Table, contention: f64) -> Result<BoardGains, TableError> {
    let of_network = |name: &str| {
        let costs = table.costs(board, name)?.with_contention(contention);
        Ok(network_gains(name, &costs))
    };
    let networks: Vec<_> =
        table.networks().into_iter().map(of_network).collect::<Result<_, TableError>>()?;
    Ok(BoardGains { contention, mean: Gains::mean(&networks), networks })
}

fn network_gains(name: &str, costs: &Costs) -> NetworkGains {
    let alone = |cluster: usize| {
        let team = Team { cluster, cores: costs.cores(cluster) };
        costs.predict(&Plan::one_stage(costs.layers(), vec![team])).frames_per_s()
    };
    let clusters = 0..costs.clusters().len();
    let best = clusters.clone().max_by(|&a, &b| alone(a).total_cmp(&alone(b))).unwrap_or(0);
    let over = |frames_per_s: f64| frames_per_s / alone(best);
    let explorer = Explorer::new(costs);
    let found = |replication: bool| {
        // Without limits there is always a plan.
        let found = explorer.with_replication(replication).best(Objective::Throughput);
        found.map_or((0.0, String::new()), |found| {
            let spec = found.plan.spec(&costs.names()).to_string();
            (over(found.prediction.frames_per_s()), spec)
        })
    };
    let ((exact, exact_plan), (replicated, replicated_plan)) = (found(false), found(true));
    NetworkGains {
        network: name.to_owned(),
        cluster: costs.clusters()[best].name.clone(),
        frames_per_s: alone(best),
        gains: Gains {
            ideal: over(clusters.map(alone).sum()),
            stage_per_cluster: over(stage_per_cluster(costs)),
            paper: over(costs.predict(&paper(costs)).frames_per_s()),
            exact,
            replicated,
        },
        plans: [exact_plan, replicated_plan],
    }
}

/// Frames per second of the best pipeline of one stage per cluster, on all its cores.
fn stage_per_cluster(costs: &Costs) -> f64 {
    let mut best = 0.0;
    let mut order: Vec<_> = (0..costs.clusters().len()).collect();
    each_order(&mut order, 0, &mut |order| {
        each_cut(costs.layers(), order.len(), &mut Vec::new(), &mut |ends| {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let stages = order.iter().zip(starts.zip(ends)).map(|(&cluster, (start, &end))| {
                let team = Team { cluster, cores: costs.cores(cluster) };
                Stage { layers: start..end, teams: vec![team] }
            });
            let plan = Plan { stages: stages.collect() };
            best = costs.predict(&plan).frames_per_s().max(best);
        });
    });
    best
}

fn each_order(order: &mut Vec<usize>, fixed: usize, visit: &mut impl FnMut(&[usize])) {
    if fixed == order.len() {
        visit(order);
    }
    for next in fixed..order.len() {
        order.swap(fixed, next);
        each_order(order, fixed + 1, visit);
        order.swap(fixed, next);
    }
}

/// All ways to cut `layers` layers into `stages` stages of at least one, as the ends of stages.
fn each_cut(layers: usize, stages: usize, ends: &mut Vec<usize>, visit: &mut impl FnMut(&[usize])) {
    let start = ends.last().copied().unwrap_or(0);
    if stages == 1 {
        ends.push(layers);
        visit(ends);
        ends.pop();
        return;
    }
    for end in start + 1..=layers.saturating_sub(stages - 1) {
        ends.push(end);
        each_cut(layers, stages - 1, ends, visit);
        ends.pop();
    }
}
