//! Convolution as an implicit matrix product: tiles of output pixels times panels of columns.
//!
//! The driver finds where the inputs of a tile lie, or gathers them, and hands each tile and
//! panel to the path's [`Microkernel`]. Everything about instruction sets is below that trait;
//! everything about geometry is here.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::{MAX_TAPS, PackedConv2d, Runs};
use crate::kernels::{Io, Path, Window};
use crate::tensor::{Hwc, Layout, View};
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
    let Some(packing) = params.path.packing().filter(|_| params.path == M::PATH) else { return };
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
    let source = Source::<M, ROWS>::new(*input, params, run, runs, scratch);
    let most_rows = match params.gather {
        true => (SCRATCH / run.max(1)).min(ROWS),
        false => ROWS,
    };
    // The check of the parameters leaves room for one pixel, and for two where they are needed.
    if most_rows == 0 || !source.fits(io.output.hwc(), SCRATCH) {
        return;
    }
    // SAFETY: `fits` says that there is room; the core can execute the path.
    unsafe { source.prepare(most_rows, SCRATCH) };

    let width = io.output.columns().len();
    let pixels = io.output.rows().len().saturating_mul(width);
    let tiles = pixels.div_ceil(most_rows);
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
        let mut left = pixels;
        for tile in 0..tiles {
            // Tiles of about the same size, so that none is a mere rest.
            let rows = left.div_ceil(tiles - tile);
            left -= rows;
            let mut addends = [0; ROWS];
            let mut outputs = [core::ptr::null_mut(); ROWS];
            for (row, (addend, output)) in
                addends.iter_mut().zip(&mut outputs).enumerate().take(rows)
            {
                if x == width {
                    (y, x) = (y + 1, 0);
                    (line, cells) = (source.line(y), io.output.row(y));
                }
                // SAFETY: the core can execute the path, and `row` is below `most_rows`.
                unsafe { source.locate(&mut inputs, row, &line, x) };
                if params.weight_zero_point != 0 {
                    // SAFETY: as above; `locate` has just been there.
                    let sum = unsafe { source.sum(&inputs, row) };
                    let all = packing.offset.wrapping_mul(runs.count.wrapping_mul(runs.len) as i32);
                    let zero = i32::from(params.weight_zero_point);
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
    /// Output rows and columns whose windows lie inside the image.
    inside: [Range<usize>; 2],
    /// Bytes of the input from the first tap of a window to each where it is read: every tap,
    /// or those at the beginning of a row of the window that is gathered.
    offsets: [usize; MAX_TAPS as usize],
    /// Of these, the number used.
    reads: usize,
    /// Bytes from the first tap of a window to the last that is read.
    reach: usize,
    kernel: core::marker::PhantomData<M>,
}

/// A row of output pixels.
struct Line {
    y: usize,
    /// Output columns whose windows lie inside the image; none where rows of a window do not.
    inside: Range<usize>,
    /// Bytes of the input before the first tap of the first window; wraps where that is padding.
    start: usize,
}

impl<'a, M: Microkernel<ROWS>, const ROWS: usize> Source<'a, M, ROWS> {
    fn new(
        input: View<'a>,
        params: &'a PackedConv2d,
        run: usize,
        runs: Runs,
        scratch: *mut i8,
    ) -> Self {
        let window = &params.window;
        let Layout { hwc, row_stride, pixel_stride } = input.layout();
        let [down_step, across_step] = window.dilation.map(usize::from);
        let down_step = down_step.wrapping_mul(row_stride as usize);
        let across_step = across_step.wrapping_mul(pixel_stride as usize);
        let [down, across] = window.taps.map(usize::from);
        // What is read at a time: a tap, or all taps of a row.
        let (across, len) = match params.gather {
            true => (1, across * hwc.c as usize),
            false => (across, run),
        };
        let reads = down.wrapping_mul(across);
        let mut offsets = [0; MAX_TAPS as usize];
        let starts = (0..down).flat_map(|d| (0..across).map(move |a| (d, a)));
        for (offset, (d, a)) in offsets.iter_mut().zip(starts) {
            *offset = d.wrapping_mul(down_step).wrapping_add(a.wrapping_mul(across_step));
        }
        let last = offsets.get(reads.wrapping_sub(1)).copied();
        // A window that is gathered tap by tap, or in too many reads, never counts as inside.
        let plain = !params.gather || params.is_dense(input.layout());
        let inside = match last.filter(|_| plain) {
            Some(_) => [window.inside(0, hwc.h as usize), window.inside(1, hwc.w as usize)],
            None => [0..0, 0..0],
        };
        Self {
            input,
            params,
            run,
            len: runs.len as usize,
            scratch,
            inside,
            offsets,
            reads,
            reach: last.unwrap_or(0).wrapping_add(len),
            kernel: core::marker::PhantomData,
        }
    }

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
    unsafe fn prepare(&self, rows: usize, bytes: usize) {
        let Self { scratch, run, len, .. } = *self;
        if self.params.gather {
            for row in 0..rows {
                // SAFETY: `rows` runs fit into the scratch.
                let rest = unsafe { scratch.add(row * run + len) };
                // SAFETY: the bytes behind the inputs of a row; their weights are zero.
                unsafe { M::fill(rest, 0, run - len) };
            }
        } else if 2 * run <= bytes {
            // SAFETY: two runs fit into the scratch.
            unsafe { M::fill(scratch, self.params.input_zero_point, run) };
            // SAFETY: as above.
            let spare = unsafe { scratch.add(run) };
            // SAFETY: as above.
            unsafe { M::fill(spare, 0, run) };
        }
    }

    /// Output row `y`.
    fn line(&self, y: usize) -> Line {
        let window = &self.params.window;
        let Layout { row_stride, pixel_stride, .. } = self.input.layout();
        let [down, _] = window.stride.map(usize::from);
        let [above, left] = window.pad.map(usize::from);
        let [rows, columns] = &self.inside;
        let row = y.wrapping_mul(down).wrapping_sub(above).wrapping_mul(row_stride as usize);
        Line {
            y,
            inside: if rows.contains(&y) { columns.clone() } else { 0..0 },
            start: row.wrapping_sub(left.wrapping_mul(pixel_stride as usize)),
        }
    }

    /// The first tap of the window of pixel `x`, if the window is inside the image and can be
    /// read as a whole.
    #[inline]
    fn window(&self, line: &Line, x: usize) -> Option<*const i8> {
        if !line.inside.contains(&x) {
            return None;
        }
        let [_, across] = self.params.window.stride.map(usize::from);
        let step = across.wrapping_mul(self.input.layout().pixel_stride as usize);
        let at = line.start.wrapping_add(x.wrapping_mul(step));
        let cells = self.input.cells().get(at..at.checked_add(self.reach)?)?;
        Some(cells.as_ptr().cast())
    }

    /// Finds or gathers the inputs of pixel `x` of `line` for row `row` of the tile.
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
        line: &Line,
        x: usize,
    ) {
        let Some(first) = self.window(line, x) else {
            // SAFETY: the promise of `locate_part` is this function's.
            return unsafe { self.locate_part(inputs, row, line.y, x) };
        };
        let offsets = self.offsets.iter().take(self.reads);
        if !self.params.gather {
            for (run, &offset) in inputs.iter_mut().zip(offsets) {
                if let Some(input) = run.get_mut(row) {
                    *input = first.wrapping_add(offset);
                }
            }
            return;
        }
        // SAFETY: a row of the scratch.
        let mut to = unsafe { self.scratch.add(row * self.run) };
        if let Some(input) = inputs.iter_mut().next().and_then(|run| run.get_mut(row)) {
            *input = to;
        }
        let [_, across] = self.params.window.taps.map(usize::from);
        let len = across * self.input.hwc().c as usize;
        for &offset in offsets {
            // SAFETY: a row of the window in this row of the scratch; `window` has seen that it
            // can be read.
            unsafe { M::copy(to, first.wrapping_add(offset), len) };
            to = to.wrapping_add(len);
        }
    }

    /// As [`locate`](Self::locate) for any window, tap by tap.
    ///
    /// # Safety
    ///
    /// As [`locate`](Self::locate).
    #[inline(never)]
    unsafe fn locate_part(
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
        if params.gather {
            // SAFETY: a row of the scratch.
            let to = unsafe { self.scratch.add(row * self.run) };
            for tap in 0..down {
                // SAFETY: a row of the window in this row of the scratch.
                let to = unsafe { to.add(tap * across * input.hwc().c as usize) };
                let iy = rows.contains(&tap).then(|| window.source(0, y, tap));
                // SAFETY: the promise of `gather` is this function's.
                unsafe { self.gather(to, iy, x, columns.clone()) };
            }
            if let Some(input) = inputs.iter_mut().next().and_then(|run| run.get_mut(row)) {
                *input = to;
            }
            return;
        }
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
    unsafe fn direct(&self, y: usize, x: usize) -> *const i8 {
        let pixel = self.input.pixel_cells(y, x..x + 1);
        let Layout { row_stride, pixel_stride, .. } = self.input.layout();
        let at = y * row_stride as usize + x * pixel_stride as usize;
        if let Some(cells) = self.input.cells().get(at..at + self.run) {
            return cells.as_ptr().cast::<i8>();
        }
        // The last pixel of the image: the check leaves no other that ends too early.
        // SAFETY: the second run of the scratch, see `fits`.
        let spare = unsafe { self.scratch.add(self.run) };
        // SAFETY: a pixel's channels are no longer than a run.
        unsafe { M::copy(spare, pixel.as_ptr().cast::<i8>(), pixel.len()) };
        spare
    }

    /// Gathers a row of the window over input row `iy`, or padding without one.
    ///
    /// # Safety
    ///
    /// `to` is writable for the channels of all taps across; the core can execute the path.
    #[inline]
    unsafe fn gather(&self, to: *mut i8, iy: Option<usize>, x: usize, columns: Range<usize>) {
        let Self { input, params, .. } = self;
        let (window, zero) = (&params.window, params.input_zero_point);
        let c = input.hwc().c as usize;
        let across = usize::from(window.taps[1]);
        let (Some(iy), false) = (iy, columns.is_empty()) else {
            // SAFETY: the caller's promise.
            return unsafe { M::fill(to, zero, across * c) };
        };
        // SAFETY: the taps before, inside the row of the window.
        unsafe { M::fill(to, zero, columns.start * c) };
        // SAFETY: behind the taps inside the image, inside the row of the window.
        let after = unsafe { to.add(columns.end * c) };
        // SAFETY: the taps after, inside the row of the window.
        unsafe { M::fill(after, zero, (across - columns.end) * c) };
        if params.is_dense(input.layout()) {
            let first = window.source(1, x, columns.start);
            let cells = input.pixel_cells(iy, first..first + columns.len());
            // SAFETY: inside the row of the window.
            let to = unsafe { to.add(columns.start * c) };
            // SAFETY: as many bytes as those taps have.
            unsafe { M::copy(to, cells.as_ptr().cast::<i8>(), cells.len()) };
            return;
        }
        for tap in columns {
            let at = window.source(1, x, tap);
            let cells = input.pixel_cells(iy, at..at + 1);
            // SAFETY: inside the row of the window.
            let to = unsafe { to.add(tap * c) };
            // SAFETY: as many bytes as a tap has.
            unsafe { M::copy(to, cells.as_ptr().cast::<i8>(), cells.len()) };
        }
    }

    /// The sum of the inputs of row `row`.
    ///
    /// # Safety
    ///
    /// [`locate`](Self::locate) has been called for `row`.
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
