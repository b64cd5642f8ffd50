//! DS-CNN: Zhang, Suda, Lai and Chandra, *Hello edge: keyword spotting on microcontrollers*,
//! arXiv 1711.07128, as MLPerf Tiny has it (Banbury et al., arXiv 2106.07597).
//!
//! Its input are 10 mel-frequency cepstral coefficients of each of 49 stretches of a second of
//! sound.

use super::network::{LINEAR, Network, Relu, Scales, window};

pub(super) fn ds_cnn() -> Network {
    let (mut net, x) = Network::new([49, 10, 1], [-128.0, 32.0]);
    let mut x = net.conv("conv", x, 64, window([10, 4]).stride(2), Relu);
    for index in 1..=4 {
        x = net.depthwise(&format!("depthwise{index}"), x, window([3, 3]), Relu);
        x = net.conv(&format!("pointwise{index}"), x, 64, window([1, 1]), Relu);
    }
    let x = net.average_pool("pool", x, window([25, 5]).tiled().valid());
    let x = net.flatten("flatten", x);
    let x = net.dense("dense", x, 12, Scales::PerTensor, LINEAR);
    net.softmax("softmax", x);
    net
}
