//! Files nobody should trust: damaged, cut off, or made to do harm.

mod allocator;
mod artefacts;
mod damage;
mod inputs;
mod networks;
mod sketch;
#[path = "../support/tflite.rs"]
mod tflite;
