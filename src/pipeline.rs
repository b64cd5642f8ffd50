//! Slots, admission and order: the API a program calls.
//!
//! ```text
//!  acquire ─▶ fill ─▶ submit ─▶ queues of stage 0 ─▶ … ─▶ last stage ─▶ poll ─▶ release
//!     ▲                                                                          │
//!     └──────────────────────────── empty slot ◀─────────────────────────────────┘
//! ```
//!
//! A frame is an owned slot: whoever holds it is alone with its bytes, and handing it over
//! moves a reference. Back-pressure exists at [`acquire`](Pipeline::acquire) only.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{DerefMut, Range};

use heapless::{Deque, Vec};

use crate::artefact::{ArtefactError, Header};
use crate::kernels::{KernelTable, Path};
use crate::model::{Model, Port, TensorId};
use crate::plan::{self as planned, Demand, Home, MAX_SLOTS, Plan, PlanError, Stage};
use crate::platform::{Event, Platform, Ticks};
use crate::queue::{CachePadded, SpinQueue};
use crate::region::{OutOfMemory, Region};
pub use crate::stats::StageStats;
use crate::stats::{Counters, Load, Pace, Progress};
use crate::sync::SpinMutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::team::{Team, arrivals};
use crate::topology::{CoreId, Topology};
use crate::weights::ALIGNMENT;

/// Number of a frame in the order of submission, wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FrameId(pub u32);

/// A frame on its way: its number and its slot.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) id: FrameId,
    pub(crate) slot: &'a mut [i8],
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Never,
    /// Until it succeeds or the pipeline stops.
    Forever,
    /// Until the platform's clock reads this.
    Until(Ticks),
}

impl Wait {
    const fn deadline(self) -> Ticks {
        match self {
            Self::Never => Ticks(0),
            Self::Forever => Ticks::NEVER,
            Self::Until(deadline) => deadline,
        }
    }
}

/// What [`Pipeline::acquire`] does when every slot is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Waits for one.
    Block(Wait),
    /// Drops the oldest frame that no core has begun and takes its slot; waits if there is none.
    DropOldest(Wait),
}

/// Why a call to the pipeline gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CallError {
    /// It could not be done in the time given.
    TimedOut,
    /// The pipeline is drained or stopped.
    Stopped,
    /// A core has failed, and with it the pipeline.
    Failed(RunError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Stopped => f.write_str("the pipeline has stopped"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
impl core::error::Error for CallError {}

/// Why a core stopped working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RunError {
    /// The machine has no such core.
    NoCore {
        /// The core.
        core: CoreId,
    },
    /// Someone works for the core already, or has done so.
    CoreTaken {
        /// The core.
        core: CoreId,
    },
    /// The core cannot execute the kernels its cluster was planned for.
    PathNotSupported {
        /// The core.
        core: CoreId,
        /// The path.
        path: Path,
    },
    /// A core did not finish its share of a layer in time.
    Stalled {
        /// The core.
        core: CoreId,
        /// The layer.
        layer: u16,
    },
    /// A core left its work by a panic.
    Died {
        /// The core.
        core: CoreId,
        /// The layer its team was at.
        layer: u16,
    },
    /// A kernel wrote other bytes than the portable one: only with the feature
    /// `check-kernels`.
    Differs {
        /// The path of the kernel.
        path: Path,
        /// The layer.
        layer: u16,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCore { core } => write!(f, "the machine has no core {}", core.0),
            Self::CoreTaken { core } => write!(f, "core {} is at work already", core.0),
            Self::PathNotSupported { core, path } => {
                write!(f, "core {} cannot execute path {path}", core.0)
            }
            Self::Stalled { core, layer } => write!(f, "core {} stalled in layer {layer}", core.0),
            Self::Died { core, layer } => write!(f, "core {} died in layer {layer}", core.0),
            Self::Differs { path, layer } => {
                write!(f, "the {path} kernel of layer {layer} differs from the portable one")
            }
        }
    }
}
impl core::error::Error for RunError {}

