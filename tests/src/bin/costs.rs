//! What a month costs: `make costs`.

use clap::Parser;
use cloakroom_tests::costs::{Measured, tables};
use std::io::Write;
use std::path::PathBuf;

/// Dollars per million requests and per month, beside what a team would pick instead
#[derive(Parser)]
struct Arguments {
    /// What `make bench BENCH_ARGS=--json` has printed
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/measured.json"))]
    measured: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let measured: Measured = serde_json::from_slice(&std::fs::read(arguments.measured)?)?;
    Ok(std::io::stdout().write_all(tables(&measured)?.as_bytes())?)
}
