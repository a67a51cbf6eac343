//! `cloakroom keys`: the keys that sign, as services see them.

use crate::failure::Failure;
use crate::place::{Aws, Place};
use crate::{Answer, print};
use clap::Subcommand;
use cloakroom_aws::kms::KmsPublicKeys;
use cloakroom_domain::ports::PublicKeys;
use cloakroom_gateway::settings::Need;
use serde::Serialize;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(List),
}

/// Shows the keys of CLOAKROOM_SIGNING_KEYS: the first signs, all are published
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    kid: String,
    arn: String,
    /// The public key itself.
    jwk: serde_json::Value,
    signs: bool,
}

pub(crate) async fn run(place: &Place, command: &Command) -> Result<Answer, Failure> {
    let Command::List(args) = command;
    let config = place.config()?;
    let signing_keys = Place::settings(&[Need::SigningKeys])?.signing_keys;
    let kms = Aws::connect().await.kms;
    let keys = KmsPublicKeys::new(kms, signing_keys.clone(), config.jwt.algorithm)
        .public_keys()
        .await?;
    let rows: Vec<_> = keys
        .iter()
        .zip(signing_keys)
        .enumerate()
        .map(|(i, (key, arn))| Row {
            kid: key.kid().to_owned(),
            arn,
            jwk: serde_json::to_value(key).unwrap_or_default(),
            signs: i == 0,
        })
        .collect();
    if args.json {
        print::json(&serde_json::json!({ "keys": rows }));
    } else {
        for row in &rows {
            let algorithm = row.jwk.get("alg").and_then(|alg| alg.as_str());
            let signs = if row.signs { "signs" } else { "published" };
            let algorithm = algorithm.unwrap_or_default();
            print::line(&format!("{}  {algorithm}  {signs}  {}", row.kid, row.arn));
        }
    }
    Ok(Answer::Yes)
}
