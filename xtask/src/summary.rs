//! What came of a run: a line per step, the skipped tests, and the counts.

use core::fmt;
use core::time::Duration;

/// Result of one step.
pub(crate) struct Outcome {
    /// The step's name.
    pub(crate) name: &'static str,
    /// How long it ran.
    pub(crate) took: Duration,
    /// Why it failed; empty if it did not.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    /// `ok` or `FAILED`.
    pub(crate) fn word(&self) -> &'static str {
        if self.failures.is_empty() { "ok" } else { "FAILED" }
    }
}

/// Results of all steps that ran, shown as a table.
///
/// Its last line is `N passed, N failed`, followed by `, N skipped` if tests skipped themselves.
pub(crate) struct Summary {
    /// One per step, in order.
    pub(crate) steps: Vec<Outcome>,
    /// One line per test that skipped itself.
    pub(crate) skipped: Vec<String>,
}

impl Summary {
    /// Whether no step failed.
    pub(crate) fn is_success(&self) -> bool {
        self.failed() == 0
    }

    fn failed(&self) -> usize {
        self.steps.iter().filter(|step| !step.failures.is_empty()).count()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
        for step in &self.steps {
            writeln!(f, "{:width$}  {:>8}  {}", step.name, seconds(step.took), step.word())?;
            for failure in &step.failures {
                writeln!(f, "{:width$}  {:>8}    {failure}", "", "")?;
            }
        }
        for line in &self.skipped {
            writeln!(f, "{line}")?;
        }
        let failed = self.failed();
        write!(f, "{} passed, {failed} failed", self.steps.len() - failed)?;
        if !self.skipped.is_empty() {
            write!(f, ", {} skipped", self.skipped.len())?;
        }
        Ok(())
    }
}

/// A duration as `12.3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, took_ms: u64, failures: &[&str]) -> Outcome {
        let failures = failures.iter().map(|&failure| failure.to_owned()).collect();
        Outcome { name, took: Duration::from_millis(took_ms), failures }
    }

    #[test]
    fn shows_every_failure() {
        let summary = Summary {
            steps: vec![
                outcome("format", 340, &[]),
                outcome("host tests", 83_210, &["one", "two"]),
            ],
            skipped: vec!["skipped: no data".to_owned()],
        };
        assert_eq!(
            summary.to_string(),
            "format         0.3 s  ok\n\
             host tests    83.2 s  FAILED\n                        one\n                        two\n\
             skipped: no data\n\
             1 passed, 1 failed, 1 skipped"
        );
        assert!(!summary.is_success());
    }

    #[test]
    fn shows_success() {
        let summary = Summary { steps: vec![outcome("docs", 1000, &[])], skipped: vec![] };
        assert_eq!(summary.to_string(), "docs     1.0 s  ok\n1 passed, 0 failed");
        assert!(summary.is_success());
    }
}
