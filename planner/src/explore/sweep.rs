//! Dynamic programming over (layers done, cores used, clusters of the last stage).
//!
//! ```text
//! f[0][none][source] = zero
//! f[i][used + a][set of a] = min over first layer j, allotment a, set s before of
//!                            join(f[j][used][s], stage(j..i, a, s))
//! ```
//!
//! `join` is the larger of two periods, or the sum of two costs. Both grow with each of their
//! arguments, so the best of the whole is made of the best of its parts.

use super::space::{Rates, Space};
use crate::plan::Plan;

/// What is to be least.
pub(super) trait Measure {
    /// Compared with `<`.
    type Value: Copy + PartialOrd;
    /// Of no layers.
    const ZERO: Self::Value;
    /// Of what cannot be.
    const WORST: Self::Value;

    /// The value of layers one after the other.
    fn join(before: Self::Value, stage: Self::Value) -> Self::Value;

    /// The least value of a stage with these rates for each allotment, and the shape that has
    /// it; untouched where there is none.
    fn stage(&self, space: &Space<'_>, rates: &mut Rates, best: &mut [(Self::Value, u32)]);

    /// Stages with a longer period need not be looked at.
    fn cap_ns(&self) -> f64;
}

/// The longest period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bottleneck {
    /// Longer ones do not matter.
    pub(super) cap_ns: f64,
}

impl Measure for Bottleneck {
    type Value = f64;
    const ZERO: f64 = 0.0;
    const WORST: f64 = f64::INFINITY;

    fn join(before: f64, stage: f64) -> f64 {
        before.max(stage)
    }

    fn stage(&self, space: &Space<'_>, rates: &mut Rates, best: &mut [(f64, u32)]) {
        // The shape is left open: periods alone do not say which of equal plans is best.
        for (allotment, best) in space.allotments.iter().zip(best) {
            let period_ns = space.period_ns(allotment, rates);
            if period_ns <= self.cap_ns {
                *best = (period_ns, 0);
            }
        }
    }

    fn cap_ns(&self) -> f64 {
        self.cap_ns
    }
}

/// Sums at periods up to a cap: what is to be least first, and what decides among equals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Of the periods of all stages.
    pub(super) cap_ns: f64,
    /// Energy before latency, or latency before energy.
    pub(super) energy_first: bool,
}

impl Measure for Spent {
    type Value = [f64; 2];
    const ZERO: [f64; 2] = [0.0; 2];
    const WORST: [f64; 2] = [f64::INFINITY; 2];

    fn join(before: [f64; 2], stage: [f64; 2]) -> [f64; 2] {
        [before[0] + stage[0], before[1] + stage[1]]
    }

    fn stage(&self, space: &Space<'_>, rates: &mut Rates, best: &mut [([f64; 2], u32)]) {
        space.complete(rates);
        for (allotment, best) in space.allotments.iter().zip(best) {
            // No split of these cores is faster than the fastest.
            if space.period_ns(allotment, rates) > self.cap_ns * (1.0 + 1e-9) {
                continue;
            }
            for index in allotment.shapes.clone() {
                let work = space.work(&space.shapes[index], rates);
                let spent = match self.energy_first {
                    true => [work.energy_nj, work.latency_ns],
                    false => [work.latency_ns, work.energy_nj],
                };
                if spent < best.0 && work.period_ns <= self.cap_ns {
                    *best = (spent, index as u32);
                }
            }
        }
    }

    fn cap_ns(&self) -> f64 {
        self.cap_ns
    }
}

/// The best way to some state.
#[derive(Clone, Copy, Debug)]
struct Cell<V> {
    value: V,
    /// First layer of the last stage.
    cut: u32,
    /// The state before it.
    from: u32,
    /// Its shape.
    shape: u32,
}

/// The best ways to all states after every number of layers.
#[derive(Debug)]
pub(super) struct Table<V> {
    rows: Vec<Row<V>>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    /// By clusters of the last stage, then cores used.
    cells: Vec<Cell<V>>,
    /// The sets of clusters to which there is any way, with the cores used.
    reached: Vec<(usize, Vec<u32>)>,
}

impl<V: Copy + PartialOrd> Table<V> {
    /// Pipelines of no stages.
    pub(super) fn start<M: Measure<Value = V>>(space: &Space<'_>) -> Self {
        let mut table = Self::empty::<M>(space);
        if let Some(row) = table.rows.first_mut() {
            row.cells[0].value = M::ZERO;
            row.reached.push((0, vec![0]));
        }
        table
    }

    fn empty<M: Measure<Value = V>>(space: &Space<'_>) -> Self {
        let nowhere = Cell { value: M::WORST, cut: 0, from: 0, shape: 0 };
        let row = Row { cells: vec![nowhere; space.sets * space.used], reached: Vec::new() };
        Self { rows: vec![row; space.costs().layers() + 1] }
    }

