//! Depthwise convolutions, 16 channels of up to four pixels at a time.
//!
//! Codes and weights become numbers of 16 bits, and of two taps they stand side by side, so that
//! one `VPMADDWD` multiplies both and adds the products.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;
use core::ops::Range;

use super::near;
use super::requantize::{Codes, Columns, Fast, double, moved};
use super::vector;
use crate::kernels::packed::{DepthwisePacking, PackedDepthwiseConv2d};
use crate::kernels::x86::{BIAS, Exact, MANTISSA, Rectified, SHIFT, Sequence, Short};
use crate::kernels::{Io, Path, Window};
use crate::weights::Weights;

/// Channels of a block.
const CHANNELS: usize = 16;

/// Most pairs of taps of a window.
const MAX_PAIRS: usize = 32;

/// Blocks that lie in the same lines of the cache.
const SIDE_BY_SIDE: usize = 64 / CHANNELS;

/// Two vectors for 16 channels: 0 to 3 and 8 to 11, then the others, which is where unpacking puts
/// them.
pub(super) type Halves = [__m256i; 2];

/// Whether [`depthwise`] can compute the layer.
pub(super) fn fits(params: &PackedDepthwiseConv2d) -> bool {
    params.window.taps.map(usize::from).iter().product::<usize>() <= 2 * MAX_PAIRS
}

/// The kernel of [`PackedDepthwiseConv2d`] for layers that [`fits`].
///
/// # Safety
///
/// The core can execute the path.
pub(super) unsafe fn depthwise(params: &PackedDepthwiseConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let compute = match params.fast {
        true if params.output.rectifies() => blocks::<Rectified>,
        true => blocks::<Short>,
        false => blocks::<Exact>,
    };
    // SAFETY: the caller's promise.
    unsafe { compute(params, weights, io) }
}

/// # Safety
///
/// As [`depthwise`].
#[target_feature(enable = "avx2")]
unsafe fn blocks<S: Sequence>(params: &PackedDepthwiseConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(packing) = DepthwisePacking::of(Path::Avx2) else { return };
    let (Some(cells), Some(written)) = (input.cells().first(), io.output.cells().first()) else {
        return;
    };
    let (layout, target) = (input.layout(), io.output.layout());
    let steps = [layout.row_stride, layout.pixel_stride].map(|n| n as usize);
    let [row_step, step] = [target.row_stride, target.pixel_stride].map(|n| n as usize);
    let window = &params.window;
    let (packed, table) = (weights.get(params.weights), weights.get(params.columns));
    let numbers = CHANNELS * packing.parameters as usize;
    let mut taps = [Tap::default(); 2 * MAX_PAIRS];
    let count = Tap::all(window, steps, &mut taps);
    let taps = taps.as_chunks().0.get(..count.div_ceil(2)).unwrap_or_default();
    let is_near = near::fits(window);
    let mut filters = [[[_mm256_setzero_si256(); 2]; MAX_PAIRS]; SIDE_BY_SIDE];
    let padding = [params.input_zero_point; CHANNELS];
    let (columns, channels) = (io.output.columns(), io.output.channels());
    for first in channels.clone().step_by(SIDE_BY_SIDE * CHANNELS) {
        let mut blocks = [const { None }; SIDE_BY_SIDE];
        let firsts = (first..channels.end).step_by(CHANNELS);
        for ((channel, filter), side_by_side) in firsts.zip(&mut filters).zip(&mut blocks) {
            let block = channel / CHANNELS;
            let Some(table) = table.get(block * numbers..(block + 1) * numbers) else { return };
            let weights = packed.as_chunks().0.get(block * count..(block + 1) * count);
            let Some(weights) = weights else { return };
            if is_near {
                interleave(filter, near::PAIRS, weights, params.weight_zero_point);
            } else {
                let in_turn = (0..).step_by(2).map(|tap| [tap, tap + 1]).take(taps.len());
                interleave(filter, in_turn, weights, params.weight_zero_point);
            }
            let Some(finish) = Finish::<S>::new(table) else { return };
            let image = Image {
                window,
                first: cells.as_ptr().cast_const().wrapping_add(channel),
                extents: [layout.hwc.h, layout.hwc.w].map(|n| n as usize),
                steps,
                inside: window.inside(1, layout.hwc.w as usize),
                padding: &padding,
                len: (channels.end - channel).min(CHANNELS),
            };
            let codes = Codes::new(params.output);
            let to = written.as_ptr().wrapping_add(channel - channels.start);
            *side_by_side = Some(Block { image, filter, taps, is_near, finish, codes, to });
        }
        for (row, y) in io.output.rows().enumerate() {
            for block in blocks.iter().flatten() {
                let to = block.to.wrapping_add(row * row_step);
                // SAFETY: the image is the input's; cells of this core's share.
                unsafe { block.compute_row(y, &columns, to, step) };
            }
        }
    }
}

