//! The step `bare metal` of the test suite: networks, faults, sizes, logs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::board::Board;
use super::c_programs;
use super::commands::{self, Clusters, ProfileArgs};
use super::emulator::{Clock, Guest, Report};
use super::image::{Image, Options};
use super::snapshot;
use super::tool::{REFERENCE, Tool, kernel_path};
use crate::command::{capture, stream};
use crate::skips::SkipLog;
use crate::summary::seconds;
use crate::workspace::Workspace;

/// How much to test, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Everything, not a choice.
    pub(crate) all: bool,
    /// Whether what firmware prints becomes what it should print.
    pub(crate) bless: bool,
}

/// The network in the repository.
const DIGITS: &str = "tool/data/digits/digits.tflite";
/// One of two layers.
const TINY: &str = "tool/tests/data/ops/minimum/int8_right_scalar_const.tflite";
/// Small networks of the shared collection.
const SMALL: [&str; 5] = [
    "mlperf_resnet8_int8",
    "mlperf_vww_mobilenet025_96_int8",
    "mlperf_kws_dscnn_int8",
    "mlperf_ad01_int8",
    "tflm_micro_speech_int8",
];
/// Large ones, which run with one frame.
const LARGE: [&str; 2] = ["squeezenet10_real_int8", "mobilenet_v1_1.0_224_quant_stitched"];
const CPUS: [&str; 4] = ["cortex-a53", "cortex-a72", "cortex-a76", "max"];
/// Clusters on one to eight cores.
const CLUSTERS: [&[usize]; 4] = [&[1], &[1, 1], &[4, 2], &[4, 4]];
/// Partitions of the network with three plans, on two, six and eight cores.
const PLANS: [(&[usize], [&str; 3]); 3] = [
    (&[1, 1], ["c0*1 c1*1", "c1*1 c0*1", "c0*1+c1*1"]),
    (&[4, 2], ["c0*4 c1*2", "c0*1+c0*1+c0*1+c0*1 c1*2", "c0*2 c1*2 c0*2"]),
    (&[4, 4], ["c0*4 c1*4", "c0*1+c0*1+c0*1+c0*1 c1*4", "c0*2 c1*2 c0*2 c1*2"]),
];

/// Most bytes of code and constants in an image with a small network linked in.
const CODE_BYTES: u64 = 96 * 1024;
/// The same for ResNet-8 with portable kernels.
const PORTABLE_BYTES: u64 = 64 * 1024;
/// Longest time for a run, in seconds; a busy host may take most of it.
const LIMIT_S: u32 = 240;
/// The same for a large network.
const LARGE_LIMIT_S: u32 = 1800;
/// Frames through two cores in parallel.
const MANY_FRAMES: u32 = 100_000;

/// Exit codes of the firmware; see the table in the README.
const EXCEPTION: i32 = 17;
const ARGUMENT: i32 = 18;
const ARTEFACT: i32 = 19;
const MEMORY: i32 = 21;
const STALLED: i32 = 24;

/// Runs everything; returns a line per failure.
pub(crate) fn run(workspace: &Workspace, skips: &SkipLog, scope: Scope) -> Vec<String> {
    let mut failures: Vec<String> = lints(workspace)
        .iter_mut()
        .filter_map(|command| stream(command).err())
        .map(|error| format!("{error:#}"))
        .collect();
    match Suite::new(workspace, scope) {
        Ok(mut suite) => {
            let results =
                [suite.snapshots(), suite.faults(), suite.networks(skips), suite.images(skips)];
            let others = [suite.many_frames(), suite.log(), suite.heap(), suite.linked_elsewhere()];
            let others = others.into_iter().chain([suite.calibration()]);
            let errors = results.into_iter().chain(others).filter_map(Result::err);
            failures.extend(errors.map(|error| format!("{error:#}")));
            failures.extend(suite.failures);
        }
        Err(error) => failures.push(format!("{error:#}")),
    }
    failures
}

