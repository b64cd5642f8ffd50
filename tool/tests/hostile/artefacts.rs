//! Artefacts whose checksums are right and whose content is not: each is refused for what it
//! is, in little memory.

use std::mem::MaybeUninit;
use std::path::Path;
use std::{env, fs};

use pipeit_rt::artefact::{ArtefactError, HEADER_BYTES, SECTION_BYTES, sign};
use pipeit_rt::kernels::reference::{Add, Conv2d, Pad, Rearrange, Term, Walk};
use pipeit_rt::kernels::{self, Op, OpError, REFERENCE};
use pipeit_rt::model::{MAX_LAYERS, ModelError, ModelTables, Tensor, TensorId};
use pipeit_rt::pipeline::{Pipeline, PipelineError};
use pipeit_rt::plan::{Home, PlanError};
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_rt::quant::{Multiplier, Output};
use pipeit_rt::region::Region;
use pipeit_rt::tensor::{Layout, Shape, ShapeError};
use pipeit_rt::topology::ClusterId;
use pipeit_tool::artefact::{self, AlignedBytes, OwnedPlan, write};
use pipeit_tool::network::Network;
use pipeit_tool::noise::Noise;
use pipeit_tool::planning::Planner;
use pipeit_tool::{import, lower};

use crate::allocator::in_little_memory;
use crate::damage::run;
use crate::networks::chain;
use crate::sketch::tiny;

/// The artefact that the runtime's own tests damage.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/tiny.pipeit");

fn machine() -> Machine {
    let cluster = |name, cpus: &[usize]| HostCluster::new(name, cpus.to_vec());
    Machine { clusters: vec![cluster("big", &[0, 1]), cluster("little", &[2])] }
}

/// A network and its plan in these stages.
fn planned(file: &[u8], stages: &str) -> (Network, OwnedPlan) {
    let network = lower::lower(&import::tflite(file).expect("a network")).expect("a network");
    let plan = {
        let model = network.check().expect("a network");
        let planner = Planner::new(&model, kernels::Path::Reference);
        planner.stated(Some(stages), &machine(), Some(2)).expect("a plan")
    };
    (network, plan)
}

/// The tiny network in two stages, the first on a team of two.
///
/// Layers: CONV_2D, ADD, COPY, MAX_POOL_2D, FULLY_CONNECTED.
fn two_stages() -> (Network, OwnedPlan) {
    planned(&tiny(), "0-1=big*2 2-=little*1")
}

/// That as an artefact, with a golden frame.
fn signed() -> AlignedBytes {
    let (network, plan) = two_stages();
    let model = network.check().expect("a network");
    let inputs = Noise::new(0).frame(&model).concat();
    let outputs = run(&tiny()).expect("a network");
    let golden: Vec<u8> = inputs.into_iter().chain(outputs).map(i8::cast_unsigned).collect();
    write(&model, &[plan], &golden).expect("an artefact")
}

/// `PIPEIT_BLESS=1 cargo test -p pipeit-tool --test hostile` writes it anew.
#[test]
fn the_artefact_of_the_runtimes_tests_is_this_one() {
    let bytes = signed();
    if env::var_os("PIPEIT_BLESS").is_some() {
        fs::write(TINY, &bytes[..]).expect("a file");
    }
    assert!(fs::read(Path::new(TINY)).expect("a file") == bytes[..], "{TINY} differs");
}

fn opened(name: &str, bytes: &[u8]) -> Result<(), ArtefactError> {
    in_little_memory(name, || {
        let mut tables = artefact::tables(bytes)?;
        artefact::open(bytes, &mut tables).map(drop)
    })
}

/// Why the artefact is refused that says what `change` has made of the tiny one.
fn refusal(name: &str, change: impl FnOnce(&mut Network, &mut OwnedPlan)) -> ArtefactError {
    let (mut network, mut plan) = two_stages();
    change(&mut network, &mut plan);
    let bytes = write(&network.model(), &[plan], &[]).expect("an artefact");
    opened(name, &bytes).expect_err(name)
}

fn model(name: &str, change: impl FnOnce(&mut Network)) -> ModelError {
    match refusal(name, |network, _| change(network)) {
        ArtefactError::Model(error) => error,
        other => panic!("{name}: {other}"),
    }
}

fn plan(name: &str, change: impl FnOnce(&mut OwnedPlan)) -> PlanError {
    match refusal(name, |_, plan| change(plan)) {
        ArtefactError::Plan { plan: 0, error } => error,
        other => panic!("{name}: {other}"),
    }
}

