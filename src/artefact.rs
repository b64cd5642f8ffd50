//! The artefact: one file that holds a network, its plans and its weights.
//!
//! ```text
//! header | section table | sections, each at a multiple of 64
//! ```
//!
//! All numbers are little-endian. The header's checksum covers header and table with the
//! padding behind them; each section's covers the section with the padding behind it. So
//! every byte is covered once. Everything is validated in [`Artefact::open`]; nothing that
//! is made from an artefact afterwards can fail on its contents.
//!
//! | bytes | header field |
//! | --- | --- |
//! | 0..8 | [`MAGIC`] |
//! | 8..10 | format version |
//! | 10..12 | number of sections |
//! | 12..16 | CRC-32 of everything before the first section, these four bytes left out |
//! | 16..20 | bytes of the whole file |
//! | 20..24 | [`Demand`] of the plans together: bytes of activations |
//! | 24..42 | nine 16-bit [`Counts`] |
//! | 42..46 | [`Demand`]: teams, cores |
//! | 64.. | section table: kind, offset, length, CRC-32 in 16 bytes each |
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]
#![deny(clippy::arithmetic_side_effects)]

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};
use serde::Deserialize;

use crate::kernels::{KNOWN, Known, Op, Path, ReadError};
use crate::model::{Layer, Model, ModelError, ModelTables, Port, Tensor};
use crate::plan::{Demand, Lifetime, Needs, Placement, Plan, PlanError, PlanTables, Stage, Team};
use crate::region::{OutOfMemory, Region};
use crate::topology::Topology;
use crate::values::Values;
use crate::weights::{ALIGNMENT, MAX_SECTIONS, Weights};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"PIPEIT\x1a\n";
/// The format version this library reads.
pub const VERSION: u16 = 1;
/// Bytes of the header, which is where the section table starts.
pub const HEADER_BYTES: usize = 64;
/// Bytes of an entry of the section table.
pub const SECTION_BYTES: usize = 16;

/// Where the header's checksum stands.
const CRC_OFFSET: usize = 12;

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// CRC-32 (ISO-HDLC, as in zip) of bytes that come in parts.
#[derive(Clone)]
pub struct Checksum(Digest<'static, u32, Table<1>>);

impl Checksum {
    /// That of no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(CRC.digest())
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes taken in.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checksum").field(&self.clone().finish()).finish()
    }
}

/// [`Checksum`] of the concatenation of `parts`.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u32 {
    let mut checksum = Checksum::new();
    parts.iter().for_each(|part| checksum.update(part));
    checksum.finish()
}

/// The first byte behind the section table and its padding.
fn first_section(sections: u16) -> usize {
    let table_end = usize::from(sections).saturating_mul(SECTION_BYTES);
    table_end.saturating_add(HEADER_BYTES).next_multiple_of(ALIGNMENT)
}

/// The checksum that covers `front`: everything before the first section but itself.
fn front_checksum(front: &[u8]) -> u32 {
    let (before, after) = (front.get(..CRC_OFFSET), front.get(CRC_OFFSET + 4..));
    checksum(&[before.unwrap_or(&[]), after.unwrap_or(&[])])
}

/// Writes the checksums of the artefact in `bytes`, of which nothing is checked: what makes
/// one whose other bytes are all in place.
pub fn sign(bytes: &mut [u8]) {
    fn put(bytes: &mut [u8], at: usize, crc: u32) {
        let field = bytes.get_mut(at..at.saturating_add(4));
        field.into_iter().for_each(|field| field.copy_from_slice(&crc.to_le_bytes()));
    }
    let sections = number(bytes, 10, 2) as u16;
    for section in 0..usize::from(sections) {
        let entry = section.saturating_mul(SECTION_BYTES).saturating_add(HEADER_BYTES);
        let start = number(bytes, entry.saturating_add(4), 4) as usize;
        let len = number(bytes, entry.saturating_add(8), 4) as usize;
        let end = start.saturating_add(len).checked_next_multiple_of(ALIGNMENT);
        let section = end.and_then(|end| bytes.get(start..end));
        let crc = checksum(&[section.unwrap_or(&[])]);
        put(bytes, entry.saturating_add(12), crc);
    }
    let crc = front_checksum(bytes.get(..first_section(sections)).unwrap_or(&[]));
    put(bytes, CRC_OFFSET, crc);
}

