//! Shapes, strided views and tiles of int8 activations, in HWC order.
//!
//! Memory that the cores of a team share is seen as `&[Cell<i8>]`: every access
//! is plain safe Rust, and the compiler still emits ordinary loads and stores.
//! Making such a slice is the one unsafe step; it lives in [`team`](crate::team),
//! which argues that no two cores touch the same byte between two barriers.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;
use core::ops::Range;

use serde::{Deserialize, Serialize};

/// Most dimensions a tensor may have.
pub const MAX_RANK: usize = 4;

/// Extents of a tensor of rank 1 to 4, outermost first, as the network states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    rank: u8,
    dims: [u32; MAX_RANK],
}

/// Why a shape was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ShapeError {
    /// Rank 0, or above [`MAX_RANK`].
    Rank {
        /// Dimensions found.
        found: usize,
    },
    /// A dimension is zero.
    Empty,
    /// The first of four dimensions is not 1.
    Batch {
        /// Images found.
        found: u32,
    },
    /// More than 2^31 - 1 elements.
    TooLarge,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rank { found } => write!(f, "rank {found}, want 1 to {MAX_RANK}"),
            Self::Empty => f.write_str("a dimension is zero"),
            Self::Batch { found } => write!(f, "batch {found}, want 1"),
            Self::TooLarge => f.write_str("more than 2^31 - 1 elements"),
        }
    }
}
impl core::error::Error for ShapeError {}

impl Shape {
    /// A shape from its dimensions, outermost first.
    ///
    /// # Errors
    ///
    /// A rank outside 1 to 4, a zero dimension, a batch above 1, too many elements.
    pub fn new(dims: &[u32]) -> Result<Self, ShapeError> {
        if dims.is_empty() || dims.len() > MAX_RANK {
            return Err(ShapeError::Rank { found: dims.len() });
        }
        let mut shape = Self { rank: dims.len() as u8, dims: [1; MAX_RANK] };
        for (to, from) in shape.dims.iter_mut().zip(dims) {
            *to = *from;
        }
        shape.check()?;
        Ok(shape)
    }

    /// Checks a decoded shape; [`new`](Self::new) already has.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn check(&self) -> Result<(), ShapeError> {
        let rank = usize::from(self.rank);
        let Some(dims) = self.dims.get(..rank).filter(|dims| !dims.is_empty()) else {
            return Err(ShapeError::Rank { found: rank });
        };
        if dims.contains(&0) {
            return Err(ShapeError::Empty);
        }
        if let &[batch, _, _, _] = dims
            && batch != 1
        {
            return Err(ShapeError::Batch { found: batch });
        }
        dims.iter()
            .try_fold(1u32, |n, &d| n.checked_mul(d))
            .filter(|&n| n <= i32::MAX as u32)
            .map(|_| ())
            .ok_or(ShapeError::TooLarge)
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[u32] {
        self.dims.get(..usize::from(self.rank)).unwrap_or(&[])
    }

    /// Number of elements, which for int8 is also the number of bytes.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.dims().iter().map(|&d| d as usize).product()
    }

    /// The shape as height, width, channels: aligned at the channels, missing outer ones 1.
    #[must_use]
    pub fn hwc(&self) -> Hwc {
        match *self.dims() {
            [c] => Hwc { h: 1, w: 1, c },
            [w, c] => Hwc { h: 1, w, c },
            [h, w, c] | [_, h, w, c] => Hwc { h, w, c },
            _ => Hwc { h: 0, w: 0, c: 0 },
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.dims().iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

/// Height, width and channels of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Hwc {
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
    /// Channels.
    pub c: u32,
}

impl Hwc {
    /// Number of elements.
    #[must_use]
    pub const fn elements(self) -> usize {
        self.h as usize * self.w as usize * self.c as usize
    }
}

/// How a tensor lies in its memory; the bytes of one pixel's channels are always adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Extents.
    pub hwc: Hwc,
    /// Bytes from a row to the next.
    pub row_stride: u32,
    /// Bytes from a pixel to the next.
    pub pixel_stride: u32,
}

impl Layout {
    /// The layout without gaps.
    #[must_use]
    pub const fn contiguous(hwc: Hwc) -> Self {
        Self { hwc, row_stride: hwc.w.wrapping_mul(hwc.c), pixel_stride: hwc.c }
    }

    /// True when the tensor has no gaps.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        *self == Self::contiguous(self.hwc)
    }

    /// The layout of some channels of the tensor.
    fn part(&self, channels: &Range<usize>) -> Option<Self> {
        let c =
            u32::try_from(channels.len()).ok().filter(|_| channels.end <= self.hwc.c as usize)?;
        Some(Self { hwc: Hwc { c, ..self.hwc }, ..*self })
    }

    /// Bytes from the first element to one past the last, or `None` when that overflows
    /// or pixels or rows overlap.
    #[must_use]
    pub fn extent(&self) -> Option<u32> {
        let Hwc { h, w, c } = self.hwc;
        let row = w.checked_sub(1)?.checked_mul(self.pixel_stride)?.checked_add(c)?;
        if self.pixel_stride < c || self.row_stride < row {
            return None;
        }
        h.checked_sub(1)?.checked_mul(self.row_stride)?.checked_add(row)
    }
}

