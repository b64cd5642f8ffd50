//! The inputs of neighbouring output pixels, copied side by side: a run for each pixel.

use core::ops::Range;

use super::driver::Microkernel;
use crate::kernels::Window;
use crate::tensor::{Hwc, Layout, View};

/// Pieces of memory to copy, each `len` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    /// Bytes of a piece.
    pub(crate) len: usize,
    /// Pieces.
    pub(crate) count: usize,
    /// Bytes from one to the next where they are read.
    pub(crate) from_step: usize,
    /// Bytes from one to the next where they are written.
    pub(crate) to_step: usize,
}

/// Gathers the inputs of a layer's output pixels.
pub(super) struct Gather<'a> {
    input: View<'a>,
    window: Window,
    /// What padding stands for.
    zero: i8,
    /// Inputs of a run.
    run: usize,
    /// Output columns whose windows lie inside the image and have rows without gaps.
    inside: Range<usize>,
    /// Output columns.
    width: usize,
    /// Each output pixel sees the input pixel at its place, and there are no gaps.
    flat: bool,
}

impl<'a> Gather<'a> {
    pub(super) fn new(input: View<'a>, window: Window, zero: i8, run: usize, width: usize) -> Self {
        let layout = input.layout();
        let dense =
            window.taps[1] == 1 || window.dilation[1] == 1 && layout.pixel_stride == layout.hwc.c;
        let inside = if dense { window.inside(1, layout.hwc.w as usize) } else { 0..0 };
        let inside = inside.start.min(width)..inside.end.min(width);
        let flat = window.taps == [1, 1]
            && window.stride == [1, 1]
            && window.pad == [0, 0]
            && layout.hwc.w as usize == width
            && layout.is_contiguous();
        Self { input, window, zero, run, inside, width, flat }
    }

    /// Writes the inputs of `count` output pixels from (`y`, `x`) on, row by row.
    ///
    /// # Safety
    ///
    /// `to` is writable for a run per pixel; the core can execute the path of `M`.
    pub(super) unsafe fn pixels<M: Microkernel<ROWS>, const ROWS: usize>(
        &self,
        to: *mut i8,
        [mut y, mut x]: [usize; 2],
        count: usize,
    ) {
        let c = self.input.hwc().c as usize;
        let first = (y * self.width + x) * c;
        let flat = self.input.cells().get(first..first + count * c).filter(|_| self.flat);
        if let Some(cells) = flat {
            let pieces = Pieces { len: c, count, from_step: c, to_step: self.run * M::WIDTH };
            // SAFETY: as many cells as the pixels have; the caller's promise for `to`.
            return unsafe { M::copy_pieces(to, cells.as_ptr().cast::<i8>(), pieces) };
        }
        let mut done = 0;
        while done < count && x < self.width {
            let end = self.width.min(x + (count - done));
            // SAFETY: the runs of the pixels before.
            let to = unsafe { to.add(done * self.run * M::WIDTH) };
            // SAFETY: `done` and the pixels of this row are no more than `count`.
            unsafe { self.row::<M, ROWS>(to, y, x..end) };
            done += end - x;
            (y, x) = (y + 1, 0);
        }
    }

    /// Writes the inputs of the output pixels `columns` of row `y`.
    ///
    /// # Safety
    ///
    /// As [`pixels`](Self::pixels).
    unsafe fn row<M: Microkernel<ROWS>, const ROWS: usize>(
        &self,
        to: *mut i8,
        y: usize,
        columns: Range<usize>,
    ) {
        let Self { input, window, run, .. } = self;
        let Hwc { h, c, .. } = input.hwc();
        let [down, across] = window.taps.map(usize::from);
        let bytes = across * c as usize;
        let taps = window.range(0, y, h as usize);
        let inside = self.inside.start.max(columns.start)..self.inside.end.min(columns.end);
        for tap in 0..down {
            // SAFETY: the rows of the window before, inside the run.
            let to = unsafe { to.add(tap * bytes * M::WIDTH) };
            if !taps.contains(&tap) {
                for i in 0..columns.len() {
                    // SAFETY: the runs of the pixels before.
                    let to = unsafe { to.add(i * run * M::WIDTH) };
                    // SAFETY: a row of the window in a run.
                    unsafe { M::fill(to, self.zero, bytes) };
                }
                continue;
            }
            let iy = window.source(0, y, tap);
            if inside.is_empty() {
                // SAFETY: as the caller says of `to`.
                unsafe { self.edge::<M, ROWS>(to, iy, columns.start, columns.clone()) };
                continue;
            }
            if columns.start < inside.start {
                // SAFETY: as the caller says of `to`.
                unsafe { self.edge::<M, ROWS>(to, iy, columns.start, columns.start..inside.start) };
            }
            let from_step = usize::from(window.stride[1]) * input.layout().pixel_stride as usize;
            let first = window.source(1, inside.start, 0);
            let last = window.source(1, inside.end - 1, across - 1);
            let cells = input.pixel_cells(iy, first..last + 1);
            debug_assert!(cells.len() >= (inside.len() - 1) * from_step + bytes);
            // SAFETY: the runs of the pixels before.
            let at = unsafe { to.add((inside.start - columns.start) * run * M::WIDTH) };
            let pieces =
                Pieces { len: bytes, count: inside.len(), from_step, to_step: run * M::WIDTH };
            // SAFETY: the cells reach from the first window's first byte to the last one's last,
            // since these windows lie inside the image and have no gaps.
            unsafe { M::copy_pieces(at, cells.as_ptr().cast::<i8>(), pieces) };
            if inside.end < columns.end {
                // SAFETY: as the caller says of `to`.
                unsafe { self.edge::<M, ROWS>(to, iy, columns.start, inside.end..columns.end) };
            }
        }
    }

    /// Writes the window rows over input row `iy` of the output pixels `columns`; `to` belongs to
    /// the pixel in column `first`.
    ///
    /// # Safety
    ///
    /// As [`pixels`](Self::pixels).
    #[inline]
    unsafe fn edge<M: Microkernel<ROWS>, const ROWS: usize>(
        &self,
        to: *mut i8,
        iy: usize,
        first: usize,
        columns: Range<usize>,
    ) {
        let Self { input, window, .. } = self;
        let Layout { hwc: Hwc { w, c, .. }, pixel_stride, .. } = input.layout();
        let (c, across) = (c as usize, usize::from(window.taps[1]));
        let is_dense = window.dilation[1] == 1 && pixel_stride as usize == c;
        for x in columns {
            // SAFETY: the runs of the pixels before.
            let to = unsafe { to.add((x - first) * self.run * M::WIDTH) };
            let taps = window.range(1, x, w as usize);
            let taps = taps.start.min(across)..taps.end.min(across);
            // SAFETY: the taps before the image.
            unsafe { M::fill(to, self.zero, taps.start * c) };
            // Adjacent taps together.
            let together = if is_dense { taps.len().max(1) } else { 1 };
            for tap in taps.clone().step_by(together) {
                // SAFETY: the taps before, inside the run.
                let to = unsafe { to.add(tap * c * M::WIDTH) };
                let at = window.source(1, x, tap);
                let cells = input.pixel_cells(iy, at..at + together);
                // SAFETY: as many bytes as these taps have.
                unsafe { M::copy(to, cells.as_ptr().cast::<i8>(), cells.len()) };
            }
            // SAFETY: the taps behind the image, inside the run.
            let to = unsafe { to.add(taps.end * c * M::WIDTH) };
            // SAFETY: as above.
            unsafe { M::fill(to, self.zero, (across - taps.end) * c) };
        }
    }
}
