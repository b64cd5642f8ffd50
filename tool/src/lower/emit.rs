//! Steps and their placement to the runtime's tables.

use std::collections::{HashMap, HashSet};

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::model::{
    Element as PortElement, Layer, MAX_LAYERS, ModelError, Port, StorageId, Tensor, TensorId,
};
use pipeit_rt::tensor::{Hwc, Layout, Shape};

use super::LowerError;
use super::context::{Operand, runtime_shape};
use super::passes::Ports;
use super::placement::Placement;
use super::step::{Part, Place, Step, StepKind, ViewRef};
use super::weights::{Section, Sections};
use crate::graph::{Element, Graph, OpRef, TensorIndex};
use crate::network::{FileTensor, Folded, Network};

/// Writes the tables.
pub(super) fn emit(
    graph: &Graph,
    ports: &Ports,
    steps: &[Step],
    placement: &Placement,
    sections: Sections,
    folded: Vec<Folded>,
) -> Result<Network, LowerError> {
    let mut emitter = Emitter {
        graph,
        placement,
        sections,
        storages: Vec::new(),
        storage_of: HashMap::new(),
        tensors: Vec::new(),
        views: HashMap::new(),
        natural: HashMap::new(),
        layers: Vec::new(),
        ops: Vec::new(),
        info: Vec::new(),
        constants: HashSet::new(),
        folded,
    };
    let inputs = emitter.inputs(ports)?;
    for step in steps {
        emitter.step(step)?;
    }
    let outputs = emitter.outputs(ports)?;
    if emitter.layers.is_empty() || inputs.is_empty() || outputs.is_empty() {
        return Err(LowerError::Empty);
    }
    let file_tensors = graph.tensors.iter().enumerate().map(|(index, tensor)| FileTensor {
        name: tensor.name.clone(),
        content: emitter.natural.get(&TensorIndex(index)).copied(),
    });
    let file_tensors = file_tensors.collect();
    let Emitter { sections, storages, tensors, layers, ops, info, mut folded, .. } = emitter;
    folded.sort_by_key(|folded| folded.op.index);
    let sections = [sections.tables, sections.filters].map(Section::finish);
    let network = Network {
        storages,
        tensors,
        layers,
        ops,
        inputs,
        outputs,
        sections,
        info,
        folded,
        file_tensors,
    };
    check(&network)?;
    Ok(network)
}

/// Has the runtime check the whole.
fn check(network: &Network) -> Result<(), LowerError> {
    match network.check() {
        Ok(_) => Ok(()),
        Err(ModelError::Op { layer, error, .. }) => {
            let op = network.info.get(usize::from(layer)).cloned();
            Err(op.map_or(LowerError::Empty, |op| LowerError::Op { op, error }))
        }
        Err(error) => Err(LowerError::Model(error)),
    }
}

struct Emitter<'a> {
    graph: &'a Graph,
    placement: &'a Placement,
    sections: Sections,
    storages: Vec<u32>,
    /// By the tensor at whose start the storage begins.
    storage_of: HashMap<TensorIndex, StorageId>,
    tensors: Vec<Tensor>,
    /// By tensor of the file and extents.
    views: HashMap<(TensorIndex, [u32; 3]), TensorId>,
    /// The tensors of the file with their own shapes.
    natural: HashMap<TensorIndex, TensorId>,
    layers: Vec<Layer>,
    ops: Vec<Op>,
    info: Vec<OpRef>,
    /// Constants that a layer writes already.
    constants: HashSet<TensorIndex>,
    folded: Vec<Folded>,
}

impl<'a> Emitter<'a> {
    fn inputs(&mut self, ports: &Ports) -> Result<Vec<Port>, LowerError> {
        let graph = self.graph;
        let mut inputs = Vec::new();
        for (&index, &element) in graph.inputs.iter().zip(&ports.inputs) {
            let operand = self.port(index)?;
            let first = graph.inputs.iter().filter(|&&other| other == index).count() == 1;
            if !first || operand.tensor.data.is_some() {
                let reason = if first { "is a constant" } else { "is listed twice" }.to_owned();
                return Err(LowerError::Port { tensor: operand.tensor.name.clone(), reason });
            }
            let tensor = self.natural(index)?;
            inputs.push(port(&operand, tensor, element));
        }
        Ok(inputs)
    }

    /// The outputs, each in a storage of its own: copied where it would share one.
    fn outputs(&mut self, ports: &Ports) -> Result<Vec<Port>, LowerError> {
        let graph = self.graph;
        let root = |index: TensorIndex| self.placement.storage(index).0;
        let mut taken: HashSet<TensorIndex> =
            graph.inputs.iter().map(|&index| root(index)).collect();
        let mut outputs = Vec::new();
        for (&index, &element) in graph.outputs.iter().zip(&ports.outputs) {
            let operand = self.port(index)?;
            let mut tensor = self.natural(index)?;
            let source = OpRef {
                // The operator that wrote it; there is none for an input that is also an output.
                index: self.writer(index),
                name: "COPY".to_owned(),
                output: operand.tensor.name.as_str().into(),
            };
            self.constant(index, &source)?;
            if !taken.insert(self.placement.storage(index).0) {
                let storage = self.new_storage(operand.hwc)?;
                let shape = self.shape(index)?;
                let layout = Layout::contiguous(operand.hwc);
                let copy = self.push_tensor(Tensor { shape, storage, offset: 0, layout })?;
                self.push_layer(Op::Copy(reference::Copy), &[tensor], copy, &source)?;
                tensor = copy;
            }
            outputs.push(port(&operand, tensor, element));
        }
        Ok(outputs)
    }

