//! Convolutions by [Winograd's filtering](crate::kernels::packed::winograd), in 16 bits.
//!
//! Tiles are transformed, some at a time; then each panel is multiplied with all of them, and what
//! comes out is transformed to sums. Which tiles, and where they lie, is here; the instructions are
//! below [`Filtering`].

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;

use super::Sequence;
use super::group::GroupKernel;
use crate::kernels::packed::driver::add_residual;
use crate::kernels::packed::group::Group;
use crate::kernels::packed::winograd::{
    CHANNELS, HALVINGS, INPUTS, MOST_CHANNELS, OUTPUTS, POSITIONS, positions,
};
use crate::kernels::packed::{PARAMETERS, PackedConv2d};
use crate::kernels::{self, Path};
use crate::tensor::{Layout, Region};
use crate::weights::Weights;

/// Most tiles that are transformed before they are multiplied.
pub(in crate::kernels) const TILES: usize = 24;
/// Numbers that tiles are transformed to: they stay in the second-level cache.
const NUMBERS: usize = 160 << 10;
/// Numbers between those of a position and those of the next, so that they do not all fall into
/// the same set of the cache.
const GAP: usize = 32;

/// How often to halve sums of each row and column of a tile yet: rows of `Aᵀ` have common factors,
/// which [`Filtering`] leaves out.
pub(in crate::kernels) const fn halvings(row: usize, column: usize) -> i32 {
    const HALVED: [i32; OUTPUTS] = [0, 1, 2, 2];
    HALVINGS - HALVED[row] - HALVED[column]
}

/// Whether `outputs` of a tile along an axis are few enough for the other `Bᵀ`.
const fn is_short(outputs: usize) -> bool {
    outputs <= 2
}

/// Whether outputs of a tile, so many down and across, are made of the product at `position`.
const fn is_needed([down, across]: [usize; 2], position: usize) -> bool {
    let needed =
        (positions(down) >> (position / INPUTS)) & (positions(across) >> (position % INPUTS));
    needed & 1 == 1
}

/// `Bᵀ` times a column, by a path's additions, subtractions and multiplications by four.
// Always: else what it is given would be called one by one.
#[inline(always)]
pub(in crate::kernels) fn spread<V: Copy>(
    [a, b, c, d, e, f]: [V; INPUTS],
    plus: impl Fn(V, V) -> V,
    minus: impl Fn(V, V) -> V,
    fourfold: impl Fn(V) -> V,
) -> [V; INPUTS] {
    let far = minus(e, fourfold(c));
    let near = minus(d, fourfold(b));
    let (even, odd) = (minus(e, c), minus(d, b));
    let double = plus(odd, odd);
    [
        plus(fourfold(minus(a, c)), even),
        plus(far, near),
        minus(far, near),
        plus(even, double),
        minus(even, double),
        minus(minus(f, d), fourfold(odd)),
    ]
}

/// The `Bᵀ` of [short](is_short) tiles times a column, as [`spread`].
#[inline(always)]
pub(in crate::kernels) fn spread_short<V: Copy>(
    [a, b, c, d, ..]: [V; INPUTS],
    plus: impl Fn(V, V) -> V,
    minus: impl Fn(V, V) -> V,
    zero: V,
) -> [V; INPUTS] {
    let twice = |a| plus(a, a);
    let threefold = |a| plus(twice(a), a);
    [
        twice(twice(minus(a, c))),
        minus(zero, threefold(plus(b, c))),
        threefold(minus(b, c)),
        zero,
        zero,
        minus(d, b),
    ]
}

/// `Aᵀ`, [halved](halvings), times a column, as [`spread`].
#[inline(always)]
pub(in crate::kernels) fn gathered<V: Copy>(
    [a, b, c, d, e, f]: [V; INPUTS],
    plus: impl Fn(V, V) -> V,
    minus: impl Fn(V, V) -> V,
    fourfold: impl Fn(V) -> V,
) -> [V; OUTPUTS] {
    let twice = |a| plus(a, a);
    let (near, far) = (plus(b, c), plus(d, e));
    let (near_odd, far_odd) = (minus(b, c), minus(d, e));
    [
        plus(plus(twice(a), fourfold(near)), far),
        plus(twice(near_odd), far_odd),
        plus(near, far),
        plus(near_odd, twice(plus(far_odd, f))),
    ]
}

/// What a path brings.
pub(in crate::kernels) trait Filtering {
    /// The path.
    const PATH: Path;
    /// Columns of a panel.
    const COLUMNS: usize;
    /// Panels whose sums are in registers at once.
    const PANELS: usize;
    /// Adds the residual of a convolution to its output.
    const ADD: kernels::Kernel<PackedConv2d>;