/// Why a pipeline could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PipelineError {
    /// The plan does not fit the machine.
    Plan(PlanError),
    /// The program has no kernels for a path the plan names.
    PathNotLinked {
        /// The path.
        path: Path,
    },
    /// The kernels of a path lack an operator of the network.
    NoKernel {
        /// The path.
        path: Path,
        /// The first layer without a kernel.
        layer: u16,
    },
    /// The memory given is too small.
    Memory(OutOfMemory),
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::PathNotLinked { path } => {
                write!(f, "kernel path {path} is not part of this program")
            }
            Self::NoKernel { path, layer } => write!(f, "no {path} kernel for layer {layer}"),
            Self::Memory(error) => error.fmt(f),
        }
    }
}
impl core::error::Error for PipelineError {}

impl From<OutOfMemory> for PipelineError {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
}

/// A team and its place in the plan.
pub(crate) struct TeamState<'a, P: Platform> {
    pub(crate) team: Team<'a, P>,
    pub(crate) stage: usize,
    pub(crate) queue: SpinQueue<Frame<'a>, MAX_SLOTS, P>,
    pub(crate) kernels: &'a KernelTable,
    /// A bit for each member that has come.
    pub(crate) come: AtomicU64,
    pub(crate) load: CachePadded<Load>,
    pub(crate) counters: CachePadded<Counters>,
}

/// Free slots, and the order of those in use.
struct Gate<'a> {
    open: bool,
    next: FrameId,
    free: Vec<&'a mut [i8], MAX_SLOTS>,
    /// Frames submitted and not yet polled, oldest first.
    order: Deque<FrameId, MAX_SLOTS>,
    /// Those of them that have left the last stage.
    done: Vec<Frame<'a>, MAX_SLOTS>,
    dropped: u32,
}

/// A plan at work: bound to a network, a machine's cores and memory.
///
/// Every core of the plan calls [`run_core`](Self::run_core); any thread may call the rest.
pub struct Pipeline<'a, P: Platform> {
    pub(crate) model: &'a Model<'a>,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) topology: Topology,
    pub(crate) teams: &'a [TeamState<'a, P>],
    pub(crate) stall_timeout: Ticks,
    gate: CachePadded<SpinMutex<Gate<'a>, P::Relax>>,
    freed: CachePadded<P::Event>,
    finished: CachePadded<P::Event>,
    stopped: AtomicBool,
    failure: SpinMutex<Option<RunError>, P::Relax>,
}

impl<P: Platform> fmt::Debug for Pipeline<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Default of [`Pipeline::set_stall_timeout`], in seconds.
const STALL_SECONDS: u64 = 60;

