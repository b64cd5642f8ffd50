//! Networks of the literature with random weights, so that they can be tried without a download.
//!
//! ```text
//! architecture ─▶ calibrate: codes of weights, float frames, ranges ─▶ file: scales, .tflite
//! ```
//!
//! Operators, shapes, and with them time and memory are exactly those of the real networks;
//! scales fit the activations as a converter's would. They classify nothing. The same seed
//! gives the same bytes on every machine: all arithmetic is IEEE's, in a fixed order.

mod alexnet;
mod calibrate;
mod ds_cnn;
mod file;
mod float;
mod googlenet;
mod mobilenet;
mod network;
mod resnet;
mod squeezenet;

pub use network::Network;

/// A network of the zoo.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// What it is called here.
    pub name: &'static str,
    build: fn() -> Network,
}

/// All of them.
pub const ZOO: [Architecture; 9] = [
    Architecture { name: "alexnet", build: alexnet::alexnet },
    Architecture { name: "ds_cnn", build: ds_cnn::ds_cnn },
    Architecture { name: "googlenet", build: googlenet::googlenet },
    Architecture { name: "mobilenet_v1", build: mobilenet::v1 },
    Architecture { name: "mobilenet_v2", build: mobilenet::v2 },
    Architecture { name: "resnet8", build: resnet::resnet8 },
    Architecture { name: "resnet50", build: resnet::resnet50 },
    Architecture { name: "squeezenet_v1_0", build: squeezenet::v1_0 },
    Architecture { name: "squeezenet_v1_1", build: squeezenet::v1_1 },
];

/// A TensorFlow Lite file with one convolution that keeps the multipliers of a core as busy as
/// any layer can: many inputs per output, all of it in the nearest caches, and a window for which
/// there is no way with fewer products.
#[must_use]
pub fn busy_convolution() -> Vec<u8> {
    let (mut network, input) = Network::new([12, 16, 128], [-1.0, 1.0]);
    network.conv("busy", input, 64, network::window([5, 5]), network::LINEAR);
    let calibration = calibrate::calibrate(&network, 0, &mut || ());
    file::write(&network, &calibration, "one convolution".to_owned())
}

/// TensorFlow Lite files of one layer each, which together cover what layers of networks are like.
#[must_use]
pub fn synthetic() -> Vec<Vec<u8>> {
    use network::{LINEAR, Scales, window};
    let alone = |hwc: [usize; 3], add: &dyn Fn(&mut Network, network::Value)| {
        let (mut network, input) = Network::new(hwc, [-1.0, 1.0]);
        add(&mut network, input);
        let calibration = calibrate::calibrate(&network, 0, &mut || ());
        file::write(&network, &calibration, "one layer".to_owned())
    };
    let mut files = Vec::new();
    // Extents of the input, output channels, side of the window, stride.
    let convolutions = [
        ([56, 56, 16], 64, 1, 1),
        ([56, 56, 64], 24, 1, 1),
        ([28, 28, 64], 64, 1, 1),
        ([28, 28, 192], 32, 1, 1),
        ([14, 14, 256], 32, 1, 1),
        ([14, 14, 128], 512, 1, 1),
        ([7, 7, 512], 128, 1, 1),
        ([7, 7, 160], 960, 1, 1),
        ([112, 112, 3], 32, 3, 2),
        ([64, 64, 3], 64, 7, 2),
        ([28, 28, 32], 64, 3, 1),
        ([14, 14, 64], 128, 3, 1),
        ([7, 7, 128], 192, 3, 1),
        ([28, 28, 16], 48, 5, 1),
        ([32, 32, 16], 16, 3, 1),
        ([16, 16, 32], 64, 3, 2),
        ([64, 64, 3], 16, 3, 1),
        ([49, 10, 1], 64, 5, 2),
        ([112, 112, 3], 64, 11, 4),
        ([56, 56, 24], 144, 1, 1),
        ([32, 32, 16], 32, 1, 2),
        ([28, 28, 128], 256, 1, 2),
        ([13, 13, 48], 192, 1, 1),
        ([25, 5, 64], 64, 1, 1),
        ([27, 27, 96], 128, 5, 1),
        ([15, 15, 64], 64, 3, 1),
        ([14, 14, 96], 208, 3, 1),
        ([56, 56, 128], 16, 1, 1),
        ([14, 14, 256], 256, 3, 1),
        ([7, 7, 512], 512, 3, 1),
        ([14, 14, 512], 1100, 1, 1),
    ];
    for (hwc, channels, side, stride) in convolutions {
        let window = window([side; 2]).stride(stride);
        files.push(alone(hwc, &|network, input| {
            network.conv("layer", input, channels, window, LINEAR);
        }));
    }
    let depthwise = [
        ([112, 112, 32], 1),
        ([56, 56, 64], 2),
        ([28, 28, 128], 1),
        ([14, 14, 512], 1),
        ([7, 7, 960], 1),
        ([25, 5, 64], 1),
        ([56, 56, 144], 1),
        ([112, 112, 64], 2),
        ([14, 14, 576], 2),
        ([28, 28, 24], 1),
    ];
    for (hwc, stride) in depthwise {
        let window = window([3, 3]).stride(stride);
        files.push(alone(hwc, &|network, input| {
            network.depthwise("layer", input, window, LINEAR);
        }));
    }
    for (side, to) in [
        (8, 10),
        (16, 256),
        (20, 1000),
        (32, 16),
        (5, 128),
        (32, 300),
        (32, 1000),
        (45, 1000),
        (64, 4200),
    ] {
        files.push(alone([side, side, 1], &|network, input| {
            let flat = network.flatten("flat", input);
            network.dense("layer", flat, to, Scales::PerTensor, LINEAR);
        }));
    }
    for (hwc, side, stride) in
        [([112, 112, 64], 3, 2), ([28, 28, 192], 3, 1), ([14, 14, 480], 3, 1), ([56, 56, 64], 2, 2)]
            .into_iter()
            .chain([([27, 27, 96], 3, 2), ([7, 7, 832], 3, 1), ([16, 16, 16], 2, 2)])
    {
        files.push(alone(hwc, &|network, input| {
            network.max_pool("layer", input, window([side; 2]).stride(stride));
        }));
    }
    for hwc in [[7, 7, 1024], [8, 8, 64], [13, 13, 1000], [25, 5, 64], [4, 4, 256]] {
        files.push(alone(hwc, &|network, input| {
            network.mean("layer", input);
        }));
    }
    for hwc in [[56, 56, 64], [14, 14, 256], [32, 32, 16], [7, 7, 160], [28, 28, 24]] {
        files.push(alone(hwc, &|network, input| {
            network.add("layer", [input, input], LINEAR);
        }));
    }
    files
}

impl Architecture {
    /// The architecture of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ZOO.into_iter().find(|architecture| architecture.name == name)
    }

    /// Its layers and shapes.
    #[must_use]
    pub fn network(&self) -> Network {
        (self.build)()
    }

    /// A TensorFlow Lite file of it with the weights of `seed`, int8; `done` is called after
    /// each layer.
    pub fn tflite(&self, seed: u64, done: &mut dyn FnMut()) -> Vec<u8> {
        let network = self.network();
        let calibration = calibrate::calibrate(&network, seed, done);
        let description = format!("{}, random weights of seed {seed}", self.name);
        file::write(&network, &calibration, description)
    }
}
