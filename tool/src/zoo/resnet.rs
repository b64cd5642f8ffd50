//! Residual networks: He, Zhang, Ren and Sun, *Deep residual learning for image recognition*,
//! arXiv 1512.03385.

use super::network::{LINEAR, Network, Relu, Scales, Value, window};

/// Table 1, 50 layers: where a stage begins, the first 1x1 convolution has stride 2.
pub(super) fn resnet50() -> Network {
    let (mut net, x) = Network::new([224, 224, 3], [-1.0, 1.0]);
    let x = net.pad("conv1_pad", x, 3);
    let x = net.conv("conv1", x, 64, window([7, 7]).stride(2).valid(), Relu);
    let x = net.pad("pool1_pad", x, 1);
    let mut x = net.max_pool("pool1", x, window([3, 3]).stride(2).valid());
    for (stage, blocks, channels, first) in
        [(2, 3, 64, 1), (3, 4, 128, 2), (4, 6, 256, 2), (5, 3, 512, 2)]
    {
        for block in 1..=blocks {
            let name = format!("conv{stage}_block{block}");
            let stride = if block == 1 { first } else { 1 };
            x = bottleneck(&mut net, &name, x, channels, stride);
        }
    }
    let x = net.mean("avg_pool", x);
    let x = net.dense("fc1000", x, 1000, Scales::PerChannel, LINEAR);
    net.softmax("prob", x);
    net
}

/// Two narrow convolutions and a wide one beside a shortcut.
fn bottleneck(net: &mut Network, name: &str, from: Value, channels: usize, stride: usize) -> Value {
    let name = |part: &str| format!("{name}/{part}");
    let wide = 4 * channels;
    let x = net.conv(&name("1"), from, channels, window([1, 1]).stride(stride), Relu);
    let x = net.conv(&name("2"), x, channels, window([3, 3]), Relu);
    let x = net.conv(&name("3"), x, wide, window([1, 1]), LINEAR);
    let shortcut = shortcut(net, &name("0"), from, wide, stride);
    net.add(&name("out"), [shortcut, x], Relu)
}

/// A value as it is, or brought to another shape.
fn shortcut(net: &mut Network, name: &str, from: Value, channels: usize, stride: usize) -> Value {
    let [_, _, c] = net.shape(from).hwc;
    if c == channels && stride == 1 {
        return from;
    }
    net.conv(name, from, channels, window([1, 1]).stride(stride), LINEAR)
}

/// The image classifier of MLPerf Tiny for CIFAR-10 (Banbury et al., *MLPerf Tiny benchmark*,
/// arXiv 2106.07597): three blocks of two 3x3 convolutions. Its input are the pixels, 0 to 255.
pub(super) fn resnet8() -> Network {
    let (mut net, x) = Network::new([32, 32, 3], [0.0, 255.0]);
    let mut x = net.conv("conv", x, 16, window([3, 3]), Relu);
    for (index, channels, stride) in [(1, 16, 1), (2, 32, 2), (3, 64, 2)] {
        let name = |part: &str| format!("block{index}/{part}");
        let y = net.conv(&name("conv1"), x, channels, window([3, 3]).stride(stride), Relu);
        let y = net.conv(&name("conv2"), y, channels, window([3, 3]), LINEAR);
        let shortcut = shortcut(&mut net, &name("shortcut"), x, channels, stride);
        x = net.add(&name("add"), [shortcut, y], Relu);
    }
    let x = net.average_pool("pool", x, window([8, 8]).tiled().valid());
    let x = net.flatten("flatten", x);
    let x = net.dense("dense", x, 10, Scales::PerTensor, LINEAR);
    net.softmax("softmax", x);
    net
}
