//! Sums to codes, 16 at a time, to the bit of [`quant`](crate::quant).
// Loops over indices that are constants once unrolled: iterators and copies of whole arrays put
// the vectors of sums into memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::marker::PhantomData;

use super::unrolled;
use super::vector::{LANES, Numbers, first, load_numbers};
use crate::kernels::Path;
use crate::kernels::packed::{PARAMETERS, PackedConv2d, Rounding, complete};
use crate::kernels::x86::{MANTISSA, SHIFT, Sequence};
use crate::quant::{Multiplier, Output};

/// A panel's part of the table of columns, `V` vectors wide.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Columns<'a, const V: usize>(&'a [[Numbers; V]; PARAMETERS as usize]);

impl<'a, const V: usize> Columns<'a, V> {
    pub(in crate::kernels) fn new(table: &'a [i32]) -> Option<Self> {
        let (vectors, _) = table.as_chunks();
        vectors.as_chunks().0.first_chunk().map(Self)
    }

    /// The numbers of one kind.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) fn row<const KIND: usize>(self) -> [__m512i; V] {
        let mut vectors = [_mm512_setzero_si512(); V];
        for v in 0..V {
            vectors[v] = load_numbers(&self.0[KIND][v]);
        }
        vectors
    }
}

/// Stores the codes of rows of sums that are [`moved`], `len` of each row from column `first` on:
/// the fast form.
///
/// # Safety
///
/// Every target is writable for `len` codes from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn store_fast<S: Sequence, const R: usize, const V: usize>(
    sums: impl Fn(usize, usize) -> __m512i,
    columns: Columns<'_, V>,
    output: Output,
    targets: &[*mut i8; R],
    (start, len): (usize, usize),
) {
    let mut steps = [[_mm512_setzero_si512(); V]; R];
    unrolled!(v < V, {
        let fast = Fast::<S>::new(columns, v);
        unrolled!(r < R, {
            steps[r][v] = finished(fast.scaled(sums(r, v)));
        });
    });
    let (codes, first) = (Codes::<V>::new(output), first(len));
    // Rows that are narrow are packed together; the last may stand for others that are missing.
    let together = 4 / V;
    unrolled!(r < R, {
        let row = |i: usize| (r + i).min(R - 1);
        let target = |i: usize| targets[row(i)].wrapping_add(start);
        if V == 1 && r % together == 0 {
            let rows = [steps[r][0], steps[row(1)][0], steps[row(2)][0], steps[row(3)][0]];
            let rows = codes.rows(rows);
            for i in 0..together.min(R - r) {
                // SAFETY: the caller's promise.
                unsafe { _mm_mask_storeu_epi8(target(i), first as __mmask16, rows[i]) };
            }
        } else if V == 2 && r % together == 0 {
            let other = steps[row(1)];
            let rows = codes.pair_in_order([steps[r][0], steps[r][V - 1], other[0], other[V - 1]]);
            let rows = [_mm512_castsi512_si256(rows), _mm512_extracti64x4_epi64::<1>(rows)];
            for i in 0..together.min(R - r) {
                // SAFETY: the caller's promise.
                unsafe { _mm256_mask_storeu_epi8(target(i), first as __mmask32, rows[i]) };
            }
        } else if V > 2 {
            // SAFETY: the caller's promise.
            unsafe { codes.store(steps[r], target(0), first) };
        }
    });
}

/// Stores the codes of rows of sums, `len` of each row from column `first` on: the general forms.
///
/// # Safety
///
/// As [`store_fast`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn store<const V: usize>(
    sums: &[[__m512i; V]],
    columns: Columns<'_, V>,
    params: &PackedConv2d,
    targets: &[*mut i8],
    (start, len): (usize, usize),
) {
    let (mantissas, shifts) = (columns.row::<MANTISSA>(), columns.row::<SHIFT>());
    let (codes, first) = (Codes::<V>::new(params.output), first(len));
    let scaled = match params.rounding {
        Rounding::Double => double,
        Rounding::Once => once,
    };
    for (sums, &target) in sums.iter().zip(targets) {
        let mut steps = *sums;
        for v in 0..V {
            steps[v] = scaled(sums[v], mantissas[v], shifts[v]);
        }
        // SAFETY: the caller's promise.
        unsafe { codes.store(steps, target.wrapping_add(start), first) };
    }
}

