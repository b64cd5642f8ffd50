//! MAX_POOL_2D with windows of three by three, 32 channels at a time.

use core::arch::x86_64::*;

use super::vector::BYTES;
use crate::kernels::Io;
use crate::kernels::reference::{self, MaxPool2d};
use crate::kernels::x86::rows_or_columns;
use crate::tensor::{Tile, View};
use crate::weights::Weights;

/// MAX_POOL_2D; with other windows and fewer channels as the compiler makes it.
#[target_feature(enable = "avx2")]
pub(super) fn max_pool_2d(params: &MaxPool2d, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let is_wide = io.output.channels().len() >= BYTES;
    match (params.window.taps, params.window.stride) {
        ([3, 3], [_, 1]) if is_wide => max_of_nine::<1>(params, input, &io.output),
        ([3, 3], [_, 2]) if is_wide => max_of_nine::<2>(params, input, &io.output),
        _ => reference::max_pool_2d(params, weights, io),
    }
}

/// With windows that are `STEP` columns apart: what a column's largest codes are, the next window
/// need not find again.
#[target_feature(enable = "avx2")]
fn max_of_nine<const STEP: usize>(params: &MaxPool2d, input: &View<'_>, output: &Tile<'_>) {
    let window = &params.window;
    let (min, max) = (_mm256_set1_epi8(params.clamp.0), _mm256_set1_epi8(params.clamp.1));
    let (width, across) = (input.hwc().w as usize, input.layout().pixel_stride as usize);
    let step = output.layout().pixel_stride as usize;
    let channels = output.channels();
    for y in output.rows() {
        // A row outside the image is stood for by one inside, of which every window has one.
        let inside = rows_or_columns(window, 0, y, input.hwc().h);
        let row = |row: usize| inside.start + row.min(inside.len().saturating_sub(1));
        let rows = [0, 1, 2].map(|tap| input.pixel_cells(row(tap), 0..1).as_ptr().cast::<i8>());
        let to = output.pixel(y, 0).as_ptr().cast_mut().cast::<i8>();
        for done in (0..channels.len()).step_by(BYTES) {
            // The last vector may have channels of the one before.
            let done = done.min(channels.len() - BYTES);
            let channel = channels.start + done;
            let largest_of = |column: usize| {
                if column >= width {
                    return _mm256_set1_epi8(i8::MIN);
                }
                let at = column * across + channel;
                // SAFETY: channels of a pixel of the image.
                let codes =
                    |row: *const i8| unsafe { _mm256_loadu_si256(row.wrapping_add(at).cast()) };
                _mm256_max_epi8(_mm256_max_epi8(codes(rows[0]), codes(rows[1])), codes(rows[2]))
            };
            let mut columns = [_mm256_setzero_si256(); 3];
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
                let largest = _mm256_max_epi8(_mm256_max_epi8(a, b), c);
                let codes = _mm256_min_epi8(_mm256_max_epi8(largest, min), max);
                // SAFETY: channels of the share of a pixel of the output.
                unsafe { _mm256_storeu_si256(to.wrapping_add(x * step + done).cast(), codes) };
            }
        }
    }
}
