//! Loads, stores and copies: all of the path's accesses to memory.

use core::arch::x86_64::*;

/// Channels or columns that are computed together.
pub(super) const CHANNELS: usize = 16;

/// Numbers of a vector.
pub(super) const LANES: usize = 8;

/// A vector of the table of columns.
pub(super) type Numbers = [i32; LANES];

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_numbers(numbers: &Numbers) -> __m256i {
    // SAFETY: the reference is readable for 32 bytes.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

/// Sixteen codes as 16-bit numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn widen(codes: &[i8; CHANNELS]) -> __m256i {
    // SAFETY: the reference is readable for 16 bytes.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) })
}

/// The first `len` of 16 codes; zero behind them.
///
/// # Safety
///
/// `from` is readable for `len` bytes.
#[inline]
pub(super) unsafe fn load(from: *const i8, len: usize) -> [i8; CHANNELS] {
    if len >= CHANNELS {
        // SAFETY: the caller's promise.
        return unsafe { from.cast::<[i8; CHANNELS]>().read() };
    }
    let mut codes = [0; CHANNELS];
    // SAFETY: the caller's promise; an array of this function overlaps with nothing.
    unsafe { codes.as_mut_ptr().copy_from_nonoverlapping(from, len) };
    codes
}

/// Stores the first `len` of 16 codes.
///
/// # Safety
///
/// `to` is writable for `len` bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store(to: *mut i8, codes: __m128i, len: usize) {
    if len >= CHANNELS {
        // SAFETY: the caller's promise.
        return unsafe { _mm_storeu_si128(to.cast(), codes) };
    }
    let mut all = [0i8; CHANNELS];
    // SAFETY: an array of 16 bytes.
    unsafe { _mm_storeu_si128(all.as_mut_ptr().cast(), codes) };
    // SAFETY: `len` is below 16, and an array of this function overlaps with nothing.
    unsafe { to.copy_from_nonoverlapping(all.as_ptr(), len) };
}

/// Writes `len` codes as 16-bit numbers.
///
/// # Safety
///
/// `from` is readable for `len` codes and `to` writable for as many numbers; they do not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn copy(to: *mut i16, from: *const i8, len: usize) {
    let mut at = 0;
    while at + CHANNELS <= len {
        // SAFETY: inside `len` codes.
        let source = unsafe { from.add(at) };
        // SAFETY: 16 codes are left.
        let codes = unsafe { _mm_loadu_si128(source.cast()) };
        // SAFETY: inside `len` numbers.
        let target = unsafe { to.add(at) };
        let numbers = _mm256_cvtepi8_epi16(codes);
        // SAFETY: 16 numbers are left.
        unsafe { _mm256_storeu_si256(target.cast(), numbers) };
        at += CHANNELS;
    }
    while at < len {
        // SAFETY: inside `len` codes.
        let source = unsafe { from.add(at) };
        // SAFETY: as above.
        let code = unsafe { source.read() };
        // SAFETY: inside `len` numbers.
        let target = unsafe { to.add(at) };
        // SAFETY: as above; rows of the scratch may be at odd addresses.
        unsafe { target.write_unaligned(code.into()) };
        at += 1;
    }
}
