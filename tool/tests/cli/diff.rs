//! `pipeit diff`: which tensor is the first to differ.

use std::fs;
use std::io::{Cursor, Write};

use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::{arrays, import, lower};
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::tflite::{changed, tables};
use crate::{DIGITS, Folder, Pipeit, digits, npy};

/// A tensor of the digits network: its key in an archive, its shape and its content.
struct Inside {
    key: String,
    shape: Vec<u64>,
    codes: Vec<i8>,
    /// No layer writes it, so that the content may be anything.
    is_folded: bool,
}

/// All that the operators of the digits network write for the first image, in their order.
fn inside() -> Vec<Inside> {
    let graph = import::tflite(&fs::read(DIGITS).expect("a file")).expect("a network");
    let network = lower::lower(&graph).expect("a network");
    let model = network.check().expect("a network");
    let interpreter = Interpreter::new(&model);
    let image = arrays::Array::read(&digits("images.npy", 0..1)).expect("an array");
    let tensor = model.tensor(model.inputs[0].tensor).expect("an input");
    interpreter.run(&[image.one(&model.inputs[0], &tensor.shape).expect("an image")]);
    let operators = graph.ops.iter();
    let inside = operators.map(|op| {
        let index = op.outputs[0].0;
        let shape: Vec<u64> =
            graph.tensors[index].shape.iter().map(|&extent| extent.into()).collect();
        let content = network.file_tensors[index].content;
        let anything = vec![0; shape.iter().product::<u64>() as usize];
        Inside {
            key: format!("t{index:03}_op{:02}_{}", op.index, op.kind.name()),
            shape,
            codes: content.map_or(anything, |tensor| interpreter.codes(tensor)),
            is_folded: content.is_none(),
        }
    });
    inside.collect()
}

/// Writes the golden vectors of the first image, with these tensors inside.
fn goldens(folder: &Folder, inside: &[Inside]) {
    folder.file("in_0.npy", &digits("images.npy", 0..1));
    folder.file("ref_0.npy", &digits("expected.npy", 0..1));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // In any order.
    for Inside { key, shape, codes, .. } in inside.iter().rev() {
        let name = format!("{key}.npy");
        archive.start_file(name, SimpleFileOptions::default()).expect("an entry");
        archive.write_all(&npy(shape, codes)).expect("an entry");
    }
    let bytes = archive.finish().expect("an archive").into_inner();
    folder.file("intermediate_ref_0.npz", &bytes);
}

/// The rows of a report, in order: index of the operator, and how many elements differ.
fn differing(report: &Value) -> Vec<(Option<u64>, u64)> {
    let tensors = report["tensors"].as_array().expect("tensors").iter();
    let row =
        |row: &Value| (row["operator"].as_u64(), row["differing"].as_u64().expect("a number"));
    tensors.map(row).collect()
}

#[test]
fn equal_tensors_are_all_compared_those_with_gaps_too() {
    let Some(pipeit) = Pipeit::new("equal_tensors_are_all_compared_those_with_gaps_too") else {
        return;
    };
    let folder = Folder::new("equal_tensors_are_all_compared");
    let inside = inside();
    goldens(&folder, &inside);
    let diff = ["diff", DIGITS, "--goldens", &folder.path("")];
    let report = pipeit.json(&[&diff[..], &["--layers"]].concat());
    let (folded, computed): (Vec<_>, Vec<_>) = (0..).zip(&inside).partition(|(_, t)| t.is_folded);
    let operators = computed.iter().map(|&(index, _)| Some(index)).chain([None]);
    assert_eq!(differing(&report), operators.map(|index| (index, 0)).collect::<Vec<_>>());
    // Convolutions that two sums are parts of.
    assert_eq!(folded.iter().map(|&(index, _)| index).collect::<Vec<u64>>(), [3, 11]);
    let keys: Vec<_> = folded.iter().map(|(_, tensor)| &tensor.key).collect();
    assert_eq!(report["folded"], json!(keys));
    assert_eq!(report["tensors"][6]["name"], "CONCATENATION");
    assert_eq!(report["tensors"][0]["first"], Value::Null);
    let text = pipeit.succeed(&[&diff[..], &["--layers"]].concat());
    assert!(text.contains("7 CONCATENATION"), "{text}");
    assert!(text.contains(&format!("{} tensors: every byte equal", computed.len() + 1)), "{text}");
    // Without layers, the outputs only.
    assert_eq!(differing(&pipeit.json(&diff)), [(None, 0)]);
}