/// The format and the lints of the firmware.
fn lints(workspace: &Workspace) -> Vec<Command> {
    let cargo = |args: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.current_dir(workspace.boards()).args(args);
        cargo
    };
    let clippy = |features: &str, more: &[&str]| {
        let mut clippy = cargo(&["clippy", "--quiet", "--features", features]);
        clippy.arg("--target-dir").arg(workspace.target_dir().join("boards"));
        clippy.args(more).args(["--", "-D", "warnings"]);
        clippy
    };
    let boards = ["--package", "qemu-virt", "--package", "raspi3b", "--bins", "--examples"];
    let minimal = ["--package", "minimal"];
    let libraries = ["--package", "pipeit-board", "--package", "pipeit-firmware"];
    // Outside the folder whose settings choose the target.
    let mut host = workspace.cargo();
    host.args(["clippy", "--quiet", "--manifest-path", "boards/Cargo.toml", "--target-dir"]);
    host.arg(workspace.target_dir().join("boards"));
    host.args(["--package", "decode", "--package", "pipeit-board-build", "--", "-D", "warnings"]);
    vec![
        cargo(&["fmt", "--all", "--check"]),
        host,
        clippy("", &boards),
        clippy("", &minimal),
        clippy("faults", &libraries),
        clippy("defmt", &libraries),
        clippy("trace", &libraries),
    ]
}

/// A network in a file.
#[derive(Clone, Debug)]
struct Network {
    name: String,
    path: PathBuf,
}

/// A run of a network that should go well.
#[derive(Clone, Debug)]
struct Case<'a> {
    network: &'a Network,
    clusters: &'a [usize],
    /// `None` for a stage per cluster.
    stages: Option<&'a str>,
    cpu: Option<&'a str>,
    frames: u32,
    el2: bool,
    clock: Clock,
}

struct Suite<'w> {
    workspace: &'w Workspace,
    scope: Scope,
    tool: Tool,
    virt: Board,
    raspi: Board,
    digits: Network,
    failures: Vec<String>,
}

impl<'w> Suite<'w> {
    fn new(workspace: &'w Workspace, scope: Scope) -> Result<Self> {
        let digits = Network { name: "digits".to_owned(), path: workspace.root().join(DIGITS) };
        Ok(Self {
            workspace,
            scope,
            tool: Tool::build(workspace)?,
            virt: Board::load(workspace, "qemu-virt")?,
            raspi: Board::load(workspace, "raspi3b")?,
            digits,
            failures: Vec::new(),
        })
    }

    fn image(&self, board: &Board, features: &[&str]) -> Result<Image> {
        Image::build(self.workspace, board, Options { features, ..Options::default() })
    }

