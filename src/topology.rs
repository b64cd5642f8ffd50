//! Cores and clusters of a machine, as its board declares them.
#![forbid(unsafe_code)]

use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Most clusters of one machine.
pub const MAX_CLUSTERS: usize = 8;
/// Most cores of one machine.
pub const MAX_CORES: usize = 64;

/// A logical core number, dense from zero, cluster by cluster.
///
/// The board maps it to an MPIDR, the hosted platform to an operating system's CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CoreId(pub u8);

/// A cluster number, dense from zero, in the order the board lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClusterId(pub u8);

/// How many cores each cluster has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    cores: Vec<u8, MAX_CLUSTERS>,
}

/// More clusters than [`MAX_CLUSTERS`], or more cores than [`MAX_CORES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TooManyCores;

impl core::fmt::Display for TooManyCores {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "more than {MAX_CLUSTERS} clusters or {MAX_CORES} cores")
    }
}
impl core::error::Error for TooManyCores {}

impl Topology {
    /// A machine whose cluster `i` has `cores[i]` cores.
    ///
    /// # Errors
    ///
    /// Too many clusters or cores.
    pub fn new(cores: &[u8]) -> Result<Self, TooManyCores> {
        let total: usize = cores.iter().map(|&n| usize::from(n)).sum();
        if total > MAX_CORES {
            return Err(TooManyCores);
        }
        Ok(Self { cores: Vec::from_slice(cores).map_err(|_| TooManyCores)? })
    }

    /// Number of clusters.
    #[must_use]
    pub fn clusters(&self) -> usize {
        self.cores.len()
    }

    /// Number of cores of `cluster`; none when there is no such cluster.
    #[must_use]
    pub fn cores(&self, cluster: ClusterId) -> u8 {
        self.cores.get(usize::from(cluster.0)).copied().unwrap_or(0)
    }

    /// Number of cores of all clusters.
    #[must_use]
    pub fn total_cores(&self) -> u8 {
        self.cores.iter().sum()
    }

    /// Core `index` of `cluster`, when present.
    #[must_use]
    pub fn core(&self, cluster: ClusterId, index: u8) -> Option<CoreId> {
        let before = self.cores.get(..usize::from(cluster.0))?;
        (index < self.cores(cluster)).then(|| CoreId(before.iter().sum::<u8>() + index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_numbered_cluster_by_cluster() {
        let topology = Topology::new(&[2, 4]).unwrap();
        assert_eq!(topology.core(ClusterId(1), 3), Some(CoreId(5)));
        assert_eq!(topology.core(ClusterId(0), 2), None);
        assert_eq!(topology.core(ClusterId(2), 0), None);
        assert_eq!(topology.total_cores(), 6);
        assert_eq!(Topology::new(&[33, 32]), Err(TooManyCores));
        assert_eq!(Topology::new(&[1; 9]), Err(TooManyCores));
    }
}
