//! MUL.

use pipeit_rt::kernels::{Op, reference};

use super::LowerError;
use super::context::Context;
use crate::graph::Activation;

pub(super) fn lower(cx: &mut Context<'_>, activation: Activation) -> Result<(), LowerError> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let output = cx.output_like(&a)?;
    if a.legacy != b.legacy {
        return Err(cx.refused("mixes int8 and uint8"));
    }
    let op = Op::Mul(reference::Mul {
        zero_points: [a.zero_point, b.zero_point],
        // In single precision, unlike the scale ratios of convolutions.
        multiplier: cx.multiplier((a.scale * b.scale / output.scale).into())?,
        output: output.output(activation),
    });
    cx.layer(op, vec![a.view(), b.view()], output.view());
    Ok(())
}
