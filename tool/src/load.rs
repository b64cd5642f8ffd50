//! A file named on the command line, as an artefact in memory.

use std::path::{Path, PathBuf};
use std::{fs, io};

use pipeit_rt::artefact::{ArtefactError, MAGIC};

use crate::artefact::{self, AlignedBytes, WriteError};
use crate::graph::OpRef;
use crate::import::{self, ImportError};
use crate::lower::{self, LowerError};
use crate::network::{FileTensor, Folded, Network};
use crate::pack::{PackTarget, pack};

/// A network read from a file.
#[derive(Debug)]
pub struct Loaded {
    /// The artefact. One made of a network on the fly has no plans and no goldens.
    pub bytes: AlignedBytes,
    /// What only the original file tells.
    pub origin: Option<Origin>,
}

/// What the original file of a network tells and the artefact does not.
#[derive(Debug)]
pub struct Origin {
    /// The operator each layer came from.
    pub info: Vec<OpRef>,
    /// The operators that no layer computes.
    pub folded: Vec<Folded>,
    /// The tensors of the file.
    pub file_tensors: Vec<FileTensor>,
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: Box<LoadReason>,
}

/// See [`LoadError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadReason {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is no file of a kind known here.
    #[error("neither a TensorFlow Lite network nor a pipeit artefact")]
    Unknown,
    /// The network was not imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The network cannot be executed.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// It could not be made an artefact.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The artefact is refused.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
}

/// Reads a network, and packs it for `targets`, or an artefact, which is packed already; which of
/// them it is, its first bytes say.
///
/// # Errors
///
/// [`LoadError`], which names the file.
pub fn load(file: &Path, targets: &[PackTarget]) -> Result<Loaded, LoadError> {
    let bytes = fs::read(file).map_err(LoadReason::from);
    bytes
        .and_then(|bytes| from_bytes(&bytes, file.extension().and_then(|e| e.to_str()), targets))
        .map_err(|reason| LoadError { path: file.to_owned(), reason: Box::new(reason) })
}

/// As [`load`]; `extension` decides when the bytes do not.
///
/// # Errors
///
/// [`LoadReason`].
pub fn from_bytes(
    bytes: &[u8],
    extension: Option<&str>,
    targets: &[PackTarget],
) -> Result<Loaded, LoadReason> {
    if bytes.get(4..8) == Some(b"TFL3") || extension == Some("tflite") {
        let network = lower::lower(&import::tflite(bytes)?)?;
        let bytes = artefact::write(&pack(&network, targets)?.model(), &[], &[])?;
        let Network { info, folded, file_tensors, .. } = network;
        Ok(Loaded { bytes, origin: Some(Origin { info, folded, file_tensors }) })
    } else if bytes.starts_with(&MAGIC) || extension == Some("pipeit") {
        let bytes = artefact::aligned(&[bytes]);
        artefact::open(&bytes, &mut artefact::tables(&bytes)?)?;
        Ok(Loaded { bytes, origin: None })
    } else {
        Err(LoadReason::Unknown)
    }
}
