//! Kernels that compute a group of a convolution from the inputs where they lie.

use super::{Exact, Rectified, Sequence, Short};
use crate::kernels::packed::group::Group;
use crate::kernels::packed::{PackedConv2d, Rounding};
use crate::kernels::{Io, Path};
use crate::weights::Weights;

/// Such a kernel.
pub(in crate::kernels) trait GroupKernel {
    /// The path whose instructions it consists of.
    const PATH: Path;

    /// Computes the group's output.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions.
    unsafe fn compute<S: Sequence>(params: &PackedConv2d, weights: &Weights<'_>, group: &Group<'_>);
}

/// Computes all groups with `K`.
///
/// # Safety
///
/// The core can execute the instructions of the path of `K`.
pub(in crate::kernels) unsafe fn each_group<K: GroupKernel>(
    params: &PackedConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    let Some(packing) = params.packing().filter(|_| params.path == K::PATH) else { return };
    let compute = match (params.fast, params.rounding) {
        (true, Rounding::Double) if params.output.rectifies() => K::compute::<Rectified>,
        (true, Rounding::Double) => K::compute::<Short>,
        _ => K::compute::<Exact>,
    };
    // SAFETY: the caller's promise.
    let compute = |group: Group<'_>| unsafe { compute(params, weights, &group) };
    let _ = params.each_group(&packing, weights, io, compute);
}
