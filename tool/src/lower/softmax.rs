//! SOFTMAX.

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::quant::{
    Multiplier, multiply_high_doubled, shift_left_saturated, shift_right_rounded,
};

use super::LowerError;
use super::arithmetic::multiplier;
use super::context::Context;

pub(super) fn lower(cx: &mut Context<'_>, beta: f32) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    cx.check_extents(&output, input.hwc)?;
    let table = exponentials(f64::from(beta) * f64::from(input.scale));
    let table = table.ok_or_else(|| cx.refused(format!("beta {beta}")))?;
    let op = Op::Softmax(reference::Softmax { exponentials: cx.sections.tables.integers(&table)? });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}

/// Fraction bits of the exponents, which have five integer bits.
const FRACTION_BITS: u32 = 26;

/// The reference's fixed-point `exp(-scale * d)` in Q0.31 for `d` from 0 to 255; 0 beyond the
/// range of its exponents. `None` when the scale is too small or not a number.
fn exponentials(scale: f64) -> Option<Vec<i32>> {
    let real = scale * f64::from(1u32 << FRACTION_BITS);
    if real.is_nan() || real <= 1.0 {
        return None;
    }
    let real = real.min(f64::from(i32::MAX));
    let Multiplier { mantissa, shift } = multiplier(real);
    let shift = u32::try_from(shift).ok()?;
    let most = (31i64 << FRACTION_BITS) >> shift;
    let exponential = |d: u8| {
        if i64::from(d) > most {
            return 0;
        }
        let exponent = i32::from(d).wrapping_neg().wrapping_shl(shift);
        exp_of_negative(multiply_high_doubled(exponent, mantissa))
    };
    Some((0..=u8::MAX).map(exponential).collect())
}

/// gemmlowp's `exp_on_negative_values`: from Q5.26 to Q0.31.
///
/// The exponent is split into a remainder in -1/4 to 0 and powers of two, whose
/// exponentials are multiplied up.
fn exp_of_negative(exponent: i32) -> i32 {
    /// `exp(-1/4)`, `exp(-1/2)`, `exp(-1)`, … `exp(-16)` in Q0.31.
    const POWERS: [i32; 7] =
        [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    const QUARTER: i32 = 1 << (FRACTION_BITS - 2);
    if exponent == 0 {
        return i32::MAX;
    }
    let in_quarter = (exponent & (QUARTER - 1)).wrapping_sub(QUARTER);
    let rest = in_quarter.wrapping_sub(exponent);
    let first = exp_between_minus_quarter_and_zero(shift_left_saturated(in_quarter, 5));
    (FRACTION_BITS - 2..).zip(POWERS).fold(first, |product, (bit, power)| {
        if rest >> bit & 1 == 1 { multiply_high_doubled(product, power) } else { product }
    })
}

/// Taylor's series around -1/8, in Q0.31.
fn exp_between_minus_quarter_and_zero(exponent: i32) -> i32 {
    /// `exp(-1/8)` and `1/3` in Q0.31.
    const EXP_MINUS_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = exponent.wrapping_add(1 << 28);
    let x2 = multiply_high_doubled(x, x);
    let x3 = multiply_high_doubled(x2, x);
    let x4_over_4 = shift_right_rounded(multiply_high_doubled(x2, x2), 2);
    let higher = multiply_high_doubled(x4_over_4.wrapping_add(x3), THIRD).wrapping_add(x2);
    let series = x.wrapping_add(shift_right_rounded(higher, 1));
    EXP_MINUS_EIGHTH.saturating_add(multiply_high_doubled(EXP_MINUS_EIGHTH, series))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_close_to_the_real_ones() {
        let table = exponentials(0.1).unwrap();
        for (d, &found) in table.iter().enumerate() {
            let real = (-0.1 * d as f64).exp() * 2f64.powi(31);
            assert!((f64::from(found) - real).abs() < 2000.0, "{d}: {found} {real}");
        }
        let table = exponentials(1.0).unwrap();
        assert_eq!((table[0], table[31], table[32]), (i32::MAX, table[31], 0));
        assert!(exponentials(1e-9).is_none());
        assert!(exponentials(f64::NAN).is_none());
    }
}
