//! Places activations: what crosses a stage boundary in the slot, the rest in arenas.
//!
//! Storages that live at the same time must be apart. How tightly they can be packed depends
//! on the order in which they are placed; several are tried.

use std::ops::Range;

use pipeit_rt::model::{Model, StorageId};
use pipeit_rt::plan::{Home, Lifetime, Placement, overwritable};
use pipeit_rt::weights::ALIGNMENT;

use crate::noise::Noise;

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

/// Lifetimes of all storages, indexed by storage.
#[must_use]
pub fn lifetimes(model: &Model<'_>) -> Vec<Lifetime> {
    let mut lifetimes = vec![Lifetime::NEVER; model.storages.len()];
    Lifetime::of(model, &mut lifetimes);
    lifetimes
}

/// What places a stage's activations: its layers, and how many teams each need an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageNeeds {
    /// The layers.
    pub layers: Range<u16>,
    /// Number of teams.
    pub teams: usize,
}

/// Places the storages of `model` for these stages and `slots` frames in flight.
///
/// What only one stage uses goes into its arenas, unless that takes a fifth more memory than the
/// slots would: with one slot, say, where input and output can share bytes with what lies between
/// them. Bytes of a slot go from the caches of each stage to those of the next, even where a stage
/// only writes over what another has left there. With a single stage, whichever takes less.
/// `None` when a slot or an arena would have more bytes than 32 bits can state.
#[must_use]
pub fn place(model: &Model<'_>, stages: &[StageNeeds], slots: usize) -> Option<Layout> {
    let in_slots = assign(model, stages, |_| None);
    let in_arenas = assign(model, stages, |lifetime| {
        let inside = |stage: &StageNeeds| {
            stage.layers.contains(&lifetime.first) && stage.layers.contains(&lifetime.last)
        };
        stages.iter().position(inside)
    });
    let bytes = |layout: &Layout| {
        let arenas = stages.iter().zip(&layout.arena_bytes);
        let arenas: u64 = arenas.map(|(stage, &n)| stage.teams as u64 * u64::from(n)).sum();
        slots as u64 * u64::from(layout.slot_bytes) + arenas
    };
    let most = |in_slots| match stages {
        [_] => bytes(in_slots),
        _ => bytes(in_slots).saturating_mul(6) / 5,
    };
    match (in_arenas, in_slots) {
        (Some(arenas), Some(slots)) if bytes(&arenas) > most(&slots) => Some(slots),
        (arenas, slots) => arenas.or(slots),
    }
}

/// Packs the slot and the arenas; `arena` says whose arena a storage goes into that is no
/// input or output of the network.
fn assign(
    model: &Model<'_>,
    stages: &[StageNeeds],
    arena: impl Fn(Lifetime) -> Option<usize>,
) -> Option<Layout> {
    let is_port = |storage: usize| {
        model.inputs.iter().chain(model.outputs).any(|port| {
            model.tensor(port.tensor).is_some_and(|t| usize::from(t.storage.0) == storage)
        })
    };
    // Per memory (the slot, then the arena of each stage) its storages.
    let mut memories = vec![Vec::new(); stages.len() + 1];
    for (storage, &lifetime) in lifetimes(model).iter().enumerate() {
        if lifetime == Lifetime::NEVER {
            continue;
        }
        let memory = arena(lifetime).filter(|_| !is_port(storage)).map_or(0, |stage| stage + 1);
        let bytes = u64::from(model.storages[storage]).next_multiple_of(ALIGNMENT as u64);
        memories[memory].push(Item { storages: vec![storage], bytes, lifetime });
    }
    memories.iter_mut().for_each(|items| join(model, items));
    let unused = Placement { home: Home::Slot, offset: 0 };
    let mut placements = vec![unused; model.storages.len()];
    let mut sizes = Vec::new();
    for (memory, items) in memories.iter().enumerate() {
        let home = if memory == 0 { Home::Slot } else { Home::Arena };
        let packings = [pack(&prolonged(model, items)), pack(items)];
        let packing = packings.into_iter().min_by_key(|packing| packing.size)?;
        for (item, &offset) in items.iter().zip(&packing.offsets) {
            for &storage in &item.storages {
                placements[storage] = Placement { home, offset: offset as u32 };
            }
        }
        sizes.push(u32::try_from(packing.size).ok()?);
    }
    Some(Layout { placements, slot_bytes: sizes[0], arena_bytes: sizes.split_off(1) })
}

/// Makes one item of a storage and the one of the same size that is written over it.
fn join(model: &Model<'_>, items: &mut Vec<Item>) {
    let lifetimes = lifetimes(model);
    let holds = |item: &Item, storage: StorageId| item.storages.contains(&storage.0.into());
    for (index, layer) in (0u16..).zip(model.layers) {
        let Some(new) = model.storage_of(layer.output) else { continue };
        let Some(at) = items.iter().position(|item| holds(item, new)) else { continue };
        let bytes = |storage: StorageId| model.storages.get(usize::from(storage.0));
        let old = overwritable(model, &lifetimes, index).into_iter().find_map(|old| {
            items.iter().position(|item| holds(item, old) && bytes(old) == bytes(new))
        });
        if let Some(old) = old {
            let Item { storages, lifetime, .. } = items[at].clone();
            items[old].storages.extend(storages);
            items[old].lifetime.last = lifetime.last;
            items.remove(at);
        }
    }
}

