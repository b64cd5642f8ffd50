//! Tiles of convolutions, computed in parts of up to 11 pixels times up to 64 columns.
// Loops over indices that are constants once unrolled: iterators and copies of whole arrays put
// the vectors of sums into memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use core::arch::asm;
use core::arch::x86_64::*;

use super::elementwise::add_to_outputs;
use super::requantize::{Columns, moved, store, store_fast};
use super::vector::{self, load_codes};
use crate::kernels::packed::driver::{Job, Microkernel};
use crate::kernels::packed::form::{InputForm, Pieces};
use crate::kernels::packed::{Access, PackedConv2d, Rounding};
use crate::kernels::x86::{BIAS, Exact, NearSum, Rectified, Sequence, Short};
use crate::kernels::{self, Path};

/// Pixels of a tile.
pub(in crate::kernels) const ROWS: usize = 120;
/// Columns of a whole panel, see [`Packing`](crate::kernels::packed::Packing).
const COLUMNS: usize = 64;
/// Numbers per column.
pub(in crate::kernels) const PARAMETERS: usize = 8;

/// The microkernel of [`Path::Avx512Vnni`].
#[derive(Debug)]
pub(super) struct Kernel;

// SAFETY: `tile` stores the columns of `rows` pixels only, and reads `run` bytes of each.
unsafe impl Microkernel<ROWS> for Kernel {
    const PATH: Path = Path::Avx512Vnni;
    const PART: usize = 6;
    const BELOW: bool = true;
    type Form = Offset;
    const ADD: kernels::Kernel<PackedConv2d> = super::add_residual;

    fn adds(params: &PackedConv2d, channels: u32) -> bool {
        adds(params, channels)
    }

    unsafe fn tile(job: &Job<'_, ROWS>) {
        // SAFETY: the caller's promise.
        unsafe { compute(job) }
    }
}

/// See [`Microkernel::adds`]: sums that are mostly certain, of whole vectors.
pub(in crate::kernels) fn adds(params: &PackedConv2d, channels: u32) -> bool {
    let is_near = |add| NearSum::of(add).is_some();
    channels.is_multiple_of(COLUMNS as u32) && params.residual.as_ref().is_some_and(is_near)
}

/// Computes a tile of any number of pixels.
///
/// # Safety
///
/// As [`Microkernel::tile`].
pub(in crate::kernels) unsafe fn compute(job: &Job<'_, ROWS>) {
    let params = job.params;
    let tile = match (params.fast, params.rounding) {
        (true, Rounding::Double) if params.output.rectifies() => tile_of::<Rectified>(params),
        (true, Rounding::Double) => tile_of::<Short>(params),
        _ => tile_of::<Exact>(params),
    };
    // SAFETY: the caller's promise.
    unsafe { tile(job) }
}

/// The function for inputs as such a layer comes by them.
fn tile_of<S: Sequence>(params: &PackedConv2d) -> unsafe fn(&Job<'_, ROWS>) {
    match params.access {
        Access::Direct => tile::<S, true>,
        _ => tile::<S, false>,
    }
}

/// Codes with their highest bit inverted, which is 128 more, without sign.
#[derive(Debug)]
pub(in crate::kernels) struct Offset;

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

    unsafe fn gather(to: *mut i8, from: *const i8, pieces: Pieces) {
        // SAFETY: the caller's promise.
        unsafe { vector::gather(to, from, pieces) }
    }

    unsafe fn fill(to: *mut i8, code: i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<u8>().write_bytes(code.cast_unsigned() ^ 0x80, len) }
    }

    unsafe fn sum(from: *const i8, len: usize) -> i32 {
        let mut sums = [0];
        // SAFETY: the caller's promise.
        unsafe { Self::add_sums(&mut sums, &[from], [1, 0], len) };
        let [sum] = sums;
        sum
    }

    unsafe fn add_sums(sums: &mut [i32], starts: &[*const i8], below: [usize; 2], len: usize) {
        // SAFETY: the caller's promise.
        unsafe { vector::add_sums(sums, starts, below, len) }
    }
}

/// A panel of a job.
pub(in crate::kernels) struct Panel<'a> {
    pub(in crate::kernels) weights: &'a [i8],
    pub(in crate::kernels) columns: &'a [i32],
    /// Its first column.
    pub(in crate::kernels) first: usize,
    /// Columns to store, from that.
    pub(in crate::kernels) stored: usize,
}

