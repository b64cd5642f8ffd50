//! Writes artefacts, and opens them with the memory their tables need.

use std::mem::MaybeUninit;

use aligned_vec::{AVec, ConstAlign};
use pipeit_rt::artefact::{
    Artefact, ArtefactError, Counts, HEADER_BYTES, Header, SECTION_BYTES, Section, SectionKind,
    sign,
};
use pipeit_rt::model::{Model, ModelTables};
use pipeit_rt::plan::{
    Demand, Lifetime, Needs, Placement, Plan, PlanError, PlanTables, Stage, Team,
};
use pipeit_rt::platform::hosted::prefer_large_pages;
use pipeit_rt::region::Region;
use pipeit_rt::weights::ALIGNMENT;
use serde::Serialize;

/// Bytes as the runtime wants them: 64-byte aligned.
pub type AlignedBytes = AVec<u8, ConstAlign<ALIGNMENT>>;

/// A plan that owns its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedPlan {
    /// What it asks of the machine.
    pub needs: Needs,
    /// Stages in the order of their layers.
    pub stages: Vec<Stage>,
    /// Teams in the order of their stages.
    pub teams: Vec<Team>,
    /// Where each storage lies.
    pub placements: Vec<Placement>,
}

impl OwnedPlan {
    /// The tables as the runtime takes them.
    #[must_use]
    pub fn tables(&self) -> PlanTables<'_> {
        PlanTables {
            needs: self.needs.clone(),
            stages: &self.stages,
            teams: &self.teams,
            placements: &self.placements,
        }
    }

    /// The plan, checked against `model`.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn check<'a>(&'a self, model: &'a Model<'a>) -> Result<Plan<'a>, PlanError> {
        let storages = model.storages.len();
        let mut lifetimes = vec![Lifetime::NEVER; storages];
        Plan::new(model, self.tables(), &mut lifetimes, &mut vec![0; storages])
    }
}

impl From<&Plan<'_>> for OwnedPlan {
    fn from(plan: &Plan<'_>) -> Self {
        Self {
            needs: plan.needs.clone(),
            stages: plan.stages.to_vec(),
            teams: plan.teams.to_vec(),
            placements: plan.placements.to_vec(),
        }
    }
}

/// Why an artefact could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A table or the file is larger than the format can state.
    #[error("the network is too large for the artefact format: {0}")]
    TooLarge(&'static str),
    /// A table could not be encoded.
    #[error("encoding a table failed: {0}")]
    Encode(#[from] postcard::Error),
}

/// The parts one after another, where the runtime reads them fast.
pub(crate) fn aligned(parts: &[&[u8]]) -> AlignedBytes {
    let mut bytes = AlignedBytes::with_capacity(ALIGNMENT, parts.iter().map(|p| p.len()).sum());
    prefer_large_pages(bytes.as_ptr(), bytes.capacity());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The artefact of a network with its plans, best first, and goldens: per frame all inputs,
/// then all outputs.
///
/// # Errors
///
/// [`WriteError`].
pub fn write(
    model: &ModelTables<'_>,
    plans: &[OwnedPlan],
    goldens: &[u8],
) -> Result<AlignedBytes, WriteError> {
    let count = |n: usize, what| u16::try_from(n).map_err(|_| WriteError::TooLarge(what));
    let counts = Counts {
        storages: count(model.storages.len(), "storages")?,
        tensors: count(model.tensors.len(), "tensors")?,
        layers: count(model.layers.len(), "layers")?,
        paths: count(model.paths.len(), "paths")?,
        inputs: count(model.inputs.len(), "inputs")?,
        outputs: count(model.outputs.len(), "outputs")?,
        plans: count(plans.len(), "plans")?,
        stages: count(plans.iter().map(|plan| plan.stages.len()).sum(), "stages")?,
        teams: count(plans.iter().map(|plan| plan.teams.len()).sum(), "teams")?,
    };
    let mut sections = vec![
        (SectionKind::Model, encode_model(model)?),
        (SectionKind::Plans, encode_plans(plans)?),
        (SectionKind::Goldens, goldens.to_vec()),
    ];
    for section in model.weights.sections() {
        sections.push((SectionKind::Weights, section.to_vec()));
    }

    let too_large = WriteError::TooLarge("file");
    let table_end = HEADER_BYTES + sections.len() * SECTION_BYTES;
    let mut body = Vec::new();
    let mut table = Vec::new();
    let first = table_end.next_multiple_of(ALIGNMENT);
    for (kind, mut bytes) in sections {
        let offset = u32::try_from(first + body.len()).map_err(|_| WriteError::TooLarge("file"))?;
        let len = u32::try_from(bytes.len()).map_err(|_| WriteError::TooLarge("section"))?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        table.extend(Section { kind, offset, len, crc: 0 }.to_bytes());
        body.extend(bytes);
    }
    table.resize(first - HEADER_BYTES, 0);
    let demand =
        plans.iter().map(|plan| plan.tables().demand()).fold(Demand::default(), Demand::max);
    if demand.arena_bytes == u32::MAX {
        return Err(WriteError::TooLarge("activations"));
    }
    let header = Header {
        sections: count((table_end - HEADER_BYTES) / SECTION_BYTES, "sections")?,
        crc: 0,
        total_bytes: u32::try_from(first + body.len()).map_err(|_| too_large)?,
        counts,
        demand,
    };
    let mut bytes = aligned(&[header.to_bytes().as_slice(), &table, &body]);
    sign(&mut bytes);
    Ok(bytes)
}

fn append<T: Serialize>(bytes: Vec<u8>, values: &[T]) -> Result<Vec<u8>, postcard::Error> {
    values.iter().try_fold(bytes, |bytes, value| postcard::to_extend(value, bytes))
}

fn encode_model(model: &ModelTables<'_>) -> Result<Vec<u8>, postcard::Error> {
    let bytes = append(Vec::new(), model.storages)?;
    let bytes = append(bytes, model.tensors)?;
    let bytes = append(bytes, model.layers)?;
    let bytes = append(bytes, model.paths)?;
    let bytes = append(bytes, model.ops)?;
    let bytes = append(bytes, model.inputs)?;
    append(bytes, model.outputs)
}

fn encode_plans(plans: &[OwnedPlan]) -> Result<Vec<u8>, postcard::Error> {
    plans.iter().try_fold(Vec::new(), |bytes, plan| {
        let bytes = append(bytes, std::slice::from_ref(&plan.needs))?;
        let bytes = append(bytes, &[(plan.stages.len() as u16, plan.teams.len() as u16)])?;
        let bytes = append(bytes, &plan.stages)?;
        let bytes = append(bytes, &plan.teams)?;
        append(bytes, &plan.placements)
    })
}

/// Memory for the tables of the artefact in `bytes`; see [`open`].
///
/// # Errors
///
/// What is wrong with its header.
pub fn tables(bytes: &[u8]) -> Result<Vec<MaybeUninit<u8>>, ArtefactError> {
    Ok(vec![MaybeUninit::uninit(); Header::read(bytes)?.table_bytes()])
}

/// Validates the artefact in `bytes`; `tables` are what [`tables`] gave.
///
/// # Errors
///
/// The first thing that does not fit.
pub fn open<'a>(
    bytes: &'a [u8],
    tables: &'a mut [MaybeUninit<u8>],
) -> Result<Artefact<'a>, ArtefactError> {
    Artefact::open(bytes, &mut Region::new(tables))
}
