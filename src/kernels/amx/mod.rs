//! x86-64 AMX: products of whole tiles, 16 pixels times 64 inputs by 64 inputs times 16 columns.
//!
//! Filters lie as [`avx512vnni`] has them, whose kernels serve for all else, and for what is too
//! small for tiles.
#![allow(unsafe_code)]

mod conv_2d;
#[cfg(all(feature = "std", target_os = "linux"))]
mod permission;
mod tiles;

use tiles::Tiles;

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

/// # Safety
///
/// [`supported`].
unsafe fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let channels = io.inputs.first().and_then(|input| input.hwc().c.checked_div(params.groups));
    let depth = channels.and_then(|channels| conv_2d::depth(params.runs(channels)?));
    // SAFETY: the caller's promise.
    let _tiles = depth.map(|depth| unsafe { Tiles::new(depth) });
    // SAFETY: the caller's promise; the registers are shaped if the layer wants them.
    unsafe { driver::run::<conv_2d::Kernel, { conv_2d::ROWS }, { 64 << 10 }>(params, weights, io) }
}
