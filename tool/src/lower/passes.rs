//! Simplifications from graph to graph, before operators are lowered one by one.

use std::collections::HashSet;

use super::constants::fold_constants;
use crate::graph::{Activation, Element, Graph, Op, OpKind, Padding, Pool, TensorIndex};
use crate::network::Folded;

/// What the file has at the network's inputs and outputs.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) inputs: Vec<Element>,
    pub(super) outputs: Vec<Element>,
}

/// Takes floats off the edges, computes what depends on constants only, removes what no
/// output depends on, folds paddings and activations.
pub(super) fn simplify(mut graph: Graph, folded: &mut Vec<Folded>) -> (Graph, Ports) {
    let element = |index: &TensorIndex| {
        graph.tensor(*index).map_or(Element::Other("nothing"), |tensor| tensor.element)
    };
    let ports = Ports {
        inputs: graph.inputs.iter().map(element).collect(),
        outputs: graph.outputs.iter().map(element).collect(),
    };
    strip_quantize(&mut graph, folded);
    strip_dequantize(&mut graph, folded);
    fold_constants(&mut graph, folded);
    remove_dead(&mut graph, folded);
    fold_pads(&mut graph, folded);
    fold_activations(&mut graph, folded);
    (graph, ports)
}

fn is_float(graph: &Graph, index: TensorIndex) -> bool {
    graph.tensor(index).is_some_and(|tensor| tensor.element == Element::F32)
}

/// Replaces float inputs which only one QUANTIZE reads by that QUANTIZE's output.
fn strip_quantize(graph: &mut Graph, folded: &mut Vec<Folded>) {
    let mut stripped = Vec::new();
    for (place, &input) in graph.inputs.iter().enumerate() {
        let mut readers = graph.ops.iter().enumerate().filter(|(_, op)| reads(op, input));
        let (Some((at, op)), None) = (readers.next(), readers.next()) else { continue };
        if let (true, OpKind::Quantize, &[output]) =
            (is_float(graph, input), op.kind, op.outputs.as_slice())
        {
            let into = format!("the network's input {place}");
            folded.push(Folded { op: graph.op_ref(op), into });
            stripped.push((place, at, output));
        }
    }
    for &(place, _, output) in &stripped {
        graph.inputs.get_mut(place).into_iter().for_each(|input| *input = output);
    }
    let ops: HashSet<usize> = stripped.iter().map(|&(_, at, _)| at).collect();
    let mut at = 0..;
    graph.ops.retain(|_| at.next().is_none_or(|at: usize| !ops.contains(&at)));
}

/// Replaces float outputs which a DEQUANTIZE writes by that DEQUANTIZE's input.
fn strip_dequantize(graph: &mut Graph, folded: &mut Vec<Folded>) {
    for place in 0..graph.outputs.len() {
        let Some(&output) = graph.outputs.get(place) else { continue };
        let writer = graph.ops.iter().position(|op| op.outputs.contains(&output));
        let Some((at, op)) = writer.and_then(|at| graph.ops.get(at).map(|op| (at, op))) else {
            continue;
        };
        let (OpKind::Dequantize, &[Some(input)], true) =
            (op.kind, op.inputs.as_slice(), is_float(graph, output))
        else {
            continue;
        };
        let read = graph.ops.iter().any(|op| reads(op, output));
        let once = graph.outputs.iter().filter(|&&other| other == output).count() == 1;
        let into = format!("the network's output {place}");
        folded.push(Folded { op: graph.op_ref(op), into });
        graph.outputs.get_mut(place).into_iter().for_each(|output| *output = input);
        if once && !read {
            graph.ops.remove(at);
        }
    }
}

fn remove_dead(graph: &mut Graph, folded: &mut Vec<Folded>) {
    let mut needed: HashSet<TensorIndex> = graph.outputs.iter().copied().collect();
    let mut alive = Vec::with_capacity(graph.ops.len());
    for op in graph.ops.iter().rev() {
        let lives = op.outputs.iter().any(|output| needed.contains(output));
        if lives {
            needed.extend(op.inputs.iter().flatten());
        } else {
            let into = "nothing: no output of the network depends on it".to_owned();
            folded.push(Folded { op: graph.op_ref(op), into });
        }
        alive.push(lives);
    }
    graph.ops.retain(|_| alive.pop().unwrap_or(true));
}

