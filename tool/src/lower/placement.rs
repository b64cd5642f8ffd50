//! Which tensors share a storage: reshapes and concatenations without copies.
//!
//! A reshape's output has the storage of its input. An input of a concatenation is written
//! straight into its part of the whole, so that only pixel or row stride tell it from a
//! tensor of its own, unless that would make a layer read the storage it writes, or
//! somebody needs the tensor without gaps.

use std::collections::{HashMap, HashSet};

use super::context::{Step, StepKind, ViewRef};
use crate::graph::{Graph, TensorIndex};
use pipeit_rt::tensor::Shape;

/// Where tensors lie.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// The tensor whose bytes a reshape's output has.
    alias_of: HashMap<TensorIndex, TensorIndex>,
    /// The whole that a tensor is a part of, and where it starts there.
    inside: HashMap<TensorIndex, (TensorIndex, [u32; 3])>,
}

impl Placement {
    /// The tensor at whose start the storage of `tensor` begins, and where in it `tensor`
    /// lies: row, column, channel.
    pub(super) fn storage(&self, tensor: TensorIndex) -> (TensorIndex, [u32; 3]) {
        let mut root = self.named(tensor);
        let mut at = [0u32; 3];
        // Ends: a whole comes after its parts in the order of steps.
        while let Some(&(whole, offset)) = self.inside.get(&root) {
            for (sum, offset) in at.iter_mut().zip(offset) {
                *sum = sum.saturating_add(offset);
            }
            root = self.named(whole);
        }
        (root, at)
    }

    /// True when `part` is written in place as a part of `whole`.
    pub(super) fn is_inside(&self, part: TensorIndex, whole: TensorIndex) -> bool {
        self.inside.get(&part).is_some_and(|&(found, _)| found == whole)
    }

    /// The tensor itself, or the one it is a reshape of.
    pub(super) fn named(&self, tensor: TensorIndex) -> TensorIndex {
        self.alias_of.get(&tensor).copied().unwrap_or(tensor)
    }

    fn root(&self, tensor: TensorIndex) -> TensorIndex {
        self.storage(tensor).0
    }
}

/// Decides for all tensors that `steps` touch.
pub(super) fn place(graph: &Graph, steps: &[Step]) -> Placement {
    let mut placement = Placement::default();
    for step in steps {
        if let StepKind::Alias { input, output } = step.kind {
            let root = placement.named(input);
            placement.alias_of.insert(output, root);
        }
    }
    let fixed = fixed(graph, steps, &placement);
    for step in steps {
        let StepKind::Join { output, parts } = &step.kind else { continue };
        for part in parts {
            let listed = parts.iter().filter(|other| other.tensor == part.tensor).count();
            if part.table.is_some()
                || listed != 1
                || fixed.contains(&part.tensor)
                || placement.inside.contains_key(&part.tensor)
            {
                continue;
            }
            placement.inside.insert(part.tensor, (*output, part.at));
            if !is_legal(steps, &placement) {
                placement.inside.remove(&part.tensor);
            }
        }
    }
    placement
}

/// Tensors that must have a storage to themselves: the network's inputs and outputs, what
/// is reshaped, and what a layer sees with other extents.
fn fixed(graph: &Graph, steps: &[Step], placement: &Placement) -> HashSet<TensorIndex> {
    let ports = graph.inputs.iter().chain(&graph.outputs).copied();
    let mut fixed: HashSet<_> = ports.collect();
    for step in steps {
        match &step.kind {
            StepKind::Layer { inputs, output, .. } => {
                let seen_otherwise = |view: &&ViewRef| {
                    let tensor = graph.tensor(view.tensor);
                    let own = tensor.and_then(|tensor| Shape::new(&tensor.shape).ok());
                    own.is_none_or(|own| own.hwc() != view.hwc)
                };
                let views = inputs.iter().chain([output]).filter(seen_otherwise);
                fixed.extend(views.map(|view| view.tensor));
            }
            StepKind::Alias { input, output } => fixed.extend([*input, *output]),
            StepKind::Join { .. } => {}
        }
    }
    let roots: Vec<_> = fixed.iter().map(|&tensor| placement.named(tensor)).collect();
    fixed.extend(roots);
    fixed
}

/// True when no layer, copies into joins included, reads the storage it writes.
fn is_legal(steps: &[Step], placement: &Placement) -> bool {
    steps.iter().all(|step| match &step.kind {
        StepKind::Layer { inputs, output, .. } => {
            let written = placement.root(output.tensor);
            inputs.iter().all(|input| placement.root(input.tensor) != written)
        }
        StepKind::Alias { .. } => true,
        StepKind::Join { output, parts } => {
            let written = placement.root(*output);
            parts.iter().all(|part| {
                placement.is_inside(part.tensor, *output) || placement.root(part.tensor) != written
            })
        }
    })
}
