//! What the authorizer costs: `make bench`.

use clap::Parser;
use cloakroom_tests::bench::{self, Fault, Options};
use std::io::Write;
use std::path::PathBuf;

/// Measures a release build of the authorizer, and its peers beside it, against a local
/// system.
#[derive(Parser)]
struct Arguments {
    /// The bootstrap, such as target/release/authorizer
    bootstrap: PathBuf,
    /// Measures the authorizer alone, without its peers
    #[arg(long)]
    alone: bool,
    /// How often each program is started
    #[arg(long, default_value_t = 15)]
    starts: usize,
    /// How many tokens the uncached cases use once each
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// How often the cached case uses one token
    #[arg(long, default_value_t = 5000)]
    repeats: usize,
    /// How many items there are in the table beside those of the tokens
    #[arg(long, default_value_t = 0)]
    items: usize,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Shows what the programs log
    #[arg(long)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let arguments = Arguments::parse();
    let report = bench::run(&Options {
        bootstrap: arguments.bootstrap,
        peers: !arguments.alone,
        starts: arguments.starts,
        tokens: arguments.tokens,
        repeats: arguments.repeats,
        items: arguments.items,
        verbose: arguments.verbose,
    })
    .await?;
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        report.to_string()
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
