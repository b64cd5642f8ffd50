//! Tiles of convolutions, computed in parts of up to 8 pixels times 8 columns.
//!
//! `VPMADDUBSW` multiplies codes without sign by weights and adds two products in 16 bits, in which
//! [they fit](crate::kernels::packed::Place). Weights have no zero point: it is taken from them
//! before they are packed.
// Loops over indices that are constants once unrolled: iterators and copies of whole arrays put
// the vectors of sums into memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::Range;

use super::requantize::{Codes, Columns, begun, scaled};
use super::vector::{self, LANES, load_weights};
use crate::kernels::packed::driver::{Job, Microkernel};
use crate::kernels::packed::form::{InputForm, Pieces};
use crate::kernels::packed::place::{COLUMNS, GROUP, GROUP_BYTES, Group, Groups, MAX_GROUPS};
use crate::kernels::packed::{PARAMETERS, PackedConv2d, Place, Rounding};
use crate::kernels::x86::{BIAS, Exact, Rectified, Sequence, Short};
use crate::kernels::{self, Path};

/// Pixels of a tile.
pub(super) const ROWS: usize = 192;
/// Pixels that are in registers at once.
const TOGETHER: usize = 8;
/// Pixels from which on a tile's inputs and outputs do not stay in the first-level cache, so that some
/// pixels are multiplied by several panels before the next are.
const LARGE_TILE: usize = 128;
/// Bytes of these panels, which stay in the cache.
const NEAR_BYTES: usize = 10 << 10;
/// Most of these panels.
const NEAR_PANELS: usize = 8;
/// Bytes of weights that are on their way while others are multiplied by a single pixel.
const AHEAD: usize = 2 << 10;
/// Numbers per panel.
const NUMBERS: usize = COLUMNS * PARAMETERS as usize;

/// The microkernel of [`Path::Avx2`].
#[derive(Debug)]
pub(super) struct Kernel;

// SAFETY: `tile` stores the columns of `rows` pixels only, and reads `run` bytes of each.
unsafe impl Microkernel<ROWS> for Kernel {
    const PATH: Path = Path::Avx2;
    const PART: usize = TOGETHER;
    const BELOW: bool = true;
    type Form = Offset;
    const ADD: kernels::Kernel<PackedConv2d> = super::add_residual;

    unsafe fn tile(job: &Job<'_, ROWS>) {
        let params = job.params;
        let tile = match (params.fast, params.rounding) {
            (true, Rounding::Double) if params.output.rectifies() => tile::<Rectified>,
            (true, Rounding::Double) => tile::<Short>,
            _ => tile::<Exact>,
        };
        // SAFETY: the caller's promise.
        unsafe { tile(job) }
    }
}

/// Codes with their highest bit inverted, which is 128 more, without sign.
#[derive(Debug)]
pub(super) struct Offset;

// SAFETY: what is copied and filled is as long as asked.
unsafe impl InputForm for Offset {
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { vector::copy(to, from, Pieces { len, count: 1, from_step: 0, to_step: 0 }) }
    }

    unsafe fn copy_pieces(to: *mut i8, from: *const i8, pieces: Pieces) {
        // SAFETY: the caller's promise.
        unsafe { vector::copy(to, from, pieces) }
    }

    unsafe fn fill(to: *mut i8, code: i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { to.write_bytes(code.cast_unsigned() ^ 0x80, len) }
    }

    unsafe fn sum(from: *const i8, len: usize) -> i32 {
        let mut sum = 0i32;
        for i in 0..len {
            // SAFETY: inside `len` inputs.
            let from = unsafe { from.cast::<u8>().add(i) };
            // SAFETY: as above.
            sum = sum.wrapping_add(unsafe { from.read() }.into());
        }
        sum
    }
}

/// Groups `N` of which follow each other are together.
#[derive(Clone, Copy)]
struct Sets<'a, const N: usize> {
    /// Bytes from the first input of a pixel to those of each group.
    offsets: &'a [[u32; N]],
    weights: &'a [[Group; N]],
}

impl<'a, const N: usize> Sets<'a, N> {
    /// The first `count` groups; what is behind them is left.
    fn split(offsets: &mut &'a [u32], weights: &mut &'a [Group], count: usize) -> Self {
        let (these, others) = offsets.split_at_checked(count).unwrap_or_default();
        *offsets = others;
        let (of_these, others) = weights.split_at_checked(count).unwrap_or_default();
        *weights = others;
        Self { offsets: these.as_chunks().0, weights: of_these.as_chunks().0 }
    }

    #[inline]
    fn iter(self) -> impl Iterator<Item = (&'a [u32; N], &'a [Group; N])> {
        self.offsets.iter().zip(self.weights)
    }
}

