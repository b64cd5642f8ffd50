//! The network as its file states it: owned, typed, independent of the file format.
//!
//! [`import`](crate::import) makes a [`Graph`] from a file, [`lower`](crate::lower) makes
//! what the runtime executes from a `Graph`. It can also be made by hand: nothing in here
//! refers to a file, and `lower` checks all that it relies on.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use std::fmt;
use std::sync::Arc;

use pipeit_rt::model::{MAX_LAYERS, MAX_PORTS};
use thiserror::Error;

/// Most operators of a network.
pub const MAX_OPS: usize = MAX_LAYERS;
/// Most tensors of a network.
pub const MAX_TENSORS: usize = 1 << 16;
/// Most inputs and outputs of all operators together.
pub const MAX_OPERANDS: usize = 1 << 16;

/// Place of a tensor in [`Graph::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorIndex(pub usize);

/// A network: tensors, and operators in execution order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Activations and constants.
    pub tensors: Vec<Tensor>,
    /// In an order in which every tensor is written before it is read.
    pub ops: Vec<Op>,
    /// What a frame brings.
    pub inputs: Vec<TensorIndex>,
    /// What a frame yields.
    pub outputs: Vec<TensorIndex>,
}

impl Graph {
    /// The tensor `index`.
    #[must_use]
    pub fn tensor(&self, index: TensorIndex) -> Option<&Tensor> {
        self.tensors.get(index.0)
    }
}

/// An activation or a constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name in the file; need not be unique.
    pub name: String,
    /// Extents, outermost first: NHWC for images.
    pub shape: Vec<u32>,
    /// Element type.
    pub element: Element,
    /// What the codes mean; `None` for floats, shapes, axes and the like.
    pub quantization: Option<Quantization>,
    /// The elements of a constant, little-endian; `None` for an activation.
    pub data: Option<Arc<[u8]>>,
}

impl Tensor {
    /// Number of elements, or `None` when it exceeds a `u32`.
    #[must_use]
    pub fn elements(&self) -> Option<u32> {
        self.shape.iter().try_fold(1u32, |n, &d| n.checked_mul(d))
    }

    /// The elements of an int32 or int64 constant: axes, paddings, biases.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        let data = self.data.as_deref()?;
        match self.element {
            Element::I32 => Some(chunks(data).map(|b| i32::from_le_bytes(b).into()).collect()),
            Element::I64 => Some(chunks(data).map(i64::from_le_bytes).collect()),
            _ => None,
        }
    }
}

/// The elements of `N` bytes that `data` consists of.
pub(crate) fn chunks<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok())
}

/// Element types a file may have. The runtime computes with the 8-bit ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Single-precision float.
    F32,
    /// Signed 8-bit codes.
    I8,
    /// Unsigned 8-bit codes of a legacy network.
    U8,
    /// Biases, shapes, axes.
    I32,
    /// Shapes, axes.
    I64,
    /// Any other, by name.
    Other(&'static str),
}

impl Element {
    /// Bytes of one element; `None` when the type is not one to be read.
    #[must_use]
    pub const fn bytes(self) -> Option<usize> {
        match self {
            Self::I8 | Self::U8 => Some(1),
            Self::F32 | Self::I32 => Some(4),
            Self::I64 => Some(8),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Other(name) => name,
        })
    }
}

/// `real = scale * (code - zero_point)`, for the whole tensor or per slice along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// Real values of one step: one, or one per slice.
    pub scales: Vec<f32>,
    /// Codes of real zero: one, or one per slice. Those of uint8 tensors are unsigned.
    pub zero_points: Vec<i64>,
    /// The axis the slices lie along when there are several.
    pub axis: usize,
}

impl Quantization {
    /// One scale and one zero point for the whole tensor.
    #[must_use]
    pub fn per_tensor(scale: f32, zero_point: i64) -> Self {
        Self { scales: vec![scale], zero_points: vec![zero_point], axis: 0 }
    }
}

/// One operator of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Which, and its attributes.
    pub kind: OpKind,
    /// Inputs in TFLite's order; an optional one may be missing.
    pub inputs: Vec<Option<TensorIndex>>,
    /// Outputs.
    pub outputs: Vec<TensorIndex>,
    /// Position in the file, for messages.
    pub index: usize,
}

