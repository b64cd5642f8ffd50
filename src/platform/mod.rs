//! What the runtime needs from the machine below it: waiting, waking and time.
#![deny(unsafe_code)]

#[cfg(all(feature = "baremetal", target_arch = "aarch64"))]
pub mod baremetal;
#[cfg(feature = "std")]
pub mod hosted;
#[cfg(feature = "std")]
#[allow(unsafe_code)]
mod pages;

/// A reading of the platform's clock, or a number of its ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ticks(pub u64);

impl Ticks {
    /// A deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The reading `ticks` later.
    #[must_use]
    pub const fn after(self, ticks: Self) -> Self {
        Self(self.0.saturating_add(ticks.0))
    }

    /// Ticks from `earlier` to `self`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// The machine a program runs on. All functions are static: one platform per program.
pub trait Platform: Send + Sync + 'static {
    /// Spent on each turn of a lock's spin loop. Must never sleep: unlocking wakes nobody.
    type Relax: spin::RelaxStrategy;
    /// What cores wait on.
    type Event: Event;

    /// Whether a core may compute rows of a layer as soon as it has those of the layer before that
    /// they need. Not where layers are timed one by one.
    const INTERLEAVES: bool = true;

    /// Monotonic time, comparable between cores.
    fn now() -> Ticks;

    /// Ticks per second.
    fn tick_hz() -> u64;

    /// Called by a core that has done its share of the layer `layer` since `started`, or some rows
    /// of that if it [interleaves](Self::INTERLEAVES). A platform may keep a record here, or emulate a slower core by letting time pass.
    fn after_layer(layer: u16, started: Ticks) {
        let _ = (layer, started);
    }
}

/// A counter that cores wait on to change.
///
/// A waiter reads [`count`](Self::count), looks whether what it waits for is there, and if
/// not calls [`wait`](Self::wait) with the count read. A signal in between is not lost,
/// because then the count differs already.
pub trait Event: Send + Sync {
    /// An event that nobody has signalled.
    fn new() -> Self;

    /// Signals so far, wrapping. An `Acquire` load.
    fn count(&self) -> u32;

    /// Counts up, `Release`, and ends the waiting of all cores.
    fn signal(&self);

    /// Returns when the count is no longer `seen` or the deadline has passed; it may return
    /// for no reason, too. `deadline` is asked only when the count does not change at once, and
    /// may say not to wait by giving `None`; then so does this.
    fn wait(&self, seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()>;
}
