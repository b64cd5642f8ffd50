//! What paths with 64-bit products of 32-bit lanes want beside bias, mantissa and shift.
#![forbid(unsafe_code)]

/// Numbers per column: bias, mantissa, shift; then the mantissa doubled, the same for the odd
/// columns, a constant of 64 bits for the even columns and one for the odd, and the shift to the
/// right.
pub(crate) const PARAMETERS: u32 = 8;

/// Writes the numbers behind bias, mantissa and shift.
///
/// With `x` the sum and `m` the mantissa the doubling high product is `h = (x m + 2^30) >> 31`,
/// and rounding `h` to `e` bits less, half away from zero, is `(h + 2^(e-1) - (h < 0)) >> e`.
/// For `e >= 1` the sign of `x` may stand for that of `h`. With `X = x + 2^31`, unsigned, all
/// that is added is one constant: the high half of
/// `X * 2 m + 2^31 + ((2^(e-1) - 1) << 32) - (m << 32)` is `h + 2^(e-1) - 1`, to which `x >= 0`
/// adds one.
pub(super) fn complete(table: &mut [i32], width: usize) {
    let (given, wide) = table.split_at_mut((3 * width).min(table.len()));
    let (Some(mantissas), Some(shifts)) = (given.get(width..2 * width), given.get(2 * width..))
    else {
        return;
    };
    for (column, (&mantissa, &shift)) in mantissas.iter().zip(shifts).enumerate() {
        let right = shift.wrapping_neg();
        let half = 1i64.wrapping_shl(right.wrapping_sub(1).cast_unsigned());
        let constant = (half.wrapping_sub(1) << 32)
            .wrapping_add(1 << 31)
            .wrapping_sub(i64::from(mantissa) << 32);
        let doubled = mantissa.wrapping_shl(1);
        let (even, odd) = (column / 2 * 2, column % 2);
        let numbers = [
            (0, column, doubled),
            (1, even + 1 - odd, if odd == 1 { doubled } else { 0 }),
            (2 + odd, even, constant as i32),
            (2 + odd, even + 1, (constant >> 32) as i32),
            (4, column, right),
        ];
        for (number, at, value) in numbers {
            if let Some(place) = wide.get_mut(number * width + at) {
                *place = value;
            }
        }
    }
}
