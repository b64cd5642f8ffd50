//! Convolution with `sdot`: five pixels times panels of sixteen columns.
//!
//! An instruction multiplies four adjacent inputs of a pixel, which it picks out of sixteen,
//! by four weights each of four columns.

use core::arch::aarch64::*;
use core::arch::asm;
use core::ops::Range;

use crate::kernels::neon::form::Codes;
use crate::kernels::neon::memory::{
    load_four, load_next, load_numbers, load_two, number_vectors, store_next, store_parts, vectors,
    whole,
};
use crate::kernels::neon::scale::{Multipliers, Scale};
use crate::kernels::neon::{SCRATCH, elementwise};
use crate::kernels::packed::PackedConv2d;
use crate::kernels::packed::driver::{self, Job, Microkernel};
use crate::kernels::{Io, Kernel, Path};
use crate::weights::Weights;

/// Output pixels of a tile, of which the registers hold the sums of a [`PART`].
const ROWS: usize = 4 * PART;

/// Output pixels that are computed at once.
const PART: usize = 5;

/// Pixels of which 32 codes are loaded at once: for more there are no registers.
const PAIRS: usize = 3;

/// The kernel of [`PackedConv2d`].
///
/// # Safety
///
/// The core has `sdot`.
pub(super) unsafe fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    unsafe { driver::run::<Dotprod, ROWS, SCRATCH>(params, weights, io) };
}

struct Dotprod;

// SAFETY: `tile` reads and writes as the driver says.
unsafe impl Microkernel<ROWS> for Dotprod {
    const PATH: Path = Path::Dotprod;
    const PART: usize = PART;
    type Form = Codes;
    const ADD: Kernel<PackedConv2d> = elementwise::add_residual;

    #[inline]
    unsafe fn tile(job: &Job<'_, ROWS>) {
        let rest = job.rows % PART;
        let whole = job.rows - rest;
        // SAFETY: the caller's promise.
        unsafe { parts::<PART>(job, 0..whole) };
        let parts = match rest {
            0 => return,
            1 => parts::<1>,
            2 => parts::<2>,
            3 => parts::<3>,
            _ => parts::<4>,
        };
        // SAFETY: as above.
        unsafe { parts(job, whole..job.rows) };
    }
}

/// Adds to the sums of a pixel and sixteen columns the products of four of its codes, number
/// `PART` of four, by the columns' weights, which stay in the registers that [`load_four`] loads.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn multiply<const PART: i32>(sums: &mut [int32x4_t; 4], weights: [int8x16_t; 4], codes: int8x16_t) {
    let ([a, b, c, d], [wa, wb, wc, wd]) = (sums, weights);
    // SAFETY: reads and writes registers only; the core has the instruction.
    unsafe {
        asm!(
            "sdot {a:v}.4s, v28.16b, {codes:v}.4b[{part}]",
            "sdot {b:v}.4s, v29.16b, {codes:v}.4b[{part}]",
            "sdot {c:v}.4s, v30.16b, {codes:v}.4b[{part}]",
            "sdot {d:v}.4s, v31.16b, {codes:v}.4b[{part}]",
            a = inout(vreg) *a,
            b = inout(vreg) *b,
            c = inout(vreg) *c,
            d = inout(vreg) *d,
            in("v28") wa,
            in("v29") wb,
            in("v30") wc,
            in("v31") wd,
            codes = in(vreg) codes,
            part = const PART,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
}

/// Adds to the sums of some pixels and sixteen columns the products of sixteen codes of each pixel
/// by the next weights of the columns.
///
/// Inlined whatever it costs: else sums would go through memory. That is why the function has
/// no `target_feature`.
///
/// # Safety
///
/// The weights are readable at `next`; the core has `sdot`.
#[inline(always)]
unsafe fn multiply_all<const R: usize>(
    sums: &mut [[int32x4_t; 4]; R],
    codes: &[int8x16_t; R],
    next: &mut *const [int8x16_t; 4],
) {
    // SAFETY: the caller's promise.
    let weights = unsafe { load_four(next) };
    for (sums, &codes) in sums.iter_mut().zip(codes) {
        // SAFETY: as above.
        unsafe { multiply::<0>(sums, weights, codes) };
    }
    // SAFETY: as above.
    let weights = unsafe { load_four(next) };
    for (sums, &codes) in sums.iter_mut().zip(codes) {
        // SAFETY: as above.
        unsafe { multiply::<1>(sums, weights, codes) };
    }
    // SAFETY: as above.
    let weights = unsafe { load_four(next) };
    for (sums, &codes) in sums.iter_mut().zip(codes) {
        // SAFETY: as above.
        unsafe { multiply::<2>(sums, weights, codes) };
    }
    // SAFETY: as above.
    let weights = unsafe { load_four(next) };
    for (sums, &codes) in sums.iter_mut().zip(codes) {
        // SAFETY: as above.
        unsafe { multiply::<3>(sums, weights, codes) };
    }
}

/// Rows of a tile, `R` at a time; what they share is set up once.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn parts<const R: usize>(job: &Job<'_, ROWS>, rows: Range<usize>) {
    let scale = Scale::new(job.params.fast, job.params.rounding, job.params.output);
    let has_addends = job.params.weight_zero_point != 0;
    for start in rows.step_by(R) {
        // SAFETY: the caller's promise.
        unsafe { part::<R>(job, start, &scale, has_addends) };
    }
}

