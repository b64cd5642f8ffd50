//! Loads and stores of the Arm paths.
//!
//! The bare-metal target makes bytes of an unaligned load or store that the compiler knows of.
//! Those here are single instructions that it does not look into; they want normal memory and
//! no alignment checks (`SCTLR_ELx.A` is 0). Weights are aligned and need none of this.

use core::arch::aarch64::{int8x16_t, int32x4_t, uint8x16_t, vdupq_n_s8, vextq_s8};
use core::arch::asm;

use crate::kernels::packed::form::Pieces;

/// Loads 16 codes and moves `from` past them.
///
/// # Safety
///
/// 16 bytes are readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn load_next(from: &mut *const i8) -> int8x16_t {
    let codes: int8x16_t;
    // SAFETY: the caller's promise; nothing is written.
    unsafe {
        asm!(
            "ld1 {{{codes:v}.16b}}, [{from}], #16",
            codes = lateout(vreg) codes,
            from = inout(reg) *from,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    codes
}

/// Loads 32 codes and moves `from` past them.
///
/// # Safety
///
/// 32 bytes are readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn load_two(from: &mut *const i8) -> [int8x16_t; 2] {
    let (a, b): (int8x16_t, int8x16_t);
    // SAFETY: the caller's promise; nothing is written.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{from}], #32",
            a = lateout(vreg) a,
            b = lateout(vreg) b,
            from = inout(reg) *from,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [a, b]
}

/// Loads 16 codes and moves `from` by `step` bytes.
///
/// # Safety
///
/// 16 bytes are readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn load(from: &mut *const i8, step: usize) -> int8x16_t {
    let codes: int8x16_t;
    // SAFETY: the caller's promise; nothing is written.
    unsafe {
        asm!(
            "ld1 {{{codes:v}.16b}}, [{from}], {step}",
            codes = lateout(vreg) codes,
            from = inout(reg) *from,
            step = in(reg) step,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    codes
}

/// Stores 16 codes and moves `to` by `step` bytes.
///
/// # Safety
///
/// 16 bytes are writable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn store(to: &mut *mut i8, codes: int8x16_t, step: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "st1 {{{codes:v}.16b}}, [{to}], {step}",
            codes = in(vreg) codes,
            to = inout(reg) *to,
            step = in(reg) step,
            options(nostack, preserves_flags),
        );
    }
}

/// Stores 16 codes and moves `to` past them.
///
/// # Safety
///
/// 16 bytes are writable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn store_next(to: &mut *mut i8, codes: int8x16_t) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "st1 {{{codes:v}.16b}}, [{to}], #16",
            codes = in(vreg) codes,
            to = inout(reg) *to,
            options(nostack, preserves_flags),
        );
    }
}

/// Stores the four codes in 32-bit lane `LANE` and moves `to` past them.
///
/// # Safety
///
/// 4 bytes are writable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn store_lane<const LANE: i32>(to: &mut *mut i8, codes: int8x16_t) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "st1 {{{codes:v}.s}}[{lane}], [{to}], #4",
            codes = in(vreg) codes,
            lane = const LANE,
            to = inout(reg) *to,
            options(nostack, preserves_flags),
        );
    }
}

/// Stores the first `len` codes, fewer than 16.
///
/// # Safety
///
/// `len` bytes are writable at `to`.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn store_part(mut to: *mut i8, mut codes: int8x16_t, len: usize) {
    macro_rules! piece {
        ($register:literal, $size:literal) => {
            if len & $size != 0 {
                // SAFETY: the next of the `len` bytes.
                unsafe {
                    asm!(
                        concat!("str {codes:", $register, "}, [{to}], {size}"),
                        codes = in(vreg) codes,
                        to = inout(reg) to,
                        size = const $size,
                        options(nostack, preserves_flags),
                    );
                }
                codes = vextq_s8::<$size>(codes, codes);
            }
        };
    }
    piece!("d", 8);
    piece!("s", 4);
    piece!("h", 2);
    piece!("b", 1);
    let _ = (to, codes);
}

