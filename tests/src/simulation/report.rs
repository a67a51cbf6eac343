//! Counts as money, and as a table.

use super::{Counts, Mode};
use serde::Serialize;
use std::fmt::Write;

/// Dollars per million, us-east-1, on demand (specs B-kms-7, B-ddb-8).
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// Signatures: an `RSA_2048` key.
    pub sign: f64,
    /// Other calls of KMS: symmetric keys and MACs.
    pub symmetric: f64,
    /// Read units: 4 KB, strongly consistent.
    pub read_unit: f64,
    /// Write units: 1 KB.
    pub write_unit: f64,
    /// Write units that a family is large.
    pub family: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            sign: 3.0,
            symmetric: 3.0,
            read_unit: 0.125,
            write_unit: 0.625,
            // A login's item with tokens, claims and a JWT is between 2 and 3 KB.
            family: 3.0,
        }
    }
}

/// What a million requests cost.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is remembered.
    pub mode: &'static str,
    /// Signatures by KMS.
    pub signs: f64,
    /// Of them per token, audience and JWT life.
    pub signs_per_life: f64,
    /// Calls of KMS per cold start.
    pub calls_per_start: f64,
    /// Reads of the table.
    pub reads: f64,
    /// Writes to the table.
    pub writes: f64,
    /// Dollars for KMS and DynamoDB, without what the starts cost.
    pub dollars: f64,
}

impl Row {
    /// Of a run.
    pub fn new(mode: Mode, counts: &Counts, prices: &Prices) -> Self {
        let millions = counts.requests as f64 / 1e6;
        let per_million = |count: u64| count as f64 / millions;
        let (signs, writes) = (per_million(counts.signs), per_million(counts.writes));
        let reads = per_million(counts.reads + counts.other_reads);
        Self {
            mode: mode.name(),
            signs,
            signs_per_life: counts.signs as f64 / counts.lives as f64,
            calls_per_start: counts.start_calls as f64 / counts.starts as f64,
            reads,
            writes,
            dollars: (signs * prices.sign
                + reads * prices.read_unit
                + writes * prices.family * prices.write_unit)
                / 1e6,
        }
    }
}

/// As the README has it.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| per million requests | KMS signatures | per token, audience and JWT life | KMS calls per cold start | table reads | table writes | KMS + DynamoDB |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {:.4} | {:.0} | {} | {} | ${:.2} |",
            row.mode,
            thousands(row.signs),
            row.signs_per_life,
            row.calls_per_start,
            thousands(row.reads),
            thousands(row.writes),
            row.dollars
        );
    }
    text
}

/// `1,234,567`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let cases = [
            (0.4, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (1_234_567.4, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_million_requests_cost_what_their_calls_cost() {
        let counts = Counts {
            requests: 2_000_000,
            starts: 10,
            signs: 1_000_000,
            start_calls: 20,
            reads: 2_000_000,
            other_reads: 0,
            writes: 1_000_000,
            lives: 1_000_000,
        };
        let row = Row::new(Mode::Shared, &counts, &Prices::default());
        let expected = 1.5 + 0.125 + 0.5 * 3.0 * 0.625;
        assert!((row.dollars - expected).abs() < 1e-9, "{}", row.dollars);
    }
}
