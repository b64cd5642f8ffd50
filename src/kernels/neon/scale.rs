//! From int32 sums to codes, sixteen at a time, as [`quant`](crate::quant) defines it.
#![forbid(unsafe_code)]

use core::arch::aarch64::*;

use crate::kernels::packed::Rounding;
use crate::quant::{Multiplier, Output};

/// The last steps of a layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Scale {
    /// None where the short sequence applies.
    exact: Option<Rounding>,
    zero_point: i16,
    min: i8,
    max: i8,
}

/// Mantissas and shifts of sixteen sums.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Multipliers {
    pub(in crate::kernels) mantissas: [int32x4_t; 4],
    pub(in crate::kernels) shifts: [int32x4_t; 4],
}

impl Multipliers {
    /// The same for all sums.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(in crate::kernels) fn all(multiplier: Multiplier) -> Self {
        Self {
            mantissas: [vdupq_n_s32(multiplier.mantissa); 4],
            shifts: [vdupq_n_s32(multiplier.shift); 4],
        }
    }
}

impl Scale {
    /// `fast` is as in [`PackedConv2d`](crate::kernels::packed::PackedConv2d).
    pub(in crate::kernels) fn new(fast: bool, rounding: Rounding, output: Output) -> Self {
        Self {
            exact: (!fast || rounding == Rounding::Once).then_some(rounding),
            zero_point: output.zero_point.into(),
            min: output.min,
            max: output.max,
        }
    }

    /// The codes of sums, sixteen at a time and in order.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(in crate::kernels) fn codes<const N: usize>(
        &self,
        mut sums: [[int32x4_t; 4]; N],
        multipliers: &Multipliers,
    ) -> [int8x16_t; N] {
        if let Some(rounding) = self.exact {
            // Copies, so that the others stay in registers.
            let (mut copy, multipliers) = (sums, *multipliers);
            exact(&mut copy, &multipliers, rounding);
            sums = copy;
        } else {
            for sums in &mut sums {
                *sums = shifted_right(*sums, multipliers);
            }
        }
        let zero_point = vdupq_n_s16(self.zero_point);
        let (min, max) = (vdupq_n_s8(self.min), vdupq_n_s8(self.max));
        let mut codes = [min; N];
        for (codes, &[a, b, c, d]) in codes.iter_mut().zip(&sums) {
            let low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), zero_point);
            let high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), zero_point);
            *codes = vqmovn_high_s16(vqmovn_s16(low), high);
            *codes = vminq_s8(vmaxq_s8(*codes, min), max);
        }
        codes
    }
}

/// [`requantize`](crate::quant::requantize) of sixteen sums with shifts to the right.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn shifted_right(
    sums: [int32x4_t; 4],
    multipliers: &Multipliers,
) -> [int32x4_t; 4] {
    let [a, b, c, d] = sums;
    let [ma, mb, mc, md] = multipliers.mantissas;
    let [sa, sb, sc, sd] = multipliers.shifts;
    [short(a, ma, sa), short(b, mb, sb), short(c, mc, sc), short(d, md, sd)]
}

/// [`requantize`](crate::quant::requantize) with a shift to the right: halves go up, so negative
/// numbers are made less by one to go down.
#[inline]
#[target_feature(enable = "neon")]
fn short(sum: int32x4_t, mantissa: int32x4_t, shift: int32x4_t) -> int32x4_t {
    let high = vqrdmulhq_s32(sum, mantissa);
    vrshlq_s32(vsraq_n_s32::<31>(high, high), shift)
}

/// [`requantize`](crate::quant::requantize) or
/// [`requantize_once`](crate::quant::requantize_once) of any sums.
#[inline(never)]
#[target_feature(enable = "neon")]
fn exact(sums: &mut [[int32x4_t; 4]], multipliers: &Multipliers, rounding: Rounding) {
    for sums in sums {
        let scales = multipliers.mantissas.iter().zip(&multipliers.shifts);
        for (sum, (&mantissa, &shift)) in sums.iter_mut().zip(scales) {
            *sum = match rounding {
                Rounding::Double => double(*sum, mantissa, shift),
                Rounding::Once => once(*sum, mantissa, shift),
            };
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn double(sum: int32x4_t, mantissa: int32x4_t, shift: int32x4_t) -> int32x4_t {
    let zero = vdupq_n_s32(0);
    let left = vshlq_s32(sum, vmaxq_s32(shift, zero));
    let right = vminq_s32(shift, zero);
    let high = vqrdmulhq_s32(left, mantissa);
    // Less by one where it is negative and will be shifted.
    let high = vsraq_n_s32::<31>(high, vandq_s32(high, right));
    vrshlq_s32(high, right)
}

#[inline]
#[target_feature(enable = "neon")]
fn once(sum: int32x4_t, mantissa: int32x4_t, shift: int32x4_t) -> int32x4_t {
    let bits = vsubq_s32(shift, vdupq_n_s32(31));
    let low = vmull_s32(vget_low_s32(sum), vget_low_s32(mantissa));
    let high = vmull_high_s32(sum, mantissa);
    let low = vrshlq_s64(vsraq_n_s64::<63>(low, low), vmovl_s32(vget_low_s32(bits)));
    let high = vrshlq_s64(vsraq_n_s64::<63>(high, high), vmovl_high_s32(bits));
    vmovn_high_s64(vmovn_s64(low), high)
}
