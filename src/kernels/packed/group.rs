//! The groups of a convolution, each a convolution by itself.
#![forbid(unsafe_code)]

use super::{PackedConv2d, Packing};
use crate::kernels::Io;
use crate::tensor::{Hwc, Tile, View};
use crate::weights::Weights;

/// What one group reads and writes.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) input: View<'a>,
    /// What is added to its output.
    pub(crate) residual: Option<View<'a>>,
    /// This core's share of the group's output.
    pub(crate) output: Tile<'a>,
    /// Its panels.
    pub(crate) filters: &'a [i8],
    /// Their table of columns.
    pub(crate) columns: &'a [i32],
    /// See [`PackedConv2d::stored_depth`].
    pub(crate) depth: u32,
}

impl PackedConv2d {
    /// The extents of one group's input and output; None when channels do not divide evenly.
    pub(crate) fn group(&self, input: Hwc, output: Hwc) -> Option<(Hwc, Hwc)> {
        let part = |hwc: Hwc| {
            let divides = self.groups != 0 && hwc.c.is_multiple_of(self.groups);
            divides.then(|| Hwc { c: hwc.c / self.groups, ..hwc })
        };
        Some((part(input)?, part(output)?))
    }

    /// Calls `each` with the groups one by one.
    pub(crate) fn each_group<'a>(
        &self,
        packing: &Packing,
        weights: &Weights<'a>,
        io: &Io<'a>,
        mut each: impl FnMut(Group<'a>),
    ) -> Option<()> {
        let (input, residual) = (io.inputs.first()?, io.inputs.get(1));
        let (from, to) = self.group(input.hwc(), io.output.hwc())?;
        let all = packing.all_columns(to.c)? as usize;
        let depth = self.stored_depth(packing, from.c)?;
        let (filters, columns) = (weights.get(self.weights), weights.get(self.columns));
        let filters = filters.chunks_exact((all * depth as usize).max(1));
        let columns = columns.chunks_exact((all * packing.parameters as usize).max(1));
        for (group, (filters, columns)) in filters.zip(columns).enumerate() {
            let channels = |c: u32| group * c as usize..(group + 1) * c as usize;
            let (input, output) = (input.part(channels(from.c))?, io.output.part(channels(to.c))?);
            let residual = residual.and_then(|residual| residual.part(channels(to.c)));
            each(Group { input, residual, output, filters, columns, depth });
        }
        Some(())
    }
}
