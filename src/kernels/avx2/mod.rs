//! x86-64 AVX2: 8 outputs per vector, two products of 16 bits per output and instruction.
//!
//! `VPMADDUBSW` would multiply bytes but saturates; so codes become 16-bit numbers, inputs while
//! they are gathered, weights where they are read, for `VPMADDWD`.
#![allow(unsafe_code)]

mod conv_2d;
mod depthwise_conv_2d;
mod requantize;
mod vector;

use super::packed::{self, PackedConv2d, PackedDepthwiseConv2d, driver};
use super::{Io, KernelTable, Path};
use crate::weights::Weights;

/// The kernels of [`Path::Avx2`].
pub static TABLE: KernelTable = KernelTable {
    packed_conv_2d: Some(packed_conv_2d),
    packed_depthwise_conv_2d: Some(packed_depthwise_conv_2d),
    ..KernelTable::portable(Path::Avx2, supported)
};

/// Whether this core can execute the path. Without an operating system the compiler must have
/// been told.
fn supported() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(feature = "std"))]
    cfg!(target_feature = "avx2")
}

/// # Safety
///
/// [`supported`].
unsafe fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    unsafe { driver::run::<conv_2d::Kernel, { conv_2d::ROWS }, { 128 << 10 }>(params, weights, io) }
}

/// # Safety
///
/// [`supported`].
unsafe fn packed_depthwise_conv_2d(
    params: &PackedDepthwiseConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    if depthwise_conv_2d::fits(params) {
        // SAFETY: the caller's promise.
        unsafe { depthwise_conv_2d::depthwise(params, weights, io) };
    } else {
        packed::packed_depthwise_conv_2d(params, weights, io);
    }
}