/// Gives paddings to the convolution or maximum that alone reads their output.
///
/// What a convolution sees outside its image is the input's zero point, and so is what
/// PAD fills with, provided that PAD's input and output are quantised alike. A maximum sees nothing
/// there, which is the same where nothing inside is below the zero point.
fn fold_pads(graph: &mut Graph, folded: &mut Vec<Folded>) {
    let mut removed = HashSet::new();
    for at in 0..graph.ops.len() {
        let Some((reader, input, padding)) = foldable(graph, at) else { continue };
        let (Some(pad), Some(op)) = (graph.ops.get(at), graph.ops.get(reader)) else { continue };
        let into = graph.op_ref(op).to_string();
        folded.push(Folded { op: graph.op_ref(pad), into });
        removed.insert(at);
        let Some(op) = graph.ops.get_mut(reader) else { continue };
        match &mut op.kind {
            OpKind::Conv2d(conv) | OpKind::DepthwiseConv2d(conv) => conv.padding = padding,
            OpKind::MaxPool2d(pool) => pool.padding = padding,
            _ => continue,
        }
        op.inputs.first_mut().into_iter().for_each(|first| *first = Some(input));
    }
    let mut at = 0..;
    graph.ops.retain(|_| at.next().is_none_or(|at: usize| !removed.contains(&at)));
}

/// The operator that the PAD at `at` can become part of, PAD's input, and the padding.
fn foldable(graph: &Graph, at: usize) -> Option<(usize, TensorIndex, Padding)> {
    let pad = graph.ops.get(at).filter(|op| op.kind == OpKind::Pad)?;
    let (&[Some(input), Some(paddings)], &[output]) =
        (pad.inputs.as_slice(), pad.outputs.as_slice())
    else {
        return None;
    };
    let (from, to) = (graph.tensor(input)?, graph.tensor(output)?);
    let paddings = graph.tensor(paddings)?.integers()?;
    let &[0, 0, above, below, left, right, 0, 0] = paddings.as_slice() else { return None };
    let narrow = |n: i64| u32::try_from(n).ok();
    let before = [narrow(above)?, narrow(left)?];
    let after = [narrow(below)?, narrow(right)?];
    let expected = [
        from.shape.first().copied()?.into(),
        i64::from(*from.shape.get(1)?).checked_add(above)?.checked_add(below)?,
        i64::from(*from.shape.get(2)?).checked_add(left)?.checked_add(right)?,
        from.shape.get(3).copied()?.into(),
    ];
    let alike = from.quantization == to.quantization
        && from.element == to.element
        && from.data.is_none()
        && to.shape.iter().copied().map(i64::from).eq(expected);
    let mut readers = graph.ops.iter().enumerate().filter(|(_, op)| reads(op, output));
    let (Some((reader, op)), None) = (readers.next(), readers.next()) else { return None };
    let is_image = op.inputs.first() == Some(&Some(output))
        && !op.inputs.iter().skip(1).any(|&other| other == Some(output));
    let valid = match op.kind {
        OpKind::Conv2d(conv) | OpKind::DepthwiseConv2d(conv) => conv.padding == Padding::Valid,
        OpKind::MaxPool2d(Pool { padding, taps, .. }) => {
            // Every window sees some of the image.
            let is_narrow = |amounts: [u32; 2]| amounts.iter().zip(taps).all(|(&n, taps)| n < taps);
            let is_seen = is_narrow(before) && is_narrow(after);
            padding == Padding::Valid && is_seen && is_rectified(graph, input)
        }
        _ => false,
    };
    (alike && is_image && valid && !graph.outputs.contains(&output)).then_some((
        reader,
        input,
        Padding::Explicit { before, after },
    ))
}

/// Whether nothing in a tensor is below its zero point, as its writer tells.
fn is_rectified(graph: &Graph, tensor: TensorIndex) -> bool {
    let Some(writer) = graph.ops.iter().find(|op| op.outputs == [tensor]) else { return false };
    let mut kind = writer.kind;
    matches!(kind, OpKind::Relu | OpKind::Relu6)
        || fused(&mut kind)
            .is_some_and(|fused| matches!(fused, Activation::Relu | Activation::Relu6))
}

/// Gives clamps to the operator whose output they alone read.
///
/// An operator that clamps does so last, and a clamp from and to the same scale changes
/// nothing else: the result is the same.
fn fold_activations(graph: &mut Graph, folded: &mut Vec<Folded>) {
    let mut removed = HashSet::new();
    for at in 0..graph.ops.len() {
        let Some((writer, activation)) = clamped(graph, at) else { continue };
        let Some(clamp) = graph.ops.get(at).cloned() else { continue };
        let Some(op) = graph.ops.get_mut(writer) else { continue };
        op.outputs.clone_from(&clamp.outputs);
        if let Some(fused) = fused(&mut op.kind) {
            *fused = activation;
        }
        let into = op.clone();
        folded.push(Folded { op: graph.op_ref(&clamp), into: graph.op_ref(&into).to_string() });
        removed.insert(at);
    }
    let mut at = 0..;
    graph.ops.retain(|_| at.next().is_none_or(|at: usize| !removed.contains(&at)));
}

