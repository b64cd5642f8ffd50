//! The machine to run on: what there is, or what the flags declare.

use std::fs;

use pipeit_planner::board::Board;
use pipeit_rt::Model;
use pipeit_rt::kernels::Path;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_rt::topology::{MAX_CLUSTERS, MAX_CORES};

use crate::pack::PackTarget;
use crate::session::KERNELS;

/// Flags that choose among the machine's cores.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CoreArgs {
    /// CPUs to use, such as 0,2-3 [default: all this process may use]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Kernel path: reference, neon, dotprod, i8mm, avx2, avx512vnni or amx [default: the fastest
    /// this CPU can execute]
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub path: Option<Path>,
}

/// Flags that describe a machine.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct MachineArgs {
    /// Which cores and kernels.
    #[command(flatten)]
    pub cores: CoreArgs,
    /// Clusters of CPUs, such as "big=0-1 little=2,3"; a CPU may stand in several
    #[arg(long, value_name = "NAME=LIST ...", conflicts_with = "cores")]
    pub clusters: Option<String>,
    /// Emulates a slower cluster, such as little=2.5; repeatable
    #[arg(long, value_name = "NAME=FACTOR")]
    pub slow: Vec<String>,
}

/// Why there is no such machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// Not a list of CPUs.
    #[error("\"{text}\" is not a list of CPUs such as 0,2-3")]
    List {
        /// As written.
        text: String,
    },
    /// Not a cluster.
    #[error("\"{text}\" is not a cluster such as big=0-1")]
    Cluster {
        /// As written.
        text: String,
    },
    /// A name stands for two clusters.
    #[error("cluster \"{name}\" is declared twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// No cluster of that name.
    #[error("no cluster \"{name}\"; the machine has {known}")]
    UnknownCluster {
        /// The name.
        name: String,
        /// The clusters there are.
        known: String,
    },
    /// Not a factor to slow a cluster by.
    #[error("\"{text}\" is not a cluster and how many times slower it is, such as little=2.5")]
    Slow {
        /// As written.
        text: String,
    },
    /// A CPU this process may not use, or that is not there.
    #[error("this process may not use CPU {cpu}, or there is none; it may use {present}")]
    NoCpu {
        /// The CPU.
        cpu: usize,
        /// Those it may use.
        present: String,
    },
    /// More than the runtime allows for.
    #[error("{clusters} clusters with {cores} cores; at most {MAX_CLUSTERS} and {MAX_CORES}")]
    TooLarge {
        /// Clusters declared.
        clusters: usize,
        /// Cores declared.
        cores: usize,
    },
    /// This program has no kernels for the path.
    #[error("this program has no kernels for path {path}; it has {known}")]
    PathNotLinked {
        /// The path.
        path: Path,
        /// The paths it has.
        known: String,
    },
    /// The CPU cannot execute the kernels of the path.
    #[error("this CPU cannot execute the kernels of path {path}")]
    PathNotSupported {
        /// The path.
        path: Path,
    },
}

impl CoreArgs {
    /// The CPUs to use.
    ///
    /// # Errors
    ///
    /// A malformed list, a CPU that is not there.
    pub fn cpus(&self) -> Result<Vec<usize>, MachineError> {
        let present = present();
        match &self.cores {
            Some(text) => parse_cpus(text, &present),
            None => Ok(present),
        }
    }

    /// What to pack a network for: the path asked for, or the fastest here, and the caches of
    /// the CPUs to use, where these can execute it.
    #[must_use]
    pub fn target(&self) -> PackTarget {
        let here = || KERNELS.iter().filter(|table| (table.supported)()).map(|table| table.path);
        let path = self.path.or_else(|| here().next()).unwrap_or(Path::Reference);
        let caches = here().any(|supported| supported == path).then(|| self.cpus().ok()).flatten();
        let l2_bytes = caches.into_iter().flatten().filter_map(l2_bytes).min();
        match l2_bytes {
            Some(l2_bytes) => PackTarget { path, l2_bytes, moves_in_place: is_amd() },
            None => path.into(),
        }
    }

