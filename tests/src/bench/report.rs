//! The figures of all programs side by side, and the ratios beside what they should be.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// On what.
    pub machine: Vec<String>,
    /// The programs, in the order of the table.
    pub programs: Vec<&'static str>,
    /// What was measured of each.
    pub rows: Vec<Row>,
    /// What our start consists of, in milliseconds.
    pub start: BTreeMap<String, f64>,
    /// What was hoped for.
    pub aims: Vec<Aim>,
}

/// One measure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Of what.
    pub name: &'static str,
    /// ms, µs, MB or 1/s.
    pub unit: &'static str,
    /// By program; absent where it was not measured or the system does not tell.
    pub figures: BTreeMap<&'static str, f64>,
}

/// A limit, and what was reached.
#[derive(Clone, Debug, Serialize)]
pub struct Aim {
    /// What is limited.
    pub name: String,
    /// How.
    pub limit: f64,
    /// What it is; absent if one side was not measured.
    pub reached: Option<f64>,
}

impl Aim {
    fn verdict(&self) -> &'static str {
        match self.reached {
            Some(reached) if reached > self.limit => "missed",
            Some(_) => "ok",
            None => "",
        }
    }
}

impl Report {
    /// One figure.
    pub fn figure(&self, row: &str, program: &str) -> Option<f64> {
        let row = self.rows.iter().find(|each| each.name == row)?;
        row.figures.get(program).copied()
    }

    /// Asks that a figure of ours be at most `limit`.
    pub(super) fn at_most(&mut self, row: &'static str, program: &str, limit: f64) {
        let reached = self.figure(row, program);
        let unit = self.rows.iter().find(|each| each.name == row);
        let unit = unit.map_or("", |row| row.unit);
        self.aims.push(Aim {
            name: format!("{row}, {unit}"),
            limit,
            reached,
        });
    }

    /// Asks that a figure of ours be at most `limit` times another's.
    pub(super) fn at_most_times(
        &mut self,
        row: &'static str,
        ours: &str,
        other: (&'static str, &str),
        limit: f64,
    ) {
        let (other_row, other) = other;
        let reached = self
            .figure(row, ours)
            .zip(self.figure(other_row, other))
            .map(|(ours, other)| ours / other);
        self.aims.push(Aim {
            name: format!("{row} / {other}'s"),
            limit,
            reached,
        });
    }

    /// Asks that a figure of ours be at most `limit` more than another's.
    pub(super) fn at_most_above(&mut self, row: &'static str, ours: &str, other: &str, limit: f64) {
        let reached = self
            .figure(row, ours)
            .zip(self.figure(row, other))
            .map(|(ours, other)| ours - other);
        self.aims.push(Aim {
            name: format!("{row} - {other}'s"),
            limit,
            reached,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.machine {
            writeln!(f, "{line}")?;
        }
        write!(f, "\n{:<34}", "")?;
        for program in &self.programs {
            write!(f, "{program:>11}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<34}", format!("{}, {}", row.name, row.unit))?;
            for program in &self.programs {
                write!(f, "{:>11}", number(row.figures.get(program).copied()))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nour start, ms")?;
        for (step, took) in &self.start {
            writeln!(f, "{step:<44}{:>10}", number(Some(*took)))?;
        }
        writeln!(f, "\n{:<44}{:>10}{:>10}", "", "at most", "reached")?;
        for aim in &self.aims {
            let (limit, reached) = (number(Some(aim.limit)), number(aim.reached));
            writeln!(
                f,
                "{:<44}{limit:>10}{reached:>10} {}",
                aim.name,
                aim.verdict()
            )?;
        }
        f.write_str(
            "\nCPU is per invocation, from the kernel's accounting; times are medians unless they say\n\
             otherwise, and latency includes the embedded DynamoDB and KMS.\n",
        )
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// The value that `percent` in a hundred do not exceed; zero of nothing.
pub(super) fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no file or process has 2^52 bytes"
)]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let row = |name, figures: &[(&'static str, f64)]| Row {
            name,
            unit: "ms",
            figures: figures.iter().copied().collect(),
        };
        Report {
            machine: vec!["a machine".to_owned()],
            programs: vec!["a", "b"],
            rows: vec![
                row("start", &[("a", 3.0), ("b", 2.0)]),
                row("miss", &[("a", 1.0)]),
            ],
            start: BTreeMap::new(),
            aims: Vec::new(),
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<_> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(values.clone(), 50), Duration::from_millis(5));
        assert_eq!(percentile(values.clone(), 99), Duration::from_millis(10));
        assert_eq!(percentile(values, 0), Duration::from_millis(1));
        assert_eq!(percentile(Vec::new(), 50), Duration::ZERO);
    }

    #[test]
    fn an_aim_is_missed_only_above_its_limit() {
        let mut report = report();
        report.at_most("start", "a", 3.0);
        report.at_most("start", "a", 2.9);
        report.at_most_times("start", "a", ("start", "b"), 1.5);
        report.at_most_times("start", "a", ("start", "b"), 1.4);
        report.at_most_above("start", "a", "b", 1.0);
        report.at_most_above("start", "a", "b", 0.9);
        let verdicts: Vec<_> = report.aims.iter().map(Aim::verdict).collect();
        assert_eq!(verdicts, ["ok", "missed", "ok", "missed", "ok", "missed"]);
    }

    #[test]
    fn what_was_not_measured_is_shown_as_such() {
        let mut report = report();
        report.at_most_times("miss", "a", ("miss", "b"), 1.0);
        assert_eq!(report.aims[0].verdict(), "");
        let table = report.to_string();
        assert!(
            table.contains("miss, ms                                 1.00          -"),
            "{table}"
        );
    }
}
