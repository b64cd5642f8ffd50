//! Places activations: what crosses a stage boundary in the slot, the rest in arenas.
//!
//! Storages whose lifetimes overlap must not; the largest are placed first, each at the
//! lowest offset that is free for as long as it lives.

use std::ops::Range;

use pipeit_rt::model::Model;
use pipeit_rt::plan::{Home, Lifetime, Placement};
use pipeit_rt::weights::ALIGNMENT;

/// Where every storage lies, and what that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Indexed by storage.
    pub placements: Vec<Placement>,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Bytes of the arena of a team, per stage.
    pub arena_bytes: Vec<u32>,
}

/// Which storages keep bytes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Storages whose lifetimes do not overlap may share bytes.
    Share,
    /// None shares, and all lie in the slot: every intermediate can be read at the sink.
    Keep,
}

/// Lifetimes of all storages, indexed by storage.
#[must_use]
pub fn lifetimes(model: &Model<'_>) -> Vec<Lifetime> {
    let mut lifetimes = vec![Lifetime::NEVER; model.storages.len()];
    Lifetime::of(model, &mut lifetimes);
    lifetimes
}

/// Places the storages of `model` for stages of these layers.
#[must_use]
pub fn place(model: &Model<'_>, stages: &[Range<u16>], reuse: Reuse) -> Layout {
    let lifetimes = lifetimes(model);
    let ports = || model.inputs.iter().chain(model.outputs);
    let is_port = |storage: usize| {
        ports().any(|port| {
            model.tensor(port.tensor).is_some_and(|t| usize::from(t.storage.0) == storage)
        })
    };
    let stage_of = |lifetime: Lifetime| {
        let inside =
            |stage: &Range<u16>| stage.contains(&lifetime.first) && stage.contains(&lifetime.last);
        stages.iter().position(inside)
    };
    // Per memory (the slot, then the arena of each stage) its storages.
    let mut memories = vec![Vec::new(); stages.len() + 1];
    for (storage, &lifetime) in lifetimes.iter().enumerate() {
        if lifetime == Lifetime::NEVER {
            continue;
        }
        let arena = stage_of(lifetime).filter(|_| !is_port(storage) && reuse == Reuse::Share);
        let lifetime = match reuse {
            Reuse::Share => lifetime,
            Reuse::Keep => Lifetime { first: 0, last: u16::MAX },
        };
        let bytes = u64::from(model.storages[storage]).next_multiple_of(ALIGNMENT as u64);
        memories[arena.map_or(0, |stage| stage + 1)].push((storage, bytes, lifetime));
    }
    let unused = Placement { home: Home::Slot, offset: 0 };
    let mut placements = vec![unused; model.storages.len()];
    let mut sizes = Vec::new();
    for (memory, storages) in memories.iter_mut().enumerate() {
        let home = if memory == 0 { Home::Slot } else { Home::Arena };
        // A stable order makes the same network give the same artefact.
        storages.sort_by_key(|&(storage, bytes, _)| (std::cmp::Reverse(bytes), storage));
        let mut placed: Vec<(Range<u64>, Lifetime)> = Vec::new();
        let mut size = 0;
        for &(storage, bytes, lifetime) in storages.iter() {
            let offset = lowest_free(&placed, bytes, lifetime);
            let at = placed.partition_point(|(range, _)| range.start < offset);
            placed.insert(at, (offset..offset + bytes, lifetime));
            placements[storage] = Placement { home, offset: offset as u32 };
            size = size.max(offset + bytes);
        }
        sizes.push(u32::try_from(size).unwrap_or(u32::MAX));
    }
    Layout { placements, slot_bytes: sizes[0], arena_bytes: sizes.split_off(1) }
}

/// The lowest offset with `bytes` that no storage of an overlapping lifetime uses; `placed`
/// is sorted by offset.
fn lowest_free(placed: &[(Range<u64>, Lifetime)], bytes: u64, lifetime: Lifetime) -> u64 {
    let mut offset = 0;
    for (range, other) in placed {
        if lifetime.overlaps(*other) {
            if range.start >= offset + bytes {
                break;
            }
            offset = offset.max(range.end);
        }
    }
    offset
}

/// The most bytes of activations any layer needs at once: what no placement can go below
/// for one frame on one core.
#[must_use]
pub fn largest_live_set(model: &Model<'_>) -> u64 {
    let lifetimes = lifetimes(model);
    let live = |layer: u16| {
        let used = |(_, l): &(&u32, &Lifetime)| l.first <= layer && layer <= l.last;
        model.storages.iter().zip(&lifetimes).filter(used).map(|(&n, _)| u64::from(n)).sum()
    };
    (0..model.layers.len() as u16).map(live).max().unwrap_or(0)
}
