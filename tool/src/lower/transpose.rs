//! TRANSPOSE.

use pipeit_rt::kernels::Op;
use pipeit_rt::kernels::reference::{Rearrange, Walk};

use super::LowerError;
use super::context::Context;
use super::step::StepKind;

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let given = cx.integers(1)?;
    let refused = || cx.refused(format!("axes {given:?} for {:?}", input.tensor.shape));
    let rank = input.rank();
    let axes = given.iter().map(|&axis| {
        let axis = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    });
    let mut axes: Vec<usize> = axes.collect::<Option<_>>().ok_or_else(refused)?;
    let extent = |axis: usize| input.tensor.shape.get(axis).copied();
    let expected: Vec<u32> = axes.iter().filter_map(|&axis| extent(axis)).collect();
    let is_permutation = (0..rank).all(|axis| axes.contains(&axis)) && axes.len() == rank;
    if !is_permutation || expected != output.tensor.shape {
        return Err(refused());
    }
    // Where all that moves has extent 1, the elements keep their order.
    let moving: Vec<usize> = axes.iter().copied().filter(|&axis| extent(axis) != Some(1)).collect();
    if moving.is_sorted() {
        cx.step(StepKind::Alias { input: input.index, output: output.index });
        return Ok(());
    }
    // The batch stays the outermost axis: of axes of extent 1 it does not matter which is which.
    if rank == 4
        && let Some(&first) = axes.first()
        && first != 0
    {
        axes.iter_mut().for_each(|axis| {
            *axis = if *axis == 0 {
                first
            } else if *axis == first {
                0
            } else {
                *axis
            };
        });
    }
    let mut walks = [0u8, 1, 2].map(|axis| Walk { axis, start: 0, step: 1 });
    let missing = 3i64.saturating_sub(i64::try_from(rank).unwrap_or(3));
    for (to, &from) in axes.iter().enumerate() {
        let shifted = |axis: usize| i64::try_from(axis).ok()?.checked_add(missing);
        let to = shifted(to).and_then(|to| usize::try_from(to).ok());
        let from = shifted(from).and_then(|from| u8::try_from(from).ok());
        if let (Some(walk), Some(axis)) = (to.and_then(|to| walks.get_mut(to)), from) {
            walk.axis = axis;
        }
    }
    cx.layer(Op::Rearrange(Rearrange { walks }), vec![input.view()], output.view());
    Ok(())
}
