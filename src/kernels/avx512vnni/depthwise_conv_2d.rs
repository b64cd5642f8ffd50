//! Depthwise convolutions, 16 channels at a time.
//!
//! A *quad* is four neighbouring pixels of 16 channels with the four codes of each channel side
//! by side, so that one `VPDPBUSD` multiplies them with the taps of a window row. Outputs are
//! computed down the columns of the image, two columns at a time under a 3x3 window: where that
//! moves by one pixel, a quad serves both, for three rows of outputs; where it moves by two, every
//! other quad serves two rows.

use core::arch::x86_64::*;
use core::hint::black_box;
use core::ops::Range;

use super::requantize::{Codes, Columns, Fast, double, moved};
use super::vector::{self, first, flip, load_codes};
use crate::kernels::packed::{DepthwisePacking, PackedDepthwiseConv2d};
use crate::kernels::x86::{BIAS, Exact, MANTISSA, Rectified, SHIFT, Sequence, Short};
use crate::kernels::{Io, Path, Window};
use crate::weights::Weights;

/// Channels of a block.
const CHANNELS: usize = 16;

/// Pixels of a quad.
const QUAD: usize = 4;

/// Most quads of a window row.
const MAX_QUADS: usize = 4;

/// Output rows that are computed column by column before the next rows begin, so that what
/// neighbouring columns share stays in the cache.
const BAND: usize = 16;

/// Whether [`depthwise`] can compute the layer.
pub(super) fn fits(window: &Window) -> bool {
    usize::from(window.taps[1]) <= QUAD * MAX_QUADS
}

/// The kernel of [`PackedDepthwiseConv2d`] for windows that [`fits`].
///
/// # Safety
///
/// The core can execute the path.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn depthwise(params: &PackedDepthwiseConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(packing) = DepthwisePacking::of(Path::Avx512Vnni) else { return };
    let layout = input.layout();
    let (Some(cells), Some(written)) = (input.cells().first(), io.output.cells().first()) else {
        return;
    };
    let window = &params.window;
    let [down, across] = window.taps.map(usize::from);
    let dense = window.taps == [3, 3] && window.dilation == [1, 1];
    let form = match window.stride {
        [1, 1] if dense => Form::Roll,
        [2, 2] if dense => Form::Stride,
        _ => Form::Walk,
    };
    let compute = match (params.fast, params.weight_zero_point != 0) {
        (true, false) if params.output.rectifies() => form.strip::<Rectified, false>(),
        (true, false) => form.strip::<Short, false>(),
        (true, true) if params.output.rectifies() => form.strip::<Rectified, true>(),
        (true, true) => form.strip::<Short, true>(),
        (false, false) => form.strip::<Exact, false>(),
        (false, true) => form.strip::<Exact, true>(),
    };
    // The columns under the quads, from that under the first tap.
    let (outputs, under): (usize, &[usize]) = match form {
        Form::Roll => (2, &[0, 1, 2, 3]),
        Form::Stride => (2, &[0, 1, 2, 3, 2, 3, 4, 5]),
        Form::Walk => (1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    };
    let under = if form == Form::Walk { under.get(..across).unwrap_or(&[]) } else { under };

    let (filters, table) = (weights.get(params.weights), weights.get(params.columns));
    let filter = down * across.div_ceil(QUAD);
    let numbers = CHANNELS * packing.parameters as usize;
    let zeros = [params.input_zero_point; CHANNELS];
    let padding = Pixel { start: zeros.as_ptr(), row_step: 0, channel_step: 0 };
    let order = Order::new();
    let target = io.output.layout();
    let [to_row, to_pixel] = [target.row_stride, target.pixel_stride].map(|n| n as usize);
    let (rows, columns, channels) = (io.output.rows(), io.output.columns(), io.output.channels());
    for start in rows.clone().step_by(BAND) {
        for x in columns.clone().step_by(outputs) {
            let mut strip = Strip {
                params,
                order,
                height: layout.hwc.h as usize,
                quads: [[padding; QUAD]; MAX_QUADS],
                rows: start..(start + BAND).min(rows.end),
                to: [core::ptr::null_mut(); 2],
                columns: columns.end - x,
                to_step: to_row,
            };
            for (pixel, &tap) in strip.quads.as_flattened_mut().iter_mut().zip(under) {
                let at = x * usize::from(window.stride[1]) + tap * usize::from(window.dilation[1]);
                let at = at.checked_sub(window.pad[1].into());
                if let Some(at) = at.filter(|&at| at < layout.hwc.w as usize) {
                    let start = cells.as_ptr().cast::<i8>();
                    let start = start.wrapping_add(at * layout.pixel_stride as usize);
                    *pixel = Pixel { start, row_step: layout.row_stride as usize, channel_step: 1 };
                }
            }
            for channel in channels.clone().step_by(CHANNELS) {
                let block = channel / CHANNELS;
                let filter = filters.as_chunks().0.get(block * filter..(block + 1) * filter);
                let table = table.get(block * numbers..(block + 1) * numbers);
                let columns = table.and_then(Columns::new);
                let (Some(filter), Some(columns)) = (filter, columns) else { return };
                let block = Block {
                    channel,
                    filter,
                    columns,
                    present: first((channels.end - channel).min(CHANNELS)) as __mmask16,
                };
                let offset = (start - rows.start) * to_row + x * to_pixel;
                let to = written.as_ptr().wrapping_add(offset + channel - channels.start);
                strip.to = [to, to.wrapping_add(to_pixel)];
                // SAFETY: pixels inside the image are readable, and outputs in this core's share
                // writable, for the channels of the block.
                unsafe { compute(&strip, &block) };
            }
        }
    }
}

