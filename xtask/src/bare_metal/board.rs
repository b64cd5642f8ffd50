//! What `board.toml` tells about a board and its emulation.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workspace::Workspace;

/// A board that firmware exists for.
#[derive(Debug, Deserialize)]
pub(crate) struct Board {
    /// Its name, and that of its package.
    pub(crate) name: String,
    /// Its clusters.
    clusters: Vec<Cluster>,
    /// How it is emulated.
    pub(crate) qemu: Qemu,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    core: String,
    affinities: Vec<u64>,
}

/// QEMU's flags.
#[derive(Debug, Deserialize)]
pub(crate) struct Qemu {
    /// `-M`
    pub(crate) machine: String,
    /// `-cpu`, where there is a choice.
    pub(crate) cpu: Option<String>,
    /// `-m`
    pub(crate) memory: String,
}

impl Board {
    /// Reads `boards/<name>/board.toml`.
    pub(crate) fn load(workspace: &Workspace, name: &str) -> Result<Self> {
        let path = workspace.boards().join(name).join("board.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("no board {name:?}: {}", path.display()))?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// The kind of its cores.
    pub(crate) fn cpu(&self) -> &str {
        self.clusters.first().map_or("max", |cluster| &cluster.core)
    }

    /// Cores of each cluster.
    pub(crate) fn clusters(&self) -> Vec<usize> {
        self.clusters.iter().map(|cluster| cluster.affinities.len()).collect()
    }

    /// Cores of all clusters.
    pub(crate) fn cores(&self) -> usize {
        self.clusters().iter().sum()
    }
}
