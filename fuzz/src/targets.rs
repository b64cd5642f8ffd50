//! What is fuzzed: functions that take any bytes and must return.

use std::io::Cursor;
use std::panic;

use image::{ImageFormat, ImageReader};
use libfuzzer_sys::Corpus;
use pipeit_rt::artefact::Header;
use pipeit_rt::kernels::{Op, Path, Window};
use pipeit_rt::model::{Element, Model, Port, TensorId};
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_rt::tensor::Shape;
use pipeit_rt::weights::ALIGNMENT;
use pipeit_tool::arrays::Array;
use pipeit_tool::artefact::{self as file, AlignedBytes};
use pipeit_tool::images::ImageInput;
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::noise::Noise;
use pipeit_tool::pack::pack;
use pipeit_tool::planning::Planner;
use pipeit_tool::{goldens, import, lower};

use crate::inline;

/// Most bytes of tables per byte of an artefact: what bounds the memory of its validation.
const TABLE_BYTES_PER_BYTE: usize = 512;
/// Most elements looked at for a frame that is run. More is no fault: a network may ask for it.
const WORK: u64 = 1 << 13;
/// Most bytes of activations of a network that is run.
const ACTIVATION_BYTES: usize = 1 << 16;
/// Most pixels of a picture that is decoded.
const PIXELS: u64 = 1 << 12;

/// An artefact: validated, then frames through the first of its plans that is small enough.
/// Others are made of it only if it is valid: most of what is made of invalid ones is, too.
pub fn artefact(bytes: &[u8]) -> Corpus {
    let bytes = AlignedBytes::from_slice(ALIGNMENT, bytes);
    let Ok(header) = Header::read(&bytes) else { return Corpus::Reject };
    assert!(header.table_bytes() <= bytes.len() * TABLE_BYTES_PER_BYTE, "{header:?}");
    let Ok(mut tables) = file::tables(&bytes) else { return Corpus::Reject };
    let Ok(artefact) = file::open(&bytes, &mut tables) else { return Corpus::Reject };
    if let Some(plan) = artefact.plans.iter().find(|plan| inline::is_small(plan))
        && is_small(artefact.model)
    {
        inline::run(plan, &Noise::new(0).frame(artefact.model));
    }
    Corpus::Keep
}

/// A network: imported, planned, written; what was written is read and run. Others are made of
/// it only if it is imported.
pub fn tflite(bytes: &[u8]) -> Corpus {
    let Ok(graph) = import::tflite(bytes) else { return Corpus::Reject };
    let Ok(network) = lower::lower(&graph) else { return Corpus::Keep };
    // One of several layouts of the weights.
    let path = Path::ALL[bytes.len() / 12 % Path::ALL.len()];
    let Ok(network) = pack(&network, &[path.into()]) else { return Corpus::Keep };
    let model = network.check().expect("the tables were checked when they were made");
    if !is_small(&model) {
        return Corpus::Keep;
    }
    let inputs = Noise::new(0).frame(&model);
    let expected = Interpreter::new(&model).run(&inputs).concat();
    // One of several machines; planning takes longer than all the rest.
    let cores: &[usize] = [&[1][..], &[2], &[2, 1]][bytes.len() / 4 % 3];
    let cluster = |&cores: &usize| HostCluster::new("any", vec![0; cores]);
    let machine = Machine { clusters: cores.iter().map(cluster).collect() };
    let plan = Planner::new(&model, path).stated(None, &machine, None);
    let plan = plan.expect("every small network has plans");
    let bytes = file::write(&network.model(), &[plan], &[]).expect("a small network");
    let mut tables = file::tables(&bytes).expect("a header");
    let artefact = file::open(&bytes, &mut tables).expect("what is written can be read");
    let plan = &artefact.plans[0];
    for outputs in inline::run(plan, &inputs).expect("a small machine") {
        assert_eq!(outputs, expected, "every plan gives the same");
    }
    Corpus::Keep
}

/// Lets panics pass that the tool catches; libFuzzer ends at all others.
pub fn pass_caught_panics() {
    let end = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|location| location.file().contains("/zune-jpeg-")) {
            end(info);
        }
    }));
}

/// Arrays, archives of arrays and pictures; the first byte says which.
pub fn arrays(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => array(bytes),
        1 => drop(goldens::intermediates(Cursor::new(bytes))),
        2 => picture(bytes, ImageFormat::Png),
        3 => picture(bytes, ImageFormat::Jpeg),
        _ => picture(bytes, ImageFormat::Bmp),
    }
}

fn array(bytes: &[u8]) {
    let Ok(array) = Array::read(bytes) else { return };
    let extents = array.shape.iter().map(|&extent| extent as u32);
    let Ok(shape) = Shape::new(&extents.collect::<Vec<_>>()) else { return };
    for element in [Element::I8, Element::U8, Element::F32] {
        let _ = array.codes(&port(element), &shape);
    }
}

fn picture(bytes: &[u8], format: ImageFormat) {
    let reader = || ImageReader::with_format(Cursor::new(bytes), format);
    if reader().into_dimensions().is_ok_and(|(w, h)| u64::from(w) * u64::from(h) > PIXELS) {
        return;
    }
    let shape = Shape::new(&[1, 5, 4, 3]).expect("a shape");
    let input = ImageInput::new(&port(Element::I8), &shape, None).expect("an image");
    if let Ok(codes) = input.decode(reader()) {
        assert_eq!(codes.len(), shape.elements());
    }
}

const fn port(element: Element) -> Port {
    Port { tensor: TensorId(0), scale: 0.5, zero_point: 3, element }
}

/// True when a frame through `model` takes little time and memory.
fn is_small(model: &Model<'_>) -> bool {
    let bytes = model.storages.iter().fold(0usize, |sum, &n| sum.saturating_add(n as usize));
    let work = (0..model.layers.len() as u16).map(|layer| work(model, layer));
    bytes <= ACTIVATION_BYTES && work.fold(0, u64::saturating_add) <= WORK
}

/// An upper bound of the elements looked at in a layer.
fn work(model: &Model<'_>, index: u16) -> u64 {
    let layer = &model.layers[usize::from(index)];
    let elements =
        |&id: &TensorId| model.tensor(id).map_or(0, |tensor| tensor.shape.elements() as u64);
    let input = layer.inputs.first().map_or(0, elements);
    let taps = |window: &Window| window.taps.into_iter().map(u64::from).product::<u64>();
    let each = match model.op(model.paths[0], index) {
        Some(Op::AveragePool2d(pool)) => taps(&pool.window).min(input),
        Some(Op::MaxPool2d(pool)) => taps(&pool.window).min(input),
        Some(Op::TransposeConv(conv)) => taps(&conv.window),
        Some(Op::Mean(_)) => input,
        _ => 1,
    };
    model.macs(index).saturating_add(elements(&layer.output).saturating_mul(each))
}
