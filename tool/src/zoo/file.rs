//! A calibrated network as a TensorFlow Lite file, quantized to int8 by TFLite's conventions.

use super::calibrate::{Calibration, Weights};
use super::network::{Layer, Network, Op, Value, Window};
use crate::graph::Activation;
use crate::import::schema::{
    self, ActivationFunctionType, AddOptions, Buffer, BuiltinOperator, BuiltinOptions,
    ConcatenationOptions, Conv2DOptions, DepthwiseConv2DOptions, FullyConnectedOptions,
    FullyConnectedOptionsWeightsFormat, Model, Operator, OperatorCode, Pool2DOptions,
    QuantizationParameters, ReducerOptions, SoftmaxOptions, SubGraph, Tensor, TensorType,
};

/// The file, with `description` in it.
pub(super) fn write(network: &Network, calibration: &Calibration, description: String) -> Vec<u8> {
    let mut file = File::default();
    let codes = activations(network, &calibration.ranges);
    let mut places = Vec::new();
    places.push(file.activation("input", &network.shapes[0].extents(), codes[0]));
    for (index, layer) in network.layers.iter().enumerate() {
        let mut inputs: Vec<i32> = layer.inputs.iter().map(|value| places[value.0]).collect();
        match (&calibration.weights[index], network.filters(index)) {
            (Some(weights), Some(shape)) => {
                let from = codes[layer.inputs[0].0].scale;
                inputs.extend(file.weights(layer, weights, &shape, from));
            }
            _ => inputs.extend(file.constant(network, layer)),
        }
        let shape = network.shape(Value(index + 1)).extents();
        let output = file.activation(&layer.name, &shape, codes[index + 1]);
        places.push(output);
        file.operator(layer, inputs, output);
    }
    let ends = [places[0], places[network.layers.len()]];
    schema::write(&file.finish(ends, description))
}

/// What codes stand for: `real = scale * (code - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Codes {
    scale: f32,
    zero_point: i8,
}

impl Codes {
    /// Those of a softmax's outputs, which TFLite demands.
    const PROBABILITIES: Self = Self { scale: 1.0 / 256.0, zero_point: -128 };

    /// All 256 codes over a range, stretched such that zero is in it, and moved such that a
    /// code stands for exactly zero.
    fn over([low, high]: [f32; 2]) -> Self {
        let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
        let scale = ((high - low) / 255.0).max(f64::from(f32::MIN_POSITIVE));
        let zero_point = (-128.0 - low / scale).round();
        Self { scale: scale as f32, zero_point: zero_point as i8 }
    }
}

/// The codes of each value. Operators that only move or select codes keep those of their
/// input; the inputs of a concatenation have those of its output.
fn activations(network: &Network, ranges: &[[f32; 2]]) -> Vec<Codes> {
    let mut groups: Vec<usize> = (0..ranges.len()).collect();
    for (index, layer) in network.layers.iter().enumerate() {
        let same = match layer.op {
            Op::MaxPool(_) | Op::AveragePool(_) | Op::Concat | Op::Pad(_) | Op::Flatten => {
                layer.inputs.as_slice()
            }
            _ => &[],
        };
        for value in same {
            let (from, to) = (groups[value.0], groups[index + 1]);
            groups.iter_mut().filter(|group| **group == to).for_each(|group| *group = from);
        }
    }
    let codes = groups.iter().map(|&group| {
        let members = groups.iter().zip(ranges).filter(|&(&other, _)| other == group);
        Codes::over(
            members
                .fold([0.0; 2], |[low, high], (_, range)| [low.min(range[0]), high.max(range[1])]),
        )
    });
    let mut codes: Vec<_> = codes.collect();
    for (index, _) in network.layers.iter().enumerate().filter(|(_, l)| l.op == Op::Softmax) {
        codes[index + 1] = Codes::PROBABILITIES;
    }
    codes
}

/// A file in the making.
#[derive(Default)]
struct File {
    tensors: Vec<Tensor>,
    /// Those with content: buffer `i + 1`.
    buffers: Vec<Vec<u8>>,
    operators: Vec<Operator>,
    codes: Vec<OperatorCode>,
}

impl File {
    /// Adds a tensor and returns its index; one without data is an activation.
    fn tensor(
        &mut self,
        name: String,
        shape: &[usize],
        type_: TensorType,
        quantization: Option<QuantizationParameters>,
        data: Vec<u8>,
    ) -> i32 {
        let buffer = if data.is_empty() {
            0
        } else {
            self.buffers.push(data);
            self.buffers.len() as u32
        };
        self.tensors.push(Tensor {
            name: Some(name),
            shape: Some(shape.iter().map(|&extent| extent as i32).collect()),
            type_,
            buffer,
            quantization: quantization.map(Box::new),
            ..Tensor::default()
        });
        self.tensors.len() as i32 - 1
    }

