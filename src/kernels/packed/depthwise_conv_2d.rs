//! DEPTHWISE_CONV_2D with one output per input channel and packed filters.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::wide;
use crate::kernels::reference::{check_output, check_span, one_input, product};
use crate::kernels::{Io, OpError, Operator, Path, Signature, Window};
use crate::quant::{Multiplier, Output, requantize};
use crate::tensor::{Hwc, Split};
use crate::weights::{Span, Weights};

/// The layout of depthwise filters on one path.
///
/// Channels come in blocks. In a block, the taps of a window row come in groups: group by group,
/// then channel by channel, then tap by tap; rows are filled up with zero weights to whole groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthwisePacking {
    /// Channels of a block.
    pub channels: u32,
    /// Adjacent taps of one channel.
    pub group: u32,
    /// What the kernel adds to every input code before it multiplies.
    pub offset: i32,
    /// Numbers per channel in the table beside the filters: bias, mantissa and shift, and what
    /// the path asks besides.
    pub parameters: u32,
}

impl DepthwisePacking {
    /// The layout of `path`; None where filters stay as they are.
    #[must_use]
    pub const fn of(path: Path) -> Option<Self> {
        let common = Self { channels: 16, group: 1, offset: 0, parameters: 3 };
        Some(match path {
            Path::Reference => return None,
            Path::Neon => common,
            Path::Dotprod | Path::I8mm => Self { group: 4, ..common },
            Path::Avx2 => Self { parameters: wide::PARAMETERS, ..common },
            Path::Avx512Vnni | Path::Amx => {
                Self { group: 4, offset: 128, parameters: wide::PARAMETERS, ..common }
            }
        })
    }

    /// Taps of a filter, those included that only fill up rows.
    #[must_use]
    pub fn taps(&self, window: &Window) -> Option<u32> {
        let [down, across] = window.taps.map(u32::from);
        across.checked_next_multiple_of(self.group)?.checked_mul(down)
    }

    /// The weight of tap (`down`, `across`) for the channel `channel` in its block.
    #[must_use]
    pub fn position(&self, window: &Window, tap: [usize; 2], channel: usize) -> usize {
        let [_, across] = window.taps;
        let group = self.group.max(1) as usize;
        let groups = (across as usize).div_ceil(group);
        let at = tap[0] * groups + tap[1] / group;
        (at * self.channels as usize + channel) * group + tap[1] % group
    }
}

/// `out[c] = requantize(bias[c] + sum((x + offset) * w[c]) - weight_zero_point * sum(x))`,
/// where the offset is [`DepthwisePacking::offset`] and what the zero points make constant is in
/// the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedDepthwiseConv2d {
    /// The path whose layout `weights` and `columns` have.
    pub path: Path,
    /// Geometry.
    pub window: Window,
    /// What padding stands for.
    pub input_zero_point: i8,
    /// The code of real zero in the weights: 0 except in legacy uint8 networks.
    pub weight_zero_point: i8,
    /// No sum reaches 2^30 and every channel is shifted right by at least one bit, so that the
    /// shorter exact sequences apply.
    pub fast: bool,
    /// A weight is -128, so that two products do not fit 16 bits.
    pub full_range: bool,
    /// Rows after which a pointwise convolution of them is computed, while they are in the cache;
    /// 0 where all rows are computed first, as where vectors would read beyond a row.
    pub rows_at_once: u16,
    /// Filters in the order of [`DepthwisePacking`].
    pub weights: Span<i8>,
    /// Per block: the bias of each channel, the mantissa of each, the shift of each, and what
    /// else the path asks.
    pub columns: Span<i32>,
    /// Zero point and clamp.
    pub output: Output,
}

