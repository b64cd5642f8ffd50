//! From int32 sums to codes, sixteen at a time, as [`quant`](crate::quant) defines it.
use core::arch::aarch64::*;

use super::memory::apart;
use crate::kernels::packed::Rounding;
use crate::quant::{Multiplier, Output};

/// The last steps of a layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Scale {
    sequence: Sequence,
    /// `min` or `max` leaves out some codes.
    clamps: bool,
    zero_point: int16x8_t,
    min: int8x16_t,
    max: int8x16_t,
}

/// How sums are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    /// As short as it can be: negative numbers become the least code, however they are rounded.
    Rectified,
    Short,
    Exact(Rounding),
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

    /// The same, for a loop: the compiler does not make them anew each time, nor four of each.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(in crate::kernels) fn kept(self) -> Self {
        let ([mantissa, ..], [shift, ..]) = (self.mantissas, self.shifts);
        Self { mantissas: [apart(mantissa); 4], shifts: [apart(shift); 4] }
    }
}

impl Scale {
    /// `fast` is as in [`PackedConv2d`](crate::kernels::packed::PackedConv2d).
    #[inline]
    #[target_feature(enable = "neon")]
    pub(in crate::kernels) fn new(fast: bool, rounding: Rounding, output: Output) -> Self {
        let Output { zero_point, min, max } = output;
        Self {
            sequence: match rounding {
                Rounding::Double if fast && output.rectifies() => Sequence::Rectified,
                Rounding::Double if fast => Sequence::Short,
                _ => Sequence::Exact(rounding),
            },
            clamps: min != i8::MIN || max != i8::MAX,
            zero_point: vdupq_n_s16(zero_point.into()),
            min: vdupq_n_s8(min),
            max: vdupq_n_s8(max),
        }
    }

    /// The codes of sums, sixteen at a time and in order.
    ///
    /// Inlined whatever it costs: else sums would go through memory. That is why the function has
    /// no `target_feature`.
    ///
    /// # Safety
    ///
    /// The core has the instructions, as every core that this is compiled for.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn codes<const N: usize>(
        &self,
        mut sums: [[int32x4_t; 4]; N],
        multipliers: &Multipliers,
    ) -> [int8x16_t; N] {
        match self.sequence {
            Sequence::Rectified => {
                for sums in &mut sums {
                    // SAFETY: the caller's promise.
                    *sums = unsafe { shifted_right::<false>(*sums, multipliers) };
                }
            }
            Sequence::Short => {
                for sums in &mut sums {
                    // SAFETY: as above.
                    *sums = unsafe { shifted_right::<true>(*sums, multipliers) };
                }
            }
            Sequence::Exact(rounding) => {
                // Copies, so that the others stay in registers.
                let mut copy = sums;
                // SAFETY: as above.
                let copied = |vector| unsafe { apart(vector) };
                let multipliers = Multipliers {
                    mantissas: multipliers.mantissas.map(copied),
                    shifts: multipliers.shifts.map(copied),
                };
                // SAFETY: as above.
                unsafe { exact(&mut copy, &multipliers, rounding) };
                sums = copy;
            }
        }
        // SAFETY: as above.
        unsafe { self.narrowed::<false, _>(sums) }
    }

    /// The codes of numbers that have been scaled; `FIT` says that they are 16-bit numbers.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(in crate::kernels) fn narrowed<const FIT: bool, const N: usize>(
        &self,
        sums: [[int32x4_t; 4]; N],
    ) -> [int8x16_t; N] {
        let zero_point = self.zero_point;
        let mut codes = [vdupq_n_s8(0); N];
        for (codes, &[a, b, c, d]) in codes.iter_mut().zip(&sums) {
            let low = vqaddq_s16(halved::<FIT>(a, b), zero_point);
            let high = vqaddq_s16(halved::<FIT>(c, d), zero_point);
            *codes = vqmovn_high_s16(vqmovn_s16(low), high);
        }
        if self.clamps {
            for codes in &mut codes {
                *codes = vminq_s8(vmaxq_s8(*codes, self.min), self.max);
            }
        }
        codes
    }
}

/// Numbers in 16 bits, saturated unless they `FIT`.
#[inline]
#[target_feature(enable = "neon")]
fn halved<const FIT: bool>(low: int32x4_t, high: int32x4_t) -> int16x8_t {
    if FIT {
        vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high))
    } else {
        vqmovn_high_s32(vqmovn_s32(low), high)
    }
}

/// [`requantize`](crate::quant::requantize) of sixteen sums with shifts to the right; without
/// `TIES`, halves of negative numbers go up.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn shifted_right<const TIES: bool>(
    sums: [int32x4_t; 4],
    multipliers: &Multipliers,
) -> [int32x4_t; 4] {
    let [a, b, c, d] = sums;
    let [ma, mb, mc, md] = multipliers.mantissas;
    let [sa, sb, sc, sd] = multipliers.shifts;
    [
        short::<TIES>(a, ma, sa),
        short::<TIES>(b, mb, sb),
        short::<TIES>(c, mc, sc),
        short::<TIES>(d, md, sd),
    ]
}

/// [`requantize`](crate::quant::requantize) with a shift to the right: halves go up, so negative
/// numbers are made less by one to go down, if `TIES`.
#[inline]
#[target_feature(enable = "neon")]
fn short<const TIES: bool>(sum: int32x4_t, mantissa: int32x4_t, shift: int32x4_t) -> int32x4_t {
    let high = vqrdmulhq_s32(sum, mantissa);
    vrshlq_s32(if TIES { vsraq_n_s32::<31>(high, high) } else { high }, shift)
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
