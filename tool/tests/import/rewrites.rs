//! What becomes of operators that need no layer, on graphs made by hand.

use std::sync::Arc;

use pipeit_rt::model::Element as PortElement;
use pipeit_tool::graph::{
    Activation, Conv, Element, Graph, Op, OpKind, Padding, Pool, Quantization, StridedSlice,
    Tensor, TensorIndex,
};
use pipeit_tool::lower;
use pipeit_tool::network::Network;

use crate::outputs;

/// A graph under construction; all activations have scale 1/2 and zero point 3.
#[derive(Default)]
struct Sketch(Graph);

impl Sketch {
    fn tensor(
        &mut self,
        shape: &[u32],
        element: Element,
        quantization: Option<Quantization>,
        data: Option<Vec<u8>>,
    ) -> TensorIndex {
        let index = TensorIndex(self.0.tensors.len());
        self.0.tensors.push(Tensor {
            name: format!("t{}", index.0),
            shape: shape.to_vec(),
            element,
            quantization,
            data: data.map(Arc::from),
        });
        index
    }

    fn activation(&mut self, shape: &[u32]) -> TensorIndex {
        self.tensor(shape, Element::I8, Some(Quantization::per_tensor(0.5, 3)), None)
    }

    fn input(&mut self, shape: &[u32]) -> TensorIndex {
        let input = self.activation(shape);
        self.0.inputs.push(input);
        input
    }

    fn integers(&mut self, shape: &[u32], values: &[i32]) -> TensorIndex {
        let data = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensor(shape, Element::I32, None, Some(data))
    }

    fn op(&mut self, kind: OpKind, inputs: &[TensorIndex], output: TensorIndex) -> TensorIndex {
        let inputs = inputs.iter().copied().map(Some).collect();
        let index = self.0.ops.len();
        self.0.ops.push(Op { kind, inputs, outputs: vec![output], index });
        output
    }

    /// Maximum over 1x1: the input, by a layer.
    fn same(&mut self, input: TensorIndex) -> TensorIndex {
        let output = self.activation(&self.0.tensors[input.0].shape.clone());
        let kind = OpKind::MaxPool2d(Pool {
            padding: Padding::Valid,
            stride: [1, 1],
            taps: [1, 1],
            activation: Activation::None,
        });
        self.op(kind, &[input], output)
    }

    fn join(&mut self, axis: i32, inputs: &[TensorIndex], shape: &[u32]) -> TensorIndex {
        let output = self.activation(shape);
        self.op(OpKind::Concatenation { axis, activation: Activation::None }, inputs, output)
    }

    /// A convolution of 3x3 to the same extents.
    fn conv(&mut self, input: TensorIndex) -> TensorIndex {
        let shape = self.0.tensors[input.0].shape.clone();
        let [_, _, _, c] = shape[..] else { panic!("{shape:?}") };
        let codes = ramp((9 * c * c) as usize).iter().map(|code| code.cast_unsigned()).collect();
        let scales = Some(Quantization::per_tensor(0.01, 0));
        let filters = self.tensor(&[c, 3, 3, c], Element::I8, scales, Some(codes));
        let output = self.activation(&shape);
        let kind = OpKind::Conv2d(Conv {
            padding: Padding::Same,
            stride: [1, 1],
            dilation: [1, 1],
            activation: Activation::Relu,
        });
        self.op(kind, &[input, filters], output)
    }

    fn add(&mut self, a: TensorIndex, b: TensorIndex) -> TensorIndex {
        let output = self.activation(&self.0.tensors[a.0].shape.clone());
        self.op(OpKind::Add { activation: Activation::None }, &[a, b], output)
    }

    fn lower(mut self, outputs: &[TensorIndex]) -> Network {
        self.0.outputs = outputs.to_vec();
        lower::lower(&self.0).expect("a network")
    }
}

fn names(network: &Network) -> Vec<&'static str> {
    network.ops.iter().map(pipeit_rt::kernels::Op::name).collect()
}

fn ramp(len: usize) -> Vec<i8> {
    (0..len).map(|i| (i * 7 % 251) as u8 as i8).collect()
}

/// Rows of `a` and `b` in turn: `run` elements of each at a time.
fn interleaved(a: &[i8], b: &[i8], run: usize) -> Vec<i8> {
    a.chunks(run).zip(b.chunks(run)).flat_map(|(a, b)| [a, b].concat()).collect()
}

