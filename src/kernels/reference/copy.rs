//! COPY and CONSTANT: elements moved, never changed.
//!
//! Concatenation and slicing are copies into and out of a view of a wider tensor; where
//! the neighbouring layer can use that view itself, the importer leaves the copy out.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, check_span, one_input, product};
use crate::kernels::{Io, OpError, Operator, Signature, runs};
use crate::tensor::Hwc;
use crate::weights::{Span, Weights};

/// The output is the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy;

impl Operator for Copy {
    const NAME: &'static str = "COPY";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        check_extents(signature.output, one_input(signature)?)
    }
}

/// The portable kernel of [`struct@Copy`].
pub fn copy(_params: &Copy, _weights: &Weights<'_>, io: &Io<'_>) {
    runs::each(io, |[input], output| {
        for (cell, code) in output.iter().zip(input) {
            cell.set(code.get());
        }
    });
}

/// The output is the same in every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// The output, in HWC order.
    pub codes: Span<i8>,
}

impl Operator for Constant {
    const NAME: &'static str = "CONSTANT";

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        if !signature.inputs.is_empty() {
            return Err(OpError::Inputs { found: signature.inputs.len() as u8 });
        }
        let Hwc { h, w, c } = signature.output;
        check_span(self.codes, &[product(&[h, w, c], "codes")?], weights, "codes")
    }
}

/// The portable kernel of [`Constant`].
pub fn constant(params: &Constant, weights: &Weights<'_>, io: &Io<'_>) {
    let codes = weights.get(params.codes);
    let Hwc { w, c, .. } = io.output.hwc();
    for y in io.output.rows() {
        for x in io.output.columns() {
            let start = (y * w as usize + x) * c as usize + io.output.channels().start;
            let codes = codes.get(start..).unwrap_or(&[]);
            for (cell, &code) in io.output.pixel(y, x).iter().zip(codes) {
                cell.set(code);
            }
        }
    }
}
