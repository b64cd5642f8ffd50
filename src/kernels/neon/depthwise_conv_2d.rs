//! Depthwise convolution, sixteen channels at a time.
//!
//! The input rows that an output row sees are first put into scratch memory, sixteen channels
//! of each pixel and with their padding. There every window is inside, and neighbouring pixels
//! are adjacent. A row stays until no output row sees it any more.

use core::arch::aarch64::*;
use core::mem::MaybeUninit;

use super::SCRATCH;
use super::memory::{
    copy, from_codes, load, number_vectors, store, store_part_steps, vectors, whole,
};
use super::scale::{Multipliers, Scale};
use crate::kernels::packed::{
    DepthwisePacking, PackedDepthwiseConv2d, Rounding, packed_depthwise_conv_2d as portable,
};
use crate::kernels::{Io, Path};
use crate::tensor::{Layout, View};
use crate::weights::Weights;

/// Most rows of a window.
const MAX_DOWN: usize = 8;

/// Channels of a block: those of a vector.
const BLOCK: usize = 16;

/// Pixels that the scratch memory holds.
const PIXELS: usize = SCRATCH / BLOCK;

/// The kernel of [`PackedDepthwiseConv2d`].
pub(super) fn packed_depthwise_conv_2d(
    params: &PackedDepthwiseConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let pairs_fit = !params.full_range && params.weight_zero_point == 0;
    let line: Line = match (params.window.taps, params.window.stride) {
        _ if !pairs_fit || params.window.dilation != [1, 1] => widened,
        ([3, 3], [_, 1]) => paired::<3, 3, 1>,
        ([3, 3], [_, 2]) => paired::<3, 3, 2>,
        ([5, 5], [_, 1]) => paired::<5, 5, 1>,
        ([5, 5], [_, 2]) => paired::<5, 5, 2>,
        _ => widened,
    };
    // SAFETY: every core this is compiled for has these instructions.
    unsafe { run(Path::Neon, line, params, weights, io) };
}

/// Outputs of one row in one block.
#[derive(Debug)]
pub(in crate::kernels) struct Outputs<'a> {
    /// Per row of the window, the pixel under the first tap for the first output.
    pub(in crate::kernels) rows: [*const int8x16_t; MAX_DOWN],
    /// Pixels from an output's to the next's.
    pub(in crate::kernels) stride: usize,
    /// Weights of the block.
    pub(in crate::kernels) weights: &'a [int8x16_t],
    /// Biases.
    pub(in crate::kernels) biases: [int32x4_t; 4],
    pub(in crate::kernels) multipliers: Multipliers,
    pub(in crate::kernels) scale: Scale,
    /// The first output, and bytes from each to the next.
    pub(in crate::kernels) to: *mut i8,
    pub(in crate::kernels) to_step: usize,
    /// Number of outputs.
    pub(in crate::kernels) count: usize,
    /// Channels to store, at most [`BLOCK`].
    pub(in crate::kernels) stored: usize,
    pub(in crate::kernels) params: &'a PackedDepthwiseConv2d,
}

/// Computes outputs.
///
/// # Safety
///
/// From the pixels in `rows` on, those are readable that the windows see and those that fill up
/// groups of taps; `stored` codes are writable at each output; the core can execute the kernel's instructions.
pub(in crate::kernels) type Line = unsafe fn(&Outputs<'_>);

/// The image columns and channels that are put into scratch memory at a time.
struct Source<'a> {
    input: View<'a>,
    zero_point: i8,
    /// First channel, and channels.
    channel: usize,
    channels: usize,
    /// Pixels of a row, padding included, of which the first `left` are padding; those from the
    /// image begin with column `first`, `inside` of them.
    width: usize,
    left: usize,
    first: usize,
    inside: usize,
}

