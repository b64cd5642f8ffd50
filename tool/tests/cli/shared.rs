//! Whole networks of the shared set, through the commands.

use std::fs;
use std::path::{Path, PathBuf};

use pipeit_tool::commands::{run, verify};
use pipeit_tool::machine::CoreArgs;
use pipeit_tool::planning::PlanArgs;

use crate::skip::{shared, skip};
use crate::{Folder, is_emulated};

/// Networks below 100 million multiply-accumulates.
const SMALL: [&str; 5] = [
    "mlperf_ad01_int8",
    "mlperf_kws_dscnn_int8",
    "mlperf_resnet8_int8",
    "mlperf_vww_mobilenet025_96_int8",
    "tflm_micro_speech_int8",
];

/// The others, with the goldens to run of each: the last is noise.
const LARGE: [(&str, [u32; 2]); 7] = [
    ("alexnet_syn_int8", [3, 6]),
    ("googlenet_syn_int8", [0, 6]),
    ("mobilenet_v1_1.0_224_quant_stitched", [0, 6]),
    ("mobilenet_v1_syn_int8", [0, 6]),
    ("resnet50_syn_int8", [0, 6]),
    ("squeezenet10_real_int8", [0, 6]),
    ("squeezenet11_syn_int8", [0, 6]),
];

/// The report of `pipeit verify`.
fn verified(shared: &Path, name: &str, goldens: PathBuf, plans: usize) -> String {
    let model = shared.join(format!("models/{name}.tflite"));
    let args = verify::Args { model, goldens, plans, seed: 1, cores: CoreArgs::default() };
    let mut report = Vec::new();
    verify::run(&args, &mut report).unwrap_or_else(|error| panic!("{name}: {error}"));
    String::from_utf8(report).expect("UTF-8")
}

#[test]
fn small_networks_are_bit_exact_under_all_kinds_of_plans() {
    let test = "small_networks_are_bit_exact_under_all_kinds_of_plans";
    let Some(shared) = shared(test) else { return };
    for name in SMALL {
        let report = verified(&shared, name, shared.join("goldens").join(name), 10);
        assert!(report.contains("x 14 plans: every byte equal"), "{name}: {report}");
        if ["mlperf_resnet8_int8", "mlperf_kws_dscnn_int8"].contains(&name) {
            assert!(report.contains("intermediate tensors: every byte equal"), "{name}: {report}");
            // The convolutions that sums are parts of.
            let folds = name == "mlperf_resnet8_int8";
            assert_eq!(report.contains("3 folded away"), folds, "{name}: {report}");
            assert_eq!(report.contains("folded away"), folds, "{name}: {report}");
        }
    }
}

#[test]
fn large_networks_are_bit_exact_under_a_plan_of_each_kind() {
    let test = "large_networks_are_bit_exact_under_a_plan_of_each_kind";
    let Some(shared) = shared(test) else { return };
    if is_emulated() {
        skip(test, "large networks take an emulated machine too long");
        return;
    }
    for (name, frames) in LARGE {
        let folder = Folder::new(name);
        for file in frames.iter().flat_map(|k| [format!("in_{k}.npy"), format!("ref_{k}.npy")]) {
            let from = shared.join("goldens").join(name).join(&file);
            fs::copy(from, folder.path(&file)).expect("a golden vector");
        }
        let report = verified(&shared, name, folder.0.clone(), 1);
        assert!(report.contains("2 frames x 5 plans: every byte equal"), "{name}: {report}");
    }
}

#[test]
fn photos_are_recognised() {
    let Some(shared) = shared("photos_are_recognised") else { return };
    let args = run::Args {
        trace: None,
        model: shared.join("models/mobilenet_v1_1.0_224_quant_stitched.tflite"),
        images: vec![shared.join("photos")],
        noise: None,
        live: false,
        labels: Some(shared.join("photos/imagenet_labels.txt")),
        top: 1,
        normalize: None,
        plan: PlanArgs::default(),
        json: true,
    };
    let mut report = Vec::new();
    run::run(&args, &mut report).expect("photos are read");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let images = report["images"].as_array().expect("images").iter();
    let label = |image: &serde_json::Value| image["top"][0]["label"].as_str().map(str::to_owned);
    let found: Vec<_> = images.filter_map(label).collect();
    let expected = ["chickadee", "Egyptian cat", "dragonfly", "military uniform", "daisy"];
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
}
