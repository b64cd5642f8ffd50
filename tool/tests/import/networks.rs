//! Whole networks, bit for bit.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::{DType, NpyFile};
use pipeit_rt::model::Element;
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::network::Network;
use pipeit_tool::{import, lower};

use crate::skip::shared;

/// The networks of the shared set.
const NETWORKS: [&str; 12] = [
    "alexnet_syn_int8",
    "googlenet_syn_int8",
    "mlperf_ad01_int8",
    "mlperf_kws_dscnn_int8",
    "mlperf_resnet8_int8",
    "mlperf_vww_mobilenet025_96_int8",
    "mobilenet_v1_1.0_224_quant_stitched",
    "mobilenet_v1_syn_int8",
    "resnet50_syn_int8",
    "squeezenet10_real_int8",
    "squeezenet11_syn_int8",
    "tflm_micro_speech_int8",
];

fn network(path: &Path) -> Network {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let graph =
        import::tflite(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    lower::lower(&graph).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The elements as int8 codes: those of uint8 arrays less 128.
fn codes(reader: impl Read) -> Vec<i8> {
    let file = NpyFile::new(reader).expect("an npy file");
    let unsigned = match file.dtype() {
        DType::Plain(kind) => kind.to_string().ends_with("u1"),
        _ => panic!("a plain array"),
    };
    if unsigned {
        let codes = file.into_vec::<u8>().expect("bytes");
        codes.into_iter().map(|code| (code ^ 0x80).cast_signed()).collect()
    } else {
        file.into_vec::<i8>().expect("bytes")
    }
}

fn read(path: &Path) -> Vec<i8> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    codes(BufReader::new(file))
}

/// Numbers of the goldens of a network.
fn frames(directory: &Path) -> BTreeSet<u32> {
    let entries = fs::read_dir(directory).expect("a directory of goldens");
    entries
        .filter_map(|entry| {
            let name = entry.expect("an entry").file_name().into_string().ok()?;
            name.strip_prefix("in_")?.strip_suffix(".npy")?.parse().ok()
        })
        .collect()
}

/// Runs all goldens, or the first where the CPU is emulated, and names those that differ.
fn wrong_frames(shared: &Path, name: &str) -> Vec<String> {
    let network = network(&shared.join(format!("models/{name}.tflite")));
    let model = network.check().expect("a network the runtime accepts");
    let interpreter = Interpreter::new(&model);
    let directory = shared.join("goldens").join(name);
    let frames = frames(&directory);
    assert!(!frames.is_empty(), "{name} has goldens");
    let is_emulated = std::env::var_os("PIPEIT_EMULATED").is_some();
    let most = if is_emulated { 1 } else { frames.len() };
    let mut wrong = Vec::new();
    for frame in frames.into_iter().take(most) {
        let input = read(&directory.join(format!("in_{frame}.npy")));
        let expected = read(&directory.join(format!("ref_{frame}.npy")));
        let found = interpreter.run(&[&input]).remove(0);
        assert_eq!(found.len(), expected.len(), "{name}");
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        if differ > 0 {
            wrong.push(format!("{name}, frame {frame}: {differ} of {} codes", expected.len()));
        }
    }
    wrong
}

#[test]
fn the_digits_network_is_bit_exact() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits");
    let network = network(&data.join("digits.tflite"));
    let images = read(&data.join("images.npy"));
    let expected = read(&data.join("expected.npy"));
    assert_eq!((images.len(), expected.len()), (450 * 64, 450 * 10));
    let model = network.check().expect("a network the runtime accepts");
    let interpreter = Interpreter::new(&model);
    for (i, (image, expected)) in images.chunks(64).zip(expected.chunks(10)).enumerate() {
        assert_eq!(interpreter.run(&[image]), [expected], "image {i}");
    }
    // The sums are parts of convolutions, both inputs of the concatenation are written in place,
    // and the reshape is a view.
    assert_eq!(network.layers.len(), 14);
    let folded: Vec<_> = network.folded.iter().map(|folded| folded.op.index).collect();
    assert_eq!(folded, [4, 7, 12, 14]);
    assert_eq!(network.outputs[0].scale, 1.0 / 256.0);
    assert_eq!(network.outputs[0].element, Element::I8);
}

#[test]
fn the_same_file_gives_the_same_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits/digits.tflite");
    let (a, b) = (network(&path), network(&path));
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn shared_networks_are_bit_exact() {
    let Some(shared) = shared("every frame of the shared networks") else { return };
    let wrong = NETWORKS.map(|name| wrong_frames(&shared, name)).concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
