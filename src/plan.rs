//! The plan: which layers run where, and where their activations lie.
//!
//! A *stage* is a run of consecutive layers, served by one or several *teams*, each some
//! cores of one cluster. Every frame in flight owns a *slot*; storages that cross a stage
//! boundary lie in it. All others lie in the *arena* of the team that computes them.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};

use serde::{Deserialize, Serialize};

use crate::kernels::Path;
use crate::model::{Model, StorageId};
use crate::topology::{ClusterId, MAX_CLUSTERS, MAX_CORES, Topology};
use crate::weights::ALIGNMENT;

/// Most frames in flight.
pub const MAX_SLOTS: usize = 64;

/// The memory a storage is placed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    /// The frame's slot.
    Slot,
    /// The arena of the team that runs the stage.
    Arena,
}

/// Where a storage lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// In which memory.
    pub home: Home,
    /// First byte there, a multiple of 64.
    pub offset: u32,
}

/// Consecutive layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The layers.
    pub layers: Range<u16>,
    /// Its teams, by index in the plan.
    pub teams: Range<u8>,
    /// Bytes of the arena of each of its teams.
    pub arena_bytes: u32,
}

/// Consecutive cores of one cluster that work on a layer together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// The cluster.
    pub cluster: ClusterId,
    /// First core, counted in the cluster.
    pub first_core: u8,
    /// Number of cores.
    pub cores: u8,
    /// Predicted time of one frame in nanoseconds: how frames are dealt among teams.
    pub frame_ns: u32,
}

/// What the plan asks of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The kernel path of each cluster.
    pub paths: heapless::Vec<Path, MAX_CLUSTERS>,
    /// Frames in flight.
    pub slots: u8,
    /// Bytes of one slot.
    pub slot_bytes: u32,
}

/// The tables of a plan, yet unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTables<'a> {
    /// What it asks of the machine.
    pub needs: Needs,
    /// Stages in the order of their layers.
    pub stages: &'a [Stage],
    /// Teams in the order of their stages.
    pub teams: &'a [Team],
    /// Where each storage lies, indexed by [`StorageId`].
    pub placements: &'a [Placement],
}

/// A partition of a network over a machine: tables that have passed every check against
/// that network.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    model: &'a Model<'a>,
    tables: PlanTables<'a>,
}

impl<'a> Deref for Plan<'a> {
    type Target = PlanTables<'a>;

    fn deref(&self) -> &PlanTables<'a> {
        &self.tables
    }
}

/// Why a plan was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PlanError {
    /// Not 1 to [`MAX_SLOTS`] slots.
    Slots {
        /// Slots asked.
        asked: u8,
    },
    /// The stages do not cover every layer once, in order.
    Layers {
        /// The first stage at fault.
        stage: u16,
    },
    /// The stages do not own every team once, in order, or a stage has none.
    Teams {
        /// The first stage at fault.
        stage: u16,
    },
    /// A team has no cores, or shares a core with another.
    Cores {
        /// The team.
        team: u16,
    },
    /// A team names a cluster for which the plan has no kernel path.
    NoPath {
        /// The cluster.
        cluster: ClusterId,
    },
    /// The network has no parameters for the kernel path of a cluster.
    PathNotPacked {
        /// The path.
        path: Path,
    },
    /// A storage is placed outside its memory, misaligned, on top of another that lives at
    /// the same time, or in an arena though two stages use it.
    Placement {
        /// The storage.
        storage: StorageId,
    },
    /// The machine has no such cluster.
    NoCluster {
        /// The cluster.
        cluster: ClusterId,
    },
    /// More cores asked of a cluster than it has.
    TooManyCores {
        /// The cluster.
        cluster: ClusterId,
        /// Cores asked.
        asked: u8,
        /// Cores present.
        present: u8,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Slots { asked } => write!(f, "{asked} slots, want 1 to {MAX_SLOTS}"),
            Self::Layers { stage } => write!(f, "stage {stage} leaves out or repeats layers"),
            Self::Teams { stage } => write!(f, "stage {stage} leaves out or repeats teams"),
            Self::Cores { team } => write!(f, "team {team} has no cores or another team's"),
            Self::NoPath { cluster } => write!(f, "no kernel path for cluster {}", cluster.0),
            Self::PathNotPacked { path } => write!(f, "the weights are not packed for path {path}"),
            Self::Placement { storage } => write!(f, "storage {} is misplaced", storage.0),
            Self::NoCluster { cluster } => write!(f, "the machine has no cluster {}", cluster.0),
            Self::TooManyCores { cluster, asked, present } => write!(
                f,
                "plan needs {asked} cores of cluster {}, the machine has {present}",
                cluster.0
            ),
        }
    }
}
impl core::error::Error for PlanError {}

