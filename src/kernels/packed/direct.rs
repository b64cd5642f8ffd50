//! The inputs of neighbouring output pixels, read where they lie.

use core::ops::Range;

use super::driver::{Inputs, Microkernel, repeat_first};
use super::form::InputForm;
use super::{MAX_RUNS, PackedConv2d};
use crate::kernels::Window;
use crate::tensor::{Hwc, Layout, View};

/// Finds the inputs of a layer's output pixels: a run per tap, or one per row of the window
/// where no window of a tile touches padding and the taps of a row are adjacent.
pub(super) struct Direct<'a> {
    input: View<'a>,
    window: Window,
    /// Inputs of a run, filled up.
    run: usize,
    /// Output columns.
    width: usize,
    /// A pixel of padding, and a spare one for the last pixel of the image if its run goes on
    /// behind the image.
    padding: *const i8,
    spare: *mut i8,
    /// Output rows and columns whose windows lie inside the image.
    inside: [Range<usize>; 2],
    /// Per tap across, the output columns for which it lies inside the image.
    columns: [Range<usize>; MAX_RUNS as usize],
    /// Bytes of the input from a tap to the next down and across, and from an output column's
    /// taps to the next one's.
    steps: [usize; 3],
    /// Taps of a row of the window are adjacent, and their inputs have no gaps.
    is_dense: bool,
    /// Every output pixel sees the input pixel at its place, and rows of pixels have no gaps.
    is_flat: bool,
}

impl<'a> Direct<'a> {
    /// `padding` and `spare` are where such pixels are or will be put, a run each.
    pub(super) fn new(
        input: View<'a>,
        params: &PackedConv2d,
        run: usize,
        output: Hwc,
        padding: *const i8,
        spare: *mut i8,
    ) -> Self {
        let window = params.window;
        let Layout { hwc, row_stride, pixel_stride } = input.layout();
        let [dilation_down, dilation_across] = window.dilation.map(usize::from);
        let [_, stride] = window.stride.map(usize::from);
        let pixel_stride = pixel_stride as usize;
        let mut columns = [const { 0..0 }; MAX_RUNS as usize];
        let [_, across] = window.taps.map(usize::from);
        for (tap, columns) in columns.iter_mut().enumerate().take(across) {
            *columns = window.outputs(1, tap, hwc.w as usize);
        }
        Self {
            input,
            window,
            run,
            width: output.w as usize,
            padding,
            spare,
            inside: [window.inside(0, hwc.h as usize), window.inside(1, hwc.w as usize)],
            columns,
            steps: [
                dilation_down.wrapping_mul(row_stride as usize),
                dilation_across.wrapping_mul(pixel_stride),
                stride.wrapping_mul(pixel_stride),
            ],
            is_dense: dilation_across == 1 && pixel_stride == run && hwc.c as usize == run,
            is_flat: (window.taps, window.stride, window.pad) == ([1, 1], [1, 1], [0, 0])
                && (output.h, output.w) == (hwc.h, hwc.w)
                && row_stride as usize == hwc.w as usize * pixel_stride,
        }
    }