/// A part of a tensor: some rows and some channels, all columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Rows.
    pub rows: Range<usize>,
    /// Channels.
    pub channels: Range<usize>,
}

/// Axes along which the cores of a team may divide an operator's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Along rows only.
    Rows,
    /// Along rows, or along channels in multiples of `step`.
    RowsOrChannels {
        /// Channels that stay together.
        step: u16,
    },
}

/// Adjacent elements that can only be read.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a>(&'a [Cell<i8>]);

impl<'a> Run<'a> {
    /// Number of elements.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// True without elements.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The element at `index`, or 0 past the end.
    #[must_use]
    pub fn get(self, index: usize) -> i8 {
        self.0.get(index).map_or(0, Cell::get)
    }

    /// The elements `range`; empty when that is not all inside.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        Self(self.0.get(range).unwrap_or(&[]))
    }

    /// The elements, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i8> + 'a {
        self.0.iter().map(Cell::get)
    }
}

/// A tensor that can only be read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    cells: &'a [Cell<i8>],
    layout: Layout,
}

impl<'a> View<'a> {
    /// A view of `cells`, or `None` when they are too few for `layout`.
    #[must_use]
    pub fn new(cells: &'a [Cell<i8>], layout: Layout) -> Option<Self> {
        let extent = layout.extent()? as usize;
        Some(Self { cells: cells.get(..extent)?, layout })
    }

    /// Extents.
    #[must_use]
    pub const fn hwc(&self) -> Hwc {
        self.layout.hwc
    }

    /// How the tensor lies in memory.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The channels of the pixel in row `y`, column `x`; empty outside the image.
    #[must_use]
    pub fn pixel(&self, y: usize, x: usize) -> Run<'a> {
        self.pixels(y, x..x.wrapping_add(1))
    }

    /// The channels of the pixels `columns` of row `y`, gaps between pixels included;
    /// empty when not all inside the image.
    #[must_use]
    pub fn pixels(&self, y: usize, columns: Range<usize>) -> Run<'a> {
        Run(self.pixel_cells(y, columns))
    }

    /// As [`pixels`](Self::pixels), as bytes of memory.
    pub(crate) fn pixel_cells(&self, y: usize, columns: Range<usize>) -> &'a [Cell<i8>] {
        pixels(self.cells, &self.layout, y, columns, 0..self.layout.hwc.c as usize)
    }

    /// Channels `channels`, which must be inside, as a tensor.
    pub(crate) fn part(&self, channels: Range<usize>) -> Option<Self> {
        let layout = self.layout.part(&channels)?;
        Self::new(self.cells.get(channels.start..)?, layout)
    }

    /// All bytes, from the first pixel's first channel to the last's last.
    pub(crate) const fn cells(&self) -> &'a [Cell<i8>] {
        self.cells
    }
}

/// The part of an output tensor that one core writes.
#[derive(Clone, Debug)]
pub struct Tile<'a> {
    cells: &'a [Cell<i8>],
    layout: Layout,
    region: Region,
}

impl<'a> Tile<'a> {
    /// The part `region` of a tensor in `cells`, or `None` when the cells are too few
    /// for `layout` or the region is not inside.
    #[must_use]
    pub fn new(cells: &'a [Cell<i8>], layout: Layout, region: Region) -> Option<Self> {
        let extent = layout.extent()? as usize;
        let Hwc { h, c, .. } = layout.hwc;
        let inside = region.rows.end <= h as usize && region.channels.end <= c as usize;
        Some(Self { cells: cells.get(..extent).filter(|_| inside)?, layout, region })
    }

    /// Extents of the whole tensor.
    #[must_use]
    pub const fn hwc(&self) -> Hwc {
        self.layout.hwc
    }

