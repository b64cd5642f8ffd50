//! The zoo: architectures layer by layer, published sizes, bytes, and what becomes of frames.

use std::collections::BTreeSet;
use std::fs;

use pipeit_rt::artefact::checksum;
use pipeit_rt::kernels::Path;
use pipeit_tool::graph::{Graph, OpKind, TensorIndex};
use pipeit_tool::import::tflite;
use pipeit_tool::lower::lower;
use pipeit_tool::noise::Noise;
use pipeit_tool::planning::Planner;
use pipeit_tool::trials::Trials;
use pipeit_tool::zoo::{Architecture, ZOO};

#[path = "support/skip.rs"]
mod skip;
mod support;

use skip::{shared, skip};
use support::{cpus, run};

/// Networks that an emulated CPU can run, too.
const SMALL: [&str; 2] = ["ds_cnn", "resnet8"];

fn is_emulated() -> bool {
    std::env::var_os("PIPEIT_EMULATED").is_some()
}

fn named(name: &str) -> Architecture {
    Architecture::named(name).unwrap_or_else(|| panic!("{name} is in the zoo"))
}

/// A network of the zoo with the weights of seed 0.
fn file(name: &str) -> Vec<u8> {
    named(name).tflite(0, &mut || {})
}

/// What an operator does, and the shapes of its operands, weights included, and of its output.
type Layer = (OpKind, Vec<Vec<u32>>);

/// All layers, each behind those it reads, first operand first: whatever the order in the file.
fn layers(graph: &Graph) -> Vec<Layer> {
    fn visit(graph: &Graph, tensor: TensorIndex, seen: &mut BTreeSet<usize>, to: &mut Vec<Layer>) {
        let writer = graph.ops.iter().position(|op| op.outputs.contains(&tensor));
        let Some(writer) = writer.filter(|&writer| seen.insert(writer)) else { return };
        let op = &graph.ops[writer];
        let tensors: Vec<_> = op.inputs.iter().flatten().chain(&op.outputs).copied().collect();
        tensors.iter().for_each(|&tensor| visit(graph, tensor, seen, to));
        let shape = |&index: &TensorIndex| graph.tensor(index).expect("a tensor").shape.clone();
        to.push((op.kind, tensors.iter().map(shape).collect()));
    }
    let mut layers = Vec::new();
    visit(graph, graph.outputs[0], &mut BTreeSet::new(), &mut layers);
    layers
}

/// Multiply-accumulates of each layer of the runtime, the least first.
fn macs(graph: &Graph) -> Vec<u64> {
    let network = lower(graph).expect("a network");
    let model = network.check().expect("a network");
    let mut macs: Vec<_> = (0..model.layers.len() as u16).map(|layer| model.macs(layer)).collect();
    macs.sort_unstable();
    macs
}

