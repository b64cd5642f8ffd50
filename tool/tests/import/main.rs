//! Import and lowering, checked against the outputs of TFLite's reference kernels.

mod errors;
mod networks;
mod rewrites;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/tflite.rs"]
mod tflite;

use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::network::Network;

/// The outputs of a network for one frame, all in int8.
fn outputs<T: AsRef<[i8]>>(network: &Network, inputs: &[T]) -> Vec<Vec<i8>> {
    let model = network.check().expect("a network the runtime accepts");
    Interpreter::new(&model).run(inputs)
}
