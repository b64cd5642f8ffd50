//! [Winograd's filtering](crate::kernels::x86::winograd): `VPMADDWD` adds the products of two inputs
//! in 32 bits.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::requantize::{Codes, Columns, begun, scaled};
use super::vector::{self, load_weights};
use crate::kernels::packed::place::{COLUMNS, Group as Pairs};
use crate::kernels::packed::winograd::{BY_9, CHANNELS, INPUTS, OUTPUTS, POSITIONS};
use crate::kernels::packed::{PARAMETERS, PackedConv2d};
use crate::kernels::x86::winograd::{self, Filtering, Outputs, Panels, TILES, Tiles, halvings};
use crate::kernels::x86::{BIAS, Sequence};
use crate::kernels::{self, Path};

/// Tiles whose sums are in registers at once.
const TOGETHER: usize = 6;
/// Panels whose sums are in registers at once.
const PANELS: usize = 2;

/// What a tile and some panels make at each position.
type Products = [MaybeUninit<[__m256i; PANELS]>; POSITIONS];

/// The instructions of [`Path::Avx2`].
#[derive(Debug)]
pub(super) struct Filter;

impl Filtering for Filter {
    const PATH: Path = Path::Avx2;
    const COLUMNS: usize = COLUMNS;
    const PANELS: usize = PANELS;
    const ADD: kernels::Kernel<PackedConv2d> = super::add_residual;

    unsafe fn transform(
        pixels: &[*const i8; POSITIONS],
        tiles: &Tiles,
        tile: usize,
        short: [bool; 2],
    ) {
        // SAFETY: the caller's promise.
        unsafe { transform(pixels, tiles, tile, short) }
    }

    unsafe fn multiply<S: Sequence>(
        params: &PackedConv2d,
        tiles: &Tiles,
        panels: &Panels<'_>,
        outputs: impl Fn(usize) -> Outputs,
    ) {
        // SAFETY: the caller's promise.
        unsafe { all_outputs::<S>(params, tiles, panels, outputs) }
    }
}

/// # Safety
///
/// As [`Filtering::multiply`].
#[target_feature(enable = "avx2")]
unsafe fn all_outputs<S: Sequence>(
    params: &PackedConv2d,
    tiles: &Tiles,
    panels: &Panels<'_>,
    outputs: impl Fn(usize) -> Outputs,
) {
    let weights = panels.weights.as_chunks().0;
    let panel = POSITIONS * tiles.channels() / 2;
    let Some((a, others)) = weights.split_at_checked(panel) else { return };
    let b = if others.is_empty() { a } else { others };
    let mut products = [[const { MaybeUninit::uninit() }; POSITIONS]; TILES];
    // SAFETY: the caller's promise.
    unsafe { multiply(&mut products, tiles, [a, b]) };
    for (tile, products) in products.iter().enumerate().take(tiles.count()) {
        let outputs = outputs(tile);
        let tables = panels.columns.chunks(COLUMNS * PARAMETERS as usize);
        for (v, table) in tables.enumerate().take(PANELS) {
            let Some(columns) = Columns::new(table) else { return };
            let first = v * COLUMNS;
            let (channel, stored) = (panels.channel + first, (panels.stored - first).min(COLUMNS));
            let panel = Panel { columns, channel, stored };
            // SAFETY: the products have been made; the outputs are as the caller says.
            unsafe { finish::<S>(products, v, params, &panel, &outputs) };
        }
    }
}

/// A panel, and where its outputs go.
struct Panel<'a> {
    columns: Columns<'a, 1>,
    /// From the share's first channel to its first.
    channel: usize,
    /// Columns to store.
    stored: usize,
}

