//! What layers take on the teams of a machine: by static cycle counts, or by a profile.
//!
//! ```text
//! board ──────▶ static cycles, bandwidth ─┐
//! profile ─fit▶ costs of the features ────┼─▶ Predictor ─▶ Costs of a network
//!        └────▶ times of layers seen ─────┘
//! ```

use std::collections::HashMap;

use pipeit_rt::kernels::Path;

use crate::board::{self, Board};
use crate::cost::{Cluster, Costs, CostsError};
use crate::features::{Core, Kernels, READ_OF_OTHERS, Weights};
use crate::fit::predict;
use crate::networks::Layer;

/// Bytes per nanosecond of a memory that nothing is known of.
pub const GB_PER_S: f64 = 8.0;
/// Clock of a core that nothing is known of, in megahertz.
const CLOCK_MHZ: f64 = 2000.0;
/// Nanoseconds to hand over a frame that nothing is known of: a cache line or two, a waiter woken.
pub const HANDOVER_NS: f64 = 1000.0;

/// A network as its costs are predicted from.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its layers.
    pub layers: Vec<Layer>,
    /// Before each layer, the bytes that cross a cut there.
    pub crossing_bytes: Vec<u64>,
}

/// What a cluster does with layers.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPredictor {
    /// Its name.
    pub name: String,
    /// The kernels.
    pub path: Path,
    /// Watts of a busy core beyond those of an idle one.
    pub core_watts: f64,
    /// Nanoseconds per unit of each feature.
    pub ns_per_unit: Vec<f64>,
    /// Times of layers measured, by where their weights are and by cores.
    pub timed: HashMap<(Layer, Weights, usize), f64>,
    /// Mean error of the time of a network, as a share of it, where that is known.
    pub error: Option<f64>,
    core: Core,
}

/// What a machine does with layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictor {
    /// The clusters; one of another name is like the first.
    pub clusters: Vec<ClusterPredictor>,
    /// By which share layers take longer for each further cluster that is busy.
    pub contention: f64,
    /// Nanoseconds to hand over a frame, whatever its size.
    pub handover_ns: f64,
    /// Nanoseconds to take a frame from the source, and to give its result back.
    pub source_ns: f64,
    /// Bytes per nanosecond that go from one cluster to another.
    pub gb_per_s: f64,
    /// Where the times come from.
    pub source: String,
}

/// A cluster to predict for: some cores of it, and how many times slower they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Cores {
    /// Its name.
    pub name: String,
    /// How many.
    pub cores: usize,
    /// 1 for what was predicted.
    pub slowdown: f64,
}

impl ClusterPredictor {
    /// By static cycles of a core that executes `path`, where nothing more is known.
    #[must_use]
    pub fn typical(name: &str, path: Path) -> Self {
        Self::modelled(name, path, Core::typical(path), CLOCK_MHZ, GB_PER_S)
    }

    /// At another clock, in megahertz, unless that is 0.
    #[must_use]
    pub fn at_clock(self, clock_mhz: f64) -> Self {
        let clock_mhz = if clock_mhz > 0.0 { clock_mhz } else { CLOCK_MHZ };
        Self { ns_per_unit: prior(self.core, self.path, clock_mhz, GB_PER_S), ..self }
    }

    fn modelled(name: &str, path: Path, core: Core, clock_mhz: f64, gb_per_s: f64) -> Self {
        Self {
            name: name.to_owned(),
            path,
            core_watts: 1.0,
            ns_per_unit: prior(core, path, clock_mhz, gb_per_s),
            timed: HashMap::new(),
            error: None,
            core,
        }
    }

    fn of(board: &Board, cluster: &board::Cluster) -> Self {
        let path = cluster.kernel_path();
        let core = Core::named(&cluster.core).unwrap_or(Core::typical(path));
        let clock_mhz = if cluster.clock_mhz > 0.0 { cluster.clock_mhz } else { CLOCK_MHZ };
        let gb_per_s = if board.memory.gb_per_s > 0.0 { board.memory.gb_per_s } else { GB_PER_S };
        let modelled = Self::modelled(&cluster.name, path, core, clock_mhz, gb_per_s);
        Self { core_watts: cluster.core_watts, ..modelled }
    }

