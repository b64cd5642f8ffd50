//! Depthwise windows of 3x3 taps: a row of outputs, of which those side by side share what they
//! load and unpack.
//!
//! Two columns of the image at a time: first the outputs are completed that began with the columns
//! before, then as many begin. The taps of the upper two rows are pairs, column by column; those of
//! the last row are pairs of an even column and the next, so that for every second output, of
//! stride 1, a pair begins one column to the left of its window.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;
use core::ops::Range;

use super::depthwise_conv_2d::{Block, Halves, Row, add_products, load, unpacked};
use super::vector;
use crate::kernels::window::Window;
use crate::kernels::x86::Sequence;

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

/// Computes a row of a block whose filter is for [`PAIRS`], see [`Block::compute_row`].
///
/// # Safety
///
/// As [`Block::compute_row`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn compute_row<S: Sequence>(
    block: &Block<'_, S>,
    row: &Row<'_>,
    columns: &Range<usize>,
    to: *mut i8,
    step: usize,
) {
    let compute = match (row.image.window.stride[1], row.image.len) {
        (1, 16) => compute_outputs::<S, 2, 16>,
        (1, 8) => compute_outputs::<S, 2, 8>,
        (1, _) => compute_outputs::<S, 2, 0>,
        (_, 16) => compute_outputs::<S, 1, 16>,
        (_, 8) => compute_outputs::<S, 1, 8>,
        _ => compute_outputs::<S, 1, 0>,
    };
    // SAFETY: the caller's promise.
    unsafe { compute(block, row, columns, to, step) }
}

/// As [`compute_row`], of `LEN` codes unless that is 0, where `BEGUN` outputs begin with two
/// columns.
///
/// # Safety
///
/// As [`compute_row`].
#[target_feature(enable = "avx2")]
unsafe fn compute_outputs<S: Sequence, const BEGUN: usize, const LEN: usize>(
    block: &Block<'_, S>,
    row: &Row<'_>,
    columns: &Range<usize>,
    mut to: *mut i8,
    step: usize,
) {
    let Some(filter) = block.filter.first_chunk() else { return };
    let len = if LEN > 0 { LEN } else { row.image.len };
    let mut image = Columns::<LEN>::new(row, columns, len);
    let mut store = |sums: [Halves; BEGUN], left: usize| {
        let pair = [block.finish.steps(sums[0]), block.finish.steps(sums[BEGUN - 1])];
        let [first, second] = block.codes.between(pair);
        // SAFETY: the caller's promise: pixels are writable for the channels.
        unsafe { vector::store(to, first, len) };
        if BEGUN > 1 && left > 1 {
            // SAFETY: as above.
            unsafe { vector::store(to.wrapping_add(step), second, len) };
        }
        to = to.wrapping_add(BEGUN * step);
    };
    // SAFETY: the caller's promise: the image is readable.
    let first = unsafe { image.next_two() };
    let mut sums = begun::<BEGUN>(&first, filter, &block.finish.biases);
    // SAFETY: as above.
    let mut inputs = unsafe { image.next_two() };
    complete(&mut sums, &inputs, filter);
    let mut left = columns.len();
    // Codes are made of sums while others are added up: neither waits for the other.
    while left > BEGUN {
        let mut next = begun(&inputs, filter, &block.finish.biases);
        // SAFETY: as above.
        inputs = unsafe { image.next_two() };
        store(sums, left);
        complete(&mut next, &inputs, filter);
        sums = next;
        left -= BEGUN;
    }
    store(sums, left);
}

/// What outputs are multiplied with: the upper rows of an even column, of the next one, and the
/// last row of both.
type Inputs = [Halves; 3];

/// The sums of the outputs whose windows begin with one of two columns.
#[inline]
#[target_feature(enable = "avx2")]
fn begun<const BEGUN: usize>(
    [even, odd, last_row]: &Inputs,
    filter: &[Halves; PAIRS.len()],
    biases: &Halves,
) -> [Halves; BEGUN] {
    let mut sums = [*biases; BEGUN];
    add_products(&mut sums[0], even, &filter[0]);
    add_products(&mut sums[0], odd, &filter[1]);
    add_products(&mut sums[0], last_row, &filter[3]);
    if BEGUN > 1 {
        add_products(&mut sums[1], odd, &filter[0]);
        add_products(&mut sums[1], last_row, &filter[5]);
    }
    sums
}

/// Adds the products of outputs that began with the two columns before these.
#[inline]
#[target_feature(enable = "avx2")]
fn complete<const BEGUN: usize>(
    sums: &mut [Halves; BEGUN],
    [even, odd, last_row]: &Inputs,
    filter: &[Halves; PAIRS.len()],
) {
    add_products(&mut sums[0], even, &filter[2]);
    add_products(&mut sums[0], last_row, &filter[4]);
    if BEGUN > 1 {
        add_products(&mut sums[1], even, &filter[1]);
        add_products(&mut sums[1], odd, &filter[2]);
        add_products(&mut sums[1], last_row, &filter[6]);
    }
}

/// The columns under a row of outputs, one after another.
struct Columns<const LEN: usize> {
    /// The rows of the image under those of the window, or padding, where the next column begins.
    rows: [*const i8; 3],
    /// Bytes from a column of the rows to the next.
    steps: [usize; 3],
    /// The next column's number, counted from the first that lies inside the image.
    next: isize,
    /// How many lie inside and are under the outputs.
    count: isize,
    /// A pixel outside.
    padding: *const i8,
    /// The channels.
    len: usize,
}

impl<const LEN: usize> Columns<LEN> {
    #[inline]
    fn new(row: &Row<'_>, outputs: &Range<usize>, len: usize) -> Self {
        let image = row.image;
        let inside = row.columns(outputs.start);
        let seen = (outputs.len() - 1) * usize::from(image.window.stride[1]) + 3;
        let padding = image.padding.as_ptr();
        let first = image.window.source(1, outputs.start, 0);
        let mut rows = [padding; 3];
        let mut steps = [0; 3];
        for down in row.inside.clone() {
            rows[down] = row.lines[down].wrapping_add(first.wrapping_mul(image.steps[1]));
            steps[down] = image.steps[1];
        }
        let next = inside.start.cast_signed().wrapping_neg();
        let count = inside.end.min(seen).cast_signed() + next;
        Self { rows, steps, next, count, padding, len }
    }

    /// The next two.
    ///
    /// # Safety
    ///
    /// The image is readable.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn next_two(&mut self) -> Inputs {
        let len = if LEN > 0 { LEN } else { self.len };
        let mut columns = [[_mm256_setzero_si256(); 3]; 2];
        for odd in 0..2 {
            let is_inside = (0..self.count).contains(&self.next);
            for down in 0..3 {
                let pixel = if is_inside { self.rows[down] } else { self.padding };
                // SAFETY: inside the image, or padding.
                columns[odd][down] = unsafe { load(pixel, len) };
                self.rows[down] = self.rows[down].wrapping_add(self.steps[down]);
            }
            self.next += 1;
        }
        let [[a, b, c], [d, e, f]] = columns;
        [unpacked(a, b), unpacked(d, e), unpacked(c, f)]
    }
}
