//! Tests that leave themselves out say so.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Says that a test is left out: to whoever runs it, past the harness that would hide it, and
/// to whoever counts.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("PIPEIT_SKIP_LOG") {
        let file = OpenOptions::new().create(true).append(true).open(log);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the log is writable");
    }
}

/// The folder with networks that are not in the repository, unless `test` is left out.
pub(crate) fn shared(test: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("PIPEIT_SHARED");
    if shared.is_none() {
        skip(test, "PIPEIT_SHARED is not set");
    }
    shared.map(PathBuf::from)
}
