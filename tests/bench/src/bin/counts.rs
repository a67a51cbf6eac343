//! Counts the instructions of each step of a decision with callgrind, and holds them to the
//! budget in `tests/bench/budget.json`.
//!
//! Counts are repeatable for one compiler and one machine's instruction set; so another
//! `rustc -V` than the budget's warns, the same fails.

use clap::Parser;
use cloakroom_bench::STEPS;
use cloakroom_gateway::telemetry::{self, Format};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

type Fault = Box<dyn Error + Send + Sync>;

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.json");

/// More than this above the budget is a failure.
const GROWTH: f64 = 1.05;

/// How often a step is taken in the two runs whose difference is counted: what it costs to
/// start is in both.
const FEW: u64 = 50;
const MANY: u64 = 550;

/// Counts instructions per step, with valgrind.
#[derive(Parser)]
struct Arguments {
    /// Makes what is counted now the budget
    #[arg(long)]
    write: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Takes one step so often, and counts nothing: what valgrind runs
    #[arg(long, num_args = 2, value_names = ["STEP", "TIMES"], hide = true)]
    take: Option<Vec<String>>,
}

/// What was counted, and by which compiler it was built.
#[derive(Debug, Deserialize, Serialize)]
struct Budget {
    rustc: String,
    instructions: BTreeMap<String, u64>,
}

fn main() -> Result<ExitCode, Fault> {
    let arguments = Arguments::parse();
    if let Some([step, times]) = arguments.take.as_deref() {
        take(step, times.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let counted = Budget {
        rustc: rustc()?,
        instructions: STEPS
            .iter()
            .map(|step| Ok((step.name.to_owned(), count(step.name)?)))
            .collect::<Result<_, Fault>>()?,
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&counted)?)?;
    }
    if arguments.write {
        std::fs::write(BUDGET, serde_json::to_string_pretty(&counted)? + "\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let budget: Budget = serde_json::from_slice(&std::fs::read(Path::new(BUDGET))?)?;
    let binding = budget.rustc == counted.rustc;
    let mut over = false;
    if !arguments.json {
        writeln!(
            out,
            "{:<32}{:>12}{:>12}",
            "instructions per step", "budget", "counted"
        )?;
    }
    for step in &STEPS {
        let counted = counted
            .instructions
            .get(step.name)
            .copied()
            .unwrap_or_default();
        let budget = budget
            .instructions
            .get(step.name)
            .copied()
            .unwrap_or_default();
        let verdict = if grew(budget, counted) { "more" } else { "" };
        over |= grew(budget, counted);
        if !arguments.json {
            writeln!(out, "{:<32}{budget:>12}{counted:>12} {verdict}", step.name)?;
        }
    }
    if over && !binding {
        writeln!(
            out,
            "the budget is of {}: --write makes a new one",
            budget.rustc
        )?;
    }
    Ok(if over && binding {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no step takes 2^52 instructions"
)]
fn grew(budget: u64, counted: u64) -> bool {
    counted as f64 > budget as f64 * GROWTH
}

fn take(name: &str, times: u64) -> Result<(), Fault> {
    let step = STEPS
        .iter()
        .find(|step| step.name == name)
        .ok_or("no such step")?;
    // The line that every decision writes is part of what it costs.
    telemetry::init("bench", tracing::Level::INFO, Format::Json);
    let mut once = step.make();
    for _ in 0..times {
        once();
    }
    Ok(())
}

/// Instructions of one more time.
fn count(step: &str) -> Result<u64, Fault> {
    let few = instructions(step, FEW)?;
    let many = instructions(step, MANY)?;
    Ok(many.saturating_sub(few) / (MANY - FEW))
}

fn instructions(step: &str, times: u64) -> Result<u64, Fault> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--take", step, &times.to_string()])
        .output()
        .map_err(|_| "valgrind is missing: install it (Debian: apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{step} did not run: {said}").into());
    }
    said.lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| "valgrind counted nothing".into())
}

fn rustc() -> Result<String, Fault> {
    let output = Command::new("rustc").arg("-V").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
