//! The parameters of a network for kernel paths: filters in the order each path reads them.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

mod groups;

use pipeit_rt::kernels::packed::{
    Access, DepthwisePacking, FixedSum, PackedConv2d, PackedDepthwiseConv2d, Packing, Rounding,
    Runs, complete, is_whole, winograd,
};
use pipeit_rt::kernels::{KNOWN, Op, Path, Window, reference};
use pipeit_rt::model::{Model, ModelError, ModelTables};
use pipeit_rt::quant::{Multiplier, requantize};
use pipeit_rt::tensor::Hwc;
use pipeit_rt::weights::{Pod, Span};

use crate::artefact::AlignedBytes;
use crate::lower::LowerError;
use crate::lower::weights::Section;
use crate::network::Network;

/// A kernel path to pack for, and the cache of the cores that will run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackTarget {
    /// The path.
    pub path: Path,
    /// Bytes of the second-level cache; of the smallest, where clusters differ.
    pub l2_bytes: u32,
    /// Whether inputs are moved up while they are multiplied rather than copied beforehand: where
    /// additions do not take the units that multiply.
    pub moves_in_place: bool,
}

impl From<Path> for PackTarget {
    /// With the second-level cache that cores of the path have at least.
    fn from(path: Path) -> Self {
        let l2_kib = match path {
            Path::Avx512Vnni | Path::Amx => 1024,
            _ => 512,
        };
        Self { path, l2_bytes: l2_kib << 10, moves_in_place: false }
    }
}

impl PackTarget {
    /// Bytes of filters that are gone through for every tile of pixels: half of the cache, beside
    /// activations.
    const fn block_bytes(self) -> u32 {
        self.l2_bytes / 2
    }

    /// Rows of `output` that stay in the cache while they are the input of what follows, beside
    /// its filters and its output.
    fn rows_at_once(self, output: Hwc) -> u16 {
        if !is_whole(self.path, output.c) {
            return 0;
        }
        let row = output.w.saturating_mul(output.c).max(1);
        let rows = (self.l2_bytes / 8 / row).max(1);
        // As many in each part.
        let parts = output.h.div_ceil(rows).max(1);
        u16::try_from(output.h.div_ceil(parts)).unwrap_or(u16::MAX)
    }
}

/// A network with the parameters of some paths.
#[derive(Debug)]
pub struct Packed<'a> {
    network: &'a Network,
    paths: Vec<Path>,
    ops: Vec<Op>,
    /// What every path reads, then a section per path.
    sections: Vec<AlignedBytes>,
}

impl Packed<'_> {
    /// The tables as the runtime takes them.
    #[must_use]
    pub fn model(&self) -> ModelTables<'_> {
        self.network.with(&self.paths, &self.ops, &self.sections)
    }

    /// The network as the runtime executes it.
    ///
    /// # Errors
    ///
    /// None when the tables are those that [`pack`] made.
    pub fn check(&self) -> Result<Model<'_>, ModelError> {
        Model::new(self.model(), KNOWN, &mut vec![false; self.network.storages.len()])
    }
}

/// Packs `network` for each of `targets`, whose paths differ and which must not be empty.
///
/// # Errors
///
/// The packed weights are too large for the format.
pub fn pack<'a>(network: &'a Network, targets: &[PackTarget]) -> Result<Packed<'a>, LowerError> {
    let [tables, _] = &network.sections;
    let paths = targets.iter().map(|target| target.path).collect();
    let mut packed = Packed { network, paths, ops: Vec::new(), sections: vec![tables.clone()] };
    for (number, target) in (1..).zip(targets) {
        let (path, target) = (target.path, *target);
        let mut packer = Packer { network, path, target, section: Section::new(number) };
        for (index, op) in network.ops.iter().enumerate() {
            packed.ops.push(packer.op(index, op)?);
        }
        packed.sections.push(packer.section.finish());
    }
    Ok(packed)
}

struct Packer<'a> {
    network: &'a Network,
    path: Path,
    target: PackTarget,
    section: Section,
}

