//! CONV_2D: dense or grouped, dilated, with padding of any width and a residual folded in.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{Add, Requantize, check_span, convolved, dot, product};
use crate::kernels::{Io, OpError, Operator, Signature, Window};
use crate::quant::requantize;
use crate::tensor::Run;
use crate::weights::{Span, Weights};

/// `out[o] = requantize(bias[o] + sum((x - input_zero_point) * (w[o] - weight_zero_point)))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Geometry.
    pub window: Window,
    /// Groups; input and output channels divide evenly among them.
    pub groups: u32,
    /// The code of real zero in the input, which is also what padding stands for.
    pub input_zero_point: i8,
    /// The code of real zero in the weights: 0 except in legacy uint8 networks.
    pub weight_zero_point: i8,
    /// Order: output channel, tap down, tap across, input channel of the group.
    pub weights: Span<i8>,
    /// Bias, scales, zero point and clamp.
    pub requantize: Requantize,
    /// The ADD that follows: its first term is what the fields above yield, as codes, its second
    /// another input of the output's extents.
    pub residual: Option<Add>,
}

impl Operator for Conv2d {
    const NAME: &'static str = "CONV_2D";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = convolved(signature, self.residual.as_ref())?;
        let output = signature.output;
        self.window.check()?;
        let divides = |channels: u32| self.groups != 0 && channels.is_multiple_of(self.groups);
        if !divides(input.c) || !divides(output.c) {
            return Err(OpError::Parameter { name: "groups" });
        }
        let [down, across] = self.window.taps;
        let len =
            product(&[output.c, down.into(), across.into(), input.c / self.groups], "weights")?;
        check_span(self.weights, &[len], weights, "weights")?;
        self.requantize.check(output.c, weights)
    }

    fn macs(&self, signature: Signature<'_>) -> u64 {
        let Some(input) = signature.inputs.first() else { return 0 };
        let [down, across] = self.window.taps.map(u64::from);
        signature.output.elements() as u64 * down * across * u64::from(input.c / self.groups.max(1))
    }
}

/// Output channels whose sums are kept at a time.
const CHUNK: usize = 16;

/// The portable kernel of [`Conv2d`].
pub fn conv_2d(params: &Conv2d, weights: &Weights<'_>, io: &Io<'_>) {
    let Some(input) = io.inputs.first() else { return };
    let residual = params.residual.as_ref().zip(io.inputs.get(1));
    let Conv2d { window, groups, requantize: last, .. } = params;
    let (bias, multipliers) = (weights.get(last.bias), weights.get(last.multipliers));
    let weights = weights.get(params.weights);

    let groups = (*groups).max(1) as usize;
    let (h, w) = (input.hwc().h as usize, input.hwc().w as usize);
    let depth = input.hwc().c as usize / groups;
    let group_outputs = (io.output.hwc().c as usize / groups).max(1);
    let across = usize::from(window.taps[1]);
    let filter = usize::from(window.taps[0]) * across * depth;
    // Neighbouring taps of a dense window over a dense image are one run of bytes.
    let merged =
        groups == 1 && window.dilation[1] == 1 && input.layout().pixel_stride == input.hwc().c;
    let zero = (i16::from(params.input_zero_point), i16::from(params.weight_zero_point));

    for y in io.output.rows() {
        let rows = window.range(0, y, h);
        for x in io.output.columns() {
            let columns = window.range(1, x, w);
            let pixel = io.output.pixel(y, x);
            let residual = residual.map(|(add, view)| (add, view.pixel(y, x)));
            for (start, cells) in io.output.channels().step_by(CHUNK).zip(pixel.chunks(CHUNK)) {
                let mut sums = [0i32; CHUNK];
                let mut accumulate = |run: Run<'_>, tap: usize| {
                    for (i, sum) in sums.iter_mut().take(cells.len()).enumerate() {
                        let filter_start = (start + i) * filter + tap * depth;
                        let run = match groups {
                            1 => run,
                            _ => {
                                let first = (start + i) / group_outputs * depth;
                                run.part(first..first + depth)
                            }
                        };
                        let taps = weights.get(filter_start..filter_start + run.len());
                        *sum = sum.wrapping_add(dot(run, taps.unwrap_or(&[]), zero));
                    }
                };
                for down in rows.clone() {
                    let iy = window.source(0, y, down);
                    if merged && !columns.is_empty() {
                        let ix = window.source(1, x, columns.start);
                        let run = input.pixels(iy, ix..ix + columns.len());
                        accumulate(run, down * across + columns.start);
                    } else {
                        for tap in columns.clone() {
                            let run = input.pixel(iy, window.source(1, x, tap));
                            accumulate(run, down * across + tap);
                        }
                    }
                }
                for ((channel, cell), &sum) in (start..).zip(cells).zip(&sums) {
                    let acc = sum.wrapping_add(Requantize::bias(bias, channel));
                    let scaled = requantize(acc, Requantize::multiplier(multipliers, channel));
                    let code = last.output.code(scaled);
                    cell.set(residual.map_or(code, |(add, run)| add.code(code, run.get(channel))));
                }
            }
        }
    }
}
