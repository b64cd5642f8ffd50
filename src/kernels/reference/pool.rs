//! AVERAGE_POOL_2D and MAX_POOL_2D, on raw codes; padding takes no part.
#![forbid(unsafe_code)]

use core::cell::Cell;

use serde::{Deserialize, Serialize};

use super::{check_extents, check_output, one_input};
use crate::kernels::{Io, OpError, Operator, Signature, Window};
use crate::quant::Output;
use crate::tensor::Hwc;
use crate::weights::Weights;

/// How an average that lies halfway between two codes is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ties {
    /// Away from code zero: int8 networks.
    AwayFromZero,
    /// Up: legacy uint8 networks, whose codes are never negative.
    Up,
}

impl Ties {
    /// The average of `count` codes that add up to `sum`.
    pub(in crate::kernels) const fn average(self, sum: i32, count: i32) -> i32 {
        // The check left no window without elements.
        let count = if count > 0 { count } else { 1 };
        let half = count / 2;
        match self {
            Self::AwayFromZero if sum > 0 => sum.wrapping_add(half).wrapping_div(count),
            Self::AwayFromZero => sum.wrapping_sub(half).wrapping_div(count),
            Self::Up => {
                let unsigned = sum.wrapping_add(count.wrapping_mul(128));
                unsigned.wrapping_add(half).wrapping_div(count).wrapping_sub(128)
            }
        }
    }
}

/// The rounded average of the elements under the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AveragePool2d {
    /// Geometry; never dilated.
    pub window: Window,
    /// Rounding.
    pub ties: Ties,
    /// Smallest and largest code: the fused activation.
    pub clamp: (i8, i8),
}

/// The largest of the elements under the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool2d {
    /// Geometry; never dilated.
    pub window: Window,
    /// Smallest and largest code: the fused activation.
    pub clamp: (i8, i8),
}

fn check(window: Window, clamp: (i8, i8), signature: Signature<'_>) -> Result<(), OpError> {
    let input = one_input(signature)?;
    check_extents(signature.output, Hwc { c: input.c, ..signature.output })?;
    check_output(Output { zero_point: 0, min: clamp.0, max: clamp.1 })?;
    window.check_overlap(input, signature.output)
}

impl Operator for AveragePool2d {
    const NAME: &'static str = "AVERAGE_POOL_2D";

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        check(self.window, self.clamp, signature)
    }
}

impl Operator for MaxPool2d {
    const NAME: &'static str = "MAX_POOL_2D";

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        check(self.window, self.clamp, signature)
    }
}

/// Channels pooled at a time.
const CHUNK: usize = 64;

/// Folds the elements under each window, then hands value and element count to `finish`.
#[inline(always)]
fn pool<T: Copy>(
    window: &Window,
    io: &Io<'_>,
    initial: T,
    fold: impl Fn(T, i8) -> T,
    finish: impl Fn(T, i32) -> i8,
) {
    let [input] = io.inputs.as_slice() else { return };
    let (h, w) = (input.hwc().h as usize, input.hwc().w as usize);
    for y in io.output.rows() {
        let rows = window.range(0, y, h);
        for x in io.output.columns() {
            let columns = window.range(1, x, w);
            let count = rows.len().wrapping_mul(columns.len()) as i32;
            let channels = io.output.channels().step_by(CHUNK);
            for (start, cells) in channels.zip(io.output.pixel(y, x).chunks(CHUNK)) {
                let mut values = [initial; CHUNK];
                for down in rows.clone() {
                    for across in columns.clone() {
                        let iy = window.source(0, y, down);
                        let run = input.pixel(iy, window.source(1, x, across));
                        let run = run.part(start..start + cells.len());
                        for (value, x) in values.iter_mut().zip(run.iter()) {
                            *value = fold(*value, x);
                        }
                    }
                }
                cells.iter().zip(values).for_each(|(cell, value): (&Cell<i8>, T)| {
                    cell.set(finish(value, count));
                });
            }
        }
    }
}

/// The portable kernel of [`AveragePool2d`].
// Inlined where it is compiled for the instructions of a path.
#[inline(always)]
pub fn average_pool_2d(params: &AveragePool2d, _weights: &Weights<'_>, io: &Io<'_>) {
    let (min, max) = params.clamp;
    let add = |sum: i32, code: i8| sum.wrapping_add(code.into());
    pool(&params.window, io, 0, add, |sum, count| {
        params.ties.average(sum, count).max(min.into()).min(max.into()) as i8
    });
}

/// The portable kernel of [`MaxPool2d`].
#[inline(always)]
pub fn max_pool_2d(params: &MaxPool2d, _weights: &Weights<'_>, io: &Io<'_>) {
    let (min, max) = params.clamp;
    pool(&params.window, io, i8::MIN, i8::max, |value, _| value.max(min).min(max));
}
