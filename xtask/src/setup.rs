//! Installs what the test suite needs: one line per item, nothing done twice.

use core::cell::Cell;
use core::fmt;
use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Error, Result, bail};

use crate::command::{announce, capture};
use crate::summary::seconds;
use crate::toolchain::{BARE_TARGET, LINUX_TARGET, Toolchain};
use crate::workspace::Workspace;
use crate::{apt, build_std};

/// Longest time for rustup, in seconds; where its server is out of reach it may never end.
const RUSTUP_LIMIT_S: u32 = 180;

/// C compiler and linker for [`LINUX_TARGET`].
pub(crate) const CROSS_GCC: &str = "aarch64-linux-gnu-gcc";

/// Runs programs of [`LINUX_TARGET`] on any machine.
pub(crate) const QEMU: &str = "qemu-aarch64";

/// Runs firmware.
pub(crate) const QEMU_SYSTEM: &str = "qemu-system-aarch64";

/// Shows reports, for the tests that look at them.
pub(crate) const CHROMIUM: &str = "chromium";

/// A static model of Arm cores: of the version of LLVM that rustc has; those of others differ.
pub(crate) const LLVM_MCA: &str = "llvm-mca-22";

/// Something a step needs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    Rustfmt,
    Clippy,
    BareTarget,
    LinuxTarget,
    CrossGcc,
    Qemu,
    QemuSystem,
    Chromium,
    LlvmMca,
}

impl Item {
    /// Everything the test suite needs, in the order of installation.
    pub(crate) const ALL: &[Self] = &[
        Self::Rustfmt,
        Self::Clippy,
        Self::BareTarget,
        Self::LinuxTarget,
        Self::CrossGcc,
        Self::Qemu,
        Self::QemuSystem,
        Self::Chromium,
    ];

    fn source(self) -> Source {
        match self {
            Self::Rustfmt => Source::Component { name: "rustfmt", subcommand: "fmt" },
            Self::Clippy => Source::Component { name: "clippy", subcommand: "clippy" },
            Self::BareTarget => Source::Target(BARE_TARGET),
            Self::LinuxTarget => Source::Target(LINUX_TARGET),
            Self::CrossGcc => Source::Packages(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
            Self::Qemu => Source::Packages(&["qemu-user"]),
            Self::QemuSystem => Source::Packages(&["qemu-system-arm"]),
            Self::Chromium => Source::Packages(&["chromium"]),
            Self::LlvmMca => Source::Packages(&["llvm-22"]),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rustfmt => "rustfmt",
            Self::Clippy => "clippy",
            Self::BareTarget => BARE_TARGET,
            Self::LinuxTarget => LINUX_TARGET,
            Self::CrossGcc => CROSS_GCC,
            Self::Qemu => QEMU,
            Self::QemuSystem => QEMU_SYSTEM,
            Self::Chromium => CHROMIUM,
            Self::LlvmMca => LLVM_MCA,
        })
    }
}

/// Where an item comes from.
enum Source {
    /// A part of the toolchain that adds a subcommand to cargo.
    Component { name: &'static str, subcommand: &'static str },
    /// Libraries for a Rust target.
    Target(&'static str),
    /// Debian packages.
    Packages(&'static [&'static str]),
}

impl Source {
    /// What the user can type where we cannot install it.
    fn commands(&self) -> Vec<String> {
        match self {
            Self::Component { name, .. } => vec![format!("rustup component add {name}")],
            Self::Target(target) => vec![format!("rustup target add {target}")],
            Self::Packages(packages) => apt::commands(packages),
        }
    }
}

