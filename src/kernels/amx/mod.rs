//! x86-64 AMX: products of whole tiles, 16 pixels times 64 inputs by 64 inputs times 16 columns.
//!
//! Filters lie as [`avx512vnni`] has them, whose kernels serve for all else, and for what is too
//! small for tiles.
#![allow(unsafe_code)]

mod conv_2d;
mod tiles;

use super::packed::{PackedConv2d, driver};
use super::{Io, KernelTable, Path, avx512vnni};
use crate::weights::Weights;

/// The kernels of [`Path::Amx`].
pub static TABLE: KernelTable = KernelTable {
    path: Path::Amx,
    supported,
    packed_conv_2d: Some(packed_conv_2d),
    ..avx512vnni::TABLE
};

/// Whether this core can execute the path, and the operating system saves the tiles of this
/// process' threads.
fn supported() -> bool {
    #[cfg(all(feature = "std", target_os = "linux"))]
    return avx512vnni::supported() && permission::granted();
    #[cfg(not(all(feature = "std", target_os = "linux")))]
    false
}

#[cfg(all(feature = "std", target_os = "linux"))]
mod permission {
    use std::sync::LazyLock;
    use core::arch::asm;
    use core::arch::x86_64::__cpuid_count;

    /// Asks Linux, once, for registers that it gives only to processes that ask.
    pub(super) fn granted() -> bool {
        static GRANTED: LazyLock<bool> = LazyLock::new(|| {
            let features = __cpuid_count(7, 0).edx;
            let has = |bit: u32| features >> bit & 1 == 1;
            has(24) && has(25) && {
                let mut result = 158i64;
                // SAFETY: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
                unsafe { asm!("syscall", inout("rax") result, in("rdi") 0x1023, in("rsi") 18, out("rcx") _, out("r11") _) };
                result == 0
            }
        });
        *GRANTED
    }
}

/// # Safety
///
/// [`supported`].
unsafe fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let Some(input) = io.inputs.first() else { return };
    let channels = input.hwc().c / params.groups.max(1);
    let run = params.runs(channels).and_then(|runs| Path::Amx.packing()?.padded(runs.len));
    let Some(run) = run else { return };
    // SAFETY: the caller's promise.
    let _tiles = unsafe { tiles::Tiles::new(conv_2d::depth(run as usize)) };
    // SAFETY: the caller's promise.
    unsafe { driver::run::<conv_2d::Kernel, { conv_2d::ROWS }, { 64 << 10 }>(params, weights, io) }
}
