//! Tiles of convolutions: 16 pixels times 16 columns in each of the registers.
//!
//! The 16 pixels of a register lie at equal distances in the copy of the inputs. Where an image's
//! row ends, those that follow in the copy are no pixels of the output, but as many steps behind
//! them the next row begins: their sums are computed, too, and left.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::Range;

use super::tiles::{DEPTH, Operands, SIDE, Sums, multiply_one, multiply_two};
use crate::kernels::avx512vnni::conv_2d::{Offset, PARAMETERS, Panel, compute};
use crate::kernels::avx512vnni::elementwise::add_to_outputs;
use crate::kernels::avx512vnni::requantize::{Columns, moved, store, store_fast};
use crate::kernels::avx512vnni::{self, conv_2d};
use crate::kernels::packed::driver::{Job, Microkernel};
use crate::kernels::packed::{PackedConv2d, Rounding, Runs};
use crate::kernels::x86::{BIAS, Exact, Rectified, Sequence, Short};
use crate::kernels::{self, Path};

/// Pixels of a job.
pub(super) const ROWS: usize = conv_2d::ROWS;

/// Weights that are fetched ahead at least: of what is done in a moment, more than a panel.
const AHEAD: usize = 32 << 10;

/// Pixels whose sums are scaled at once.
const TOGETHER: usize = 4;

/// The microkernel of [`Path::Amx`]. Where [`depth`] has one for a layer's runs, the core's
/// registers are [shaped](super::tiles::Tiles) for it.
#[derive(Debug)]
pub(super) struct Kernel;

// SAFETY: `tile` stores the columns of `rows` pixels only. What it reads between the inputs of two
// pixels of a job is readable, since the path copies them all.
unsafe impl Microkernel<ROWS> for Kernel {
    const PATH: Path = Path::Amx;
    const PART: usize = SIDE;
    const REST: usize = SIDE - 1;
    const BELOW: bool = true;
    type Form = Offset;
    const ADD: kernels::Kernel<PackedConv2d> = avx512vnni::add_residual;

    fn adds(params: &PackedConv2d, channels: u32) -> bool {
        conv_2d::adds(params, channels)
    }

    unsafe fn tile(job: &Job<'_, ROWS>) {
        let Some(cover) = Cover::of(job) else {
            // SAFETY: the caller's promise; panels are those of AVX-512.
            return unsafe { compute(job) };
        };
        let params = job.params;
        let tile = match (params.fast, params.rounding) {
            (true, Rounding::Double) if params.output.rectifies() => tile::<Rectified>,
            (true, Rounding::Double) => tile::<Short>,
            _ => tile::<Exact>,
        };
        // SAFETY: the caller's promise.
        unsafe { tile(job, &cover) }
    }
}

/// The inputs of a run that are multiplied at once; None where AVX-512 is faster.
pub(super) fn depth(runs: Runs) -> Option<usize> {
    let packing = Path::Amx.packing().filter(|packing| packing.uses_tiles(runs))?;
    let run = packing.padded(runs.len)? as usize;
    run.checked_div(run.div_ceil(DEPTH))
}

/// Registers of inputs that cover the pixels of a job.
struct Cover {
    registers: heapless::Vec<Register, ROWS>,
    /// The row of its register that a pixel is; those of every other register follow behind.
    rows: [u8; ROWS],
    /// See [`depth`].
    depth: usize,
}

#[derive(Clone, Copy)]
struct Register {
    /// Inputs of the pixel in the first row.
    first: *const i8,
    /// Its pixels are those behind the ones of the register before, up to this.
    end: usize,
}

impl Cover {
    /// None where AVX-512 is faster.
    fn of(job: &Job<'_, ROWS>) -> Option<Self> {
        let Job { inputs, run, rows, .. } = *job;
        let [starts] = inputs.starts else { return None };
        let starts = starts.get(..rows)?;
        let runs = Runs { count: inputs.runs() as u32, len: run as u32 };
        let mut cover =
            Self { registers: heapless::Vec::new(), rows: [0; ROWS], depth: depth(runs)? };
        let step = inputs.across;
        let reach = (SIDE - 1) * step;
        let (&[start, ..], &[.., last]) = (starts, starts) else { return None };
        // From here on fewer than 16 steps are left, of which not all need be readable.
        let latest = last.addr().checked_sub(reach).filter(|&latest| latest >= start.addr())?;
        let row_of = |input: *const i8, first: *const i8| {
            let far = input.addr().wrapping_sub(first.addr());
            let row = far.checked_div(step)?;
            (row < SIDE && row * step == far).then_some(row)
        };
        let (mut first, mut next, mut row) = (start, start, SIDE);
        for (pixel, (&input, place)) in starts.iter().zip(&mut cover.rows).enumerate() {
            if row < SIDE && input != next {
                row = row_of(input, first).unwrap_or(SIDE);
            }
            if row >= SIDE {
                first = input.with_addr(input.addr().min(latest));
                row = row_of(input, first)?;
                cover.registers.push(Register { first, end: 0 }).ok()?;
            }
            let is_second = cover.registers.len().is_multiple_of(2);
            *place = (row + if is_second { SIDE } else { 0 }) as u8;
            cover.registers.last_mut()?.end = pixel + 1;
            (next, row) = (input.wrapping_add(step), row + 1);
        }
        (2 * cover.registers.len() < rows).then_some(cover)
    }
}

