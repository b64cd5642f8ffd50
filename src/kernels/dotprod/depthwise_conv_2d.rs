//! Depthwise convolution with `sdot`: four taps of a window row at a time.
//!
//! Four pixels are interleaved, so that the four codes of a channel are adjacent. Where the
//! window is three pixels wide and moves by one, those four pixels serve two outputs: the
//! second has its weights one byte further on.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::kernels::neon::depthwise_conv_2d::{Line, Outputs, run};
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
        ([3, 3], [_, 1], 0) => shared::<false>,
        ([3, 3], [_, 1], _) => shared::<true>,
        ([3, 3], [_, 2], 0) => apart::<false>,
        ([3, 3], [_, 2], _) => apart::<true>,
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

/// Four pixels channel by channel.
#[inline]
#[target_feature(enable = "neon")]
fn interleaved([a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
    let (ab, cd) = (vzipq_s8(a, b), vzipq_s8(c, d));
    let pairs = |a: int8x16_t, b: int8x16_t| {
        let pairs = vzipq_s16(vreinterpretq_s16_s8(a), vreinterpretq_s16_s8(b));
        (vreinterpretq_s8_s16(pairs.0), vreinterpretq_s8_s16(pairs.1))
    };
    let (low, high) = (pairs(ab.0, cd.0), pairs(ab.1, cd.1));
    [low.0, low.1, high.0, high.1]
}

/// What takes the weights' zero point off a window row of three taps: its negative for each.
#[inline]
#[target_feature(enable = "neon")]
fn less_zero_point(outputs: &Outputs<'_>) -> int8x16_t {
    let code = outputs.params.weight_zero_point.wrapping_neg().cast_unsigned();
    vreinterpretq_s8_u32(vdupq_n_u32(u32::from_le_bytes([code, code, code, 0])))
}

/// The weights of the window a pixel further on.
#[inline]
#[target_feature(enable = "neon")]
fn later(weights: int8x16_t) -> int8x16_t {
    vreinterpretq_s8_u32(vshlq_n_u32::<8>(vreinterpretq_u32_s8(weights)))
}

/// Computes outputs, two at a time, from the same four pixels of each row. `ZERO` says that the
/// weights have a zero point.
///
/// # Safety
///
/// As [`Line`]; the window is 3x3, moves by one pixel and has no gaps.
#[target_feature(enable = "neon,dotprod")]
unsafe fn shared<const ZERO: bool>(outputs: &Outputs<'_>) {
    let (weights, _) = outputs.weights.as_chunks::<4>();
    let (Some(last), Some(weights)) = (outputs.count.checked_sub(2), weights.first_chunk::<3>())
    else {
        // SAFETY: the caller's promise.
        return unsafe { any(outputs) };
    };
    let zero = less_zero_point(outputs);
    let mut at = 0;
    loop {
        let [mut first, mut second] = [outputs.biases; 2];
        for (row, weights) in outputs.rows.iter().zip(weights) {
            let row = row.wrapping_add(at);
            let mut pixels = [vdupq_n_s8(0); 4];
            for (i, codes) in pixels.iter_mut().enumerate() {
                // SAFETY: a pixel that the windows of the two outputs see.
                *codes = unsafe { row.wrapping_add(i).read() };
            }
            let codes = interleaved(pixels);
            for (((first, second), &codes), &weights) in
                first.iter_mut().zip(&mut second).zip(&codes).zip(weights)
            {
                *first = dot(*first, weights, codes);
                *second = dot(*second, later(weights), codes);
                if ZERO {
                    *first = dot(*first, zero, codes);
                    *second = dot(*second, later(zero), codes);
                }
            }
        }
        // SAFETY: two of the outputs.
        unsafe { outputs.finish([first, second], at) };
        if at >= last {
            return;
        }
        // An odd number of outputs ends with one that is computed again.
        at = last.min(at + 2);
    }
}

/// Computes outputs, two at a time; `ZERO` is as in [`shared`].
///
/// # Safety
///
/// As [`Line`]; the window is 3x3, moves by two pixels and has no gaps.
#[target_feature(enable = "neon,dotprod")]
unsafe fn apart<const ZERO: bool>(outputs: &Outputs<'_>) {
    let (weights, _) = outputs.weights.as_chunks::<4>();
    let (Some(last), Some(weights)) = (outputs.count.checked_sub(2), weights.first_chunk::<3>())
    else {
        // SAFETY: the caller's promise.
        return unsafe { any(outputs) };
    };
    let zero = less_zero_point(outputs);
    let mut at = 0;
    loop {
        let mut sums = [outputs.biases; 2];
        for (row, weights) in outputs.rows.iter().zip(weights) {
            let mut pixel = row.wrapping_add(2 * at);
            for sums in &mut sums {
                let mut pixels = [vdupq_n_s8(0); 3];
                for (i, codes) in pixels.iter_mut().enumerate() {
                    // SAFETY: a pixel that the window sees.
                    *codes = unsafe { pixel.wrapping_add(i).read() };
                }
                pixel = pixel.wrapping_add(2);
                let [a, b, c] = pixels;
                // Any pixel may be the fourth: its weight is zero.
                let codes = interleaved([a, b, c, c]);
                for ((sums, &codes), &weights) in sums.iter_mut().zip(&codes).zip(weights) {
                    *sums = dot(*sums, weights, codes);
                    if ZERO {
                        *sums = dot(*sums, zero, codes);
                    }
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
