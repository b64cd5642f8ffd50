//! CONV_2D and FULLY_CONNECTED with packed filters.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::place::{self, GROUP, Groups};
use super::{FixedSum, Packing, Place, Runs, Sums, Together, fitting, winograd};
use crate::kernels::reference::{Add, check_output, check_span, convolved, product};
use crate::kernels::{Io, OpError, Operator, Path, Signature, Window};
use crate::quant::{Multiplier, Output, requantize, requantize_once};
use crate::tensor::{Hwc, Split, View};
use crate::weights::{Span, Weights};

/// Most runs of an output.
pub const MAX_RUNS: u32 = 64;

/// Most inputs that are [widened](Access::Widen).
pub(crate) const MOST_WIDENED: u32 = 16 << 10;

/// How a kernel comes by the inputs of an output pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It reads them where they lie: a run per tap. On a path whose inputs are [moved
    /// up](Packing::offset), they are while they are multiplied: only of layers that need no
    /// padding, no spare pixel and no sums of inputs.
    Direct,
    /// It copies rows of the input with their padding: a run per row of the window or, when that
    /// is dilated across, per tap.
    Band,
    /// It puts what a band has of a pixel side by side, too: one run.
    Gather,
    /// It [transforms](super::winograd) tiles of them: filters are transformed, too.
    Winograd,
    /// It makes numbers of 16 bits of those of a single pixel, and of weights.
    Widen,
}

/// How sums are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// [`requantize`]: convolutions.
    Double,
    /// [`requantize_once`]: fully connected layers.
    Once,
}

/// `out[o] = scale(bias[o] + sum((x + offset) * w[o]) - weight_zero_point * sum(x))`, where
/// `scale` is [`requantize`] or [`requantize_once`], the offset is [`PackedConv2d::offset`], and
/// what the zero points make constant is in the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedConv2d {
    /// The path whose layout `weights` and `columns` have.
    pub path: Path,
    /// Geometry.
    pub window: Window,
    /// Groups; input and output channels divide evenly among them. Panels belong to one group.
    pub groups: u32,
    /// What padding stands for.
    pub input_zero_point: i8,
    /// The code of real zero in the weights: 0 except in legacy uint8 networks.
    pub weight_zero_point: i8,
    /// How the kernel comes by its inputs.
    pub access: Access,
    /// How sums are scaled.
    pub rounding: Rounding,
    /// No sum reaches 2^30 and every column is shifted right by at least one bit, so that the
    /// shorter exact sequences apply.
    pub fast: bool,
    /// A weight is -128, so that two products do not fit 16 bits.
    pub full_range: bool,
    /// Panels that are gone through for every tile of pixels before the next block of panels
    /// begins: as many as stay in the cache.
    pub block: u16,
    /// Groups of every panel, an even number, on a path that [saturates](Packing::saturates), else
    /// 0.
    pub panel_groups: u32,
    /// Filters in the order of [`Packing`], group by group.
    pub weights: Span<i8>,
    /// Per panel: the bias of each column, the mantissa of each, the shift of each, and what
    /// else the path asks. Then what it asks for the residual, see [`Packing::sum`].
    pub columns: Span<i32>,
    /// Zero point and clamp.
    pub output: Output,
    /// As [`Conv2d::residual`](crate::kernels::reference::Conv2d::residual).
    pub residual: Option<Add>,
}

impl PackedConv2d {
    /// The layout of its filters; None where they stay as they are.
    #[must_use]
    pub fn packing(&self) -> Option<Packing> {
        let packing = self.path.packing()?;
        Some(match self.access {
            // What a vector of sums makes is stored by itself.
            Access::Winograd => Packing { columns: packing.narrow, ..packing },
            _ => packing,
        })
    }

    /// The runs of one output over `channels` inputs of its group.
    #[must_use]
    pub fn runs(&self, channels: u32) -> Option<Runs> {
        let [down, across] = self.window.taps.map(u32::from);
        let taps = down.checked_mul(across)?;
        let [_, dilation] = self.window.dilation;
        Some(match self.access {
            Access::Band if dilation == 1 => {
                Runs { count: down, len: across.checked_mul(channels)? }
            }
            Access::Direct | Access::Band | Access::Winograd | Access::Widen => {
                Runs { count: taps, len: channels }
            }
            Access::Gather => Runs { count: 1, len: taps.checked_mul(channels)? },
        })
    }