/// The items, of which what a layer reads lives on during the next one where the two can be
/// computed [by turns](Model::rows_at_once), which they are if it is not overwritten. Not where
/// that makes the largest live set larger.
fn prolonged(model: &Model<'_>, items: &[Item]) -> Vec<Item> {
    let live = |layer: u16| -> u64 {
        let lives = |item: &&Item| item.lifetime.first <= layer && layer <= item.lifetime.last;
        items.iter().filter(lives).map(|item| item.bytes).sum()
    };
    let most = (0..model.layers.len() as u16).map(live).max().unwrap_or(0);
    let mut longer = items.to_vec();
    for (index, layer) in (0u16..).zip(model.layers) {
        if model.paths.iter().all(|&path| model.rows_at_once(path, index).is_none()) {
            continue;
        }
        let read = |storage: usize| {
            let mut inputs = layer.inputs.iter().filter_map(|&input| model.storage_of(input));
            inputs.any(|input| usize::from(input.0) == storage)
        };
        for item in &mut longer {
            let ends = item.lifetime.last == index && item.storages.iter().any(|&s| read(s));
            if ends && live(index + 1) + item.bytes <= most {
                item.lifetime.last = index + 1;
            }
        }
    }
    longer
}

/// A storage to be placed, or several of the same size, each written over the one before.
#[derive(Clone, Debug)]
struct Item {
    storages: Vec<usize>,
    /// A multiple of 64.
    bytes: u64,
    lifetime: Lifetime,
}

/// Offsets, indexed like the items, and the bytes they take.
struct Packing {
    offsets: Vec<u64>,
    size: u64,
}

/// Exchanges tried when the usual orders leave gaps, for this many items; fewer for more.
const EXCHANGES: usize = 400_000;

/// Places each item at the lowest offset that is free while it lives: in some usual orders,
/// then with neighbours exchanged for as long as it helps, until nothing is wasted.
fn pack(items: &[Item]) -> Packing {
    // The live set only grows where something begins to live.
    let live_at_start: Vec<u64> = items
        .iter()
        .map(|item| {
            let at = item.lifetime.first;
            let lives = |l: Lifetime| l.first <= at && at <= l.last;
            items.iter().filter(|item| lives(item.lifetime)).map(|item| item.bytes).sum()
        })
        .collect();
    let bound = live_at_start.iter().copied().max().unwrap_or(0);
    // The largest live set each item is part of.
    let crowd: Vec<u64> = items
        .iter()
        .map(|Item { lifetime, .. }| {
            let starts = items.iter().map(|other| other.lifetime.first);
            let sets = starts.zip(&live_at_start);
            let during = sets.filter(|(at, _)| lifetime.first <= *at && *at <= lifetime.last);
            during.map(|(_, &live)| live).max().unwrap_or(0)
        })
        .collect();
    let order_by = |key: &dyn Fn(usize) -> (u64, u64)| {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(key(i)));
        order
    };
    let length = |i: usize| u64::from(items[i].lifetime.last - items[i].lifetime.first);
    let orders = [
        order_by(&|i| (items[i].bytes, length(i))),
        order_by(&|i| (crowd[i], items[i].bytes)),
        order_by(&|i| (length(i), items[i].bytes)),
    ];
    let mut best = Packing { offsets: Vec::new(), size: u64::MAX };
    let mut best_order = Vec::new();
    for order in orders {
        let packing = pack_in_order(items, &order);
        if packing.size < best.size {
            (best, best_order) = (packing, order);
        }
    }
    let mut noise = Noise::new(0);
    for _ in 0..EXCHANGES / (items.len() * items.len()).max(1) {
        if best.size <= bound {
            break;
        }
        let mut order = best_order.clone();
        let [a, b] = [0; 2].map(|_| noise.below(items.len()));
        order.swap(a, b);
        let packing = pack_in_order(items, &order);
        if packing.size <= best.size {
            (best, best_order) = (packing, order);
        }
    }
    best
}

fn pack_in_order(items: &[Item], order: &[usize]) -> Packing {
    let mut packing = Packing { offsets: vec![0; items.len()], size: 0 };
    // Sorted by offset.
    let mut placed: Vec<(Range<u64>, Lifetime)> = Vec::new();
    for &index in order {
        let Item { bytes, lifetime, .. } = &items[index];
        let mut offset = 0;
        for (range, _) in placed.iter().filter(|(_, other)| lifetime.overlaps(*other)) {
            if range.start >= offset + bytes {
                break;
            }
            offset = offset.max(range.end);
        }
        let at = placed.partition_point(|(range, _)| range.start < offset);
        placed.insert(at, (offset..offset + bytes, *lifetime));
        packing.offsets[index] = offset;
        packing.size = packing.size.max(offset + bytes);
    }
    packing
}

/// The most bytes of activations any layer needs at once, an output written over an input
/// counted once: what no placement can go below for one frame on one core.
#[must_use]
pub fn largest_live_set(model: &Model<'_>) -> u64 {
    let lifetimes = lifetimes(model);
    let bytes = |storage: usize| model.storages.get(storage).copied().map_or(0, u64::from);
    let live = |layer: u16| {
        let used = |storage: &usize| {
            let Lifetime { first, last } = lifetimes[*storage];
            first <= layer && layer <= last
        };
        let all: u64 = (0..model.storages.len()).filter(used).map(bytes).sum();
        let over = overwritable(model, &lifetimes, layer).into_iter();
        let output = model.layers[usize::from(layer)].output;
        let output = model.storage_of(output).map_or(0, |storage| bytes(storage.0.into()));
        all - over.map(|old| bytes(old.0.into()).min(output)).max().unwrap_or(0)
    };
    (0..model.layers.len() as u16).map(live).max().unwrap_or(0)
}