#[test]
fn architectures_are_those_of_other_files() {
    let test = "architectures_are_those_of_other_files";
    let Some(shared) = shared(test) else { return };
    let pairs = [
        ("alexnet", "alexnet_syn_int8"),
        ("ds_cnn", "mlperf_kws_dscnn_int8"),
        ("googlenet", "googlenet_syn_int8"),
        ("mobilenet_v1", "mobilenet_v1_syn_int8"),
        ("resnet8", "mlperf_resnet8_int8"),
        ("resnet50", "resnet50_syn_int8"),
        ("squeezenet_v1_0", "squeezenet10_real_int8"),
        ("squeezenet_v1_1", "squeezenet11_syn_int8"),
    ];
    for (name, other) in pairs {
        if is_emulated() && !SMALL.contains(&name) {
            skip(test, &format!("{name} takes an emulated machine too long"));
            continue;
        }
        let other = fs::read(shared.join(format!("models/{other}.tflite"))).expect("a network");
        let (other, ours) = (tflite(&other).expect("a network"), tflite(&file(name)).expect(name));
        let (expected, found) = (layers(&other), layers(&ours));
        for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
            assert_eq!(found, expected, "{name}, operator {index}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
        let (expected, found) = (macs(&other), macs(&ours));
        assert_eq!(found, expected, "multiply-accumulates of {name}");
        assert_eq!(found.iter().sum::<u64>(), named(name).network().macs(), "{name}");
    }
}

/// Parameters and multiply-accumulates as their authors, or the libraries everybody has them
/// from, count them. Batch normalizations, which are folded here, count there.
#[test]
fn sizes_are_those_published() {
    let sizes = |name| {
        let network = named(name).network();
        (network.parameters(), network.macs())
    };
    // BVLC's Caffe model zoo.
    assert_eq!(sizes("alexnet"), (60_965_224, 724_406_816));
    assert_eq!(sizes("googlenet"), (6_998_552, 1_582_671_872));
    // torchvision.
    assert_eq!(sizes("squeezenet_v1_0"), (1_248_424, 832_667_936));
    assert_eq!(sizes("squeezenet_v1_1"), (1_235_496, 352_540_352));
    // torchvision, less one of the two parameters of the normalization of each channel.
    assert_eq!(sizes("resnet50"), (25_557_032 - 26_560, 3_857_973_248));
    assert_eq!(sizes("mobilenet_v2"), (3_504_872 - 17_056, 300_774_272));
    // Keras, less three of the four parameters of each channel, and with a class more.
    assert_eq!(sizes("mobilenet_v1"), (4_253_864 - 3 * 10_944 + 1025, 568_741_376));
    // MLPerf Tiny, less the four parameters of each channel: its convolutions have biases.
    assert_eq!(sizes("ds_cnn"), (24_908 - 4 * 576, 2_656_768));
    assert_eq!(sizes("resnet8"), (78_666 - 4 * 240, 12_501_632));
}

/// On every machine: a change of these numbers must be meant.
#[test]
fn the_bytes_are_pinned() {
    let pinned = [(42_902, 2_198_722_870), (91_930, 3_978_437_515)];
    for (name, pinned) in SMALL.into_iter().zip(pinned) {
        let bytes = file(name);
        assert_eq!((bytes.len(), checksum(&[&bytes])), pinned, "{name}");
        assert_ne!(named(name).tflite(1, &mut || {}), bytes, "{name} with another seed");
    }
}

/// Runs `count` frames of noise under a plan for one core and under some at random, which must
/// not differ, and checks that they give probabilities that depend on the frame.
fn check_outputs(name: &str, count: usize, plans: usize) {
    let network = lower(&tflite(&file(name)).expect(name)).expect(name);
    let model = network.check().expect(name);
    let planner = Planner::new(&model, Path::Reference);
    let trials = Trials { planner: &planner, cpus: &cpus() };
    let mut noise = Noise::new(0);
    let frames: Vec<_> = (0..count).map(|_| noise.frame(&model)).collect();
    let usual = trials.usual().expect("plans");
    let outputs = run(&model, &usual[0], &frames);
    for _ in 0..plans {
        let trial = trials.random(&mut noise).expect("a plan");
        assert_eq!(run(&model, &trial, &frames), outputs, "{name} under {trial:?}");
    }
    assert_eq!(outputs.iter().collect::<BTreeSet<_>>().len(), count, "{name}: outputs differ");
    for output in &outputs {
        let some = output.iter().filter(|&&code| code > -128).count();
        assert!(some > 1, "{name}: one class has it all");
        let top = output.iter().filter(|&code| Some(code) == output.iter().max()).count();
        assert!(top * 4 < output.len(), "{name}: {top} classes are first");
    }
}

#[test]
fn small_networks_give_the_same_under_all_plans() {
    for name in SMALL {
        check_outputs(name, if is_emulated() { 2 } else { 8 }, if is_emulated() { 1 } else { 6 });
    }
}

#[test]
fn large_networks_run() {
    if is_emulated() {
        skip("large_networks_run", "large networks take an emulated machine too long");
        return;
    }
    for Architecture { name, .. } in ZOO {
        if !SMALL.contains(&name) {
            check_outputs(name, 2, 0);
        }
    }
}