/// See [`Filtering::transform`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "avx2")]
unsafe fn transform(
    pixels: &[*const i8; POSITIONS],
    tiles: &Tiles,
    tile: usize,
    [down, across]: [bool; 2],
) {
    for channel in (0..tiles.channels()).step_by(CHANNELS as usize) {
        let mut halfway = [[_mm256_setzero_si256(); INPUTS]; INPUTS];
        for column in 0..INPUTS {
            let mut codes = [_mm256_setzero_si256(); INPUTS];
            for row in 0..INPUTS {
                let from = pixels[INPUTS * row + column].wrapping_add(channel);
                // SAFETY: 16 channels of a pixel.
                codes[row] = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(from.cast()) });
            }
            halfway[column] = spread(codes, down);
        }
        for row in 0..INPUTS {
            let [a, b, c, d, e, f] = halfway;
            let numbers = spread([a[row], b[row], c[row], d[row], e[row], f[row]], across);
            for column in 0..INPUTS {
                let to = tiles.at(INPUTS * row + column, tile).wrapping_add(channel);
                // SAFETY: the caller's promise.
                unsafe { _mm256_storeu_si256(to.cast(), numbers[column]) };
            }
        }
    }
}

/// See [`winograd::spread`] and [`winograd::spread_short`].
#[inline]
#[target_feature(enable = "avx2")]
fn spread(column: [__m256i; INPUTS], short: bool) -> [__m256i; INPUTS] {
    let (plus, minus) = (|a, b| _mm256_add_epi16(a, b), |a, b| _mm256_sub_epi16(a, b));
    if short {
        winograd::spread_short(column, plus, minus, _mm256_setzero_si256())
    } else {
        winograd::spread(column, plus, minus, |a| _mm256_slli_epi16::<2>(a))
    }
}

/// Multiplies all tiles with the panels.
///
/// # Safety
///
/// The tiles are there, and the panels whole.
#[target_feature(enable = "avx2")]
unsafe fn multiply(products: &mut [Products; TILES], tiles: &Tiles, panels: [&[Pairs]; PANELS]) {
    let channels = tiles.channels();
    let pairs = channels / 2;
    let [a, b] = panels.map(|panel| panel.chunks_exact(pairs));
    for (position, (a, b)) in a.zip(b).take(POSITIONS).enumerate() {
        let here = tiles.at_position(position);
        let Some((before, others)) = products.split_at_mut_checked(here.start) else { return };
        let Some(behind) = others.get_mut(here.len()..tiles.count() - here.start) else { return };
        for products in before.iter_mut().chain(behind) {
            products[position].write([_mm256_setzero_si256(); PANELS]);
        }
        for tiles_here in winograd::parts(here, TOGETHER) {
            let numbers = tiles.at(position, tiles_here.start);
            let Some(products) = products.get_mut(tiles_here) else { return };
            let part = match products.len() {
                1 => part::<1>,
                2 => part::<2>,
                3 => part::<3>,
                4 => part::<4>,
                5 => part::<5>,
                _ => part::<6>,
            };
            // SAFETY: the caller's promise.
            unsafe { part(products, position, numbers, channels, [a, b]) };
        }
    }
}

/// The products of `R` tiles at a position.
///
/// # Safety
///
/// The `channels` numbers of the tiles, from `numbers` on, are readable.
#[target_feature(enable = "avx2")]
unsafe fn part<const R: usize>(
    products: &mut [Products],
    position: usize,
    numbers: *const i16,
    channels: usize,
    [a, b]: [&[Pairs]; PANELS],
) {
    let mut sums = [[_mm256_setzero_si256(); PANELS]; R];
    let mut starts = [numbers; R];
    for r in 0..R {
        starts[r] = numbers.wrapping_add(r * channels);
    }
    let (a, b) = (a.as_chunks::<2>().0, b.as_chunks::<2>().0);
    for (quad, (a, b)) in a.iter().zip(b).enumerate() {
        let weights = [load_weights(&a[0]), load_weights(&b[0])];
        for r in 0..R {
            // SAFETY: a pair of the channels.
            sums[r] = unsafe { multiply_pair::<0>(sums[r], starts[r], quad, weights) };
        }
        let weights = [load_weights(&a[1]), load_weights(&b[1])];
        for r in 0..R {
            // SAFETY: the next.
            sums[r] = unsafe { multiply_pair::<4>(sums[r], starts[r], quad, weights) };
        }
    }
    for (sums, products) in sums.into_iter().zip(products) {
        products[position].write(sums);
    }
}

