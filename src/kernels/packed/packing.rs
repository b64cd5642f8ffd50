//! How each path lays out filters and what it needs per output channel.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::{Access, FixedSum, wide};
use crate::kernels::Path;

/// The layout of a convolution's filters on one path.
///
/// Output channels are *columns*; they come in panels. In a panel, the inputs of a column (`k`)
/// come in groups: group by group, then column by column, then input by input. The inputs are
/// divided in *runs* that are adjacent in memory when the kernel reads them, see [`Access`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Columns of a whole panel.
    pub columns: u32,
    /// The last panel is as wide as its columns ask, in multiples of this.
    pub narrow: u32,
    /// Adjacent inputs of one column.
    pub group: u32,
    /// Runs are filled up with zero weights to a multiple of this.
    pub align: u32,
    /// Most inputs of a run that are multiplied at once. Longer runs are filled up so that they
    /// fall into pieces of equal length, each a multiple of `align`.
    pub piece: u32,
    /// What the kernel adds to every input code before it multiplies.
    pub offset: i32,
    /// Whether products are added two by two in 16 bits, so that panels are lists of groups that
    /// fit, each with its [place](super::Place).
    pub saturates: bool,
    /// Inputs for which a kernel has scratch memory on its stack: a band and gathered ones, or a
    /// pixel of padding and a spare one.
    pub scratch: u32,
    /// Numbers per column in the table beside the filters: bias, mantissa and shift, and
    /// what the path asks besides.
    pub parameters: u32,
    /// Numbers behind the table where a residual is added: a [`FixedSum`], or zeros.
    pub sum: u32,
}

impl Path {
    /// How the kernels of this path may come by the inputs of a convolution. Those of x86 want
    /// inputs in another form than they lie in: most of them copies.
    #[must_use]
    pub const fn accesses(self) -> &'static [Access] {
        match self {
            Self::Reference => &[],
            Self::Neon | Self::Dotprod | Self::I8mm => {
                &[Access::Direct, Access::Band, Access::Gather]
            }
            Self::Avx2 => &[Access::Band, Access::Winograd, Access::Widen],
            Self::Avx512Vnni => &[Access::Direct, Access::Band, Access::Gather, Access::Winograd],
            Self::Amx => &[Access::Band],
        }
    }

    /// The layout of filters; None where they stay as they are.
    #[must_use]
    pub const fn packing(self) -> Option<Packing> {
        let arm = Packing {
            columns: 16,
            narrow: 16,
            group: 16,
            align: 16,
            piece: u32::MAX,
            offset: 0,
            saturates: false,
            scratch: 8 << 10,
            parameters: 3,
            sum: 0,
        };
        let x86 = Packing { scratch: 64 << 10, sum: FixedSum::NUMBERS, ..arm };
        Some(match self {
            Self::Reference => return None,
            Self::Neon => Packing { columns: 4, narrow: 4, group: 16, ..arm },
            Self::Dotprod => Packing { columns: 16, narrow: 16, group: 4, ..arm },
            Self::I8mm => Packing { columns: 16, narrow: 16, group: 8, ..arm },
            Self::Avx2 => Packing {
                columns: 8,
                narrow: 8,
                group: 4,
                align: 4,
                offset: 128,
                saturates: true,
                scratch: 128 << 10,
                parameters: wide::PARAMETERS,
                ..x86
            },
            Self::Avx512Vnni | Self::Amx => {
                let parameters = wide::PARAMETERS;
                let piece = if matches!(self, Self::Amx) { 64 } else { u32::MAX };
                Packing {
                    columns: 64,
                    narrow: 16,
                    group: 4,
                    align: 4,
                    piece,
                    offset: 128,
                    parameters,
                    ..x86
                }
            }
        })
    }
}

/// Writes what `path` asks besides bias, mantissa and shift into the table of a panel, or of a
/// block of depthwise channels, that is `width` columns wide.
pub fn complete(path: Path, table: &mut [i32], width: usize) {
    if matches!(path, Path::Avx2 | Path::Avx512Vnni | Path::Amx) {
        wide::complete(table, width);
    }
}

/// The inputs of one output: `count` runs of `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Runs.
    pub count: u32,
    /// Inputs of a run.
    pub len: u32,
}

impl Packing {
    /// Inputs of a run, those included that only fill it up.
    #[must_use]
    pub fn padded(&self, len: u32) -> Option<u32> {
        let pieces = len.div_ceil(self.piece.max(1)).max(1);
        len.checked_next_multiple_of(self.align.checked_mul(pieces)?)
    }

    /// Whether [`Path::Amx`] multiplies such runs in tiles. A tile's time is that of its pieces and
    /// its sums, however few inputs a piece has: short runs are faster without.
    #[must_use]
    pub fn uses_tiles(&self, runs: Runs) -> bool {
        let (Some(run), count) = (self.padded(runs.len), u64::from(runs.count)) else {
            return false;
        };
        let pieces = u64::from(run.div_ceil(self.piece.max(1))) * count;
        self.piece != u32::MAX && u64::from(run) * count > 8 * (pieces + 3)
    }

    /// Inputs of all runs, filled up.
    #[must_use]
    pub fn depth(&self, runs: Runs) -> Option<u32> {
        self.padded(runs.len)?.checked_mul(runs.count)
    }

    /// All columns, those included that only fill up the last panel.
    #[must_use]
    pub fn all_columns(&self, outputs: u32) -> Option<u32> {
        outputs.checked_next_multiple_of(self.narrow)
    }

    /// The columns of panel `panel` in a layer of `outputs` output channels, those included
    /// that only fill it up.
    #[must_use]
    pub fn panel(&self, outputs: u32, panel: u32) -> Range<u32> {
        let all = self.all_columns(outputs).unwrap_or(0);
        let start = panel.saturating_mul(self.columns).min(all);
        start..start.saturating_add(self.columns).min(all)
    }

    /// Where in a panel of `width` columns column `column` stands.
    ///
    /// AVX-512 packs vectors lane by lane, four channels at a time; this order makes the
    /// packed channels come out in theirs.
    #[must_use]
    pub fn slot(&self, width: u32, column: u32) -> u32 {
        let vectors = width / 16;
        if self.narrow != self.columns && vectors > 1 {
            let lane = column / (4 * vectors) * 4 + column % 4;
            column / 4 % vectors * 16 + lane
        } else {
            column
        }
    }

    /// The weight of input `k`, counted through all runs as they are filled up, for the column
    /// in slot `slot` of a panel of `width` columns.
    #[must_use]
    pub const fn position(&self, width: usize, k: usize, slot: usize) -> usize {
        let group = self.group as usize;
        k / group * (group * width) + slot * group + k % group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for packing in Path::ALL.iter().filter_map(|path| path.packing()) {
            for outputs in [1, 4, 16, 17, 30, 48, 64, 100, 129] {
                let depth = packing.depth(Runs { count: 3, len: 5 }).unwrap();
                let all = packing.all_columns(outputs).unwrap();
                let mut taken = vec![false; (all * depth) as usize];
                let panels = all.div_ceil(packing.columns);
                for panel in (0..panels).map(|panel| packing.panel(outputs, panel)) {
                    let width = panel.end - panel.start;
                    let start = (panel.start * depth) as usize;
                    for column in 0..width {
                        let slot = packing.slot(width, column) as usize;
                        for k in 0..depth as usize {
                            let at = start + packing.position(width as usize, k, slot);
                            assert!(!core::mem::replace(&mut taken[at], true));
                        }
                    }
                }
                assert!(taken.iter().all(|&taken| taken));
            }
        }
    }
}