/// A panel of a job.
struct Panel<'a> {
    fours: Sets<'a, 4>,
    twos: Sets<'a, 2>,
    alone: Sets<'a, 1>,
    columns: Columns<'a, 1>,
    /// Its first column.
    first: usize,
    /// Columns to store, from that.
    stored: usize,
}

impl<'a> Panel<'a> {
    fn new(located: Located<'a>, columns: Columns<'a, 1>, first: usize, stored: usize) -> Self {
        let Located { mut offsets, mut weights, fours, twos } = located;
        let fours = Sets::split(&mut offsets, &mut weights, fours);
        let twos = Sets::split(&mut offsets, &mut weights, twos);
        let alone = offsets.len();
        let alone = Sets::split(&mut offsets, &mut weights, alone);
        Self { fours, twos, alone, columns, first, stored }
    }
}

/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile<S: Sequence>(job: &Job<'_, ROWS>) {
    let Some(reach) = Reach::of(job) else { return };
    let parts = job.rows.div_ceil(TOGETHER);
    let (least, longer) = (job.rows / parts, job.rows % parts);
    let longer_rows = longer * (least + 1);
    let panel = job.params.panel_groups as usize * GROUP_BYTES;
    let is_large = job.rows >= LARGE_TILE;
    let at_once = if is_large { (NEAR_BYTES / panel.max(1)).clamp(1, NEAR_PANELS) } else { 1 };
    let mut panels = (0..).step_by(COLUMNS).zip(job.panels.chunks_exact(panel.max(1)));
    let mut columns = job.columns.chunks_exact(NUMBERS);
    loop {
        let mut offsets = [const { MaybeUninit::uninit() }; MAX_GROUPS as usize];
        let mut left = offsets.as_mut_slice();
        let mut near = heapless::Vec::<_, NEAR_PANELS>::new();
        for ((first, panel), columns) in panels.by_ref().zip(columns.by_ref()).take(at_once) {
            let Some(located) = reach.locate(panel, &mut left) else { return };
            let Some(columns) = Columns::new(columns) else { return };
            let stored = (job.stored - first).min(COLUMNS);
            let _ = near.push(Panel::new(located, columns, first, stored));
        }
        if near.is_empty() {
            return;
        }
        for (rows, range) in [(least + 1, 0..longer_rows), (least, longer_rows..job.rows)] {
            let compute = match rows {
                1 => compute::<S, 1>,
                2 => compute::<S, 2>,
                3 => compute::<S, 3>,
                4 => compute::<S, 4>,
                5 => compute::<S, 5>,
                6 => compute::<S, 6>,
                7 => compute::<S, 7>,
                _ => compute::<S, 8>,
            };
            // SAFETY: the caller's promise.
            unsafe { compute(job, &near, range) };
        }
    }
}

/// How far the inputs of a pixel go.
struct Reach {
    /// Bytes from a row to the next.
    step: __m256i,
    /// The last row.
    last_row: __m256i,
    /// Bytes from the first input in a row to the last group of inputs.
    last: __m256i,
}

/// The groups of a panel.
struct Located<'a> {
    /// Bytes from the first input of a pixel to those of each group.
    offsets: &'a [u32],
    weights: &'a [Group],
    /// How many groups are together by fours, and how many behind them by twos.
    fours: usize,
    twos: usize,
}

impl Reach {
    #[target_feature(enable = "avx2")]
    fn of(job: &Job<'_, ROWS>) -> Option<Self> {
        // The first tap of a row, and the last.
        let ([first, ..], [end, ..]) = (job.inputs.starts.first()?, job.inputs.starts.last()?);
        let last = end.addr().wrapping_sub(first.addr()) + job.run - GROUP;
        let all = |number: usize| _mm256_set1_epi32(number as i32);
        Some(Self {
            step: all(job.inputs.step),
            last_row: all(job.inputs.down - 1),
            last: all(last),
        })
    }

