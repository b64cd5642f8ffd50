//! Convolutions by [Winograd's filtering](crate::kernels::packed::winograd), in 16 bits.
//!
//! Tiles are transformed, some at a time; then each panel is multiplied with all of them, and what
//! comes out is transformed to sums. `VPMADDWD` adds the products of two inputs in 32 bits.
// Loops over indices that are constants once unrolled: iterators put the vectors into memory.
#![allow(clippy::needless_range_loop)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::GroupKernel;
use super::requantize::{Codes, Columns, begun, scaled};
use super::vector::{self, load_weights};
use crate::kernels::packed::driver::add_residual;
use crate::kernels::packed::group::Group;
use crate::kernels::packed::place::{COLUMNS, Group as Pairs};
use crate::kernels::packed::winograd::{
    BY_9, CHANNELS, HALVINGS, INPUTS, MOST_CHANNELS, OUTPUTS, POSITIONS,
};
use crate::kernels::packed::{PARAMETERS, PackedConv2d};
use crate::kernels::x86::{BIAS, Sequence};
use crate::tensor::{Layout, Region};
use crate::weights::Weights;

/// Most tiles that are transformed before they are multiplied.
const TILES: usize = 24;
/// Tiles whose sums are in registers at once.
const TOGETHER: usize = 6;
/// Panels whose sums are in registers at once.
const PANELS: usize = 2;
/// Numbers that tiles are transformed to: they stay in the second-level cache.
const NUMBERS: usize = 160 << 10;
/// Numbers between those of a position and those of the next, so that they do not all fall into
/// the same set of the cache.
const GAP: usize = 32;

/// What a tile and some panels make at each position.
type Products = [MaybeUninit<[__m256i; PANELS]>; POSITIONS];

/// Memory for transformed tiles.
#[repr(align(64))]
struct Scratch([MaybeUninit<i16>; NUMBERS + GAP * POSITIONS]);

/// The kernel of [`Access::Winograd`](crate::kernels::packed::Access).
#[derive(Debug)]
pub(super) struct Kernel;

impl GroupKernel for Kernel {
    #[target_feature(enable = "avx2")]
    unsafe fn compute<S: Sequence>(
        params: &PackedConv2d,
        weights: &Weights<'_>,
        group: &Group<'_>,
    ) {
        let Group { input, output, filters, columns, depth, .. } = group;
        let (c, share) = (input.hwc().c as usize, output.channels());
        let is_valid = share.start.is_multiple_of(COLUMNS)
            && c.is_multiple_of(CHANNELS as usize)
            && c <= MOST_CHANNELS as usize;
        if !is_valid || c == 0 {
            return;
        }
        let grid = Grid::of(params, group);
        let panels = share.start / COLUMNS..share.end.div_ceil(COLUMNS);
        let panel = |at: usize| {
            let filters = filters.chunks_exact(COLUMNS * *depth as usize).nth(at)?;
            let columns = columns.chunks_exact(COLUMNS * PARAMETERS as usize).nth(at)?;
            let first = at * COLUMNS;
            Some(Panel {
                weights: filters.as_chunks().0,
                columns: Columns::new(columns)?,
                channel: first - share.start,
                stored: (share.end - first).min(COLUMNS),
            })
        };

        let mut scratch = Scratch([const { MaybeUninit::uninit() }; NUMBERS + GAP * POSITIONS]);
        let scratch = scratch.0.as_mut_ptr().cast::<i16>();
        let padding = [params.input_zero_point; MOST_CHANNELS as usize];
        let mut products = [[const { MaybeUninit::uninit() }; POSITIONS]; TILES];
        let all = grid.tiles();
        let parts = all.div_ceil((NUMBERS / POSITIONS / c).min(TILES));
        let (mut first, mut added) = (0, output.rows().start);
        for i in 0..parts {
            let count = all / parts + usize::from(i < all % parts);
            let tiles = Tiles { numbers: scratch, count, channels: c };
            for tile in 0..count {
                let pixels = grid.inputs(first + tile, padding.as_ptr());
                // SAFETY: `c` codes of each pixel are readable; there is room for `count` tiles.
                unsafe { transform(&pixels, &tiles, tile) };
            }
            for at in panels.clone().step_by(PANELS) {
                let (Some(a), b) = (panel(at), panels.contains(&(at + 1)).then(|| panel(at + 1)))
                else {
                    return;
                };
                let b = b.flatten();
                let both = [a.weights, b.as_ref().unwrap_or(&a).weights];
                // SAFETY: all tiles have been transformed.
                unsafe { multiply(&mut products, &tiles, both) };
                for (tile, products) in (first..).zip(products.iter().take(count)) {
                    let outputs = grid.outputs(tile);
                    // SAFETY: the products have been made; the outputs are of this core's share.
                    unsafe { finish::<S>(products, 0, params, &a, &outputs) };
                    if let Some(b) = &b {
                        // SAFETY: as above.
                        unsafe { finish::<S>(products, 1, params, b, &outputs) };
                    }
                }
            }
            first += count;
            let rows = added..grid.complete(first);
            if group.residual.is_some() && !rows.is_empty() {
                added = rows.end;
                let region = Region { rows, channels: share.clone() };
                // SAFETY: the core has AVX2.
                unsafe { add_residual(super::add, params, weights, group, region) };
            }
        }
    }
}

