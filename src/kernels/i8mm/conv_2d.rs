//! Convolution with `smmla`: four pixels times panels of sixteen columns.
//!
//! An instruction multiplies eight adjacent inputs each of two pixels by eight weights each of
//! two columns; its four sums are those of both pixels and both columns.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::kernels::neon::form::Codes;
use crate::kernels::neon::memory::{
    load_four, load_next, number_vectors, store_next, store_parts, vectors,
};
use crate::kernels::neon::scale::{Multipliers, Scale};
use crate::kernels::neon::{SCRATCH, elementwise};
use crate::kernels::packed::PackedConv2d;
use crate::kernels::packed::driver::{self, Job, Microkernel};
use crate::kernels::{Io, Kernel, Path};
use crate::weights::Weights;

/// Output pixels of a tile.
const ROWS: usize = 4;

/// The kernel of [`PackedConv2d`].
///
/// # Safety
///
/// The core has `smmla`.
pub(super) unsafe fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    // SAFETY: the caller's promise.
    unsafe { driver::run::<I8mm, ROWS, SCRATCH>(params, weights, io) };
}

struct I8mm;

// SAFETY: `tile` reads and writes as the driver says.
unsafe impl Microkernel<ROWS> for I8mm {
    const PATH: Path = Path::I8mm;
    type Form = Codes;
    const ADD: Kernel<PackedConv2d> = elementwise::add_residual;

    #[inline]
    unsafe fn tile(job: &Job<'_, ROWS>) {
        let tile = if job.rows <= 2 { tile::<1, 2> } else { tile::<2, 4> };
        // SAFETY: the caller's promise.
        unsafe { tile(job) };
    }
}

/// Adds to the sums of two pixels and eight columns the products of eight codes of each pixel by
/// the columns' weights, which stay in the registers that [`load_four`] loads.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn multiply(sums: &mut [int32x4_t; 4], weights: [int8x16_t; 4], codes: int8x16_t) {
    let ([a, b, c, d], [wa, wb, wc, wd]) = (sums, weights);
    // SAFETY: reads and writes registers only; the core has the instruction.
    unsafe {
        asm!(
            "smmla {a:v}.4s, {codes:v}.16b, v28.16b",
            "smmla {b:v}.4s, {codes:v}.16b, v29.16b",
            "smmla {c:v}.4s, {codes:v}.16b, v30.16b",
            "smmla {d:v}.4s, {codes:v}.16b, v31.16b",
            a = inout(vreg) *a,
            b = inout(vreg) *b,
            c = inout(vreg) *c,
            d = inout(vreg) *d,
            in("v28") wa,
            in("v29") wb,
            in("v30") wc,
            in("v31") wd,
            codes = in(vreg) codes,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn low_halves(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)))
}

#[inline]
#[target_feature(enable = "neon")]
fn high_halves(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)))
}

/// The tile of `R` rows, which are `P` pairs.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn tile<const P: usize, const R: usize>(job: &Job<'_, ROWS>) {
    let steps = job.run / 16;
    let (weights, _) = vectors(job.panels).as_chunks::<4>();
    let (columns, _) = number_vectors(job.columns).as_chunks::<12>();
    let scale = Scale::new(job.params.fast, job.params.rounding, job.params.output);
    let mut outputs = *job.outputs;
    let mut left = job.stored;
    let has_addends = job.params.weight_zero_point != 0;
    // The panels follow each other as they are multiplied.
    let mut next = weights.as_ptr();
    debug_assert_eq!(weights.len(), columns.len() * job.inputs.runs() * steps * 4);
    for columns in columns {
        let &[b0, b1, b2, b3, ..] = columns;
        // Per pair of rows: two rows of two columns in each vector.
        let mut sums = [[b0, b0, b1, b1, b2, b2, b3, b3]; P];
        for sums in &mut sums {
            let [s0, s1, s2, s3, s4, s5, s6, s7] = *sums;
            *sums = [
                low_halves(s0, s0),
                high_halves(s1, s1),
                low_halves(s2, s2),
                high_halves(s3, s3),
                low_halves(s4, s4),
                high_halves(s5, s5),
                low_halves(s6, s6),
                high_halves(s7, s7),
            ];
        }
        for &starts in job.inputs.starts {
            let mut inputs = starts;
            let (pairs, _) = inputs.as_chunks_mut::<2>();
            for _ in 0..steps {
                let mut codes = [[vdupq_n_s8(0); 2]; P];
                for (codes, [one, other]) in codes.iter_mut().zip(&mut *pairs) {
                    // SAFETY: 16 of the codes of a run.
                    let one = vreinterpretq_s32_s8(unsafe { load_next(one) });
                    // SAFETY: as above.
                    let other = vreinterpretq_s32_s8(unsafe { load_next(other) });
                    *codes = [
                        vreinterpretq_s8_s32(low_halves(one, other)),
                        vreinterpretq_s8_s32(high_halves(one, other)),
                    ];
                }
                for half in 0..2 {
                    for columns in 0..2 {
                        // SAFETY: the next weights of eight columns.
                        let weights = unsafe { load_four(&mut next) };
                        for (sums, codes) in sums.iter_mut().zip(&codes) {
                            let (sums, _) = sums.as_chunks_mut::<4>();
                            if let (Some(sums), Some(&codes)) =
                                (sums.get_mut(columns), codes.get(half))
                            {
                                multiply(sums, weights, codes);
                            }
                        }
                    }
                }
            }
        }
        let &[.., m0, m1, m2, m3, s0, s1, s2, s3] = columns;
        let multipliers = Multipliers { mantissas: [m0, m1, m2, m3], shifts: [s0, s1, s2, s3] };
        let mut rows = [[b0; 4]; R];
        for (pair, sums) in rows.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
            let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
            *pair = [
                [low_halves(s0, s1), low_halves(s2, s3), low_halves(s4, s5), low_halves(s6, s7)],
                [
                    high_halves(s0, s1),
                    high_halves(s2, s3),
                    high_halves(s4, s5),
                    high_halves(s6, s7),
                ],
            ];
        }
        if has_addends {
            for (sums, &addend) in rows.iter_mut().zip(job.addends) {
                for sums in sums {
                    *sums = vaddq_s32(*sums, vdupq_n_s32(addend));
                }
            }
        }
        // SAFETY: the core has the instructions.
        let codes = unsafe { scale.codes(rows, &multipliers) };
        if left < 16 {
            // SAFETY: the rest of the columns to store.
            return unsafe { store_parts(job.outputs, job.stored - left, &codes, left) };
        }
        for (to, &codes) in outputs.iter_mut().zip(&codes) {
            // SAFETY: 16 of the columns to store.
            unsafe { store_next(to, codes) };
        }
        left -= 16;
    }
}
