//! Loads, stores and copies: all of the path's accesses to memory.

use core::arch::x86_64::*;

use crate::kernels::packed::form::Pieces;
use crate::kernels::packed::place::Group;

/// Bytes of a vector.
pub(super) const BYTES: usize = 32;

/// Numbers of a vector.
pub(super) const LANES: usize = BYTES / 4;

/// A vector of the table of columns.
pub(super) type Numbers = [i32; LANES];

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_weights(weights: &Group) -> __m256i {
    // SAFETY: the reference is readable for 32 bytes.
    unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_numbers(numbers: &Numbers) -> __m256i {
    // SAFETY: the reference is readable for 32 bytes.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

/// The first `len` of 16 codes; what is behind them means nothing.
///
/// # Safety
///
/// `from` is readable for `len` bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load(from: *const i8, len: usize) -> __m128i {
    match len {
        // SAFETY: the caller's promise.
        16.. => unsafe { _mm_loadu_si128(from.cast()) },
        // SAFETY: the caller's promise.
        8 => unsafe { _mm_loadl_epi64(from.cast()) },
        _ => {
            let mut codes = [0i8; 16];
            // SAFETY: the caller's promise; an array of this function overlaps with nothing.
            unsafe { codes.as_mut_ptr().copy_from_nonoverlapping(from, len) };
            // SAFETY: an array of 16 bytes.
            unsafe { _mm_loadu_si128(codes.as_ptr().cast()) }
        }
    }
}

/// Stores the first `len` of 16 codes.
///
/// # Safety
///
/// `to` is writable for `len` bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store(to: *mut i8, codes: __m128i, len: usize) {
    match len {
        // SAFETY: the caller's promise.
        16.. => unsafe { _mm_storeu_si128(to.cast(), codes) },
        // SAFETY: the caller's promise.
        8 => unsafe { _mm_storel_epi64(to.cast(), codes) },
        _ => {
            let mut all = [0i8; 16];
            // SAFETY: an array of 16 bytes.
            unsafe { _mm_storeu_si128(all.as_mut_ptr().cast(), codes) };
            // SAFETY: `len` is below 16, and an array of this function overlaps with nothing.
            unsafe { to.copy_from_nonoverlapping(all.as_ptr(), len) };
        }
    }
}

/// Eight codes as numbers.
///
/// # Safety
///
/// `from` is readable for 8 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn widen(from: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(from.cast()) })
}

/// Stores 32 codes.
///
/// # Safety
///
/// `to` is writable for as many bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store_all(to: *mut i8, codes: __m256i) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_si256(to.cast(), codes) }
}

/// Copies pieces of codes, moved up by 128.
///
/// # Safety
///
/// Every piece is readable where it is and writable where it goes; they do not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn copy(to: *mut i8, from: *const i8, pieces: Pieces) {
    let Pieces { len, count, from_step, to_step } = pieces;
    if len == from_step && len == to_step && count > 1 {
        let all = Pieces { len: len * count, count: 1, ..pieces };
        // SAFETY: all pieces, which are adjacent.
        return unsafe { copy(to, from, all) };
    }
    for i in 0..count {
        // SAFETY: where a piece is read.
        let from = unsafe { from.add(i * from_step) };
        // SAFETY: where it is written.
        let to = unsafe { to.add(i * to_step) };
        if len < BYTES {
            for at in 0..len {
                // SAFETY: inside the piece.
                let source = unsafe { from.add(at) };
                // SAFETY: as above.
                let code = unsafe { source.read() };
                // SAFETY: as above.
                let target = unsafe { to.add(at) };
                // SAFETY: as above.
                unsafe { target.write(code ^ i8::MIN) };
            }
            continue;
        }
        for at in (0..len).step_by(BYTES) {
            // The last vector may have codes of the one before.
            let at = at.min(len - BYTES);
            // SAFETY: a vector inside the piece.
            let source = unsafe { from.add(at) };
            // SAFETY: as above.
            let codes = unsafe { _mm256_loadu_si256(source.cast()) };
            let codes = _mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN));
            // SAFETY: as above.
            let target = unsafe { to.add(at) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(target.cast(), codes) };
        }
    }
}
