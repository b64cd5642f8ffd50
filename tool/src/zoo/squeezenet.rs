//! SqueezeNet: Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters
//! and <0.5MB model size*, arXiv 1602.07360, and the authors' later version 1.1.

use super::network::{Network, Relu, Value, Window, window};

const POOL: Window = window([3, 3]).stride(2).valid();

/// Table 1.
pub(super) fn v1_0() -> Network {
    let (mut net, x) = Network::new([227, 227, 3], [-1.0, 1.0]);
    let x = net.conv("conv1", x, 96, window([7, 7]).stride(2).valid(), Relu);
    let x = net.max_pool("pool1", x, POOL);
    let x = fire(&mut net, "fire2", x, 16, 64);
    let x = fire(&mut net, "fire3", x, 16, 64);
    let x = fire(&mut net, "fire4", x, 32, 128);
    let x = net.max_pool("pool4", x, POOL);
    let x = fire(&mut net, "fire5", x, 32, 128);
    let x = fire(&mut net, "fire6", x, 48, 192);
    let x = fire(&mut net, "fire7", x, 48, 192);
    let x = fire(&mut net, "fire8", x, 64, 256);
    let x = net.max_pool("pool8", x, POOL);
    let x = fire(&mut net, "fire9", x, 64, 256);
    classifier(net, x)
}

/// Smaller filters at the front, and pools further to it.
pub(super) fn v1_1() -> Network {
    let (mut net, x) = Network::new([227, 227, 3], [-1.0, 1.0]);
    let x = net.conv("conv1", x, 64, window([3, 3]).stride(2).valid(), Relu);
    let x = net.max_pool("pool1", x, POOL);
    let x = fire(&mut net, "fire2", x, 16, 64);
    let x = fire(&mut net, "fire3", x, 16, 64);
    let x = net.max_pool("pool3", x, POOL);
    let x = fire(&mut net, "fire4", x, 32, 128);
    let x = fire(&mut net, "fire5", x, 32, 128);
    let x = net.max_pool("pool5", x, POOL);
    let x = fire(&mut net, "fire6", x, 48, 192);
    let x = fire(&mut net, "fire7", x, 48, 192);
    let x = fire(&mut net, "fire8", x, 64, 256);
    let x = fire(&mut net, "fire9", x, 64, 256);
    classifier(net, x)
}

/// A 1x1 convolution to few channels, and from them 1x1 and 3x3 ones side by side.
fn fire(net: &mut Network, name: &str, from: Value, squeeze: usize, expand: usize) -> Value {
    let name = |part: &str| format!("{name}/{part}");
    let x = net.conv(&name("squeeze1x1"), from, squeeze, window([1, 1]), Relu);
    let ones = net.conv(&name("expand1x1"), x, expand, window([1, 1]), Relu);
    let threes = net.conv(&name("expand3x3"), x, expand, window([3, 3]), Relu);
    net.concat(&name("concat"), &[ones, threes])
}

fn classifier(mut net: Network, from: Value) -> Network {
    let x = net.conv("conv10", from, 1000, window([1, 1]), Relu);
    let x = net.average_pool("pool10", x, window([13, 13]).valid());
    let x = net.flatten("flatten", x);
    net.softmax("prob", x);
    net
}