    fn port(&self, index: TensorIndex) -> Result<Operand<'a>, LowerError> {
        Operand::new(self.graph, index).map_err(|reason| LowerError::Port {
            tensor: self.graph.tensor(index).map(|tensor| tensor.name.clone()).unwrap_or_default(),
            reason,
        })
    }

    fn writer(&self, index: TensorIndex) -> usize {
        let writer = self.graph.ops.iter().find(|op| op.outputs.contains(&index));
        writer.map_or(0, |op| op.index)
    }

    fn step(&mut self, step: &Step) -> Result<(), LowerError> {
        match &step.kind {
            StepKind::Layer { op, inputs, output } => {
                for input in inputs {
                    self.constant(input.tensor, &step.op)?;
                }
                let inputs: Vec<TensorId> =
                    inputs.iter().map(|&input| self.view(input)).collect::<Result<_, _>>()?;
                self.natural(output.tensor)?;
                let output = self.view(*output)?;
                self.push_layer(op.clone(), &inputs, output, &step.op)
            }
            StepKind::Alias { input, output } => {
                self.constant(*input, &step.op)?;
                self.natural(*output)?;
                self.folded_to_view(*input, &step.op);
                Ok(())
            }
            StepKind::Cut { input, parts } => self.cut(*input, parts, &step.op),
            StepKind::Join { output, parts } => self.join(*output, parts, &step.op),
        }
    }

    fn cut(
        &mut self,
        input: TensorIndex,
        parts: &[(Place, ViewRef)],
        op: &OpRef,
    ) -> Result<(), LowerError> {
        let first = self.layers.len();
        self.constant(input, op)?;
        let whole = self.natural(input)?;
        for &(place, part) in parts {
            let target = self.natural(part.tensor)?;
            if self.placement.is_inside(part.tensor, input) {
                continue;
            }
            let shape = view_shape(part.hwc)?;
            let source = self.push_part(whole, shape, place)?;
            let target =
                if self.shape(part.tensor)?.hwc() == part.hwc { target } else { self.view(part)? };
            self.push_layer(Op::Copy(reference::Copy), &[source], target, op)?;
        }
        if self.layers.len() == first {
            self.folded_to_view(input, op);
        }
        Ok(())
    }

    fn folded_to_view(&mut self, input: TensorIndex, op: &OpRef) {
        let name = self.graph.tensor(input).map_or("", |tensor| &tensor.name);
        self.folded.push(Folded { op: op.clone(), into: format!("a view of `{name}`") });
    }

    fn join(&mut self, output: TensorIndex, parts: &[Part], op: &OpRef) -> Result<(), LowerError> {
        let first = self.layers.len();
        let whole = self.natural(output)?;
        for part in parts {
            self.constant(part.tensor, op)?;
            if self.placement.is_inside(part.tensor, output) {
                continue;
            }
            let input = self.natural(part.tensor)?;
            let shape = self.shape(part.tensor)?;
            let target = self.push_part(whole, shape, Place::dense(part.at))?;
            let layer = match part.table {
                Some(table) => Op::Lookup(reference::Lookup { table }),
                None => Op::Copy(reference::Copy),
            };
            self.push_layer(layer, &[input], target, op)?;
        }
        if self.layers.len() == first {
            let into = "the layers that write its inputs".to_owned();
            self.folded.push(Folded { op: op.clone(), into });
        }
        Ok(())
    }

    /// Makes sure that `index`, if it is a constant, is written before `reader` runs.
    fn constant(&mut self, index: TensorIndex, reader: &OpRef) -> Result<(), LowerError> {
        // A reshaped constant is written under its own name.
        let graph = self.graph;
        let index = self.placement.named(index);
        let Some((tensor, data)) = graph
            .tensor(index)
            .and_then(|tensor| tensor.data.as_deref().map(|data| (tensor, data)))
        else {
            return Ok(());
        };
        if !self.constants.insert(index) {
            return Ok(());
        }
        let flip = if tensor.element == Element::U8 { 0x80 } else { 0 };
        let codes = self.sections.tables.constant(index, data, flip)?;
        let output = self.natural(index)?;
        self.push_layer(Op::Constant(reference::Constant { codes }), &[], output, reader)
    }

    /// The tensor `index` with its own shape.
    fn natural(&mut self, index: TensorIndex) -> Result<TensorId, LowerError> {
        let shape = self.shape(index)?;
        let id = self.view_as(index, shape)?;
        self.natural.insert(index, id);
        Ok(id)
    }

    fn view(&mut self, view: ViewRef) -> Result<TensorId, LowerError> {
        let own = self.shape(view.tensor)?;
        if own.hwc() == view.hwc {
            return self.natural(view.tensor);
        }
        self.view_as(view.tensor, view_shape(view.hwc)?)
    }

    /// The tensor `index` with the extents of `shape`; as many as its own, or it would not
    /// have got here.
    fn view_as(&mut self, index: TensorIndex, shape: Shape) -> Result<TensorId, LowerError> {
        let hwc = shape.hwc();
        let key = (index, [hwc.h, hwc.w, hwc.c]);
        if let Some(&id) = self.views.get(&key) {
            return Ok(id);
        }
        let (root, place) = self.placement.storage(index);
        let whole = self.shape(root)?;
        let storage = match self.storage_of.get(&root) {
            Some(&storage) => storage,
            None => {
                let storage = self.new_storage(whole.hwc())?;
                self.storage_of.insert(root, storage);
                storage
            }
        };
        // Inside a whole, extents are the tensor's own, and strides the whole's.
        let inside = root != self.placement.named(index);
        let around = if inside { whole } else { shape };
        let layout = Layout::contiguous(around.hwc());
        let tensor = part_of(&Tensor { shape: around, storage, offset: 0, layout }, shape, place)
            .ok_or(LowerError::TooLarge { what: "tensor" })?;
        let id = self.push_tensor(tensor)?;
        self.views.insert(key, id);
        Ok(id)
    }

    fn shape(&self, index: TensorIndex) -> Result<Shape, LowerError> {
        Ok(match self.graph.tensor(index).map(runtime_shape) {
            Some(Ok(shape)) => shape,
            // Operands are checked when operators are lowered.
            _ => return Err(LowerError::TooLarge { what: "tensor" }),
        })
    }

    fn new_storage(&mut self, hwc: Hwc) -> Result<StorageId, LowerError> {
        let too_many = LowerError::TooLarge { what: "storages" };
        let id = u16::try_from(self.storages.len()).map_err(|_| too_many.clone())?;
        self.storages.push(u32::try_from(hwc.elements()).map_err(|_| too_many)?);
        Ok(StorageId(id))
    }

    fn push_tensor(&mut self, tensor: Tensor) -> Result<TensorId, LowerError> {
        let id = u16::try_from(self.tensors.len());
        let id = id.map_err(|_| LowerError::TooLarge { what: "tensors" })?;
        self.tensors.push(tensor);
        Ok(TensorId(id))
    }

    /// A view of the part of `whole` at `place`.
    fn push_part(
        &mut self,
        whole: TensorId,
        shape: Shape,
        place: Place,
    ) -> Result<TensorId, LowerError> {
        let whole = self.tensors.get(usize::from(whole.0));
        let part = whole.and_then(|whole| part_of(whole, shape, place));
        self.push_tensor(part.ok_or(LowerError::TooLarge { what: "tensor" })?)
    }

    fn push_layer(
        &mut self,
        op: Op,
        inputs: &[TensorId],
        output: TensorId,
        source: &OpRef,
    ) -> Result<(), LowerError> {
        let too_many = LowerError::TooLarge { what: "layers" };
        let source_index = u16::try_from(source.index).ok();
        let source_index = source_index.filter(|_| self.layers.len() < MAX_LAYERS);
        self.layers.push(Layer {
            inputs: inputs.iter().copied().collect(),
            output,
            source: source_index.ok_or(too_many)?,
        });
        self.ops.push(op);
        self.info.push(source.clone());
        Ok(())
    }
}

