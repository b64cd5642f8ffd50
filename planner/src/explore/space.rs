//! What a stage can be: its cores of every busy cluster, and their split into teams.

use std::ops::Range;

use crate::cost::Costs;
use crate::plan::{ClusterSet, Stage, Team};

/// A cluster of more cores than this is split into equal teams only: there are too many other
/// ways.
const MAX_UNEQUAL: usize = 8;

/// The stages there can be while the clusters of `busy` work.
///
/// Cores in use, of every cluster, are one number: mixed radix, so that the numbers of what two
/// stages use add up to the number of what both use.
#[derive(Debug)]
pub(super) struct Space<'a> {
    costs: &'a Costs,
    slowdown: f64,
    /// Per busy cluster.
    clusters: Vec<Cluster>,
    /// Ways to allot cores to one stage.
    pub(super) allotments: Vec<Allotment>,
    /// Ways to split an allotment into teams, those of each together.
    pub(super) shapes: Vec<Shape>,
    /// Numbers of cores in use.
    pub(super) used: usize,
    /// One past the highest set of clusters.
    pub(super) sets: usize,
    floor: Floor,
}

/// What the layers still to come take at least, whoever does them.
///
/// With any prices per cluster, a layer costs the least price of its core-nanoseconds on any of
/// the clusters, and in a period the cores left over are worth no more than their price times
/// that period. So the layers from `l` on need a period of `layers[l] / worth of the cores left`.
#[derive(Debug)]
struct Floor {
    /// What all layers from this one on cost.
    layers: Vec<f64>,
    /// Per number of cores in use, what the others are worth per nanosecond.
    cores_left: Vec<f64>,
}

impl Floor {
    /// `strides` are those of the numbers of cores in use.
    fn new(costs: &Costs, slowdown: f64, clusters: &[Cluster], counts: &[Vec<usize>]) -> Self {
        let core_ns = |layers: Range<usize>, cluster: &Cluster| {
            let teams = 1..=costs.cores(cluster.index);
            let time = |cores: usize| {
                let team = Team { cluster: cluster.index, cores };
                cores as f64 * slowdown * costs.work_ns(layers.clone(), team)
            };
            teams.map(time).fold(f64::INFINITY, f64::min)
        };
        // A core is worth as much as it does of the network.
        let price = |cluster: &Cluster| 1.0 / core_ns(0..costs.layers(), cluster).max(1.0);
        let prices: Vec<_> = clusters.iter().map(price).collect();
        let mut layers = vec![0.0; costs.layers() + 1];
        for layer in (0..costs.layers()).rev() {
            let on = clusters.iter().zip(&prices);
            let on = on.map(|(cluster, price)| price * core_ns(layer..layer + 1, cluster));
            layers[layer] = layers[layer + 1] + on.fold(f64::INFINITY, f64::min);
        }
        let left = |used: &Vec<usize>| {
            let clusters = clusters.iter().zip(used).zip(&prices);
            clusters
                .map(|((cluster, used), price)| price * (costs.cores(cluster.index) - used) as f64)
                .sum()
        };
        Self { layers, cores_left: counts.iter().map(left).collect() }
    }
}

#[derive(Debug)]
struct Cluster {
    index: usize,
    watts: f64,
    /// Ways to split some of its cores into teams; the first is none.
    splits: Vec<Split>,
}

/// Teams of one cluster, largest first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Split {
    /// Size of teams and how many of that size.
    teams: Vec<(usize, usize)>,
    /// Cores of all of them.
    cores: usize,
}

impl Split {
    fn new(teams: Vec<(usize, usize)>) -> Self {
        Self { cores: teams.iter().map(|(cores, count)| cores * count).sum(), teams }
    }

    /// What teams of each size do, and how many there are.
    fn sizes<'t>(&self, teams: &'t [TeamRate]) -> impl Iterator<Item = (&'t TeamRate, usize)> {
        self.teams.iter().map(|&(cores, count)| (&teams[cores - 1], count))
    }

    /// What all of them do together.
    fn frames_per_ns(&self, teams: &[TeamRate]) -> f64 {
        self.sizes(teams).map(|(team, count)| count as f64 * team.frames_per_ns).sum()
    }
}