    /// Whether the scratch memory of the path's kernel is enough for a layer of these extents.
    #[must_use]
    pub fn fits(&self, input: Hwc, output: Hwc) -> bool {
        let Some((input, output)) = self.group(input, output) else { return false };
        let (Some(packing), Some(runs)) = (self.packing(), self.runs(input.c)) else {
            return false;
        };
        let Some(padded) = packing.padded(runs.len) else { return false };
        let scratch = packing.scratch as usize;
        let band = self.least_copied(input.c, padded - runs.len);
        let enough = match self.access {
            Access::Direct => {
                let spare = self.needs_spare(input, output, padded as usize);
                // Only the last pixel may end before its run does: there is one spare.
                let overlap = padded - runs.len <= runs.len;
                let plain = packing.offset == 0 || !spare && self.weight_zero_point == 0;
                overlap && plain && (!spare || padded as usize <= scratch / 2)
            }
            Access::Band => band <= scratch,
            Access::Gather => (padded as usize).max(band) <= scratch / 2,
            Access::Winograd => {
                let Window { taps, stride, dilation, .. } = self.window;
                (taps, stride, dilation) == ([3; 2], [1; 2], [1; 2])
                    && self.weight_zero_point == 0
                    && input.c.is_multiple_of(winograd::CHANNELS)
                    && input.c <= winograd::MOST_CHANNELS
            }
            Access::Widen => {
                let extents = [input.h, input.w, output.h, output.w];
                (self.window.taps, self.window.pad, extents) == ([1; 2], [0; 2], [1; 4])
                    && input.c <= MOST_WIDENED
            }
        };
        enough && runs.count <= MAX_RUNS && self.path.accesses().contains(&self.access)
    }

    /// Whether a kernel that reads an input where it lies needs pixels besides: one of padding,
    /// or a spare one to read on after the last.
    pub(super) fn needs_spare(&self, input: Hwc, output: Hwc, run: usize) -> bool {
        let Window { taps, stride, pad, .. } = self.window;
        let inside = |outputs: u32, stride: u16, inputs: u32| {
            outputs.saturating_sub(1).saturating_mul(stride.into()) < inputs
        };
        taps != [1, 1]
            || pad != [0, 0]
            || !inside(output.h, stride[0], input.h)
            || !inside(output.w, stride[1], input.w)
            || run != input.c as usize
    }

    /// Numbers of a panel per column; `channels` are those of a group.
    #[must_use]
    pub fn stored_depth(&self, packing: &Packing, channels: u32) -> Option<u32> {
        match self.access {
            Access::Winograd => channels.checked_mul(winograd::BYTES),
            Access::Band if packing.saturates => place::depth(self.panel_groups),
            _ => packing.depth(self.runs(channels)?),
        }
    }

    /// What the kernel adds to every input code before it multiplies.
    #[must_use]
    pub fn offset(&self, packing: &Packing) -> i32 {
        if matches!(self.access, Access::Winograd | Access::Widen) { 0 } else { packing.offset }
    }

    /// Inputs that the window sees of a row, what lies between its taps and what fills up its last
    /// run included.
    #[must_use]
    pub fn reach(&self, packing: &Packing, runs: Runs) -> Option<u32> {
        let ([_, across], [_, dilation]) = (self.window.taps, self.window.dilation);
        let gaps = if dilation == 1 { 0 } else { u32::from(across).checked_sub(1)? };
        let before = gaps.checked_mul(u32::from(dilation))?.checked_mul(runs.len)?;
        before.checked_add(packing.padded(runs.len)?)
    }

    /// What adds the residual, where one has been found that is exact.
    pub(crate) fn sum(&self, weights: &Weights<'_>) -> Option<FixedSum> {
        self.packing().filter(|packing| packing.sum > 0).and(self.residual)?;
        FixedSum::of_numbers(*weights.get(self.columns).last_chunk()?)
    }

    /// Checks the places of groups, and that products fit.
    fn check_groups<'a>(
        &self,
        packing: &Packing,
        runs: Runs,
        panels: impl Iterator<Item = &'a [i8]>,
    ) -> Result<(), OpError> {
        let reach = self.reach(packing, runs).ok_or(OpError::Shape)? as usize;
        let [down, _] = self.window.taps;
        for panel in panels {
            let groups = Groups::of(panel);
            let inside = |&place: &[i8; 4]| {
                let Place { row, input, .. } = Place::of_codes(place);
                row < down && usize::from(input) + GROUP <= reach
            };
            let [fours, twos] = groups.together();
            let together = |at| match at {
                _ if at < fours => Together::Four,
                _ if at < fours + twos => Together::Two,
                _ => Together::One,
            };
            let mut places = groups.places.iter().enumerate();
            let is_in_order = |at, &place| Place::of_codes(place).together == together(at);
            if !places.all(|(at, place)| inside(place) && is_in_order(at, place)) {
                return Err(OpError::Parameter { name: "places" });
            }
            let (of_fours, others) = groups.weights.split_at_checked(fours).unwrap_or_default();
            let (of_twos, others) = others.split_at_checked(twos).unwrap_or_default();
            let mut pairs = others.as_flattened().as_chunks().0.iter();
            let fit = |set: &[place::Group]| set.iter().fold(Sums::default(), Sums::plus).fit();
            if !of_fours.chunks_exact(4).chain(of_twos.chunks_exact(2)).all(fit)
                || !pairs.all(|&pair| fitting(pair.map(i16::from)) == pair)
            {
                return Err(OpError::Parameter { name: "weights" });
            }
        }
        Ok(())
    }
}

