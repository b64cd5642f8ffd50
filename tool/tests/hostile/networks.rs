//! Networks made to do harm: each is refused for what it is, in little memory.

use pipeit_rt::kernels::Path;
use pipeit_rt::model::MAX_PORTS;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_tool::graph::{GraphError, MAX_OPERANDS, MAX_OPS, MAX_TENSORS};
use pipeit_tool::import::schema::{
    BuiltinOperator, BuiltinOptions, Model, Padding, QuantizationParameters,
};
use pipeit_tool::import::{self, ImportError};
use pipeit_tool::lower::{self, LowerError};
use pipeit_tool::network::Network;
use pipeit_tool::partition::PartitionError;
use pipeit_tool::planning::Planner;

use crate::allocator::in_little_memory;
use crate::sketch::{Sketch, conv, join, pool, slice, tiny};
use crate::tflite::{changed, input, tables};

/// Why a network is refused.
#[derive(Debug)]
enum Refusal {
    Import(ImportError),
    Lower(LowerError),
}

fn lowered(file: &[u8]) -> Result<Network, Refusal> {
    let graph = import::tflite(file).map_err(Refusal::Import)?;
    lower::lower(&graph).map_err(Refusal::Lower)
}

fn refusal(name: &str, file: &[u8]) -> Refusal {
    let result = in_little_memory(name, || lowered(file));
    result.map(|network| network.layers.len()).expect_err(name)
}

/// What is wrong with the graph, found when it was imported.
fn graph(name: &str, file: &[u8]) -> GraphError {
    match refusal(name, file) {
        Refusal::Import(ImportError::Graph(error)) => error,
        other => panic!("{name}: {other:?}"),
    }
}

/// Why a variant of an operator is refused.
fn variant(name: &str, file: &[u8]) -> String {
    match refusal(name, file) {
        Refusal::Import(ImportError::Variant { reason, .. })
        | Refusal::Lower(LowerError::Variant { reason, .. }) => reason,
        other => panic!("{name}: {other:?}"),
    }
}

/// The tiny network with `change` made to it.
fn altered(change: impl FnOnce(&mut Model)) -> Vec<u8> {
    changed(&tiny(), change)
}

/// A network of one operator with an input of extents `from`, an output of extents `to`, and
/// lists of integers.
fn one(
    code: BuiltinOperator,
    options: Option<BuiltinOptions>,
    from: &[i32],
    lists: &[&[i32]],
    to: &[i32],
) -> Vec<u8> {
    let mut sketch = Sketch::default();
    let x = sketch.activation(from);
    let mut inputs = vec![x];
    inputs.extend(lists.iter().map(|list| sketch.integers(list)));
    let y = sketch.activation(to);
    sketch.op(code, options, &inputs, y);
    sketch.write(&[x], &[y])
}

/// `count` operators, one after another, on tensors of `elements`.
pub(crate) fn chain(count: usize, elements: i32) -> Vec<u8> {
    let mut sketch = Sketch::default();
    let x = sketch.activation(&[1, elements]);
    let y = (0..count).fold(x, |from, _| {
        let to = sketch.activation(&[1, elements]);
        sketch.op(BuiltinOperator::Tanh, None, &[from], to)
    });
    sketch.write(&[x], &[y])
}

#[test]
fn sizes_that_overflow() {
    for shape in [&[1, 1 << 16, 1 << 16, 1][..], &[1, 1 << 15, 1 << 14, 4], &[i32::MAX, i32::MAX]] {
        let file = altered(|m| input(m).shape = Some(shape.to_vec()));
        let reason = variant(&format!("an input of {shape:?}"), &file);
        assert!(reason.contains("more than 2^31 - 1 elements"), "{reason}");
    }
    let reason = variant("rank 8", &altered(|m| input(m).shape = Some(vec![1; 8])));
    assert!(reason.contains("rank 8"), "{reason}");
    let rank_9 = refusal("rank 9", &altered(|m| input(m).shape = Some(vec![1; 9])));
    assert!(matches!(rank_9, Refusal::Import(ImportError::Tensor { .. })), "{rank_9:?}");
    let negative = refusal("extent -4", &altered(|m| input(m).shape = Some(vec![1, -4, 4, 2])));
    assert!(matches!(negative, Refusal::Import(ImportError::Dynamic { .. })), "{negative:?}");
    // Tensor 1 is the filters: 4 * 2^62 elements are 2^64, more than can be counted.
    let filters = |shape| altered(|m| tables(m).0[1].shape = Some(shape));
    for (shape, asked) in [(vec![1 << 16; 3], 1 << 48), (vec![i32::MAX; 5], u64::MAX)] {
        let error = graph(&format!("filters of {shape:?}"), &filters(shape));
        assert!(matches!(error, GraphError::Data { wanted, .. } if wanted == asked), "{error}");
    }
}

