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

use super::requantize::{Codes, Columns, begun, scaled};
use super::vector::{self, load_weights};
use crate::kernels::packed::driver::{Job, Microkernel};
use crate::kernels::packed::form::{InputForm, Pieces};
use crate::kernels::packed::place::{COLUMNS, GROUP, Group, Groups, MAX_GROUPS};
use crate::kernels::packed::{PARAMETERS, Place, Rounding};
use crate::kernels::reference::Add;
use crate::kernels::x86::{BIAS, Exact, Rectified, Sequence, Short};
use crate::kernels::{self, Path};

/// Pixels of a tile.
pub(super) const ROWS: usize = 48;
/// Pixels that are in registers at once.
const TOGETHER: usize = 8;
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
    const ADD: kernels::Kernel<Add> = super::add;

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

/// A panel of a job.
struct Panel<'a> {
    weights: &'a [Group],
    /// Bytes from the first input of a pixel to those of each group.
    offsets: &'a [u32],
    /// How many groups are together two by two.
    together: usize,
    columns: Columns<'a, 1>,
    /// Its first column.
    first: usize,
    /// Columns to store, from that.
    stored: usize,
}

/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile<S: Sequence>(job: &Job<'_, ROWS>) {
    // The first tap of a row, and the last.
    let (Some([first, ..]), Some([end, ..])) =
        (job.inputs.starts.first(), job.inputs.starts.last())
    else {
        return;
    };
    let last = (end.addr().wrapping_sub(first.addr()) + job.run - GROUP) as u32;
    let (step, last_row) = (job.inputs.step as u32, job.inputs.down as u32 - 1);
    let mut offsets = [const { MaybeUninit::uninit() }; MAX_GROUPS as usize];
    let parts = job.rows.div_ceil(TOGETHER);
    let (least, longer) = (job.rows / parts, job.rows % parts);
    let panel = job.params.panel_groups as usize * (size_of::<[i8; 4]>() + size_of::<Group>());
    let panels = job.panels.chunks_exact(panel.max(1));
    let columns = job.columns.chunks_exact(NUMBERS);
    for (first, (panel, columns)) in (0..).step_by(COLUMNS).zip(panels.zip(columns)) {
        let groups = Groups::of(panel);
        let Some(offsets) = offsets.get_mut(..groups.places.len()) else { return };
        for (offset, &place) in offsets.iter_mut().zip(groups.places) {
            let Place { row, input, .. } = Place::of_codes(place);
            let row = u32::from(row).min(last_row).wrapping_mul(step);
            offset.write(row.wrapping_add(u32::from(input).min(last)));
        }
        // SAFETY: all have just been written.
        let offsets = unsafe { offsets.assume_init_ref() };
        let Some(columns) = Columns::new(columns) else { return };
        let stored = (job.stored - first).min(COLUMNS);
        let (weights, together) = (groups.weights, groups.together());
        let panel = Panel { weights, offsets, together, columns, first, stored };
        let mut start = 0;
        for i in 0..parts {
            let rows = least + usize::from(i < longer);
            let compute = match rows {
                1 => part::<S, 1>,
                2 => part::<S, 2>,
                3 => part::<S, 3>,
                4 => part::<S, 4>,
                5 => part::<S, 5>,
                6 => part::<S, 6>,
                7 => part::<S, 7>,
                _ => part::<S, 8>,
            };
            // SAFETY: the caller's promise.
            unsafe { compute(job, &panel, start) };
            start += rows;
        }
    }
}

/// `R` rows of a tile from row `start` on.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn part<S: Sequence, const R: usize>(job: &Job<'_, ROWS>, panel: &Panel<'_>, start: usize) {
    let end = start + R;
    let outputs = job.outputs.get(start..end).and_then(|outputs| outputs.as_array::<R>());
    let starts = job.inputs.starts.first().and_then(|run| run.get(start..end)?.as_array::<R>());
    let (Some(outputs), Some(&starts)) = (outputs, starts) else { return };
    let [biases] = panel.columns.row::<BIAS>();
    let mut sums = [begun::<S>(biases); R];
    let ones = _mm256_set1_epi16(1);
    let (offsets, others) = panel.offsets.split_at_checked(panel.together).unwrap_or_default();
    let (weights, other_weights) =
        panel.weights.split_at_checked(panel.together).unwrap_or_default();
    for (&offsets, [a, b]) in offsets.as_chunks().0.iter().zip(weights.as_chunks().0) {
        if R == 1 {
            // The weights of a fully connected layer come from memory.
            _mm_prefetch::<_MM_HINT_T0>(a.as_ptr().wrapping_add(AHEAD));
        }
        let weights = [load_weights(a), load_weights(b)];
        for r in 0..R {
            // SAFETY: an offset is one of a group inside the rows that the window sees.
            sums[r] = unsafe { multiply_two(sums[r], starts[r], offsets, weights, ones) };
        }
    }
    for (&offset, weights) in others.iter().zip(other_weights) {
        let weights = load_weights(weights);
        for r in 0..R {
            // SAFETY: as above.
            sums[r] = unsafe { multiply(sums[r], starts[r], offset, weights, ones) };
        }
    }
    // SAFETY: the outputs are writable for the columns that are stored.
    unsafe { finish::<S, R>(sums, job, panel, outputs) };
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
