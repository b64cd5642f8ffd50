//! RESHAPE, SQUEEZE, EXPAND_DIMS: another name for the same bytes.

use super::LowerError;
use super::context::Context;
use super::step::StepKind;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    if input.hwc.elements() != output.hwc.elements() {
        return Err(
            cx.refused(format!("from {:?} to {:?}", input.tensor.shape, output.tensor.shape))
        );
    }
    cx.step(StepKind::Alias { input: input.index, output: output.index });
    Ok(())
}