    /// What the features are called.
    #[must_use]
    pub const fn names(&self) -> &'static [&'static str] {
        self.kernels(1).names()
    }

    /// How much of each feature a layer has on a team.
    #[must_use]
    pub fn features(&self, layer: &Layer, weights: Weights, cores: usize) -> Vec<f64> {
        self.kernels(cores).features(std::slice::from_ref(layer), weights)
    }

    /// Nanoseconds of a layer on a team of `cores` cores.
    #[must_use]
    pub fn layer_ns(&self, layer: &Layer, weights: Weights, cores: usize) -> f64 {
        let timed = self.timed.get(&(*layer, weights, cores)).copied();
        timed.unwrap_or_else(|| predict(&self.features(layer, weights, cores), &self.ns_per_unit))
    }

    /// Nanoseconds to read a byte that another core has written.
    fn read_of_others_ns(&self) -> f64 {
        let at = self.names().iter().position(|name| *name == READ_OF_OTHERS);
        at.and_then(|at| self.ns_per_unit.get(at)).copied().unwrap_or(0.0)
    }

    const fn kernels(&self, cores: usize) -> Kernels {
        Kernels::Int8 { core: self.core, path: self.path, cores }
    }
}

fn prior(core: Core, path: Path, clock_mhz: f64, gb_per_s: f64) -> Vec<f64> {
    Kernels::Int8 { core, path, cores: 1 }.prior_ns(clock_mhz, gb_per_s)
}

impl Predictor {
    /// By static cycles of cores that execute `path`, where nothing more is known.
    #[must_use]
    pub fn typical(path: Path) -> Self {
        Self {
            clusters: vec![ClusterPredictor::typical("cpu", path)],
            contention: 0.0,
            handover_ns: HANDOVER_NS,
            source_ns: HANDOVER_NS,
            gb_per_s: GB_PER_S,
            source: format!("modelled: static cycles of {path} kernels, no measurement"),
        }
    }

    /// By static cycles of a board's cores and the bandwidth of its memory.
    #[must_use]
    pub fn of(board: &Board) -> Self {
        let clusters = board.clusters.iter().map(|cluster| ClusterPredictor::of(board, cluster));
        Self {
            clusters: clusters.collect(),
            contention: board.memory.contention,
            handover_ns: HANDOVER_NS,
            source_ns: HANDOVER_NS,
            gb_per_s: if board.memory.gb_per_s > 0.0 { board.memory.gb_per_s } else { GB_PER_S },
            source: format!(
                "modelled: static cycles of our kernels and bandwidth of the memory of {}, no measurement",
                if board.title.is_empty() { &board.name } else { &board.title },
            ),
        }
    }

    /// What is known of the cluster of that name, else of the first.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ClusterPredictor> {
        self.clusters.iter().find(|cluster| cluster.name == name).or(self.clusters.first())
    }

    /// What a network costs on these cores. There is no cut where a slot could not carry what
    /// crosses it.
    ///
    /// # Errors
    ///
    /// [`CostsError`]: no cores, no layers, a time that is none.
    pub fn costs(&self, network: &Described, machine: &[Cores]) -> Result<Costs, CostsError> {
        let weights = Weights::of(network.layers.iter().map(Layer::weights).sum());
        let cluster = |cores: &Cores| {
            let found = self.cluster(&cores.name);
            let ns = |layer: &Layer, team: usize| {
                let found = found.map_or(f64::NAN, |found| found.layer_ns(layer, weights, team));
                found * cores.slowdown
            };
            let team = |team| network.layers.iter().map(|layer| ns(layer, team)).collect();
            Cluster {
                name: cores.name.clone(),
                team_ns: (1..=cores.cores).map(team).collect(),
                core_watts: found.map_or(1.0, |found| found.core_watts),
            }
        };
        let costs = Costs::new(machine.iter().map(cluster).collect())?;
        let read_of_others_ns = |cores: &Cores| {
            self.cluster(&cores.name).map_or(0.0, ClusterPredictor::read_of_others_ns)
        };
        let handover = |cut: usize, from: Option<usize>, to: usize| {
            let bytes = network.crossing_bytes.get(cut).copied().unwrap_or(0);
            match from {
                None => self.source_ns,
                Some(_) if u32::try_from(bytes).is_err() => f64::INFINITY,
                // Another core's caches are as far for a stage as for a team; another cluster's are
                // as far as memory.
                Some(from) => {
                    let near = bytes as f64 * machine.get(to).map_or(0.0, read_of_others_ns);
                    let far = if from == to { 0.0 } else { bytes as f64 / self.gb_per_s };
                    self.handover_ns + near.max(far)
                }
            }
        };
        Ok(costs.with_handover(handover).with_contention(self.contention))
    }
}
