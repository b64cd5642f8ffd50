//! Kernels for cores with the Armv8.6 instruction `SMMLA`.
#![allow(unsafe_code)]

mod conv_2d;

use super::{KernelTable, Path, dotprod};

/// The kernels of [`Path::I8mm`].
pub static TABLE: KernelTable = KernelTable {
    path: Path::I8mm,
    supported,
    packed_conv_2d: Some(conv_2d::packed_conv_2d),
    ..dotprod::TABLE
};

#[cfg(feature = "std")]
fn supported() -> bool {
    std::arch::is_aarch64_feature_detected!("i8mm")
}

/// Asks the core, which must be at EL1 or above.
#[cfg(not(feature = "std"))]
fn supported() -> bool {
    super::neon::identification::has_i8mm()
}
