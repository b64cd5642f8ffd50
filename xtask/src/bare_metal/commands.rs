//! `cargo xtask qemu` and `cargo xtask count`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::board::Board;
use super::emulator::{Clock, Guest};
use super::image::{Image, Options};
use super::tool::{Tool, kernel_path};
use crate::workspace::Workspace;

/// Longest time for a run, in seconds.
const LIMIT_S: u32 = 600;

/// Flags of `cargo xtask qemu`.
#[derive(clap::Args, Debug)]
pub(crate) struct QemuArgs {
    /// Network (.tflite), or artefact (.pipeit) to run as it is
    network: PathBuf,
    /// Board, a folder in boards/
    #[arg(long, default_value = "qemu-virt")]
    board: String,
    /// Cores that boot [default: as many as declared]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Clusters that are declared, such as 4+4 [default: one of all cores]
    #[arg(long, value_name = "N+N", value_parser = parse_clusters)]
    clusters: Option<Clusters>,
    /// Kind of core, such as cortex-a53 [default: the board's]
    #[arg(long)]
    cpu: Option<String>,
    /// Frames to stream
    #[arg(long, default_value_t = 8, value_name = "N")]
    frames: u32,
    /// Plan to put first, over clusters c0, c1, …; repeatable [default: a stage per cluster]
    #[arg(long, value_name = "SPEC")]
    stages: Vec<String>,
    /// Kernel path to pack the network for [default: the fastest for the kind of core]
    #[arg(long)]
    path: Option<String>,
    /// Start at EL2 instead of EL1
    #[arg(long)]
    el2: bool,
    /// Emulate every core on a host thread of its own
    #[arg(long)]
    parallel: bool,
}

impl QemuArgs {
    /// The kernel path, where the board's cores are of the kind `cpu`.
    fn path<'a>(&'a self, cpu: &'a str) -> &'a str {
        let cpu = self.cpu.as_deref().unwrap_or(cpu);
        self.path.as_deref().unwrap_or_else(|| kernel_path(cpu))
    }
}

/// Cores of each cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clusters(pub(crate) Vec<usize>);

fn parse_clusters(text: &str) -> Result<Clusters, String> {
    let cores: Result<Vec<usize>, _> = text.split('+').map(str::parse).collect();
    let cores = cores.ok().filter(|cores| !cores.contains(&0));
    cores.map(Clusters).ok_or_else(|| "want numbers of cores such as 4+4".to_owned())
}

impl Clusters {
    /// As the firmware and this program take them.
    pub(crate) fn spec(&self) -> String {
        self.0.iter().map(usize::to_string).collect::<Vec<_>>().join("+")
    }

    /// Partitions of one stage: every team of each cluster alone, then beside all other cores.
    fn teams(&self) -> Vec<String> {
        let mut stages = Vec::new();
        for (cluster, &cores) in self.0.iter().enumerate() {
            let others = self.0.iter().enumerate().filter(|&(other, _)| other != cluster);
            let others: String =
                others.map(|(other, cores)| format!("+c{other}*{cores}")).collect();
            for team in (1..=cores).map(|cores| format!("c{cluster}*{cores}")) {
                stages.push(team.clone());
                stages.extend((!others.is_empty()).then(|| team + &others));
            }
        }
        stages
    }

    /// The partition with one stage per cluster.
    pub(crate) fn stage_each(&self) -> String {
        let stages = self.0.iter().enumerate().map(|(index, cores)| format!("c{index}*{cores}"));
        stages.collect::<Vec<_>>().join(" ")
    }
}

