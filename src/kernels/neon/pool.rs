//! MAX_POOL_2D, AVERAGE_POOL_2D and MEAN over images, up to 64 channels at a time.

use core::arch::aarch64::*;

use super::memory::{from_codes, load, load_next, store_next, to_numbers};
use super::scale::{Multipliers, Scale};
use crate::kernels::packed::Rounding;
use crate::kernels::reference::{self, AveragePool2d, MaxPool2d, Mean};
use crate::kernels::{Io, Window};
use crate::quant::Multiplier;
use crate::tensor::Layout;
use crate::weights::Weights;

/// Codes of a vector: fewer channels are left to the portable kernels.
const LANES: usize = 16;

/// The kernel of [`MaxPool2d`].
pub(super) fn max_pool_2d(params: &MaxPool2d, weights: &Weights<'_>, io: &Io<'_>) {
    if io.output.channels().len() < LANES {
        return reference::max_pool_2d(params, weights, io);
    }
    let (min, max) = params.clamp;
    each_area(&params.window, io, |area, from, to, len| {
        each_block(len, |start, vectors| {
            let (from, to) = (from.wrapping_add(start), to.wrapping_add(start));
            let largest = if vectors == 4 { Area::max::<4> } else { Area::max::<1> };
            // SAFETY: `each_area` gives codes to read and write; every core this is compiled
            // for has the instructions.
            unsafe { largest(area, from, to, [min, max]) };
        });
    });
}

/// The kernel of [`AveragePool2d`].
pub(super) fn average_pool_2d(params: &AveragePool2d, weights: &Weights<'_>, io: &Io<'_>) {
    if io.output.channels().len() < LANES {
        return reference::average_pool_2d(params, weights, io);
    }
    each_area(&params.window, io, |area, from, to, len| {
        let count = area.rows.wrapping_mul(area.columns) as i32;
        let finish = Finish::Average { params, count };
        each_block(len, |start, vectors| {
            let (from, to) = (from.wrapping_add(start), to.wrapping_add(start));
            // SAFETY: as in `max_pool_2d`.
            unsafe { area.sums(from, to, vectors, finish) };
        });
    });
}

/// The kernel of [`Mean`].
pub(super) fn mean(params: &Mean, weights: &Weights<'_>, io: &Io<'_>) {
    let channels = io.output.channels();
    let ([input], [true, true, false]) = (io.inputs.as_slice(), params.axes) else {
        return reference::mean(params, weights, io);
    };
    if channels.len() < LANES {
        return reference::mean(params, weights, io);
    }
    let Layout { hwc, row_stride, pixel_stride } = input.layout();
    let area = Area {
        rows: hwc.h as usize,
        columns: hwc.w as usize,
        row_step: row_stride as usize,
        column_step: pixel_stride as usize,
    };
    let count = hwc.h.wrapping_mul(hwc.w) as i32;
    let zero = count.wrapping_mul(params.input_zero_point.into());
    // SAFETY: every core this is compiled for has the instructions.
    let scale = unsafe { Scale::new(false, Rounding::Double, params.output) };
    let finish = Finish::Mean { scale, zero, multiplier: params.multiplier };
    let cells = io.output.pixel(0, 0);
    let from = input.cells().as_ptr().cast::<i8>().wrapping_add(channels.start);
    let to = cells.as_ptr().cast_mut().cast::<i8>();
    each_block(cells.len(), |start, vectors| {
        let (from, to) = (from.wrapping_add(start), to.wrapping_add(start));
        // SAFETY: channels of the image and of this core's share of the output; every core this
        // is compiled for has the instructions.
        unsafe { area.sums(from, to, vectors, finish) };
    });
}

/// What becomes of sums.
#[derive(Clone, Copy)]
enum Finish<'a> {
    /// Each divided by the number of pixels.
    Average { params: &'a AveragePool2d, count: i32 },
    /// Each less what the input's zero point adds up to, and scaled.
    Mean { scale: Scale, zero: i32, multiplier: Multiplier },
}

impl Finish<'_> {
    #[target_feature(enable = "neon")]
    fn codes(self, mut sums: [int32x4_t; 4]) -> int8x16_t {
        match self {
            Self::Average { params: AveragePool2d { ties, clamp: (min, max), .. }, count } => {
                let code = |sum| ties.average(sum, count).max((*min).into()).min((*max).into());
                from_codes(to_numbers(sums).map(|sum| code(sum) as i8))
            }
            Self::Mean { scale, zero, multiplier } => {
                for sums in &mut sums {
                    *sums = vsubq_s32(*sums, vdupq_n_s32(zero));
                }
                let multipliers = Multipliers::all(multiplier);
                // SAFETY: the core has the instructions.
                let [codes] = unsafe { scale.codes([sums], &multipliers) };
                codes
            }
        }
    }
}