    /// Pipelines of any number of stages.
    pub(super) fn any_stages<M: Measure<Value = V>>(space: &Space<'_>, measure: &M) -> Self {
        let mut table = Self::start::<M>(space);
        let mut worker = Worker::new(space, measure);
        for layers in 1..table.rows.len() {
            let (before, row) = table.rows.split_at_mut(layers);
            row[0] = worker.row(before, &row[0]);
        }
        table
    }

    /// Pipelines of one stage more than those of `self`.
    pub(super) fn one_more_stage<M: Measure<Value = V>>(
        &self,
        space: &Space<'_>,
        measure: &M,
    ) -> Self {
        let mut table = Self::empty::<M>(space);
        let mut worker = Worker::new(space, measure);
        for layers in 1..table.rows.len() {
            table.rows[layers] = worker.row(&self.rows[..layers], &table.rows[layers]);
        }
        table
    }

    /// The least value of the whole network and the state that has it.
    pub(super) fn best(&self, space: &Space<'_>) -> Option<(V, usize)> {
        let row = self.rows.last()?;
        let states = row
            .reached
            .iter()
            .flat_map(|(set, all)| all.iter().map(move |&used| set * space.used + used as usize));
        let less = |a: usize, b: usize| if row.cells[b].value < row.cells[a].value { b } else { a };
        states.reduce(less).map(|state| (row.cells[state].value, state))
    }

    /// The plan that ends in `state`. Its last stage is of the last table, the one before of the
    /// table before, or of the same when there is only one.
    pub(super) fn plan(space: &Space<'_>, tables: &[Self], mut state: usize) -> Plan {
        let mut stages = Vec::new();
        let mut end = space.costs().layers();
        let mut tables = tables;
        while let (Some((table, before)), true) = (tables.split_last(), end > 0) {
            let cell = table.rows[end].cells[state];
            stages.push(space.stage(cell.cut as usize..end, cell.shape as usize));
            (end, state) = (cell.cut as usize, cell.from as usize);
            if !before.is_empty() {
                tables = before;
            }
        }
        stages.reverse();
        Plan { stages }
    }
}

/// Makes one row out of those before.
struct Worker<'a, M: Measure> {
    space: &'a Space<'a>,
    measure: &'a M,
    rates: Rates,
    /// Per allotment, the best stage.
    best: Vec<(M::Value, u32)>,
}

impl<'a, M: Measure> Worker<'a, M> {
    fn new(space: &'a Space<'a>, measure: &'a M) -> Self {
        let best = vec![(M::WORST, 0); space.allotments.len()];
        Self { space, measure, rates: Rates::default(), best }
    }

    /// The row after `before.len()` layers; `empty` is a row without any way.
    fn row(&mut self, before: &[Row<M::Value>], empty: &Row<M::Value>) -> Row<M::Value> {
        let mut row = empty.clone();
        let end = before.len();
        for cut in (0..end).rev() {
            // The longer the stage, the longer its period, but for the hand-over.
            if self.space.shortest_period_ns(cut..end) > self.measure.cap_ns() {
                break;
            }
            for (set, used) in &before[cut].reached {
                self.space.rates(cut..end, Some(*set), &mut self.rates);
                self.best.fill((M::WORST, 0));
                self.measure.stage(self.space, &mut self.rates, &mut self.best);
                self.extend(cut, *set, used, &before[cut].cells, &mut row);
            }
        }
        let need = self.space.need(end, self.measure.cap_ns());
        for set in 0..self.space.sets {
            let cells = &row.cells[set * self.space.used..(set + 1) * self.space.used];
            let is_reached = |&used: &u32| {
                let used = used as usize;
                cells[used].value < M::WORST && self.space.has_left(used, need)
            };
            let used: Vec<_> = (0..self.space.used as u32).filter(is_reached).collect();
            if !used.is_empty() {
                row.reached.push((set, used));
            }
        }
        row
    }

    /// Adds the best stages after `cut` to the ways to `set` with those cores used.
    fn extend(
        &self,
        cut: usize,
        set: usize,
        used: &[u32],
        before: &[Cell<M::Value>],
        row: &mut Row<M::Value>,
    ) {
        let from = set * self.space.used;
        let before = &before[from..from + self.space.used];
        for (allotment, &(value, shape)) in self.space.allotments.iter().zip(&self.best) {
            if value >= M::WORST {
                continue;
            }
            let cells = &mut row.cells[allotment.set * self.space.used + allotment.used..];
            for &used in used.iter().filter(|&&used| allotment.fits[used as usize]) {
                let value = M::join(before[used as usize].value, value);
                let cell = &mut cells[used as usize];
                if value < cell.value {
                    let from = from as u32 + used;
                    *cell = Cell { value, cut: cut as u32, from, shape };
                }
            }
        }
    }
}
