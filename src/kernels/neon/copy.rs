//! COPY and PAD.

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
    let channels = io.output.channels();
    for y in io.output.rows() {
        let row = y.checked_sub(above).filter(|&row| row < h as usize);
        for x in io.output.columns() {
            let column = x.checked_sub(left).filter(|&column| column < w as usize);
            let cells = io.output.pixel(y, x);
            let to = cells.as_ptr().cast_mut().cast::<i8>();
            let source = row.zip(column).and_then(|(row, column)| {
                let pixel = input.pixel_cells(row, column..column + 1);
                pixel.get(channels.clone()).filter(|pixel| pixel.len() == cells.len())
            });
            match source {
                // SAFETY: the channels of a pixel of the input and of this core's share of the
                // output; every core this is compiled for has the instructions.
                Some(codes) => unsafe { memory::copy(to, codes.as_ptr().cast(), cells.len()) },
                // SAFETY: as above.
                None => unsafe { fill(to, params.value, cells.len()) },
            }
        }
    }
}