/// Why a layer is refused whose parameters are `change`d.
fn op(name: &str, layer: usize, change: impl FnOnce(&mut Op)) -> OpError {
    match model(name, |network| change(&mut network.ops[layer])) {
        ModelError::Op { layer: found, error, .. } if usize::from(found) == layer => error,
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn sizes_that_overflow() {
    // No program can make such a shape; it is made as a file would.
    let shape: Shape = postcard::from_bytes(&[4, 1, 128, 128, 4, 128, 128, 4, 1]).expect("bytes");
    assert_eq!(shape.dims(), [1, 1 << 16, 1 << 16, 1]);
    let tensor = TensorId(0);
    assert_eq!(
        model("a shape", |network| network.tensors[0].shape = shape),
        ModelError::Shape { tensor, error: ShapeError::TooLarge }
    );
    let layout = ModelError::Layout { tensor };
    assert_eq!(model("an offset", |n| n.tensors[0].offset = u32::MAX), layout);
    assert_eq!(model("a stride", |n| n.tensors[0].layout.row_stride = u32::MAX), layout);
    assert_eq!(model("overlapping pixels", |n| n.tensors[0].layout.pixel_stride = 0), layout);
    let storage = two_stages().0.tensors[0].storage;
    let misplaced = PlanError::Placement { storage };
    let place = usize::from(storage.0);
    assert_eq!(plan("a place", |plan| plan.placements[place].offset = !63), misplaced);
    assert_eq!(plan("an odd place", |plan| plan.placements[place].offset += 1), misplaced);
    assert_eq!(
        refusal("a storage", |network, _| network.storages[place] = u32::MAX),
        ArtefactError::Plan { plan: 0, error: misplaced }
    );
}

#[test]
fn memory_is_the_callers_to_give() {
    let (network, mut plan) = two_stages();
    (plan.needs.slots, plan.needs.slot_bytes) = (1, u32::MAX << 16);
    let model = network.check().expect("a network");
    let plan = plan.check(&model).expect("a plan");
    let asked = Pipeline::<Hosted>::memory_bytes(plan.demand());
    assert!(asked > u32::MAX as usize - (1 << 16));
    let error = in_little_memory("a slot of 4 GB", || {
        let mut memory = vec![MaybeUninit::uninit(); 1 << 20];
        let topology = machine().topology().expect("a small machine");
        let mut region = Region::new(&mut memory);
        Pipeline::<Hosted>::new(&plan, &topology, &[&REFERENCE], &mut region).map(drop)
    });
    assert!(matches!(error, Err(PipelineError::Memory(_))), "{error:?}");
}

#[test]
fn references_in_circles_backwards_and_to_nowhere() {
    let own = |n: &mut Network| n.layers[1].inputs[1] = n.layers[1].output;
    assert_eq!(model("its own output", own), ModelError::Aliased { layer: 1 });
    let later = |n: &mut Network| n.layers[1].inputs[1] = n.layers[4].output;
    assert_eq!(model("a later output", later), ModelError::NotWritten { layer: 1 });
    let circle = |n: &mut Network| n.layers.swap(0, 1);
    assert_eq!(model("the wrong order", circle), ModelError::NotWritten { layer: 0 });
    let tensor = TensorId(u16::MAX);
    let nowhere = ModelError::NoTensor { tensor };
    assert_eq!(model("no input", |n| n.layers[1].inputs[0] = tensor), nowhere);
    assert_eq!(model("no output", |n| n.layers[1].output = tensor), nowhere);
    assert_eq!(model("no port", |n| n.outputs[0].tensor = tensor), nowhere);
    let input = two_stages().0.inputs[0].tensor;
    let port = ModelError::Port { tensor: input };
    assert_eq!(model("an output that is an input", |n| n.outputs[0].tensor = input), port);
}

#[test]
fn too_many_of_everything() {
    let many = |network: &mut Network| {
        network.layers.resize(10_000, network.layers[4].clone());
        network.ops.resize(10_000, network.ops[4].clone());
    };
    assert_eq!(model("10000 layers", many), ModelError::TooManyLayers { found: 10_000 });
    let mut bytes = signed();
    bytes[24..42].fill(0xff);
    sign(&mut bytes);
    let error = opened("more entries than bytes", &bytes).expect_err("refused");
    assert!(matches!(error, ArtefactError::Counts { bytes: 832, .. }), "{error}");

    let (network, _) = two_stages();
    let paths = [[kernels::Path::Reference; 4000], [kernels::Path::Neon; 4000]].concat();
    let ops: Vec<_> = network.ops.iter().cloned().cycle().take(5 * paths.len()).collect();
    let tables = ModelTables { paths: &paths, ops: &ops, ..network.model() };
    let bytes = write(&tables, &[], &[]).expect("an artefact");
    let twice = ModelError::Path { path: kernels::Path::Reference };
    assert_eq!(opened("two paths 4000 times", &bytes), Err(ArtefactError::Model(twice)));

    // Not too many, but where storages share memory a check of all pairs would take long.
    let (network, plan) = planned(&chain(MAX_LAYERS, 4), "0-=big*1");
    let bytes = write(&network.model(), &vec![plan; 100], &[]).expect("an artefact");
    assert_eq!(opened("100 plans of 4096 layers", &bytes), Ok(()));
}

#[test]
fn residuals_that_do_not_fit() {
    let refused = |error| ModelError::Op { layer: 0, path: kernels::Path::Reference, error };
    // The convolution with a residual, and with a second input.
    let changed = |name, mantissa: Option<i32>, other: Option<&[u32]>| {
        model(name, |network| {
            let Op::Conv2d(conv) = &mut network.ops[0] else { panic!("{:?}", network.ops[0]) };
            conv.residual = mantissa.map(|mantissa| {
                let multiplier = Multiplier { mantissa, shift: -1 };
                let output = Output { zero_point: 0, min: -128, max: 127 };
                Add { terms: [Term { zero_point: 0, multiplier }; 2], multiplier, output }
            });
            if let Some(dims) = other {
                let shape = Shape::new(dims).expect("a shape");
                let input = network.tensors[usize::from(network.layers[0].inputs[0].0)];
                network.tensors.push(Tensor {
                    shape,
                    layout: Layout::contiguous(shape.hwc()),
                    ..input
                });
                let id = TensorId(network.tensors.len() as u16 - 1);
                network.layers[0].inputs.push(id).expect("room");
            }
        })
    };
    let same: &[u32] = &[1, 4, 4, 2];
    let inputs = |found| refused(OpError::Inputs { found });
    assert_eq!(changed("a residual of nothing", Some(1), None), inputs(1));
    assert_eq!(changed("an input for nothing", None, Some(same)), inputs(2));
    let multiplier = refused(OpError::Parameter { name: "multiplier" });
    assert_eq!(changed("a negative residual", Some(-1), Some(same)), multiplier);
    let narrow = changed("a narrow residual", Some(1), Some(&[1, 4, 4, 1]));
    assert_eq!(narrow, refused(OpError::Shape));
}

#[test]
fn sections_that_overlap() {
    // The fields of section 1: its kind, offset and length.
    let field = |number: usize| HEADER_BYTES + SECTION_BYTES + 4 * number;
    let first = {
        let bytes = signed();
        let at = HEADER_BYTES + 4;
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    for (name, number, value) in [
        ("a kind of its own", 0, 77),
        ("on top of the first", 1, first),
        ("in the header", 1, 0),
        ("behind the end", 1, 1 << 20),
        ("not aligned", 1, first + 65),
        ("longer than the file", 2, 1 << 20),
        ("longer than can be", 2, u32::MAX),
        ("over the next", 2, 65),
    ] {
        let mut bytes = signed();
        bytes[field(number)..][..4].copy_from_slice(&value.to_le_bytes());
        sign(&mut bytes);
        // What overlaps the next one makes that misplaced.
        let section = if name == "over the next" { 2 } else { 1 };
        assert_eq!(opened(name, &bytes), Err(ArtefactError::Section { section }), "{name}");
    }
    let mut bytes = signed();
    bytes[10..12].fill(0xff);
    sign(&mut bytes);
    let error = opened("65535 sections", &bytes).expect_err("refused");
    assert!(matches!(error, ArtefactError::Length { .. }), "{error}");
}

#[test]
fn absurd_strides_windows_and_paddings() {
    let parameter = |name| OpError::Parameter { name };
    let conv = |change: fn(&mut Conv2d)| {
        move |op: &mut Op| match op {
            Op::Conv2d(conv) => change(conv),
            other => panic!("{other:?}"),
        }
    };
    let zero = |name, change: fn(&mut Conv2d)| op(&format!("{name} of 0"), 0, conv(change));
    assert_eq!(zero("stride", |c| c.window.stride = [1, 0]), parameter("stride"));
    assert_eq!(zero("taps", |c| c.window.taps = [0, 3]), parameter("taps"));
    assert_eq!(zero("dilation", |c| c.window.dilation = [0, 1]), parameter("dilation"));
    assert_eq!(zero("groups", |c| c.groups = 0), parameter("groups"));
    let span = |name| OpError::Span { name };
    let taps = conv(|c| c.window.taps = [u16::MAX; 2]);
    assert_eq!(op("many taps", 0, taps), span("weights"));
    assert_eq!(op("far weights", 0, conv(|c| c.weights.offset = !63)), span("weights"));
    let bias = conv(|c| c.requantize.bias.len = u32::MAX);
    assert_eq!(op("much bias", 0, bias), span("bias"));
    // Where nothing of the image is under the window, there is no maximum.
    let pool = |change: fn(&mut kernels::Window)| {
        move |op: &mut Op| match op {
            Op::MaxPool2d(pool) => change(&mut pool.window),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(op("a long stride", 3, pool(|w| w.stride = [u16::MAX; 2])), OpError::Shape);
    assert_eq!(op("wide padding", 3, pool(|w| w.pad = [u16::MAX; 2])), OpError::Shape);
    let pad = |op: &mut Op| *op = Op::Pad(Pad { before: [0, u32::MAX, 0], value: 0 });
    assert_eq!(op("a long way", 2, pad), OpError::Shape);
    let walk = |axis, start, step| Walk { axis, start, step };
    for walks in [
        [walk(0, 0, i32::MAX), walk(1, 0, 1), walk(2, 0, 1)],
        [walk(0, 3, i32::MIN), walk(1, 0, 1), walk(2, 0, 1)],
        [walk(0, u32::MAX, 1), walk(1, 0, 1), walk(2, 0, 1)],
    ] {
        let walk = |op: &mut Op| *op = Op::Rearrange(Rearrange { walks });
        assert_eq!(op(&format!("{walks:?}"), 2, walk), OpError::Shape);
    }
}

#[test]
fn plans_that_share_what_they_must_not() {
    assert_eq!(plan("no slots", |p| p.needs.slots = 0), PlanError::Slots { asked: 0 });
    assert_eq!(plan("65 slots", |p| p.needs.slots = 65), PlanError::Slots { asked: 65 });
    assert_eq!(plan("a gap", |p| p.stages[1].layers.start = 3), PlanError::Layers { stage: 1 });
    let overlap = |p: &mut OwnedPlan| p.stages[1].layers.start = 1;
    assert_eq!(plan("a layer twice", overlap), PlanError::Layers { stage: 1 });
    let more = |p: &mut OwnedPlan| p.stages[1].layers.end = u16::MAX;
    assert_eq!(plan("layers beyond the last", more), PlanError::Layers { stage: 1 });
    assert_eq!(plan("a team twice", |p| p.stages[1].teams = 0..2), PlanError::Teams { stage: 1 });
    assert_eq!(plan("no cores", |p| p.teams[0].cores = 0), PlanError::Cores { team: 0 });
    assert_eq!(plan("255 cores", |p| p.teams[1].cores = 255), PlanError::Cores { team: 1 });
    let shared = |p: &mut OwnedPlan| p.teams[1].cluster = ClusterId(0);
    assert_eq!(plan("a shared core", shared), PlanError::Cores { team: 1 });
    let cluster = ClusterId(200);
    let nowhere = |p: &mut OwnedPlan| p.teams[1].cluster = cluster;
    assert_eq!(plan("no cluster", nowhere), PlanError::NoPath { cluster });
    let output = two_stages().0;
    let output = output.tensors[usize::from(output.outputs[0].tensor.0)].storage;
    let in_arena = |p: &mut OwnedPlan| p.placements[usize::from(output.0)].home = Home::Arena;
    let misplaced = PlanError::Placement { storage: output };
    assert_eq!(plan("an output in an arena", in_arena), misplaced);
    let heap = |p: &mut OwnedPlan| p.placements.iter_mut().for_each(|place| place.offset = 0);
    let error = plan("all in one place", heap);
    assert!(matches!(error, PlanError::Placement { .. }), "{error}");
}
