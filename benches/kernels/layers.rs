//! Layers of the networks that are measured against, with noise for weights.

use std::cell::Cell;

use pipeit_rt::kernels::packed::{
    self, Access, DepthwisePacking, PackedConv2d, PackedDepthwiseConv2d, Place, Rounding, Together,
    winograd,
};
use pipeit_rt::kernels::reference::{
    Add, AveragePool2d, Copy, Lookup, MaxPool2d, Mean, Mul, Pad, Softmax, Term, Ties,
};
use pipeit_rt::kernels::{Io, KNOWN, KernelTable, Op, Path, Signature, Window};
use pipeit_rt::quant::{Multiplier, Output};
use pipeit_rt::tensor::{Hwc, Layout, Region, Tile, View};
use pipeit_rt::weights::{ALIGNMENT, Span, Weights};

/// What a layer does; extents and geometry stand beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// CONV_2D to so many channels.
    Conv(u32),
    /// FULLY_CONNECTED to so many outputs.
    FullyConnected(u32),
    /// DEPTHWISE_CONV_2D.
    Depthwise,
    /// MAX_POOL_2D.
    MaxPool,
    /// AVERAGE_POOL_2D.
    AveragePool,
    /// MEAN over the image.
    Mean,
    /// ADD of two tensors.
    Add,
    /// MUL by one number per channel.
    Scale,
    /// LOOKUP.
    Lookup,
    /// SOFTMAX.
    Softmax,
    /// PAD by one pixel all round.
    Pad,
    /// COPY.
    Copy,
}

/// A layer to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The network it is from.
    pub(crate) network: &'static str,
    /// What it does.
    pub(crate) kind: Kind,
    /// Rows and columns of the input.
    pub(crate) image: u32,
    /// Channels of the input.
    pub(crate) channels: u32,
    /// Rows and columns of the window, its step, and the padding before the image.
    pub(crate) window: [u16; 3],
}

const fn shape(
    network: &'static str,
    kind: Kind,
    image: u32,
    channels: u32,
    window: [u16; 3],
) -> Shape {
    Shape { network, kind, image, channels, window }
}