/// The operators, with what their options state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpKind {
    /// Inputs: image, filters `[out, taps, taps, in / groups]`, bias.
    Conv2d(Conv),
    /// Inputs: image, filters `[1, taps, taps, out]`, bias.
    DepthwiseConv2d(Conv),
    /// Inputs: shape of the output, filters `[out, taps, taps, in]`, image, bias. Never dilated.
    TransposeConv(Conv),
    /// Inputs: rows of any shape, weights `[out, in]`, bias.
    FullyConnected {
        /// Applied to the output.
        activation: Activation,
    },
    /// Input: image.
    AveragePool2d(Pool),
    /// Input: image.
    MaxPool2d(Pool),
    /// Inputs: tensor, axes.
    Mean,
    /// Inputs: two tensors; axes of extent 1 are repeated.
    Add {
        /// Applied to the output.
        activation: Activation,
    },
    /// As [`Add`](Self::Add).
    Sub {
        /// Applied to the output.
        activation: Activation,
    },
    /// As [`Add`](Self::Add).
    Mul {
        /// Applied to the output.
        activation: Activation,
    },
    /// As [`Add`](Self::Add).
    Maximum,
    /// As [`Add`](Self::Add).
    Minimum,
    /// Inputs: tensor, factors of its negative elements; axes of extent 1 are repeated.
    Prelu,
    /// Inputs: any number of tensors.
    Concatenation {
        /// The axis they are joined along; negative from the innermost.
        axis: i32,
        /// Applied to the output.
        activation: Activation,
    },
    /// Inputs: tensor, paddings `[rank, 2]`.
    Pad,
    /// As [`Pad`](Self::Pad), then the code to fill with.
    PadV2,
    /// Inputs: tensor; the output tensor states the shape.
    Reshape,
    /// As [`Reshape`](Self::Reshape).
    Squeeze,
    /// As [`Reshape`](Self::Reshape).
    ExpandDims,
    /// Inputs: tensor, order of its axes.
    Transpose,
    /// Inputs: tensor, first indices, extents; an extent of -1 reaches to the end.
    Slice,
    /// Inputs: tensor, first indices, ends, steps.
    StridedSlice(StridedSlice),
    /// Inputs: axis, tensor; the outputs' shapes state where it is cut.
    Split,
    /// Inputs: tensor, extents of the outputs, axis.
    SplitV,
    /// Inputs: tensor; its codes are clamped, and scaled to the output's.
    Relu,
    /// As [`Relu`](Self::Relu), clamped between 0 and 6.
    Relu6,
    /// As [`Relu`](Self::Relu), clamped between -1 and 1.
    ReluN1To1,
    /// Input: tensor.
    LeakyRelu {
        /// Factor of negative elements.
        alpha: f32,
    },
    /// Input: tensor.
    HardSwish,
    /// Input: tensor.
    Logistic,
    /// Input: tensor.
    Tanh,
    /// Inputs: image, rows and columns of the output.
    ResizeNearestNeighbor(Resize),
    /// As [`ResizeNearestNeighbor`](Self::ResizeNearestNeighbor).
    ResizeBilinear(Resize),
    /// Input: tensor; along its innermost axis.
    Softmax {
        /// Factor of the exponents.
        beta: f32,
    },
    /// Input: floats or codes.
    Quantize,
    /// Input: codes; the output is float.
    Dequantize,
}

