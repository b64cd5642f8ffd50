//! What an operator's lowering asks about its tensors.

use pipeit_rt::kernels::Op as Layer;
use pipeit_rt::kernels::reference::Requantize;
use pipeit_rt::quant::{Multiplier, Output};
use pipeit_rt::tensor::{Hwc, Shape, ShapeError};
use pipeit_rt::weights::Span;

use super::LowerError;
use super::arithmetic::{clamp, multiplier};
use super::step::{Step, StepKind, ViewRef};
use super::weights::Sections;
use crate::graph::{Activation, Element, Graph, Op, Tensor, TensorIndex};

/// A tensor of 8-bit codes as an operator uses it. Codes of uint8 are shifted to int8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand<'a> {
    pub(super) index: TensorIndex,
    pub(super) tensor: &'a Tensor,
    /// Extents, aligned at the channels.
    pub(super) hwc: Hwc,
    /// Real value of one step; positive and finite.
    pub(super) scale: f32,
    /// The int8 code of real zero.
    pub(super) zero_point: i8,
    /// Whether the file has uint8 here.
    pub(super) legacy: bool,
}

impl<'a> Operand<'a> {
    /// The tensor `index` of the graph.
    ///
    /// # Errors
    ///
    /// Says what about the tensor is not supported.
    pub(super) fn new(graph: &'a Graph, index: TensorIndex) -> Result<Self, String> {
        let tensor = graph.tensor(index).ok_or("no such tensor")?;
        let refused = |reason: String| format!("tensor `{}` {reason}", tensor.name);
        let legacy = legacy(tensor).map_err(refused)?;
        let shape = runtime_shape(tensor)
            .map_err(|error| refused(format!("of shape {:?}: {error}", tensor.shape)))?;
        let (&[scale], &[zero_point]) = (match &tensor.quantization {
            Some(quantization) => {
                (quantization.scales.as_slice(), quantization.zero_points.as_slice())
            }
            None => return Err(refused("is not quantised".to_owned())),
        }) else {
            return Err(refused("is an activation with several scales".to_owned()));
        };
        check_scale(scale).map_err(refused)?;
        let zero_point = shifted(zero_point, legacy).map_err(refused)?;
        Ok(Self { index, tensor, hwc: shape.hwc(), scale, zero_point, legacy })
    }

    /// The tensor with its own extents.
    pub(super) fn view(&self) -> ViewRef {
        self.view_as(self.hwc)
    }

    /// The tensor with the extents `hwc`, which must have as many elements.
    pub(super) fn view_as(&self, hwc: Hwc) -> ViewRef {
        ViewRef { tensor: self.index, hwc }
    }

    /// Rank in the file, 0 to 4.
    pub(super) fn rank(&self) -> usize {
        self.tensor.shape.len()
    }

    /// Zero point and clamp of this tensor as an output.
    pub(super) fn output(&self, activation: Activation) -> Output {
        let (min, max) = clamp(activation, self.scale, self.zero_point);
        Output { zero_point: self.zero_point, min, max }
    }

    /// Which of rows (0), columns (1), channels (2) the axis `axis` of the file is; `None`
    /// for the batch. Negative axes count from the innermost.
    pub(super) fn axis(&self, axis: i64) -> Result<Option<usize>, String> {
        let rank = i64::try_from(self.rank()).unwrap_or(i64::MAX);
        let from_start = if axis < 0 { axis.saturating_add(rank) } else { axis };
        if !(0..rank).contains(&from_start) {
            return Err(format!("axis {axis} of `{}`, which has rank {rank}", self.tensor.name));
        }
        Ok(usize::try_from(from_start.saturating_add(3).saturating_sub(rank)).ok())
    }
}

/// The filters of a convolution or the matrix of a FULLY_CONNECTED.
#[derive(Debug)]
pub(super) struct Filters<'a> {
    /// One, or one per output channel; positive and finite.
    pub(super) scales: &'a [f32],
    /// The int8 code of real zero.
    pub(super) zero_point: i8,
    /// The codes in the file's order, shifted to int8.
    pub(super) codes: Span<i8>,
}

/// How the real scale ratio is computed: see [`Context::requantize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaleRatio {
    /// All in double precision.
    Double,
    /// The product of the input scales in single precision: uint8 convolutions.
    SingleProduct,
}