/// The layers, the operators that cost most first.
pub(crate) const SHAPES: &[Shape] = &[
    shape("resnet50", Kind::Conv(64), 224, 3, [7, 2, 3]),
    shape("resnet50", Kind::Conv(64), 56, 64, [1, 1, 0]),
    shape("resnet50", Kind::Conv(64), 56, 64, [3, 1, 1]),
    shape("resnet50", Kind::Conv(256), 56, 64, [1, 1, 0]),
    shape("resnet50", Kind::Conv(64), 56, 256, [1, 1, 0]),
    shape("resnet50", Kind::Conv(128), 56, 128, [3, 2, 1]),
    shape("resnet50", Kind::Conv(128), 28, 128, [3, 1, 1]),
    shape("resnet50", Kind::Conv(512), 28, 128, [1, 1, 0]),
    shape("resnet50", Kind::Conv(256), 14, 256, [3, 1, 1]),
    shape("resnet50", Kind::Conv(1024), 14, 256, [1, 1, 0]),
    shape("resnet50", Kind::Conv(256), 14, 1024, [1, 1, 0]),
    shape("resnet50", Kind::Conv(512), 7, 512, [3, 1, 1]),
    shape("resnet50", Kind::Conv(2048), 7, 512, [1, 1, 0]),
    shape("googlenet", Kind::Conv(192), 56, 64, [3, 1, 1]),
    shape("googlenet", Kind::Conv(16), 28, 192, [1, 1, 0]),
    shape("googlenet", Kind::Conv(96), 28, 192, [1, 1, 0]),
    shape("googlenet", Kind::Conv(208), 14, 96, [3, 1, 1]),
    shape("googlenet", Kind::Conv(48), 14, 16, [5, 1, 2]),
    shape("googlenet", Kind::Conv(160), 14, 512, [1, 1, 0]),
    shape("squeezenet", Kind::Conv(64), 224, 3, [3, 2, 0]),
    shape("squeezenet", Kind::Conv(16), 55, 64, [1, 1, 0]),
    shape("squeezenet", Kind::Conv(64), 55, 16, [1, 1, 0]),
    shape("squeezenet", Kind::Conv(64), 55, 16, [3, 1, 1]),
    shape("squeezenet", Kind::Conv(256), 13, 64, [3, 1, 1]),
    shape("squeezenet", Kind::Conv(1000), 13, 512, [1, 1, 0]),
    shape("mobilenet", Kind::Conv(32), 224, 3, [3, 2, 0]),
    shape("mobilenet", Kind::Conv(64), 112, 32, [1, 1, 0]),
    shape("mobilenet", Kind::Conv(512), 14, 512, [1, 1, 0]),
    shape("mobilenet", Kind::Conv(1024), 7, 1024, [1, 1, 0]),
    shape("alexnet", Kind::Conv(64), 224, 3, [11, 4, 2]),
    shape("resnet8", Kind::Conv(16), 32, 3, [3, 1, 1]),
    shape("resnet8", Kind::Conv(16), 32, 16, [3, 1, 1]),
    shape("kws", Kind::Conv(64), 25, 64, [1, 1, 0]),
    shape("vww", Kind::Conv(8), 96, 3, [3, 2, 0]),
    shape("vww", Kind::Conv(16), 48, 8, [1, 1, 0]),
    shape("vww", Kind::Conv(128), 6, 128, [1, 1, 0]),
    shape("mobilenet", Kind::Depthwise, 112, 32, [3, 1, 1]),
    shape("mobilenet", Kind::Depthwise, 112, 64, [3, 2, 0]),
    shape("mobilenet", Kind::Depthwise, 56, 128, [3, 1, 1]),
    shape("mobilenet", Kind::Depthwise, 14, 512, [3, 2, 0]),
    shape("mobilenet", Kind::Depthwise, 14, 512, [3, 1, 1]),
    shape("mobilenet", Kind::Depthwise, 7, 1024, [3, 1, 1]),
    shape("vww", Kind::Depthwise, 48, 8, [3, 1, 1]),
    shape("efficientnet", Kind::Depthwise, 28, 240, [5, 1, 2]),
    shape("alexnet", Kind::FullyConnected(4096), 1, 9216, [1, 1, 0]),
    shape("resnet50", Kind::FullyConnected(1000), 1, 2048, [1, 1, 0]),
    shape("kws", Kind::FullyConnected(12), 1, 64, [1, 1, 0]),
    shape("resnet50", Kind::MaxPool, 112, 64, [3, 2, 1]),
    shape("googlenet", Kind::MaxPool, 28, 192, [3, 1, 1]),
    shape("squeezenet", Kind::AveragePool, 13, 1000, [13, 1, 0]),
    shape("resnet50", Kind::Mean, 7, 2048, [1, 1, 0]),
    shape("resnet50", Kind::Add, 56, 256, [1, 1, 0]),
    shape("resnet8", Kind::Add, 32, 16, [1, 1, 0]),
    shape("efficientnet", Kind::Scale, 28, 240, [1, 1, 0]),
    shape("efficientnet", Kind::Lookup, 28, 240, [1, 1, 0]),
    shape("resnet50", Kind::Softmax, 1, 1000, [1, 1, 0]),
    shape("resnet50", Kind::Pad, 112, 64, [1, 1, 1]),
    shape("googlenet", Kind::Copy, 28, 128, [1, 1, 0]),
];

/// A layer ready to run.
#[derive(Debug)]
pub(crate) struct Layer {
    /// The operator.
    pub(crate) op: Op,
    /// Multiply-accumulates; elements of the output where there are none.
    pub(crate) work: u64,
    inputs: Vec<(Vec<Cell<i8>>, Hwc)>,
    output: Hwc,
    written: Vec<Cell<i8>>,
    weights: Vec<u8>,
    start: usize,
}

impl Shape {
    /// Name in reports.
    pub(crate) fn name(&self) -> String {
        let Self { network, kind, image, channels, window: [taps, stride, _] } = self;
        format!("{network} {kind:?} {taps}x{taps}/{stride} {image}x{image}x{channels}")
    }

