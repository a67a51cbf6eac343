//! The figures, each beside what it should be, as a table or as JSON.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order of the table.
    pub figures: Vec<Figure>,
}

/// One figure: the less, the better.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: &'static str,
    /// ms, µs or MB.
    pub unit: &'static str,
    /// What it should stay under.
    pub aim: Option<f64>,
    /// What it is; absent where this system does not tell.
    pub reached: Option<f64>,
}

impl Report {
    pub(super) fn new(figures: impl Into<Vec<Figure>>) -> Self {
        Self {
            figures: figures.into(),
        }
    }
}

impl Figure {
    pub(super) fn new(
        name: &'static str,
        unit: &'static str,
        aim: Option<f64>,
        reached: impl Into<Option<f64>>,
    ) -> Self {
        Self {
            name,
            unit,
            aim,
            reached: reached.into(),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.aim, self.reached) {
            (Some(aim), Some(reached)) if reached > aim => "missed",
            (Some(_), Some(_)) => "ok",
            (Some(_), None) | (None, _) => "",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {:>9} {:>9}", "", "aim", "reached")?;
        for figure in &self.figures {
            let Figure {
                name,
                unit,
                aim,
                reached,
            } = figure;
            let (aim, reached) = (number(*aim), number(*reached));
            writeln!(
                f,
                "{name:<28} {aim:>9} {reached:>9} {unit:<2} {}",
                figure.verdict()
            )?;
        }
        f.write_str(
            "CPU is per invocation; times are medians unless they say otherwise, and latency\n\
             includes the embedded DynamoDB and KMS.\n",
        )?;
        if self.figures.iter().any(|figure| figure.reached.is_none()) {
            f.write_str("Linux alone tells CPU time and memory; python3 makes the zip.\n")?;
        }
        Ok(())
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

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<_> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(values.clone(), 50), Duration::from_millis(5));
        assert_eq!(percentile(values.clone(), 99), Duration::from_millis(10));
        assert_eq!(percentile(values, 0), Duration::from_millis(1));
        assert_eq!(percentile(Vec::new(), 50), Duration::ZERO);
    }

    #[test]
    fn a_figure_misses_its_aim_only_above_it() {
        let verdict = |aim, reached| Figure::new("", "", aim, reached).verdict();
        assert_eq!(verdict(Some(2.0), Some(2.0)), "ok");
        assert_eq!(verdict(Some(2.0), Some(2.1)), "missed");
        assert_eq!(verdict(Some(2.0), None), "");
        assert_eq!(verdict(None, Some(2.0)), "");
    }

    #[test]
    fn what_is_not_known_is_shown_as_such() {
        let report = Report::new([Figure::new("peak memory", "MB", Some(32.0), None)]);
        let table = report.to_string();
        assert!(table.contains("32.00         - MB"), "{table}");
        assert!(table.contains("Linux alone tells"), "{table}");
    }
}
