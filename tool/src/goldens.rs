//! Golden vectors in a folder: inputs with the outputs of TFLite's reference kernels.
//!
//! Frame `K` is `in_K.npy` and `ref_K.npy`, or `in_K_J.npy` and `ref_K_J.npy` for input and
//! output `J`. `intermediate_ref_0.npz` may hold the other tensors of frame 0, named
//! `t<tensor>_op<operator>_<NAME>`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use pipeit_rt::model::{Model, Port};
use zip::ZipArchive;

use crate::arrays::{Array, ArrayError, ArrayReason};

/// Most bytes of all arrays in an archive, which is packed and may hide any number of them.
const MAX_ARCHIVE_BYTES: u64 = 32 << 20;

/// A frame with its expected outputs, in the runtime's codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// The number in its file names.
    pub number: u32,
    /// One per input of the network.
    pub inputs: Vec<Vec<i8>>,
    /// One per output of the network.
    pub outputs: Vec<Vec<i8>>,
}

/// The expected content of a tensor inside the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Intermediate {
    /// Name in the archive.
    pub key: String,
    /// Index of the tensor in the network's file.
    pub tensor: usize,
    /// Index of the operator that writes it.
    pub operator: usize,
    /// TFLite's name of that operator.
    pub name: String,
    /// The content.
    pub array: Array,
}

/// Why golden vectors could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// The folder could not be read.
    #[error("{}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder has no golden vectors.
    #[error("{}: no golden vectors (in_0.npy, ref_0.npy, ...)", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// An array could not be used.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// There is no file of intermediate tensors.
    #[error("{}: not found; it holds the tensors inside the network, for frame 0", path.display())]
    NoIntermediates {
        /// Where it would be.
        path: PathBuf,
    },
    /// An intermediate tensor is not as the network has it.
    #[error("intermediate tensor {key}")]
    Intermediate {
        /// Its name in the archive.
        key: String,
        /// Why.
        source: ArrayReason,
    },
    /// The file of intermediate tensors could not be read.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The golden vectors of `model` in `folder`, by number.
///
/// # Errors
///
/// There are none, or one does not fit the network.
pub fn read(folder: &Path, model: &Model<'_>) -> Result<Vec<Golden>, GoldenError> {
    let error = |source| GoldenError::Folder { path: folder.to_owned(), source };
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        numbers.extend(name.to_str().and_then(number));
    }
    if numbers.is_empty() {
        return Err(GoldenError::Empty { path: folder.to_owned() });
    }
    let golden = |number| {
        let read = |kind, ports: &[Port]| -> Result<Vec<_>, GoldenError> {
            let ports = ports.iter().enumerate();
            ports.map(|(j, port)| read_port(folder, kind, number, j, port, model)).collect()
        };
        let (inputs, outputs) = (read("in", model.inputs)?, read("ref", model.outputs)?);
        Ok(Golden { number, inputs, outputs })
    };
    numbers.into_iter().map(golden).collect()
}

/// The K of `in_K.npy` or `in_K_J.npy`.
fn number(name: &str) -> Option<u32> {
    let numbers = name.strip_prefix("in_")?.strip_suffix(".npy")?;
    let (k, j) = numbers.split_once('_').unwrap_or((numbers, "0"));
    j.parse::<u32>().ok()?;
    k.parse().ok()
}

fn read_port(
    folder: &Path,
    kind: &str,
    number: u32,
    index: usize,
    port: &Port,
    model: &Model<'_>,
) -> Result<Vec<i8>, GoldenError> {
    let mut path = folder.join(format!("{kind}_{number}_{index}.npy"));
    if index == 0 && !path.exists() {
        path = folder.join(format!("{kind}_{number}.npy"));
    }
    let array = Array::load(&path)?;
    let codes = match model.tensor(port.tensor) {
        Some(tensor) => array.one(port, &tensor.shape).map_err(|reason| reason.of(&path))?,
        None => Vec::new(),
    };
    Ok(codes)
}

/// The intermediate tensors of frame 0, in the order of the operators that write them.
///
/// # Errors
///
/// [`GoldenError::NoIntermediates`], or the file is there and cannot be read.
pub fn read_intermediates(folder: &Path) -> Result<Vec<Intermediate>, GoldenError> {
    let path = folder.join("intermediate_ref_0.npz");
    let error = |reason| GoldenError::Archive { path: path.clone(), reason };
    let file = File::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => GoldenError::NoIntermediates { path: path.clone() },
        _ => error(e.to_string()),
    })?;
    intermediates(BufReader::new(file)).map_err(error)
}

/// The arrays of an `.npz` archive of intermediate tensors, in the order of the operators that
/// write them.
///
/// # Errors
///
/// What is wrong with it.
pub fn intermediates(archive: impl Read + Seek) -> Result<Vec<Intermediate>, String> {
    let mut archive = ZipArchive::new(archive).map_err(|e| e.to_string())?;
    let mut intermediates = Vec::new();
    let mut left = MAX_ARCHIVE_BYTES;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| e.to_string())?;
        let key = entry.name().map_err(|e| e.to_string())?;
        let key = key.trim_end_matches(".npy").to_owned();
        // What the entry says of its size need not be true.
        let mut bytes = Vec::new();
        let read = entry.take(left.saturating_add(1)).read_to_end(&mut bytes);
        let read = read.map_err(|e| format!("{key}: {e}"))? as u64;
        let too_many = || format!("more than {MAX_ARCHIVE_BYTES} bytes of arrays");
        left = left.checked_sub(read).ok_or_else(too_many)?;
        let array =
            Array::read(&bytes).map_err(|reason: ArrayReason| format!("{key}: {reason}"))?;
        let (tensor, operator, name) =
            parts(&key).ok_or_else(|| format!("{key} names no tensor and operator"))?;
        intermediates.push(Intermediate { key, tensor, operator, name, array });
    }
    intermediates.sort_by_key(|intermediate| (intermediate.operator, intermediate.tensor));
    Ok(intermediates)
}

/// Tensor, operator and its name of `t<tensor>_op<operator>_<NAME>`.
fn parts(key: &str) -> Option<(usize, usize, String)> {
    let (tensor, writer) = key.strip_prefix('t')?.split_once("_op")?;
    let (operator, name) = writer.split_once('_')?;
    Some((tensor.parse().ok()?, operator.parse().ok()?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_file_names() {
        let names = ["in_3.npy", "in_12_1.npy", "in_a.npy", "ref_0.npy", "in_1.txt", "in_1_.npy"];
        assert_eq!(names.map(number), [Some(3), Some(12), None, None, None, None]);
    }

    #[test]
    fn parts_of_keys() {
        assert_eq!(parts("t022_op07_CONV_2D"), Some((22, 7, "CONV_2D".to_owned())));
        assert_eq!(
            ["t1_CONV_2D", "op1_ADD", "t1_opX_ADD", "t_op1_ADD"].map(parts),
            [const { None }; 4]
        );
    }
}