impl<'a> Panel<'a> {
    /// The panels of a job.
    #[inline]
    pub(in crate::kernels) fn each(job: &Job<'a, ROWS>) -> impl Iterator<Item = Self> {
        let weights = job.panels.chunks(COLUMNS * job.run * job.inputs.runs());
        let columns = job.columns.chunks(COLUMNS * PARAMETERS);
        let panels = (0..).step_by(COLUMNS).zip(weights.zip(columns));
        panels.map(|(first, (weights, columns))| {
            let stored = (job.stored - first).min(COLUMNS);
            Self { weights, columns, first, stored }
        })
    }
}

/// `IN_PLACE` says that the inputs are codes as they lie, not copies in the form of [`Offset`].
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<S: Sequence, const IN_PLACE: bool>(job: &Job<'_, ROWS>) {
    for panel in Panel::each(job) {
        match panel.columns.len() / (16 * PARAMETERS) {
            // SAFETY: the caller's promise.
            4 => unsafe { vectors::<S, 4, IN_PLACE>(job, &panel) },
            // SAFETY: the caller's promise.
            3 => unsafe { vectors::<S, 3, IN_PLACE>(job, &panel) },
            // SAFETY: the caller's promise.
            2 => unsafe { vectors::<S, 2, IN_PLACE>(job, &panel) },
            // SAFETY: the caller's promise.
            _ => unsafe { vectors::<S, 1, IN_PLACE>(job, &panel) },
        }
    }
    // SAFETY: the outputs have just been stored.
    unsafe { add_to_outputs(job) };
}

/// A tile of `V` vectors of columns, in as many parts as the registers ask.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn vectors<S: Sequence, const V: usize, const IN_PLACE: bool>(
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
) {
    // Of more pixels than 11, the places of the inputs do not fit into the registers.
    let most = if V > 2 { 6 } else { 11 };
    // All parts have as many pixels, or the first of them one more.
    let parts = job.rows.div_ceil(most).max(1);
    let (size, larger) = (job.rows / parts, job.rows % parts);
    let first = Parts { index: 0, start: 0, count: larger };
    let others = Parts { index: larger, start: larger * (size + 1), count: parts - larger };
    for (size, parts) in [(size + 1, first), (size, others)] {
        let compute = match size {
            _ if parts.count == 0 => continue,
            1 => self::parts::<S, 1, V, IN_PLACE>,
            2 => self::parts::<S, 2, V, IN_PLACE>,
            3 => self::parts::<S, 3, V, IN_PLACE>,
            4 => self::parts::<S, 4, V, IN_PLACE>,
            5 => self::parts::<S, 5, V, IN_PLACE>,
            6 => self::parts::<S, 6, V, IN_PLACE>,
            size if V <= 2 => match size {
                7 => self::parts::<S, 7, V, IN_PLACE>,
                8 => self::parts::<S, 8, V, IN_PLACE>,
                9 => self::parts::<S, 9, V, IN_PLACE>,
                10 => self::parts::<S, 10, V, IN_PLACE>,
                _ => self::parts::<S, 11, V, IN_PLACE>,
            },
            _ => return,
        };
        // SAFETY: the caller's promise.
        unsafe { compute(job, panel, parts) };
    }
}

/// Neighbouring parts of a tile that have as many pixels.
#[derive(Clone, Copy)]
struct Parts {
    /// Parts of the tile before.
    index: usize,
    /// Pixels of the tile before.
    start: usize,
    count: usize,
}

/// Parts of `R` pixels.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn parts<S: Sequence, const R: usize, const V: usize, const IN_PLACE: bool>(
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
    Parts { index, start, count }: Parts,
) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe { part::<S, R, V, IN_PLACE>(job, panel, start + i * R, index + i) };
    }
}