/// How many entries the tables have; what the memory for them is sized by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Storages.
    pub storages: u16,
    /// Tensors.
    pub tensors: u16,
    /// Layers.
    pub layers: u16,
    /// Kernel paths there are parameters for.
    pub paths: u16,
    /// Inputs of the network.
    pub inputs: u16,
    /// Outputs of the network.
    pub outputs: u16,
    /// Plans.
    pub plans: u16,
    /// Stages of all plans.
    pub stages: u16,
    /// Teams of all plans.
    pub teams: u16,
}

impl Counts {
    /// Entries of all tables, each of which takes at least a byte of the file.
    const fn entries(&self) -> usize {
        let (layers, storages) = (self.layers as usize, self.storages as usize);
        let ops = layers.saturating_mul(self.paths as usize);
        let placements = storages.saturating_mul(self.plans as usize);
        let others = [
            self.tensors,
            self.paths,
            self.inputs,
            self.outputs,
            self.plans,
            self.stages,
            self.teams,
        ];
        let mut sum = storages.saturating_add(layers).saturating_add(ops);
        sum = sum.saturating_add(placements);
        let mut rest = others.as_slice();
        while let [first, others @ ..] = rest {
            sum = sum.saturating_add(*first as usize);
            rest = others;
        }
        sum
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u16)]
pub enum SectionKind {
    /// Tables of the network.
    Model = 1,
    /// Tables of the plans.
    Plans = 2,
    /// Inputs with their expected outputs.
    Goldens = 3,
    /// Weights packed for one path.
    Weights = 4,
}

/// An entry of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// First byte, a multiple of 64.
    pub offset: u32,
    /// Bytes without padding.
    pub len: u32,
    /// Checksum of the section and the padding behind it.
    pub crc: u32,
}

impl Section {
    /// The entry as it stands in the table.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SECTION_BYTES] {
        let kind = u32::from(self.kind as u16);
        let mut bytes = [0; SECTION_BYTES];
        let fields = [kind, self.offset, self.len, self.crc];
        for (to, from) in bytes.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        bytes
    }
}

/// The fixed part in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of sections.
    pub sections: u16,
    /// Checksum of everything before the first section.
    pub crc: u32,
    /// Bytes of the whole file.
    pub total_bytes: u32,
    /// Table sizes.
    pub counts: Counts,
    /// Enough for any one of the plans.
    pub demand: Demand,
}

/// Why an artefact was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ArtefactError {
    /// Shorter or longer than its header says.
    Length {
        /// Bytes wanted.
        wanted: usize,
        /// Bytes found.
        found: usize,
    },
    /// Does not start with [`MAGIC`].
    Magic,
    /// Written by a version of the format this library does not read.
    Version {
        /// The version.
        found: u16,
    },
    /// Does not start at a multiple of 64 in memory.
    Misaligned,
    /// The header counts more table entries than the file has bytes.
    Counts {
        /// Entries counted.
        entries: usize,
        /// Bytes of the file.
        bytes: usize,
    },
    /// The checksum of header and section table is wrong.
    HeaderChecksum,
    /// The checksum of a section is wrong.
    SectionChecksum {
        /// Index in the section table.
        section: u16,
    },
    /// A section is of unknown kind, misaligned, out of order, overlapping or outside the file.
    Section {
        /// Index in the section table.
        section: u16,
    },
    /// There is not exactly one section of this kind.
    SectionCount {
        /// The kind.
        kind: SectionKind,
    },
    /// A table ends early, is followed by other bytes, or holds an invalid value.
    Table {
        /// What is wrong.
        name: &'static str,
    },
    /// This program does not know an operator.
    Operator {
        /// Its number.
        number: u32,
    },
    /// The memory given for the tables is too small.
    Memory(OutOfMemory),
    /// The network is refused.
    Model(ModelError),
    /// A plan is refused.
    Plan {
        /// Index of the plan.
        plan: u16,
        /// Why.
        error: PlanError,
    },
}