#[test]
fn activations_beyond_32_bits() {
    let plan = |name: &str, file: &[u8]| {
        let network = lowered(file).expect(name);
        let model = network.check().expect(name);
        let machine = Machine { clusters: vec![HostCluster::new("one", vec![0])] };
        let planner = Planner::new(&model, Path::Reference);
        in_little_memory(name, || planner.stated(None, &machine, None)).map(|plan| plan.needs)
    };
    // Two live at a time, then three between the input and the output.
    let two = chain(3, 1_500_000_000);
    assert!(plan("3 GB of activations", &two).is_ok_and(|needs| needs.slot_bytes > 1 << 30));
    let mut sketch = Sketch::default();
    let [x, a, b, c, d, y] = [0; 6].map(|_| sketch.activation(&[1, 1_500_000_000]));
    for (from, to) in [([x, x], a), ([x, a], b), ([a, b], c), ([a, c], d), ([b, d], y)] {
        sketch.op(BuiltinOperator::Maximum, None, &from, to);
    }
    let three = sketch.write(&[x], &[y]);
    assert_eq!(plan("4.5 GB of activations", &three).err(), Some(PartitionError::Memory));
}

#[test]
fn references_in_circles_backwards_and_to_nowhere() {
    // Operator 1 is an addition of tensors 0 and 3 to tensor 4.
    let reads = |tensor| altered(move |m| tables(m).1[1].inputs = Some(vec![0, tensor]));
    for (name, tensor) in [("its own output", 4), ("a later output", 6)] {
        let error = graph(name, &reads(tensor));
        assert!(matches!(error, GraphError::NotWritten { .. }), "{name}: {error}");
    }
    let circle = altered(|m| {
        let ops = tables(m).1;
        ops[0].inputs.as_mut().expect("inputs")[0] = 4;
        ops[1].inputs = Some(vec![3, 3]);
    });
    let error = graph("two that read each other", &circle);
    assert!(matches!(error, GraphError::NotWritten { .. }), "{error}");
    for tensor in [1_000_000, i32::MAX, -2, i32::MIN] {
        let error = graph(&format!("tensor {tensor}"), &reads(tensor));
        assert!(matches!(error, GraphError::NoTensor { index, .. } if index == i64::from(tensor)));
    }
    for (name, tensor) in [("an input written", 0), ("a constant written", 1)] {
        let error = graph(name, &altered(|m| tables(m).1[1].outputs = Some(vec![tensor])));
        assert!(matches!(error, GraphError::WrittenTwice { .. }), "{name}: {error}");
    }
    let nothing = altered(|m| {
        let mut tensor = tables(m).0[0].clone();
        tensor.name = Some("lost".to_owned());
        tables(m).0.push(tensor);
        let subgraph = &mut m.subgraphs.as_mut().expect("subgraphs")[0];
        subgraph.outputs = Some(vec![subgraph.tensors.as_ref().expect("tensors").len() as i32 - 1]);
    });
    let error = graph("an output nobody writes", &nothing);
    assert!(matches!(error, GraphError::Output { .. }), "{error}");
}

/// Offsets in a flatbuffer are from where they stand, and unsigned but for those of vtables.
#[test]
fn offsets_in_circles_backwards_and_to_nowhere() {
    let file = tiny();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let root = word(0) as usize;
    let vtable = (root as u32).wrapping_sub(word(root)) as usize;
    // The offset of each field of the root table, where there is one.
    let fields = (vtable + 4..vtable + usize::from(file[vtable])).step_by(2);
    let fields = fields.map(|at| root + usize::from(file[at])).filter(|&at| at > root);
    for at in [0, root].into_iter().chain(fields) {
        for offset in [0, 1, 4, i32::MAX as u32, i32::MIN as u32, u32::MAX, u32::MAX - root as u32]
        {
            let mut file = file.clone();
            file[at..at + 4].copy_from_slice(&offset.to_le_bytes());
            let name = format!("offset {offset:#x} at {at}");
            let error = refusal(&name, &file);
            assert!(matches!(error, Refusal::Import(_)), "{name}: {error:?}");
        }
    }
}

