//! What the core tells about itself to software at EL1 and above.

use core::arch::asm;

/// Whether the core has `SDOT`.
pub(in crate::kernels) fn has_dotprod() -> bool {
    let register: u64;
    // SAFETY: every core has the register, and reading it changes nothing.
    unsafe { asm!("mrs {}, ID_AA64ISAR0_EL1", out(reg) register, options(pure, nomem, nostack)) };
    field(register, 44) != 0
}

/// Whether the core has `SMMLA`.
pub(in crate::kernels) fn has_i8mm() -> bool {
    let register: u64;
    // SAFETY: every core has the register, and reading it changes nothing.
    unsafe { asm!("mrs {}, ID_AA64ISAR1_EL1", out(reg) register, options(pure, nomem, nostack)) };
    field(register, 52) != 0
}

/// The four bits of `register` from `start` on.
const fn field(register: u64, start: u32) -> u64 {
    register >> start & 15
}