/// Computes `io.output` line by line with `line`, for weights as those of `path` lie.
///
/// # Safety
///
/// The core can execute the instructions of `line`.
pub(in crate::kernels) unsafe fn run(
    path: Path,
    line: Line,
    params: &PackedDepthwiseConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(packing) = DepthwisePacking::of(params.path) else { return };
    if Some(packing) != DepthwisePacking::of(path) {
        return;
    }
    let Some(taps) = packing.taps(&params.window) else { return };
    let window = &params.window;
    let (height, width) = (input.hwc().h as usize, input.hwc().w as usize);
    let [down, _] = window.taps.map(usize::from);
    let [down_stride, stride] = window.stride.map(usize::from);
    let [down_step, dilation] = window.dilation.map(usize::from);
    let [above, left] = window.pad.map(usize::from);
    // Rows and pixels of a row that a window spans, those included that fill up groups of taps.
    let [span_down, span] = [0, 1].map(|axis| {
        let at = |pair: [u16; 2]| pair.get(axis).copied().map_or(0, usize::from);
        at(window.taps).wrapping_sub(1).wrapping_mul(at(window.dilation)).wrapping_add(1)
    });
    let filler = (packing.group as usize).wrapping_sub(1).wrapping_mul(dilation);
    let capacity = (PIXELS / span_down.max(1)).saturating_sub(filler);
    if down > MAX_DOWN || span > capacity {
        return portable(params, weights, io);
    }
    let most = ((capacity - span) / stride.max(1)).saturating_add(1);
    // SAFETY: every core this is compiled for has the instructions.
    let scale = unsafe { Scale::new(params.fast, Rounding::Double, params.output) };
    let (filters, table) = (vectors(weights.get(params.weights)), weights.get(params.columns));
    let (table, _) = number_vectors(table).as_chunks::<12>();
    let mut scratch = [const { MaybeUninit::<int8x16_t>::uninit() }; PIXELS];
    let scratch = scratch.as_mut_ptr().cast::<int8x16_t>();
    let rows = io.output.rows();
    let channels = io.output.channels();

    for start in io.output.columns().step_by(most) {
        let count = most.min(io.output.columns().end - start);
        let pixels = (count - 1) * stride + span;
        let padding = left.saturating_sub(start * stride).min(pixels);
        let first = (start * stride).saturating_sub(left);
        let inside = width.saturating_sub(first).min(pixels - padding);
        let row_len = pixels + filler;
        for channel in channels.clone().step_by(BLOCK) {
            let block = channel / BLOCK;
            let (Some(weights), Some(&[b0, b1, b2, b3, m0, m1, m2, m3, s0, s1, s2, s3])) = (
                filters.get(block * taps as usize * packing.channels as usize / BLOCK..),
                table.get(block),
            ) else {
                return;
            };
            let stored = BLOCK.min(channels.end - channel);
            let source = Source {
                input: *input,
                zero_point: params.input_zero_point,
                channel,
                channels: stored,
                width: pixels,
                left: padding,
                first,
                inside,
            };
            let mut outputs = Outputs {
                rows: [scratch; MAX_DOWN],
                stride,
                weights,
                biases: [b0, b1, b2, b3],
                multipliers: Multipliers { mantissas: [m0, m1, m2, m3], shifts: [s0, s1, s2, s3] },
                scale,
                to: core::ptr::null_mut(),
                to_step: 0,
                count,
                stored,
                params,
            };
            // The next input row to come, and the place of the first that an output row sees,
            // in rows of scratch memory.
            let (mut next, mut place) = (0, 0);
            for (line_index, y) in rows.clone().enumerate() {
                // Rows counted from the first that the first output row sees.
                let top = line_index * down_stride;
                next = next.max(top);
                while next < top + span_down {
                    let mut at = place + (next - top);
                    if at >= span_down {
                        at -= span_down;
                    }
                    let row = (rows.start * down_stride + next)
                        .checked_sub(above)
                        .filter(|&row| row < height);
                    // SAFETY: a row of `span_down` in scratch memory.
                    let to = unsafe { scratch.add(at * row_len) };
                    // SAFETY: a row has room for its pixels.
                    unsafe { source.put(to.cast(), row) };
                    next += 1;
                }
                for (tap, row) in outputs.rows.iter_mut().enumerate().take(down) {
                    let mut at = place + tap * down_step;
                    if at >= span_down {
                        at -= span_down;
                    }
                    *row = scratch.wrapping_add(at * row_len);
                }
                let cells = io.output.pixels(y, io.output.columns());
                let step = io.output.layout().pixel_stride as usize;
                let at = start * step + (channel - channels.start);
                let Some(cells) = cells.get(at..at + (count - 1) * step + stored) else { return };
                outputs.to = cells.as_ptr().cast_mut().cast();
                outputs.to_step = step;
                // SAFETY: the rows have been put there, with room for what fills up groups; the
                // cells are of this core's share.
                unsafe { line(&outputs) };
                place += down_stride;
                while place >= span_down {
                    place -= span_down;
                }
            }
        }
    }
}