/// The lowering of one operator.
pub(super) struct Context<'a> {
    pub(super) graph: &'a Graph,
    pub(super) op: &'a Op,
    pub(super) sections: &'a mut Sections,
    steps: &'a mut Vec<Step>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        op: &'a Op,
        sections: &'a mut Sections,
        steps: &'a mut Vec<Step>,
    ) -> Self {
        Self { graph, op, sections, steps }
    }

    /// The error that says why this operator is refused.
    pub(super) fn refused(&self, reason: impl Into<String>) -> LowerError {
        LowerError::Variant { op: self.graph.op_ref(self.op), reason: reason.into() }
    }

    /// The index of input `number`, if it is there.
    pub(super) fn optional(&self, number: usize) -> Option<TensorIndex> {
        self.op.inputs.get(number).copied().flatten()
    }

    /// Input `number` as a tensor of any type.
    pub(super) fn tensor(&self, number: usize) -> Result<&'a Tensor, LowerError> {
        self.optional(number)
            .and_then(|index| self.graph.tensor(index))
            .ok_or_else(|| self.refused(format!("no input {number}")))
    }

    /// Input `number` as codes.
    pub(super) fn input(&self, number: usize) -> Result<Operand<'a>, LowerError> {
        let index = self.optional(number);
        let index = index.ok_or_else(|| self.refused(format!("no input {number}")))?;
        Operand::new(self.graph, index).map_err(|reason| self.refused(reason))
    }

    /// The only output, whose type must be that of `input`.
    pub(super) fn output_like(&self, input: &Operand<'_>) -> Result<Operand<'a>, LowerError> {
        let output = self.output()?;
        if output.legacy != input.legacy {
            return Err(self.refused("mixes int8 and uint8"));
        }
        Ok(output)
    }

    /// The only output.
    pub(super) fn output(&self) -> Result<Operand<'a>, LowerError> {
        match *self.op.outputs.as_slice() {
            [index] => Operand::new(self.graph, index).map_err(|reason| self.refused(reason)),
            ref all => Err(self.refused(format!("{} outputs, want 1", all.len()))),
        }
    }

    /// All outputs, whose type must be that of `input`.
    pub(super) fn outputs_like(&self, input: &Operand<'_>) -> Result<Vec<Operand<'a>>, LowerError> {
        let outputs = self.op.outputs.iter().map(|&index| {
            let output = Operand::new(self.graph, index).map_err(|reason| self.refused(reason))?;
            if output.legacy == input.legacy {
                Ok(output)
            } else {
                Err(self.refused("mixes int8 and uint8"))
            }
        });
        outputs.collect()
    }

    /// Input `number` as axes, paddings or the like: a constant of integers.
    pub(super) fn integers(&self, number: usize) -> Result<Vec<i64>, LowerError> {
        let tensor = self.tensor(number)?;
        tensor.integers().ok_or_else(|| {
            self.refused(format!("tensor `{}` is not a constant of integers", tensor.name))
        })
    }

    /// Input 1 as filters, with one scale or one per each of `channels` along `axis`.
    pub(super) fn filters(
        &mut self,
        input: &Operand<'_>,
        channels: u32,
        axis: usize,
    ) -> Result<Filters<'a>, LowerError> {
        let tensor = self.tensor(1)?;
        let refused = |reason: String| self.refused(format!("tensor `{}` {reason}", tensor.name));
        let (Some(index), Some(data)) = (self.optional(1), tensor.data.as_deref()) else {
            return Err(refused("must be a constant".to_owned()));
        };
        let legacy = legacy(tensor).map_err(refused)?;
        if legacy != input.legacy {
            return Err(self.refused("mixes int8 and uint8"));
        }
        let Some(quantization) = &tensor.quantization else {
            return Err(refused("is not quantised".to_owned()));
        };
        let scales = quantization.scales.as_slice();
        let per_channel = u32::try_from(scales.len()) == Ok(channels) && quantization.axis == axis;
        if scales.len() != 1 && !per_channel {
            return Err(refused(format!(
                "has {} scales along axis {}, want 1 or {channels} along axis {axis}",
                scales.len(),
                quantization.axis
            )));
        }
        scales.iter().try_for_each(|&scale| check_scale(scale)).map_err(refused)?;
        let first = quantization.zero_points.first().copied().unwrap_or(0);
        if quantization.zero_points.iter().any(|&other| other != first) {
            return Err(refused("has several zero points".to_owned()));
        }
        let zero_point = shifted(first, legacy).map_err(refused)?;
        let codes = self.sections.filters.constant(index, data, if legacy { 0x80 } else { 0 })?;
        Ok(Filters { scales, zero_point, codes })
    }

    /// Bias (input `bias`), scale ratios `input * filters / output`, zero point and clamp.
    pub(super) fn requantize(
        &mut self,
        input: &Operand<'_>,
        filters: &Filters<'_>,
        output: &Operand<'_>,
        activation: Activation,
        ratio: ScaleRatio,
        bias: usize,
    ) -> Result<Requantize, LowerError> {
        let multipliers: Vec<Multiplier> = filters
            .scales
            .iter()
            .map(|&scale| {
                let product = match ratio {
                    ScaleRatio::Double => f64::from(input.scale) * f64::from(scale),
                    ScaleRatio::SingleProduct => f64::from(input.scale * scale),
                };
                self.multiplier(product / f64::from(output.scale))
            })
            .collect::<Result<_, _>>()?;
        Ok(Requantize {
            bias: self.bias(bias, output.hwc.c)?,
            multipliers: self.sections.filters.multipliers(&multipliers)?,
            output: output.output(activation),
        })
    }

    /// The scale ratio `real` in fixed point.
    pub(super) fn multiplier(&self, real: f64) -> Result<Multiplier, LowerError> {
        if real.is_finite() {
            Ok(multiplier(real))
        } else {
            Err(self.refused("scales whose ratio is not a finite number"))
        }
    }

    fn bias(&mut self, number: usize, channels: u32) -> Result<Span<i32>, LowerError> {
        if self.optional(number).is_none() {
            return self.sections.filters.integers(&[]);
        }
        let tensor = self.tensor(number)?;
        let refused = |reason| self.refused(format!("bias `{}` {reason}", tensor.name));
        if tensor.element != Element::I32 {
            return Err(refused(format!("is {}, want int32", tensor.element)));
        }
        let integers = tensor.integers().ok_or_else(|| refused("is not a constant".to_owned()))?;
        // Exact: they were 32 bits wide.
        let bias: Vec<i32> = integers.into_iter().map(|n| n as i32).collect();
        if u32::try_from(bias.len()) != Ok(channels) {
            return Err(refused(format!("has {} elements, want {channels}", bias.len())));
        }
        self.sections.filters.integers(&bias)
    }

    /// Refuses extents of the output other than `expected`.
    pub(super) fn check_extents(
        &self,
        output: &Operand<'_>,
        expected: Hwc,
    ) -> Result<(), LowerError> {
        if output.hwc == expected {
            return Ok(());
        }
        let [a, b] = [output.hwc, expected].map(|hwc| format!("{}x{}x{}", hwc.h, hwc.w, hwc.c));
        Err(self.refused(format!("output of {a}, computed {b}")))
    }

    /// Adds the layer that computes `output`.
    pub(super) fn layer(&mut self, op: Layer, inputs: Vec<ViewRef>, output: ViewRef) {
        self.step(StepKind::Layer { op, inputs, output });
    }

    /// Adds a step.
    pub(super) fn step(&mut self, kind: StepKind) {
        self.steps.push(Step { op: self.graph.op_ref(self.op), kind });
    }
}

/// The shape the runtime has for `tensor`: a scalar is a tensor of one channel.
pub(super) fn runtime_shape(tensor: &Tensor) -> Result<Shape, ShapeError> {
    Shape::new(if tensor.shape.is_empty() { &[1] } else { &tensor.shape })
}

/// Whether a tensor's codes are uint8; refuses what is no tensor of codes.
fn legacy(tensor: &Tensor) -> Result<bool, String> {
    match tensor.element {
        Element::I8 => Ok(false),
        Element::U8 => Ok(true),
        other => Err(format!("is {other}, want int8 or uint8")),
    }
}

fn check_scale(scale: f32) -> Result<(), String> {
    if scale.is_finite() && scale > 0.0 { Ok(()) } else { Err(format!("has the scale {scale}")) }
}

/// The zero point in int8.
fn shifted(zero_point: i64, legacy: bool) -> Result<i8, String> {
    let shift = if legacy { 128 } else { 0 };
    i8::try_from(zero_point.saturating_sub(shift))
        .map_err(|_| format!("has the zero point {zero_point}"))
}