/// Boots a network; whether it gave the bytes of the hosted run.
pub(crate) fn qemu(workspace: &Workspace, args: &QemuArgs) -> Result<bool> {
    let board = Board::load(workspace, &args.board)?;
    let clusters = match (&args.clusters, args.cores) {
        (Some(clusters), _) => clusters.clone(),
        (None, Some(cores)) => Clusters(vec![cores]),
        (None, None) => Clusters(board.clusters()),
    };
    let declared: usize = clusters.0.iter().sum();
    if declared > board.cores() {
        bail!("{} has {} cores, not {declared}", board.name, board.cores());
    }
    let tool = Tool::build(workspace)?;
    let image = Image::build(workspace, &board, Options::default())?;
    let artefact = match is_artefact(&args.network) {
        true => std::path::absolute(&args.network)?,
        false => {
            let artefact = artefact_path(workspace, &args.network)?;
            let mut stages = args.stages.clone();
            if stages.is_empty() && clusters.0.len() > 1 {
                stages.push(clusters.stage_each());
            }
            let network = std::path::absolute(&args.network)?;
            let path = args.path(board.cpu());
            tool.import(workspace, &network, &clusters.0, &stages, path, &artefact)?;
            artefact
        }
    };
    // By the host's own kernels, except where the file has others.
    let expected = tool.hash(workspace, &args.network, args.frames)?;
    let guest = Guest {
        board: &board,
        image: &image,
        artefact: Some(&artefact),
        cores: args.cores.unwrap_or(declared),
        cpu: args.cpu.as_deref(),
        el2: args.el2,
        clock: if args.parallel { Clock::Parallel } else { Clock::Host },
        arguments: format!("clusters={} frames={}", clusters.spec(), args.frames),
        limit_s: LIMIT_S,
    };
    let report = guest.run(workspace, |line| println!("{line}"))?;
    let agrees = report.code == 0 && report.hash() == Some(&expected);
    println!("hosted: hash {expected}, {}", if agrees { "the same" } else { "NOT the same" });
    Ok(agrees)
}

fn is_artefact(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pipeit")
}

/// Where the artefact made of `network` goes.
fn artefact_path(workspace: &Workspace, network: &Path) -> Result<PathBuf> {
    let name = network.file_stem().context("the network is a file")?.to_string_lossy();
    Ok(workspace.bare_metal_dir()?.join(format!("{name}.pipeit")))
}

/// Flags of `cargo xtask profile`.
#[derive(clap::Args, Debug)]
pub(crate) struct ProfileArgs {
    /// Networks (.tflite)
    #[arg(required = true)]
    pub(crate) networks: Vec<PathBuf>,
    /// Board, a folder in boards/
    #[arg(long, default_value = "qemu-virt")]
    pub(crate) board: String,
    /// Clusters, such as 4+4 [default: the board's]
    #[arg(long, value_name = "N+N", value_parser = parse_clusters)]
    pub(crate) clusters: Option<Clusters>,
    /// Kind of core, such as cortex-a53 [default: the board's]
    #[arg(long)]
    pub(crate) cpu: Option<String>,
    /// Kernel path to pack the networks for [default: the fastest for the kind of core]
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// Frames through every team, besides the self-test
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) frames: u32,
    /// Profile to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Times the layers of networks on teams of all sizes of an emulated board, each alone and while
/// the other clusters are busy.
pub(crate) fn profile(workspace: &Workspace, args: &ProfileArgs) -> Result<()> {
    let board = Board::load(workspace, &args.board)?;
    let clusters = args.clusters.clone().unwrap_or_else(|| Clusters(board.clusters()));
    let cpu = args.cpu.as_deref().unwrap_or_else(|| board.cpu());
    let path = args.path.as_deref().unwrap_or_else(|| kernel_path(cpu));
    let stages = clusters.teams();
    let tool = Tool::build(workspace)?;
    let image =
        Image::build(workspace, &board, Options { features: &["trace"], ..Options::default() })?;
    let (mut log, mut artefacts) = (String::new(), Vec::new());
    for network in &args.networks {
        let artefact = artefact_path(workspace, network)?;
        let network = std::path::absolute(network)?;
        tool.import(workspace, &network, &clusters.0, &stages, path, &artefact)?;
        let guest = Guest {
            board: &board,
            image: &image,
            artefact: Some(&artefact),
            cores: clusters.0.iter().sum(),
            cpu: args.cpu.as_deref(),
            el2: false,
            clock: Clock::Counted,
            arguments: format!(
                "clusters={} frames={} plans={}",
                clusters.spec(),
                args.frames,
                stages.len()
            ),
            limit_s: LIMIT_S,
        };
        let report = guest.run(workspace, |_| ())?;
        let text = report.lines.join("\n");
        ensure!(report.code == 0, "the firmware failed:\n{text}");
        log += &text;
        log.push('\n');
        artefacts.push(artefact);
    }
    let file = workspace.bare_metal_dir()?.join("console.txt");
    fs::write(&file, log).with_context(|| file.display().to_string())?;
    print!("{}", tool.profile(workspace, &file, &artefacts, &std::path::absolute(&args.output)?)?);
    Ok(())
}

