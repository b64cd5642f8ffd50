//! Depthwise convolution with `sdot`: four taps of a window row at a time.
//!
//! Four pixels are interleaved, so that the four codes of a channel are adjacent. Where the
//! window is three pixels wide and moves by one, those four pixels serve two outputs: the
//! second has its weights one byte further on.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::kernels::neon::depthwise_conv_2d::{Line, Outputs, run};
use crate::kernels::neon::memory::{load_four, load_numbers};
use crate::kernels::packed::PackedDepthwiseConv2d;
use crate::kernels::{Io, Path};
use crate::weights::Weights;

/// The kernel of [`PackedDepthwiseConv2d`].
///
/// # Safety
///
/// The core has `sdot`.
pub(super) unsafe fn packed_depthwise_conv_2d(
    params: &PackedDepthwiseConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let window = &params.window;
    let line: Line = match (window.taps, window.stride, params.weight_zero_point) {
        _ if window.dilation != [1, 1] => any,
        // It has no negative code.
        (_, _, i8::MIN) => any,
        ([3, 3], [_, 1], 0) => three::<2, false>,
        ([3, 3], [_, 1], _) => three::<2, true>,
        ([3, 3], [_, 2], 0) => three::<1, false>,
        ([3, 3], [_, 2], _) => three::<1, true>,
        _ => any,
    };
    // SAFETY: the caller's promise.
    unsafe { run(Path::Dotprod, line, params, weights, io) };
}