impl Operator for PackedConv2d {
    const NAME: &'static str = "CONV_2D";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = convolved(signature, self.residual.as_ref())?;
        let output = signature.output;
        self.window.check()?;
        let too_large = OpError::Parameter { name: "taps" };
        let packing = self.packing().ok_or(OpError::Parameter { name: "path" })?;
        let (part, group_output) =
            self.group(input, output).ok_or(OpError::Parameter { name: "groups" })?;
        let runs = self.runs(part.c).ok_or(too_large)?;
        if !self.fits(input, output) {
            return Err(too_large);
        }
        if self.block == 0 {
            return Err(OpError::Parameter { name: "block" });
        }
        let columns = packing.all_columns(group_output.c).ok_or(OpError::Shape)?;
        if self.panel_groups != 0 && !(packing.saturates && self.access == Access::Band) {
            return Err(OpError::Parameter { name: "groups of panels" });
        }
        if !place::IS_KNOWN && (packing.saturates || self.access == Access::Winograd) {
            return Err(OpError::Parameter { name: "path" });
        }
        let depth = self.stored_depth(&packing, part.c).ok_or(too_large)?;
        check_span(
            self.weights,
            &[product(&[self.groups, columns, depth], "weights")?],
            weights,
            "weights",
        )?;
        let len = product(&[columns, packing.parameters], "columns")?;
        let all = product(&[self.groups, len], "columns")?;
        let sum = if place::IS_KNOWN && self.residual.is_some() { packing.sum } else { 0 };
        check_span(self.columns, &[all.saturating_add(sum)], weights, "columns")?;
        for table in weights.get(self.columns).chunks_exact(len as usize) {
            let valid = |column| {
                Column::of(&packing, table, group_output, column)
                    .is_some_and(|column| column.multiplier.is_valid())
            };
            if !(0..group_output.c).all(valid) {
                return Err(OpError::Parameter { name: "multiplier" });
            }
        }
        if packing.saturates && self.weight_zero_point != 0 {
            return Err(OpError::Parameter { name: "zero point of weights" });
        }
        if place::IS_KNOWN {
            let panel = (depth * packing.columns).max(1) as usize;
            let mut panels = weights.get(self.weights).chunks_exact(panel);
            let (width, channels) = (packing.columns as usize, part.c as usize);
            match self.access {
                Access::Winograd => panels
                    .all(|panel| winograd::are_filters(panel, channels, width))
                    .then_some(())
                    .ok_or(OpError::Parameter { name: "weights" })?,
                Access::Band if packing.saturates => self.check_groups(&packing, runs, panels)?,
                _ => {}
            }
            let mut sum = self.residual.as_ref().zip(self.sum(weights)).into_iter();
            if !sum.all(|(residual, sum)| sum.is_exact(residual)) {
                return Err(OpError::Parameter { name: "sum" });
            }
        }
        check_output(self.output)
    }

    fn split(&self) -> Split {
        if self.groups > 1 {
            return Split::Rows;
        }
        let step = self.packing().map_or(1, |packing| packing.columns);
        Split::RowsOrChannels { step: step.max(16) as u16 }
    }

    fn path(&self) -> Option<Path> {
        Some(self.path)
    }

    fn macs(&self, signature: Signature<'_>) -> u64 {
        let Some(input) = signature.inputs.first() else { return 0 };
        let [down, across] = self.window.taps.map(u64::from);
        let depth = u64::from(input.c / self.groups.max(1));
        signature.output.elements() as u64 * down * across * depth
    }
}

/// What belongs to one output channel.
struct Column {
    bias: i32,
    multiplier: Multiplier,
    /// First weight of the panel, in columns.
    panel: u32,
    /// Columns of the panel.
    width: u32,
    slot: u32,
}

impl Column {
    fn of(packing: &Packing, table: &[i32], output: Hwc, channel: u32) -> Option<Self> {
        let panel = packing.panel(output.c, channel.checked_div(packing.columns)?);
        let width = panel.end.checked_sub(panel.start)?;
        let slot = packing.slot(width, channel.checked_sub(panel.start)?);
        let start = panel.start.checked_mul(packing.parameters)?;
        let number = |index: u32| {
            let at = start.checked_add(index.checked_mul(width)?)?.checked_add(slot)?;
            table.get(at as usize).copied()
        };
        let multiplier = Multiplier { mantissa: number(1)?, shift: number(2)? };
        Some(Self { bias: number(0)?, multiplier, panel: panel.start, width, slot })
    }
}