/// Installs items in one workspace.
pub(crate) struct Setup<'a> {
    workspace: &'a Workspace,
    toolchain: Toolchain,
    /// Whether rustup ran into its time limit: then it is not asked again.
    rustup_hung: Cell<bool>,
    /// Whether apt's lists were fetched.
    apt_updated: Cell<bool>,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(workspace: &'a Workspace) -> Result<Self> {
        let toolchain = Toolchain::detect(workspace)?;
        let (rustup_hung, apt_updated) = (Cell::new(false), Cell::new(false));
        Ok(Self { workspace, toolchain, rustup_hung, apt_updated })
    }

    /// Ensures `items`, prints a line for each, and the commands for those still missing.
    pub(crate) fn run(&self, items: &[Item]) -> Missing {
        let mut missing = BTreeMap::new();
        for &item in items {
            let start = Instant::now();
            if self.is_present(item) {
                println!("{item}: present");
                continue;
            }
            match self.install(&item.source()) {
                Ok(how) if self.is_present(item) => {
                    println!("{item}: installed, {how} ({})", seconds(start.elapsed()));
                }
                Ok(how) => {
                    println!("{item}: MISSING, even after installing it, {how}");
                    missing.insert(item, format!("not usable after installing it, {how}"));
                }
                Err(error) => {
                    println!("{item}: MISSING: {error:#}");
                    missing.insert(item, format!("{error:#}"));
                }
            }
        }
        let missing = Missing(missing);
        if !missing.is_complete() {
            println!("Please run:");
            for command in missing.commands() {
                println!("    {command}");
            }
        }
        missing
    }

    /// Ensures `items`, in silence where they are present.
    ///
    /// # Errors
    /// One cannot be installed.
    pub(crate) fn require(&self, items: &[Item]) -> Result<()> {
        let absent: Vec<Item> = items.iter().copied().filter(|&i| !self.is_present(i)).collect();
        match self.run(&absent).reason(items) {
            Some(reason) => bail!(reason),
            None => Ok(()),
        }
    }

    fn is_present(&self, item: Item) -> bool {
        match item.source() {
            Source::Component { subcommand, .. } => {
                capture(self.workspace.cargo().args([subcommand, "--version"])).is_ok()
            }
            Source::Target(target) => self.toolchain.has_target(target),
            Source::Packages(_) if item == Item::CrossGcc => {
                // It answers with a whole path only if it has the C library too.
                let ask = ["-print-file-name=libc.a"];
                capture(self.workspace.command(CROSS_GCC).args(ask))
                    .is_ok_and(|path| path.contains('/'))
            }
            Source::Packages(_) => {
                // Packages but the compiler's are shown by the name of their program.
                capture(self.workspace.command(item.to_string()).arg("--version")).is_ok()
            }
        }
    }

    /// Installs one item and tells how.
    fn install(&self, source: &Source) -> Result<&'static str> {
        match source {
            Source::Component { name, .. } => self.rustup("component", name).map(|()| "by rustup"),
            Source::Target(target) => {
                let Err(rustup) = self.rustup("target", target) else { return Ok("by rustup") };
                eprintln!("{rustup:#}; building {target} from source, a minute or two");
                build_std::install(self.workspace, &self.toolchain, target)
                    .map(|()| "built from Debian's rust-src")
                    .map_err(|build| both(&rustup, &build))
            }
            Source::Packages(packages) => {
                if !apt::is_root() {
                    bail!("installing packages needs root");
                }
                if !self.apt_updated.replace(true) {
                    // Stale lists may still do.
                    apt::update(self.workspace).unwrap_or_else(|error| eprintln!("{error:#}"));
                }
                apt::install(self.workspace, packages).map(|()| "by apt")
            }
        }
    }

    /// `rustup KIND add NAME`.
    fn rustup(&self, kind: &str, name: &str) -> Result<()> {
        if self.rustup_hung.get() {
            bail!("rustup: no answer before");
        }
        let start = Instant::now();
        let mut rustup = self.workspace.limited(RUSTUP_LIMIT_S, "rustup");
        let result = announce(rustup.args([kind, "add", name])).map(drop);
        self.rustup_hung.set(start.elapsed().as_secs() >= RUSTUP_LIMIT_S.into());
        result
    }
}

fn both(first: &Error, second: &Error) -> Error {
    anyhow::anyhow!("{first:#}; {second:#}")
}

/// Items that could not be installed, each with the reason.
pub(crate) struct Missing(BTreeMap<Item, String>);

impl Missing {
    /// Whether nothing is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.is_empty()
    }

    /// Why one of `needs` is missing, if any is.
    pub(crate) fn reason(&self, needs: &[Item]) -> Option<String> {
        let reasons = needs.iter().filter_map(|item| Some((item, self.0.get(item)?)));
        let reasons: Vec<_> = reasons.map(|(item, why)| format!("{item} missing: {why}")).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// What the user has to type to install them, no line twice.
    fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        for command in self.0.keys().flat_map(|item| item.source().commands()) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(items: &[Item]) -> Missing {
        Missing(items.iter().map(|&item| (item, "no root".to_owned())).collect())
    }

    #[test]
    fn commands_are_listed_once() {
        assert_eq!(
            missing(&[Item::Qemu, Item::Clippy, Item::CrossGcc]).commands(),
            [
                "rustup component add clippy",
                "sudo apt-get update",
                "sudo apt-get install -y --no-install-recommends gcc-aarch64-linux-gnu \
             libc6-dev-arm64-cross",
                "sudo apt-get install -y --no-install-recommends qemu-user",
            ]
        );
        assert!(missing(&[]).commands().is_empty());
    }

    #[test]
    fn a_reason_names_each_missing_need() {
        let missing = missing(&[Item::Qemu, Item::CrossGcc]);
        assert_eq!(missing.reason(&[Item::Clippy]), None);
        assert_eq!(
            missing.reason(&[Item::CrossGcc, Item::LinuxTarget, Item::Qemu]).unwrap(),
            "aarch64-linux-gnu-gcc missing: no root; qemu-aarch64 missing: no root"
        );
    }
}
