//! Artefacts: bytes changed and signed, or the tables taken apart, changed, and written again.

use std::ops::Range;

use pipeit_rt::artefact::{HEADER_BYTES, Header, SECTION_BYTES, SectionKind, sign};
use pipeit_rt::kernels::{Op, Path};
use pipeit_rt::model::{Layer, ModelTables, Port, Tensor};
use pipeit_rt::plan::{Needs, Placement, Stage, Team};
use pipeit_rt::weights::{ALIGNMENT, Weights};
use pipeit_tool::artefact::{self, AlignedBytes, OwnedPlan};
use pipeit_tool::noise::Noise;
use serde::{Deserialize, Serialize};

use super::{Bytes, put, tree};

/// Changes the artefact `data[..size]` in place, to at most `max_size` bytes; returns its size.
pub fn change(data: &mut [u8], size: usize, max_size: usize, seed: u32, bytes: Bytes) -> usize {
    let mut noise = Noise::new(seed.into());
    match noise.below(16) {
        0 => bytes(data, size, max_size),
        1 => {
            let size = bytes(data, size, max_size);
            if let Some(total) = data[..size].get_mut(16..20) {
                total.copy_from_slice(&(size as u32).to_le_bytes());
            }
            sign(&mut data[..size]);
            size
        }
        2..4 => change_section(&mut data[..size], &mut noise, bytes),
        _ => {
            let changed = change_tables(&data[..size], &mut noise);
            let changed = changed.and_then(|changed| put(data, max_size, &changed));
            changed.unwrap_or_else(|| change_section(&mut data[..size], &mut noise, bytes))
        }
    }
}

/// The kind and the range of each section, where there are any.
fn sections(data: &[u8]) -> Vec<(u32, Range<usize>)> {
    let Ok(header) = Header::read(data) else { return Vec::new() };
    let entry = |entry: &[u8]| {
        let field = |at: usize| entry[at..].first_chunk().map_or(0, |&n| u32::from_le_bytes(n));
        let start = field(4) as usize;
        (field(0), start..start + field(8) as usize)
    };
    let table = data[HEADER_BYTES..].chunks_exact(SECTION_BYTES);
    let sections = table.take(header.sections.into()).map(entry);
    sections.filter(|(_, range)| range.end <= data.len()).collect()
}

fn change_section(data: &mut [u8], noise: &mut Noise, bytes: Bytes) -> usize {
    let mut sections = sections(data);
    sections.retain(|(_, range)| !range.is_empty());
    let size = data.len();
    if sections.is_empty() {
        return bytes(data, size, size);
    }
    let (_, range) = sections.swap_remove(noise.below(sections.len()));
    let len = range.len();
    bytes(&mut data[range], len, len);
    sign(data);
    size
}

/// All tables of an artefact.
#[derive(Deserialize, Serialize)]
struct Tables {
    storages: Vec<u32>,
    tensors: Vec<Tensor>,
    layers: Vec<Layer>,
    paths: Vec<Path>,
    ops: Vec<Op>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    plans: Vec<Plan>,
}

#[derive(Deserialize, Serialize)]
struct Plan {
    needs: Needs,
    stages: Vec<Stage>,
    teams: Vec<Team>,
    placements: Vec<Placement>,
}

/// `count` values from the front of `bytes`.
fn values<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8], count: u16) -> Option<Vec<T>> {
    let next = |_| {
        let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
        *bytes = rest;
        Some(value)
    };
    (0..count).map(next).collect()
}

impl Tables {
    fn decode(header: &Header, mut model: &[u8], mut plans: &[u8]) -> Option<Self> {
        let counts = header.counts;
        let (model, rest) = (&mut model, &mut plans);
        let plan = |_| {
            let needs = values(rest, 1)?.pop()?;
            let (stages, teams) = values(rest, 1)?.pop()?;
            let (stages, teams) = (values(rest, stages)?, values(rest, teams)?);
            Some(Plan { needs, stages, teams, placements: values(rest, counts.storages)? })
        };
        let plans = (0..counts.plans).map(plan).collect::<Option<_>>()?;
        Some(Self {
            storages: values(model, counts.storages)?,
            tensors: values(model, counts.tensors)?,
            layers: values(model, counts.layers)?,
            paths: values(model, counts.paths)?,
            ops: values(model, counts.layers.checked_mul(counts.paths)?)?,
            inputs: values(model, counts.inputs)?,
            outputs: values(model, counts.outputs)?,
            plans,
        })
    }
}

/// The artefact with a few changes in its tables.
fn change_tables(data: &[u8], noise: &mut Noise) -> Option<AlignedBytes> {
    let header = Header::read(data).ok()?;
    let sections = sections(data);
    let of_kind = |kind: SectionKind| {
        let found = sections.iter().filter(move |&&(found, _)| found == kind as u32);
        found.map(|(_, range)| &data[range.clone()])
    };
    let model = of_kind(SectionKind::Model).next()?;
    let plans = of_kind(SectionKind::Plans).next()?;
    let goldens = of_kind(SectionKind::Goldens).next()?;
    let tables = tree::change(&Tables::decode(&header, model, plans)?, noise)?;

    let aligned: Vec<_> = of_kind(SectionKind::Weights)
        .map(|section| AlignedBytes::from_slice(ALIGNMENT, section))
        .collect();
    let mut weights = Weights::default();
    aligned.iter().try_for_each(|section| weights.push(section))?;
    let plan = |plan: Plan| {
        let Plan { needs, stages, teams, placements } = plan;
        OwnedPlan { needs, stages, teams, placements }
    };
    let plans: Vec<_> = tables.plans.into_iter().map(plan).collect();
    let model = ModelTables {
        storages: &tables.storages,
        tensors: &tables.tensors,
        layers: &tables.layers,
        paths: &tables.paths,
        ops: &tables.ops,
        inputs: &tables.inputs,
        outputs: &tables.outputs,
        weights,
    };
    artefact::write(&model, &plans, goldens).ok()
}