/// The portable kernel of [`PackedConv2d`].
pub fn packed_conv_2d(params: &PackedConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    if let Some(packing) = params.packing() {
        let compute = |group: Group<'_>| compute(params, &packing, &group);
        let _ = params.each_group(&packing, weights, io, compute);
    }
}

fn compute(params: &PackedConv2d, packing: &Packing, group: &Group<'_>) {
    let Group { input, residual, output, depth, .. } = group;
    let residual = params.residual.as_ref().zip(*residual);
    let Hwc { h, w, c } = input.hwc();
    let Some(runs) = params.runs(c) else { return };
    let Some(padded) = packing.padded(runs.len) else { return };
    let (len, padded, c) = (runs.len.max(1) as usize, padded as usize, c.max(1) as usize);
    let across = usize::from(params.window.taps[1]).max(1);
    let offset = params.offset(packing);
    let is_transformed = params.access == Access::Winograd && place::IS_KNOWN;
    let has_groups = packing.saturates && params.access == Access::Band && place::IS_KNOWN;
    let mut restored = [[0i16; 9]; winograd::MOST_CHANNELS as usize];
    // Inputs from a tap to the next.
    let step = usize::from(params.window.dilation[1]).wrapping_mul(c).max(1);

    for channel in output.channels() {
        let column = Column::of(packing, group.columns, output.hwc(), channel as u32);
        let Some(column) = column else { return };
        let panel = column.panel as usize * *depth as usize;
        let (width, slot) = (column.width as usize, column.slot as usize);
        let filters = group.filters.get(panel..panel + width * *depth as usize).unwrap_or(&[]);
        if is_transformed {
            for (i, taps) in restored.iter_mut().enumerate().take(c) {
                *taps = winograd::restored(winograd::filter(filters, c, i, width, slot));
            }
        }
        for y in output.rows() {
            let rows = params.window.range(0, y, h as usize);
            for x in output.columns() {
                let columns = params.window.range(1, x, w as usize);
                let (mut sum, mut inputs) = (column.bias, 0i32);
                // The code under tap `tap` in channel `i`.
                let code = |tap: usize, i: usize| {
                    let (down, right) = (tap / across, tap % across);
                    if !rows.contains(&down) || !columns.contains(&right) {
                        return params.input_zero_point;
                    }
                    let (y, x) =
                        (params.window.source(0, y, down), params.window.source(1, x, right));
                    input.pixel(y, x).get(i)
                };
                let mut add = |k: usize, weight: i16| {
                    let code = code(k / c, k % c);
                    let shifted = i32::from(code).wrapping_add(offset);
                    sum = sum.wrapping_add(shifted.wrapping_mul(weight.into()));
                    inputs = inputs.wrapping_add(code.into());
                };
                if is_transformed {
                    for (i, filter) in restored.iter().enumerate().take(c) {
                        for (tap, &weight) in filter.iter().enumerate() {
                            add(tap * c + i, weight);
                        }
                    }
                } else if has_groups {
                    let groups = Groups::of(filters);
                    for (&place, weights) in groups.places.iter().zip(groups.weights) {
                        let Place { row, input, .. } = Place::of_codes(place);
                        let weights =
                            weights.as_chunks::<GROUP>().0.get(slot).into_iter().flatten();
                        for (at, &weight) in (usize::from(input)..).zip(weights) {
                            // What lies between taps, or behind them, has no weight.
                            let (tap, i) = (at / step, at % step);
                            if tap < across && i < c {
                                add((usize::from(row) * across + tap) * c + i, weight.into());
                            }
                        }
                    }
                } else {
                    for k in 0..runs.count as usize * len {
                        let at = packing.position(width, k / len * padded + k % len, slot);
                        add(k, filters.get(at).copied().unwrap_or(0).into());
                    }
                }
                let zero = i32::from(params.weight_zero_point);
                let sum = sum.wrapping_sub(inputs.wrapping_mul(zero));
                let scaled = match params.rounding {
                    Rounding::Double => requantize(sum, column.multiplier),
                    Rounding::Once => requantize_once(sum, column.multiplier),
                };
                let first = output.channels().start;
                if let Some(cell) = output.pixel(y, x).get(channel.wrapping_sub(first)) {
                    let code = params.output.code(scaled);
                    let added = |(add, view): (&Add, View<'_>)| {
                        add.code(code, view.pixel(y, x).get(channel))
                    };
                    cell.set(residual.map_or(code, added));
                }
            }
        }
    }
}
