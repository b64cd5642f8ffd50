//! From a TensorFlow Lite file to a [`Graph`].
//!
//! The file is not trusted: whatever its bytes, the result is a graph or an
//! [`ImportError`] that names the culprit, and the work is bounded by the file's length.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

mod options;
pub mod schema;
mod tensors;

use planus::ReadAsRoot;
use thiserror::Error;

use crate::graph::{Graph, GraphError, MAX_OPS, Op, OpRef, TensorIndex, at_most};
use schema::{BuiltinOperator, ModelRef, OperatorCodeRef, OperatorRef, SubGraphRef};
use tensors::Tensors;

/// The names of TFLite's operators, in the order of their codes from 0.
static OPERATORS: &[&str] = &include!(concat!(env!("OUT_DIR"), "/operators.rs"));

/// Why a file was not imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file identifier `TFL3` is missing.
    #[error("not a TensorFlow Lite file: no identifier TFL3 in bytes 4 to 7")]
    NotTflite,
    /// The file is cut off or damaged.
    #[error("the file is cut off or damaged: {0}")]
    Corrupt(#[from] planus::Error),
    /// A table lacks something it must have.
    #[error("the file is damaged: no {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Names, lists and constants refer to the same bytes over and over.
    #[error("the file is damaged: its parts overlap")]
    Overlapping,
    /// Another version of the file format than 3.
    #[error("schema version {found}, want 3")]
    Version {
        /// Version found.
        found: u32,
    },
    /// Not exactly one subgraph.
    #[error("{found} subgraphs, want 1 (control flow is not supported)")]
    Subgraphs {
        /// Subgraphs found.
        found: usize,
    },
    /// No activation is quantised.
    #[error(
        "a float network: `{tensor}` and all other activations are unquantised; quantise it \
         to int8 first (full-integer post-training quantisation)"
    )]
    Float {
        /// Name of one of the activations.
        tensor: String,
    },
    /// An extent other than the batch is not fixed.
    #[error("tensor `{tensor}` has the dynamic shape {shape:?}; fix its extents first")]
    Dynamic {
        /// Name of the tensor.
        tensor: String,
        /// The shape the file states; -1 is unknown.
        shape: Vec<i32>,
    },
    /// More than one image per inference.
    #[error("tensor `{tensor}` has batch {batch}, want 1")]
    Batch {
        /// Name of the tensor.
        tensor: String,
        /// Images per inference.
        batch: u32,
    },
    /// Operators that cannot be imported: all of them.
    #[error("unsupported operators: {}", list(ops))]
    Unsupported {
        /// The operators.
        ops: Vec<OpRef>,
    },
    /// A supported operator in a variant that is not.
    #[error("{op}: {reason}")]
    Variant {
        /// The operator.
        op: OpRef,
        /// What is not supported.
        reason: String,
    },
    /// A tensor of a kind that is not supported.
    #[error("tensor `{tensor}`: {reason}")]
    Tensor {
        /// Name of the tensor.
        tensor: String,
        /// What is not supported.
        reason: &'static str,
    },
    /// A tensor's data lies outside the file, or there is no such buffer.
    #[error("tensor `{tensor}`: buffer {buffer} is not in the file")]
    Buffer {
        /// Name of the tensor.
        tensor: String,
        /// Number of the buffer.
        buffer: u32,
    },
    /// Tensors and operators do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

fn list(ops: &[OpRef]) -> String {
    ops.iter().map(OpRef::to_string).collect::<Vec<_>>().join(", ")
}

/// Copies from the file that are still allowed, in bytes.
///
/// Parts of a file may lawfully be shared, but a small hostile file could refer to the same
/// part so often that copies of it fill the memory.
struct Budget(usize);

impl Budget {
    fn charge(&mut self, bytes: usize) -> Result<(), ImportError> {
        self.0 = self.0.checked_sub(bytes).ok_or(ImportError::Overlapping)?;
        Ok(())
    }
}

