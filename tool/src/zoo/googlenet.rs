//! GoogLeNet: Szegedy et al., *Going deeper with convolutions*, CVPR 2015, table 1, as BVLC's
//! `bvlc_googlenet` has it.
//!
//! Without the auxiliary classifiers, which serve training, and without the local response
//! normalization, which int8 networks have no operator for.

use super::network::{LINEAR, Network, Relu, Scales, Value, window};

pub(super) fn googlenet() -> Network {
    let pool = window([3, 3]).stride(2);
    let (mut net, x) = Network::new([224, 224, 3], [-1.0, 1.0]);
    let x = net.conv("conv1/7x7_s2", x, 64, window([7, 7]).stride(2), Relu);
    let x = net.max_pool("pool1/3x3_s2", x, pool);
    let x = net.conv("conv2/3x3_reduce", x, 64, window([1, 1]), Relu);
    let x = net.conv("conv2/3x3", x, 192, window([3, 3]), Relu);
    let x = net.max_pool("pool2/3x3_s2", x, pool);
    let x = inception(&mut net, "3a", x, 64, [96, 128], [16, 32], 32);
    let x = inception(&mut net, "3b", x, 128, [128, 192], [32, 96], 64);
    let x = net.max_pool("pool3/3x3_s2", x, pool);
    let x = inception(&mut net, "4a", x, 192, [96, 208], [16, 48], 64);
    let x = inception(&mut net, "4b", x, 160, [112, 224], [24, 64], 64);
    let x = inception(&mut net, "4c", x, 128, [128, 256], [24, 64], 64);
    let x = inception(&mut net, "4d", x, 112, [144, 288], [32, 64], 64);
    let x = inception(&mut net, "4e", x, 256, [160, 320], [32, 128], 128);
    let x = net.max_pool("pool4/3x3_s2", x, pool);
    let x = inception(&mut net, "5a", x, 256, [160, 320], [32, 128], 128);
    let x = inception(&mut net, "5b", x, 384, [192, 384], [48, 128], 128);
    let x = net.average_pool("pool5/7x7_s1", x, window([7, 7]).valid());
    let x = net.dense("loss3/classifier", x, 1000, Scales::PerChannel, LINEAR);
    net.softmax("prob", x);
    net
}

/// Four branches side by side; a pair is the channels of a 1x1 reduction and of what follows.
fn inception(
    net: &mut Network,
    name: &str,
    from: Value,
    ones: usize,
    threes: [usize; 2],
    fives: [usize; 2],
    pooled: usize,
) -> Value {
    let name = |part: &str| format!("inception_{name}/{part}");
    let one = net.conv(&name("1x1"), from, ones, window([1, 1]), Relu);
    let three = net.conv(&name("3x3_reduce"), from, threes[0], window([1, 1]), Relu);
    let three = net.conv(&name("3x3"), three, threes[1], window([3, 3]), Relu);
    let five = net.conv(&name("5x5_reduce"), from, fives[0], window([1, 1]), Relu);
    let five = net.conv(&name("5x5"), five, fives[1], window([5, 5]), Relu);
    let pool = net.max_pool(&name("pool"), from, window([3, 3]));
    let pool = net.conv(&name("pool_proj"), pool, pooled, window([1, 1]), Relu);
    net.concat(&name("output"), &[one, three, five, pool])
}
