//! The checkout: where it is, and commands that run in it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Variables that would change what a step builds or tests; every step starts without them.
///
/// `RUSTFLAGS` above all: in the environment it replaces the flags a step sets for a target.
const CLEARED: &[&str] = &[
    "CARGO_BUILD_RUSTDOCFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "PIPEIT_ARTEFACT",
    "PIPEIT_EMULATED",
    "PIPEIT_SKIP_LOG",
    "RUSTC_BOOTSTRAP",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// The workspace this program was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: OsString,
    target_dir: PathBuf,
}

impl Workspace {
    /// The workspace, with the `cargo` that runs this program and the target folder it uses.
    pub(crate) fn from_env() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not inside a workspace")?
            .to_path_buf();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target_dir = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(dir).context("CARGO_TARGET_DIR")?,
            None => root.join("target"),
        };
        Ok(Self { root, cargo, target_dir })
    }

    /// Folder of the checkout, an absolute path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of build results, an absolute path.
    pub(crate) fn target_dir(&self) -> &Path {
        &self.target_dir
    }

    /// The workspace of the firmware.
    pub(crate) fn boards(&self) -> PathBuf {
        self.root.join("boards")
    }

    /// Folder of firmware and artefacts to boot, which is there afterwards.
    pub(crate) fn bare_metal_dir(&self) -> Result<PathBuf> {
        let dir = self.target_dir.join("bare-metal");
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    /// A command that runs in the workspace's root, free of [`CLEARED`] variables.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for name in CLEARED {
            command.env_remove(name);
        }
        // A relative one was meant relative to where the user stood.
        if env::var_os("CARGO_TARGET_DIR").is_some_and(|dir| Path::new(&dir).is_relative()) {
            command.env("CARGO_TARGET_DIR", &self.target_dir);
        }
        command
    }

    /// A [`command`](Self::command) that is ended after `seconds`.
    pub(crate) fn limited(&self, seconds: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("timeout");
        command.arg("--foreground").arg(seconds.to_string()).arg(program);
        command
    }

    /// The `cargo` that runs this program.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&self.cargo)
    }

    /// [`cargo`](Self::cargo), ended after `seconds`.
    pub(crate) fn limited_cargo(&self, seconds: u32) -> Command {
        self.limited(seconds, &self.cargo)
    }
}
