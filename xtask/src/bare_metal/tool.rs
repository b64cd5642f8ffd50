//! The host's tool `pipeit`, as it is used here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{capture, stream};
use crate::workspace::Workspace;

/// Longest time for one call, in seconds.
const LIMIT_S: u32 = 600;
/// Longest time for the build, in seconds.
const BUILD_LIMIT_S: u32 = 1800;

/// The kernel path that runs everywhere, the host included.
pub(crate) const REFERENCE: &str = "reference";

/// The fastest kernel path that there is for a kind of core.
pub(crate) fn kernel_path(cpu: &str) -> &'static str {
    match cpu {
        "cortex-a35" | "cortex-a53" | "cortex-a57" | "cortex-a72" | "cortex-a73" => "neon",
        "cortex-a55" | "cortex-a75" | "cortex-a76" | "neoverse-n1" => "dotprod",
        _ => "i8mm",
    }
}

/// The tool, built.
#[derive(Debug)]
pub(crate) struct Tool {
    program: PathBuf,
}

impl Tool {
    /// Builds it.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        let mut cargo = workspace.limited_cargo(BUILD_LIMIT_S);
        stream(cargo.args(["build", "--quiet", "--release", "--package", "pipeit-tool"]))?;
        Ok(Self { program: workspace.target_dir().join("release/pipeit") })
    }

    fn call(&self, workspace: &Workspace) -> Command {
        workspace.limited(LIMIT_S, &self.program)
    }

    /// Imports the network in the file `network` for clusters `c0`, `c1`, … of so many cores.
    /// The plans of the partitions `stages` come before those the tool finds; the kernels are
    /// those of `path`.
    pub(crate) fn import(
        &self,
        workspace: &Workspace,
        network: &Path,
        clusters: &[usize],
        stages: &[String],
        path: &str,
        artefact: &Path,
    ) -> Result<()> {
        // Golden vectors are computed here, on a CPU that stands for all.
        let cpu = allowed_cpu();
        let cluster = |(index, &cores): (usize, &usize)| {
            format!("c{index}={}", vec![cpu.as_str(); cores].join(","))
        };
        let clusters: Vec<_> = clusters.iter().enumerate().map(cluster).collect();
        let mut import = self.call(workspace);
        import.arg("import").arg(network).arg("--output").arg(artefact);
        import.args(["--clusters", &clusters.join(" "), "--path", path]);
        for stages in stages {
            import.args(["--stages", stages]);
        }
        capture(&mut import).map(drop)
    }

    /// The checksum of the outputs of `frames` frames of noise.
    pub(crate) fn hash(
        &self,
        workspace: &Workspace,
        artefact: &Path,
        frames: u32,
    ) -> Result<String> {
        let frames = frames.to_string();
        let report = self.json(workspace, &["run", "--noise", &frames], artefact)?;
        Ok(report["hash"].as_str().context("pipeit run tells no hash")?.to_owned())
    }

    /// Has the profile of what firmware has told of `artefacts` written to `output`; returns how
    /// well times can be predicted by it.
    pub(crate) fn profile(
        &self,
        workspace: &Workspace,
        log: &Path,
        artefacts: &[PathBuf],
        output: &Path,
    ) -> Result<String> {
        let mut call = self.call(workspace);
        capture(call.arg("console").arg(log).args(artefacts).arg("--profile").arg(output))
    }

    /// What `pipeit inspect` tells.
    pub(crate) fn inspect(&self, workspace: &Workspace, artefact: &Path) -> Result<Value> {
        self.json(workspace, &["inspect"], artefact)
    }

    fn json(&self, workspace: &Workspace, args: &[&str], artefact: &Path) -> Result<Value> {
        let text = capture(self.call(workspace).args(args).arg("--json").arg(artefact))?;
        serde_json::from_str(&text).context("pipeit --json")
    }
}

/// The number of a CPU that this process may use.
fn allowed_cpu() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    first.unwrap_or("0").to_owned()
}
