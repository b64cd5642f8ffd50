//! A network in the runtime's tables, owned, with what reports say about it.

use pipeit_rt::kernels::{KNOWN, Op, Path};
use pipeit_rt::model::{Layer, Model, ModelError, ModelTables, Port, Tensor, TensorId};
use pipeit_rt::weights::Weights;

use crate::artefact::AlignedBytes;
use crate::graph::OpRef;

/// What [`lower`](crate::lower::lower) makes of a graph: one set of parameters, for
/// [`Path::Reference`]; [`pack`](crate::pack::pack) adds those for others.
#[derive(Clone, Debug)]
pub struct Network {
    /// Bytes of each storage.
    pub storages: Vec<u32>,
    /// Views on the storages.
    pub tensors: Vec<Tensor>,
    /// In execution order.
    pub layers: Vec<Layer>,
    /// Parameters of each layer.
    pub ops: Vec<Op>,
    /// What a frame brings.
    pub inputs: Vec<Port>,
    /// What a frame yields.
    pub outputs: Vec<Port>,
    /// What every path reads, and the filters as [`Path::Reference`] has them. Every span
    /// starts at a multiple of 64 bytes; the bytes between are zero.
    pub sections: [AlignedBytes; 2],
    /// The operator of the file each layer came from.
    pub info: Vec<OpRef>,
    /// The operators of the file that no layer computes.
    pub folded: Vec<Folded>,
    /// The tensors of the file.
    pub file_tensors: Vec<FileTensor>,
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTensor {
    /// Its name; need not be unique.
    pub name: String,
    /// Where its content is at run time; `None` for constants that are weights and for what
    /// was folded away.
    pub content: Option<TensorId>,
}

/// An operator of the file without a layer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The operator.
    pub op: OpRef,
    /// What became of it.
    pub into: String,
}

impl Network {
    /// The tables as the runtime takes them.
    #[must_use]
    pub fn model(&self) -> ModelTables<'_> {
        self.with(&[Path::Reference], &self.ops, &self.sections)
    }

    /// The same network with the parameters `ops` for `paths`.
    pub(crate) fn with<'a>(
        &'a self,
        paths: &'a [Path],
        ops: &'a [Op],
        sections: &'a [AlignedBytes],
    ) -> ModelTables<'a> {
        let mut weights = Weights::default();
        for section in sections {
            // Never refused: they are aligned, and no more than there are paths and one.
            let _ = weights.push(section);
        }
        ModelTables {
            storages: &self.storages,
            tensors: &self.tensors,
            layers: &self.layers,
            paths,
            ops,
            inputs: &self.inputs,
            outputs: &self.outputs,
            weights,
        }
    }

    /// The network as the runtime executes it.
    ///
    /// # Errors
    ///
    /// None when the tables are those that [`lower`](crate::lower::lower) made.
    pub fn check(&self) -> Result<Model<'_>, ModelError> {
        Model::new(self.model(), KNOWN, &mut vec![false; self.storages.len()])
    }
}