/// Reads a TensorFlow Lite file.
///
/// # Errors
///
/// The file is damaged, or holds a network that the runtime cannot execute.
pub fn tflite(bytes: &[u8]) -> Result<Graph, ImportError> {
    if bytes.get(4..8) != Some(&schema::IDENTIFIER) {
        return Err(ImportError::NotTflite);
    }
    let model = ModelRef::read_as_root(bytes)?;
    match model.version()? {
        3 => {}
        found => return Err(ImportError::Version { found }),
    }
    let subgraphs = model.subgraphs()?.ok_or(ImportError::Missing { what: "subgraphs" })?;
    let subgraph = match (subgraphs.get(0), subgraphs.len()) {
        (Some(subgraph), 1) => subgraph?,
        (_, found) => return Err(ImportError::Subgraphs { found }),
    };
    let mut budget = Budget(bytes.len().saturating_mul(4));
    let tensors = Tensors::read(subgraph, &mut budget)?;
    let ops = read_ops(model, subgraph, &tensors, &mut budget)?;
    let inputs = indices(subgraph.inputs()?, &tensors, &mut budget, "the network's input")?;
    let outputs = indices(subgraph.outputs()?, &tensors, &mut budget, "the network's output")?;

    // What a user should hear first is said first: float, then unsupported, then details.
    let mut used = vec![false; tensors.len()];
    let ends = inputs.iter().chain(&outputs);
    let inside = ops.iter().flat_map(|op| op.inputs.iter().flatten().chain(&op.outputs));
    for index in ends.chain(inside) {
        used.get_mut(index.0).into_iter().for_each(|used| *used = true);
    }
    tensors.check_quantized(&used, model, bytes)?;
    let mut known = Vec::with_capacity(ops.len());
    let mut unsupported = Vec::new();
    for op in ops {
        match options::kind(op.code, op.table, &op.name)? {
            Some(kind) => known.push(Op {
                kind,
                inputs: op.inputs,
                outputs: op.outputs,
                index: op.name.index,
            }),
            None => unsupported.push(op.name),
        }
    }
    if !unsupported.is_empty() {
        return Err(ImportError::Unsupported { ops: unsupported });
    }
    let tensors = tensors.finish(&used, model, bytes, &mut budget)?;
    let graph = Graph { tensors, ops: known, inputs, outputs };
    graph.check()?;
    Ok(graph)
}

/// An operator whose options are yet unread.
struct RawOp<'a> {
    /// `None` when the schema does not know the code.
    code: Option<BuiltinOperator>,
    table: OperatorRef<'a>,
    inputs: Vec<Option<TensorIndex>>,
    outputs: Vec<TensorIndex>,
    name: OpRef,
}

fn read_ops<'a>(
    model: ModelRef<'a>,
    subgraph: SubGraphRef<'a>,
    tensors: &Tensors<'a>,
    budget: &mut Budget,
) -> Result<Vec<RawOp<'a>>, ImportError> {
    let codes = model.operator_codes()?.ok_or(ImportError::Missing { what: "operator codes" })?;
    let operators = subgraph.operators()?.ok_or(ImportError::Missing { what: "operators" })?;
    at_most("operators", operators.len(), MAX_OPS)?;
    let mut ops = Vec::new();
    for (index, table) in operators.iter().enumerate() {
        let table = table?;
        let code = usize::try_from(table.opcode_index()?).ok().and_then(|i| codes.get(i));
        let (code, name) = operator(code.ok_or(ImportError::Missing { what: "operator code" })??)?;
        let mut name = OpRef { index, name, output: "".into() };
        let outputs = indices(table.outputs()?, tensors, budget, &name.name)?;
        if let Some(&output) = outputs.first() {
            name.output = tensors.name(output).into();
        }
        budget.charge(name.name.len().saturating_add(name.output.len()))?;
        let mut inputs = Vec::new();
        for raw in table.inputs()?.into_iter().flatten() {
            budget.charge(4)?;
            // TFLite's mark of an optional input that is left out.
            inputs.push(if raw == -1 { None } else { Some(tensors.index(raw, &name.name)?) });
        }
        ops.push(RawOp { code, table, inputs, outputs, name });
    }
    Ok(ops)
}

/// The operator's code and name. Old files have the code in another field than new ones.
fn operator(table: OperatorCodeRef<'_>) -> Result<(Option<BuiltinOperator>, String), ImportError> {
    let old = i32::from(table.deprecated_builtin_code()?);
    let new = match table.builtin_code() {
        Ok(code) => i32::from(code),
        Err(error) => match error.error_kind {
            planus::errors::ErrorKind::UnknownEnumTag { source } => {
                return Ok((None, format!("operator code {}", source.tag)));
            }
            _ => return Err(error.into()),
        },
    };
    let code = old.max(new);
    let name = usize::try_from(code).ok().and_then(|code| OPERATORS.get(code));
    let name = match name {
        Some(&"CUSTOM") => {
            // A name in a message, not the longest string an attacker can think of.
            let custom = table.custom_code()?.unwrap_or_default();
            format!("CUSTOM {}", custom.chars().take(64).collect::<String>())
        }
        Some(&name) => name.to_owned(),
        None => format!("operator code {code}"),
    };
    Ok((BuiltinOperator::try_from(code).ok(), name))
}

fn indices(
    list: Option<planus::Vector<'_, i32>>,
    tensors: &Tensors<'_>,
    budget: &mut Budget,
    user: &str,
) -> Result<Vec<TensorIndex>, ImportError> {
    let mut indices = Vec::new();
    for raw in list.into_iter().flatten() {
        budget.charge(4)?;
        indices.push(tensors.index(raw, user)?);
    }
    Ok(indices)
}
