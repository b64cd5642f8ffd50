//! ADD and MUL, 64 elements at a time.

// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use super::requantize::{Codes, Fast, double, moved};
use super::vector::{BYTES, LANES, first, widen};
use crate::kernels::Io;
use crate::kernels::packed::FixedSum;
use crate::kernels::packed::driver::{Job, Residual};
use crate::kernels::reference::{Add, Mul};
use crate::kernels::runs::each_pointer;
use crate::kernels::x86::{NearSum, Short};
use crate::quant::Multiplier;

/// ADD; false, and nothing is done, when channels are to be repeated.
///
/// `sum` is one that is exact.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add(params: &Add, sum: Option<FixedSum>, io: &Io<'_>) -> bool {
    let codes = Codes::new(params.output);
    if let Some(sum) = sum {
        let sum = Fixed::of(sum);
        let sums = |a, b| sum.codes(&codes, a, b);
        // SAFETY: a block that `blocks` made.
        return blocks(io, |block| unsafe { block.store(sums) });
    }
    match Near::of(params) {
        Some(near) => {
            let sums = |a, b| near.codes(&codes, a, b);
            // SAFETY: as above.
            blocks(io, |block| unsafe { block.store(sums) })
        }
        None => {
            let exact = Exact::of(params);
            blocks(io, |block| {
                let steps = |a, b| exact.steps(a, b);
                // SAFETY: as above.
                unsafe { block.compute(&codes, steps) };
            })
        }
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

/// [`FixedSum`] in registers.
struct Fixed {
    /// The factors without their lowest eight bits, each of 16 bits.
    factors: __m512i,
    /// These bits, where the codes are in [`pairs`].
    lowest: __m512i,
    constant: __m512i,
    bits: __m512i,
}

impl Fixed {
    #[target_feature(enable = "avx512f")]
    fn of(sum: FixedSum) -> Self {
        let pair = |[a, b]: [i32; 2]| _mm512_set1_epi32(b << 16 | (a & 0xFFFF));
        Self {
            factors: pair(sum.factors.map(|factor| factor >> 8)),
            lowest: pair(sum.factors.map(|factor| (factor & 0xFF) << 8)),
            constant: _mm512_set1_epi32(sum.constant),
            bits: _mm512_set1_epi32(sum.bits.into()),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn of_pairs(&self, pairs: __m512i) -> __m512i {
        let sums = _mm512_dpwssd_epi32(self.constant, pairs, self.factors);
        _mm512_dpbusd_epi32(sums, self.lowest, pairs)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn steps(&self, sums: __m512i) -> __m512i {
        _mm512_srav_epi32(sums, self.bits)
    }

    /// The codes of 64 sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn codes(&self, codes: &Codes<4>, a: __m512i, b: __m512i) -> __m512i {
        let mut steps = pairs(a, b);
        for v in 0..4 {
            steps[v] = self.steps(self.of_pairs(steps[v]));
        }
        codes.lanes(steps)
    }
}

/// [`NearSum`] in registers.
struct Near<'a> {
    params: &'a Add,
    fixed: Fixed,
    decisive: __m512i,
}

impl<'a> Near<'a> {
    #[target_feature(enable = "avx512f")]
    fn of(params: &'a Add) -> Option<Self> {
        NearSum::of(params).map(|near| Self {
            params,
            fixed: Fixed::of(near.sum),
            decisive: _mm512_set1_epi32(near.decisive),
        })
    }

    /// The codes of 64 sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn codes(&self, codes: &Codes<4>, a: __m512i, b: __m512i) -> __m512i {
        let mut steps = pairs(a, b);
        let mut uncertain = 0;
        for v in 0..4 {
            let (near, doubts) = self.steps(steps[v]);
            uncertain |= doubts;
            steps[v] = near;
        }
        if uncertain == 0 { codes.lanes(steps) } else { self.certain(codes, a, b) }
    }

    /// Steps of pairs, and which are not certain.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn steps(&self, pairs: __m512i) -> (__m512i, __mmask16) {
        let sums = self.fixed.of_pairs(pairs);
        (self.fixed.steps(sums), _mm512_testn_epi32_mask(sums, self.decisive))
    }

    /// As [`codes`](Self::codes), of which some are not certain.
    // Apart from the code that seldom comes here.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn certain(&self, codes: &Codes<4>, a: __m512i, b: __m512i) -> __m512i {
        let (exact, mut steps) = (Exact::of(self.params), pairs(a, b));
        for v in 0..4 {
            let pairs = steps[v];
            steps[v] = match self.steps(pairs) {
                (near, 0) => near,
                _ => {
                    let [a, b] = [_mm512_slli_epi32::<16>(pairs), pairs];
                    exact.steps(_mm512_srai_epi32::<24>(a), _mm512_srai_epi32::<24>(b))
                }
            };
        }
        codes.lanes(steps)
    }
}

