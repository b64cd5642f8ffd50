//! Real numbers to fixed point, as TFLite does it at preparation, to the bit.

use pipeit_rt::quant::Multiplier;

use crate::graph::Activation;

/// TFLite's `QuantizeMultiplier`: a Q0.31 mantissa, rounded half away from zero, and a shift.
///
/// Smaller than 2^-32 becomes 0, a shift above 30 saturates. `real` is finite; what is negative
/// makes a negative mantissa, which only tables made at import may have.
pub(super) fn multiplier(real: f64) -> Multiplier {
    let (fraction, exponent) = frexp(real);
    let mut mantissa = (fraction * 2f64.powi(31)).round() as i64;
    let mut shift = exponent;
    if mantissa == 1 << 31 {
        mantissa = 1 << 30;
        shift = shift.saturating_add(1);
    }
    match i32::try_from(mantissa) {
        Ok(_) if shift < -31 => Multiplier { mantissa: 0, shift: 0 },
        Ok(mantissa) if shift <= 30 => Multiplier { mantissa, shift },
        _ => Multiplier { mantissa: i32::MAX, shift: 30 },
    }
}

/// C's `frexp` for what is zero or a normal number.
///
/// Quotients of products of single-precision floats never come near subnormal doubles.
fn frexp(real: f64) -> (f64, i32) {
    if real == 0.0 {
        return (0.0, 0);
    }
    let bits = real.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    (f64::from_bits(bits & !(0x7ff << 52) | 0x3fe << 52), exponent.saturating_sub(0x3fe))
}

/// The multiplier of a mean over `count` elements, with one over `count` folded in.
pub(super) fn mean_multiplier(real: f64, count: u32) -> Multiplier {
    let Multiplier { mantissa, shift } = multiplier(real);
    let log2 = count.max(1).ilog2() as i32;
    let extra = log2.min(32).min(shift.saturating_add(31)).max(0);
    let widened = i64::from(mantissa) << extra;
    let mantissa = widened.checked_div(count.max(1).into()).unwrap_or(0);
    // At most the mantissa it came from, as 2^extra is at most `count`.
    Multiplier {
        mantissa: i32::try_from(mantissa).unwrap_or(i32::MAX),
        shift: shift.saturating_sub(extra),
    }
}

/// Smallest and largest int8 code of an output: TFLite's `CalculateActivationRangeQuantized`.
pub(super) fn clamp(activation: Activation, scale: f32, zero_point: i8) -> (i8, i8) {
    let code = |real: f32| {
        let steps = (real / scale).round() as i32;
        let code = steps.saturating_add(zero_point.into()).clamp(-128, 127);
        i8::try_from(code).unwrap_or(zero_point)
    };
    match activation {
        Activation::None => (i8::MIN, i8::MAX),
        Activation::Relu => (code(0.0), i8::MAX),
        Activation::ReluN1To1 => (code(-1.0), code(1.0)),
        Activation::Relu6 => (code(0.0), code(6.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_are_tflites() {
        for (real, mantissa, shift) in [
            (0.0, 0, 0),
            (1.0, 1 << 30, 1),
            (0.75, 3 << 29, 0),
            // 1 - 2^-33 rounds up to 2^31, which is halved.
            (1.0 - 2f64.powi(-33), 1 << 30, 1),
            (2f64.powi(-32), 1 << 30, -31),
            (2f64.powi(-33), 0, 0),
            (2f64.powi(29), 1 << 30, 30),
            (2f64.powi(30), i32::MAX, 30),
        ] {
            assert_eq!(multiplier(real), Multiplier { mantissa, shift }, "{real}");
        }
    }

    #[test]
    fn a_mean_over_one_element_is_the_quotient() {
        assert_eq!(mean_multiplier(0.3, 1), multiplier(0.3));
        let Multiplier { mantissa, shift } = multiplier(0.3);
        let expected = ((i64::from(mantissa) << 5) / 49) as i32;
        assert_eq!(mean_multiplier(0.3, 49), Multiplier { mantissa: expected, shift: shift - 5 });
    }

    #[test]
    fn activations_clamp_codes() {
        assert_eq!(clamp(Activation::None, 0.1, 3), (-128, 127));
        assert_eq!(clamp(Activation::Relu, 0.1, -128), (-128, 127));
        assert_eq!(clamp(Activation::Relu6, 0.1, -10), (-10, 50));
        assert_eq!(clamp(Activation::ReluN1To1, 0.5, 126), (124, 127));
    }
}
