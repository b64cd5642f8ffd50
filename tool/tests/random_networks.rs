//! Random networks under random plans on random machines: every plan gives the same bytes.

use std::sync::Arc;

use pipeit_rt::kernels::Path;
use pipeit_tool::graph::{
    Activation, Conv, Element, Graph, Op, OpKind, Padding, Pool, Quantization, Resize,
    StridedSlice, Tensor, TensorIndex,
};
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::lower::lower;
use pipeit_tool::noise::Noise;
use pipeit_tool::pack::pack;
use pipeit_tool::planning::Planner;
use pipeit_tool::trials::Trials;
use proptest::prelude::*;

mod support;

use support::{cpus, run};

/// A reproducible source of choices.
struct Rng(Noise);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(Noise::new(seed))
    }

    fn next(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number from `range`, both ends included.
    fn pick(&mut self, range: std::ops::RangeInclusive<u32>) -> u32 {
        range.start() + (self.next() % u64::from(range.end() - range.start() + 1)) as u32
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.pick(0..=choices.len() as u32 - 1) as usize]
    }
}

/// Grows a network operator by operator.
struct Builder {
    rng: Rng,
    graph: Graph,
}

impl Builder {
    fn tensor(&mut self, tensor: Tensor) -> TensorIndex {
        self.graph.tensors.push(tensor);
        TensorIndex(self.graph.tensors.len() - 1)
    }

    fn quantization(&mut self) -> Quantization {
        let scale = f32::from(self.rng.pick(5..=200) as u16) / 1000.0;
        Quantization::per_tensor(scale, i64::from(self.rng.pick(0..=255)) - 128)
    }

    fn activation(&mut self, shape: &[u32], quantization: Quantization) -> TensorIndex {
        self.tensor(Tensor {
            name: format!("t{}", self.graph.tensors.len()),
            shape: shape.to_vec(),
            element: Element::I8,
            quantization: Some(quantization),
            data: None,
        })
    }

    fn constant(
        &mut self,
        shape: &[u32],
        element: Element,
        quantization: Option<Quantization>,
        data: Vec<u8>,
    ) -> TensorIndex {
        let name = format!("c{}", self.graph.tensors.len());
        let shape = shape.to_vec();
        self.tensor(Tensor { name, shape, element, quantization, data: Some(Arc::from(data)) })
    }

    fn integers(&mut self, shape: &[u32], values: &[i32]) -> TensorIndex {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(shape, Element::I32, None, data)
    }

    fn op(&mut self, kind: OpKind, inputs: &[TensorIndex], output: TensorIndex) -> TensorIndex {
        self.graph.ops.push(Op {
            kind,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            index: self.graph.ops.len(),
        });
        output
    }

    fn shape(&self, tensor: TensorIndex) -> [u32; 4] {
        self.graph.tensors[tensor.0].shape.as_slice().try_into().unwrap()
    }

    fn quantization_of(&self, tensor: TensorIndex) -> Quantization {
        self.graph.tensors[tensor.0].quantization.clone().unwrap()
    }

    /// Weights of `shape` with one scale per slice along `axis`, and a bias.
    fn weights(&mut self, shape: &[u32], axis: usize, input_scale: f32) -> [TensorIndex; 2] {
        let channels = shape[axis];
        let count = shape.iter().product::<u32>();
        let data = (0..count).map(|_| self.rng.next() as u8).collect();
        let scales: Vec<f32> =
            (0..channels).map(|_| f32::from(self.rng.pick(1..=60) as u16) / 1000.0).collect();
        let zero_points = vec![0; scales.len()];
        let bias = (0..channels).map(|_| self.rng.pick(0..=4000) as i32 - 2000);
        let bias: Vec<i32> = bias.collect();
        let bias_scales = scales.iter().map(|scale| scale * input_scale).collect();
        let quantization = Quantization { scales, zero_points: zero_points.clone(), axis };
        let weights = self.constant(shape, Element::I8, Some(quantization), data);
        let bias = self.integers(&[channels], &bias);
        self.graph.tensors[bias.0].quantization =
            Some(Quantization { scales: bias_scales, zero_points, axis: 0 });
        [weights, bias]
    }

    fn fused(&mut self) -> Activation {
        self.rng.of(&[Activation::None, Activation::Relu, Activation::Relu6])
    }

