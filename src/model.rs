//! The network: tensors as views on storages, and layers in execution order.
//!
//! A *storage* is memory for activations; where it lies is the plan's business. A
//! *tensor* is a strided view on a storage, so that a reshape is a second view of the same
//! bytes and a concatenation is one storage which several layers fill. A layer runs one
//! operator; its parameters exist once per kernel [`Path`], because packed weights differ.
#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZero;
use core::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::kernels::{Known, MAX_INPUTS, Op, OpError, Path, Signature};
use crate::tensor::{Layout, Shape, ShapeError};
use crate::weights::Weights;

/// Number of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StorageId(pub u16);

/// Number of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TensorId(pub u16);

/// A strided view on a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// The shape the network states.
    pub shape: Shape,
    /// The memory it lies in.
    pub storage: StorageId,
    /// Byte of the storage where it starts.
    pub offset: u32,
    /// How it lies there.
    pub layout: Layout,
}

/// One operator applied once per frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Inputs, in the operator's order.
    pub inputs: heapless::Vec<TensorId, MAX_INPUTS>,
    /// Output.
    pub output: TensorId,
    /// Index of the operator in the imported file that this layer came from.
    pub source: u16,
}

impl Layer {
    /// Whether the first of what it reads is what `before` writes.
    #[must_use]
    pub(crate) fn follows(&self, before: &Self) -> bool {
        self.inputs.first() == Some(&before.output)
    }
}

/// The element type a program sees at an input or output of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Element {
    /// The int8 codes that the runtime computes with.
    I8,
    /// A legacy uint8 network: the runtime's codes are those of the file less 128.
    U8,
    /// The file has a float here, with a QUANTIZE or DEQUANTIZE that import took off.
    F32,
}

/// An input or output of the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// The tensor.
    pub tensor: TensorId,
    /// Real value of one step.
    pub scale: f32,
    /// The int8 code of real zero.
    pub zero_point: i8,
    /// What the imported file had here.
    pub element: Element,
}

/// Most inputs and most outputs of a network.
pub const MAX_PORTS: usize = 16;

/// Most layers of a network.
pub const MAX_LAYERS: usize = 4096;

/// The tables of a network, yet unchecked.
#[derive(Clone, Debug)]
pub struct ModelTables<'a> {
    /// Bytes of each storage, indexed by [`StorageId`].
    pub storages: &'a [u32],
    /// Indexed by [`TensorId`].
    pub tensors: &'a [Tensor],
    /// In an order in which every input is written before it is read.
    pub layers: &'a [Layer],
    /// The paths there are parameters for.
    pub paths: &'a [Path],
    /// The parameters: those of the first path for every layer, then of the next.
    pub ops: &'a [Op],
    /// What a frame brings.
    pub inputs: &'a [Port],
    /// What a frame yields.
    pub outputs: &'a [Port],
    /// What the spans in `ops` point to.
    pub weights: Weights<'a>,
}

/// A network ready to run: tables that have passed every check.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    tables: ModelTables<'a>,
}

impl<'a> Deref for Model<'a> {
    type Target = ModelTables<'a>;

    fn deref(&self) -> &ModelTables<'a> {
        &self.tables
    }
}