    fn activation(&mut self, name: &str, shape: &[usize], codes: Codes) -> i32 {
        let quantization = quantization(vec![codes.scale], codes.zero_point, 0);
        self.tensor(name.to_owned(), shape, TensorType::Int8, Some(quantization), Vec::new())
    }

    fn integers(&mut self, name: String, shape: &[usize], integers: &[i32]) -> i32 {
        let data = integers.iter().flat_map(|integer| integer.to_le_bytes()).collect();
        self.tensor(name, shape, TensorType::Int32, None, data)
    }

    /// Weights of `shape` and the bias of a layer whose input has the scale `from`.
    fn weights(
        &mut self,
        layer: &Layer,
        weights: &Weights,
        shape: &[usize],
        from: f32,
    ) -> [i32; 2] {
        let axis = if matches!(layer.op, Op::Depthwise { .. }) { shape.len() - 1 } else { 0 };
        let scales: Vec<f32> = weights.scales.iter().map(|&scale| scale as f32).collect();
        let bias_scales: Vec<f32> = scales.iter().map(|scale| from * scale).collect();
        let codes = weights.biases.iter().zip(bias_scales.iter().cycle());
        let bias = codes.map(|(bias, &scale)| (bias / f64::from(scale)).round() as i32);
        let bias = bias.flat_map(i32::to_le_bytes).collect();
        let data = weights.codes.iter().map(|&code| code as u8).collect();
        let part = |part| format!("{}/{part}", layer.name);
        let quantized = Some(quantization(scales, 0, axis));
        [
            self.tensor(part("weights"), shape, TensorType::Int8, quantized, data),
            self.tensor(
                part("bias"),
                &[weights.biases.len()],
                TensorType::Int32,
                Some(quantization(bias_scales, 0, 0)),
                bias,
            ),
        ]
    }

    /// The constant operand of a layer without weights.
    fn constant(&mut self, network: &Network, layer: &Layer) -> Option<i32> {
        let name = |what| format!("{}/{what}", layer.name);
        match layer.op {
            Op::Pad(by) => {
                let by = by as i32;
                Some(self.integers(name("paddings"), &[4, 2], &[0, 0, by, by, by, by, 0, 0]))
            }
            Op::Mean => Some(self.integers(name("axes"), &[2], &[1, 2])),
            Op::Flatten => {
                let elements = network.shape(layer.inputs[0]).elements();
                Some(self.integers(name("shape"), &[2], &[1, elements as i32]))
            }
            _ => None,
        }
    }

    fn operator(&mut self, layer: &Layer, inputs: Vec<i32>, output: i32) {
        let (builtin_code, version) = code(layer.op);
        let code = OperatorCode {
            // Where readers of old look for it.
            deprecated_builtin_code: builtin_code as i8,
            builtin_code,
            version,
            ..OperatorCode::default()
        };
        let known = self.codes.iter().position(|known| *known == code);
        let opcode_index = known.unwrap_or_else(|| {
            self.codes.push(code);
            self.codes.len() - 1
        }) as u32;
        self.operators.push(Operator {
            opcode_index,
            inputs: Some(inputs),
            outputs: Some(vec![output]),
            builtin_options: options(layer.op),
        });
    }

    fn finish(self, [input, output]: [i32; 2], description: String) -> Model {
        let buffer = |data| Buffer { data, offset: 0, size: 0 };
        let buffers = self.buffers.into_iter().map(|data| buffer(Some(data)));
        Model {
            version: 3,
            operator_codes: Some(self.codes),
            subgraphs: Some(vec![SubGraph {
                tensors: Some(self.tensors),
                inputs: Some(vec![input]),
                outputs: Some(vec![output]),
                operators: Some(self.operators),
                name: Some("main".to_owned()),
            }]),
            description: Some(description),
            buffers: Some(std::iter::once(buffer(None)).chain(buffers).collect()),
        }
    }
}

fn quantization(scales: Vec<f32>, zero_point: i8, axis: usize) -> QuantizationParameters {
    QuantizationParameters {
        zero_point: Some(vec![zero_point.into(); scales.len()]),
        scale: Some(scales),
        quantized_dimension: axis as i32,
        ..QuantizationParameters::default()
    }
}

/// The operator's code, and the version of it that computes with int8 as needed here.
const fn code(op: Op) -> (BuiltinOperator, i32) {
    match op {
        Op::Conv { groups: 1, .. } => (BuiltinOperator::Conv2d, 3),
        Op::Conv { .. } => (BuiltinOperator::Conv2d, 6),
        Op::Depthwise { .. } => (BuiltinOperator::DepthwiseConv2d, 3),
        Op::Dense { .. } => (BuiltinOperator::FullyConnected, 4),
        Op::MaxPool(_) => (BuiltinOperator::MaxPool2d, 2),
        Op::AveragePool(_) => (BuiltinOperator::AveragePool2d, 2),
        Op::Mean => (BuiltinOperator::Mean, 2),
        Op::Add(_) => (BuiltinOperator::Add, 2),
        Op::Concat => (BuiltinOperator::Concatenation, 2),
        Op::Pad(_) => (BuiltinOperator::Pad, 2),
        Op::Flatten => (BuiltinOperator::Reshape, 1),
        Op::Softmax => (BuiltinOperator::Softmax, 2),
    }
}

