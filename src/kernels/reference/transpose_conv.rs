//! TRANSPOSE_CONV: each input pixel spread over a window of the output.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{Requantize, check_span, dot, one_input, product};
use crate::kernels::{Io, OpError, Operator, Signature, Window};
use crate::quant::requantize;
use crate::weights::{Span, Weights};

/// `out[o] = requantize(bias[o] + sum((x - input_zero_point) * (w[o] - weight_zero_point)))`.
///
/// Input row `i` reaches output rows `i * stride - pad + tap`; columns likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransposeConv {
    /// Geometry, that of the convolution from output to input; never dilated.
    pub window: Window,
    /// The code of real zero in the input.
    pub input_zero_point: i8,
    /// The code of real zero in the weights: 0 except in legacy uint8 networks.
    pub weight_zero_point: i8,
    /// Order: output channel, tap down, tap across, input channel.
    pub weights: Span<i8>,
    /// Bias, scales, zero point and clamp.
    pub requantize: Requantize,
}

impl Operator for TransposeConv {
    const NAME: &'static str = "TRANSPOSE_CONV";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        let output = signature.output;
        self.window.check()?;
        if self.window.dilation != [1, 1] {
            return Err(OpError::Parameter { name: "dilation" });
        }
        let [down, across] = self.window.taps;
        let len = product(&[output.c, down.into(), across.into(), input.c], "weights")?;
        check_span(self.weights, &[len], weights, "weights")?;
        self.requantize.check(output.c, weights)
    }

    fn macs(&self, signature: Signature<'_>) -> u64 {
        let Some(input) = signature.inputs.first() else { return 0 };
        let [down, across] = self.window.taps.map(u64::from);
        input.elements() as u64 * down * across * u64::from(signature.output.c)
    }
}

/// The taps under which output row (`axis` 0) or column (1) `at` has an input row or column
/// of `extent`, each with that row or column.
fn sources(
    window: &Window,
    axis: usize,
    at: usize,
    extent: usize,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let pick = |[down, across]: [u16; 2]| usize::from(if axis == 0 { down } else { across });
    let (taps, stride) = (pick(window.taps), pick(window.stride).max(1));
    let reach = at.wrapping_add(pick(window.pad));
    (reach % stride..taps)
        .step_by(stride)
        .filter_map(move |tap| Some((tap, reach.checked_sub(tap)? / stride)))
        .filter(move |&(_, source)| source < extent)
}

/// The portable kernel of [`TransposeConv`].
pub fn transpose_conv(params: &TransposeConv, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let TransposeConv { window, requantize: last, .. } = params;
    let (bias, multipliers) = (weights.get(last.bias), weights.get(last.multipliers));
    let weights = weights.get(params.weights);

    let (h, w) = (input.hwc().h as usize, input.hwc().w as usize);
    let depth = input.hwc().c as usize;
    let [down, across] = window.taps.map(usize::from);
    let zero = (i16::from(params.input_zero_point), i16::from(params.weight_zero_point));

    for y in io.output.rows() {
        for x in io.output.columns() {
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let mut acc = Requantize::bias(bias, channel);
                for (tap_down, iy) in sources(window, 0, y, h) {
                    for (tap, ix) in sources(window, 1, x, w) {
                        let start = ((channel * down + tap_down) * across + tap) * depth;
                        let taps = weights.get(start..start + depth).unwrap_or(&[]);
                        acc = acc.wrapping_add(dot(input.pixel(iy, ix), taps, zero));
                    }
                }
                let scaled = requantize(acc, Requantize::multiplier(multipliers, channel));
                cell.set(last.output.code(scaled));
            }
        }
    }
}