/// How a strip is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Two columns under a 3x3 window that moves by one.
    Roll,
    /// Two columns under a 3x3 window that moves by two.
    Stride,
    /// One column under any window.
    Walk,
}

impl Form {
    fn strip<S: Sequence, const ZERO: bool>(self) -> unsafe fn(&Strip<'_>, &Block<'_>) {
        match self {
            Self::Roll => roll::<S, ZERO>,
            Self::Stride => stride::<S, ZERO>,
            Self::Walk => walk::<S, ZERO>,
        }
    }
}

/// A column of the input, or padding.
#[derive(Clone, Copy)]
struct Pixel {
    /// The first channel in row 0.
    start: *const i8,
    /// Bytes from a row to the next.
    row_step: usize,
    /// Bytes from a channel to the next.
    channel_step: usize,
}

impl Pixel {
    /// Where the channels of `block` begin in row `row`, which may lie outside the image.
    #[inline]
    fn at(&self, row: usize, block: &Block<'_>) -> *const i8 {
        let offset = row.wrapping_mul(self.row_step);
        self.start.wrapping_add(offset.wrapping_add(block.channel * self.channel_step))
    }
}

/// How the four codes of a channel come together.
#[derive(Clone, Copy)]
struct Order {
    /// Brings channels `4 l` to `4 l + 3` of all pixels to lane `l` of 128 bits.
    lanes: __m512i,
    /// Brings those of a channel together in its lane.
    bytes: __m512i,
}

impl Order {
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        let lanes = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let bytes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        // The compiler would make five shuffles of two that it knows.
        black_box(Self { lanes, bytes: _mm512_broadcast_i32x4(bytes) })
    }
}

/// Neighbouring columns of outputs, one or two.
struct Strip<'a> {
    params: &'a PackedDepthwiseConv2d,
    order: Order,
    /// Rows of the input.
    height: usize,
    /// The input columns under the window.
    quads: [[Pixel; QUAD]; MAX_QUADS],
    /// Rows to write.
    rows: Range<usize>,
    /// Where the first row of each column goes.
    to: [*mut i8; 2],
    /// Columns to write.
    columns: usize,
    /// Bytes from a row to the next there.
    to_step: usize,
}

/// The quads under one window, row after row of the input.
struct Rows<'a> {
    strip: &'a Strip<'a>,
    block: &'a Block<'a>,
    pixels: [Pixel; QUAD],
    /// Where the channels of the next row begin.
    starts: [*const i8; QUAD],
    /// The next row; those above the image are beyond its last.
    row: usize,
}