/// The layers during which a storage holds data, both ends included. An input is written
/// before layer 0, an output is read after the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// First layer that writes it.
    pub first: u16,
    /// Last layer that reads it, or writes it if none reads it.
    pub last: u16,
}

impl Lifetime {
    /// Not used by any layer.
    pub const NEVER: Self = Self { first: u16::MAX, last: 0 };

    /// The lifetimes of all storages of `model`, written to `lifetimes`, indexed by storage.
    pub fn of(model: &Model<'_>, lifetimes: &mut [Self]) {
        lifetimes.fill(Self::NEVER);
        let mut extend = |tensor, layer| {
            let storage = model.tensor(tensor).map(|tensor| usize::from(tensor.storage.0));
            if let Some(lifetime) = storage.and_then(|storage| lifetimes.get_mut(storage)) {
                lifetime.first = lifetime.first.min(layer);
                lifetime.last = lifetime.last.max(layer);
            }
        };
        let mut end = 0;
        for (i, layer) in (0u16..).zip(model.layers) {
            for &tensor in layer.inputs.iter().chain([&layer.output]) {
                extend(tensor, i);
            }
            end = i;
        }
        model.inputs.iter().for_each(|port| extend(port.tensor, 0));
        model.outputs.iter().for_each(|port| extend(port.tensor, end));
    }

    /// True when some layer needs both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl<'a> Plan<'a> {
    /// Checks everything the runtime relies on; the tables may come from untrusted bytes.
    ///
    /// `lifetimes` and `order` are scratch, one entry per storage of `model` each.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn new(
        model: &'a Model<'a>,
        tables: PlanTables<'a>,
        lifetimes: &mut [Lifetime],
        order: &mut [u16],
    ) -> Result<Self, PlanError> {
        Lifetime::of(model, lifetimes);
        tables.check(model, lifetimes, order)?;
        Ok(Self { model, tables })
    }

    /// The network it is a plan for.
    #[must_use]
    pub const fn model(&self) -> &'a Model<'a> {
        self.model
    }
}

impl<'a> PlanTables<'a> {
    fn check(
        &self,
        model: &Model<'_>,
        lifetimes: &[Lifetime],
        order: &mut [u16],
    ) -> Result<(), PlanError> {
        if !(1..=MAX_SLOTS).contains(&usize::from(self.needs.slots)) {
            return Err(PlanError::Slots { asked: self.needs.slots });
        }
        let (mut next_layer, mut next_team) = (0u16, 0u8);
        for (i, stage) in (0u16..).zip(self.stages) {
            if stage.layers.start != next_layer || stage.layers.is_empty() {
                return Err(PlanError::Layers { stage: i });
            }
            if stage.teams.start != next_team || stage.teams.is_empty() {
                return Err(PlanError::Teams { stage: i });
            }
            (next_layer, next_team) = (stage.layers.end, stage.teams.end);
        }
        let last_stage = self.stages.len().saturating_sub(1) as u16;
        if usize::from(next_layer) != model.layers.len() {
            return Err(PlanError::Layers { stage: last_stage });
        }
        if usize::from(next_team) != self.teams.len() {
            return Err(PlanError::Teams { stage: last_stage });
        }
        self.check_teams(model)?;
        self.check_placements(model, lifetimes, order)
    }

    fn check_teams(&self, model: &Model<'_>) -> Result<(), PlanError> {
        for (i, team) in (0u16..).zip(self.teams) {
            let path =
                self.path(team.cluster).ok_or(PlanError::NoPath { cluster: team.cluster })?;
            if !model.paths.contains(&path) {
                return Err(PlanError::PathNotPacked { path });
            }
            let clash = |other: &Team| {
                let (a, b) = (team.core_range(), other.core_range());
                team.cluster == other.cluster && a.start < b.end && b.start < a.end
            };
            let inside = team.core_range().end <= MAX_CORES;
            if team.cores == 0 || !inside || self.teams.iter().take(i.into()).any(clash) {
                return Err(PlanError::Cores { team: i });
            }
        }
        Ok(())
    }

