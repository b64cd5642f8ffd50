//! Boards: what `boards/<name>/board.toml` declares, and the timings beside it.

use pipeit_rt::kernels::Path;
use serde::Deserialize;

use crate::table::{Label, Table, TableError};

/// A board.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Board {
    /// As commands call it.
    pub name: String,
    /// As people call it.
    #[serde(default)]
    pub title: String,
    /// Watts of the whole board while no core is busy.
    #[serde(default)]
    pub idle_watts: f64,
    /// In the order of their cores.
    pub clusters: Vec<Cluster>,
    /// What the clusters share.
    #[serde(default)]
    pub memory: Memory,
}

/// A cluster of equal cores.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Cluster {
    /// As plans call it.
    pub name: String,
    /// Type of the cores, such as `cortex-a72`.
    #[serde(default)]
    pub core: String,
    /// Number of cores; where only their affinities are declared, as many as those.
    #[serde(default)]
    pub count: usize,
    /// The affinity fields of each core's `MPIDR_EL1`; a firmware needs them.
    #[serde(default)]
    pub affinities: Vec<u64>,
    /// Highest clock in megahertz.
    #[serde(default)]
    pub clock_mhz: f64,
    /// The kernel path the cores can run.
    #[serde(default)]
    pub path: String,
    /// Level 1 data cache of a core, in KiB.
    #[serde(default)]
    pub l1d_kib: u32,
    /// Level 2 cache of the cluster, or of a core that has its own, in KiB.
    #[serde(default)]
    pub l2_kib: u32,
    /// Watts of a busy core beyond those of an idle one.
    #[serde(default)]
    pub core_watts: f64,
}

impl Cluster {
    /// Number of cores.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.count.max(self.affinities.len())
    }

    /// The kernels the cores can run: those declared, else the portable ones.
    #[must_use]
    pub fn kernel_path(&self) -> Path {
        Path::ALL.into_iter().find(|path| path.name() == self.path).unwrap_or(Path::Reference)
    }
}

/// What all clusters share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Memory {
    /// Billions of bytes per second that one team can stream.
    #[serde(default)]
    pub gb_per_s: f64,
    /// By which share layers take longer for each further cluster that is busy.
    #[serde(default)]
    pub contention: f64,
}

/// Why a board is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// Not a description of a board.
    #[error("the description of the board: {0}")]
    Toml(#[from] toml::de::Error),
    /// Timings that cannot be used.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No board of that name.
    #[error("no board \"{name}\"; there are {known}")]
    Unknown {
        /// As asked.
        name: String,
        /// Those there are.
        known: String,
    },
}

/// The text of a built-in board.
struct BuiltIn {
    name: &'static str,
    description: &'static str,
    /// The times of units, of whole networks on fewer cores, and of hand-overs, where there
    /// are any.
    tables: Option<[&'static str; 3]>,
}

macro_rules! built_in {
    ($name:literal) => {
        BuiltIn {
            name: $name,
            description: include_str!(concat!("../../boards/", $name, "/board.toml")),
            tables: None,
        }
    };
    ($name:literal, with timings) => {
        BuiltIn {
            tables: Some([
                include_str!(concat!("../../boards/", $name, "/units.csv")),
                include_str!(concat!("../../boards/", $name, "/teams.csv")),
                include_str!(concat!("../../boards/", $name, "/handover.csv")),
            ]),
            ..built_in!($name)
        }
    };
}

const BUILT_IN: [BuiltIn; 5] = [
    built_in!("rk3399pro", with timings),
    built_in!("kirin970", with timings),
    built_in!("rk3588"),
    built_in!("raspi4"),
    built_in!("raspi5"),
];

/// The names of the built-in boards.
#[must_use]
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|board| board.name).collect()
}

impl Board {
    /// Reads a description, a `board.toml`.
    ///
    /// # Errors
    ///
    /// [`BoardError::Toml`].
    pub fn parse(text: &str) -> Result<Self, BoardError> {
        Ok(toml::from_str(text)?)
    }

    /// The built-in board of that name.
    ///
    /// # Errors
    ///
    /// [`BoardError::Unknown`].
    pub fn built_in(name: &str) -> Result<Self, BoardError> {
        Self::parse(text(name)?.description)
    }

    /// The timings beside a built-in board; where there are none, modelled ones of our kernels.
    ///
    /// # Errors
    ///
    /// [`BoardError::Unknown`] for other boards.
    pub fn table(&self) -> Result<Table, BoardError> {
        match text(&self.name)?.tables {
            Some([units, teams, handover]) => Ok(Table::parse(units, teams, handover)?),
            None => Ok(Table::modelled(self)),
        }
    }

    /// Where the timings beside a built-in board come from at best.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table).
    pub fn label(&self) -> Result<Label, BoardError> {
        Ok(self.table()?.label())
    }
}

fn text(name: &str) -> Result<&'static BuiltIn, BoardError> {
    let found = BUILT_IN.iter().find(|board| board.name == name);
    let unknown = || BoardError::Unknown { name: name.to_owned(), known: names().join(", ") };
    found.ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_boards_are_complete() {
        for name in names() {
            let board = Board::built_in(name).unwrap();
            assert_eq!(board.name, name);
            assert!(!board.clusters.is_empty());
            for cluster in &board.clusters {
                assert!(cluster.cores() > 0 && cluster.clock_mhz > 0.0 && cluster.core_watts > 0.0);
            }
            assert!(board.memory.gb_per_s > 0.0);
        }
        let error = Board::built_in("z80").unwrap_err().to_string();
        assert!(error.contains("no board \"z80\"; there are rk3399pro, kirin970"), "{error}");
    }

    #[test]
    fn boards_that_only_firmware_knows_are_read() {
        let text =
            "name = \"x\"\n[[clusters]]\nname = \"a\"\naffinities = [0, 1]\n[qemu]\ncpu = \"y\"";
        let board = Board::parse(text).unwrap();
        assert_eq!(board.clusters[0].cores(), 2);
        assert!(Board::parse("name = 3").is_err());
    }
}
