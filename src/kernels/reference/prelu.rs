//! PRELU: negative inputs take a factor from a second tensor.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_multiplier, check_output, elementwise};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::{Multiplier, Output, requantize};
use crate::weights::Weights;

/// With `d = x - zero_x`: `requantize(d)`, or `requantize(d * (factor - zero_factor))` by
/// another multiplier where `d` is negative. The second input holds the factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prelu {
    /// The codes of real zero in input and factors.
    pub zero_points: [i8; 2],
    /// For inputs from zero up: from the input's scale to the output's.
    pub positive: Multiplier,
    /// For negative ones: from the scale of the products to the output's.
    pub negative: Multiplier,
    /// Zero point and clamp.
    pub output: Output,
}

impl Operator for Prelu {
    const NAME: &'static str = "PRELU";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        check_multiplier(self.positive)?;
        check_multiplier(self.negative)?;
        check_output(self.output)?;
        elementwise::check(signature)
    }
}

/// The portable kernel of [`Prelu`].
pub fn prelu(params: &Prelu, _weights: &Weights<'_>, io: &Io<'_>) {
    let [zero_x, zero_factor] = params.zero_points.map(i32::from);
    elementwise::each(io, |x, factor| {
        let steps = i32::from(x).wrapping_sub(zero_x);
        params.output.code(if steps >= 0 {
            requantize(steps, params.positive)
        } else {
            let factor = i32::from(factor).wrapping_sub(zero_factor);
            requantize(steps.wrapping_mul(factor), params.negative)
        })
    });
}