impl fmt::Display for ArtefactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { wanted, found } => {
                write!(f, "artefact has {found} bytes, its header asks for {wanted}")
            }
            Self::Magic => f.write_str("not a pipeit artefact"),
            Self::Version { found } => {
                write!(f, "artefact format version {found}, this program reads {VERSION}")
            }
            Self::Misaligned => write!(f, "artefact is not {ALIGNMENT}-byte aligned in memory"),
            Self::Counts { entries, bytes } => {
                write!(f, "artefact header counts {entries} table entries in {bytes} bytes")
            }
            Self::HeaderChecksum => f.write_str("artefact header is corrupt"),
            Self::SectionChecksum { section } => write!(f, "artefact section {section} is corrupt"),
            Self::Section { section } => write!(f, "artefact section {section} is misplaced"),
            Self::SectionCount { kind } => {
                write!(f, "artefact has no {kind:?} section, or too many")
            }
            Self::Table { name } => write!(f, "artefact table of {name} is malformed"),
            Self::Operator { number } => {
                write!(f, "artefact has operator {number}, which is not part of this program")
            }
            Self::Memory(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Plan { plan, error } => write!(f, "plan {plan}: {error}"),
        }
    }
}
impl core::error::Error for ArtefactError {}

impl From<OutOfMemory> for ArtefactError {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
}

impl From<ReadError> for ArtefactError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed => Self::Table { name: "operators" },
            ReadError::Unknown { number } => Self::Operator { number },
        }
    }
}

/// The little-endian number at `at`, or 0 past the end.
const fn number(bytes: &[u8], at: usize, width: usize) -> u32 {
    let mut value = 0u32;
    let mut i = width;
    while i > 0 {
        i = i.saturating_sub(1);
        let byte = match bytes.split_at_checked(at.saturating_add(i)) {
            Some((_, [byte, ..])) => *byte as u32,
            _ => 0,
        };
        value = value << 8 | byte;
    }
    value
}

impl Header {
    /// Reads the header of an artefact, at compile time if need be. Only magic, version, length
    /// and that the file has room for the entries counted are checked, so that memory for the
    /// tables stays in proportion to it; [`Artefact::open`] checks the rest.
    ///
    /// # Errors
    ///
    /// [`ArtefactError::Length`], [`ArtefactError::Magic`], [`ArtefactError::Version`],
    /// [`ArtefactError::Counts`].
    pub const fn read(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let header = match Self::front(bytes) {
            Ok(header) => header,
            Err(error) => return Err(error),
        };
        if header.total_bytes as usize != bytes.len() {
            let (wanted, found) = (header.total_bytes as usize, bytes.len());
            return Err(ArtefactError::Length { wanted, found });
        }
        let entries = header.counts.entries();
        if entries > bytes.len() {
            return Err(ArtefactError::Counts { entries, bytes: bytes.len() });
        }
        Ok(header)
    }

    /// As [`read`](Self::read) of an artefact of which these are the first bytes: tells how
    /// long one is that was loaded to a fixed address.
    ///
    /// # Errors
    ///
    /// [`ArtefactError::Magic`], [`ArtefactError::Version`]; [`ArtefactError::Length`] when
    /// `bytes` do not hold a whole header.
    pub const fn front(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let found = bytes.len();
        let mut i = 0;
        while i < MAGIC.len() && i < found {
            if number(bytes, i, 1) != number(&MAGIC, i, 1) {
                return Err(ArtefactError::Magic);
            }
            i = i.saturating_add(1);
        }
        if found < HEADER_BYTES {
            return Err(ArtefactError::Length { wanted: HEADER_BYTES, found });
        }
        let version = number(bytes, 8, 2) as u16;
        if version != VERSION {
            return Err(ArtefactError::Version { found: version });
        }
        let mut counts = [0u16; 9];
        let (mut rest, mut at) = (counts.as_mut_slice(), 24usize);
        while let [count, others @ ..] = rest {
            *count = number(bytes, at, 2) as u16;
            at = at.saturating_add(2);
            rest = others;
        }
        let [storages, tensors, layers, paths, inputs, outputs, plans, stages, teams] = counts;
        Ok(Self {
            sections: number(bytes, 10, 2) as u16,
            crc: number(bytes, 12, 4),
            total_bytes: number(bytes, 16, 4),
            counts: Counts {
                storages,
                tensors,
                layers,
                paths,
                inputs,
                outputs,
                plans,
                stages,
                teams,
            },
            demand: Demand {
                arena_bytes: number(bytes, 20, 4),
                teams: number(bytes, 42, 2) as u16,
                cores: number(bytes, 44, 2) as u16,
            },
        })
    }

