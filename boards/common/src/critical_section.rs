//! The crate `critical-section` for several cores: interrupts off, and one lock for all.
//!
//! Implementations that only mask interrupts exclude one core, not the others.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use critical_section::{Impl, RawRestoreState, set_impl};
use pipeit_rt::platform::baremetal::Yield;
use spin::RelaxStrategy;

use crate::cores;

/// Number of the core inside, plus one; 0 when there is none.
static OWNER: AtomicUsize = AtomicUsize::new(0);

/// In the state to restore: interrupts were off before, and so were other cores.
const WAS_MASKED: u8 = 1;
const NESTED: u8 = 2;

struct AllCores;
set_impl!(AllCores);

// SAFETY: one core at a time gets past `acquire`, and no interrupt of its own comes in between.
unsafe impl Impl for AllCores {
    unsafe fn acquire() -> RawRestoreState {
        let daif: u64;
        // SAFETY: interrupts off is what the caller wants.
        unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif) };
        let was_masked = if daif & 1 << 7 == 0 { 0 } else { WAS_MASKED };
        let own = cores::number() + 1;
        if OWNER.load(Ordering::Relaxed) == own {
            return was_masked | NESTED;
        }
        // Acquire: pairs with `release`.
        while OWNER.compare_exchange_weak(0, own, Ordering::Acquire, Ordering::Relaxed).is_err() {
            Yield::relax();
        }
        was_masked
    }

    unsafe fn release(before: RawRestoreState) {
        if before & NESTED == 0 {
            OWNER.store(0, Ordering::Release);
        }
        if before & WAS_MASKED == 0 {
            // SAFETY: they were on before `acquire`.
            unsafe { asm!("msr daifclr, #2") };
        }
    }
}
