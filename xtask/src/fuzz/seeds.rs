//! What fuzzing starts from: the tests' networks of one operator, artefacts of them, and small
//! arrays and pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Target;
use crate::command::{capture, stream};
use crate::workspace::Workspace;

/// Folders with files to start from.
const FOLDERS: &[&str] =
    &["tool/tests/data", "tool/tests/hostile/data", "tool/data/digits", "tests/data", "fuzz/seeds"];

/// The first byte of inputs of [`Target::Arrays`], by what the rest is.
const KINDS: &[(&str, u8)] = &[("npy", 0), ("npz", 1), ("png", 2), ("jpg", 3), ("bmp", 4)];

/// What artefacts are packed for: one path each.
const PATHS: &[&str] = &["reference", "neon", "dotprod", "i8mm", "avx2", "avx512vnni", "amx"];

/// Makes the seeds of `target` in the folder `dir`.
pub(super) fn make(workspace: &Workspace, target: Target, dir: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&workspace.root().join(folder), &mut files)?;
    }
    if target == Target::Artefact {
        stream(workspace.cargo().args(["build", "--quiet", "--package", "pipeit-tool"]))?;
    }
    for (index, file) in files.iter().enumerate() {
        let extension = file.extension().unwrap_or_default().to_string_lossy();
        let seed = dir.join(index.to_string());
        match (target, &*extension) {
            (Target::Artefact, "tflite") => {
                let mut import = workspace.command(workspace.target_dir().join("debug/pipeit"));
                import.arg("import").arg(file).arg("-o").arg(&seed);
                // Some are there to be refused.
                let _ = capture(import.args(["--path", PATHS[index % PATHS.len()]]));
            }
            (Target::Artefact, "pipeit") | (Target::Tflite, "tflite") => {
                fs::copy(file, &seed).with_context(|| file.display().to_string())?;
            }
            (Target::Arrays, _) => {
                let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == extension) else {
                    continue;
                };
                let bytes = fs::read(file).with_context(|| file.display().to_string())?;
                let bytes = [&[*kind], &bytes[..]].concat();
                fs::write(&seed, bytes).with_context(|| seed.display().to_string())?;
            }
            _ => {}
        }
        // A seed that is cut off is of little use.
        if fs::metadata(&seed).is_ok_and(|seed| seed.len() > target.max_bytes()) {
            fs::remove_file(&seed).with_context(|| seed.display().to_string())?;
        }
    }
    Ok(())
}

/// All files below `folder`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
