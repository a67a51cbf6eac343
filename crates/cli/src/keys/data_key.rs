//! `data-key` mode: the key set in the table.

use super::{Key, Role, Rotate, now, places};
use crate::failure::Failure;
use crate::place::Aws;
use crate::{Answer, print, sessions};
use base64::Engine;
// Unpadded: parameters and environment files take a second `=` amiss.
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use cloakroom_aws::dynamo::{DynamoStore, WriteKeySetError};
use cloakroom_aws::kms::{KeyPlaces, RotateError, keyset_public_key, next_key_set};
use cloakroom_domain::config::Config;
use cloakroom_domain::jwt::kms_key_id;
use cloakroom_domain::keyset::{DataKey, KeySet, Rotation, RotationFault, StoredKeySet, Trust};
use cloakroom_domain::ports::{ReadKeySet, SignError};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::Settings;
use serde::Serialize;

const DAY: u64 = 86_400;

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    key: Key,
    sign_from: UnixTime,
    sign_until: UnixTime,
    publish_until: UnixTime,
}

/// The key set that is in the table, if there is one, and if the functions would
/// believe it.
pub(crate) async fn known(
    aws: &Aws,
    settings: &Settings,
    config: &Config,
) -> Result<Option<(KeySet, StoredKeySet)>, Failure> {
    let public_key = keyset_public_key(&aws.kms, &settings.keyset_key).await?;
    let said = &settings.keyset_public_key;
    if !said.is_empty() && *said != public_key {
        return Err(Failure::new(format!(
            "CLOAKROOM_KEYSET_PUBLIC_KEY is not that of CLOAKROOM_KEYSET_KEY, which is {}",
            BASE64.encode(public_key)
        )));
    }
    let store = DynamoStore::new(aws.dynamodb.clone(), &settings.table);
    let Some(stored) = store.key_set().await? else {
        return Ok(None);
    };
    let trust = Trust {
        deployment: config.issuer.clone(),
        signer: kms_key_id(&settings.keyset_key),
        public_key,
        least_serial: settings.keyset_serial,
    };
    let set = trust.open(&stored.record).map_err(SignError::from)?;
    Ok(Some((set, stored)))
}

/// The first key set, in a table that no function uses yet.
pub(crate) async fn start(
    aws: &Aws,
    places: &KeyPlaces,
    config: &Config,
    table: &str,
) -> Result<(), Failure> {
    let store = DynamoStore::new(aws.dynamodb.clone(), table);
    let before = store.key_set().await?;
    let first = Rotation {
        sign_for: 90 * DAY,
        at_once: true,
    };
    let next = next_key_set(&aws.kms, places, config, None, first, now()).await;
    let (_, next) = next.map_err(not_made)?;
    let written = store.write_key_set(before.as_ref(), &next).await;
    written.map_err(not_written)
}

pub(super) async fn list(
    aws: &Aws,
    settings: &Settings,
    config: &Config,
    json: bool,
) -> Result<Answer, Failure> {
    let set = known(aws, settings, config).await?;
    if set.is_none() && !json {
        print::line("there is no key set: `cloakroom keys rotate` makes one");
        return Ok(Answer::No);
    }
    let set = set.map(|(set, _)| set);
    show(set.as_ref(), None, json, now());
    Ok(set.is_some().into())
}

pub(super) async fn rotate(
    aws: &Aws,
    settings: &Settings,
    config: &Config,
    args: &Rotate,
) -> Result<Answer, Failure> {
    if args.new_key.is_some() || args.create {
        return Err(Failure::new(
            "--new-key and --create are for kms mode: here KMS makes each key, wrapped",
        ));
    }
    let store = DynamoStore::new(aws.dynamodb.clone(), &settings.table);
    let previous = match known(aws, settings, config).await {
        Err(_) if args.start_over => None,
        previous => previous?,
    };
    // With --start-over it may be anything.
    let before = match &previous {
        Some((_, stored)) => Some(stored.clone()),
        None => store.key_set().await?,
    };
    let now = now();
    let rotation = Rotation {
        sign_for: args.sign_for * DAY,
        at_once: args.compromised,
    };
    let known = previous.as_ref().map(|(set, stored)| (set, stored));
    let next = next_key_set(&aws.kms, &places(settings), config, known, rotation, now).await;
    let (set, stored) = match next {
        Err(RotateError::Schedule(why)) => {
            print::line(&early(why));
            return Ok(Answer::No);
        }
        next => next.map_err(not_made)?,
    };
    let written = store.write_key_set(before.as_ref(), &stored).await;
    written.map_err(not_written)?;
    let next_step = set.keys.last().map(|key| key.sign_from);
    show(Some(&set), next_step, args.json, now);
    if !args.json && args.compromised {
        print::line(&format!(
            "deploy CLOAKROOM_KEYSET_SERIAL={}, so that nobody can put the old keys back, and `cloakroom epoch bump`",
            set.serial
        ));
    }
    Ok(Answer::Yes)
}

fn show(set: Option<&KeySet>, next_step: Option<UnixTime>, json: bool, now: UnixTime) {
    let rows: Vec<_> = set
        .map(|set| {
            set.published(now)
                .into_iter()
                .map(|key| row(set, key, now))
                .collect()
        })
        .unwrap_or_default();
    if json {
        let mut answer = serde_json::json!({
            "mode": "data-key",
            "serial": set.map(|set| set.serial),
            "keys": rows,
        });
        if let (Some(at), Some(answer)) = (next_step, answer.as_object_mut()) {
            answer.insert("earliest_next_step".into(), at.0.into());
        }
        print::json(&answer);
        return;
    }
    let Some(set) = set else { return };
    print::line(&format!(
        "serial {}, made {}",
        set.serial,
        sessions::time(set.issued_at)
    ));
    for row in &rows {
        print::line(&format!(
            "{}  signs {} to {}, published until {}",
            row.key,
            sessions::time(row.sign_from),
            sessions::time(row.sign_until),
            sessions::time(row.publish_until)
        ));
    }
    if let Some(at) = next_step {
        print::line(&format!(
            "the next rotation may come from {} on",
            sessions::time(at)
        ));
    }
}

fn row(set: &KeySet, key: &DataKey, now: UnixTime) -> Row {
    let signs = set
        .signing(now)
        .is_some_and(|signing| signing.kid == key.kid);
    let role = if signs {
        Role::Signs
    } else if key.sign_from > now {
        Role::Next
    } else {
        Role::Previous
    };
    Row {
        key: Key::new(&key.kid, key.jwk().as_ref(), role),
        sign_from: key.sign_from,
        sign_until: key.sign_until,
        publish_until: key.publish_until,
    }
}

fn early(fault: RotationFault) -> String {
    let RotationFault::Pending(at) = fault;
    format!(
        "a next key is waiting already: it signs from {} on, and the one after it may come then",
        sessions::time(at)
    )
}

fn not_made(error: RotateError) -> Failure {
    match error {
        RotateError::Schedule(fault) => Failure::new(early(fault)),
        RotateError::Kms(error) => error.into(),
    }
}

fn not_written(error: WriteKeySetError) -> Failure {
    match error {
        WriteKeySetError::Changed => {
            Failure::new("somebody else has rotated at this moment: look at `cloakroom keys list`")
        }
        WriteKeySetError::Store(error) => error.into(),
    }
}
