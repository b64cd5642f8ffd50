//! MEAN.

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::arithmetic::mean_multiplier;
use super::context::Context;
use crate::graph::Activation;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let mut axes = [false; 3];
    for axis in cx.integers(1)? {
        // Over the batch, which is one image, there is nothing to average.
        if let Some(axis) = input.axis(axis).map_err(|reason| cx.refused(reason))?
            && let Some(reduced) = axes.get_mut(axis)
        {
            *reduced = true;
        }
    }
    let Hwc { h, w, c } = input.hwc;
    let [over_h, over_w, over_c] = axes;
    let split = |reduced: bool, extent: u32| if reduced { (1, extent) } else { (extent, 1) };
    let ((h, n_h), (w, n_w), (c, n_c)) = (split(over_h, h), split(over_w, w), split(over_c, c));
    let count = [n_h, n_w, n_c].iter().fold(1u32, |n, &d| n.saturating_mul(d));
    // With or without the reduced axes: the elements are the same.
    let kept = Hwc { h, w, c };
    if kept.elements() != output.hwc.elements() {
        cx.check_extents(&output, kept)?;
    }
    let real = f64::from(input.scale) / f64::from(output.scale);
    cx.multiplier(real)?;
    let op = Op::Mean(reference::Mean {
        axes,
        input_zero_point: input.zero_point,
        multiplier: mean_multiplier(real, count),
        output: output.output(Activation::None),
    });
    cx.layer(op, vec![input.view()], output.view_as(kept));
    Ok(())
}
