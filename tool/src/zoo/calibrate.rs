//! Weights, and the ranges of all values on a few frames.
//!
//! A network with random weights behaves like a trained one only if its activations keep
//! their size from layer to layer. Here a batch normalization does that as in training: over
//! the frames of the calibration, each channel of a weighted layer gets mean 0 and variance 1
//! before its activation. It is folded at once, the deviation into the scale of the channel's
//! weights and the mean into its bias:
//!
//! ```text
//! (sum(code * x) - mean) / deviation  =  sum(scale * code * x) + bias
//!     scale = 1 / deviation                bias = -mean / deviation
//! ```
//!
//! So only the *codes* of the weights need to be drawn; whatever size of weights they began
//! with, the normalization would undo it.

use super::float::Batch;
use super::network::{Network, Op, Scales, window};
use crate::graph::Activation;
use crate::noise::Noise;

/// Frames of the calibration.
const FRAMES: usize = 16;

/// What makes a quantized network of an architecture.
#[derive(Debug)]
pub(super) struct Calibration {
    /// Least and largest element of each value.
    pub(super) ranges: Vec<[f32; 2]>,
    /// Of each layer; `None` if it has none.
    pub(super) weights: Vec<Option<Weights>>,
}

/// The constants of a layer.
#[derive(Debug)]
pub(super) struct Weights {
    /// In the order of [`Network::filters`].
    pub(super) codes: Vec<i8>,
    /// Real size of a weight's code: one, or one per output channel.
    pub(super) scales: Vec<f64>,
    /// Real biases, one per output channel.
    pub(super) biases: Vec<f64>,
}

/// Draws the weights of `network` and runs it; calls `done` after each layer.
pub(super) fn calibrate(network: &Network, seed: u64, done: &mut dyn FnMut()) -> Calibration {
    let mut noise = Noise::new(seed);
    let mut values = vec![images(network.input(), network.input_range, &mut noise)];
    let mut all = Calibration { ranges: vec![network.input_range], weights: Vec::new() };
    for (index, layer) in network.layers.iter().enumerate() {
        let filters = network.filters(index).map(|shape| shape.iter().product());
        let codes: Option<Vec<i8>> = filters.map(|count| weights(count, &mut noise));
        let inputs: Vec<_> = layer.inputs.iter().map(|value| &values[value.0]).collect();
        let mut output = apply(layer.op, &inputs, codes.as_deref().unwrap_or_default());
        if layer.op == Op::Softmax {
            spread(&mut all, inputs[0]);
        }
        let folded = codes.map(|codes| fold(layer.op, codes, &mut output));
        let [low, high] = limits(layer.op);
        output.map(|_, x| x.clamp(low, high));
        all.weights.push(folded);
        all.ranges.push(output.range());
        values.push(output);
        for value in &layer.inputs {
            let mut later = network.layers[index + 1..].iter().flat_map(|layer| &layer.inputs);
            if !later.any(|other| other == value) {
                values[value.0] = Batch::default();
            }
        }
        done();
    }
    all
}

/// Codes of weights: like numbers of a normal distribution with deviation 37, cut off at 127.
fn weights(count: usize, noise: &mut Noise) -> Vec<i8> {
    let code = |bits: u32| {
        let sum: i32 = bits.to_le_bytes().into_iter().map(i32::from).sum();
        ((sum - 2 * 255) / 4) as i8
    };
    (0..count).map(|_| code((noise.bits() >> 32) as u32)).collect()
}

