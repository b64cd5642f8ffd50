//! Functions of one code: a table made here.

use pipeit_rt::kernels::{Op, reference};

use super::LowerError;
use super::context::{Context, Operand};
use super::step::StepKind;

/// A layer that looks up `code` of the steps from zero; none where each code stays as it is,
/// which between uint8 and int8 is their shift by 128.
pub(super) fn lower(
    cx: &mut Context<'_>,
    input: &Operand<'_>,
    output: &Operand<'_>,
    code: impl Fn(i32) -> i8,
) -> Result<(), LowerError> {
    if input.tensor.shape != output.tensor.shape {
        return Err(
            cx.refused(format!("from shape {:?} to {:?}", input.tensor.shape, output.tensor.shape))
        );
    }
    let steps = |code: i8| i32::from(code).saturating_sub(input.zero_point.into());
    let codes: Vec<i8> = (i8::MIN..=i8::MAX).map(|from| code(steps(from))).collect();
    if codes.iter().copied().eq(i8::MIN..=i8::MAX) {
        cx.step(StepKind::Alias { input: input.index, output: output.index });
        return Ok(());
    }
    let table = cx.sections.tables.codes(&codes)?;
    cx.layer(Op::Lookup(reference::Lookup { table }), vec![input.view()], output.view());
    Ok(())
}
