//! Timings of silicon that others published, as comma-separated files, and what is made of
//! them: fits with their held-out errors, the contention constant, the tables of boards.
//!
//! | file | rows |
//! |---|---|
//! | layers | time of a unit on all cores of a cluster, per clock |
//! | handover | time for which a frame goes from one cluster to the other |
//! | pipelines | measured pipelines: which cluster has which layer, period |
//! | networks | times of whole networks, per number of threads |

use std::fmt::Write;

use serde::Deserialize;

use crate::cost::{Cluster, Costs};
use crate::features::{Core, Kernels, UnknownCore, Weights};
use crate::fit::{NetworkFit, Sample, hold_out, mean_error, predict};
use crate::networks::{Layer, Network};
use crate::plan::{Plan, Stage, Team};
use crate::table::{TableError, read_rows};

/// Weight of the prior in the fits.
const RIDGE: f64 = 0.1;
/// Bandwidth by the published times of fully connected layers, for the prior.
const GB_PER_S: f64 = 4.2;

/// Time of a unit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LayerRow {
    /// Repository, file and commit.
    pub source: String,
    /// Type of the cores.
    pub core_type: String,
    /// Their clock in megahertz.
    pub freq_mhz: f64,
    /// How many there are.
    pub cores: usize,
    /// Type of the numbers.
    pub dtype: String,
    /// The network.
    pub network: String,
    /// Index of the unit.
    pub layer: usize,
    /// `in`, `task` or `out`.
    pub metric: String,
    /// Milliseconds.
    pub ms: f64,
}

/// Time of a hand-over between the clusters `B` and `L`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HandoverRow {
    /// Repository, file and commit.
    pub source: String,
    /// The network.
    pub network: String,
    /// The cluster before.
    pub src: String,
    /// The cluster after.
    pub dest: String,
    /// The unit before.
    pub after_layer: usize,
    /// Median, in milliseconds.
    pub ms_median: f64,
}

/// A measured pipeline.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PipelineRow {
    /// Repository, file and commit.
    pub source: String,
    /// What ran it.
    pub system: String,
    /// The network.
    pub network: String,
    /// A letter per layer: the cluster it ran on.
    pub mapping: String,
    /// Time between frames in milliseconds.
    pub period_ms: f64,
}

/// Time of a whole network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NetworkRow {
    /// Repository, file and commit.
    pub source: String,
    /// The chip.
    pub soc: String,
    /// Type and clock of the cores.
    pub core_type: String,
    /// Threads that computed.
    pub threads: usize,
    /// Type of the numbers.
    pub dtype: String,
    /// The network.
    pub network: String,
    /// Milliseconds.
    pub ms: f64,
}

/// The published files, as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Times of units.
    pub layers: Vec<LayerRow>,
    /// Times of hand-overs.
    pub handover: Vec<HandoverRow>,
    /// Measured pipelines.
    pub pipelines: Vec<PipelineRow>,
    /// Times of whole networks.
    pub networks: Vec<NetworkRow>,
}

/// Reads the times of units.
///
/// # Errors
///
/// [`TableError::Csv`].
pub fn read_layers(text: &str) -> Result<Vec<LayerRow>, TableError> {
    read_rows("layers", text)
}

impl Published {
    /// Reads the four files.
    ///
    /// # Errors
    ///
    /// [`TableError::Csv`].
    pub fn parse(
        layers: &str,
        handover: &str,
        pipelines: &str,
        networks: &str,
    ) -> Result<Self, TableError> {
        Ok(Self {
            layers: read_layers(layers)?,
            handover: read_rows("handover", handover)?,
            pipelines: read_rows("pipelines", pipelines)?,
            networks: read_rows("networks", networks)?,
        })
    }
}

/// Times of units on all cores of one type at their highest clock, and costs fitted to them.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterFit {
    /// Type of the cores.
    pub core: String,
    /// How many.
    pub cores: usize,
    /// Their clock in megahertz.
    pub clock_mhz: f64,
    /// Repository, file and commit.
    pub source: String,
    /// Names of the features.
    pub features: &'static [&'static str],
    /// Nanoseconds per unit of each feature, fitted to all networks.
    pub ns_per_unit: Vec<f64>,
    /// The networks.
    pub networks: Vec<NetworkFit>,
    kernels: Kernels,
}