/// Filters with their order undone: what packing starts from.
#[derive(Clone, Copy)]
struct Dense<'a> {
    window: Window,
    groups: u32,
    /// Input channels of a group.
    depth: u32,
    outputs: u32,
    zero_points: (i8, i8),
    /// Order: output channel, tap, input channel.
    weights: &'a [i16],
    requantize: reference::Requantize,
    rounding: Rounding,
    residual: Option<reference::Add>,
}

impl Dense<'_> {
    /// Output channels of a group.
    fn group_outputs(&self) -> u32 {
        self.outputs.checked_div(self.groups).unwrap_or(0).max(1)
    }

    /// Whether no weight needs more than 8 bits.
    fn has_bytes(&self) -> bool {
        self.weights.iter().all(|&weight| i8::try_from(weight).is_ok())
    }

    /// Whether Winograd's filtering gives the exact sums of all outputs.
    fn is_exact(&self) -> bool {
        let filter = self.weights.len() / (self.outputs as usize).max(1);
        self.weights.chunks(filter.max(1)).all(|filter| {
            let magnitudes = filter.iter().map(|weight| u32::from(weight.unsigned_abs())).sum();
            winograd::is_exact(magnitudes)
        })
    }
}

impl Packer<'_> {
    fn op(&mut self, index: usize, op: &Op) -> Result<Op, LowerError> {
        let packed = match op {
            Op::Conv2d(conv) => self.conv_2d(index, conv)?,
            Op::FullyConnected(full) => self.fully_connected(index, full)?,
            Op::DepthwiseConv2d(conv) => self.depthwise(index, conv)?,
            _ => None,
        };
        match packed {
            Some(packed) => Ok(packed),
            None => self.plain(op),
        }
    }

    /// `op` as it is, with its filters in this section.
    fn plain(&mut self, op: &Op) -> Result<Op, LowerError> {
        let mut op = op.clone();
        let (weights, requantize) = match &mut op {
            Op::Conv2d(op) => (&mut op.weights, &mut op.requantize),
            Op::FullyConnected(op) => (&mut op.weights, &mut op.requantize),
            Op::DepthwiseConv2d(op) => (&mut op.weights, &mut op.requantize),
            Op::TransposeConv(op) => (&mut op.weights, &mut op.requantize),
            _ => return Ok(op),
        };
        *weights = self.section.codes(&get(self.network, *weights))?;
        requantize.bias = self.section.integers(&get(self.network, requantize.bias))?;
        let multipliers = get(self.network, requantize.multipliers);
        requantize.multipliers = self.section.multipliers(&multipliers)?;
        Ok(op)
    }

    fn conv_2d(
        &mut self,
        index: usize,
        conv: &reference::Conv2d,
    ) -> Result<Option<Op>, LowerError> {
        let Some((input, output)) = self.extents(index) else {
            return Ok(None);
        };
        self.dense(
            input,
            output,
            &Dense {
                window: conv.window,
                groups: conv.groups,
                depth: input.c.checked_div(conv.groups).unwrap_or(0),
                outputs: output.c,
                zero_points: (conv.input_zero_point, conv.weight_zero_point),
                weights: &widened(&get(self.network, conv.weights)),
                requantize: conv.requantize,
                rounding: Rounding::Double,
                residual: conv.residual,
            },
        )
    }

    fn fully_connected(
        &mut self,
        index: usize,
        full: &reference::FullyConnected,
    ) -> Result<Option<Op>, LowerError> {
        let Some((input, output)) = self.extents(index) else { return Ok(None) };
        let window = Window { taps: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0] };
        self.dense(
            input,
            output,
            &Dense {
                window,
                groups: 1,
                depth: input.c,
                outputs: output.c,
                zero_points: (full.input_zero_point, full.weight_zero_point),
                weights: &widened(&get(self.network, full.weights)),
                requantize: full.requantize,
                rounding: Rounding::Once,
                residual: None,
            },
        )
    }

    /// Extents of the first input and of the output of a layer.
    fn extents(&self, layer: usize) -> Option<(Hwc, Hwc)> {
        let layer = self.network.layers.get(layer)?;
        let extents = |id: pipeit_rt::model::TensorId| {
            self.network.tensors.get(usize::from(id.0)).map(|tensor| tensor.layout.hwc)
        };
        Some((extents(*layer.inputs.first()?)?, extents(layer.output)?))
    }

    /// None when the path's kernel cannot take such a layer.
    fn dense(
        &mut self,
        input: Hwc,
        output: Hwc,
        dense: &Dense<'_>,
    ) -> Result<Option<Op>, LowerError> {
        let Some(packing) = self.path.packing() else { return Ok(None) };
        let mut without_zero_point = Vec::new();
        let mut dense = *dense;
        if packing.saturates {
            // Groups hold weights of more than 8 bits, too.
            let (_, zero) = dense.zero_points;
            without_zero_point.extend(dense.weights.iter().map(|weight| weight - i16::from(zero)));
            (dense.weights, dense.zero_points.1) = (&without_zero_point, 0);
        }
        let dense = &dense;
        let mut op = PackedConv2d {
            path: self.path,
            window: dense.window,
            groups: dense.groups,
            input_zero_point: dense.zero_points.0,
            weight_zero_point: dense.zero_points.1,
            access: Access::Direct,
            rounding: dense.rounding,
            fast: false,
            full_range: dense.weights.contains(&i8::MIN.into()),
            block: 1,
            panel_groups: 0,
            weights: Span::new(0, 0, 0),
            columns: Span::new(0, 0, 0),
            output: dense.requantize.output,
            residual: dense.residual,
        };
        let cost = |access: Access| {
            let op = PackedConv2d { access, ..op };
            let fits = op.fits(input, output);
            fits.then(|| instructions_per_pixel(&packing, &op, input, dense)).flatten()
        };
        let is_wanted = |access: &&Access| {
            **access != Access::Direct || packing.offset == 0 || self.target.moves_in_place
        };
        let accesses = self.path.accesses().iter().filter(is_wanted);
        let costs = accesses.filter_map(|&access| Some((cost(access)?, access)));
        let Some((_, access)) = costs.min_by_key(|&(cost, _)| cost) else { return Ok(None) };
        let fits = |access| PackedConv2d { access, ..op }.fits(input, output);
        let part = Hwc { c: dense.group_outputs(), ..output };
        op.access = if fits(Access::Widen) && dense.has_bytes() {
            Access::Widen
        } else if fits(Access::Winograd)
            && winograd::pays(self.path, dense.depth, part)
            && dense.is_exact()
        {
            Access::Winograd
        } else {
            access
        };
        let Some(packing) = op.packing() else { return Ok(None) };
        let columns = Columns::of(self.network, dense, op.offset(&packing));
        op.fast = columns.fast;
        let Some(runs) = op.runs(dense.depth) else { return Ok(None) };
        let packed = match op.access {
            Access::Winograd => transformed_weights(&packing, dense).map(|weights| (weights, 0)),
            Access::Band if packing.saturates => grouped_weights(&packing, &op, runs, dense),
            _ => packed_weights(&packing, runs, dense).map(|weights| (weights, 0)),
        };
        let Some((weights, panel_groups)) = packed else { return Ok(None) };
        op.panel_groups = panel_groups;
        let Some(depth) = op.stored_depth(&packing, dense.depth) else { return Ok(None) };
        let panel_bytes = depth.saturating_mul(packing.columns).max(1);
        op.block = (self.target.block_bytes() / panel_bytes).clamp(1, u16::MAX.into()) as u16;
        op.weights = self.section.codes(&weights)?;
        let mut table = columns.table(self.path, &packing, dense);
        if let Some(residual) = op.residual.as_ref().filter(|_| packing.sum > 0) {
            table.extend(FixedSum::numbers(residual));
        }
        op.columns = self.section.integers(&table)?;
        Ok(Some(Op::PackedConv2d(op)))
    }

    fn depthwise(
        &mut self,
        index: usize,
        conv: &reference::DepthwiseConv2d,
    ) -> Result<Option<Op>, LowerError> {
        let Some((input, output)) = self.extents(index) else { return Ok(None) };
        let weights = get(self.network, conv.weights);
        let [down, across] = conv.window.taps.map(usize::from);
        let channels = output.c as usize;
        let zero_points = (conv.input_zero_point, conv.weight_zero_point);
        // Order: output channel, tap.
        let by_channel: Vec<i8> = (0..channels)
            .flat_map(|c| weights.get(c..).unwrap_or_default().iter().step_by(channels).copied())
            .collect();
        let weights = widened(&by_channel);
        let dense = Dense {
            window: conv.window,
            groups: input.c,
            depth: 1,
            outputs: output.c,
            zero_points,
            weights: &weights,
            requantize: conv.requantize,
            rounding: Rounding::Double,
            residual: None,
        };
        if input.c == 1 || input.c != output.c {
            // Several outputs see the same input, which is a group's only one.
            return self.dense(input, output, &dense);
        }
        let Some(packing) = DepthwisePacking::of(self.path) else { return Ok(None) };
        let Some(taps) = packing.taps(&conv.window) else { return Ok(None) };
        let block = packing.channels as usize;
        let blocks = channels.div_ceil(block);
        let mut packed = vec![0i8; blocks * block * taps as usize];
        for (channel, filter) in by_channel.chunks(down * across).enumerate() {
            let start = channel / block * block * taps as usize;
            for (tap, &weight) in filter.iter().enumerate() {
                let tap = [tap / across, tap % across];
                let at = start + packing.position(&conv.window, tap, channel % block);
                if let Some(place) = packed.get_mut(at) {
                    *place = weight;
                }
            }
        }
        let columns = Columns::of(self.network, &dense, packing.offset);
        let mut table = vec![0; blocks * block * packing.parameters as usize];
        for (numbers, start) in
            table.chunks_mut(block * packing.parameters as usize).zip((0..channels).step_by(block))
        {
            let channels = (start..start + block).map(Some);
            columns.write_panel(self.path, numbers, channels, |column| column, block);
        }
        let full_range = packed.contains(&i8::MIN);
        Ok(Some(Op::PackedDepthwiseConv2d(PackedDepthwiseConv2d {
            path: self.path,
            window: conv.window,
            input_zero_point: conv.input_zero_point,
            weight_zero_point: conv.weight_zero_point,
            fast: columns.fast,
            full_range,
            rows_at_once: self.target.rows_at_once(output),
            weights: self.section.codes(&packed)?,
            columns: self.section.integers(&table)?,
            output: conv.requantize.output,
        })))
    }
}

