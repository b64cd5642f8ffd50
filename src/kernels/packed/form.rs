//! The form in which a path's microkernel wants inputs that are copied.

/// Pieces of memory to copy, each `len` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    /// Bytes of a piece.
    pub(crate) len: usize,
    /// Pieces.
    pub(crate) count: usize,
    /// Bytes from one to the next where they are read.
    pub(crate) from_step: usize,
    /// Bytes from one to the next where they are written.
    pub(crate) to_step: usize,
}

/// How inputs are copied for a microkernel.
///
/// # Safety
///
/// [`copy`](Self::copy), [`copy_pieces`](Self::copy_pieces) and [`fill`](Self::fill) write
/// [`WIDTH`](Self::WIDTH) bytes per input, no others.
pub(crate) unsafe trait InputForm {
    /// Bytes of an input that was copied.
    const WIDTH: usize = 1;

    /// Copies `len` input codes.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; `from` is readable for `len` bytes and `to`
    /// writable for `len` inputs; they do not overlap.
    unsafe fn copy(to: *mut i8, from: *const i8, len: usize);

    /// Copies pieces of input codes.
    ///
    /// # Safety
    ///
    /// As [`copy`](Self::copy) for each piece.
    unsafe fn copy_pieces(to: *mut i8, from: *const i8, pieces: Pieces) {
        for i in 0..pieces.count {
            // SAFETY: where the caller says a piece is written.
            let to = unsafe { to.add(i * pieces.to_step) };
            // SAFETY: where the caller says it is read.
            let from = unsafe { from.add(i * pieces.from_step) };
            // SAFETY: the caller's promise.
            unsafe { Self::copy(to, from, pieces.len) };
        }
    }

    /// Copies pieces of inputs that were copied before.
    ///
    /// # Safety
    ///
    /// As [`copy`](Self::copy) for each piece, of inputs on both sides.
    unsafe fn gather(to: *mut i8, from: *const i8, pieces: Pieces) {
        // SAFETY: the caller's promise.
        unsafe { Self::copy_pieces(to, from, pieces) };
    }

    /// Writes the input code `code` `len` times.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; `to` is writable for `len` inputs.
    unsafe fn fill(to: *mut i8, code: i8, len: usize);

    /// The sum of `len` inputs that were copied.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions; `from` is readable for `len` inputs and those
    /// that fill up their run.
    unsafe fn sum(from: *const i8, len: usize) -> i32;

    /// Adds to each of `sums` the sum of its run, which begins at its start, and of the `down - 1`
    /// runs below, each `step` bytes behind the one before.
    ///
    /// # Safety
    ///
    /// As [`sum`](Self::sum) for each.
    unsafe fn add_sums(
        sums: &mut [i32],
        starts: &[*const i8],
        [down, step]: [usize; 2],
        len: usize,
    ) {
        for (sum, &start) in sums.iter_mut().zip(starts) {
            let mut run = start;
            for _ in 0..down {
                // SAFETY: the caller's promise.
                *sum = sum.wrapping_add(unsafe { Self::sum(run, len) });
                run = run.wrapping_add(step);
            }
        }
    }
}