impl ClusterFit {
    /// Mean over the units of all networks of [`NetworkFit::held_out_error`].
    #[must_use]
    pub fn held_out_error(&self) -> f64 {
        mean_error(self.networks.iter().flat_map(|network| &network.units))
    }

    /// Nanoseconds of layers on the cluster.
    #[must_use]
    pub fn predict_ns(&self, layers: &[Layer]) -> f64 {
        predict(&self.kernels.features(layers, Weights::default()), &self.ns_per_unit)
    }
}

/// Why published times cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishedError {
    /// Not the columns or values there should be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Cores without known kernels.
    #[error(transparent)]
    Core(#[from] UnknownCore),
    /// Nothing to fit.
    #[error("no times of units of known networks in single precision")]
    Empty,
    /// A network that is not what it is known to be.
    #[error("{network} has {units} units here and {expected} by its architecture")]
    Units {
        /// The network.
        network: String,
        /// Units with times.
        units: usize,
        /// Units of the architecture.
        expected: usize,
    },
    /// No time that a table needs.
    #[error("no published time of {network} on {threads} of {core_type}")]
    Missing {
        /// The network.
        network: String,
        /// Type of the cores.
        core_type: String,
        /// Number of threads.
        threads: usize,
    },
    /// A pipeline whose layers are not those of the network.
    #[error("{network} has no {layers} layers as in \"{mapping}\"")]
    Mapping {
        /// The network.
        network: String,
        /// Layers of the mapping.
        layers: usize,
        /// The mapping.
        mapping: String,
    },
}

/// Fits the costs of every cluster's kernels at the highest clock, and tries them on networks
/// held out.
///
/// # Errors
///
/// [`PublishedError::Empty`], [`PublishedError::Core`], [`PublishedError::Units`].
pub fn fit_layers(rows: &[LayerRow]) -> Result<Vec<ClusterFit>, PublishedError> {
    let mut clusters: Vec<(&str, usize, f64, &str)> = Vec::new();
    for row in rows.iter().filter(|row| row.dtype == "fp32") {
        let new = (&*row.core_type, row.cores, row.freq_mhz, &*row.source);
        match clusters.iter_mut().find(|known| (known.0, known.1) == (new.0, new.1)) {
            Some(known) if known.2 < new.2 => *known = new,
            Some(_) => {}
            None => clusters.push(new),
        }
    }
    let fits = clusters.into_iter().map(|(core, cores, clock_mhz, source)| {
        let of_cluster = |row: &&LayerRow| {
            (&*row.core_type, row.cores, row.freq_mhz) == (core, cores, clock_mhz)
                && row.metric == "task"
        };
        let rows: Vec<_> = rows.iter().filter(of_cluster).collect();
        fit_cluster(core, cores, clock_mhz, source, &rows)
    });
    let fits: Vec<_> = fits.collect::<Result<_, _>>()?;
    if fits.is_empty() { Err(PublishedError::Empty) } else { Ok(fits) }
}

fn fit_cluster(
    core: &str,
    cores: usize,
    clock_mhz: f64,
    source: &str,
    rows: &[&LayerRow],
) -> Result<ClusterFit, PublishedError> {
    let kernels = Kernels::ArmCompute { core: Core::named(core)?, cores };
    let prior = kernels.prior_ns(clock_mhz, GB_PER_S);
    let mut samples: Vec<(String, Vec<Sample>)> = Vec::new();
    for network in Network::all() {
        let ms = |unit: usize| {
            let row = rows.iter().find(|row| row.network == network.name && row.layer == unit);
            row.map(|row| row.ms)
        };
        let times: Vec<_> = (0..).map_while(ms).collect();
        if times.is_empty() {
            continue;
        }
        let (units, expected) = (times.len(), network.units.len());
        if units != expected {
            let network = network.name.to_owned();
            return Err(PublishedError::Units { network, units, expected });
        }
        let sample = |(unit, ms): (&crate::networks::Unit, f64)| Sample {
            features: kernels.features(&unit.layers, Weights::default()),
            ns: ms * 1e6,
        };
        let of_network = network.units.iter().zip(times).map(sample).collect();
        samples.push((network.name.to_owned(), of_network));
    }
    if samples.is_empty() {
        return Err(PublishedError::Empty);
    }
    let (ns_per_unit, networks) = hold_out(&samples, &[], &prior, RIDGE);
    Ok(ClusterFit {
        core: core.to_owned(),
        cores,
        clock_mhz,
        source: source.to_owned(),
        features: kernels.names(),
        networks,
        ns_per_unit,
        kernels,
    })
}

