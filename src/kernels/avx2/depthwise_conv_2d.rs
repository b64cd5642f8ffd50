//! Depthwise convolutions, 16 channels of two pixels at a time.
//!
//! Codes and weights become numbers of 16 bits, and of two taps they stand side by side, so that
//! one `VPMADDWD` multiplies both and adds the products.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;

use super::requantize::{Codes, Columns, Fast, double, moved};
use super::vector;
use crate::kernels::packed::{DepthwisePacking, PackedDepthwiseConv2d};
use crate::kernels::x86::{BIAS, Exact, MANTISSA, Rectified, SHIFT, Sequence, Short};
use crate::kernels::{Io, Path};
use crate::weights::Weights;

/// Channels of a block.
const CHANNELS: usize = 16;

/// Most pairs of taps of a window.
const MAX_PAIRS: usize = 32;

/// Two vectors for 16 channels: 0 to 3 and 8 to 11, then the others, which is where unpacking puts
/// them.
type Halves = [__m256i; 2];

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
        true if params.output.rectifies() => rows::<Rectified>,
        true => rows::<Short>,
        false => rows::<Exact>,
    };
    // SAFETY: the caller's promise.
    unsafe { compute(params, weights, io) }
}

/// # Safety
///
/// As [`depthwise`].
#[target_feature(enable = "avx2")]
unsafe fn rows<S: Sequence>(params: &PackedDepthwiseConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(packing) = DepthwisePacking::of(Path::Avx2) else { return };
    let layout = input.layout();
    let [to_row, to_pixel] = [layout.row_stride, layout.pixel_stride].map(|n| n as usize);
    let (Some(cells), Some(written)) = (input.cells().first(), io.output.cells().first()) else {
        return;
    };
    let (image, written) = (cells.as_ptr().cast_const(), written.as_ptr());
    let window = &params.window;
    let [down, across] = window.taps.map(usize::from);
    let (filters, table) = (weights.get(params.weights), weights.get(params.columns));
    let (taps, numbers) = (down * across, CHANNELS * packing.parameters as usize);
    let padding = [params.input_zero_point; CHANNELS];
    // From the pixel under the first tap.
    let mut offsets = [[0; 2]; MAX_PAIRS];
    for (tap, offset) in offsets.as_flattened_mut().iter_mut().enumerate().take(taps) {
        let [down, right] = [tap / across, tap % across];
        let [y, x] = window.dilation.map(usize::from);
        *offset = down * y * to_row + right * x * to_pixel;
    }

    let codes = Codes::new(params.output);
    let target = io.output.layout();
    let pairs = taps.div_ceil(2);
    let mut filter = [[_mm256_setzero_si256(); 2]; MAX_PAIRS];
    let (Some(filter), Some(offsets)) = (filter.get_mut(..pairs), offsets.get(..pairs)) else {
        return;
    };
    // Where the channels of a block begin under each tap of two pixels at the edge.
    let mut places = [[padding.as_ptr(); 2 * MAX_PAIRS]; 2];
    let (columns, channels) = (io.output.columns(), io.output.channels());
    let inside_across = window.inside(1, layout.hwc.w as usize);
    for (row, y) in io.output.rows().enumerate() {
        let inside_down = window.range(0, y, layout.hwc.h as usize);
        let is_inside = |x: usize| inside_down == (0..down) && inside_across.contains(&x);
        for channel in channels.clone().step_by(CHANNELS) {
            let block = channel / CHANNELS;
            let Some(table) = table.get(block * numbers..(block + 1) * numbers) else { return };
            let Some(taps) = filters.as_chunks().0.get(block * taps..(block + 1) * taps) else {
                return;
            };
            interleave(filter, taps, params.weight_zero_point);
            let Some(finish) = Finish::<S>::new(table) else { return };
            let len = (channels.end - channel).min(CHANNELS);
            let first = image.wrapping_add(channel);
            let pixel = |y: usize, x: usize| first.wrapping_add(y * to_row + x * to_pixel);
            // The rows under the window; null outside the image.
            let mut lines = [core::ptr::null(); 2 * MAX_PAIRS];
            for (down, line) in lines.iter_mut().enumerate().take(down) {
                if inside_down.contains(&down) {
                    *line = pixel(window.source(0, y, down), 0);
                }
            }
            for x in columns.clone().step_by(2) {
                let next = (x + 1).min(columns.end - 1);
                let sums = if is_inside(x) && is_inside(next) {
                    let y = window.source(0, y, 0);
                    let a = pixel(y, window.source(1, x, 0));
                    let b = pixel(y, window.source(1, next, 0));
                    let places = offsets.iter().map(|&[first, second]| {
                        [
                            [a.wrapping_add(first), a.wrapping_add(second)],
                            [b.wrapping_add(first), b.wrapping_add(second)],
                        ]
                    });
                    // SAFETY: the pixels under the windows.
                    unsafe { sums(filter, places, len, finish.biases) }
                } else {
                    for (places, x) in places.iter_mut().zip([x, next]) {
                        for right in 0..across {
                            let x = window.source(1, x, right);
                            let is_inside = x < layout.hwc.w as usize;
                            let offset = x.wrapping_mul(to_pixel);
                            let under = places.iter_mut().skip(right).step_by(across);
                            for (place, &line) in under.zip(&lines).take(down) {
                                let is_inside = is_inside && !line.is_null();
                                let pixel = line.wrapping_add(offset);
                                *place = if is_inside { pixel } else { padding.as_ptr() };
                            }
                        }
                    }
                    let [first, second] = places.each_ref().map(|places| places.as_chunks().0);
                    let places = first.iter().zip(second).map(|(&first, &second)| [first, second]);
                    // SAFETY: the pixels under the windows, or padding.
                    unsafe { sums(filter, places, len, finish.biases) }
                };
                let codes = codes.between([finish.steps(sums[0]), finish.steps(sums[1])]);
                for (codes, x) in codes.into_iter().zip([x, next]) {
                    let at = row * target.row_stride as usize + x * target.pixel_stride as usize;
                    let to = written.wrapping_add(at + channel - channels.start);
                    // SAFETY: cells of this core's share; the last pixel may be written twice.
                    unsafe { vector::store(to, codes, len) };
                }
            }
        }
    }
}

