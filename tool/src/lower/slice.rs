//! SLICE, SPLIT and SPLIT_V, and how STRIDED_SLICE ends, too: parts of a tensor.

use pipeit_rt::kernels::Op;
use pipeit_rt::kernels::reference::{Rearrange, Walk};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::{Context, Operand};
use super::step::{Place, StepKind, ViewRef};

/// The indices along one axis that are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// The first one.
    pub(super) start: u32,
    /// From one to the next.
    pub(super) step: i32,
    /// How many.
    pub(super) count: u32,
}

impl Taken {
    /// All of an axis.
    pub(super) const fn all(extent: u32) -> Self {
        Self { start: 0, step: 1, count: extent }
    }
}

pub(super) fn lower(cx: &mut Context<'_>) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let (begin, size) = (cx.integers(1)?, cx.integers(2)?);
    let refused = || cx.refused(format!("{size:?} from {begin:?} of {:?}", input.tensor.shape));
    if begin.len() != input.rank() || size.len() != input.rank() {
        return Err(refused());
    }
    let ranges = input.tensor.shape.iter().zip(begin.iter().zip(&size));
    let taken = ranges.map(|(&extent, (&begin, &size))| {
        let start = u32::try_from(begin).ok()?;
        let rest = extent.checked_sub(start)?;
        let count = if size == -1 { rest } else { u32::try_from(size).ok()? };
        (count <= rest).then_some(Taken { start, step: 1, count })
    });
    let taken: Vec<Taken> = taken.collect::<Option<_>>().ok_or_else(refused)?;
    if !taken.iter().map(|taken| taken.count).eq(output.tensor.shape.iter().copied()) {
        return Err(refused());
    }
    take(cx, &input, &output, &taken)
}

/// The outputs' shapes say where the tensor is cut.
pub(super) fn lower_split(
    cx: &mut Context<'_>,
    tensor: usize,
    axis: usize,
) -> Result<(), LowerError> {
    let input = cx.input(tensor)?;
    let outputs = cx.outputs_like(&input)?;
    let axis = match *cx.integers(axis)?.as_slice() {
        [axis] => input.axis(axis).map_err(|reason| cx.refused(reason))?,
        _ => return Err(cx.refused("more than one axis")),
    };
    let extents = |hwc: Hwc| [hwc.h, hwc.w, hwc.c];
    let whole = extents(input.hwc);
    let mut at = [0u32; 3];
    let mut parts = Vec::with_capacity(outputs.len());
    for output in &outputs {
        parts.push((Place::dense(at), output.view()));
        for (i, ((at, found), whole)) in
            at.iter_mut().zip(extents(output.hwc)).zip(whole).enumerate()
        {
            let along = axis == Some(i);
            let end = if along { at.checked_add(found) } else { Some(found) };
            let fits = end.is_some_and(|end| if along { end <= whole } else { end == whole });
            if !fits || output.rank() != input.rank() {
                let (from, to) = (&input.tensor.shape, &output.tensor.shape);
                return Err(cx.refused(format!("{to:?} is no part of {from:?}")));
            }
            if along {
                *at = end.unwrap_or(whole);
            }
        }
    }
    cx.step(StepKind::Cut { input: input.index, parts });
    Ok(())
}

/// The elements of `input` that are `taken` along its axes, in their order.
///
/// Without a layer where a view can have them: no step back, and channels next to each other.
pub(super) fn take(
    cx: &mut Context<'_>,
    input: &Operand<'_>,
    output: &Operand<'_>,
    taken: &[Taken],
) -> Result<(), LowerError> {
    let Hwc { h, w, c } = input.hwc;
    let mut image = [h, w, c].map(Taken::all);
    // Axes count from the innermost; the batch has one index, which is taken.
    for (to, &from) in image.iter_mut().rev().zip(taken.iter().rev()) {
        // Where there is one only, it does not matter how to get to the next.
        *to = if from.count == 1 { Taken { step: 1, ..from } } else { from };
    }
    let [rows, columns, channels] = image;
    let hwc = Hwc { h: rows.count, w: columns.count, c: channels.count };
    if hwc.elements() != output.hwc.elements() {
        return Err(cx.refused(format!("output of shape {:?}", output.tensor.shape)));
    }
    let part: ViewRef = output.view_as(hwc);
    if hwc == input.hwc && image.iter().all(|taken| taken.step == 1) {
        cx.step(StepKind::Alias { input: input.index, output: output.index });
        return Ok(());
    }
    match (u32::try_from(rows.step), u32::try_from(columns.step), channels.step) {
        (Ok(down), Ok(across), 1) => {
            let at = [rows.start, columns.start, channels.start];
            let place = Place { at, step: [down, across] };
            cx.step(StepKind::Cut { input: input.index, parts: vec![(place, part)] });
        }
        _ => {
            let walk = |axis: u8, taken: Taken| {
                let Taken { start, step, .. } = taken;
                Walk { axis, start, step }
            };
            let walks = [walk(0, rows), walk(1, columns), walk(2, channels)];
            cx.layer(Op::Rearrange(Rearrange { walks }), vec![input.view()], part);
        }
    }
    Ok(())
}
