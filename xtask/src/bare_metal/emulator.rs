//! Boots a firmware in QEMU and reads what it says.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::board::Board;
use super::image::Image;
use crate::setup::QEMU_SYSTEM;
use crate::workspace::Workspace;

/// How guest instructions and time relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Time is the host's; one host thread runs all cores in turn.
    Host,
    /// As `Host`, with a host thread per core.
    Parallel,
    /// An instruction takes a nanosecond: every run is the same.
    Counted,
}

/// A run to be.
#[derive(Clone, Debug)]
pub(crate) struct Guest<'a> {
    /// The board.
    pub(crate) board: &'a Board,
    /// Its firmware.
    pub(crate) image: &'a Image,
    /// The artefact to load; none when one is linked in.
    pub(crate) artefact: Option<&'a Path>,
    /// Cores that boot.
    pub(crate) cores: usize,
    /// The kind of core, where the board has a choice.
    pub(crate) cpu: Option<&'a str>,
    /// Whether to start at EL2 instead of EL1, where the board has a choice.
    pub(crate) el2: bool,
    /// The clock.
    pub(crate) clock: Clock,
    /// What the firmware is called with.
    pub(crate) arguments: String,
    /// Longest time, in seconds.
    pub(crate) limit_s: u32,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Report {
    /// Exit code: 0 for success, 124 when time ran out.
    pub(crate) code: i32,
    /// Lines of the console.
    pub(crate) lines: Vec<String>,
}

impl Guest<'_> {
    /// Runs it; `show` sees every line as it comes.
    pub(crate) fn run(&self, workspace: &Workspace, mut show: impl FnMut(&str)) -> Result<Report> {
        let mut command = self.command(workspace)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {QEMU_SYSTEM}"))?;
        let mut lines = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
                show(&line);
                lines.push(line);
            }
        }
        let code = child.wait()?.code().unwrap_or(-1);
        Ok(Report { code, lines })
    }

    fn command(&self, workspace: &Workspace) -> Result<Command> {
        let qemu = &self.board.qemu;
        let mut command = workspace.limited(self.limit_s, QEMU_SYSTEM);
        // Where the firmware's log file goes.
        command.current_dir(workspace.bare_metal_dir()?);
        let machine = if self.el2 { ",virtualization=on" } else { "" };
        command.args(["-M", &format!("{}{machine}", qemu.machine), "-m", &qemu.memory]);
        if let Some(cpu) = self.cpu.or(qemu.cpu.as_deref()) {
            command.args(["-cpu", cpu]);
        }
        command.args(["-smp", &self.cores.to_string()]);
        command.args(["-nographic", "-nic", "none", "-monitor", "none", "-serial", "stdio"]);
        let argument = format!("enable=on,target=native,arg={}", self.arguments);
        command.args(["-semihosting-config", &argument]);
        command.args(match self.clock {
            Clock::Host => ["-accel", "tcg,thread=single"],
            Clock::Parallel => ["-accel", "tcg,thread=multi"],
            Clock::Counted => ["-icount", "shift=0,sleep=off"],
        });
        if let Some(artefact) = self.artefact {
            let address = self.image.address("__loaded_start")?;
            // A comma in a name is doubled.
            let file = artefact.display().to_string().replace(',', ",,");
            command.arg("-device");
            command.arg(format!("loader,file={file},addr={address:#x},force-raw=on"));
        }
        command.arg("-kernel").arg(self.image.path());
        Ok(command)
    }
}

impl Report {
    /// The checksum of all outputs, if the run got that far and the self-test was met.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.lines.iter().find(|line| *line == "self-test: ok")?;
        let last = self.lines.iter().find(|line| line.starts_with("frames "))?;
        last.split_once("hash ").map(|(_, hash)| hash)
    }

    /// The number of guest instructions of `what`: `frame`, or `layer N`, of which some rows may be
    /// told at a time.
    pub(crate) fn cycles(&self, what: &str) -> Option<u64> {
        let value = |line: &String| {
            let rest = line.strip_prefix(what)?.strip_prefix(": ")?;
            rest.strip_suffix(" cycles")?.parse().ok()
        };
        self.lines.iter().filter_map(value).reduce(|all, some| all + some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let text = "self-test: ok\nlayer 0: 12 cycles\nlayer 1: 30 cycles\nlayer 1: 4 cycles\n\
                    frame: 50 cycles\n\
                    frames 8, hash c3c87531\nexit: ok (0)";
        let report = Report { code: 0, lines: text.lines().map(str::to_owned).collect() };
        assert_eq!(report.hash(), Some("c3c87531"));
        assert_eq!(report.cycles("layer 1"), Some(34));
        assert_eq!(report.cycles("frame"), Some(50));
        assert_eq!(report.cycles("layer 2"), None);
        let failed = Report { code: 23, lines: report.lines[1..].to_vec() };
        assert_eq!(failed.hash(), None);
    }
}
