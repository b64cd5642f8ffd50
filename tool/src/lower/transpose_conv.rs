//! TRANSPOSE_CONV.

use pipeit_rt::kernels::{Op, Window, reference};

use super::LowerError;
use super::context::Context;
use super::conv_2d::{check_zero_point, extents, image, ratio};
use crate::graph::{Conv, Padding};

/// The output's shape is taken from its tensor, as input 0 states it once more.
pub(super) fn lower(cx: &mut Context<'_>, conv: Conv) -> Result<(), LowerError> {
    let input = image(cx, cx.input(2)?)?;
    let output = image(cx, cx.output_like(&input)?)?;
    let [channels, down, across, depth] = extents(cx, cx.tensor(1)?)?;
    if (channels, depth) != (output.hwc.c, input.hwc.c) {
        let (found, shape) = (&cx.tensor(1)?.shape, &output.tensor.shape);
        return Err(cx.refused(format!(
            "filters {found:?} from {} channels to output {shape:?}",
            input.hwc.c
        )));
    }
    let [stride_down, stride_across] = conv.stride;
    let refused = || cx.refused(format!("window {down}x{across} with {conv:?}"));
    let axis = |taps: u32, stride: u32, extent: u32| -> Option<[u16; 3]> {
        let before = padding(conv.padding, taps.into(), stride.into(), extent.into())?;
        Some([taps.try_into().ok()?, stride.try_into().ok()?, before])
    };
    let rows = axis(down, stride_down, output.hwc.h).ok_or_else(refused)?;
    let columns = axis(across, stride_across, output.hwc.w).ok_or_else(refused)?;
    let ([taps_down, stride_down, above], [taps, stride, left]) = (rows, columns);
    let window = Window {
        taps: [taps_down, taps],
        stride: [stride_down, stride],
        dilation: [1, 1],
        pad: [above, left],
    };
    let filters = cx.filters(&input, channels, 0)?;
    check_zero_point(cx, &input, filters.zero_point)?;
    let op = Op::TransposeConv(reference::TransposeConv {
        window,
        input_zero_point: input.zero_point,
        weight_zero_point: filters.zero_point,
        weights: filters.codes,
        requantize: cx.requantize(&input, &filters, &output, conv.activation, ratio(&input), 3)?,
    });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}

/// Rows above or columns left of the output that are computed and dropped: the padding of
/// the convolution from output to input, whether or not that has the input's extents.
fn padding(padding: Padding, taps: i64, stride: i64, extent: i64) -> Option<u16> {
    let steps = match padding {
        Padding::Same => extent.checked_add(stride)?.checked_sub(1)?,
        Padding::Valid => extent.checked_add(stride)?.checked_sub(taps)?,
        // Never in a file.
        Padding::Explicit { .. } => return None,
    };
    let last = steps.checked_div(stride)?.checked_sub(1)?;
    let covered = last.checked_mul(stride)?.checked_add(taps)?;
    u16::try_from(covered.checked_sub(extent)?.max(0) >> 1).ok()
}
