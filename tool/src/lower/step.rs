//! The steps that operators become, on whole tensors.

use pipeit_rt::kernels::Op as Layer;
use pipeit_rt::tensor::Hwc;
use pipeit_rt::weights::Span;

use crate::graph::{OpRef, TensorIndex};

/// A tensor, seen with the extents a layer needs; others than its own need it contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ViewRef {
    /// The tensor.
    pub(super) tensor: TensorIndex,
    /// The extents.
    pub(super) hwc: Hwc,
}

/// What one operator becomes.
#[derive(Debug)]
pub(super) struct Step {
    /// The operator.
    pub(super) op: OpRef,
    /// What it becomes.
    pub(super) kind: StepKind,
}

/// What one operator becomes.
#[derive(Debug)]
pub(super) enum StepKind {
    /// A layer.
    Layer {
        /// Parameters.
        op: Layer,
        /// Inputs; constants among them become layers of their own.
        inputs: Vec<ViewRef>,
        /// Output.
        output: ViewRef,
    },
    /// The same bytes in another shape.
    Alias {
        /// Whose bytes.
        input: TensorIndex,
        /// The other name.
        output: TensorIndex,
    },
    /// Parts of a tensor, each under a name of its own.
    Cut {
        /// The tensor.
        input: TensorIndex,
        /// Where in it the parts lie, and the parts with the extents they have there.
        parts: Vec<(Place, ViewRef)>,
    },
    /// Tensors side by side in a wider one.
    Join {
        /// The wider one.
        output: TensorIndex,
        /// What it consists of.
        parts: Vec<Part>,
    },
}

impl StepKind {
    /// The tensors it reads, as often as it does.
    pub(super) fn reads(&self) -> Vec<TensorIndex> {
        match self {
            Self::Layer { inputs, .. } => inputs.iter().map(|input| input.tensor).collect(),
            Self::Alias { input, .. } | Self::Cut { input, .. } => vec![*input],
            Self::Join { parts, .. } => parts.iter().map(|part| part.tensor).collect(),
        }
    }

    /// The tensors it writes.
    pub(super) fn writes(&self) -> Vec<TensorIndex> {
        match self {
            Self::Layer { output, .. } => vec![output.tensor],
            Self::Alias { output, .. } | Self::Join { output, .. } => vec![*output],
            Self::Cut { parts, .. } => parts.iter().map(|(_, part)| part.tensor).collect(),
        }
    }
}

/// Where a part lies in a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Row, column, channel of the whole where the part starts.
    pub(super) at: [u32; 3],
    /// Rows and columns of the whole from one of the part's to the next.
    pub(super) step: [u32; 2],
}

impl Place {
    /// Starts at `at`, and leaves no row or column out.
    pub(super) const fn dense(at: [u32; 3]) -> Self {
        Self { at, step: [1, 1] }
    }

    /// The place in the whole which the part's whole is itself a part of, at `outer`.
    pub(super) fn within(self, outer: Self) -> Self {
        let [row, column, channel] = self.at;
        let ([first_row, first_column, first_channel], [down, across]) = (outer.at, outer.step);
        let along = |first: u32, at: u32, step: u32| first.saturating_add(at.saturating_mul(step));
        Self {
            at: [
                along(first_row, row, down),
                along(first_column, column, across),
                along(first_channel, channel, 1),
            ],
            step: [down.saturating_mul(self.step[0]), across.saturating_mul(self.step[1])],
        }
    }
}

/// One input of a [`StepKind::Join`].
#[derive(Debug)]
pub(super) struct Part {
    /// The tensor.
    pub(super) tensor: TensorIndex,
    /// Where it starts in the output: row, column, channel.
    pub(super) at: [u32; 3],
    /// The codes of the output per code of the tensor, when they differ.
    pub(super) table: Option<Span<i8>>,
}
