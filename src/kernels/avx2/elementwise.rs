//! ADD and MUL, 32 elements at a time.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use super::requantize::{Codes, Fast, double, moved};
use super::vector::{self, BYTES, LANES};
use crate::kernels::Io;
use crate::kernels::packed::FixedSum;
use crate::kernels::reference::{Add, Mul};
use crate::kernels::runs::each_pointer;
use crate::kernels::x86::{NearSum, Short};
use crate::quant::Multiplier;

/// ADD; false, and nothing is done, when channels are to be repeated.
///
/// `sum` is one that is exact.
#[target_feature(enable = "avx2")]
pub(super) fn add(params: &Add, sum: Option<FixedSum>, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    if let Some(sum) = sum {
        let sum = Fixed::of(sum);
        return each_block(io, &codes, |a, b| sum.steps(sum.of_codes(a, b)));
    }
    let exact = Exact::of(params);
    match Near::of(params) {
        Some(near) => each_block(io, &codes, |a, b| near.steps(&exact, a, b)),
        None => each_block(io, &codes, |a, b| exact.steps(a, b)),
    }
}

/// MUL; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx2")]
pub(super) fn mul(params: &Mul, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    let [zero_a, zero_b] = params.zero_points.map(|zero| _mm256_set1_epi32(zero.into()));
    let product =
        |a, b| _mm256_mullo_epi32(_mm256_sub_epi32(a, zero_a), _mm256_sub_epi32(b, zero_b));
    match Fast::<Short>::of(params.multiplier) {
        Some(fast) => each_block(io, &codes, |a, b| fast.scaled(moved(product(a, b)))),
        None => {
            let general = General::of(params.multiplier);
            each_block(io, &codes, |a, b| general.steps(product(a, b)))
        }
    }
}

/// Any multiplier.
struct General {
    mantissa: __m256i,
    shift: __m256i,
}

impl General {
    #[target_feature(enable = "avx2")]
    fn of(multiplier: Multiplier) -> Self {
        let Multiplier { mantissa, shift } = multiplier;
        Self { mantissa: _mm256_set1_epi32(mantissa), shift: _mm256_set1_epi32(shift) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps(&self, sums: __m256i) -> __m256i {
        double(sums, self.mantissa, self.shift)
    }
}

/// ADD as it is defined.
struct Exact {
    zeros: [__m256i; 2],
    terms: [General; 2],
    total: General,
}

impl Exact {
    #[target_feature(enable = "avx2")]
    fn of(params: &Add) -> Self {
        let [a, b] = params.terms;
        Self {
            zeros: [a, b].map(|term| _mm256_set1_epi32(term.zero_point.into())),
            terms: [General::of(a.multiplier), General::of(b.multiplier)],
            total: General::of(params.multiplier),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps(&self, a: __m256i, b: __m256i) -> __m256i {
        let ([zero_a, zero_b], [term_a, term_b]) = (self.zeros, &self.terms);
        let a = term_a.steps(_mm256_slli_epi32::<20>(_mm256_sub_epi32(a, zero_a)));
        let b = term_b.steps(_mm256_slli_epi32::<20>(_mm256_sub_epi32(b, zero_b)));
        self.total.steps(_mm256_add_epi32(a, b))
    }

    /// Apart from the code that seldom comes here.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn doubted(&self, a: __m256i, b: __m256i) -> __m256i {
        self.steps(a, b)
    }
}

/// [`FixedSum`] in registers.
struct Fixed {
    factors: [__m256i; 2],
    constant: __m256i,
    bits: __m128i,
}

impl Fixed {
    #[target_feature(enable = "avx2")]
    fn of(sum: FixedSum) -> Self {
        Self {
            factors: sum.factors.map(|factor| _mm256_set1_epi32(factor)),
            constant: _mm256_set1_epi32(sum.constant),
            bits: _mm_cvtsi32_si128(sum.bits.into()),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn of_codes(&self, a: __m256i, b: __m256i) -> __m256i {
        let [factor_a, factor_b] = self.factors;
        let terms = [_mm256_mullo_epi32(a, factor_a), _mm256_mullo_epi32(b, factor_b)];
        _mm256_add_epi32(_mm256_add_epi32(terms[0], self.constant), terms[1])
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps(&self, sums: __m256i) -> __m256i {
        _mm256_sra_epi32(sums, self.bits)
    }
}

/// [`NearSum`] in registers.
struct Near {
    fixed: Fixed,
    decisive: __m256i,
}

impl Near {
    #[target_feature(enable = "avx2")]
    fn of(params: &Add) -> Option<Self> {
        NearSum::of(params).map(|near| Self {
            fixed: Fixed::of(near.sum),
            decisive: _mm256_set1_epi32(near.decisive),
        })
    }

    /// Steps, by `exact` where one is not certain.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps(&self, exact: &Exact, a: __m256i, b: __m256i) -> __m256i {
        let sum = self.fixed.of_codes(a, b);
        let fraction = _mm256_and_si256(sum, self.decisive);
        let doubts = _mm256_cmpeq_epi32(fraction, _mm256_setzero_si256());
        if _mm256_testz_si256(doubts, doubts) == 0 {
            return exact.doubted(a, b);
        }
        self.fixed.steps(sum)
    }
}

/// Computes every output from both inputs; false, and nothing is done, when channels are to be
/// repeated.
#[inline]
#[target_feature(enable = "avx2")]
fn each_block(io: &Io<'_>, codes: &Codes, steps: impl Fn(__m256i, __m256i) -> __m256i) -> bool {
    each_pointer(io, |from, to, len| {
        let mut at = 0;
        while at + BYTES <= len {
            let [a, b] = from.map(|from| from.wrapping_add(at));
            // SAFETY: 32 elements are left.
            unsafe { block([a, b], to.wrapping_add(at), codes, &steps) };
            at += BYTES;
        }
        if at < len {
            let (left, mut rest, mut stored) = (len - at, [[0i8; BYTES]; 2], [0i8; BYTES]);
            for (rest, from) in rest.iter_mut().zip(from) {
                let (rest, from) = (rest.as_mut_ptr(), from.wrapping_add(at));
                // SAFETY: fewer than 32 elements are left; an array of this function overlaps
                // with nothing.
                unsafe { rest.copy_from_nonoverlapping(from, left) };
            }
            let rest = rest.each_ref().map(|rest| rest.as_ptr());
            // SAFETY: arrays of 32 bytes.
            unsafe { block(rest, stored.as_mut_ptr(), codes, &steps) };
            // SAFETY: as many elements are left.
            unsafe { to.wrapping_add(at).copy_from_nonoverlapping(stored.as_ptr(), left) };
        }
    })
}

/// Computes 32 adjacent elements.
///
/// # Safety
///
/// The inputs are readable, and the output writable, for as many bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block(
    [a, b]: [*const i8; 2],
    to: *mut i8,
    codes: &Codes,
    steps: impl Fn(__m256i, __m256i) -> __m256i,
) {
    let mut all = [_mm256_setzero_si256(); BYTES / LANES];
    for v in 0..BYTES / LANES {
        let at = LANES * v;
        // SAFETY: the caller's promise.
        let a = unsafe { vector::widen(a.wrapping_add(at)) };
        // SAFETY: the caller's promise.
        let b = unsafe { vector::widen(b.wrapping_add(at)) };
        all[v] = steps(a, b);
    }
    let codes = codes.in_order(all);
    // SAFETY: the caller's promise.
    unsafe { vector::store_all(to, codes) };
}
