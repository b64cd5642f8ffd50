//! ADD and SUB of two tensors.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_multiplier, check_output, elementwise};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::{Multiplier, Output, requantize};
use crate::weights::Weights;

/// One input of an [`Add`] or [`Sub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The code of real zero.
    pub zero_point: i8,
    /// Brings the input, shifted left by 20 bits, to the common scale.
    pub multiplier: Multiplier,
}

/// `requantize(requantize((a - zero_a) << 20) + requantize((b - zero_b) << 20))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// The two inputs.
    pub terms: [Term; 2],
    /// From the common scale to the output's.
    pub multiplier: Multiplier,
    /// Zero point and clamp.
    pub output: Output,
}

/// As [`Add`], with the second input taken away from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sub(pub Add);

impl Operator for Add {
    const NAME: &'static str = "ADD";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        let [first, second] = self.terms;
        for m in [first.multiplier, second.multiplier, self.multiplier] {
            check_multiplier(m)?;
        }
        check_output(self.output)?;
        elementwise::check(signature)
    }
}

impl Operator for Sub {
    const NAME: &'static str = "SUB";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        self.0.check(signature, weights)
    }
}

impl Term {
    fn scaled(self, code: i8) -> i32 {
        let steps = i32::from(code).wrapping_sub(self.zero_point.into());
        requantize(steps << 20, self.multiplier)
    }
}

fn combine(params: &Add, io: &Io<'_>, combined: impl Fn(i32, i32) -> i32) {
    let [first, second] = params.terms;
    elementwise::each(io, |a, b| {
        let sum = combined(first.scaled(a), second.scaled(b));
        params.output.code(requantize(sum, params.multiplier))
    });
}

/// The portable kernel of [`Add`].
pub fn add(params: &Add, _weights: &Weights<'_>, io: &Io<'_>) {
    combine(params, io, i32::wrapping_add);
}

/// The portable kernel of [`Sub`].
pub fn sub(params: &Sub, _weights: &Weights<'_>, io: &Io<'_>) {
    combine(&params.0, io, i32::wrapping_sub);
}
