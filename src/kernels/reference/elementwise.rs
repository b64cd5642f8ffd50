//! What the operators of two tensors have in common: an axis of extent 1 is repeated.
#![forbid(unsafe_code)]

use super::check_extents;
use crate::kernels::{Io, OpError, Signature};
use crate::tensor::{Hwc, Run, View};

/// Checks that there are two inputs, and that spread over each other they fill the output.
pub(super) fn check(signature: Signature<'_>) -> Result<(), OpError> {
    let [a, b] = *signature.inputs else {
        return Err(OpError::Inputs { found: signature.inputs.len() as u8 });
    };
    let axis = |a: u32, b: u32| match (a, b) {
        (1, n) | (n, 1) => Ok(n),
        (a, b) if a == b => Ok(a),
        _ => Err(OpError::Shape),
    };
    let expected = Hwc { h: axis(a.h, b.h)?, w: axis(a.w, b.w)?, c: axis(a.c, b.c)? };
    check_extents(signature.output, expected)
}

/// Computes every output from the two inputs at its place.
pub(super) fn each(io: &Io<'_>, code: impl Fn(i8, i8) -> i8) {
    let [a, b] = io.inputs.as_slice() else { return };
    for y in io.output.rows() {
        for x in io.output.columns() {
            let (a, b) = (repeated(a, y, x), repeated(b, y, x));
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let at = |len: usize| if len == 1 { 0 } else { channel };
                cell.set(code(a.get(at(a.len())), b.get(at(b.len()))));
            }
        }
    }
}

/// The pixel in row `y`, column `x`; an axis of extent 1 stays at index 0.
fn repeated<'a>(view: &View<'a>, y: usize, x: usize) -> Run<'a> {
    let Hwc { h, w, .. } = view.hwc();
    view.pixel(if h == 1 { 0 } else { y }, if w == 1 { 0 } else { x })
}