    /// Finds the groups of a panel, none of them beyond this, in the first of the offsets that are
    /// left; None if there are too many.
    #[target_feature(enable = "avx2")]
    fn locate<'a>(
        &self,
        panel: &'a [i8],
        left: &mut &'a mut [MaybeUninit<u32>],
    ) -> Option<Located<'a>> {
        let (places, weights) = Groups::parts(panel);
        let all = places.len();
        let (offsets, others) =
            core::mem::take(left).split_at_mut_checked(all.next_multiple_of(LANES))?;
        *left = others;
        let to = offsets.as_chunks_mut::<LANES>().0.iter_mut();
        // Eight places at a time; behind the last there are weights.
        let eights = panel.as_chunks().0.iter().zip(to).take(all.div_ceil(LANES));
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let no_place = i32::from_le_bytes(Place::NONE.to_codes().map(i8::cast_unsigned));
        let mut counts = [_mm256_setzero_si256(); 3];
        let [fours, twos, none] = &mut counts;
        for (first, (places, to)) in (0..).step_by(LANES).zip(eights) {
            let left = _mm256_set1_epi32(all as i32 - first);
            let places = _mm256_and_si256(load_weights(places), _mm256_cmpgt_epi32(left, lanes));
            let together = _mm256_srli_epi32::<30>(_mm256_slli_epi32::<16>(places));
            let one = _mm256_set1_epi32(1);
            *fours = _mm256_sub_epi32(*fours, _mm256_cmpeq_epi32(together, one));
            *twos = _mm256_sub_epi32(*twos, _mm256_cmpgt_epi32(together, one));
            let is_none = _mm256_cmpeq_epi32(places, _mm256_set1_epi32(no_place));
            *none = _mm256_sub_epi32(*none, is_none);
            let rows = _mm256_and_si256(places, _mm256_set1_epi32(Place::ROWS.into()));
            let rows = _mm256_min_epu32(rows, self.last_row);
            let inputs = _mm256_min_epu32(_mm256_srli_epi32::<16>(places), self.last);
            let offsets = _mm256_add_epi32(_mm256_mullo_epi32(rows, self.step), inputs);
            // SAFETY: eight numbers of 32 bits.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), offsets) };
        }
        let [fours, twos, none] = counts.map(|counts| sum(counts));
        let offsets = offsets.get(..all - none)?;
        // SAFETY: all places have been gone through, or there are more than offsets.
        let offsets = unsafe { offsets.assume_init_ref() };
        Some(Located { offsets, weights, fours: fours - fours % 4, twos: twos - twos % 2 })
    }
}

/// The sum of 8 numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(numbers: __m256i) -> usize {
    let upper = _mm256_extracti128_si256::<1>(numbers);
    let fours = _mm_add_epi32(_mm256_castsi256_si128(numbers), upper);
    let pairs = _mm_add_epi32(fours, _mm_shuffle_epi32::<0b1110>(fours));
    let sum = _mm_add_epi32(pairs, _mm_shuffle_epi32::<1>(pairs));
    _mm_cvtsi128_si32(sum) as usize
}

/// The rows `range` of a tile, `R` at a time.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn compute<S: Sequence, const R: usize>(
    job: &Job<'_, ROWS>,
    panels: &[Panel<'_>],
    range: Range<usize>,
) {
    let starts = job.inputs.starts.first().and_then(|starts| starts.get(range.clone()));
    let (Some(starts), Some(outputs)) = (starts, job.outputs.get(range)) else { return };
    for (starts, outputs) in starts.as_chunks().0.iter().zip(outputs.as_chunks().0) {
        for panel in panels {
            // SAFETY: the caller's promise.
            unsafe { part::<S, R>(job, panel, starts, outputs) };
        }
    }
}

/// `R` rows of a tile.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn part<S: Sequence, const R: usize>(
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
    &starts: &[*const i8; R],
    outputs: &[*mut i8; R],
) {
    let [biases] = panel.columns.row::<BIAS>();
    let mut sums = [begun::<S>(biases); R];
    let ones = _mm256_set1_epi16(1);
    for (&offsets, weights) in panel.fours.iter() {
        let weights = load_set::<R, _>(weights);
        for r in 0..R {
            // SAFETY: an offset is one of a group inside the rows that the window sees.
            sums[r] = unsafe { multiply_four(sums[r], starts[r], offsets, weights, ones) };
        }
    }
    for (&offsets, weights) in panel.twos.iter() {
        let weights = load_set::<R, _>(weights);
        for r in 0..R {
            // SAFETY: as above.
            sums[r] = unsafe { multiply_two(sums[r], starts[r], offsets, weights, ones) };
        }
    }
    for (&[offset], weights) in panel.alone.iter() {
        let [weights] = load_set::<R, _>(weights);
        for r in 0..R {
            // SAFETY: as above.
            sums[r] = unsafe { multiply(sums[r], starts[r], offset, weights, ones) };
        }
    }
    // SAFETY: the outputs are writable for the columns that are stored.
    unsafe { finish::<S, R>(sums, job, panel, outputs) };
}

/// The weights of a set, of which others are fetched ahead for a single pixel: those of a fully
/// connected layer come from memory.
#[inline]
#[target_feature(enable = "avx2")]
fn load_set<const R: usize, const N: usize>(weights: &[Group; N]) -> [__m256i; N] {
    let mut vectors = [_mm256_setzero_si256(); N];
    for i in 0..N {
        if R == 1 && i % 2 == 0 {
            _mm_prefetch::<_MM_HINT_T0>(weights[i].as_ptr().wrapping_add(AHEAD));
        }
        vectors[i] = load_weights(&weights[i]);
    }
    vectors
}