/// A block of channels.
pub(super) struct Block<'a, S> {
    image: Image<'a>,
    pub(super) filter: &'a [Halves],
    /// The taps of the filter in turn, which are not used for those that are near.
    taps: &'a [[Tap; 2]],
    is_near: bool,
    pub(super) finish: Finish<S>,
    pub(super) codes: Codes,
    /// Where the channels of the first output go.
    to: *mut i8,
}

impl<S: Sequence> Block<'_, S> {
    /// Computes a row of the output, of which the first pixel goes to `to`, and each other `step`
    /// bytes behind the one before.
    ///
    /// # Safety
    ///
    /// The image is readable, and pixels are writable for the channels.
    #[target_feature(enable = "avx2")]
    unsafe fn compute_row(&self, y: usize, columns: &Range<usize>, mut to: *mut i8, step: usize) {
        let Self { image, filter, taps, is_near, finish, codes, .. } = self;
        let row = Row::new(image, y);
        if *is_near {
            // SAFETY: the caller's promise.
            return unsafe { near::compute_row(self, &row, columns, to, step) };
        }
        for x in columns.clone().step_by(2) {
            let count = (columns.end - x).min(2);
            // SAFETY: the caller's promise.
            let sums = unsafe { compute(&row, x, count, taps, filter, &finish.biases) };
            let codes = codes.between(sums.map(|sums| finish.steps(sums)));
            for &codes in codes.iter().take(count) {
                // SAFETY: the caller's promise.
                unsafe { vector::store(to, codes, image.len) };
                to = to.wrapping_add(step);
            }
        }
    }
}

/// The input of a block of channels, and the window over it.
pub(super) struct Image<'a> {
    pub(super) window: &'a Window,
    /// The channels of the first pixel.
    first: *const i8,
    /// Rows and columns.
    extents: [usize; 2],
    /// Bytes from a row and from a pixel to the next.
    pub(super) steps: [usize; 2],
    /// The outputs in a row whose windows lie inside.
    inside: Range<usize>,
    /// A pixel outside.
    pub(super) padding: &'a [i8; CHANNELS],
    /// The channels.
    pub(super) len: usize,
}

/// A row of the output.
pub(super) struct Row<'a> {
    pub(super) image: &'a Image<'a>,
    /// The rows of the window that lie inside the image.
    pub(super) inside: Range<usize>,
    /// The first pixels of the image under the window's first rows.
    pub(super) lines: [*const i8; 3],
}

impl<'a> Row<'a> {
    #[inline]
    fn new(image: &'a Image<'a>, y: usize) -> Self {
        let inside = image.window.range(0, y, image.extents[0]);
        let line = |down| {
            let y = image.window.source(0, y, down);
            image.first.wrapping_add(y.wrapping_mul(image.steps[0]))
        };
        Self { image, inside, lines: [line(0), line(1), line(2)] }
    }

    /// Whether the windows of `count` outputs from `x` on lie inside the image.
    #[inline]
    pub(super) fn are_inside(&self, x: usize, count: usize) -> bool {
        let Image { window, inside, .. } = self.image;
        self.inside.len() == usize::from(window.taps[0])
            && inside.start <= x
            && x + count <= inside.end
    }

    /// The columns that lie inside the image, counted from the first under output `x`.
    #[inline]
    pub(super) fn columns(&self, x: usize) -> Range<usize> {
        let first = self.image.window.source(1, x, 0).cast_signed();
        let width = self.image.extents[1].cast_signed();
        first.wrapping_neg().max(0).cast_unsigned()..(width - first).max(0).cast_unsigned()
    }

    /// The pixel under the first tap of output `x`, which may lie outside.
    #[inline]
    fn first(&self, x: usize) -> *const i8 {
        let x = self.image.window.source(1, x, 0);
        self.lines[0].wrapping_add(x.wrapping_mul(self.image.steps[1]))
    }
}

/// A tap of a window.
#[derive(Clone, Copy, Default)]
struct Tap {
    /// Its row and its column.
    at: [usize; 2],
    /// Bytes from the pixel under the first tap.
    offset: usize,
}

impl Tap {
    /// Writes those of `window`; how many they are.
    fn all(window: &Window, [to_row, to_pixel]: [usize; 2], taps: &mut [Self]) -> usize {
        let [down, across] = window.taps.map(usize::from);
        let [y, x] = window.dilation.map(usize::from);
        let all = (0..down).flat_map(|down| (0..across).map(move |right| [down, right]));
        for (tap, at @ [down, right]) in taps.iter_mut().zip(all) {
            *tap = Self { at, offset: down * y * to_row + right * x * to_pixel };
        }
        down * across
    }
}

/// The taps of a block in pairs, without their zero point.
#[target_feature(enable = "avx2")]
fn interleave(
    filter: &mut [Halves],
    pairs: impl IntoIterator<Item = [usize; 2]>,
    taps: &[[i8; CHANNELS]],
    zero_point: i8,
) {
    let zero_point = _mm256_set1_epi16(zero_point.into());
    let widen = |tap: usize| match taps.get(tap) {
        // SAFETY: an array of 16 bytes.
        Some(taps) => _mm256_sub_epi16(unsafe { load(taps.as_ptr(), CHANNELS) }, zero_point),
        None => _mm256_setzero_si256(),
    };
    for (pair, [a, b]) in filter.iter_mut().zip(pairs) {
        *pair = unpacked(widen(a), widen(b));
    }
}