#[test]
fn a_concatenation_is_written_in_place_along_any_axis() {
    for (axis, shape, run) in [(1, [1, 4, 3, 5], 30), (2, [1, 2, 6, 5], 15), (-1, [1, 2, 3, 10], 5)]
    {
        let mut sketch = Sketch::default();
        let x = sketch.input(&[1, 2, 3, 5]);
        let (a, b) = (sketch.same(x), sketch.same(x));
        let joined = sketch.join(axis, &[a, b], &shape);
        let y = sketch.same(joined);
        let again = sketch.same(a);
        let network = sketch.lower(&[y, again]);
        assert_eq!(names(&network), ["MAX_POOL_2D"; 4]);
        assert_eq!(network.folded.len(), 1);
        let input = ramp(30);
        let found = outputs(&network, &[&input]);
        assert_eq!(found, [interleaved(&input, &input, run), input], "axis {axis}");
    }
}

#[test]
fn a_layer_never_reads_the_storage_it_writes() {
    // b is computed from a, and both go into the same whole, which goes into another with a.
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 2, 2, 4]);
    let a = sketch.same(x);
    let b = sketch.same(a);
    let inner = sketch.join(3, &[a, b], &[1, 2, 2, 8]);
    let outer = sketch.join(3, &[inner, a], &[1, 2, 2, 12]);
    let y = sketch.same(outer);
    let network = sketch.lower(&[y]);
    let input = ramp(16);
    let found = outputs(&network, &[&input]);
    let expected: Vec<i8> = input.chunks(4).flat_map(|pixel| pixel.repeat(3)).collect();
    assert_eq!(found, [expected]);
}

#[test]
fn the_same_tensor_twice_is_copied() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 3]);
    let a = sketch.same(x);
    let joined = sketch.join(3, &[a, a, x], &[1, 1, 2, 9]);
    let network = sketch.lower(&[joined]);
    assert_eq!(names(&network), ["MAX_POOL_2D", "COPY", "COPY", "COPY"]);
    let found = outputs(&network, &[&[1, 2, 3, 4, 5, 6]]);
    assert_eq!(found, [[1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6]]);
}

#[test]
fn outputs_have_storages_of_their_own() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 3]);
    let a = sketch.same(x);
    let flat = sketch.activation(&[1, 6]);
    sketch.op(OpKind::Reshape, &[a], flat);
    let network = sketch.lower(&[x, a, flat, a]);
    assert_eq!(names(&network), ["MAX_POOL_2D", "COPY", "COPY", "COPY"]);
    let input = [1, 2, 3, 4, 5, 6];
    assert_eq!(outputs(&network, &[&input]), [input; 4]);
}

#[test]
fn a_padding_becomes_part_of_the_convolution_that_alone_reads_it() {
    let conv = Conv {
        padding: Padding::Valid,
        stride: [2, 1],
        dilation: [1, 1],
        activation: Activation::None,
    };
    let build = |readers: usize| {
        let mut sketch = Sketch::default();
        let x = sketch.input(&[1, 5, 4, 2]);
        let paddings = sketch.integers(&[4, 2], &[0, 0, 1, 2, 0, 3, 0, 0]);
        let padded = sketch.activation(&[1, 8, 7, 2]);
        sketch.op(OpKind::Pad, &[x, paddings], padded);
        let codes = ramp(3 * 9 * 2).iter().map(|code| code.cast_unsigned()).collect();
        let scales = Some(Quantization::per_tensor(0.01, 0));
        let filters = sketch.tensor(&[3, 3, 3, 2], Element::I8, scales, Some(codes));
        let bias = sketch.integers(&[3], &[10, -200, 3000]);
        let outputs: Vec<_> = (0..readers)
            .map(|_| {
                let y = sketch.activation(&[1, 3, 5, 3]);
                sketch.op(OpKind::Conv2d(conv), &[padded, filters, bias], y)
            })
            .collect();
        sketch.lower(&outputs)
    };
    let (folded, kept) = (build(1), build(2));
    assert_eq!(names(&folded), ["CONV_2D"]);
    assert_eq!(names(&kept), ["PAD", "CONV_2D", "CONV_2D"]);
    assert_eq!(folded.folded[0].into, "operator 1 CONV_2D (output `t5`)");
    let input = ramp(40);
    let found = outputs(&folded, &[&input]);
    assert_eq!(found, outputs(&kept, &[&input])[..1]);
}

