//! A machine whose cores wait as Arm's do: `WFE` and the event register.
//!
//! `SEV` sets the event register of every core. `WFE` goes on at once when the register of
//! its core is set, otherwise it waits until it is; either way the register is clear then.
//! The lock of the model makes what came before a `SEV` visible after the `WFE` it ends: on
//! the machine, `dsb ishst` before the `SEV` does. There is no timer's event stream here,
//! which on the machine bounds every `WFE`: the code has to do without.

use std::sync::PoisonError;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::thread::{self, JoinHandle};

use crate::platform::{Event, Platform, Ticks};

/// Most cores of a model.
const CORES: usize = 3;

struct Machine {
    registers: Mutex<[bool; CORES]>,
    set: Condvar,
}

loom::lazy_static! {
    static ref MACHINE: Machine =
        Machine { registers: Mutex::new([false; CORES]), set: Condvar::new() };
}

loom::thread_local! {
    static CORE: core::cell::Cell<usize> = core::cell::Cell::new(0);
}

fn registers() -> MutexGuard<'static, [bool; CORES]> {
    MACHINE.registers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `SEV`. At the beginning of an execution it stands for registers left set by something
/// else, which makes the first `WFE` of every core return for no reason.
pub(super) fn send_event() {
    registers().fill(true);
    MACHINE.set.notify_all();
}

/// `WFE`; on a core without a register unless `remember`.
fn wait_for_event(remember: bool) {
    let core = CORE.with(core::cell::Cell::get);
    let mut registers = registers();
    registers[core] &= remember;
    while !registers[core] {
        registers = MACHINE.set.wait(registers).unwrap_or_else(PoisonError::into_inner);
    }
    registers[core] = false;
}

/// Runs `work` on core `core`; the first thread of an execution is core 0.
pub(super) fn spawn(core: usize, work: impl FnOnce() + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        CORE.with(|own| own.set(core));
        work();
    })
}

/// No fault: what a platform has to do.
pub(super) const CORRECT: u8 = 0;
/// `SEV` before the count.
pub(super) const EVENT_FIRST: u8 = 1;
/// The count without `Release`.
pub(super) const NO_RELEASE: u8 = 2;
/// `WFE` that sleeps through a `SEV` which came before it.
pub(super) const NO_REGISTER: u8 = 3;

/// The machine, its events with a fault of choice: tests must find each of them.
#[derive(Debug)]
pub(super) struct Wfe<const FAULT: u8>;

impl<const FAULT: u8> Platform for Wfe<FAULT> {
    type Relax = spin::relax::Spin;
    type Event = WfeEvent<FAULT>;

    fn now() -> Ticks {
        Ticks(0)
    }

    fn tick_hz() -> u64 {
        1
    }
}

/// An event on that machine.
#[derive(Debug)]
pub(super) struct WfeEvent<const FAULT: u8>(AtomicU32);

impl<const FAULT: u8> Event for WfeEvent<FAULT> {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn signal(&self) {
        if FAULT == EVENT_FIRST {
            send_event();
        }
        let order = if FAULT == NO_RELEASE { Ordering::Relaxed } else { Ordering::Release };
        self.0.fetch_add(1, order);
        if FAULT != EVENT_FIRST {
            send_event();
        }
    }

    fn wait(&self, seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()> {
        if self.count() == seen {
            deadline()?;
            wait_for_event(FAULT != NO_REGISTER);
        }
        Some(())
    }
}
