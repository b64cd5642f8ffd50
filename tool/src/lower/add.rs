//! ADD and SUB.

use pipeit_rt::kernels::{Op, reference};

use super::LowerError;
use super::context::{Context, Operand};
use crate::graph::Activation;

/// Bits both inputs are shifted left by before they are scaled.
const HEADROOM: f64 = (1 << 20) as f64;

pub(super) fn lower(cx: &mut Context<'_>, activation: Activation) -> Result<(), LowerError> {
    lower_to(cx, activation, Op::Add)
}

pub(super) fn lower_sub(cx: &mut Context<'_>, activation: Activation) -> Result<(), LowerError> {
    lower_to(cx, activation, |add| Op::Sub(reference::Sub(add)))
}

fn lower_to(
    cx: &mut Context<'_>,
    activation: Activation,
    op: impl FnOnce(reference::Add) -> Op,
) -> Result<(), LowerError> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let output = cx.output_like(&a)?;
    if a.legacy != b.legacy {
        return Err(cx.refused("mixes int8 and uint8"));
    }
    let twice_max = 2.0 * f64::from(a.scale.max(b.scale));
    let term = |input: &Operand<'_>| -> Result<_, LowerError> {
        Ok(reference::Term {
            zero_point: input.zero_point,
            multiplier: cx.multiplier(f64::from(input.scale) / twice_max)?,
        })
    };
    let add = reference::Add {
        terms: [term(&a)?, term(&b)?],
        multiplier: cx.multiplier(twice_max / (HEADROOM * f64::from(output.scale)))?,
        output: output.output(activation),
    };
    cx.layer(op(add), vec![a.view(), b.view()], output.view());
    Ok(())
}
