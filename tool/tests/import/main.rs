//! Import and lowering, checked against the outputs of TFLite's reference kernels.

mod errors;
mod interpreter;
mod networks;
mod rewrites;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/tflite.rs"]
mod tflite;
