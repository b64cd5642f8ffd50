//! The loop every core runs, hosted and on bare metal alike.

use heapless::Vec;

use crate::kernels::{Io, KernelTable};
use crate::model::{Layer, Tensor};
use crate::pipeline::{Pipeline, RunError, TeamState};
use crate::plan::Home;
use crate::platform::{Event, Platform, Ticks};
use crate::sync::atomic::Ordering;
use crate::team::{Place, share};
use crate::tensor::{Tile, View};
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
        loop {
            let next_call = beside();
            let seen = team.queue.pushed().count();
            if self.is_stopped() {
                return;
            }
            let Some(frame) = team.queue.pop() else {
                team.queue.pushed().wait(seen, || Some(self.watch().min(next_call)));
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
        for index in stage.layers.clone() {
            let started = P::now();
            if member == 0 {
                team.load.progress.begin(index, started);
            }
            if let Some(layer) = self.model.layers.get(usize::from(index)) {
                self.run_layer(team, member, index, layer);
            }
            P::after_layer(index, started);
            team.team.barrier(member, || {
                let next = self.watch();
                (!self.is_stopped()).then_some(next)
            })?;
        }
        Some(())
    }

    /// This member's share of one layer.
    fn run_layer(&self, team: &TeamState<'a, P>, member: usize, index: u16, layer: &Layer) {
        let table: &KernelTable = team.kernels;
        let (Some(op), Some(output)) =
            (self.model.op(table.path, index), self.model.tensor(layer.output))
        else {
            return;
        };
        let region = share(output.layout.hwc, op.split(), member, team.team.cores());
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
            // writes them.
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
                self.fail(RunError::Differs { path: table.path, layer: index });
            }
            #[cfg(not(feature = "check-kernels"))]
            // SAFETY: as above.
            unsafe {
                table.run(op, &self.model.weights, &io);
            }
        }
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
