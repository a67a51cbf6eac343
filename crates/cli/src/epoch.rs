//! `cloakroom epoch`: the moment before which everything issued is dead.

use crate::failure::Failure;
use crate::place::Place;
use crate::{Answer, print, sessions};
use clap::Subcommand;
use cloakroom_domain::ports::{Clock, ReadEpoch};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::Need;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows it: the later of the table's and CLOAKROOM_NOT_BEFORE
    Show(Args),
    /// Moves it to now: every session, every token and every grant is dead
    ///
    /// For the day when secrets or the table may have leaked. Functions notice
    /// within `revocation.max_latency` (at least 5 s). It never moves back.
    Bump(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(place: &Place, command: &Command) -> Result<Answer, Failure> {
    let settings = Place::settings(&[Need::Table])?;
    let store = Place::store(&settings).await?;
    let (args, stored, moved) = match command {
        Command::Show(args) => (args, store.epoch().await?, false),
        Command::Bump(args) => {
            // What is issued within this second, before us, must not survive: so
            // the next second is the first that counts.
            let now = cloakroom_aws::world().now();
            (args, store.bump_epoch(now.plus(1)).await?, true)
        }
    };
    let epoch = stored.max(settings.not_before);
    if args.json {
        print::json(&serde_json::json!({ "epoch": epoch }));
    } else if epoch == UnixTime(0) {
        print::line("never set");
    } else {
        let when = sessions::time(epoch);
        print::line(&format!(
            "everything issued before {when} ({}) is dead",
            epoch.0
        ));
    }
    if moved && !args.json {
        // Only the configuration knows; without one the general rule stands.
        let within = place.config().map(|config| config.epoch_ttl());
        let within = within.map_or_else(
            |_| "revocation.max_latency".to_owned(),
            |s| format!("{s} s"),
        );
        print::line(&format!("the functions notice within {within}"));
    }
    Ok(Answer::Yes)
}