#[test]
fn a_sum_becomes_part_of_the_convolution_that_it_alone_reads() {
    let build = |swapped: bool, keeps: bool| {
        let mut sketch = Sketch::default();
        let x = sketch.input(&[1, 4, 3, 2]);
        let a = sketch.same(x);
        let b = sketch.conv(a);
        let y = if swapped { sketch.add(b, a) } else { sketch.add(a, b) };
        let outputs = if keeps { vec![y, b] } else { vec![y] };
        sketch.lower(&outputs)
    };
    let input = ramp(24);
    for swapped in [false, true] {
        let (fused, kept) = (build(swapped, false), build(swapped, true));
        assert_eq!(names(&fused), ["MAX_POOL_2D", "CONV_2D"]);
        assert_eq!(names(&kept), ["MAX_POOL_2D", "CONV_2D", "ADD"]);
        assert_eq!(fused.folded[0].op.to_string(), "operator 2 ADD (output `t4`)");
        assert_eq!(fused.folded[0].into, "operator 1 CONV_2D (output `t4`)");
        let contents: Vec<_> = fused.file_tensors.iter().map(|t| t.content.is_some()).collect();
        assert_eq!(contents, [true, true, false, false, true]);
        assert_eq!(outputs(&fused, &[&input]), outputs(&kept, &[&input])[..1]);
    }
}

#[test]
fn of_two_convolutions_the_later_one_adds() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 4, 3, 2]);
    let (a, b) = (sketch.conv(x), sketch.conv(x));
    let y = sketch.add(b, a);
    let network = sketch.lower(&[y]);
    assert_eq!(names(&network), ["CONV_2D"; 2]);
    assert_eq!(network.layers[1].inputs[1], network.layers[0].output);
}

#[test]
fn a_sum_stays_where_a_convolution_cannot_add() {
    let named = |build: fn(&mut Sketch, TensorIndex) -> TensorIndex| {
        let mut sketch = Sketch::default();
        let x = sketch.input(&[1, 4, 3, 2]);
        let y = build(&mut sketch, x);
        names(&sketch.lower(&[y]))
    };
    let twice = named(|sketch, x| {
        let a = sketch.conv(x);
        sketch.add(a, a)
    });
    assert_eq!(twice, ["CONV_2D", "ADD"]);
    let later = named(|sketch, x| {
        let a = sketch.conv(x);
        let b = sketch.same(x);
        sketch.add(a, b)
    });
    assert_eq!(later, ["CONV_2D", "MAX_POOL_2D", "ADD"]);
    let repeated = named(|sketch, x| {
        let scales = Some(Quantization::per_tensor(0.5, 3));
        let constant = sketch.tensor(&[2], Element::I8, scales, Some(vec![5, 7]));
        let a = sketch.conv(x);
        sketch.add(a, constant)
    });
    assert_eq!(repeated, ["CONV_2D", "CONSTANT", "ADD"]);
    let second = named(|sketch, x| {
        let a = sketch.conv(x);
        let b = sketch.add(a, x);
        sketch.add(b, x)
    });
    assert_eq!(second, ["CONV_2D", "ADD"]);
}

#[test]
fn floats_at_the_edges_are_taken_off() {
    let mut sketch = Sketch::default();
    let real = sketch.tensor(&[1, 2, 2, 1], Element::F32, None, None);
    sketch.0.inputs.push(real);
    let x = sketch.activation(&[1, 2, 2, 1]);
    sketch.op(OpKind::Quantize, &[real], x);
    let y = sketch.same(x);
    let out = sketch.tensor(&[1, 2, 2, 1], Element::F32, None, None);
    sketch.op(OpKind::Dequantize, &[y], out);
    let network = sketch.lower(&[out]);
    assert_eq!(names(&network), ["MAX_POOL_2D"]);
    for port in [network.inputs[0], network.outputs[0]] {
        assert_eq!((port.element, port.scale, port.zero_point), (PortElement::F32, 0.5, 3));
    }
    let into: Vec<_> = network.folded.iter().map(|folded| folded.into.as_str()).collect();
    assert_eq!(into, ["the network's input 0", "the network's output 0"]);
}

#[test]
fn unsigned_codes_are_shifted() {
    let mut sketch = Sketch::default();
    let unsigned = |zero_point| Some(Quantization::per_tensor(0.5, zero_point));
    let x = sketch.tensor(&[1, 2], Element::U8, unsigned(131), None);
    sketch.0.inputs.push(x);
    // The same codes once shifted: a view. Then another scale: a table.
    let signed = sketch.activation(&[1, 2]);
    sketch.op(OpKind::Quantize, &[x], signed);
    let coarse =
        sketch.tensor(&[1, 2], Element::U8, Some(Quantization::per_tensor(1.0, 128)), None);
    sketch.op(OpKind::Quantize, &[signed], coarse);
    let network = sketch.lower(&[coarse]);
    assert_eq!(names(&network), ["LOOKUP"]);
    assert_eq!(network.inputs[0].element, PortElement::U8);
    assert_eq!((network.inputs[0].zero_point, network.outputs[0].zero_point), (3, 0));
    // 4 steps of 1/2 above zero; 5 below, a tie, which the doubling multiply rounds up.
    assert_eq!(outputs(&network, &[&[7, -2]]), [[2, -2]]);
}

