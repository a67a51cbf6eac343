//! `cloakroom sessions`: everything that a user or a machine has been granted.

use crate::failure::Failure;
use crate::place::{Aws, Place};
use crate::{Answer, print};
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use clap::Subcommand;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::KmsRoots;
use cloakroom_domain::claims::CLIENT_NAMESPACE;
use cloakroom_domain::config::Config;
use cloakroom_domain::family::{
    FamilyId, FamilyKind, FamilyRecord, FamilyState, IndexKey, Transition,
};
use cloakroom_domain::grant;
use cloakroom_domain::ports::{
    Clock, FindFamily, ReadEpoch, Roots, StoreError, SubjectIndex, UpdateError, UpdateFamily,
};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::Need;
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cloakroom sessions list --subject 'demo|alice'
  cloakroom sessions revoke --subject 'client|demo-machine'")]
pub(crate) enum Command {
    /// Shows them, without any claim
    List(Args),
    /// Revokes them all, and whatever of theirs is being started
    Revoke(Args),
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

/// How long it is remembered that a subject was ended: far longer than any sign-in
/// can take that was started before.
const TOMBSTONE_SECONDS: u64 = 86_400;

pub(crate) async fn run(place: &Place, command: &Command) -> Result<Answer, Failure> {
    let (Command::List(args) | Command::Revoke(args)) = command;
    let config = place.config()?;
    let issuer = issuer_of(&config, &args.subject)?;
    let subject = Subject::find(issuer, &args.subject).await?;
    match command {
        Command::List(_) => subject.list(args.json).await?,
        Command::Revoke(_) => subject.revoke(args.json).await?,
    }
    Ok(Answer::Yes)
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
                .map(|root| grant::subject_key(root, issuer, subject))
                .collect(),
            not_before: settings.not_before,
        })
    }

    async fn families(&self) -> Result<BTreeSet<FamilyId>, Failure> {
        let mut families = BTreeSet::new();
        for name in &self.names {
            families.extend(self.store.families_of(name).await?);
        }
        Ok(families)
    }

    async fn list(&self, json: bool) -> Result<(), Failure> {
        let now = cloakroom_aws::world().now();
        let epoch = self.store.epoch().await?.max(self.not_before);
        let mut rows = Vec::new();
        for family in self.families().await? {
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
            print::json(&serde_json::json!({ "sessions": rows }));
        } else if rows.is_empty() {
            print::line("none");
        } else {
            for row in &rows {
                print::line(&row.sentence());
            }
        }
        Ok(())
    }

    async fn revoke(&self, json: bool) -> Result<(), Failure> {
        let now = cloakroom_aws::world().now();
        // First of all: nothing that is under way may slip through between the
        // query and the end of this. The next second, because what was started
        // in this one was started before us.
        for name in &self.names {
            self.store
                .end_subject(name, now.plus(1), now.plus(TOMBSTONE_SECONDS))
                .await?;
        }
        let mut count = Count::default();
        for family in self.families().await? {
            match self.store.update_family(&Transition::revoke(family)).await {
                Ok(()) => count.revoked += 1,
                Err(UpdateError::Refused(_)) => count.over_before += 1,
                Err(UpdateError::Store(_)) => count.failed += 1,
            }
        }
        if json {
            print::json(&count);
        } else {
            print::line(&format!(
                "{} revoked, {} were over before",
                count.revoked, count.over_before
            ));
        }
        if count.failed > 0 {
            return Err(Failure::new(format!(
                "{} could not be revoked: run it again",
                count.failed
            )));
        }
        Ok(())
    }
}

#[derive(Debug, Default, Serialize)]
struct Count {
    revoked: u32,
    over_before: u32,
    failed: u32,
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
