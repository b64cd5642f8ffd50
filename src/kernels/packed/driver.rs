//! Convolution as an implicit matrix product: tiles of output pixels times panels of columns.
//!
//! The driver finds where the inputs of a tile lie, or has them gathered, and hands each tile with
//! some panels to the path's [`Microkernel`]. Everything about instruction sets is below that trait;
//! everything about geometry is here.

use core::mem::MaybeUninit;

use super::direct::Source;
use super::gather::{Gather, Pieces};
use super::{MAX_TAPS, PackedConv2d};
use crate::kernels::{Io, Path};
use crate::tensor::Hwc;
use crate::weights::Weights;

/// A tile of up to `ROWS` output pixels times some adjacent panels of columns.
#[derive(Debug)]
pub(crate) struct Job<'a, const ROWS: usize> {
    /// Pixels, at least 1. Entries of arrays from here on repeat the first.
    pub(crate) rows: usize,
    /// Per run, where the inputs of each pixel lie: `run` readable codes.
    pub(crate) inputs: &'a [[*const i8; ROWS]],
    /// Inputs of a run, filled up.
    pub(crate) run: usize,
    /// Weights of the panels.
    pub(crate) panels: &'a [i8],
    /// The panels' part of the table of columns.
    pub(crate) columns: &'a [i32],
    /// Columns to store, from the first of the first panel.
    pub(crate) stored: usize,
    /// Added to every sum of a pixel; none are but zero while the zero point of the weights is.
    pub(crate) addends: [i32; ROWS],
    /// Where `stored` codes of each pixel go.
    pub(crate) outputs: [*mut i8; ROWS],
    /// The layer.
    pub(crate) params: &'a PackedConv2d,
}

/// What a path brings to a convolution.
///
/// # Safety
///
/// [`tile`](Self::tile) reads `run` bytes at each input and writes `stored` bytes at each
/// output of the first `rows`, no others; [`copy`](Self::copy) reads and writes `len` bytes.
pub(crate) unsafe trait Microkernel<const ROWS: usize> {
    /// The path.
    const PATH: Path;

    /// Computes the tile, panel after panel.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions, and the pointers are as [`Job`] says.
    unsafe fn tile(job: &Job<'_, ROWS>);

    /// Copies `len` input codes in the form that [`tile`](Self::tile) wants.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; `from` is readable and `to` writable for
    /// `len` bytes; they do not overlap.
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize);

    /// Copies pieces of input codes in the form that [`tile`](Self::tile) wants.
    ///
    /// # Safety
    ///
    /// As [`copy`](Self::copy) for each piece.
    unsafe fn copy_pieces(to: *mut i8, from: *const i8, pieces: Pieces) {
        for i in 0..pieces.count {
            // SAFETY: where the caller says a piece is written.
            let to = unsafe { to.add(i * pieces.to_step) };
            // SAFETY: where the caller says it is read.
            let from = unsafe { from.add(i * pieces.from_step) };
            // SAFETY: the caller's promise.
            unsafe { Self::copy(to, from, pieces.len) };
        }
    }

    /// Fills `len` bytes with the input code `code` in the form that [`tile`](Self::tile) wants.
    ///
    /// # Safety
    ///
    /// `to` is writable for `len` bytes.
    unsafe fn fill(to: *mut i8, code: i8, len: usize);

    /// The sum of `len` inputs, as [`copy`](Self::copy) left them.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; `from` is readable for `len` bytes.
    unsafe fn sum(from: *const i8, len: usize) -> i32;
}

/// Memory for gathered inputs, or for a padding pixel and a spare one.
#[repr(align(64))]
struct Scratch<const BYTES: usize>([MaybeUninit<i8>; BYTES]);

