//! ADD and MUL, 64 elements at a time.

// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use super::requantize::{Codes, Fast, Short, double, moved};
use super::vector::{BYTES, LANES, first, widen};
use crate::kernels::Io;
use crate::kernels::reference::{Add, Mul, Term};
use crate::kernels::runs::each_pointer;
use crate::quant::Multiplier;

/// ADD; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add(params: &Add, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    let exact = Exact::of(params);
    let near = Near::of(params);
    match &near {
        Some(near) => blocks(io, |block| {
            // SAFETY: a block that `blocks` made.
            unsafe { near.store(&block, &exact, &codes) };
        }),
        None => blocks(io, |block| {
            let steps = |a, b| exact.steps(a, b);
            // SAFETY: as above.
            unsafe { block.compute(&codes, steps) };
        }),
    }
}

/// MUL; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn mul(params: &Mul, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    let [zero_a, zero_b] = params.zero_points.map(|zero| splat(zero));
    let product =
        |a, b| _mm512_mullo_epi32(_mm512_sub_epi32(a, zero_a), _mm512_sub_epi32(b, zero_b));
    match Fast::<Short>::of(params.multiplier) {
        Some(fast) => {
            let steps = |a, b| fast.scaled(moved(product(a, b)));
            blocks(io, |block| {
                // SAFETY: a block that `blocks` made.
                unsafe { block.compute(&codes, steps) };
            })
        }
        None => {
            let general = General::of(params.multiplier);
            let steps = |a, b| general.steps(product(a, b));
            blocks(io, |block| {
                // SAFETY: a block that `blocks` made.
                unsafe { block.compute(&codes, steps) };
            })
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

/// ADD as it is defined.
struct Exact {
    zeros: [__m512i; 2],
    terms: [General; 2],
    total: General,
}

impl Exact {
    #[target_feature(enable = "avx512f")]
    fn of(params: &Add) -> Self {
        let [a, b] = params.terms;
        Self {
            zeros: [splat(a.zero_point), splat(b.zero_point)],
            terms: [General::of(a.multiplier), General::of(b.multiplier)],
            total: General::of(params.multiplier),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn steps(&self, a: __m512i, b: __m512i) -> __m512i {
        let ([zero_a, zero_b], [term_a, term_b]) = (self.zeros, &self.terms);
        let a = term_a.steps(_mm512_slli_epi32::<20>(_mm512_sub_epi32(a, zero_a)));
        let b = term_b.steps(_mm512_slli_epi32::<20>(_mm512_sub_epi32(b, zero_b)));
        self.total.steps(_mm512_add_epi32(a, b))
    }
}

/// The sum of two terms as a fixed-point number of 32 bits, near enough to the exact one to tell the
/// step it is rounded to, unless it is next to where that changes.
struct Near {
    factors: [__m512i; 2],
    /// What the zero points subtract, the half that rounds, and the margin.
    constant: __m512i,
    /// Bits of the fraction.
    bits: __m128i,
    /// Bits of the fraction that are all zero in what is at most twice the margin.
    decisive: __m512i,
}

impl Near {
    #[target_feature(enable = "avx512f")]
    fn of(params: &Add) -> Option<Self> {
        let total = params.multiplier;
        // Terms are steps of 2^20, so that both factors of a code are below one.
        let valid = |m: Multiplier| m.mantissa > 0 && (-30..=0).contains(&m.shift);
        if !params.terms.iter().all(|term| valid(term.multiplier)) || !valid(total) {
            return None;
        }
        (16u32..=24).rev().find_map(|bits| {
            let factors = params.terms.map(|Term { multiplier, .. }| {
                let product = i64::from(multiplier.mantissa) * i64::from(total.mantissa);
                let right = 62 - 20 - bits as i32 - multiplier.shift - total.shift;
                let right = right.min(63);
                (product + (1 << (right - 1))) >> right
            });
            let [a, b] = factors;
            // The factors are rounded by a half at most; terms deviate by one each and their
            // scaled sum by a half from the exact one before it is shifted for the last time.
            let deviation = (3u64 << bits) >> -total.shift;
            let margin = (257 + deviation).next_power_of_two() as i64;
            let (one, largest) = (1i64 << bits, 255 * (a + b));
            if largest + one >= 1 << 31 || 64 * margin > one {
                return None;
            }
            let zeros = params.terms.iter().zip(factors);
            let zeros: i64 = zeros.map(|(term, factor)| i64::from(term.zero_point) * factor).sum();
            Some(Self {
                factors: factors.map(|factor| _mm512_set1_epi32(factor as i32)),
                constant: _mm512_set1_epi32((one / 2 + margin - zeros) as i32),
                bits: _mm_cvtsi32_si128(bits as i32),
                decisive: _mm512_set1_epi32((one - 2 * margin) as i32),
            })
        })
    }

    /// Stores the codes of a block.
    ///
    /// # Safety
    ///
    /// As [`Block`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn store(&self, block: &Block, exact: &Exact, codes: &Codes<4>) {
        // SAFETY: the caller's promise.
        let [a, b] = unsafe { block.numbers() };
        let mut steps = [_mm512_setzero_si512(); 4];
        let mut uncertain = 0;
        for v in 0..4 {
            let (near, doubts) = self.steps(a[v], b[v]);
            uncertain |= doubts;
            steps[v] = near;
        }
        if uncertain != 0 {
            // SAFETY: the caller's promise.
            return unsafe { self.store_certain(block, exact, codes) };
        }
        // SAFETY: the caller's promise.
        unsafe { codes.store_in_order(steps, block.to, block.mask) };
    }

    /// Steps, and which are not certain.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn steps(&self, a: __m512i, b: __m512i) -> (__m512i, __mmask16) {
        let [factor_a, factor_b] = self.factors;
        let (a, b) = (_mm512_mullo_epi32(a, factor_a), _mm512_mullo_epi32(b, factor_b));
        let sum = _mm512_add_epi32(_mm512_add_epi32(a, self.constant), b);
        (_mm512_sra_epi32(sum, self.bits), _mm512_testn_epi32_mask(sum, self.decisive))
    }

    /// Stores the codes of a block of which some are not certain.
    ///
    /// # Safety
    ///
    /// As [`Block`].
    // Apart from the code that seldom comes here.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn store_certain(&self, block: &Block, exact: &Exact, codes: &Codes<4>) {
        let steps = |a, b| match self.steps(a, b) {
            (near, 0) => near,
            _ => exact.steps(a, b),
        };
        // SAFETY: the caller's promise.
        unsafe { block.compute(codes, steps) };
    }
}

/// Up to 64 adjacent elements of two inputs, readable, and of an output, writable: those of a mask.
struct Block {
    from: [*const i8; 2],
    to: *mut i8,
    mask: __mmask64,
}

impl Block {
    /// The inputs as numbers.
    ///
    /// # Safety
    ///
    /// As [`Block`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn numbers(&self) -> [[__m512i; 4]; 2] {
        let mut numbers = [[_mm512_setzero_si512(); 4]; 2];
        for i in 0..2 {
            for v in 0..4 {
                let codes = self.from[i].wrapping_add(LANES * v);
                numbers[i][v] = match self.mask {
                    // Nothing to be masked.
                    // SAFETY: the caller's promise.
                    0xFFFF_FFFF_FFFF_FFFF => unsafe { widen(codes, !0) },
                    // SAFETY: the caller's promise.
                    mask => unsafe { widen(codes, (mask >> (LANES * v)) as __mmask16) },
                };
            }
        }
        numbers
    }

    /// Computes the output, 16 elements at a time.
    ///
    /// # Safety
    ///
    /// As [`Block`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn compute(&self, codes: &Codes<4>, steps: impl Fn(__m512i, __m512i) -> __m512i) {
        // SAFETY: the caller's promise.
        let [a, b] = unsafe { self.numbers() };
        let mut all = [_mm512_setzero_si512(); 4];
        for v in 0..4 {
            all[v] = steps(a[v], b[v]);
        }
        // SAFETY: the caller's promise.
        unsafe { codes.store_in_order(all, self.to, self.mask) };
    }
}

/// Calls `compute` for every block of the output; false, and nothing is done, when channels are to
/// be repeated.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn blocks(io: &Io<'_>, compute: impl Fn(Block)) -> bool {
    each_pointer(io, |from, to, len| {
        for at in (0..len).step_by(BYTES) {
            let from = from.map(|from| from.wrapping_add(at));
            let mask = first(len - at);
            compute(Block { from, to: to.wrapping_add(at), mask });
        }
    })
}
