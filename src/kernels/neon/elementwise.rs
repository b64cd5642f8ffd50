//! ADD, MUL and LOOKUP, sixteen elements at a time.

use core::arch::aarch64::*;
use core::arch::asm;

use super::memory::{load_next, load_part, store_next, store_part, vectors, whole};
use super::scale::{Multipliers, Scale, shifted_right};
use crate::kernels::Io;
use crate::kernels::packed::{PackedConv2d, Rounding};
use crate::kernels::reference::{self, Add, Lookup, Mul, Term};
use crate::kernels::runs::each_pointer;
use crate::quant::Multiplier;
use crate::weights::Weights;

/// Computes `len` elements, sixteen at a time.
///
/// # Safety
///
/// As many codes are readable in `from` and writable at `to`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn each_vector<const N: usize>(
    from: [*const i8; N],
    mut to: *mut i8,
    len: usize,
    compute: impl Fn([int8x16_t; N]) -> int8x16_t,
) {
    let mut codes = [vdupq_n_s8(0); N];
    // A copy, which stays in registers.
    let mut from = from;
    for _ in 0..len / 16 {
        for (codes, from) in codes.iter_mut().zip(&mut from) {
            // SAFETY: 16 of the codes.
            *codes = unsafe { load_next(from) };
        }
        // SAFETY: as above.
        unsafe { store_next(&mut to, compute(codes)) };
    }
    let rest = len % 16;
    if rest > 0 {
        for (codes, &from) in codes.iter_mut().zip(&from) {
            // SAFETY: the rest of the codes.
            *codes = unsafe { load_part(from, rest) };
        }
        // SAFETY: as above.
        unsafe { store_part(to, compute(codes), rest) };
    }
}

/// Adds the residual of a convolution to its output.
pub(in crate::kernels) fn add_residual(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    if let Some(params) = &params.residual {
        add(params, weights, io);
    }
}

/// The kernel of [`Add`].
pub(in crate::kernels) fn add(params: &Add, weights: &Weights<'_>, io: &Io<'_>) {
    // What an input of the larger scale is multiplied by.
    let is_half = |term: &Term| term.multiplier == Multiplier { mantissa: 1 << 30, shift: 0 };
    let is_short = |term: &Term| term.multiplier.shift < 0;
    let [a, b] = &params.terms;
    let swap = is_half(a);
    let [first, second] = if swap { [b, a] } else { [a, b] };
    let rectifies = params.output.min >= params.output.zero_point;
    let run = match is_half(second) {
        true if is_half(first) => add_run::<true, true, true, true>,
        // What a rectifier left has no negative codes.
        true if is_short(first) && rectifies && first.zero_point == i8::MIN => {
            add_run::<false, true, false, false>
        }
        true if is_short(first) && rectifies => add_run::<false, true, true, false>,
        true if is_short(first) => add_run::<false, true, true, true>,
        false if is_short(first) && is_short(second) => add_run::<false, false, true, true>,
        _ => return reference::add(params, weights, io),
    };
    // A term is less than 2^27.
    let is_done = params.multiplier.shift <= -13
        && each_pointer(io, |[a, b], to, len| {
            let from = if swap { [b, a] } else { [a, b] };
            // SAFETY: `each_pointer` gives codes to read and write; every core has the instructions.
            unsafe { run(params, [first, second], from, to, len) };
        });
    if !is_done {
        reference::add(params, weights, io);
    }
}

/// Adds `len` elements. A term whose multiplier is one half is marked by `HALF_A` or `HALF_B`;
/// the others and the output are shifted right, the output by at least 13 bits. Without `TIES`,
/// negative sums become the least code, however they are rounded; without `TIES_A`, the first
/// term has no negative codes.
///
/// # Safety
///
/// As many codes are readable in `from` and writable at `to`.
#[target_feature(enable = "neon")]
unsafe fn add_run<const HALF_A: bool, const HALF_B: bool, const TIES_A: bool, const TIES: bool>(
    params: &Add,
    [a, b]: [&Term; 2],
    from: [*const i8; 2],
    to: *mut i8,
    len: usize,
) {
    let scale = Scale::new(true, Rounding::Double, params.output);
    // What the loop needs stays in registers.
    let multipliers = Multipliers::all(params.multiplier).kept();
    let [a, b] = [a, b].map(|term| Addend {
        zero_point: whole(vdupq_n_s8(term.zero_point)),
        half: vdupq_n_s16(i16::MIN),
        multipliers: Multipliers::all(term.multiplier).kept(),
    });
    let sum = |[codes_a, codes_b]: [int8x16_t; 2]| {
        let zero = [vdupq_n_s32(0); 4];
        let sums = b.plus::<HALF_B, true>(a.plus::<HALF_A, TIES_A>(zero, codes_a), codes_b);
        let [codes] = scale.narrowed::<true, _>([shifted_right::<TIES>(sums, &multipliers)]);
        codes
    };
    // SAFETY: the caller's promise.
    unsafe { each_vector(from, to, len, sum) };
}

/// A [`Term`] in registers.
struct Addend {
    zero_point: int8x16_t,
    /// -2^15.
    half: int16x8_t,
    multipliers: Multipliers,
}

