//! Timings of networks on a board: three small tables and what is made of them.
//!
//! ```text
//! units.csv      network, unit, cluster, cores   time of a unit
//! teams.csv      network, cluster, cores         time of the whole network on that many cores
//! handover.csv   network, cut, from, to          time to take over a frame before unit `cut`
//! ```
//!
//! Where `units.csv` has a unit on all cores of a cluster only, its time on fewer is that time
//! in the proportion of the whole network's, by `teams.csv`. Every row tells where it comes
//! from. Times in the files are microseconds.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::cost::{Cluster, Costs, CostsError};
use crate::features::{Core, Kernels, UnknownCore, Weights};
use crate::networks::{Layer, Network};

/// Where a time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Measured by us on the board.
    Measured,
    /// Measured by others and published.
    Published,
    /// Derived from other figures.
    Modelled,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measured => "measured",
            Self::Published => "published",
            Self::Modelled => "modelled",
        })
    }
}

/// Time of a unit on a team.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitRow {
    /// The network.
    pub network: String,
    /// Index of the unit.
    pub unit: usize,
    /// The cluster.
    pub cluster: String,
    /// Cores of the team.
    pub cores: usize,
    /// Microseconds.
    pub us: f64,
    /// Where it comes from.
    pub label: Label,
    /// Where exactly.
    pub source: String,
}

/// Time of a whole network on a team.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeamRow {
    /// The network.
    pub network: String,
    /// The cluster.
    pub cluster: String,
    /// Cores of the team.
    pub cores: usize,
    /// Microseconds.
    pub us: f64,
    /// Where it comes from.
    pub label: Label,
    /// Where exactly.
    pub source: String,
}

/// Time of a hand-over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandoverRow {
    /// The network.
    pub network: String,
    /// Index of the unit after it.
    pub cut: usize,
    /// The cluster before.
    pub from: String,
    /// The cluster after.
    pub to: String,
    /// Microseconds.
    pub us: f64,
    /// Where it comes from.
    pub label: Label,
    /// Where exactly.
    pub source: String,
}

/// All timings of a board.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Times of units.
    pub units: Vec<UnitRow>,
    /// Times of whole networks.
    pub teams: Vec<TeamRow>,
    /// Times of hand-overs.
    pub handover: Vec<HandoverRow>,
}

/// Why timings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Not the columns or values there should be.
    #[error("{table}: {source}")]
    Csv {
        /// Which table.
        table: &'static str,
        /// Why.
        source: csv::Error,
    },
    /// No times of a unit on all cores of a cluster.
    #[error("no time of unit {unit} of {network} on {cores} cores of cluster \"{cluster}\"")]
    Missing {
        /// The network.
        network: String,
        /// Index of the unit.
        unit: usize,
        /// The cluster.
        cluster: String,
        /// Its cores.
        cores: usize,
    },
    /// No units of the network at all.
    #[error("no timings of network \"{network}\"; there are those of {known}")]
    Unknown {
        /// The network.
        network: String,
        /// Those there are.
        known: String,
    },
    /// Times that are none.
    #[error(transparent)]
    Costs(#[from] CostsError),
}

/// Reads a table that has lines of comment.
///
/// # Errors
///
/// [`TableError::Csv`] names `table`.
pub fn read_rows<T: for<'a> Deserialize<'a>>(
    table: &'static str,
    text: &str,
) -> Result<Vec<T>, TableError> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let rows: Result<_, _> = reader.deserialize().collect();
    rows.map_err(|source| TableError::Csv { table, source })
}

impl Table {
    /// Reads the three tables.
    ///
    /// # Errors
    ///
    /// [`TableError::Csv`].
    pub fn parse(units: &str, teams: &str, handover: &str) -> Result<Self, TableError> {
        Ok(Self {
            units: read_rows("units.csv", units)?,
            teams: read_rows("teams.csv", teams)?,
            handover: read_rows("handover.csv", handover)?,
        })
    }

    /// What our kernels would take on `board`: their static cycles and the memory's bandwidth,
    /// the largest share of every layer, int8. Clusters of unknown cores are left out.
    #[must_use]
    pub fn modelled(board: &Board) -> Self {
        let mut table = Self::default();
        for network in Network::all() {
            for cluster in &board.clusters {
                let Ok(rows) = modelled_units(board, cluster, &network) else { continue };
                table.units.extend(rows);
            }
            // A tensor is written by one cluster and read by another, through memory.
            let bytes = |unit: &crate::networks::Unit| {
                unit.layers.last().map_or(0, |layer| layer.output.iter().product::<usize>())
            };
            for (cut, unit) in (1..).zip(network.units.iter().take(network.units.len() - 1)) {
                let us = bytes(unit) as f64 / board.memory.gb_per_s / 1e3;
                for (from, to) in pairs(board) {
                    table.handover.push(HandoverRow {
                        network: network.name.to_owned(),
                        cut,
                        from,
                        to,
                        us,
                        label: Label::Modelled,
                        source: "bytes of the tensor / bandwidth of the memory".to_owned(),
                    });
                }
            }
        }
        table
    }

