//! AVERAGE_POOL_2D and MAX_POOL_2D. The output's quantisation matters for the clamp only.

use pipeit_rt::kernels::reference::{self, Ties};
use pipeit_rt::kernels::{Op, Window};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::{Context, Operand};
use super::conv_2d::{image, window};
use crate::graph::{Conv, Pool};

pub(super) fn lower_average(cx: &mut Context<'_>, pool: Pool) -> Result<(), LowerError> {
    lower(cx, pool, |window, clamp, input| {
        let ties = if input.legacy { Ties::Up } else { Ties::AwayFromZero };
        Op::AveragePool2d(reference::AveragePool2d { window, ties, clamp })
    })
}

pub(super) fn lower_max(cx: &mut Context<'_>, pool: Pool) -> Result<(), LowerError> {
    lower(cx, pool, |window, clamp, _| Op::MaxPool2d(reference::MaxPool2d { window, clamp }))
}

fn lower(
    cx: &mut Context<'_>,
    pool: Pool,
    op: impl FnOnce(Window, (i8, i8), &Operand<'_>) -> Op,
) -> Result<(), LowerError> {
    let input = image(cx, cx.input(0)?)?;
    let output = image(cx, cx.output_like(&input)?)?;
    let Pool { padding, stride, taps, activation } = pool;
    let conv = Conv { padding, stride, dilation: [1, 1], activation };
    let (window, [h, w]) = window(cx, conv, taps, input.hwc)?;
    cx.check_extents(&output, Hwc { h, w, c: input.hwc.c })?;
    let clamp = output.output(activation);
    let op = op(window, (clamp.min, clamp.max), &input);
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}
