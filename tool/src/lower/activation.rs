//! RELU, RELU6, RELU_N1_TO_1 and LEAKY_RELU where no other operator takes them in.

use pipeit_rt::quant::requantize;

use super::LowerError;
use super::context::Context;
use super::table;
use crate::graph::Activation;

pub(super) fn lower(cx: &mut Context<'_>, activation: Activation) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let multiplier = cx.multiplier((input.scale / output.scale).into())?;
    let last = output.output(activation);
    table::lower(cx, &input, &output, |steps| last.code(requantize(steps, multiplier)))
}

pub(super) fn lower_leaky(cx: &mut Context<'_>, alpha: f32) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let positive = cx.multiplier((input.scale / output.scale).into())?;
    let negative = cx.multiplier((input.scale * alpha / output.scale).into())?;
    let last = output.output(Activation::None);
    table::lower(cx, &input, &output, |steps| {
        last.code(requantize(steps, if steps >= 0 { positive } else { negative }))
    })
}