/// Why a network was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ModelError {
    /// No layers, no inputs or no outputs, or more ports than [`MAX_PORTS`].
    Empty,
    /// More than [`MAX_LAYERS`] layers.
    TooManyLayers {
        /// Layers found.
        found: usize,
    },
    /// Not one set of parameters per layer and path.
    Ops {
        /// Sets found.
        found: usize,
        /// Sets wanted.
        wanted: usize,
    },
    /// A path is listed twice.
    Path {
        /// The path.
        path: Path,
    },
    /// A tensor's shape is refused.
    Shape {
        /// The tensor.
        tensor: TensorId,
        /// Why.
        error: ShapeError,
    },
    /// A tensor does not lie within its storage, or its layout is not that of its shape.
    Layout {
        /// The tensor.
        tensor: TensorId,
    },
    /// A layer or port names a tensor that does not exist.
    NoTensor {
        /// The tensor.
        tensor: TensorId,
    },
    /// A layer reads a storage which nothing has written.
    NotWritten {
        /// The layer.
        layer: u16,
    },
    /// A layer reads the storage it writes.
    Aliased {
        /// The layer.
        layer: u16,
    },
    /// An input or output has gaps, or two of them share a storage.
    Port {
        /// Its tensor.
        tensor: TensorId,
    },
    /// An operator's parameters are refused.
    Op {
        /// The layer.
        layer: u16,
        /// The path they are for.
        path: Path,
        /// Why.
        error: OpError,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "no layers, or not 1 to {MAX_PORTS} inputs and outputs"),
            Self::TooManyLayers { found } => {
                write!(f, "{found} layers, want at most {MAX_LAYERS}")
            }
            Self::Ops { found, wanted } => {
                write!(f, "{found} sets of operator parameters, want {wanted}")
            }
            Self::Path { path } => write!(f, "path {path} is listed twice"),
            Self::Shape { tensor, error } => write!(f, "tensor {}: {error}", tensor.0),
            Self::Layout { tensor } => write!(f, "tensor {} lies outside its storage", tensor.0),
            Self::NoTensor { tensor } => write!(f, "no tensor {}", tensor.0),
            Self::NotWritten { layer } => write!(f, "layer {layer} reads what nothing has written"),
            Self::Aliased { layer } => write!(f, "layer {layer} reads the storage it writes"),
            Self::Port { tensor } => {
                write!(f, "tensor {} cannot be an input or output", tensor.0)
            }
            Self::Op { layer, path, error } => write!(f, "layer {layer} ({path}): {error}"),
        }
    }
}
impl core::error::Error for ModelError {}

impl<'a> Model<'a> {
    /// Checks everything the runtime relies on; the tables may come from untrusted bytes.
    ///
    /// All operators must be among those `known`; `written` is scratch, one entry per storage, all
    /// false.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn new(
        tables: ModelTables<'a>,
        known: &[Known],
        written: &mut [bool],
    ) -> Result<Self, ModelError> {
        tables.check(known, written)?;
        Ok(Self { tables })
    }
}