/// A panel, and where its outputs go.
struct Panel<'a> {
    weights: &'a [Pairs],
    columns: Columns<'a, 1>,
    /// From the share's first channel to its first.
    channel: usize,
    /// Columns to store.
    stored: usize,
}

/// The tiles of a share: each makes four by four outputs.
struct Grid {
    input: *const i8,
    /// Rows and columns of the input, and of the padding before it.
    extents: [usize; 2],
    pad: [usize; 2],
    /// Bytes of the input from a row to the next and from a pixel to the next.
    steps: [usize; 2],
    output: *mut i8,
    output_steps: [usize; 2],
    /// The first output row, and how many rows and columns.
    first: usize,
    outputs: [usize; 2],
}

impl Grid {
    fn of(params: &PackedConv2d, group: &Group<'_>) -> Self {
        let Layout { hwc, row_stride, pixel_stride } = group.input.layout();
        let output = &group.output;
        let to = output.layout();
        Self {
            input: group.input.cells().as_ptr().cast(),
            extents: [hwc.h, hwc.w].map(|n| n as usize),
            pad: params.window.pad.map(usize::from),
            steps: [row_stride, pixel_stride].map(|n| n as usize),
            output: output.cells().as_ptr().cast_mut().cast(),
            output_steps: [to.row_stride, to.pixel_stride].map(|n| n as usize),
            first: output.rows().start,
            outputs: [output.rows().len(), output.columns().len()],
        }
    }

    /// Tiles of a row.
    fn across(&self) -> usize {
        self.outputs[1].div_ceil(OUTPUTS)
    }

    fn tiles(&self) -> usize {
        self.outputs[0].div_ceil(OUTPUTS) * self.across()
    }

    /// The end of the output rows that the first `tiles` tiles complete.
    fn complete(&self, tiles: usize) -> usize {
        let rows = tiles.checked_div(self.across()).unwrap_or(0);
        self.first + (OUTPUTS * rows).min(self.outputs[0])
    }

    /// The first output of a tile, from the share's first.
    fn place(&self, tile: usize) -> [usize; 2] {
        let across = self.across().max(1);
        [OUTPUTS * (tile / across), OUTPUTS * (tile % across)]
    }

    /// The pixels of a tile, row by row; `padding` is one outside the image.
    fn inputs(&self, tile: usize, padding: *const i8) -> [*const i8; POSITIONS] {
        let [y, x] = self.place(tile);
        let (y, x) = ((self.first + y).wrapping_sub(self.pad[0]), x.wrapping_sub(self.pad[1]));
        let mut pixels = [padding; POSITIONS];
        for (row, pixels) in pixels.as_chunks_mut::<INPUTS>().0.iter_mut().enumerate() {
            let y = y.wrapping_add(row);
            let row = self.input.wrapping_add(y.wrapping_mul(self.steps[0]));
            for (column, pixel) in pixels.iter_mut().enumerate() {
                let x = x.wrapping_add(column);
                if y < self.extents[0] && x < self.extents[1] {
                    *pixel = row.wrapping_add(x.wrapping_mul(self.steps[1]));
                }
            }
        }
        pixels
    }

    /// Where the outputs of a tile go; none behind the edges.
    fn outputs(&self, tile: usize) -> [[Option<*mut i8>; OUTPUTS]; OUTPUTS] {
        let [y, x] = self.place(tile);
        let mut outputs = [[None; OUTPUTS]; OUTPUTS];
        for (y, row) in (y..self.outputs[0]).zip(&mut outputs) {
            let first = self.output.wrapping_add(y * self.output_steps[0]);
            for (x, output) in (x..self.outputs[1]).zip(row) {
                *output = Some(first.wrapping_add(x * self.output_steps[1]));
            }
        }
        outputs
    }
}

/// Transformed tiles: position by position, then tile by tile, the numbers of the channels.
struct Tiles {
    numbers: *mut i16,
    count: usize,
    channels: usize,
}

impl Tiles {
    /// Numbers from a position to the next.
    fn step(&self) -> usize {
        self.count * self.channels + GAP
    }
}

