//! DEPTHWISE_CONV_2D: each input channel by itself, into one or several output channels.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{Requantize, check_span, one_input, product};
use crate::kernels::{Io, OpError, Operator, Signature, Window};
use crate::quant::requantize;
use crate::weights::{Span, Weights};

/// As [`Conv2d`](super::Conv2d), but output channel `o` sees input channel `o / multiplier` only,
/// where `multiplier` is output channels per input channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthwiseConv2d {
    /// Geometry.
    pub window: Window,
    /// The code of real zero in the input, which is also what padding stands for.
    pub input_zero_point: i8,
    /// The code of real zero in the weights: 0 except in legacy uint8 networks.
    pub weight_zero_point: i8,
    /// Order: tap down, tap across, output channel.
    pub weights: Span<i8>,
    /// Bias, scales, zero point and clamp.
    pub requantize: Requantize,
}

impl Operator for DepthwiseConv2d {
    const NAME: &'static str = "DEPTHWISE_CONV_2D";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        let output = signature.output;
        self.window.check()?;
        if !output.c.is_multiple_of(input.c) {
            return Err(OpError::Shape);
        }
        let [down, across] = self.window.taps;
        let len = product(&[down.into(), across.into(), output.c], "weights")?;
        check_span(self.weights, &[len], weights, "weights")?;
        self.requantize.check(output.c, weights)
    }

    fn macs(&self, signature: Signature<'_>) -> u64 {
        let [down, across] = self.window.taps.map(u64::from);
        signature.output.elements() as u64 * down * across
    }
}

/// Output channels whose sums are kept at a time.
const CHUNK: usize = 32;

/// The portable kernel of [`DepthwiseConv2d`].
pub fn depthwise_conv_2d(params: &DepthwiseConv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let DepthwiseConv2d { window, requantize: last, .. } = params;
    let (bias, multipliers) = (weights.get(last.bias), weights.get(last.multipliers));
    let weights = weights.get(params.weights);

    let (h, w) = (input.hwc().h as usize, input.hwc().w as usize);
    let channels = io.output.hwc().c as usize;
    let multiplier = (channels / (input.hwc().c as usize).max(1)).max(1);
    let across = usize::from(window.taps[1]);
    let (x_zero, w_zero) =
        (i32::from(params.input_zero_point), i32::from(params.weight_zero_point));

    for y in io.output.rows() {
        for x in io.output.columns() {
            let pixel = io.output.pixel(y, x);
            for (start, cells) in io.output.channels().step_by(CHUNK).zip(pixel.chunks(CHUNK)) {
                let mut sums = [0i32; CHUNK];
                for down in window.range(0, y, h) {
                    for tap in window.range(1, x, w) {
                        let run = input.pixel(window.source(0, y, down), window.source(1, x, tap));
                        let row = (down * across + tap) * channels + start;
                        let taps = weights.get(row..row + cells.len()).unwrap_or(&[]);
                        if multiplier == 1 {
                            let run = run.part(start..start + cells.len());
                            for ((sum, x), &w) in sums.iter_mut().zip(run.iter()).zip(taps) {
                                let product = (i32::from(x) - x_zero) * (i32::from(w) - w_zero);
                                *sum = sum.wrapping_add(product);
                            }
                        } else {
                            for ((o, sum), &w) in (start..).zip(&mut sums).zip(taps) {
                                let x = i32::from(run.get(o / multiplier)) - x_zero;
                                *sum = sum.wrapping_add(x * (i32::from(w) - w_zero));
                            }
                        }
                    }
                }
                for ((channel, cell), &sum) in (start..).zip(cells).zip(&sums) {
                    let acc = sum.wrapping_add(Requantize::bias(bias, channel));
                    let scaled = requantize(acc, Requantize::multiplier(multipliers, channel));
                    cell.set(last.output.code(scaled));
                }
            }
        }
    }
}
