//! The operators' options: one arm per supported operator.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use super::ImportError;
use super::schema::{
    ActivationFunctionType, BuiltinOperator, BuiltinOptionsRef,
    FullyConnectedOptionsWeightsFormat as WeightsFormat, OperatorRef, Padding as FilePadding,
    Pool2DOptionsRef,
};
use crate::graph::{Activation, Conv, OpKind, OpRef, Padding, Pool, Resize, StridedSlice};

/// Options of the kind `$variant`, or the error that they are missing.
macro_rules! options {
    ($operator:expr, $name:expr, $variant:ident) => {
        match $operator.builtin_options()? {
            Some(BuiltinOptionsRef::$variant(options)) => options,
            _ => return Err(variant($name, concat!("no ", stringify!($variant)).to_owned())),
        }
    };
}

/// The operator with its attributes, or `None` when it is not supported.
pub(super) fn kind(
    code: Option<BuiltinOperator>,
    operator: OperatorRef<'_>,
    name: &OpRef,
) -> Result<Option<OpKind>, ImportError> {
    let Some(code) = code else { return Ok(None) };
    Ok(Some(match code {
        BuiltinOperator::Conv2d => {
            let options = options!(operator, name, Conv2DOptions);
            OpKind::Conv2d(Conv {
                padding: padding(options.padding()?),
                stride: pair(name, "stride", options.stride_h()?, options.stride_w()?)?,
                dilation: pair(
                    name,
                    "dilation",
                    options.dilation_h_factor()?,
                    options.dilation_w_factor()?,
                )?,
                activation: activation(name, options.fused_activation_function()?)?,
            })
        }
        BuiltinOperator::DepthwiseConv2d => {
            let options = options!(operator, name, DepthwiseConv2DOptions);
            OpKind::DepthwiseConv2d(Conv {
                padding: padding(options.padding()?),
                stride: pair(name, "stride", options.stride_h()?, options.stride_w()?)?,
                dilation: pair(
                    name,
                    "dilation",
                    options.dilation_h_factor()?,
                    options.dilation_w_factor()?,
                )?,
                activation: activation(name, options.fused_activation_function()?)?,
            })
        }
        BuiltinOperator::FullyConnected => {
            let options = options!(operator, name, FullyConnectedOptions);
            if options.weights_format()? != WeightsFormat::Default {
                return Err(variant(name, "shuffled weights are not supported".to_owned()));
            }
            OpKind::FullyConnected {
                activation: activation(name, options.fused_activation_function()?)?,
            }
        }
        BuiltinOperator::AveragePool2d => {
            OpKind::AveragePool2d(pool(name, options!(operator, name, Pool2DOptions))?)
        }
        BuiltinOperator::MaxPool2d => {
            OpKind::MaxPool2d(pool(name, options!(operator, name, Pool2DOptions))?)
        }
        BuiltinOperator::Mean => OpKind::Mean,
        BuiltinOperator::Add => {
            let options = options!(operator, name, AddOptions);
            OpKind::Add { activation: activation(name, options.fused_activation_function()?)? }
        }
        BuiltinOperator::Sub => {
            let options = options!(operator, name, SubOptions);
            OpKind::Sub { activation: activation(name, options.fused_activation_function()?)? }
        }
        BuiltinOperator::Mul => {
            let options = options!(operator, name, MulOptions);
            OpKind::Mul { activation: activation(name, options.fused_activation_function()?)? }
        }
        BuiltinOperator::Maximum => OpKind::Maximum,
        BuiltinOperator::Minimum => OpKind::Minimum,
        BuiltinOperator::Prelu => OpKind::Prelu,
        BuiltinOperator::TransposeConv => {
            let options = options!(operator, name, TransposeConvOptions);
            OpKind::TransposeConv(Conv {
                padding: padding(options.padding()?),
                stride: pair(name, "stride", options.stride_h()?, options.stride_w()?)?,
                dilation: [1, 1],
                activation: activation(name, options.fused_activation_function()?)?,
            })
        }
        BuiltinOperator::Transpose => OpKind::Transpose,
        BuiltinOperator::Slice => OpKind::Slice,
        BuiltinOperator::StridedSlice => {
            let options = options!(operator, name, StridedSliceOptions);
            OpKind::StridedSlice(StridedSlice {
                begin_mask: options.begin_mask()?,
                end_mask: options.end_mask()?,
                ellipsis_mask: options.ellipsis_mask()?,
                new_axis_mask: options.new_axis_mask()?,
                shrink_axis_mask: options.shrink_axis_mask()?,
                offset: options.offset()?,
            })
        }
        BuiltinOperator::Split => OpKind::Split,
        BuiltinOperator::SplitV => OpKind::SplitV,
        BuiltinOperator::Relu => OpKind::Relu,
        BuiltinOperator::Relu6 => OpKind::Relu6,
        BuiltinOperator::ReluN1To1 => OpKind::ReluN1To1,
        BuiltinOperator::LeakyRelu => {
            OpKind::LeakyRelu { alpha: options!(operator, name, LeakyReluOptions).alpha()? }
        }
        BuiltinOperator::HardSwish => OpKind::HardSwish,
        BuiltinOperator::Logistic => OpKind::Logistic,
        BuiltinOperator::Tanh => OpKind::Tanh,
        BuiltinOperator::ResizeNearestNeighbor => {
            let options = options!(operator, name, ResizeNearestNeighborOptions);
            OpKind::ResizeNearestNeighbor(Resize {
                align_corners: options.align_corners()?,
                half_pixel_centers: options.half_pixel_centers()?,
            })
        }
        BuiltinOperator::ResizeBilinear => {
            let options = options!(operator, name, ResizeBilinearOptions);
            OpKind::ResizeBilinear(Resize {
                align_corners: options.align_corners()?,
                half_pixel_centers: options.half_pixel_centers()?,
            })
        }
        BuiltinOperator::Concatenation => {
            let options = options!(operator, name, ConcatenationOptions);
            OpKind::Concatenation {
                axis: options.axis()?,
                activation: activation(name, options.fused_activation_function()?)?,
            }
        }
        BuiltinOperator::Pad => OpKind::Pad,
        BuiltinOperator::Padv2 => OpKind::PadV2,
        BuiltinOperator::Reshape => OpKind::Reshape,
        BuiltinOperator::Squeeze => OpKind::Squeeze,
        BuiltinOperator::ExpandDims => OpKind::ExpandDims,
        BuiltinOperator::Softmax => {
            OpKind::Softmax { beta: options!(operator, name, SoftmaxOptions).beta()? }
        }
        BuiltinOperator::Quantize => OpKind::Quantize,
        BuiltinOperator::Dequantize => OpKind::Dequantize,
        _ => return Ok(None),
    }))
}

