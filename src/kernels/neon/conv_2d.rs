//! Convolution with Armv8.0 instructions: four pixels times panels of four columns.
//!
//! Sixteen products along the inputs of one column go two by two into 16 bits (`smull`,
//! `smlal2`) and from there into four 32-bit sums (`sadalp`), which are added up at the end of
//! the panel.

use core::arch::aarch64::*;

use super::elementwise;
use super::form::Codes;
use super::memory::{load_next, number_vectors, store_lane, store_parts, vectors};
use super::scale::{Multipliers, Scale};
use crate::kernels::packed::PackedConv2d;
use crate::kernels::packed::driver::{self, Job, Microkernel};
use crate::kernels::{Io, Kernel, Path};
use crate::weights::Weights;

/// Output pixels of a tile.
const ROWS: usize = 4;

/// The kernel of [`PackedConv2d`].
pub(super) fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: every core this is compiled for has these instructions.
    unsafe { driver::run::<Neon, ROWS, { super::SCRATCH }>(params, weights, io) };
}

struct Neon;

// SAFETY: `tile` reads and writes as the driver says.
unsafe impl Microkernel<ROWS> for Neon {
    const PATH: Path = Path::Neon;
    type Form = Codes;
    const ADD: Kernel<PackedConv2d> = elementwise::add_residual;

    #[inline]
    unsafe fn tile(job: &Job<'_, ROWS>) {
        let tile = match (job.params.full_range, job.rows) {
            (true, _) => tile::<4, true>,
            (false, 1) => tile::<1, false>,
            (false, 2) => tile::<2, false>,
            (false, 3) => tile::<3, false>,
            (false, _) => tile::<4, false>,
        };
        // SAFETY: the caller's promise.
        unsafe { tile(job) };
    }
}

/// The tile with `R` rows computed, at least those of the job; `FULL_RANGE` is as in
/// [`PackedConv2d`].
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "neon")]
unsafe fn tile<const R: usize, const FULL_RANGE: bool>(job: &Job<'_, ROWS>) {
    let steps = job.run / 16;
    let (weights, _) = vectors(job.panels).as_chunks::<4>();
    let (columns, _) = number_vectors(job.columns).as_chunks::<3>();
    let scale = Scale::new(job.params.fast, job.params.rounding, job.params.output);
    let mut outputs = *job.outputs;
    let mut left = job.stored;
    let has_addends = job.params.weight_zero_point != 0;
    // The panels follow each other as they are multiplied.
    let mut next = weights.as_ptr();
    debug_assert_eq!(weights.len(), columns.len() * job.inputs.runs() * steps);
    for columns in columns {
        let mut sums = [[vdupq_n_s32(0); 4]; R];
        for &starts in job.inputs.starts {
            let mut inputs = starts;
            for _ in 0..steps {
                let mut codes = [vdupq_n_s8(0); R];
                for (codes, input) in codes.iter_mut().zip(&mut inputs) {
                    // SAFETY: 16 of the codes of a run.
                    *codes = unsafe { load_next(input) };
                }
                // SAFETY: the next weights of the columns.
                let weights = unsafe { next.read() };
                next = next.wrapping_add(1);
                for (sums, &codes) in sums.iter_mut().zip(&codes) {
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = multiply::<FULL_RANGE>(*sum, codes, weights);
                    }
                }
            }
        }
        let &[bias, mantissa, shift] = columns;
        let mut rows = [bias; 4];
        for (row, &[a, b, c, d]) in rows.iter_mut().zip(&sums) {
            *row = vaddq_s32(*row, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
        }
        if has_addends {
            for (row, &addend) in rows.iter_mut().zip(job.addends) {
                *row = vaddq_s32(*row, vdupq_n_s32(addend));
            }
        }
        let multipliers = Multipliers { mantissas: [mantissa; 4], shifts: [shift; 4] };
        // SAFETY: the core has the instructions.
        let [codes] = unsafe { scale.codes([rows], &multipliers) };
        let [a, b, c, d] = &mut outputs;
        if left < 4 {
            let rows = [
                codes,
                vextq_s8::<4>(codes, codes),
                vextq_s8::<8>(codes, codes),
                vextq_s8::<12>(codes, codes),
            ];
            let rows = rows.get(..R).unwrap_or(&rows);
            // SAFETY: the rest of the columns to store.
            return unsafe { store_parts(job.outputs, job.stored - left, rows, left) };
        }
        // SAFETY: four of the columns to store; rows beyond the last repeat the first.
        unsafe { store_lane::<0>(a, codes) };
        if R > 1 {
            // SAFETY: as above.
            unsafe { store_lane::<1>(b, codes) };
        }
        if R > 2 {
            // SAFETY: as above.
            unsafe { store_lane::<2>(c, codes) };
        }
        if R > 3 {
            // SAFETY: as above.
            unsafe { store_lane::<3>(d, codes) };
        }
        left -= 4;
    }
}

/// Adds sixteen products to four sums.
#[inline]
#[target_feature(enable = "neon")]
fn multiply<const FULL_RANGE: bool>(
    sums: int32x4_t,
    codes: int8x16_t,
    weights: int8x16_t,
) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(codes), vget_low_s8(weights));
    if FULL_RANGE {
        vpadalq_s16(vpadalq_s16(sums, low), vmull_high_s8(codes, weights))
    } else {
        vpadalq_s16(sums, vmlal_high_s8(low, codes, weights))
    }
}