    /// The layer in the form that `path` wants; None where the path has no form of its own for
    /// what it computes by packed weights.
    pub(crate) fn layer(&self, path: Path) -> Option<Layer> {
        let Self { kind, image, channels, window: [taps, stride, pad], .. } = *self;
        let input = Hwc { h: image, w: image, c: channels };
        let window =
            Window { taps: [taps; 2], stride: [stride; 2], dilation: [1, 1], pad: [pad; 2] };
        let side = (image + 2 * u32::from(pad) - u32::from(taps)) / u32::from(stride) + 1;
        let mut section = Section { bytes: Vec::new(), state: 1 };
        let output = Output { zero_point: 3, min: -128, max: 127 };
        let (mut inputs, clamp) = (vec![input], (-128, 127));
        let multiplier = Multiplier { mantissa: 0x5000_0000, shift: -9 };
        // Of as many bits as those of networks: sums are seldom next to where their step changes.
        let terms = [0x5A82_799A, 0x4C1B_F829]
            .map(|mantissa| Term { zero_point: 3, multiplier: Multiplier { mantissa, shift: -1 } });
        let (op, hwc) = match kind {
            Kind::Conv(c) | Kind::FullyConnected(c) => {
                let mut conv = PackedConv2d {
                    path,
                    window,
                    groups: 1,
                    input_zero_point: -5,
                    weight_zero_point: 0,
                    access: Access::Direct,
                    rounding: Rounding::Double,
                    fast: true,
                    full_range: false,
                    block: 4,
                    panel_groups: 0,
                    weights: Span::new(0, 0, 0),
                    columns: Span::new(0, 0, 0),
                    output,
                    residual: None,
                };
                if kind == Kind::FullyConnected(c) {
                    (conv.rounding, conv.fast) = (Rounding::Once, false);
                }
                let output = Hwc { h: side, w: side, c };
                let is_transformed = winograd::pays(path, channels, output);
                let is_narrow = !channels.is_multiple_of(16);
                let wanted = [
                    (Access::Widen, true),
                    (Access::Winograd, is_transformed),
                    (Access::Gather, is_narrow),
                    (Access::Direct, true),
                    (Access::Band, true),
                ];
                let fits = |&access: &Access| PackedConv2d { access, ..conv }.fits(input, output);
                let mut wanted = wanted.into_iter().filter_map(|(access, is)| is.then_some(access));
                conv.access = wanted.find(fits)?;
                let packing = conv.packing()?;
                let columns = packing.all_columns(c)?;
                let panels = columns.div_ceil(packing.columns);
                let runs = conv.runs(channels)?;
                conv.weights = if conv.access == Access::Winograd {
                    section.transformed(panels, channels as usize, packing.columns as usize)
                } else if packing.saturates && conv.access == Access::Band {
                    let groups = packing.depth(runs)? / packing.group;
                    conv.panel_groups = groups.next_multiple_of(2);
                    section.groups(panels, conv.panel_groups, groups, runs.count)
                } else {
                    section.codes(columns * packing.depth(runs)?)
                };
                let widths = (0..panels).map(|panel| packing.panel(c, panel).len());
                conv.columns = section.columns(path, widths, packing.parameters);
                (Op::PackedConv2d(conv), Hwc { h: side, w: side, c })
            }
            Kind::Depthwise => {
                let packing = DepthwisePacking::of(path)?;
                let blocks = channels.div_ceil(packing.channels);
                let weights = blocks * packing.channels * packing.taps(&window)?;
                let widths = (0..blocks).map(|_| packing.channels as usize);
                let op = PackedDepthwiseConv2d {
                    path,
                    window,
                    input_zero_point: -5,
                    weight_zero_point: 0,
                    fast: true,
                    full_range: false,
                    rows_at_once: 0,
                    weights: section.codes(weights),
                    columns: section.columns(path, widths, packing.parameters),
                    output,
                };
                (Op::PackedDepthwiseConv2d(op), Hwc { h: side, w: side, c: channels })
            }
            Kind::MaxPool => {
                (Op::MaxPool2d(MaxPool2d { window, clamp }), Hwc { h: side, w: side, ..input })
            }
            Kind::AveragePool => (
                Op::AveragePool2d(AveragePool2d { window, ties: Ties::AwayFromZero, clamp }),
                Hwc { h: side, w: side, ..input },
            ),
            Kind::Mean => {
                let axes = [true, true, false];
                let op = Op::Mean(Mean { axes, input_zero_point: -5, multiplier, output });
                (op, Hwc { h: 1, w: 1, ..input })
            }
            Kind::Add => {
                inputs.push(input);
                let multiplier = Multiplier { shift: -18, ..multiplier };
                (Op::Add(Add { terms, multiplier, output }), input)
            }
            Kind::Scale => {
                inputs.push(Hwc { h: 1, w: 1, ..input });
                (Op::Mul(Mul { zero_points: [-5, 3], multiplier, output }), input)
            }
            Kind::Pad => {
                let op = Op::Pad(Pad { before: [pad.into(), pad.into(), 0], value: -5 });
                (op, Hwc { h: side, w: side, ..input })
            }
            Kind::Copy => (Op::Copy(Copy), input),
            Kind::Lookup => (Op::Lookup(Lookup { table: section.codes(256) }), input),
            Kind::Softmax => {
                let exponential =
                    |d: i32| (f64::from(i32::MAX) * (-0.1 * f64::from(d)).exp()) as i32;
                let exponentials = section.numbers((0..256).map(exponential));
                (Op::Softmax(Softmax { exponentials }), input)
            }
        };
        let start = section.align();
        let signature = Signature { inputs: &inputs, output: hwc };
        let work = op.macs(signature).max(hwc.elements() as u64);
        let mut weights = Weights::default();
        weights.push(&section.bytes[start..])?;
        op.check(KNOWN, signature, &weights).unwrap();
        drop(weights);
        let noise = |hwc: &Hwc| {
            let cells = (0..hwc.elements()).map(|i| Cell::new((i * 37 / 4) as i8)).collect();
            (cells, *hwc)
        };
        let written = (0..hwc.elements()).map(|_| Cell::new(0)).collect();
        let inputs = inputs.iter().map(noise).collect();
        Some(Layer { op, work, inputs, output: hwc, written, weights: section.bytes, start })
    }
}