/// Flags of `cargo xtask count`.
#[derive(clap::Args, Debug)]
pub(crate) struct CountArgs {
    /// Network (.tflite)
    network: PathBuf,
    /// Kind of core: cortex-a53, cortex-a76, max, …
    #[arg(long, default_value = "cortex-a53")]
    cpu: String,
    /// Kernel path to pack the network for [default: the fastest for the kind of core]
    #[arg(long)]
    path: Option<String>,
    /// Counts the instructions of each layer, too
    #[arg(long)]
    per_layer: bool,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// Counts the guest instructions of one inference on one core.
pub(crate) fn count(workspace: &Workspace, args: &CountArgs) -> Result<()> {
    let board = Board::load(workspace, "qemu-virt")?;
    let tool = Tool::build(workspace)?;
    let image =
        Image::build(workspace, &board, Options { example: Some("count"), ..Options::default() })?;
    let artefact = artefact_path(workspace, &args.network)?;
    let network = std::path::absolute(&args.network)?;
    let path = args.path.as_deref().unwrap_or_else(|| kernel_path(&args.cpu));
    tool.import(workspace, &network, &[1], &[], path, &artefact)?;
    let guest = Guest {
        board: &board,
        image: &image,
        artefact: Some(&artefact),
        cores: 1,
        cpu: Some(&args.cpu),
        el2: false,
        clock: Clock::Counted,
        arguments: String::new(),
        limit_s: LIMIT_S,
    };
    let report = guest.run(workspace, |_| ())?;
    if report.code != 0 {
        bail!("the firmware failed:\n{}", report.lines.join("\n"));
    }
    let instructions = report.cycles("frame").context("no count")?;
    let mut layers = Vec::new();
    if args.per_layer {
        let inspected = tool.inspect(workspace, &artefact)?;
        let described = inspected["layers"].as_array().context("pipeit inspect tells no layers")?;
        for (index, layer) in described.iter().enumerate() {
            let op = layer["op"].as_str().unwrap_or("?");
            let count = report.cycles(&format!("layer {index}")).context("no count of a layer")?;
            println!("{index:5}  {op:24} {count:>14}");
            layers.push(json!({ "layer": index, "op": op, "instructions": count }));
        }
    }
    println!("{instructions} instructions on {}", args.cpu);
    if args.json {
        let mut object = json!({
            "network": args.network.display().to_string(),
            "cpu": args.cpu,
            "path": path,
            "instructions": instructions,
        });
        if args.per_layer {
            object["layers"] = layers.into();
        }
        println!("{object}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_numbers_of_cores() {
        let clusters = parse_clusters("4+2").unwrap();
        assert_eq!(clusters, Clusters(vec![4, 2]));
        assert_eq!(clusters.spec(), "4+2");
        assert_eq!(clusters.stage_each(), "c0*4 c1*2");
        assert_eq!(
            Clusters(vec![1, 2]).teams(),
            ["c0*1", "c0*1+c1*2", "c1*1", "c1*1+c0*1", "c1*2", "c1*2+c0*1"]
        );
        assert!(parse_clusters("4+").is_err());
        assert!(parse_clusters("0").is_err());
    }
}
