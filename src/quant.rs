//! Bit-exact fixed point: int32 accumulators to int8 outputs.
//!
//! `real = scale * (q - zero_point)`. A scale ratio is a [`Multiplier`], a Q0.31
//! mantissa and a power of two, as in TFLite's `QuantizeMultiplier`.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A non-negative real factor: `mantissa / 2^31 * 2^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct Multiplier {
    /// Q0.31 mantissa: in `[2^30, 2^31)` when normalised, but MEAN divides it further.
    pub mantissa: i32,
    /// Left shift when positive, rounding right shift when negative, -31 to 30 bits.
    pub shift: i32,
}

impl Multiplier {
    /// Checks the ranges stated at the fields.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.mantissa >= 0 && self.shift >= -31 && self.shift <= 30
    }
}

/// Scales `acc` with TFLite's double rounding: every operator but FULLY_CONNECTED.
///
/// A doubling high multiply, rounded half up, then a right shift of `-m.shift` bits, rounded
/// half away from zero. A left shift wraps, as in the reference.
#[must_use]
pub const fn requantize(acc: i32, m: Multiplier) -> i32 {
    let left = if m.shift > 0 { m.shift as u32 } else { 0 };
    let right = if m.shift < 0 { m.shift.unsigned_abs() } else { 0 };
    shift_right_rounded(multiply_high_doubled(acc.wrapping_shl(left), m.mantissa), right)
}

/// The product of two Q0.31 numbers, rounded half up; -1 times -1 saturates.
#[must_use]
pub const fn multiply_high_doubled(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    ((a as i64).wrapping_mul(b as i64).wrapping_add(1 << 30) >> 31) as i32
}

/// `value / 2^bits` rounded half away from zero, for up to 31 bits.
#[must_use]
pub const fn shift_right_rounded(value: i32, bits: u32) -> i32 {
    let mask = 1i64.wrapping_shl(bits).wrapping_sub(1) as i32;
    let threshold = (mask >> 1).wrapping_add((value < 0) as i32);
    value.wrapping_shr(bits).wrapping_add(((value & mask) > threshold) as i32)
}

/// `value * 2^bits`, saturating, for up to 31 bits.
#[must_use]
pub const fn shift_left_saturated(value: i32, bits: u32) -> i32 {
    let shifted = (value as i64).wrapping_shl(bits);
    if shifted > i32::MAX as i64 {
        i32::MAX
    } else if shifted < i32::MIN as i64 {
        i32::MIN
    } else {
        shifted as i32
    }
}

/// Scales `acc` with a single rounding, ties away from zero: FULLY_CONNECTED.
#[must_use]
pub const fn requantize_once(acc: i32, m: Multiplier) -> i32 {
    let shift = 31i32.wrapping_sub(m.shift) as u32;
    let half = 1u64.wrapping_shl(shift.wrapping_sub(1));
    let product = (acc.unsigned_abs() as u64).wrapping_mul(m.mantissa as u64);
    let magnitude = product.wrapping_add(half).wrapping_shr(shift) as i32;
    if acc < 0 { magnitude.wrapping_neg() } else { magnitude }
}

/// The last step to an int8 code: the zero point is added and the clamp applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The code of real zero.
    pub zero_point: i8,
    /// Smallest code; with `max` it carries a fused activation.
    pub min: i8,
    /// Largest code, at least `min`.
    pub max: i8,
}

impl Output {
    /// Whether all that is not positive gets the same code, as behind a ReLU.
    #[must_use]
    pub const fn rectifies(self) -> bool {
        self.min >= self.zero_point
    }

    /// The code of `scaled`, a number of output steps from zero.
    #[must_use]
    pub const fn code(self, scaled: i32) -> i8 {
        let code = scaled.saturating_add(self.zero_point as i32);
        if code < self.min as i32 {
            self.min
        } else if code > self.max as i32 {
            self.max
        } else {
            code as i8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// gemmlowp's text, term by term.
    fn gemmlowp(x: i32, m: Multiplier) -> i32 {
        let ab = i64::from(x.wrapping_shl(m.shift.max(0) as u32)) * i64::from(m.mantissa);
        let nudge = if ab >= 0 { 1i64 << 30 } else { 1 - (1i64 << 30) };
        let high = ((ab + nudge) / (1i64 << 31)) as i32;
        let e = (-m.shift).max(0);
        let mask = ((1i64 << e) - 1) as i32;
        let threshold = (mask >> 1) + i32::from(high < 0);
        (high >> e) + i32::from((high & mask) > threshold)
    }

    fn multiplier() -> impl Strategy<Value = Multiplier> {
        (1i32 << 30..=i32::MAX, -31i32..=30)
            .prop_map(|(mantissa, shift)| Multiplier { mantissa, shift })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { 50_000 }))]

        #[test]
        fn double_rounding_is_gemmlowps(acc: i32, m in multiplier()) {
            prop_assert_eq!(requantize(acc, m), gemmlowp(acc, m));
        }

        #[test]
        fn single_rounding_is_half_away_from_zero(acc: i32, m in multiplier()) {
            let m = Multiplier { shift: m.shift.min(0), ..m };
            let exact = i128::from(acc) * i128::from(m.mantissa);
            let divisor = 1i128 << (31 - m.shift);
            let rounded = (exact.abs() + divisor / 2) / divisor * exact.signum();
            prop_assert_eq!(i128::from(requantize_once(acc, m)), rounded);
        }
    }

    #[test]
    fn codes_are_clamped() {
        let output = Output { zero_point: -128, min: -128, max: 100 };
        assert_eq!(output.code(-1), -128);
        assert_eq!(output.code(228), 100);
        assert_eq!(output.code(i32::MAX), 100);
        assert_eq!(Output { zero_point: 1, ..output }.code(i32::MIN), -128);
    }
}