/// A measured pipeline and its prediction from the times of units.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// As published.
    pub row: PipelineRow,
    costs: Costs,
    plan: Plan,
}

impl Pipeline {
    /// Nanoseconds between frames when busy clusters slow each other by `contention`.
    #[must_use]
    pub fn period_ns(&self, contention: f64) -> f64 {
        self.costs.clone().with_contention(contention).predict(&self.plan).period_ns
    }

    /// Error of the predicted period, with its sign, as a share of the measured one.
    #[must_use]
    pub fn error(&self, contention: f64) -> f64 {
        self.period_ns(contention) / (self.row.period_ms * 1e6) - 1.0
    }
}

/// The two-stage pipelines of `ARM-CO-UP`, with the times of their units and hand-overs. The
/// time in which the first stage reads a frame in is part of its period; one thread does that,
/// so contention does not touch it.
///
/// # Errors
///
/// [`PublishedError`].
pub fn pipelines(published: &Published) -> Result<Vec<Pipeline>, PublishedError> {
    let fits = fit_layers(&published.layers)?;
    let rows = published.pipelines.iter().filter(|row| row.system.starts_with("ARM-CO-UP"));
    rows.map(|row| pipeline(published, &fits, row)).collect()
}

/// The letters of clusters in published files, and the cores they stand for.
const CLUSTERS: [(&str, &str); 2] = [("B", "Cortex-A72"), ("L", "Cortex-A53")];

fn pipeline(
    published: &Published,
    fits: &[ClusterFit],
    row: &PipelineRow,
) -> Result<Pipeline, PublishedError> {
    let missing = |core_type: &str| PublishedError::Missing {
        network: row.network.clone(),
        core_type: core_type.to_owned(),
        threads: row.mapping.len(),
    };
    let name = row.network.to_lowercase();
    let network = Network::named(&name).ok_or_else(|| missing("any core"))?;
    let steps = steps(&network, row)?;
    let mut clusters = Vec::new();
    let mut input_ns = Vec::new();
    for (letter, core) in CLUSTERS {
        let fit = fits.iter().find(|fit| fit.core == core).ok_or_else(|| missing(core))?;
        let found = fit.networks.iter().find(|found| found.name == name);
        let units = &found.ok_or_else(|| missing(core))?.units;
        // The share of a unit's measured time by the fit's times of its layers.
        let time = |(unit, layers): &(usize, Vec<Layer>)| {
            let all = fit.predict_ns(&network.units[*unit].layers);
            units[*unit].ns * fit.predict_ns(layers) / all
        };
        let team = steps.iter().map(time).collect::<Vec<_>>();
        clusters.push(Cluster {
            name: letter.to_owned(),
            team_ns: vec![team; fit.cores],
            core_watts: 0.0,
        });
        let input = published.layers.iter().find(|found| {
            (&*found.metric, &*found.network, &*found.core_type, found.freq_mhz)
                == ("in", &*name, core, fit.clock_mhz)
        });
        input_ns.push(input.ok_or_else(|| missing(core))?.ms * 1e6);
    }
    let handover = |cut: usize, from: Option<usize>, to: usize| {
        let Some(from) = from else { return input_ns[to] };
        let after = steps[cut - 1].0;
        let found = published.handover.iter().find(|found| {
            (&*found.network, &*found.src, &*found.dest, found.after_layer)
                == (&*name, CLUSTERS[from].0, CLUSTERS[to].0, after)
        });
        found.map_or(0.0, |found| found.ms_median * 1e6)
    };
    let costs = Costs::new(clusters).map_err(TableError::from)?.with_handover(handover);
    let mut stages: Vec<Stage> = Vec::new();
    for (layer, letter) in row.mapping.chars().enumerate() {
        let cluster = usize::from(letter != 'B');
        match stages.last_mut() {
            Some(stage) if stage.teams[0].cluster == cluster => stage.layers.end = layer + 1,
            _ => {
                let teams = vec![Team { cluster, cores: costs.cores(cluster) }];
                stages.push(Stage { layers: layer..layer + 1, teams });
            }
        }
    }
    Ok(Pipeline { row: row.clone(), costs, plan: Plan { stages } })
}

