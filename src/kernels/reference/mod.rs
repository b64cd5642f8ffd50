//! The operators: contracts, and portable kernels that define every result to the bit.
//!
//! The definition is the output of TFLite's reference kernels. Sums are int32; a scale
//! ratio is applied with double rounding except in FULLY_CONNECTED (see [`quant`](crate::quant)).
//! Legacy uint8 networks arrive here moved to int8: codes and zero points shifted by 128.

mod add;
mod conv_2d;
mod copy;
mod depthwise_conv_2d;
mod elementwise;
mod fully_connected;
mod lookup;
mod maximum;
mod mean;
mod mul;
mod pad;
mod pool;
mod prelu;
mod rearrange;
mod resize;
mod softmax;
mod transpose_conv;

use serde::{Deserialize, Serialize};

pub use add::{Add, Sub, Term, add, sub};
pub use conv_2d::{Conv2d, conv_2d};
pub use copy::{Constant, Copy, constant, copy};
pub use depthwise_conv_2d::{DepthwiseConv2d, depthwise_conv_2d};
pub use fully_connected::{FullyConnected, fully_connected};
pub use lookup::{Lookup, lookup};
pub use maximum::{Maximum, Minimum, maximum, minimum};
pub use mean::{Mean, mean};
pub use mul::{Mul, mul};
pub use pad::{Pad, pad};
pub use pool::{AveragePool2d, MaxPool2d, Ties, average_pool_2d, max_pool_2d};
pub use prelu::{Prelu, prelu};
pub use rearrange::{Rearrange, Walk, rearrange};
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(in crate::kernels) use resize::WAY_BITS;
pub use resize::{
    Interpolation, ResizeBilinear, ResizeNearestNeighbor, resize_bilinear, resize_nearest_neighbor,
};
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(in crate::kernels) use softmax::{Exponentials, SUM_INTEGER_BITS, SoftmaxScale};
pub use softmax::{Softmax, softmax};
pub use transpose_conv::{TransposeConv, transpose_conv};

use super::{OpError, Signature};
use crate::quant::{Multiplier, Output};
use crate::tensor::{Hwc, Run};
use crate::weights::{Span, Weights};

/// From int32 sums to int8 codes, per output channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requantize {
    /// Added to the sums: one per output channel, or empty.
    pub bias: Span<i32>,
    /// Scale ratios: one per output channel, or one for all.
    pub multipliers: Span<Multiplier>,
    /// Zero point and clamp.
    pub output: Output,
}

impl Requantize {
    fn check(&self, channels: u32, weights: &Weights<'_>) -> Result<(), OpError> {
        check_span(self.bias, &[0, channels], weights, "bias")?;
        check_span(self.multipliers, &[1, channels], weights, "multipliers")?;
        for &m in weights.get(self.multipliers) {
            check_multiplier(m)?;
        }
        check_output(self.output)
    }

    /// The bias of output channel `channel`.
    fn bias(bias: &[i32], channel: usize) -> i32 {
        bias.get(channel).copied().unwrap_or(0)
    }

    /// The multiplier of output channel `channel`.
    fn multiplier(multipliers: &[Multiplier], channel: usize) -> Multiplier {
        let one_for_all = multipliers.first();
        let found = multipliers.get(channel).or(one_for_all);
        found.copied().unwrap_or(Multiplier { mantissa: 0, shift: 0 })
    }
}

pub(super) fn check_span<T: crate::weights::Pod>(
    span: Span<T>,
    lens: &[u32],
    weights: &Weights<'_>,
    name: &'static str,
) -> Result<(), OpError> {
    if lens.contains(&span.len) && weights.contains(span) {
        Ok(())
    } else {
        Err(OpError::Span { name })
    }
}

fn check_multiplier(m: Multiplier) -> Result<(), OpError> {
    if m.is_valid() { Ok(()) } else { Err(OpError::Parameter { name: "multiplier" }) }
}

pub(super) fn check_output(output: Output) -> Result<(), OpError> {
    if output.min <= output.max { Ok(()) } else { Err(OpError::Parameter { name: "clamp" }) }
}

/// The only input's extents.
pub(super) fn one_input(signature: Signature<'_>) -> Result<Hwc, OpError> {
    match *signature.inputs {
        [input] => Ok(input),
        ref other => Err(OpError::Inputs { found: other.len() as u8 }),
    }
}

/// The extents of what a convolution convolves; another input is there for `residual` only.
pub(super) fn convolved(signature: Signature<'_>, residual: Option<&Add>) -> Result<Hwc, OpError> {
    match (signature.inputs, residual) {
        (&[input], None) => Ok(input),
        (&[input, other], Some(add)) => {
            add.check_parameters()?;
            check_extents(other, signature.output)?;
            Ok(input)
        }
        (inputs, _) => Err(OpError::Inputs { found: inputs.len() as u8 }),
    }
}

/// Refuses an operator whose output has other extents than `expected`.
fn check_extents(found: Hwc, expected: Hwc) -> Result<(), OpError> {
    if found == expected { Ok(()) } else { Err(OpError::Shape) }
}

/// The product of `factors` as a span length, or the error that names `what`.
pub(super) fn product(factors: &[u32], what: &'static str) -> Result<u32, OpError> {
    factors
        .iter()
        .try_fold(1u32, |product, &factor| product.checked_mul(factor))
        .ok_or(OpError::Span { name: what })
}

/// `sum((x - zero.0) * (w - zero.1))`; 16-bit differences let the compiler multiply in pairs.
fn dot(run: Run<'_>, weights: &[i8], zero: (i16, i16)) -> i32 {
    run.iter().zip(weights).fold(0i32, |sum, (x, &w)| {
        let x = i32::from(i16::from(x).wrapping_sub(zero.0));
        let w = i32::from(i16::from(w).wrapping_sub(zero.1));
        sum.wrapping_add(x.wrapping_mul(w))
    })
}
