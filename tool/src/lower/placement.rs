//! Which tensors share a storage: reshapes, slices and concatenations without copies.
//!
//! A reshape's output has the storage of its input. An input of a concatenation is written
//! straight into its part of the whole, so that only pixel or row stride tell it from a
//! tensor of its own, unless that would make a layer read the storage it writes, or
//! somebody needs the tensor without gaps. A slice likewise is read where it lies.

use std::collections::{HashMap, HashSet};

use super::context::runtime_shape;
use super::step::{Place, Step, StepKind, ViewRef};
use crate::graph::{Graph, TensorIndex};
use pipeit_rt::tensor::Hwc;

/// Where tensors lie.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// The tensor whose bytes a reshape's output has.
    alias_of: HashMap<TensorIndex, TensorIndex>,
    /// The whole that a tensor is a part of, and where it lies there.
    inside: HashMap<TensorIndex, (TensorIndex, Place)>,
}

impl Placement {
    /// The tensor at whose start the storage of `tensor` begins, and where in it `tensor` lies.
    pub(super) fn storage(&self, tensor: TensorIndex) -> (TensorIndex, Place) {
        let mut root = self.named(tensor);
        let mut place = Place::dense([0; 3]);
        // Ends: what a slice was cut from was written before it. What parts were joined to
        // is written after them, and is no slice, so that from there on it goes that way only.
        while let Some(&(whole, outer)) = self.inside.get(&root) {
            place = place.within(outer);
            root = self.named(whole);
        }
        (root, place)
    }

    /// True when `part` lies in `whole`.
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
        match &step.kind {
            StepKind::Join { output, parts } => {
                for part in parts {
                    let listed = parts.iter().filter(|other| other.tensor == part.tensor).count();
                    if part.table.is_none() && listed == 1 && !fixed.contains(&part.tensor) {
                        let place = Place::dense(part.at);
                        try_inside(steps, &mut placement, part.tensor, *output, place);
                    }
                }
            }
            StepKind::Cut { input, parts } => {
                // A reshape of another image has its pixels elsewhere.
                let named = placement.named(*input);
                if own_extents(graph, named) != own_extents(graph, *input) {
                    continue;
                }
                for &(place, part) in parts {
                    if !fixed.contains(&part.tensor) {
                        try_inside(steps, &mut placement, part.tensor, *input, place);
                    }
                }
            }
            StepKind::Layer { .. } | StepKind::Alias { .. } => {}
        }
    }
    placement
}

/// Puts `part` into `whole`, unless it is inside another one or must not be.
fn try_inside(
    steps: &[Step],
    placement: &mut Placement,
    part: TensorIndex,
    whole: TensorIndex,
    place: Place,
) {
    if placement.inside.contains_key(&part) {
        return;
    }
    placement.inside.insert(part, (whole, place));
    if !is_legal(steps, placement) {
        placement.inside.remove(&part);
    }
}

fn own_extents(graph: &Graph, tensor: TensorIndex) -> Option<Hwc> {
    let shape = runtime_shape(graph.tensor(tensor)?);
    shape.ok().map(|shape| shape.hwc())
}

/// Tensors that must have a storage to themselves: the network's inputs and outputs, what
/// is reshaped, and what a layer sees with other extents.
fn fixed(graph: &Graph, steps: &[Step], placement: &Placement) -> HashSet<TensorIndex> {
    let ports = graph.inputs.iter().chain(&graph.outputs).copied();
    let mut fixed: HashSet<_> = ports.collect();
    let seen_otherwise =
        |view: &&ViewRef| own_extents(graph, view.tensor).is_none_or(|own| own != view.hwc);
    for step in steps {
        match &step.kind {
            StepKind::Layer { inputs, output, .. } => {
                let views = inputs.iter().chain([output]).filter(seen_otherwise);
                fixed.extend(views.map(|view| view.tensor));
            }
            StepKind::Cut { parts, .. } => {
                let views = parts.iter().map(|(_, part)| part).filter(seen_otherwise);
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

/// True when no layer, copies of slices and into joins included, reads the storage it writes.
fn is_legal(steps: &[Step], placement: &Placement) -> bool {
    steps.iter().all(|step| match &step.kind {
        StepKind::Layer { inputs, output, .. } => {
            let written = placement.root(output.tensor);
            inputs.iter().all(|input| placement.root(input.tensor) != written)
        }
        StepKind::Alias { .. } => true,
        StepKind::Cut { input, parts } => parts.iter().all(|(_, part)| {
            placement.is_inside(part.tensor, *input)
                || placement.root(part.tensor) != placement.root(*input)
        }),
        StepKind::Join { output, parts } => {
            let written = placement.root(*output);
            parts.iter().all(|part| {
                placement.is_inside(part.tensor, *output) || placement.root(part.tensor) != written
            })
        }
    })
}
