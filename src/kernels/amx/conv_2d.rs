//! Tiles of convolutions: 16 pixels at equal distances times 16 columns.
// Loops over indices that are constants once unrolled: iterators and copies of whole arrays put
// the vectors of sums into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use super::tiles::{DEPTH, Operands, SIDE, Sums, Tiles};
use crate::kernels::avx512vnni;
use crate::kernels::avx512vnni::conv_2d::{COLUMNS, Offset, PARAMETERS, Panel};
use crate::kernels::avx512vnni::requantize::{
    BIAS, Columns, Exact, Rectified, Sequence, Short, moved, store, store_fast,
};
use crate::kernels::avx512vnni::vector::load_numbers;
use crate::kernels::packed::driver::{Job, Microkernel};
use crate::kernels::packed::Rounding;
use crate::kernels::reference::Add;
use crate::kernels::{self, Path};
use core::mem::MaybeUninit;

/// Pixels of a tile of the driver.
pub(super) use crate::kernels::avx512vnni::conv_2d::ROWS;

/// The microkernel of [`Path::Amx`]; the core's [`Tiles`] are in use.
#[derive(Debug)]
pub(super) struct Kernel;

// SAFETY: `tile` stores the columns of `rows` pixels only. What it reads between the inputs of two
// pixels is readable, since the path copies them all.
unsafe impl Microkernel<ROWS> for Kernel {
    const PATH: Path = Path::Amx;
    const PART: usize = SIDE;
    const BELOW: bool = true;
    type Form = Offset;
    const ADD: kernels::Kernel<Add> = avx512vnni::add;

    unsafe fn tile(job: &Job<'_, ROWS>) {
        let Some(places) = Places::of(job) else {
            // SAFETY: the caller's promise; the panels are the same.
            return unsafe { avx512vnni::conv_2d::compute(job) };
        };
        let params = job.params;
        let tile = match (params.fast, params.rounding) {
            (true, Rounding::Double) if params.output.rectifies() => tile::<Rectified>,
            (true, Rounding::Double) => tile::<Short>,
            _ => tile::<Exact>,
        };
        // SAFETY: the caller's promise.
        unsafe { tile(job, &places) }
    }
}

/// Inputs of a row of tiles, for runs of `run` inputs, which [`Packing`] makes a multiple of it.
///
/// [`Packing`]: crate::kernels::packed::Packing
pub(super) fn depth(run: usize) -> usize {
    run.checked_div(run.div_ceil(DEPTH)).unwrap_or(0)
}

/// How the pixels of a job lie in tiles.
struct Places {
    /// The first pixel of each tile.
    firsts: [*const i8; ROWS],
    /// The pixels of each tile: up to this.
    ends: [u8; ROWS],
    /// The row of its tile that a pixel is.
    rows: [u8; ROWS],
    tiles: usize,
}

impl Places {
    /// None where too few pixels lie at equal distances.
    fn of(job: &Job<'_, ROWS>) -> Option<Self> {
        let [starts] = job.inputs.starts else { return None };
        let starts = starts.get(..job.rows)?;
        let (&start, &last) = (starts.first()?, starts.last()?);
        let step = job.inputs.across;
        let reach = (SIDE - 1) * step;
        if step == 0 || last.addr().wrapping_sub(start.addr()) < reach {
            return None;
        }
        let mut places =
            Self { firsts: [start; ROWS], ends: [0; ROWS], rows: [0; ROWS], tiles: 0 };
        let (mut first, mut at) = (start, 0usize);
        let (mut expected, mut row) = (start, 0);
        let mut open = false;
        for (i, &input) in starts.iter().enumerate() {
            if open && input != expected {
                let far = input.addr().wrapping_sub(first.addr());
                row = far / step;
                open = far % step == 0;
            }
            if !open || row >= SIDE {
                if i > 0 {
                    places.tiles += 1;
                }
                first = input;
                // The last pixels are in the last rows: what follows them is not readable.
                let beyond = last.addr().wrapping_sub(first.addr()) < reach;
                if beyond {
                    first = last.wrapping_sub(reach);
                    let far = input.addr().wrapping_sub(first.addr());
                    if far % step != 0 {
                        return None;
                    }
                    row = far / step;
                } else {
                    row = 0;
                }
                *places.firsts.get_mut(places.tiles)? = first;
                open = true;
            }
            *places.rows.get_mut(i)? = row as u8;
            at += 1;
            *places.ends.get_mut(places.tiles)? = at as u8;
            row += 1;
            expected = input.wrapping_add(step);
        }
        places.tiles += 1;
        Some(places)
    }
}

