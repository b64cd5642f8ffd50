//! Values one after the other, in postcard's wire format.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

use postcard::Deserializer;
use postcard::de_flavors::Slice;
use serde::Deserialize;

/// Bytes that end early, go on too long, or are no value of the kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Values yet to be read.
pub(crate) struct Values<'a>(Deserializer<'a, Slice<'a>>);

impl<'a> Values<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Deserializer::from_bytes(bytes))
    }

    /// The next value.
    pub(crate) fn next<T: Deserialize<'a>>(&mut self) -> Result<T, Malformed> {
        T::deserialize(&mut self.0).map_err(|_| Malformed)
    }

    /// There must be no more.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        let rest = self.0.finalize().ok().filter(|rest| rest.is_empty());
        rest.map(drop).ok_or(Malformed)
    }
}
