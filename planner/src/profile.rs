//! A profile: times of layers measured on the cores that will run them.
//!
//! A file with the machine, the clock, the kernels and the date, then a row per layer and team.

use pipeit_rt::kernels::Path;
use serde::{Deserialize, Serialize};

use crate::features::Weights;
use crate::fit::{NetworkFit, Sample, hold_out, mean_error};
use crate::networks::Layer;
use crate::predict::{ClusterPredictor, Predictor};

/// The version of the file's form.
pub const FORMAT: u32 = 2;

/// Rows of this network are of layers made up to cover what networks have: never held out.
pub const SYNTHETIC: &str = "synthetic";

/// Weight of the prior in the fits.
const RIDGE: f64 = 0.01;

/// Times of layers on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// [`FORMAT`].
    pub format: u32,
    /// The machine, as it calls itself.
    pub machine: String,
    /// The day it was made, as `2026-01-31`.
    pub date: String,
    /// Its clusters.
    pub clusters: Vec<ProfiledCluster>,
    /// Nanoseconds to hand over a frame.
    pub handover_ns: f64,
    /// Nanoseconds to send a frame and to take its result.
    pub source_ns: f64,
    /// By which share layers take longer for each further cluster that is busy.
    pub contention: f64,
    /// Times of layers.
    pub rows: Vec<Row>,
    /// Times of whole networks.
    pub frames: Vec<FrameRow>,
}

/// A cluster that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfiledCluster {
    /// Its name.
    pub name: String,
    /// Number of cores.
    pub cores: usize,
    /// Highest clock in megahertz, 0 where the machine does not tell.
    pub clock_mhz: f64,
    /// Name of the kernel path.
    pub path: String,
}

/// Time of a layer on a team.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The network, or [`SYNTHETIC`].
    pub network: String,
    /// Index of the layer in it.
    pub index: usize,
    /// What it computes.
    #[serde(flatten)]
    pub layer: Layer,
    /// Where its weights were.
    pub weights: Weights,
    /// The cluster.
    pub cluster: String,
    /// Cores of the team.
    pub cores: usize,
    /// Nanoseconds: the median of the calmest round.
    pub ns: f64,
    /// By which share of it the median of the median round is longer.
    pub spread: f64,
    /// Nanoseconds while the other clusters were busy, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_ns: Option<f64>,
}

/// Time of a frame of a whole network on a team, measured by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameRow {
    /// The network.
    pub network: String,
    /// The cluster.
    pub cluster: String,
    /// Cores of the team.
    pub cores: usize,
    /// Nanoseconds: the median of the calmest round.
    pub ns: f64,
}

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Of another version.
    #[error("form {found} of profiles; this program reads {FORMAT}")]
    Format {
        /// As the file says.
        found: u32,
    },
    /// Kernels there are none of.
    #[error("cluster \"{cluster}\": no kernel path \"{path}\"")]
    Path {
        /// The cluster.
        cluster: String,
        /// As the file says.
        path: String,
    },
    /// A cluster without times.
    #[error("no times of cluster \"{cluster}\"")]
    Empty {
        /// The cluster.
        cluster: String,
    },
    /// A time that is none.
    #[error("row {row}: not a time of 1 to {cores} cores of a cluster: {ns} ns on {asked}")]
    Row {
        /// The row.
        row: usize,
        /// Its cores.
        asked: usize,
        /// Cores of the cluster; 0 when there is no such cluster.
        cores: usize,
        /// Its time.
        ns: f64,
    },
}

/// A fit to the times of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileFit {
    /// The cluster.
    pub cluster: ProfiledCluster,
    /// Names of the features.
    pub features: &'static [&'static str],
    /// Nanoseconds per unit of each feature.
    pub ns_per_unit: Vec<f64>,
    /// Per team size, the networks.
    pub teams: Vec<Vec<NetworkFit>>,
}

impl ProfileFit {
    /// Mean absolute error of layers of networks held out, as a share of their times.
    #[must_use]
    pub fn layer_error(&self) -> f64 {
        mean_error(self.networks().flat_map(|network| &network.units))
    }

    /// Mean absolute error of whole networks held out.
    #[must_use]
    pub fn network_error(&self) -> f64 {
        crate::fit::mean(self.networks().map(|network| network.held_out_whole_error().abs()))
    }

    fn networks(&self) -> impl Iterator<Item = &NetworkFit> {
        self.teams.iter().flatten()
    }
}

