//! Runs commands and tells in one line why one failed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// What `timeout` exits with when it ended its command.
const TIMED_OUT: i32 = 124;

/// Shows the command line, then runs it with its output going where ours goes.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", display(command));
    let status = command.status().with_context(|| format!("cannot start {}", name(command)))?;
    if !status.success() {
        bail!("`{}`: {}", words(command), describe(status));
    }
    Ok(())
}

/// Runs a command in silence and returns its standard output.
///
/// # Errors
/// If it cannot be started or fails; the message holds the first line that looks like its cause.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let program = name(command);
    // A trace is of no use in a one-line reason.
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let cause = match output.status.code() {
            Some(TIMED_OUT) => None,
            _ => cause(&String::from_utf8_lossy(&output.stderr)).map(str::to_owned),
        };
        bail!("{program}: {}", cause.unwrap_or_else(|| describe(output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// [`capture`] for what may take a while: shows the command line first.
pub(crate) fn announce(command: &mut Command) -> Result<String> {
    eprintln!("$ {}", display(command));
    capture(command)
}

/// The line of an error output most likely to name the cause.
fn cause(stderr: &str) -> Option<&str> {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .find(|line| line.starts_with("error") || line.starts_with("E: "))
        .or_else(|| lines().next_back())
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(TIMED_OUT) => "no answer in time".to_owned(),
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// The program a command runs, without its folder and looking through `timeout`.
fn name(command: &Command) -> String {
    let program = command.get_program();
    let program = match command.get_args().nth(2) {
        Some(inner) if program == "timeout" => inner,
        _ => program,
    };
    base(program)
}

fn base(path: &OsStr) -> String {
    Path::new(path).file_name().unwrap_or(path).to_string_lossy().into_owned()
}

/// The command as one could type it, with the variables it sets.
fn display(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), quote(value?))));
    set.chain([words(command)]).collect::<Vec<_>>().join(" ")
}

/// The command without its variables.
fn words(command: &Command) -> String {
    let args = command.get_args().map(quote);
    [base(command.get_program())].into_iter().chain(args).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+/.,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_prefers_error_lines() {
        let rustup = "info: syncing\nerror: could not download\n\nStack backtrace:\n  0: main\n";
        assert_eq!(cause(rustup), Some("error: could not download"));
        assert_eq!(cause("Reading lists\nE: No package x\n"), Some("E: No package x"));
        assert_eq!(cause("one\ntwo\n\n"), Some("two"));
        assert_eq!(cause(" \n"), None);
    }

    #[test]
    fn display_can_be_typed() {
        let mut command = Command::new("/opt/bin/cargo");
        command.args(["test", "it's"]).env("FLAGS", "-D warnings").env_remove("OTHER");
        assert_eq!(display(&command), r"FLAGS='-D warnings' cargo test 'it'\''s'");
    }

    #[test]
    fn name_looks_through_timeout() {
        assert_eq!(
            name(Command::new("timeout").args(["--foreground", "9", "/x/rustup"])),
            "rustup"
        );
        assert_eq!(name(&Command::new("/usr/bin/dpkg")), "dpkg");
    }

    #[test]
    fn a_failure_tells_why() {
        let shell = |script| capture(Command::new("sh").args(["-c", script]));
        assert_eq!(shell("echo out").unwrap(), "out\n");
        assert_eq!(shell("echo gone >&2; exit 3").unwrap_err().to_string(), "sh: gone");
        assert_eq!(shell("exit 3").unwrap_err().to_string(), "sh: exit code 3");
        assert_eq!(shell("exit 124").unwrap_err().to_string(), "sh: no answer in time");
    }
}