impl<'a, P: Platform> Pipeline<'a, P> {
    /// Binds `plan` to a machine.
    ///
    /// `kernels` are the tables this program has, one per path. Slots, arenas and the
    /// pipeline's own state are dealt out of `region`, which must have
    /// [`Pipeline::memory_bytes`] left.
    ///
    /// # Errors
    ///
    /// A plan that asks for more than the machine has, a kernel this program lacks, too little
    /// memory.
    pub fn new(
        plan: &'a Plan<'a>,
        topology: &Topology,
        kernels: &[&'a KernelTable],
        region: &mut Region<'a>,
    ) -> Result<Self, PipelineError> {
        let model = plan.model();
        plan.fits(topology).map_err(PipelineError::Plan)?;
        let slot_bytes = (plan.needs.slot_bytes as usize).next_multiple_of(ALIGNMENT);
        let mut free = Vec::new();
        for _ in 0..plan.needs.slots {
            // The check of the plan allows no more than fit.
            let _ = free.push(region.zeroed(slot_bytes, ALIGNMENT)?);
        }
        let slots = plan.needs.slots.into();
        let arena_bytes = plan.arena_bytes().saturating_sub(slot_bytes.saturating_mul(slots));
        let mut arenas = region.zeroed(arena_bytes, ALIGNMENT)?;
        let arrivals_of = |team: &planned::Team| arrivals::<P>(team.cores.into());
        let events = plan.teams.iter().map(arrivals_of).sum();
        // They begin with a line.
        region.zeroed(0, align_of::<CachePadded<u8>>())?;
        let mut events: &[P::Event] =
            region.slice(events, |_| Ok::<_, OutOfMemory>(Event::new()))?;
        let teams = region.slice(plan.teams.len(), |i| {
            let unknown = PipelineError::Plan(PlanError::Cores { team: i as u16 });
            let planned = plan.teams.get(i).ok_or(unknown)?;
            let owns = |stage: &Stage| stage.teams.contains(&(i as u8));
            let index = plan.stages.iter().position(owns).ok_or(unknown)?;
            let stage = plan.stages.get(index).ok_or(unknown)?;
            let arena_bytes = (stage.arena_bytes as usize).next_multiple_of(ALIGNMENT);
            let arena = arenas.split_off_mut(..arena_bytes).ok_or(unknown)?;
            let arrivals = events.split_off(..arrivals_of(planned)).ok_or(unknown)?;
            let arrivals = arrivals.get(..planned.cores.into()).ok_or(unknown)?;
            Ok::<_, PipelineError>(TeamState {
                team: Team::new(arena, slot_bytes, arrivals),
                stage: index,
                queue: SpinQueue::new(),
                kernels: Self::kernels(model, plan, planned, stage, kernels)?,
                come: AtomicU64::new(0),
                load: CachePadded(Load {
                    outstanding: AtomicU32::new(0),
                    pace: Pace::new(planned.frame_ns, P::tick_hz()),
                    progress: Progress::default(),
                }),
                counters: CachePadded::default(),
            })
        })?;
        Ok(Self {
            model,
            plan,
            topology: topology.clone(),
            teams,
            stall_timeout: Ticks(P::tick_hz().saturating_mul(STALL_SECONDS)),
            gate: CachePadded(SpinMutex::new(Gate {
                open: true,
                next: FrameId(0),
                free,
                order: Deque::new(),
                done: Vec::new(),
                dropped: 0,
            })),
            freed: CachePadded(P::Event::new()),
            finished: CachePadded(P::Event::new()),
            stopped: AtomicBool::new(false),
            failure: SpinMutex::new(None),
        })
    }

    /// The table for the path of `team`'s cluster, if it has a kernel for each of its layers.
    fn kernels(
        model: &Model<'_>,
        plan: &Plan<'_>,
        team: &planned::Team,
        stage: &Stage,
        kernels: &[&'a KernelTable],
    ) -> Result<&'a KernelTable, PipelineError> {
        let no_path = PipelineError::Plan(PlanError::NoPath { cluster: team.cluster });
        let path = plan.path(team.cluster).ok_or(no_path)?;
        let table = kernels.iter().find(|table| table.path == path);
        let table = *table.ok_or(PipelineError::PathNotLinked { path })?;
        for layer in stage.layers.clone() {
            if !model.op(path, layer).is_some_and(|op| table.has(op)) {
                return Err(PipelineError::NoKernel { path, layer });
            }
        }
        Ok(table)
    }

    /// Bytes of memory that [`new`](Self::new) takes on this platform for a plan of this
    /// [`demand`](crate::plan::PlanTables::demand): slots, arenas and the pipeline's own state.
    #[must_use]
    pub const fn memory_bytes(demand: Demand) -> usize {
        const fn of<T>(count: u16) -> usize {
            (count as usize).saturating_mul(size_of::<T>())
        }
        (demand.arena_bytes as usize)
            .saturating_add(of::<P::Event>(demand.cores))
            // Each team's arrivals fill whole lines.
            .saturating_add(of::<CachePadded<u8>>(demand.teams))
            .saturating_add(of::<TeamState<'_, P>>(demand.teams))
            // Alignment of the slots, which are whole multiples, of the arenas and the two tables.
            .saturating_add(4 * align_of::<CachePadded<u8>>())
    }

    /// Bytes of memory that the artefact in `bytes` takes on this platform, whichever of its
    /// plans runs: its tables, then [`memory_bytes`](Self::memory_bytes). Only the header is
    /// looked at, so that a firmware can set its memory aside at compile time:
    ///
    /// ```
    /// use pipeit_rt::artefact::ArtefactError;
    /// use pipeit_rt::platform::hosted::Hosted;
    ///
    /// const RAM: Result<usize, ArtefactError> = pipeit_rt::Pipeline::<Hosted>::ram_bytes(b"PIP");
    /// assert_eq!(RAM, Err(ArtefactError::Length { wanted: 64, found: 3 }));
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Header::read`].
    pub const fn ram_bytes(bytes: &[u8]) -> Result<usize, ArtefactError> {
        match Header::read(bytes) {
            Ok(header) => {
                let pipeline = Self::memory_bytes(header.demand);
                Ok(header.table_bytes().saturating_add(pipeline))
            }
            Err(error) => Err(error),
        }
    }

    /// How long a core may take for its share of a layer before whoever waits for it names it
    /// as stalled; 60 seconds unless set.
    pub const fn set_stall_timeout(&mut self, timeout: Ticks) {
        self.stall_timeout = timeout;
    }

    /// Takes an empty slot for the next frame.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn acquire(&self, admission: Admission) -> Result<InputFrame<'_, 'a, P>, CallError> {
        let (wait, drop_oldest) = match admission {
            Admission::Block(wait) => (wait, false),
            Admission::DropOldest(wait) => (wait, true),
        };
        let slot = self.wait_for(&self.freed, wait, || {
            let mut gate = self.gate();
            if !gate.open {
                return Err(CallError::Stopped);
            }
            let free = gate.free.pop();
            drop(gate);
            Ok(free.or_else(|| if drop_oldest { self.drop_oldest() } else { None }))
        })?;
        Ok(InputFrame { pipeline: self, slot: Some(slot) })
    }

    /// The slot of the oldest frame that waits for the first stage, if there is one.
    fn drop_oldest(&self) -> Option<&'a mut [i8]> {
        let frame = self
            .teams
            .iter()
            .filter(|team| team.stage == 0 && team.load.outstanding.load(Ordering::Relaxed) > 0)
            .find_map(|team| {
                let frame = team.queue.pop()?;
                team.load.outstanding.fetch_sub(1, Ordering::Relaxed);
                Some(frame)
            })?;
        let mut gate = self.gate();
        // The order closes up behind it, so that it waits for nobody.
        for _ in 0..gate.order.len() {
            if let Some(id) = gate.order.pop_front()
                && id != frame.id
            {
                let _ = gate.order.push_back(id);
            }
        }
        gate.dropped = gate.dropped.wrapping_add(1);
        Some(frame.slot)
    }

    /// Takes the next finished frame, in the order of submission. A gap in the numbers is a
    /// frame that [`Admission::DropOldest`] has dropped.
    ///
    /// # Errors
    ///
    /// [`CallError`]; `Stopped` only when all frames submitted have been polled.
    pub fn poll(&self, wait: Wait) -> Result<OutputFrame<'_, 'a, P>, CallError> {
        let frame = self.wait_for(&self.finished, wait, || {
            let mut gate = self.gate();
            let Some(&next) = gate.order.front() else {
                return if gate.open { Ok(None) } else { Err(CallError::Stopped) };
            };
            let Gate { done, order, .. } = &mut *gate;
            // The frame changes places with the last, and is taken from there.
            let found = match done.as_mut_slice() {
                [.., last] if last.id == next => true,
                [others @ .., last] => {
                    let found = others.iter_mut().find(|frame| frame.id == next);
                    found.map(|frame| core::mem::swap(frame, last)).is_some()
                }
                [] => false,
            };
            if !found {
                return Ok(None);
            }
            order.pop_front();
            Ok(done.pop())
        })?;
        Ok(OutputFrame { pipeline: self, frame: Some(frame) })
    }

    /// Closes admission and waits until every frame submitted has left the last stage; they
    /// can still be polled.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], [`CallError::Failed`].
    pub fn drain(&self, wait: Wait) -> Result<(), CallError> {
        self.gate().open = false;
        self.freed.signal();
        self.finished.signal();
        self.wait_for(&self.finished, wait, || {
            let gate = self.gate();
            Ok((gate.done.len() == gate.order.len()).then_some(()))
        })
    }

    /// Ends the work: every core returns from [`run_core`](Self::run_core) after the frame it
    /// is at, and calls that wait return. Frames under way are lost; [`drain`](Self::drain)
    /// first to keep them.
    pub fn stop(&self) {
        self.gate().open = false;
        // Release: pairs with `is_stopped`.
        self.stopped.store(true, Ordering::Release);
        self.teams.iter().for_each(|team| team.queue.pushed().signal());
        self.teams.iter().for_each(|team| team.team.wake());
        self.freed.signal();
        self.finished.signal();
    }

    /// Stops when dropped, also by a panic; cores that nobody stops would wait for ever.
    #[must_use = "dropped at once, it stops at once"]
    pub const fn stop_on_drop(&self) -> StopOnDrop<'_, 'a, P> {
        StopOnDrop { pipeline: self }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Records the first failure and stops.
    pub(crate) fn fail(&self, error: RunError) -> RunError {
        let first = *self.failure.lock().get_or_insert(error);
        self.stop();
        first
    }

    /// Frames dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.gate().dropped
    }

    /// What stage `stage` has done so far; `None` when there is no such stage.
    #[must_use]
    pub fn stats(&self, stage: usize) -> Option<StageStats> {
        self.plan.stages.get(stage)?;
        let teams = self.teams.iter().filter(|team| team.stage == stage);
        Some(teams.fold(StageStats::default(), |sum, team| sum.and(team.counters.read())))
    }

    /// What team `team` has done so far; `None` when there is no such team.
    #[must_use]
    pub fn team_stats(&self, team: usize) -> Option<StageStats> {
        self.teams.get(team).map(|team| team.counters.read())
    }

    /// The plan at work.
    #[must_use]
    pub const fn plan(&self) -> &'a Plan<'a> {
        self.plan
    }

    /// Hands `frame` to the team of stage `stage` that will be through with it first, or to
    /// the sink after the last stage.
    pub(crate) fn dispatch(&self, stage: usize, frame: Frame<'a>) {
        let teams = || self.teams.iter().filter(|team| team.stage == stage);
        match teams().min_by_key(|team| team.load.wait()) {
            Some(team) => {
                for other in teams().filter(|other| !core::ptr::eq(*other, team)) {
                    other.load.pace.forget();
                }
                if team.load.outstanding.load(Ordering::Relaxed) == 0 {
                    let stage = self.plan.stages.get(stage);
                    team.load.progress.begin(stage.map_or(0, |stage| stage.layers.start), P::now());
                }
                // Release: who sees that there is work (in `watch`) sees since when.
                team.load.outstanding.fetch_add(1, Ordering::Release);
                // A queue has room for every slot there is.
                let _ = team.queue.push(frame);
            }
            None => {
                let _ = self.gate().done.push(frame);
                self.finished.signal();
            }
        }
    }

    fn gate(&self) -> impl DerefMut<Target = Gate<'a>> {
        self.gate.lock()
    }

    fn give_back(&self, slot: &'a mut [i8]) {
        let _ = self.gate().free.push(slot);
        self.freed.signal();
    }

    /// Tries until it gives something, fails, or the time is over.
    fn wait_for<T>(
        &self,
        event: &P::Event,
        wait: Wait,
        mut attempt: impl FnMut() -> Result<Option<T>, CallError>,
    ) -> Result<T, CallError> {
        let deadline = wait.deadline();
        loop {
            // Who does not wait need not look: that takes a cache line from who signals.
            let seen = if wait == Wait::Never { 0 } else { event.count() };
            // What fails stops, too: most calls need not look for a failure.
            let stopped = self.is_stopped();
            if stopped && let Some(error) = self.failure() {
                return Err(CallError::Failed(error));
            }
            if let Some(found) = attempt()? {
                return Ok(found);
            }
            if stopped {
                return Err(CallError::Stopped);
            }
            if wait == Wait::Never || P::now() >= deadline {
                return Err(CallError::TimedOut);
            }
            event.wait(seen, || Some(self.watch().min(deadline)));
        }
    }

    /// Fails if a core has stalled; returns when to look again.
    pub(crate) fn watch(&self) -> Ticks {
        let now = P::now();
        let mut next = now.after(self.stall_timeout);
        for (team, planned) in self.teams.iter().zip(self.plan.teams) {
            // Acquire: pairs with `dispatch`.
            if team.load.outstanding.load(Ordering::Acquire) == 0 {
                continue;
            }
            let Progress { layer, since } = &team.load.progress;
            let due = Ticks(since.load(Ordering::Relaxed)).after(self.stall_timeout);
            if due <= now {
                let index = planned.core_range().start.saturating_add(team.team.absent()) as u8;
                let core = self.topology.core(planned.cluster, index).unwrap_or(CoreId(0));
                let layer = layer.load(Ordering::Relaxed) as u16;
                self.fail(RunError::Stalled { core, layer });
            }
            next = next.min(due.max(now));
        }
        next
    }

    /// What made the pipeline fail, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<RunError> {
        *self.failure.lock()
    }

    /// Where `tensor`'s bytes lie in a slot, when it lies there without gaps.
    fn slot_range(&self, tensor: TensorId) -> Option<Range<usize>> {
        let tensor = self.model.tensor(tensor).filter(|tensor| tensor.layout.is_contiguous())?;
        let placement = self.plan.placement(tensor.storage)?;
        let start = (placement.offset as usize).checked_add(tensor.offset as usize)?;
        let end = start.checked_add(tensor.layout.hwc.elements())?;
        (placement.home == Home::Slot).then_some(start..end)
    }
}

/// What [`Pipeline::stop_on_drop`] gives.
#[derive(Debug)]
pub struct StopOnDrop<'p, 'a, P: Platform> {
    pipeline: &'p Pipeline<'a, P>,
}

impl<P: Platform> Drop for StopOnDrop<'_, '_, P> {
    fn drop(&mut self) {
        self.pipeline.stop();
    }
}

/// An empty slot to be filled and submitted; dropped, it goes back unused.
pub struct InputFrame<'p, 'a, P: Platform> {
    pipeline: &'p Pipeline<'a, P>,
    slot: Option<&'a mut [i8]>,
}

impl<P: Platform> fmt::Debug for InputFrame<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputFrame").finish_non_exhaustive()
    }
}

impl<P: Platform> InputFrame<'_, '_, P> {
    /// The codes of input `index`, in HWC order; they hold what an earlier frame left there.
    /// `None` when the network has no such input.
    pub fn input(&mut self, index: usize) -> Option<&mut [i8]> {
        let port: &Port = self.pipeline.model.inputs.get(index)?;
        let range = self.pipeline.slot_range(port.tensor)?;
        self.slot.as_mut()?.get_mut(range)
    }

    /// Sends the frame on its way.
    ///
    /// # Errors
    ///
    /// [`CallError::Stopped`] when the pipeline was drained or stopped in the meantime.
    pub fn submit(mut self) -> Result<FrameId, CallError> {
        let Some(slot) = self.slot.take() else { return Err(CallError::Stopped) };
        let mut gate = self.pipeline.gate();
        if !gate.open {
            drop(gate);
            self.pipeline.give_back(slot);
            return Err(CallError::Stopped);
        }
        let id = gate.next;
        gate.next = FrameId(id.0.wrapping_add(1));
        let _ = gate.order.push_back(id);
        drop(gate);
        self.pipeline.dispatch(0, Frame { id, slot });
        Ok(id)
    }
}

impl<P: Platform> Drop for InputFrame<'_, '_, P> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pipeline.give_back(slot);
        }
    }
}

/// A finished frame; dropped or released, its slot is free for the next.
pub struct OutputFrame<'p, 'a, P: Platform> {
    pipeline: &'p Pipeline<'a, P>,
    frame: Option<Frame<'a>>,
}

impl<P: Platform> fmt::Debug for OutputFrame<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFrame").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl<P: Platform> OutputFrame<'_, '_, P> {
    /// The frame's number.
    #[must_use]
    pub fn id(&self) -> FrameId {
        self.frame.as_ref().map_or(FrameId(0), |frame| frame.id)
    }

    /// The codes of output `index`, in HWC order. `None` when the network has no such output.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<&[i8]> {
        self.tensor(self.pipeline.model.outputs.get(index)?.tensor)
    }

    /// The codes of any tensor that lies in the slot without gaps. They are those the network
    /// computed only if the plan gives no other storage the same bytes.
    #[must_use]
    pub fn tensor(&self, tensor: TensorId) -> Option<&[i8]> {
        self.frame.as_ref()?.slot.get(self.pipeline.slot_range(tensor)?)
    }

    /// Gives the slot back.
    pub fn release(self) {}
}

impl<P: Platform> Drop for OutputFrame<'_, '_, P> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.pipeline.give_back(frame.slot);
        }
    }
}
