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

/// Copies pieces of up to 32 bytes as they are; longer ones 32 at a time.
///
/// # Safety
///
/// Every piece is readable where it is and writable where it goes; they do not overlap.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) unsafe fn gather(to: *mut i8, from: *const i8, pieces: Pieces) {
    let Pieces { len, count, from_step, to_step } = pieces;
    if len <= 16 {
        let all = first(len) as __mmask16;
        for i in 0..count {
            // SAFETY: where a piece is read.
            let from = unsafe { from.add(i * from_step) };
            // SAFETY: where it is written.
            let to = unsafe { to.add(i * to_step) };
            // SAFETY: the mask keeps to the piece.
            let codes = unsafe { _mm_maskz_loadu_epi8(all, from) };
            // SAFETY: as above.
            unsafe { _mm_mask_storeu_epi8(to, all, codes) };
        }
        return;
    }
    for start in (0..len).step_by(32) {
        let some = first(len - start) as __mmask32;
        for i in 0..count {
            // SAFETY: inside a piece that is read.
            let from = unsafe { from.add(i * from_step + start) };
            // SAFETY: inside one that is written.
            let to = unsafe { to.add(i * to_step + start) };
            // SAFETY: the mask keeps to the piece.
            let codes = unsafe { _mm256_maskz_loadu_epi8(some, from) };
            // SAFETY: as above.
            unsafe { _mm256_mask_storeu_epi8(to, some, codes) };
        }
    }
}

/// Adds to each of `sums` the sums of the `len` codes, which have been moved up by 128, from its
/// start on and of those `down - 1` times `step` bytes below.
///
/// # Safety
///
/// The codes are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in crate::kernels) unsafe fn add_sums(
    sums: &mut [i32],
    starts: &[*const i8],
    below: [usize; 2],
    len: usize,
) {
    for (sums, starts) in sums.chunks_mut(4).zip(starts.chunks(4)) {
        let mut parts = [_mm_setzero_si128(); 4];
        for (part, start) in parts.iter_mut().zip(starts) {
            // SAFETY: the caller's promise.
            *part = unsafe { quarter_sums(*start, below, len) };
        }
        let [a, b, c, d] = parts;
        let ab = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let cd = _mm_add_epi32(_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        let all = _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
        let present = first(sums.len()) as __mmask8;
        let sums = sums.as_mut_ptr();
        // SAFETY: the mask keeps to the sums.
        let before = unsafe { _mm_maskz_loadu_epi32(present, sums) };
        let after = _mm_add_epi32(before, all);
        // SAFETY: as above.
        unsafe { _mm_mask_storeu_epi32(sums, present, after) };
    }
}

/// Four numbers whose sum is what [`add_sums`] adds for the start `from`.
///
/// # Safety
///
/// As [`add_sums`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn quarter_sums(mut from: *const i8, [down, step]: [usize; 2], len: usize) -> __m128i {
    if len <= 16 {
        let mut sums = _mm_setzero_si128();
        for _ in 0..down {
            // SAFETY: the bytes of the mask are inside `len` bytes.
            let codes = unsafe { _mm_maskz_loadu_epi8(first(len) as __mmask16, from) };
            sums = _mm_dpbusd_epi32(sums, codes, _mm_set1_epi8(1));
            from = from.wrapping_add(step);
        }
        return sums;
    }
    let (mut sums, ones) = (_mm512_setzero_si512(), _mm512_set1_epi8(1));
    let whole = len / BYTES * BYTES;
    for _ in 0..down {
        for at in (0..whole).step_by(BYTES) {
            // SAFETY: inside `len` bytes.
            let from = unsafe { from.add(at) };
            // SAFETY: as above.
            let codes = unsafe { _mm512_loadu_si512(from.cast()) };
            sums = _mm512_dpbusd_epi32(sums, codes, ones);
        }
        if whole < len {
            // SAFETY: inside `len` bytes.
            let from = unsafe { from.add(whole) };
            // SAFETY: the bytes of the mask are inside `len` bytes.
            let codes = unsafe { _mm512_maskz_loadu_epi8(first(len - whole), from) };
            sums = _mm512_dpbusd_epi32(sums, codes, ones);
        }
        from = from.wrapping_add(step);
    }
    let halves =
        _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
    _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves))
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
