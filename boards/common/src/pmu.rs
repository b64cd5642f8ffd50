//! The cycle counter. Under QEMU's `-icount shift=0` it counts instructions, of all cores.

use core::arch::asm;

/// Turns the counter of this core on; every core that reads it does so once.
pub fn start() {
    // PMCR_EL0: 64 bits (LC), reset (C), on (E); then the cycle counter among all, for EL1.
    // SAFETY: changes nothing but this counter.
    unsafe {
        asm!(
            "msr pmcr_el0, {control}",
            "msr pmcntenset_el0, {cycles}",
            "msr pmccfiltr_el0, xzr",
            "isb",
            control = in(reg) 0x45u64,
            cycles = in(reg) 1u64 << 31,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// The count.
#[must_use]
pub fn cycles() -> u64 {
    let count: u64;
    // SAFETY: reading this register has no effect.
    unsafe {
        asm!("isb", "mrs {}, pmccntr_el0", out(reg) count,
             options(nomem, nostack, preserves_flags));
    }
    count
}