impl<'a> ModelTables<'a> {
    fn check(&self, known: &[Known], written: &mut [bool]) -> Result<(), ModelError> {
        let ports = 1..=MAX_PORTS;
        if self.layers.is_empty()
            || self.paths.is_empty()
            || !ports.contains(&self.inputs.len())
            || !ports.contains(&self.outputs.len())
        {
            return Err(ModelError::Empty);
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(ModelError::TooManyLayers { found: self.layers.len() });
        }
        let wanted = self.layers.len().saturating_mul(self.paths.len());
        if self.ops.len() != wanted {
            return Err(ModelError::Ops { found: self.ops.len(), wanted });
        }
        for (i, path) in self.paths.iter().enumerate() {
            if self.paths.iter().take(i).any(|other| other == path) {
                return Err(ModelError::Path { path: *path });
            }
        }
        for (i, tensor) in self.tensors.iter().enumerate() {
            self.check_tensor(TensorId(i as u16), tensor)?;
        }
        for port in self.inputs {
            let storage = self.check_port(port)?;
            match written.get_mut(usize::from(storage.0)) {
                Some(written) if !*written => *written = true,
                _ => return Err(ModelError::Port { tensor: port.tensor }),
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            self.check_layer(i as u16, layer, known, written)?;
        }
        for (i, port) in self.outputs.iter().enumerate() {
            let storage = self.check_port(port)?;
            let is_written = written.get(usize::from(storage.0)) == Some(&true);
            let others = self.outputs.iter().take(i).chain(self.inputs);
            let mut shared = others.filter_map(|other| self.tensor(other.tensor));
            if !is_written || shared.any(|other| other.storage == storage) {
                return Err(ModelError::Port { tensor: port.tensor });
            }
        }
        Ok(())
    }

    fn check_tensor(&self, id: TensorId, tensor: &Tensor) -> Result<(), ModelError> {
        let error = ModelError::Layout { tensor: id };
        tensor.shape.check().map_err(|error| ModelError::Shape { tensor: id, error })?;
        let bytes = self.storages.get(usize::from(tensor.storage.0)).ok_or(error)?;
        let end = tensor.layout.extent().and_then(|extent| extent.checked_add(tensor.offset));
        if tensor.layout.hwc != tensor.shape.hwc() || end.is_none_or(|end| end > *bytes) {
            return Err(error);
        }
        Ok(())
    }

    fn check_port(&self, port: &Port) -> Result<StorageId, ModelError> {
        let id = port.tensor;
        let tensor = self.tensor(id).ok_or(ModelError::NoTensor { tensor: id })?;
        if tensor.layout.is_contiguous() && port.scale.is_finite() {
            Ok(tensor.storage)
        } else {
            Err(ModelError::Port { tensor: id })
        }
    }

    fn check_layer(
        &self,
        index: u16,
        layer: &Layer,
        known: &[Known],
        written: &mut [bool],
    ) -> Result<(), ModelError> {
        let find = |tensor| self.tensor(tensor).ok_or(ModelError::NoTensor { tensor });
        let output = find(layer.output)?;
        let mut inputs = heapless::Vec::<_, MAX_INPUTS>::new();
        for &id in &layer.inputs {
            let input = find(id)?;
            if input.storage == output.storage {
                return Err(ModelError::Aliased { layer: index });
            }
            if written.get(usize::from(input.storage.0)) != Some(&true) {
                return Err(ModelError::NotWritten { layer: index });
            }
            // As many as `layer.inputs`, which has the same capacity.
            let _ = inputs.push(input.layout.hwc);
        }
        if let Some(written) = written.get_mut(usize::from(output.storage.0)) {
            *written = true;
        }
        let signature = Signature { inputs: &inputs, output: output.layout.hwc };
        for &path in self.paths {
            let op = self.op(path, index).ok_or(ModelError::Ops { found: 0, wanted: 1 })?;
            let checked = match op.path() {
                Some(other) if other != path => Err(OpError::Parameter { name: "path" }),
                _ => op.check(known, signature, &self.weights),
            };
            checked.map_err(|error| ModelError::Op { layer: index, path, error })?;
        }
        Ok(())
    }

    /// The tensor `id`.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> Option<&'a Tensor> {
        self.tensors.get(usize::from(id.0))
    }

    /// The storage of the tensor `id`.
    #[must_use]
    pub fn storage_of(&self, id: TensorId) -> Option<StorageId> {
        self.tensor(id).map(|tensor| tensor.storage)
    }

    /// The parameters of layer `layer` for `path`; `None` when there are none.
    #[must_use]
    pub fn op(&self, path: Path, layer: u16) -> Option<&'a Op> {
        let set = self.paths.iter().position(|&p| p == path)?;
        self.ops.get(set.checked_mul(self.layers.len())?.checked_add(layer.into())?)
    }

    /// Rows of layer `layer` after which the next can go on with them, see
    /// [`Op::rows_at_once`]; `None` where it reads something else.
    #[must_use]
    pub fn rows_at_once(&self, path: Path, layer: u16) -> Option<NonZero<u16>> {
        let next = layer.checked_add(1)?;
        let rows = self.op(path, layer)?.rows_at_once(self.op(path, next)?)?;
        let layers = [layer, next].map(|layer| self.layers.get(usize::from(layer)));
        let [Some(first), Some(second)] = layers else { return None };
        second.follows(first).then_some(rows)
    }

    /// Multiply-accumulates of layer `layer`.
    #[must_use]
    pub fn macs(&self, layer: u16) -> u64 {
        let (Some(&path), Some(found)) = (self.paths.first(), self.layers.get(usize::from(layer)))
        else {
            return 0;
        };
        let hwc = |&id: &TensorId| self.tensor(id).map(|tensor| tensor.layout.hwc);
        let inputs: heapless::Vec<_, MAX_INPUTS> = found.inputs.iter().filter_map(hwc).collect();
        match (self.op(path, layer), hwc(&found.output)) {
            (Some(op), Some(output)) => op.macs(Signature { inputs: &inputs, output }),
            _ => 0,
        }
    }
}
