//! PRELU.

use pipeit_rt::kernels::{Op, reference};

use super::LowerError;
use super::context::Context;
use crate::graph::Activation;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let (input, factors) = (cx.input(0)?, cx.input(1)?);
    let output = cx.output_like(&input)?;
    if input.legacy != factors.legacy {
        return Err(cx.refused("mixes int8 and uint8"));
    }
    let op = Op::Prelu(reference::Prelu {
        zero_points: [input.zero_point, factors.zero_point],
        positive: cx.multiplier((input.scale / output.scale).into())?,
        negative: cx.multiplier((input.scale * factors.scale / output.scale).into())?,
        output: output.output(Activation::None),
    });
    cx.layer(op, vec![input.view(), factors.view()], output.view());
    Ok(())
}
