//! A weights section under construction.

use std::collections::HashMap;

use aligned_vec::AVec;
use pipeit_rt::quant::Multiplier;
use pipeit_rt::weights::{ALIGNMENT, Span};

use super::LowerError;
use crate::artefact::AlignedBytes;
use crate::graph::TensorIndex;

/// Most bytes of tables of resized images. A file states their extents in a few bytes.
const MAX_TABLE_BYTES: usize = 16 << 20;

/// The sections of a network under construction.
pub(super) struct Sections {
    /// What every path reads: tables and constants.
    pub(super) tables: Section,
    /// Filters and what belongs to their outputs, which each path lays out in its own way.
    pub(super) filters: Section,
}

impl Sections {
    pub(super) fn new() -> Self {
        Self { tables: Section::new(0), filters: Section::new(1) }
    }
}

/// Bytes with every span at a multiple of [`ALIGNMENT`]; equal spans are stored once.
pub(crate) struct Section {
    number: u8,
    bytes: AlignedBytes,
    /// Offset and length of the spans with the same hash.
    known: HashMap<u64, Vec<(u32, usize)>>,
    /// Codes of a constant of the file that are here already.
    constants: HashMap<TensorIndex, Span<i8>>,
    /// What is left of [`MAX_TABLE_BYTES`].
    table_bytes_left: usize,
}

impl Section {
    /// The section that spans call `number`.
    pub(crate) fn new(number: u8) -> Self {
        let (known, constants) = (HashMap::new(), HashMap::new());
        let bytes = AVec::new(ALIGNMENT);
        Self { number, bytes, known, constants, table_bytes_left: MAX_TABLE_BYTES }
    }

    /// The section, padded to whole lines.
    pub(crate) fn finish(mut self) -> AlignedBytes {
        self.pad();
        self.bytes
    }

    /// Codes made at import.
    pub(crate) fn codes(&mut self, codes: &[i8]) -> Result<Span<i8>, LowerError> {
        let bytes: Vec<u8> = codes.iter().map(|code| code.cast_unsigned()).collect();
        self.span(&bytes, codes.len())
    }

    /// Codes of the constant `tensor`, whose bytes are xored with `flip`.
    pub(super) fn constant(
        &mut self,
        tensor: TensorIndex,
        data: &[u8],
        flip: u8,
    ) -> Result<Span<i8>, LowerError> {
        if let Some(&span) = self.constants.get(&tensor) {
            return Ok(span);
        }
        let bytes: Vec<u8> = data.iter().map(|byte| byte ^ flip).collect();
        let span = self.span(&bytes, data.len())?;
        self.constants.insert(tensor, span);
        Ok(span)
    }

    /// A table with an entry of `WIDTH` numbers for each of `len` rows or columns, where `entry`
    /// has one.
    pub(super) fn table<const WIDTH: usize>(
        &mut self,
        len: u32,
        entry: impl Fn(u32) -> Option<[i32; WIDTH]>,
    ) -> Result<Option<Span<i32>>, LowerError> {
        let bytes = (len as usize).saturating_mul(size_of::<[i32; WIDTH]>());
        let left = self.table_bytes_left.checked_sub(bytes);
        self.table_bytes_left = left.ok_or(LowerError::TooLarge { what: "resized images" })?;
        let entries: Option<Vec<_>> = (0..len).map(entry).collect();
        entries.map(|entries| self.integers(entries.as_flattened())).transpose()
    }

    /// Biases.
    pub(crate) fn integers(&mut self, integers: &[i32]) -> Result<Span<i32>, LowerError> {
        let bytes: Vec<u8> = integers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.span(&bytes, integers.len())
    }

    /// Scale ratios.
    pub(crate) fn multipliers(
        &mut self,
        multipliers: &[Multiplier],
    ) -> Result<Span<Multiplier>, LowerError> {
        let bytes: Vec<u8> = multipliers
            .iter()
            .flat_map(|m| [m.mantissa.to_le_bytes(), m.shift.to_le_bytes()])
            .flatten()
            .collect();
        self.span(&bytes, multipliers.len())
    }

    fn span<T>(&mut self, bytes: &[u8], len: usize) -> Result<Span<T>, LowerError> {
        let too_large = || LowerError::TooLarge { what: "weights" };
        let len = u32::try_from(len).map_err(|_| too_large())?;
        if len == 0 {
            return Ok(Span::new(self.number, 0, 0));
        }
        let alike = self.known.entry(hash(bytes)).or_default();
        let equal = |&&(offset, len): &&(u32, usize)| {
            self.bytes.get(offset as usize..).and_then(|rest| rest.get(..len)) == Some(bytes)
        };
        if let Some(&(offset, _)) = alike.iter().find(equal) {
            return Ok(Span::new(self.number, offset, len));
        }
        let offset = self.bytes.len().next_multiple_of(ALIGNMENT);
        let offset = u32::try_from(offset).map_err(|_| too_large())?;
        alike.push((offset, bytes.len()));
        self.pad();
        self.bytes.extend_from_slice(bytes);
        Ok(Span::new(self.number, offset, len))
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
