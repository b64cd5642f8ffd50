//! Kernels for cores with the Armv8.2 instruction `SDOT`.
#![allow(unsafe_code)]

mod conv_2d;
mod depthwise_conv_2d;

use super::{KernelTable, Path, neon};

/// The kernels of [`Path::Dotprod`].
pub static TABLE: KernelTable = KernelTable {
    path: Path::Dotprod,
    supported,
    packed_conv_2d: Some(conv_2d::packed_conv_2d),
    packed_depthwise_conv_2d: Some(depthwise_conv_2d::packed_depthwise_conv_2d),
    ..neon::TABLE
};

#[cfg(feature = "std")]
fn supported() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

/// Asks the core, which must be at EL1 or above.
#[cfg(not(feature = "std"))]
fn supported() -> bool {
    neon::identification::has_dotprod()
}
