//! MAXIMUM and MINIMUM of two tensors, on raw codes.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::elementwise;
use crate::kernels::{Io, OpError, Operator, Signature};
use crate::weights::Weights;

/// The larger code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maximum;

/// The smaller code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minimum;

impl Operator for Maximum {
    const NAME: &'static str = "MAXIMUM";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        elementwise::check(signature)
    }
}

impl Operator for Minimum {
    const NAME: &'static str = "MINIMUM";
    const IN_PLACE: bool = true;

    fn check(&self, signature: Signature<'_>, _weights: &Weights<'_>) -> Result<(), OpError> {
        elementwise::check(signature)
    }
}

/// The portable kernel of [`Maximum`].
pub fn maximum(_params: &Maximum, _weights: &Weights<'_>, io: &Io<'_>) {
    elementwise::each(io, i8::max);
}

/// The portable kernel of [`Minimum`].
pub fn minimum(_params: &Minimum, _weights: &Weights<'_>, io: &Io<'_>) {
    elementwise::each(io, i8::min);
}
