//! AVERAGE_POOL_2D, MAX_POOL_2D and MEAN over the image, 64 channels at a time.

use core::arch::x86_64::*;
use core::ops::Range;

use super::requantize::{Codes, double};
use super::vector::{BYTES, LANES, first, widen};
use crate::kernels::reference::{AveragePool2d, MaxPool2d, Mean, Ties};
use crate::kernels::x86::rows_or_columns;
use crate::kernels::{Io, Window};
use crate::quant::Output;
use crate::tensor::{Hwc, Tile, View};

/// MAX_POOL_2D.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn max_pool_2d(params: &MaxPool2d, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    match (params.window.taps, params.window.stride) {
        ([3, 3], [_, 1]) => return max_of_nine::<1>(params, input, &io.output),
        ([3, 3], [_, 2]) => return max_of_nine::<2>(params, input, &io.output),
        _ => {}
    }
    let (min, max) = (_mm512_set1_epi8(params.clamp.0), _mm512_set1_epi8(params.clamp.1));
    each_window(&params.window, input, &io.output, |area, to, mask| {
        let mut largest = _mm512_set1_epi8(i8::MIN);
        area.each(|from| {
            // SAFETY: the mask keeps to the channels of the pixel.
            largest = _mm512_max_epi8(largest, unsafe { _mm512_maskz_loadu_epi8(mask, from) });
        });
        let codes = _mm512_min_epi8(_mm512_max_epi8(largest, min), max);
        // SAFETY: the mask keeps to the channels of the output.
        unsafe { _mm512_mask_storeu_epi8(to, mask, codes) };
    });
}

/// MAX_POOL_2D with windows of three by three that are `STEP` columns apart: what a column's
/// largest codes are, the next window need not find again.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn max_of_nine<const STEP: usize>(params: &MaxPool2d, input: &View<'_>, output: &Tile<'_>) {
    let window = &params.window;
    let (min, max) = (_mm512_set1_epi8(params.clamp.0), _mm512_set1_epi8(params.clamp.1));
    let (width, across) = (input.hwc().w as usize, input.layout().pixel_stride as usize);
    let step = output.layout().pixel_stride as usize;
    for y in output.rows() {
        // A row outside the image is stood for by one inside, of which every window has one.
        let inside = rows_or_columns(window, 0, y, input.hwc().h);
        let row = |row: usize| inside.start + row.min(inside.len().saturating_sub(1));
        let rows = [0, 1, 2].map(|tap| input.pixel_cells(row(tap), 0..1).as_ptr().cast::<i8>());
        let to = output.pixel(y, 0).as_ptr().cast_mut().cast::<i8>();
        for (done, channel) in output.channels().enumerate().step_by(BYTES) {
            let mask = first((output.channels().len() - done).min(BYTES));
            let largest_of = |column: usize| {
                if column >= width {
                    return _mm512_set1_epi8(i8::MIN);
                }
                let at = column * across + channel;
                // SAFETY: a pixel of the image; the mask keeps to its channels.
                let codes =
                    |row: *const i8| unsafe { _mm512_maskz_loadu_epi8(mask, row.wrapping_add(at)) };
                _mm512_max_epi8(_mm512_max_epi8(codes(rows[0]), codes(rows[1])), codes(rows[2]))
            };
            let mut columns = [_mm512_setzero_si512(); 3];
            for x in output.columns() {
                // Columns left of the image are behind its right end, too.
                let start = window.source(1, x, 0);
                let [b, c] = [1, 2].map(|tap| start.wrapping_add(tap));
                columns = match STEP {
                    _ if x == 0 => [start, b, c].map(largest_of),
                    1 => [columns[1], columns[2], largest_of(c)],
                    _ => [columns[2], largest_of(b), largest_of(c)],
                };
                let [a, b, c] = columns;
                let largest = _mm512_max_epi8(_mm512_max_epi8(a, b), c);
                let codes = _mm512_min_epi8(_mm512_max_epi8(largest, min), max);
                // SAFETY: a pixel of the output; the mask keeps to the channels of the share.
                unsafe { _mm512_mask_storeu_epi8(to.wrapping_add(x * step + done), mask, codes) };
            }
        }
    }
}

