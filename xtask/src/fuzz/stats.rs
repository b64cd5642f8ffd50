//! Reads what libFuzzer says of a run, and prints it.

use std::path::PathBuf;

use serde_json::json;

use super::Target;

/// What a run came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stats {
    pub(super) seconds: f64,
    /// Inputs executed.
    executions: u64,
    /// Edges of the program's flow that some input has taken.
    edges: u64,
    /// Inputs in the corpus.
    corpus: u64,
    /// The input that was found.
    pub(super) finding: Option<PathBuf>,
    /// What it does.
    reason: Option<String>,
}

impl Stats {
    /// Takes note of a line of output.
    pub(super) fn read(&mut self, line: &str) {
        // Such as `#812 NEW cov: 2991 ft: 6513 corp: 254/174Kb ...`.
        if let Some(line) = line.strip_prefix('#') {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |word: &str| word.split('/').next()?.parse().ok();
            let after = |name| number(words.get(words.iter().position(|&w| w == name)? + 1)?);
            self.executions = words.first().and_then(|n| number(n)).unwrap_or(self.executions);
            self.edges = after("cov:").unwrap_or(self.edges);
            self.corpus = after("corp:").unwrap_or(self.corpus);
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(self.executions);
        } else if let Some((_, input)) = line.split_once("Test unit written to ") {
            self.finding = Some(PathBuf::from(input.trim()));
        } else if line.contains("panicked at") || line.contains("ERROR: ") {
            self.reason.get_or_insert_with(|| line.trim().to_owned());
        }
    }

    /// For a line of progress.
    pub(super) fn summary(&self) -> String {
        let Self { executions, edges, corpus, .. } = self;
        format!("{executions} executions, {edges} edges, {corpus} inputs kept")
    }

    fn per_second(&self) -> f64 {
        (self.executions as f64 / self.seconds.max(1e-3)).round()
    }
}

pub(super) fn table(results: &[(Target, Stats)]) -> String {
    let mut lines = vec![format!(
        "{:8}  {:>10}  {:>8}  {:>10}  {:>6}  {:>6}  {:>8}",
        "target", "executions", "seconds", "per second", "edges", "corpus", "findings"
    )];
    for (target, stats) in results {
        let Stats { seconds, executions, edges, corpus, finding, .. } = stats;
        lines.push(format!(
            "{target:8}  {executions:>10}  {seconds:>8.1}  {:>10}  {edges:>6}  {corpus:>6}  {:>8}",
            stats.per_second(),
            u8::from(finding.is_some())
        ));
    }
    for (target, Stats { finding, reason, .. }) in results {
        if let Some(input) = finding {
            let (reason, input) = (reason.as_deref().unwrap_or("unknown"), input.display());
            lines.push(format!("{target}: {reason}\n    input {input}"));
        }
    }
    lines.join("\n")
}

pub(super) fn json(results: &[(Target, Stats)]) -> String {
    let object = |(target, stats): &(Target, Stats)| {
        json!({
            "target": target.to_string(),
            "executions": stats.executions,
            "seconds": stats.seconds,
            "executions_per_second": stats.per_second(),
            "edges": stats.edges,
            "corpus": stats.corpus,
            "finding": stats.finding,
            "reason": stats.reason,
        })
    };
    format!("{:#}", results.iter().map(object).collect::<serde_json::Value>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Stats {
        let mut stats = Stats::default();
        output.lines().for_each(|line| stats.read(line));
        stats
    }

    #[test]
    fn a_run_without_findings() {
        let stats = read(
            "INFO: Seed: 94109603\n\
             #674\tINITED cov: 2990 ft: 6512 corp: 253/173Kb exec/s: 0 rss: 68Mb\n\
             #114399\tDONE   cov: 3977 ft: 8711 corp: 1098/724Kb lim: 4096 exec/s: 3690 rss: 9Mb\n\
             stat::number_of_executed_units: 114400\n",
        );
        let (executions, edges, corpus) = (114_400, 3977, 1098);
        assert_eq!(stats, Stats { executions, edges, corpus, ..Stats::default() });
    }

    #[test]
    fn a_finding() {
        let stats = read(
            "thread '<unnamed>' (149) panicked at src/targets/mod.rs:40:5:\n\
             ==149== ERROR: libFuzzer: deadly signal\n\
             artifact_prefix='a/'; Test unit written to a/crash-89ca\n\
             stat::number_of_executed_units: 1016\n",
        );
        assert_eq!(stats.finding, Some(PathBuf::from("a/crash-89ca")));
        assert!(table(&[(Target::Arrays, stats)]).contains("mod.rs:40:5"));
    }
}
