//! Winograd's minimal filtering F(4x4, 3x3) in integers: 36 products for 16 outputs, not 144.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). Of a tile `d` of
//! 6x6 inputs and a filter `g`, `V = Bᵀ d B` and `U = G g Gᵀ` are multiplied number by number, and
//! the outputs are `Aᵀ M A` of the sums `M` over the inputs' channels. Rows of their `G` are
//! fractions; here they are whole, and what they lack of 24 is in `Aᵀ`:
//!
//! ```text
//! Bᵀ  4  0 -5  0  1  0      G  3  0  0      Aᵀ  2  4  4  1  1  0
//!     0 -4 -4  1  1  0        -1 -1 -1          0  4 -4  2 -2  0
//!     0  4 -4 -1  1  0        -1  1 -1          0  4  4  4  4  0
//!     0 -2 -1  2  1  0         1  2  4          0  4 -4  8 -8  8
//!     0  2 -1 -2  1  0         1 -2  4
//!     0  4  0 -5  0  1         0  0  3
//! ```
//!
//! So the outputs come out 576 times as large as they should: modulo 2^32 the factor 9 is divided by
//! [multiplying](BY_9), and the other, 64, by shifting. That is exact while they
//! [fit](is_exact) 26 bits, whatever overflows before.
//!
//! Tiles at the edges of an output may have less of it, for which fewer products do. Without the
//! last row of `Aᵀ` nothing is made of the sixth row of `Bᵀ d`. Two outputs are the first and the
//! last row of `Aᵀ M` if `Bᵀ` is another, and the same filters serve:
//!
//! ```text
//! 4  0 -4  0  0  0
//! 0 -3 -3  0  0  0
//! 0  3 -3  0  0  0
//! 0  0  0  0  0  0
//! 0  0  0  0  0  0
//! 0 -1  0  1  0  0
//! ```
#![forbid(unsafe_code)]

use crate::kernels::Path;
use crate::tensor::Hwc;

/// Outputs of a tile, across and down.
pub const OUTPUTS: usize = 4;

/// Inputs of a tile, across and down.
pub(crate) const INPUTS: usize = 6;

/// Products of a tile.
pub const POSITIONS: usize = INPUTS * INPUTS;

/// Bit by bit, which of the positions along an axis 1 to 4 outputs are made of.
pub(crate) const fn positions(outputs: usize) -> u8 {
    match outputs {
        1 => 0b00_0111,
        2 => 0b10_0111,
        3 => 0b01_1111,
        _ => 0b11_1111,
    }
}

/// The products that an output is made of, per input and column.
#[must_use]
pub fn multiplications(output: Hwc) -> u64 {
    let [down, across] = [output.h, output.w].map(|n| {
        let rest = match n % OUTPUTS as u32 {
            0 => 0,
            rest => positions(rest as usize).count_ones(),
        };
        u64::from(n / OUTPUTS as u32) * INPUTS as u64 + u64::from(rest)
    });
    down * across
}

/// The inverse of 9 modulo 2^32.
pub const BY_9: i32 = 954_437_177;

/// How often to halve outputs for the other factor.
pub(crate) const HALVINGS: i32 = 6;

/// Most input channels of a group.
pub const MOST_CHANNELS: u32 = 512;

/// Input channels are a multiple of it.
pub const CHANNELS: u32 = 16;

/// Bytes of a panel per column and input channel.
pub(crate) const BYTES: u32 = 2 * POSITIONS as u32;

/// Whether outputs fit 26 bits, the magnitudes of whose weights have this sum.
#[must_use]
pub const fn is_exact(magnitudes: u32) -> bool {
    magnitudes < (1 << (31 - HALVINGS)) / 128
}

