//! The first key set of a system in data-key mode: what `cloakroom keys rotate` does
//! for a deployed one.

use super::StartError;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::{Client, KeyPlaces, ROTATE_BEFORE, next_key_set};
use cloakroom_domain::config::Config;
use cloakroom_domain::jwt::kms_key_id;
use cloakroom_domain::keyset::{Rotation, Trust};
use cloakroom_domain::ports::ReadKeySet;
use cloakroom_domain::time::UnixTime;

/// Long enough for a data directory that is left alone for a while.
const SIGN_FOR: u64 = 365 * 86_400;

/// Makes a key set if there is none that this system can work with: after a start on
/// another port the old one is another system's.
pub(super) async fn ensure(
    kms: &Client,
    store: &DynamoStore,
    keys: &KeyPlaces,
    config: &Config,
    now: UnixTime,
) -> Result<(), StartError> {
    let fault = |error: &dyn std::error::Error| StartError::Backend("key set", error.to_string());
    let stored = store.key_set().await.map_err(|error| fault(&error))?;
    let trust = Trust {
        deployment: config.issuer.clone(),
        signer: kms_key_id(&keys.keyset_key),
        public_key: keys.keyset_public_key.clone(),
        least_serial: 0,
    };
    let in_force = stored
        .as_ref()
        .and_then(|stored| trust.open(&stored.record).ok());
    if in_force.is_some_and(|set| set.signing(now.plus(ROTATE_BEFORE)).is_some()) {
        return Ok(());
    }
    let first = Rotation {
        sign_for: SIGN_FOR,
        at_once: true,
    };
    let (_, next) = next_key_set(kms, keys, config, None, first, now)
        .await
        .map_err(|error| fault(&error))?;
    store
        .write_key_set(stored.as_ref(), &next)
        .await
        .map_err(|error| fault(&error))
}