/// The layers that the letters of a mapping stand for: units, or for MobileNet its convolutions.
fn steps(network: &Network, row: &PipelineRow) -> Result<Vec<(usize, Vec<Layer>)>, PublishedError> {
    let units = network.units.iter().enumerate();
    let whole = units.clone().map(|(index, unit)| (index, unit.layers.clone()));
    let parts = units.flat_map(|(index, unit)| {
        // The pool goes with the classifier after it.
        let mut parts: Vec<Vec<Layer>> = Vec::new();
        for layer in &unit.layers {
            match parts.last_mut() {
                Some(part) if part.iter().all(|layer| layer.macs() == 0) => part.push(*layer),
                _ => parts.push(vec![*layer]),
            }
        }
        parts.into_iter().map(move |part| (index, part))
    });
    for steps in [whole.collect::<Vec<_>>(), parts.collect()] {
        if steps.len() == row.mapping.len() {
            return Ok(steps);
        }
    }
    Err(PublishedError::Mapping {
        network: row.network.clone(),
        layers: row.mapping.len(),
        mapping: row.mapping.clone(),
    })
}

/// The contention constant, in steps of 0.001, that makes the sum of the squared errors of the
/// periods least.
#[must_use]
pub fn fit_contention<'a>(pipelines: impl IntoIterator<Item = &'a Pipeline>) -> f64 {
    let pipelines: Vec<_> = pipelines.into_iter().collect();
    let candidates = (0..=1000).map(|step| f64::from(step) / 1000.0);
    let squares = |contention: f64| -> f64 {
        pipelines.iter().map(|pipeline| pipeline.error(contention).powi(2)).sum()
    };
    candidates.min_by(|&a, &b| squares(a).total_cmp(&squares(b))).unwrap_or(0.0)
}

/// The three tables of a board as files: units, teams, hand-overs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardTables {
    /// `units.csv`.
    pub units: String,
    /// `teams.csv`.
    pub teams: String,
    /// `handover.csv`.
    pub handover: String,
}

const GENERATED: &str =
    "# Generated by `cargo run -p pipeit-planner --example board_tables`; times in microseconds.\n";

