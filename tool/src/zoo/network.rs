//! How an architecture is written down: layers on values, in the order they run.

use crate::graph::Activation;
pub(super) use crate::graph::Activation::{Relu, Relu6};
pub(super) use crate::import::schema::Padding;

/// No activation.
pub(super) const LINEAR: Activation = Activation::None;

/// An architecture: shapes and operators, but no weights.
#[derive(Clone, Debug)]
pub struct Network {
    /// What the input's codes stand for, from the lowest to the highest.
    pub(super) input_range: [f32; 2],
    /// Shapes of the values.
    pub(super) shapes: Vec<Shape>,
    /// In the order they run: layer `i` writes value `i + 1`.
    pub(super) layers: Vec<Layer>,
}

/// A tensor that changes with every frame: the input, or what a layer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value(pub(super) usize);

/// Extents of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Rows, columns, channels.
    pub(super) hwc: [usize; 3],
    /// Of rank 2, `[1, channels]`, rather than of rank 4.
    is_flat: bool,
}

impl Shape {
    const fn image(hwc: [usize; 3]) -> Self {
        Self { hwc, is_flat: false }
    }

    const fn flat(channels: usize) -> Self {
        Self { hwc: [1, 1, channels], is_flat: true }
    }

    pub(super) fn elements(&self) -> usize {
        self.hwc.iter().product()
    }

    /// The extents as a file states them.
    #[must_use]
    pub(super) fn extents(&self) -> Vec<usize> {
        let [h, w, c] = self.hwc;
        if self.is_flat { vec![1, c] } else { vec![1, h, w, c] }
    }
}

/// One operator.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// As in the paper or the authors' own files.
    pub(super) name: String,
    pub(super) op: Op,
    pub(super) inputs: Vec<Value>,
}

/// The operators these networks are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    /// `groups` convolutions side by side, each of its part of the channels.
    Conv {
        channels: usize,
        groups: usize,
        window: Window,
        activation: Activation,
    },
    /// A filter per channel.
    Depthwise {
        window: Window,
        activation: Activation,
    },
    /// Fully connected.
    Dense {
        channels: usize,
        scales: Scales,
        activation: Activation,
    },
    MaxPool(Window),
    AveragePool(Window),
    /// Of each channel, over all pixels.
    Mean,
    Add(Activation),
    /// Along the channels.
    Concat,
    /// Zeros around the image: rows and columns on each side.
    Pad(usize),
    /// To rank 2.
    Flatten,
    Softmax,
}

/// How many scales the weights of a fully connected layer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scales {
    PerTensor,
    PerChannel,
}

/// Where the filters of a layer look; pairs are down, across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) taps: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: Padding,
}

/// A window that moves by one and sees zeros around the image.
pub(super) const fn window(taps: [usize; 2]) -> Window {
    Window { taps, stride: [1, 1], padding: Padding::Same }
}

impl Window {
    pub(super) const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }

    /// Next to each other instead of overlapping.
    pub(super) const fn tiled(self) -> Self {
        Self { stride: self.taps, ..self }
    }

    pub(super) const fn valid(self) -> Self {
        Self { padding: Padding::Valid, ..self }
    }

    /// Number of taps.
    pub(super) const fn area(&self) -> usize {
        self.taps[0] * self.taps[1]
    }

    /// Positions along an axis of extent `from`: 0 is down, 1 across.
    const fn positions(&self, axis: usize, from: usize) -> usize {
        match self.padding {
            Padding::Same => from.div_ceil(self.stride[axis]),
            Padding::Valid => (from - self.taps[axis]) / self.stride[axis] + 1,
        }
    }

    /// Zeros above or left of an image of extent `from` along `axis`.
    pub(super) const fn before(&self, axis: usize, from: usize) -> usize {
        let last = (self.positions(axis, from) - 1) * self.stride[axis];
        (last + self.taps[axis]).saturating_sub(from) / 2
    }

    /// Of the image the window makes of one of `hwc`, with as many channels.
    pub(super) const fn slide(&self, [h, w, c]: [usize; 3]) -> [usize; 3] {
        [self.positions(0, h), self.positions(1, w), c]
    }
}

impl Network {
    /// A network of nothing but its input, rows by columns by channels, and that input.
    pub(super) fn new(hwc: [usize; 3], input_range: [f32; 2]) -> (Self, Value) {
        let net = Self { input_range, shapes: vec![Shape::image(hwc)], layers: Vec::new() };
        (net, Value(0))
    }

    pub(super) fn shape(&self, value: Value) -> Shape {
        self.shapes[value.0]
    }

    fn layer(&mut self, name: &str, op: Op, inputs: &[Value], shape: Shape) -> Value {
        self.layers.push(Layer { name: name.to_owned(), op, inputs: inputs.to_vec() });
        self.shapes.push(shape);
        Value(self.layers.len())
    }

    pub(super) fn conv(
        &mut self,
        name: &str,
        from: Value,
        channels: usize,
        window: Window,
        activation: Activation,
    ) -> Value {
        self.grouped_conv(name, from, channels, 1, window, activation)
    }

