//! The networks that published timings are about, unit by unit.
//!
//! A unit is what the publications time at once: a layer with what follows it, or a block. The
//! shapes are those of the graphs that ship with the Arm Compute Library (release 21.02,
//! `examples/graph_*.cpp`): ResNet-50 strides in the last unit of a block, SqueezeNet takes
//! images of 224x224, AlexNet and GoogLeNet have their local response normalization.

use serde::{Deserialize, Serialize};

/// Height, width, channels.
pub type Hwc = [usize; 3];

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Convolution in this many groups.
    Conv {
        /// Groups of channels.
        groups: usize,
    },
    /// Depthwise convolution.
    Depthwise,
    /// Fully connected.
    Dense,
    /// Maximum or mean of a window.
    Pool,
    /// Local response normalization across channels.
    Normalize,
    /// Sum of two tensors.
    Add,
    /// The input, moved.
    Copy,
    /// Anything else.
    Other {
        /// Multiply-accumulates.
        macs: u64,
    },
}

/// A layer: what its time depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// What it computes.
    pub op: Op,
    /// Shape of the input.
    pub input: Hwc,
    /// Shape of the output.
    pub output: Hwc,
    /// Height and width of the window; 1 where there is none.
    pub window: [usize; 2],
    /// Step of the window.
    pub stride: usize,
    /// Whether a tensor of the output's shape is added to what it computes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub residual: bool,
}

/// What is timed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// As the literature calls it.
    pub name: String,
    /// In the order of execution.
    pub layers: Vec<Layer>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// As the tables call it.
    pub name: &'static str,
    /// In the order of execution.
    pub units: Vec<Unit>,
}

impl Layer {
    /// Multiply-accumulates.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let [h, w, c] = self.output;
        let per_output = match self.op {
            Op::Conv { groups } => self.taps() * self.input[2] / groups,
            Op::Depthwise => self.taps(),
            Op::Dense => self.input[2],
            Op::Pool | Op::Normalize | Op::Add | Op::Copy => 0,
            Op::Other { macs } => return macs,
        };
        (h * w * c * per_output) as u64
    }

    /// Elements of the window.
    #[must_use]
    pub const fn taps(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// Number of weights, without bias.
    #[must_use]
    pub fn weights(&self) -> u64 {
        let [h, w, _] = self.output;
        match self.op {
            Op::Other { .. } => 0,
            _ => self.macs() / (h * w).max(1) as u64,
        }
    }
}

impl Network {
    /// The network of that name in the tables.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let build = match name {
            "alexnet" => alexnet,
            "googlenet" => googlenet,
            "mobilenet" => mobilenet,
            "resnet50" => resnet50,
            "squeezenet_v1.0" => squeezenet,
            _ => return None,
        };
        Some(build())
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![alexnet(), googlenet(), mobilenet(), resnet50(), squeezenet()]
    }

    /// All layers of all units.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.units.iter().flat_map(|unit| &unit.layers)
    }
}

/// Layers put together one after the other.
struct Builder {
    units: Vec<Unit>,
    at: Hwc,
}

impl Builder {
    fn new(input: Hwc) -> Self {
        Self { units: Vec::new(), at: input }
    }

    fn unit(&mut self, name: impl Into<String>) -> &mut Self {
        self.units.push(Unit { name: name.into(), layers: Vec::new() });
        self
    }

    fn push(&mut self, op: Op, output: Hwc, window: usize, stride: usize) -> &mut Self {
        let window = [window; 2];
        let layer = Layer { op, input: self.at, output, window, stride, residual: false };
        self.at = output;
        if let Some(unit) = self.units.last_mut() {
            unit.layers.push(layer);
        }
        self
    }

    /// A convolution, padded by `pad` on every side.
    fn conv(&mut self, channels: usize, window: usize, stride: usize, pad: usize) -> &mut Self {
        self.grouped(1, channels, window, stride, pad)
    }