fn options(op: Op) -> Option<BuiltinOptions> {
    Some(match op {
        Op::Conv { window, activation, .. } => {
            let [stride_h, stride_w] = window.stride.map(|stride| stride as i32);
            BuiltinOptions::Conv2DOptions(Box::new(Conv2DOptions {
                padding: window.padding,
                stride_w,
                stride_h,
                fused_activation_function: function(activation),
                dilation_w_factor: 1,
                dilation_h_factor: 1,
            }))
        }
        Op::Depthwise { window, activation } => {
            let [stride_h, stride_w] = window.stride.map(|stride| stride as i32);
            BuiltinOptions::DepthwiseConv2DOptions(Box::new(DepthwiseConv2DOptions {
                padding: window.padding,
                stride_w,
                stride_h,
                depth_multiplier: 1,
                fused_activation_function: function(activation),
                dilation_w_factor: 1,
                dilation_h_factor: 1,
            }))
        }
        Op::Dense { activation, .. } => {
            BuiltinOptions::FullyConnectedOptions(Box::new(FullyConnectedOptions {
                fused_activation_function: function(activation),
                weights_format: FullyConnectedOptionsWeightsFormat::Default,
                keep_num_dims: false,
            }))
        }
        Op::MaxPool(window) | Op::AveragePool(window) => {
            BuiltinOptions::Pool2DOptions(Box::new(pool(window)))
        }
        Op::Mean => BuiltinOptions::ReducerOptions(Box::new(ReducerOptions { keep_dims: false })),
        Op::Add(activation) => BuiltinOptions::AddOptions(Box::new(AddOptions {
            fused_activation_function: function(activation),
        })),
        Op::Concat => BuiltinOptions::ConcatenationOptions(Box::new(ConcatenationOptions {
            axis: 3,
            fused_activation_function: ActivationFunctionType::None,
        })),
        Op::Softmax => BuiltinOptions::SoftmaxOptions(Box::new(SoftmaxOptions { beta: 1.0 })),
        // Their second operand says it all.
        Op::Pad(_) | Op::Flatten => return None,
    })
}

fn pool(window: Window) -> Pool2DOptions {
    let [stride_h, stride_w] = window.stride.map(|stride| stride as i32);
    let [filter_height, filter_width] = window.taps.map(|taps| taps as i32);
    Pool2DOptions {
        padding: window.padding,
        stride_w,
        stride_h,
        filter_width,
        filter_height,
        fused_activation_function: ActivationFunctionType::None,
    }
}

const fn function(activation: Activation) -> ActivationFunctionType {
    match activation {
        Activation::None => ActivationFunctionType::None,
        Activation::Relu => ActivationFunctionType::Relu,
        Activation::ReluN1To1 => ActivationFunctionType::ReluN1To1,
        Activation::Relu6 => ActivationFunctionType::Relu6,
    }
}

#[cfg(test)]
mod tests {
    use super::super::network::{LINEAR, window};
    use super::*;

    #[test]
    fn zero_has_a_code() {
        let codes = |low, high| {
            let Codes { scale, zero_point } = Codes::over([low, high]);
            (scale, zero_point)
        };
        assert_eq!(codes(0.0, 255.0), (1.0, -128));
        assert_eq!(codes(-1.0, 1.0), (2.0 / 255.0, -1));
        assert_eq!(codes(3.0, 6.0), (6.0 / 255.0, -128));
        assert_eq!(codes(-5.0, -1.0), (5.0 / 255.0, 127));
        assert_eq!(codes(0.0, 0.0).1, -128);
    }

    #[test]
    fn what_only_moves_codes_keeps_their_meaning() {
        let (mut net, x) = Network::new([4, 4, 2], [-1.0, 1.0]);
        let a = net.conv("a", x, 3, window([1, 1]), LINEAR);
        let b = net.conv("b", x, 3, window([1, 1]), LINEAR);
        let joined = net.concat("joined", &[a, b]);
        let pooled = net.max_pool("pooled", joined, window([2, 2]));
        let c = net.conv("c", pooled, 3, window([1, 1]), LINEAR);
        let flat = net.flatten("flat", c);
        net.softmax("softmax", flat);
        let ends = [1.0, 2.0, 3.0, 3.0, 2.5, 9.0, 9.0, 1.0];
        let codes = activations(&net, &ends.map(|end| [-end, end]));
        let scales: Vec<_> = codes.iter().map(|codes| codes.scale * 255.0 / 2.0).collect();
        assert_eq!(scales[..7], [1.0, 3.0, 3.0, 3.0, 3.0, 9.0, 9.0]);
        assert_eq!(codes[7], Codes::PROBABILITIES);
    }
}
