//! MAXIMUM and MINIMUM. Quantisation does not matter: they compare codes.

use pipeit_rt::kernels::Op;

use super::LowerError;
use super::context::Context;

pub(super) fn lower(cx: &mut Context<'_>, op: Op) -> Result<(), LowerError> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let output = cx.output_like(&a)?;
    if a.legacy != b.legacy {
        return Err(cx.refused("mixes int8 and uint8"));
    }
    cx.layer(op, vec![a.view(), b.view()], output.view());
    Ok(())
}
