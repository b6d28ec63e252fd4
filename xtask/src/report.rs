//! What went well, what failed and what was skipped, said at the end where it cannot be overlooked.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Collects the outcome of several steps; a failed step does not keep the next from running.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<(String, Duration, Option<anyhow::Error>)>,
    skipped: Vec<String>,
}

impl Report {
    /// Runs one step under a heading.
    pub(crate) fn step(&mut self, title: &str, work: impl FnOnce(&mut Self) -> Result<()>) {
        println!("\n=== {title}");
        let start = Instant::now();
        let result = work(self);
        if let Err(error) = &result {
            eprintln!("FAILED: {title}: {error:#}");
        }
        self.record(title, start.elapsed(), result);
    }

    fn record(&mut self, title: &str, time: Duration, result: Result<()>) {
        self.steps.push((title.to_owned(), time, result.err()));
    }

    /// Notes what was not tested, once.
    pub(crate) fn skip(&mut self, what: &str) {
        if !self.skipped.iter().any(|known| known == what) {
            self.skipped.push(what.to_owned());
        }
    }

    /// Prints the outcome; an error if any step failed.
    pub(crate) fn finish(&self) -> Result<()> {
        println!("\n=== summary\n{}", self.summary());
        let failed = self.steps.iter().filter(|(_, _, error)| error.is_some()).count();
        ensure!(failed == 0, "{failed} of {} steps failed", self.steps.len());
        println!("all passed{}", if self.skipped.is_empty() { "" } else { ", except what was skipped" });
        Ok(())
    }

    fn summary(&self) -> String {
        let steps = self.steps.iter().map(|(title, time, error)| {
            let outcome = error.as_ref().map(|error| format!(": {error:#}"));
            let word = if outcome.is_some() { "FAILED" } else { "ok" };
            format!("{word:6} {:>5.0} s  {title}{}", time.as_secs_f64(), outcome.unwrap_or_default())
        });
        let skipped = self.skipped.iter().map(|what| format!("SKIPPED: {what}"));
        steps.chain(skipped).collect::<Vec<_>>().join("\n")
    }
}

/// Whether this is continuous integration, where everything has to be present.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn the_summary_tells_every_failure_and_every_skip_once() {
        let mut report = Report::default();
        report.record("first", Duration::from_secs(75), Err(anyhow!("broken")));
        report.record("second", Duration::ZERO, Ok(()));
        report.skip("no scans");
        report.skip("no scans");
        let expected = ["FAILED    75 s  first: broken", "ok         0 s  second", "SKIPPED: no scans"];
        assert_eq!(report.summary(), expected.join("\n"));
    }
}
