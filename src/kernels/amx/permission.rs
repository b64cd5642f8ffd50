//! Linux gives the tile registers only to processes that ask for them.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

/// Whether this process has them; asks once.
pub(super) fn granted() -> bool {
    static GRANTED: LazyLock<bool> = LazyLock::new(|| has_tiles() && ask());
    *GRANTED
}

/// Whether the CPU has AMX-TILE and AMX-INT8.
fn has_tiles() -> bool {
    let features = __cpuid_count(7, 0).edx;
    [24, 25].into_iter().all(|bit| features >> bit & 1 == 1)
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, for all threads of the process.
fn ask() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the call reads and writes no memory. A kernel that does not know it says so.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}