/// Adds the products of two adjacent numbers, `AT` bytes behind the four at `quad`, from `start`
/// on.
///
/// In one piece, as in [`multiply`](super::conv_2d).
///
/// # Safety
///
/// The pair is readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply_pair<const AT: usize>(
    [mut a, mut b]: [__m256i; PANELS],
    start: *const i16,
    quad: usize,
    [for_a, for_b]: [__m256i; PANELS],
) -> [__m256i; PANELS] {
    // SAFETY: reads the pair, which is readable.
    unsafe {
        asm!(
            "vpbroadcastd {numbers}, dword ptr [{start} + 8 * {quad} + {at}]",
            "vpmaddwd {products}, {numbers}, {for_a}",
            "vpmaddwd {numbers}, {numbers}, {for_b}",
            "vpaddd {a}, {a}, {products}",
            "vpaddd {b}, {b}, {numbers}",
            a = inout(ymm_reg) a,
            b = inout(ymm_reg) b,
            numbers = out(ymm_reg) _,
            products = out(ymm_reg) _,
            for_a = in(ymm_reg) for_a,
            for_b = in(ymm_reg) for_b,
            start = in(reg) start,
            quad = in(reg) quad,
            at = const AT,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [a, b]
}

/// Makes the outputs of a tile of its products with panel `v`.
///
/// # Safety
///
/// All products are there, and every output is writable for the columns of the panel that are to be
/// stored.
#[target_feature(enable = "avx2")]
unsafe fn finish<S: Sequence>(
    products: &Products,
    v: usize,
    params: &PackedConv2d,
    panel: &Panel<'_>,
    outputs: &Outputs,
) {
    let mut halfway = [[_mm256_setzero_si256(); OUTPUTS]; INPUTS];
    for column in 0..INPUTS {
        let mut rows = [_mm256_setzero_si256(); INPUTS];
        for row in 0..INPUTS {
            // SAFETY: the caller's promise.
            rows[row] = unsafe { products[INPUTS * row + column].assume_init_ref() }[v];
        }
        halfway[column] = gathered(rows);
    }
    let [biases] = panel.columns.row::<BIAS>();
    let (biases, by_9) = (begun::<S>(biases), _mm256_set1_epi32(BY_9));
    let codes = Codes::new(params.output);
    for row in 0..OUTPUTS {
        if outputs[row][0].is_none() {
            continue;
        }
        let [a, b, c, d, e, f] = halfway;
        let mut sums = gathered([a[row], b[row], c[row], d[row], e[row], f[row]]);
        for column in 0..OUTPUTS {
            let sum = _mm256_mullo_epi32(sums[column], by_9);
            let shift = _mm_cvtsi32_si128(halvings(row, column));
            sums[column] = _mm256_add_epi32(_mm256_sra_epi32(sum, shift), biases);
        }
        let steps = scaled::<S, OUTPUTS>(sums, params.rounding, panel.columns);
        for (codes, to) in codes.rows(steps).into_iter().zip(outputs[row]) {
            if let Some(to) = to {
                // SAFETY: the caller's promise.
                unsafe { vector::store(to.wrapping_add(panel.channel), codes, panel.stored) };
            }
        }
    }
}

/// See [`winograd::gathered`].
#[inline]
#[target_feature(enable = "avx2")]
fn gathered(column: [__m256i; INPUTS]) -> [__m256i; OUTPUTS] {
    let (plus, minus) = (|a, b| _mm256_add_epi32(a, b), |a, b| _mm256_sub_epi32(a, b));
    winograd::gathered(column, plus, minus, |a| _mm256_slli_epi32::<2>(a))
}
