//! Bad input: a message that helps, the right exit code, never a panic.

use std::fs;

use pipeit_rt::artefact::sign;
use pipeit_tool::import::schema::{BuiltinOperator, Model, TensorType};

use crate::tflite::{self, input, tables};
use crate::{DIGITS, Folder, Pipeit, cpu, digits, npy};

/// The digits network after `change`, as a file.
fn changed(change: impl FnOnce(&mut Model)) -> Vec<u8> {
    tflite::changed(&fs::read(DIGITS).expect("a network"), change)
}

#[test]
fn networks_that_cannot_be_executed() {
    let Some(pipeit) = Pipeit::new("networks_that_cannot_be_executed") else { return };
    let folder = Folder::new("networks_that_cannot_be_executed");
    let refuse = |name: &str, bytes: &[u8], parts: &[&str]| {
        let path = folder.file(name, bytes);
        for command in [&["inspect", &path][..], &["bench", &path]] {
            let error = pipeit.fail(1, command);
            assert!(error.contains(name), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    };
    let float = changed(|model| {
        for tensor in tables(model).0 {
            tensor.type_ = TensorType::Float32;
            tensor.quantization = None;
        }
    });
    refuse("float.tflite", &float, &["float network", "quantise"]);
    let dynamic = changed(|model| input(model).shape_signature = Some(vec![1, -1, 8, 1]));
    refuse("dynamic.tflite", &dynamic, &["dynamic shape [1, -1, 8, 1]"]);
    let batch = changed(|model| input(model).shape = Some(vec![4, 8, 8, 1]));
    refuse("batch.tflite", &batch, &["batch 4, want 1"]);
    let unsupported = changed(|model| {
        let codes = model.operator_codes.as_mut().expect("codes");
        for code in codes {
            if [BuiltinOperator::Softmax, BuiltinOperator::MaxPool2d].contains(&code.builtin_code) {
                code.builtin_code = BuiltinOperator::Svdf;
                code.deprecated_builtin_code = BuiltinOperator::Svdf as i8;
            }
        }
    });
    let ops = ["unsupported operators", "operator 8 SVDF", "operator 17 SVDF"];
    refuse("unsupported.tflite", &unsupported, &ops);
    let whole = fs::read(DIGITS).expect("a network");
    refuse("cut.tflite", &whole[..whole.len() / 2], &["cut.tflite"]);
    refuse("other.tflite", b"GIF89a and more", &["not a TensorFlow Lite file"]);
    refuse("other.bin", b"GIF89a and more", &["neither a TensorFlow Lite network nor"]);
    let missing = folder.path("missing.tflite");
    assert!(pipeit.fail(1, &["inspect", &missing]).contains("missing.tflite"));
}

#[test]
fn logs_of_other_things() {
    let Some(pipeit) = Pipeit::new("logs_of_other_things") else { return };
    let folder = Folder::new("logs_of_other_things");
    let artefact = folder.path("digits.pipeit");
    pipeit.succeed(&["import", DIGITS, "-o", &artefact]);
    let refuse = |log: &str, part: &str| {
        let log = folder.file("log.txt", log.as_bytes());
        let error =
            pipeit.fail(1, &["console", &log, &artefact, "--profile", &folder.path("p.json")]);
        assert!(error.contains(part), "{error}");
    };
    refuse("hello\n", "no trace of the artefact with the checksum");
    refuse("trace of artefact 1\nspan 0 0 x", "line 2 of the log is malformed");
    let missing = folder.path("missing.txt");
    let error = pipeit.fail(1, &["console", &missing, &artefact, "--trace", "t.json"]);
    assert!(error.contains("missing.txt"), "{error}");
}

#[test]
fn artefacts_that_are_not_whole() {
    let Some(pipeit) = Pipeit::new("artefacts_that_are_not_whole") else { return };
    let folder = Folder::new("artefacts_that_are_not_whole");
    let whole = folder.path("whole.pipeit");
    pipeit.succeed(&["import", DIGITS, "-o", &whole]);
    let whole = fs::read(whole).expect("an artefact");
    let refuse = |name: &str, bytes: &[u8], part: &str| {
        let path = folder.file(name, bytes);
        let error = pipeit.fail(1, &["inspect", &path]);
        assert!(error.contains(name) && error.contains(part), "{error}");
    };
    refuse("short.pipeit", &whole[..whole.len() - 1], "its header asks for");
    refuse("tiny.pipeit", &whole[..20], "asks for 64");
    refuse("empty.pipeit", b"", "asks for 64");
    let patched = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        bytes
    };
    refuse("magic.pipeit", &patched(0, b'X'), "not a pipeit artefact");
    refuse("corrupt.pipeit", &patched(whole.len() - 100, 77), "is corrupt");
    // A version of the future, everything else in order.
    let mut future = patched(8, 2);
    sign(&mut future);
    refuse("future.pipeit", &future, "format version 2, this program reads 1");
}

#[test]
fn machines_and_plans_that_do_not_fit() {
    let Some(pipeit) = Pipeit::new("machines_and_plans_that_do_not_fit") else { return };
    let folder = Folder::new("machines_and_plans_that_do_not_fit");
    let usage = |args: &[&str], part: &str| {
        let error = pipeit.fail(2, &[&["plan", DIGITS], args].concat());
        assert!(error.contains(part), "{error}");
    };
    // Planned for another machine, but not run.
    pipeit.succeed(&["plan", DIGITS, "--path", "i8mm"]);
    if cfg!(target_arch = "x86_64") {
        let error = pipeit.fail(2, &["bench", DIGITS, "--path", "i8mm"]);
        assert!(error.contains("path i8mm; it has"), "{error}");
    }
    let clusters = format!("big={0} little={0}", cpu());
    usage(&["--clusters", "big"], "is not a cluster");
    usage(&["--cores", "4096"], "CPU 4096");
    usage(&["--slow", "huge=2"], "no cluster \"huge\"");
    usage(&["--path", "sse2"], "reference, neon");
    usage(&["--clusters", &clusters, "--stages", "huge*1"], "no cluster \"huge\"");
    usage(&["--clusters", &clusters, "--stages", "big*2"], "2 cores of cluster \"big\"");
    usage(&["--clusters", &clusters, "--stages", "big"], "is not [FIRST-LAST=]");
    usage(&["--clusters", &clusters, "--stages", "0-3=big*1"], "layers 0 to 13");
    usage(&["--slots", "65"], "65 slots");
    usage(&["--clusters", &clusters, "--cores", "0"], "cannot be used with");
    let zero = ["bench", DIGITS, "--seconds", "0"];
    assert!(pipeit.fail(2, &zero).contains("seconds"));
    assert!(pipeit.fail(2, &["frobnicate"]).contains("frobnicate"));

    // An artefact with one plan, and a machine that is too small for it.
    let path = folder.path("big.pipeit");
    let big = format!("big={0},{0}", cpu());
    pipeit.succeed(&["plan", DIGITS, "--clusters", &big, "--stages", "big*2", "-o", &path]);
    let error = pipeit.fail(1, &["bench", &path, "--cores", &cpu().to_string()]);
    assert!(error.contains("needs 2 cores of cluster 0, the machine has 1"), "{error}");
}

#[test]
fn pictures_and_arrays_that_cannot_be_used() {
    let name = "pictures_and_arrays_that_cannot_be_used";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    let refuse = |path: &str, part: &str| {
        let error = pipeit.fail(1, &["run", DIGITS, path]);
        assert!(error.contains(path) && error.contains(part), "{error}");
    };
    refuse(&folder.0.to_string_lossy(), "no PNG, JPEG or BMP files in this folder");
    refuse(&folder.file("no.png", b"no picture"), "no.png");
    refuse(&folder.file("cut.bmp", b"BM\x00"), "cut.bmp");
    refuse(&folder.path("missing.jpg"), "missing.jpg");
    refuse(&folder.file("no.npy", b"no array"), "not a readable NumPy array");
    refuse(&folder.file("f4.npy", &npy(&[1, 8, 8, 1], &[0f32; 64])), "the network has int8");
    refuse(&folder.file("i4.npy", &npy(&[1, 8, 8, 1], &[0i32; 64])), "elements of type");
    refuse(&folder.file("shape.npy", &npy(&[64], &[0i8; 64])), "the network has 1x8x8x1");
    refuse(&folder.file("none.npy", &digits("images.npy", 0..0)), "0 frames");
    let error = pipeit.fail(2, &["run", DIGITS, "x.png", "--normalize", "caffe"]);
    assert!(error.contains("needs 3 channels"), "{error}");
    assert!(pipeit.fail(2, &["run", DIGITS]).contains("IMAGES"));

    let goldens = folder.path("");
    let verify = ["verify", DIGITS, "--goldens", &goldens];
    assert!(pipeit.fail(1, &verify).contains("no golden vectors"));
    folder.file("in_0.npy", &digits("images.npy", 0..2));
    assert!(pipeit.fail(1, &verify).contains("2 frames, want one"));
}
