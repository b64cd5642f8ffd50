//! RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR, sixteen channels at a time.

use core::arch::aarch64::*;

use super::elementwise::each_vector;
use super::memory;
use crate::kernels::Io;
use crate::kernels::reference::{
    self, Interpolation, ResizeBilinear, ResizeNearestNeighbor, WAY_BITS,
};
use crate::weights::Weights;

/// The kernel of [`ResizeNearestNeighbor`].
pub(super) fn resize_nearest_neighbor(
    params: &ResizeNearestNeighbor,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let (rows, columns) = (weights.get(params.rows), weights.get(params.columns));
    for y in io.output.rows() {
        let Some(&row) = rows.get(y) else { return };
        for (x, &column) in io.output.columns().zip(columns) {
            let Some(([from], to, len)) = pixel(io, [y, x], [(row, column)]) else { return };
            // SAFETY: channels of a pixel of the input and of this core's share of the output;
            // every core this is compiled for has the instructions.
            unsafe { memory::copy(to, from, len) };
        }
    }
}

/// The kernel of [`ResizeBilinear`].
pub(super) fn resize_bilinear(params: &ResizeBilinear, weights: &Weights<'_>, io: &Io<'_>) {
    if params.interpolation != Interpolation::Fixed {
        return reference::resize_bilinear(params, weights, io);
    }
    let (rows, columns) = (weights.get(params.rows), weights.get(params.columns));
    let ((rows, _), (columns, _)) = (rows.as_chunks::<3>(), columns.as_chunks::<3>());
    for y in io.output.rows() {
        let Some(&[above, below, down]) = rows.get(y) else { return };
        for (x, &[left, right, across]) in io.output.columns().zip(columns) {
            let corners = [(above, left), (above, right), (below, left), (below, right)];
            let Some((from, to, len)) = pixel(io, [y, x], corners) else { return };
            // SAFETY: channels of pixels of the input and of this core's share of the output; every
            // core this is compiled for has the instructions.
            unsafe { interpolate([down, across], from, to, len) };
        }
    }
}

/// Where the channels of this core begin in `N` pixels of the input and in pixel (`y`, `x`) of the
/// output, and how many they are.
#[inline]
fn pixel<const N: usize>(
    io: &Io<'_>,
    [y, x]: [usize; 2],
    places: [(i32, i32); N],
) -> Option<([*const i8; N], *mut i8, usize)> {
    let [input] = io.inputs.as_slice() else { return None };
    let cells = io.output.pixel(y, x);
    let mut from = [core::ptr::null(); N];
    for (from, (row, column)) in from.iter_mut().zip(places) {
        let column = column as usize;
        let pixel = input.pixel_cells(row as usize, column..column.wrapping_add(1));
        let channels = pixel.get(io.output.channels())?;
        *from = channels.as_ptr().cast::<i8>();
    }
    Some((from, cells.as_ptr().cast_mut().cast(), cells.len()))
}

/// Computes `len` channels from those of four pixels, the upper ones first.
///
/// # Safety
///
/// As many are readable in `from` and writable at `to`.
#[target_feature(enable = "neon")]
unsafe fn interpolate(ways: [i32; 2], from: [*const i8; 4], to: *mut i8, len: usize) {
    let one = 1i32 << WAY_BITS;
    let [down, across] = ways;
    // No more than 2048, as the ways are checked.
    let columns = [vdupq_n_s16((one - across) as i16), vdupq_n_s16(across as i16)];
    let rows = [vdupq_n_s32(one - down), vdupq_n_s32(down)];
    let codes = |corners| between(rows, columns, corners);
    // SAFETY: the caller's promise.
    unsafe { each_vector(from, to, len, codes) };
}

/// What lies between four codes for each of sixteen channels.
#[inline]
#[target_feature(enable = "neon")]
fn between(
    [up, down]: [int32x4_t; 2],
    columns: [int16x8_t; 2],
    [a, b, c, d]: [int8x16_t; 4],
) -> int8x16_t {
    let (top, bottom) = (across(columns, [a, b]), across(columns, [c, d]));
    let mut sums = top;
    for (sums, bottom) in sums.iter_mut().zip(bottom) {
        let sum = vmlaq_s32(vmulq_s32(*sums, up), bottom, down);
        // Halves of negative numbers go down.
        *sums = vrshrq_n_s32::<{ 2 * WAY_BITS as i32 }>(vsraq_n_s32::<31>(sum, sum));
    }
    let [a, b, c, d] = sums;
    let low = vmovn_high_s32(vmovn_s32(a), b);
    let high = vmovn_high_s32(vmovn_s32(c), d);
    vmovn_high_s16(vmovn_s16(low), high)
}

/// What lies between two codes of a row, times [`WAY_BITS`] bits.
#[inline]
#[target_feature(enable = "neon")]
fn across([back, across]: [int16x8_t; 2], [left, right]: [int8x16_t; 2]) -> [int32x4_t; 4] {
    let halves = |codes| [vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes)];
    let ([a, c], [b, d]) = (halves(left), halves(right));
    let sum = |left, right| {
        let low = vmull_s16(vget_low_s16(left), vget_low_s16(back));
        [
            vmlal_s16(low, vget_low_s16(right), vget_low_s16(across)),
            vmlal_high_s16(vmull_high_s16(left, back), right, across),
        ]
    };
    let ([a, b], [c, d]) = (sum(a, b), sum(c, d));
    [a, b, c, d]
}