impl Addend {
    /// Adds sixteen elements to `sums`; `TIES` is as in [`shifted_right`].
    #[inline]
    #[target_feature(enable = "neon")]
    fn plus<const HALF: bool, const TIES: bool>(
        &self,
        sums: [int32x4_t; 4],
        codes: int8x16_t,
    ) -> [int32x4_t; 4] {
        let [low, high] = steps(codes, self.zero_point);
        let [a, b, c, d] = sums;
        if HALF {
            // 19 bits to the left: 4, and a product with 2^15, whose negative is a 16-bit number.
            let (low, high) = (vshlq_n_s16::<4>(low), vshlq_n_s16::<4>(high));
            return [
                less(a, low, self.half),
                less_high(b, low, self.half),
                less(c, high, self.half),
                less_high(d, high, self.half),
            ];
        }
        // 20 bits to the left.
        let (low, high) = (vshlq_n_s16::<5>(low), vshlq_n_s16::<5>(high));
        let steps = [
            vshll_n_s16::<15>(vget_low_s16(low)),
            vshll_high_n_s16::<15>(low),
            vshll_n_s16::<15>(vget_low_s16(high)),
            vshll_high_n_s16::<15>(high),
        ];
        let [e, f, g, h] = shifted_right::<TIES>(steps, &self.multipliers);
        [vaddq_s32(a, e), vaddq_s32(b, f), vaddq_s32(c, g), vaddq_s32(d, h)]
    }
}

/// `sums` less the products of the lower halves; of the known factor that they have here, the
/// compiler would make shifts, and additions besides.
#[inline]
#[target_feature(enable = "neon")]
fn less(mut sums: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
    // SAFETY: reads and writes registers only.
    unsafe {
        asm!(
            "smlsl {sums:v}.4s, {a:v}.4h, {b:v}.4h",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// As [`less`] for the upper halves.
#[inline]
#[target_feature(enable = "neon")]
fn less_high(mut sums: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
    // SAFETY: reads and writes registers only.
    unsafe {
        asm!(
            "smlsl2 {sums:v}.4s, {a:v}.8h, {b:v}.8h",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Codes less their zero point.
#[inline]
#[target_feature(enable = "neon")]
fn steps(codes: int8x16_t, zero_point: int8x16_t) -> [int16x8_t; 2] {
    [vsubl_s8(vget_low_s8(codes), vget_low_s8(zero_point)), vsubl_high_s8(codes, zero_point)]
}

/// The kernel of [`Mul`].
pub(super) fn mul(params: &Mul, weights: &Weights<'_>, io: &Io<'_>) {
    let run = if params.output.rectifies() { mul_run::<false> } else { mul_run::<true> };
    // A product has 17 bits.
    let is_done = params.multiplier.shift < 0
        && each_pointer(io, |from, to, len| {
            // SAFETY: `each_pointer` gives codes to read and write; every core has the
            // instructions.
            unsafe { run(params, from, to, len) };
        });
    if !is_done {
        reference::mul(params, weights, io);
    }
}

/// Multiplies `len` elements, with a multiplier that shifts right; `TIES` is as in [`add_run`].
///
/// # Safety
///
/// As many codes are readable in `from` and writable at `to`.
#[target_feature(enable = "neon")]
unsafe fn mul_run<const TIES: bool>(params: &Mul, from: [*const i8; 2], to: *mut i8, len: usize) {
    let scale = Scale::new(true, Rounding::Double, params.output);
    let multipliers = Multipliers::all(params.multiplier).kept();
    let [zero_a, zero_b] = params.zero_points.map(|zero| whole(vdupq_n_s8(zero)));
    let product = |[codes_a, codes_b]: [int8x16_t; 2]| {
        let ([a, c], [b, d]) = (steps(codes_a, zero_a), steps(codes_b, zero_b));
        let products = [
            vmull_s16(vget_low_s16(a), vget_low_s16(b)),
            vmull_high_s16(a, b),
            vmull_s16(vget_low_s16(c), vget_low_s16(d)),
            vmull_high_s16(c, d),
        ];
        let [codes] = scale.narrowed::<true, _>([shifted_right::<TIES>(products, &multipliers)]);
        codes
    };
    // SAFETY: the caller's promise.
    unsafe { each_vector(from, to, len, product) };
}

/// The kernel of [`Lookup`].
pub(super) fn lookup(params: &Lookup, weights: &Weights<'_>, io: &Io<'_>) {
    let (tables, _) = vectors(weights.get(params.table)).as_chunks::<4>();
    let is_done = match tables {
        &[t0, t1, t2, t3] => each_pointer(io, |from, to, len| {
            // SAFETY: `each_pointer` gives codes to read and write; every core has the instructions.
            unsafe { lookup_run(&[t0, t1, t2, t3], from, to, len) };
        }),
        _ => false,
    };
    if !is_done {
        reference::lookup(params, weights, io);
    }
}

/// Looks `len` elements up in a table of four parts.
///
/// # Safety
///
/// As many codes are readable in `from` and writable at `to`.
#[target_feature(enable = "neon")]
unsafe fn lookup_run(tables: &[[int8x16_t; 4]; 4], from: [*const i8; 1], to: *mut i8, len: usize) {
    let found = |[codes]: [int8x16_t; 1]| {
        let mut index = veorq_u8(vreinterpretq_u8_s8(codes), vdupq_n_u8(0x80));
        let mut found = vdupq_n_s8(0);
        for &[a, b, c, d] in tables {
            found = vqtbx4q_s8(found, int8x16x4_t(a, b, c, d), index);
            index = vsubq_u8(index, vdupq_n_u8(64));
        }
        found
    };
    // SAFETY: the caller's promise.
    unsafe { each_vector(from, to, len, found) };
}
