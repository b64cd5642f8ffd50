//! MUL of two tensors.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_multiplier, check_output, elementwise};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::{Multiplier, Output, requantize};
use crate::weights::Weights;

/// `requantize((a - zero_a) * (b - zero_b))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mul {
    /// The codes of real zero in the two inputs.
    pub zero_points: [i8; 2],
    /// From the product of the inputs' scales to the output's.
    pub multiplier: Multiplier,
    /// Zero point and clamp.
    pub output: Output,
}

impl Operator for Mul {
    const NAME: &'static str = "MUL";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        check_multiplier(self.multiplier)?;
        check_output(self.output)?;
        elementwise::check(signature)
    }
}

/// The portable kernel of [`Mul`].
pub fn mul(params: &Mul, _weights: &Weights<'_>, io: &Io<'_>) {
    let [zero_a, zero_b] = params.zero_points.map(i32::from);
    elementwise::each(io, |a, b| {
        let product = i32::from(a).wrapping_sub(zero_a) * i32::from(b).wrapping_sub(zero_b);
        params.output.code(requantize(product, params.multiplier))
    });
}
