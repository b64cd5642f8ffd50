//! MobileNets of width 1.0 for images of 224x224.

use pipeit_planner::networks::MOBILENET_V1_BLOCKS;

use super::network::{LINEAR, Network, Relu6, Scales, Value, window};

/// Howard et al., *MobileNets: efficient convolutional neural networks for mobile vision
/// applications*, arXiv 1704.04861, table 1; the classifier is a convolution for 1001 classes,
/// as in TensorFlow's own files.
pub(super) fn v1() -> Network {
    let (mut net, x) = Network::new([224, 224, 3], [-1.0, 1.0]);
    let mut x = net.conv("conv0", x, 32, window([3, 3]).stride(2), Relu6);
    for (index, (stride, channels)) in (1..).zip(MOBILENET_V1_BLOCKS) {
        let name = |part: &str| format!("conv{index}/{part}");
        x = net.depthwise(&name("depthwise"), x, window([3, 3]).stride(stride), Relu6);
        x = net.conv(&name("pointwise"), x, channels, window([1, 1]), Relu6);
    }
    let x = net.average_pool("pool", x, window([7, 7]).valid());
    let x = net.conv("logits", x, 1001, window([1, 1]), LINEAR);
    let x = net.flatten("squeeze", x);
    net.softmax("predictions", x);
    net
}

/// Sandler et al., *MobileNetV2: inverted residuals and linear bottlenecks*, arXiv 1801.04381,
/// table 2, for 1000 classes.
pub(super) fn v2() -> Network {
    // Expansion, channels, repetitions, stride of the first: t, c, n, s in the paper.
    const BLOCKS: [(usize, usize, usize, usize); 7] = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    let (mut net, x) = Network::new([224, 224, 3], [-1.0, 1.0]);
    let mut x = net.conv("conv", x, 32, window([3, 3]).stride(2), Relu6);
    let mut names = (0..).map(|index| format!("block_{index}"));
    for (expansion, channels, repetitions, first) in BLOCKS {
        for (repetition, name) in (0..repetitions).zip(&mut names) {
            let stride = if repetition == 0 { first } else { 1 };
            x = bottleneck(&mut net, &name, x, expansion, channels, stride);
        }
    }
    let x = net.conv("conv_1", x, 1280, window([1, 1]), Relu6);
    let x = net.mean("pool", x);
    let x = net.dense("logits", x, 1000, Scales::PerChannel, LINEAR);
    net.softmax("predictions", x);
    net
}

/// Wide in the middle, linear at its end, and added to what it began with if that fits.
fn bottleneck(
    net: &mut Network,
    name: &str,
    from: Value,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> Value {
    let name = |part: &str| format!("{name}/{part}");
    let [_, _, narrow] = net.shape(from).hwc;
    let mut x = from;
    if expansion > 1 {
        x = net.conv(&name("expand"), x, expansion * narrow, window([1, 1]), Relu6);
    }
    let x = net.depthwise(&name("depthwise"), x, window([3, 3]).stride(stride), Relu6);
    let x = net.conv(&name("project"), x, channels, window([1, 1]), LINEAR);
    if stride == 1 && channels == narrow { net.add(&name("add"), [from, x], LINEAR) } else { x }
}
