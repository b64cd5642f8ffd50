//! ADD and MUL, 64 elements at a time.

use core::arch::x86_64::*;

use super::requantize::{Codes, Fast, double, moved};
use super::vector::{BYTES, LANES, first, widen};
use crate::kernels::reference::{Add, Mul, Term};
use crate::kernels::{Io, runs};
use crate::quant::Multiplier;

/// ADD; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add(params: &Add, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    let [first, second] = params.terms;
    let (Some(a), Some(b), Some(total)) =
        (Scaled::of(first), Scaled::of(second), Fast::of(params.multiplier))
    else {
        let terms = params.terms.map(|term| (splat(term.zero_point), General::of(term.multiplier)));
        let [(zero_a, a), (zero_b, b)] = terms;
        let total = General::of(params.multiplier);
        let term = |zero, general: &General, codes| {
            general.steps(_mm512_slli_epi32::<20>(_mm512_sub_epi32(codes, zero)))
        };
        return map(io, &codes, |x, y| {
            total.steps(_mm512_add_epi32(term(zero_a, &a, x), term(zero_b, &b, y)))
        });
    };
    let sum = |a, b| total.scaled(moved(_mm512_add_epi32(a, b)));
    match (a.whole, b.whole) {
        (true, true) => map(io, &codes, |x, y| sum(a.shifted(x), b.shifted(y))),
        (true, false) => map(io, &codes, |x, y| sum(a.shifted(x), b.scaled(y))),
        (false, true) => map(io, &codes, |x, y| sum(a.scaled(x), b.shifted(y))),
        (false, false) => map(io, &codes, |x, y| sum(a.scaled(x), b.scaled(y))),
    }
}

/// MUL; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn mul(params: &Mul, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    let [zero_a, zero_b] = params.zero_points.map(|zero| splat(zero));
    let product =
        |a, b| _mm512_mullo_epi32(_mm512_sub_epi32(a, zero_a), _mm512_sub_epi32(b, zero_b));
    match Fast::of(params.multiplier) {
        Some(fast) => map(io, &codes, |a, b| fast.scaled(moved(product(a, b)))),
        None => {
            let general = General::of(params.multiplier);
            map(io, &codes, |a, b| general.steps(product(a, b)))
        }
    }
}

#[target_feature(enable = "avx512f")]
fn splat(code: i8) -> __m512i {
    _mm512_set1_epi32(code.into())
}

/// Any multiplier.
struct General {
    mantissa: __m512i,
    shift: __m512i,
}

impl General {
    #[target_feature(enable = "avx512f")]
    fn of(multiplier: Multiplier) -> Self {
        let Multiplier { mantissa, shift } = multiplier;
        Self { mantissa: _mm512_set1_epi32(mantissa), shift: _mm512_set1_epi32(shift) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn steps(&self, sums: __m512i) -> __m512i {
        double(sums, self.mantissa, self.shift)
    }
}

/// A [`Term`] that is shifted right by 1 to 19 bits, or whose multiplier is a power of two.
///
/// With `x` the code above zero, at most 9 bits, the doubling high product of `x << 20` and the
/// mantissa `m` is `h = (x m + 2^10) >> 11`, which `m = 2^11 m1 + m0` makes
/// `x m1 + ((x m0 + 2^10) >> 11)`: no number has more than 32 bits. Rounding to `e` bits less adds
/// `2^(e-1) - (x < 0)`.
struct Scaled {
    /// The multiplier is a power of two, and nothing is rounded.
    whole: bool,
    zero: __m512i,
    high: __m512i,
    low: __m512i,
    /// `2^10`, and `2^(e-1)` eleven bits higher.
    half: __m512i,
    /// Bits to shift, right or, with a power of two, left.
    bits: __m512i,
}

impl Scaled {
    #[target_feature(enable = "avx512f")]
    fn of(term: Term) -> Option<Self> {
        let Multiplier { mantissa, shift } = term.multiplier;
        let whole = mantissa == 1 << 30 && (-19..=0).contains(&shift);
        if !whole && !(-19..0).contains(&shift) {
            return None;
        }
        let right = shift.unsigned_abs();
        Some(Self {
            whole,
            zero: splat(term.zero_point),
            high: _mm512_set1_epi32(mantissa >> 11),
            low: _mm512_set1_epi32(mantissa & 0x7FF),
            half: _mm512_set1_epi32((1 << 10) + ((1 << right) >> 1 << 11)),
            bits: _mm512_set1_epi32(if whole { 19 + shift } else { -shift }),
        })
    }

    /// The term of a power of two.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn shifted(&self, codes: __m512i) -> __m512i {
        _mm512_sllv_epi32(_mm512_sub_epi32(codes, self.zero), self.bits)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn scaled(&self, codes: __m512i) -> __m512i {
        let x = _mm512_sub_epi32(codes, self.zero);
        let high = _mm512_mullo_epi32(x, self.high);
        // Pairs of 16 bits, of which the second of `low` are zero.
        let low = _mm512_srai_epi32::<11>(_mm512_dpwssd_epi32(self.half, x, self.low));
        let negative = _mm512_srai_epi32::<31>(x);
        let sum = _mm512_add_epi32(_mm512_add_epi32(high, low), negative);
        _mm512_srav_epi32(sum, self.bits)
    }
}

/// Computes every output from the two inputs at its place; false, and nothing is done, when
/// channels are to be repeated.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn map(io: &Io<'_>, codes: &Codes<4>, steps: impl Fn(__m512i, __m512i) -> __m512i) -> bool {
    runs::each(io, |[a, b], output| {
        if a.len() < output.len() || b.len() < output.len() {
            return;
        }
        for at in (0..output.len()).step_by(BYTES) {
            let mask = first(output.len() - at);
            let [a, b] = [a, b].map(|cells| cells.as_ptr().cast::<i8>().wrapping_add(at));
            let mut all = [_mm512_setzero_si512(); 4];
            for (v, place) in all.iter_mut().enumerate() {
                let mask = (mask >> (LANES * v)) as __mmask16;
                // SAFETY: the mask keeps to the inputs.
                let a = unsafe { widen(a.wrapping_add(LANES * v), mask) };
                // SAFETY: as above.
                let b = unsafe { widen(b.wrapping_add(LANES * v), mask) };
                *place = steps(a, b);
            }
            let to = output.as_ptr().cast_mut().cast::<i8>().wrapping_add(at);
            // SAFETY: the mask keeps to the output.
            unsafe { codes.store_in_order(all, to, mask) };
        }
    })
}
