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
    /// The plans, in the order of the first criterion.
    pub(super) fn plans(&self) -> Vec<(Values, Plan)> {
        let layers = self.space.costs().layers();
        let fastest_ns = self.fastest_ns();
        let states = self.space.sets * self.space.used;
        let start = Label { values: [0.0; CRITERIA], cut: 0, from: (0, 0), shape: 0 };
        let mut rows = vec![vec![Vec::new(); states]];
        rows[0][0].push(start);
        for end in 1..=layers {
            let row = self.row(&rows, &fastest_ns);
            debug_assert_eq!(rows.len(), end);
            rows.push(row);
        }
        let mut ends = Vec::new();
        for state in 0..states {
            for index in 0..rows[layers][state].len() {
                let label = rows[layers][state][index];
                self.insert(&mut ends, Label { from: (state as u32, index as u32), ..label });
            }
        }
        let first = self.criteria.first().map_or(0, |&criterion| criterion as usize);
        ends.sort_by(|a, b| a.values[first].total_cmp(&b.values[first]));
        ends.iter().map(|end| (end.values, self.trace(&rows, end.from))).collect()
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
        let used = self.space.used;
        let mut row = vec![Vec::new(); rows[0].len()];
        let mut rates = Rates::default();
        let need = self.space.need(end, self.limits.period_ns);
        for (cut, before) in rows.iter().enumerate().rev() {
            self.space.rates(cut..end, None, &mut rates);
            if self.space.shortest_period_ns(&rates) > self.limits.period_ns {
                break;
            }
            for set in 0..self.space.sets {
                let from = set * used;
                if before[from..from + used].iter().all(Vec::is_empty) {
                    continue;
                }
                self.space.rates(cut..end, Some(set), &mut rates);
                for (allotment, stages) in self.stages(cut, end, &rates).iter().enumerate() {
                    let allotment = &self.space.allotments[allotment];
                    for room in (0..used).filter(|&room| allotment.fits[room]) {
                        if !self.space.has_left(room + allotment.used, need) {
                            continue;
                        }
                        let target = allotment.set * used + room + allotment.used;
                        let state = from + room;
                        for (index, label) in (0..).zip(&before[state]) {
                            for stage in stages {
                                let mut values = stage.values;
                                values[0] = values[0].max(label.values[0]);
                                for at in 1..CRITERIA {
                                    values[at] += label.values[at];
                                }
                                if self.is_within(&values, fastest_ns[end]) {
                                    let from = (state as u32, index);
                                    self.insert(&mut row[target], Label { values, from, ..*stage });
                                }
                            }
                        }
                    }
                }
            }
        }
        row
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

    /// Whether the limits are kept when the layers to come take `rest_ns` at least.
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
