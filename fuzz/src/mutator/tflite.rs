//! TFLite networks: taken apart, changed, and written again; two of them side by side.

use pipeit_tool::import::schema::{Model, ModelRef, SubGraph, write};
use pipeit_tool::noise::Noise;
use planus::ReadAsRoot;

use super::{Bytes, put, tree};

/// Changes the network `data[..size]` in place, to at most `max_size` bytes; returns its size.
pub fn change(data: &mut [u8], size: usize, max_size: usize, seed: u32, bytes: Bytes) -> usize {
    let mut noise = Noise::new(seed.into());
    let changed = match noise.below(8) {
        0..2 => None,
        2..4 => read(&data[..size]).and_then(|model| rewired(model, &mut noise)),
        _ => read(&data[..size]).and_then(|model| tree::change(&model, &mut noise)),
    };
    let changed = changed.and_then(|model| put(data, max_size, &write(&model)));
    changed.unwrap_or_else(|| bytes(data, size, max_size))
}

/// Two networks side by side in `out`, as one with the inputs and outputs of both; its size, or
/// 0 when that cannot be. Mostly left out, because networks are fast as long as they are small.
pub fn unite(first: &[u8], second: &[u8], out: &mut [u8], seed: u32) -> usize {
    if Noise::new(seed.into()).below(8) > 0 {
        return 0;
    }
    let (Some(first), Some(second)) = (read(first), read(second)) else { return 0 };
    let united = united(first, second);
    let room = out.len();
    united.and_then(|model| put(out, room, &write(&model))).unwrap_or(0)
}

fn read(bytes: &[u8]) -> Option<Model> {
    ModelRef::read_as_root(bytes).and_then(Model::try_from).ok()
}

fn only_subgraph(model: &mut Model) -> Option<&mut SubGraph> {
    model.subgraphs.as_mut()?.first_mut()
}

/// The network with an operator that reads another tensor of the same shape.
fn rewired(mut model: Model, noise: &mut Noise) -> Option<Model> {
    let graph = only_subgraph(&mut model)?;
    let (tensors, operators) = (graph.tensors.as_ref()?, graph.operators.as_mut()?);
    let operator = noise.below(operators.len().max(1));
    let inputs = operators.get_mut(operator)?.inputs.as_mut()?;
    let input = noise.below(inputs.len().max(1));
    let input = inputs.get_mut(input)?;
    let shape = &tensors.get(usize::try_from(*input).ok()?)?.shape;
    let alike: Vec<_> = (0..).zip(tensors).filter(|(_, other)| other.shape == *shape).collect();
    (*input, _) = *alike.get(noise.below(alike.len()))?;
    Some(model)
}

fn united(mut first: Model, second: Model) -> Option<Model> {
    let codes = first.operator_codes.as_ref()?.len() as u32;
    let buffers = first.buffers.as_ref()?.len() as u32;
    let graph = only_subgraph(&mut first)?;
    let tensors = graph.tensors.as_ref()?.len() as i32;
    let other = second.subgraphs?.into_iter().next()?;
    let moved = |list: Option<Vec<i32>>| {
        let moved = |index: i32| if index < 0 { index } else { index.wrapping_add(tensors) };
        list.unwrap_or_default().into_iter().map(moved).collect::<Vec<_>>()
    };
    for mut tensor in other.tensors? {
        tensor.buffer = tensor.buffer.wrapping_add(buffers);
        graph.tensors.as_mut()?.push(tensor);
    }
    for mut operator in other.operators? {
        operator.opcode_index = operator.opcode_index.wrapping_add(codes);
        operator.inputs = Some(moved(operator.inputs));
        operator.outputs = Some(moved(operator.outputs));
        graph.operators.as_mut()?.push(operator);
    }
    graph.inputs.as_mut()?.extend(moved(other.inputs));
    graph.outputs.as_mut()?.extend(moved(other.outputs));
    first.operator_codes.as_mut()?.extend(second.operator_codes?);
    first.buffers.as_mut()?.extend(second.buffers?);
    Some(first)
}
