//! What the layers of a network do: what their times are predicted from, and what reports show.

use pipeit_planner::networks::{self, Op as Kind};
use pipeit_planner::predict::Described;
use pipeit_rt::kernels::{Op, Window};
use pipeit_rt::model::Model;
use pipeit_rt::tensor::Hwc;

use crate::memory::lifetimes;

/// What one layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Bytes of activations read and written.
    pub activation_bytes: u64,
}

impl LayerCost {
    /// Of layer `index`.
    #[must_use]
    pub fn of(model: &Model<'_>, index: u16) -> Self {
        let Some(layer) = model.layers.get(usize::from(index)) else {
            return Self { macs: 0, weight_bytes: 0, activation_bytes: 0 };
        };
        let tensors = layer.inputs.iter().chain([&layer.output]);
        let bytes = |id| model.tensor(id).map_or(0, |tensor| tensor.shape.elements() as u64);
        let op = model.paths.first().and_then(|&path| model.op(path, index));
        Self {
            macs: model.macs(index),
            weight_bytes: op.map_or(0, weight_bytes),
            activation_bytes: tensors.map(|&id| bytes(id)).sum(),
        }
    }
}

/// Bytes of weights, bias and tables an operator reads.
fn weight_bytes(op: &Op) -> u64 {
    let requantize = |r: &pipeit_rt::kernels::reference::Requantize| {
        4 * u64::from(r.bias.len) + 8 * u64::from(r.multipliers.len)
    };
    match op {
        Op::Conv2d(p) => u64::from(p.weights.len) + requantize(&p.requantize),
        Op::DepthwiseConv2d(p) => u64::from(p.weights.len) + requantize(&p.requantize),
        Op::FullyConnected(p) => u64::from(p.weights.len) + requantize(&p.requantize),
        Op::PackedConv2d(p) => u64::from(p.weights.len) + 4 * u64::from(p.columns.len),
        Op::PackedDepthwiseConv2d(p) => u64::from(p.weights.len) + 4 * u64::from(p.columns.len),
        Op::TransposeConv(p) => u64::from(p.weights.len) + requantize(&p.requantize),
        Op::ResizeNearestNeighbor(p) => 4 * (u64::from(p.rows.len) + u64::from(p.columns.len)),
        Op::ResizeBilinear(p) => 4 * (u64::from(p.rows.len) + u64::from(p.columns.len)),
        Op::Lookup(p) => p.table.len.into(),
        Op::Constant(p) => p.codes.len.into(),
        Op::Softmax(p) => 4 * u64::from(p.exponentials.len),
        _ => 0,
    }
}

/// The network as the planner sees it.
#[must_use]
pub fn describe(model: &Model<'_>) -> Described {
    let layers = 0..model.layers.len() as u16;
    Described {
        layers: layers.clone().map(|index| layer(model, index)).collect(),
        crossing_bytes: crossing_bytes(model),
    }
}

/// Before each layer, the bytes of what is written before it and read from it on.
fn crossing_bytes(model: &Model<'_>) -> Vec<u64> {
    let mut change = vec![0i64; model.layers.len() + 1];
    for (lifetime, &bytes) in lifetimes(model).iter().zip(model.storages) {
        if lifetime.first < lifetime.last {
            change[usize::from(lifetime.first) + 1] += i64::from(bytes);
            change[usize::from(lifetime.last) + 1] -= i64::from(bytes);
        }
    }
    let mut bytes = 0;
    let mut crossing: Vec<u64> = Vec::new();
    for change in &change[..model.layers.len()] {
        bytes += change;
        crossing.push(bytes.unsigned_abs());
    }
    crossing
}

fn layer(model: &Model<'_>, index: u16) -> networks::Layer {
    let array = |hwc: Hwc| [hwc.h, hwc.w, hwc.c].map(|extent| extent as usize);
    let extents = |id| model.tensor(id).map_or([1; 3], |tensor| array(tensor.layout.hwc));
    let found = model.layers.get(usize::from(index));
    let input = found.and_then(|layer| layer.inputs.first()).map_or([1; 3], |&id| extents(id));
    let output = found.map_or([1; 3], |layer| extents(layer.output));
    let of = |op: Kind, taps: [u16; 2], stride: u16| networks::Layer {
        op,
        input,
        output,
        window: taps.map(usize::from),
        stride: stride.into(),
        residual: matches!(op, Kind::Conv { .. } | Kind::Dense)
            && found.is_some_and(|layer| layer.inputs.len() > 1),
    };
    let windowed = |op: Kind, window: Window| of(op, window.taps, window.stride[0]);
    let plain = |op: Kind| of(op, [1, 1], 1);
    let Some(op) = model.paths.first().and_then(|&path| model.op(path, index)) else {
        return plain(Kind::Other { macs: 0 });
    };
    match op {
        // A pixel, every input of which every output sees.
        Op::PackedConv2d(p)
            if p.groups == 1 && p.window.taps == [1, 1] && output[0] * output[1] == 1 =>
        {
            plain(Kind::Dense)
        }
        Op::PackedConv2d(p) => windowed(Kind::Conv { groups: p.groups.max(1) as usize }, p.window),
        Op::Conv2d(p) => windowed(Kind::Conv { groups: p.groups.max(1) as usize }, p.window),
        Op::PackedDepthwiseConv2d(p) => windowed(Kind::Depthwise, p.window),
        Op::DepthwiseConv2d(p) => windowed(Kind::Depthwise, p.window),
        Op::FullyConnected(_) => plain(Kind::Dense),
        Op::AveragePool2d(p) => windowed(Kind::Pool, p.window),
        Op::MaxPool2d(p) => windowed(Kind::Pool, p.window),
        Op::Mean(p) => {
            let [down, across, _] = p.axes;
            let taps = [(down, input[0]), (across, input[1])];
            let taps = taps.map(|(all, extent)| if all { extent.min(65535) as u16 } else { 1 });
            of(Kind::Pool, taps, 1)
        }
        Op::Add(_) | Op::Sub(_) => plain(Kind::Add),
        Op::Pad(_) | Op::Copy(_) | Op::Rearrange(_) | Op::Constant(_) => plain(Kind::Copy),
        _ => plain(Kind::Other { macs: model.macs(index) }),
    }
}