fn pool(name: &OpRef, options: Pool2DOptionsRef<'_>) -> Result<Pool, ImportError> {
    Ok(Pool {
        padding: padding(options.padding()?),
        stride: pair(name, "stride", options.stride_h()?, options.stride_w()?)?,
        taps: pair(name, "window", options.filter_height()?, options.filter_width()?)?,
        activation: activation(name, options.fused_activation_function()?)?,
    })
}

fn variant(op: &OpRef, reason: String) -> ImportError {
    ImportError::Variant { op: op.clone(), reason }
}

fn pair(op: &OpRef, what: &str, down: i32, across: i32) -> Result<[u32; 2], ImportError> {
    match (u32::try_from(down), u32::try_from(across)) {
        (Ok(down @ 1..), Ok(across @ 1..)) => Ok([down, across]),
        _ => Err(variant(op, format!("{what} {down}x{across}"))),
    }
}

const fn padding(padding: FilePadding) -> Padding {
    match padding {
        FilePadding::Same => Padding::Same,
        FilePadding::Valid => Padding::Valid,
    }
}

fn activation(op: &OpRef, function: ActivationFunctionType) -> Result<Activation, ImportError> {
    match function {
        ActivationFunctionType::None => Ok(Activation::None),
        ActivationFunctionType::Relu => Ok(Activation::Relu),
        ActivationFunctionType::ReluN1To1 => Ok(Activation::ReluN1To1),
        ActivationFunctionType::Relu6 => Ok(Activation::Relu6),
        ActivationFunctionType::Tanh | ActivationFunctionType::SignBit => {
            Err(variant(op, format!("fused activation {function:?} is not supported")))
        }
    }
}
