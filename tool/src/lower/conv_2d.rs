//! CONV_2D, and the window geometry that DEPTHWISE_CONV_2D and the pools share with it.

use pipeit_rt::kernels::{Op, Window, reference};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::{Context, Operand, ScaleRatio};
use crate::graph::{Conv, Padding, Tensor};

pub(super) fn lower(cx: &mut Context<'_>, conv: Conv) -> Result<(), LowerError> {
    let input = image(cx, cx.input(0)?)?;
    let output = image(cx, cx.output_like(&input)?)?;
    let [channels, down, across, depth] = extents(cx, cx.tensor(1)?)?;
    let groups = input.hwc.c.checked_div(depth).unwrap_or(0);
    let (window, [h, w]) = window(cx, conv, [down, across], input.hwc)?;
    cx.check_extents(&output, Hwc { h, w, c: channels })?;
    if depth == 0 || !input.hwc.c.is_multiple_of(depth) {
        return Err(cx.refused(format!("{} input channels, filters of {depth}", input.hwc.c)));
    }
    let filters = cx.filters(&input, channels, 0)?;
    check_zero_point(cx, &input, filters.zero_point)?;
    let op = Op::Conv2d(reference::Conv2d {
        window,
        groups,
        input_zero_point: input.zero_point,
        weight_zero_point: filters.zero_point,
        weights: filters.codes,
        requantize: cx.requantize(&input, &filters, &output, conv.activation, ratio(&input), 2)?,
        residual: None,
    });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}

/// The scale ratio of convolutions.
pub(super) fn ratio(input: &Operand<'_>) -> ScaleRatio {
    if input.legacy { ScaleRatio::SingleProduct } else { ScaleRatio::Double }
}

/// Refuses int8 filters with a zero point, which the reference would ignore.
pub(super) fn check_zero_point(
    cx: &Context<'_>,
    input: &Operand<'_>,
    zero_point: i8,
) -> Result<(), LowerError> {
    if input.legacy || zero_point == 0 {
        return Ok(());
    }
    Err(cx.refused(format!("int8 filters with zero point {zero_point}")))
}

/// Refuses what is not NHWC.
pub(super) fn image<'a>(cx: &Context<'_>, operand: Operand<'a>) -> Result<Operand<'a>, LowerError> {
    if operand.rank() == 4 {
        return Ok(operand);
    }
    Err(cx.refused(format!("tensor `{}` has rank {}", operand.tensor.name, operand.rank())))
}

/// The four extents of filters.
pub(super) fn extents(cx: &Context<'_>, filters: &Tensor) -> Result<[u32; 4], LowerError> {
    filters.shape.as_slice().try_into().map_err(|_| {
        cx.refused(format!("tensor `{}` of shape {:?}, want rank 4", filters.name, filters.shape))
    })
}

/// The geometry of a convolution over `image`, and rows and columns of its output.
pub(super) fn window(
    cx: &Context<'_>,
    conv: Conv,
    taps: [u32; 2],
    image: Hwc,
) -> Result<(Window, [u32; 2]), LowerError> {
    let refused = || {
        let Hwc { h, w, .. } = image;
        cx.refused(format!("window {taps:?} with {conv:?} over {h}x{w}"))
    };
    let axis = |axis: usize, extent: u32| -> Option<([u16; 4], u32)> {
        let pick = |pair: [u32; 2]| pair.get(axis).copied();
        let taps = pick(taps)?;
        let (stride, dilation) = (pick(conv.stride)?, pick(conv.dilation)?);
        let span = taps.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let steps = |extent: u32| extent.checked_sub(span)?.checked_div(stride)?.checked_add(1);
        let (before, output) = match conv.padding {
            Padding::Valid => (0, steps(extent)?),
            Padding::Same => {
                let output = extent.checked_add(stride.checked_sub(1)?)?.checked_div(stride)?;
                let covered = output.checked_sub(1)?.checked_mul(stride)?.checked_add(span)?;
                (covered.saturating_sub(extent) >> 1, output)
            }
            Padding::Explicit { before, after } => {
                let before = pick(before)?;
                let padded = extent.checked_add(before)?.checked_add(pick(after)?)?;
                (before, steps(padded)?)
            }
        };
        let narrow = |n: u32| u16::try_from(n).ok();
        let fields = [narrow(taps)?, narrow(stride)?, narrow(dilation)?, narrow(before)?];
        Some((fields, output))
    };
    let (down, h) = axis(0, image.h).ok_or_else(refused)?;
    let (across, w) = axis(1, image.w).ok_or_else(refused)?;
    let ([taps_down, stride_down, dilation_down, above], [taps, stride, dilation, left]) =
        (down, across);
    let window = Window {
        taps: [taps_down, taps],
        stride: [stride_down, stride],
        dilation: [dilation_down, dilation],
        pad: [above, left],
    };
    Ok((window, [h, w]))
}
