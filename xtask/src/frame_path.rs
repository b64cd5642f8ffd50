//! Looks at the machine code of the frame path: nothing can panic, and hardly any floats.
//!
//! The package `frame-path` is built for a machine without operating system, with the
//! optimisations of a release; then every symbol that its functions can reach is looked at.
//! What is reached and not defined by the crates built is a call into `core`, which holds
//! the panic machinery.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustc_demangle::demangle;

use crate::assembly::Program;
use crate::toolchain::BARE_TARGET;
use crate::workspace::Workspace;

/// The functions to start from.
const ROOTS: &[&str] = &[
    "kernels",
    "run_core",
    "acquire",
    "input",
    "submit",
    "give_back",
    "poll",
    "output",
    "tensor",
    "release",
    "figures",
    "end",
];

/// What the compiler calls by itself; none of it panics.
const COMPILER_CALLS: &[&str] = &["memcpy", "memmove", "memset", "memcmp", "bcmp"];

/// The functions that may compute with floats.
const FLOAT_KERNELS: &[&str] = &["pipeit_rt::kernels::reference::resize::single_precision"];

/// Folder of what [`build`] leaves, apart from that of other builds: the flags differ.
fn target_dir(workspace: &Workspace) -> PathBuf {
    workspace.target_dir().join("frame-path")
}

/// Where [`build`] leaves the assembly of all crates.
pub(crate) fn assembly_dir(workspace: &Workspace) -> PathBuf {
    target_dir(workspace).join(BARE_TARGET).join("release/deps")
}

/// The command that builds the package and leaves the assembly of all its crates.
pub(crate) fn build(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "frame-path", "--release", "--target", BARE_TARGET]);
    cargo.arg("--target-dir").arg(target_dir(workspace));
    // Names with the values of const generics.
    cargo.env("RUSTFLAGS", "--emit=asm -Csymbol-mangling-version=v0");
    cargo
}

/// Removes what an earlier [`build`] left for the target: cargo would keep assembly of crates
/// that are no longer part of it.
pub(crate) fn clean(workspace: &Workspace) -> Result<()> {
    let dir = target_dir(workspace).join(BARE_TARGET);
    match fs::remove_dir_all(&dir) {
        Err(error) if dir.exists() => Err(error).with_context(|| dir.display().to_string()),
        _ => Ok(()),
    }
}

/// Looks at what [`build`] left; one line for everything that should not be there.
///
/// # Errors
/// If there is no assembly, or a root is missing in it.
pub(crate) fn findings(workspace: &Workspace) -> Result<Vec<String>> {
    let program = read(&assembly_dir(workspace))?;
    let reached = Reached::from_roots(&program)?;
    let findings = reached.findings();
    println!("{} functions and data looked at, {} findings", reached.len(), findings.len());
    Ok(findings)
}

fn read(dir: &Path) -> Result<Program> {
    let mut program = Program::default();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "s") {
            let unit = path.file_stem().unwrap_or_default().to_string_lossy();
            program.add(&unit, &fs::read_to_string(&path)?);
        }
    }
    Ok(program)
}

/// The symbols that can be reached, each with the one it was reached from.
struct Reached<'a> {
    program: &'a Program,
    from: BTreeMap<&'a str, Option<&'a str>>,
}

impl<'a> Reached<'a> {
    fn from_roots(program: &'a Program) -> Result<Self> {
        let mut from = BTreeMap::new();
        let mut queue = VecDeque::new();
        for root in ROOTS {
            let wanted = format!("frame_path::{root}");
            let found = program.symbols.keys().find(|name| readable(name) == wanted);
            let found = found.with_context(|| format!("no function {wanted}"))?;
            from.insert(found.as_str(), None);
            queue.push_back(found.as_str());
        }
        while let Some(name) = queue.pop_front() {
            let Some(symbol) = program.symbols.get(name) else { continue };
            for mentioned in symbol.mentions.keys() {
                from.entry(mentioned).or_insert_with(|| {
                    queue.push_back(mentioned);
                    Some(name)
                });
            }
        }
        let kernel = |name: &&&str| readable(name).starts_with("pipeit_rt::kernels::reference::");
        ensure!(from.keys().any(|name| kernel(&name)), "no kernel can be reached");
        Ok(Self { program, from })
    }

    fn len(&self) -> usize {
        self.from.len()
    }

    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for &name in self.from.keys() {
            let Some(symbol) = self.program.symbols.get(name) else { continue };
            for (callee, line) in &symbol.mentions {
                let is_known = self.program.symbols.contains_key(callee)
                    || COMPILER_CALLS.contains(&callee.as_str());
                if !is_known {
                    let chain = self.chain(name);
                    findings.push(format!("{chain} > {} ({line})", readable(callee)));
                }
            }
            if let Some(line) = &symbol.trap {
                findings.push(format!("{} stops the program ({line})", self.chain(name)));
            }
            if !FLOAT_KERNELS.contains(&readable(name).as_str()) {
                for (instruction, line) in &symbol.floats {
                    findings.push(format!("{}: float {instruction} ({line})", self.chain(name)));
                }
            }
        }
        findings
    }

    /// How `name` can be reached.
    fn chain(&self, name: &str) -> String {
        let before = |name: &&str| self.from.get(name).copied().flatten();
        let mut names: Vec<_> = std::iter::successors(Some(name), before).map(readable).collect();
        names.reverse();
        names.join(" > ")
    }
}

/// A name as in the source.
fn readable(symbol: &str) -> String {
    format!("{:#}", demangle(symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The roots, all leading to a kernel; the kernel has `code`.
    fn program(code: &str) -> Program {
        let kernel = "_ZN9pipeit_rt7kernels9reference3add3add17h0000000000000000E";
        let mut text = format!("{kernel}:\n{code}\tret\n");
        for root in ROOTS {
            let len = root.len();
            let name = format!("_ZN10frame_path{len}{root}17h0000000000000000E");
            text.push_str(&format!("{name}:\n\tadrp\tx0, .Ltable\n"));
        }
        text.push_str(&format!(".Ltable:\n\t.xword\t{kernel}\n"));
        let mut program = Program::default();
        program.add("unit", &text);
        program
    }

    #[test]
    fn panics_floats_and_traps_are_reported_with_their_chain() {
        let program = program(
            "\tbl\tmemcpy\n\
             \tbl\t_ZN4core9panicking18panic_bounds_check17h0000000000000000E\n\
             \tfmul\ts0, s0, s1\n\
             \tbrk\t#0x1\n",
        );
        let chain = "frame_path::kernels > .Ltable@unit > pipeit_rt::kernels::reference::add::add";
        let findings = Reached::from_roots(&program).unwrap().findings();
        assert_eq!(
            findings,
            [
                format!("{chain} > core::panicking::panic_bounds_check ()"),
                format!("{chain} stops the program ()"),
                format!("{chain}: float fmul ()"),
            ]
        );
    }

    #[test]
    fn a_missing_root_is_an_error() {
        let good = program("");
        assert!(Reached::from_roots(&good).unwrap().findings().is_empty());
        assert!(Reached::from_roots(&Program::default()).is_err());
    }
}
