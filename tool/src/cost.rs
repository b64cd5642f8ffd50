//! A simple cost of layers on teams: multiply-accumulates and bytes at fixed rates.
//!
//! It serves to balance stages. The rates are round figures of a mid-range core; only their
//! proportions matter for where a pipeline is cut.

use std::ops::Range;

use pipeit_rt::kernels::Op;
use pipeit_rt::model::Model;
use pipeit_rt::team::share;
use pipeit_rt::tensor::Hwc;

/// Multiply-accumulates per nanosecond of a core.
const MACS_PER_NS: f64 = 4.0;
/// Bytes of activations read or written per nanosecond.
const BYTES_PER_NS: f64 = 4.0;
/// Bytes of weights per nanosecond when they do not stay in the core's cache.
const COLD_BYTES_PER_NS: f64 = 4.0;
/// Weights of a stage beyond this are read from memory for every frame.
const CACHE_BYTES: u64 = 1 << 20;
/// Nanoseconds of a layer whatever its size, barrier included.
const LAYER_NS: f64 = 200.0;
/// Nanoseconds to hand a frame to the next stage.
const HANDOVER_NS: f64 = 1000.0;

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

/// The layers of a network.
#[derive(Clone, Debug)]
pub struct Costs {
    layers: Vec<LayerCost>,
    /// Per layer, and one past the last, what all layers before it take.
    before: Vec<Sums>,
}

/// What the first layers of a network take together.
#[derive(Clone, Debug)]
struct Sums {
    weight_bytes: u64,
    /// Nanoseconds on a team of 1, 2, ... cores, weights being at hand.
    busy_ns: [f64; MAX_TEAM],
}

/// Most cores of a team.
const MAX_TEAM: usize = pipeit_rt::topology::MAX_CORES;

impl Costs {
    /// What the layers of `model` do.
    #[must_use]
    pub fn of(model: &Model<'_>) -> Self {
        let mut costs = Self { layers: Vec::new(), before: Vec::new() };
        let mut sums = Sums { weight_bytes: 0, busy_ns: [0.0; MAX_TEAM] };
        costs.before.push(sums.clone());
        for index in 0..model.layers.len() as u16 {
            let cost = layer_cost(model, index);
            let work = cost.macs as f64 / MACS_PER_NS + cost.activation_bytes as f64 / BYTES_PER_NS;
            sums.weight_bytes += cost.weight_bytes;
            for (busy, share) in sums.busy_ns.iter_mut().zip(largest_shares(model, index)) {
                *busy += work * share + LAYER_NS;
            }
            costs.layers.push(cost);
            costs.before.push(sums.clone());
        }
        costs
    }

    /// What layer `layer` does.
    #[must_use]
    pub fn layer(&self, layer: u16) -> LayerCost {
        self.layers[usize::from(layer)]
    }

    /// Nanoseconds of one frame in a stage of these layers on a team of `cores` cores, each
    /// `slowdown` times slower than the reference.
    #[must_use]
    pub fn stage_ns(&self, layers: Range<u16>, cores: u8, slowdown: f64) -> f64 {
        let [start, end] = [layers.start, layers.end].map(|at| &self.before[usize::from(at)]);
        let team = usize::from(cores.max(1)) - 1;
        let busy = end.busy_ns[team] - start.busy_ns[team];
        let weights = end.weight_bytes - start.weight_bytes;
        let cold = if weights > CACHE_BYTES { weights as f64 / COLD_BYTES_PER_NS } else { 0.0 };
        (busy + cold + HANDOVER_NS) * slowdown
    }
}

fn layer_cost(model: &Model<'_>, index: u16) -> LayerCost {
    let layer = &model.layers[usize::from(index)];
    let tensors = layer.inputs.iter().chain([&layer.output]);
    let bytes = |id| model.tensor(id).map_or(0, |tensor| tensor.shape.elements() as u64);
    let op = model.paths.first().and_then(|&path| model.op(path, index));
    LayerCost {
        macs: model.macs(index),
        weight_bytes: op.map_or(0, weight_bytes),
        activation_bytes: tensors.map(|&id| bytes(id)).sum(),
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

/// The largest share of a layer in a team of 1, 2, … cores, as a fraction of the layer.
fn largest_shares(model: &Model<'_>, index: u16) -> impl Iterator<Item = f64> + use<> {
    let output = model.tensor(model.layers[usize::from(index)].output);
    let hwc = output.map_or(Hwc { h: 1, w: 1, c: 1 }, |tensor| tensor.layout.hwc);
    let op = model.paths.first().and_then(|&path| model.op(path, index));
    let split = op.map_or(pipeit_rt::tensor::Split::Rows, Op::split);
    let whole = f64::from(hwc.h) * f64::from(hwc.c);
    let fraction = move |cores: usize| {
        let parts = (0..cores).map(|member| share(hwc, split, member, cores));
        parts.map(|part| (part.rows.len() * part.channels.len()) as f64 / whole).fold(0.0, f64::max)
    };
    (1..=MAX_TEAM).map(fraction)
}