/// The steps of sums of 16 columns each, which are [`moved`] for the fast form.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn scaled<S: Sequence, const R: usize>(
    sums: [__m512i; R],
    rounding: Rounding,
    columns: Columns<'_, 1>,
) -> [__m512i; R] {
    let mut steps = sums;
    if S::FAST {
        let fast = Fast::<S>::new(columns, 0);
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

/// Sums as [`Fast`] takes them: moved up by 2^31, unsigned.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn moved(sums: __m512i) -> __m512i {
    _mm512_xor_si512(sums, _mm512_set1_epi32(i32::MIN))
}

/// The fast form for 16 columns, see [`complete`](crate::kernels::packed::complete).
pub(in crate::kernels) struct Fast<S> {
    doubled: __m512i,
    doubled_odd: __m512i,
    constants: __m512i,
    constants_odd: __m512i,
    shifts: __m512i,
    sequence: PhantomData<S>,
}

impl<S: Sequence> Fast<S> {
    /// For the columns of vector `v`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) fn new<const V: usize>(columns: Columns<'_, V>, v: usize) -> Self {
        // What is otherwise added to sums that are not negative.
        let one = _mm512_set1_epi64(if S::TIES { 0 } else { 1 << 32 });
        Self {
            doubled: columns.row::<3>()[v],
            doubled_odd: columns.row::<4>()[v],
            constants: _mm512_add_epi64(columns.row::<5>()[v], one),
            constants_odd: _mm512_add_epi64(columns.row::<6>()[v], one),
            shifts: columns.row::<7>()[v],
            sequence: PhantomData,
        }
    }

    /// The form for one multiplier; None where it does not apply.
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) fn of(multiplier: Multiplier) -> Option<Self> {
        if !(-30..0).contains(&multiplier.shift) {
            return None;
        }
        let mut table = [0; LANES * PARAMETERS as usize];
        table.get_mut(LANES..2 * LANES)?.fill(multiplier.mantissa);
        table.get_mut(2 * LANES..3 * LANES)?.fill(multiplier.shift);
        complete(Path::Avx512Vnni, &mut table, LANES);
        Columns::<1>::new(&table).map(|columns| Self::new(columns, 0))
    }

    /// Scales sums that are [`moved`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) fn scaled(&self, sums: __m512i) -> __m512i {
        let even = _mm512_mul_epu32(sums, self.doubled);
        let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(sums), self.doubled_odd);
        let even = _mm512_add_epi64(even, self.constants);
        let odd = _mm512_add_epi64(odd, self.constants_odd);
        let mut high = high_halves(even, odd);
        if S::TIES {
            high = _mm512_add_epi32(high, _mm512_srli_epi32::<31>(sums));
        }
        _mm512_srav_epi32(high, self.shifts)
    }
}

/// A vector that is computed before those that follow in the source: without, the compiler begins
/// more of them than there are registers for what is between.
#[inline]
#[target_feature(enable = "avx512f")]
fn finished(mut vector: __m512i) -> __m512i {
    // SAFETY: does nothing.
    unsafe {
        asm!("/* {0} */", inout(zmm_reg) vector, options(nomem, nostack, preserves_flags));
    }
    vector
}

/// The high halves of the lanes of `even` and `odd`, by turns.
#[inline]
#[target_feature(enable = "avx512f")]
fn high_halves(even: __m512i, mut odd: __m512i) -> __m512i {
    // The compiler would take a permutation of two vectors, which is slower.
    // SAFETY: only the vector changes.
    unsafe {
        asm!(
            "vpshufd {odd}{{{lower}}}, {even}, 0xF5",
            odd = inout(zmm_reg) odd,
            even = in(zmm_reg) even,
            lower = in(kreg) 0x5555_u16,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    odd
}

/// [`requantize`](crate::quant::requantize).
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn double(sums: __m512i, mantissas: __m512i, shifts: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let left = _mm512_max_epi32(shifts, zero);
    let right = _mm512_max_epi32(_mm512_sub_epi32(zero, shifts), zero);
    let sums = _mm512_sllv_epi32(sums, left);
    let half = _mm512_set1_epi64(1 << 30);
    let even = _mm512_mul_epi32(sums, mantissas);
    let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(sums), _mm512_srli_epi64::<32>(mantissas));
    let even = _mm512_slli_epi64::<1>(_mm512_add_epi64(even, half));
    let odd = _mm512_slli_epi64::<1>(_mm512_add_epi64(odd, half));
    let high = high_halves(even, odd);
    let one = _mm512_set1_epi32(1);
    let mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
    let negative = _mm512_srli_epi32::<31>(high);
    let threshold = _mm512_add_epi32(_mm512_srli_epi32::<1>(mask), negative);
    let up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(high, mask), threshold);
    let steps = _mm512_srav_epi32(high, right);
    _mm512_mask_add_epi32(steps, up, steps, one)
}

/// [`requantize_once`](crate::quant::requantize_once).
#[inline]
#[target_feature(enable = "avx512f")]
fn once(sums: __m512i, mantissas: __m512i, shifts: __m512i) -> __m512i {
    let magnitudes = _mm512_abs_epi32(sums);
    let shifts = _mm512_sub_epi32(_mm512_set1_epi32(31), shifts);
    let even = rounded(magnitudes, mantissas, _mm512_and_si512(shifts, _mm512_set1_epi64(63)));
    let odd = rounded(
        _mm512_srli_epi64::<32>(magnitudes),
        _mm512_srli_epi64::<32>(mantissas),
        _mm512_srli_epi64::<32>(shifts),
    );
    let steps = _mm512_mask_shuffle_epi32::<0xA0>(even, 0xAAAA, odd);
    let zero = _mm512_setzero_si512();
    let negative = _mm512_cmplt_epi32_mask(sums, zero);
    _mm512_mask_sub_epi32(steps, negative, zero, steps)
}

