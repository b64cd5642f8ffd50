//! SOFTMAX along the channels: single-precision floats, as in the reference.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, check_output, check_span, one_input};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::Output;
use crate::tensor::Split;
use crate::weights::{Span, Weights};

/// `out = floor(e * (1 / (sum(e) * output_scale)) + 0.5)`, one IEEE operation at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Softmax {
    /// `exp(-input_scale * beta * d)` for `d` from 0 to 255 codes below the maximum.
    pub exponentials: Span<f32>,
    /// Real value of one output step.
    pub output_scale: f32,
    /// Zero point and clamp.
    pub output: Output,
}

impl Operator for Softmax {
    const NAME: &'static str = "SOFTMAX";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        check_extents(signature.output, one_input(signature)?)?;
        check_output(self.output)?;
        if !(self.output_scale.is_finite() && self.output_scale > 0.0) {
            return Err(OpError::Parameter { name: "output_scale" });
        }
        check_span(self.exponentials, &[256], weights, "exponentials")?;
        let sane = |e: &f32| (0.0..=1.0).contains(e);
        match weights.get(self.exponentials) {
            [1.0, rest @ ..] if rest.iter().all(sane) => Ok(()),
            _ => Err(OpError::Parameter { name: "exponentials" }),
        }
    }

    fn split(&self) -> Split {
        Split::Rows
    }
}

/// The portable kernel of [`Softmax`].
pub fn softmax(params: &Softmax, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let table = weights.get(params.exponentials);
    for y in io.output.rows() {
        for x in io.output.columns() {
            let run = input.pixel(y, x);
            let max = run.iter().max().unwrap_or(0);
            let exponential =
                |code: i8| table.get(usize::from(max.abs_diff(code))).copied().unwrap_or(0.0);
            let sum = run.iter().fold(0.0f32, |sum, code| sum + exponential(code));
            let factor = 1.0 / (sum * params.output_scale);
            for (cell, code) in io.output.pixel(y, x).iter().zip(run.iter()) {
                // Never negative, so that truncation is the floor.
                let steps = (exponential(code) * factor + 0.5) as i32;
                cell.set(params.output.code(steps));
            }
        }
    }
}