impl<'a> Rows<'a> {
    /// From the first row on that the strip's outputs need.
    #[inline]
    fn new(strip: &'a Strip<'a>, pixels: [Pixel; QUAD], block: &'a Block<'a>) -> Self {
        let Window { stride: [stride, _], pad: [pad, _], .. } = strip.params.window;
        let row = (strip.rows.start * usize::from(stride)).wrapping_sub(pad.into());
        Self { strip, block, pixels, starts: pixels.map(|pixel| pixel.at(row, block)), row }
    }

    /// The next row's.
    ///
    /// # Safety
    ///
    /// The pixels are readable for the channels of the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn next(&mut self) -> __m512i {
        let quad = match self.row < self.strip.height {
            // SAFETY: the caller's promise.
            true => unsafe { self.strip.quad_at(self.starts, self.block) },
            false => self.strip.padding(),
        };
        self.row = self.row.wrapping_add(1);
        for (start, pixel) in self.starts.iter_mut().zip(&self.pixels) {
            *start = start.wrapping_add(pixel.row_step);
        }
        quad
    }
}

/// Sixteen channels, or what is left of them.
struct Block<'a> {
    /// The first.
    channel: usize,
    /// A vector per quad of taps.
    filter: &'a [vector::Codes],
    columns: Columns<'a, 1>,
    /// Which there are.
    present: __mmask16,
}

impl Strip<'_> {
    /// The input row under tap row `tap` of output row `y`, or None in the padding.
    #[inline]
    fn source(&self, y: usize, tap: usize) -> Option<usize> {
        let Window { stride: [stride, _], dilation: [dilation, _], pad: [pad, _], .. } =
            self.params.window;
        let at = y * usize::from(stride) + tap * usize::from(dilation);
        at.checked_sub(pad.into()).filter(|&at| at < self.height)
    }

    /// The quad `pixels` in input row `row`, or one of padding.
    ///
    /// # Safety
    ///
    /// The pixels are readable for the channels of `block`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn quad(
        &self,
        pixels: &[Pixel; QUAD],
        row: Option<usize>,
        block: &Block<'_>,
    ) -> __m512i {
        let Some(row) = row else { return self.padding() };
        // SAFETY: the caller's promise.
        unsafe { self.quad_at(pixels.each_ref().map(|pixel| pixel.at(row, block)), block) }
    }

    /// A quad of padding.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn padding(&self) -> __m512i {
        flip(_mm512_set1_epi8(self.params.input_zero_point))
    }

    /// The quad of the pixels at `starts`.
    ///
    /// # Safety
    ///
    /// They are readable for the channels of `block`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn quad_at(&self, starts: [*const i8; QUAD], block: &Block<'_>) -> __m512i {
        // SAFETY: the caller's promise.
        let [a, b, c, d] =
            starts.map(|start| unsafe { _mm_maskz_loadu_epi8(block.present, start) });
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
        let pixels = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        let lanes = _mm512_permutexvar_epi32(self.order.lanes, pixels);
        flip(_mm512_shuffle_epi8(lanes, self.order.bytes))
    }
}

/// What makes codes of the sums of a block.
struct Finish<S> {
    fast: Fast<S>,
    mantissas: __m512i,
    shifts: __m512i,
    codes: Codes<1>,
}

impl<S: Sequence> Finish<S> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn new(params: &PackedDepthwiseConv2d, columns: Columns<'_, 1>) -> Self {
        let ([mantissas], [shifts]) = (columns.row::<MANTISSA>(), columns.row::<SHIFT>());
        let (fast, codes) = (Fast::new(columns, 0), Codes::new(params.output));
        Self { fast, mantissas, shifts, codes }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn steps(&self, sums: __m512i) -> __m512i {
        if S::FAST { self.fast.scaled(sums) } else { double(sums, self.mantissas, self.shifts) }
    }
}

/// Minus the zero point of the weights times the sum of the `taps` of a quad that are marked by
/// ones; 0 without a zero point.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn zero_products<const ZERO: bool>(quad: __m512i, ones: __m512i, zero_point: i8) -> __m512i {
    let none = _mm512_setzero_si512();
    if !ZERO {
        return none;
    }
    // No more than 4 * 255, so that 16-bit products are enough.
    let negative = _mm512_set1_epi32(i32::from(zero_point).wrapping_neg() & 0xFFFF);
    _mm512_madd_epi16(_mm512_dpbusd_epi32(none, quad, ones), negative)
}