/// Whether a convolution on `path` is faster this way; `output` is that of a group.
#[must_use]
pub fn pays(path: Path, channels: u32, output: Hwc) -> bool {
    let [inputs, outputs] = [channels, output.c].map(u64::from);
    let pixels = u64::from(output.h) * u64::from(output.w);
    let tiles = u64::from(output.h.div_ceil(4)) * u64::from(output.w.div_ceil(4));
    let weights = POSITIONS as u64 * inputs * outputs;
    let products = multiplications(output) * inputs * outputs;
    // Weights are read for some tiles at a time.
    let times = tiles.div_ceil(24);
    match path {
        // Instructions.
        Path::Avx2 => {
            // 8 products in one.
            let directly = 9 * inputs * outputs * pixels / 8;
            // For the 16 outputs of a tile: 16 inputs transformed in 400, and 8 sums in 500.
            let tile = 25 * inputs + 60 * outputs;
            // 32 products in 6; weights of two bytes come from beyond the second-level cache.
            products * 6 / 32 + tile * tiles + times * weights * 4 / 5 < directly
        }
        // Cycles of a core that executes one such instruction in each.
        Path::Avx512Vnni => {
            // 64 products in one, and 16 sums in 7.
            let directly = (9 * inputs * outputs / 64 + 7 * outputs / 16) * pixels;
            // For the 16 outputs of a tile: 32 inputs transformed in 160, and 16 sums in 224.
            let tile = 5 * inputs + 14 * outputs + 500;
            // 32 products in one, but for what the rest takes.
            let multiplied = products * 10 / (9 * 32);
            // Lines of weights from beyond the second-level cache, if not multiplied with many tiles
            // meanwhile, are waited for.
            let wait = if weights < 1 << 18 { 1 } else { 8 - tiles.min(7) };
            multiplied + tile * tiles + times * weights / 32 * wait < directly
        }
        _ => false,
    }
}

/// A filter of 3x3 taps, each of 9 bits, transformed.
#[must_use]
pub fn transformed(filter: [i16; 9]) -> [i16; POSITIONS] {
    let mut all = [0; POSITIONS];
    let [a, b, c] = columns::<3, 9>(&filter).map(products);
    let rows = a.into_iter().zip(b).zip(c);
    for (row, ((a, b), c)) in all.as_chunks_mut().0.iter_mut().zip(rows) {
        *row = products([a, b, c]);
    }
    all
}

/// The filter that was [`transformed`] to `all`, if one was.
pub(super) fn restored(all: [i16; POSITIONS]) -> [i16; 9] {
    let mut filter = [0; 9];
    let [a, b, c, d, e, f] = columns::<INPUTS, POSITIONS>(&all).map(taps);
    for (at, row) in filter.as_chunks_mut().0.iter_mut().enumerate() {
        *row = taps([a, b, c, d, e, f].map(|column| column.get(at).copied().unwrap_or(0)));
    }
    filter
}

/// The columns of a square of numbers.
fn columns<const N: usize, const ALL: usize>(square: &[i16; ALL]) -> [[i16; N]; N] {
    let mut columns = [[0; N]; N];
    for (at, column) in columns.iter_mut().enumerate() {
        for (place, &number) in column.iter_mut().zip(square.iter().skip(at).step_by(N)) {
            *place = number;
        }
    }
    columns
}

/// `G` times a column.
fn products([a, b, c]: [i16; 3]) -> [i16; INPUTS] {
    let (ends, double, far) = (-a - c, 2 * b, a + 4 * c);
    [3 * a, ends - b, ends + b, far + double, far - double, 3 * c]
}

