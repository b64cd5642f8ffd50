//! `pipeit diff`: where the network's tensors differ from golden ones, and where first.

use std::io::Write;
use std::path::PathBuf;

use pipeit_rt::kernels::Path;
use pipeit_rt::tensor::Shape;
use serde_json::{Value, json};

use super::{CommandError, progress};
use crate::artefact;
use crate::differences::{self, Compared, Difference, Writer};
use crate::goldens::{self, GoldenError};
use crate::load::load;
use crate::report::{grouped, table};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Folder of in_K.npy and ref_K.npy, or in_K_J.npy and ref_K_J.npy
    #[arg(long, value_name = "DIR")]
    pub goldens: PathBuf,
    /// Compare all tensors of frame 0 with intermediate_ref_0.npz, layer by layer
    #[arg(long)]
    pub layers: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Why a network differs from its golden vectors, or could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The golden vectors could not be read.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// Only the original file tells which tensor is which.
    #[error("{}: --layers needs the .tflite file, which names the tensors", path.display())]
    NoOrigin {
        /// The artefact.
        path: PathBuf,
    },
    /// There are tensors inside the network to compare, but not the frame they are of.
    #[error("{}: --layers needs frame 0 (in_0.npy, ref_0.npy)", folder.display())]
    NoFrame {
        /// The folder of golden vectors.
        folder: PathBuf,
    },
    /// Elements differ.
    #[error(
        "the first difference is in frame {frame}, {writer}, tensor `{tensor}`, index {index} \
         {coordinates:?}: expected {expected}, found {found}"
    )]
    Differs {
        /// Number of the frame.
        frame: u32,
        /// What writes the tensor.
        writer: Writer,
        /// Its name.
        tensor: String,
        /// Index of the first element that differs.
        index: usize,
        /// The same along each axis.
        coordinates: Vec<usize>,
        /// The code expected.
        expected: i16,
        /// The code found.
        found: i16,
    },
}

/// Runs the command.
///
/// # Errors
///
/// An element differs; the network or the golden vectors cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let loaded = load(&args.model, &[Path::Reference.into()])?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let model = artefact::open(&loaded.bytes, &mut tables)?.model;
    let file_tensors = loaded.origin.map(|origin| origin.file_tensors);
    let golden = goldens::read(&args.goldens, model).map_err(DiffError::from)?;
    let intermediates = match (args.layers, &file_tensors) {
        (false, _) => Vec::new(),
        (true, None) => return Err(DiffError::NoOrigin { path: args.model.clone() }.into()),
        (true, Some(_)) if golden.iter().all(|golden| golden.number != 0) => {
            return Err(DiffError::NoFrame { folder: args.goldens.clone() }.into());
        }
        (true, Some(_)) => goldens::read_intermediates(&args.goldens).map_err(DiffError::from)?,
    };
    let (mut compared, mut folded) = (Vec::new(), Vec::new());
    let bar = progress(golden.len(), "comparing");
    for golden in &golden {
        let inside = if golden.number == 0 { intermediates.as_slice() } else { &[] };
        let file_tensors = file_tensors.as_deref().unwrap_or_default();
        let frame = differences::of_frame(model, file_tensors, golden, inside);
        let frame = frame.map_err(DiffError::from)?;
        compared.extend(frame.compared);
        folded.extend(frame.folded);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.json {
        let tensors: Vec<_> = compared.iter().map(row_json).collect();
        writeln!(out, "{}", json!({ "tensors": tensors, "folded": folded }))?;
    } else {
        print(&compared, &folded, out)?;
    }
    compared.iter().find_map(differs).map_or(Ok(()), |error| Err(error.into()))
}

fn print(compared: &[Compared], folded: &[String], out: &mut dyn Write) -> std::io::Result<()> {
    let mut rows =
        table(&[">frame", "operator", "tensor", "shape", ">differ", ">by at most", ">first"]);
    for Compared { frame, writer, tensor, shape, difference } in compared {
        let number = |of: fn(&Difference) -> usize| {
            difference.as_ref().map(|found| grouped(of(found) as u64)).unwrap_or_default()
        };
        rows.add_row([
            frame.to_string(),
            match writer {
                Writer::Operator { index, name } => format!("{index} {name}"),
                Writer::Output(_) => writer.to_string(),
            },
            short(tensor),
            shape.to_string(),
            difference.map_or_else(|| "-".to_owned(), |found| grouped(found.count as u64)),
            number(|found| found.largest.into()),
            number(|found| found.index),
        ]);
    }
    writeln!(out, "{rows}")?;
    if !folded.is_empty() {
        writeln!(out, "not computed, because folded away: {}", folded.join(", "))?;
    }
    let differing = compared.iter().filter(|compared| compared.difference.is_some()).count();
    let of = compared.len();
    match differing {
        0 => writeln!(out, "{of} tensors: every byte equal"),
        _ => writeln!(out, "{differing} of {of} tensors differ"),
    }
}

/// A name without those of all the other operators that a converter fused into this one.
fn short(tensor: &str) -> String {
    match tensor.split_once(';') {
        Some((first, _)) => format!("{first};…"),
        None => tensor.to_owned(),
    }
}

fn row_json(compared: &Compared) -> Value {
    let Compared { frame, writer, tensor, shape, difference } = compared;
    let (operator, name, output) = match writer {
        Writer::Operator { index, name } => (Some(index), Some(name), None),
        Writer::Output(index) => (None, None, Some(index)),
    };
    json!({
        "frame": frame,
        "operator": operator,
        "name": name,
        "output": output,
        "tensor": tensor,
        "shape": shape.to_string(),
        "elements": shape.elements(),
        "differing": difference.map_or(0, |found| found.count),
        "largest": difference.map_or(0, |found| found.largest),
        "first": difference.map(|found| {
            json!({ "index": found.index, "expected": found.expected, "found": found.found })
        }),
    })
}

fn differs(compared: &Compared) -> Option<DiffError> {
    let Compared { frame, ref writer, ref tensor, ref shape, difference } = *compared;
    let Difference { index, expected, found, .. } = difference?;
    let (writer, tensor) = (writer.clone(), tensor.clone());
    let coordinates = coordinates(index, shape);
    Some(DiffError::Differs { frame, writer, tensor, index, coordinates, expected, found })
}

/// Where the element `index` lies along each axis of `shape`.
fn coordinates(mut index: usize, shape: &Shape) -> Vec<usize> {
    let mut coordinates = Vec::new();
    for &extent in shape.dims().iter().rev() {
        coordinates.push(index % extent as usize);
        index /= extent as usize;
    }
    coordinates.reverse();
    coordinates
}