/// Pixels of an input.
#[derive(Clone, Copy)]
struct Area {
    rows: usize,
    columns: usize,
    /// Bytes from a row to the next, and from a pixel to the next.
    row_step: usize,
    column_step: usize,
}

/// Calls `compute` for every output pixel with what its window sees: the area, where that
/// begins in this core's channels, where the output's are, and how many.
#[inline]
fn each_area(
    window: &Window,
    io: &Io<'_>,
    mut compute: impl FnMut(Area, *const i8, *mut i8, usize),
) {
    let [input] = io.inputs.as_slice() else { return };
    let Layout { hwc, row_stride, pixel_stride } = input.layout();
    let (row_step, column_step) = (row_stride as usize, pixel_stride as usize);
    let start = input.cells().as_ptr().cast::<i8>().wrapping_add(io.output.channels().start);
    for y in io.output.rows() {
        let rows = window.range(0, y, hwc.h as usize);
        let row = start.wrapping_add(window.source(0, y, rows.start).wrapping_mul(row_step));
        for x in io.output.columns() {
            let columns = window.range(1, x, hwc.w as usize);
            let column = window.source(1, x, columns.start).wrapping_mul(column_step);
            let area = Area { rows: rows.len(), columns: columns.len(), row_step, column_step };
            let cells = io.output.pixel(y, x);
            let to = cells.as_ptr().cast_mut().cast::<i8>();
            compute(area, row.wrapping_add(column), to, cells.len());
        }
    }
}

/// Calls `compute` with the first of some channels and 4 or 1, the number of vectors of them,
/// until all `len` have been had; the last vector may repeat some of the one before.
#[inline]
fn each_block(len: usize, mut compute: impl FnMut(usize, usize)) {
    let mut start = 0;
    while start < len {
        let vectors = if start + 4 * LANES <= len { 4 } else { 1 };
        compute(start.min(len.saturating_sub(LANES)), vectors);
        start += vectors * LANES;
    }
}

impl Area {
    /// The largest codes of `16 * N` channels.
    ///
    /// # Safety
    ///
    /// They are readable in all pixels, `from` in the first, and writable at `to`.
    #[target_feature(enable = "neon")]
    unsafe fn max<const N: usize>(self, from: *const i8, mut to: *mut i8, [min, max]: [i8; 2]) {
        let mut largest = [vdupq_n_s8(min); N];
        for row in 0..self.rows {
            let mut pixel = from.wrapping_add(row * self.row_step);
            for _ in 0..self.columns {
                let mut codes = pixel;
                for largest in &mut largest {
                    // SAFETY: a vector of the pixel's channels.
                    *largest = vmaxq_s8(*largest, unsafe { load_next(&mut codes) });
                }
                pixel = pixel.wrapping_add(self.column_step);
            }
        }
        for &largest in &largest {
            let codes = vminq_s8(largest, vdupq_n_s8(max));
            // SAFETY: a vector of the output's channels.
            unsafe { store_next(&mut to, codes) };
        }
    }

    /// What becomes of the sums of 16 channels at a time, in `vectors` vectors.
    ///
    /// # Safety
    ///
    /// They are readable in all pixels, `from` in the first, and writable at `to`.
    #[target_feature(enable = "neon")]
    unsafe fn sums(self, from: *const i8, mut to: *mut i8, vectors: usize, finish: Finish<'_>) {
        for vector in 0..vectors {
            let [mut a, mut b, mut c, mut d] = [vdupq_n_s32(0); 4];
            for row in 0..self.rows {
                let mut pixel = from.wrapping_add(vector * LANES + row * self.row_step);
                let mut left = self.columns;
                while left > 0 {
                    // So many codes add up to 16 bits.
                    let pixels = left.min(255);
                    let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
                    for _ in 0..pixels {
                        // SAFETY: a vector of the pixel's channels.
                        let codes = unsafe { load(&mut pixel, self.column_step) };
                        low = vaddw_s8(low, vget_low_s8(codes));
                        high = vaddw_high_s8(high, codes);
                    }
                    a = vaddw_s16(a, vget_low_s16(low));
                    b = vaddw_high_s16(b, low);
                    c = vaddw_s16(c, vget_low_s16(high));
                    d = vaddw_high_s16(d, high);
                    left -= pixels;
                }
            }
            let codes = finish.codes([a, b, c, d]);
            // SAFETY: a vector of the output's channels.
            unsafe { store_next(&mut to, codes) };
        }
    }
}