/// Adds the job's residual, if it has one, to the codes of its outputs.
///
/// # Safety
///
/// The outputs are stored, and nobody else accesses them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in crate::kernels) unsafe fn add_to_outputs<const ROWS: usize>(job: &Job<'_, ROWS>) {
    let (Some(residual), Some(params)) = (job.residual, &job.params.residual) else { return };
    let codes = Codes::new(params.output);
    if let Some(sum) = residual.sum.map(|sum| Fixed::of(sum)) {
        let sums = |a, b| sum.codes(&codes, a, b);
        // SAFETY: the caller's promise.
        unsafe { each_output(job, residual, sums) };
    } else if let Some(near) = Near::of(params) {
        let sums = |a, b| near.codes(&codes, a, b);
        // SAFETY: the caller's promise.
        unsafe { each_output(job, residual, sums) };
    }
}

/// Makes the job's outputs what `compute` makes of them and the residual.
///
/// # Safety
///
/// As [`add_to_outputs`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn each_output<const ROWS: usize>(
    job: &Job<'_, ROWS>,
    residual: Residual,
    compute: impl Fn(__m512i, __m512i) -> __m512i,
) {
    for &output in job.outputs.get(..job.rows).unwrap_or_default() {
        for at in (0..job.stored).step_by(BYTES) {
            let to = output.wrapping_add(at);
            let block = Block { from: [to, residual.of(to)], to, mask: first(job.stored - at) };
            // SAFETY: the caller's promise; the residual is readable.
            unsafe { block.store(&compute) };
        }
    }
}

/// The codes of `a` and `b`, 256 times as large, as pairs of 16 bits, in the order of
/// [`Codes::lanes`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pairs(a: __m512i, b: __m512i) -> [__m512i; 4] {
    let [low, high] = [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)];
    let zero = _mm512_setzero_si512();
    [
        _mm512_unpacklo_epi8(zero, low),
        _mm512_unpackhi_epi8(zero, low),
        _mm512_unpacklo_epi8(zero, high),
        _mm512_unpackhi_epi8(zero, high),
    ]
}

/// Up to 64 adjacent elements of two inputs, readable, and of an output, writable: those of a mask.
struct Block {
    from: [*const i8; 2],
    to: *mut i8,
    mask: __mmask64,
}

impl Block {
    /// The inputs; what is not in the mask is zero.
    ///
    /// # Safety
    ///
    /// As [`Block`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn codes(&self) -> [__m512i; 2] {
        let [a, b] = self.from;
        // SAFETY: the caller's promise.
        let a = unsafe { _mm512_maskz_loadu_epi8(self.mask, a) };
        // SAFETY: the caller's promise.
        [a, unsafe { _mm512_maskz_loadu_epi8(self.mask, b) }]
    }

    /// Stores the output that `compute` makes of the inputs.
    ///
    /// # Safety
    ///
    /// As [`Block`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn store(&self, compute: impl Fn(__m512i, __m512i) -> __m512i) {
        // SAFETY: the caller's promise.
        let [a, b] = unsafe { self.codes() };
        let codes = compute(a, b);
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_epi8(self.to, self.mask, codes) };
    }

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