/// Computes `io.output` with `M`; `SCRATCH` is [`Packing::scratch`] of its path.
///
/// # Safety
///
/// The core can execute the instructions of the path of `M`.
pub(crate) unsafe fn run<M: Microkernel<ROWS>, const ROWS: usize, const SCRATCH: usize>(
    params: &PackedConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let [input] = io.inputs.as_slice() else { return };
    // A constant, so that no division by its fields is left.
    let Some(packing) = M::PATH.packing().filter(|_| params.path == M::PATH) else { return };
    let Hwc { c, .. } = input.hwc();
    let Some(runs) = params.runs(c) else { return };
    let (Some(run), Some(depth)) = (packing.padded(runs.len), packing.depth(runs)) else { return };
    let (run, depth) = (run as usize, depth as usize);
    let (table, filters) = (weights.get(params.columns), weights.get(params.weights));
    let outputs = io.output.hwc().c;
    let channels = io.output.channels();
    let first = channels.start / packing.columns as usize;
    if !channels.start.is_multiple_of(packing.columns as usize) {
        debug_assert!(false, "shares are made of whole panels");
        return;
    }
    let panels = first..channels.end.div_ceil(packing.columns as usize);

    let mut scratch = Scratch::<SCRATCH>([const { MaybeUninit::uninit() }; SCRATCH]);
    let scratch = scratch.0.as_mut_ptr().cast::<i8>();
    let width = io.output.columns().len();
    let pixels = io.output.rows().len().saturating_mul(width);
    let source = Source::<M, ROWS>::new(*input, params, run, scratch);
    let gather = Gather::new(*input, params.window, params.input_zero_point, run, width);
    let most_rows = match params.gather {
        true => (SCRATCH / run.max(1)).min(ROWS),
        false => ROWS,
    };
    // The check of the parameters leaves room for one pixel, and for two where they are needed.
    if most_rows == 0 || !source.fits(io.output.hwc(), SCRATCH) {
        return;
    }
    if params.gather {
        // SAFETY: `most_rows` runs fit into the scratch; the core can execute the path.
        unsafe { gather.prepare::<M, ROWS>(scratch, most_rows) };
    } else {
        // SAFETY: `fits` says that there is room; the core can execute the path.
        unsafe { source.prepare(SCRATCH) };
    }

    // Tiles of about the same size, so that none is a mere rest: the first have one pixel more.
    let tiles = pixels.div_ceil(most_rows).max(1);
    let (least, more) = (pixels / tiles, pixels % tiles);
    let used = if params.gather { 1 } else { runs.count as usize };
    let mut inputs = [[core::ptr::null(); ROWS]; MAX_TAPS as usize];
    for block in panels.clone().step_by(usize::from(params.block).max(1)) {
        let last = (block + usize::from(params.block).max(1)).min(panels.end).saturating_sub(1);
        let start = packing.panel(outputs, block as u32).start as usize;
        let end = packing.panel(outputs, last as u32).end as usize;
        let parameters = packing.parameters as usize;
        let (Some(panels), Some(columns)) = (
            filters.get(start * depth..end * depth),
            table.get(start * parameters..end * parameters),
        ) else {
            return;
        };
        let stored = channels.end.min(end) - start;
        let (mut y, mut x) = (io.output.rows().start, 0);
        let (mut line, mut cells) = (source.line(y), io.output.row(y));
        for tile in 0..tiles {
            let rows = least + usize::from(tile < more);
            if params.gather {
                // SAFETY: as in `prepare`, with no more rows.
                unsafe { gather.pixels::<M, ROWS>(scratch, &mut inputs, [y, x], rows) };
            }
            let mut addends = [0; ROWS];
            let mut outputs = [core::ptr::null_mut(); ROWS];
            for (row, (addend, output)) in
                addends.iter_mut().zip(&mut outputs).enumerate().take(rows)
            {
                if x == width {
                    (y, x) = (y + 1, 0);
                    (line, cells) = (source.line(y), io.output.row(y));
                }
                if !params.gather {
                    // SAFETY: `prepare` has been called; the core can execute the path.
                    unsafe { source.locate(&mut inputs, row, &line, x) };
                }
                if params.weight_zero_point != 0 {
                    let inputs = inputs.iter().take(used).filter_map(|run| run.get(row));
                    // SAFETY: each is readable for a run.
                    let sums = inputs.map(|&run| unsafe { M::sum(run, runs.len as usize) });
                    let all = packing.offset.wrapping_mul(runs.count.wrapping_mul(runs.len) as i32);
                    let zero = i32::from(params.weight_zero_point);
                    let sum = sums.fold(0, i32::wrapping_add);
                    *addend = all.wrapping_sub(sum).wrapping_mul(zero);
                }
                let (cells, step) = cells;
                let at = x * step + (start - channels.start);
                // All of a pixel's channels in these panels, or the tile is not as it says.
                let Some(cells) = cells.get(at..at + stored) else { return };
                *output = cells.as_ptr().cast_mut().cast::<i8>();
                x += 1;
            }
            repeat_first(&mut addends, rows);
            repeat_first(&mut outputs, rows);
            let Some(inputs) = inputs.get_mut(..used) else { return };
            inputs.iter_mut().for_each(|run| repeat_first(run, rows));
            let job = Job { rows, inputs, run, panels, columns, stored, addends, outputs, params };
            // SAFETY: inputs are readable for `run` bytes (see `locate`), outputs are cells
            // of this core's share, and the core can execute the path.
            unsafe { M::tile(&job) };
        }
    }
}

/// Fills `values` from `len` on with the first.
fn repeat_first<T: Copy, const N: usize>(values: &mut [T; N], len: usize) {
    if let Some(&first) = values.first() {
        values.iter_mut().skip(len).for_each(|value| *value = first);
    }
}