#[test]
fn an_unsigned_concatenation_brings_its_inputs_to_one_scale() {
    let mut sketch = Sketch::default();
    let quantization = |scale, zero_point| Some(Quantization::per_tensor(scale, zero_point));
    let x = sketch.tensor(&[1, 2], Element::U8, quantization(0.5, 128), None);
    sketch.0.inputs.push(x);
    let y = sketch.tensor(&[1, 4], Element::U8, quantization(1.0, 100), None);
    let kind = OpKind::Concatenation { axis: 1, activation: Activation::None };
    sketch.op(kind, &[x, x], y);
    let network = sketch.lower(&[y]);
    assert_eq!(names(&network), ["LOOKUP", "LOOKUP"]);
    assert_eq!(outputs(&network, &[&[20, -8]]), [[-18, -32, -18, -32]]);
}

#[test]
fn a_constant_operand_is_a_layer() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 2]);
    let scales = Some(Quantization::per_tensor(0.5, 3));
    let constant = sketch.tensor(&[2], Element::I8, scales, Some(vec![5, 3]));
    let y = sketch.activation(&[1, 1, 2, 2]);
    sketch.op(OpKind::Add { activation: Activation::None }, &[x, constant], y);
    let network = sketch.lower(&[y]);
    assert_eq!(names(&network), ["CONSTANT", "ADD"]);
    assert_eq!(outputs(&network, &[&[3, 3, 10, 11]]), [[5, 3, 12, 11]]);
}

#[test]
fn what_depends_on_constants_only_is_a_constant() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 2]);
    let constant = |sketch: &mut Sketch, codes: [u8; 2]| {
        let scales = Some(Quantization::per_tensor(0.5, 3));
        sketch.tensor(&[1, 2], Element::I8, scales, Some(codes.to_vec()))
    };
    let (a, b) = (constant(&mut sketch, [5, 7]), constant(&mut sketch, [13, 23]));
    let product = sketch.activation(&[1, 2]);
    sketch.op(OpKind::Mul { activation: Activation::None }, &[a, b], product);
    let shape = sketch.integers(&[1], &[2]);
    let flat = sketch.activation(&[2]);
    sketch.op(OpKind::Reshape, &[product, shape], flat);
    let y = sketch.activation(&[1, 1, 2, 2]);
    sketch.op(OpKind::Add { activation: Activation::None }, &[x, flat], y);
    let network = sketch.lower(&[y]);
    assert_eq!(names(&network), ["CONSTANT", "ADD"]);
    let folded = network.folded.iter().map(|folded| (folded.op.index, folded.into.as_str()));
    assert_eq!(folded.collect::<Vec<_>>(), [(0, "a constant"), (1, "a constant")]);
    assert_eq!(network.file_tensors[product.0].content, None);
    // In steps of 1/2 from 3: 2 * 10 and 4 * 20, halved.
    assert_eq!(outputs(&network, &[&[3, 3, 4, 5]]), [[13, 43, 14, 45]]);
}

#[test]
fn constants_that_are_too_large_are_computed_for_each_frame() {
    let mut sketch = Sketch::default();
    sketch.input(&[1]);
    let scales = Some(Quantization::per_tensor(0.5, 3));
    let constant = sketch.tensor(&[1, 1, 1, 1], Element::I8, scales, Some(vec![5]));
    let paddings = sketch.integers(&[4, 2], &[0, 0, 0, 4999, 0, 4999, 0, 0]);
    let padded = sketch.activation(&[1, 5000, 5000, 1]);
    sketch.op(OpKind::Pad, &[constant, paddings], padded);
    let network = sketch.lower(&[padded]);
    assert_eq!(names(&network), ["CONSTANT", "PAD"]);
    assert_eq!(network.folded, []);
}

#[test]
fn what_no_output_depends_on_is_removed() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 2]);
    let y = sketch.same(x);
    let dead = sketch.same(y);
    sketch.same(dead);
    let network = sketch.lower(&[y]);
    assert_eq!(network.layers.len(), 1);
    assert_eq!(network.folded.len(), 2);
    assert_eq!(network.file_tensors[dead.0].content, None);
}