/// AVERAGE_POOL_2D; false, and nothing is done, when a window has more elements than the division
/// can take.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn average_pool_2d(params: &AveragePool2d, io: &Io<'_>) -> bool {
    let [input] = io.inputs.as_slice() else { return false };
    let [down, across] = params.window.taps.map(usize::from);
    if down * across > 255 {
        return false;
    }
    let (min, max) = params.clamp;
    // Ties that go up do so for codes that are never negative.
    let up = if params.ties == Ties::Up { 128 } else { 0 };
    let codes = Codes::<4>::new(Output { zero_point: 0, min, max });
    each_window(&params.window, input, &io.output, |area, to, mask| {
        let count = (area.rows.len() * area.columns.len()) as i32;
        let sums = area.sums(mask);
        // `n / count` for `n` below 2^16 and `count` below 2^8 is `n * reciprocal >> 24`: what the
        // reciprocal is too large by adds less than 1 / count.
        let reciprocal = _mm512_set1_epi32((1 << 24) / count.max(1) + 1);
        let half = _mm512_set1_epi32(count / 2);
        let (moved, back) = (_mm512_set1_epi32(up * count), _mm512_set1_epi32(up));
        let mut averages = sums;
        for (average, sum) in averages.iter_mut().zip(sums) {
            let sum = _mm512_add_epi32(sum, moved);
            let dividend = _mm512_add_epi32(_mm512_abs_epi32(sum), half);
            let quotient = _mm512_srli_epi32::<24>(_mm512_mullo_epi32(dividend, reciprocal));
            let negative = _mm512_cmplt_epi32_mask(sum, _mm512_setzero_si512());
            let signed =
                _mm512_mask_sub_epi32(quotient, negative, _mm512_setzero_si512(), quotient);
            *average = _mm512_sub_epi32(signed, back);
        }
        // SAFETY: the mask keeps to the channels of the output.
        unsafe { codes.store_in_order(averages, to, mask) };
    });
    true
}

/// MEAN over rows and columns; false, and nothing is done, with other axes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn mean(params: &Mean, io: &Io<'_>) -> bool {
    let [input] = io.inputs.as_slice() else { return false };
    if params.axes != [true, true, false] {
        return false;
    }
    let [h, w] = [input.hwc().h, input.hwc().w];
    let (Ok(down), Ok(across)) = (h.try_into(), w.try_into()) else { return false };
    let window = Window { taps: [down, across], stride: [1; 2], dilation: [1; 2], pad: [0; 2] };
    let zeros = (h.wrapping_mul(w) as i32).wrapping_mul(params.input_zero_point.into());
    let zeros = _mm512_set1_epi32(zeros);
    let mantissa = _mm512_set1_epi32(params.multiplier.mantissa);
    let shift = _mm512_set1_epi32(params.multiplier.shift);
    let codes = Codes::<4>::new(params.output);
    each_window(&window, input, &io.output, |area, to, mask| {
        let mut steps = area.sums(mask);
        for sum in &mut steps {
            *sum = double(_mm512_sub_epi32(*sum, zeros), mantissa, shift);
        }
        // SAFETY: the mask keeps to the channels of the output.
        unsafe { codes.store_in_order(steps, to, mask) };
    });
    true
}

/// The part of an image under a window.
struct Area<'a> {
    image: View<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    /// The channel to begin with.
    channel: usize,
}

impl Area<'_> {
    /// Calls `visit` with the first channel to read of each pixel.
    #[inline]
    fn each(&self, mut visit: impl FnMut(*const i8)) {
        let step = self.image.layout().pixel_stride as usize;
        for row in self.rows.clone() {
            let cells = self.image.pixel_cells(row, self.columns.clone());
            let start = cells.as_ptr().cast::<i8>().wrapping_add(self.channel);
            for column in 0..self.columns.len() {
                visit(start.wrapping_add(column * step));
            }
        }
    }

    /// The sum of the pixels for each channel of `mask`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn sums(&self, mask: __mmask64) -> [__m512i; 4] {
        let mut sums = [_mm512_setzero_si512(); 4];
        self.each(|from| {
            for (v, sum) in sums.iter_mut().enumerate() {
                let mask = (mask >> (LANES * v)) as __mmask16;
                // SAFETY: the mask keeps to the channels of the pixel.
                let codes = unsafe { widen(from.wrapping_add(LANES * v), mask) };
                *sum = _mm512_add_epi32(*sum, codes);
            }
        });
        sums
    }
}

/// Calls `compute` for every 64 channels of every output pixel with the area under the window,
/// where the codes go, and a mask of the channels there are.
#[inline]
fn each_window(
    window: &Window,
    input: &View<'_>,
    output: &Tile<'_>,
    mut compute: impl FnMut(&Area<'_>, *mut i8, __mmask64),
) {
    let Hwc { h, w, .. } = input.hwc();
    for y in output.rows() {
        let rows = rows_or_columns(window, 0, y, h);
        for x in output.columns() {
            let columns = rows_or_columns(window, 1, x, w);
            let cells = output.pixel(y, x);
            for (chunk, channel) in cells.chunks(BYTES).zip(output.channels().step_by(BYTES)) {
                let (rows, columns) = (rows.clone(), columns.clone());
                let area = Area { image: *input, rows, columns, channel };
                compute(&area, chunk.as_ptr().cast_mut().cast::<i8>(), first(chunk.len()));
            }
        }
    }
}