/// The elements of a span of `network`.
fn get<T: Pod>(network: &Network, span: Span<T>) -> Vec<T> {
    network.model().weights.get(span).to_vec()
}

/// About what an output pixel costs: multiplying, what fills up runs included, and finding or
/// copying the inputs. None when they are too many, and for kernels of their own.
fn instructions_per_pixel(
    packing: &Packing,
    op: &PackedConv2d,
    input: Hwc,
    dense: &Dense<'_>,
) -> Option<u64> {
    let runs = op.runs(dense.depth)?;
    let products = u64::from(packing.depth(runs)?) * u64::from(dense.group_outputs());
    let multiply = products * 1000 / products_in_1000_instructions(op.path);
    let [down, across] = op.window.taps.map(u64::from);
    let [stride_down, stride_across] = op.window.stride.map(u64::from);
    // Rows that stay in memory while the window goes down are copied once.
    let row = u64::from(input.w) * u64::from(dense.depth);
    let stays = (down + stride_down) * row <= u64::from(packing.scratch);
    let rows = if stays { stride_down.min(down) } else { down };
    let copy = rows * stride_across * u64::from(dense.depth) / 4;
    let locate = 3 * u64::from(runs.count);
    Some(match op.access {
        // Each pixel is looked at by itself at the edge of the image and where its run goes on
        // behind it.
        Access::Direct if packing.padded(dense.depth)? != dense.depth => multiply + 10 * locate,
        Access::Direct if op.window.pad != [0, 0] => multiply + 2 * locate,
        Access::Direct => multiply + locate,
        Access::Band => multiply + copy + locate,
        Access::Gather if op.path == Path::Avx512Vnni => {
            multiply + copy + locate + 5 * down * (across * u64::from(dense.depth)).div_ceil(32)
        }
        Access::Gather => {
            multiply + copy + locate + down * (12 + across * u64::from(dense.depth) / 8)
        }
        Access::Winograd | Access::Widen => return None,
    })
}

