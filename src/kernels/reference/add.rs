//! ADD of two tensors; an axis of extent 1 is repeated.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, check_multiplier, check_output};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::{Multiplier, Output, requantize};
use crate::tensor::{Hwc, Run, View};
use crate::weights::Weights;

/// One input of an [`Add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The code of real zero.
    pub zero_point: i8,
    /// Brings the input, shifted left by 20 bits, to the common scale.
    pub multiplier: Multiplier,
}

/// `requantize(requantize((a - zero_a) << 20) + requantize((b - zero_b) << 20))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// The two inputs.
    pub terms: [Term; 2],
    /// From the common scale to the output's.
    pub multiplier: Multiplier,
    /// Zero point and clamp.
    pub output: Output,
}

impl Operator for Add {
    const NAME: &'static str = "ADD";

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        let [a, b] = *signature.inputs else {
            return Err(OpError::Inputs { found: signature.inputs.len() as u8 });
        };
        let [first, second] = self.terms;
        for m in [first.multiplier, second.multiplier, self.multiplier] {
            check_multiplier(m)?;
        }
        check_output(self.output)?;
        let axis = |a: u32, b: u32| match (a, b) {
            (1, n) | (n, 1) => Ok(n),
            (a, b) if a == b => Ok(a),
            _ => Err(OpError::Shape),
        };
        let expected = Hwc { h: axis(a.h, b.h)?, w: axis(a.w, b.w)?, c: axis(a.c, b.c)? };
        check_extents(signature.output, expected)
    }
}

impl Term {
    fn scaled(self, code: i8) -> i32 {
        let steps = i32::from(code).wrapping_sub(self.zero_point.into());
        requantize(steps << 20, self.multiplier)
    }
}

/// The portable kernel of [`Add`].
pub fn add(params: &Add, _weights: &Weights<'_>, io: &Io<'_>) {
    let [a, b] = io.inputs.as_slice() else { return };
    let [first, second] = params.terms;
    for y in io.output.rows() {
        for x in io.output.columns() {
            let (a, b) = (repeated(a, y, x), repeated(b, y, x));
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let at = |len: usize| if len == 1 { 0 } else { channel };
                let sum = first
                    .scaled(a.get(at(a.len())))
                    .wrapping_add(second.scaled(b.get(at(b.len()))));
                cell.set(params.output.code(requantize(sum, params.multiplier)));
            }
        }
    }
}

/// The pixel in row `y`, column `x`; an axis of extent 1 stays at index 0.
fn repeated<'a>(view: &View<'a>, y: usize, x: usize) -> Run<'a> {
    let Hwc { h, w, .. } = view.hwc();
    view.pixel(if h == 1 { 0 } else { y }, if w == 1 { 0 } else { x })
}