/// The shape of an image of these extents.
fn view_shape(Hwc { h, w, c }: Hwc) -> Result<Shape, LowerError> {
    Shape::new(&[1, h, w, c]).map_err(|_| LowerError::TooLarge { what: "tensor" })
}

/// The part of `whole` of extents `shape` at `place`.
fn part_of(whole: &Tensor, shape: Shape, place: Place) -> Option<Tensor> {
    let Layout { row_stride, pixel_stride, .. } = whole.layout;
    let ([row, column, channel], [down, across]) = (place.at, place.step);
    let offset = whole
        .offset
        .checked_add(row.checked_mul(row_stride)?)?
        .checked_add(column.checked_mul(pixel_stride)?)?
        .checked_add(channel)?;
    let layout = Layout {
        hwc: shape.hwc(),
        row_stride: row_stride.checked_mul(down)?,
        pixel_stride: pixel_stride.checked_mul(across)?,
    };
    Some(Tensor { shape, storage: whole.storage, offset, layout })
}

/// What a program sees of `tensor`, where the file has `element`.
pub(super) fn port(operand: &Operand<'_>, tensor: TensorId, element: Element) -> Port {
    let element = match element {
        Element::F32 => PortElement::F32,
        _ if operand.legacy => PortElement::U8,
        _ => PortElement::I8,
    };
    Port { tensor, scale: operand.scale, zero_point: operand.zero_point, element }
}
