//! The sum of two codes as one fixed-point number of 32 bits.
#![forbid(unsafe_code)]

use crate::kernels::reference::{Add, Term};
use crate::quant::Multiplier;

/// An [`Add`] as a number that is rounded once: the steps of the sum of `a` and `b` are
/// `(a f + b g + constant) >> bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedSum {
    /// `f` and `g`, below 2^23.
    pub(crate) factors: [i32; 2],
    /// What the zero points subtract, and the half that rounds.
    pub(crate) constant: i32,
    /// Bits of the fraction.
    pub(crate) bits: u8,
}

impl FixedSum {
    /// Numbers that stand for one.
    pub const NUMBERS: u32 = 4;

    /// Numbers that stand for one that gives the codes of `params`, whatever it adds; zeros where
    /// there is none.
    #[must_use]
    pub fn numbers(params: &Add) -> [i32; Self::NUMBERS as usize] {
        Self::exact(params).map_or_else(Default::default, |sum| {
            let [f, g] = sum.factors;
            [f, g, sum.constant, sum.bits.into()]
        })
    }

    /// The one that [`numbers`](Self::numbers) stand for.
    pub(super) fn of_numbers(
        [f, g, constant, bits]: [i32; Self::NUMBERS as usize],
    ) -> Option<Self> {
        let bits = u8::try_from(bits).ok().filter(|&bits| bits > 0)?;
        Some(Self { factors: [f, g], constant, bits })
    }

    /// The nearest one, which may give other steps where two are near; None where 32 bits are not
    /// enough.
    pub(crate) fn nearest(params: &Add) -> Option<Self> {
        let total = params.multiplier;
        // Terms are steps of 2^20, so that both factors of a code are below one.
        let valid = |m: Multiplier| m.mantissa > 0 && (-30..=0).contains(&m.shift);
        if !params.terms.iter().all(|term| valid(term.multiplier)) || !valid(total) {
            return None;
        }
        (16u8..=24).rev().find_map(|bits| {
            // With eight more bits, for the zero points.
            let finer = params.terms.map(|Term { multiplier, .. }| {
                let product = i64::from(multiplier.mantissa) * i64::from(total.mantissa);
                let right = 62 - 20 - 8 - i32::from(bits) - multiplier.shift - total.shift;
                shifted_right(product, right.min(63))
            });
            let zeros = params.terms.iter().zip(finer);
            let zeros: i64 = zeros.map(|(term, factor)| i64::from(term.zero_point) * factor).sum();
            let factors = finer.map(|factor| shifted_right(factor, 8));
            let one = 1i64 << bits;
            let is_enough = 256 * factors.iter().sum::<i64>() + one <= 1 << 31;
            is_enough.then(|| Self {
                factors: factors.map(|factor| factor as i32),
                constant: (one / 2 - shifted_right(zeros, 8)) as i32,
                bits,
            })
        })
    }

    /// One that gives the codes of `params`, whatever it adds. Next to the nearest there are many,
    /// and mostly some of them have all sums that are near two steps on the right side.
    fn exact(params: &Add) -> Option<Self> {
        const MOST: i32 = 3;
        let nearest = Self::nearest(params)?;
        let mut codes = [[0; 256]; 256];
        for (a, row) in (i8::MIN..=i8::MAX).zip(&mut codes) {
            for (b, code) in (i8::MIN..=i8::MAX).zip(row) {
                *code = params.code(a, b);
            }
        }
        let moved = |radius: i32| {
            let square =
                (-radius..=radius).flat_map(move |f| (-radius..=radius).map(move |g| [f, g]));
            square.filter(move |[f, g]| f.abs().max(g.abs()) == radius)
        };
        (0..=MOST).flat_map(moved).find_map(|[df, dg]| {
            let [f, g] = nearest.factors;
            let sum = Self { factors: [f + df, g + dg], ..nearest };
            let [least, most] = sum.constants(params, &codes);
            let constant = i32::try_from(least.midpoint(most)).ok()?;
            Some(Self { constant, ..sum }).filter(|sum| least <= most && sum.fits())
        })
    }

