//! Inputs that are copied for the paths of Arm: codes as they are.

use core::arch::aarch64::*;

use super::memory::{self, from_codes, load_next};
use crate::kernels::packed::form::{InputForm, Pieces};

/// Codes as they are.
#[derive(Debug)]
pub(in crate::kernels) struct Codes;

// SAFETY: what is copied and filled is as long as asked.
unsafe impl InputForm for Codes {
    #[inline]
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { memory::copy(to, from, len) };
    }

    unsafe fn copy_pieces(to: *mut i8, from: *const i8, pieces: Pieces) {
        // SAFETY: the caller's promise.
        unsafe { memory::copy_pieces(to, from, pieces) };
    }

    unsafe fn fill(to: *mut i8, code: i8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { memory::fill(to, code, len) };
    }

    unsafe fn sum(from: *const i8, len: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { sum(from, len) }
    }
}

/// The sum of `len` codes.
///
/// # Safety
///
/// As many codes as fill whole vectors are readable at `from`.
#[target_feature(enable = "neon")]
unsafe fn sum(mut from: *const i8, len: usize) -> i32 {
    let mut sums = vdupq_n_s32(0);
    for _ in 0..len / 16 {
        // SAFETY: 16 of the codes.
        sums = vpadalq_s16(sums, vpaddlq_s8(unsafe { load_next(&mut from) }));
    }
    let rest = len % 16;
    if rest > 0 {
        let places = from_codes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let counts = vcltq_s8(places, vdupq_n_s8(rest as i8));
        // SAFETY: as above.
        let codes = vandq_s8(unsafe { load_next(&mut from) }, vreinterpretq_s8_u8(counts));
        sums = vpadalq_s16(sums, vpaddlq_s8(codes));
    }
    vaddvq_s32(sums)
}