/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<S: Sequence>(job: &Job<'_, ROWS>, places: &Places) {
    let weights = job.panels.chunks(COLUMNS * job.run * job.inputs.runs());
    let columns = job.columns.chunks(COLUMNS * PARAMETERS);
    for (first, (weights, columns)) in (0..).step_by(COLUMNS).zip(weights.zip(columns)) {
        let stored = (job.stored - first).min(COLUMNS);
        let panel = Panel { weights, columns, first, stored };
        match columns.len() / (16 * PARAMETERS) {
            // SAFETY: the caller's promise.
            4 => unsafe { vectors::<S, 4>(job, &panel, places) },
            // SAFETY: the caller's promise.
            3 => unsafe { vectors::<S, 3>(job, &panel, places) },
            // SAFETY: the caller's promise.
            2 => unsafe { vectors::<S, 2>(job, &panel, places) },
            // SAFETY: the caller's promise.
            _ => unsafe { vectors::<S, 1>(job, &panel, places) },
        }
    }
}

/// The columns of a panel, `V` vectors, for all pixels.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn vectors<S: Sequence, const V: usize>(
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
    places: &Places,
) {
    let mut sums = MaybeUninit::<Sums>::uninit();
    let to = sums.as_mut_ptr().cast::<i32>();
    let depth = depth(job.run);
    let mut pixel = 0;
    for pair in (0..places.tiles).step_by(2) {
        let both = pair + 1 < places.tiles;
        let one = places.firsts[pair];
        let other = if both { places.firsts[pair + 1] } else { one };
        for v in (0..V).step_by(2) {
            let operands = Operands {
                inputs: [one, other],
                pixel: job.inputs.across,
                runs: job.inputs.down,
                run: job.run,
                below: job.inputs.step,
                weights: panel.weights.as_ptr().wrapping_add(64 * v),
                width: SIDE * V,
            };
            let to = to.wrapping_add(SIDE * v);
            let multiply = match (both, v + 1 < V) {
                (true, true) => Tiles::multiply::<2, 2>,
                (true, false) => Tiles::multiply::<2, 1>,
                (false, true) => Tiles::multiply::<1, 2>,
                (false, false) => Tiles::multiply::<1, 1>,
            };
            // SAFETY:
            unsafe { multiply(depth, operands, to) };
        }
        // SAFETY:
        let sums = unsafe { sums.assume_init_ref() };
        let middle = usize::from(places.ends[pair]);
        let end = if both { usize::from(places.ends[pair + 1]) } else { middle };
        for start in (pixel..end).step_by(4) {
            // SAFETY:
            unsafe { finish::<S, V>(job, panel, places, sums, start, middle, end) };
        }
        pixel = end;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn finish<S: Sequence, const V: usize>(
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
    places: &Places,
    from: &Sums,
    start: usize,
    middle: usize,
    end: usize,
) {
    let Some(columns) = Columns::<V>::new(panel.columns) else { return };
    let biases = columns.row::<BIAS>();
    let mut outputs = [core::ptr::null_mut(); 4];
    let mut rows = [&from.0[0]; 4];
    let mut addends = [0; 4];
    for r in 0..4 {
        let pixel = (start + r).min(end - 1);
        let row = usize::from(places.rows[pixel % ROWS]) + if pixel >= middle { SIDE } else { 0 };
        outputs[r] = job.outputs[pixel % ROWS];
        rows[r] = &from.0[row & 31];
        addends[r] = job.addends[pixel % ROWS];
    }
    let is_shifted = job.params.weight_zero_point != 0;
    let sum = |r: usize, v: usize| {
        let (vectors, _) = rows[r].as_chunks::<16>();
        let bias = if S::FAST { moved(biases[v]) } else { biases[v] };
        let sum = _mm512_add_epi32(load_numbers(&vectors[v]), bias);
        if is_shifted { _mm512_add_epi32(sum, _mm512_set1_epi32(addends[r])) } else { sum }
    };
    let stored = (panel.first, panel.stored);
    if S::FAST {
        // SAFETY: the outputs are writable for these codes.
        return unsafe {
            store_fast::<S, 4, V>(sum, columns, job.params.output, &outputs, stored)
        };
    }
    let mut sums = [[_mm512_setzero_si512(); V]; 4];
    for r in 0..4 {
        for v in 0..V {
            sums[r][v] = sum(r, v);
        }
    }
    // SAFETY: as above.
    unsafe { store(&sums, columns, job.params, &outputs, stored) };
}
