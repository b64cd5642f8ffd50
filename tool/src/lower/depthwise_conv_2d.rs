//! DEPTHWISE_CONV_2D.

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::Context;
use super::conv_2d::{check_zero_point, extents, image, ratio, window};
use crate::graph::Conv;

/// The options' depth multiplier is ignored, as TFLite does: the extents state it.
pub(super) fn lower(cx: &mut Context<'_>, conv: Conv) -> Result<(), LowerError> {
    let input = image(cx, cx.input(0)?)?;
    let output = image(cx, cx.output_like(&input)?)?;
    let [one, down, across, channels] = extents(cx, cx.tensor(1)?)?;
    let (window, [h, w]) = window(cx, conv, [down, across], input.hwc)?;
    cx.check_extents(&output, Hwc { h, w, c: channels })?;
    if one != 1 || !channels.is_multiple_of(input.hwc.c) {
        let shape = &cx.tensor(1)?.shape;
        return Err(cx.refused(format!("filters {shape:?} for {} channels", input.hwc.c)));
    }
    let filters = cx.filters(&input, channels, 3)?;
    check_zero_point(cx, &input, filters.zero_point)?;
    let op = Op::DepthwiseConv2d(reference::DepthwiseConv2d {
        window,
        input_zero_point: input.zero_point,
        weight_zero_point: filters.zero_point,
        weights: filters.codes,
        requantize: cx.requantize(&input, &filters, &output, conv.activation, ratio(&input), 2)?,
    });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}