    /// The rows to write, in coordinates of the whole tensor.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.region.rows.clone()
    }

    /// The columns to write: all.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        0..self.layout.hwc.w as usize
    }

    /// The channels to write, in coordinates of the whole tensor.
    #[must_use]
    pub fn channels(&self) -> Range<usize> {
        self.region.channels.clone()
    }

    /// This tile's channels of the pixel in row `y`, column `x`; empty outside the tile.
    #[must_use]
    pub fn pixel(&self, y: usize, x: usize) -> &'a [Cell<i8>] {
        self.pixels(y, x..x.wrapping_add(1))
    }

    /// This tile's channels of the pixels `columns` of row `y`, the bytes between pixels
    /// included; empty when not all inside the tile.
    pub(crate) fn pixels(&self, y: usize, columns: Range<usize>) -> &'a [Cell<i8>] {
        if !self.region.rows.contains(&y) {
            return &[];
        }
        pixels(self.cells, &self.layout, y, columns, self.region.channels.clone())
    }

    /// What this tile has of the channels `channels`, which are seen as the whole tensor.
    pub(crate) fn part(&self, channels: Range<usize>) -> Option<Self> {
        let layout = self.layout.part(&channels)?;
        let inside = |at: usize| at.min(channels.end).saturating_sub(channels.start);
        let own = &self.region.channels;
        let region =
            Region { rows: self.region.rows.clone(), channels: inside(own.start)..inside(own.end) };
        Self::new(self.cells.get(channels.start..)?, layout, region)
    }

    /// The part `region` of this tile, or `None` when that is not inside.
    pub(crate) fn within(&self, region: Region) -> Option<Self> {
        let is_inside = |part: &Range<usize>, whole: &Range<usize>| {
            whole.start <= part.start && part.end <= whole.end
        };
        let Region { rows, channels } = &self.region;
        let inside = is_inside(&region.rows, rows) && is_inside(&region.channels, channels);
        inside.then_some(Self { region, ..*self })
    }

    /// The whole tensor, to read what of it is written.
    pub(crate) const fn view(&self) -> View<'a> {
        View { cells: self.cells, layout: self.layout }
    }

    /// The bytes from the first of this tile to the last, those of others between included.
    pub(crate) fn cells(&self) -> &'a [Cell<i8>] {
        let Region { rows, channels } = &self.region;
        let row = |y: usize| y.wrapping_mul(self.layout.row_stride as usize);
        let last = self.columns().end.wrapping_sub(1);
        let last = last.wrapping_mul(self.layout.pixel_stride as usize);
        let start = row(rows.start).wrapping_add(channels.start);
        let end = row(rows.end.wrapping_sub(1)).wrapping_add(last).wrapping_add(channels.end);
        self.cells.get(start..end).unwrap_or(&[])
    }

    /// How the whole tensor lies in memory.
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }
}

/// The bytes from the first of `channels` in the first of `columns` to the last in the last.
fn pixels<'a>(
    cells: &'a [Cell<i8>],
    layout: &Layout,
    y: usize,
    columns: Range<usize>,
    channels: Range<usize>,
) -> &'a [Cell<i8>] {
    let Hwc { h, w, .. } = layout.hwc;
    if y >= h as usize || columns.is_empty() || columns.end > w as usize {
        return &[];
    }
    let row = y.wrapping_mul(layout.row_stride as usize);
    let at = |x: usize, c: usize| {
        row.wrapping_add(x.wrapping_mul(layout.pixel_stride as usize)).wrapping_add(c)
    };
    cells
        .get(at(columns.start, channels.start)..at(columns.end.wrapping_sub(1), channels.end))
        .unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn shapes_are_checked() {
        assert_eq!(Shape::new(&[]), Err(ShapeError::Rank { found: 0 }));
        assert_eq!(Shape::new(&[1; 5]), Err(ShapeError::Rank { found: 5 }));
        assert_eq!(Shape::new(&[2, 8, 8, 3]), Err(ShapeError::Batch { found: 2 }));
        assert_eq!(Shape::new(&[1, 0, 8, 3]), Err(ShapeError::Empty));
        assert_eq!(Shape::new(&[65536, 65536]), Err(ShapeError::TooLarge));
        assert_eq!(Shape::new(&[49, 10]).unwrap().hwc(), Hwc { h: 1, w: 49, c: 10 });
    }

    #[test]
    fn overlapping_strides_have_no_extent() {
        let hwc = Hwc { h: 2, w: 3, c: 4 };
        let layout = Layout::contiguous(hwc);
        assert_eq!(layout.extent(), Some(24));
        assert_eq!(Layout { pixel_stride: 3, ..layout }.extent(), None);
        assert_eq!(Layout { row_stride: 11, ..layout }.extent(), None);
        assert_eq!(Layout { row_stride: u32::MAX, ..layout }.extent(), None);
    }

    #[test]
    fn a_tile_reaches_its_own_region_only() {
        let cells: Vec<_> = (0..48).map(|i| Cell::new(i as i8)).collect();
        // Channels 2..4 of a 2x3x8 image, seen as an image of four channels.
        let layout = Layout { hwc: Hwc { h: 2, w: 3, c: 4 }, row_stride: 24, pixel_stride: 8 };
        let region = Region { rows: 1..2, channels: 1..3 };
        let tile = Tile::new(&cells, layout, region).unwrap();
        assert!(tile.pixel(0, 0).is_empty());
        assert!(tile.pixel(1, 3).is_empty());
        let found: Vec<_> = tile.pixel(1, 2).iter().map(Cell::get).collect();
        assert_eq!(found, [24 + 16 + 1, 24 + 16 + 2]);
        let view = View::new(&cells, layout).unwrap();
        assert_eq!(view.pixel(1, 1).iter().collect::<Vec<_>>(), [32, 33, 34, 35]);
        assert_eq!(view.pixels(0, 0..2).len(), 12);
        assert!(View::new(&cells[..40], layout).is_none());
    }
}
