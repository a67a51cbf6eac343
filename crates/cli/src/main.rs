//! The command `cloakroom`: the local system, and what an operator needs.
//!
//! One file per command. Every command answers yes (exit code 0) or no (1), or
//! says why it cannot tell (2: wrong usage, or something in the environment).

mod caller;
mod check;
mod clients;
mod dev;
mod doctor;
mod epoch;
mod explain;
mod failure;
mod keys;
mod place;
mod print;
mod sessions;
mod setup;

use clap::{Parser, Subcommand};
use failure::Failure;
use place::Place;
use std::path::PathBuf;
use std::process::ExitCode;

/// Opaque tokens outside, signed JWTs inside: runs the whole system on this machine,
/// judges its configuration, and operates a deployed one.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    /// The configuration [default: $CLOAKROOM_CONFIG, then ./cloakroom.toml, for
    /// `dev` the demo's own]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 yes, 1 no, 2 wrong usage or environment.";

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Args),
    Check(check::Args),
    Explain(explain::Args),
    Setup(setup::Args),
    Doctor(doctor::Args),
    /// Shows or ends everything that a user or a machine has been granted
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Shows or moves the moment before which everything issued is dead
    #[command(subcommand)]
    Epoch(epoch::Command),
    /// Shows the keys that sign, or brings in the next one
    #[command(subcommand)]
    Keys(keys::Command),
    /// Shows the clients, or makes what the configuration needs for a new one
    #[command(subcommand)]
    Clients(clients::Command),
}

/// What a command found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Yes,
    No,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) => {
            for line in failure.lines() {
                print::error(line);
            }
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> Result<Answer, Failure> {
    let place = Place::new(cli.config);
    match cli.command {
        Command::Dev(args) => dev::run(&place, args).await,
        Command::Check(args) => check::run(&place, &args),
        Command::Explain(args) => explain::run(&place, &args).await,
        Command::Setup(args) => Box::pin(setup::run(&place, &args)).await,
        Command::Doctor(args) => Box::pin(doctor::run(&place, &args)).await,
        Command::Sessions(command) => sessions::run(&place, &command).await,
        Command::Epoch(command) => epoch::run(&place, &command).await,
        Command::Keys(command) => Box::pin(keys::run(&place, &command)).await,
        Command::Clients(command) => clients::run(&place, &command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