    /// The networks it has.
    #[must_use]
    pub fn networks(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.units.iter().map(|row| row.network.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The best label of the times of units.
    #[must_use]
    pub fn label(&self) -> Label {
        self.units.iter().map(|row| row.label).min().unwrap_or(Label::Modelled)
    }

    /// The sources of everything about the times, each once, with its label.
    #[must_use]
    pub fn sources(&self) -> Vec<(Label, &str)> {
        let units = self.units.iter().map(|row| (row.label, row.source.as_str()));
        let teams = self.teams.iter().map(|row| (row.label, row.source.as_str()));
        let handover = self.handover.iter().map(|row| (row.label, row.source.as_str()));
        let mut all = Vec::new();
        for source in units.chain(teams).chain(handover) {
            if !all.contains(&source) {
                all.push(source);
            }
        }
        all
    }

    /// The costs of `network` on `board`, with hand-over, without contention.
    ///
    /// # Errors
    ///
    /// [`TableError::Unknown`], [`TableError::Missing`].
    pub fn costs(&self, board: &Board, network: &str) -> Result<Costs, TableError> {
        let of_network = self.units.iter().filter(|row| row.network == network);
        let Some(units) = of_network.map(|row| row.unit + 1).max() else {
            let known = self.networks().join(", ");
            return Err(TableError::Unknown { network: network.to_owned(), known });
        };
        let mut clusters = Vec::new();
        for cluster in &board.clusters {
            let team = |cores| -> Result<Vec<f64>, TableError> {
                (0..units).map(|unit| self.unit_ns(network, unit, cluster, cores)).collect()
            };
            let team_ns: Result<_, TableError> = (1..=cluster.cores()).map(team).collect();
            clusters.push(Cluster {
                name: cluster.name.clone(),
                team_ns: team_ns?,
                core_watts: cluster.core_watts,
            });
        }
        let names: Vec<_> = board.clusters.iter().map(|cluster| &cluster.name).collect();
        let handover = |cut: usize, from: Option<usize>, to: usize| {
            let row = self.handover.iter().find(|row| {
                row.network == network
                    && row.cut == cut
                    && from.is_some_and(|from| *names[from] == row.from)
                    && *names[to] == row.to
            });
            row.map_or(0.0, |row| row.us * 1e3)
        };
        Ok(Costs::new(clusters)?.with_handover(handover))
    }

    /// Time of a unit: that of the table, or that on all cores in the proportion of the whole
    /// network's.
    fn unit_ns(
        &self,
        network: &str,
        unit: usize,
        cluster: &crate::board::Cluster,
        cores: usize,
    ) -> Result<f64, TableError> {
        let ns = |cores: usize| {
            let row = self.units.iter().find(|row| {
                row.network == network
                    && row.unit == unit
                    && row.cluster == cluster.name
                    && row.cores == cores
            });
            row.map(|row| row.us * 1e3)
        };
        let scaled = || {
            let whole = ns(cluster.cores())?;
            Some(whole * self.proportion(network, &cluster.name, cores, cluster.cores())?)
        };
        ns(cores).or_else(scaled).ok_or_else(|| TableError::Missing {
            network: network.to_owned(),
            unit,
            cluster: cluster.name.clone(),
            cores,
        })
    }

    /// How many times longer the network takes on `cores` cores than on `all`. Where there is no
    /// row for so many, Amdahl's law through one core and all cores.
    fn proportion(&self, network: &str, cluster: &str, cores: usize, all: usize) -> Option<f64> {
        let us = |cores: usize| {
            let row = self
                .teams
                .iter()
                .find(|row| row.network == network && row.cluster == cluster && row.cores == cores);
            row.map(|row| row.us)
        };
        let (one, whole) = (us(1)?, us(all)?);
        let amdahl = || {
            let parallel = (1.0 - whole / one) / (1.0 - 1.0 / all as f64);
            one * (1.0 - parallel + parallel / cores as f64)
        };
        Some(us(cores).unwrap_or_else(amdahl) / whole)
    }
}

fn modelled_units(
    board: &Board,
    cluster: &crate::board::Cluster,
    network: &Network,
) -> Result<Vec<UnitRow>, UnknownCore> {
    let core = Core::named(&cluster.core)?;
    let weights = Weights::of(network.layers().map(Layer::weights).sum());
    let mut rows = Vec::new();
    for cores in 1..=cluster.cores() {
        let kernels = Kernels::Int8 { core, path: cluster.kernel_path(), cores };
        let prior = kernels.prior_ns(cluster.clock_mhz, board.memory.gb_per_s);
        for (unit, layers) in network.units.iter().enumerate() {
            // No frame is normalized: int8 networks have no operator for that.
            let features = kernels.features(&layers.layers, weights);
            rows.push(UnitRow {
                network: network.name.to_owned(),
                unit,
                cluster: cluster.name.clone(),
                cores,
                us: crate::fit::predict(&features, &prior) / 1e3,
                label: Label::Modelled,
                source: "static cycles of int8 kernels, bandwidth of the memory".to_owned(),
            });
        }
    }
    Ok(rows)
}

/// All ordered pairs of unlike clusters.
fn pairs(board: &Board) -> impl Iterator<Item = (String, String)> {
    board.clusters.iter().flat_map(|from| {
        let others = board.clusters.iter().filter(|to| to.name != from.name);
        others.map(|to| (from.name.clone(), to.name.clone()))
    })
}