/// Stores the first `len` codes, fewer than 16, of each vector, `at` bytes behind each of `to`;
/// apart from the code that stores whole ones, which it would clutter.
///
/// # Safety
///
/// `len` bytes are writable there.
#[inline(never)]
#[cold]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn store_parts(
    to: &[*mut i8],
    at: usize,
    codes: &[int8x16_t],
    len: usize,
) {
    for (&to, &codes) in to.iter().zip(codes) {
        // SAFETY: the caller's promise.
        unsafe { store_part(to.wrapping_add(at), codes, len) };
    }
}

/// As [`store_parts`] for places `step` bytes apart, of which the first is `to`.
///
/// # Safety
///
/// `len` bytes are writable there.
#[inline(never)]
#[cold]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn store_part_steps(
    mut to: *mut i8,
    step: usize,
    codes: &[int8x16_t],
    len: usize,
) {
    for &codes in codes {
        // SAFETY: the caller's promise.
        unsafe { store_part(to, codes, len) };
        to = to.wrapping_add(step);
    }
}

/// Loads `len` codes, at most 16; zero behind them.
///
/// # Safety
///
/// `len` bytes are readable at `from`.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn load_part(from: *const i8, len: usize) -> int8x16_t {
    let mut codes = [0; 16];
    // SAFETY: the caller's promise.
    unsafe { copy(codes.as_mut_ptr(), from, len.min(codes.len())) };
    from_codes(codes)
}

/// A vector of these codes.
pub(in crate::kernels) fn from_codes(codes: [i8; 16]) -> int8x16_t {
    // SAFETY: both are sixteen bytes, any of them.
    unsafe { core::mem::transmute(codes) }
}

/// The bytes of a vector.
pub(in crate::kernels) fn to_bytes(vector: uint8x16_t) -> [u8; 16] {
    // SAFETY: both are sixteen bytes, any of them.
    unsafe { core::mem::transmute(vector) }
}

/// Vectors of these numbers.
pub(in crate::kernels) fn from_numbers(numbers: [i32; 16]) -> [int32x4_t; 4] {
    // SAFETY: both are sixteen numbers, any of them.
    unsafe { core::mem::transmute(numbers) }
}

/// The numbers in vectors.
pub(in crate::kernels) fn to_numbers(vectors: [int32x4_t; 4]) -> [i32; 16] {
    // SAFETY: both are sixteen numbers, any of them.
    unsafe { core::mem::transmute(vectors) }
}

/// Copies `len` bytes: 64, 16, 8 or 4 at a time, the last of them over those before.
///
/// # Safety
///
/// `len` bytes are readable at `from` and writable at `to`, and do not overlap.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn copy(mut to: *mut i8, mut from: *const i8, len: usize) {
    macro_rules! piece {
        ($register:literal, $to:expr, $from:expr) => {
            // SAFETY: a piece of the `len` bytes.
            unsafe {
                asm!(
                    concat!("ldr {piece:", $register, "}, [{from}]"),
                    concat!("str {piece:", $register, "}, [{to}]"),
                    piece = out(vreg) _,
                    from = in(reg) $from,
                    to = in(reg) $to,
                    options(nostack, preserves_flags),
                );
            }
        };
    }
    /// Two pieces of `$size` bytes that cover `len` bytes.
    macro_rules! two_pieces {
        ($register:literal, $size:literal) => {{
            piece!($register, to, from);
            let rest = len.wrapping_sub($size);
            piece!($register, to.wrapping_add(rest), from.wrapping_add(rest));
        }};
    }
    if len > 16 {
        let (last_to, last_from) = (to.wrapping_add(len - 16), from.wrapping_add(len - 16));
        for _ in 0..len / 64 {
            // SAFETY: 64 of the `len` bytes.
            unsafe {
                asm!(
                    "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{from}], #64",
                    "st1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{to}], #64",
                    out("v28") _,
                    out("v29") _,
                    out("v30") _,
                    out("v31") _,
                    from = inout(reg) from,
                    to = inout(reg) to,
                    options(nostack, preserves_flags),
                );
            }
        }
        while to < last_to {
            // SAFETY: before the last 16.
            let codes = unsafe { load_next(&mut from) };
            // SAFETY: as above.
            unsafe { store_next(&mut to, codes) };
        }
        piece!("q", last_to, last_from);
    } else if len >= 8 {
        two_pieces!("d", 8);
    } else if len >= 4 {
        two_pieces!("s", 4);
    } else if len >= 2 {
        two_pieces!("h", 2);
    } else if len == 1 {
        piece!("b", to, from);
    }
}

