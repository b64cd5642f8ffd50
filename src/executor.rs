//! The loop every core runs, hosted and on bare metal alike.

use heapless::Vec;

use crate::kernels::{Io, KernelTable, Op};
use crate::model::{Layer, Tensor};
use crate::pipeline::{Pipeline, RunError, TeamState};
use crate::plan::{Home, Placement};
use crate::platform::{Event, Platform, Ticks};
use crate::sync::atomic::Ordering;
use crate::team::{Place, share, shares_rows};
use crate::tensor::{Hwc, Region, Tile, View};
use crate::topology::{ClusterId, CoreId};

/// Tells when a core leaves its work by a panic; forgotten when it leaves in good order.
struct Presence<'p, 'a, P: Platform> {
    pipeline: &'p Pipeline<'a, P>,
    core: CoreId,
    team: &'p TeamState<'a, P>,
}

impl<P: Platform> Drop for Presence<'_, '_, P> {
    fn drop(&mut self) {
        let layer = self.team.load.progress.layer.load(Ordering::Relaxed) as u16;
        self.pipeline.fail(RunError::Died { core: self.core, layer });
    }
}

/// A layer, as a team computes it.
struct Step<'a> {
    index: u16,
    layer: &'a Layer,
    op: &'a Op,
    output: &'a Tensor,
}

impl Step<'_> {
    fn hwc(&self) -> Hwc {
        self.output.layout.hwc
    }

    fn share<P: Platform>(&self, team: &TeamState<'_, P>, member: usize) -> Region {
        share(self.hwc(), self.op.split(), member, team.team.cores())
    }
}

impl<'a, P: Platform> Pipeline<'a, P> {
    /// Works for `core` until the pipeline stops. Every core of the plan must call this once;
    /// for a core that the plan leaves out it returns at once.
    ///
    /// # Errors
    ///
    /// What made the pipeline fail; [`RunError::CoreTaken`] when it was called before.
    pub fn run_core(&self, core: CoreId) -> Result<(), RunError> {
        self.run_core_beside(core, || Ticks::NEVER)
    }

    /// As [`run_core`](Self::run_core), for a core that has something else to do beside, such
    /// as feeding the pipeline where every core computes.
    ///
    /// `beside` is called before every frame, and as long as there is none whenever the core
    /// wakes; at the latest at the time that it returned.
    ///
    /// # Errors
    ///
    /// What made the pipeline fail.
    pub fn run_core_beside(
        &self,
        core: CoreId,
        mut beside: impl FnMut() -> Ticks,
    ) -> Result<(), RunError> {
        self.work(core, &mut beside)
    }

    fn work(&self, core: CoreId, beside: &mut dyn FnMut() -> Ticks) -> Result<(), RunError> {
        let (cluster, index) = self.locate(core).ok_or(RunError::NoCore { core })?;
        let mut planned = self.plan.teams.iter().zip(self.teams);
        let found =
            planned.find(|(team, _)| team.cluster == cluster && team.core_range().contains(&index));
        let Some((planned, team)) = found else { return Ok(()) };
        let table = team.kernels;
        if !(table.supported)() {
            return Err(self.fail(RunError::PathNotSupported { core, path: table.path }));
        }
        let member = index.saturating_sub(planned.first_core.into());
        // Two in one place would write the same bytes at the same time.
        let own = 1u64.wrapping_shl(member as u32);
        if team.come.fetch_or(own, Ordering::Relaxed) & own != 0 {
            return Err(RunError::CoreTaken { core });
        }
        debug!("core {} works for stage {}", core.0, team.stage);
        let presence = Presence { pipeline: self, core, team };
        match member {
            0 => self.lead(team, beside),
            member => self.follow(team, member, beside),
        }
        core::mem::forget(presence);
        self.failure().map_or(Ok(()), Err)
    }

    /// The cluster of `core`, and its index there.
    fn locate(&self, core: CoreId) -> Option<(ClusterId, usize)> {
        let mut index = usize::from(core.0);
        for cluster in (0..self.topology.clusters() as u8).map(ClusterId) {
            let cores = usize::from(self.topology.cores(cluster));
            if index < cores {
                return Some((cluster, index));
            }
            index = index.saturating_sub(cores);
        }
        None
    }