/// Some cores of some clusters.
#[derive(Debug)]
pub(super) struct Allotment {
    /// As a number of cores in use.
    pub(super) used: usize,
    /// The clusters.
    pub(super) set: usize,
    /// Cores of each busy cluster.
    cores: Vec<usize>,
    /// Whether these fit beside so many cores in use.
    pub(super) fits: Vec<bool>,
    /// The shapes it has.
    pub(super) shapes: Range<usize>,
}

/// An allotment split into teams.
#[derive(Debug)]
pub(super) struct Shape {
    /// The allotment, by index.
    pub(super) allotment: usize,
    /// The split of each busy cluster, by index.
    splits: Vec<usize>,
    /// Number of teams.
    pub(super) teams: usize,
}

/// What a shape of a stage does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) period_ns: f64,
    pub(super) latency_ns: f64,
    pub(super) energy_nj: f64,
}

/// What the teams of every cluster do with certain layers.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Per busy cluster, a team of one core, of two, and so on.
    teams: Vec<Vec<TeamRate>>,
    /// Per busy cluster and number of cores, frames per nanosecond by the best split.
    best: Vec<Vec<f64>>,
    /// Per busy cluster and split, once asked for.
    splits: Vec<Vec<SplitRate>>,
}

#[derive(Clone, Copy, Debug)]
struct TeamRate {
    ns: f64,
    frames_per_ns: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct SplitRate {
    frames_per_ns: f64,
    slowest_ns: f64,
    watts: f64,
}

impl Rates {
    /// The shortest time that any team takes.
    pub(super) fn fastest_ns(&self) -> f64 {
        self.teams.iter().flatten().map(|team| team.ns).fold(f64::INFINITY, f64::min)
    }
}

impl<'a> Space<'a> {
    pub(super) fn new(costs: &'a Costs, busy: ClusterSet, replication: bool) -> Self {
        let cluster = |index: usize| Cluster {
            index,
            watts: costs.clusters()[index].core_watts,
            splits: splits(costs.cores(index), replication),
        };
        let clusters: Vec<_> = busy.iter().map(cluster).collect();
        let strides = clusters.iter().scan(1, |next, cluster| {
            let stride = *next;
            *next *= costs.cores(cluster.index) + 1;
            Some(stride)
        });
        let strides: Vec<_> = strides.collect();
        let used = clusters.iter().map(|cluster| costs.cores(cluster.index) + 1).product();
        let counts = |used: usize| -> Vec<usize> {
            let count = |(cluster, stride): (&Cluster, &usize)| {
                used / stride % (costs.cores(cluster.index) + 1)
            };
            clusters.iter().zip(&strides).map(count).collect()
        };
        let counts: Vec<_> = (0..used).map(counts).collect();
        let mut allotments: Vec<Allotment> = Vec::new();
        let mut index_of = vec![usize::MAX; used];
        for (number, index) in index_of.iter_mut().enumerate().skip(1) {
            let cores = &counts[number];
            if !replication && cores.iter().filter(|&&cores| cores > 0).count() > 1 {
                continue;
            }
            let fits = |other: usize| {
                let room = clusters.iter().zip(&counts[other]).zip(cores);
                room.into_iter().all(|((cluster, a), b)| a + b <= costs.cores(cluster.index))
            };
            let of = clusters.iter().zip(cores).filter(|&(_, &cores)| cores > 0);
            let set = of.fold(ClusterSet::default(), |set, (cluster, _)| set.with(cluster.index));
            *index = allotments.len();
            allotments.push(Allotment {
                used: number,
                set: set.bits() as usize,
                cores: cores.clone(),
                fits: (0..used).map(fits).collect(),
                shapes: 0..0,
            });
        }
        let mut shapes = shapes(&clusters, &strides, &index_of);
        shapes.sort_by_key(|shape| shape.allotment);
        let mut end = 0;
        for (index, allotment) in allotments.iter_mut().enumerate() {
            let start = end;
            end = shapes.partition_point(|shape| shape.allotment <= index);
            allotment.shapes = start..end;
        }
        let slowdown = costs.slowdown(busy);
        Self {
            costs,
            slowdown,
            floor: Floor::new(costs, slowdown, &clusters, &counts),
            clusters,
            allotments,
            shapes,
            used,
            sets: 1 << costs.clusters().len(),
        }
    }