impl Source<'_> {
    /// Puts `count` pixels of padding to `to`.
    ///
    /// # Safety
    ///
    /// `to` is writable for them.
    #[inline]
    unsafe fn pad(&self, to: *mut i8, count: usize) {
        let padding = from_codes([self.zero_point; BLOCK]);
        for pixel in 0..count {
            let to = to.cast::<int8x16_t>().wrapping_add(pixel);
            // SAFETY: the caller's promise.
            unsafe { to.write(padding) };
        }
    }

    /// Puts input row `row`, or padding without one, to `to`.
    ///
    /// # Safety
    ///
    /// `to` is writable for the pixels of a row.
    unsafe fn put(&self, to: *mut i8, row: Option<usize>) {
        let Layout { row_stride, pixel_stride, .. } = self.input.layout();
        let Some(row) = row.filter(|_| self.inside > 0) else {
            // SAFETY: the pixels of a row.
            return unsafe { self.pad(to, self.width) };
        };
        let right = self.left + self.inside;
        // SAFETY: the first pixels of the row.
        unsafe { self.pad(to, self.left) };
        // SAFETY: the last pixels of the row.
        unsafe { self.pad(to.wrapping_add(right * BLOCK), self.width - right) };
        let (mut to, step) = (to.wrapping_add(self.left * BLOCK), pixel_stride as usize);
        let at = row * row_stride as usize + self.first * step + self.channel;
        let Some(cells) = self.input.cells().get(at..) else { return };
        let mut from = cells.as_ptr().cast::<i8>();
        // Pairs of pixels of which whole vectors can be read.
        let pairs = match cells.len().checked_sub(BLOCK) {
            Some(len) => (len / step.max(1) + 1).min(self.inside) / 2,
            None => 0,
        };
        for _ in 0..pairs {
            // SAFETY: see `pairs`.
            let two = [(); 2].map(|()| unsafe { load(&mut from, step) });
            // SAFETY: two pixels of the row.
            unsafe { to.cast::<[int8x16_t; 2]>().write(two) };
            to = to.wrapping_add(2 * BLOCK);
        }
        for _ in 2 * pairs..self.inside {
            // SAFETY: the channels of a pixel of the input, and a pixel of the row.
            unsafe { copy(to, from, self.channels) };
            from = from.wrapping_add(step);
            to = to.wrapping_add(BLOCK);
        }
    }
}