    /// Extent after a window, or `None` when the image is smaller than the window.
    fn out(input: u32, window: u32, stride: u32, padding: Padding) -> Option<u32> {
        match padding {
            Padding::Valid => input.checked_sub(window).map(|n| n / stride + 1),
            _ => Some(input.div_ceil(stride)),
        }
    }

    /// A convolution to `channels` channels, of the same extents when `same`.
    fn conv(&mut self, from: TensorIndex, channels: u32, same: bool) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let taps = [self.rng.pick(1..=3), self.rng.pick(1..=3)];
        let mut conv = Conv {
            padding: self.rng.of(&[Padding::Same, Padding::Valid]),
            stride: [self.rng.pick(1..=2), self.rng.pick(1..=2)],
            dilation: [1, self.rng.pick(1..=2)],
            activation: self.fused(),
        };
        let window = |axis: usize, conv: &Conv| (taps[axis] - 1) * conv.dilation[axis] + 1;
        let fits = window(0, &conv) <= h && window(1, &conv) <= w;
        if same || !fits {
            conv.padding = Padding::Same;
        }
        if same {
            conv.stride = [1, 1];
        }
        let oh = Self::out(h, window(0, &conv), conv.stride[0], conv.padding).unwrap();
        let ow = Self::out(w, window(1, &conv), conv.stride[1], conv.padding).unwrap();
        let even = c.is_multiple_of(2) && channels.is_multiple_of(2);
        let groups = if even && self.rng.pick(0..=3) == 0 { 2 } else { 1 };
        let scale = self.quantization_of(from).scales[0];
        let [weights, bias] = self.weights(&[channels, taps[0], taps[1], c / groups], 0, scale);
        let quantization = self.quantization();
        let to = self.activation(&[1, oh, ow, channels], quantization);
        self.op(OpKind::Conv2d(conv), &[from, weights, bias], to)
    }

    fn depthwise(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let channels = c * self.rng.pick(1..=2);
        let conv = Conv {
            padding: Padding::Same,
            stride: [self.rng.pick(1..=2); 2],
            dilation: [1, 1],
            activation: self.fused(),
        };
        let shape = [1, h.div_ceil(conv.stride[0]), w.div_ceil(conv.stride[1]), channels];
        let scale = self.quantization_of(from).scales[0];
        let [weights, bias] = self.weights(&[1, 3, 3, channels], 3, scale);
        let quantization = self.quantization();
        let to = self.activation(&shape, quantization);
        self.op(OpKind::DepthwiseConv2d(conv), &[from, weights, bias], to)
    }

    fn pool(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let taps = [self.rng.pick(1..=3).min(h), self.rng.pick(1..=3).min(w)];
        let padding = self.rng.of(&[Padding::Same, Padding::Valid]);
        let stride = [self.rng.pick(1..=2); 2];
        let pool = Pool { padding, stride, taps, activation: Activation::None };
        let oh = Self::out(h, taps[0], stride[0], padding).unwrap();
        let ow = Self::out(w, taps[1], stride[1], padding).unwrap();
        let quantization = self.quantization_of(from);
        let to = self.activation(&[1, oh, ow, c], quantization);
        let kind = self.rng.of(&[OpKind::AveragePool2d(pool), OpKind::MaxPool2d(pool)]);
        self.op(kind, &[from], to)
    }

    /// A residual: the tensor plus a convolution of itself.
    fn residual(&mut self, from: TensorIndex) -> TensorIndex {
        let shape = self.shape(from);
        let branch = self.conv(from, shape[3], true);
        let quantization = self.quantization();
        let to = self.activation(&shape, quantization);
        let activation = self.fused();
        let operands = self.rng.of(&[[from, branch], [branch, from]]);
        self.op(OpKind::Add { activation }, &operands, to)
    }

    /// Two or three convolutions side by side, joined along an axis.
    fn inception(&mut self, from: TensorIndex) -> TensorIndex {
        let axis = self.rng.pick(1..=3) as usize;
        let width = self.rng.pick(1..=20);
        let mut branches = Vec::new();
        for _ in 0..self.rng.pick(2..=3) {
            let channels = if axis == 3 { self.rng.pick(1..=20) } else { width };
            branches.push(self.conv(from, channels, true));
        }
        if self.rng.pick(0..=1) == 0 && (axis != 3 || self.rng.pick(0..=1) == 0) {
            // A branch twice, and so one that cannot be written in place.
            branches.push(branches[0]);
        }
        let quantization = self.quantization_of(branches[0]);
        for &branch in &branches {
            self.graph.tensors[branch.0].quantization = Some(quantization.clone());
        }
        let mut shape = self.shape(branches[0]);
        shape[axis] = branches.iter().map(|&branch| self.shape(branch)[axis]).sum();
        let to = self.activation(&shape, quantization);
        let axis = self.rng.of(&[axis as i32, axis as i32 - 4]);
        let kind = OpKind::Concatenation { axis, activation: Activation::None };
        self.op(kind, &branches, to)
    }

    fn pad(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let p: [i32; 6] = std::array::from_fn(|_| self.rng.pick(0..=2) as i32);
        let pads = self.integers(&[4, 2], &[0, 0, p[0], p[1], p[2], p[3], p[4], p[5]]);
        let add = |n: u32, at: usize| n + (p[at] + p[at + 1]) as u32;
        let quantization = self.quantization_of(from);
        let to = self.activation(&[1, add(h, 0), add(w, 2), add(c, 4)], quantization);
        self.op(OpKind::Pad, &[from, pads], to)
    }

    fn mean(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, _, _, c] = self.shape(from);
        let axes = self.integers(&[2], &[1, 2]);
        let quantization = self.quantization();
        let to = self.activation(&[1, c], quantization);
        self.op(OpKind::Mean, &[from, axes], to)
    }

    /// The tensor and a convolution of itself, or the average of all its pixels, element by
    /// element.
    fn pair(&mut self, from: TensorIndex) -> TensorIndex {
        let shape = self.shape(from);
        let other = match self.rng.pick(0..=2) {
            0 => self.mean(from),
            _ => self.conv(from, shape[3], true),
        };
        let quantization = self.quantization();
        let to = self.activation(&shape, quantization);
        let activation = self.fused();
        let kind = self.rng.of(&[
            OpKind::Sub { activation },
            OpKind::Mul { activation },
            OpKind::Maximum,
            OpKind::Minimum,
            OpKind::Prelu,
        ]);
        let operands = if kind == OpKind::Prelu { [from, other] } else { [other, from] };
        self.op(kind, &operands, to)
    }

    /// Code by code.
    fn table(&mut self, from: TensorIndex) -> TensorIndex {
        let shape = self.shape(from);
        let same = self.rng.pick(0..=1) == 0;
        let quantization = if same { self.quantization_of(from) } else { self.quantization() };
        let to = self.activation(&shape, quantization);
        let kind = self.rng.of(&[
            OpKind::Relu,
            OpKind::Relu6,
            OpKind::ReluN1To1,
            OpKind::LeakyRelu { alpha: 0.3 },
            OpKind::Logistic,
            OpKind::Tanh,
            OpKind::Quantize,
        ]);
        self.op(kind, &[from], to)
    }

    /// Cut in two along an axis, one part convolved, and joined in the other order, or the
    /// second part only.
    fn split(&mut self, from: TensorIndex) -> TensorIndex {
        let shape = self.shape(from);
        let Some(axis) = (1..4).find(|&axis| shape[axis] > 1) else { return from };
        let first = self.rng.pick(1..=shape[axis] - 1);
        let extents = [first, shape[axis] - first];
        let quantization = self.quantization_of(from);
        let parts = extents.map(|extent| {
            let mut part = shape;
            part[axis] = extent;
            self.activation(&part, quantization.clone())
        });
        let sizes = self.integers(&[2], &extents.map(u32::cast_signed));
        let along = self.integers(&[1], &[axis as i32]);
        self.op(OpKind::SplitV, &[from, sizes, along], parts[0]);
        self.graph.ops.last_mut().unwrap().outputs = parts.to_vec();
        if self.rng.pick(0..=2) == 0 {
            return parts[1];
        }
        let channels = self.shape(parts[0])[3];
        let convolved = self.conv(parts[0], channels, true);
        self.graph.tensors[convolved.0].quantization = Some(quantization.clone());
        let to = self.activation(&shape, quantization);
        let kind = OpKind::Concatenation { axis: axis as i32, activation: Activation::None };
        self.op(kind, &[parts[1], convolved], to)
    }

    /// Some rows, columns and channels, in steps and sometimes backwards.
    fn slice(&mut self, from: TensorIndex) -> TensorIndex {
        let shape = self.shape(from).map(u32::cast_signed);
        let (mut begin, mut end, mut step) = ([0; 4], [1; 4], [1; 4]);
        let mut to = [1; 4];
        for axis in 1..4 {
            let extent = shape[axis];
            let last = extent.cast_unsigned() - 1;
            let pace = self.rng.pick(1..=2) as i32;
            if self.rng.pick(0..=9) == 0 {
                // Entries below the first index count from the end.
                (begin[axis], end[axis], step[axis]) = (last as i32, -1 - extent, -pace);
                to[axis] = extent.cast_unsigned().div_ceil(pace.cast_unsigned());
            } else {
                let first = self.rng.pick(0..=last.min(2)) as i32;
                let pace = if axis == 3 && self.rng.pick(0..=3) > 0 { 1 } else { pace };
                (begin[axis], end[axis], step[axis]) = (first, extent, pace);
                to[axis] = (extent - first).cast_unsigned().div_ceil(pace.cast_unsigned());
            }
        }
        let lists = [begin, end, step].map(|list| self.integers(&[4], &list));
        let quantization = self.quantization_of(from);
        let to = self.activation(&to, quantization);
        let kind = OpKind::StridedSlice(StridedSlice::default());
        self.op(kind, &[from, lists[0], lists[1], lists[2]], to)
    }

    fn transpose(&mut self, from: TensorIndex) -> TensorIndex {
        let shape = self.shape(from);
        let order = self.rng.of(&[[0, 2, 1, 3], [0, 3, 1, 2], [0, 3, 2, 1], [0, 2, 3, 1]]);
        let axes = self.integers(&[4], &order);
        let quantization = self.quantization_of(from);
        let to = self.activation(&order.map(|axis| shape[axis as usize]), quantization);
        self.op(OpKind::Transpose, &[from, axes], to)
    }

    /// Another number of rows and columns.
    fn resize(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let (rows, columns) = (self.rng.pick(1..=2 * h.min(8)), self.rng.pick(1..=2 * w.min(8)));
        let resize = self.rng.of(&[
            Resize::default(),
            Resize { align_corners: true, half_pixel_centers: false },
            Resize { align_corners: false, half_pixel_centers: true },
        ]);
        let size = self.integers(&[2], &[rows, columns].map(u32::cast_signed));
        let quantization = self.quantization_of(from);
        let to = self.activation(&[1, rows, columns, c], quantization);
        let kind =
            self.rng.of(&[OpKind::ResizeNearestNeighbor(resize), OpKind::ResizeBilinear(resize)]);
        self.op(kind, &[from, size], to)
    }

    /// A convolution to an image `stride` times as large.
    fn up_conv(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let stride = if h.max(w) > 12 { [1, 1] } else { [self.rng.pick(1..=2), 2] };
        let channels = self.rng.pick(1..=8);
        let shape = [1, h * stride[0], w * stride[1], channels];
        let scale = self.quantization_of(from).scales[0];
        let size = self.integers(&[4], &shape.map(u32::cast_signed));
        let [weights, bias] = self.weights(&[channels, 3, 2, c], 0, scale);
        let quantization = self.quantization();
        let to = self.activation(&shape, quantization);
        let activation = self.fused();
        let conv = Conv { padding: Padding::Same, stride, dilation: [1, 1], activation };
        self.op(OpKind::TransposeConv(conv), &[size, weights, from, bias], to)
    }

    /// Everything into a few classes.
    fn classifier(&mut self, from: TensorIndex) -> TensorIndex {
        let [_, h, w, c] = self.shape(from);
        let (len, classes) = (h * w * c, self.rng.pick(2..=12));
        let quantization = self.quantization_of(from);
        let scale = quantization.scales[0];
        let flat = self.activation(&[1, len], quantization);
        self.op(OpKind::Reshape, &[from], flat);
        let [weights, bias] = self.weights(&[classes, len], 0, scale);
        let quantization = self.quantization();
        let logits = self.activation(&[1, classes], quantization);
        let activation = Activation::None;
        self.op(OpKind::FullyConnected { activation }, &[flat, weights, bias], logits);
        let to = self.activation(&[1, classes], Quantization::per_tensor(1.0 / 256.0, -128));
        self.op(OpKind::Softmax { beta: 1.0 }, &[logits], to)
    }
}

