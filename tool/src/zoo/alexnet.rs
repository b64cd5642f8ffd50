//! AlexNet: Krizhevsky, Sutskever and Hinton, *ImageNet classification with deep convolutional
//! neural networks*, NIPS 2012, as BVLC's `bvlc_alexnet` has it.
//!
//! Two groups where the paper has two GPUs. Without the local response normalization, which
//! int8 networks have no operator for.

use super::network::{LINEAR, Network, Relu, Scales, window};

pub(super) fn alexnet() -> Network {
    let pool = window([3, 3]).stride(2).valid();
    let (mut net, x) = Network::new([227, 227, 3], [-1.0, 1.0]);
    let x = net.conv("conv1", x, 96, window([11, 11]).stride(4).valid(), Relu);
    let x = net.max_pool("pool1", x, pool);
    let x = net.grouped_conv("conv2", x, 256, 2, window([5, 5]), Relu);
    let x = net.max_pool("pool2", x, pool);
    let x = net.conv("conv3", x, 384, window([3, 3]), Relu);
    let x = net.grouped_conv("conv4", x, 384, 2, window([3, 3]), Relu);
    let x = net.grouped_conv("conv5", x, 256, 2, window([3, 3]), Relu);
    let x = net.max_pool("pool5", x, pool);
    let x = net.flatten("flatten", x);
    let x = net.dense("fc6", x, 4096, Scales::PerChannel, Relu);
    let x = net.dense("fc7", x, 4096, Scales::PerChannel, Relu);
    let x = net.dense("fc8", x, 1000, Scales::PerChannel, LINEAR);
    net.softmax("prob", x);
    net
}
