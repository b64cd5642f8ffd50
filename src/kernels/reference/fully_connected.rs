//! FULLY_CONNECTED: every output from every input, rounded once.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{Requantize, check_span, dot, one_input, product};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::quant::requantize_once;
use crate::weights::{Span, Weights};

/// Each pixel of the output from the same pixel of the input:
/// `out[o] = requantize_once(bias[o] + sum((x - input_zero_point) * (w[o] - weight_zero_point)))`.
///
/// A network flattens its image first, which makes one pixel of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullyConnected {
    /// The code of real zero in the input.
    pub input_zero_point: i8,
    /// The code of real zero in the weights: 0 except in legacy uint8 networks.
    pub weight_zero_point: i8,
    /// Order: output channel, input channel.
    pub weights: Span<i8>,
    /// Bias, scales, zero point and clamp.
    pub requantize: Requantize,
}

impl Operator for FullyConnected {
    const NAME: &'static str = "FULLY_CONNECTED";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        let output = signature.output;
        if (input.h, input.w) != (output.h, output.w) {
            return Err(OpError::Shape);
        }
        let len = product(&[output.c, input.c], "weights")?;
        check_span(self.weights, &[len], weights, "weights")?;
        self.requantize.check(output.c, weights)
    }

    fn macs(&self, signature: Signature<'_>) -> u64 {
        let depth = signature.inputs.first().map_or(0, |input| u64::from(input.c));
        signature.output.elements() as u64 * depth
    }
}

/// The portable kernel of [`FullyConnected`].
pub fn fully_connected(params: &FullyConnected, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let last = &params.requantize;
    let (bias, multipliers) = (weights.get(last.bias), weights.get(last.multipliers));
    let weights = weights.get(params.weights);
    let depth = input.hwc().c as usize;
    let zero = (params.input_zero_point.into(), params.weight_zero_point.into());

    for y in io.output.rows() {
        for x in io.output.columns() {
            let run = input.pixel(y, x);
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let start = channel * depth;
                let row = weights.get(start..start + depth).unwrap_or(&[]);
                let acc = dot(run, row, zero).wrapping_add(Requantize::bias(bias, channel));
                let scaled = requantize_once(acc, Requantize::multiplier(multipliers, channel));
                cell.set(last.output.code(scaled));
            }
        }
    }
}