    fn grouped(
        &mut self,
        groups: usize,
        channels: usize,
        window: usize,
        stride: usize,
        pad: usize,
    ) -> &mut Self {
        let [h, w, _] = self.at.map(|n| (n + 2 * pad).saturating_sub(window) / stride + 1);
        self.push(Op::Conv { groups }, [h, w, channels], window, stride)
    }

    fn depthwise(&mut self, stride: usize) -> &mut Self {
        let [h, w, c] = self.at;
        self.push(Op::Depthwise, [h.div_ceil(stride), w.div_ceil(stride), c], 3, stride)
    }

    /// A pool whose last window may hang over.
    fn pool(&mut self, window: usize, stride: usize) -> &mut Self {
        let [h, w, c] = self.at;
        let [h, w] = [h, w].map(|n| n.saturating_sub(window).div_ceil(stride) + 1);
        self.push(Op::Pool, [h, w, c], window, stride)
    }

    fn normalize(&mut self) -> &mut Self {
        self.push(Op::Normalize, self.at, 1, 1)
    }

    fn dense(&mut self, channels: usize) -> &mut Self {
        // Of all elements, whatever their shape.
        self.at = [1, 1, self.at.iter().product()];
        self.push(Op::Dense, [1, 1, channels], 1, 1)
    }

    /// Branches from here side by side, whose outputs are joined.
    fn branches(&mut self, branches: &[&dyn Fn(&mut Self)]) -> &mut Self {
        let start = self.at;
        let mut joined = [0, 0, 0];
        for branch in branches {
            self.at = start;
            branch(self);
            joined = [self.at[0], self.at[1], joined[2] + self.at[2]];
        }
        self.at = joined;
        self
    }
}

fn alexnet() -> Network {
    let mut net = Builder::new([227, 227, 3]);
    net.unit("conv1").conv(96, 11, 4, 0).normalize().pool(3, 2);
    net.unit("conv2").grouped(2, 256, 5, 1, 2).normalize().pool(3, 2);
    net.unit("conv3").conv(384, 3, 1, 1);
    net.unit("conv4").grouped(2, 384, 3, 1, 1);
    net.unit("conv5").grouped(2, 256, 3, 1, 1).pool(3, 2);
    net.unit("fc6").dense(4096);
    net.unit("fc7").dense(4096);
    net.unit("fc8").dense(1000);
    Network { name: "alexnet", units: net.units }
}

/// The blocks of MobileNet v1, arXiv 1704.04861, table 1: stride of the depthwise convolution,
/// channels of the pointwise one.
pub const MOBILENET_V1_BLOCKS: [(usize, usize); 13] = [
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
];

fn mobilenet() -> Network {
    let mut net = Builder::new([224, 224, 3]);
    net.unit("conv0").conv(32, 3, 2, 1);
    for (index, (stride, channels)) in (1..).zip(MOBILENET_V1_BLOCKS) {
        net.unit(format!("conv{index}")).depthwise(stride).conv(channels, 1, 1, 0);
    }
    net.pool(7, 7).conv(1001, 1, 1, 0);
    Network { name: "mobilenet", units: net.units }
}

fn squeezenet() -> Network {
    let fire = |net: &mut Builder, index: usize, squeeze: usize, expand: usize| {
        net.unit(format!("fire{index}")).conv(squeeze, 1, 1, 0).branches(&[
            &|net| {
                net.conv(expand, 1, 1, 0);
            },
            &|net| {
                net.conv(expand, 3, 1, 1);
            },
        ]);
    };
    let mut net = Builder::new([224, 224, 3]);
    net.unit("conv1").conv(96, 7, 2, 0).pool(3, 2);
    fire(&mut net, 2, 16, 64);
    fire(&mut net, 3, 16, 64);
    fire(&mut net, 4, 32, 128);
    net.pool(3, 2);
    fire(&mut net, 5, 32, 128);
    fire(&mut net, 6, 48, 192);
    fire(&mut net, 7, 48, 192);
    fire(&mut net, 8, 64, 256);
    net.pool(3, 2);
    fire(&mut net, 9, 64, 256);
    net.unit("conv10").conv(1000, 1, 1, 0).pool(13, 13);
    Network { name: "squeezenet_v1.0", units: net.units }
}