    /// Transforms the tile of `pixels` to be the one at `tile`, which is [short](is_short) down or
    /// across, or neither.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; the channels of all pixels are readable, and
    /// there is room for the tile. Those at later places are transformed after it, for it may write
    /// over the beginning of the next.
    unsafe fn transform(
        pixels: &[*const i8; POSITIONS],
        tiles: &Tiles,
        tile: usize,
        short: [bool; 2],
    );

    /// Multiplies all tiles with up to [`PANELS`](Self::PANELS) panels and makes their outputs.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; the tiles have been transformed, the panels are
    /// whole, and outputs are writable for the columns that are to be stored.
    unsafe fn multiply<S: Sequence>(
        params: &PackedConv2d,
        tiles: &Tiles,
        panels: &Panels<'_>,
        outputs: impl Fn(usize) -> Outputs,
    );
}

/// Where what is made of a tile goes; none where there is no output.
pub(in crate::kernels) type Outputs = [[Option<*mut i8>; OUTPUTS]; OUTPUTS];

/// The kernel of [`Access::Winograd`](crate::kernels::packed::Access).
#[derive(Debug)]
pub(in crate::kernels) struct Kernel<F>(PhantomData<F>);

/// Memory for transformed tiles.
#[repr(align(64))]
struct Scratch([MaybeUninit<i16>; NUMBERS + GAP * POSITIONS]);

impl<F: Filtering> GroupKernel for Kernel<F> {
    const PATH: Path = F::PATH;

    unsafe fn compute<S: Sequence>(
        params: &PackedConv2d,
        weights: &Weights<'_>,
        group: &Group<'_>,
    ) {
        let Group { input, output, filters, columns, depth, .. } = group;
        let (c, share) = (input.hwc().c as usize, output.channels());
        let is_valid = share.start.is_multiple_of(F::COLUMNS)
            && c.is_multiple_of(CHANNELS as usize)
            && c <= MOST_CHANNELS as usize;
        if !is_valid || c == 0 {
            return;
        }
        let grid = Grid::of(params, group);
        let (panel, table) = (F::COLUMNS * *depth as usize, F::COLUMNS * PARAMETERS as usize);
        let share_of = |first: usize| {
            let last = share.end.min(first + F::PANELS * F::COLUMNS).div_ceil(F::COLUMNS);
            let panels = first / F::COLUMNS..last;
            Some(Panels {
                weights: filters.get(panels.start * panel..panels.end * panel)?,
                columns: columns.get(panels.start * table..panels.end * table)?,
                channel: first - share.start,
                stored: share.end - first,
            })
        };

        let mut scratch = Scratch([const { MaybeUninit::uninit() }; NUMBERS + GAP * POSITIONS]);
        let scratch = scratch.0.as_mut_ptr().cast::<i16>();
        let padding = [params.input_zero_point; MOST_CHANNELS as usize];
        let all = grid.tiles();
        let parts = all.div_ceil((NUMBERS / POSITIONS / c).min(TILES));
        let (mut first, mut added) = (0, output.rows().start);
        for i in 0..parts {
            let count = all / parts + usize::from(i < all % parts);
            let (places, ends) = grid.batch(first..first + count);
            let tiles = Tiles { numbers: scratch, count, channels: c, ends, rest: grid.rest() };
            for (tile, &place) in places.iter().enumerate().take(count) {
                let (pixels, size) = (grid.inputs(place, padding.as_ptr()), grid.size(place));
                // SAFETY: `c` codes of each pixel are readable; there is room for `count` tiles.
                unsafe { F::transform(&pixels, &tiles, tile, size.map(is_short)) };
            }
            for panels in share.clone().step_by(F::PANELS * F::COLUMNS).map(share_of) {
                let Some(panels) = panels else { return };
                let outputs = |tile| grid.outputs(places[tile % TILES]);
                // SAFETY: all tiles have been transformed, panels are taken whole, and the outputs are
                // of this core's share.
                unsafe { F::multiply::<S>(params, &tiles, &panels, outputs) };
            }
            first += count;
            let rows = added..grid.complete(first);
            if group.residual.is_some() && !rows.is_empty() {
                added = rows.end;
                let region = Region { rows, channels: share.clone() };
                // SAFETY: the caller's promise.
                unsafe { add_residual(F::ADD, params, weights, group, region) };
            }
        }
    }
}