impl OpKind {
    /// TFLite's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "CONV_2D",
            Self::DepthwiseConv2d(_) => "DEPTHWISE_CONV_2D",
            Self::FullyConnected { .. } => "FULLY_CONNECTED",
            Self::AveragePool2d(_) => "AVERAGE_POOL_2D",
            Self::MaxPool2d(_) => "MAX_POOL_2D",
            Self::Mean => "MEAN",
            Self::Add { .. } => "ADD",
            Self::Concatenation { .. } => "CONCATENATION",
            Self::Pad => "PAD",
            Self::Reshape => "RESHAPE",
            Self::Squeeze => "SQUEEZE",
            Self::ExpandDims => "EXPAND_DIMS",
            Self::Sub { .. } => "SUB",
            Self::Mul { .. } => "MUL",
            Self::Maximum => "MAXIMUM",
            Self::Minimum => "MINIMUM",
            Self::Prelu => "PRELU",
            Self::PadV2 => "PADV2",
            Self::TransposeConv(_) => "TRANSPOSE_CONV",
            Self::Transpose => "TRANSPOSE",
            Self::Slice => "SLICE",
            Self::StridedSlice(_) => "STRIDED_SLICE",
            Self::Split => "SPLIT",
            Self::SplitV => "SPLIT_V",
            Self::Relu => "RELU",
            Self::Relu6 => "RELU6",
            Self::ReluN1To1 => "RELU_N1_TO_1",
            Self::LeakyRelu { .. } => "LEAKY_RELU",
            Self::HardSwish => "HARD_SWISH",
            Self::Logistic => "LOGISTIC",
            Self::Tanh => "TANH",
            Self::ResizeNearestNeighbor(_) => "RESIZE_NEAREST_NEIGHBOR",
            Self::ResizeBilinear(_) => "RESIZE_BILINEAR",
            Self::Softmax { .. } => "SOFTMAX",
            Self::Quantize => "QUANTIZE",
            Self::Dequantize => "DEQUANTIZE",
        }
    }
}

/// Attributes of a convolution; pairs are down, across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Padding.
    pub padding: Padding,
    /// Steps.
    pub stride: [u32; 2],
    /// Input elements between neighbouring taps.
    pub dilation: [u32; 2],
    /// Applied to the output.
    pub activation: Activation,
}

/// Attributes of a pool; pairs are down, across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Padding.
    pub padding: Padding,
    /// Steps.
    pub stride: [u32; 2],
    /// Extents of the window.
    pub taps: [u32; 2],
    /// Applied to the output.
    pub activation: Activation,
}

/// Attributes of a STRIDED_SLICE: masks with a bit per entry of its lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StridedSlice {
    /// From the end where the walk starts, whatever is stated.
    pub begin_mask: i32,
    /// To the end where the walk stops, whatever is stated.
    pub end_mask: i32,
    /// Stands for all axes that no other entry is for.
    pub ellipsis_mask: i32,
    /// Stands for no axis of the input, and one of extent 1 in the output.
    pub new_axis_mask: i32,
    /// One index only, and no axis in the output.
    pub shrink_axis_mask: i32,
    /// Ends count from the first indices.
    pub offset: bool,
}

/// Attributes of a resize: where the pixels of both images lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// The corner pixels of both images share their centers.
    pub align_corners: bool,
    /// Pixels lie half a pixel from the border.
    pub half_pixel_centers: bool,
}

/// What lies around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As much as makes the output as large as the input over the stride.
    Same,
    /// Nothing.
    Valid,
    /// Rows above and columns left, rows below and columns right.
    Explicit {
        /// Above and left.
        before: [u32; 2],
        /// Below and right.
        after: [u32; 2],
    },
}

/// Activation fused into an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// None.
    #[default]
    None,
    /// At least 0.
    Relu,
    /// Between -1 and 1.
    ReluN1To1,
    /// Between 0 and 6.
    Relu6,
}

/// An operator as messages and reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpRef {
    /// Position in the file.
    pub index: usize,
    /// TFLite's name.
    pub name: String,
    /// Name of its first output tensor; shared by all the layers that an operator becomes.
    pub output: Arc<str>,
}

impl fmt::Display for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operator {} {} (output `{}`)", self.index, self.name, self.output)
    }
}

