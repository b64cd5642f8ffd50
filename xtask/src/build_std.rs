//! Builds the libraries of a target from source, where rustup cannot provide them.
//!
//! Done once: the libraries are copied into the sysroot, where those of rustup would be, and plain
//! `cargo build --target` finds them. `setup` calls it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::announce;
use crate::rust_src;
use crate::toolchain::{LINUX_TARGET, Toolchain};
use crate::workspace::Workspace;

/// Longest time for a build, in seconds.
const LIMIT_S: u32 = 900;

/// Name of the empty crate that is built together with the libraries.
const SEED: &str = "seed";

/// Makes `target` available in the sysroot.
pub(crate) fn install(workspace: &Workspace, toolchain: &Toolchain, target: &str) -> Result<()> {
    rust_src::ensure(workspace, toolchain)?;
    let dir = rust_src::cache_dir(toolchain)?.join(format!("build-{target}"));
    rust_src::recreate(&dir.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"{SEED}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n"
    );
    fs::write(dir.join("Cargo.toml"), manifest)?;
    fs::write(dir.join("src/lib.rs"), "#![no_std]\n")?;

    announce(build_command(workspace.limited_cargo(LIMIT_S), target).current_dir(&dir))?;
    let built = dir.join("target").join(target).join("release/deps");
    copy_libraries(&built, &toolchain.lib_dir(target))?;
    ensure!(toolchain.has_target(target), "the build left no library for {target}");
    fs::remove_dir_all(&dir).context("cannot remove the build folder")
}

fn build_command(mut cargo: Command, target: &str) -> Command {
    // Not where steps build: the folder is removed afterwards.
    cargo.args(["build", "--release", "--target-dir", "target", "--target", target]);
    if target == LINUX_TARGET {
        cargo.arg("-Zbuild-std=std,panic_unwind,panic_abort,proc_macro,test");
    } else {
        // Without an operating system, memcpy and its kin have to come from the libraries too.
        cargo.arg("-Zbuild-std=core,alloc");
        cargo.arg("-Zbuild-std-features=compiler-builtins-mem");
    }
    // The libraries of a stable release need its unstable features, and bitcode for users' LTO.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes");
    cargo
}

/// Copies libraries so that the folder `to` exists only when it is complete.
fn copy_libraries(from: &Path, to: &Path) -> Result<()> {
    let partial = to.with_extension("partial");
    rust_src::recreate(&partial)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if is_library(&entry.file_name().to_string_lossy()) {
            fs::copy(entry.path(), partial.join(entry.file_name()))?;
        }
    }
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    fs::rename(&partial, to).with_context(|| format!("cannot create {}", to.display()))
}

fn is_library(file: &str) -> bool {
    file.ends_with(".rlib") && !file.starts_with(&format!("lib{SEED}-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_no_library() {
        assert!(is_library("libcore-1e028c497e00fdd6.rlib"));
        assert!(!is_library("libcore-1e028c497e00fdd6.rmeta"));
        assert!(!is_library("libseed-0123456789abcdef.rlib"));
    }
}
