//! TensorFlow Lite files that tests write.

use pipeit_tool::import::schema::{self, Model, ModelRef, Operator, Tensor};
use planus::ReadAsRoot;

/// The network in `file` after `change`, as a file.
pub(crate) fn changed(file: &[u8], change: impl FnOnce(&mut Model)) -> Vec<u8> {
    let model = ModelRef::read_as_root(file).expect("a model");
    let mut model = Model::try_from(model).expect("a model");
    change(&mut model);
    schema::write(&model)
}

/// Tensors and operators of the only subgraph.
pub(crate) fn tables(model: &mut Model) -> (&mut Vec<Tensor>, &mut Vec<Operator>) {
    let subgraph = &mut model.subgraphs.as_mut().expect("subgraphs")[0];
    (subgraph.tensors.as_mut().expect("tensors"), subgraph.operators.as_mut().expect("operators"))
}

/// The first input of the network.
pub(crate) fn input(model: &mut Model) -> &mut Tensor {
    let subgraph = &mut model.subgraphs.as_mut().expect("subgraphs")[0];
    let input = subgraph.inputs.as_ref().expect("inputs")[0] as usize;
    &mut subgraph.tensors.as_mut().expect("tensors")[input]
}
