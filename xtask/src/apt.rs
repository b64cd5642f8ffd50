//! Debian packages: installs them, and reads where the machine gets them from.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::announce;
use crate::workspace::Workspace;

/// Longest time for one apt command, in seconds.
const LIMIT_S: u32 = 600;

/// Fetches the lists of packages.
pub(crate) fn update(workspace: &Workspace) -> Result<()> {
    announce(workspace.limited(LIMIT_S, "apt-get").arg("update")).map(drop)
}

/// Installs `packages` without what they merely recommend.
///
/// # Errors
/// If we are not root, or apt fails.
pub(crate) fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let mut command = workspace.limited(LIMIT_S, "apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // Waits for another run of apt instead of failing.
    command.args(["-o", "DPkg::Lock::Timeout=120"]);
    command.args(["install", "-y", "--no-install-recommends"]).args(packages);
    announce(&mut command).map(drop)
}

/// What a user has to type for [`update`] and [`install`].
pub(crate) fn commands(packages: &[&str]) -> Vec<String> {
    vec![
        "sudo apt-get update".to_owned(),
        format!("sudo apt-get install -y --no-install-recommends {}", packages.join(" ")),
    ]
}

/// Whether this process may install packages: whether its effective user is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Address of the Debian mirror this machine uses.
pub(crate) fn mirror() -> Result<String> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let addresses = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => one_line_addresses(&text),
            Some("sources") => deb822_addresses(&text),
            _ => continue,
        };
        if let Some(address) = addresses.iter().find(|address| is_debian(address)) {
            return Ok(address.clone());
        }
    }
    bail!("no Debian mirror among apt's sources")
}

/// Whether an address is that of a mirror of Debian itself, not of its security updates.
fn is_debian(address: &str) -> bool {
    let path = address.trim_end_matches('/');
    path.ends_with("/debian") || path.ends_with("/debian.list")
}

/// Addresses in a `.list` file: `deb [option=value ...] address suite component ...`.
fn one_line_addresses(text: &str) -> Vec<String> {
    let address = |line: &str| {
        let entry = line.trim().strip_prefix("deb")?;
        let entry = entry.strip_prefix([' ', '\t'])?.trim_start();
        let entry = match entry.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => entry,
        };
        entry.split_whitespace().next().map(str::to_owned)
    };
    text.lines().filter_map(address).collect()
}

/// Addresses in a `.sources` file: the `URIs` of its enabled binary stanzas.
fn deb822_addresses(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut addresses = Vec::new();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let words = |name: &str| field_words(stanza, name);
        let enabled = !words("Enabled").iter().any(|word| word.eq_ignore_ascii_case("no"));
        if enabled && words("Types").contains(&"deb") {
            addresses.extend(words("URIs").into_iter().map(str::to_owned));
        }
    }
    addresses
}

/// The words of one field of a stanza, continued on indented lines; empty if it is absent.
fn field_words<'a>(stanza: &[&'a str], name: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut inside = false;
    for line in stanza {
        if line.starts_with([' ', '\t']) {
            if inside {
                words.extend(line.split_whitespace());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            inside = key.eq_ignore_ascii_case(name);
            if inside {
                words.extend(value.split_whitespace());
            }
        }
    }
    words
}

/// The newest version of upstream `release` in the output of `apt-cache madison PACKAGE`.
///
/// A line is ` package | version | address suite/component kind`, newest first. The Debian version
/// of `1.95.0` is like `1.95.0+dfsg1-2`; `1.95.0~beta.3+dfsg1-1` came before it.
pub(crate) fn version_of<'a>(madison: &'a str, release: &str) -> Result<&'a str> {
    madison
        .lines()
        .filter_map(|line| Some(line.split('|').nth(1)?.trim()))
        .find(|version| {
            version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-']))
        })
        .with_context(|| format!("Debian has no version {release} (any more)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_deb822_sources() {
        let text = "Types: deb deb-src\n\
                    # http://snapshot.example.org/debian/\n\
                    URIs: http://one.example.org/debian\n  http://two.example.org/debian/\n\
                    Suites: bookworm bookworm-updates\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\
                    \n\n\
                    types: deb\nuris: http://one.example.org/debian-security\n\
                    \n\
                    Types: deb-src\nURIs: http://source.example.org/debian\n\
                    \n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example.org/debian\n";
        let addresses = deb822_addresses(text);
        assert_eq!(
            addresses,
            [
                "http://one.example.org/debian",
                "http://two.example.org/debian/",
                "http://one.example.org/debian-security",
            ]
        );
        let debian: Vec<bool> = addresses.iter().map(|address| is_debian(address)).collect();
        assert_eq!(debian, [true, true, false]);
    }

    #[test]
    fn reads_one_line_sources() {
        let text = "# deb http://comment.example.org/debian trixie main\n\
                    deb http://one.example.org/debian trixie main\n\
                    deb [ arch=amd64 signed-by=/k.gpg ] http://two.example.org/debian sid main\n\
                    deb\t[trusted=yes] mirror+file:///etc/apt/mirrors/debian.list trixie main\n\
                    deb-src http://source.example.org/debian trixie main\n\
                    deb [arch=amd64\n\
                    deb\n";
        assert_eq!(
            one_line_addresses(text),
            [
                "http://one.example.org/debian",
                "http://two.example.org/debian",
                "mirror+file:///etc/apt/mirrors/debian.list",
            ]
        );
        assert!(is_debian("mirror+file:///etc/apt/mirrors/debian.list"));
    }

    #[test]
    fn finds_the_exact_release() {
        let madison = " rust-src | 1.97.1+dfsg1-1 | http://example.org/debian sid/main all Packages\n \
                       rust-src | 1.95.0~beta.3+dfsg1-1 | http://example.org/debian sid/main all\n \
                       rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://example.org/debian backports/main\n \
                       rust-src | 1.95.0+dfsg1-1~bpo13+1 | http://example.org/debian backports/main\n";
        assert_eq!(version_of(madison, "1.95.0").unwrap(), "1.95.0+dfsg1-2~bpo13+1");
        assert_eq!(version_of(madison, "1.97.1").unwrap(), "1.97.1+dfsg1-1");
        assert!(version_of(madison, "1.95").is_err());
        assert!(version_of(madison, "1.9").is_err());
        assert!(version_of("", "1.95.0").is_err());
    }

    #[test]
    fn commands_can_be_typed() {
        assert_eq!(
            commands(&["a", "b"]),
            ["sudo apt-get update", "sudo apt-get install -y --no-install-recommends a b"]
        );
    }
}