    /// The least and the most that the constant may be for these `codes`.
    fn constants(&self, params: &Add, codes: &[[i8; 256]; 256]) -> [i64; 2] {
        let ([f, g], output) = (self.factors.map(i64::from), params.output);
        let [mut least, mut most] = [i64::MIN, i64::MAX];
        for (a, row) in (-128..).zip(codes) {
            for (b, &code) in (-128..).zip(row) {
                let product = a * f + b * g;
                let step = i64::from(code) - i64::from(output.zero_point);
                if code > output.min {
                    least = least.max((step << self.bits) - product);
                }
                if code < output.max {
                    most = most.min(((step + 1) << self.bits) - 1 - product);
                }
            }
        }
        [least, most]
    }

    /// Whether factors are as small as they should be, and no sum of codes overflows.
    fn fits(&self) -> bool {
        let [f, g] = self.factors.map(|factor| u64::from(factor.unsigned_abs()));
        let largest = 128 * (f + g) + u64::from(self.constant.unsigned_abs());
        f.max(g) < 1 << 23 && largest < 1 << 31 && self.bits < 31
    }

    /// Whether it gives the codes of `params`, whatever it adds.
    pub(super) fn is_exact(&self, params: &Add) -> bool {
        let [f, g] = self.factors;
        let code = |a: i8, b: i8| {
            params.output.code((i32::from(a) * f + i32::from(b) * g + self.constant) >> self.bits)
        };
        let mut codes = (i8::MIN..=i8::MAX).flat_map(|a| (i8::MIN..=i8::MAX).map(move |b| (a, b)));
        self.fits() && codes.all(|(a, b)| code(a, b) == params.code(a, b))
    }
}

/// `number` shifted right by `bits`, at least one, and rounded.
const fn shifted_right(number: i64, bits: i32) -> i64 {
    (number + (1 << (bits - 1))) >> bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Output;

    /// Sums of networks, with and without a clamp.
    #[test]
    fn sums_of_networks_are_exact() {
        let term = |zero_point, mantissa, shift| Term {
            zero_point,
            multiplier: Multiplier { mantissa, shift },
        };
        let terms = [
            [term(-128, 1 << 30, 0), term(7, 0x4C1B_F829, -1)],
            [term(-128, 0x5A82_799A, -2), term(-128, 1 << 30, 0)],
            [term(3, 0x6ED9_EBA1, -1), term(-20, 1 << 30, 0)],
        ];
        for (terms, zero_point) in terms.into_iter().flat_map(|terms| [(terms, -128), (terms, 5)]) {
            let multiplier = Multiplier { mantissa: 0x77E6_9B3D, shift: -18 };
            let output = Output { zero_point, min: zero_point.max(-100), max: 127 };
            let add = Add { terms, multiplier, output };
            let sum = FixedSum::exact(&add).unwrap();
            assert!(sum.is_exact(&add));
            assert_eq!(FixedSum::of_numbers(FixedSum::numbers(&add)), Some(sum));
            let [least, most] =
                [-1, 1].map(|by| FixedSum { constant: sum.constant + (by << 15), ..sum });
            assert!(!least.is_exact(&add) && !most.is_exact(&add));
        }
    }

    #[test]
    fn sums_that_overflow_are_not_exact() {
        let multiplier = Multiplier { mantissa: 1 << 30, shift: 0 };
        let term = Term { zero_point: 0, multiplier };
        let output = Output { zero_point: 0, min: -128, max: 127 };
        let add = Add { terms: [term; 2], multiplier, output };
        for (factor, constant, bits) in [(1 << 23, 0, 20), (1 << 22, i32::MAX, 20), (0, 0, 31)] {
            assert!(!FixedSum { factors: [factor; 2], constant, bits }.fits());
        }
        assert_eq!(FixedSum::exact(&add), None);
    }
}
