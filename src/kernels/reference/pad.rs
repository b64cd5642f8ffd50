//! PAD and PADV2: the input moved into a wider tensor filled with one code.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::one_input;
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::tensor::Hwc;
use crate::weights::Weights;

/// Elements outside the input take `value`; padding behind follows from the extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above, columns left, channels before the input.
    pub before: [u32; 3],
    /// The code to fill with.
    pub value: i8,
}

impl Operator for Pad {
    const NAME: &'static str = "PAD";

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        let output = signature.output;
        let [above, left, front] = self.before;
        let fits = |before: u32, inner: u32, outer: u32| {
            before.checked_add(inner).is_some_and(|end| end <= outer)
        };
        if fits(above, input.h, output.h)
            && fits(left, input.w, output.w)
            && fits(front, input.c, output.c)
        {
            Ok(())
        } else {
            Err(OpError::Shape)
        }
    }
}

/// The portable kernel of [`Pad`].
pub fn pad(params: &Pad, _weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Hwc { h, w, c } = input.hwc();
    let [above, left, front] = params.before;
    let inner = |at: usize, before: u32, extent: u32| {
        at.checked_sub(before as usize).filter(|&at| at < extent as usize)
    };
    for y in io.output.rows() {
        for x in io.output.columns() {
            let source = inner(y, above, h).zip(inner(x, left, w));
            let run = source.map(|(y, x)| input.pixel(y, x));
            let cells = io.output.pixel(y, x);
            if c == io.output.hwc().c {
                // Loops of a kind that the compiler makes copies of memory of.
                match run.map(|run| run.part(io.output.channels())) {
                    Some(run) => cells.iter().zip(run.iter()).for_each(|(cell, x)| cell.set(x)),
                    None => cells.iter().for_each(|cell| cell.set(params.value)),
                }
                continue;
            }
            for (channel, cell) in io.output.channels().zip(cells) {
                let code = run.zip(inner(channel, front, c)).map(|(run, at)| run.get(at));
                cell.set(code.unwrap_or(params.value));
            }
        }
    }
}