impl Profile {
    /// Whether the rows are times of the clusters.
    ///
    /// # Errors
    ///
    /// [`ProfileError`].
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.format != FORMAT {
            return Err(ProfileError::Format { found: self.format });
        }
        for (index, row) in self.rows.iter().enumerate() {
            let cluster = self.clusters.iter().find(|cluster| cluster.name == row.cluster);
            let cores = cluster.map_or(0, |cluster| cluster.cores);
            let is_time = row.ns.is_finite() && row.ns > 0.0;
            if !is_time || !(1..=cores).contains(&row.cores) {
                let (asked, ns) = (row.cores, row.ns);
                return Err(ProfileError::Row { row: index, asked, cores, ns });
            }
        }
        for cluster in &self.clusters {
            cluster.kernel_path()?;
            if !self.rows.iter().any(|row| row.cluster == cluster.name) {
                return Err(ProfileError::Empty { cluster: cluster.name.clone() });
            }
        }
        Ok(())
    }

    /// A fit per cluster, each tried on every network held out.
    ///
    /// # Errors
    ///
    /// [`ProfileError`].
    pub fn fit(&self) -> Result<Vec<ProfileFit>, ProfileError> {
        self.check()?;
        self.clusters.iter().map(|cluster| self.fit_cluster(cluster)).collect()
    }

    fn fit_cluster(&self, cluster: &ProfiledCluster) -> Result<ProfileFit, ProfileError> {
        let prior = ClusterPredictor::typical(&cluster.name, cluster.kernel_path()?);
        let prior = prior.at_clock(cluster.clock_mhz);
        let rows = || self.rows.iter().filter(|row| row.cluster == cluster.name);
        let sample = |row: &Row| Sample {
            features: prior.features(&row.layer, row.weights, row.cores),
            ns: row.ns,
        };
        let others = rows().filter(|row| row.network == SYNTHETIC).map(sample);
        let others: Vec<_> = others.collect();
        // Of each network the layers on one core, then on two, and so on.
        let mut networks: Vec<(String, Vec<Sample>)> = Vec::new();
        for row in rows().filter(|row| row.network != SYNTHETIC) {
            match networks.iter_mut().find(|(name, _)| *name == row.network) {
                Some((_, samples)) => samples.push(sample(row)),
                None => networks.push((row.network.clone(), vec![sample(row)])),
            }
        }
        let (ns_per_unit, tried) = hold_out(&networks, &others, &prior.ns_per_unit, RIDGE);
        let of_team = |cores: usize| {
            let of_network = |network: &NetworkFit| {
                let rows = rows().filter(|row| row.network == network.name);
                let units = network.units.iter().zip(rows);
                let units = units.filter(|(_, row)| row.cores == cores);
                let units =
                    units.map(|(unit, row)| crate::fit::UnitFit { unit: row.index, ..*unit });
                let frame = self.frames.iter().find(|frame| {
                    frame.network == network.name
                        && frame.cluster == cluster.name
                        && frame.cores == cores
                });
                NetworkFit {
                    name: network.name.clone(),
                    units: units.collect(),
                    whole_ns: frame.map(|frame| frame.ns),
                }
            };
            let networks = tried.iter().map(of_network);
            networks.filter(|network| !network.units.is_empty()).collect()
        };
        Ok(ProfileFit {
            cluster: cluster.clone(),
            features: prior.names(),
            ns_per_unit,
            teams: (1..=cluster.cores).map(of_team).collect(),
        })
    }

    /// Predictions by this profile: a layer that was timed takes what it took, any other what
    /// the fit says.
    ///
    /// # Errors
    ///
    /// [`ProfileError`].
    pub fn predictor(&self) -> Result<Predictor, ProfileError> {
        let mut clusters = Vec::new();
        for fit in self.fit()? {
            let rows = self.rows.iter().filter(|row| row.cluster == fit.cluster.name);
            let timed = rows.map(|row| ((row.layer, row.weights, row.cores), row.ns));
            let timed = timed.collect();
            let path = fit.cluster.kernel_path()?;
            let mut cluster = ClusterPredictor::typical(&fit.cluster.name, path);
            cluster.error = Some(fit.network_error());
            (cluster.ns_per_unit, cluster.timed) = (fit.ns_per_unit, timed);
            clusters.push(cluster);
        }
        Ok(Predictor {
            clusters,
            contention: self.contention,
            handover_ns: self.handover_ns,
            source_ns: self.source_ns,
            gb_per_s: crate::predict::GB_PER_S,
            source: format!("profile of {}, {}", self.machine, self.date),
        })
    }
}

impl ProfiledCluster {
    /// The kernel path.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Path`].
    pub fn kernel_path(&self) -> Result<Path, ProfileError> {
        let path = Path::ALL.into_iter().find(|path| path.name() == self.path);
        path.ok_or_else(|| ProfileError::Path {
            cluster: self.name.clone(),
            path: self.path.clone(),
        })
    }
}