#[test]
fn too_many_of_everything() {
    let too_many = |name: &str, file: &[u8]| match graph(name, file) {
        GraphError::TooMany { what, found, most } => (what, found, most),
        other => panic!("{name}: {other}"),
    };
    let most = lowered(&chain(MAX_OPS, 4)).expect("not too many");
    assert_eq!(most.layers.len(), MAX_OPS);
    let error = too_many("10000 layers", &chain(10_000, 4));
    assert_eq!(error, ("operators", 10_000, MAX_OPS));
    let tensors = altered(|m| {
        let tensors = tables(m).0;
        tensors.resize(MAX_TENSORS + 1, tensors[0].clone());
    });
    let error = too_many("65537 tensors", &tensors);
    assert_eq!(error, ("tensors", MAX_TENSORS + 1, MAX_TENSORS));
    let wide = |parts: usize| {
        let to = [1, 2 * parts as i32];
        let mut sketch = Sketch::default();
        let x = sketch.activation(&[1, 2]);
        let y = sketch.activation(&to);
        let parts = vec![x; parts];
        sketch.op(BuiltinOperator::Concatenation, Some(join(1)), &parts, y);
        sketch.write(&[x], &[y])
    };
    let error = too_many("65536 parts", &wide(MAX_OPERANDS));
    assert_eq!(error, ("inputs and outputs of operators", MAX_OPERANDS + 1, MAX_OPERANDS));
    let error = refusal("65535 parts", &wide(MAX_OPERANDS - 1));
    assert!(matches!(error, Refusal::Lower(LowerError::TooLarge { what: "layers" })), "{error:?}");
    let subgraph = |m: &mut Model, change: fn(&mut Vec<i32>, &mut Vec<i32>)| {
        let subgraph = &mut m.subgraphs.as_mut().expect("subgraphs")[0];
        let (inputs, outputs) = (&mut subgraph.inputs, &mut subgraph.outputs);
        change(inputs.as_mut().expect("inputs"), outputs.as_mut().expect("outputs"));
    };
    let inputs = altered(|m| subgraph(m, |inputs, _| *inputs = vec![0; MAX_PORTS + 1]));
    let error = too_many("17 inputs", &inputs);
    assert_eq!(error, ("inputs of the network", MAX_PORTS + 1, MAX_PORTS));
    let outputs = altered(|m| subgraph(m, |_, outputs| *outputs = vec![0; 1_000_000]));
    let error = too_many("a million outputs", &outputs);
    assert_eq!(error, ("outputs of the network", 1_000_000, MAX_PORTS));
}

#[test]
fn a_long_name_is_not_copied_for_every_layer() {
    let mut sketch = Sketch::default();
    let x = sketch.activation(&[1, 1]);
    let y = sketch.activation(&[1, 4000]);
    sketch.op(BuiltinOperator::Concatenation, Some(join(1)), &[x; 4000], y);
    let name = Some("long ".repeat(200_000));
    let file = changed(&sketch.write(&[x], &[y]), |m| tables(m).0[y as usize].name = name);
    let network = in_little_memory("a name of a megabyte", || lowered(&file)).expect("a network");
    assert_eq!(network.layers.len(), 4000);
}

