//! Winograd's minimal filtering F(2x2, 3x3) in integers: 16 products for four outputs, not 36.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), with `G` twice
//! as large as theirs: nothing is divided before the sums, which come out four times as large as
//! they should and, as long as that [fits](MOST_CHANNELS) 32 bits, exact.
#![forbid(unsafe_code)]

/// Most input channels of a group. Filters are numbers of 9 bits at most, so that four times a sum
/// of the products with codes is below 2^31.
pub(crate) const MOST_CHANNELS: u32 = 1024;

/// Input channels are a multiple of it.
pub(crate) const CHANNELS: u32 = 16;

/// Products for four outputs, by rows and columns of a tile of 4x4 inputs.
pub const POSITIONS: usize = 16;

/// Bytes of a panel per column and input channel.
pub(crate) const BYTES: u32 = 2 * POSITIONS as u32;

/// A filter of 3x3 taps, transformed.
#[must_use]
pub fn transformed(filter: [i16; 9]) -> [i16; POSITIONS] {
    let rows = filter.as_chunks::<3>().0;
    let mut columns = [[0; 4]; 3];
    for (at, column) in columns.iter_mut().enumerate() {
        let tap = |row: usize| rows.get(row).and_then(|row| row.get(at)).copied().unwrap_or(0);
        *column = ends_and_sums([tap(0), tap(1), tap(2)]);
    }
    let [a, b, c] = columns;
    let mut all = [0; POSITIONS];
    let places = all.as_chunks_mut().0.iter_mut();
    for (place, ((a, b), c)) in places.zip(a.into_iter().zip(b).zip(c)) {
        *place = ends_and_sums([a, b, c]);
    }
    all
}

/// `G` times a column.
fn ends_and_sums([a, b, c]: [i16; 3]) -> [i16; 4] {
    let ends = a.wrapping_add(c);
    [a.wrapping_mul(2), ends.wrapping_add(b), ends.wrapping_sub(b), c.wrapping_mul(2)]
}

/// The filter of which [`transformed`] makes `all`, if there is one.
pub(super) fn restored(all: [i16; POSITIONS]) -> [i16; 9] {
    let [a, b, c, d] = [0, 4, 8, 12].map(|at| {
        let row = |i: usize| all.get(at + i).copied().unwrap_or(0);
        halves([row(0), row(1), row(2), row(3)])
    });
    let mut filter = [0; 9];
    for (at, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
        for (row, tap) in halves([a, b, c, d]).into_iter().enumerate() {
            if let Some(place) = filter.get_mut(3 * row + at) {
                *place = tap;
            }
        }
    }
    filter
}

/// The inverse of [`ends_and_sums`].
fn halves([a, b, c, d]: [i16; 4]) -> [i16; 3] {
    [a >> 1, b.wrapping_sub(c) >> 1, d >> 1]
}

/// Where in a panel of `width` columns the numbers of an input and a column lie, two bytes each, one
/// per position: position by position, then two adjacent inputs of each column.
pub fn places(
    channels: usize,
    input: usize,
    width: usize,
    slot: usize,
) -> impl Iterator<Item = usize> {
    let step = channels.wrapping_mul(width);
    let first =
        (input / 2).wrapping_mul(width).wrapping_add(slot).wrapping_mul(2).wrapping_add(input % 2);
    (0..POSITIONS)
        .map(move |position| position.wrapping_mul(step).wrapping_add(first).wrapping_mul(2))
}

/// The filter of an input and a column in `panel`, as it was transformed.
pub(super) fn filter(
    panel: &[i8],
    channels: usize,
    input: usize,
    width: usize,
    slot: usize,
) -> [i16; POSITIONS] {
    let mut all = [0; POSITIONS];
    for (number, at) in all.iter_mut().zip(places(channels, input, width, slot)) {
        let bytes = panel.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied();
        *number = i16::from_le_bytes(bytes.unwrap_or_default().map(i8::cast_unsigned));
    }
    all
}

/// Whether every filter in a panel is one that was transformed, and none larger than 9 bits.
pub(super) fn are_filters(panel: &[i8], channels: usize, width: usize) -> bool {
    (0..channels).flat_map(|input| (0..width).map(move |slot| (input, slot))).all(
        |(input, slot)| {
            let all = filter(panel, channels, input, width, slot);
            let filter = restored(all);
            filter.iter().all(|weight| (-255..=255).contains(weight)) && transformed(filter) == all
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformed_filters_are_restored() {
        for seed in 0..1000i16 {
            let filter = core::array::from_fn(|i| {
                seed.wrapping_mul(31).wrapping_add(i as i16 * 97).wrapping_mul(57) % 256
            });
            assert_eq!(restored(transformed(filter)), filter);
        }
    }

    #[test]
    fn outputs_are_a_quarter_of_what_comes_out() {
        let filter: [i16; 9] = [-255, 255, 3, 17, -128, 127, 255, -4, 255];
        let input: [i32; 16] =
            core::array::from_fn(|i| if i % 3 == 0 { 127 } else { -128 + 9 * i as i32 });
        let inputs = |[a, b, c, d]: [i32; 4]| [a - c, b + c, c - b, b - d];
        let outputs = |[a, b, c, d]: [i32; 4]| [a + b + c, b - c - d];
        let column = |m: &[[i32; 4]], j: usize| [m[0][j], m[1][j], m[2][j], m[3][j]];
        let rows: [[i32; 4]; 4] =
            core::array::from_fn(|i| inputs(core::array::from_fn(|j| input[4 * i + j])));
        let columns: [[i32; 4]; 4] = core::array::from_fn(|j| inputs(column(&rows, j)));
        let filters = transformed(filter);
        let products: [[i32; 4]; 4] = core::array::from_fn(|i| {
            core::array::from_fn(|j| columns[j][i] * i32::from(filters[4 * i + j]))
        });
        let halves: [[i32; 2]; 4] = core::array::from_fn(|j| outputs(column(&products, j)));
        for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let row = outputs(core::array::from_fn(|j| halves[j][y]));
            let taps = (0..9).map(|k| input[4 * (y + k / 3) + x + k % 3] * i32::from(filter[k]));
            assert_eq!(row[x], 4 * taps.sum::<i32>());
        }
    }
}
