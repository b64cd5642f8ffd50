//! RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR: where outputs lie between inputs is worked
//! out at import.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, one_input};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::tensor::Hwc;
use crate::weights::{Span, Weights};

/// Each pixel is the input's in one of its rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeNearestNeighbor {
    /// Per row of the output the row of the input.
    pub rows: Span<i32>,
    /// Per column of the output the column of the input.
    pub columns: Span<i32>,
}

/// How [`ResizeBilinear`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interpolation {
    /// In units of 1/1024, products rounded away from code zero: int8 networks.
    Fixed,
    /// In single precision, on unsigned codes, rounded up: legacy uint8 networks.
    Single,
}

/// Each pixel from the four around its place in the input.
///
/// The tables have three numbers per row or column of the output: the row or column before,
/// the one behind, and the way from the first: bits of a number in `interpolation`'s format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeBilinear {
    /// For the rows.
    pub rows: Span<i32>,
    /// For the columns.
    pub columns: Span<i32>,
    /// The arithmetic.
    pub interpolation: Interpolation,
}

/// Refuses anything but one image with other rows and columns; returns the input's extents.
fn check_image(signature: Signature<'_>) -> Result<Hwc, OpError> {
    let input = one_input(signature)?;
    check_extents(signature.output, Hwc { c: input.c, ..signature.output })?;
    Ok(input)
}

/// The table in `span`, if it has `width` numbers for each of `count`.
fn table<'a>(
    span: Span<i32>,
    count: u32,
    width: u32,
    weights: &Weights<'a>,
    name: &'static str,
) -> Result<&'a [i32], OpError> {
    super::check_span(span, &[super::product(&[count, width], name)?], weights, name)?;
    Ok(weights.get(span))
}

fn is_inside(at: i32, extent: u32) -> bool {
    u32::try_from(at).is_ok_and(|at| at < extent)
}

impl Operator for ResizeNearestNeighbor {
    const NAME: &'static str = "RESIZE_NEAREST_NEIGHBOR";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = check_image(signature)?;
        let rows = table(self.rows, signature.output.h, 1, weights, "rows")?;
        let columns = table(self.columns, signature.output.w, 1, weights, "columns")?;
        if rows.iter().all(|&row| is_inside(row, input.h))
            && columns.iter().all(|&column| is_inside(column, input.w))
        {
            Ok(())
        } else {
            Err(OpError::Parameter { name: "rows or columns" })
        }
    }
}

impl Operator for ResizeBilinear {
    const NAME: &'static str = "RESIZE_BILINEAR";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        let input = check_image(signature)?;
        let rows = table(self.rows, signature.output.h, 3, weights, "rows")?;
        let columns = table(self.columns, signature.output.w, 3, weights, "columns")?;
        // Before the first row or column by up to a half, where both neighbours are the same.
        let is_way = |way: i32| match self.interpolation {
            Interpolation::Fixed => (-512..=1023).contains(&way),
            Interpolation::Single => (-0.5..=1.0).contains(&f32::from_bits(way as u32)),
        };
        let fits = |table: &[i32], extent: u32| {
            table.chunks_exact(3).all(|entry| match *entry {
                [a, b, way] => is_inside(a, extent) && is_inside(b, extent) && is_way(way),
                _ => false,
            })
        };
        if fits(rows, input.h) && fits(columns, input.w) {
            Ok(())
        } else {
            Err(OpError::Parameter { name: "rows or columns" })
        }
    }
}

/// The portable kernel of [`ResizeNearestNeighbor`].
// Inlined where it is compiled for the instructions of a path.
#[inline(always)]
pub fn resize_nearest_neighbor(params: &ResizeNearestNeighbor, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let (rows, columns) = (weights.get(params.rows), weights.get(params.columns));
    for y in io.output.rows() {
        let Some(&row) = rows.get(y) else { continue };
        for (x, &column) in io.output.columns().zip(columns) {
            let run = input.pixel(row as usize, column as usize).part(io.output.channels());
            for (cell, code) in io.output.pixel(y, x).iter().zip(run.iter()) {
                cell.set(code);
            }
        }
    }
}

/// The portable kernel of [`ResizeBilinear`].
#[inline(always)]
pub fn resize_bilinear(params: &ResizeBilinear, weights: &Weights<'_>, io: &Io<'_>) {
    match params.interpolation {
        Interpolation::Fixed => bilinear(params, weights, io, fixed),
        Interpolation::Single => single_precision(params, weights, io),
    }
}

/// [`Interpolation::Single`].
// Never inlined, so that there are floats in no other function.
#[inline(never)]
fn single_precision(params: &ResizeBilinear, weights: &Weights<'_>, io: &Io<'_>) {
    bilinear(params, weights, io, single);
}

/// Computes each element by `code` from the ways down and across and the codes of the four
/// neighbours: upper left, lower left, upper right, lower right.
#[inline(always)]
fn bilinear(
    params: &ResizeBilinear,
    weights: &Weights<'_>,
    io: &Io<'_>,
    code: impl Fn([i32; 2], [i8; 4]) -> i8,
) {
    let [input] = io.inputs.as_slice() else { return };
    let (rows, columns) = (weights.get(params.rows), weights.get(params.columns));
    for y in io.output.rows() {
        let start = y.wrapping_mul(3);
        let Some(&[above, below, down]) = rows.get(start..start.wrapping_add(3)) else { continue };
        for (x, entry) in io.output.columns().zip(columns.chunks_exact(3)) {
            let &[left, right, across] = entry else { continue };
            let run = |row: i32, column: i32| {
                let run = input.pixel(row as usize, column as usize);
                run.part(io.output.channels()).iter()
            };
            let (lefts, rights) =
                (run(above, left).zip(run(below, left)), run(above, right).zip(run(below, right)));
            let cells = io.output.pixel(y, x).iter();
            for (cell, ((a, b), (c, d))) in cells.zip(lefts.zip(rights)) {
                cell.set(code([down, across], [a, b, c, d]));
            }
        }
    }
}

/// Fraction bits of a way in [`Interpolation::Fixed`].
pub(in crate::kernels) const WAY_BITS: u32 = 10;

#[inline(always)]
fn fixed([down, across]: [i32; 2], corners: [i8; 4]) -> i8 {
    let one = 1i32 << WAY_BITS;
    let (up, back) = (one.wrapping_sub(down), one.wrapping_sub(across));
    let factors = [(up, back), (down, back), (up, across), (down, across)];
    // At most 2^7 * 2048 * 2048, as the ways are checked.
    let sum = corners.iter().zip(factors).fold(0i32, |sum, (&code, (a, b))| {
        sum.wrapping_add(i32::from(code).wrapping_mul(a).wrapping_mul(b))
    });
    let half = 1i32 << (2 * WAY_BITS - 1);
    let nudged = sum.wrapping_add(if sum > 0 { half } else { half.wrapping_neg() });
    nudged.wrapping_div(1 << (2 * WAY_BITS)) as i8
}

#[inline(always)]
fn single(ways: [i32; 2], corners: [i8; 4]) -> i8 {
    let [down, across] = ways.map(|way| f32::from_bits(way as u32));
    let [a, b, c, d] = corners.map(|code| f32::from(code as u8 ^ 0x80));
    // The order of the operations is the reference's: each of them rounds.
    let sum = a * (1.0 - down) * (1.0 - across)
        + b * down * (1.0 - across)
        + c * (1.0 - down) * across
        + d * down * across;
    ((sum + 0.5) as u8 ^ 0x80) as i8
}