    pub(super) fn costs(&self) -> &Costs {
        self.costs
    }

    /// No plan has a shorter period.
    pub(super) fn least_period_ns(&self) -> f64 {
        self.floor.layers[0] / self.floor.cores_left[0]
    }

    /// The number of cores in use, as what the others are worth, with which the layers from
    /// `layer` on can be done in `period_ns`. See [`has_left`](Self::has_left).
    pub(super) fn need(&self, layer: usize, period_ns: f64) -> f64 {
        // Rounding must not take away a plan.
        self.floor.layers[layer] / period_ns * (1.0 - 1e-9)
    }

    /// Whether enough cores are left when those of the number `used` are in use.
    pub(super) fn has_left(&self, used: usize, need: f64) -> bool {
        self.floor.cores_left[used] >= need
    }

    /// What teams do with `layers` after a stage on the clusters `from`, or without hand-over.
    pub(super) fn rates(&self, layers: Range<usize>, from: Option<usize>, rates: &mut Rates) {
        let from = from.map(|bits| ClusterSet::from_bits(bits as u32));
        rates.teams.resize_with(self.clusters.len(), Vec::new);
        rates.best.resize_with(self.clusters.len(), Vec::new);
        for ((cluster, teams), best) in
            self.clusters.iter().zip(&mut rates.teams).zip(&mut rates.best)
        {
            let handover = |from| self.costs.handover_ns(layers.start, from, cluster.index);
            let handover = from.map_or(0.0, handover);
            let team = |cores: usize| {
                let team = Team { cluster: cluster.index, cores };
                let ns = handover + self.slowdown * self.costs.work_ns(layers.clone(), team);
                TeamRate { ns, frames_per_ns: 1.0 / ns }
            };
            teams.clear();
            teams.extend((1..=self.costs.cores(cluster.index)).map(team));
            best.clear();
            best.resize(self.costs.cores(cluster.index) + 1, 0.0);
            for split in &cluster.splits {
                let best = &mut best[split.cores];
                *best = split.frames_per_ns(teams).max(*best);
            }
        }
    }

    /// Completes `rates` by what [`work`](Self::work) needs.
    pub(super) fn complete(&self, rates: &mut Rates) {
        rates.splits.resize_with(self.clusters.len(), Vec::new);
        for ((cluster, teams), splits) in
            self.clusters.iter().zip(&rates.teams).zip(&mut rates.splits)
        {
            splits.clear();
            splits.extend(cluster.splits.iter().map(|split| SplitRate {
                frames_per_ns: split.frames_per_ns(teams),
                slowest_ns: split.sizes(teams).map(|(team, _)| team.ns).fold(0.0, f64::max),
                watts: split.cores as f64 * cluster.watts,
            }));
        }
    }

    /// The shortest period of a stage on that allotment.
    pub(super) fn period_ns(&self, allotment: &Allotment, rates: &Rates) -> f64 {
        let cores = allotment.cores.iter().zip(&rates.best);
        1.0 / cores.map(|(&cores, best)| best[cores]).sum::<f64>()
    }

    /// What a stage of that shape does, by [complete](Self::complete) rates.
    pub(super) fn work(&self, shape: &Shape, rates: &Rates) -> Work {
        let mut sum = SplitRate::default();
        for (&split, rates) in shape.splits.iter().zip(&rates.splits) {
            let rate = rates[split];
            sum.frames_per_ns += rate.frames_per_ns;
            sum.slowest_ns = sum.slowest_ns.max(rate.slowest_ns);
            sum.watts += rate.watts;
        }
        let period_ns = 1.0 / sum.frames_per_ns;
        Work { period_ns, latency_ns: sum.slowest_ns, energy_nj: period_ns * sum.watts }
    }

