//! The inputs of neighbouring output pixels, copied from a band side by side: a run for each.

use super::band::{Band, Steps};
use super::form::{InputForm, Pieces};

impl Band<'_> {
    /// Writes the inputs of `count` output pixels from `start` on, which are in the patch, to `to`:
    /// for each a run of `run` bytes, of which those that only fill it up stay as they are.
    ///
    /// # Safety
    ///
    /// `to` is writable for a run per pixel; the core can execute the path of `F`, whose inputs are
    /// a byte each.
    pub(super) unsafe fn gather<F: InputForm>(
        &self,
        to: *mut i8,
        run: usize,
        start: [usize; 2],
        count: usize,
    ) {
        let ([down, across], piece) = self.pieces();
        let Steps { outputs: [_, from_step], taps: [row_step, tap_step], .. } = self.steps();
        self.each_line(start, count, |done, count, mut first| {
            let mut to = to.wrapping_add(done * run);
            for _ in 0..down {
                let mut from = first;
                for _ in 0..across {
                    let pieces = Pieces { len: piece, count, from_step, to_step: run };
                    // SAFETY: the copy has all taps of the pixels in the patch; the caller's
                    // promise for `to`.
                    unsafe { F::gather(to, from, pieces) };
                    (to, from) = (to.wrapping_add(piece), from.wrapping_add(tap_step));
                }
                first = first.wrapping_add(row_step);
            }
        });
    }
}