    pub(super) fn grouped_conv(
        &mut self,
        name: &str,
        from: Value,
        channels: usize,
        groups: usize,
        window: Window,
        activation: Activation,
    ) -> Value {
        let [h, w, _] = window.slide(self.shape(from).hwc);
        let op = Op::Conv { channels, groups, window, activation };
        self.layer(name, op, &[from], Shape::image([h, w, channels]))
    }

    pub(super) fn depthwise(
        &mut self,
        name: &str,
        from: Value,
        window: Window,
        activation: Activation,
    ) -> Value {
        let shape = Shape::image(window.slide(self.shape(from).hwc));
        self.layer(name, Op::Depthwise { window, activation }, &[from], shape)
    }

    pub(super) fn dense(
        &mut self,
        name: &str,
        from: Value,
        channels: usize,
        scales: Scales,
        activation: Activation,
    ) -> Value {
        let op = Op::Dense { channels, scales, activation };
        self.layer(name, op, &[from], Shape::flat(channels))
    }

    pub(super) fn max_pool(&mut self, name: &str, from: Value, window: Window) -> Value {
        let shape = Shape::image(window.slide(self.shape(from).hwc));
        self.layer(name, Op::MaxPool(window), &[from], shape)
    }

    pub(super) fn average_pool(&mut self, name: &str, from: Value, window: Window) -> Value {
        let shape = Shape::image(window.slide(self.shape(from).hwc));
        self.layer(name, Op::AveragePool(window), &[from], shape)
    }

    pub(super) fn mean(&mut self, name: &str, from: Value) -> Value {
        let [_, _, c] = self.shape(from).hwc;
        self.layer(name, Op::Mean, &[from], Shape::flat(c))
    }

    pub(super) fn add(&mut self, name: &str, two: [Value; 2], activation: Activation) -> Value {
        let shape = self.shape(two[0]);
        self.layer(name, Op::Add(activation), &two, shape)
    }

    pub(super) fn concat(&mut self, name: &str, parts: &[Value]) -> Value {
        let [h, w, _] = self.shape(parts[0]).hwc;
        let channels = parts.iter().map(|&part| self.shape(part).hwc[2]).sum();
        self.layer(name, Op::Concat, parts, Shape::image([h, w, channels]))
    }

    pub(super) fn pad(&mut self, name: &str, from: Value, by: usize) -> Value {
        let [h, w, c] = self.shape(from).hwc;
        self.layer(name, Op::Pad(by), &[from], Shape::image([h + 2 * by, w + 2 * by, c]))
    }

    pub(super) fn flatten(&mut self, name: &str, from: Value) -> Value {
        let elements = self.shape(from).elements();
        self.layer(name, Op::Flatten, &[from], Shape::flat(elements))
    }

    pub(super) fn softmax(&mut self, name: &str, from: Value) -> Value {
        let shape = self.shape(from);
        self.layer(name, Op::Softmax, &[from], shape)
    }

    /// The shape of layer `index`'s weights as a file states it; `None` if it has none.
    pub(super) fn filters(&self, index: usize) -> Option<Vec<usize>> {
        let Layer { op, inputs, .. } = &self.layers[index];
        let from = self.shape(inputs[0]);
        let [_, _, c] = from.hwc;
        match *op {
            Op::Conv { channels, groups, window: Window { taps: [down, across], .. }, .. } => {
                Some(vec![channels, down, across, c / groups])
            }
            Op::Depthwise { window: Window { taps: [down, across], .. }, .. } => {
                Some(vec![1, down, across, c])
            }
            Op::Dense { channels, .. } => Some(vec![channels, from.elements()]),
            _ => None,
        }
    }

    /// Rows, columns and channels of the input.
    #[must_use]
    pub fn input(&self) -> [usize; 3] {
        self.shapes[0].hwc
    }

    /// Number of layers.
    #[must_use]
    pub const fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Number of weights and biases.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let layer = |index| {
            let filters = self.filters(index)?;
            let [_, _, biases] = self.shapes[index + 1].hwc;
            Some((filters.iter().product::<usize>() + biases) as u64)
        };
        (0..self.layers.len()).filter_map(layer).sum()
    }

    /// Multiply-accumulates of one frame.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let layer = |index| {
            let filters = self.filters(index)?.iter().product::<usize>();
            let [h, w, _] = self.shapes[index + 1].hwc;
            Some((h * w * filters) as u64)
        };
        (0..self.layers.len()).filter_map(layer).sum()
    }

    /// The operators by TFLite's names, each once, in the order they come up.
    #[must_use]
    pub fn operators(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = layer.op.name();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Op {
    /// TFLite's name.
    const fn name(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "CONV_2D",
            Self::Depthwise { .. } => "DEPTHWISE_CONV_2D",
            Self::Dense { .. } => "FULLY_CONNECTED",
            Self::MaxPool(_) => "MAX_POOL_2D",
            Self::AveragePool(_) => "AVERAGE_POOL_2D",
            Self::Mean => "MEAN",
            Self::Add(_) => "ADD",
            Self::Concat => "CONCATENATION",
            Self::Pad(_) => "PAD",
            Self::Flatten => "RESHAPE",
            Self::Softmax => "SOFTMAX",
        }
    }
}
