//! HARD_SWISH: `x * relu6(x + 3) / 6`, in the reference's 16-bit fixed point.

use pipeit_rt::quant::{Multiplier, shift_right_rounded};

use super::LowerError;
use super::context::Context;
use super::table;

/// Bits the input is shifted left by, to make use of 16.
const HIRES_BITS: u32 = 7;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let hires_scale = (1.0 / 128.0) * input.scale;
    let to_output = cx.multiplier((hires_scale / output.scale).into())?;
    // From -3 to 3 becomes all of 16 bits.
    let to_reluish = cx.multiplier((hires_scale / (3.0 / 32768.0)).into())?;
    if to_output.shift > 0 {
        return Err(cx.refused("an output scale less than the input's over 128"));
    }
    table::lower(cx, &input, &output, |steps| {
        let hires = steps.wrapping_shl(HIRES_BITS);
        let preshift = multiply_high_rounded(hires, narrow(to_output));
        // The left shift is split so that it saturates only where the result would, too.
        let left = u32::try_from(to_reluish.shift).unwrap_or(0);
        let right = to_reluish.shift.min(0).unsigned_abs();
        let reluish = shift_left(hires, left.saturating_sub(1));
        let reluish = multiply_high_rounded(reluish, narrow(to_reluish));
        let reluish = shift_left(reluish, left.min(1));
        let reluish = shift_right_rounded(reluish, right);
        // From -1 to 1 becomes from 0 to 1.
        let gate = reluish.saturating_add(1 << 15) >> 1;
        let product = multiply_high(gate, preshift);
        let code = shift_right_rounded(product, to_output.shift.unsigned_abs())
            .saturating_add(output.zero_point.into());
        i8::try_from(code.clamp(-128, 127)).unwrap_or(output.zero_point)
    })
}

/// The mantissa in Q0.15.
fn narrow(multiplier: Multiplier) -> i32 {
    multiplier.mantissa.saturating_add(1 << 15) >> 16
}

/// The product of two Q0.15 numbers, rounded half up. Never -1 times -1: no mantissa is.
fn multiply_high_rounded(a: i32, b: i32) -> i32 {
    a.saturating_mul(b).saturating_add(1 << 14) >> 15
}

/// The product of two Q0.15 numbers, rounded towards zero.
fn multiply_high(a: i32, b: i32) -> i32 {
    a.saturating_mul(b).wrapping_div(1 << 15)
}

/// `value * 2^bits`, saturating in 16 bits.
fn shift_left(value: i32, bits: u32) -> i32 {
    let shifted = i64::from(value).checked_shl(bits.min(31)).unwrap_or(0);
    shifted.clamp(i16::MIN.into(), i16::MAX.into()) as i32
}
