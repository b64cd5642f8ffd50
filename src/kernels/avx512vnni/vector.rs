//! Loads, stores and copies: all of the path's accesses to memory.

use core::arch::x86_64::*;

use crate::kernels::packed::form::Pieces;

/// Bytes of a vector.
pub(in crate::kernels) const BYTES: usize = 64;

/// Numbers of a vector.
pub(in crate::kernels) const LANES: usize = BYTES / 4;

/// A vector of packed weights.
pub(in crate::kernels) type Codes = [i8; BYTES];

/// A vector of the table of columns.
pub(in crate::kernels) type Numbers = [i32; LANES];

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_codes(codes: &Codes) -> __m512i {
    // SAFETY: the reference is readable for 64 bytes.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_numbers(numbers: &Numbers) -> __m512i {
    // SAFETY: the reference is readable for 64 bytes.
    unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
}

/// A mask of the first `len` of 64 bytes.
#[inline]
pub(in crate::kernels) const fn first(len: usize) -> __mmask64 {
    if len >= BYTES { !0 } else { (1 << len) - 1 }
}

/// Moves codes up by 128 and back.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn flip(codes: __m512i) -> __m512i {
    _mm512_xor_si512(codes, _mm512_set1_epi8(-128))
}

/// Copies pieces of codes, moved up by 128.
///
/// # Safety
///
/// Every piece is readable where it is and writable where it goes; they do not overlap.
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::kernels) unsafe fn copy(to: *mut i8, from: *const i8, pieces: Pieces) {
    let Pieces { len, count, from_step, to_step } = pieces;
    if len == from_step && len == to_step && count > 1 {
        let all = Pieces { len: len * count, count: 1, ..pieces };
        // SAFETY: all pieces, which are adjacent.
        return unsafe { copy(to, from, all) };
    }
    let (whole, rest) = (len / BYTES * BYTES, first(len % BYTES));
    for i in 0..count {
        // SAFETY: where a piece is read.
        let from = unsafe { from.add(i * from_step) };
        // SAFETY: where it is written.
        let to = unsafe { to.add(i * to_step) };
        for at in (0..whole).step_by(BYTES) {
            // SAFETY: a vector inside the piece.
            let source = unsafe { from.add(at) };
            // SAFETY: as above.
            let codes = flip(unsafe { _mm512_loadu_si512(source.cast()) });
            // SAFETY: as above.
            let target = unsafe { to.add(at) };
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(target.cast(), codes) };
        }
        if rest != 0 {
            // SAFETY: the whole vectors before, inside the piece.
            let source = unsafe { from.add(whole) };
            // SAFETY: the mask keeps to the piece.
            let codes = flip(unsafe { _mm512_maskz_loadu_epi8(rest, source) });
            // SAFETY: as above.
            let target = unsafe { to.add(whole) };
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_epi8(target, rest, codes) };
        }
    }
}

/// The sum of `len` codes that have been moved up by 128.
///
/// # Safety
///
/// `from` is readable for `len` bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) unsafe fn sum(from: *const i8, len: usize) -> i32 {
    let mut sums = _mm512_setzero_si512();
    for at in (0..len).step_by(BYTES) {
        // SAFETY: inside `len` bytes.
        let from = unsafe { from.add(at) };
        // SAFETY: the bytes of the mask are inside `len` bytes.
        let codes = unsafe { _mm512_maskz_loadu_epi8(first(len - at), from) };
        sums = _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi8(1));
    }
    _mm512_reduce_add_epi32(sums)
}

/// The codes of a mask as numbers.
///
/// # Safety
///
/// The codes of the mask are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn widen(codes: *const i8, mask: __mmask16) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_cvtepi8_epi32(unsafe { _mm_maskz_loadu_epi8(mask, codes) })
}
