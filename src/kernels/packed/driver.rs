//! Convolution as an implicit matrix product: tiles of output pixels times panels of columns.
//!
//! The driver finds where the inputs of a tile lie, or gathers them, and hands each tile and
//! panel to the path's [`Microkernel`]. Everything about instruction sets is below that trait;
//! everything about geometry is here.

use core::mem::MaybeUninit;

use super::gather::{Gather, Pieces};
use super::{MAX_TAPS, PackedConv2d, Packing};
use crate::kernels::{Io, Path, Window};
use crate::tensor::{Hwc, Tile, View};
use crate::weights::Weights;

/// A tile of up to `ROWS` output pixels times one panel of columns.
#[derive(Debug)]
pub(crate) struct Job<'a, const ROWS: usize> {
    /// Pixels, at least 1. Entries of arrays from here on repeat the first.
    pub(crate) rows: usize,
    /// Per run, where the inputs of each pixel lie: `run` readable codes.
    pub(crate) inputs: &'a [[*const i8; ROWS]],
    /// Inputs of a run, filled up.
    pub(crate) run: usize,
    /// Weights of the panel.
    pub(crate) panel: &'a [i8],
    /// The panel's part of the table of columns.
    pub(crate) columns: &'a [i32],
    /// Columns of the panel.
    pub(crate) width: usize,
    /// Columns to store, from the first.
    pub(crate) stored: usize,
    /// Added to every sum of a pixel.
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
/// [`tile`](Self::tile) reads `run` inputs at each place and writes `stored` codes at each
/// output of the first `rows`, no others; [`copy`](Self::copy) reads and writes `len` inputs.
pub(crate) unsafe trait Microkernel<const ROWS: usize> {
    /// The path.
    const PATH: Path;

    /// Bytes of an input that [`copy`](Self::copy) has written.
    const WIDTH: usize = 1;

    /// Computes the tile.
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
    /// `len` inputs; they do not overlap.
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

    /// Writes `len` inputs of code `code` in the form that [`tile`](Self::tile) wants.
    ///
    /// # Safety
    ///
    /// `to` is writable for `len` inputs.
    unsafe fn fill(to: *mut i8, code: i8, len: usize);

    /// The sum of `len` inputs, as [`copy`](Self::copy) left them.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; `from` is readable for `len` inputs.
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
    let mut source = Source::<M, ROWS> {
        input: *input,
        params,
        run,
        len: runs.len as usize,
        scratch: scratch.0.as_mut_ptr().cast::<i8>(),
        kernel: core::marker::PhantomData,
    };
    let most_rows = match params.gather {
        true => (SCRATCH / (run * M::WIDTH).max(1)).min(ROWS),
        false => ROWS,
    };
    // The check of the parameters leaves room for one pixel, and for two where they are needed.
    if most_rows == 0 || !source.fits(io.output.hwc(), SCRATCH) {
        return;
    }
    // SAFETY: `fits` says that there is room; the core can execute the path.
    unsafe { source.prepare(most_rows) };

