//! What a large system costs: `make simulate`.

use clap::Parser;
use cloakroom_domain::config::Config;
use cloakroom_tests::simulation::{Mode, Prices, Row, Scenario, run, table};
use std::io::Write;
use std::path::PathBuf;

/// Runs the authorizer's rules over many environments and very many tokens
#[derive(Parser)]
struct Arguments {
    /// The configuration whose numbers hold [default: those that hold when it says
    /// nothing]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Execution environments
    #[arg(long, default_value_t = Scenario::default().environments)]
    environments: u32,
    /// Tokens in use
    #[arg(long, default_value_t = Scenario::default().tokens)]
    tokens: u32,
    /// Requests per second
    #[arg(long, default_value_t = Scenario::default().rate)]
    rate: f64,
    /// Seconds
    #[arg(long, default_value_t = Scenario::default().duration)]
    duration: u64,
    /// Zipf's exponent
    #[arg(long, default_value_t = Scenario::default().skew)]
    skew: f64,
    /// Same seed, same run
    #[arg(long, default_value_t = Scenario::default().seed)]
    seed: u64,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// What holds when a configuration says nothing.
const DEFAULTS: &str = "config_version = 1\nissuer = \"https://app.example.com\"\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let text = match &arguments.config {
        Some(file) => std::fs::read_to_string(file)?,
        None => DEFAULTS.to_owned(),
    };
    let config = Config::parse(&text)?;
    let scenario = Scenario {
        environments: arguments.environments.max(1),
        tokens: arguments.tokens.max(1),
        rate: arguments.rate,
        duration: arguments.duration,
        skew: arguments.skew,
        seed: arguments.seed,
        ..Scenario::default()
    };
    let rows = Mode::ALL.map(|mode| {
        let counts = run(mode, &scenario, &config);
        Row::new(mode, &counts, &Prices::default())
    });
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&rows)?)
    } else {
        table(&rows)
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