    /// The header as it stands in the file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (c, d) = (self.counts, self.demand);
        let counts = [
            c.storages, c.tensors, c.layers, c.paths, c.inputs, c.outputs, c.plans, c.stages,
            c.teams, d.teams, d.cores,
        ];
        let fields = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain(self.sections.to_le_bytes())
            .chain(self.crc.to_le_bytes())
            .chain(self.total_bytes.to_le_bytes())
            .chain(d.arena_bytes.to_le_bytes())
            .chain(counts.into_iter().flat_map(u16::to_le_bytes));
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }

    /// Bytes of memory that [`Artefact::open`] needs on this target for the tables.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        const fn of<T>(count: usize) -> usize {
            count.saturating_mul(size_of::<T>()).saturating_add(align_of::<T>())
        }
        let c = self.counts;
        let storages = c.storages as usize;
        let plans = c.plans as usize;
        let sizes = [
            of::<u32>(storages),
            of::<Tensor>(c.tensors as usize),
            of::<Layer>(c.layers as usize),
            of::<Path>(c.paths as usize),
            of::<Op>((c.layers as usize).saturating_mul(c.paths as usize)),
            of::<Port>(c.inputs as usize),
            of::<Port>(c.outputs as usize),
            of::<Model<'_>>(1),
            of::<PlanTables<'_>>(plans),
            of::<Plan<'_>>(plans),
            of::<Stage>(c.stages as usize),
            of::<Team>(c.teams as usize),
            of::<Placement>(storages.saturating_mul(plans)),
            // Alignment of the stages, teams and placements of each plan.
            plans.saturating_mul(32),
            // Scratch of the checks.
            of::<(Lifetime, u16, bool)>(storages).saturating_add(16),
        ];
        let (mut sum, mut rest) = (0usize, sizes.as_slice());
        while let [first, others @ ..] = rest {
            sum = sum.saturating_add(*first);
            rest = others;
        }
        sum
    }
}

/// A validated artefact.
#[derive(Clone, Debug)]
pub struct Artefact<'a> {
    /// The network.
    pub model: &'a Model<'a>,
    /// Its plans, best first.
    pub plans: &'a [Plan<'a>],
    /// Inputs with their expected outputs.
    pub goldens: Goldens<'a>,
}

/// Frames with their expected outputs, for a self-test on the target.
#[derive(Clone, Copy, Debug)]
pub struct Goldens<'a> {
    bytes: &'a [u8],
    input_bytes: usize,
    output_bytes: usize,
}

impl<'a> Goldens<'a> {
    /// The frames: all inputs, then all outputs, each in the order of the ports.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let goldens = *self;
        (0..).map_while(move |index| goldens.frame(index))
    }

    /// Frame `index` of them.
    #[must_use]
    pub fn frame(&self, index: usize) -> Option<(&'a [u8], &'a [u8])> {
        let bytes = self.input_bytes.saturating_add(self.output_bytes);
        let start = index.checked_mul(bytes)?;
        let frame = self.bytes.get(start..start.checked_add(bytes)?)?;
        frame.split_at_checked(self.input_bytes)
    }
}

/// The next value.
fn next<'a, T: Deserialize<'a>>(
    values: &mut Values<'a>,
    name: &'static str,
) -> Result<T, ArtefactError> {
    values.next().map_err(|_| ArtefactError::Table { name })
}

/// A table of the next `len` values.
fn table<'a, T: Deserialize<'a>>(
    values: &mut Values<'a>,
    region: &mut Region<'a>,
    len: usize,
    name: &'static str,
) -> Result<&'a [T], ArtefactError> {
    let table = region.slice(len, |_| next(values, name))?;
    Ok(table)
}

/// There must be no more.
fn end(values: Values<'_>, name: &'static str) -> Result<(), ArtefactError> {
    values.end().map_err(|_| ArtefactError::Table { name })
}

