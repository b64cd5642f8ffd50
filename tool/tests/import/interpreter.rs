//! The simplest way to run a network: layer by layer, a buffer per storage, one core.

use std::cell::Cell;

use pipeit_rt::kernels::{Io, Path, REFERENCE};
use pipeit_rt::model::{Model, TensorId};
use pipeit_rt::tensor::{Hwc, Region, Tile, View};
use pipeit_tool::network::Network;

/// Buffers of one network.
pub(crate) struct Interpreter<'a> {
    model: Model<'a>,
    storages: Vec<Vec<Cell<i8>>>,
}

impl<'a> Interpreter<'a> {
    pub(crate) fn new(network: &'a Network) -> Self {
        let model = network.check().expect("a network the runtime accepts");
        // Garbage, so that what no layer writes does not happen to be right.
        let storages = model.storages.iter().map(|&n| vec![Cell::new(0x55); n as usize]).collect();
        Self { model, storages }
    }

    /// The outputs for one frame, all in int8.
    pub(crate) fn run(&self, inputs: &[&[i8]]) -> Vec<Vec<i8>> {
        assert_eq!(inputs.len(), self.model.inputs.len());
        for (port, codes) in self.model.inputs.iter().zip(inputs) {
            let tensor = self.model.tensors[usize::from(port.tensor.0)];
            let cells = &self.storages[usize::from(tensor.storage.0)];
            assert_eq!(tensor.shape.elements(), codes.len());
            for (cell, &code) in cells[tensor.offset as usize..].iter().zip(*codes) {
                cell.set(code);
            }
        }
        for (i, layer) in self.model.layers.iter().enumerate() {
            let output = self.model.tensors[usize::from(layer.output.0)];
            let hwc = output.layout.hwc;
            let region = Region { rows: 0..hwc.h as usize, channels: 0..hwc.c as usize };
            let cells = &self.storages[usize::from(output.storage.0)][output.offset as usize..];
            let io = Io {
                inputs: layer.inputs.iter().map(|&input| self.view(input)).collect(),
                output: Tile::new(cells, output.layout, region).expect("a tile of its storage"),
            };
            for &input in &layer.inputs {
                let storage = self.model.tensors[usize::from(input.0)].storage;
                assert_ne!(storage, output.storage, "layer {i} reads what it writes");
            }
            let op = self.model.op(Path::Reference, i as u16).expect("parameters");
            REFERENCE.run(op, &self.model.weights, &io);
        }
        self.model.outputs.iter().map(|port| self.codes(port.tensor)).collect()
    }

    /// The content of a tensor, without gaps.
    pub(crate) fn codes(&self, tensor: TensorId) -> Vec<i8> {
        let view = self.view(tensor);
        let Hwc { h, w, .. } = view.hwc();
        let pixels = (0..h as usize).flat_map(|y| (0..w as usize).map(move |x| (y, x)));
        pixels.flat_map(|(y, x)| view.pixel(y, x).iter()).collect()
    }

    fn view(&self, tensor: TensorId) -> View<'_> {
        let tensor = self.model.tensors[usize::from(tensor.0)];
        let cells = &self.storages[usize::from(tensor.storage.0)][tensor.offset as usize..];
        View::new(cells, tensor.layout).expect("a view of its storage")
    }
}
