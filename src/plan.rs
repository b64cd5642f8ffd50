//! The plan: which layers run where, and where their activations lie.
//!
//! A *stage* is a run of consecutive layers, served by one or several *teams*, each some
//! cores of one cluster. Every frame in flight owns a *slot*; storages that cross a stage
//! boundary lie in it. All others lie in the *arena* of the team that computes them.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};

use serde::{Deserialize, Serialize};

use crate::kernels::{MAX_INPUTS, Op, Path};
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
    /// Predicted time of one frame in nanoseconds: how frames are dealt among teams, until they
    /// have shown how fast they are.
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

/// What the memory of a pipeline is sized by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of all slots and all arenas, each rounded up to 64.
    pub arena_bytes: u32,
    /// Teams.
    pub teams: u16,
    /// Cores of all teams.
    pub cores: u16,
}

impl Demand {
    /// What is enough for either.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            arena_bytes: self.arena_bytes.max(other.arena_bytes),
            teams: self.teams.max(other.teams),
            cores: self.cores.max(other.cores),
        }
    }
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
        Self::in_order(model, lifetimes, |_| ());
    }

    /// As [`of`](Self::of); `begin` is told of each storage, in the order in which they begin.
    fn in_order(model: &Model<'_>, lifetimes: &mut [Self], mut begin: impl FnMut(StorageId)) {
        lifetimes.fill(Self::NEVER);
        // Called for one layer after the other.
        let mut extend = |tensor, layer| {
            let Some(storage) = model.storage_of(tensor) else { return };
            let Some(lifetime) = lifetimes.get_mut(usize::from(storage.0)) else { return };
            if *lifetime == Self::NEVER {
                lifetime.first = layer;
                begin(storage);
            }
            lifetime.last = layer;
        };
        model.inputs.iter().for_each(|port| extend(port.tensor, 0));
        let mut end = 0;
        for (i, layer) in (0u16..).zip(model.layers) {
            for &tensor in layer.inputs.iter().chain([&layer.output]) {
                extend(tensor, i);
            }
            end = i;
        }
        model.outputs.iter().for_each(|port| extend(port.tensor, end));
    }

    /// True when some layer needs both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The storages over which layer `index` may write its output: the inputs of an operator that
/// works [in place](crate::kernels::Operator::IN_PLACE), of the output's layout and offset,
/// which nothing reads after it.
#[must_use]
pub fn overwritable(
    model: &Model<'_>,
    lifetimes: &[Lifetime],
    index: u16,
) -> heapless::Vec<StorageId, MAX_INPUTS> {
    let mut found = heapless::Vec::new();
    let layer = model.layers.get(usize::from(index));
    let Some((layer, output)) = layer.and_then(|l| Some((l, model.tensor(l.output)?))) else {
        return found;
    };
    let in_place = |&path: &Path| model.op(path, index).is_some_and(Op::in_place);
    let lifetime = |storage: StorageId| lifetimes.get(usize::from(storage.0));
    let begins = lifetime(output.storage).is_some_and(|lifetime| lifetime.first == index);
    let is_input =
        model.inputs.iter().any(|port| model.storage_of(port.tensor) == Some(output.storage));
    if !begins || is_input || !model.paths.iter().all(in_place) {
        return found;
    }
    for &id in &layer.inputs {
        let Some(storage) = model.storage_of(id) else { continue };
        let ends = lifetime(storage).is_some_and(|lifetime| lifetime.last == index);
        let is_output =
            model.outputs.iter().any(|port| model.storage_of(port.tensor) == Some(storage));
        let mut reads = layer.inputs.iter().filter_map(|&id| model.tensor(id));
        let alike = reads.all(|input| {
            input.storage != storage
                || (input.layout == output.layout && input.offset == output.offset)
        });
        if ends && !is_output && alike && !found.contains(&storage) {
            // As many as `layer.inputs`, which has the same capacity.
            let _ = found.push(storage);
        }
    }
    found
}