/// Adjacent panels, and where their outputs go.
pub(in crate::kernels) struct Panels<'a> {
    /// Weights, panel by panel.
    pub(in crate::kernels) weights: &'a [i8],
    /// Their parts of the table of columns.
    pub(in crate::kernels) columns: &'a [i32],
    /// From the first channel of the share to their first.
    pub(in crate::kernels) channel: usize,
    /// Columns to store.
    pub(in crate::kernels) stored: usize,
}

/// Transformed tiles: position by position, then tile by tile, the numbers of the channels.
pub(in crate::kernels) struct Tiles {
    numbers: *mut i16,
    count: usize,
    channels: usize,
    /// The ends of the first three kinds of tiles in [`Grid::batch`].
    ends: [usize; 3],
    /// Outputs of those at the edges.
    rest: [usize; 2],
}

impl Tiles {
    /// Those that are to be multiplied at a position: the products of all others are zero.
    pub(in crate::kernels) const fn at_position(&self, position: usize) -> Range<usize> {
        let (ends, [down, across]) = (self.ends, self.rest);
        let is_down = is_needed([down, OUTPUTS], position);
        match (is_down, is_needed([OUTPUTS, across], position)) {
            (true, true) => 0..self.count,
            (true, false) => 0..ends[1],
            (false, true) => ends[0]..ends[2],
            (false, false) => ends[0]..ends[1],
        }
    }

    /// How many there are, at least 1.
    pub(in crate::kernels) const fn count(&self) -> usize {
        self.count
    }

    /// Numbers of a tile at a position, one per input channel.
    pub(in crate::kernels) const fn channels(&self) -> usize {
        self.channels
    }

    /// The numbers of tile `tile` at `position`; those of the next follow. Behind the last, some
    /// more may be written.
    #[inline]
    pub(in crate::kernels) const fn at(&self, position: usize, tile: usize) -> *mut i16 {
        let step = self.count * self.channels + GAP;
        self.numbers.wrapping_add(position * step + tile * self.channels)
    }
}

/// `tiles` in parts of up to `most`, of which the last two are alike.
#[inline]
pub(in crate::kernels) fn parts(
    mut tiles: Range<usize>,
    most: usize,
) -> impl Iterator<Item = Range<usize>> {
    core::iter::from_fn(move || {
        let count = match tiles.len() {
            0 => return None,
            all if all <= most => all,
            all if all <= 2 * most => all.div_ceil(2),
            _ => most,
        };
        let start = tiles.start;
        tiles.start += count;
        Some(start..tiles.start)
    })
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

    /// How many outputs the last tiles down and across have.
    fn rest(&self) -> [usize; 2] {
        self.outputs.map(|n| (n - 1) % OUTPUTS + 1)
    }

    /// Tiles in an order in which those are adjacent that are needed at a position: those that lack
    /// outputs below, neither, to the right, both. Where each kind ends, but for the last.
    fn batch(&self, tiles: Range<usize>) -> ([usize; TILES], [usize; 3]) {
        let kind = |tile: usize| match self.size(tile).map(|n| n < OUTPUTS) {
            [true, false] => 0,
            [false, false] => 1,
            [false, true] => 2,
            [true, true] => 3,
        };
        let mut ends = [0; 4];
        for tile in tiles.clone() {
            ends[kind(tile)] += 1;
        }
        for kind in 1..4 {
            ends[kind] += ends[kind - 1];
        }
        let (mut places, mut next) = ([0; TILES], ends);
        for tile in tiles.rev() {
            let next = &mut next[kind(tile)];
            *next -= 1;
            places[*next] = tile;
        }
        let [ends @ .., _] = ends;
        (places, ends)
    }

    /// How many outputs of a tile there are, down and across.
    fn size(&self, tile: usize) -> [usize; 2] {
        let [y, x] = self.place(tile);
        [self.outputs[0] - y, self.outputs[1] - x].map(|rest| rest.min(OUTPUTS))
    }

    fn outputs(&self, tile: usize) -> Outputs {
        let [y, x] = self.place(tile);
        let [down, across] = self.size(tile);
        let mut outputs = [[None; OUTPUTS]; OUTPUTS];
        for (row, y) in made(&mut outputs, down).zip(y..) {
            let first = self.output.wrapping_add(y * self.output_steps[0]);
            for (output, x) in made(row, across).zip(x..) {
                *output = Some(first.wrapping_add(x * self.output_steps[1]));
            }
        }
        outputs
    }
}

/// Those of what belongs to the rows of `Aᵀ` that make so many outputs.
fn made<T>(rows: &mut [T; OUTPUTS], outputs: usize) -> impl Iterator<Item = &mut T> {
    let step = if is_short(outputs) { OUTPUTS - 1 } else { 1 };
    rows.iter_mut().step_by(step).take(outputs)
}
