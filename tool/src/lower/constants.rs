//! Operators whose inputs are all constants are computed here, once, instead of for each frame.
//!
//! Each is lowered as a network of its own and run by the portable kernels: the result is that
//! of the layer it would have become, to the bit.

use std::sync::Arc;

use pipeit_rt::model::{Port, TensorId};

use super::context::Operand;
use super::passes::Ports;
use super::{emit, lower_simplified};
use crate::arrays::{dequantize, quantize};
use crate::graph::{Element, Graph, Op, OpKind, Quantization, Tensor, TensorIndex, chunks};
use crate::interpreter::Interpreter;
use crate::network::Folded;

/// Elements that may be computed here, times those that are looked at for one; the rest stays
/// for the frames. A file can ask for any number of them.
const MOST_WORK: u64 = 1 << 24;

/// Replaces operators on constants by their results. What cannot be computed stays, so that
/// lowering says why.
pub(super) fn fold_constants(graph: &mut Graph, folded: &mut Vec<Folded>) {
    let mut left = MOST_WORK;
    for op in std::mem::take(&mut graph.ops) {
        let results = work(graph, &op)
            .and_then(|work| left.checked_sub(work))
            .and_then(|rest| Some((compute(graph, &op)?, rest)));
        let Some((results, rest)) = results else {
            graph.ops.push(op);
            continue;
        };
        left = rest;
        folded.push(Folded { op: graph.op_ref(&op), into: "a constant".to_owned() });
        for (&output, result) in op.outputs.iter().zip(results) {
            let tensor = graph.tensors.get_mut(output.0);
            tensor.into_iter().for_each(|tensor| tensor.data = Some(Arc::clone(&result)));
        }
    }
}

/// How much there is to do for `op`, if it has constants for inputs and nothing else.
fn work(graph: &Graph, op: &Op) -> Option<u64> {
    let constant = |&index: &TensorIndex| {
        graph.tensor(index).filter(|tensor| tensor.data.is_some())?.elements()
    };
    let inputs = op.inputs.iter().flatten().map(constant);
    let read = inputs.map(|n| n.map(u64::from)).try_fold(0u64, |sum, n| sum.checked_add(n?))?;
    let outputs = op.outputs.iter().map(|&index| graph.tensor(index)?.elements());
    let written = outputs.map(|n| n.map(u64::from)).try_fold(0u64, |sum, n| sum.checked_add(n?))?;
    let looked_at = match op.kind {
        OpKind::Conv2d(_)
        | OpKind::DepthwiseConv2d(_)
        | OpKind::TransposeConv(_)
        | OpKind::FullyConnected { .. }
        | OpKind::AveragePool2d(_)
        | OpKind::MaxPool2d(_)
        | OpKind::Mean => read,
        _ => 1,
    };
    (read > 0).then(|| written.checked_mul(looked_at))?
}

/// The bytes of each output of `op`; `None` when it is refused.
fn compute(graph: &Graph, op: &Op) -> Option<Vec<Arc<[u8]>>> {
    let from = op.inputs.first().copied().flatten()?;
    let &to = op.outputs.first()?;
    let (input, output) = (graph.tensor(from)?, graph.tensor(to)?);
    let data = input.data.as_deref()?;
    match (op.kind, input.element, output.element) {
        // Whatever the type, the bytes stay as they are.
        (OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims, from, to) if from == to => {
            (input.elements() == output.elements()).then(|| vec![Arc::from(data)])
        }
        (OpKind::Quantize, Element::F32, _) => {
            let (port, flip) = (port(graph, to)?, flip(output));
            let codes = chunks(data).map(|real| quantize(f32::from_le_bytes(real), &port));
            Some(vec![codes.map(|code| code.cast_unsigned() ^ flip).collect()])
        }
        (OpKind::Dequantize, _, Element::F32) => {
            let (port, flip) = (port(graph, from)?, flip(input));
            let codes = data.iter().map(|code| (code ^ flip).cast_signed());
            Some(vec![codes.flat_map(|code| dequantize(code, &port).to_le_bytes()).collect()])
        }
        _ => run(graph, op),
    }
}

/// The scale and zero point of a tensor of codes.
fn port(graph: &Graph, index: TensorIndex) -> Option<Port> {
    let operand = Operand::new(graph, index).ok()?;
    Some(emit::port(&operand, TensorId(0), Element::F32))
}

/// What the codes of the file are xored with to be the runtime's.
fn flip(tensor: &Tensor) -> u8 {
    if tensor.element == Element::U8 { 0x80 } else { 0 }
}

/// Runs `op` as a network.
fn run(graph: &Graph, op: &Op) -> Option<Vec<Arc<[u8]>>> {
    // A network has an input; this one is read by nobody.
    let input = Tensor {
        name: String::new(),
        shape: vec![1],
        element: Element::I8,
        quantization: Some(Quantization::per_tensor(1.0, 0)),
        data: None,
    };
    let mut alone =
        Graph { tensors: vec![input], inputs: vec![TensorIndex(0)], ..Graph::default() };
    let mut add = |index: TensorIndex| {
        alone.tensors.push(graph.tensor(index)?.clone());
        Some(TensorIndex(alone.tensors.len().saturating_sub(1)))
    };
    let inputs = op.inputs.iter().map(|input| match input {
        Some(index) => add(*index).map(Some),
        None => Some(None),
    });
    let inputs = inputs.collect::<Option<_>>()?;
    let outputs: Vec<_> = op.outputs.iter().map(|&index| add(index)).collect::<Option<_>>()?;
    let elements = outputs.iter().filter_map(|&index| alone.tensor(index));
    let ports = Ports {
        inputs: vec![Element::I8],
        outputs: elements.clone().map(|tensor| tensor.element).collect(),
    };
    let flips: Vec<u8> = elements.map(flip).collect();
    alone.outputs.clone_from(&outputs);
    alone.ops.push(Op { inputs, outputs, ..op.clone() });
    let network = lower_simplified(&alone, &ports, Vec::new()).ok()?;
    let model = network.check().ok()?;
    let results = Interpreter::new(&model).run::<Vec<i8>>(&[]);
    let bytes = |(codes, flip): (Vec<i8>, u8)| {
        codes.into_iter().map(|code| code.cast_unsigned() ^ flip).collect()
    };
    Some(results.into_iter().zip(flips).map(bytes).collect())
}
