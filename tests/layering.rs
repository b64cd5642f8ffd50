//! Modules import only what lies below them.
#![cfg(not(miri))]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each module with the modules it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("quant", &[]),
    ("region", &[]),
    ("topology", &[]),
    ("weights", &["quant"]),
    ("values", &[]),
    ("kernels", &["tensor", "quant", "values", "weights"]),
    ("model", &["kernels", "tensor", "weights"]),
    ("plan", &["kernels", "model", "topology", "weights"]),
    (
        "artefact",
        &["kernels", "model", "plan", "region", "tensor", "topology", "values", "weights"],
    ),
    ("sync", &[]),
    ("platform", &["sync", "topology"]),
    ("queue", &["platform", "sync"]),
    ("team", &["platform", "queue", "sync", "tensor"]),
    ("stats", &["platform", "sync"]),
    (
        "pipeline",
        &[
            "artefact", "kernels", "model", "plan", "platform", "queue", "region", "stats", "sync",
            "team", "topology", "weights",
        ],
    ),
    ("live", &["pipeline", "plan", "platform", "stats", "topology"]),
    (
        "executor",
        &["kernels", "model", "pipeline", "plan", "platform", "sync", "team", "tensor", "topology"],
    ),
    ("fmt", &[]),
];

/// The code of a file: no comments, and nothing from the test module on.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let text = text.split("#[cfg(all(test").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn imports(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            imports(&entry.unwrap().path(), found);
        }
        return;
    }
    for part in code(&fs::read_to_string(path).unwrap()).split("crate::").skip(1) {
        let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.insert(name);
    }
}

#[test]
fn modules_import_only_what_lies_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeSet::new();
    for entry in fs::read_dir(&src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "lib" {
            continue;
        }
        let mut found = BTreeSet::new();
        imports(&path, &mut found);
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(module, _)| *module == name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        for import in found.iter().filter(|import| **import != name) {
            assert!(allowed.contains(&import.as_str()), "{name} imports {import}");
        }
        modules.insert(name);
    }
    assert_eq!(modules.len(), MAY_IMPORT.len());
}
