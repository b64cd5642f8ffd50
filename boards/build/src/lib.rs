//! What the build scripts of boards share.
//!
//! [`board`] turns `board.toml` into the constants `NAME`, `CLUSTERS`, `AFFINITIES` and
//! `BOOT_CORE` of `board.rs`. [`program`] has programs linked by `linker/<board>.ld`, and writes
//! `network.rs` for them to include: where an artefact is linked in, the constant `NETWORK` are
//! its bytes; `KERNELS` and `OPERATORS` are what it needs, or all.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::{env, fs};

use aligned_vec::{AVec, ConstAlign};
use pipeit_rt::Artefact;
use pipeit_rt::artefact::Header;
use pipeit_rt::kernels::{Op, Path as KernelPath};
use pipeit_rt::region::Region;
use pipeit_rt::weights::ALIGNMENT;
use serde::Deserialize;

/// The part of `board.toml` that a firmware is built from.
#[derive(Deserialize)]
struct Description {
    name: String,
    #[serde(default)]
    boot_core: usize,
    clusters: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    /// The affinity fields of `MPIDR_EL1`, per core.
    affinities: Vec<u64>,
}

/// The variable that names the artefact to link in.
const ARTEFACT: &str = "PIPEIT_ARTEFACT";

/// Does what the build script of a board has to do: of its library and its own programs, which
/// have the artefact linked in that the variable `PIPEIT_ARTEFACT` names, if any.
///
/// # Errors
///
/// A file cannot be used; the message names it.
pub fn board() -> Result<(), Box<dyn Error>> {
    let file = package()?.join("board.toml");
    println!("cargo:rerun-if-changed={}", file.display());
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let board: Description =
        toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    fs::write(out()?.join("board.rs"), constants(&board)?)?;
    println!("cargo:rerun-if-env-changed={ARTEFACT}");
    program(&board.name, env::var_os(ARTEFACT).map(PathBuf::from).as_deref())
}

/// Does what the build script of a program for `board` has to do, which has `artefact` linked in.
///
/// # Errors
///
/// A file cannot be used; the message names it.
pub fn program(board: &str, artefact: Option<&Path>) -> Result<(), Box<dyn Error>> {
    fs::write(out()?.join("network.rs"), network(artefact)?)?;
    link(&package()?, board)
}

fn package() -> Result<PathBuf, env::VarError> {
    env::var("CARGO_MANIFEST_DIR").map(PathBuf::from)
}

fn out() -> Result<PathBuf, env::VarError> {
    env::var("OUT_DIR").map(PathBuf::from)
}

fn constants(board: &Description) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    let affinities: Vec<u64> = board.clusters.iter().flat_map(|c| c.affinities.clone()).collect();
    writeln!(code, "const NAME: &str = {:?};", board.name)?;
    writeln!(code, "const BOOT_CORE: usize = {};", board.boot_core)?;
    writeln!(code, "const AFFINITIES: &[u64] = &{affinities:?};")?;
    writeln!(code, "const CLUSTERS: &[pipeit_board::Cluster] = &[")?;
    for Cluster { name, affinities } in &board.clusters {
        let cores = affinities.len();
        writeln!(code, "    pipeit_board::Cluster {{ name: {name:?}, cores: {cores} }},")?;
    }
    writeln!(code, "];")?;
    Ok(code)
}

/// The kernels, and the artefact as data of its own section if there is one.
fn network(artefact: Option<&Path>) -> Result<String, Box<dyn Error>> {
    let Some(path) = artefact else {
        // Whatever is loaded later may be packed for any path.
        return Ok(constants_of("pipeit_rt::kernels::ALL", "pipeit_rt::kernels::KNOWN"));
    };
    let path = fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("cargo:rerun-if-changed={}", path.display());
    let bytes = fs::read(&path)?;
    let mut code = tables(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    let len = bytes.len();
    writeln!(
        code,
        "#[repr(C, align(64))]\n\
         struct Linked([u8; {len}]);\n\
         #[used]\n\
         #[unsafe(link_section = \".artefact\")]\n\
         static LINKED: Linked = Linked(*include_bytes!({path:?}));\n\
         #[allow(dead_code, reason = \"not all programs need it by name\")]\n\
         const NETWORK: &[u8] = &LINKED.0;"
    )?;
    Ok(code)
}

fn constants_of(kernels: &str, operators: &str) -> String {
    format!(
        "const KERNELS: &[&pipeit_rt::kernels::KernelTable] = {kernels};\n\
         const OPERATORS: &[pipeit_rt::kernels::Known] = {operators};\n"
    )
}

/// The kernel tables of the paths an artefact is packed for and the operators, of each those that
/// it needs only.
fn tables(bytes: &[u8]) -> Result<String, Box<dyn Error>> {
    let bytes = AVec::<u8, ConstAlign<ALIGNMENT>>::from_slice(ALIGNMENT, bytes);
    let mut tables = vec![MaybeUninit::uninit(); Header::read(&bytes)?.table_bytes()];
    let model = Artefact::open(&bytes, &mut Region::new(&mut tables))?.model;
    let mut code = String::new();
    let mut names = Vec::new();
    for (&path, ops) in model.paths.iter().zip(model.ops.chunks(model.layers.len())) {
        let (name, all) = (path.name().to_uppercase(), all_kernels(path));
        writeln!(code, "static {name}: pipeit_rt::kernels::KernelTable =")?;
        writeln!(code, "    pipeit_rt::kernels::KernelTable {{")?;
        for field in ops.iter().map(Op::field).collect::<BTreeSet<_>>() {
            writeln!(code, "        {field}: {all}.{field},")?;
        }
        let empty = "pipeit_rt::kernels::KernelTable::empty";
        writeln!(code, "        ..{empty}({all}.path, {all}.supported)\n    }};")?;
        names.push(format!("&{name}"));
    }
    let operators: BTreeSet<_> = model.ops.iter().map(Op::field).collect();
    let operators = operators.into_iter().map(|op| format!("pipeit_rt::kernels::OPERATORS.{op}"));
    let list = |items: Vec<String>| format!("&[{}]", items.join(", "));
    Ok(code + &constants_of(&list(names), &list(operators.collect())))
}

/// The table with all kernels of `path`.
fn all_kernels(path: KernelPath) -> String {
    match path {
        KernelPath::Reference => "pipeit_rt::kernels::REFERENCE".to_owned(),
        path => format!("pipeit_rt::kernels::{path}::TABLE"),
    }
}

fn link(package: &Path, board: &str) -> Result<(), Box<dyn Error>> {
    let folder = package.join("../../linker");
    let folder = fs::canonicalize(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let script = folder.join(format!("{board}.ld"));
    println!("cargo:rerun-if-changed={}", folder.display());
    println!("cargo:rustc-link-search={}", folder.display());
    println!("cargo:rustc-link-arg=-T{}", script.display());
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg=-Tdefmt.x");
    }
    Ok(())
}
