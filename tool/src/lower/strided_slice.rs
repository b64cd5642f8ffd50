//! STRIDED_SLICE: Python's `x[1:, ..., None, ::-2, 3]`.

use super::LowerError;
use super::context::Context;
use super::slice::{Taken, take};
use crate::graph::StridedSlice;

pub(super) fn lower(cx: &mut Context<'_>, masks: StridedSlice) -> Result<(), LowerError> {
    let input = cx.input(0)?;
    let output = cx.output_like(&input)?;
    let (begin, end, step) = (cx.integers(1)?, cx.integers(2)?, cx.integers(3)?);
    let refused = || {
        cx.refused(format!(
            "from {begin:?} to {end:?} by {step:?} of {:?} with {masks:?}",
            input.tensor.shape
        ))
    };
    let entries = begin.len();
    if end.len() != entries || step.len() != entries || entries > 31 {
        return Err(refused());
    }
    let bit = |mask: i32, entry: usize| {
        u32::try_from(entry).ok().and_then(|entry| mask.checked_shr(entry)).unwrap_or(0) & 1 == 1
    };
    let is_ellipsis = |entry: &usize| bit(masks.ellipsis_mask, *entry);
    let is_new = |entry: &usize| bit(masks.new_axis_mask, *entry) && !is_ellipsis(entry);
    let ellipsis = (0..entries).find(is_ellipsis);
    let stated = (0..entries).filter(|entry| !is_new(entry) && !is_ellipsis(entry)).count();
    let unstated = match ellipsis {
        // The reference has it stand for at least one axis, whatever is left for the others.
        Some(_) => input.rank().saturating_sub(stated).max(1),
        None => input.rank().checked_sub(stated).ok_or_else(refused)?,
    };
    let positions = input.rank().saturating_add((0..entries).filter(is_new).count());

    let mut extents = input.tensor.shape.iter().copied();
    let mut taken = Vec::new();
    let mut shape = Vec::new();
    let mut position = 0usize;
    for (entry, ((&begin, &end), &step)) in begin.iter().zip(&end).zip(&step).enumerate() {
        if position >= positions {
            break;
        }
        position = position.saturating_add(if Some(entry) == ellipsis { unstated } else { 1 });
        if Some(entry) == ellipsis {
            for extent in extents.by_ref().take(unstated) {
                taken.push(Taken::all(extent));
                shape.push(extent);
            }
        } else if is_new(&entry) {
            shape.push(1);
        } else {
            let extent = extents.next().ok_or_else(refused)?;
            let shrinks = bit(masks.shrink_axis_mask, entry);
            let walk = Walk {
                begin: (!bit(masks.begin_mask, entry)).then_some(begin),
                end: (!bit(masks.end_mask, entry)).then_some(end),
                step,
                shrinks,
                offset: masks.offset,
            };
            let along = walk.over(extent).ok_or_else(refused)?;
            taken.push(along);
            if !shrinks {
                shape.push(along.count);
            }
        }
    }
    // Axes after the last entry are taken whole.
    for extent in extents {
        taken.push(Taken::all(extent));
        shape.push(extent);
    }
    if shape != output.tensor.shape {
        return Err(refused());
    }
    take(cx, &input, &output, &taken)
}

/// What the lists state for one axis.
struct Walk {
    begin: Option<i64>,
    end: Option<i64>,
    step: i64,
    shrinks: bool,
    offset: bool,
}

impl Walk {
    /// The indices of an axis of `extent`; `None` when there are none.
    fn over(&self, extent: u32) -> Option<Taken> {
        let size = i64::from(extent);
        let (lowest, highest) = if self.step > 0 { (0, size) } else { (-1, size.checked_sub(1)?) };
        let index = |at: i64| {
            let from_start = if at < 0 { at.saturating_add(size) } else { at };
            from_start.clamp(lowest, highest)
        };
        let (first, last) = if self.step > 0 { (0, size) } else { (highest, -1) };
        let start = self.begin.map_or(first, index);
        if self.shrinks {
            let start = u32::try_from(start).ok().filter(|&start| start < extent)?;
            return Some(Taken { start, step: 1, count: 1 });
        }
        let offset = if self.offset { start } else { 0 };
        let end = self.end.map_or(last, |end| index(end.saturating_add(offset)));
        let (way, pace) = (end.checked_sub(start)?, self.step);
        // Steps that begin before the end, in the direction of the walk.
        let ahead = if pace > 0 { way } else { way.checked_neg()? };
        let pace = i64::try_from(pace.unsigned_abs()).ok()?;
        let count = ahead.checked_add(pace.checked_sub(1)?)?.checked_div(pace)?;
        let count = u32::try_from(count).ok().filter(|&count| count > 0)?;
        let step = self.step.clamp(i32::MIN.into(), i32::MAX.into());
        Some(Taken { start: start.try_into().ok()?, step: step.try_into().ok()?, count })
    }
}
