//! `cloakroom sessions`: everything that a user or a machine has been granted.

mod revoke;

use crate::failure::Failure;
use crate::place::{Aws, Place};
use crate::{Answer, print};
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use clap::Subcommand;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::KmsRoots;
use cloakroom_domain::claims::CLIENT_NAMESPACE;
use cloakroom_domain::config::Config;
use cloakroom_domain::ended;
use cloakroom_domain::family::{FamilyId, FamilyKind, FamilyRecord, FamilyState, IndexKey};
use cloakroom_domain::ports::{Clock, FindFamily, ReadEpoch, Roots, StoreError, SubjectIndex};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::Need;
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cloakroom sessions list --subject 'demo|alice'
  cloakroom sessions revoke --subject 'client|demo-machine'
  cloakroom sessions revoke --client demo-native --dry-run
  cloakroom sessions revoke --idp demo")]
pub(crate) enum Command {
    /// Shows those of one subject, without any claim
    List(Args),
    /// Revokes all of a subject, of a client or of an identity provider, and whatever of
    /// theirs is being started
    Revoke(revoke::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The `sub` of the JWT: PROVIDER|NAME for a user, client|ID for a machine
    #[arg(long, value_name = "SUB")]
    subject: String,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(place: &Place, command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::List(args) => {
            let config = place.config()?;
            let issuer = issuer_of(&config, &args.subject)?;
            let subject = Subject::find(issuer, &args.subject).await?;
            subject.list(args.json).await
        }
        Command::Revoke(args) => revoke::run(place, args).await,
    }
}

/// Who vouches for a subject: the other half of its true name.
fn issuer_of<'a>(config: &'a Config, subject: &str) -> Result<&'a str, Failure> {
    match subject.split_once('|') {
        Some((CLIENT_NAMESPACE, id)) if !id.is_empty() => Ok(&config.issuer),
        Some((idp, name)) if !name.is_empty() => config
            .identity_provider(idp)
            .map(|idp| idp.issuer.as_str())
            .ok_or_else(|| Failure::new("the configuration has no such identity provider")),
        _ => Err(Failure::new(
            "--subject must be PROVIDER|NAME for a user or client|ID for a machine",
        )),
    }
}

/// A subject in the table: one name per root key.
struct Subject {
    store: DynamoStore,
    names: Vec<IndexKey>,
    not_before: UnixTime,
}

impl Subject {
    async fn find(issuer: &str, subject: &str) -> Result<Self, Failure> {
        let settings = Place::settings(&[Need::Table, Need::MacKeys])?;
        let aws = Aws::connect().await?;
        let roots = KmsRoots::new(aws.kms, settings.mac_keys).roots().await?;
        Ok(Self {
            store: DynamoStore::new(aws.dynamodb, settings.table),
            names: roots
                .iter()
                .map(|root| ended::subject_key(root, issuer, subject))
                .collect(),
            not_before: settings.not_before,
        })
    }

    /// Goes past what cannot be read, and says so at the end.
    async fn list(&self, json: bool) -> Result<Answer, Failure> {
        let now = cloakroom_aws::world().now();
        let epoch = self.store.epoch().await?.max(self.not_before);
        let (mut families, mut unreadable) = (BTreeSet::new(), 0);
        for name in &self.names {
            let listed = self.store.families_of(name).await;
            if let Some(error) = listed.fault {
                return Err(error.into());
            }
            families.extend(listed.families);
            unreadable += listed.unreadable;
        }
        let mut rows = Vec::new();
        for family in families {
            match self.store.find_family(&family).await {
                Ok(Some(record)) => rows.push(Row::of(&record, epoch, now)),
                // Forgotten between the two reads.
                Ok(None) => {}
                Err(StoreError::Malformed(_)) => rows.push(Row::damaged(family)),
                Err(error) => return Err(error.into()),
            }
        }
        rows.sort_by_key(|row| row.created_at);
        if json {
            print::json(&serde_json::json!({ "sessions": rows, "unreadable": unreadable }));
        } else if rows.is_empty() {
            print::line("none");
        } else {
            for row in &rows {
                print::line(&row.sentence());
            }
        }
        if unreadable > 0 {
            print::error(&format!(
                "{unreadable} rows of the index name no session: somebody wrote to the table; `cloakroom sessions revoke` finds what they hide"
            ));
        }
        Ok(Answer::from(unreadable == 0))
    }
}

/// A family, as far as it is readable without any token.
#[derive(Debug, Serialize)]
struct Row {
    family: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    client: String,
    state: &'static str,
    created_at: UnixTime,
    idle_expires_at: UnixTime,
    absolute_expires_at: UnixTime,
}

impl Row {
    fn of(record: &FamilyRecord, epoch: UnixTime, now: UnixTime) -> Self {
        let ends = record.idle_expires_at.min(record.absolute_expires_at);
        Self {
            family: record.id.tag(),
            kind: match record.kind {
                FamilyKind::Session => "session",
                FamilyKind::Grant => "grant",
                FamilyKind::Client => "client",
            },
            client: record.client.clone(),
            state: match record.state {
                FamilyState::Active if ends.has_passed(now) || record.created_at < epoch => {
                    "expired"
                }
                FamilyState::Active => "active",
                FamilyState::Revoked => "revoked",
                FamilyState::Ended => "ended",
            },
            created_at: record.created_at,
            idle_expires_at: record.idle_expires_at,
            absolute_expires_at: record.absolute_expires_at,
        }
    }

    fn damaged(family: FamilyId) -> Self {
        Self {
            family: family.tag(),
            kind: "unknown",
            client: String::new(),
            state: "damaged",
            created_at: UnixTime(0),
            idle_expires_at: UnixTime(0),
            absolute_expires_at: UnixTime(0),
        }
    }

    fn sentence(&self) -> String {
        let client = if self.client.is_empty() {
            "browser"
        } else {
            &self.client
        };
        format!(
            "{}  {}  {client}  {}  since {}  idle until {}  at most until {}",
            self.family,
            self.kind,
            self.state,
            time(self.created_at),
            time(self.idle_expires_at),
            time(self.absolute_expires_at)
        )
    }
}

/// `2026-01-31T12:00:00Z`
pub(crate) fn time(time: UnixTime) -> String {
    i64::try_from(time.0)
        .ok()
        .and_then(|seconds| {
            DateTime::from_secs(seconds)
                .fmt(DateTimeFormat::DateTime)
                .ok()
        })
        .unwrap_or_else(|| time.0.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloakroom_local::system::DEMO_CONFIG;

    #[test]
    fn a_subject_is_known_by_who_vouches_for_it() {
        let config = Config::parse(DEMO_CONFIG).unwrap();
        let issuer = |subject| issuer_of(&config, subject).ok();
        assert_eq!(issuer("demo|alice"), Some("http://127.0.0.1:4000"));
        assert_eq!(issuer("demo|with|bars"), Some("http://127.0.0.1:4000"));
        assert_eq!(issuer("client|gone"), Some("http://localhost:3000"));
        for other in ["alice", "demo|", "client|", "|alice", "nobody|alice", ""] {
            assert_eq!(issuer(other), None, "{other}");
        }
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(time(UnixTime(1_767_225_600)), "2026-01-01T00:00:00Z");
        assert_eq!(time(UnixTime(u64::MAX)), u64::MAX.to_string());
    }
}
