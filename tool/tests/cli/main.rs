//! The program as its users call it.

mod commands;
mod diff;
mod refusals;
mod shared;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/tflite.rs"]
mod tflite;
mod writes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, process};

use skip::skip;

/// The built-in network as a file.
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits/digits.tflite");

/// Whether the tests run on an emulated CPU.
fn is_emulated() -> bool {
    env::var_os("PIPEIT_EMULATED").is_some_and(|value| value == "1")
}

/// The program, unless it cannot be started here.
struct Pipeit;

impl Pipeit {
    fn new(test: &str) -> Option<Self> {
        if is_emulated() {
            skip(test, "an emulated program cannot start another");
            return None;
        }
        Some(Self)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeit"));
        command.args(args).output().expect("the program starts")
    }

    /// What it writes when it succeeds.
    fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The one line of JSON it writes.
    fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.succeed(&[args, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// What it says when it refuses, with this code.
    fn fail(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }
}

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("pipeit-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// The path of a file in it.
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file and returns its path.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The CPU that tests run on where it does not matter which.
fn cpu() -> usize {
    pipeit_tool::machine::CoreArgs::default().cpus().expect("CPUs")[0]
}

/// The bytes of a `.npy` file.
fn npy<T: npyz::AutoSerialize>(shape: &[u64], elements: &[T]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let builder = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes);
    let mut writer = builder.begin_nd().expect("a header");
    writer.extend(elements).expect("elements");
    writer.finish().expect("an end");
    bytes
}

/// Rows `range` of an array of bytes in the folder of the digits, as the same kind of array.
fn digits(name: &str, range: std::ops::Range<usize>) -> Vec<u8> {
    let path = Path::new(DIGITS).with_file_name(name);
    let array = pipeit_tool::arrays::Array::load(&path).expect("an array");
    let pipeit_tool::arrays::Elements::I8(codes) = array.elements else { panic!("int8") };
    let row: u64 = array.shape[1..].iter().product();
    let row = usize::try_from(row).expect("a small array");
    let shape = [&[range.len() as u64], &array.shape[1..]].concat();
    npy(&shape, &codes[range.start * row..range.end * row])
}
