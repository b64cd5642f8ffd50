//! CONCATENATION.

use super::LowerError;
use super::context::{Context, Operand};
use super::step::{Part, StepKind};
use crate::graph::Activation;

pub(super) fn lower(
    cx: &mut Context<'_>,
    axis: i32,
    activation: Activation,
) -> Result<(), LowerError> {
    if activation != Activation::None {
        return Err(cx.refused("fused activations are not supported"));
    }
    let output = cx.output()?;
    let axis = output.axis(axis.into()).map_err(|reason| cx.refused(reason))?;
    let Some(axis) = axis else { return Err(cx.refused("joins images into a batch")) };
    let mut at = [0u32; 3];
    let mut parts = Vec::with_capacity(cx.op.inputs.len());
    for number in 0..cx.op.inputs.len() {
        let input = cx.input(number)?;
        let table = table(cx, &input, &output)?;
        parts.push(Part { tensor: input.index, at, table });
        let extents = |operand: &Operand<'_>| [operand.hwc.h, operand.hwc.w, operand.hwc.c];
        let (found, whole) = (extents(&input), extents(&output));
        for (i, ((at, found), whole)) in at.iter_mut().zip(found).zip(whole).enumerate() {
            let end = if i == axis { at.checked_add(found) } else { Some(found) };
            let fits = end.is_some_and(|end| if i == axis { end <= whole } else { end == whole });
            if !fits || input.rank() != output.rank() {
                return Err(cx.refused(format!(
                    "`{}` of shape {:?} does not fit the output's {:?}",
                    input.tensor.name, input.tensor.shape, output.tensor.shape
                )));
            }
            if i == axis {
                *at = end.unwrap_or(whole);
            }
        }
    }
    let extents = [output.hwc.h, output.hwc.w, output.hwc.c];
    if at.get(axis) != extents.get(axis) {
        return Err(cx.refused(format!("inputs end before the output's {:?}", output.tensor.shape)));
    }
    cx.step(StepKind::Join { output: output.index, parts });
    Ok(())
}

/// The table that brings `input` to the output's codes; `None` when they are alike.
///
/// uint8 only, in single precision as in TFLite's `ConcatenationWithScaling`.
fn table(
    cx: &mut Context<'_>,
    input: &Operand<'_>,
    output: &Operand<'_>,
) -> Result<Option<pipeit_rt::weights::Span<i8>>, LowerError> {
    if input.legacy != output.legacy {
        return Err(cx.refused("mixes int8 and uint8"));
    }
    if input.scale == output.scale && input.zero_point == output.zero_point {
        return Ok(None);
    }
    if !input.legacy {
        return Err(cx.refused(format!(
            "int8 input `{}` has another scale or zero point than the output",
            input.tensor.name
        )));
    }
    let scale = input.scale * (1.0 / output.scale);
    // Rounding happens on unsigned codes: a shift of both would change the sums.
    let unsigned = |zero_point: i8| f32::from(i16::from(zero_point).saturating_add(128));
    let bias = -unsigned(input.zero_point) * scale;
    let codes: Vec<i8> = (0..=u8::MAX)
        .map(|code| {
            let steps = (f32::from(code) * scale + bias).round() as i32;
            let code = steps.saturating_add(output.zero_point.into()).clamp(-128, 127);
            i8::try_from(code).unwrap_or(output.zero_point)
        })
        .collect();
    Ok(Some(cx.sections.tables.codes(&codes)?))
}