/// A network of some operators: a chain with branches, one or two inputs and outputs.
fn network(seed: u64, operators: u32) -> Graph {
    let mut b = Builder { rng: Rng::new(seed), graph: Graph::default() };
    let shape = [1, b.rng.pick(3..=10), b.rng.pick(3..=10), b.rng.pick(1..=12)];
    let quantization = b.quantization();
    let input = b.activation(&shape, quantization);
    b.graph.inputs.push(input);
    let mut at = input;
    if b.rng.pick(0..=2) == 0 {
        let quantization = b.quantization();
        let second = b.activation(&shape, quantization);
        b.graph.inputs.push(second);
        let quantization = b.quantization();
        let to = b.activation(&shape, quantization);
        at = b.op(OpKind::Add { activation: Activation::None }, &[input, second], to);
    }
    let mut earlier = vec![at];
    for _ in 0..operators {
        // Mostly on from the last tensor, sometimes from one before: a branch that is dead
        // unless it becomes an output.
        let from = if b.rng.pick(0..=5) == 0 { b.rng.of(&earlier) } else { at };
        at = match b.rng.pick(0..=14) {
            0 | 1 => {
                let channels = b.rng.pick(1..=24);
                b.conv(from, channels, false)
            }
            2 => b.depthwise(from),
            3 => b.pool(from),
            4 | 5 => b.residual(from),
            6 => b.inception(from),
            7 => b.pair(from),
            8 => b.table(from),
            9 => b.split(from),
            10 => b.slice(from),
            11 => b.transpose(from),
            12 => b.resize(from),
            13 => b.up_conv(from),
            _ => b.pad(from),
        };
        earlier.push(at);
    }
    let last = match b.rng.pick(0..=2) {
        0 => b.mean(at),
        1 => b.classifier(at),
        _ => at,
    };
    b.graph.outputs.push(last);
    let extra = b.rng.of(&earlier);
    let taken = extra == last || b.graph.inputs.contains(&extra);
    if b.rng.pick(0..=2) == 0 && !taken {
        b.graph.outputs.push(extra);
    }
    b.graph
}

