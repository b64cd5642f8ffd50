//! COPY and PAD.

use core::ops::Range;

use super::memory::{self, fill};
use crate::kernels::Io;
use crate::kernels::reference::{self, Copy, Pad};
use crate::kernels::runs::each_pointer;
use crate::tensor::Hwc;
use crate::weights::Weights;

/// The kernel of [`struct@Copy`].
pub(super) fn copy(params: &Copy, weights: &Weights<'_>, io: &Io<'_>) {
    let is_done = each_pointer(io, |[from], to, len| {
        if from != to.cast_const() {
            // SAFETY: `each_pointer` gives codes to read and write; every core this is compiled
            // for has the instructions.
            unsafe { memory::copy(to, from, len) };
        }
    });
    if !is_done {
        reference::copy(params, weights, io);
    }
}

/// The kernel of [`Pad`].
pub(super) fn pad(params: &Pad, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Hwc { h, w, c } = input.hwc();
    let [above, left, front] = params.before.map(|before| before as usize);
    if front != 0 || c != io.output.hwc().c {
        return reference::pad(params, weights, io);
    }
    let (columns, channels) = (io.output.columns(), io.output.channels());
    // Pixels that are moved at once: those of a row if nothing is between them.
    let gapless = channels.len() == c as usize
        && [input.layout(), io.output.layout()].iter().all(|layout| layout.pixel_stride == c);
    let most = if gapless { columns.len().max(1) } else { 1 };
    let pieces = |columns: Range<usize>| {
        let end = columns.end;
        columns.step_by(most).map(move |start| start..end.min(start + most))
    };
    for y in io.output.rows() {
        let row = y.checked_sub(above).filter(|&row| row < h as usize);
        let end = if row.is_some() { left + w as usize } else { left };
        let image = left.min(columns.end)..end.min(columns.end);
        for piece in pieces(columns.start..image.start).chain(pieces(image.end..columns.end)) {
            let cells = io.output.pixels(y, piece);
            // SAFETY: pixels of this core's share of the output; every core this is compiled for
            // has the instructions.
            unsafe { fill(cells.as_ptr().cast_mut().cast(), params.value, cells.len()) };
        }
        for piece in pieces(image) {
            let codes = row.map_or(&[][..], |row| {
                input.pixel_cells(row, piece.start - left..piece.end - left)
            });
            let cells = io.output.pixels(y, piece);
            if let Some(codes) = codes.get(channels.start..channels.start + cells.len()) {
                // SAFETY: as many of the input and of this core's share of the output; every core
                // this is compiled for has the instructions.
                unsafe {
                    memory::copy(
                        cells.as_ptr().cast_mut().cast(),
                        codes.as_ptr().cast(),
                        cells.len(),
                    );
                }
            }
        }
    }
}
