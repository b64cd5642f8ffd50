//! Arm's Power State Coordination Interface: the firmware below starts cores and turns off.

use core::arch::asm;
use core::fmt;

/// How the firmware below is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `HVC`: it is at EL2.
    Hvc,
    /// `SMC`: it is at EL3.
    Smc,
}

/// Why PSCI refused; the codes of its specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PsciError(pub i32);

impl fmt::Display for PsciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused by the firmware, PSCI error -{}", self.0.unsigned_abs())
    }
}

const SYSTEM_OFF: u64 = 0x8400_0008;
const CPU_ON: u64 = 0xc400_0003;

/// Starts the core of that affinity at the address `entry`.
///
/// # Errors
///
/// What the firmware says.
///
/// # Safety
///
/// At `entry` is code that a core may begin with, MMU off.
pub(crate) unsafe fn cpu_on(
    conduit: Conduit,
    affinity: u64,
    entry: usize,
) -> Result<(), PsciError> {
    // SAFETY: the caller's promise.
    match unsafe { call(conduit, CPU_ON, affinity, entry as u64) } {
        0 => Ok(()),
        code => Err(PsciError(code)),
    }
}

/// Turns the machine off, or parks this core where it cannot be.
pub fn system_off(conduit: Conduit) -> ! {
    // SAFETY: nothing runs afterwards.
    unsafe { call(conduit, SYSTEM_OFF, 0, 0) };
    crate::cores::park()
}

/// # Safety
///
/// That of the function called.
unsafe fn call(conduit: Conduit, function: u64, a: u64, b: u64) -> i32 {
    let result: u64;
    match conduit {
        // SAFETY: the caller's promise; the calling convention is that of C functions.
        Conduit::Hvc => unsafe {
            asm!("hvc #0", inout("x0") function => result, in("x1") a, in("x2") b, in("x3") 0u64,
                 clobber_abi("C"));
        },
        // SAFETY: as above.
        Conduit::Smc => unsafe {
            asm!("smc #0", inout("x0") function => result, in("x1") a, in("x2") b, in("x3") 0u64,
                 clobber_abi("C"));
        },
    }
    result as i32
}
