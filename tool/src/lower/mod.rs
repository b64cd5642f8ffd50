//! From a [`Graph`] to the runtime's tables.
//!
//! First the graph is simplified (`passes`), then each operator says which layers compute
//! it, on whole tensors (one file per operator), `residual` gives sums to the convolutions
//! before them, then `placement` decides which tensors share storage, and `emit` writes the
//! tables. The same graph gives the same bytes.
//!
//! To add an operator: a variant of [`OpKind`], an arm in `import::options`, a file here
//! and a line in `lower_op`.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

mod activation;
mod add;
mod arithmetic;
mod concatenation;
mod constants;
mod context;
mod conv_2d;
mod depthwise_conv_2d;
mod emit;
mod fully_connected;
mod hard_swish;
mod maximum;
mod mean;
mod mul;
mod pad;
mod passes;
mod placement;
mod pool;
mod prelu;
mod quantize;
mod reshape;
mod residual;
mod resize;
mod sigmoid;
mod slice;
mod softmax;
mod step;
mod strided_slice;
mod table;
mod transpose;
mod transpose_conv;
pub(crate) mod weights;

use pipeit_rt::kernels::{Op, OpError, reference};
use pipeit_rt::model::ModelError;
use thiserror::Error;

use crate::graph::{Activation, Graph, GraphError, OpKind, OpRef};
use crate::network::{Folded, Network};
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
    lower_simplified(&graph, &ports, folded)
}

fn lower_simplified(
    graph: &Graph,
    ports: &passes::Ports,
    mut folded: Vec<Folded>,
) -> Result<Network, LowerError> {
    let mut sections = weights::Sections::new();
    let mut steps = Vec::new();
    for op in &graph.ops {
        let mut context = Context::new(graph, op, &mut sections, &mut steps);
        lower_op(&mut context)?;
    }
    residual::fuse(graph, &mut steps, &mut folded);
    let placement = placement::place(graph, &steps);
    emit::emit(graph, ports, &steps, &placement, sections, folded)
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
        OpKind::Sub { activation } => add::lower_sub(cx, activation),
        OpKind::Mul { activation } => mul::lower(cx, activation),
        OpKind::Maximum => maximum::lower(cx, Op::Maximum(reference::Maximum)),
        OpKind::Minimum => maximum::lower(cx, Op::Minimum(reference::Minimum)),
        OpKind::Prelu => prelu::lower(cx),
        OpKind::PadV2 => pad::lower_v2(cx),
        OpKind::TransposeConv(conv) => transpose_conv::lower(cx, conv),
        OpKind::Transpose => transpose::lower(cx),
        OpKind::Slice => slice::lower(cx),
        OpKind::StridedSlice(masks) => strided_slice::lower(cx, masks),
        OpKind::Split => slice::lower_split(cx, 1, 0),
        OpKind::SplitV => slice::lower_split(cx, 0, 2),
        OpKind::Relu => activation::lower(cx, Activation::Relu),
        OpKind::Relu6 => activation::lower(cx, Activation::Relu6),
        OpKind::ReluN1To1 => activation::lower(cx, Activation::ReluN1To1),
        OpKind::LeakyRelu { alpha } => activation::lower_leaky(cx, alpha),
        OpKind::HardSwish => hard_swish::lower(cx),
        OpKind::Logistic => sigmoid::lower_logistic(cx),
        OpKind::Tanh => sigmoid::lower_tanh(cx),
        OpKind::ResizeNearestNeighbor(resize) => resize::lower_nearest_neighbor(cx, resize),
        OpKind::ResizeBilinear(resize) => resize::lower_bilinear(cx, resize),
        OpKind::Softmax { beta } => softmax::lower(cx, beta),
        OpKind::Quantize => quantize::lower(cx),
        OpKind::Dequantize => quantize::lower_dequantize(cx),
    }
}
