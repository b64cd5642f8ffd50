//! What the paths for x86-64 have in common.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub(super) mod group;
#[allow(unsafe_code)]
pub(super) mod winograd;

use core::ops::Range;

use super::Window;
use super::packed::FixedSum;
use super::reference::Add;

/// Kinds of numbers in the table of columns; those of the fast form follow.
pub(super) const BIAS: usize = 0;
pub(super) const MANTISSA: usize = 1;
pub(super) const SHIFT: usize = 2;

/// A sequence of instructions that makes steps of sums.
pub(super) trait Sequence {
    /// The fast form: sums come moved up by 2^31, unsigned.
    const FAST: bool;
    /// Halves of negative numbers go down, as is right; else up.
    const TIES: bool;
}

/// The fast form where the output [rectifies](crate::quant::Output::rectifies): negative numbers
/// become the least code, however they are rounded.
#[derive(Debug)]
pub(super) struct Rectified;

/// The fast form.
#[derive(Debug)]
pub(super) struct Short;

/// The general form.
#[derive(Debug)]
pub(super) struct Exact;

impl Sequence for Rectified {
    const FAST: bool = true;
    const TIES: bool = false;
}

impl Sequence for Short {
    const FAST: bool = true;
    const TIES: bool = true;
}

impl Sequence for Exact {
    const FAST: bool = false;
    const TIES: bool = true;
}

/// A [`FixedSum`] near enough to the exact sum to tell the step it is rounded to, unless it is next
/// to where that changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearSum {
    /// The sum, with the margin in its constant.
    pub(super) sum: FixedSum,
    /// Bits of the fraction that are all zero in what is at most twice the margin: there the step
    /// is not certain.
    pub(super) decisive: i32,
}

impl NearSum {
    /// None where 32 bits are not enough.
    pub(super) fn of(params: &Add) -> Option<Self> {
        let sum = FixedSum::nearest(params)?;
        // Factors are rounded by a little more than a half at most, of codes up to 128 each, and
        // zero points by one altogether; terms deviate by one each and their scaled sum by a
        // half from the exact one before it is shifted for the last time.
        let deviation = (3u64 << sum.bits) >> -params.multiplier.shift;
        let margin = (131 + deviation).next_power_of_two() as i64;
        let one = 1i64 << sum.bits;
        (64 * margin <= one).then(|| Self {
            sum: FixedSum { constant: sum.constant.wrapping_add(margin as i32), ..sum },
            decisive: (one - 2 * margin) as i32,
        })
    }
}

/// The rows (`axis` 0) or columns (1) of an image of `extent` of them that are under the window of
/// output row or column `at`: adjacent ones, for these windows are never dilated.
#[inline]
pub(super) fn rows_or_columns(
    window: &Window,
    axis: usize,
    at: usize,
    extent: u32,
) -> Range<usize> {
    let taps = window.range(axis, at, extent as usize);
    let start = window.source(axis, at, taps.start);
    start..start.wrapping_add(taps.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference::Term;
    use crate::quant::{Multiplier, Output};
    use proptest::prelude::*;

    prop_compose! {
        fn term()(zero_point: i8, mantissa in 1 << 30..=i32::MAX, shift in -3..=0) -> Term {
            Term { zero_point, multiplier: Multiplier { mantissa, shift } }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]
        #[test]
        fn sums_are_exact_where_they_are_certain(
            first in term(), second in term(), mantissa in 1 << 30..=i32::MAX, shift in -22..=-17,
        ) {
            let multiplier = Multiplier { mantissa, shift };
            let output = Output { zero_point: 0, min: -128, max: 127 };
            let add = Add { terms: [first, second], multiplier, output };
            let Some(near) = NearSum::of(&add) else { return Ok(()) };
            let [f, g] = near.sum.factors;
            let mut uncertain = 0;
            for (a, b) in (i8::MIN..=i8::MAX).flat_map(|a| (i8::MIN..=i8::MAX).map(move |b| (a, b))) {
                let sum = i32::from(a) * f;
                let sum = sum.wrapping_add(i32::from(b) * g).wrapping_add(near.sum.constant);
                if sum & near.decisive == 0 {
                    uncertain += 1;
                } else {
                    prop_assert_eq!(output.code(sum >> near.sum.bits), add.code(a, b), "{} {}", a, b);
                }
            }
            prop_assert!(uncertain < 65536 / 16, "{}", uncertain);
        }
    }
}