#[test]
fn slices_are_views_that_layers_read_in_place() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 5, 6, 3]);
    let a = sketch.same(x);
    // Every other row from the second, every third column, the last two channels, then of
    // that its second row: a view of a view.
    let slice = |sketch: &mut Sketch, from, lists: [[i32; 4]; 3], shape: &[u32]| {
        let [begin, end, step] = lists.map(|list| sketch.integers(&[4], &list));
        let to = sketch.activation(shape);
        let kind = OpKind::StridedSlice(StridedSlice::default());
        sketch.op(kind, &[from, begin, end, step], to)
    };
    let lists = [[0, 1, 0, 1], [1, 5, 6, 3], [1, 2, 3, 1]];
    let some = slice(&mut sketch, a, lists, &[1, 2, 2, 2]);
    let lists = [[0, 1, 0, 0], [1, 2, 2, 2], [1, 1, 1, 1]];
    let fewer = slice(&mut sketch, some, lists, &[1, 1, 2, 2]);
    let (y, z) = (sketch.same(some), sketch.same(fewer));
    let network = sketch.lower(&[y, z]);
    assert_eq!(names(&network), ["MAX_POOL_2D"; 3]);
    let into: Vec<_> = network.folded.iter().map(|folded| folded.into.as_str()).collect();
    assert_eq!(into, ["a view of `t1`", "a view of `t5`"]);
    let input = ramp(90);
    let at = |row: usize, column: usize, channel: usize| input[(row * 6 + column) * 3 + channel];
    let row = |row| [at(row, 0, 1), at(row, 0, 2), at(row, 3, 1), at(row, 3, 2)];
    let found = outputs(&network, &[&input]);
    assert_eq!(found, [[row(1), row(3)].concat(), row(3).to_vec()]);
}

#[test]
fn a_split_is_copied_only_where_it_must_be() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 5]);
    let sizes = sketch.integers(&[3], &[1, 2, 2]);
    let axis = sketch.integers(&[1], &[-1]);
    let parts = [1, 2, 2].map(|channels| sketch.activation(&[1, 1, 2, channels]));
    sketch.op(OpKind::SplitV, &[x, sizes, axis], parts[0]);
    sketch.0.ops[0].outputs = parts.to_vec();
    let y = sketch.same(parts[1]);
    // The last part is an output of the network, and the first is read by nobody.
    let network = sketch.lower(&[y, parts[2]]);
    assert_eq!(names(&network), ["COPY", "MAX_POOL_2D"]);
    let found = outputs(&network, &[&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
    assert_eq!(found, [[1, 2, 6, 7], [3, 4, 8, 9]]);
}

#[test]
fn a_slice_of_a_reshape_is_of_the_shape_it_was_given() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 6]);
    let image = sketch.activation(&[1, 2, 3, 1]);
    sketch.op(OpKind::Reshape, &[x], image);
    let (begin, size) =
        (sketch.integers(&[4], &[0, 0, 1, 0]), sketch.integers(&[4], &[1, 2, 2, 1]));
    let right = sketch.activation(&[1, 2, 2, 1]);
    sketch.op(OpKind::Slice, &[image, begin, size], right);
    let y = sketch.same(right);
    let network = sketch.lower(&[y]);
    assert_eq!(names(&network), ["COPY", "MAX_POOL_2D"]);
    assert_eq!(outputs(&network, &[&[0, 1, 2, 3, 4, 5]]), [[1, 2, 4, 5]]);
}

#[test]
fn an_activation_becomes_part_of_the_operator_before_it() {
    let mut sketch = Sketch::default();
    let x = sketch.input(&[1, 1, 2, 2]);
    let sum = sketch.activation(&[1, 1, 2, 2]);
    sketch.op(OpKind::Add { activation: Activation::None }, &[x, x], sum);
    let clamped = sketch.activation(&[1, 1, 2, 2]);
    sketch.op(OpKind::Relu6, &[sum], clamped);
    // Clamped already: this one is a table.
    let twice = sketch.activation(&[1, 1, 2, 2]);
    sketch.op(OpKind::ReluN1To1, &[clamped], twice);
    let network = sketch.lower(&[clamped, twice]);
    assert_eq!(names(&network), ["ADD", "LOOKUP"]);
    assert_eq!(network.folded[0].into, "operator 0 ADD (output `t2`)");
    let found = outputs(&network, &[&[-4, 4, 8, 100]]);
    assert_eq!(found, [[3, 5, 13, 15], [3, 5, 5, 5]]);
}