/// The taps of a block two by two, without their zero point.
#[target_feature(enable = "avx2")]
fn interleave(filter: &mut [Halves], taps: &[[i8; CHANNELS]], zero_point: i8) {
    let zero_point = _mm256_set1_epi16(zero_point.into());
    let widen = |taps: Option<&[i8; CHANNELS]>| match taps {
        // SAFETY: an array of 16 bytes.
        Some(taps) => _mm256_sub_epi16(unsafe { load(taps.as_ptr(), CHANNELS) }, zero_point),
        None => _mm256_setzero_si256(),
    };
    for (pair, taps) in filter.iter_mut().zip(taps.chunks(2)) {
        *pair = unpacked(widen(taps.first()), widen(taps.get(1)));
    }
}

/// Numbers of 16 bits of `a` and `b` by turns.
#[inline]
#[target_feature(enable = "avx2")]
fn unpacked(a: __m256i, b: __m256i) -> Halves {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

/// The first `len` of 16 codes as numbers of 16 bits.
///
/// # Safety
///
/// They are readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(codes: *const i8, len: usize) -> __m256i {
    // SAFETY: the caller's promise.
    _mm256_cvtepi8_epi16(unsafe { vector::load(codes, len) })
}

/// Where the codes under two taps of each of two pixels are.
type Places = [[*const i8; 2]; 2];

/// The sums of two pixels.
///
/// # Safety
///
/// The places are readable for `len` codes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums(
    filter: &[Halves],
    places: impl Iterator<Item = Places>,
    len: usize,
    biases: Halves,
) -> [Halves; 2] {
    match len {
        // SAFETY: the caller's promise.
        16.. => unsafe { sums_of::<16>(filter, places, len, biases) },
        // SAFETY: the caller's promise.
        8 => unsafe { sums_of::<8>(filter, places, len, biases) },
        // SAFETY: the caller's promise.
        _ => unsafe { sums_of::<0>(filter, places, len, biases) },
    }
}

/// As [`sums`], of `LEN` codes unless that is 0.
///
/// # Safety
///
/// As [`sums`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums_of<const LEN: usize>(
    filter: &[Halves],
    places: impl Iterator<Item = Places>,
    len: usize,
    biases: Halves,
) -> [Halves; 2] {
    let len = if LEN > 0 { LEN } else { len };
    let mut sums = [biases; 2];
    for (taps, places) in filter.iter().zip(places) {
        for p in 0..2 {
            let [a, b] = places[p];
            // SAFETY: the caller's promise.
            let a = unsafe { load(a, len) };
            // SAFETY: the caller's promise.
            let b = unsafe { load(b, len) };
            let inputs = unpacked(a, b);
            for v in 0..2 {
                let products = _mm256_madd_epi16(inputs[v], taps[v]);
                sums[p][v] = _mm256_add_epi32(sums[p][v], products);
            }
        }
    }
    sums
}

/// What makes steps of the sums of a block.
struct Finish<S> {
    biases: Halves,
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
    fn steps(&self, sums: Halves) -> Halves {
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
