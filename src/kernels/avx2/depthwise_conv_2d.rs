//! Depthwise convolutions, 16 channels and two taps at a time.

use core::arch::x86_64::*;
use core::cell::Cell;

use super::requantize::{Columns, Finish};
use super::vector::{self, CHANNELS, widen};
use crate::kernels::packed::{DepthwisePacking, PackedDepthwiseConv2d, Rounding};
use crate::kernels::{Io, Path};
use crate::weights::Weights;

/// Most taps of a window.
const MAX_TAPS: usize = 32;

/// Whether [`depthwise`] can compute the layer.
pub(super) fn fits(params: &PackedDepthwiseConv2d) -> bool {
    params.window.taps.map(usize::from).iter().product::<usize>() <= MAX_TAPS
}

/// The kernel of [`PackedDepthwiseConv2d`] for layers that [`fits`].
///
/// # Safety
///
/// The core can execute the path.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn depthwise(params: &PackedDepthwiseConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(packing) = DepthwisePacking::of(Path::Avx2) else { return };
    let (h, w) = (input.hwc().h as usize, input.hwc().w as usize);
    let window = &params.window;
    let [down, across] = window.taps.map(usize::from);
    let taps = down * across;
    let (filters, table) = (weights.get(params.weights), weights.get(params.columns));
    let numbers = CHANNELS * packing.parameters as usize;
    let padding = widen(&[params.input_zero_point; CHANNELS]);
    let zero = _mm256_set1_epi16(params.weight_zero_point.into());
    let channels = io.output.channels();
    for y in io.output.rows() {
        let rows = window.range(0, y, h);
        for x in io.output.columns() {
            let columns = window.range(1, x, w);
            // The channels under each tap; none in the padding.
            let mut pixels: [&[Cell<i8>]; MAX_TAPS] = [&[]; MAX_TAPS];
            let places = (0..down).flat_map(|down| (0..across).map(move |across| (down, across)));
            for (pixel, (down, across)) in pixels.iter_mut().zip(places) {
                if rows.contains(&down) && columns.contains(&across) {
                    let x = window.source(1, x, across);
                    *pixel = input.pixel_cells(window.source(0, y, down), x..x + 1);
                }
            }
            let starts = channels.clone().step_by(CHANNELS);
            for (channel, cells) in starts.zip(io.output.pixel(y, x).chunks(CHANNELS)) {
                let block = channel / CHANNELS;
                let filter = filters.as_chunks().0.get(block * taps..(block + 1) * taps);
                let table = table.get(block * numbers..(block + 1) * numbers);
                let (Some(filter), Some(table)) = (filter, table) else { return };
                let finish = Finish::new(table, params.fast, Rounding::Double, params.output);
                let tap = |i: usize| match (filter.get(i), pixels.get(i)) {
                    (Some(weights), Some(pixel)) => {
                        let inputs = match pixel.get(channel..) {
                            Some(codes) if !codes.is_empty() => load(codes),
                            _ => padding,
                        };
                        (inputs, _mm256_sub_epi16(widen(weights), zero))
                    }
                    _ => (padding, _mm256_setzero_si256()),
                };
                // Columns 0 to 3 and 8 to 11, then the others: where unpacking puts them.
                let mut sums = [_mm256_setzero_si256(); 2];
                for i in (0..taps).step_by(2) {
                    let ((inputs, weights), (more_inputs, more_weights)) = (tap(i), tap(i + 1));
                    let inputs = interleave(inputs, more_inputs);
                    let weights = interleave(weights, more_weights);
                    for v in 0..2 {
                        sums[v] =
                            _mm256_add_epi32(sums[v], _mm256_madd_epi16(inputs[v], weights[v]));
                    }
                }
                let [a, b] = sums;
                let [low, high] = finish.numbers(0);
                let sums = [
                    _mm256_add_epi32(low, _mm256_permute2x128_si256::<0x20>(a, b)),
                    _mm256_add_epi32(high, _mm256_permute2x128_si256::<0x31>(a, b)),
                ];
                let codes = finish.codes(sums);
                let to = cells.as_ptr().cast_mut().cast::<i8>();
                // SAFETY: the cells of this core's share.
                unsafe { vector::store(to, codes, cells.len()) };
            }
        }
    }
}

/// The 16-bit numbers of `a` and `b` by turns.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(a: __m256i, b: __m256i) -> Columns {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

/// The first 16 codes as 16-bit numbers, or as many as there are.
#[inline]
#[target_feature(enable = "avx2")]
fn load(codes: &[Cell<i8>]) -> __m256i {
    let mut all = [0; CHANNELS];
    match codes.first_chunk::<CHANNELS>() {
        Some(codes) => all = codes.each_ref().map(Cell::get),
        None => {
            for (code, cell) in all.iter_mut().zip(codes) {
                *code = cell.get();
            }
        }
    }
    widen(&all)
}
