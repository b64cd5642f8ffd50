//! RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR: where each row and column comes from.

use pipeit_rt::kernels::Op;
use pipeit_rt::kernels::reference::{Interpolation, ResizeBilinear, ResizeNearestNeighbor};
use pipeit_rt::tensor::Hwc;

use super::LowerError;
use super::context::{Context, Operand};
use super::conv_2d::image;
use crate::graph::Resize;

pub(super) fn lower_nearest_neighbor(
    cx: &mut Context<'_>,
    resize: Resize,
) -> Result<(), LowerError> {
    let (input, output) = images(cx)?;
    let mut table = |input: u32, output: u32| {
        let table =
            cx.sections.tables.table(output, |at| Some([nearest(resize, at, input, output)]))?;
        table.ok_or_else(|| refused(cx, input, output))
    };
    let op = Op::ResizeNearestNeighbor(ResizeNearestNeighbor {
        rows: table(input.hwc.h, output.hwc.h)?,
        columns: table(input.hwc.w, output.hwc.w)?,
    });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}

pub(super) fn lower_bilinear(cx: &mut Context<'_>, resize: Resize) -> Result<(), LowerError> {
    let (input, output) = images(cx)?;
    if resize.align_corners && resize.half_pixel_centers {
        return Err(cx.refused("corners aligned and centers half a pixel off"));
    }
    let (interpolation, between): (_, Between) = if input.legacy {
        (Interpolation::Single, between_single)
    } else {
        (Interpolation::Fixed, between_fixed)
    };
    let mut table = |input: u32, output: u32| {
        let table = cx.sections.tables.table(output, |at| between(resize, at, input, output))?;
        table.ok_or_else(|| refused(cx, input, output))
    };
    let op = Op::ResizeBilinear(ResizeBilinear {
        rows: table(input.hwc.h, output.hwc.h)?,
        columns: table(input.hwc.w, output.hwc.w)?,
        interpolation,
    });
    cx.layer(op, vec![input.view()], output.view());
    Ok(())
}

fn refused(cx: &Context<'_>, input: u32, output: u32) -> LowerError {
    cx.refused(format!("from {input} to {output} rows or columns"))
}

/// The entry of a table for one row or column: the attributes, which one, and how many there
/// are in the input and in the output.
type Between = fn(Resize, u32, u32, u32) -> Option<[i32; 3]>;

fn images<'a>(cx: &mut Context<'a>) -> Result<(Operand<'a>, Operand<'a>), LowerError> {
    let input = image(cx, cx.input(0)?)?;
    let output = image(cx, cx.output_like(&input)?)?;
    let size = cx.integers(1)?;
    let extent = |at: usize| size.get(at).and_then(|&n| u32::try_from(n).ok());
    let (Some(h), Some(w), 2) = (extent(0), extent(1), size.len()) else {
        return Err(cx.refused(format!("to {size:?}")));
    };
    cx.check_extents(&output, Hwc { h, w, c: input.hwc.c })?;
    Ok((input, output))
}

/// Rows or columns of the input per one of the output, in single precision.
fn scale(resize: Resize, input: u32, output: u32) -> f32 {
    if resize.align_corners && output > 1 {
        input.saturating_sub(1) as f32 / output.saturating_sub(1) as f32
    } else {
        input as f32 / output as f32
    }
}

fn nearest(resize: Resize, at: u32, input: u32, output: u32) -> i32 {
    let offset = if resize.half_pixel_centers { 0.5 } else { 0.0 };
    let exact = (at as f32 + offset) * scale(resize, input, output);
    let found = if resize.align_corners { exact.round() } else { exact.floor() } as i32;
    found.min(last(input)).max(0)
}

fn last(input: u32) -> i32 {
    i32::try_from(input).unwrap_or(i32::MAX).saturating_sub(1)
}

/// The row or column before and behind, and the way from the first in 1/1024.
///
/// `None` where the reference would read beyond the last.
fn between_fixed(resize: Resize, at: u32, input: u32, output: u32) -> Option<[i32; 3]> {
    let [at, n, m] = [at, input, output].map(i64::from);
    let ratio = |n: i64, m: i64| n.checked_mul(1 << 10)?.checked_add(m >> 1)?.checked_div(m);
    let scale = if resize.align_corners && m > 1 {
        ratio(n.checked_sub(1)?, m.checked_sub(1)?)?
    } else {
        ratio(n, m)?
    };
    let place = at.checked_mul(scale)?;
    let place = if resize.half_pixel_centers {
        place.checked_add(scale >> 1)?.checked_sub(1 << 9)?
    } else {
        place
    };
    let highest = i64::from(last(input));
    let before = place.checked_div(1 << 10)?.max(0);
    let behind = place.checked_add((1 << 10) - 1)?.checked_div(1 << 10)?.min(highest);
    let way = place.checked_sub(before.checked_mul(1 << 10)?)?;
    if before > highest {
        return None;
    }
    Some([before.try_into().ok()?, behind.try_into().ok()?, way.try_into().ok()?])
}

/// As [`between_fixed`], with the bits of the way in single precision.
fn between_single(resize: Resize, at: u32, input: u32, output: u32) -> Option<[i32; 3]> {
    let scale = scale(resize, input, output);
    let place =
        if resize.half_pixel_centers { (at as f32 + 0.5) * scale - 0.5 } else { at as f32 * scale };
    let before = (place.floor() as i32).max(0);
    let behind = (place.ceil() as i32).min(last(input));
    let way = place - before as f32;
    (before <= last(input)).then_some([before, behind, way.to_bits().cast_signed()])
}