/// See [`instructions_per_pixel`].
const fn products_in_1000_instructions(path: Path) -> u64 {
    match path {
        Path::Neon => 4_400,
        Path::Dotprod => 14_000,
        Path::Avx512Vnni => 44_000,
        _ => 22_000,
    }
}

/// Bias and multiplier of a channel whose outputs are all the same, dead ones for example, such
/// that the short sequences can take them; None where outputs differ. `products` is the largest
/// sum of products either way.
fn constant(bias: i32, products: i64, multiplier: Multiplier) -> Option<(i32, Multiplier)> {
    let scaled = |sum: i64| Some(requantize(i32::try_from(sum).ok()?, multiplier));
    let [least, most] = [scaled(i64::from(bias) - products)?, scaled(i64::from(bias) + products)?];
    // So many bits to the right that products do not count: they make less than a quarter.
    let shift = i64::BITS - products.leading_zeros() + 2;
    let bias = i64::from(most) << shift;
    let fits = least == most && shift <= 28 && bias.abs() < 1 << 29;
    fits.then_some((bias as i32, Multiplier { mantissa: 1 << 30, shift: 1 - shift as i32 }))
}

fn widened(weights: &[i8]) -> Vec<i16> {
    weights.iter().map(|&weight| weight.into()).collect()
}