/// `a * b / 2^bits` of the even lanes, rounded half up, in 64 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(a: __m512i, b: __m512i, bits: __m512i) -> __m512i {
    let one = _mm512_set1_epi64(1);
    let half = _mm512_sllv_epi64(one, _mm512_sub_epi64(bits, one));
    _mm512_srlv_epi64(_mm512_add_epi64(_mm512_mul_epu32(a, b), half), bits)
}

/// Zero point and clamp, and the order of columns undone.
pub(in crate::kernels) struct Codes<const V: usize> {
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
}

impl<const V: usize> Codes<V> {
    /// The codes of four vectors of steps, lane by lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn lanes(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let pair = |a, b| _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let codes = _mm512_packs_epi16(pair(a, b), pair(c, d));
        _mm512_min_epi8(_mm512_max_epi8(codes, self.min), self.max)
    }

    /// The codes of four vectors, one after another.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn in_order(&self, steps: [__m512i; 4]) -> __m512i {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, self.lanes(steps))
    }

    /// The codes of four vectors.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn rows(&self, steps: [__m512i; 4]) -> [__m128i; 4] {
        let codes = self.in_order(steps);
        [
            _mm512_castsi512_si128(codes),
            _mm512_extracti32x4_epi32::<1>(codes),
            _mm512_extracti32x4_epi32::<2>(codes),
            _mm512_extracti32x4_epi32::<3>(codes),
        ]
    }

    /// The codes of two rows of 32 columns in the order of panels, one after another.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn pair_in_order(&self, steps: [__m512i; 4]) -> __m512i {
        let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        _mm512_permutexvar_epi64(order, self.lanes(steps))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) fn new(output: Output) -> Self {
        Self {
            zero_point: _mm512_set1_epi16(output.zero_point.into()),
            min: _mm512_set1_epi8(output.min),
            max: _mm512_set1_epi8(output.max),
        }
    }

    /// # Safety
    ///
    /// The target is writable for the codes of the mask.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(in crate::kernels) unsafe fn store(
        &self,
        steps: [__m512i; V],
        target: *mut i8,
        first: __mmask64,
    ) {
        // In each vector lane l holds columns `(l / 4) * 4 V + 4 v + l % 4`, so that packing lane
        // by lane leaves the columns in their order, but for gaps when V is not 4.
        let pair =
            |a: __m512i, b: __m512i| _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let last = steps[V - 1];
        let codes = match V {
            4 => _mm512_packs_epi16(pair(steps[0], steps[1 % V]), pair(steps[2 % V], last)),
            3 => {
                let gaps = _mm512_packs_epi16(pair(steps[0], steps[1 % V]), pair(last, last));
                let order = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0, 0, 0, 0);
                _mm512_permutexvar_epi32(order, gaps)
            }
            2 => {
                let pair = pair(steps[0], last);
                let order = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
                _mm512_permutexvar_epi64(order, _mm512_packs_epi16(pair, pair))
            }
            _ => {
                let pair = pair(last, last);
                let order = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
                _mm512_permutexvar_epi32(order, _mm512_packs_epi16(pair, pair))
            }
        };
        let codes = _mm512_min_epi8(_mm512_max_epi8(codes, self.min), self.max);
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_epi8(target, first, codes) };
    }
}

impl Codes<4> {
    /// Stores the codes of 64 steps that are in order.
    ///
    /// # Safety
    ///
    /// The target is writable for the codes of the mask.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(in crate::kernels) unsafe fn store_in_order(
        &self,
        steps: [__m512i; 4],
        target: *mut i8,
        mask: __mmask64,
    ) {
        let codes = self.in_order(steps);
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_epi8(target, mask, codes) };
    }
}

impl Codes<1> {
    /// Stores two rows of steps.
    ///
    /// # Safety
    ///
    /// The targets are writable for the codes of their masks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(in crate::kernels) unsafe fn store_pair(
        &self,
        steps: [__m512i; 2],
        targets: [*mut i8; 2],
        masks: [__mmask16; 2],
    ) {
        let [a, b] = steps;
        let pair = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
        let codes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(pair, pair));
        let codes = _mm512_min_epi8(_mm512_max_epi8(codes, self.min), self.max);
        let codes = _mm512_castsi512_si256(codes);
        let codes = [_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes)];
        for ((codes, target), mask) in codes.into_iter().zip(targets).zip(masks) {
            // SAFETY: the caller's promise.
            unsafe { _mm_mask_storeu_epi8(target, mask, codes) };
        }
    }
}
