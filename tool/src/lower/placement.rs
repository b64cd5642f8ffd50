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
    let mut storages = Storages::new(steps, &placement);
    for step in steps {
        match &step.kind {
            StepKind::Join { output, parts } => {
                let (mut listed, mut repeated) = (HashSet::new(), HashSet::new());
                repeated.extend(parts.iter().map(|p| p.tensor).filter(|&t| !listed.insert(t)));
                for part in parts {
                    let is_copied = part.table.is_some() || repeated.contains(&part.tensor);
                    if !is_copied && !fixed.contains(&part.tensor) {
                        let place = Place::dense(part.at);
                        storages.try_inside(&mut placement, part.tensor, *output, place);
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
                        storages.try_inside(&mut placement, part.tensor, *input, place);
                    }
                }
            }
            StepKind::Layer { .. } | StepKind::Alias { .. } => {}
        }
    }
    placement
}

/// The tensors of each storage, and which pairs of tensors must be in different ones: what a
/// layer reads and what it writes, be the layer an operator's or the copy of a part.
struct Storages {
    /// By the name of a tensor, the index of its storage in `all`.
    of: HashMap<TensorIndex, usize>,
    all: Vec<Storage>,
}

#[derive(Default)]
struct Storage {
    tensors: Vec<TensorIndex>,
    /// The pairs that one of these tensors is in; of copies the part first, then the whole.
    apart: Vec<(TensorIndex, TensorIndex)>,
}

impl Storages {
    fn new(steps: &[Step], placement: &Placement) -> Self {
        let mut storages = Self { of: HashMap::new(), all: Vec::new() };
        for step in steps {
            let pairs: Vec<_> = match &step.kind {
                StepKind::Layer { inputs, output, .. } => {
                    inputs.iter().map(|input| (input.tensor, output.tensor)).collect()
                }
                StepKind::Cut { input, parts } => {
                    parts.iter().map(|(_, part)| (part.tensor, *input)).collect()
                }
                StepKind::Join { output, parts } => {
                    parts.iter().map(|part| (part.tensor, *output)).collect()
                }
                StepKind::Alias { .. } => Vec::new(),
            };
            for pair in pairs {
                for tensor in [pair.0, pair.1] {
                    let name = placement.named(tensor);
                    let index = *storages.of.entry(name).or_insert(storages.all.len());
                    if index == storages.all.len() {
                        storages.all.push(Storage { tensors: vec![name], ..Storage::default() });
                    }
                    let storage = storages.all.get_mut(index);
                    storage.into_iter().for_each(|storage| storage.apart.push(pair));
                }
            }
        }
        storages
    }

    /// Puts `part` into `whole`, unless it is inside another one or must not be.
    fn try_inside(
        &mut self,
        placement: &mut Placement,
        part: TensorIndex,
        whole: TensorIndex,
        place: Place,
    ) {
        let of = |tensor: TensorIndex| self.of.get(&placement.named(tensor)).copied();
        let (Some(a), Some(b)) = (of(part), of(whole)) else { return };
        if a == b || placement.inside.contains_key(&part) {
            return;
        }
        let size = |i: usize| self.all.get(i).map_or(0, |s| s.apart.len());
        let (small, large) = if size(a) < size(b) { (a, b) } else { (b, a) };
        let united = |tensor| of(tensor).map(|i| if i == small { large } else { i });
        // Nobody copies a part that lies where it belongs.
        let is_legal = |&(x, y): &(TensorIndex, TensorIndex)| {
            (x, y) == (part, whole) || placement.is_inside(x, y) || united(x) != united(y)
        };
        if !self.all.get(small).is_some_and(|storage| storage.apart.iter().all(is_legal)) {
            return;
        }
        let moved = self.all.get_mut(small).map(std::mem::take).unwrap_or_default();
        self.of.extend(moved.tensors.iter().map(|&tensor| (tensor, large)));
        if let Some(storage) = self.all.get_mut(large) {
            storage.tensors.extend(moved.tensors);
            storage.apart.extend(moved.apart);
        }
        placement.inside.insert(part, (whole, place));
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
