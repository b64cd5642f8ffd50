//! Kernels for Armv8.0 Advanced SIMD, and what the other Arm paths share with them.
#![allow(unsafe_code)]

mod conv_2d;
mod copy;
pub(in crate::kernels) mod depthwise_conv_2d;
pub(in crate::kernels) mod elementwise;
pub(in crate::kernels) mod form;
#[cfg(not(feature = "std"))]
pub(in crate::kernels) mod identification;
pub(in crate::kernels) mod memory;
mod pool;
mod resize;
pub(in crate::kernels) mod scale;
mod softmax;

use super::{KernelTable, Path};

/// [`Packing::scratch`](super::packed::Packing::scratch) of the Arm paths.
pub(in crate::kernels) const SCRATCH: usize = 8 << 10;

/// The kernels of [`Path::Neon`].
pub static TABLE: KernelTable = KernelTable {
    packed_conv_2d: Some(conv_2d::packed_conv_2d),
    packed_depthwise_conv_2d: Some(depthwise_conv_2d::packed_depthwise_conv_2d),
    max_pool_2d: Some(pool::max_pool_2d),
    average_pool_2d: Some(pool::average_pool_2d),
    mean: Some(pool::mean),
    add: Some(elementwise::add),
    mul: Some(elementwise::mul),
    lookup: Some(elementwise::lookup),
    softmax: Some(softmax::softmax),
    resize_nearest_neighbor: Some(resize::resize_nearest_neighbor),
    resize_bilinear: Some(resize::resize_bilinear),
    copy: Some(copy::copy),
    pad: Some(copy::pad),
    ..KernelTable::portable(Path::Neon, || true)
};
