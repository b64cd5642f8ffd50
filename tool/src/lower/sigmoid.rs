//! LOGISTIC and TANH: tables in single precision.

use super::LowerError;
use super::context::Context;
use super::table;

// The functions are computed in double precision and rounded, so that the table does not
// depend on how exact the single-precision ones of a machine are.

pub(super) fn lower_logistic(cx: &mut Context<'_>) -> Result<(), LowerError> {
    lower(cx, |real| 1.0 / (1.0 + f64::from(-real).exp() as f32))
}

pub(super) fn lower_tanh(cx: &mut Context<'_>) -> Result<(), LowerError> {
    lower(cx, |real| f64::from(real).tanh() as f32)
}

fn lower(cx: &mut Context<'_>, function: impl Fn(f32) -> f32) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let inverse_scale = 1.0 / output.scale;
    table::lower(cx, &input, &output, |steps| {
        let steps = (function(input.scale * steps as f32) * inverse_scale).round();
        let code = steps + f32::from(output.zero_point);
        code.clamp(-128.0, 127.0) as i8
    })
}