impl Layer {
    /// Computes the whole layer once on this core.
    pub(crate) fn run(&self, kernels: &KernelTable) {
        assert!((kernels.supported)());
        let mut weights = Weights::default();
        weights.push(&self.weights[self.start..]).unwrap();
        let region =
            Region { rows: 0..self.output.h as usize, channels: 0..self.output.c as usize };
        let inputs = self.inputs.iter().map(|(cells, hwc)| {
            // As many cells as the extents say.
            View::new(cells, Layout::contiguous(*hwc)).unwrap()
        });
        let inputs = inputs.collect();
        let output = Tile::new(&self.written, Layout::contiguous(self.output), region).unwrap();
        // SAFETY: asked above.
        unsafe { kernels.run(&self.op, &weights, &Io { inputs, output }) };
    }
}

/// A weights section under construction.
struct Section {
    bytes: Vec<u8>,
    state: u64,
}

impl Section {
    fn noise(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.state >> 32
    }

    fn span<T>(&mut self, bytes: Vec<u8>, len: u32) -> Span<T> {
        let offset = self.bytes.len() as u32;
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        Span::new(0, offset, len)
    }

    fn codes(&mut self, len: u32) -> Span<i8> {
        let codes = (0..len).map(|_| (self.noise() as i8).max(-127).cast_unsigned()).collect();
        self.span(codes, len)
    }

    /// Panels of filters for Winograd's filtering.
    fn transformed(&mut self, panels: u32, channels: usize, width: usize) -> Span<i8> {
        let len = 2 * winograd::POSITIONS * channels * width;
        let mut codes = vec![0; panels as usize * len];
        for panel in codes.chunks_mut(len) {
            let filters = (0..channels).flat_map(|input| (0..width).map(move |slot| (input, slot)));
            for (input, slot) in filters {
                let filter = std::array::from_fn(|_| i16::from(self.noise() as i8 >> 2));
                let places = winograd::places(channels, input, width, slot);
                for (number, at) in winograd::transformed(filter).into_iter().zip(places) {
                    panel[at..at + 2].copy_from_slice(&number.to_le_bytes());
                }
            }
        }
        let len = codes.len() as u32;
        self.span(codes, len)
    }

    /// Panels of `all` groups of weights, of which the first `used` follow each other in `rows`.
    fn groups(&mut self, panels: u32, all: u32, used: u32, rows: u32) -> Span<i8> {
        let mut codes = Vec::new();
        for _ in 0..panels {
            let place = |group: u32| Place {
                row: (group * rows / used) as u16,
                input: 4 * (group % (used / rows)) as u16,
                together: if group < used / 2 * 2 { Together::Two } else { Together::One },
            };
            let places =
                (0..all).map(|group| if group < used { place(group) } else { Place::NONE });
            codes.extend(places.flat_map(Place::to_codes));
            // Of four, no sum is too large.
            codes.extend((0..32 * all).map(|_| self.noise() as i8 >> 2));
        }
        let len = codes.len() as u32;
        self.span(codes.into_iter().map(i8::cast_unsigned).collect(), len)
    }

    fn numbers(&mut self, numbers: impl Iterator<Item = i32>) -> Span<i32> {
        let bytes: Vec<_> = numbers.flat_map(i32::to_le_bytes).collect();
        let len = bytes.len() as u32 / 4;
        self.span(bytes, len)
    }

    fn columns(
        &mut self,
        path: Path,
        widths: impl Iterator<Item = usize>,
        parameters: u32,
    ) -> Span<i32> {
        let mut table = Vec::new();
        for width in widths {
            let start = table.len();
            table.extend((0..width).map(|_| (self.noise() as i32) >> 16));
            table.extend((0..width).map(|_| (1 << 30) | (self.noise() as i32 & 0x3FFF_FFFF)));
            table.extend((0..width).map(|_| -9));
            table.resize(start + width * parameters as usize, 0);
            packed::complete(path, &mut table[start..], width);
        }
        self.numbers(table.into_iter())
    }

    /// Moves the bytes to an aligned address; where that is.
    fn align(&mut self) -> usize {
        let mut bytes = vec![0; self.bytes.len() + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        bytes[start..start + self.bytes.len()].copy_from_slice(&self.bytes);
        self.bytes = bytes;
        start
    }
}