    /// The leader takes frames from the team's queue and hands them on. With none to take, it
    /// has an eye on the other teams.
    fn lead(&self, team: &TeamState<'a, P>, beside: &mut dyn FnMut() -> Ticks) {
        let mut free_since = P::now();
        let pushed = team.queue.pushed();
        // Looked at again only while there is no frame, as that takes a cache line from who pushes.
        let mut seen = pushed.count();
        loop {
            let next_call = beside();
            if self.is_stopped() {
                return;
            }
            let Some(frame) = team.queue.pop() else {
                pushed.wait(seen, || Some(self.watch().min(next_call)));
                seen = pushed.count();
                continue;
            };
            let begun = P::now();
            // Since when there was a frame, if there was none when the last one ended.
            let given = Ticks(team.load.progress.since.load(Ordering::Relaxed));
            let late = begun.since(given.max(free_since));
            team.team.begin(frame.slot);
            if self.run_stage(team, 0).is_none() {
                return;
            }
            let ended = P::now();
            let busy = ended.since(begun);
            team.counters.add(busy, begun.since(free_since), late);
            team.load.pace.add(busy.after(late));
            free_since = ended;
            team.load.outstanding.fetch_sub(1, Ordering::Relaxed);
            self.dispatch(team.stage.saturating_add(1), frame);
        }
    }

    /// The other members work on what the leader begins.
    fn follow(&self, team: &TeamState<'a, P>, member: usize, beside: &mut dyn FnMut() -> Ticks) {
        let mut done = 0u32;
        loop {
            beside();
            let idle = || {
                let next = beside().min(self.watch());
                (!self.is_stopped()).then_some(next)
            };
            if !team.team.next(done, idle) || self.run_stage(team, member).is_none() {
                return;
            }
            done = done.wrapping_add(1);
        }
    }

    /// All layers of the team's stage, for one member and one frame. None when the pipeline
    /// stops before the end.
    fn run_stage(&self, team: &TeamState<'a, P>, member: usize) -> Option<()> {
        let stage = self.plan.stages.get(team.stage)?;
        let mut layers = stage.layers.clone();
        while let Some(index) = layers.next() {
            if let Some(first) = self.layer(team, index) {
                let next = layers.clone().next();
                let second = next.and_then(|next| self.interleaved(team, &first, next));
                if second.is_some() {
                    layers.next();
                }
                let last = second.as_ref().map_or(&first, |(second, _)| second);
                let Region { rows, channels } = last.share(team, member);
                let (mut start, at_once) =
                    (rows.start, second.as_ref().map_or(rows.len(), |s| s.1));
                loop {
                    let some = start..start.wrapping_add(at_once).min(rows.end);
                    start = some.end;
                    if second.is_some() {
                        let channels = 0..first.hwc().c as usize;
                        let region = Region { rows: some.clone(), channels };
                        self.run_layer(team, member, &first, region);
                    }
                    let region = Region { rows: some, channels: channels.clone() };
                    self.run_layer(team, member, last, region);
                    if start >= rows.end {
                        break;
                    }
                }
            }
            team.team.barrier(member, || {
                let next = self.watch();
                (!self.is_stopped()).then_some(next)
            })?;
        }
        Some(())
    }

