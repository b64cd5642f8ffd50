//! REARRANGE: axes exchanged, walked in steps or backwards.
//!
//! TRANSPOSE, and those of STRIDED_SLICE that no view of the input can express.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::one_input;
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::weights::Weights;

/// How an axis of the output runs through the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The axis of the input: rows (0), columns (1) or channels (2).
    pub axis: u8,
    /// The index there of the output's first.
    pub start: u32,
    /// From one index to the next; may be negative.
    pub step: i32,
}

/// The element at `(i, j, k)` of the output is that of the input where each of the three
/// walks has come after `i`, `j` and `k` steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rearrange {
    /// For the output's rows, columns, channels; no two along the same axis of the input.
    pub walks: [Walk; 3],
}

impl Walk {
    fn at(self, index: usize) -> usize {
        let offset = (index as i64).wrapping_mul(self.step.into());
        i64::from(self.start).wrapping_add(offset) as usize
    }
}

impl Operator for Rearrange {
    const NAME: &'static str = "REARRANGE";

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        let input = one_input(signature)?;
        let output = signature.output;
        let mut free = [Some(input.h), Some(input.w), Some(input.c)];
        for (walk, count) in self.walks.into_iter().zip([output.h, output.w, output.c]) {
            let axis = free.get_mut(usize::from(walk.axis)).and_then(Option::take);
            let extent = axis.ok_or(OpError::Parameter { name: "axis" })?;
            let way = i64::from(count.saturating_sub(1)).checked_mul(walk.step.into());
            let last = way.and_then(|way| way.checked_add(walk.start.into()));
            let inside = last.is_some_and(|last| (0..i64::from(extent)).contains(&last));
            if walk.start >= extent || !inside {
                return Err(OpError::Shape);
            }
        }
        Ok(())
    }
}

/// The portable kernel of [`Rearrange`].
pub fn rearrange(params: &Rearrange, _weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    for y in io.output.rows() {
        for x in io.output.columns() {
            for (channel, cell) in io.output.channels().zip(io.output.pixel(y, x)) {
                let mut hwc = [0; 3];
                for (walk, index) in params.walks.into_iter().zip([y, x, channel]) {
                    if let Some(at) = hwc.get_mut(usize::from(walk.axis)) {
                        *at = walk.at(index);
                    }
                }
                let [row, column, channel] = hwc;
                cell.set(input.pixel(row, column).get(channel));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Hwc;

    #[test]
    fn walks_stay_inside() {
        let walk = |axis, start, step| Walk { axis, start, step };
        let check = |walks| {
            let input = Hwc { h: 3, w: 4, c: 5 };
            let output = Hwc { h: 2, w: 4, c: 3 };
            Rearrange { walks }.check(Signature { inputs: &[input], output }, &Weights::default())
        };
        // Channels 1 and 4; columns backwards; rows 0 to 2.
        assert_eq!(check([walk(2, 1, 3), walk(1, 3, -1), walk(0, 0, 1)]), Ok(()));
        assert_eq!(check([walk(2, 2, 3), walk(1, 3, -1), walk(0, 0, 1)]), Err(OpError::Shape));
        assert_eq!(check([walk(2, 1, 3), walk(1, 2, -1), walk(0, 0, 1)]), Err(OpError::Shape));
        assert_eq!(check([walk(2, 5, 0), walk(1, 3, -1), walk(0, 0, 1)]), Err(OpError::Shape));
        assert_eq!(
            check([walk(2, 1, i32::MAX), walk(1, 3, i32::MIN), walk(0, u32::MAX, 1)]),
            Err(OpError::Shape)
        );
        let axis = Err(OpError::Parameter { name: "axis" });
        assert_eq!(check([walk(2, 1, 1), walk(2, 0, 0), walk(0, 0, 1)]), axis);
        assert_eq!(check([walk(3, 1, 1), walk(1, 0, 1), walk(0, 0, 1)]), axis);
    }
}
