//! [Winograd's filtering](crate::kernels::x86::winograd): `VPDPWSSD` adds the products of two inputs
//! to a sum of 32 bits.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::conv_2d::counted;
use super::requantize::{Codes, Columns, moved, scaled};
use super::unrolled;
use super::vector::{LANES, first, load_codes};
use crate::kernels::packed::winograd::{BY_9, INPUTS, OUTPUTS, POSITIONS};
use crate::kernels::packed::{PARAMETERS, PackedConv2d};
use crate::kernels::x86::winograd::{self, Filtering, Outputs, Panels, TILES, Tiles, halvings};
use crate::kernels::x86::{BIAS, Sequence};
use crate::kernels::{self, Path};

/// Panels whose sums are in registers at once.
const PANELS: usize = 4;
/// Input channels that are transformed at once.
const WIDE: usize = 32;

/// The weights of a panel for two inputs, two bytes each.
type Pairs = [i8; 4 * LANES];

/// What a tile and `V` panels make at each position.
type Products<const V: usize> = [[MaybeUninit<__m512i>; POSITIONS]; V];

/// The instructions of [`Path::Avx512Vnni`].
#[derive(Debug)]
pub(super) struct Filter;

impl Filtering for Filter {
    const PATH: Path = Path::Avx512Vnni;
    const COLUMNS: usize = LANES;
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
        let all_outputs = match panels.columns.len() / (LANES * PARAMETERS as usize) {
            1 => all_outputs::<S, 1, _>,
            2 => all_outputs::<S, 2, _>,
            3 => all_outputs::<S, 3, _>,
            _ => all_outputs::<S, PANELS, _>,
        };
        // SAFETY: the caller's promise.
        unsafe { all_outputs(params, tiles, panels, outputs) }
    }
}

/// # Safety
///
/// As [`Filtering::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn all_outputs<S: Sequence, const V: usize, O: Fn(usize) -> Outputs>(
    params: &PackedConv2d,
    tiles: &Tiles,
    panels: &Panels<'_>,
    outputs: O,
) {
    let mut products = [[[const { MaybeUninit::uninit() }; POSITIONS]; V]; TILES];
    // SAFETY: the caller's promise.
    unsafe { multiply(&mut products, tiles, panels.weights.as_chunks().0) };
    for (tile, products) in products.iter().enumerate().take(tiles.count()) {
        let outputs = outputs(tile);
        let tables = panels.columns.chunks(LANES * PARAMETERS as usize);
        for (v, (products, table)) in products.iter().zip(tables).enumerate() {
            let Some(columns) = Columns::new(table) else { return };
            let start = v * LANES;
            let (channel, stored) = (panels.channel + start, panels.stored - start);
            let panel = Panel { columns, channel, stored: first(stored.min(LANES)) as __mmask16 };
            // SAFETY: the products have been made; the outputs are as the caller says.
            unsafe { finish::<S>(products, params, &panel, &outputs) };
        }
    }
}

/// A panel, and where its outputs go.
struct Panel<'a> {
    columns: Columns<'a, 1>,
    /// From the share's first channel to its first.
    channel: usize,
    /// Columns to store.
    stored: __mmask16,
}

/// See [`Filtering::transform`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn transform(
    pixels: &[*const i8; POSITIONS],
    tiles: &Tiles,
    tile: usize,
    [down, across]: [bool; 2],
) {
    // Positions are gone through one by one: the compiler would compute all places beforehand.
    let (first_place, step) = (tiles.at(0, tile), tiles.at(1, 0).addr() - tiles.at(0, 0).addr());
    for channel in (0..tiles.channels()).step_by(WIDE) {
        let mut place = counted(2 * channel);
        let channel = counted(channel);
        let present = first(WIDE.min(tiles.channels() - channel)) as __mmask32;
        let mut halfway = [[_mm512_setzero_si512(); INPUTS]; INPUTS];
        unrolled!(column < INPUTS, {
            let mut codes = [_mm512_setzero_si512(); INPUTS];
            for row in 0..INPUTS {
                let from = pixels[INPUTS * row + column].wrapping_add(channel);
                // SAFETY: the channels of a pixel that there are.
                codes[row] =
                    _mm512_cvtepi8_epi16(unsafe { _mm256_maskz_loadu_epi8(present, from) });
            }
            halfway[column] = spread(codes, down);
        });
        unrolled!(row < INPUTS, {
            let numbers = spread(halfway.map(|column| column[row]), across);
            for column in 0..INPUTS {
                let to = first_place.wrapping_byte_add(place);
                place = counted(place.wrapping_add(step));
                // SAFETY: the numbers of the tile, and where it has 16 more, what is behind them:
                // the next tile's, which come later, or the gap.
                unsafe { _mm512_storeu_si512(to.cast(), numbers[column]) };
            }
        });
    }
}

/// See [`winograd::spread`] and [`winograd::spread_short`].
#[inline]
#[target_feature(enable = "avx512bw")]
fn spread(column: [__m512i; INPUTS], short: bool) -> [__m512i; INPUTS] {
    let (plus, minus) = (|a, b| _mm512_add_epi16(a, b), |a, b| _mm512_sub_epi16(a, b));
    if short {
        winograd::spread_short(column, plus, minus, _mm512_setzero_si512())
    } else {
        winograd::spread(column, plus, minus, |a| _mm512_slli_epi16::<2>(a))
    }
}

