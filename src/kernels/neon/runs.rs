//! Operators that go through their inputs and output in the same order.

use crate::kernels::Io;
use crate::tensor::{Hwc, View};

/// Calls `compute` with the first codes of each of the `N` inputs and of the output, and their
/// number, for as long adjacent pieces as there are; false when an input has other extents than
/// the output, and nothing has been done.
///
/// The codes are readable and, in the output, writable, but not by others.
#[inline]
pub(super) fn each<const N: usize>(
    io: &Io<'_>,
    mut compute: impl FnMut([*const i8; N], *mut i8, usize),
) -> bool {
    let Some(inputs) = io.inputs.first_chunk::<N>() else { return false };
    let Hwc { c, .. } = io.output.hwc();
    if inputs.iter().any(|input| input.hwc() != io.output.hwc()) {
        return false;
    }
    let channels = io.output.channels();
    let len = channels.len();
    let is_dense = |input: &View<'_>| input.layout().pixel_stride == c;
    let columns = io.output.columns();
    for y in io.output.rows() {
        let cells = io.output.pixels(y, io.output.columns());
        let step = io.output.layout().pixel_stride as usize;
        // Whole rows where no channels lie between those of the pixels.
        let (pixels, len) = match len == c as usize && step == len && inputs.iter().all(is_dense) {
            true => (1, len * columns.len()),
            false => (columns.len(), len),
        };
        for x in 0..pixels {
            let Some(to) = cells.get(x * step..x * step + len) else { return true };
            let mut from = [core::ptr::null(); N];
            for (from, input) in from.iter_mut().zip(inputs) {
                let layout = input.layout();
                let at = y * layout.row_stride as usize + x * layout.pixel_stride as usize;
                let at = at + channels.start;
                let Some(codes) = input.cells().get(at..at + len) else { return true };
                *from = codes.as_ptr().cast();
            }
            compute(from, to.as_ptr().cast_mut().cast(), len);
        }
    }
    true
}
