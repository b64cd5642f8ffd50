//! Sums to codes, 8 at a time, to the bit of [`quant`](crate::quant).

use core::arch::x86_64::*;

use super::vector::{Numbers, load_numbers};
use crate::kernels::packed::Rounding;
use crate::quant::Output;

/// The sums, or the numbers of one kind, of 16 columns.
pub(super) type Columns = [__m256i; 2];

/// What makes codes of the sums of 16 columns.
pub(super) struct Finish<'a> {
    table: &'a [[Numbers; 2]],
    fast: bool,
    rounding: Rounding,
    output: Output,
}

impl<'a> Finish<'a> {
    pub(super) fn new(table: &'a [i32], fast: bool, rounding: Rounding, output: Output) -> Self {
        Self { table: table.as_chunks().0.as_chunks().0, fast, rounding, output }
    }

    /// Numbers of one kind: bias, mantissa, shift, or what the path asks besides.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn numbers(&self, kind: usize) -> Columns {
        match self.table.get(kind) {
            Some([low, high]) => [load_numbers(low), load_numbers(high)],
            None => [_mm256_setzero_si256(); 2],
        }
    }

    /// The codes of `sums`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn codes(&self, sums: Columns) -> __m128i {
        let numbers = |kind: usize| self.numbers(kind);
        let last = || [numbers(3), numbers(4), numbers(5), numbers(6), numbers(7)];
        let [low, high] = match (self.fast, self.rounding) {
            (true, Rounding::Double) => fast(sums, last()),
            (_, Rounding::Double) => each(sums, numbers(1), numbers(2), |x, m, s| double(x, m, s)),
            (_, Rounding::Once) => each(sums, numbers(1), numbers(2), |x, m, s| once(x, m, s)),
        };
        let Output { zero_point, min, max } = self.output;
        let zero = _mm256_set1_epi16(zero_point.into());
        let pairs = _mm256_adds_epi16(_mm256_packs_epi32(low, high), zero);
        let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
        let (low, high) = (_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let codes = _mm_max_epi8(_mm_packs_epi16(low, high), _mm_set1_epi8(min));
        _mm_min_epi8(codes, _mm_set1_epi8(max))
    }
}

/// The fast form, see [`complete`](crate::kernels::packed::complete).
#[inline]
#[target_feature(enable = "avx2")]
fn fast(sums: Columns, numbers: [Columns; 5]) -> Columns {
    let [doubled, doubled_odd, constants, constants_odd, shifts] = numbers;
    let mut steps = sums;
    for v in 0..2 {
        let moved = _mm256_xor_si256(sums[v], _mm256_set1_epi32(i32::MIN));
        let even = _mm256_mul_epu32(moved, doubled[v]);
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(moved), doubled_odd[v]);
        let even = _mm256_add_epi64(even, constants[v]);
        let odd = _mm256_add_epi64(odd, constants_odd[v]);
        let not_negative = _mm256_srli_epi32::<31>(moved);
        let sum = _mm256_add_epi32(high_halves(even, odd), not_negative);
        steps[v] = _mm256_srav_epi32(sum, shifts[v]);
    }
    steps
}

/// The general forms.
#[inline]
#[target_feature(enable = "avx2")]
fn each(
    sums: Columns,
    mantissas: Columns,
    shifts: Columns,
    steps: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) -> Columns {
    let ([a, b], [mantissa_a, mantissa_b], [shift_a, shift_b]) = (sums, mantissas, shifts);
    [steps(a, mantissa_a, shift_a), steps(b, mantissa_b, shift_b)]
}

/// The high halves of the lanes of `even` and `odd`, by turns.
#[inline]
#[target_feature(enable = "avx2")]
fn high_halves(even: __m256i, odd: __m256i) -> __m256i {
    _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd)
}

/// [`requantize`](crate::quant::requantize).
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn double(sums: __m256i, mantissas: __m256i, shifts: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    let left = _mm256_max_epi32(shifts, zero);
    let right = _mm256_max_epi32(_mm256_sub_epi32(zero, shifts), zero);
    let sums = _mm256_sllv_epi32(sums, left);
    let half = _mm256_set1_epi64x(1 << 30);
    let even = _mm256_mul_epi32(sums, mantissas);
    let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(sums), _mm256_srli_epi64::<32>(mantissas));
    let even = _mm256_slli_epi64::<1>(_mm256_add_epi64(even, half));
    let odd = _mm256_slli_epi64::<1>(_mm256_add_epi64(odd, half));
    let high = high_halves(even, odd);
    let one = _mm256_set1_epi32(1);
    let mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
    let negative = _mm256_srli_epi32::<31>(high);
    let threshold = _mm256_add_epi32(_mm256_srli_epi32::<1>(mask), negative);
    let up = _mm256_cmpgt_epi32(_mm256_and_si256(high, mask), threshold);
    _mm256_sub_epi32(_mm256_srav_epi32(high, right), up)
}

/// [`requantize_once`](crate::quant::requantize_once).
#[inline]
#[target_feature(enable = "avx2")]
fn once(sums: __m256i, mantissas: __m256i, shifts: __m256i) -> __m256i {
    let magnitudes = _mm256_abs_epi32(sums);
    let shifts = _mm256_sub_epi32(_mm256_set1_epi32(31), shifts);
    let low = _mm256_set1_epi64x(0xFFFF_FFFF);
    let even = rounded(magnitudes, mantissas, _mm256_and_si256(shifts, low));
    let odd = rounded(
        _mm256_srli_epi64::<32>(magnitudes),
        _mm256_srli_epi64::<32>(mantissas),
        _mm256_srli_epi64::<32>(shifts),
    );
    let steps = _mm256_blend_epi32::<0b1010_1010>(even, _mm256_slli_epi64::<32>(odd));
    let negative = _mm256_srai_epi32::<31>(sums);
    _mm256_sub_epi32(_mm256_xor_si256(steps, negative), negative)
}

/// `a * b / 2^bits` of the even lanes, rounded half up, in 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(a: __m256i, b: __m256i, bits: __m256i) -> __m256i {
    let one = _mm256_set1_epi64x(1);
    let half = _mm256_sllv_epi64(one, _mm256_sub_epi64(bits, one));
    _mm256_srlv_epi64(_mm256_add_epi64(_mm256_mul_epu32(a, b), half), bits)
}
