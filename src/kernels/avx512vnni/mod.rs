//! x86-64 AVX-512 with VNNI: 16 outputs per vector, four products per output and instruction.
//!
//! `VPDPBUSD` multiplies unsigned by signed bytes, so input codes are moved up by 128 while they
//! are copied, or while they are multiplied where they lie; the packer has moved the biases to match
//! ([`Packing::offset`]).
//!
//! [`Packing::offset`]: super::packed::Packing::offset
#![allow(unsafe_code)]

pub(super) mod conv_2d;
mod depthwise_conv_2d;
pub(super) mod elementwise;
mod pool;
pub(super) mod requantize;
pub(super) mod vector;
mod winograd;

/// Runs a body for every index below a constant that is at most 11: straight code, since a loop
/// would put what is indexed into memory.
macro_rules! unrolled {
    ($index:ident < $end:ident, $body:block) => {
        unrolled!(@ $index $end $body 0 1 2 3 4 5 6 7 8 9 10)
    };
    (@ $index:ident $end:ident $body:block $($value:literal)*) => {
        $(if $value < $end {
            let $index = $value;
            $body
        })*
    };
}
use unrolled;

use super::compiled::compiled;
use super::packed::{self, Access, PackedConv2d, PackedDepthwiseConv2d, driver};
use super::reference::{
    self, Add, AveragePool2d, MaxPool2d, Mean, Mul, ResizeBilinear, ResizeNearestNeighbor, Softmax,
};
use super::x86::group::each_group;
use super::x86::winograd::Kernel;
use super::{Io, KernelTable, Path};
use crate::weights::Weights;

/// The kernels of [`Path::Avx512Vnni`].
pub static TABLE: KernelTable = KernelTable {
    packed_conv_2d: Some(packed_conv_2d),
    packed_depthwise_conv_2d: Some(packed_depthwise_conv_2d),
    average_pool_2d: Some(average_pool_2d),
    max_pool_2d: Some(max_pool_2d),
    mean: Some(mean),
    add: Some(add),
    mul: Some(mul),
    softmax: Some(softmax),
    resize_nearest_neighbor: Some(resize_nearest_neighbor),
    resize_bilinear: Some(resize_bilinear),
    ..KernelTable::portable(Path::Avx512Vnni, supported)
};

/// Whether this core can execute the path. Without an operating system the compiler must have
/// been told.
pub(super) fn supported() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512vnni");
    #[cfg(not(feature = "std"))]
    cfg!(all(
        target_feature = "avx512f",
        target_feature = "avx512bw",
        target_feature = "avx512vl",
        target_feature = "avx512vnni"
    ))
}

/// # Safety
///
/// [`supported`].
unsafe fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let run = match params.access {
        Access::Winograd => each_group::<Kernel<winograd::Filter>>,
        _ => driver::run::<conv_2d::Kernel, { conv_2d::ROWS }, { 64 << 10 }>,
    };
    // SAFETY: the caller's promise.
    unsafe { run(params, weights, io) }
}

/// # Safety
///
/// [`supported`].
pub(super) unsafe fn packed_depthwise_conv_2d(
    params: &PackedDepthwiseConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    if depthwise_conv_2d::fits(&params.window) {
        // SAFETY: the caller's promise.
        unsafe { depthwise_conv_2d::depthwise(params, weights, io) };
    } else {
        packed::packed_depthwise_conv_2d(params, weights, io);
    }
}

/// # Safety
///
/// [`supported`].
unsafe fn average_pool_2d(params: &AveragePool2d, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    if !unsafe { pool::average_pool_2d(params, io) } {
        reference::average_pool_2d(params, weights, io);
    }
}

/// # Safety
///
/// [`supported`].
unsafe fn max_pool_2d(params: &MaxPool2d, _weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    unsafe { pool::max_pool_2d(params, io) };
}

/// # Safety
///
/// [`supported`].
unsafe fn mean(params: &Mean, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    if !unsafe { pool::mean(params, io) } {
        reference::mean(params, weights, io);
    }
}

/// # Safety
///
/// [`supported`].
unsafe fn add(params: &Add, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    if !unsafe { elementwise::add(params, None, io) } {
        reference::add(params, weights, io);
    }
}

/// Adds the residual of a convolution to its output.
///
/// # Safety
///
/// [`supported`].
pub(super) unsafe fn add_residual(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let Some(add) = &params.residual else { return };
    // SAFETY: the caller's promise.
    if !unsafe { elementwise::add(add, params.sum(weights), io) } {
        reference::add(add, weights, io);
    }
}

/// # Safety
///
/// [`supported`].
unsafe fn mul(params: &Mul, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    if !unsafe { elementwise::mul(params, io) } {
        reference::mul(params, weights, io);
    }
}

compiled! {
    "avx512f,avx512bw,avx512vl",
    softmax(Softmax),
    resize_nearest_neighbor(ResizeNearestNeighbor),
    resize_bilinear(ResizeBilinear),
}
