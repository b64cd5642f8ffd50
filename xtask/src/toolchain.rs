//! The Rust compiler in use: its release, and the targets it has libraries for.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::capture;
use crate::workspace::Workspace;

/// A target without an operating system, for `no_std` builds.
pub(crate) const BARE_TARGET: &str = "aarch64-unknown-none";

/// The target of tests that run under emulation.
///
/// Not musl: crates under pipeit-tool compile C, which Debian has only a glibc compiler for.
pub(crate) const LINUX_TARGET: &str = "aarch64-unknown-linux-gnu";

/// The compiler that `cargo` uses in this workspace.
pub(crate) struct Toolchain {
    /// Its version, like `1.95.0`.
    pub(crate) release: String,
    /// The folder it finds its libraries in.
    pub(crate) sysroot: PathBuf,
}

impl Toolchain {
    /// Asks `rustc`.
    pub(crate) fn detect(workspace: &Workspace) -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask = |arg: &[&str]| capture(workspace.command(&rustc).args(arg));
        let verbose = ask(&["-vV"])?;
        let release = field(&verbose, "release").context("`rustc -vV` names no release")?;
        let sysroot = ask(&["--print", "sysroot"])?;
        Ok(Self { release: release.to_owned(), sysroot: PathBuf::from(sysroot.trim_end()) })
    }

    /// Folder of the libraries of `target`.
    pub(crate) fn lib_dir(&self, target: &str) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(target).join("lib")
    }

    /// Folder of the standard library's source, where `-Zbuild-std` looks for it.
    pub(crate) fn source_dir(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// Whether programs can be built for `target`: [`LINUX_TARGET`] with std, others without.
    pub(crate) fn has_target(&self, target: &str) -> bool {
        let library = if target == LINUX_TARGET { "libstd-" } else { "libcore-" };
        has_rlib(&self.lib_dir(target), library)
    }
}

fn has_rlib(dir: &Path, prefix: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(prefix) && name.ends_with(".rlib")
    })
}

/// The value of `name: value` in the output of `rustc -vV`.
fn field<'a>(verbose: &'a str, name: &str) -> Option<&'a str> {
    verbose.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rustc_version() {
        let verbose = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
                       host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(field(verbose, "release"), Some("1.95.0"));
        assert_eq!(field(verbose, "LLVM version"), Some("22.1.2"));
        assert_eq!(field(verbose, "commit"), None);
    }

    #[test]
    fn a_missing_folder_holds_no_library() {
        assert!(!has_rlib(Path::new("no/such/folder"), "libcore-"));
    }
}
