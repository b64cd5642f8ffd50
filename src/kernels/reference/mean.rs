//! MEAN over whole axes.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, check_multiplier, check_output, one_input};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::{Multiplier, Output, requantize};
use crate::tensor::{Hwc, Split};
use crate::weights::Weights;

/// `requantize(sum(x) - count * input_zero_point)`; reduced axes have extent 1 in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mean {
    /// Which of rows, columns, channels are averaged over.
    pub axes: [bool; 3],
    /// The code of real zero in the input.
    pub input_zero_point: i8,
    /// Scale ratio with one over the count folded in.
    pub multiplier: Multiplier,
    /// Zero point and clamp.
    pub output: Output,
}

impl Operator for Mean {
    const NAME: &'static str = "MEAN";

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        check_multiplier(self.multiplier)?;
        check_output(self.output)?;
        let [h, w, c] = self.axes;
        let kept = |reduced: bool, extent: u32| if reduced { 1 } else { extent };
        let expected = Hwc { h: kept(h, input.h), w: kept(w, input.w), c: kept(c, input.c) };
        check_extents(signature.output, expected)
    }

    fn split(&self) -> Split {
        let [_, _, channels] = self.axes;
        if channels { Split::Rows } else { Split::RowsOrChannels { step: 16 } }
    }
}

/// Channels summed at a time.
const CHUNK: usize = 64;

/// The portable kernel of [`Mean`].
// Inlined where it is compiled for the instructions of a path.
#[inline(always)]
pub fn mean(params: &Mean, _weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Hwc { h, w, c } = input.hwc();
    let [over_h, over_w, over_c] = params.axes;
    let range = |reduced: bool, at: usize, extent: u32| {
        if reduced { 0..extent as usize } else { at..at + 1 }
    };
    let extents = [(over_h, h), (over_w, w), (over_c, c)];
    let reduced = extents.into_iter().filter(|&(reduced, _)| reduced);
    let count = reduced.fold(1i32, |count, (_, extent)| count.wrapping_mul(extent as i32));
    let zero = count.wrapping_mul(params.input_zero_point.into());
    let add = |sum: i32, code: i8| sum.wrapping_add(code.into());
    for y in io.output.rows() {
        for x in io.output.columns() {
            let channels = io.output.channels().step_by(CHUNK);
            for (start, cells) in channels.zip(io.output.pixel(y, x).chunks(CHUNK)) {
                let mut sums = [0i32; CHUNK];
                for iy in range(over_h, y, h) {
                    for ix in range(over_w, x, w) {
                        let run = input.pixel(iy, ix);
                        if over_c {
                            let [sum, ..] = &mut sums;
                            *sum = run.iter().fold(*sum, add);
                            continue;
                        }
                        let run = run.part(start..start + cells.len());
                        sums.iter_mut().zip(run.iter()).for_each(|(sum, x)| *sum = add(*sum, x));
                    }
                }
                for (cell, sum) in cells.iter().zip(sums) {
                    let scaled = requantize(sum.wrapping_sub(zero), params.multiplier);
                    cell.set(params.output.code(scaled));
                }
            }
        }
    }
}