/// Part `index`, `R` rows of a tile from row `start` on.
///
/// # Safety
///
/// As [`Microkernel::tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn part<S: Sequence, const R: usize, const V: usize, const IN_PLACE: bool>(
    job: &Job<'_, ROWS>,
    panel: &Panel<'_>,
    start: usize,
    index: usize,
) {
    let end = start + R;
    let outputs = job.outputs.get(start..end).and_then(|outputs| outputs.as_array::<R>());
    let Some(outputs) = outputs else { return };
    // The lines that will be written are on their way while the inputs are multiplied; of narrow
    // rows, several share one.
    for output in outputs.iter().step_by(4 / V) {
        _mm_prefetch::<_MM_HINT_ET0>(output.wrapping_add(panel.first));
    }
    let mut weights = panel.weights.as_chunks().0.as_chunks::<V>().0;
    debug_assert_eq!(4 * weights.len(), job.run * job.inputs.runs());
    let Some(columns) = Columns::<V>::new(panel.columns) else { return };
    // Of the panel that follows, which may be far away, each part fetches one line of every `V`.
    let ahead = panel.weights.len().wrapping_add(64 * (index % V));
    let params = job.params;
    let biases = columns.row::<BIAS>();
    let mut sums = [[_mm512_setzero_si512(); V]; R];
    for v in 0..V {
        let bias = if S::FAST { moved(biases[v]) } else { biases[v] };
        for r in 0..R {
            sums[r][v] = bias;
        }
    }
    if params.weight_zero_point != 0 {
        let Some(addends) = job.addends.get(start..end).and_then(|a| a.as_array::<R>()) else {
            return;
        };
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = _mm512_add_epi32(sums[r][v], _mm512_set1_epi32(addends[r]));
            }
        }
    }
    let mut last = None;
    let mut starts = [core::ptr::null(); R];
    for (all, offset) in job.inputs.each() {
        // Runs below each other begin at the same places.
        if last != Some(all.as_ptr()) {
            last = Some(all.as_ptr());
            let Some(run) = all.get(start..end).and_then(|all| all.as_array::<R>()) else { return };
            starts = *run;
        }
        let Some((here, rest)) = weights.split_at_checked(job.run / 4) else { return };
        weights = rest;
        let mut at = offset;
        for weights in here {
            // Narrower panels are the last.
            if V == 4 {
                _mm_prefetch::<_MM_HINT_T1>(weights.as_ptr().cast::<i8>().wrapping_add(ahead));
            }
            let mut columns = [_mm512_setzero_si512(); V];
            for v in 0..V {
                columns[v] = load_codes(&weights[v]);
            }
            for r in 0..R {
                // SAFETY: the inputs are readable for `run` bytes, four per element of the panel.
                let input = unsafe { broadcast::<IN_PLACE>(starts[r], at) };
                for v in 0..V {
                    sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], input, columns[v]);
                }
            }
            at = counted(at.wrapping_add(4));
        }
    }
    let stored = (panel.first, panel.stored);
    if S::FAST {
        // SAFETY: the outputs are writable for these codes.
        return unsafe {
            store_fast::<S, R, V>(|r, v| sums[r][v], columns, params.output, outputs, stored);
        };
    }
    // Copied one by one: the array as a whole would be in memory all the time.
    let mut copy = [[_mm512_setzero_si512(); V]; R];
    for r in 0..R {
        for v in 0..V {
            copy[r][v] = sums[r][v];
        }
    }
    // SAFETY: as above.
    unsafe { store(&copy, columns, params, outputs, stored) };
}

/// A count that the compiler knows nothing of: else it counts up a pointer per row, too.
#[inline]
pub(super) fn counted(mut at: usize) -> usize {
    // SAFETY: does nothing.
    unsafe {
        asm!("/* {0} */", inout(reg) at, options(nomem, nostack, preserves_flags));
    }
    at
}

/// The four inputs that are `at` bytes behind `start`, moved up by 128, in every lane.
///
/// # Safety
///
/// They are readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast<const IN_PLACE: bool>(start: *const i8, at: usize) -> __m512i {
    let inputs = start.wrapping_add(at).cast::<i32>();
    if !IN_PLACE {
        // SAFETY: the caller's promise.
        return _mm512_set1_epi32(unsafe { inputs.read_unaligned() });
    }
    let by_128 = _mm512_set1_epi8(-128);
    let moved;
    // The compiler would move them in one lane, and take another instruction for the others.
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "vpxord {moved}, {by_128}, dword ptr [{start} + {at}]{{1to16}}",
            moved = out(zmm_reg) moved,
            by_128 = in(zmm_reg) by_128,
            start = in(reg) start,
            at = in(reg) at,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    moved
}