/// Filters in the order of `packing`; None when they are too large.
fn packed_weights(packing: &Packing, runs: Runs, dense: &Dense<'_>) -> Option<Vec<i8>> {
    let (depth, padded) = (packing.depth(runs)? as usize, packing.padded(runs.len)? as usize);
    let outputs = dense.group_outputs();
    let all = packing.all_columns(outputs)? as usize;
    let mut packed = vec![0i8; all.checked_mul(depth)?.checked_mul(dense.groups as usize)?];
    let filter = runs.count as usize * runs.len as usize;
    for (channel, filter) in (0..).zip(dense.weights.chunks(filter.max(1))) {
        let (group, channel) = (channel / outputs, channel % outputs);
        let panel = packing.panel(outputs, channel / packing.columns);
        let width = panel.end - panel.start;
        let slot = packing.slot(width, channel - panel.start) as usize;
        let start = (group as usize * all + panel.start as usize) * depth;
        for (i, &weight) in filter.iter().enumerate() {
            let k = i / runs.len as usize * padded + i % runs.len as usize;
            let at = start + packing.position(width as usize, k, slot);
            *packed.get_mut(at)? = i8::try_from(weight).ok()?;
        }
    }
    Some(packed)
}

/// Filters as [Winograd's filtering](pipeit_rt::kernels::packed::winograd) takes them; None when
/// they are too large.
fn transformed_weights(packing: &Packing, dense: &Dense<'_>) -> Option<Vec<i8>> {
    let (outputs, channels) = (dense.group_outputs(), dense.depth as usize);
    let all = packing.all_columns(outputs)? as usize;
    let depth = 2 * winograd::POSITIONS * channels;
    let mut packed = vec![0i8; all.checked_mul(depth)?.checked_mul(dense.groups as usize)?];
    for (channel, filter) in (0..).zip(dense.weights.chunks((9 * channels).max(1))) {
        let (group, channel) = (channel / outputs, channel % outputs);
        let panel = packing.panel(outputs, channel / packing.columns);
        let width = (panel.end - panel.start) as usize;
        let start = (group as usize * all + panel.start as usize) * depth;
        let slot = packing.slot(width as u32, channel - panel.start) as usize;
        for input in 0..channels {
            let mut taps = [0; 9];
            for (tap, &weight) in taps.iter_mut().zip(filter.get(input..)?.iter().step_by(channels))
            {
                *tap = weight;
            }
            let places = winograd::places(channels, input, width, slot);
            for (number, at) in winograd::transformed(taps).into_iter().zip(places) {
                let bytes = number.to_le_bytes().map(u8::cast_signed);
                packed.get_mut(start + at..)?.get_mut(..2)?.copy_from_slice(&bytes);
            }
        }
    }
    Some(packed)
}