#[test]
fn absurd_strides_windows_and_paddings() {
    use BuiltinOperator::{MaxPool2d, Pad, Slice, StridedSlice};
    let image = [1, 4, 4, 2];
    for (stride, reason) in [
        ([0, 1], "stride 0x1"),
        ([1, i32::MIN], "stride 1x-2147483648"),
        ([i32::MAX, 1], "window [1, 1] with"),
        ([1 << 16, 1], "window [1, 1] with"),
    ] {
        let name = format!("steps of {stride:?}");
        let file = one(MaxPool2d, Some(pool(stride, [1, 1])), &image, &[], &[1, 1, 4, 2]);
        let found = variant(&name, &file);
        assert!(found.contains(reason), "{name}: {found}");
        let file = altered(|m| tables(m).1[0].builtin_options = Some(conv(stride, Padding::Same)));
        let found = variant(&name, &file);
        assert!(found.contains("stride") || found.contains("window"), "{name}: {found}");
    }
    for taps in [[0, 1], [-1, 1]] {
        let file = one(MaxPool2d, Some(pool([1, 1], taps)), &image, &[], &image);
        assert!(variant(&format!("a window of {taps:?}"), &file).contains("window"));
    }
    for taps in [[5, 1], [1, i32::MAX], [i32::MAX, i32::MAX]] {
        let file = one(MaxPool2d, Some(pool([1, 1], taps)), &image, &[], &image);
        assert!(variant(&format!("a window of {taps:?}"), &file).contains("over 4x4"));
    }
    for paddings in [
        [0, 0, i32::MAX, i32::MAX, 0, 0, 0, 0],
        [0, 0, i32::MIN, 0, 0, 0, 0, 0],
        [0, 0, -1, 1, 0, 0, 0, 0],
        [i32::MAX, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let file = one(Pad, None, &image, &[&paddings], &image);
        let found = variant(&format!("paddings {paddings:?}"), &file);
        assert!(found.contains("paddings [") || found.contains("computed"), "{found}");
    }
    let mask = |ends: [i32; 4], steps: [i32; 4]| {
        one(StridedSlice, Some(slice()), &image, &[&[0; 4], &ends, &steps], &image)
    };
    for (ends, steps) in [
        ([1, 4, 4, 2], [0; 4]),
        ([1, 4, 4, 2], [1, i32::MIN, 1, 1]),
        ([i32::MAX; 4], [1, i32::MAX, 1, 1]),
        ([i32::MIN; 4], [1; 4]),
    ] {
        let found = variant(&format!("to {ends:?} by {steps:?}"), &mask(ends, steps));
        assert!(found.contains("by ["), "{found}");
    }
    for (begin, size) in [([0, i32::MAX, 0, 0], [1; 4]), ([0; 4], [i32::MAX; 4]), ([-1; 4], [1; 4])]
    {
        let file = one(Slice, None, &image, &[&begin, &size], &[1, 1, 1, 1]);
        let found = variant(&format!("{size:?} from {begin:?}"), &file);
        assert!(found.contains("from ["), "{found}");
    }
}

/// Extents that are lawful and of which tables would be made.
#[test]
fn absurd_extents() {
    use BuiltinOperator::{ResizeBilinear, ResizeNearestNeighbor};
    let bilinear = BuiltinOptions::ResizeBilinearOptions(Box::default());
    let nearest = BuiltinOptions::ResizeNearestNeighborOptions(Box::default());
    // One image with many rows, and many of which no two have the same table.
    let many: Vec<i32> = (0..200).map(|image| 50_000 + image).collect();
    for (code, options, rows) in [
        (ResizeBilinear, bilinear, &[1 << 30][..]),
        (ResizeNearestNeighbor, nearest.clone(), &[1 << 30]),
        (ResizeNearestNeighbor, nearest, &many),
    ] {
        let mut sketch = Sketch::default();
        let x = sketch.activation(&[1, 2, 1, 1]);
        let y = rows.iter().fold(x, |from, &rows| {
            let size = sketch.integers(&[rows, 1]);
            let to = sketch.activation(&[1, rows, 1, 1]);
            sketch.op(code, Some(options.clone()), &[from, size], to)
        });
        let name = format!("{code:?} to {} images", rows.len());
        let error = refusal(&name, &sketch.write(&[x], &[y]));
        let Refusal::Lower(LowerError::TooLarge { what }) = error else { panic!("{error:?}") };
        assert_eq!(what, "resized images", "{name}");
    }
}

#[test]
fn constants_that_would_fill_the_memory() {
    let mut sketch = Sketch::default();
    let unread = sketch.activation(&[1]);
    let constant = sketch.constant(&[1, 1, 1, 1], vec![5]);
    let rows = 15_000_000;
    let paddings = sketch.integers(&[0, 0, rows - 1, 0, 0, 0, 0, 0]);
    let all: Vec<_> = (0..15)
        .map(|_| {
            let padded = sketch.activation(&[1, rows, 1, 1]);
            sketch.op(BuiltinOperator::Pad, None, &[constant, paddings], padded)
        })
        .collect();
    let file = sketch.write(&[unread], &all);
    let network = in_little_memory("225 MB of constants", || lowered(&file)).expect("a network");
    // The first is computed at import, the others are left to the frames.
    assert_eq!(network.folded.len(), 1);
}

#[test]
fn scales_and_zero_points_of_no_use() {
    let quantized = |scale: f32, zero_point: i64| {
        let parameters = QuantizationParameters {
            scale: Some(vec![scale]),
            zero_point: Some(vec![zero_point]),
            ..QuantizationParameters::default()
        };
        altered(|m| input(m).quantization = Some(Box::new(parameters)))
    };
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let found = variant(&format!("scale {scale}"), &quantized(scale, 0));
        assert!(found.contains("has the scale"), "{found}");
    }
    for zero_point in [128, i64::MAX, i64::MIN] {
        let found = variant(&format!("zero point {zero_point}"), &quantized(0.5, zero_point));
        assert!(found.contains("has the zero point"), "{found}");
    }
}
