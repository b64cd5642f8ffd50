//! Sums to codes, 8 at a time, to the bit of [`quant`](crate::quant).
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;
use core::marker::PhantomData;

use super::vector::{LANES, Numbers, load_numbers};
use crate::kernels::Path;
use crate::kernels::packed::{PARAMETERS, Rounding, complete};
use crate::kernels::x86::{MANTISSA, SHIFT, Sequence};
use crate::quant::{Multiplier, Output};

/// A part of the table of columns, `V` vectors wide.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, const V: usize>(&'a [[Numbers; V]; PARAMETERS as usize]);

impl<'a, const V: usize> Columns<'a, V> {
    pub(super) fn new(table: &'a [i32]) -> Option<Self> {
        table.as_chunks().0.as_chunks().0.first_chunk().map(Self)
    }

    /// The numbers of one kind.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn row<const KIND: usize>(self) -> [__m256i; V] {
        let mut vectors = [_mm256_setzero_si256(); V];
        for v in 0..V {
            vectors[v] = load_numbers(&self.0[KIND][v]);
        }
        vectors
    }
}

/// What sums begin with.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn begun<S: Sequence>(biases: __m256i) -> __m256i {
    if S::FAST { moved(biases) } else { biases }
}

/// Sums as [`Fast`] takes them: moved up by 2^31, unsigned.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn moved(sums: __m256i) -> __m256i {
    _mm256_xor_si256(sums, _mm256_set1_epi32(i32::MIN))
}

/// The fast form for 8 columns, see [`complete`].
pub(super) struct Fast<S> {
    doubled: __m256i,
    doubled_odd: __m256i,
    constants: __m256i,
    constants_odd: __m256i,
    shifts: __m256i,
    sequence: PhantomData<S>,
}

impl<S: Sequence> Fast<S> {
    /// For columns whose numbers, from the doubled mantissas on, are given.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(numbers: [__m256i; 5]) -> Self {
        let [doubled, doubled_odd, constants, constants_odd, shifts] = numbers;
        // What is otherwise added to sums that are not negative.
        let one = _mm256_set1_epi64x(if S::TIES { 0 } else { 1 << 32 });
        Self {
            doubled,
            doubled_odd,
            constants: _mm256_add_epi64(constants, one),
            constants_odd: _mm256_add_epi64(constants_odd, one),
            shifts,
            sequence: PhantomData,
        }
    }

    /// For a panel of 8 columns.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of_panel(columns: Columns<'_, 1>) -> Self {
        let [doubled] = columns.row::<3>();
        let [doubled_odd] = columns.row::<4>();
        let [constants] = columns.row::<5>();
        let [constants_odd] = columns.row::<6>();
        let [shifts] = columns.row::<7>();
        Self::new([doubled, doubled_odd, constants, constants_odd, shifts])
    }

    /// The form for one multiplier; None where it does not apply.
    #[target_feature(enable = "avx2")]
    pub(super) fn of(multiplier: Multiplier) -> Option<Self> {
        if !(-30..0).contains(&multiplier.shift) {
            return None;
        }
        let mut table = [0; LANES * PARAMETERS as usize];
        table.get_mut(LANES..2 * LANES)?.fill(multiplier.mantissa);
        table.get_mut(2 * LANES..3 * LANES)?.fill(multiplier.shift);
        complete(Path::Avx2, &mut table, LANES);
        Columns::<1>::new(&table).map(|columns| Self::of_panel(columns))
    }

    /// Scales sums that are [`moved`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn scaled(&self, sums: __m256i) -> __m256i {
        let even = _mm256_mul_epu32(sums, self.doubled);
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(sums), self.doubled_odd);
        let even = _mm256_add_epi64(even, self.constants);
        let odd = _mm256_add_epi64(odd, self.constants_odd);
        let mut high = high_halves(even, odd);
        if S::TIES {
            high = _mm256_add_epi32(high, _mm256_srli_epi32::<31>(sums));
        }
        _mm256_srav_epi32(high, self.shifts)
    }
}

/// The steps of sums of 8 columns each, which [began](begun) with their biases.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn scaled<S: Sequence, const R: usize>(
    sums: [__m256i; R],
    rounding: Rounding,
    columns: Columns<'_, 1>,
) -> [__m256i; R] {
    let mut steps = sums;
    if S::FAST {
        let fast = Fast::<S>::of_panel(columns);
        for r in 0..R {
            steps[r] = fast.scaled(sums[r]);
        }
    } else {
        let ([mantissas], [shifts]) = (columns.row::<MANTISSA>(), columns.row::<SHIFT>());
        for r in 0..R {
            steps[r] = match rounding {
                Rounding::Double => double(sums[r], mantissas, shifts),
                Rounding::Once => once(sums[r], mantissas, shifts),
            };
        }
    }
    steps
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
pub(super) fn once(sums: __m256i, mantissas: __m256i, shifts: __m256i) -> __m256i {
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

/// Zero point and clamp.
pub(super) struct Codes {
    zero_point: __m256i,
    min: __m256i,
    max: __m256i,
}

impl Codes {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(output: Output) -> Self {
        Self {
            zero_point: _mm256_set1_epi16(output.zero_point.into()),
            min: _mm256_set1_epi8(output.min),
            max: _mm256_set1_epi8(output.max),
        }
    }

    /// The codes of four vectors of steps: four of each, then the other four of each.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(&self, [a, b, c, d]: [__m256i; 4]) -> __m256i {
        let pair = |a, b| _mm256_adds_epi16(_mm256_packs_epi32(a, b), self.zero_point);
        let codes = _mm256_packs_epi16(pair(a, b), pair(c, d));
        _mm256_min_epi8(_mm256_max_epi8(codes, self.min), self.max)
    }

    /// The codes of four vectors, one after another.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn in_order(&self, steps: [__m256i; 4]) -> __m256i {
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_permutevar8x32_epi32(self.halves(steps), order)
    }

    /// The codes of four vectors, each in the lower half of one.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn rows(&self, steps: [__m256i; 4]) -> [__m128i; 4] {
        let halves = self.halves(steps);
        let (first, last) = (_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves));
        let low = _mm_unpacklo_epi32(first, last);
        let high = _mm_unpackhi_epi32(first, last);
        [low, _mm_unpackhi_epi64(low, low), high, _mm_unpackhi_epi64(high, high)]
    }

    /// The codes of two times two vectors of which the second has what lies between the halves of
    /// the first.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn between(&self, [[a, b], [c, d]]: [[__m256i; 2]; 2]) -> [__m128i; 2] {
        let codes = _mm256_permute4x64_epi64::<0b11_01_10_00>(self.halves([a, b, c, d]));
        [_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes)]
    }
}
