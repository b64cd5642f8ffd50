//! LOOKUP: any function of one code, as a table made at import.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{check_extents, check_span, one_input};
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::weights::{Span, Weights};

/// `out = table[x + 128]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The results for codes -128 to 127.
    pub table: Span<i8>,
}

impl Operator for Lookup {
    const NAME: &'static str = "LOOKUP";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError> {
        check_extents(signature.output, one_input(signature)?)?;
        check_span(self.table, &[256], weights, "table")
    }
}

/// The portable kernel of [`Lookup`].
pub fn lookup(params: &Lookup, weights: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let table = weights.get(params.table);
    for y in io.output.rows() {
        for x in io.output.columns() {
            let run = input.pixel(y, x).part(io.output.channels());
            for (cell, code) in io.output.pixel(y, x).iter().zip(run.iter()) {
                let index = usize::from((code as u8) ^ 0x80);
                cell.set(table.get(index).copied().unwrap_or(0));
            }
        }
    }
}
