//! Generates the reader of TensorFlow Lite files from `schema/tflite.fbs`.

use std::path::Path;
use std::{env, fs};

const SCHEMA: &str = "schema/tflite.fbs";

fn main() {
    println!("cargo::rerun-if-changed={SCHEMA}");
    println!("cargo::rerun-if-changed=build.rs");
    let declarations = planus_translation::translate_files(&[SCHEMA]).expect("a valid schema");
    let code = planus_codegen::generate_rust(&declarations, false).expect("code for the schema");
    let out = env::var_os("OUT_DIR").expect("cargo sets the output directory");
    let out = Path::new(&out);
    fs::write(out.join("tflite.rs"), code).expect("a writable output directory");
    fs::write(out.join("operators.rs"), format!("{:?}", operators())).expect("the same directory");
}

/// The operators' names as the schema spells them, in the order of their codes from 0.
///
/// The generated code knows them by Rust names only.
fn operators() -> Vec<String> {
    let schema = fs::read_to_string(SCHEMA).expect("a readable schema");
    let (_, from) = schema.split_once("enum BuiltinOperator : int {").expect("an enumeration");
    let (list, _) = from.split_once('}').expect("its end");
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