    /// No stage of `layers` has a shorter period: every core does as much as one of the team in
    /// which a core does most, without hand-over.
    pub(super) fn shortest_period_ns(&self, layers: Range<usize>) -> f64 {
        let most = |cluster: &Cluster| {
            let cores = self.costs.cores(cluster.index);
            let core_ns = |cores: usize| {
                let team = Team { cluster: cluster.index, cores };
                cores as f64 * self.costs.work_ns(layers.clone(), team)
            };
            cores as f64 / (1..=cores).map(core_ns).fold(f64::INFINITY, f64::min)
        };
        self.slowdown / self.clusters.iter().map(most).sum::<f64>()
    }

    /// The stage of `layers` with that shape.
    pub(super) fn stage(&self, layers: Range<usize>, shape: usize) -> Stage {
        let mut teams = Vec::new();
        for (cluster, &split) in self.clusters.iter().zip(&self.shapes[shape].splits) {
            for &(cores, count) in &cluster.splits[split].teams {
                let team = Team { cluster: cluster.index, cores };
                teams.extend(std::iter::repeat_n(team, count));
            }
        }
        Stage { layers, teams }
    }
}

/// All ways to split up to `cores` cores into teams, none first; without replication into one.
fn splits(cores: usize, replication: bool) -> Vec<Split> {
    let mut all = vec![Split::new(Vec::new())];
    for total in 1..=cores {
        if !replication {
            all.push(Split::new(vec![(total, 1)]));
        } else if cores > MAX_UNEQUAL {
            let divisors = (1..=total).rev().filter(|size| total.is_multiple_of(*size));
            all.extend(divisors.map(|size| Split::new(vec![(size, total / size)])));
        } else {
            add_splits(total, total, &mut Vec::new(), &mut all);
        }
    }
    all
}

/// All ways to add teams of at most `largest` cores to `teams` so that `left` cores are used up.
fn add_splits(left: usize, largest: usize, teams: &mut Vec<(usize, usize)>, all: &mut Vec<Split>) {
    if left == 0 {
        all.push(Split::new(teams.clone()));
        return;
    }
    for size in (1..=largest.min(left)).rev() {
        for count in (1..=left / size).rev() {
            teams.push((size, count));
            if size > 1 || count * size == left {
                add_splits(left - size * count, size - 1, teams, all);
            }
            teams.pop();
        }
    }
}

/// All combinations of the clusters' splits that make up an allotment.
fn shapes(clusters: &[Cluster], strides: &[usize], index_of: &[usize]) -> Vec<Shape> {
    let mut all = vec![Vec::new()];
    for cluster in clusters {
        let choices = 0..cluster.splits.len();
        let extend =
            |splits: Vec<usize>| choices.clone().map(move |split| [&splits[..], &[split]].concat());
        all = all.into_iter().flat_map(extend).collect();
    }
    let shape = |splits: Vec<usize>| {
        let chosen = || clusters.iter().zip(&splits).map(|(cluster, &i)| &cluster.splits[i]);
        let used: usize = chosen().zip(strides).map(|(split, stride)| split.cores * stride).sum();
        let allotment = *index_of.get(used).filter(|&&index| index != usize::MAX)?;
        let count = |split: &Split| split.teams.iter().map(|(_, count)| count).sum::<usize>();
        let teams = chosen().map(count).sum();
        Some(Shape { allotment, splits, teams })
    };
    all.into_iter().filter_map(shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_split_in_every_way_once() {
        // The numbers of partitions of 0 to 8, summed.
        for (cores, count) in [(1, 2), (2, 4), (3, 7), (4, 12), (8, 67)] {
            let all = splits(cores, true);
            assert_eq!(all.len(), count);
            assert!(all.iter().all(|split| split.cores <= cores));
            assert!(all.iter().enumerate().all(|(i, split)| !all[..i].contains(split)));
        }
        assert_eq!(splits(4, false).len(), 5);
        let equal = splits(12, true);
        assert!(equal.iter().all(|split| split.teams.len() <= 1));
    }
}
