//! Convolutions with filters in the layout of a path: parameters, checks, and portable kernels
//! that are slow but read every layout.
//!
//! The host tool packs (see [`Packing`]); a path's own kernels equal the portable ones.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod band;
mod conv_2d;
mod depthwise_conv_2d;
#[allow(unsafe_code)]
mod direct;
#[allow(unsafe_code)]
pub(crate) mod driver;
#[allow(unsafe_code)]
pub(crate) mod form;
#[allow(unsafe_code)]
mod gather;
pub(crate) mod group;
mod packing;
pub(crate) mod place;
mod sum;
mod wide;
pub mod winograd;

#[cfg(target_arch = "x86_64")]
pub(crate) use conv_2d::MOST_WIDENED;
pub use conv_2d::{Access, MAX_RUNS, PackedConv2d, Rounding, packed_conv_2d};
pub use depthwise_conv_2d::{
    DepthwisePacking, PackedDepthwiseConv2d, is_whole, packed_depthwise_conv_2d,
};
pub use packing::{Packing, Runs, complete};
pub use place::{Place, Sums, Together, fitting};
pub use sum::FixedSum;
#[cfg(target_arch = "x86_64")]
pub(crate) use wide::PARAMETERS;
