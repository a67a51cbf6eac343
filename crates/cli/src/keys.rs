//! `cloakroom keys`: the keys that sign JWTs, and how the next one takes over.
//!
//! In `kms` mode the keys and their order are a parameter of the stack: what is
//! printed here is for whoever deploys it, and nothing is changed behind the
//! template. In `data-key` mode the schedule is a record in the table, signed with a
//! key that no function may use: it is written here, and nowhere else.

mod data_key;
mod kms;

pub(crate) use data_key::{known, start};

use crate::Answer;
use crate::failure::Failure;
use crate::place::{Aws, Place};
use clap::Subcommand;
use cloakroom_aws::kms::KeyPlaces;
use cloakroom_domain::config::SigningMode;
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::{Need, Settings, in_mode};
use serde::Serialize;
use std::fmt;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(List),
    Rotate(Rotate),
}

/// Shows the keys of JWTs: which one signs, which are published, and until when
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// Brings in the next key, so that no JWT is refused meanwhile
///
/// `kms` mode: says which value of CLOAKROOM_SIGNING_KEYS to deploy next, and when
/// the step after it may come at the earliest. Deploys nothing. First the new key is
/// published (--new-key or --create), then it signs, then the old one is withdrawn.
///
/// `data-key` mode: makes a key and writes the key set in which it takes over, with
/// its schedule. There is no second step.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch on the command line"
)]
#[command(after_help = "Examples:
  cloakroom keys rotate --create        (kms mode, first step)
  cloakroom keys rotate                 (kms mode, the other steps; data-key mode)")]
pub(crate) struct Rotate {
    /// kms mode: the key that is to come
    #[arg(long, value_name = "ARN", conflicts_with = "create")]
    new_key: Option<String>,
    /// kms mode: makes the key that is to come; where the template makes the keys,
    /// add it there and use --new-key
    #[arg(long)]
    create: bool,
    /// data-key mode: for how many days the new key signs
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=400))]
    sign_for: u64,
    /// The present keys may be in other hands: the next one signs at once and they are
    /// withdrawn at once; services refuse JWTs until they have asked for the keys again
    #[arg(long)]
    compromised: bool,
    /// data-key mode: replaces a key set that cannot be read or believed any more
    #[arg(long)]
    start_over: bool,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// What a key does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// Published, and will sign.
    Next,
    /// Signs, and is published.
    Signs,
    /// Published until its last JWT is dead.
    Previous,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signs => "signs",
            Self::Previous => "previous",
        }
    }
}

/// What both modes say of a key.
#[derive(Debug, Serialize)]
struct Key {
    kid: String,
    /// The public key itself.
    jwk: serde_json::Value,
    signs: bool,
    role: Role,
}

impl Key {
    fn new(kid: &str, jwk: Option<&PublicJwk>, role: Role) -> Self {
        Self {
            kid: kid.to_owned(),
            jwk: serde_json::to_value(jwk).unwrap_or_default(),
            signs: role == Role::Signs,
            role,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.jwk.get("alg").and_then(|alg| alg.as_str());
        let (kid, role) = (&self.kid, self.role.name());
        write!(f, "{kid}  {}  {role:8}", algorithm.unwrap_or_default())
    }
}

pub(crate) async fn run(place: &Place, command: &Command) -> Result<Answer, Failure> {
    let config = place.config()?;
    let mode = config.jwt.mode;
    let settings = Place::settings(&in_mode(&[Need::ToSign], mode))?;
    let aws = Aws::connect().await?;
    match (command, mode) {
        (Command::List(args), SigningMode::Kms) => {
            kms::list(&aws, &settings, &config, args.json).await
        }
        (Command::List(args), SigningMode::DataKey) => {
            data_key::list(&aws, &settings, &config, args.json).await
        }
        (Command::Rotate(args), SigningMode::Kms) => {
            kms::rotate(&aws, &settings, &config, args).await
        }
        (Command::Rotate(args), SigningMode::DataKey) => {
            data_key::rotate(&aws, &settings, &config, args).await
        }
    }
}

/// Where the keys are, as the functions see it.
pub(crate) fn places(settings: &Settings) -> KeyPlaces {
    KeyPlaces {
        signing_keys: settings.signing_keys.clone(),
        signing_algorithms: settings.signing_algorithms.clone(),
        wrapping_key: settings.wrapping_key.clone(),
        keyset_key: settings.keyset_key.clone(),
        keyset_public_key: settings.keyset_public_key.clone(),
        keyset_serial: settings.keyset_serial,
    }
}

fn now() -> UnixTime {
    cloakroom_aws::world().clock.now()
}
