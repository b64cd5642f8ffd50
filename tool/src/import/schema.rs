//! Reader and writer of TensorFlow Lite files, generated from `schema/tflite.fbs`.
//!
//! Every access is checked: a broken file gives a [`planus::Error`], never a panic.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::all,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::alloc_instead_of_core,
    clippy::std_instead_of_core
)]

include!(concat!(env!("OUT_DIR"), "/tflite.rs"));
pub use tflite::*;

/// Marks a TensorFlow Lite file of schema version 3, in bytes 4 to 7.
pub const IDENTIFIER: [u8; 4] = *b"TFL3";

/// The bytes of a file.
#[must_use]
pub fn write(model: &Model) -> Vec<u8> {
    let mut builder = planus::Builder::new();
    let mut bytes = builder.finish(model, Some(IDENTIFIER)).to_vec();
    // planus 1.3 puts the identifier before the offset of the root instead of behind it.
    if let [i0, i1, i2, i3, o0, o1, o2, o3, ..] = bytes.as_mut_slice() {
        let offset = u32::from_le_bytes([*o0, *o1, *o2, *o3]) + 4;
        [*i0, *i1, *i2, *i3] = offset.to_le_bytes();
        [*o0, *o1, *o2, *o3] = IDENTIFIER;
    }
    bytes
}