    fn layer(&self, team: &TeamState<'a, P>, index: u16) -> Option<Step<'a>> {
        let layer = self.model.layers.get(usize::from(index))?;
        let op = self.model.op(team.kernels.path, index)?;
        Some(Step { index, layer, op, output: self.model.tensor(layer.output)? })
    }

    /// The layer `next` and a number of rows, where each member can compute so many of the layer
    /// `first`, then the same of `next`, and so on, without the others: `next` needs no more of
    /// `first` and is shared by rows, and nothing that `first` reads lies where `next` writes.
    fn interleaved(
        &self,
        team: &TeamState<'a, P>,
        first: &Step<'a>,
        next: u16,
    ) -> Option<(Step<'a>, usize)> {
        let second = self.layer(team, next).filter(|_| P::INTERLEAVES)?;
        let rows = first.op.rows_at_once(second.op)?;
        // It has no other input.
        let read = self.model.tensor(*first.layer.inputs.first()?)?;
        let is_possible = second.layer.follows(first.layer)
            && shares_rows(second.hwc(), second.op.split(), team.team.cores())
            && self.are_apart(read, second.output)?;
        is_possible.then(|| (second, usize::from(rows.get())))
    }

    /// Computes `region` of a layer's output, of the member's share.
    // Once in the program: it is most of this module.
    #[inline(never)]
    fn run_layer(&self, team: &TeamState<'a, P>, member: usize, step: &Step<'_>, region: Region) {
        let started = P::now();
        if member == 0 {
            team.load.progress.begin(step.index, started);
        }
        self.compute(team, step, region);
        P::after_layer(step.index, started);
    }

    fn compute(&self, team: &TeamState<'a, P>, step: &Step<'_>, region: Region) {
        let table: &KernelTable = team.kernels;
        let Step { layer, op, output, .. } = *step;
        if region.rows.is_empty() || region.channels.is_empty() {
            return;
        }
        let cells = |tensor: &Tensor| {
            let place = self.place(tensor)?;
            let extent = tensor.layout.extent()? as usize;
            // SAFETY: this member is between the frame's begin and its last barrier, and every
            // member runs the same layers. In a layer, members write disjoint shares of the
            // output (`share`, kept to by `Tile`) and read inputs, which nobody writes: they
            // lie in other storages (checked for the model), and storages needed by the same
            // layer do not overlap (checked for the plan), but for an input under the output
            // of an operator that works in place, whose elements only the member reads that
            // writes them. Of two layers without a barrier between them, the second reads rows of
            // the first that the same member wrote and nothing beyond (`PackedDepthwiseConv2d::check`),
            // and writes where the first does not read (`interleaved`).
            Some(unsafe { team.team.cells(place, extent) })
        };
        let mut inputs = Vec::new();
        for &id in &layer.inputs {
            let view = self.model.tensor(id).and_then(|t| View::new(cells(t)?, t.layout));
            let Some(view) = view else { return };
            // As many as `layer.inputs`, which has the same capacity.
            let _ = inputs.push(view);
        }
        let tile = cells(output).and_then(|cells| Tile::new(cells, output.layout, region));
        if let Some(output) = tile {
            let io = Io { inputs, output };
            #[cfg(feature = "check-kernels")]
            // SAFETY: `run_core` has asked the table whether this core can execute it.
            if !unsafe { crate::kernels::check::run(table, op, &self.model.weights, &io) } {
                self.fail(RunError::Differs { path: table.path, layer: step.index });
            }
            #[cfg(not(feature = "check-kernels"))]
            // SAFETY: as above.
            unsafe {
                table.run(op, &self.model.weights, &io);
            }
        }
    }

    /// Whether the storages of two tensors have no byte in common.
    fn are_apart(&self, a: &Tensor, b: &Tensor) -> Option<bool> {
        let bytes = |tensor: &Tensor| {
            let Placement { home, offset } = self.plan.placement(tensor.storage)?;
            let len = *self.model.storages.get(usize::from(tensor.storage.0))?;
            // Inside its memory, as the plan was checked.
            Some((home, offset, offset.wrapping_add(len)))
        };
        let ((home, start, end), (other_home, other_start, other_end)) = (bytes(a)?, bytes(b)?);
        Some(home != other_home || end <= other_start || other_end <= start)
    }

    fn place(&self, tensor: &Tensor) -> Option<Place> {
        let placement = self.plan.placement(tensor.storage)?;
        let offset = (placement.offset as usize).checked_add(tensor.offset as usize)?;
        Some(match placement.home {
            Home::Slot => Place::Slot(offset),
            Home::Arena => Place::Arena(offset),
        })
    }
}