    /// The kernel path to plan `model` for: the one asked for, or the first it is packed for.
    #[must_use]
    pub fn path_in(&self, model: &Model<'_>) -> Path {
        self.path.or_else(|| model.paths.first().copied()).unwrap_or(Path::Reference)
    }

    /// As [`target`](Self::target), but for kernels this program has and this CPU can execute.
    ///
    /// # Errors
    ///
    /// [`MachineError::PathNotLinked`], [`MachineError::PathNotSupported`].
    pub fn own_target(&self) -> Result<PackTarget, MachineError> {
        let target = self.target();
        let path = target.path;
        let table = KERNELS.iter().find(|table| table.path == path);
        let table = table.ok_or_else(|| MachineError::PathNotLinked {
            path,
            known: join(KERNELS.iter().map(|table| table.path)),
        })?;
        if (table.supported)() { Ok(target) } else { Err(MachineError::PathNotSupported { path }) }
    }
}

impl MachineArgs {
    /// The machine the flags describe.
    ///
    /// # Errors
    ///
    /// The first flag that does not fit.
    pub fn machine(&self) -> Result<Machine, MachineError> {
        let mut machine = match (&self.clusters, &self.cores.cores) {
            (Some(text), _) => declared(text)?,
            (None, Some(_)) => {
                Machine { clusters: vec![HostCluster::new("cpu", self.cores.cpus()?)] }
            }
            (None, None) => Machine::detect(),
        };
        machine = self.slowed(machine)?;
        let cores = machine.clusters.iter().map(|cluster| cluster.cpus.len()).sum();
        if machine.topology().is_err() {
            return Err(MachineError::TooLarge { clusters: machine.clusters.len(), cores });
        }
        Ok(machine)
    }

    /// `machine` with the clusters slowed that the flags say.
    ///
    /// # Errors
    ///
    /// [`MachineError::Slow`], [`MachineError::UnknownCluster`].
    pub fn slowed(&self, mut machine: Machine) -> Result<Machine, MachineError> {
        for text in &self.slow {
            slow_down(&mut machine, text)?;
        }
        Ok(machine)
    }
}

/// A machine with the clusters of `board`, which nothing can run on.
#[must_use]
pub fn stand_in(board: &Board) -> Machine {
    let cluster = |cluster: &pipeit_planner::board::Cluster| {
        HostCluster::new(&cluster.name, (0..cluster.cores()).collect())
    };
    Machine { clusters: board.clusters.iter().map(cluster).collect() }
}

/// The CPUs this process may use, in order.
fn present() -> Vec<usize> {
    let mut cpus: Vec<_> = Machine::detect().clusters.into_iter().flat_map(|c| c.cpus).collect();
    cpus.sort_unstable();
    cpus
}

fn declared(text: &str) -> Result<Machine, MachineError> {
    let present = present();
    let mut clusters: Vec<HostCluster> = Vec::new();
    for text in text.split_whitespace() {
        let error = || MachineError::Cluster { text: text.to_owned() };
        let (name, cpus) = text.split_once('=').ok_or_else(error)?;
        // A name must not look like a part of a partition.
        if name.is_empty() || name.contains(['*', '+', '=']) {
            return Err(error());
        }
        if clusters.iter().any(|cluster| cluster.name == name) {
            return Err(MachineError::Twice { name: name.to_owned() });
        }
        clusters.push(HostCluster::new(name, parse_cpus(cpus, &present)?));
    }
    if clusters.is_empty() {
        return Err(MachineError::Cluster { text: text.to_owned() });
    }
    Ok(Machine { clusters })
}

fn slow_down(machine: &mut Machine, text: &str) -> Result<(), MachineError> {
    let error = || MachineError::Slow { text: text.to_owned() };
    let (name, factor) = text.split_once('=').ok_or_else(error)?;
    let factor = factor.parse().ok().filter(|factor| (1.0..=1000.0).contains(factor));
    let factor: f64 = factor.ok_or_else(error)?;
    let known = || join(machine.clusters.iter().map(|cluster| &cluster.name));
    let unknown = MachineError::UnknownCluster { name: name.to_owned(), known: known() };
    let cluster = machine.clusters.iter_mut().find(|cluster| cluster.name == name);
    cluster.ok_or(unknown)?.slowdown_permille = (factor * 1000.0).round() as u32;
    Ok(())
}