/// Filters as [panels of groups](groups), and the number of groups; None when they are too many.
fn grouped_weights(
    packing: &Packing,
    op: &PackedConv2d,
    runs: Runs,
    dense: &Dense<'_>,
) -> Option<(Vec<i8>, u32)> {
    let [down, across] = op.window.taps.map(usize::from);
    let (reach, dilation) = (op.reach(packing, runs)? as usize, op.window.dilation[1]);
    let (depth, columns) = (down * reach, packing.columns as usize);
    let (outputs, channels) = (dense.group_outputs(), dense.depth as usize);
    let all = packing.all_columns(outputs)? as usize;
    let mut weights = vec![0i16; all.checked_mul(depth)?.checked_mul(dense.groups as usize)?];
    let filters = dense.weights.chunks((down * across * channels).max(1));
    for (channel, filter) in filters.enumerate() {
        let (group, channel) = (channel / outputs as usize, channel % outputs as usize);
        let panel = group * all + channel / columns * columns;
        for (tap, filter) in filter.chunks(channels).enumerate() {
            let first = tap / across * reach + tap % across * usize::from(dilation) * channels;
            for (k, &weight) in (first..).zip(filter) {
                *weights.get_mut(panel * depth + k * columns + channel % columns)? = weight;
            }
        }
    }
    groups::grouped(&mut weights, depth, reach)
}

/// What belongs to the output channels of a layer.
struct Columns {
    /// With everything in it that the zero points make constant.
    bias: Vec<i32>,
    multipliers: Vec<Multiplier>,
    /// See [`PackedConv2d::fast`].
    fast: bool,
}

impl Columns {
    /// `offset` is what the kernel adds to every input code.
    fn of(network: &Network, dense: &Dense<'_>, offset: i32) -> Self {
        let bias = get(network, dense.requantize.bias);
        let multipliers = get(network, dense.requantize.multipliers);
        let (x_zero, w_zero) = (i32::from(dense.zero_points.0), i32::from(dense.zero_points.1));
        let reach = i64::from((x_zero + 128).max(127 - x_zero));
        let mut columns = Self { bias: Vec::new(), multipliers: Vec::new(), fast: true };
        let filter = dense.weights.len() / (dense.outputs as usize).max(1);
        for (channel, weights) in dense.weights.chunks(filter.max(1)).enumerate() {
            let mut bias = bias.get(channel).copied().unwrap_or(0);
            let one_for_all = multipliers.first().copied();
            let multiplier = multipliers.get(channel).copied().or(one_for_all);
            let mut multiplier = multiplier.unwrap_or(Multiplier { mantissa: 0, shift: 0 });
            let most: i64 = weights.iter().map(|&w| i64::from(i32::from(w) - w_zero).abs()).sum();
            let products = most * reach;
            if dense.rounding == Rounding::Double
                && let Some(same) = constant(bias, products, multiplier)
            {
                (bias, multiplier) = same;
            }
            let sum = weights.iter().fold(0i32, |sum, &w| sum.wrapping_add(w.into()));
            let both = (weights.len() as i32).wrapping_mul(x_zero).wrapping_mul(w_zero);
            let constant = sum.wrapping_mul(x_zero + offset).wrapping_sub(both);
            columns.bias.push(bias.wrapping_sub(constant));
            columns.multipliers.push(multiplier);
            columns.fast &= i64::from(bias).abs() + products < 1 << 30
                && multiplier.mantissa >= 1 << 30
                && (-30..=-1).contains(&multiplier.shift);
        }
        columns
    }

    /// The table of all panels, group by group.
    fn table(&self, path: Path, packing: &Packing, dense: &Dense<'_>) -> Vec<i32> {
        let outputs = dense.group_outputs();
        let all = packing.all_columns(outputs).unwrap_or(0);
        let mut table = vec![0; (dense.groups * all * packing.parameters) as usize];
        let mut rest = table.as_mut_slice();
        let panels = (0..all.div_ceil(packing.columns)).map(|panel| packing.panel(outputs, panel));
        for (group, panel) in (0..dense.groups).flat_map(|g| panels.clone().map(move |p| (g, p))) {
            let width = panel.end - panel.start;
            let (numbers, after) = rest.split_at_mut((width * packing.parameters) as usize);
            let slot = |column: usize| packing.slot(width, column as u32) as usize;
            let channel =
                |column| (column < outputs).then_some((group * outputs + column) as usize);
            let columns = panel.map(channel);
            self.write_panel(path, numbers, columns, slot, width as usize);
            rest = after;
        }
        table
    }