/// What is known of a cluster of a board.
struct Origin {
    name: &'static str,
    /// Cores whose units' times it has.
    profile: &'static str,
    cores: usize,
    /// The chip, cores and source of the times of whole networks.
    whole: [&'static str; 3],
    /// The chip, cores and source of the times on fewer cores.
    teams: [&'static str; 3],
}

const RK3399PRO: [Origin; 2] = [
    Origin {
        name: "big",
        profile: "Cortex-A72",
        cores: 2,
        whole: ["RK3399Pro", "Cortex-A72@1.8", "TodaesThreads"],
        teams: ["RK3399Pro", "Cortex-A72@1.8", "TodaesThreads"],
    },
    Origin {
        name: "little",
        profile: "Cortex-A53",
        cores: 4,
        whole: ["RK3399Pro", "Cortex-A53@1.416", "TodaesThreads"],
        teams: ["RK3399Pro", "Cortex-A53@1.416", "TodaesThreads"],
    },
];

const KIRIN970: [Origin; 2] = [
    Origin {
        name: "big",
        profile: "Cortex-A72",
        cores: 4,
        whole: ["Kirin 970", "Cortex-A73@2.36", "arXiv:1908.11450"],
        teams: ["Kirin 970", "Cortex-A73@2.4", "ncnn"],
    },
    Origin {
        name: "little",
        profile: "Cortex-A53",
        cores: 4,
        whole: ["Kirin 970", "Cortex-A53@1.8", "arXiv:1908.11450"],
        teams: ["RK3399Pro", "Cortex-A53@1.416", "TodaesThreads"],
    },
];

/// The tables of `rk3399pro`: times of units and hand-overs as published.
///
/// # Errors
///
/// [`PublishedError`].
pub fn rk3399pro(published: &Published) -> Result<BoardTables, PublishedError> {
    tables(published, &RK3399PRO, false)
}

/// The tables of `kirin970`: the units' times of RK3399Pro, scaled to the published times of
/// whole networks. Teams of Cortex-A73 after another library's times on the same chip, those of
/// Cortex-A53 and hand-overs after RK3399Pro's.
///
/// # Errors
///
/// [`PublishedError`].
pub fn kirin970(published: &Published) -> Result<BoardTables, PublishedError> {
    tables(published, &KIRIN970, true)
}

fn tables(
    published: &Published,
    origins: &[Origin],
    is_scaled: bool,
) -> Result<BoardTables, PublishedError> {
    let fits = fit_layers(&published.layers)?;
    let mut units = format!("{GENERATED}network,unit,cluster,cores,us,label,source\n");
    let mut teams = format!("{GENERATED}network,cluster,cores,us,label,source\n");
    for origin in origins {
        let fit =
            fits.iter().find(|fit| fit.core == origin.profile).ok_or(PublishedError::Empty)?;
        for network in &fit.networks {
            let mut factor = 1.0;
            let mut label = "published";
            let mut source = fit.source.clone();
            if is_scaled {
                let row = whole(published, origin.whole, &network.name, origin.cores)?;
                factor = row.ms * 1e6 / network.units.iter().map(|unit| unit.ns).sum::<f64>();
                label = "modelled";
                source = format!("{source} in proportion to {}", row.source);
            }
            let (name, cluster, cores) = (&network.name, origin.name, origin.cores);
            for unit in &network.units {
                let us = unit.ns * factor / 1e3;
                line(
                    &mut units,
                    format_args!("{name},{},{cluster},{cores},{us:.1}", unit.unit),
                    label,
                    &source,
                );
            }
            let label = if is_scaled { "modelled" } else { "published" };
            for cores in 1..=cores {
                match whole(published, origin.teams, name, cores) {
                    Ok(row) => {
                        let us = row.ms * 1e3;
                        line(
                            &mut teams,
                            format_args!("{name},{cluster},{cores},{us:.1}"),
                            label,
                            &row.source,
                        );
                    }
                    // Some in between may be missing, but not the ends.
                    Err(error) if cores == 1 || cores == origin.cores => return Err(error),
                    Err(_) => {}
                }
            }
        }
    }
    let mut handover = format!("{GENERATED}network,cut,from,to,us,label,source\n");
    let cluster = |letter: &str| if letter == "B" { "big" } else { "little" };
    let label = if is_scaled { "modelled" } else { "published" };
    for row in published.handover.iter().filter(|row| Network::named(&row.network).is_some()) {
        let (from, to) = (cluster(&row.src), cluster(&row.dest));
        let (cut, us) = (row.after_layer + 1, row.ms_median * 1e3);
        let source =
            if is_scaled { format!("{} (RK3399Pro)", row.source) } else { row.source.clone() };
        line(
            &mut handover,
            format_args!("{},{cut},{from},{to},{us:.1}", row.network),
            label,
            &source,
        );
    }
    Ok(BoardTables { units, teams, handover })
}

fn line(table: &mut String, row: std::fmt::Arguments<'_>, label: &str, source: &str) {
    let source = source.replace('"', "'");
    // Writing to a string cannot fail.
    let _ = writeln!(table, "{row},{label},\"{source}\"");
}

/// The time of a whole network.
fn whole<'a>(
    published: &'a Published,
    [soc, core_type, source]: [&str; 3],
    network: &str,
    threads: usize,
) -> Result<&'a NetworkRow, PublishedError> {
    let found = published.networks.iter().find(|row| {
        row.soc == soc
            && row.core_type == core_type
            && row.source.contains(source)
            && row.dtype == "fp32"
            && row.threads == threads
            && (row.network == network || format!("{}_v1.0", row.network) == network)
    });
    found.ok_or_else(|| PublishedError::Missing {
        network: network.to_owned(),
        core_type: core_type.to_owned(),
        threads,
    })
}