    let width = io.output.columns().len();
    let pixels = io.output.rows().len().saturating_mul(width);
    // Tiles of about the same size, so that none is a mere rest: the first have one pixel more.
    let tiles = pixels.div_ceil(most_rows).max(1);
    let (least, more) = (pixels / tiles, pixels % tiles);
    let gather = Gather::new(*input, params.window, params.input_zero_point, run, width);
    let mut inputs = [[core::ptr::null(); ROWS]; MAX_TAPS as usize];
    for block in panels.clone().step_by(usize::from(params.block).max(1)) {
        let block = block..(block + usize::from(params.block).max(1)).min(panels.end);
        let (mut y, mut x) = (io.output.rows().start, 0);
        for tile in 0..tiles {
            let rows = least + usize::from(tile < more);
            // All of each pixel's channels in this share, or the tile is not as it says.
            let Some(pixels) = cells::<ROWS>(&io.output, [y, x], rows) else { return };
            if params.gather {
                // SAFETY: `most_rows` runs fit into the scratch; the core can execute the path.
                unsafe { gather.pixels::<M, ROWS>(source.scratch, [y, x], rows) };
                for (row, input) in inputs.iter_mut().take(1).flatten().enumerate().take(rows) {
                    // SAFETY: a row of the scratch.
                    *input = unsafe { source.scratch.add(row * run * M::WIDTH) };
                }
            }
            if !params.gather {
                let (mut y, mut x) = (y, x);
                for row in 0..rows {
                    // SAFETY: the core can execute the path, and `row` is below `most_rows`.
                    unsafe { source.locate(&mut inputs, row, y, x) };
                    x += 1;
                    if x == width {
                        (y, x) = (y + 1, 0);
                    }
                }
            }
            x += rows;
            while x >= width {
                (y, x) = (y + 1, x - width);
            }
            let mut addends = [0; ROWS];
            if params.weight_zero_point != 0 {
                let zero = i32::from(params.weight_zero_point);
                let all = packing.offset.wrapping_mul(runs.count.wrapping_mul(runs.len) as i32);
                for (row, addend) in addends.iter_mut().enumerate().take(rows) {
                    // SAFETY: the inputs have just been located or gathered.
                    let sum = unsafe { source.sum(&inputs, row) };
                    *addend = all.wrapping_sub(sum).wrapping_mul(zero);
                }
            }
            let used = if params.gather { 1 } else { runs.count as usize };
            let Some(inputs) = inputs.get_mut(..used) else { return };
            inputs.iter_mut().for_each(|run| repeat_first(run, rows));
            for panel in block.clone() {
                let columns = packing.panel(outputs, panel as u32);
                let (start, end) = (columns.start as usize, columns.end as usize);
                let parameters = packing.parameters as usize;
                let (Some(panel), Some(table)) = (
                    filters.get(start * depth..end * depth),
                    table.get(start * parameters..end * parameters),
                ) else {
                    return;
                };
                let stored = channels.end.min(end) - start;
                // Inside the channels of the share, as is all that is stored.
                let outputs = pixels.map(|pixel| pixel.wrapping_add(start - channels.start));
                let job = Job {
                    rows,
                    inputs,
                    run,
                    panel,
                    columns: table,
                    width: end - start,
                    stored,
                    addends,
                    outputs,
                    params,
                };
                // SAFETY: inputs are readable for `run` bytes (see `locate`), outputs are cells
                // of this core's share, and the core can execute the path.
                unsafe { M::tile(&job) };
            }
        }
    }
}

/// Where `rows` pixels of `tile` from (`y`, `x`) on are written; the first again for the others.
fn cells<const ROWS: usize>(
    tile: &Tile<'_>,
    [mut y, mut x]: [usize; 2],
    rows: usize,
) -> Option<[*mut i8; ROWS]> {
    let mut found = [core::ptr::null_mut(); ROWS];
    let step = tile.layout().pixel_stride as usize;
    let mut rest = found.get_mut(..rows)?;
    while !rest.is_empty() {
        let count = rest.len().min(tile.columns().end.checked_sub(x)?);
        let (here, below) = rest.split_at_mut(count);
        let cells = tile.pixels(y, x..x + count);
        let first = cells.first()?.as_ptr();
        for (i, pixel) in here.iter_mut().enumerate() {
            *pixel = first.wrapping_add(i * step);
        }
        rest = below;
        (y, x) = (y + 1, 0);
    }
    repeat_first(&mut found, rows);
    Some(found)
}

/// Fills `values` from `len` on with the first.
fn repeat_first<T: Copy, const N: usize>(values: &mut [T; N], len: usize) {
    if let Some(&first) = values.first() {
        values.iter_mut().skip(len).for_each(|value| *value = first);
    }
}

/// Where the inputs of output pixels are.
struct Source<'a, M, const ROWS: usize> {
    input: View<'a>,
    params: &'a PackedConv2d,
    /// Inputs of a run, filled up.
    run: usize,
    /// Inputs of a run.
    len: usize,
    /// Gathered: a run per row. Otherwise a pixel of padding, then a spare one.
    scratch: *mut i8,
    kernel: core::marker::PhantomData<M>,
}

