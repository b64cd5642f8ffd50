//! The inputs of output pixels where they lie: a run per tap.

use core::marker::PhantomData;
use core::ops::Range;

use super::driver::Microkernel;
use super::{MAX_TAPS, PackedConv2d};
use crate::tensor::{Hwc, Layout, View};

/// Finds the inputs of a layer's output pixels.
pub(super) struct Source<'a, M, const ROWS: usize> {
    input: View<'a>,
    params: &'a PackedConv2d,
    /// Inputs of a run, filled up.
    run: usize,
    /// A pixel of padding, then a spare one.
    scratch: *mut i8,
    /// Output rows and columns whose windows lie inside the image.
    inside: [Range<usize>; 2],
    /// Bytes of the input from the first tap of a window to each.
    offsets: [usize; MAX_TAPS as usize],
    /// Taps.
    taps: usize,
    /// Bytes from the first tap of a window to the end of the last.
    reach: usize,
    kernel: PhantomData<M>,
}

/// A row of output pixels.
pub(super) struct Line {
    y: usize,
    /// Output columns whose windows lie inside the image; none where rows of a window do not.
    inside: Range<usize>,
    /// Bytes of the input before the first tap of the first window; wraps where that is padding.
    start: usize,
}

impl<'a, M: Microkernel<ROWS>, const ROWS: usize> Source<'a, M, ROWS> {
    /// For inputs of `input`, read in runs of `run`; `scratch` has room for two where
    /// [`fits`](Self::fits).
    pub(super) fn new(
        input: View<'a>,
        params: &'a PackedConv2d,
        run: usize,
        scratch: *mut i8,
    ) -> Self {
        let window = &params.window;
        let Layout { hwc, row_stride, pixel_stride } = input.layout();
        let [down_step, across_step] = window.dilation.map(usize::from);
        let down_step = down_step.wrapping_mul(row_stride as usize);
        let across_step = across_step.wrapping_mul(pixel_stride as usize);
        let [down, across] = window.taps.map(usize::from);
        let taps = down.wrapping_mul(across);
        let mut offsets = [0; MAX_TAPS as usize];
        let starts = (0..down).flat_map(|d| (0..across).map(move |a| (d, a)));
        for (offset, (d, a)) in offsets.iter_mut().zip(starts) {
            *offset = d.wrapping_mul(down_step).wrapping_add(a.wrapping_mul(across_step));
        }
        let last = offsets.get(taps.wrapping_sub(1)).copied().unwrap_or(0);
        Self {
            input,
            params,
            run,
            scratch,
            inside: [window.inside(0, hwc.h as usize), window.inside(1, hwc.w as usize)],
            offsets,
            taps,
            reach: last.wrapping_add(run),
            kernel: PhantomData,
        }
    }

    /// Whether `scratch` bytes are enough.
    pub(super) fn fits(&self, output: Hwc, scratch: usize) -> bool {
        let Self { params, run, .. } = *self;
        params.gather || !params.needs_spare(self.input.hwc(), output, run) || 2 * run <= scratch
    }

    /// Writes padding and a spare pixel into the scratch, of `bytes` bytes.
    ///
    /// # Safety
    ///
    /// The scratch is as long as that; the core can execute the path.
    pub(super) unsafe fn prepare(&self, bytes: usize) {
        let Self { scratch, run, .. } = *self;
        if 2 * run <= bytes {
            // SAFETY: two runs fit into the scratch.
            unsafe { M::fill(scratch, self.params.input_zero_point, run) };
            // SAFETY: as above.
            let spare = unsafe { scratch.add(run) };
            // SAFETY: as above.
            unsafe { M::fill(spare, 0, run) };
        }
    }

    /// Output row `y`.
    pub(super) fn line(&self, y: usize) -> Line {
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

    /// Finds the inputs of pixel `x` of `line` for row `row` of the tile.
    ///
    /// # Safety
    ///
    /// [`prepare`](Self::prepare) has been called; the core can execute the path.
    #[inline]
    pub(super) unsafe fn locate(
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
        for (run, &offset) in inputs.iter_mut().zip(self.offsets.iter().take(self.taps)) {
            if let Some(input) = run.get_mut(row) {
                *input = first.wrapping_add(offset);
            }
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
        let window = &self.params.window;
        let Hwc { h, w, .. } = self.input.hwc();
        let (rows, columns) = (window.range(0, y, h as usize), window.range(1, x, w as usize));
        let [down, across] = window.taps.map(usize::from);
        let taps = (0..down).flat_map(|down| (0..across).map(move |across| (down, across)));
        for (run, (down, across)) in inputs.iter_mut().zip(taps) {
            let input = if rows.contains(&down) && columns.contains(&across) {
                // SAFETY: the promise of `pixel` is this function's.
                unsafe { self.pixel(window.source(0, y, down), window.source(1, x, across)) }
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
    unsafe fn pixel(&self, y: usize, x: usize) -> *const i8 {
        let Layout { row_stride, pixel_stride, .. } = self.input.layout();
        let at = y * row_stride as usize + x * pixel_stride as usize;
        if let Some(cells) = self.input.cells().get(at..at + self.run) {
            return cells.as_ptr().cast::<i8>();
        }
        // The last pixel of the image: the check leaves no other that ends too early.
        let pixel = self.input.pixel_cells(y, x..x + 1);
        // SAFETY: the second run of the scratch, see `fits`.
        let spare = unsafe { self.scratch.add(self.run) };
        // SAFETY: a pixel's channels are no longer than a run.
        unsafe { M::copy(spare, pixel.as_ptr().cast::<i8>(), pixel.len()) };
        spare
    }
}