/// Computes outputs, two at a time, with products of two taps in 16 bits: no two of the weights
/// are -128, and their zero point is 0.
///
/// # Safety
///
/// As [`Line`]; the window and its stride across are as the parameters say.
#[target_feature(enable = "neon")]
unsafe fn paired<const DOWN: usize, const ACROSS: usize, const STRIDE: usize>(
    outputs: &Outputs<'_>,
) {
    let (weights, _) = outputs.weights.as_chunks::<ACROSS>();
    let (Some(last), Some(weights)) = (outputs.count.checked_sub(2), weights.first_chunk::<DOWN>())
    else {
        // SAFETY: the caller's promise.
        return unsafe { widened(outputs) };
    };
    let mut at = 0;
    loop {
        let mut sums = [outputs.biases; 2];
        for (row, weights) in outputs.rows.iter().zip(weights) {
            let row = row.wrapping_add(at * STRIDE);
            for (i, [a, b, c, d]) in sums.iter_mut().enumerate() {
                let mut pixel = row.wrapping_add(i * STRIDE);
                for pair in weights.chunks(2) {
                    let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
                    for (tap, &weights) in pair.iter().enumerate() {
                        // SAFETY: a pixel that the window sees.
                        let codes = whole(unsafe { pixel.read() });
                        pixel = pixel.wrapping_add(1);
                        if tap == 0 {
                            low = vmull_s8(vget_low_s8(codes), vget_low_s8(weights));
                            high = vmull_high_s8(codes, weights);
                        } else {
                            low = vmlal_s8(low, vget_low_s8(codes), vget_low_s8(weights));
                            high = vmlal_high_s8(high, codes, weights);
                        }
                    }
                    *a = vaddw_s16(*a, vget_low_s16(low));
                    *b = vaddw_high_s16(*b, low);
                    *c = vaddw_s16(*c, vget_low_s16(high));
                    *d = vaddw_high_s16(*d, high);
                }
            }
        }
        // SAFETY: two of the outputs.
        unsafe { outputs.finish(sums, at) };
        if at >= last {
            return;
        }
        // An odd number of outputs ends with one that is computed again.
        at = last.min(at + 2);
    }
}

/// Computes outputs for any window and any weights, in 16 bits less their zero point.
///
/// # Safety
///
/// As [`Line`].
#[target_feature(enable = "neon")]
unsafe fn widened(outputs: &Outputs<'_>) {
    let window = &outputs.params.window;
    let [down, across] = window.taps.map(usize::from);
    let [_, step] = window.dilation.map(usize::from);
    let zero_point = vdupq_n_s16(outputs.params.weight_zero_point.into());
    for at in 0..outputs.count {
        let [mut a, mut b, mut c, mut d] = outputs.biases;
        let rows = outputs.rows.iter().take(down);
        for (row, weights) in rows.zip(outputs.weights.chunks_exact(across.max(1))) {
            let mut pixel = row.wrapping_add(at * outputs.stride);
            for &weights in weights {
                // SAFETY: a pixel that the window sees.
                let codes = unsafe { pixel.read() };
                pixel = pixel.wrapping_add(step);
                let (low, high) = (vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes));
                let w_low = vsubq_s16(vmovl_s8(vget_low_s8(weights)), zero_point);
                let w_high = vsubq_s16(vmovl_high_s8(weights), zero_point);
                a = vmlal_s16(a, vget_low_s16(low), vget_low_s16(w_low));
                b = vmlal_high_s16(b, low, w_low);
                c = vmlal_s16(c, vget_low_s16(high), vget_low_s16(w_high));
                d = vmlal_high_s16(d, high, w_high);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { outputs.finish([[a, b, c, d]], at) };
    }
}

impl Outputs<'_> {
    /// Scales the sums of outputs and stores them from output `at` on.
    ///
    /// # Safety
    ///
    /// These are some of the outputs; the core can execute the kernel's instructions.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn finish<const N: usize>(
        &self,
        sums: [[int32x4_t; 4]; N],
        at: usize,
    ) {
        // SAFETY: the core has the instructions.
        let codes = unsafe { self.scale.codes(sums, &self.multipliers) };
        let mut to = self.to.wrapping_add(at * self.to_step);
        if self.stored != BLOCK {
            // SAFETY: as above.
            let codes = codes.map(|codes| unsafe { whole(codes) });
            // SAFETY: the codes of some outputs.
            return unsafe { store_part_steps(to, self.to_step, &codes, self.stored) };
        }
        for &codes in &codes {
            // SAFETY: the codes of an output.
            unsafe { store(&mut to, codes, self.to_step) };
        }
    }
}