/// A one for each of the first `taps` of a quad.
#[inline]
#[target_feature(enable = "avx512f")]
fn ones(taps: usize) -> __m512i {
    let all = 0x0101_0101u32;
    let marks = if taps < QUAD { all & ((1 << (8 * taps)) - 1) } else { all };
    _mm512_set1_epi32(marks.cast_signed())
}

/// The biases of a block, for the fast form [`moved`]: codes come moved up by 128, which the packer
/// has only considered for the weights, not for their zero point.
#[inline]
#[target_feature(enable = "avx512f")]
fn biases<S: Sequence>(params: &PackedDepthwiseConv2d, block: &Block<'_>) -> __m512i {
    let [biases] = block.columns.row::<BIAS>();
    let taps = params.window.taps.iter().map(|&n| i32::from(n)).product::<i32>();
    let up = taps.wrapping_mul(i32::from(params.weight_zero_point) << 7);
    let biases = _mm512_add_epi32(biases, _mm512_set1_epi32(up));
    if S::FAST { moved(biases) } else { biases }
}

/// The taps of a 3x3 window with the zero point taken from each; None where one would not be a code.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn without_zero_point(taps: [__m512i; 3], zero_point: i8) -> Option<[__m512i; 3]> {
    let marks = _mm512_movepi8_mask(_mm512_slli_epi16::<7>(ones(3)));
    let zeros = _mm512_maskz_set1_epi8(marks, zero_point);
    let fits = |taps| {
        let (exact, saturated) = (_mm512_sub_epi8(taps, zeros), _mm512_subs_epi8(taps, zeros));
        _mm512_cmpneq_epi8_mask(exact, saturated) == 0
    };
    taps.into_iter().all(fits).then(|| taps.map(|taps| _mm512_sub_epi8(taps, zeros)))
}

/// A strip of two columns under a 3x3 window.
///
/// # Safety
///
/// The pixels are readable and the outputs writable for the channels of `block`, the latter in
/// all rows; the core can execute the path.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn roll<S: Sequence, const ZERO: bool>(strip: &Strip<'_>, block: &Block<'_>) {
    let &[first, second, third] = block.filter else { return };
    let taps = [load_codes(&first), load_codes(&second), load_codes(&third)];
    match without_zero_point(taps, strip.params.weight_zero_point) {
        // SAFETY: the caller's promise.
        Some(taps) if ZERO => unsafe { roll_by::<S, false>(strip, block, taps) },
        // SAFETY: the caller's promise.
        _ => unsafe { roll_by::<S, ZERO>(strip, block, taps) },
    }
}

/// # Safety
///
/// As [`roll`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn roll_by<S: Sequence, const ZERO: bool>(
    strip: &Strip<'_>,
    block: &Block<'_>,
    taps: [__m512i; 3],
) {
    let &[pixels, ..] = &strip.quads;
    let params = strip.params;
    let finish = Finish::<S>::new(params, block.columns);
    let biases = biases::<S>(params, block);
    // The taps of the first output, then those of the second, one pixel on.
    let mut weights = [[biases; 2]; 3];
    for (weights, taps) in weights.iter_mut().zip(taps) {
        *weights = [taps, _mm512_slli_epi32::<8>(taps)];
    }
    let ones = [ones(3), _mm512_slli_epi32::<8>(ones(3))];
    let [top, middle, bottom] = weights;
    // Outputs of which the first row of taps is done, and the first two.
    let (mut one, mut two) = ([biases; 2], [biases; 2]);
    let mut to = strip.to;
    let masks = [block.present, if strip.columns > 1 { block.present } else { 0 }];
    let mut quads = Rows::new(strip, pixels, block);
    for row in 0..strip.rows.len() + 2 {
        // SAFETY: the caller's promise.
        let quad = unsafe { quads.next() };
        let mut done = two;
        for i in 0..2 {
            let zero = zero_products::<ZERO>(quad, ones[i], params.weight_zero_point);
            let add = |sums, taps| _mm512_dpbusd_epi32(_mm512_add_epi32(sums, zero), quad, taps);
            done[i] = add(two[i], bottom[i]);
            two[i] = add(one[i], middle[i]);
            one[i] = add(biases, top[i]);
        }
        if row >= 2 {
            let [a, b] = done;
            let (a, b) = (finish.steps(a), finish.steps(b));
            // SAFETY: the caller's promise.
            unsafe { finish.codes.store_pair([a, b], to, masks) };
            to = to.map(|to| to.wrapping_add(strip.to_step));
        }
    }
}

