//! Firmware: builds it and looks into the ELF file.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol};

use super::board::Board;
use crate::command::stream;
use crate::toolchain::BARE_TARGET;
use crate::workspace::Workspace;

/// A firmware that was built.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    elf: Vec<u8>,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a> {
    /// Cargo profile: `fast`, or `release` for a small one.
    pub(crate) profile: &'a str,
    /// Cargo features.
    pub(crate) features: &'a [&'a str],
    /// Artefact to link in.
    pub(crate) artefact: Option<&'a Path>,
    /// A package to build instead of the board's own.
    pub(crate) package: Option<&'a str>,
    /// An example to build instead of the package's program.
    pub(crate) example: Option<&'a str>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { profile: "fast", features: &[], artefact: None, package: None, example: None }
    }
}

/// Longest time for a build, in seconds.
const LIMIT_S: u32 = 600;

impl Image {
    /// Builds the firmware of `board`. Each set of options has its own copy of the file.
    pub(crate) fn build(
        workspace: &Workspace,
        board: &Board,
        options: Options<'_>,
    ) -> Result<Self> {
        let Options { profile, features, artefact, package, example } = options;
        let package = package.unwrap_or(&board.name);
        let target_dir = workspace.target_dir().join("boards");
        let mut cargo = workspace.limited_cargo(LIMIT_S);
        // Where cargo finds the target to build for.
        cargo.current_dir(workspace.boards());
        // Panics name source files: an image is the same wherever the checkout is.
        let mut flags = OsString::from("--remap-path-prefix=");
        flags.push(workspace.root().join(""));
        flags.push("=");
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
        cargo.args(["build", "--quiet", "--package", package, "--profile", profile]);
        cargo.arg("--target-dir").arg(&target_dir);
        if !features.is_empty() {
            cargo.arg("--features").arg(features.join(","));
        }
        if let Some(example) = example {
            cargo.args(["--example", example]);
        }
        match artefact {
            Some(path) => cargo.env("PIPEIT_ARTEFACT", path),
            None => cargo.env_remove("PIPEIT_ARTEFACT"),
        };
        if features.contains(&"defmt") {
            cargo.env("DEFMT_LOG", "debug");
        }
        stream(&mut cargo)?;
        let folder = target_dir.join(BARE_TARGET).join(profile);
        let built = match example {
            Some(example) => folder.join("examples").join(example),
            None => folder.join(package),
        };
        let kind = if artefact.is_some() { "linked" } else { "loaded" };
        let mut name = vec![example.unwrap_or(package), profile, kind];
        name.extend(features);
        let path = workspace.bare_metal_dir()?.join(format!("{}.elf", name.join("-")));
        fs::copy(&built, &path).with_context(|| built.display().to_string())?;
        Self::read(path)
    }

    /// A firmware that someone else has built.
    pub(crate) fn read(path: PathBuf) -> Result<Self> {
        let elf = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, elf })
    }

    /// The ELF file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> Result<object::File<'_>> {
        object::File::parse(self.elf.as_slice()).with_context(|| self.path.display().to_string())
    }

    /// The address of a symbol.
    pub(crate) fn address(&self, symbol: &str) -> Result<u64> {
        let file = self.file()?;
        let found = file.symbol_by_name(symbol);
        Ok(found.with_context(|| format!("{}: no {symbol}", self.path.display()))?.address())
    }

    /// Bytes of a section; 0 when there is none of that name.
    pub(crate) fn section_bytes(&self, name: &str) -> Result<u64> {
        Ok(self.file()?.section_by_name(name).map_or(0, |section| section.size()))
    }

    /// Names of all symbols, as the compiler has written them.
    pub(crate) fn symbols(&self) -> Result<Vec<String>> {
        let file = self.file()?;
        Ok(file.symbols().filter_map(|symbol| Some(symbol.name().ok()?.to_owned())).collect())
    }
}