/// `R` rows of a tile from row `start` on.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn part<const R: usize>(
    job: &Job<'_, ROWS>,
    start: usize,
    scale: &Scale,
    has_addends: bool,
) {
    let steps = job.run / 16;
    let (weights, _) = vectors(job.panels).as_chunks::<4>();
    let (columns, _) = number_vectors(job.columns).as_chunks::<12>();
    let Some(mut outputs) = rows::<_, R>(job.outputs, start) else { return };
    let mut left = job.stored;
    // The panels follow each other as they are multiplied.
    let mut next = weights.as_ptr();
    debug_assert_eq!(weights.len(), columns.len() * job.inputs.runs() * steps * 4);
    for columns in columns {
        let mut sums = [[vdupq_n_s32(0); 4]; R];
        for sums in &mut sums {
            // SAFETY: the biases come first.
            *sums = unsafe { load_numbers(columns.as_ptr()) };
        }
        for starts in job.inputs.starts {
            let Some(mut inputs) = rows::<_, R>(starts, start) else { return };
            for _ in 0..steps / 2 {
                let (mut codes, mut later) = ([vdupq_n_s8(0); R], [vdupq_n_s8(0); R]);
                let (pairs, single) = inputs.split_at_mut(PAIRS.min(R));
                for ((codes, later), input) in codes.iter_mut().zip(&mut later).zip(pairs) {
                    // SAFETY: 32 of the codes of a run.
                    [*codes, *later] = unsafe { load_two(input) };
                }
                for (codes, input) in codes.iter_mut().skip(PAIRS).zip(&mut *single) {
                    // SAFETY: 16 of the codes of a run.
                    *codes = unsafe { load_next(input) };
                }
                // SAFETY: the next weights of sixteen columns.
                unsafe { multiply_all(&mut sums, &codes, &mut next) };
                for (codes, input) in later.iter_mut().skip(PAIRS).zip(single) {
                    // SAFETY: the 16 codes behind those.
                    *codes = unsafe { load_next(input) };
                }
                // SAFETY: as above.
                unsafe { multiply_all(&mut sums, &later, &mut next) };
            }
            if !steps.is_multiple_of(2) {
                let mut codes = [vdupq_n_s8(0); R];
                for (codes, input) in codes.iter_mut().zip(&mut inputs) {
                    // SAFETY: the last 16 codes of a run.
                    *codes = unsafe { load_next(input) };
                }
                // SAFETY: as above.
                unsafe { multiply_all(&mut sums, &codes, &mut next) };
            }
        }
        let &[.., m0, m1, m2, m3, s0, s1, s2, s3] = columns;
        let multipliers = Multipliers { mantissas: [m0, m1, m2, m3], shifts: [s0, s1, s2, s3] };
        if has_addends {
            let Some(addends) = rows::<_, R>(job.addends, start) else { return };
            for (sums, &addend) in sums.iter_mut().zip(&addends) {
                for sums in sums {
                    *sums = vaddq_s32(*sums, vdupq_n_s32(addend));
                }
            }
        }
        // SAFETY: the core has the instructions.
        let codes = unsafe { scale.codes(sums, &multipliers) };
        if left < 16 {
            let codes = codes.map(|codes| whole(codes));
            let rest = job.outputs.get(start..).unwrap_or(&[]);
            // SAFETY: the rest of the columns to store.
            return unsafe { store_parts(rest, job.stored - left, &codes, left) };
        }
        for (to, &codes) in outputs.iter_mut().zip(&codes) {
            // SAFETY: 16 of the columns to store.
            unsafe { store_next(to, codes) };
        }
        left -= 16;
    }
}

/// `R` of a tile's values from that of row `start` on.
#[inline]
fn rows<T: Copy, const R: usize>(values: &[T; ROWS], start: usize) -> Option<[T; R]> {
    values.get(start..)?.first_chunk().copied()
}