    /// Finds the inputs of `count` output pixels from (`y`, `x`) on, and the length of runs.
    ///
    /// # Safety
    ///
    /// The padding is in its place if windows touch any, and the spare pixel is writable if one
    /// is needed; the core can execute the path of `M`.
    pub(super) unsafe fn pixels<'s, M: Microkernel<ROWS>, const ROWS: usize>(
        &self,
        starts: &'s mut [[*const i8; ROWS]],
        [mut y, mut x]: [usize; 2],
        count: usize,
    ) -> (Inputs<'s, ROWS>, usize) {
        let [down, across] = self.window.taps.map(usize::from);
        let [rows, columns] = &self.inside;
        let is_inside = rows.contains(&y) && x >= columns.start && x + count <= columns.end;
        let is_line = is_inside && x + count <= self.width;
        let together = self.is_dense && (self.is_flat || is_line);
        let (used, down, run) = match together {
            true => (1, down, across * self.run),
            false => (down * across, 1, self.run),
        };
        if let (true, [start, ..]) = (together, &mut *starts) {
            self.place(start, 0..count, self.tap(y, x, 0));
        }
        let mut row = 0;
        while !together && row < count && x < self.width {
            let len = (self.width - x).min(count - row);
            // SAFETY: the caller's promise.
            unsafe { self.line::<M::Form, ROWS>(starts, row, [y, x], len) };
            row += len;
            (y, x) = (y + 1, 0);
        }
        if count < ROWS {
            starts.iter_mut().take(used).for_each(|run| repeat_first(run, count));
        }
        (Inputs::new::<M>(starts, used, down, [self.steps[0], self.steps[2]]), run)
    }

    /// Finds the inputs of `len` pixels of an output row, tap by tap, for row `row` of the tile
    /// and those after.
    ///
    /// # Safety
    ///
    /// As [`pixels`](Self::pixels).
    unsafe fn line<F: InputForm, const ROWS: usize>(
        &self,
        inputs: &mut [[*const i8; ROWS]],
        row: usize,
        [y, x]: [usize; 2],
        len: usize,
    ) {
        let Self { input, window, .. } = self;
        let Hwc { h, c, .. } = input.hwc();
        let [down, across] = window.taps.map(usize::from);
        let inside = window.range(0, y, h as usize);
        let mut taps = inputs.iter_mut();
        for d in 0..down {
            let mut first = self.tap(y, x, d);
            let is_inside = inside.contains(&d);
            for (columns, run) in self.columns.iter().zip(taps.by_ref()).take(across) {
                // Pixels before those for which the tap is inside the image, and up to their end.
                let (start, end) = match is_inside {
                    true => (columns.start.saturating_sub(x), columns.end.saturating_sub(x)),
                    false => (0, 0),
                };
                if start == 0 && end >= len {
                    self.place(run, row..row + len, first);
                } else {
                    let mut input = first;
                    let places = run.get_mut(row..row + len).unwrap_or(&mut []);
                    for (i, place) in places.iter_mut().enumerate() {
                        *place = if (start..end).contains(&i) { input } else { self.padding };
                        input = input.wrapping_add(self.steps[2]);
                    }
                }
                if self.run > c as usize && end > start {
                    // SAFETY: the caller's promise.
                    unsafe { self.end::<F, ROWS>(run, row..row + len) };
                }
                first = first.wrapping_add(self.steps[1]);
            }
        }
    }

    /// Reads a copy of the last pixel of the image instead, if a run goes on behind it.
    ///
    /// # Safety
    ///
    /// As [`pixels`](Self::pixels).
    #[inline]
    unsafe fn end<F: InputForm, const ROWS: usize>(
        &self,
        run: &mut [*const i8; ROWS],
        rows: Range<usize>,
    ) {
        let cells = self.input.cells();
        let start = cells.as_ptr().addr();
        for input in run.get_mut(rows).unwrap_or(&mut []) {
            let at = input.addr().wrapping_sub(start);
            if *input != self.padding && at + self.run > cells.len() {
                let Some(pixel) = cells.get(at..) else { continue };
                // SAFETY: what is left of the image is less than a run; the check of the
                // parameters leaves no other pixel that ends too early.
                unsafe { F::copy(self.spare, pixel.as_ptr().cast(), pixel.len()) };
                *input = self.spare;
            }
        }
    }

    /// Tap `down` of the first column of the window of output pixel (`y`, `x`); not to be read
    /// where that is padding.
    #[inline]
    fn tap(&self, y: usize, x: usize, down: usize) -> *const i8 {
        let Layout { row_stride, pixel_stride, .. } = self.input.layout();
        let at = self.window.source(0, y, down).wrapping_mul(row_stride as usize);
        let at = at.wrapping_add(self.window.source(1, x, 0).wrapping_mul(pixel_stride as usize));
        self.input.cells().as_ptr().cast::<i8>().wrapping_add(at)
    }

    /// Writes a run of neighbouring pixels, of which the first's begins at `first`.
    #[inline]
    fn place<const ROWS: usize>(
        &self,
        run: &mut [*const i8; ROWS],
        rows: Range<usize>,
        mut first: *const i8,
    ) {
        let [_, _, step] = self.steps;
        if rows.len() == ROWS {
            // A whole tile needs no loop.
            for input in run {
                *input = first;
                first = first.wrapping_add(step);
            }
            return;
        }
        for input in run.get_mut(rows).unwrap_or(&mut []) {
            *input = first;
            first = first.wrapping_add(step);
        }
    }
}
