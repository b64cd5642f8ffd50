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
