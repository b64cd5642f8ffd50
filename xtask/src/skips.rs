//! Collects the tests that skipped themselves.
//!
//! cargo hides what a passing test prints. So a test that skips itself also appends its line,
//! `skipped: NAME: REASON`, to the file that the variable `PIPEIT_SKIP_LOG` names.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

/// The file of one run.
pub(crate) struct SkipLog {
    path: PathBuf,
}

impl SkipLog {
    /// An empty file in the target folder, of a name no other run uses at the same time.
    pub(crate) fn create(target_dir: &Path) -> Result<Self> {
        fs::create_dir_all(target_dir).context("cannot create the target folder")?;
        let path = target_dir.join(format!("skipped-tests-{}.log", process::id()));
        fs::write(&path, "").with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// What `PIPEIT_SKIP_LOG` has to be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that `test` is left out.
    pub(crate) fn add(&self, test: &str, reason: &str) -> Result<()> {
        let line = format!("skipped: {test}: {reason}\n");
        print!("{line}");
        let file = OpenOptions::new().append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .context("cannot write the log of skipped tests")
    }

    /// Removes the file and returns its distinct lines.
    pub(crate) fn finish(self) -> Result<Vec<String>> {
        let bytes = fs::read(&self.path).context("cannot read the log of skipped tests")?;
        fs::remove_file(&self.path).context("cannot remove the log of skipped tests")?;
        Ok(distinct(&String::from_utf8_lossy(&bytes)))
    }
}

/// The lines of `text`, none twice, in order of first appearance.
fn distinct(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_once() {
        let text = "skipped: b\n\nskipped: a\nskipped: b \n";
        assert_eq!(distinct(text), ["skipped: b", "skipped: a"]);
        assert!(distinct("").is_empty());
    }
}
