//! SOFTMAX along the channels, in gemmlowp's fixed point as in the reference.
//!
//! Numbers named `q5_26` and the like have that many integer and fraction bits.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, check_span, one_input};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::{multiply_high_doubled, shift_left_saturated, shift_right_rounded};
use crate::tensor::Split;
use crate::weights::{Span, Weights};

/// `out = 256 * exp(x) / sum(exp(x)) - 128`: the output has scale 1/256, zero point -128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// `exp(-input_scale * beta * d)` in Q0.31 for `d` from 0 to 255 codes below the maximum;
    /// 0 where the reference takes no part of it.
    pub exponentials: Span<i32>,
}

impl Operator for Softmax {
    const NAME: &'static str = "SOFTMAX";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        check_extents(signature.output, one_input(signature)?)?;
        check_span(self.exponentials, &[256], weights, "exponentials")?;
        match weights.get(self.exponentials) {
            [i32::MAX, rest @ ..] if rest.iter().all(|&e| e >= 0) => Ok(()),
            _ => Err(OpError::Parameter { name: "exponentials" }),
        }
    }

    fn split(&self) -> Split {
        Split::Rows
    }
}

/// Integer bits of the sum, so that 4095 ones do not overflow it.
pub(in crate::kernels) const SUM_INTEGER_BITS: u32 = 12;

/// The portable kernel of [`Softmax`].
// Inlined where it is compiled for the instructions of a path.
#[inline(always)]
pub fn softmax(params: &Softmax, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(table) = Exponentials::of(params, weights) else { return };
    for y in io.output.rows() {
        for x in io.output.columns() {
            let run = input.pixel(y, x);
            let max = run.iter().fold(i8::MIN, i8::max);
            let sum_q12_19 =
                run.iter().fold(0i32, |sum, code| sum.wrapping_add(table.part(max, code)));
            let scale = SoftmaxScale::of(sum_q12_19);
            for (cell, code) in io.output.pixel(y, x).iter().zip(run.iter()) {
                cell.set(scale.code(table.get(max, code)));
            }
        }
    }
}

/// [`Softmax::exponentials`].
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Exponentials<'a>(pub(in crate::kernels) &'a [i32; 256]);

impl<'a> Exponentials<'a> {
    pub(in crate::kernels) fn of(params: &Softmax, weights: &Weights<'a>) -> Option<Self> {
        weights.get(params.exponentials).first_chunk().map(Self)
    }

    /// The exponential of `code` where `max` is the largest, in Q0.31.
    #[inline]
    pub(in crate::kernels) fn get(self, max: i8, code: i8) -> i32 {
        let Self(table) = self;
        table[usize::from(max.abs_diff(code))]
    }

    /// What it adds to the sum, in Q12.19.
    #[inline]
    pub(in crate::kernels) fn part(self, max: i8, code: i8) -> i32 {
        shift_right_rounded(self.get(max, code), SUM_INTEGER_BITS)
    }
}

/// What makes codes of exponentials.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct SoftmaxScale {
    /// One by the sum.
    pub(in crate::kernels) reciprocal: i32,
    /// Bits that products are shifted right, at most 31.
    pub(in crate::kernels) shift: u32,
}

impl SoftmaxScale {
    pub(in crate::kernels) fn of(sum_q12_19: i32) -> Self {
        let (reciprocal, bits_over_unit) = reciprocal(sum_q12_19);
        // 31 fraction bits, of which the 8-bit output keeps 8.
        let shift = bits_over_unit.wrapping_add(31 - 8).clamp(0, 31).unsigned_abs();
        Self { reciprocal, shift }
    }

    #[inline]
    pub(in crate::kernels) fn code(self, exponential: i32) -> i8 {
        let product = multiply_high_doubled(self.reciprocal, exponential);
        let steps = shift_right_rounded(product, self.shift).wrapping_sub(128);
        steps.clamp(i8::MIN.into(), i8::MAX.into()) as i8
    }
}

/// `1 / sum` as a Q0.31 number and the power of two it is too large by.
fn reciprocal(sum_q12_19: i32) -> (i32, i32) {
    let zeros = sum_q12_19.leading_zeros();
    let normalised = (sum_q12_19 as u32).wrapping_shl(zeros);
    let fraction_q0_31 = normalised.wrapping_sub(1 << 31) as i32;
    let bits_over_unit = (SUM_INTEGER_BITS as i32).wrapping_sub(zeros as i32);
    (one_over_one_plus(fraction_q0_31), bits_over_unit)
}

/// `1 / (1 + a)` for `a` in 0 to 1: Newton's method on `1 / d` with `d = (1 + a) / 2`.
fn one_over_one_plus(a_q0_31: i32) -> i32 {
    const C48_OVER_17_Q2_29: i32 = 1_515_870_810;
    const MINUS_32_OVER_17_Q2_29: i32 = -1_010_580_540;
    const ONE_Q2_29: i32 = 1 << 29;
    // Never negative, so that half is rounded up.
    let half_denominator = (i64::from(a_q0_31).wrapping_add(i64::from(i32::MAX) + 1) >> 1) as i32;
    let first = multiply_high_doubled(half_denominator, MINUS_32_OVER_17_Q2_29);
    let mut x_q2_29 = C48_OVER_17_Q2_29.wrapping_add(first);
    for _ in 0..3 {
        let product = multiply_high_doubled(half_denominator, x_q2_29);
        let error = ONE_Q2_29.wrapping_sub(product);
        let step_q4_27 = multiply_high_doubled(x_q2_29, error);
        x_q2_29 = x_q2_29.wrapping_add(shift_left_saturated(step_q4_27, 2));
    }
    // Half of Q2.29 is Q1.30 with the same bits.
    shift_left_saturated(x_q2_29, 1)
}