#[test]
fn an_altered_golden_tensor_is_named_with_its_first_element() {
    let name = "an_altered_golden_tensor_is_named_with_its_first_element";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    let mut inside = inside();
    // Operator 5 writes a part of what operator 7 joins.
    let altered = &mut inside[5];
    let (first, last) = (altered.codes.len() / 2, altered.codes.len() - 1);
    for (at, by) in [(first, 3), (last, 100)] {
        altered.codes[at] = altered.codes[at].wrapping_add(by);
    }
    let expected = altered.codes[first];
    goldens(&folder, &inside);
    let diff = ["diff", DIGITS, "--goldens", &folder.path(""), "--layers"];
    let output = pipeit.run(&[&diff[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut rows = report["tensors"].as_array().expect("tensors").iter();
    let row = rows.find(|row| row["operator"] == 5).expect("a row");
    let found = expected.wrapping_sub(3);
    let of_first = json!({ "index": first, "expected": expected, "found": found });
    assert_eq!((&row["differing"], &row["first"]), (&json!(2), &of_first));
    let others = differing(&report).into_iter().filter(|&(operator, _)| operator != Some(5));
    assert!(others.clone().all(|(_, count)| count == 0), "{report}");
    let error = pipeit.fail(1, &diff);
    let of_error = format!("expected {expected}, found {found}");
    for part in ["frame 0, operator 5", &format!("index {first} ["), &of_error] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn an_altered_weight_makes_its_operator_the_first() {
    let name = "an_altered_weight_makes_its_operator_the_first";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    goldens(&folder, &inside());
    let altered = changed(&fs::read(DIGITS).expect("a file"), |model| {
        let (tensors, operators) = tables(model);
        let filters = operators[6].inputs.as_ref().expect("inputs")[1];
        let buffer = tensors[filters as usize].buffer;
        let buffer = &mut model.buffers.as_mut().expect("buffers")[buffer as usize];
        buffer.data.as_mut().expect("weights").iter_mut().for_each(|code| *code = !*code);
    });
    let altered = folder.file("altered.tflite", &altered);
    let diff = ["diff", &altered, "--goldens", &folder.path(""), "--layers"];
    let output = pipeit.run(&[&diff[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = differing(&report);
    let first = rows.iter().position(|&(_, count)| count > 0).expect("a difference");
    assert_eq!(rows[first].0, Some(6), "{rows:?}");
    // What is computed from it differs, too, down to the output.
    assert!(rows.iter().rev().take(2).all(|&(_, count)| count > 0), "{rows:?}");
    let error = pipeit.fail(1, &diff);
    assert!(error.contains("the first difference is in frame 0, operator 6 "), "{error}");
    // No layers, no operators: the output is what differs.
    let error = pipeit.fail(1, &diff[..4]);
    assert!(error.contains("the first difference is in frame 0, output 0"), "{error}");
    let error = pipeit.fail(1, &["verify", &altered, "--goldens", &folder.path("")]);
    assert!(error.contains("one core") && error.contains("output 0 differs"), "{error}");
}

#[test]
fn what_it_needs_to_compare_layers_is_said() {
    let name = "what_it_needs_to_compare_layers_is_said";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    let mut inside = inside();
    goldens(&folder, &inside);
    let artefact = folder.path("digits.pipeit");
    pipeit.succeed(&["import", DIGITS, "-o", &artefact]);
    let layers =
        |model: &str| pipeit.fail(1, &["diff", model, "--goldens", &folder.path(""), "--layers"]);
    assert!(layers(&artefact).contains("digits.pipeit: --layers needs the .tflite file"));
    // Without, an artefact will do.
    pipeit.succeed(&["diff", &artefact, "--goldens", &folder.path("")]);

    inside[5].shape.reverse();
    goldens(&folder, &inside);
    let error = layers(DIGITS);
    assert!(error.contains(&inside[5].key) && error.contains("the network has"), "{error}");
    fs::remove_file(folder.path("intermediate_ref_0.npz")).expect("a file");
    let error = layers(DIGITS);
    assert!(error.contains("intermediate_ref_0.npz: not found"), "{error}");
    for file in ["in", "ref"] {
        let renamed = folder.path(&format!("{file}_1.npy"));
        fs::rename(folder.path(&format!("{file}_0.npy")), renamed).expect("a file");
    }
    assert!(layers(DIGITS).contains("--layers needs frame 0"));
}