/// Adds the products of the four codes that are `at` bytes behind `start` to the sums of a pixel;
/// `ones` adds two of 16 bits.
///
/// In one piece: the compiler would load the codes of all pixels first, for which there are not
/// enough registers.
///
/// # Safety
///
/// The codes are readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply(
    mut sums: __m256i,
    start: *const i8,
    at: u32,
    weights: __m256i,
    ones: __m256i,
) -> __m256i {
    // SAFETY: reads the codes, which are readable.
    unsafe {
        asm!(
            "vpbroadcastd {products}, dword ptr [{start} + {at}]",
            "vpmaddubsw {products}, {products}, {weights}",
            "vpmaddwd {products}, {products}, {ones}",
            "vpaddd {sums}, {sums}, {products}",
            sums = inout(ymm_reg) sums,
            products = out(ymm_reg) _,
            weights = in(ymm_reg) weights,
            ones = in(ymm_reg) ones,
            start = in(reg) start,
            at = in(reg) at as usize,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds the products of two times four codes, of which the sums fit 16 bits, see [`multiply`].
///
/// # Safety
///
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply_two(
    mut sums: __m256i,
    start: *const i8,
    [first, second]: [u32; 2],
    [weights, more_weights]: [__m256i; 2],
    ones: __m256i,
) -> __m256i {
    // SAFETY: reads the codes, which are readable.
    unsafe {
        asm!(
            "vpbroadcastd {products}, dword ptr [{start} + {first}]",
            "vpbroadcastd {others}, dword ptr [{start} + {second}]",
            "vpmaddubsw {products}, {products}, {weights}",
            "vpmaddubsw {others}, {others}, {more_weights}",
            "vpaddw {products}, {products}, {others}",
            "vpmaddwd {products}, {products}, {ones}",
            "vpaddd {sums}, {sums}, {products}",
            sums = inout(ymm_reg) sums,
            products = out(ymm_reg) _,
            others = out(ymm_reg) _,
            weights = in(ymm_reg) weights,
            more_weights = in(ymm_reg) more_weights,
            ones = in(ymm_reg) ones,
            start = in(reg) start,
            first = in(reg) first as usize,
            second = in(reg) second as usize,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds the products of four times four codes, of which the sums fit 16 bits, see [`multiply`].
///
/// # Safety
///
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply_four(
    mut sums: __m256i,
    start: *const i8,
    offsets: [u32; 4],
    weights: [__m256i; 4],
    ones: __m256i,
) -> __m256i {
    // SAFETY: reads the codes, which are readable.
    unsafe {
        asm!(
            "vpbroadcastd {products}, dword ptr [{start} + {a}]",
            "vpbroadcastd {others}, dword ptr [{start} + {b}]",
            "vpmaddubsw {products}, {products}, {weights_a}",
            "vpmaddubsw {others}, {others}, {weights_b}",
            "vpaddw {products}, {products}, {others}",
            "vpbroadcastd {others}, dword ptr [{start} + {c}]",
            "vpmaddubsw {others}, {others}, {weights_c}",
            "vpaddw {products}, {products}, {others}",
            "vpbroadcastd {others}, dword ptr [{start} + {d}]",
            "vpmaddubsw {others}, {others}, {weights_d}",
            "vpaddw {products}, {products}, {others}",
            "vpmaddwd {products}, {products}, {ones}",
            "vpaddd {sums}, {sums}, {products}",
            sums = inout(ymm_reg) sums,
            products = out(ymm_reg) _,
            others = out(ymm_reg) _,
            weights_a = in(ymm_reg) weights[0],
            weights_b = in(ymm_reg) weights[1],
            weights_c = in(ymm_reg) weights[2],
            weights_d = in(ymm_reg) weights[3],
            ones = in(ymm_reg) ones,
            start = in(reg) start,
            a = in(reg) offsets[0] as usize,
            b = in(reg) offsets[1] as usize,
            c = in(reg) offsets[2] as usize,
            d = in(reg) offsets[3] as usize,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}

/// Stores the codes of rows of sums.
///
/// # Safety
///
/// Every output is writable for the columns of the panel that are to be stored.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish<S: Sequence, const R: usize>(
    sums: [__m256i; R],
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
    outputs: &[*mut i8; R],
) {
    let steps = scaled::<S, R>(sums, job.params.rounding, panel.columns);
    let codes = Codes::new(job.params.output);
    for first in (0..R).step_by(4) {
        let row = |i: usize| (first + i).min(R - 1);
        let rows = codes.rows([steps[first], steps[row(1)], steps[row(2)], steps[row(3)]]);
        for i in 0..4 {
            if first + i < R {
                let to = outputs[first + i].wrapping_add(panel.first);
                // SAFETY: the caller's promise.
                unsafe { vector::store(to, rows[i], panel.stored) };
            }
        }
    }
}