/// Multiplies all tiles with the panels of `weights`.
///
/// # Safety
///
/// The tiles are there, and the panels whole.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn multiply<const V: usize>(
    products: &mut [Products<V>; TILES],
    tiles: &Tiles,
    weights: &[Pairs],
) {
    let pairs = tiles.channels() / 2;
    // Of more, the places of the numbers do not fit into the registers.
    let most = if V > 3 { 6 } else { 8 };
    for position in 0..POSITIONS {
        let mut panels: [&[Pairs]; V] = [&[]; V];
        for (v, panel) in panels.iter_mut().enumerate() {
            let start = (v * POSITIONS + position) * pairs;
            let Some(here) = weights.get(start..start + pairs) else { return };
            *panel = here;
        }
        let here = tiles.at_position(position);
        let Some((before, others)) = products.split_at_mut_checked(here.start) else { return };
        let Some(behind) = others.get_mut(here.len()..tiles.count() - here.start) else { return };
        for products in before.iter_mut().chain(behind) {
            for v in 0..V {
                products[v][position].write(_mm512_setzero_si512());
            }
        }
        for tiles_here in winograd::parts(here, most) {
            let start = tiles_here.start;
            let Some(products) = products.get_mut(tiles_here) else { return };
            let part = match products.len() {
                1 => part::<1, V>,
                2 => part::<2, V>,
                3 => part::<3, V>,
                4 => part::<4, V>,
                5 => part::<5, V>,
                6 => part::<6, V>,
                7 if V <= 3 => part::<7, V>,
                8 if V <= 3 => part::<8, V>,
                _ => return,
            };
            // SAFETY: the caller's promise.
            unsafe { part(products, position, tiles, start, panels) };
        }
    }
}

/// The products of `R` tiles from tile `start` on at a position.
///
/// # Safety
///
/// The tiles are there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn part<const R: usize, const V: usize>(
    products: &mut [Products<V>],
    position: usize,
    tiles: &Tiles,
    start: usize,
    panels: [&[Pairs]; V],
) {
    let mut sums = [[_mm512_setzero_si512(); V]; R];
    let mut starts = [core::ptr::null(); R];
    for r in 0..R {
        starts[r] = tiles.at(position, start + r).cast_const();
    }
    let mut at = 0;
    for pair in 0..tiles.channels() / 2 {
        let mut weights = [_mm512_setzero_si512(); V];
        for v in 0..V {
            let Some(pairs) = panels[v].get(pair) else { return };
            weights[v] = load_codes(pairs);
            // Those of the next position, which may be far away.
            let next = pairs.as_ptr().wrapping_add(size_of_val(panels[v]));
            _mm_prefetch::<_MM_HINT_T1>(next);
        }
        for r in 0..R {
            let numbers = starts[r].wrapping_byte_add(at).cast::<i32>();
            // SAFETY: a pair of a tile's numbers.
            let numbers = _mm512_set1_epi32(unsafe { numbers.read_unaligned() });
            for v in 0..V {
                sums[r][v] = _mm512_dpwssd_epi32(sums[r][v], numbers, weights[v]);
            }
        }
        at = counted(at.wrapping_add(4));
    }
    for (sums, products) in sums.into_iter().zip(products) {
        for v in 0..V {
            products[v][position].write(sums[v]);
        }
    }
}

/// Makes the outputs of a tile of its products with a panel.
///
/// # Safety
///
/// All products are there, and every output is writable for the columns of the panel that are to be
/// stored.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn finish<S: Sequence>(
    products: &[MaybeUninit<__m512i>; POSITIONS],
    params: &PackedConv2d,
    panel: &Panel<'_>,
    outputs: &Outputs,
) {
    let mut halfway = [[_mm512_setzero_si512(); OUTPUTS]; INPUTS];
    unrolled!(column < INPUTS, {
        let mut rows = [_mm512_setzero_si512(); INPUTS];
        for row in 0..INPUTS {
            // SAFETY: the caller's promise.
            rows[row] = unsafe { products[INPUTS * row + column].assume_init() };
        }
        halfway[column] = gathered(rows);
    });
    let [biases] = panel.columns.row::<BIAS>();
    let biases = if S::FAST { moved(biases) } else { biases };
    let by_9 = _mm512_set1_epi32(BY_9);
    let codes = Codes::<1>::new(params.output);
    unrolled!(row < OUTPUTS, {
        if outputs[row][0].is_some() {
            let mut sums = gathered(halfway.map(|column| column[row]));
            for column in 0..OUTPUTS {
                let sum = _mm512_mullo_epi32(sums[column], by_9);
                let shift = _mm_cvtsi32_si128(halvings(row, column));
                sums[column] = _mm512_add_epi32(_mm512_sra_epi32(sum, shift), biases);
            }
            let steps = scaled::<S, OUTPUTS>(sums, params.rounding, panel.columns);
            for (codes, to) in codes.rows(steps).into_iter().zip(outputs[row]) {
                if let Some(to) = to {
                    let to = to.wrapping_add(panel.channel);
                    // SAFETY: the caller's promise.
                    unsafe { _mm_mask_storeu_epi8(to, panel.stored, codes) };
                }
            }
        }
    });
}

/// See [`winograd::gathered`].
#[inline]
#[target_feature(enable = "avx512f")]
fn gathered(column: [__m512i; INPUTS]) -> [__m512i; OUTPUTS] {
    let (plus, minus) = (|a, b| _mm512_add_epi32(a, b), |a, b| _mm512_sub_epi32(a, b));
    winograd::gathered(column, plus, minus, |a| _mm512_slli_epi32::<2>(a))
}