/// Numbers of 16 bits of `a` and `b` by turns.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn unpacked(a: __m256i, b: __m256i) -> Halves {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

/// The first `len` of 16 codes as numbers of 16 bits.
///
/// # Safety
///
/// They are readable.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load(codes: *const i8, len: usize) -> __m256i {
    // SAFETY: the caller's promise.
    _mm256_cvtepi8_epi16(unsafe { vector::load(codes, len) })
}

/// The sums of the output at `x`, and of the next if `count` is 2.
///
/// # Safety
///
/// The core can execute the path; the row is one whose image is readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn compute(
    row: &Row<'_>,
    x: usize,
    count: usize,
    taps: &[[Tap; 2]],
    filter: &[Halves],
    biases: &Halves,
) -> [Halves; 2] {
    match row.image.len {
        // SAFETY: the caller's promise.
        16.. => unsafe { compute_channels::<16>(row, x, count, taps, filter, biases) },
        // SAFETY: the caller's promise.
        8 => unsafe { compute_channels::<8>(row, x, count, taps, filter, biases) },
        // SAFETY: the caller's promise.
        _ => unsafe { compute_channels::<0>(row, x, count, taps, filter, biases) },
    }
}

/// As [`compute`], of `LEN` codes unless that is 0.
///
/// # Safety
///
/// As [`compute`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn compute_channels<const LEN: usize>(
    row: &Row<'_>,
    x: usize,
    count: usize,
    taps: &[[Tap; 2]],
    filter: &[Halves],
    biases: &Halves,
) -> [Halves; 2] {
    let len = if LEN > 0 { LEN } else { row.image.len };
    let outputs = [x, x + count - 1];
    let are_inside = row.are_inside(x, count);
    let first = outputs.map(|x| row.first(x));
    let columns = outputs.map(|x| row.columns(x));
    let dilation = usize::from(row.image.window.dilation[1]);
    let [mut a, mut b] = [*biases; 2];
    for (weights, taps) in filter.iter().zip(taps) {
        let mut inputs = [[_mm256_setzero_si256(); 2]; 2];
        for o in 0..2 {
            for (input, tap) in inputs[o].iter_mut().zip(taps) {
                let [down, right] = tap.at;
                let is_inside = are_inside
                    || (row.inside.contains(&down) && columns[o].contains(&(right * dilation)));
                let place = match is_inside {
                    true => first[o].wrapping_add(tap.offset),
                    false => row.image.padding.as_ptr(),
                };
                // SAFETY: inside the image, or padding.
                *input = unsafe { load(place, len) };
            }
        }
        let [[a0, a1], [b0, b1]] = inputs;
        add_products(&mut a, &unpacked(a0, a1), weights);
        add_products(&mut b, &unpacked(b0, b1), weights);
    }
    [a, b]
}

/// Adds the products of two taps and what is under them.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_products(sums: &mut Halves, inputs: &Halves, taps: &Halves) {
    for v in 0..2 {
        sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(inputs[v], taps[v]));
    }
}

/// What makes steps of the sums of a block.
pub(super) struct Finish<S> {
    pub(super) biases: Halves,
    fast: [Fast<S>; 2],
    mantissas: Halves,
    shifts: Halves,
}

impl<S: Sequence> Finish<S> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(table: &[i32]) -> Option<Self> {
        let columns = Columns::<2>::new(table)?;
        let [mut low, mut high] = halves(columns.row::<BIAS>());
        if S::FAST {
            (low, high) = (moved(low), moved(high));
        }
        let doubled = halves(columns.row::<3>());
        let doubled_odd = halves(columns.row::<4>());
        let constants = halves(columns.row::<5>());
        let constants_odd = halves(columns.row::<6>());
        let shifts = halves(columns.row::<7>());
        let fast = [
            Fast::new([doubled[0], doubled_odd[0], constants[0], constants_odd[0], shifts[0]]),
            Fast::new([doubled[1], doubled_odd[1], constants[1], constants_odd[1], shifts[1]]),
        ];
        let (mantissas, shifts) =
            (halves(columns.row::<MANTISSA>()), halves(columns.row::<SHIFT>()));
        Some(Self { biases: [low, high], fast, mantissas, shifts })
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn steps(&self, sums: Halves) -> Halves {
        let mut steps = sums;
        for v in 0..2 {
            steps[v] = match S::FAST {
                true => self.fast[v].scaled(sums[v]),
                false => double(sums[v], self.mantissas[v], self.shifts[v]),
            };
        }
        steps
    }
}

/// Sixteen numbers in the order of [`Halves`].
#[inline]
#[target_feature(enable = "avx2")]
fn halves([a, b]: [__m256i; 2]) -> Halves {
    [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)]
}
