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

/// The portable kernel of [`Mean`].
pub fn mean(params: &Mean, _weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let Hwc { h, w, c } = input.hwc();
    let [over_h, over_w, over_c] = params.axes;
    let range = |reduced: bool, at: usize, extent: u32| {
        if reduced { 0..extent as usize } else { at..at + 1 }
    };
    for y in io.output.rows() {
        for x in io.output.columns() {
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let (mut sum, mut count) = (0i32, 0i32);
                for iy in range(over_h, y, h) {
                    for ix in range(over_w, x, w) {
                        for value in input.pixel(iy, ix).part(range(over_c, channel, c)).iter() {
                            sum = sum.wrapping_add(value.into());
                            count = count.wrapping_add(1);
                        }
                    }
                }
                let zero = count.wrapping_mul(params.input_zero_point.into());
                let scaled = requantize(sum.wrapping_sub(zero), params.multiplier);
                cell.set(params.output.code(scaled));
            }
        }
    }
}
