//! x86-64 AVX2: 8 outputs per vector, four products of 8 bits per output and two instructions.
//!
//! `VPMADDUBSW` adds two of them in 16 bits and saturates; so weights come in groups of which the
//! products [fit](super::packed::Place).
#![allow(unsafe_code)]

mod conv_2d;
mod depthwise_conv_2d;
mod elementwise;
mod near;
mod pool;
mod requantize;
mod single;
mod vector;
mod winograd;

use super::compiled::compiled;
use super::packed::{self, Access, PackedConv2d, PackedDepthwiseConv2d, driver};
use super::reference::{
    self, Add, AveragePool2d, Mean, Mul, ResizeBilinear, ResizeNearestNeighbor, Softmax,
};
use super::x86::group::each_group;
use super::x86::winograd::Kernel;
use super::{Io, KernelTable, Path};
use crate::weights::Weights;

/// The kernels of [`Path::Avx2`].
pub static TABLE: KernelTable = KernelTable {
    packed_conv_2d: Some(packed_conv_2d),
    packed_depthwise_conv_2d: Some(packed_depthwise_conv_2d),
    average_pool_2d: Some(average_pool_2d),
    max_pool_2d: Some(pool::max_pool_2d),
    mean: Some(mean),
    add: Some(add),
    mul: Some(mul),
    softmax: Some(softmax),
    resize_nearest_neighbor: Some(resize_nearest_neighbor),
    resize_bilinear: Some(resize_bilinear),
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
    let run = match params.access {
        Access::Winograd => each_group::<Kernel<winograd::Filter>>,
        Access::Widen => each_group::<single::Kernel>,
        _ => driver::run::<conv_2d::Kernel, { conv_2d::ROWS }, { 128 << 10 }>,
    };
    // SAFETY: the caller's promise.
    unsafe { run(params, weights, io) }
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
unsafe fn add_residual(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
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
    "avx2",
    average_pool_2d(AveragePool2d),
    mean(Mean),
    softmax(Softmax),
    resize_nearest_neighbor(ResizeNearestNeighbor),
    resize_bilinear(ResizeBilinear),
}
