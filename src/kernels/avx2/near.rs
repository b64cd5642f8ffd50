//! Depthwise windows of 3x3 taps: outputs side by side share what they load and unpack.
//!
//! The taps of the upper two rows are pairs, a column of the image at a time; those of the last
//! row are pairs of an even column and the next, so that for every second output, of stride 1, a
//! pair begins one column to the left of its window.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use core::arch::x86_64::*;
use core::ops::Range;

use super::depthwise_conv_2d::{Halves, Image, Row, add_products, load, unpacked};
use crate::kernels::window::Window;

/// Most outputs that are computed at once.
pub(super) const TOGETHER: usize = 4;

/// No tap.
const NONE: usize = usize::MAX;

/// The taps that are multiplied at once: the upper rows' by columns, then the last row's where a
/// pair begins with the window, and where it begins before it.
pub(super) const PAIRS: [[usize; 2]; 7] =
    [[0, 3], [1, 4], [2, 5], [6, 7], [8, NONE], [NONE, 6], [7, 8]];

/// Whether the window is one of these.
pub(super) fn fits(window: &Window) -> bool {
    let [_, stride] = window.stride;
    window.taps == [3, 3] && window.dilation == [1, 1] && (1..=2).contains(&stride)
}

/// The sums of `count` outputs from `x` on, with `filter` for [`PAIRS`].
///
/// # Safety
///
/// The core can execute the path; the row is one whose image is readable.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn compute(
    row: &Row<'_>,
    x: usize,
    count: usize,
    filter: &[Halves],
    biases: &Halves,
    sums: &mut [Halves; TOGETHER],
) {
    let Some(filter) = filter.first_chunk() else { return };
    let at_edge = !row.are_inside(x, count);
    let compute = match (row.image.window.stride[1], row.image.len, at_edge) {
        (1, 16, false) => of_count::<1, 16, false>(count),
        (1, 16, true) => of_count::<1, 16, true>(count),
        (1, 8, false) => of_count::<1, 8, false>(count),
        (1, 8, true) => of_count::<1, 8, true>(count),
        (1, ..) => of_count::<1, 0, true>(count),
        (_, 16, false) => of_count::<2, 16, false>(count),
        (_, 16, true) => of_count::<2, 16, true>(count),
        (_, 8, false) => of_count::<2, 8, false>(count),
        (_, 8, true) => of_count::<2, 8, true>(count),
        _ => of_count::<2, 0, true>(count),
    };
    // SAFETY: the caller's promise.
    unsafe { compute(row, x, filter, biases, sums) }
}

type Compute = unsafe fn(&Row<'_>, usize, &[Halves; PAIRS.len()], &Halves, &mut [Halves; TOGETHER]);

fn of_count<const STRIDE: usize, const LEN: usize, const EDGE: bool>(count: usize) -> Compute {
    match count {
        1 => compute_outputs::<1, STRIDE, LEN, EDGE>,
        2 => compute_outputs::<2, STRIDE, LEN, EDGE>,
        3 => compute_outputs::<3, STRIDE, LEN, EDGE>,
        _ => compute_outputs::<4, STRIDE, LEN, EDGE>,
    }
}

/// As [`compute`], of `LEN` codes unless that is 0; without `EDGE` all windows lie inside.
///
/// # Safety
///
/// As [`compute`].
#[target_feature(enable = "avx2")]
unsafe fn compute_outputs<
    const COUNT: usize,
    const STRIDE: usize,
    const LEN: usize,
    const EDGE: bool,
>(
    row: &Row<'_>,
    x: usize,
    filter: &[Halves; PAIRS.len()],
    biases: &Halves,
    sums: &mut [Halves; TOGETHER],
) {
    let Image { window, steps: [_, to_pixel], padding, len, .. } = *row.image;
    let padding = _mm256_set1_epi16(padding[0].into());
    let offset = window.source(1, x, 0).wrapping_mul(to_pixel);
    let [a, b, c] = row.lines;
    let mut strip = Strip::<COUNT, STRIDE, LEN, EDGE> {
        rows: [a.wrapping_add(offset), b.wrapping_add(offset), c.wrapping_add(offset)],
        step: to_pixel,
        len,
        inside: row.inside.clone(),
        inside_across: row.columns(x),
        padding,
        sums: [*biases; COUNT],
    };
    // SAFETY: the caller's promise.
    unsafe { strip.add_columns::<0>(filter) };
    // SAFETY: as above.
    unsafe { strip.add_columns::<2>(filter) };
    // SAFETY: as above.
    unsafe { strip.add_columns::<4>(filter) };
    // SAFETY: as above.
    unsafe { strip.add_columns::<6>(filter) };
    // SAFETY: as above.
    unsafe { strip.add_columns::<8>(filter) };
    for o in 0..COUNT {
        sums[o] = strip.sums[o];
    }
}

/// Outputs side by side.
struct Strip<const COUNT: usize, const STRIDE: usize, const LEN: usize, const EDGE: bool> {
    /// Rows of the image, from the first column under the first window on.
    rows: [*const i8; 3],
    /// Bytes from a column to the next.
    step: usize,
    len: usize,
    /// Which of the rows lie inside the image.
    inside: Range<usize>,
    /// Which columns do.
    inside_across: Range<usize>,
    padding: __m256i,
    sums: [Halves; COUNT],
}

impl<const COUNT: usize, const STRIDE: usize, const LEN: usize, const EDGE: bool>
    Strip<COUNT, STRIDE, LEN, EDGE>
{
    /// Adds the products of column `EVEN` and of the next.
    ///
    /// # Safety
    ///
    /// As [`compute`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_columns<const EVEN: usize>(&mut self, filter: &[Halves; PAIRS.len()]) {
        let last = (COUNT - 1) * STRIDE + 2;
        if EVEN > last {
            return;
        }
        let mut last_row = [self.padding; 2];
        for odd in 0..2 {
            let column = EVEN + odd;
            if column > last {
                break;
            }
            // SAFETY: the caller's promise.
            let [first, second, third] = unsafe { self.load_column(column) };
            last_row[odd] = third;
            let pairs = unpacked(first, second);
            for o in 0..COUNT {
                let tap = column.wrapping_sub(o * STRIDE);
                if tap < 3 {
                    add_products(&mut self.sums[o], pairs, &filter[tap]);
                }
            }
        }
        let pairs = unpacked(last_row[0], last_row[1]);
        for o in 0..COUNT {
            // From the window to the pair.
            let taps = match EVEN.wrapping_sub(o * STRIDE) {
                0 => &filter[3],
                2 => &filter[4],
                usize::MAX => &filter[5],
                1 => &filter[6],
                _ => continue,
            };
            add_products(&mut self.sums[o], pairs, taps);
        }
    }

    /// The three rows of a column.
    ///
    /// # Safety
    ///
    /// As [`compute`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_column(&self, column: usize) -> [__m256i; 3] {
        let len = if LEN > 0 { LEN } else { self.len };
        let mut inputs = [self.padding; 3];
        if EDGE && !self.inside_across.contains(&column) {
            return inputs;
        }
        for down in 0..3 {
            if !EDGE || self.inside.contains(&down) {
                let pixel = self.rows[down].wrapping_add(column * self.step);
                // SAFETY: inside the image.
                inputs[down] = unsafe { load(pixel, len) };
            }
        }
        inputs
    }
}
