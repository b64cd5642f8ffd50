//! Weights of a layer that is tried.

use pipeit_rt::weights::{ALIGNMENT, Span};

/// A weights section under construction.
#[derive(Default)]
pub(crate) struct Section(Vec<u8>);

impl Section {
    fn push<T>(&mut self, bytes: Vec<u8>, len: usize) -> Span<T> {
        let offset = self.0.len() as u32;
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        Span::new(0, offset, len as u32)
    }

    pub(crate) fn codes(&mut self, codes: &[i8]) -> Span<i8> {
        self.push(codes.iter().map(|c| c.cast_unsigned()).collect(), codes.len())
    }

    pub(crate) fn numbers(&mut self, numbers: &[i32]) -> Span<i32> {
        self.push(numbers.iter().flat_map(|n| n.to_le_bytes()).collect(), numbers.len())
    }

    /// The bytes at an aligned address, and room before them that makes it so.
    pub(crate) fn aligned(&self) -> (Vec<u8>, usize) {
        let mut bytes = vec![0; self.0.len() + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        bytes.truncate(start + self.0.len());
        bytes[start..].copy_from_slice(&self.0);
        (bytes, start)
    }
}