/// Why a graph makes no sense, whatever its operators do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// More of something than a network may have.
    #[error("{found} {what}, want at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A tensor index is out of range.
    #[error("{user} names tensor {index}, but there are {tensors}")]
    NoTensor {
        /// What names it.
        user: String,
        /// The index.
        index: i64,
        /// Tensors in the graph.
        tensors: usize,
    },
    /// An operator reads what is neither constant, nor an input, nor written before.
    #[error("{op} reads tensor `{tensor}`, which nothing before it writes")]
    NotWritten {
        /// The operator.
        op: OpRef,
        /// Name of the tensor.
        tensor: String,
    },
    /// An operator writes a constant, a network input, or what another one has written.
    #[error("{op} writes tensor `{tensor}`, which has its content already")]
    WrittenTwice {
        /// The operator.
        op: OpRef,
        /// Name of the tensor.
        tensor: String,
    },
    /// An output of the network is written by no operator.
    #[error("nothing writes the network's output `{tensor}`")]
    Output {
        /// Name of the tensor.
        tensor: String,
    },
    /// A constant has another size than its shape and type ask for.
    #[error("constant `{tensor}` has {found} bytes of data, its shape asks for {wanted}")]
    Data {
        /// Name of the tensor.
        tensor: String,
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        wanted: u64,
    },
}

impl Graph {
    /// How messages name `op`.
    #[must_use]
    pub fn op_ref(&self, op: &Op) -> OpRef {
        let output = op.outputs.first().and_then(|&output| self.tensor(output));
        OpRef {
            index: op.index,
            name: op.kind.name().to_owned(),
            output: output.map_or("", |tensor| &tensor.name).into(),
        }
    }

    /// Checks that nothing is too many, indices, sizes of constants, and that everything is
    /// written once and then read.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), GraphError> {
        let operands = |op: &Op| op.inputs.len().saturating_add(op.outputs.len());
        let operands = self.ops.iter().map(operands).fold(0, usize::saturating_add);
        at_most("operators", self.ops.len(), MAX_OPS)?;
        at_most("tensors", self.tensors.len(), MAX_TENSORS)?;
        at_most("inputs and outputs of operators", operands, MAX_OPERANDS)?;
        at_most("inputs of the network", self.inputs.len(), MAX_PORTS)?;
        at_most("outputs of the network", self.outputs.len(), MAX_PORTS)?;
        for tensor in &self.tensors {
            check_data(tensor)?;
        }
        let mut written: Vec<bool> = self.tensors.iter().map(|t| t.data.is_some()).collect();
        for &input in &self.inputs {
            self.find(input, || "the network's input".to_owned())?;
            written.get_mut(input.0).into_iter().for_each(|written| *written = true);
        }
        for op in &self.ops {
            let user = || self.op_ref(op).to_string();
            for &input in op.inputs.iter().flatten() {
                let tensor = self.find(input, user)?;
                if written.get(input.0) != Some(&true) {
                    let tensor = tensor.name.clone();
                    return Err(GraphError::NotWritten { op: self.op_ref(op), tensor });
                }
            }
            for &output in &op.outputs {
                let tensor = self.find(output, user)?;
                match written.get_mut(output.0) {
                    Some(written) if !*written => *written = true,
                    _ => {
                        let tensor = tensor.name.clone();
                        return Err(GraphError::WrittenTwice { op: self.op_ref(op), tensor });
                    }
                }
            }
        }
        for &output in &self.outputs {
            let tensor = self.find(output, || "the network's output".to_owned())?;
            if written.get(output.0) != Some(&true) {
                return Err(GraphError::Output { tensor: tensor.name.clone() });
            }
        }
        Ok(())
    }

    fn find(
        &self,
        index: TensorIndex,
        user: impl FnOnce() -> String,
    ) -> Result<&Tensor, GraphError> {
        self.tensor(index).ok_or_else(|| GraphError::NoTensor {
            user: user(),
            index: i64::try_from(index.0).unwrap_or(i64::MAX),
            tensors: self.tensors.len(),
        })
    }
}

/// Refuses more than `most` of `what`.
pub(crate) fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), GraphError> {
    if found > most { Err(GraphError::TooMany { what, found, most }) } else { Ok(()) }
}

fn check_data(tensor: &Tensor) -> Result<(), GraphError> {
    let (Some(data), Some(bytes)) = (&tensor.data, tensor.element.bytes()) else { return Ok(()) };
    let wanted = tensor
        .shape
        .iter()
        .try_fold(bytes as u64, |n, &d| n.checked_mul(d.into()))
        .unwrap_or(u64::MAX);
    if u64::try_from(data.len()) == Ok(wanted) {
        Ok(())
    } else {
        Err(GraphError::Data { tensor: tensor.name.clone(), found: data.len(), wanted })
    }
}
