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
/// any layer can: many inputs per output, all of it in the nearest caches.
#[must_use]
pub fn busy_convolution() -> Vec<u8> {
    let (mut network, input) = Network::new([12, 16, 256], [-1.0, 1.0]);
    network.conv("busy", input, 64, network::window([3, 3]), network::LINEAR);
    let calibration = calibrate::calibrate(&network, 0, &mut || ());
    file::write(&network, &calibration, "one convolution".to_owned())
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
