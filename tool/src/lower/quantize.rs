//! QUANTIZE from codes to codes, and what is left of DEQUANTIZE.

use pipeit_rt::quant::requantize;

use super::LowerError;
use super::context::Context;
use super::table;
use crate::graph::Activation;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let (input, output) = (cx.input(0)?, cx.output()?);
    let multiplier = cx.multiplier(f64::from(input.scale) / f64::from(output.scale))?;
    let last = output.output(Activation::None);
    table::lower(cx, &input, &output, |steps| last.code(requantize(steps, multiplier)))
}

/// Those at the network's outputs are gone by now.
pub(super) fn lower_dequantize(cx: &mut Context<'_>) -> Result<(), LowerError> {
    Err(cx.refused("floats inside the network are not supported"))
}