/// The operator that can clamp instead of that at `at`, and how.
fn clamped(graph: &Graph, at: usize) -> Option<(usize, Activation)> {
    let clamp = graph.ops.get(at)?;
    let activation = match clamp.kind {
        OpKind::Relu => Activation::Relu,
        OpKind::Relu6 => Activation::Relu6,
        OpKind::ReluN1To1 => Activation::ReluN1To1,
        _ => return None,
    };
    let (&[Some(input)], &[output]) = (clamp.inputs.as_slice(), clamp.outputs.as_slice()) else {
        return None;
    };
    let (from, to) = (graph.tensor(input)?, graph.tensor(output)?);
    let alike = (&from.quantization, from.element, &from.shape)
        == (&to.quantization, to.element, &to.shape);
    let alone = graph.ops.iter().filter(|op| reads(op, input)).count() == 1
        && !graph.outputs.contains(&input);
    let writer = graph.ops.iter().position(|op| op.outputs == [input])?;
    let mut kind = graph.ops.get(writer)?.kind;
    let unclamped = fused(&mut kind).is_some_and(|fused| *fused == Activation::None);
    (alike && alone && unclamped).then_some((writer, activation))
}

/// The activation that an operator applies to its output, if it can.
fn fused(kind: &mut OpKind) -> Option<&mut Activation> {
    match kind {
        OpKind::Conv2d(conv) | OpKind::DepthwiseConv2d(conv) | OpKind::TransposeConv(conv) => {
            Some(&mut conv.activation)
        }
        OpKind::AveragePool2d(pool) | OpKind::MaxPool2d(pool) => Some(&mut pool.activation),
        OpKind::FullyConnected { activation }
        | OpKind::Add { activation }
        | OpKind::Sub { activation }
        | OpKind::Mul { activation } => Some(activation),
        _ => None,
    }
}

fn reads(op: &Op, tensor: TensorIndex) -> bool {
    op.inputs.contains(&Some(tensor))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::{Quantization, Tensor};
    use crate::interpreter::Interpreter;

    /// What is folded, and the maxima, `extent` across and down, over windows of `taps` in an image
    /// of 4x4 codes from -4 on, where -1 stands for zero, with or without RELU, then padded by two
    /// rows and columns before and one after.
    fn pooled(rectifies: bool, [taps, extent]: [u32; 2]) -> (usize, Vec<i8>) {
        let tensor = |extent: u32| Tensor {
            name: String::new(),
            shape: vec![1, extent, extent, 1],
            element: Element::I8,
            quantization: Some(Quantization::per_tensor(1.0, -1)),
            data: None,
        };
        let amounts = [0i32, 0, 2, 1, 2, 1, 0, 0].map(i32::to_le_bytes);
        let paddings = Tensor {
            shape: vec![4, 2],
            element: Element::I32,
            quantization: None,
            data: Some(Arc::from(amounts.as_flattened())),
            ..tensor(1)
        };
        let op = |kind, inputs: &[usize], output| Op {
            kind,
            inputs: inputs.iter().map(|&input| Some(TensorIndex(input))).collect(),
            outputs: vec![TensorIndex(output)],
            index: 0,
        };
        let activation = Activation::None;
        let pool = Pool { padding: Padding::Valid, stride: [1; 2], taps: [taps; 2], activation };
        let graph = Graph {
            tensors: vec![tensor(4), tensor(4), paddings, tensor(7), tensor(extent)],
            ops: rectifies
                .then(|| op(OpKind::Relu, &[0], 1))
                .into_iter()
                .chain([op(OpKind::Pad, &[usize::from(rectifies), 2], 3)])
                .chain([op(OpKind::MaxPool2d(pool), &[3], 4)])
                .collect(),
            inputs: vec![TensorIndex(0)],
            outputs: vec![TensorIndex(4)],
        };
        let network = crate::lower::lower(&graph).unwrap();
        let model = network.check().unwrap();
        let frame: Vec<i8> = (-4..12).collect();
        let outputs = Interpreter::new(&model).run(&[frame]);
        (network.folded.len(), outputs.concat())
    }

    #[test]
    fn maxima_take_paddings_where_nothing_is_below_zero() {
        let (folded, codes) = pooled(true, [3, 5]);
        assert_eq!((folded, codes[0], codes[24]), (1, -1, 11));
        assert_eq!(pooled(false, [3, 5]), (0, codes));
        // The first window sees nothing but padding.
        assert_eq!(pooled(true, [2, 6]).0, 0);
    }
}
