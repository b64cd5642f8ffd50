//! Tiles of convolutions: up to 6 pixels times 16 columns.

use core::arch::x86_64::*;

use super::requantize::{Columns, Finish};
use super::vector::{self, CHANNELS, widen};
use crate::kernels::packed::driver::{Job, Microkernel};
use crate::kernels::packed::form::InputForm;
use crate::kernels::reference::Add;
use crate::kernels::{self, Path};

/// Pixels of a tile.
pub(super) const ROWS: usize = 6;
/// Numbers per column, see [`Packing`](crate::kernels::packed::Packing).
const PARAMETERS: usize = 8;

/// The microkernel of [`Path::Avx2`].
#[derive(Debug)]
pub(super) struct Kernel;

// SAFETY: `tile` stores the columns of `rows` pixels only, and reads `run` inputs of each.
unsafe impl Microkernel<ROWS> for Kernel {
    const PATH: Path = Path::Avx2;
    type Form = Wide;
    const ADD: kernels::Kernel<Add> = super::add;

    unsafe fn tile(job: &Job<'_, ROWS>) {
        let compute = match job.rows {
            1 => tile::<1>,
            2 => tile::<2>,
            3 => tile::<3>,
            4 => tile::<4>,
            5 => tile::<5>,
            _ => tile::<6>,
        };
        // SAFETY: the caller's promise.
        unsafe { compute(job) }
    }
}

/// Codes as numbers of 16 bits.
#[derive(Debug)]
pub(super) struct Wide;

// SAFETY: what is copied and filled is as long as asked.
unsafe impl InputForm for Wide {
    const WIDTH: usize = 2;

    unsafe fn copy(to: *mut i8, from: *const i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { vector::copy(to.cast(), from, len) }
    }

    unsafe fn fill(to: *mut i8, code: i8, len: usize) {
        for i in 0..len {
            // SAFETY: inside `len` inputs.
            let to = unsafe { to.cast::<i16>().add(i) };
            // SAFETY: as above.
            unsafe { to.write_unaligned(code.into()) };
        }
    }

    unsafe fn sum(from: *const i8, len: usize) -> i32 {
        let mut sum = 0i32;
        for i in 0..len {
            // SAFETY: inside `len` inputs.
            let from = unsafe { from.cast::<i16>().add(i) };
            // SAFETY: as above.
            sum = sum.wrapping_add(unsafe { from.read_unaligned() }.into());
        }
        sum
    }
}

/// # Safety
///
/// As [`Microkernel::tile`]; the tile has `R` rows.
#[target_feature(enable = "avx2")]
unsafe fn tile<const R: usize>(job: &Job<'_, ROWS>) {
    let params = job.params;
    let depth = job.run * job.inputs.runs();
    let panels = job.panels.chunks_exact((CHANNELS * depth).max(1));
    let columns = job.columns.chunks_exact(CHANNELS * PARAMETERS);
    for (first, (panel, columns)) in (0..).step_by(CHANNELS).zip(panels.zip(columns)) {
        let finish = Finish::new(columns, params.fast, params.rounding, params.output);
        let biases = finish.numbers(0);
        let panels = panel.as_chunks().0.as_chunks().0.chunks_exact((job.run / 2).max(1));
        let runs = job.inputs.starts.iter().filter_map(|starts| starts.first_chunk::<R>());
        // SAFETY: the inputs are readable for `run` numbers, of which the panel has an element
        // for every two.
        let mut sums = unsafe { multiply(runs.zip(panels), biases) };
        if params.weight_zero_point != 0 {
            for (row, &addend) in sums.iter_mut().zip(job.addends) {
                for sum in row {
                    *sum = _mm256_add_epi32(*sum, _mm256_set1_epi32(addend));
                }
            }
        }
        let stored = (job.stored - first).min(CHANNELS);
        for (sums, &to) in sums.into_iter().zip(job.outputs) {
            let codes = finish.codes(sums);
            // SAFETY: the outputs are writable for `stored` codes from the panel's first on.
            unsafe { vector::store(to.wrapping_add(first), codes, stored) };
        }
    }
}

/// `biases + inputs * panel` for `R` rows, run by run.
///
/// # Safety
///
/// The inputs of a run are readable for two numbers of 16 bits per element of the panel beside.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply<'a, const R: usize>(
    runs: impl Iterator<Item = (&'a [*const i8; R], &'a [[[i8; CHANNELS]; 2]])>,
    biases: Columns,
) -> [Columns; R] {
    let mut sums = [biases; R];
    for (inputs, panel) in runs {
        for (pair, [low, high]) in panel.iter().enumerate() {
            let (low, high) = (widen(low), widen(high));
            for r in 0..R {
                // SAFETY: pair `pair` of the readable inputs.
                let input = unsafe { broadcast(inputs[r], pair) };
                let [a, b] = sums[r];
                sums[r] = [
                    _mm256_add_epi32(a, _mm256_madd_epi16(input, low)),
                    _mm256_add_epi32(b, _mm256_madd_epi16(input, high)),
                ];
            }
        }
    }
    sums
}

/// Two inputs in every lane.
///
/// # Safety
///
/// `inputs` is readable for `pair + 1` times two numbers.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast(inputs: *const i8, pair: usize) -> __m256i {
    // SAFETY: the caller's promise.
    let inputs = unsafe { inputs.cast::<i32>().add(pair) };
    // SAFETY: the caller's promise.
    _mm256_set1_epi32(unsafe { inputs.read_unaligned() })
}
