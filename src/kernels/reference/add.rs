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
        self.check_parameters()?;
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

impl Add {
    /// Checks what does not depend on extents.
    pub(super) fn check_parameters(&self) -> Result<(), OpError> {
        let [first, second] = self.terms;
        for m in [first.multiplier, second.multiplier, self.multiplier] {
            check_multiplier(m)?;
        }
        check_output(self.output)
    }

    /// The output of two elements.
    pub(in crate::kernels) fn code(&self, a: i8, b: i8) -> i8 {
        self.combined(a, b, i32::wrapping_add)
    }

    fn combined(&self, a: i8, b: i8, combine: impl Fn(i32, i32) -> i32) -> i8 {
        let [first, second] = self.terms;
        let sum = combine(first.scaled(a), second.scaled(b));
        self.output.code(requantize(sum, self.multiplier))
    }
}

/// The portable kernel of [`Add`].
pub fn add(params: &Add, _weights: &Weights<'_>, io: &Io<'_>) {
    elementwise::each(io, |a, b| params.code(a, b));
}

/// The portable kernel of [`Sub`].
pub fn sub(params: &Sub, _weights: &Weights<'_>, io: &Io<'_>) {
    elementwise::each(io, |a, b| params.0.combined(a, b, i32::wrapping_sub));
}