    /// The artefact of a network for the kernel path `path`, with the plan of the partition
    /// `stages` in front.
    fn artefact_for(
        &self,
        network: &Network,
        clusters: &[usize],
        stages: &str,
        path: &str,
    ) -> Result<PathBuf> {
        let clusters_spec = Clusters(clusters.to_vec()).spec();
        let mut name = format!("{}-{clusters_spec}-{path}-", network.name);
        name.extend(stages.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }));
        let artefact = self.workspace.bare_metal_dir()?.join(format!("{name}.pipeit"));
        let stages = [stages.to_owned()];
        self.tool.import(self.workspace, &network.path, clusters, &stages, path, &artefact)?;
        Ok(artefact)
    }

    /// The same for the path of the board's own cores.
    fn artefact(&self, network: &Network, clusters: &[usize], stages: &str) -> Result<PathBuf> {
        self.artefact_for(network, clusters, stages, kernel_path(self.virt.cpu()))
    }

    /// The checksum of the outputs of a network on this host, by kernels of its own.
    fn hash(&self, network: &Network, frames: u32) -> Result<String> {
        self.tool.hash(self.workspace, &network.path, frames)
    }

    /// Notes a failure, or says that all went well.
    fn note(&mut self, name: &str, begun: Instant, result: Result<()>) {
        match result {
            Ok(()) => println!("{name}: ok ({})", seconds(begun.elapsed())),
            Err(error) => {
                println!("{name}: FAILED: {error:#}");
                self.failures.push(format!("{name}: {error:#}"));
            }
        }
    }

    /// Networks of all kinds on cores of all kinds give the bytes of the hosted run.
    fn networks(&mut self, skips: &SkipLog) -> Result<()> {
        let Some(shared) = shared(skips, "networks on bare metal")? else { return Ok(()) };
        let find = |name: &str| Network {
            name: name.to_owned(),
            path: shared.join("models").join(format!("{name}.tflite")),
        };
        let small = SMALL.map(find);
        let case = |network, clusters, cpu| Case {
            network,
            clusters,
            stages: None,
            cpu: Some(cpu),
            frames: 8,
            el2: false,
            clock: Clock::Counted,
        };
        let mut cases = Vec::new();
        for (n, network) in small.iter().enumerate() {
            for (i, clusters) in CLUSTERS.into_iter().enumerate() {
                for (j, cpu) in CPUS.into_iter().enumerate() {
                    // Of each network, a run for each kind of core and each number of them.
                    if self.scope.all || (n + i) % CPUS.len() == j {
                        cases.push(case(network, clusters, cpu));
                    }
                }
            }
        }
        for (clusters, plans) in PLANS {
            for cpu in CPUS {
                if self.scope.all || (clusters == [4, 4] && cpu == "cortex-a72") {
                    let plan =
                        |stages| Case { stages: Some(stages), ..case(&small[0], clusters, cpu) };
                    cases.extend(plans.map(plan));
                }
            }
        }
        cases.push(Case { el2: true, ..case(&small[0], &[4, 4], "cortex-a53") });
        let large = LARGE.map(find);
        if self.scope.all {
            let frame = |network| Case { frames: 1, ..case(network, &[4, 4], "cortex-a72") };
            cases.extend(large.iter().map(frame));
        }
        let virt = self.image(&self.virt, &[])?;
        let raspi = self.image(&self.raspi, &[])?;
        for case in &cases {
            self.good_run(case, &virt, false);
        }
        for network in &small {
            self.good_run(&Case { cpu: None, ..case(network, &[4], "") }, &raspi, true);
        }
        Ok(())
    }

    fn good_run(&mut self, case: &Case<'_>, image: &Image, raspi: bool) {
        let begun = Instant::now();
        let board = if raspi { &self.raspi } else { &self.virt };
        let clusters = Clusters(case.clusters.to_vec());
        let stages = case.stages.map_or_else(|| clusters.stage_each(), str::to_owned);
        let cpu = case.cpu.unwrap_or(&board.name);
        let name = format!("{} on {cpu} {} {stages:?}", case.network.name, clusters.spec());
        let attempt = || {
            let path = kernel_path(case.cpu.unwrap_or(board.cpu()));
            let artefact = self.artefact_for(case.network, case.clusters, &stages, path)?;
            let expected = self.hash(case.network, case.frames)?;
            let guest = Guest {
                board,
                image,
                artefact: Some(&artefact),
                cores: case.clusters.iter().sum(),
                cpu: case.cpu,
                el2: case.el2,
                clock: case.clock,
                arguments: format!("clusters={} frames={}", clusters.spec(), case.frames),
                limit_s: if case.frames == 1 { LARGE_LIMIT_S } else { LIMIT_S },
            };
            let report = guest.run(self.workspace, |_| ())?;
            succeeded(&report)?;
            let found = report.hash();
            ensure!(found == Some(&*expected), "hash {found:?}, hosted {expected}");
            Ok(())
        };
        let result = attempt();
        self.note(&name, begun, result);
    }

    /// A guest that runs the digits on eight cores, the same every time.
    fn guest<'g>(
        &'g self,
        board: &'g Board,
        image: &'g Image,
        artefact: &'g Path,
        arguments: &str,
    ) -> Guest<'g> {
        Guest {
            board,
            image,
            artefact: Some(artefact),
            cores: board.cores(),
            cpu: None,
            el2: false,
            clock: Clock::Counted,
            arguments: arguments.to_owned(),
            limit_s: LIMIT_S,
        }
    }

    /// What the firmware prints, line by line.
    fn snapshots(&mut self) -> Result<()> {
        let artefact = self.artefact(&self.digits, &[4, 4], "c0*4 c1*4")?;
        let one_cluster = self.artefact(&self.digits, &[4], "c0*2 c0*2")?;
        let (virt, raspi) = (self.image(&self.virt, &[])?, self.image(&self.raspi, &[])?);
        let guest = self.guest(&self.virt, &virt, &artefact, "clusters=4+4");
        let runs = [
            ("8-of-8-cores", guest.run(self.workspace, |_| ())),
            ("6-of-8-cores", Guest { cores: 6, ..guest.clone() }.run(self.workspace, |_| ())),
            ("from-el2", Guest { el2: true, ..guest }.run(self.workspace, |_| ())),
            (
                "raspi3b",
                self.guest(&self.raspi, &raspi, &one_cluster, "").run(self.workspace, |_| ()),
            ),
        ];
        for (name, report) in runs {
            let begun = Instant::now();
            let result = report.and_then(|report| {
                succeeded(&report)?;
                self.compare(name, &report)
            });
            self.note(name, begun, result);
        }
        Ok(())
    }

    fn compare(&self, name: &str, report: &Report) -> Result<()> {
        let path = self.workspace.root().join("tests/bare-metal").join(name);
        snapshot::compare(&path.with_extension("txt"), &report.lines, self.scope.bless)
    }

    /// Faults are reported by their exit codes, in time.
    fn faults(&mut self) -> Result<()> {
        let artefact = self.artefact(&self.digits, &[4, 4], "c0*4 c1*4")?;
        let teams = self.artefact(&self.digits, &[4, 4], "c0*1+c0*1+c0*1+c0*1 c1*4")?;
        let (virt, raspi) =
            (self.image(&self.virt, &["faults"])?, self.image(&self.raspi, &["faults"])?);
        let faults = [
            ("core-silent", &artefact, "fault=silent:6", 0),
            ("leader-halted", &artefact, "stall-ms=200 fault=halt:4@9", STALLED),
            ("member-halted", &artefact, "stall-ms=200 fault=halt:2@9", STALLED),
            ("feeder-halted", &teams, "stall-ms=200 fault=halt:0@9", STALLED),
            ("undefined-instruction", &artefact, "fault=undefined", EXCEPTION),
            ("stack-overflow", &artefact, "fault=overflow", EXCEPTION),
            ("bad-argument", &artefact, "frames=many", ARGUMENT),
        ];
        for (name, artefact, arguments, code) in faults {
            let begun = Instant::now();
            let arguments = format!("clusters=4+4 {arguments}");
            // A second of waiting is long where it is counted in instructions.
            let clock = if name == "core-silent" { Clock::Host } else { Clock::Counted };
            let guest = Guest { clock, ..self.guest(&self.virt, &virt, artefact, &arguments) };
            let result = guest.run(self.workspace, |_| ()).and_then(|report| {
                ended(&report, code)?;
                self.compare(name, &report)
            });
            self.note(name, begun, result);
        }

        // Interrupts while NEON registers are in use change nothing.
        let begun = Instant::now();
        let one_cluster = self.artefact(&self.digits, &[4], "c0*4")?;
        let control = 0x4000_0040;
        let arguments = format!("fault=ticks:{control}");
        let report = self
            .guest(&self.raspi, &raspi, &one_cluster, &arguments)
            .run(self.workspace, |_| ())?;
        let expected = self.hash(&self.digits, 8)?;
        let result = succeeded(&report).and_then(|()| {
            let ticks = report.lines.iter().find_map(|line| line.strip_prefix("interrupts: "));
            let ticks: u32 = ticks.and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
            ensure!(ticks > 10, "{ticks} interrupts");
            ensure!(report.hash() == Some(&*expected), "other outputs");
            Ok(())
        });
        self.note("timer-interrupts", begun, result);

        self.slowed_cluster(&virt)?;
        let virt = self.image(&self.virt, &[])?;
        self.flipped_bits(&virt, &artefact)?;
        self.short_of_memory(&virt, &artefact)
    }

    /// Where a cluster slows down and plans may change, one that leaves it alone takes over, and no
    /// frame is lost; else the plan stays.
    fn slowed_cluster(&mut self, virt: &Image) -> Result<()> {
        let cores = ["c0*1"; 4].into_iter().chain(["c1*1"; 4]).collect::<Vec<_>>().join("+");
        let artefact = self.artefact(&self.digits, &[4, 4], &cores)?;
        let expected = self.hash(&self.digits, 60)?;
        for (name, fault) in [("plan kept", ""), ("cluster slowed", "fault=slow:4@60")] {
            let begun = Instant::now();
            let arguments = format!("clusters=4+4 frames=60 live-ms=20 {fault}");
            let report =
                self.guest(&self.virt, virt, &artefact, &arguments).run(self.workspace, |_| ())?;
            let result = succeeded(&report).and_then(|()| {
                let mut after = report.lines.iter().skip_while(|line| !line.contains(" takes "));
                let changed = after.next().is_some();
                ensure!(changed != fault.is_empty(), "changed: {changed}");
                let works = after.any(|line| line.starts_with("  cluster 1 "));
                ensure!(!works, "the slow cluster has work");
                ensure!(report.hash() == Some(&*expected), "other outputs than the hosted run");
                Ok(())
            });
            self.note(name, begun, result);
        }
        Ok(())
    }

    /// Firmware times layers on every team of every cluster, and others plan by that.
    fn calibration(&mut self) -> Result<()> {
        let begun = Instant::now();
        let output = self.workspace.bare_metal_dir()?.join("profile.json");
        let args = ProfileArgs {
            networks: vec![self.digits.path.clone()],
            board: self.virt.name.clone(),
            clusters: Some(Clusters(vec![2, 1])),
            cpu: None,
            path: None,
            frames: 2,
            output: output.clone(),
        };
        let attempt = || {
            commands::profile(self.workspace, &args)?;
            let profile: Value = serde_json::from_str(&fs::read_to_string(&output)?)?;
            let rows = profile["rows"].as_array().context("no rows")?;
            let layers = |cluster: &str, cores: u64| {
                let own = |row: &&Value| row["cluster"] == cluster && row["cores"] == cores;
                let timed = |row: &&Value| row["ns"].as_f64() > Some(0.0);
                rows.iter().filter(own).filter(timed).filter(|row| row["busy_ns"].is_f64()).count()
            };
            let counts = [layers("c0", 1), layers("c0", 2), layers("c1", 1)];
            ensure!(counts == [14; 3], "{counts:?} layers of digits, not 14");
            Ok(())
        };
        let result = attempt();
        self.note("calibration", begun, result);
        Ok(())
    }

    /// One flipped bit in the header, in the section table and in each section.
    fn flipped_bits(&mut self, virt: &Image, artefact: &Path) -> Result<()> {
        let good = fs::read(artefact)?;
        let word = |at: usize| -> Result<usize> {
            let bytes = good.get(at..at + 4).context("a short artefact")?;
            Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
        };
        let sections = usize::from(good[10]);
        // Byte 0 is the magic, byte 24 a count, byte 68 an offset in the table.
        let mut places = vec![("magic".to_owned(), 0), ("header".to_owned(), 24)];
        places.push(("table".to_owned(), 68));
        for section in 0..sections {
            let (start, len) = (word(64 + 16 * section + 4)?, word(64 + 16 * section + 8)?);
            places.push((format!("section {section}"), start + len / 2));
        }
        let damaged = artefact.with_extension("damaged");
        for (what, at) in places {
            let begun = Instant::now();
            let mut bytes = good.clone();
            *bytes.get_mut(at).context("a short artefact")? ^= 0x10;
            fs::write(&damaged, bytes)?;
            let guest = self.guest(&self.virt, virt, &damaged, "clusters=4+4");
            let result = guest.run(self.workspace, |_| ());
            let result = result.and_then(|report| ended(&report, ARTEFACT));
            self.note(&format!("flipped bit in {what}"), begun, result);
        }
        Ok(())
    }

    /// Exactly the memory that is needed is enough; a page less is not.
    fn short_of_memory(&mut self, virt: &Image, artefact: &Path) -> Result<()> {
        let begun = Instant::now();
        let run = |arguments: &str| {
            self.guest(&self.virt, virt, artefact, arguments).run(self.workspace, |_| ())
        };
        let needed = number_after(&run("clusters=4+4 frames=1")?, "all ")?;
        let attempt = || {
            succeeded(&run(&format!("clusters=4+4 frames=1 ram={needed}"))?)?;
            let short = run(&format!("clusters=4+4 frames=1 ram={}", needed - 4096))?;
            ended(&short, MEMORY)
        };
        let result = attempt();
        self.note("a page of RAM short", begun, result);
        Ok(())
    }

    /// Images with the artefact linked in: how large they are, and that they run.
    fn images(&mut self, skips: &SkipLog) -> Result<()> {
        let mut images = vec![(self.digits.clone(), "neon", CODE_BYTES)];
        if let Some(shared) = shared(skips, "size of the image of ResNet-8")? {
            let path = shared.join("models").join(format!("{}.tflite", SMALL[0]));
            let network = Network { name: SMALL[0].to_owned(), path };
            images.push((network.clone(), "neon", CODE_BYTES));
            images.push((network, REFERENCE, PORTABLE_BYTES));
        }
        for (network, path, most) in images {
            let begun = Instant::now();
            let result = self.linked(&network, path, most);
            self.note(&format!("{} linked in, {path} kernels", network.name), begun, result);
        }
        Ok(())
    }

    fn linked(&self, network: &Network, path: &str, most_bytes: u64) -> Result<()> {
        let artefact = self.artefact_for(network, &[4, 4], "c0*4 c1*4", path)?;
        let options =
            Options { profile: "release", artefact: Some(&artefact), ..Options::default() };
        let image = Image::build(self.workspace, &self.virt, options)?;
        let (text, constants) = (image.section_bytes(".text")?, image.section_bytes(".rodata")?);
        let linked = image.section_bytes(".artefact")?;
        println!("{}, {path}: .text {text}, .rodata {constants}, .artefact {linked}", network.name);
        ensure!(linked == fs::metadata(&artefact)?.len(), "not the whole artefact is linked in");
        let bytes = text + constants;
        ensure!(bytes <= most_bytes, "{bytes} bytes of code, want at most {most_bytes}");
        let symbols = image.symbols()?;
        let heap = symbols.iter().find(|name| name.contains("rust_alloc"));
        ensure!(heap.is_none(), "a heap is linked in: {heap:?}");

        let guest = Guest {
            artefact: None,
            ..self.guest(&self.virt, &image, &artefact, "clusters=4+4 frames=8")
        };
        let report = guest.run(self.workspace, |_| ())?;
        succeeded(&report)?;
        let expected = self.hash(network, 8)?;
        ensure!(report.hash() == Some(&*expected), "other outputs than the hosted run");
        let arena = number_after(&report, "arena ")?;
        let inspected = self.tool.inspect(self.workspace, &artefact)?;
        let planned = inspected["plans"][0]["arena_bytes"].as_u64();
        ensure!(planned == Some(arena), "arena {arena}, pipeit inspect tells {planned:?}");
        number_after(&report, "stack: ").map(drop)
    }

    /// Two cores that truly run at the same time lose nothing.
    fn many_frames(&mut self) -> Result<()> {
        let virt = self.image(&self.virt, &[])?;
        let tiny = Network { name: "tiny".to_owned(), path: self.workspace.root().join(TINY) };
        let case = Case {
            network: &tiny,
            clusters: &[1, 1],
            stages: None,
            cpu: None,
            frames: MANY_FRAMES,
            el2: false,
            clock: Clock::Parallel,
        };
        self.good_run(&case, &virt, false);
        Ok(())
    }

    /// What all cores log can be decoded, and tells the core.
    fn log(&mut self) -> Result<()> {
        let begun = Instant::now();
        let artefact = self.artefact(&self.digits, &[4, 4], "c0*4 c1*4")?;
        let image = self.image(&self.virt, &["defmt"])?;
        let report = self
            .guest(&self.virt, &image, &artefact, "clusters=4+4")
            .run(self.workspace, |_| ())?;
        let result = succeeded(&report).and_then(|()| {
            let mut decode = self.workspace.cargo();
            decode.args(["run", "--quiet", "--manifest-path", "boards/Cargo.toml"]);
            decode.args(["--package", "decode", "--target-dir"]);
            decode.arg(self.workspace.target_dir().join("boards")).arg("--");
            decode.arg(image.path()).arg(self.workspace.bare_metal_dir()?.join("defmt.bin"));
            let text = capture(&mut decode)?;
            let cores: Vec<Option<usize>> = text.lines().map(core_of).collect();
            for core in 0..self.virt.cores() {
                ensure!(cores.contains(&Some(core)), "core {core} is silent:\n{text}");
            }
            ensure!(!cores.contains(&None), "a line without a core:\n{text}");
            Ok(())
        });
        self.note("log of all cores", begun, result);
        Ok(())
    }

    /// Other people's firmware: the smallest there is, and C programs.
    fn linked_elsewhere(&mut self) -> Result<()> {
        let begun = Instant::now();
        let artefact = self.artefact(&self.digits, &[3, 4], "c0*3 c1*4")?;
        let options =
            Options { package: Some("minimal"), artefact: Some(&artefact), ..Options::default() };
        let minimal = Image::build(self.workspace, &self.virt, options)?;
        let guest = Guest { artefact: None, ..self.guest(&self.virt, &minimal, &artefact, "") };
        let result = guest.run(self.workspace, |_| ()).and_then(|report| succeeded(&report));
        self.note("smallest firmware", begun, result);

        let expected = format!("frames 8, hash {}", self.hash(&self.digits, 8)?);
        let begun = Instant::now();
        let result = c_programs::firmware(self.workspace).and_then(|firmware| {
            let guest = self.guest(&self.virt, &firmware, &artefact, "");
            let report = guest.run(self.workspace, |_| ())?;
            succeeded(&report)?;
            ensure!(report.lines.contains(&expected), "{:?}, not {expected}", report.lines);
            Ok(())
        });
        self.note("C firmware", begun, result);

        // For the host and the board alike.
        let stages = "c0*3 c1*4";
        let artefact = self.artefact_for(&self.digits, &[3, 4], stages, REFERENCE)?;
        let begun = Instant::now();
        let result = c_programs::host(self.workspace).and_then(|program| {
            let mut program = self.workspace.limited(LIMIT_S, program);
            let text = capture(program.arg(&artefact).arg("3+4"))?;
            ensure!(text.lines().any(|line| line == expected), "{text:?}, not {expected}");
            Ok(())
        });
        self.note("C program of the host", begun, result);
        Ok(())
    }

    /// The example that has a heap.
    fn heap(&mut self) -> Result<()> {
        let begun = Instant::now();
        let artefact = self.artefact(&self.digits, &[4, 4], "c0*4 c1*4")?;
        let options = Options { example: Some("preprocess"), ..Options::default() };
        let image = Image::build(self.workspace, &self.virt, options)?;
        let report = self
            .guest(&self.virt, &image, &artefact, "clusters=4+4")
            .run(self.workspace, |_| ())?;
        let result = succeeded(&report).and_then(|()| self.compare("preprocess", &report));
        self.note("example with a heap", begun, result);
        Ok(())
    }
}