/// The sections, found and checked.
struct Sections<'a> {
    model: &'a [u8],
    plans: &'a [u8],
    goldens: &'a [u8],
    weights: Weights<'a>,
}

impl<'a> Sections<'a> {
    fn find(bytes: &'a [u8], header: &Header) -> Result<Self, ArtefactError> {
        let first = first_section(header.sections);
        let front = bytes
            .get(..first)
            .ok_or(ArtefactError::Length { wanted: first, found: bytes.len() })?;
        if front_checksum(front) != header.crc {
            return Err(ArtefactError::HeaderChecksum);
        }
        let mut found = Self { model: &[], plans: &[], goldens: &[], weights: Weights::default() };
        let mut seen = [0u16; 5];
        let mut end = first;
        let table = front.get(HEADER_BYTES..).unwrap_or(&[]).chunks_exact(SECTION_BYTES);
        for (i, entry) in (0..header.sections).zip(table) {
            let misplaced = ArtefactError::Section { section: i };
            let offset = number(entry, 4, 4) as usize;
            let len = number(entry, 8, 4) as usize;
            let padded = len.checked_next_multiple_of(ALIGNMENT).ok_or(misplaced)?;
            let start = end;
            end = start.checked_add(padded).filter(|_| offset == start).ok_or(misplaced)?;
            let section = bytes.get(start..end).ok_or(misplaced)?;
            if checksum(&[section]) != number(entry, 12, 4) {
                return Err(ArtefactError::SectionChecksum { section: i });
            }
            let section = section.get(..len).ok_or(misplaced)?;
            let kind = number(entry, 0, 4);
            match kind {
                k if k == SectionKind::Model as u32 => found.model = section,
                k if k == SectionKind::Plans as u32 => found.plans = section,
                k if k == SectionKind::Goldens as u32 => found.goldens = section,
                k if k == SectionKind::Weights as u32 => {
                    found.weights.push(section).ok_or(misplaced)?;
                }
                _ => return Err(misplaced),
            }
            if let Some(seen) = seen.get_mut(kind as usize) {
                *seen = seen.saturating_add(1);
            }
        }
        if end != bytes.len() {
            return Err(ArtefactError::Length { wanted: end, found: bytes.len() });
        }
        let [_, model, plans, goldens, weights] = seen;
        for (count, most, kind) in [
            (model, 1, SectionKind::Model),
            (plans, 1, SectionKind::Plans),
            (goldens, 1, SectionKind::Goldens),
            (weights, MAX_SECTIONS as u16, SectionKind::Weights),
        ] {
            if count == 0 || count > most {
                return Err(ArtefactError::SectionCount { kind });
            }
        }
        Ok(found)
    }
}

