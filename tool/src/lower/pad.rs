//! PADV2, and PAD where no convolution takes it in.

use pipeit_rt::kernels::{Op, reference};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::Context;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let value = cx.output()?.zero_point;
    lower_with(cx, value)
}

/// The last input is the code to fill with.
pub(super) fn lower_v2(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let fill = cx.input(2)?;
    let value = match fill.tensor.data.as_deref() {
        Some(&[code]) => (if fill.legacy { code ^ 0x80 } else { code }).cast_signed(),
        _ => return Err(cx.refused("must fill with a constant code")),
    };
    lower_with(cx, value)
}

fn lower_with(cx: &mut Context<'_>, value: i8) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let paddings = cx.integers(1)?;
    let refused = || cx.refused(format!("paddings {paddings:?} for {:?}", input.tensor.shape));
    if Some(paddings.len()) != input.rank().checked_mul(2) || input.rank() != output.rank() {
        return Err(refused());
    }
    let mut before = [0u32; 3];
    let mut extents = [input.hwc.h, input.hwc.w, input.hwc.c];
    for (axis, pair) in (0i64..).zip(paddings.chunks_exact(2)) {
        let &[front, back] = pair else { continue };
        let (Ok(front), Ok(back)) = (u32::try_from(front), u32::try_from(back)) else {
            return Err(refused());
        };
        let axis = input.axis(axis).map_err(|reason| cx.refused(reason))?;
        let Some(axis) = axis else {
            if (front, back) == (0, 0) {
                continue;
            }
            return Err(refused());
        };
        if let (Some(before), Some(extent)) = (before.get_mut(axis), extents.get_mut(axis)) {
            *before = front;
            let sum = extent.checked_add(front).and_then(|sum| sum.checked_add(back));
            *extent = sum.ok_or_else(refused)?;
        }
    }
    let [h, w, c] = extents;
    cx.check_extents(&output, Hwc { h, w, c })?;
    let op = Op::Pad(reference::Pad { before, value });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}
