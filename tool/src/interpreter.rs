//! The simplest way to run a network: layer by layer on the calling thread, with a buffer for
//! every storage, so that every tensor can be read afterwards.

use std::cell::Cell;

use pipeit_rt::kernels::{Io, Path, REFERENCE};
use pipeit_rt::model::{Layer, Model, Tensor, TensorId};
use pipeit_rt::tensor::{Hwc, Region, Tile, View};

/// What is in a buffer until a layer writes it: not zero, which might happen to be right.
const UNWRITTEN: i8 = 0x55;

/// A network and the content of its storages.
#[derive(Debug)]
pub struct Interpreter<'a> {
    model: &'a Model<'a>,
    path: Path,
    storages: Vec<Vec<Cell<i8>>>,
}

impl<'a> Interpreter<'a> {
    /// For `model`, whose parameters for its first path the portable kernels read.
    #[must_use]
    pub fn new(model: &'a Model<'a>) -> Self {
        let path = model.paths.first().copied().unwrap_or(Path::Reference);
        let storage = |&bytes: &u32| vec![Cell::new(UNWRITTEN); bytes as usize];
        Self { model, path, storages: model.storages.iter().map(storage).collect() }
    }

    /// Runs one frame; returns the outputs. Of the codes for an input, those that are missing
    /// stay what they were, and those beyond it are left out.
    pub fn run<T: AsRef<[i8]>>(&self, inputs: &[T]) -> Vec<Vec<i8>> {
        for (port, codes) in self.model.inputs.iter().zip(inputs) {
            let tensor = self.model.tensor(port.tensor);
            let cells = tensor.map(|tensor| self.cells(tensor)).unwrap_or_default();
            cells.iter().zip(codes.as_ref()).for_each(|(cell, &code)| cell.set(code));
        }
        for (index, layer) in (0..).zip(self.model.layers) {
            // The model has been checked: it lacks nothing.
            let _ = self.run_layer(index, layer);
        }
        self.model.outputs.iter().map(|port| self.codes(port.tensor)).collect()
    }

    fn run_layer(&self, index: u16, layer: &Layer) -> Option<()> {
        let output = self.model.tensor(layer.output)?;
        let Hwc { h, c, .. } = output.layout.hwc;
        let whole = Region { rows: 0..h as usize, channels: 0..c as usize };
        let inputs = layer.inputs.iter().filter_map(|&input| self.view(input)).collect();
        let io = Io { inputs, output: Tile::new(self.cells(output), output.layout, whole)? };
        let op = self.model.op(self.path, index)?;
        // SAFETY: every core can execute portable kernels.
        unsafe { REFERENCE.run(op, &self.model.weights, &io) };
        Some(())
    }

    /// The content of a tensor after a run, without gaps, in HWC order; none when the network
    /// has no such tensor.
    #[must_use]
    pub fn codes(&self, tensor: TensorId) -> Vec<i8> {
        let Some(view) = self.view(tensor) else { return Vec::new() };
        let Hwc { h, w, .. } = view.hwc();
        let pixels = (0..h as usize).flat_map(|y| (0..w as usize).map(move |x| (y, x)));
        pixels.flat_map(|(y, x)| view.pixel(y, x).iter()).collect()
    }

    fn view(&self, tensor: TensorId) -> Option<View<'_>> {
        let tensor = self.model.tensor(tensor)?;
        View::new(self.cells(tensor), tensor.layout)
    }

    /// The storage from the tensor's first element on.
    fn cells(&self, tensor: &Tensor) -> &[Cell<i8>] {
        let storage = self.storages.get(usize::from(tensor.storage.0));
        storage.and_then(|cells| cells.get(tensor.offset as usize..)).unwrap_or_default()
    }
}
