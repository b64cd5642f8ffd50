//! Residuals: an ADD becomes part of the convolution before it.
//!
//! That computes the codes which the ADD would read, and adds the other operand to them while they
//! are in the cache. Nothing else may need them, and the other operand must be there before.

use std::collections::{HashMap, HashSet};

use pipeit_rt::kernels::Op as Layer;
use pipeit_rt::kernels::reference::Add;

use super::step::{Step, StepKind, ViewRef};
use crate::graph::{Graph, TensorIndex};
use crate::network::Folded;

/// Makes every ADD that can be one a residual.
pub(super) fn fuse(graph: &Graph, steps: &mut Vec<Step>, folded: &mut Vec<Folded>) {
    let mut uses = Uses::of(graph, steps);
    let mut fused = HashSet::new();
    for at in 0..steps.len() {
        let Some(residual) = Residual::find(steps, &uses, at) else { continue };
        let Some(sum) = steps.get(at).map(|step| step.op.clone()) else { continue };
        let Some(step) = steps.get_mut(residual.conv) else { continue };
        let StepKind::Layer { op: Layer::Conv2d(conv), inputs, output } = &mut step.kind else {
            continue;
        };
        conv.residual = Some(residual.add);
        inputs.push(residual.other);
        output.tensor = residual.output;
        step.op.output = sum.output.clone();
        folded.push(Folded { op: sum, into: step.op.to_string() });
        uses.writer.insert(residual.output, residual.conv);
        fused.insert(at);
    }
    let mut at = 0..;
    steps.retain(|_| at.next().is_none_or(|at: usize| !fused.contains(&at)));
}

/// Who writes and reads each tensor.
struct Uses {
    /// The step; none for inputs of the network and constants.
    writer: HashMap<TensorIndex, usize>,
    /// How often; an output of the network is read once more.
    reads: HashMap<TensorIndex, usize>,
}

impl Uses {
    fn of(graph: &Graph, steps: &[Step]) -> Self {
        let mut uses = Self { writer: HashMap::new(), reads: HashMap::new() };
        for (at, step) in steps.iter().enumerate() {
            uses.writer.extend(step.kind.writes().into_iter().map(|tensor| (tensor, at)));
        }
        let read = steps.iter().flat_map(|step| step.kind.reads());
        for tensor in read.chain(graph.outputs.iter().copied()) {
            let reads = uses.reads.entry(tensor).or_default();
            *reads = reads.saturating_add(1);
        }
        uses
    }
}

/// An ADD as part of a convolution.
struct Residual {
    /// The step of the convolution.
    conv: usize,
    /// The ADD, the convolution's codes first.
    add: Add,
    other: ViewRef,
    output: TensorIndex,
}

impl Residual {
    /// That of step `at`, if it can be one.
    fn find(steps: &[Step], uses: &Uses, at: usize) -> Option<Self> {
        let StepKind::Layer { op: Layer::Add(add), inputs, output } = &steps.get(at)?.kind else {
            return None;
        };
        let (&[a, b], [term_a, term_b]) = (inputs.as_slice(), add.terms) else { return None };
        // The sum is the same either way round.
        [(a, b, [term_a, term_b]), (b, a, [term_b, term_a])].into_iter().find_map(
            |(codes, other, terms)| {
                let conv = *uses.writer.get(&codes.tensor)?;
                let StepKind::Layer { op: Layer::Conv2d(params), output: convolved, .. } =
                    &steps.get(conv)?.kind
                else {
                    return None;
                };
                let is_first = params.residual.is_none();
                let is_alone = uses.reads.get(&codes.tensor) == Some(&1);
                let is_ready = uses.writer.get(&other.tensor).is_none_or(|&writer| writer < conv);
                let alike =
                    *convolved == codes && [codes.hwc, other.hwc] == [output.hwc, output.hwc];
                (is_first && is_alone && is_ready && alike).then_some(Self {
                    conv,
                    add: Add { terms, ..*add },
                    other,
                    output: output.tensor,
                })
            },
        )
    }
}