impl<M: Microkernel<ROWS>, const ROWS: usize> Source<'_, M, ROWS> {
    /// Whether `scratch` bytes are enough.
    fn fits(&self, output: Hwc, scratch: usize) -> bool {
        let Self { params, run, .. } = *self;
        params.gather || !params.needs_spare(self.input.hwc(), output, run) || 2 * run <= scratch
    }

    /// Writes what is the same for all pixels.
    ///
    /// # Safety
    ///
    /// [`fits`](Self::fits); the core can execute the path.
    unsafe fn prepare(&mut self, rows: usize) {
        let Self { scratch, run, len, .. } = *self;
        if self.params.gather {
            for row in 0..rows {
                // SAFETY: `rows` runs fit into the scratch.
                let rest = unsafe { scratch.add((row * run + len) * M::WIDTH) };
                // SAFETY: the bytes behind the inputs of a row; their weights are zero.
                unsafe { M::fill(rest, 0, run - len) };
            }
        } else if 2 * run <= self.params.path.packing().map_or(0, |p: Packing| p.scratch as usize) {
            // SAFETY: two runs fit into the scratch.
            unsafe { M::fill(scratch, self.params.input_zero_point, run) };
            // SAFETY: as above.
            let spare = unsafe { scratch.add(run) };
            // SAFETY: as above.
            unsafe { M::fill(spare, 0, run) };
        }
    }

    /// Finds the inputs of output pixel (`y`, `x`) for row `row` of the tile.
    ///
    /// # Safety
    ///
    /// [`prepare`](Self::prepare) has been called for more rows than `row`; the core can execute
    /// the path.
    #[inline]
    unsafe fn locate(
        &self,
        inputs: &mut [[*const i8; ROWS]; MAX_TAPS as usize],
        row: usize,
        y: usize,
        x: usize,
    ) {
        let Self { input, params, .. } = self;
        let window = &params.window;
        let Hwc { h, w, .. } = input.hwc();
        let (rows, columns) = (window.range(0, y, h as usize), window.range(1, x, w as usize));
        let [down, across] = window.taps.map(usize::from);
        let taps = (0..down).flat_map(|down| (0..across).map(move |across| (down, across)));
        for (run, (down, across)) in inputs.iter_mut().zip(taps) {
            let input = if rows.contains(&down) && columns.contains(&across) {
                // SAFETY: the promise of `direct` is this function's.
                unsafe { self.direct(window.source(0, y, down), window.source(1, x, across)) }
            } else {
                self.scratch
            };
            if let Some(place) = run.get_mut(row) {
                *place = input;
            }
        }
    }

    /// The channels of input pixel (`y`, `x`), readable for a whole run.
    ///
    /// # Safety
    ///
    /// As [`locate`](Self::locate).
    #[inline]
    unsafe fn direct(&self, y: usize, x: usize) -> *const i8 {
        if let Some(cells) = self.input.from_pixel(y, x, self.run) {
            return cells.as_ptr().cast::<i8>();
        }
        let pixel = self.input.pixel_cells(y, x..x + 1);
        // SAFETY: the second run of the scratch, see `fits`.
        let spare = unsafe { self.scratch.add(self.run) };
        // SAFETY: a pixel's channels are no longer than a run.
        unsafe { M::copy(spare, pixel.as_ptr().cast::<i8>(), pixel.len()) };
        spare
    }

    /// The sum of the inputs of row `row`.
    ///
    /// # Safety
    ///
    /// The inputs of `row` are located or gathered.
    unsafe fn sum(&self, inputs: &[[*const i8; ROWS]; MAX_TAPS as usize], row: usize) -> i32 {
        let count = if self.params.gather { 1 } else { window_taps(&self.params.window) };
        let rows = inputs.iter().take(count).filter_map(|run| run.get(row));
        // SAFETY: each is readable for a run.
        rows.map(|&input| unsafe { M::sum(input, self.len) }).fold(0, i32::wrapping_add)
    }
}

fn window_taps(window: &Window) -> usize {
    let [down, across] = window.taps.map(usize::from);
    down.wrapping_mul(across)
}
