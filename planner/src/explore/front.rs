//! Plans of which none is better than another in everything that counts.
//!
//! The dynamic programme of [`sweep`](super::sweep) with sets of labels in place of single
//! values: a label stays while no other of its state is at least as good in every criterion.

use super::space::{Rates, Shape, Space, Work};
use super::{Criterion, Limits, Memory};
use crate::plan::Plan;

/// Number of criteria.
const CRITERIA: usize = 4;

/// Period, latency, energy, memory: the order of [`Criterion`].
type Values = [f64; CRITERIA];

#[derive(Clone, Copy, Debug)]
struct Label {
    values: Values,
    /// First layer of the last stage.
    cut: u32,
    /// The state before it, and which of its labels.
    from: (u32, u32),
    /// Its shape.
    shape: u32,
}

/// What the search is about.
pub(super) struct Front<'a> {
    pub(super) space: &'a Space<'a>,
    /// What counts.
    pub(super) criteria: &'a [Criterion],
    /// What may not be exceeded.
    pub(super) limits: Limits,
    pub(super) memory: Option<&'a dyn Memory>,
}

impl Front<'_> {
    /// The plans, in no order.
    pub(super) fn plans(&self) -> Vec<Plan> {
        let layers = self.space.costs().layers();
        let fastest_ns = self.fastest_ns();
        let states = self.space.sets * self.space.used;
        let start = Label { values: [0.0; CRITERIA], cut: 0, from: (0, 0), shape: 0 };
        let mut rows = vec![vec![Vec::new(); states]];
        rows[0][0].push(start);
        for _ in 0..layers {
            rows.push(self.row(&rows, &fastest_ns));
        }
        let mut ends = Vec::new();
        for (state, labels) in (0..).zip(&rows[layers]) {
            for (index, label) in (0..).zip(labels) {
                self.insert(&mut ends, Label { from: (state, index), ..*label });
            }
        }
        ends.iter().map(|end| self.trace(&rows, end.from)).collect()
    }

    /// Per layer, the least latency of it and all after it.
    fn fastest_ns(&self) -> Vec<f64> {
        let layers = self.space.costs().layers();
        let mut rates = Rates::default();
        let mut fastest = vec![0.0; layers + 1];
        for layer in (0..layers).rev() {
            self.space.rates(layer..layer + 1, None, &mut rates);
            fastest[layer] = fastest[layer + 1] + rates.fastest_ns();
        }
        fastest
    }

    fn row(&self, rows: &[Vec<Vec<Label>>], fastest_ns: &[f64]) -> Vec<Vec<Label>> {
        let end = rows.len();
        let need = self.space.need(end, self.limits.period_ns);
        let mut row = vec![Vec::new(); rows[0].len()];
        let mut rates = Rates::default();
        for (cut, before) in rows.iter().enumerate().rev() {
            if self.space.shortest_period_ns(cut..end) > self.limits.period_ns {
                break;
            }
            for (set, before) in before.chunks(self.space.used).enumerate() {
                if before.iter().any(|labels| !labels.is_empty()) {
                    self.space.rates(cut..end, Some(set), &mut rates);
                    self.space.complete(&mut rates);
                    let stages = self.stages(cut, end, &rates);
                    self.extend(set, before, &stages, (fastest_ns[end], need), &mut row);
                }
            }
        }
        row
    }

    /// Adds the best stages, per allotment, to the labels `before` of the states of `set`; the
    /// layers to come take `rest_ns` and `need` cores at least.
    fn extend(
        &self,
        set: usize,
        before: &[Vec<Label>],
        stages: &[Vec<Label>],
        (rest_ns, need): (f64, f64),
        row: &mut [Vec<Label>],
    ) {
        for (allotment, stages) in self.space.allotments.iter().zip(stages) {
            let has_room = |used: usize| {
                allotment.fits[used] && self.space.has_left(used + allotment.used, need)
            };
            let with_room = before.iter().enumerate().filter(|&(used, _)| has_room(used));
            for (used, labels) in with_room {
                let state = (set * self.space.used + used) as u32;
                let target = &mut row[allotment.set * self.space.used + used + allotment.used];
                for (index, label) in (0..).zip(labels) {
                    for stage in stages {
                        let values = join(&label.values, &stage.values);
                        if self.is_within(&values, rest_ns) {
                            self.insert(target, Label { values, from: (state, index), ..*stage });
                        }
                    }
                }
            }
        }
    }

    /// Per allotment, the stages of which none is better in everything.
    fn stages(&self, cut: usize, end: usize, rates: &Rates) -> Vec<Vec<Label>> {
        let mut all = vec![Vec::new(); self.space.allotments.len()];
        for (index, shape) in (0..).zip(&self.space.shapes) {
            let work = self.space.work(shape, rates);
            let values = self.values(cut, end, shape, work);
            if self.is_within(&values, 0.0) {
                let label = Label { values, cut: cut as u32, from: (0, 0), shape: index };
                self.insert(&mut all[shape.allotment], label);
            }
        }
        all
    }

    fn values(&self, cut: usize, end: usize, shape: &Shape, work: Work) -> Values {
        let bytes = self.memory.map_or(0, |memory| memory.stage_bytes(cut..end, shape.teams));
        [work.period_ns, work.latency_ns, work.energy_nj, bytes as f64]
    }

    /// Whether the limits are kept when the layers to come take `rest_ns` and `need` cores at least.
    fn is_within(&self, values: &Values, rest_ns: f64) -> bool {
        let &[period_ns, latency_ns, energy_nj, bytes] = values;
        period_ns <= self.limits.period_ns
            && latency_ns + rest_ns <= self.limits.latency_ns
            && energy_nj.is_finite()
            && bytes <= self.limits.ram_bytes as f64
    }

    /// Adds a label unless there is one as good, and takes out those it is as good as.
    fn insert(&self, labels: &mut Vec<Label>, new: Label) {
        let as_good = |a: &Label, b: &Label| {
            self.criteria.iter().all(|&at| a.values[at as usize] <= b.values[at as usize])
        };
        if !labels.iter().any(|label| as_good(label, &new)) {
            labels.retain(|label| !as_good(&new, label));
            labels.push(new);
        }
    }

    fn trace(&self, rows: &[Vec<Vec<Label>>], mut at: (u32, u32)) -> Plan {
        let mut stages = Vec::new();
        let mut end = rows.len() - 1;
        while end > 0 {
            let label = rows[end][at.0 as usize][at.1 as usize];
            stages.push(self.space.stage(label.cut as usize..end, label.shape as usize));
            (end, at) = (label.cut as usize, label.from);
        }
        stages.reverse();
        Plan { stages }
    }
}

/// Of layers one after the other: the longer period, all else summed.
fn join(before: &Values, stage: &Values) -> Values {
    let [period_ns, latency_ns, energy_nj, bytes] = *before;
    [period_ns.max(stage[0]), latency_ns + stage[1], energy_nj + stage[2], bytes + stage[3]]
}