/// Copies pieces, each as [`copy`] does.
///
/// # Safety
///
/// As [`copy`] for each piece.
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn copy_pieces(mut to: *mut i8, mut from: *const i8, pieces: Pieces) {
    macro_rules! copies {
        ($len:expr) => {
            for _ in 0..pieces.count {
                // SAFETY: the caller's promise.
                unsafe { copy(to, from, $len) };
                to = to.wrapping_add(pieces.to_step);
                from = from.wrapping_add(pieces.from_step);
            }
        };
    }
    // The length of first layers is known outside the loop.
    match pieces.len {
        9 => copies!(9),
        21 => copies!(21),
        len => copies!(len),
    }
}

/// Fills `len` bytes.
///
/// # Safety
///
/// `len` bytes are writable at `to`.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn fill(mut to: *mut i8, code: i8, len: usize) {
    let codes = vdupq_n_s8(code);
    for _ in 0..len / 16 {
        // SAFETY: 16 of the `len` bytes.
        unsafe { store_next(&mut to, codes) };
    }
    // SAFETY: the rest of the `len` bytes.
    unsafe { store_part(to, codes, len % 16) };
}

/// The same vector, which the compiler then takes for one value: else it loads the halves apart
/// where they are used apart, and moves them into place.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn whole(mut vector: int8x16_t) -> int8x16_t {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0:v} */", inout(vreg) vector, options(pure, nomem, nostack, preserves_flags));
    }
    vector
}

/// A copy of a vector, which the compiler then takes for another value: else it keeps what is
/// copied to memory in rare cases there in all.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn apart(mut vector: int32x4_t) -> int32x4_t {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0:v} */", inout(vreg) vector, options(pure, nomem, nostack, preserves_flags));
    }
    vector
}

/// Weights as vectors; those before the first that is aligned are left out, but a panel is.
#[inline]
pub(in crate::kernels) fn vectors(codes: &[i8]) -> &[int8x16_t] {
    // SAFETY: any bytes are a vector.
    let (_, vectors, _) = unsafe { codes.align_to() };
    vectors
}

/// Loads four vectors of weights by one instruction and moves `from` past them.
///
/// # Safety
///
/// They are readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn load_four(from: &mut *const [int8x16_t; 4]) -> [int8x16_t; 4] {
    let (a, b, c, d): (int8x16_t, int8x16_t, int8x16_t, int8x16_t);
    // SAFETY: the caller's promise; nothing is written. The instruction wants neighbouring
    // registers; it is not `pure`, so that it comes when what was in them has been used.
    unsafe {
        asm!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{from}], #64",
            out("v28") a,
            out("v29") b,
            out("v30") c,
            out("v31") d,
            from = inout(reg) *from,
            options(readonly, nostack, preserves_flags),
        );
    }
    [a, b, c, d]
}

/// Loads four vectors of numbers, anew each time: the compiler would copy those it has.
///
/// # Safety
///
/// They are readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn load_numbers(from: *const int32x4_t) -> [int32x4_t; 4] {
    let (a, b, c, d): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: the caller's promise; nothing is written.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{from}]",
            "ldp {c:q}, {d:q}, [{from}, #32]",
            a = out(vreg) a,
            b = out(vreg) b,
            c = lateout(vreg) c,
            d = lateout(vreg) d,
            from = in(reg) from,
            options(readonly, nostack, preserves_flags),
        );
    }
    [a, b, c, d]
}

/// Numbers as vectors; those before the first that is aligned are left out, but a table is.
#[inline]
pub(in crate::kernels) fn number_vectors(numbers: &[i32]) -> &[int32x4_t] {
    // SAFETY: any bytes are a vector.
    let (_, vectors, _) = unsafe { numbers.align_to() };
    vectors
}