/// Adds to each sum four products of adjacent codes and weights.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sums: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    // SAFETY: reads and writes registers only; the core has the instruction.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {codes:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// As [`dot`] for sixteen sums, with weights in the registers that [`load_four`] loads: else the
/// compiler begins with more window rows than it has registers for. `ZERO` adds the products by
/// `zero`, too.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_four<const ZERO: bool>(
    sums: &mut [int32x4_t; 4],
    weights: [int8x16_t; 4],
    zero: int8x16_t,
    codes: &[int8x16_t; 4],
) {
    if ZERO {
        for (sums, &codes) in sums.iter_mut().zip(codes) {
            *sums = dot(*sums, zero, codes);
        }
    }
    let ([a, b, c, d], [wa, wb, wc, wd], &[ca, cb, cc, cd]) = (sums, weights, codes);
    // SAFETY: reads and writes registers only; the core has the instruction.
    unsafe {
        asm!(
            "sdot {a:v}.4s, v28.16b, {ca:v}.16b",
            "sdot {b:v}.4s, v29.16b, {cb:v}.16b",
            "sdot {c:v}.4s, v30.16b, {cc:v}.16b",
            "sdot {d:v}.4s, v31.16b, {cd:v}.16b",
            a = inout(vreg) *a,
            b = inout(vreg) *b,
            c = inout(vreg) *c,
            d = inout(vreg) *d,
            in("v28") wa,
            in("v29") wb,
            in("v30") wc,
            in("v31") wd,
            ca = in(vreg) ca,
            cb = in(vreg) cb,
            cc = in(vreg) cc,
            cd = in(vreg) cd,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// Four pixels channel by channel.
#[inline]
#[target_feature(enable = "neon")]
fn interleaved([a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
    joined(vzipq_s8(a, b), vzipq_s8(c, d))
}

/// Two pixels and two pixels channel by channel, of which each two are already.
#[inline]
#[target_feature(enable = "neon")]
fn joined(ab: int8x16x2_t, cd: int8x16x2_t) -> [int8x16_t; 4] {
    let pairs = |a: int8x16_t, b: int8x16_t| {
        let pairs = vzipq_s16(vreinterpretq_s16_s8(a), vreinterpretq_s16_s8(b));
        (vreinterpretq_s8_s16(pairs.0), vreinterpretq_s8_s16(pairs.1))
    };
    let (low, high) = (pairs(ab.0, cd.0), pairs(ab.1, cd.1));
    [low.0, low.1, high.0, high.1]
}

/// What takes the weights' zero point off a window row of three taps: its negative for each, and
/// for those of the window a pixel further on.
#[inline]
#[target_feature(enable = "neon")]
fn less_zero_point(outputs: &Outputs<'_>) -> [int8x16_t; 2] {
    let code = outputs.params.weight_zero_point.wrapping_neg().cast_unsigned();
    let taps = u32::from_le_bytes([code, code, code, 0]);
    [taps, taps << 8].map(|taps| vreinterpretq_s8_u32(vdupq_n_u32(taps)))
}

/// The weights of the window a pixel further on, in the same registers as [`dot_four`]'s.
#[inline]
#[target_feature(enable = "neon")]
fn later([mut a, mut b, mut c, mut d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
    // SAFETY: reads and writes registers only.
    unsafe {
        asm!(
            "shl v28.4s, v28.4s, #8",
            "shl v29.4s, v29.4s, #8",
            "shl v30.4s, v30.4s, #8",
            "shl v31.4s, v31.4s, #8",
            inout("v28") a,
            inout("v29") b,
            inout("v30") c,
            inout("v31") d,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [a, b, c, d]
}

/// Computes outputs, four at a time while there are as many. Four pixels serve `SHARING` outputs:
/// two if the window moves by one pixel, one if it moves by two. `ZERO` says that the weights have
/// a zero point.
///
/// # Safety
///
/// As [`Line`]; the window is 3x3, moves as `SHARING` says and has no gaps.
#[target_feature(enable = "neon,dotprod")]
unsafe fn three<const SHARING: usize, const ZERO: bool>(outputs: &Outputs<'_>) {
    let (weights, _) = outputs.weights.as_chunks::<4>();
    let (Some(last), Some(weights)) = (outputs.count.checked_sub(2), weights.first_chunk::<3>())
    else {
        // SAFETY: the caller's promise.
        return unsafe { any(outputs) };
    };
    let zero = less_zero_point(outputs);
    let mut at = 0;
    while outputs.count - at >= 4 {
        // SAFETY: four of the outputs.
        unsafe { some::<SHARING, ZERO, 4>(outputs, weights, zero, at) };
        at += 4;
    }
    while at < outputs.count {
        // SAFETY: two of the outputs; of an odd number, one is computed again.
        unsafe { some::<SHARING, ZERO, 2>(outputs, weights, zero, at.min(last)) };
        at += 2;
    }
}

/// Computes `N` outputs, an even number, from output `at` on; `zero` is [`less_zero_point`].
///
/// # Safety
///
/// As [`three`]; they are some of the outputs.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn some<const SHARING: usize, const ZERO: bool, const N: usize>(
    outputs: &Outputs<'_>,
    weights: &[[int8x16_t; 4]; 3],
    [zero, later_zero]: [int8x16_t; 2],
    at: usize,
) {
    // Weights and biases are loaded where they are used: for all of them there are no registers.
    let mut sums = [[vdupq_n_s32(0); 4]; N];
    for sums in &mut sums {
        // SAFETY: four vectors.
        *sums = unsafe { load_numbers(outputs.biases.as_ptr()) };
    }
    let mut next = weights.as_ptr();
    for row in outputs.rows.iter().take(weights.len()) {
        // SAFETY: the next of `weights`.
        let weights = unsafe { load_four(&mut next) };
        let mut pixels = row.wrapping_add(at * outputs.stride);
        // SAFETY: pixels that the first window sees.
        let mut two = unsafe { load_interleaved(&mut pixels) };
        let mut codes = [[vdupq_n_s8(0); 4]; N];
        for (sums, codes) in sums.iter_mut().step_by(SHARING).zip(&mut codes) {
            // SAFETY: pixels that the windows see, or one of those behind, whose weight is zero.
            let next = unsafe { load_interleaved(&mut pixels) };
            *codes = joined(two, next);
            two = next;
            dot_four::<ZERO>(sums, weights, zero, codes);
        }
        if SHARING == 2 {
            let weights = later(weights);
            for (sums, codes) in sums.iter_mut().skip(1).step_by(2).zip(&codes) {
                dot_four::<ZERO>(sums, weights, later_zero, codes);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { outputs.finish(sums, at) };
}

/// Loads two pixels, channel by channel, and moves `from` past them.
///
/// # Safety
///
/// They are readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_interleaved(from: &mut *const int8x16_t) -> int8x16x2_t {
    // SAFETY: the caller's promise.
    let a = unsafe { from.read() };
    // SAFETY: as above.
    let b = unsafe { from.wrapping_add(1).read() };
    *from = from.wrapping_add(2);
    vzipq_s8(a, b)
}

/// Computes outputs for any window.
///
/// # Safety
///
/// As [`Line`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn any(outputs: &Outputs<'_>) {
    for at in 0..outputs.count {
        // SAFETY: one of the outputs.
        unsafe { one(outputs, at) };
    }
}

/// Computes output `at`.
///
/// # Safety
///
/// As [`Line`]; it is one of the outputs.
#[target_feature(enable = "neon,dotprod")]
unsafe fn one(outputs: &Outputs<'_>, at: usize) {
    let window = &outputs.params.window;
    let [down, across] = window.taps.map(usize::from);
    let [_, step] = window.dilation.map(usize::from);
    let mut sums = outputs.biases;
    // Of the codes, for weights whose zero point is not 0.
    let mut inputs = [vdupq_n_s32(0); 4];
    let (groups, _) = outputs.weights.as_chunks::<4>();
    for (row, groups) in
        outputs.rows.iter().zip(groups.chunks(across.div_ceil(4).max(1))).take(down)
    {
        let mut pixel = row.wrapping_add(at * outputs.stride);
        let mut left = across;
        for weights in groups {
            let mut pixels = [vdupq_n_s8(0); 4];
            for codes in &mut pixels {
                // SAFETY: a pixel that the window sees, or one of those behind.
                *codes = unsafe { pixel.read() };
                pixel = pixel.wrapping_add(step);
            }
            let codes = interleaved(pixels);
            for ((sums, &codes), &weights) in sums.iter_mut().zip(&codes).zip(weights) {
                *sums = dot(*sums, weights, codes);
            }
            if outputs.params.weight_zero_point != 0 {
                // One for each tap, none for what fills up the group.
                let taps = 0x0101_0101u32 >> (8 * 4usize.saturating_sub(left).min(3));
                let taps = vreinterpretq_s8_u32(vdupq_n_u32(taps));
                for (inputs, &codes) in inputs.iter_mut().zip(&codes) {
                    *inputs = dot(*inputs, taps, codes);
                }
            }
            left = left.saturating_sub(4);
        }
    }
    let zero_point = vdupq_n_s32(outputs.params.weight_zero_point.into());
    for (sums, &inputs) in sums.iter_mut().zip(&inputs) {
        *sums = vmlsq_s32(*sums, inputs, zero_point);
    }
    // SAFETY: the caller's promise.
    unsafe { outputs.finish([sums], at) };
}