/// The inverse of [`products`].
fn taps([a, b, c, _, _, f]: [i16; INPUTS]) -> [i16; 3] {
    [a / 3, c.wrapping_sub(b) / 2, f / 3]
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

/// Whether every filter in a panel is one that was transformed, and outputs are exact.
pub(super) fn are_filters(panel: &[i8], channels: usize, width: usize) -> bool {
    (0..width).all(|slot| {
        let mut magnitudes = 0u32;
        let are_filters = (0..channels).all(|input| {
            let all = filter(panel, channels, input, width, slot);
            let filter = restored(all);
            let mut weights = filter.iter().map(|weight| u32::from(weight.unsigned_abs()));
            magnitudes += weights.clone().sum::<u32>();
            weights.all(|weight| weight <= 255) && transformed(filter) == all
        });
        are_filters && is_exact(magnitudes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(seed: i32) -> [i16; 9] {
        core::array::from_fn(|i| {
            let number = (seed + 1).wrapping_mul(7919).wrapping_add(i as i32 * 104_729);
            (number.wrapping_mul(number) >> 7).rem_euclid(511) as i16 - 255
        })
    }

    #[test]
    fn transformed_filters_are_restored() {
        for seed in 0..1000 {
            assert_eq!(restored(transformed(filter(seed))), filter(seed));
        }
        for extreme in [[255; 9], [-255; 9], [255, -255, 255, -255, 255, -255, 255, -255, 255]] {
            assert_eq!(restored(transformed(extreme)), extreme);
        }
    }

    /// `matrix` times `square` times the transposed matrix.
    fn both<const R: usize, const N: usize>(
        matrix: [[i32; N]; R],
        square: [[i32; N]; N],
    ) -> [[i32; R]; R] {
        let half: [[i32; N]; R] = matrix.map(|row| {
            core::array::from_fn(|x| {
                (0..N).map(|i| row[i].wrapping_mul(square[i][x])).fold(0, i32::wrapping_add)
            })
        });
        half.map(|line| {
            core::array::from_fn(|x| {
                (0..N).map(|i| matrix[x][i].wrapping_mul(line[i])).fold(0, i32::wrapping_add)
            })
        })
    }

    /// What a tile and a filter make with this `Bᵀ`, and what each output should be, as if there
    /// were so many channels that products overflow.
    fn outputs(from: [[i32; 6]; 6], seed: i32) -> ([[i32; 4]; 4], impl Fn(usize, usize) -> i32) {
        const TO: [[i32; 6]; 4] =
            [[2, 4, 4, 1, 1, 0], [0, 4, -4, 2, -2, 0], [0, 4, 4, 4, 4, 0], [0, 4, -4, 8, -8, 8]];
        const MANY: i32 = 150;
        let filter = filter(seed);
        let input: [[i32; 6]; 6] = core::array::from_fn(|y| {
            core::array::from_fn(|x| ((y as i32 * 31 + x as i32 * 7 + seed) * 77) % 128)
        });
        let (tile, filters) = (both(from, input), transformed(filter));
        let products = core::array::from_fn(|y| {
            core::array::from_fn(|x| tile[y][x].wrapping_mul(filters[6 * y + x].into()))
        });
        let output = |sum: i32| sum.wrapping_mul(MANY).wrapping_mul(BY_9) >> HALVINGS;
        let expected = move |y: usize, x: usize| {
            let taps = (0..9).map(|k| input[y + k / 3][x + k % 3] * i32::from(filter[k]));
            taps.sum::<i32>() * MANY
        };
        (both(TO, products).map(|row| row.map(output)), expected)
    }

    #[test]
    fn outputs_come_out_576_times_as_large() {
        let from = [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ];
        for seed in 0..100 {
            let (outputs, expected) = outputs(from, seed);
            for (y, x) in (0..4).flat_map(|y| (0..4).map(move |x| (y, x))) {
                assert_eq!(outputs[y][x], expected(y, x), "{y} {x}");
            }
        }
    }

    #[test]
    fn two_outputs_are_the_first_and_the_last() {
        let from = [
            [4, 0, -4, 0, 0, 0],
            [0, -3, -3, 0, 0, 0],
            [0, 3, -3, 0, 0, 0],
            [0; 6],
            [0; 6],
            [0, -1, 0, 1, 0, 0],
        ];
        for seed in 0..100 {
            let (outputs, expected) = outputs(from, seed);
            for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                assert_eq!(outputs[3 * y][3 * x], expected(y, x), "{y} {x}");
            }
        }
    }

    #[test]
    fn what_is_left_of_an_image_takes_fewer_multiplications() {
        let image = |n| multiplications(Hwc { h: n, w: n, c: 1 });
        assert_eq!([1, 2, 3, 4, 13, 14].map(image), [9, 16, 25, 36, 21 * 21, 22 * 22]);
    }
}
