//! QUANTIZE from codes to codes, and what is left of DEQUANTIZE.

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::quant::requantize;

use super::LowerError;
use super::context::{Context, StepKind};
use crate::graph::Activation;

/// A table; between uint8 and int8 of the same scale not even that, as their codes are
/// the same at run time.
pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let (input, output) = (cx.input(0)?, cx.output()?);
    if input.tensor.shape != output.tensor.shape {
        return Err(
            cx.refused(format!("from shape {:?} to {:?}", input.tensor.shape, output.tensor.shape))
        );
    }
    let multiplier = cx.multiplier(f64::from(input.scale) / f64::from(output.scale))?;
    let last = output.output(Activation::None);
    let codes: Vec<i8> = (i8::MIN..=i8::MAX)
        .map(|code| {
            let steps = i32::from(code).saturating_sub(input.zero_point.into());
            last.code(requantize(steps, multiplier))
        })
        .collect();
    if codes.iter().copied().eq(i8::MIN..=i8::MAX) {
        cx.step(StepKind::Alias { input: input.index, output: output.index });
        return Ok(());
    }
    let table = cx.section.codes(&codes)?;
    cx.layer(Op::Lookup(reference::Lookup { table }), vec![input.view()], output.view());
    Ok(())
}

/// Those at the network's outputs are gone by now.
pub(super) fn lower_dequantize(cx: &mut Context<'_>) -> Result<(), LowerError> {
    Err(cx.refused("floats inside the network are not supported"))
}
