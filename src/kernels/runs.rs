//! Element-wise operators as runs of adjacent elements, for kernels that take vectors of them.
#![forbid(unsafe_code)]

use core::cell::Cell;

use super::Io;
use crate::tensor::{Hwc, Layout};

/// Calls `each` with the elements of inputs and output, as many of each, run by run: a row where no
/// tensor has gaps, else a pixel. False, and nothing is done, when an input's channels are to be
/// repeated.
#[inline]
pub(crate) fn each<const N: usize>(
    io: &Io<'_>,
    mut each: impl FnMut([&[Cell<i8>]; N], &[Cell<i8>]),
) -> bool {
    let Some(inputs) = io.inputs.as_array::<N>() else { return false };
    let Hwc { w, c, .. } = io.output.hwc();
    if inputs.iter().any(|input| input.hwc().c != c) {
        return false;
    }
    let channels = io.output.channels();
    let gapless = |layout: Layout| layout.hwc.w == w && layout.pixel_stride == c;
    let whole = channels.len() == c as usize
        && gapless(io.output.layout())
        && inputs.iter().all(|input| gapless(input.layout()));
    let at = |at: usize, extent: u32| if extent == 1 { 0 } else { at };
    let mut run = |inputs: [&[Cell<i8>]; N], output: &[Cell<i8>]| {
        let fits = inputs.iter().all(|input| input.len() == output.len());
        debug_assert!(fits, "inputs and output are repeated to the same extents");
        if fits {
            each(inputs, output);
        }
    };
    for y in io.output.rows() {
        if whole {
            let columns = io.output.columns();
            let rows = inputs.map(|input| input.pixel_cells(at(y, input.hwc().h), columns.clone()));
            run(rows, io.output.pixels(y, columns));
            continue;
        }
        for x in io.output.columns() {
            let pixels = inputs.map(|input| {
                let x = at(x, input.hwc().w);
                let pixel = input.pixel_cells(at(y, input.hwc().h), x..x + 1);
                pixel.get(channels.clone()).unwrap_or(&[])
            });
            run(pixels, io.output.pixel(y, x));
        }
    }
    true
}

/// As [`each`], for kernels that read and write memory: `each` gets the first elements and their
/// number.
#[inline]
pub(crate) fn each_pointer<const N: usize>(
    io: &Io<'_>,
    mut each: impl FnMut([*const i8; N], *mut i8, usize),
) -> bool {
    self::each(io, |inputs, output| {
        let from = inputs.map(|input| input.as_ptr().cast::<i8>());
        each(from, output.as_ptr().cast_mut().cast::<i8>(), output.len());
    })
}