/// A strip of two columns under a 3x3 window that moves by two.
///
/// # Safety
///
/// As [`roll`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn stride<S: Sequence, const ZERO: bool>(strip: &Strip<'_>, block: &Block<'_>) {
    let &[first, second, third] = block.filter else { return };
    let taps = [load_codes(&first), load_codes(&second), load_codes(&third)];
    match without_zero_point(taps, strip.params.weight_zero_point) {
        // SAFETY: the caller's promise.
        Some(taps) if ZERO => unsafe { stride_by::<S, false>(strip, block, taps) },
        // SAFETY: the caller's promise.
        _ => unsafe { stride_by::<S, ZERO>(strip, block, taps) },
    }
}

/// # Safety
///
/// As [`roll`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn stride_by<S: Sequence, const ZERO: bool>(
    strip: &Strip<'_>,
    block: &Block<'_>,
    [top, middle, bottom]: [__m512i; 3],
) {
    let &[first_pixels, second_pixels, ..] = &strip.quads;
    let params = strip.params;
    let finish = Finish::<S>::new(params, block.columns);
    let biases = biases::<S>(params, block);
    let ones = ones(3);
    let add = |sums, quad, taps| {
        let zero = zero_products::<ZERO>(quad, ones, params.weight_zero_point);
        _mm512_dpbusd_epi32(_mm512_add_epi32(sums, zero), quad, taps)
    };
    let mut to = strip.to;
    let masks = [block.present, if strip.columns > 1 { block.present } else { 0 }];
    // Outputs of which the first row of taps is done.
    let mut one = [biases; 2];
    let mut quads = [first_pixels, second_pixels].map(|pixels| Rows::new(strip, pixels, block));
    for (sums, quads) in one.iter_mut().zip(&mut quads) {
        // SAFETY: the caller's promise.
        let quad = unsafe { quads.next() };
        *sums = add(biases, quad, top);
    }
    for _ in strip.rows.clone() {
        let mut done = one;
        for i in 0..2 {
            // SAFETY: the caller's promise.
            let quad = unsafe { quads[i].next() };
            let sums = add(one[i], quad, middle);
            // SAFETY: as above.
            let quad = unsafe { quads[i].next() };
            done[i] = finish.steps(add(sums, quad, bottom));
            one[i] = add(biases, quad, top);
        }
        // SAFETY: the caller's promise.
        unsafe { finish.codes.store_pair(done, to, masks) };
        to = to.map(|to| to.wrapping_add(strip.to_step));
    }
}

/// A strip of one column under any window.
///
/// # Safety
///
/// As [`roll`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn walk<S: Sequence, const ZERO: bool>(strip: &Strip<'_>, block: &Block<'_>) {
    let params = strip.params;
    let across = usize::from(params.window.taps[1]);
    let finish = Finish::<S>::new(params, block.columns);
    let biases = biases::<S>(params, block);
    let [mut to, _] = strip.to;
    for y in strip.rows.clone() {
        let mut sums = biases;
        for (tap, filter) in block.filter.chunks(across.div_ceil(QUAD)).enumerate() {
            let source = strip.source(y, tap);
            for (i, (taps, pixels)) in filter.iter().zip(&strip.quads).enumerate() {
                // SAFETY: the caller's promise.
                let quad = unsafe { strip.quad(pixels, source, block) };
                let ones = ones(across - i * QUAD);
                let zero = zero_products::<ZERO>(quad, ones, params.weight_zero_point);
                sums = _mm512_dpbusd_epi32(_mm512_add_epi32(sums, zero), quad, load_codes(taps));
            }
        }
        let steps = finish.steps(sums);
        // SAFETY: the caller's promise.
        unsafe { finish.codes.store([steps], to, block.present.into()) };
        to = to.wrapping_add(strip.to_step);
    }
}