    /// What makes concurrent access to activations sound: two storages that live at the same
    /// time in the same memory are apart, and an arena serves one stage only.
    fn check_placements(
        &self,
        model: &Model<'_>,
        lifetimes: &[Lifetime],
        order: &mut [u16],
    ) -> Result<(), PlanError> {
        let place = |storage: u16| {
            let index = usize::from(storage);
            let error = PlanError::Placement { storage: StorageId(storage) };
            let placement = self.placements.get(index).ok_or(error)?;
            let lifetime = lifetimes.get(index).ok_or(error)?;
            let bytes = model.storages.get(index).ok_or(error)?;
            let stage = match placement.home {
                Home::Slot => None,
                Home::Arena => Some(self.stage_of(*lifetime).ok_or(error)?),
            };
            let room = match stage {
                None => self.needs.slot_bytes,
                Some(stage) => self.stages.get(stage).ok_or(error)?.arena_bytes,
            };
            let end = placement.offset.checked_add(*bytes).filter(|&end| end <= room);
            let aligned = (placement.offset as usize).is_multiple_of(ALIGNMENT);
            let end = end.filter(|_| aligned).ok_or(error)?;
            Ok((stage, placement.offset..end, *lifetime))
        };
        // A port is filled or read while no stage runs the frame: it must be in the slot.
        for port in model.inputs.iter().chain(model.outputs) {
            let storage = model.tensor(port.tensor).map_or(StorageId(u16::MAX), |t| t.storage);
            if self.placement(storage).is_none_or(|p| p.home != Home::Slot) {
                return Err(PlanError::Placement { storage });
            }
        }
        let used = |i: u16| lifetimes.get(usize::from(i)).is_some_and(|&l| l != Lifetime::NEVER);
        let mut count = 0usize;
        for storage in (0..model.storages.len() as u16).filter(|&i| used(i)) {
            place(storage)?;
            if let Some(entry) = order.get_mut(count) {
                *entry = storage;
            }
            count = count.saturating_add(1);
        }
        let order = order.get_mut(..count).unwrap_or_default();
        self.sort_by_offset(order);
        let mut rest: &[u16] = order;
        while let Some((&first, others)) = rest.split_first() {
            let (home, range, lifetime) = place(first)?;
            for &other in others {
                let (other_home, other_range, other_lifetime) = place(other)?;
                if other_range.start >= range.end {
                    break;
                }
                if home == other_home && lifetime.overlaps(other_lifetime) {
                    return Err(PlanError::Placement { storage: StorageId(other) });
                }
            }
            rest = others;
        }
        Ok(())
    }

    /// By insertion: short lists, and a tenth of the code of the library's sort.
    fn sort_by_offset(&self, order: &mut [u16]) {
        let offset = |&i: &u16| self.placement(StorageId(i)).map_or(0, |p| p.offset);
        for end in 2..=order.len() {
            let mut rest = order.get_mut(..end).unwrap_or_default();
            while let [head @ .., left, right] = rest
                && offset(left) > offset(right)
            {
                core::mem::swap(left, right);
                let len = head.len().saturating_add(1);
                rest = rest.get_mut(..len).unwrap_or_default();
            }
        }
    }

    /// The one stage whose layers use a storage; `None` when there are several.
    fn stage_of(&self, lifetime: Lifetime) -> Option<usize> {
        self.stages.iter().position(|stage| {
            stage.layers.contains(&lifetime.first) && stage.layers.contains(&lifetime.last)
        })
    }

    /// Checks that `topology` has the clusters and cores the plan uses.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoCluster`], [`PlanError::TooManyCores`].
    pub fn fits(&self, topology: &Topology) -> Result<(), PlanError> {
        for team in self.teams {
            let cluster = team.cluster;
            let present = topology.cores(cluster);
            if usize::from(cluster.0) >= topology.clusters() {
                return Err(PlanError::NoCluster { cluster });
            }
            let asked = team.core_range().end;
            if asked > usize::from(present) {
                return Err(PlanError::TooManyCores { cluster, asked: asked as u8, present });
            }
        }
        Ok(())
    }

    /// The kernel path of `cluster`.
    #[must_use]
    pub fn path(&self, cluster: ClusterId) -> Option<Path> {
        self.needs.paths.get(usize::from(cluster.0)).copied()
    }

    /// Where `storage` lies.
    #[must_use]
    pub fn placement(&self, storage: StorageId) -> Option<Placement> {
        self.placements.get(usize::from(storage.0)).copied()
    }

    /// Teams of the stage `stage`.
    #[must_use]
    pub fn teams_of(&self, stage: usize) -> &'a [Team] {
        let range = self.stages.get(stage).map(|stage| stage.teams.clone()).unwrap_or_default();
        self.teams.get(usize::from(range.start)..usize::from(range.end)).unwrap_or(&[])
    }

    /// Bytes of all slots and all arenas, each rounded up to 64.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        let round = |bytes: u32| (bytes as usize).next_multiple_of(ALIGNMENT);
        let slots = round(self.needs.slot_bytes).saturating_mul(self.needs.slots.into());
        self.stages.iter().fold(slots, |sum, stage| {
            sum.saturating_add(round(stage.arena_bytes).saturating_mul(stage.teams.len()))
        })
    }
}

impl Team {
    /// The cores, counted in the cluster.
    #[must_use]
    pub fn core_range(&self) -> Range<usize> {
        let first = usize::from(self.first_core);
        first..first.saturating_add(self.cores.into())
    }
}
