//! Bare metal: cores sleep in `WFE` until another core's `SEV` or the timer's event stream.
//!
//! ```text
//!  signal: count += 1 (Release)        wait: count (Acquire) still as seen?
//!          DSB ISHST                         WFE
//!          SEV ──── event registers ────────▶ goes on
//! ```
//!
//! A `SEV` between the look at the count and the `WFE` has set the core's event register, so
//! that the `WFE` returns at once: no signal is lost. What bounds every wait is the event
//! stream of the generic timer, which [`start_event_stream`] turns on. Clusters need share
//! nothing but coherent memory of the inner shareable domain.

#![allow(unsafe_code, reason = "for a hint instruction")]

use aarch64_cpu::asm::{self, barrier};
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTKCTL_EL1, CNTVCT_EL0, Readable, Writeable};

use super::{Event, Platform, Ticks};
use crate::sync::atomic::{AtomicU32, Ordering};

/// A machine without operating system. Its clock is the generic timer's virtual count.
#[derive(Debug)]
pub struct BareMetal;

/// `YIELD`. Not `ISB`, which is what `core::hint::spin_loop` would give: an emulator with one
/// thread for all cores goes on to the next core at a `YIELD` only.
#[derive(Debug)]
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    #[inline]
    fn relax() {
        // SAFETY: a hint, without effect on memory, stack or flags.
        unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
    }
}

impl Platform for BareMetal {
    type Relax = Yield;
    type Event = WfeEvent;

    fn now() -> Ticks {
        // Without it the count could be read long before the instructions in front are done.
        barrier::isb(barrier::SY);
        Ticks(CNTVCT_EL0.get())
    }

    fn tick_hz() -> u64 {
        CNTFRQ_EL0.get()
    }
}

/// An event whose waiters sleep in `WFE`.
#[derive(Debug)]
pub struct WfeEvent(AtomicU32);

impl WfeEvent {
    /// An event that nobody has signalled.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}

impl Default for WfeEvent {
    fn default() -> Self {
        Self::new()
    }
}

impl Event for WfeEvent {
    fn new() -> Self {
        Self::new()
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // The new count is visible to whoever the event wakes.
        barrier::dsb(barrier::ISHST);
        asm::sev();
    }

    /// Returns at every event, whoever it was meant for: not later than the event stream's
    /// next, thus soon after any deadline.
    fn wait(&self, seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()> {
        if self.count() == seen {
            deadline()?;
            asm::wfe();
        }
        Some(())
    }
}

/// Has the timer end every `WFE` of this core at least `hz` times a second, as nearly as the
/// powers of two allow; every core calls it once, before it waits.
pub fn start_event_stream(hz: u32) {
    // Bit n of the count rises every 2^(n+1) ticks; there are sixteen to choose from.
    let ticks = CNTFRQ_EL0.get() / u64::from(hz.max(1));
    let bit = ticks.max(2).ilog2().saturating_sub(1).min(15);
    CNTKCTL_EL1.write(
        CNTKCTL_EL1::EVNTEN::SET + CNTKCTL_EL1::EVNTDIR::CLEAR + CNTKCTL_EL1::EVNTI.val(bit.into()),
    );
}