/// The folder with networks that are not in the repository, unless `test` is left out.
fn shared(skips: &SkipLog, test: &str) -> Result<Option<PathBuf>> {
    let shared = std::env::var_os("PIPEIT_SHARED");
    if shared.is_none() {
        skips.add(test, "PIPEIT_SHARED is not set")?;
    }
    shared.map(|path| std::path::absolute(path).context("PIPEIT_SHARED")).transpose()
}

fn succeeded(report: &Report) -> Result<()> {
    ended(report, 0)
}

fn ended(report: &Report, code: i32) -> Result<()> {
    if report.code != code {
        let mut text = String::new();
        for line in &report.lines {
            write!(text, "\n    {line}")?;
        }
        bail!("exit code {}, not {code}:{text}", report.code);
    }
    Ok(())
}

/// The number behind the first `word` of a report.
fn number_after(report: &Report, word: &str) -> Result<u64> {
    let find = |line: &String| {
        let rest = line.split_once(word)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    report.lines.iter().find_map(find).with_context(|| format!("no {word:?} in the report"))
}

/// The core in front of a line of the log.
fn core_of(line: &str) -> Option<usize> {
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        let lines = vec!["memory: tables 5, arena 1234, all 99 of 100 bytes".to_owned()];
        let report = Report { code: 0, lines };
        assert_eq!(number_after(&report, "arena ").unwrap(), 1234);
        assert_eq!(number_after(&report, "all ").unwrap(), 99);
        assert!(number_after(&report, "stack: ").is_err());
        assert_eq!(core_of("3 0.001 DEBUG core 3 works"), Some(3));
        assert_eq!(core_of("DEBUG x"), None);
    }
}
