//! From a [`Graph`] to the runtime's tables.
//!
//! First the graph is simplified (`passes`), then each operator says which layers compute
//! it, on whole tensors (one file per operator), then `placement` decides which tensors
//! share storage, and `emit` writes the tables. The same graph gives the same bytes.
//!
//! To add an operator: a variant of [`OpKind`], an arm in `import::options`, a file here
//! and a line in `lower_op`.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

mod add;
mod arithmetic;
mod concatenation;
mod context;
mod conv_2d;
mod depthwise_conv_2d;
mod emit;
mod fully_connected;
mod mean;
mod pad;
mod passes;
mod placement;
mod pool;
mod quantize;
mod reshape;
mod softmax;
mod weights;

use pipeit_rt::kernels::OpError;
use pipeit_rt::model::ModelError;
use thiserror::Error;

use crate::graph::{Graph, GraphError, OpKind, OpRef};
use crate::network::Network;
use context::Context;

/// Why a graph was not lowered.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum LowerError {
    /// Tensors and operators do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operator in a variant that is not supported.
    #[error("{op}: {reason}")]
    Variant {
        /// The operator.
        op: OpRef,
        /// What is not supported; names the tensor where there is one.
        reason: String,
    },
    /// An input or output of the network that the runtime cannot have.
    #[error("the network's input or output `{tensor}`: {reason}")]
    Port {
        /// Name of the tensor.
        tensor: String,
        /// What is not supported.
        reason: String,
    },
    /// The runtime refuses the operator's parameters.
    #[error("{op}: {error}")]
    Op {
        /// The operator.
        op: OpRef,
        /// Why.
        error: OpError,
    },
    /// The runtime refuses the network as a whole.
    #[error("the runtime refuses the network: {0}")]
    Model(ModelError),
    /// Nothing to compute.
    #[error("no operator contributes to an output")]
    Empty,
    /// More than the runtime's tables can hold.
    #[error("too many or too large: {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
    },
}

/// Makes the runtime's tables of `graph`.
///
/// # Errors
///
/// The graph contradicts itself, or the runtime cannot execute it exactly.
pub fn lower(graph: &Graph) -> Result<Network, LowerError> {
    graph.check()?;
    let mut folded = Vec::new();
    let (graph, ports) = passes::simplify(graph.clone(), &mut folded);
    let mut section = weights::Section::new();
    let mut steps = Vec::new();
    for op in &graph.ops {
        let mut context = Context::new(&graph, op, &mut section, &mut steps);
        lower_op(&mut context)?;
    }
    let placement = placement::place(&graph, &steps);
    emit::emit(&graph, &ports, &steps, &placement, section, folded)
}

fn lower_op(cx: &mut Context<'_>) -> Result<(), LowerError> {
    match cx.op.kind {
        OpKind::Conv2d(conv) => conv_2d::lower(cx, conv),
        OpKind::DepthwiseConv2d(conv) => depthwise_conv_2d::lower(cx, conv),
        OpKind::FullyConnected { activation } => fully_connected::lower(cx, activation),
        OpKind::AveragePool2d(pool) => pool::lower_average(cx, pool),
        OpKind::MaxPool2d(pool) => pool::lower_max(cx, pool),
        OpKind::Mean => mean::lower(cx),
        OpKind::Add { activation } => add::lower(cx, activation),
        OpKind::Concatenation { axis, activation } => concatenation::lower(cx, axis, activation),
        OpKind::Pad => pad::lower(cx),
        OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims => reshape::lower(cx),
        OpKind::Softmax { beta } => softmax::lower(cx, beta),
        OpKind::Quantize => quantize::lower(cx),
        OpKind::Dequantize => quantize::lower_dequantize(cx),
    }
}
