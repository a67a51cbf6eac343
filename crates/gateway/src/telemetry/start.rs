//! What a start costs, step by step.

use std::fmt::Write as _;
use std::time::Instant;

/// Measures the steps of a start; one line of the log, at `debug`.
#[derive(Debug)]
pub struct Start {
    last: Instant,
    steps: String,
}

impl Start {
    /// From here.
    pub fn begin() -> Self {
        Self {
            last: Instant::now(),
            steps: String::new(),
        }
    }

    /// What was done since the last step, or since the beginning.
    pub fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        let micros = now.duration_since(self.last).as_micros();
        let separator = if self.steps.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(self.steps, "{separator}{name} {micros}");
        self.last = now;
    }

    /// Writes the line: names, each with its microseconds.
    pub fn emit(&self) {
        tracing::debug!(target: "cloakroom::start", micros = self.steps.as_str(), "started");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_named_with_its_microseconds() {
        let mut start = Start::begin();
        start.step("settings");
        start.step("clients");
        let steps: Vec<_> = start.steps.split(", ").collect();
        let names: Vec<_> = steps
            .iter()
            .filter_map(|step| step.rsplit_once(' '))
            .collect();
        assert_eq!(
            names.iter().map(|step| step.0).collect::<Vec<_>>(),
            ["settings", "clients"]
        );
        assert!(names.iter().all(|step| step.1.parse::<u64>().is_ok()));
    }
}
