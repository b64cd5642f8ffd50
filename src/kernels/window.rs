//! The geometry of a sliding window: convolutions and pools.
#![forbid(unsafe_code)]

use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::OpError;
use crate::tensor::Hwc;

/// A window that slides over an image, with implicit padding around it.
///
/// Output row `y` sees input rows `y * stride - pad + tap * dilation`; columns likewise.
/// Padding below and to the right is whatever the output's extents imply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Taps down and across.
    pub taps: [u16; 2],
    /// Steps down and across.
    pub stride: [u16; 2],
    /// Input elements between neighbouring taps, 1 for a dense window.
    pub dilation: [u16; 2],
    /// Rows above and columns left of the image.
    pub pad: [u16; 2],
}

impl Window {
    /// Checks that no field but `pad` is zero.
    ///
    /// # Errors
    ///
    /// [`OpError::Parameter`].
    pub fn check(&self) -> Result<(), OpError> {
        for (values, name) in
            [(self.taps, "taps"), (self.stride, "stride"), (self.dilation, "dilation")]
        {
            if values.contains(&0) {
                return Err(OpError::Parameter { name });
            }
        }
        Ok(())
    }

    /// Checks besides that every output sees at least one input element.
    ///
    /// # Errors
    ///
    /// [`OpError::Parameter`], [`OpError::Shape`].
    pub fn check_overlap(&self, input: Hwc, output: Hwc) -> Result<(), OpError> {
        self.check()?;
        // The extremes decide: in between, a window lies further inside than one of them.
        let seen = |axis: usize, last: u32, extent: u32| {
            [0, last - 1]
                .into_iter()
                .all(|at| !self.range(axis, at as usize, extent as usize).is_empty())
        };
        if self.dilation != [1, 1] {
            return Err(OpError::Parameter { name: "dilation" });
        }
        if seen(0, output.h, input.h) && seen(1, output.w, input.w) {
            Ok(())
        } else {
            Err(OpError::Shape)
        }
    }

    /// Whether every output sees the one input at its place.
    #[must_use]
    pub fn is_pointwise(&self) -> bool {
        (self.taps, self.stride, self.pad) == ([1, 1], [1, 1], [0, 0])
    }

    /// The input row that tap 0 of output row `y` sees; negative above the image.
    /// With `axis` 1 the same for columns.
    fn origin(&self, axis: usize, at: usize) -> i64 {
        (at as i64).wrapping_mul(pick(self.stride, axis)).wrapping_sub(pick(self.pad, axis))
    }

    /// The taps of output row (`axis` 0) or column (1) `at` that lie inside an image of
    /// `extent` rows or columns.
    #[must_use]
    pub fn range(&self, axis: usize, at: usize, extent: usize) -> Range<usize> {
        let origin = self.origin(axis, at);
        let step = pick(self.dilation, axis).max(1);
        // Division is slow, and most windows are dense.
        let ceil = |n: i64| match step {
            1 => n,
            step => n.wrapping_add(step).wrapping_sub(1).wrapping_div(step),
        };
        let first = ceil(origin.wrapping_neg().max(0));
        let end = ceil((extent as i64).wrapping_sub(origin).max(0)).min(pick(self.taps, axis));
        first as usize..end.max(first) as usize
    }

    /// The output rows (`axis` 0) or columns (1) for which tap `tap` lies inside an image of
    /// `extent` rows or columns, were the output endless.
    #[must_use]
    pub fn outputs(&self, axis: usize, tap: usize, extent: usize) -> Range<usize> {
        let stride = pick(self.stride, axis).max(1);
        let ceil = |n: i64| n.wrapping_add(stride).wrapping_sub(1).wrapping_div(stride);
        let offset = (tap as i64).wrapping_mul(pick(self.dilation, axis));
        let before = pick(self.pad, axis).wrapping_sub(offset);
        let first = ceil(before.max(0));
        let end = ceil((extent as i64).wrapping_add(before).max(0));
        first as usize..end.max(first) as usize
    }

    /// The output rows (`axis` 0) or columns (1) all of whose taps lie inside an image of
    /// `extent` rows or columns, were the output endless.
    #[must_use]
    pub fn inside(&self, axis: usize, extent: usize) -> Range<usize> {
        let stride = pick(self.stride, axis).max(1);
        let ceil = |n: i64| n.wrapping_add(stride).wrapping_sub(1).wrapping_div(stride);
        let pad = pick(self.pad, axis);
        let reach = pick(self.taps, axis).wrapping_sub(1).wrapping_mul(pick(self.dilation, axis));
        let first = ceil(pad);
        let end = ceil((extent as i64).wrapping_add(pad).wrapping_sub(reach).max(0));
        first as usize..end.max(first) as usize
    }

    /// The input row (`axis` 0) or column (1) under tap `tap` of output `at`, which must be
    /// one of [`range`](Self::range).
    #[must_use]
    pub fn source(&self, axis: usize, at: usize, tap: usize) -> usize {
        let offset = (tap as i64).wrapping_mul(pick(self.dilation, axis));
        self.origin(axis, at).wrapping_add(offset) as usize
    }
}

fn pick(pair: [u16; 2], axis: usize) -> i64 {
    let [down, across] = pair;
    i64::from(if axis == 0 { down } else { across })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_inside_are_those_a_scan_finds() {
        for (taps, stride, dilation, pad, extent) in
            [(3, 1, 1, 1, 5), (3, 2, 1, 0, 6), (5, 1, 3, 4, 7), (2, 3, 2, 9, 4), (1, 1, 1, 0, 1)]
        {
            let window = Window {
                taps: [taps; 2],
                stride: [stride; 2],
                dilation: [dilation; 2],
                pad: [pad; 2],
            };
            for at in 0..12 {
                let scan: std::vec::Vec<_> = (0..taps as usize)
                    .filter(|&tap| {
                        let x = at as i64 * i64::from(stride) - i64::from(pad)
                            + tap as i64 * i64::from(dilation);
                        (0..extent).contains(&x)
                    })
                    .collect();
                let range = window.range(1, at, extent as usize);
                assert_eq!(range.clone().collect::<std::vec::Vec<_>>(), scan, "{window:?} {at}");
                let inside = window.inside(1, extent as usize).contains(&at);
                assert_eq!(inside, range.len() == usize::from(taps), "{window:?} {at}");
                for tap in 0..usize::from(taps) {
                    let outputs = window.outputs(1, tap, extent as usize);
                    assert_eq!(outputs.contains(&at), range.contains(&tap), "{window:?} {at}");
                }
                for tap in range {
                    assert!(window.source(1, at, tap) < extent as usize);
                }
            }
        }
    }
}