/// Transforms the tile of `pixels` to be the one at `tile`.
///
/// # Safety
///
/// The channels of all pixels are readable, and there is room for the tile.
#[target_feature(enable = "avx2")]
unsafe fn transform(pixels: &[*const i8; POSITIONS], tiles: &Tiles, tile: usize) {
    for channel in (0..tiles.channels).step_by(CHANNELS as usize) {
        let mut halfway = [[_mm256_setzero_si256(); INPUTS]; INPUTS];
        for column in 0..INPUTS {
            let mut codes = [_mm256_setzero_si256(); INPUTS];
            for row in 0..INPUTS {
                let from = pixels[INPUTS * row + column].wrapping_add(channel);
                // SAFETY: 16 channels of a pixel.
                codes[row] = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(from.cast()) });
            }
            halfway[column] = spread(codes);
        }
        let to = tiles.numbers.wrapping_add(tile * tiles.channels + channel);
        for row in 0..INPUTS {
            let [a, b, c, d, e, f] = halfway;
            let numbers = spread([a[row], b[row], c[row], d[row], e[row], f[row]]);
            for column in 0..INPUTS {
                let to = to.wrapping_add((INPUTS * row + column) * tiles.step());
                // SAFETY: the caller's promise.
                unsafe { _mm256_storeu_si256(to.cast(), numbers[column]) };
            }
        }
    }
}

/// `Bᵀ` times a column.
#[inline]
#[target_feature(enable = "avx2")]
fn spread([a, b, c, d, e, f]: [__m256i; INPUTS]) -> [__m256i; INPUTS] {
    let minus = |a, b| _mm256_sub_epi16(a, b);
    let far = minus(e, _mm256_slli_epi16::<2>(c));
    let near = minus(d, _mm256_slli_epi16::<2>(b));
    let (even, odd) = (minus(e, c), minus(d, b));
    let double = _mm256_add_epi16(odd, odd);
    [
        _mm256_add_epi16(_mm256_slli_epi16::<2>(minus(a, c)), even),
        _mm256_add_epi16(far, near),
        minus(far, near),
        _mm256_add_epi16(even, double),
        minus(even, double),
        minus(minus(f, d), _mm256_slli_epi16::<2>(odd)),
    ]
}

/// Multiplies all tiles with the panels.
///
/// # Safety
///
/// The tiles are there.
#[target_feature(enable = "avx2")]
unsafe fn multiply(products: &mut [Products; TILES], tiles: &Tiles, panels: [&[Pairs]; PANELS]) {
    let pairs = tiles.channels / 2;
    let parts = tiles.count.div_ceil(TOGETHER);
    let (least, longer) = (tiles.count / parts, tiles.count % parts);
    let [a, b] = panels.map(|panel| panel.chunks_exact(pairs));
    for (position, (a, b)) in a.zip(b).take(POSITIONS).enumerate() {
        let mut first = 0;
        for i in 0..parts {
            let count = least + usize::from(i < longer);
            let numbers =
                tiles.numbers.wrapping_add(position * tiles.step() + first * tiles.channels);
            let Some(products) = products.get_mut(first..first + count) else { return };
            let part = match count {
                1 => part::<1>,
                2 => part::<2>,
                3 => part::<3>,
                4 => part::<4>,
                5 => part::<5>,
                _ => part::<6>,
            };
            // SAFETY: the caller's promise.
            unsafe { part(products, position, numbers, tiles.channels, [a, b]) };
            first += count;
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
    outputs: &[[Option<*mut i8>; OUTPUTS]; OUTPUTS],
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
        let [a, b, c, d, e, f] = halfway;
        let mut sums = gathered([a[row], b[row], c[row], d[row], e[row], f[row]]);
        for column in 0..OUTPUTS {
            let sum = _mm256_mullo_epi32(sums[column], by_9);
            let shift = _mm_cvtsi32_si128(HALVINGS - HALVED[row] - HALVED[column]);
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

/// How often the rows of `Aᵀ` are halved, which have common factors.
const HALVED: [i32; OUTPUTS] = [0, 1, 2, 2];

/// `Aᵀ`, [halved](HALVED), times a column.
#[inline]
#[target_feature(enable = "avx2")]
fn gathered([a, b, c, d, e, f]: [__m256i; INPUTS]) -> [__m256i; OUTPUTS] {
    let plus = |a, b| _mm256_add_epi32(a, b);
    let twice = |a| _mm256_add_epi32(a, a);
    let (near, far) = (plus(b, c), plus(d, e));
    let (near_odd, far_odd) = (_mm256_sub_epi32(b, c), _mm256_sub_epi32(d, e));
    [
        plus(plus(twice(a), _mm256_slli_epi32::<2>(near)), far),
        plus(twice(near_odd), far_odd),
        plus(near, far),
        plus(near_odd, twice(plus(far_odd, f))),
    ]
}
