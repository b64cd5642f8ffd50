//! Weights for instructions that add two products in 16 bits and saturate.
//!
//! The products of two adjacent weights with codes of 8 bits without sign fit 16 bits while those
//! of the weights that are positive sum up to 128 at most, and those that are negative to -128 at
//! least. Where they do not, the second is multiplied with another neighbour: a panel is a list of
//! groups of weights, each with the place of its inputs, which may begin anywhere in a row. A
//! weight that needs more than 8 bits is in two groups.
//!
//! Groups four or two of which follow each other are *together* if even the sums of their products
//! fit. A panel begins with those that are together by fours, then by twos.
#![forbid(unsafe_code)]

/// Whether this program knows such panels: firmware for other processors has no use for them.
pub(super) const IS_KNOWN: bool = cfg!(any(feature = "std", target_arch = "x86_64"));

/// Adjacent inputs of a group.
pub(crate) const GROUP: usize = 4;

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 8;

/// Most groups of a panel: kernels keep a number for each on their stack.
pub(crate) const MAX_GROUPS: u32 = 16 << 10;

/// The weights of a group: column by column, those of the inputs.
pub(crate) type Group = [i8; GROUP * COLUMNS];

/// Bytes of a panel for each group: its place and its weights.
pub(crate) const GROUP_BYTES: usize = PLACE_BYTES + size_of::<Group>();

const PLACE_BYTES: usize = size_of::<[i8; 4]>();

/// Where the inputs of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The row of the window.
    pub row: u16,
    /// The first input in what the window sees of the row, what lies between its taps included.
    pub input: u16,
    /// With how many the group is together.
    pub together: Together,
}

/// How many groups it takes for their products to be summed in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// The group is alone.
    One = 1,
    /// It and another.
    Two = 2,
    /// It and three others.
    Four = 4,
}

/// In the row of a place: one of two groups, or of four.
const TWO: u16 = 1 << 15;
const FOUR: u16 = 1 << 14;

impl Place {
    /// What follows the places of panels that have fewer groups than others.
    pub const NONE: Self = Self { row: FOUR - 1, input: u16::MAX, together: Together::One };

    /// The bits of a panel's number for a place that say which row.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AVX2"))]
    pub(crate) const ROWS: u16 = FOUR - 1;

    /// As a panel has it; rows are less than 2^14.
    #[must_use]
    pub fn to_codes(self) -> [i8; 4] {
        let row = match self.together {
            Together::One => self.row,
            Together::Two => self.row | TWO,
            Together::Four => self.row | FOUR,
        };
        let number = u32::from(row) | u32::from(self.input) << 16;
        number.to_le_bytes().map(u8::cast_signed)
    }

    /// The inverse of [`to_codes`](Self::to_codes).
    #[inline]
    #[must_use]
    pub fn of_codes(codes: [i8; 4]) -> Self {
        let number = u32::from_le_bytes(codes.map(i8::cast_unsigned));
        let (row, input) = (number as u16, (number >> 16) as u16);
        let together = match row & (TWO | FOUR) {
            0 => Together::One,
            FOUR => Together::Four,
            _ => Together::Two,
        };
        Self { row: row & !(TWO | FOUR), input, together }
    }
}

/// Numbers of a panel per column if it has so many groups; None if these are odd or too many.
pub(super) fn depth(groups: u32) -> Option<u32> {
    let panel = groups.checked_mul(GROUP_BYTES as u32)?;
    let is_valid = groups <= MAX_GROUPS && groups.is_multiple_of(2);
    is_valid.then_some(panel / COLUMNS as u32)
}

/// The groups of a panel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups<'a> {
    /// Where they are.
    pub(crate) places: &'a [[i8; 4]],
    /// Their weights, and what only fills up the panel.
    pub(crate) weights: &'a [Group],
}

impl<'a> Groups<'a> {
    /// The places that a panel has, those included that are none, and weights for each.
    #[inline]
    pub(crate) fn parts(panel: &[i8]) -> (&[[i8; 4]], &[Group]) {
        let count = panel.len() / GROUP_BYTES;
        let parts = panel.split_at_checked(count * PLACE_BYTES);
        let (places, weights) = parts.unwrap_or_default();
        (places.as_chunks().0, weights.as_chunks().0)
    }

    #[inline]
    pub(crate) fn of(panel: &'a [i8]) -> Self {
        let (mut places, weights) = Self::parts(panel);
        while let Some((&last, others)) = places.split_last()
            && Place::of_codes(last) == Place::NONE
        {
            places = others;
        }
        Self { places, weights }
    }

    /// How many of the first are together by fours, and of those behind them by twos.
    #[inline]
    pub(crate) fn together(&self) -> [usize; 2] {
        [Together::Four, Together::Two].map(|together| {
            let are = |&&place: &&[i8; 4]| Place::of_codes(place).together == together;
            let count = self.places.iter().filter(are).count();
            count - count % together as usize
        })
    }
}

/// What the weights of some groups that are multiplied in the same 16 bits add up to, those below
/// zero and those above.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums([[i16; 2]; GROUP * COLUMNS / 2]);

impl Sums {
    /// With those of a group more.
    #[must_use]
    pub fn plus(mut self, group: &[i8; GROUP * COLUMNS]) -> Self {
        for ([least, most], &pair) in self.0.iter_mut().zip(group.as_chunks::<2>().0) {
            let [a, b] = pair.map(i16::from);
            *least = least.saturating_add(a.min(0) + b.min(0));
            *most = most.saturating_add(a.max(0) + b.max(0));
        }
        self
    }

    /// Whether the products can be added in 16 bits.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.0.iter().all(|&[least, most]| least >= -128 && most <= 128)
    }
}

/// Of two adjacent weights as much as fits.
#[must_use]
pub fn fitting([a, b]: [i16; 2]) -> [i8; 2] {
    let a = a.clamp(-128, 127);
    let [least, most] = [-128 - a.min(0), 128 - a.max(0)];
    [a as i8, b.clamp(least, most.min(127)) as i8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_products_do_not_saturate_and_no_more_than_needed_is_cut() {
        for a in -255..=255 {
            for b in -255..=255 {
                let fitted = fitting([a, b]);
                let [x, y] = fitted.map(i32::from);
                let (most, least) = (255 * (x.max(0) + y.max(0)), 255 * (x.min(0) + y.min(0)));
                assert!(most <= i16::MAX.into() && least >= i16::MIN.into(), "{a} {b}");
                let fits = a.max(0) + b.max(0) <= 128 && a.min(0) + b.min(0) >= -128;
                let codes = -128..=127;
                let fits = fits && codes.contains(&a) && codes.contains(&b);
                assert_eq!(fits, fitted.map(i16::from) == [a, b], "{a} {b}");
                assert!((a == 0 && b == 0) || fitted != [0, 0], "nothing would be left forever");
            }
        }
    }

    #[test]
    fn places_survive_their_codes() {
        let place = |row, input, together| Place { row, input, together };
        for place in [
            place(3, 70, Together::Two),
            place(0x3ffe, 7, Together::Four),
            place(0, 0x8001, Together::One),
            Place::NONE,
        ] {
            assert_eq!(Place::of_codes(place.to_codes()), place);
        }
    }
}
