//! The standard library's source of the compiler's exact version, from Debian.
//!
//! Needs no root: apt works in a folder of the user's cache, with its own lists, so the machine's
//! package sources stay as they are.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt;
use crate::command::{announce, capture};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Longest time for one download, in seconds.
const LIMIT_S: u32 = 300;

/// Debian suites that carry recent compilers; older versions stay in backports for a while.
const SUITES: &str = "trixie-backports sid";

/// Key that Debian's lists are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Folder for downloads and builds that belong to `toolchain`'s release, created if need be.
pub(crate) fn cache_dir(toolchain: &Toolchain) -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let dir = cache.join("pipeit-xtask").join(&toolchain.release);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// Makes the source available in the sysroot, unless it is there.
pub(crate) fn ensure(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let link = toolchain.source_dir();
    if has_source(&link) {
        return Ok(());
    }
    let cache = cache_dir(toolchain)?;
    let source = cache.join("src/usr/src").join(format!("rustc-{}", toolchain.release));
    if !has_source(&source) {
        download(workspace, toolchain, &cache)?;
    }
    if link.symlink_metadata().is_ok_and(|old| old.is_symlink()) {
        fs::remove_file(&link).context("cannot replace the link to the source")?;
    }
    let parent = link.parent().context("the sysroot has no parent")?;
    fs::create_dir_all(parent)
        .and_then(|()| symlink(&source, &link))
        .with_context(|| format!("cannot create {}", link.display()))
}

fn has_source(dir: &Path) -> bool {
    dir.join("library/core/src/lib.rs").is_file()
}

/// Downloads the package and unpacks it into `src` of the cache folder.
fn download(workspace: &Workspace, toolchain: &Toolchain, cache: &Path) -> Result<()> {
    let apt = PrivateApt::create(workspace, cache)?;
    let updated = announce(apt.command("apt-get").arg("update"));
    let madison = capture(apt.command("apt-cache").args(["madison", "rust-src"]))?;
    let version = match (apt::version_of(&madison, &toolchain.release), updated) {
        (Ok(version), _) => version,
        (Err(_), Err(update)) => return Err(update),
        (Err(absent), Ok(_)) => return Err(absent.context("rust-src")),
    };

    let packages = cache.join("packages");
    recreate(&packages)?;
    let package = format!("rust-src={version}");
    announce(apt.command("apt-get").args(["download", &package]).current_dir(&packages))?;
    let file = fs::read_dir(&packages)?.flatten().next().context("apt downloaded no file")?;
    capture(workspace.command("dpkg").arg("-x").arg(file.path()).arg(cache.join("src")))?;
    fs::remove_dir_all(&packages).context("cannot remove the downloaded package")
}

/// Makes `dir` an empty folder.
pub(crate) fn recreate(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// apt with lists, cache and sources of its own.
struct PrivateApt<'a> {
    workspace: &'a Workspace,
    options: Vec<String>,
}

impl<'a> PrivateApt<'a> {
    fn create(workspace: &'a Workspace, cache: &Path) -> Result<Self> {
        let apt = cache.join("apt");
        recreate(&apt)?;
        for dir in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(dir))?;
        }
        let architecture = capture(workspace.command("dpkg").arg("--print-architecture"))?;
        let stanza = stanza(&apt::mirror()?, architecture.trim());
        fs::write(apt.join("sources/rust-src.sources"), stanza)?;

        let at = |dir: &str| apt.join(dir).display().to_string();
        let options = vec![
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", at("sources")),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            // The unprivileged user that root's apt turns into cannot enter root's cache folder.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        Ok(Self { workspace, options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.workspace.limited(LIMIT_S, program);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        command
    }
}

/// A source of packages for apt.
fn stanza(mirror: &str, architecture: &str) -> String {
    format!(
        "Types: deb\nURIs: {mirror}\nSuites: {SUITES}\nComponents: main\n\
         Architectures: {architecture}\nTargets: Packages\nSigned-By: {KEYRING}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanza_is_deb822() {
        let text = stanza("http://example.org/debian", "amd64");
        assert!(text.lines().all(|line| line.split_once(": ").is_some()), "{text}");
        assert!(text.contains("\nURIs: http://example.org/debian\n"));
    }
}
