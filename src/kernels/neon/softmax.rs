//! SOFTMAX, sixteen channels at a time.

use core::arch::aarch64::*;

use super::memory::{from_numbers, load_next, store_next, to_bytes};
use super::scale::Scale;
use crate::kernels::Io;
use crate::kernels::packed::Rounding;
use crate::kernels::reference::{self, Exponentials, SUM_INTEGER_BITS, Softmax, SoftmaxScale};
use crate::quant::Output;
use crate::weights::Weights;

/// Codes of a vector.
const LANES: usize = 16;

/// The kernel of [`Softmax`].
pub(super) fn softmax(params: &Softmax, weights: &Weights<'_>, io: &Io<'_>) {
    let ([input], Some(table)) = (io.inputs.as_slice(), Exponentials::of(params, weights)) else {
        return;
    };
    let len = io.output.channels().len();
    if len < LANES {
        return reference::softmax(params, weights, io);
    }
    for y in io.output.rows() {
        for x in io.output.columns() {
            let (from, to) = (input.pixel_cells(y, x..x + 1), io.output.pixel(y, x));
            if from.len() != len || to.len() != len {
                return;
            }
            let (from, to) = (from.as_ptr().cast::<i8>(), to.as_ptr().cast_mut().cast::<i8>());
            // SAFETY: the channels of a pixel of the input and of this core's share of the output;
            // every core this is compiled for has the instructions.
            unsafe { pixel(table, from, to, len) };
        }
    }
}

/// Computes a pixel of `len` channels, at least [`LANES`].
///
/// # Safety
///
/// They are readable at `from` and writable at `to`.
#[target_feature(enable = "neon")]
unsafe fn pixel(table: Exponentials<'_>, from: *const i8, to: *mut i8, len: usize) {
    let load = |start: usize| {
        let mut from = from.wrapping_add(start);
        // SAFETY: a vector of the channels.
        unsafe { load_next(&mut from) }
    };
    // The last vector may repeat some of the one before.
    let starts = || (0..len).step_by(LANES).map(|start| start.min(len - LANES));
    let mut largest = vdupq_n_s8(i8::MIN);
    for start in starts() {
        largest = vmaxq_s8(largest, load(start));
    }
    let max = vmaxvq_s8(largest);
    let mut sums = vdupq_n_s32(0);
    for start in (0..len / LANES).map(|vector| vector * LANES) {
        for exponentials in look_up(table, max, load(start)) {
            // Never negative, so that half is rounded up.
            sums = vrsraq_n_s32::<{ SUM_INTEGER_BITS as i32 }>(sums, exponentials);
        }
    }
    let mut sum = vaddvq_s32(sums);
    for channel in len - len % LANES..len {
        // SAFETY: one of the channels.
        let code = unsafe { from.wrapping_add(channel).read() };
        sum = sum.wrapping_add(table.part(max, code));
    }
    let SoftmaxScale { reciprocal, shift } = SoftmaxScale::of(sum);
    let (reciprocal, shift) = (vdupq_n_s32(reciprocal), vdupq_n_s32(-(shift as i32)));
    let output = Output { zero_point: i8::MIN, min: i8::MIN, max: i8::MAX };
    let scale = Scale::new(true, Rounding::Double, output);
    for start in starts() {
        let exponentials = look_up(table, max, load(start));
        let steps = exponentials.map(|e| vrshlq_s32(vqrdmulhq_s32(e, reciprocal), shift));
        let [codes] = scale.narrowed::<false, _>([steps]);
        // SAFETY: a vector of the channels.
        unsafe { store_next(&mut to.wrapping_add(start), codes) };
    }
}

/// The exponentials of sixteen codes.
#[inline]
#[target_feature(enable = "neon")]
fn look_up(Exponentials(table): Exponentials<'_>, max: i8, codes: int8x16_t) -> [int32x4_t; 4] {
    let below = to_bytes(vsubq_u8(vdupq_n_u8(max.cast_unsigned()), vreinterpretq_u8_s8(codes)));
    from_numbers(below.map(|below| table[usize::from(below)]))
}