    /// Writes what belongs to the channels `columns` into a panel's `numbers`; None fills up.
    fn write_panel(
        &self,
        path: Path,
        numbers: &mut [i32],
        columns: impl Iterator<Item = Option<usize>>,
        slot: impl Fn(usize) -> usize,
        width: usize,
    ) {
        let filler = Multiplier { mantissa: 1 << 30, shift: -1 };
        for (i, channel) in columns.enumerate() {
            let bias = channel.and_then(|channel| self.bias.get(channel)).copied();
            let multiplier = channel.and_then(|channel| self.multipliers.get(channel)).copied();
            let (bias, multiplier) = (bias.unwrap_or(0), multiplier.unwrap_or(filler));
            for (index, number) in
                [bias, multiplier.mantissa, multiplier.shift].into_iter().enumerate()
            {
                if let Some(place) = numbers.get_mut(index * width + slot(i)) {
                    *place = number;
                }
            }
        }
        complete(path, numbers, width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_gone_through_in_halves_of_the_cache() {
        let digits = include_bytes!("../data/digits/digits.tflite");
        let network = crate::lower::lower(&crate::import::tflite(digits).unwrap()).unwrap();
        let blocks = |l2_bytes: u32| {
            let target = PackTarget { l2_bytes, ..Path::Neon.into() };
            let packed = pack(&network, &[target]).unwrap();
            let conv = |op: &Op| match op {
                Op::PackedConv2d(conv) => Some((conv.block, conv.weights.len)),
                _ => None,
            };
            packed.ops.iter().filter_map(conv).collect::<Vec<_>>()
        };
        let (small, large) = (blocks(16 << 10), blocks(1 << 20));
        assert!(small.iter().any(|&(block, bytes)| u32::from(block) > 1 && bytes > 8 << 10));
        for (small, large) in small.into_iter().zip(large) {
            assert!(u32::from(large.0) >= 64 * u32::from(small.0), "{small:?} {large:?}");
        }
    }

    #[test]
    fn inputs_are_moved_in_place_where_that_costs_nothing() {
        let file = crate::zoo::Architecture::named("ds_cnn").unwrap().tflite(0, &mut || {});
        let network = crate::lower::lower(&crate::import::tflite(&file).unwrap()).unwrap();
        for moves_in_place in [false, true] {
            let target = PackTarget { moves_in_place, ..Path::Avx512Vnni.into() };
            let packed = pack(&network, &[target]).unwrap();
            packed.check().unwrap();
            let convs = packed.ops.iter().filter_map(|op| match op {
                Op::PackedConv2d(conv) => Some((conv.window.taps == [1, 1], conv.access)),
                _ => None,
            });
            let mut pointwise = 0;
            for (is_pointwise, access) in convs {
                let in_place = access == Access::Direct;
                assert_eq!(in_place, is_pointwise && moves_in_place, "{access:?}");
                pointwise += usize::from(is_pointwise);
            }
            assert!(pointwise >= 4);
        }
    }

    #[test]
    fn a_channel_of_one_code_keeps_it() {
        let tiny = Multiplier { mantissa: 0x4500_0000, shift: -30 };
        for (bias, products) in [(1 << 30, 2_000_000), (-(1 << 30), 40_000), (77, 5), (0, 0)] {
            let (new_bias, multiplier) = constant(bias, products, tiny).unwrap();
            assert!((-30..=-1).contains(&multiplier.shift));
            for product in [-products, -1, 0, 1, products] {
                let product = product.clamp(-products, products) as i32;
                let (old, new) = (bias + product, new_bias + product);
                assert_eq!(requantize(new, multiplier), requantize(old, tiny), "{bias} {product}");
            }
        }
        let large = Multiplier { mantissa: 1 << 30, shift: -4 };
        assert_eq!(constant(0, 1000, large), None);
    }
}