fn googlenet() -> Network {
    /// Channels of the branches: 1x1; 3x3 and its reduction; 5x5 and its reduction; of the pool.
    struct Inception(&'static str, usize, [usize; 2], [usize; 2], usize);
    let inception = |net: &mut Builder, Inception(name, ones, threes, fives, pooled)| {
        net.unit(format!("inception_{name}")).branches(&[
            &|net| {
                net.conv(ones, 1, 1, 0);
            },
            &|net| {
                net.conv(threes[0], 1, 1, 0).conv(threes[1], 3, 1, 1);
            },
            &|net| {
                net.conv(fives[0], 1, 1, 0).conv(fives[1], 5, 1, 2);
            },
            &|net| {
                let at = net.at;
                net.push(Op::Pool, at, 3, 1).conv(pooled, 1, 1, 0);
            },
        ]);
    };
    let mut net = Builder::new([224, 224, 3]);
    net.unit("conv1").conv(64, 7, 2, 3).pool(3, 2).normalize();
    net.unit("conv2").conv(64, 1, 1, 0).conv(192, 3, 1, 1).normalize().pool(3, 2);
    inception(&mut net, Inception("3a", 64, [96, 128], [16, 32], 32));
    inception(&mut net, Inception("3b", 128, [128, 192], [32, 96], 64));
    net.pool(3, 2);
    inception(&mut net, Inception("4a", 192, [96, 208], [16, 48], 64));
    inception(&mut net, Inception("4b", 160, [112, 224], [24, 64], 64));
    inception(&mut net, Inception("4c", 128, [128, 256], [24, 64], 64));
    inception(&mut net, Inception("4d", 112, [144, 288], [32, 64], 64));
    inception(&mut net, Inception("4e", 256, [160, 320], [32, 128], 128));
    net.pool(3, 2);
    inception(&mut net, Inception("5a", 256, [160, 320], [32, 128], 128));
    inception(&mut net, Inception("5b", 384, [192, 384], [48, 128], 128));
    net.pool(7, 7).dense(1000);
    Network { name: "googlenet", units: net.units }
}

fn resnet50() -> Network {
    let mut net = Builder::new([224, 224, 3]);
    net.unit("conv1").conv(64, 7, 2, 3).pool(3, 2);
    for (block, units, channels, last_stride) in
        [(1, 3, 64, 2), (2, 4, 128, 2), (3, 6, 256, 2), (4, 3, 512, 1)]
    {
        for unit in 1..=units {
            let stride = if unit == units { last_stride } else { 1 };
            net.unit(format!("block{block}_unit{unit}"));
            let from = net.at;
            if unit == 1 {
                net.conv(4 * channels, 1, 1, 0);
            } else if stride > 1 {
                net.pool(1, stride);
            }
            net.at = from;
            net.conv(channels, 1, 1, 0).conv(channels, 3, stride, 1).conv(4 * channels, 1, 1, 0);
            let at = net.at;
            net.push(Op::Add, at, 1, 1);
        }
    }
    net.unit("classifier").pool(7, 7).dense(1000);
    Network { name: "resnet50", units: net.units }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_are_those_of_the_literature() {
        // Millions of multiply-accumulates and of weights.
        let expected = [
            ("alexnet", 8, 724, 60),
            ("googlenet", 11, 1582, 6),
            ("mobilenet", 14, 568, 4),
            ("resnet50", 18, 3482, 25),
            ("squeezenet_v1.0", 10, 818, 1),
        ];
        for (name, units, macs, weights) in expected {
            let network = Network::named(name).unwrap();
            let sum = |of: fn(&Layer) -> u64| network.layers().map(of).sum::<u64>() / 1_000_000;
            let found = (name, network.units.len(), sum(Layer::macs), sum(Layer::weights));
            assert_eq!(found, (name, units, macs, weights));
        }
        assert_eq!(Network::named("lenet"), None);
    }
}
