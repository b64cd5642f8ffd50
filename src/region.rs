//! Memory the caller gives, dealt out piece by piece: what the runtime has for a heap.

use core::mem::MaybeUninit;
use core::{fmt, slice};

/// The memory given is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OutOfMemory {
    /// Bytes the piece needs, padding for its alignment included.
    pub needed: usize,
    /// Bytes left.
    pub left: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory region too small: {} bytes needed, {} left", self.needed, self.left)
    }
}
impl core::error::Error for OutOfMemory {}

/// The part of a memory region that is not dealt out yet.
///
/// Pieces are never given back and never dropped; the caller may use the memory again
/// when everything made from it is gone.
#[derive(Debug)]
pub struct Region<'a> {
    rest: &'a mut [MaybeUninit<u8>],
}

impl<'a> Region<'a> {
    /// All of `memory` to deal out.
    #[must_use]
    pub const fn new(memory: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { rest: memory }
    }

    /// Bytes left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// All that is left, for a region that is dealt out again and again.
    #[must_use]
    pub const fn into_rest(self) -> &'a mut [MaybeUninit<u8>] {
        self.rest
    }

    /// `len` zeros that start at a multiple of `align`, a power of two.
    ///
    /// # Errors
    ///
    /// Too little memory is left.
    pub fn zeroed(&mut self, len: usize, align: usize) -> Result<&'a mut [i8], OutOfMemory> {
        self.take(0, align)?;
        self.slice(len, |_| Ok(0))
    }

    /// `len` elements, element `i` made by `make(i)`.
    ///
    /// # Errors
    ///
    /// Too little memory is left, or the first error of `make`.
    pub fn slice<T, E: From<OutOfMemory>>(
        &mut self,
        len: usize,
        mut make: impl FnMut(usize) -> Result<T, E>,
    ) -> Result<&'a mut [T], E> {
        let bytes = len.saturating_mul(size_of::<T>());
        let start = self.take(bytes, align_of::<T>())?.as_mut_ptr().cast::<MaybeUninit<T>>();
        // SAFETY: `take` gave this slice alone `len * size_of::<T>()` bytes for `'a`, aligned
        // for `T`; uninitialised memory is a valid `MaybeUninit`.
        let elements = unsafe { slice::from_raw_parts_mut(start, len) };
        for (i, element) in elements.iter_mut().enumerate() {
            element.write(make(i)?);
        }
        // SAFETY: the loop has initialised all of `elements`.
        Ok(unsafe { elements.assume_init_mut() })
    }

    /// `value`, placed.
    ///
    /// # Errors
    ///
    /// Too little memory is left.
    pub fn place<T>(&mut self, value: T) -> Result<&'a T, OutOfMemory> {
        let taken = self.take(size_of::<T>(), align_of::<T>())?;
        let place = taken.as_mut_ptr().cast::<MaybeUninit<T>>();
        // SAFETY: `take` gave this place alone the bytes of a `T` for `'a`, aligned for it;
        // uninitialised memory is a valid `MaybeUninit`.
        Ok(unsafe { &mut *place }.write(value))
    }

    #[inline(never)]
    fn take(&mut self, len: usize, align: usize) -> Result<&'a mut [MaybeUninit<u8>], OutOfMemory> {
        // Without the panic of `align_offset`, though `align` is a power of two.
        let padding = self.rest.as_ptr().addr().wrapping_neg() & align.wrapping_sub(1);
        let needed = len.saturating_add(padding);
        let rest = core::mem::take(&mut self.rest);
        let left = rest.len();
        if needed > left {
            self.rest = rest;
            return Err(OutOfMemory { needed, left });
        }
        let (taken, rest) = rest.split_at_mut(needed);
        self.rest = rest;
        Ok(taken.get_mut(padding..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_apart() {
        let mut memory = [MaybeUninit::uninit(); 256];
        let mut region = Region::new(&mut memory);
        let bytes = region.zeroed(3, 1).unwrap();
        let words: &mut [u64] = region.slice(4, |i| Ok::<_, OutOfMemory>(i as u64)).unwrap();
        let line = region.zeroed(64, 64).unwrap();
        assert!(line.as_ptr().addr().is_multiple_of(64));
        bytes.fill(-1);
        line.fill(-1);
        assert_eq!(words, [0, 1, 2, 3]);
        let left = region.left();
        let error = OutOfMemory { needed: left + 1, left };
        assert_eq!(region.zeroed(left + 1, 1), Err(error));
        let huge = region.slice(usize::MAX / 4, |_| Ok::<_, OutOfMemory>(0u64));
        assert_eq!(huge.unwrap_err().left, left);
        assert_eq!(region.left(), left);
    }
}
