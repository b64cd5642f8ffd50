//! FULLY_CONNECTED.

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::{Context, ScaleRatio};
use crate::graph::Activation;

/// The input is taken as rows of as many elements as the weights have columns, whatever
/// its shape.
pub(super) fn lower(cx: &mut Context<'_>, activation: Activation) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let &[channels, depth] = cx.tensor(1)?.shape.as_slice() else {
        return Err(cx.refused(format!("weights of shape {:?}", cx.tensor(1)?.shape)));
    };
    let elements = |hwc: Hwc| hwc.elements() as u64;
    let rows = elements(input.hwc).checked_div(depth.into()).unwrap_or(0);
    let product = |a: u64, b: u32| a.checked_mul(b.into());
    if product(rows, depth) != Some(elements(input.hwc))
        || product(rows, channels) != Some(elements(output.hwc))
        || output.hwc.c != channels
    {
        return Err(cx.refused(format!(
            "weights {channels}x{depth}, input {:?}, output {:?}",
            input.tensor.shape, output.tensor.shape
        )));
    }
    let filters = cx.filters(&input, channels, 0)?;
    let op = Op::FullyConnected(reference::FullyConnected {
        input_zero_point: input.zero_point,
        weight_zero_point: filters.zero_point,
        weights: filters.codes,
        requantize: cx.requantize(&input, &filters, &output, activation, ScaleRatio::Double, 2)?,
    });
    // The kernel computes pixel by pixel, so input and output need the same rows and columns.
    let Hwc { h, w, .. } = output.hwc;
    cx.layer(op, vec![input.view_as(Hwc { h, w, c: depth })], output.view());
    Ok(())
}