/// Squares of random colors, from smooth frames to pure noise.
///
/// The first half has large squares, and on them ever smaller ones down to a size that
/// differs from frame to frame, which is much like photographs; the others have one size each.
fn images([h, w, c]: [usize; 3], [low, high]: [f32; 2], noise: &mut Noise) -> Batch {
    // From -1 to 1.
    let mut uniform = || (noise.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let largest = h.max(w) / 2;
    let sizes = largest.ilog2() as usize + 1;
    let mut data = vec![0.0; FRAMES * h * w * c];
    for (index, frame) in data.chunks_exact_mut(h * w * c).enumerate() {
        let finest = index % sizes;
        let coarsest = if index < FRAMES / 2 { 0 } else { finest };
        for size in (coarsest..=finest).map(|halvings| largest >> halvings) {
            let across = w.div_ceil(size);
            let squares: Vec<f32> = (0..h.div_ceil(size) * across * c).map(|_| uniform()).collect();
            for (index, element) in frame.iter_mut().enumerate() {
                let (y, x, channel) = (index / (w * c), index / c % w, index % c);
                *element += squares[(y / size * across + x / size) * c + channel];
            }
        }
        let variance = frame.iter().map(|x| x * x).sum::<f32>() / frame.len() as f32;
        for element in frame {
            let contrast = (*element / (1.5 * variance.sqrt())).clamp(-1.0, 1.0);
            *element = low + (high - low) * (contrast + 1.0) / 2.0;
        }
    }
    Batch { hwc: [h, w, c], data }
}

/// The operator without activation, bias and the scale of its weights.
fn apply(op: Op, inputs: &[&Batch], codes: &[i8]) -> Batch {
    let [h, w, _] = inputs[0].hwc;
    let flat = || inputs[0].shaped([1, 1, inputs[0].elements()]);
    match op {
        Op::Conv { groups, window, .. } => inputs[0].conv(window, groups, codes),
        Op::Depthwise { window, .. } => inputs[0].depthwise(window, codes),
        Op::Dense { .. } => flat().conv(window([1, 1]), 1, codes),
        Op::MaxPool(window) => inputs[0].max_pool(window),
        Op::AveragePool(window) => inputs[0].average_pool(window),
        Op::Mean => inputs[0].average_pool(window([h, w]).valid()),
        Op::Add(_) => inputs[0].add(inputs[1]),
        Op::Concat => Batch::concat(inputs),
        Op::Pad(by) => inputs[0].pad(by),
        Op::Flatten => flat(),
        // Its outputs are what they are, whatever the weights.
        Op::Softmax => Batch { hwc: [1, 1, 2], data: vec![0.0, 1.0] },
    }
}

/// Normalizes the sums of a weighted layer.
fn fold(op: Op, codes: Vec<i8>, sums: &mut Batch) -> Weights {
    let moments = sums.moments();
    // One squared code more than nothing: no channel is blown up that never changes.
    let deviation = |variance: f64| (variance + 1.0).sqrt();
    let deviations: Vec<_> = if let Op::Dense { scales: Scales::PerTensor, .. } = op {
        let variances: f64 = moments.iter().map(|[_, variance]| variance).sum();
        vec![deviation(variances / moments.len() as f64)]
    } else {
        moments.iter().map(|&[_, variance]| deviation(variance)).collect()
    };
    let scales: Vec<_> = deviations.iter().map(|deviation| 1.0 / deviation).collect();
    let of_channel = |channel: usize| scales[channel % scales.len()];
    let biases: Vec<_> =
        (0..).zip(&moments).map(|(channel, [mean, _])| -mean * of_channel(channel)).collect();
    sums.map(|channel, sum| (f64::from(sum) * of_channel(channel) + biases[channel]) as f32);
    Weights { codes, scales, biases }
}

/// Between which numbers the fused activation keeps an output.
const fn limits(op: Op) -> [f32; 2] {
    match op {
        Op::Conv { activation, .. }
        | Op::Depthwise { activation, .. }
        | Op::Dense { activation, .. }
        | Op::Add(activation) => match activation {
            Activation::None => [f32::NEG_INFINITY, f32::INFINITY],
            Activation::Relu => [0.0, f32::INFINITY],
            Activation::ReluN1To1 => [-1.0, 1.0],
            Activation::Relu6 => [0.0, 6.0],
        },
        _ => [f32::NEG_INFINITY, f32::INFINITY],
    }
}

/// Scales the last weighted layer such that, once its outputs have become `logits`, the first
/// of `n` classes is ahead of the mean by log2 `n`: it stands out, and others remain. What lies
/// between the two grows with its input.
fn spread(all: &mut Calibration, logits: &Batch) {
    let Some(last) = all.weights.iter().rposition(Option::is_some) else { return };
    let classes = logits.elements();
    let lead = |frame: &[f32]| {
        let mean = frame.iter().map(|&x| f64::from(x)).sum::<f64>() / classes as f64;
        f64::from(frame.iter().copied().fold(f32::NEG_INFINITY, f32::max)) - mean
    };
    let leads = logits.frames().map(lead).sum::<f64>();
    let factor = f64::from(classes.ilog2()) * FRAMES as f64 / leads;
    if let Some(weights) = &mut all.weights[last] {
        weights.scales.iter_mut().chain(&mut weights.biases).for_each(|x| *x *= factor);
    }
    for range in &mut all.ranges[last + 1..] {
        *range = range.map(|end| (f64::from(end) * factor) as f32);
    }
}