/// Numbers and ranges of numbers separated by commas.
fn parse_cpus(text: &str, present: &[usize]) -> Result<Vec<usize>, MachineError> {
    let error = || MachineError::List { text: text.to_owned() };
    let number = |text: &str| text.parse::<usize>().map_err(|_| error());
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(error());
        }
        for cpu in first..=last {
            if !present.contains(&cpu) {
                return Err(MachineError::NoCpu { cpu, present: join(present) });
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// Bytes of the second-level cache of a CPU, where the system tells.
fn l2_bytes(cpu: usize) -> Option<u32> {
    let cache = |index: usize| format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
    let read = |file: String| fs::read_to_string(file).ok();
    let is_second =
        |folder: &String| read(format!("{folder}/level")).is_some_and(|level| level.trim() == "2");
    let size = read(format!("{}/size", (0..4).map(cache).find(is_second)?))?;
    size.trim().strip_suffix('K')?.parse::<u32>().ok()?.checked_mul(1 << 10)
}

/// Whether the CPUs are AMD's, which add beside what multiplies.
fn is_amd() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| info.contains("AuthenticAMD"))
}

fn parse_path(text: &str) -> Result<Path, String> {
    let known = || join(Path::ALL);
    let path = Path::ALL.into_iter().find(|path| path.name() == text);
    path.ok_or_else(|| format!("no such kernel path; the paths are {}", known()))
}

fn join(names: impl IntoIterator<Item = impl ToString>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let present: Vec<_> = (0..4).collect();
        assert_eq!(parse_cpus("0,2-3,0", &present), Ok(vec![0, 2, 3, 0]));
        for text in ["", "a", "1-", "3-2", "0,,1", "-1"] {
            assert_eq!(parse_cpus(text, &present), Err(MachineError::List { text: text.into() }));
        }
        let error = MachineError::NoCpu { cpu: 4, present: "0, 1, 2, 3".into() };
        assert_eq!(parse_cpus("2-18446744073709551615", &present), Err(error));
    }

    #[test]
    fn clusters_and_slow_ones() {
        let cpu = present()[0];
        let args = |clusters: &str, slow: &str| MachineArgs {
            clusters: Some(clusters.replace('N', &cpu.to_string())),
            slow: vec![slow.to_owned()],
            ..MachineArgs::default()
        };
        let machine = args("big=N little=N,N", "little=2.5").machine().unwrap();
        assert_eq!(machine.clusters[1].cpus, [cpu, cpu]);
        assert_eq!(machine.clusters[1].slowdown_permille, 2500);
        assert_eq!(machine.clusters[0].slowdown_permille, 1000);
        let error = |clusters, slow| args(clusters, slow).machine().unwrap_err().to_string();
        assert!(error("big", "big=1").contains("\"big\" is not a cluster"));
        assert!(error("big=N big=N", "big=1").contains("declared twice"));
        assert!(error("big=N", "little=2").contains("no cluster \"little\"; the machine has big"));
        assert!(error("big=N", "big=0.5").contains("how many times slower"));
        assert!(error("a=N b=N c=N d=N e=N f=N g=N h=N i=N", "a=1").contains("9 clusters"));
    }

    #[test]
    fn a_path_without_kernels_is_refused() {
        let args = |path| CoreArgs { path: Some(path), ..CoreArgs::default() };
        assert_eq!(args(Path::Reference).own_target().unwrap().path, Path::Reference);
        let error = args(Path::I8mm).own_target().unwrap_err();
        assert!(error.to_string().contains("i8mm"), "{error}");
        assert!(parse_path("sse2").unwrap_err().contains("reference, neon"));
    }
}
