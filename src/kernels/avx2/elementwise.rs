//! ADD and MUL, 16 elements at a time.

use core::arch::x86_64::*;

use super::requantize::{Columns, Finish, double};
use super::vector::{self, CHANNELS, widen};
use crate::kernels::packed::{PARAMETERS, Rounding, complete};
use crate::kernels::reference::{Add, Mul, Term};
use crate::kernels::runs::each_pointer;
use crate::kernels::{Io, Path};
use crate::quant::{Multiplier, Output};

/// ADD; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx2")]
pub(super) fn add(params: &Add, io: &Io<'_>) -> bool {
    let [a, b] = params.terms.map(|term| Addend::of(term));
    // Then terms are below 2^28.
    let small = params.terms.iter().all(|term| term.multiplier.shift <= 0);
    each_vector(io, small, params.multiplier, params.output, |codes_a, codes_b| {
        let ([a, c], [b, d]) = (a.scaled(codes_a), b.scaled(codes_b));
        [_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)]
    })
}

/// A [`Term`] in registers.
struct Addend {
    zero_point: __m256i,
    mantissa: __m256i,
    shift: __m256i,
}

impl Addend {
    #[target_feature(enable = "avx2")]
    fn of(term: Term) -> Self {
        let Term { zero_point, multiplier } = term;
        Self {
            zero_point: _mm256_set1_epi16(zero_point.into()),
            mantissa: _mm256_set1_epi32(multiplier.mantissa),
            shift: _mm256_set1_epi32(multiplier.shift),
        }
    }

    /// Codes in the common scale.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scaled(&self, codes: __m256i) -> Columns {
        let steps = _mm256_sub_epi16(codes, self.zero_point);
        numbers(steps)
            .map(|steps| double(_mm256_slli_epi32::<20>(steps), self.mantissa, self.shift))
    }
}

/// MUL; false, and nothing is done, when channels are to be repeated.
#[target_feature(enable = "avx2")]
pub(super) fn mul(params: &Mul, io: &Io<'_>) -> bool {
    let [zero_a, zero_b] = params.zero_points.map(|zero| _mm256_set1_epi16(zero.into()));
    each_vector(io, true, params.multiplier, params.output, |codes_a, codes_b| {
        let a = numbers(_mm256_sub_epi16(codes_a, zero_a));
        let b = numbers(_mm256_sub_epi16(codes_b, zero_b));
        let ([a, c], [b, d]) = (a, b);
        [_mm256_mullo_epi32(a, b), _mm256_mullo_epi32(c, d)]
    })
}

/// Sixteen numbers of 16 bits in 32.
#[inline]
#[target_feature(enable = "avx2")]
fn numbers(steps: __m256i) -> Columns {
    let high = _mm256_extracti128_si256::<1>(steps);
    [_mm256_cvtepi16_epi32(_mm256_castsi256_si128(steps)), _mm256_cvtepi16_epi32(high)]
}

/// Computes every output from what `sums` makes of codes of both inputs, as numbers of 16 bits,
/// which are below 2^30 if `small`; false, and nothing is done, when channels are to be repeated.
#[inline]
#[target_feature(enable = "avx2")]
fn each_vector(
    io: &Io<'_>,
    small: bool,
    multiplier: Multiplier,
    output: Output,
    sums: impl Fn(__m256i, __m256i) -> Columns,
) -> bool {
    let mut table = [0; CHANNELS * PARAMETERS as usize];
    let kinds = [0, multiplier.mantissa, multiplier.shift];
    for (numbers, kind) in table.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(kinds) {
        *numbers = [kind; CHANNELS];
    }
    complete(Path::Avx2, &mut table, CHANNELS);
    let fast = small && (-30..0).contains(&multiplier.shift);
    let finish = Finish::new(&table, fast, Rounding::Double, output);
    each_pointer(io, |[a, b], to, len| {
        for start in (0..len).step_by(CHANNELS) {
            let count = (len - start).min(CHANNELS);
            let [a, b] = [a, b].map(|from| {
                // SAFETY: some of the run's elements.
                widen(&unsafe { vector::load(from.wrapping_add(start), count) })
            });
            let codes = finish.codes(sums(a, b));
            // SAFETY: as above.
            unsafe { vector::store(to.wrapping_add(start), codes, count) };
        }
    })
}