/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<S: Sequence>(job: &Job<'_, ROWS>, cover: &Cover) {
    for panel in Panel::each(job) {
        match panel.columns.len() / (16 * PARAMETERS) {
            // SAFETY: the caller's promise.
            4 => unsafe { vectors::<S, 4>(job, cover, &panel) },
            // SAFETY: the caller's promise.
            3 => unsafe { vectors::<S, 3>(job, cover, &panel) },
            // SAFETY: the caller's promise.
            2 => unsafe { vectors::<S, 2>(job, cover, &panel) },
            // SAFETY: the caller's promise.
            _ => unsafe { vectors::<S, 1>(job, cover, &panel) },
        }
    }
    // SAFETY: the outputs have just been stored.
    unsafe { add_to_outputs(job) };
}

/// The columns of a panel, `V` vectors, for all pixels: two registers of pixels at a time.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn vectors<S: Sequence, const V: usize>(
    job: &Job<'_, ROWS>,
    cover: &Cover,
    panel: &Panel<'_>,
) {
    let mut sums = MaybeUninit::<Sums>::uninit();
    let to = sums.as_mut_ptr().cast::<i32>();
    let weights = panel.weights.as_ptr();
    // Panels lie one behind the other. While the weights of one are read for the first time, each
    // product fetches the part of the next that it has of this one.
    let ahead = weights.wrapping_add(panel.weights.len());
    let operands = Operands {
        pixel: job.inputs.across,
        runs: job.inputs.down,
        steps: job.run.div_ceil(DEPTH),
        below: job.inputs.step,
        depth: cover.depth,
        weights,
        width: SIDE * V,
        ahead,
    };
    let wanted = if job.is_first { panel.weights.len().max(AHEAD) } else { 0 };
    let (mut pixel, mut fetched) = (0, 0);
    for registers in cover.registers.chunks(2) {
        let mut operands = Operands { ahead: ahead.wrapping_add(fetched), ..operands };
        let mut end = pixel;
        if let [one, other] = registers {
            for v in (0..V).step_by(2) {
                operands.weights = weights.wrapping_add(4 * SIDE * v);
                let multiply = match (v + 1 < V, fetched < wanted) {
                    (true, true) => multiply_two::<2, true>,
                    (true, false) => multiply_two::<2, false>,
                    (false, _) => multiply_two::<1, false>,
                };
                // SAFETY: the registers are shaped for the depth that the cover has. The pixels of
                // the job and what lies between them are readable, as are the panel's weights; sums
                // of the columns from `v` on are inside.
                unsafe { multiply([one.first, other.first], &operands, to.wrapping_add(SIDE * v)) };
                fetched += panel.weights.len() / 4;
                operands.ahead = ahead.wrapping_add(fetched);
            }
            end = other.end;
        } else if let [one] = registers {
            let multiply =
                if fetched < wanted { multiply_one::<V, true> } else { multiply_one::<V, false> };
            // SAFETY: as above.
            unsafe { multiply(one.first, &operands, to) };
            end = one.end;
        }
        // SAFETY: the sums of these pixels have just been written; the core can execute the path.
        unsafe { finish::<S, V>(job, cover, panel, to, pixel..end) };
        pixel = end;
    }
}

/// Scales the sums of `pixels` and stores their codes.
///
/// # Safety
///
/// `sums` has those of `V` vectors of the panel's columns for all of `pixels`, and as
/// [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn finish<S: Sequence, const V: usize>(
    job: &Job<'_, ROWS>,
    cover: &Cover,
    panel: &Panel<'_>,
    sums: *const i32,
    pixels: Range<usize>,
) {
    let Some(columns) = Columns::<V>::new(panel.columns) else { return };
    let biases = columns.row::<BIAS>();
    let has_addends = job.params.weight_zero_point != 0;
    let stored = (panel.first, panel.stored);
    for start in pixels.clone().step_by(TOGETHER) {
        let mut outputs = [core::ptr::null_mut(); TOGETHER];
        let mut rows = [sums; TOGETHER];
        let mut addends = [0; TOGETHER];
        for r in 0..TOGETHER {
            // The last stands for others that are missing.
            let pixel = (start + r).min(pixels.end - 1) % ROWS;
            outputs[r] = job.outputs[pixel];
            rows[r] = sums.wrapping_add(usize::from(cover.rows[pixel]) * 4 * SIDE);
            addends[r] = job.addends[pixel];
        }
        let sum = |r: usize, v: usize| {
            // SAFETY: the caller's promise.
            let sums = unsafe { load_sums(rows[r].wrapping_add(SIDE * v)) };
            let bias = if S::FAST { moved(biases[v]) } else { biases[v] };
            let sum = _mm512_add_epi32(sums, bias);
            if has_addends { _mm512_add_epi32(sum, _mm512_set1_epi32(addends[r])) } else { sum }
        };
        if S::FAST {
            let output = job.params.output;
            // SAFETY: the outputs are writable for these codes.
            unsafe { store_fast::<S, TOGETHER, V>(sum, columns, output, &outputs, stored) };
            continue;
        }
        let mut sums = [[_mm512_setzero_si512(); V]; TOGETHER];
        for r in 0..TOGETHER {
            for v in 0..V {
                sums[r][v] = sum(r, v);
            }
        }
        // SAFETY: as above.
        unsafe { store(&sums, columns, job.params, &outputs, stored) };
    }
}

/// # Safety
///
/// 16 sums are readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_sums(sums: *const i32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(sums.cast()) }
}