/// True when some layer may write the storage `new` over `old`.
fn overwrites(model: &Model<'_>, lifetimes: &[Lifetime], old: StorageId, new: StorageId) -> bool {
    let Some(new_life) = lifetimes.get(usize::from(new.0)) else { return false };
    let layer = model.layers.get(usize::from(new_life.first));
    layer.is_some_and(|layer| model.storage_of(layer.output) == Some(new))
        && overwritable(model, lifetimes, new_life.first).contains(&old)
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
        let scratch = lifetimes.len().min(order.len());
        if scratch < model.storages.len() {
            return Err(PlanError::Placement { storage: StorageId(scratch as u16) });
        }
        let mut used = 0usize;
        Lifetime::in_order(model, lifetimes, |storage| {
            order.get_mut(used).into_iter().for_each(|entry| *entry = storage.0);
            used = used.saturating_add(1);
        });
        tables.check(model, lifetimes, order.get_mut(..used).unwrap_or_default())?;
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
    /// time in the same memory are apart, or one is written over the other element by element;
    /// and an arena serves one stage only.
    fn check_placements(
        &self,
        model: &Model<'_>,
        lifetimes: &[Lifetime],
        order: &mut [u16],
    ) -> Result<(), PlanError> {
        // A port is filled or read while no stage runs the frame: it must be in the slot.
        for port in model.inputs.iter().chain(model.outputs) {
            let storage = model.tensor(port.tensor).map_or(StorageId(u16::MAX), |t| t.storage);
            if self.placement(storage).is_none_or(|p| p.home != Home::Slot) {
                return Err(PlanError::Placement { storage });
            }
        }
        let place = |storage| self.place(storage, model, lifetimes);
        for &storage in &*order {
            place(storage)?;
        }
        check_apart(order, place, |a, b| {
            let (a, b) = (StorageId(a), StorageId(b));
            overwrites(model, lifetimes, a, b) || overwrites(model, lifetimes, b, a)
        })
    }

    /// Where and when `storage` lives, if that is inside its memory.
    fn place(
        &self,
        storage: u16,
        model: &Model<'_>,
        lifetimes: &[Lifetime],
    ) -> Result<Place, PlanError> {
        let index = usize::from(storage);
        let error = PlanError::Placement { storage: StorageId(storage) };
        let placement = self.placements.get(index).ok_or(error)?;
        let lifetime = *lifetimes.get(index).ok_or(error)?;
        let bytes = model.storages.get(index).ok_or(error)?;
        let stage = match placement.home {
            Home::Slot => None,
            Home::Arena => Some(self.stage_of(lifetime).ok_or(error)?),
        };
        let room = match stage {
            None => self.needs.slot_bytes,
            Some(stage) => self.stages.get(stage).ok_or(error)?.arena_bytes,
        };
        let end = placement.offset.checked_add(*bytes).filter(|&end| end <= room);
        let aligned = (placement.offset as usize).is_multiple_of(ALIGNMENT);
        let end = end.filter(|_| aligned).ok_or(error)?;
        Ok(Place { stage, bytes: placement.offset..end, lifetime })
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

    /// What the memory of its pipeline is sized by.
    #[must_use]
    pub fn demand(&self) -> Demand {
        let cores = self.teams.iter().map(|team| u16::from(team.cores));
        Demand {
            arena_bytes: u32::try_from(self.arena_bytes()).unwrap_or(u32::MAX),
            teams: self.teams.len() as u16,
            cores: cores.fold(0, u16::saturating_add),
        }
    }
}

/// Bytes that a storage has for some layers.
#[derive(Clone, Debug)]
struct Place {
    /// The stage whose arena they are in, or else they are in the slot.
    stage: Option<usize>,
    bytes: Range<u32>,
    lifetime: Lifetime,
}

/// Checks that no two storages have the same byte in the same layer, unless they have all bytes
/// in common and `in_place` says that one is written over the other; `order` holds them in the
/// order in which they begin to live.
///
/// A sweep over the layers: the front of `order` becomes a list, by place, of those that have
/// begun. What lives is apart, so that another is apart from all when it is from the next on
/// both sides; what lives no more is taken out where it is met.
fn check_apart(
    order: &mut [u16],
    place: impl Fn(u16) -> Result<Place, PlanError>,
    in_place: impl Fn(u16, u16) -> bool,
) -> Result<(), PlanError> {
    let mut begun = 0usize;
    for next in 0..order.len() {
        let Some(&storage) = order.get(next) else { break };
        let new = place(storage)?;
        let clash = PlanError::Placement { storage: StorageId(storage) };
        let is_before = |&other: &u16| {
            place(other).is_ok_and(|p| (p.stage, p.bytes.start) < (new.stage, new.bytes.start))
        };
        let mut at = order.get(..begun).unwrap_or_default().partition_point(is_before);
        while let Some(&other) = order.get(at..begun).and_then(<[u16]>::first) {
            let behind = place(other)?;
            if behind.lifetime.last >= new.lifetime.first {
                let is_same = behind.stage == new.stage && behind.bytes == new.bytes;
                if !(is_same && in_place(other, storage)) {
                    if behind.stage == new.stage && behind.bytes.start < new.bytes.end {
                        return Err(clash);
                    }
                    break;
                }
            }
            shift_down(order.get_mut(at..begun).unwrap_or_default());
            begun = begun.saturating_sub(1);
        }
        while let Some(&other) = order.get(..at).and_then(<[u16]>::last) {
            let before = place(other)?;
            if before.lifetime.last >= new.lifetime.first {
                if before.stage == new.stage && new.bytes.start < before.bytes.end {
                    return Err(clash);
                }
                break;
            }
            at = at.saturating_sub(1);
            shift_down(order.get_mut(at..begun).unwrap_or_default());
            begun = begun.saturating_sub(1);
        }
        // There is room: as many as have begun were taken from the front.
        let mut moved = storage;
        for entry in order.get_mut(at..=begun).unwrap_or_default() {
            core::mem::swap(entry, &mut moved);
        }
        begun = begun.saturating_add(1);
    }
    Ok(())
}

/// Takes the first entry out; the others close up.
fn shift_down(mut entries: &mut [u16]) {
    while let [entry, rest @ ..] = entries {
        rest.first().into_iter().for_each(|&next| *entry = next);
        entries = rest;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn places() -> impl Strategy<Value = Vec<Place>> {
        let place = (proptest::option::of(0usize..2), 0u32..24, 1u32..6, 0u16..12, 0u16..4);
        let place = place.prop_map(|(stage, start, len, first, more)| Place {
            stage,
            bytes: start..start + len,
            lifetime: Lifetime { first, last: first + more },
        });
        proptest::collection::vec(place, 0..16)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { 20_000 }))]

        #[test]
        fn storages_are_apart_when_all_pairs_are(places in places()) {
            let mut order: Vec<u16> = (0..places.len() as u16).collect();
            order.sort_by_key(|&i| places[usize::from(i)].lifetime.first);
            let clash = |(a, b): (&Place, &Place)| {
                a.stage == b.stage
                    && a.bytes.start < b.bytes.end
                    && b.bytes.start < a.bytes.end
                    && a.lifetime.overlaps(b.lifetime)
            };
            let mut pairs = places.iter().enumerate().flat_map(|(i, a)| {
                places.iter().skip(i + 1).map(move |b| (a, b))
            });
            let found = check_apart(&mut order, |i| Ok(places[usize::from(i)].clone()), |_, _| false);
            prop_assert_eq!(found.is_err(), pairs.any(clash));
        }
    }
}