fn cases() -> u32 {
    if std::env::var_os("PIPEIT_EMULATED").is_some() { 20 } else { 1_000 }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_plan_gives_the_same_bytes(seed: u64, operators in 1u32..9) {
        let graph = network(seed, operators);
        let network = lower(&graph).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let model = network.check().unwrap();
        let planner = Planner::new(&model, Path::Reference);
        let trials = Trials { planner: &planner, cpus: &cpus() };
        let mut noise = Noise::new(!seed);
        let frames: Vec<_> = (0..5).map(|_| noise.frame(&model)).collect();
        // Nothing shares memory there: what every plan must equal.
        let interpreter = Interpreter::new(&model);
        let expected: Vec<_> =
            frames.iter().map(|frame| interpreter.run(frame).concat()).collect();
        for _ in 0..3 {
            let trial = trials.random(&mut noise).unwrap();
            prop_assert_eq!(&run(&model, &trial, &frames), &expected, "{:?}", trial);
        }
    }

    #[test]
    fn a_sum_is_the_same_in_a_convolution_and_after_it(seed: u64) {
        let mut b = Builder { rng: Rng::new(seed), graph: Graph::default() };
        let shape = [1, b.rng.pick(1..=10), b.rng.pick(1..=10), b.rng.pick(1..=80)];
        let quantization = b.quantization();
        let input = b.activation(&shape, quantization);
        b.graph.inputs.push(input);
        let sum = b.residual(input);
        b.graph.outputs.push(sum);
        let fused = lower(&b.graph).unwrap();
        // A convolution that is an output stays one.
        b.graph.outputs.extend_from_slice(&b.graph.ops[0].outputs);
        let apart = lower(&b.graph).unwrap();
        prop_assert_eq!((fused.layers.len(), apart.layers.len()), (1, 2));
        let apart = apart.check().unwrap();
        let frame = Noise::new(!seed).frame(&apart);
        let expected = Interpreter::new(&apart).run(&frame);
        for path in Path::ALL {
            let packed = pack(&fused, &[path.into()]).unwrap();
            let found = Interpreter::new(&packed.check().unwrap()).run(&frame);
            prop_assert_eq!(&found[..], &expected[..1], "{}", path);
        }
    }
}
