//! The next key set of data-key mode. For operators: no function has the right to
//! sign it or to write it.

use super::keys::{generate_data_key, sign_key_set};
use super::{Client, KeyPlaces};
use cloakroom_domain::config::Config;
use cloakroom_domain::keyset::{KeySet, Rotation, RotationFault, StoredKeySet};
use cloakroom_domain::ports::SignError;
use cloakroom_domain::time::UnixTime;

/// Why there is no next key set.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// It is too early.
    #[error(transparent)]
    Schedule(#[from] RotationFault),
    /// KMS does not do it.
    #[error(transparent)]
    Kms(#[from] SignError),
}

/// Makes a new data key and the key set in which it follows on `previous`; what is
/// returned is still to be written.
///
/// # Errors
///
/// See [`RotateError`].
pub async fn next_key_set(
    client: &Client,
    places: &KeyPlaces,
    config: &Config,
    previous: Option<(&KeySet, &StoredKeySet)>,
    rotation: Rotation,
    now: UnixTime,
) -> Result<(KeySet, StoredKeySet), RotateError> {
    let known = previous.map(|(set, _)| set);
    // Before KMS makes a key for nothing.
    rotation.check(known, now)?;
    let new = generate_data_key(
        client,
        &places.wrapping_key,
        &config.issuer,
        config.jwt.algorithm,
    )
    .await?;
    let set = rotation.next(known, &new, config, now)?;
    let mut wrapped = previous
        .map(|(_, stored)| stored.wrapped.clone())
        .unwrap_or_default();
    wrapped.insert(new.kid(), new.wrapped);
    wrapped.retain(|kid, _| set.key(kid).is_some());
    let record = sign_key_set(client, &places.keyset_key, &set).await?;
    Ok((set, StoredKeySet { record, wrapped }))
}