impl<'a> Artefact<'a> {
    /// Validates the artefact in `bytes`, which must start at a multiple of 64.
    ///
    /// The tables are decoded into `region`, of which they take at most
    /// [`Header::table_bytes`]; weights and goldens stay where they are.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn open(bytes: &'a [u8], region: &mut Region<'a>) -> Result<Self, ArtefactError> {
        Self::open_with(bytes, KNOWN, region)
    }

    /// As [`open`](Self::open) of an artefact that has no operators but those `known`: then no
    /// others are linked.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn open_with(
        bytes: &'a [u8],
        known: &[Known],
        region: &mut Region<'a>,
    ) -> Result<Self, ArtefactError> {
        let header = Header::read(bytes)?;
        if !bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Err(ArtefactError::Misaligned);
        }
        let sections = Sections::find(bytes, &header)?;
        let counts = header.counts;
        let tables = Self::decode_model(sections.model, sections.weights, counts, known, region)?;
        let storages = usize::from(counts.storages);
        let written = region.slice(storages, |_| Ok::<_, OutOfMemory>(false))?;
        let model = Model::new(tables, known, written).map_err(ArtefactError::Model)?;
        let model = region.place(model)?;

        let lifetimes = region.slice(storages, |_| Ok::<_, OutOfMemory>(Lifetime::NEVER))?;
        let order = region.slice(storages, |_| Ok::<_, OutOfMemory>(0u16))?;
        let tables = Self::decode_plans(sections.plans, counts, region)?;
        let mut demand = Demand::default();
        let plans = region.slice(tables.len(), |i| {
            let tables = tables.get(i).ok_or(ArtefactError::Table { name: "plans" })?.clone();
            let plan = Plan::new(model, tables, lifetimes, order)
                .map_err(|error| ArtefactError::Plan { plan: i as u16, error })?;
            demand = demand.max(plan.demand());
            Ok::<_, ArtefactError>(plan)
        })?;
        if demand != header.demand {
            return Err(ArtefactError::Table { name: "memory demand" });
        }

        let bytes_of = |ports: &[Port]| {
            ports
                .iter()
                .filter_map(|port| model.tensor(port.tensor))
                .fold(0usize, |sum, tensor| sum.saturating_add(tensor.shape.elements()))
        };
        let goldens = Goldens {
            bytes: sections.goldens,
            input_bytes: bytes_of(model.inputs),
            output_bytes: bytes_of(model.outputs),
        };
        let frame = goldens.input_bytes.saturating_add(goldens.output_bytes);
        if !goldens.bytes.len().is_multiple_of(frame) {
            return Err(ArtefactError::Table { name: "goldens" });
        }
        Ok(Self { model, plans, goldens })
    }

    fn decode_model(
        bytes: &'a [u8],
        weights: Weights<'a>,
        counts: Counts,
        known: &[Known],
        region: &mut Region<'a>,
    ) -> Result<ModelTables<'a>, ArtefactError> {
        let ops = usize::from(counts.layers).saturating_mul(counts.paths.into());
        let mut values = Values::new(bytes);
        let tables = ModelTables {
            storages: table(&mut values, region, counts.storages.into(), "storages")?,
            tensors: table(&mut values, region, counts.tensors.into(), "tensors")?,
            layers: table(&mut values, region, counts.layers.into(), "layers")?,
            paths: table(&mut values, region, counts.paths.into(), "paths")?,
            ops: region.slice(ops, |_| Ok::<_, ArtefactError>(Op::read(&mut values, known)?))?,
            inputs: table(&mut values, region, counts.inputs.into(), "inputs")?,
            outputs: table(&mut values, region, counts.outputs.into(), "outputs")?,
            weights,
        };
        end(values, "model")?;
        Ok(tables)
    }

    fn decode_plans(
        bytes: &'a [u8],
        counts: Counts,
        region: &mut Region<'a>,
    ) -> Result<&'a [PlanTables<'a>], ArtefactError> {
        let mut values = Values::new(bytes);
        let (mut stages, mut teams) = (counts.stages, counts.teams);
        // The tables of a plan follow it, so a place for all plans is set aside first.
        let empty = || PlanTables {
            needs: Needs { paths: heapless::Vec::new(), slots: 0, slot_bytes: 0 },
            stages: &[],
            teams: &[],
            placements: &[],
        };
        let plans = region.slice(counts.plans.into(), |_| Ok::<_, ArtefactError>(empty()))?;
        for plan in &mut *plans {
            plan.needs = next(&mut values, "plans")?;
            let (plan_stages, plan_teams): (u16, u16) = next(&mut values, "plans")?;
            let too_many = ArtefactError::Table { name: "plans" };
            stages = stages.checked_sub(plan_stages).ok_or(too_many)?;
            teams = teams.checked_sub(plan_teams).ok_or(too_many)?;
            plan.stages = table(&mut values, region, plan_stages.into(), "stages")?;
            plan.teams = table(&mut values, region, plan_teams.into(), "teams")?;
            plan.placements = table(&mut values, region, counts.storages.into(), "placements")?;
        }
        if (stages, teams) != (0, 0) {
            return Err(ArtefactError::Table { name: "plans" });
        }
        end(values, "plans")?;
        Ok(plans)
    }

    /// The first plan that fits `topology`.
    ///
    /// # Errors
    ///
    /// What the first plan lacks, when none fits; `None` when there are no plans.
    pub fn best_plan(&self, topology: &Topology) -> Result<&'a Plan<'a>, Option<PlanError>> {
        let mut lacks = None;
        for plan in self.plans {
            match plan.fits(topology) {
                Ok(()) => return Ok(plan),
                Err(error) => lacks = lacks.or(Some(error)),
            }
        }
        Err(lacks)
    }
}