impl Operator for PackedDepthwiseConv2d {
    const NAME: &'static str = "DEPTHWISE_CONV_2D";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        let output = signature.output;
        self.window.check()?;
        if input.c != output.c {
            return Err(OpError::Shape);
        }
        if self.rows_at_once > 0 && !is_whole(self.path, output.c) {
            return Err(OpError::Parameter { name: "rows_at_once" });
        }
        let packing = DepthwisePacking::of(self.path).ok_or(OpError::Parameter { name: "path" })?;
        let taps = packing.taps(&self.window).ok_or(OpError::Parameter { name: "taps" })?;
        let channels = output.c.checked_next_multiple_of(packing.channels).ok_or(OpError::Shape)?;
        check_span(self.weights, &[product(&[channels, taps], "weights")?], weights, "weights")?;
        let len = product(&[channels, packing.parameters], "columns")?;
        check_span(self.columns, &[len], weights, "columns")?;
        let table = weights.get(self.columns);
        let valid =
            |c| column(&packing, table, c).is_some_and(|(_, multiplier)| multiplier.is_valid());
        if !(0..output.c as usize).all(valid) {
            return Err(OpError::Parameter { name: "multiplier" });
        }
        check_output(self.output)
    }

    fn split(&self) -> Split {
        let step = DepthwisePacking::of(self.path).map_or(16, |packing| packing.channels);
        Split::RowsOrChannels { step: step as u16 }
    }

    fn path(&self) -> Option<Path> {
        Some(self.path)
    }

    fn macs(&self, signature: Signature<'_>) -> u64 {
        let [down, across] = self.window.taps.map(u64::from);
        signature.output.elements() as u64 * down * across
    }
}

/// Whether pointwise convolutions on `path` read pixels of so many channels and nothing beyond.
#[must_use]
pub fn is_whole(path: Path, channels: u32) -> bool {
    path.packing().is_some_and(|packing| packing.padded(channels) == Some(channels))
}

/// Bias and multiplier of channel `channel`.
fn column(packing: &DepthwisePacking, table: &[i32], channel: usize) -> Option<(i32, Multiplier)> {
    let channels = packing.channels as usize;
    let first = channel.checked_div(channels)?.wrapping_mul(channels);
    let start = first.checked_mul(packing.parameters as usize)?.checked_add(channel - first)?;
    let number =
        |index: usize| table.get(start.checked_add(index.checked_mul(channels)?)?).copied();
    Some((number(0)?, Multiplier { mantissa: number(1)?, shift: number(2)? }))
}

/// The portable kernel of [`PackedDepthwiseConv2d`].
pub fn packed_depthwise_conv_2d(
    params: &PackedDepthwiseConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let [input] = io.inputs.as_slice() else { return };
    let Some(packing) = DepthwisePacking::of(params.path) else { return };
    let Some(taps) = packing.taps(&params.window) else { return };
    let Hwc { h, w, .. } = input.hwc();
    let (table, filters) = (weights.get(params.columns), weights.get(params.weights));
    let channels = packing.channels as usize;
    let window = &params.window;
    let [down, across] = window.taps.map(usize::from);

    for y in io.output.rows() {
        let rows = window.range(0, y, h as usize);
        for x in io.output.columns() {
            let columns = window.range(1, x, w as usize);
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let Some((bias, multiplier)) = column(&packing, table, channel) else { return };
                let first = channel.checked_div(channels).unwrap_or(0).wrapping_mul(channels);
                let filters = filters.get(first * taps as usize..).unwrap_or(&[]);
                let (mut sum, mut inputs) = (bias, 0i32);
                for tap in (0..down).flat_map(|d| (0..across).map(move |a| [d, a])) {
                    let code = if rows.contains(&tap[0]) && columns.contains(&tap[1]) {
                        let at = (window.source(0, y, tap[0]), window.source(1, x, tap[1]));
                        input.pixel(at.0, at.1).get(channel)
                    } else {
                        params.input_zero_point
                    };
                    let at = packing.position(window, tap, channel - first);
                    let weight = filters.get(at).copied().unwrap_or(0);
                    let shifted = i32::from(code).wrapping_add(packing.offset);
                    sum = sum.wrapping_add(shifted.wrapping_mul(weight.into()));
                    inputs = inputs.wrapping_add(code.into());
                }
                let zero = i32::from(params.weight_zero_point);
                let sum = sum.wrapping_sub(inputs.wrapping_mul(zero));
                cell.set(params.output.code(requantize(sum, multiplier)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_whole_where_no_vector_reads_beyond_them() {
        for (path, whole, others) in [
            (Path::Neon, [16, 96], [8, 24]),
            (Path::Avx2, [4, 20], [3, 42]),
            (Path::Amx, [8, 144], [6, 160]),
        ] {
            assert!(whole.iter().all(|&channels| is_whole(path, channels)), "{path}");
            assert!(!others.iter().any(|&channels| is_whole(path, channels)), "{path}");
        }
        assert!(!is_whole(Path::Reference, 64), "it packs nothing");
    }
}
