//! Convolution with `sdot`: six pixels times panels of sixteen columns.
//!
//! An instruction multiplies four adjacent inputs of a pixel, which it picks out of sixteen,
//! by four weights each of four columns.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::kernels::neon::SCRATCH;
use crate::kernels::neon::conv_2d::sum;
use crate::kernels::neon::memory::{
    copy, copy_pieces, fill, load_next, number_vectors, store_next, store_part, vectors,
};
use crate::kernels::neon::scale::{Multipliers, Scale};
use crate::kernels::packed::PackedConv2d;
use crate::kernels::packed::driver::{self, Job, Microkernel};
use crate::kernels::packed::gather::Pieces;
use crate::kernels::{Io, Path};
use crate::weights::Weights;

/// Output pixels of a tile.
const ROWS: usize = 6;

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

// SAFETY: `tile` reads and writes as the driver says; `copy` and `fill` are exact.
unsafe impl Microkernel<ROWS> for Dotprod {
    const PATH: Path = Path::Dotprod;

    #[inline]
    unsafe fn tile(job: &Job<'_, ROWS>) {
        let tile = match job.rows {
            1 => tile::<1>,
            2 => tile::<2>,
            3 => tile::<3>,
            4 => tile::<4>,
            5 => tile::<5>,
            _ => tile::<6>,
        };
        // SAFETY: the caller's promise.
        unsafe { tile(job) };
    }

    #[inline]
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { copy(to, from, len) };
    }

    unsafe fn copy_pieces(to: *mut i8, from: *const i8, pieces: Pieces) {
        // SAFETY: the caller's promise.
        unsafe { copy_pieces(to, from, pieces) };
    }

    unsafe fn fill(to: *mut i8, code: i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { fill(to, code, len) };
    }

    unsafe fn sum(from: *const i8, len: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { sum(from, len) }
    }
}

/// Adds to each sum the products of four codes, number `PART` of four, by its four weights.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const PART: i32>(mut sums: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    // SAFETY: reads and writes registers only; the core has the instruction.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {codes:v}.4b[{part}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            part = const PART,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The tile of `R` rows.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const R: usize>(job: &Job<'_, ROWS>) {
    let steps = job.run / 16;
    let (weights, _) = vectors(job.panels).as_chunks::<16>();
    let (columns, _) = number_vectors(job.columns).as_chunks::<12>();
    let scale = Scale::new(job.params.fast, job.params.rounding, job.params.output);
    let mut outputs = *job.outputs;
    let mut left = job.stored;
    let has_addends = job.params.weight_zero_point != 0;
    let mut runs = weights.chunks_exact(steps.max(1));
    for columns in columns {
        let &[b0, b1, b2, b3, ..] = columns;
        let mut sums = [[b0, b1, b2, b3]; R];
        for (&inputs, weights) in job.inputs.iter().zip(runs.by_ref()) {
            let mut inputs = inputs;
            for weights in weights {
                let mut codes = [vdupq_n_s8(0); R];
                for (codes, input) in codes.iter_mut().zip(&mut inputs) {
                    // SAFETY: 16 of the codes of a run.
                    *codes = unsafe { load_next(input) };
                }
                let &[w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, wa, wb, wc, wd, we, wf] = weights;
                multiply::<R, 0>(&mut sums, [w0, w1, w2, w3], &codes);
                multiply::<R, 1>(&mut sums, [w4, w5, w6, w7], &codes);
                multiply::<R, 2>(&mut sums, [w8, w9, wa, wb], &codes);
                multiply::<R, 3>(&mut sums, [wc, wd, we, wf], &codes);
            }
        }
        let &[.., m0, m1, m2, m3, s0, s1, s2, s3] = columns;
        let multipliers = Multipliers { mantissas: [m0, m1, m2, m3], shifts: [s0, s1, s2, s3] };
        if has_addends {
            for (sums, &addend) in sums.iter_mut().zip(job.addends) {
                for sums in sums {
                    *sums = vaddq_s32(*sums, vdupq_n_s32(addend));
                }
            }
        }
        let codes = scale.codes(sums, &multipliers);
        if left < 16 {
            for (to, &codes) in outputs.iter().zip(&codes) {
                // SAFETY: the rest of the columns to store.
                unsafe { store_part(*to, codes, left) };
            }
            return;
        }
        for (to, &codes) in outputs.iter_mut().zip(&codes) {
            // SAFETY: 16 of the columns to store.
            unsafe { store_next(to, codes) };
        }
        left -= 16;
    }
}

/// Multiplies the inputs `PART` of each row by the weights of all columns.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn multiply<const R: usize, const PART: i32>(
    sums: &mut [[int32x4_t; 4]; R],
    weights: [int8x16_t; 4],
    codes: &[int8x16_t; R],
) {
    for (column, weights) in weights.into_iter().enumerate() {
        for (sums, &codes) in sums.iter_mut().zip(codes) {
            if let Some(sum) = sums.get_mut(column) {
                *sum = dot::<PART>(*sum, weights, codes);
            }
        }
    }
}
