//! Packed weights, borrowed in place from the artefact, and the spans that name them.
//!
//! The one place where bytes become numbers: [`Weights::get`].

use core::fmt;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::quant::Multiplier;

#[cfg(target_endian = "big")]
compile_error!("artefacts hold little-endian numbers and are borrowed in place");

/// Alignment of every weights section and of every span's start, in bytes.
pub const ALIGNMENT: usize = 64;

/// Types any bytes are a valid value of.
///
/// # Safety
///
/// No padding, no invalid bit patterns, alignment at most [`ALIGNMENT`].
pub unsafe trait Pod: Copy + 'static {}
// SAFETY: an integer without padding.
unsafe impl Pod for i8 {}
// SAFETY: an integer without padding.
unsafe impl Pod for i32 {}
// SAFETY: two `i32` in C order, thus no padding.
unsafe impl Pod for Multiplier {}

/// `len` elements of type `T` in weights section `section`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Span<T> {
    /// Which weights section.
    pub section: u8,
    /// First byte in the section, a multiple of [`ALIGNMENT`].
    pub offset: u32,
    /// Elements.
    pub len: u32,
    #[serde(skip)]
    element: PhantomData<fn() -> T>,
}

impl<T> Span<T> {
    /// A span, yet unchecked.
    #[must_use]
    pub const fn new(section: u8, offset: u32, len: u32) -> Self {
        Self { section, offset, len, element: PhantomData }
    }
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Span<T> {}
impl<T> PartialEq for Span<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.section, self.offset, self.len) == (other.section, other.offset, other.len)
    }
}
impl<T> Eq for Span<T> {}
impl<T> fmt::Debug for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}", self.section, self.offset, self.len)
    }
}

/// Most weights sections an artefact may have.
pub const MAX_SECTIONS: usize = 8;

/// The weights sections of an artefact, each 64-byte aligned.
#[derive(Clone, Debug, Default)]
pub struct Weights<'a> {
    sections: heapless::Vec<&'a [u8], MAX_SECTIONS>,
}

impl<'a> Weights<'a> {
    /// Adds a section; `None` when it is misaligned or one too many.
    pub fn push(&mut self, section: &'a [u8]) -> Option<()> {
        if !section.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return None;
        }
        self.sections.push(section).ok()
    }

    /// The sections, in the order of their numbers in spans.
    #[must_use]
    pub fn sections(&self) -> &[&'a [u8]] {
        &self.sections
    }

    /// True when `span` is aligned and lies inside its section.
    #[must_use]
    pub fn contains<T: Pod>(&self, span: Span<T>) -> bool {
        (span.offset as usize).is_multiple_of(ALIGNMENT) && self.slice(span).is_some()
    }

    /// The elements of `span`; empty when [`contains`](Self::contains) is false.
    #[must_use]
    pub fn get<T: Pod>(&self, span: Span<T>) -> &'a [T] {
        self.slice(span).unwrap_or(&[])
    }

    fn slice<T: Pod>(&self, span: Span<T>) -> Option<&'a [T]> {
        let bytes = (span.len as usize).checked_mul(size_of::<T>())?;
        let start = span.offset as usize;
        let section = *self.sections.get(usize::from(span.section))?;
        let bytes = section.get(start..start.checked_add(bytes)?)?;
        // SAFETY: any bytes are a valid `T: Pod`, and `align_to` keeps to whole, aligned ones.
        let (head, elements, _) = unsafe { bytes.align_to::<T>() };
        head.is_empty().then_some(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned([u8; 128]);

    #[test]
    fn spans_outside_or_misaligned_are_empty() {
        let bytes = Aligned(core::array::from_fn(|i| i as u8));
        let mut weights = Weights::default();
        weights.push(&bytes.0).unwrap();
        assert_eq!(weights.push(&bytes.0[1..]), None);
        assert_eq!(weights.get(Span::<i32>::new(0, 64, 1)), [i32::from_le_bytes([64, 65, 66, 67])]);
        assert!(weights.contains(Span::<i8>::new(0, 64, 64)));
        for span in [Span::new(0, 64, 65), Span::new(1, 0, 1), Span::new(0, u32::MAX, u32::MAX)] {
            assert!(!weights.contains::<i8>(span));
            assert!(weights.get::<i8>(span).is_empty());
        }
        assert!(!weights.contains(Span::<i8>::new(0, 4, 4)));
        assert!(weights.get(Span::<i32>::new(0, 2, 1)).is_empty());
    }
}
