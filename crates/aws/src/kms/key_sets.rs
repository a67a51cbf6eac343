//! The key set of data-key mode, as it is in force: read from the table, believed
//! only if the operator's key has signed it.

use super::breaker::Breaker;
use super::{check_key, resting};
use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::KeyUsageType;
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::jwt::kms_key_id;
use cloakroom_domain::keyset::{
    KeySet, KeySetFault, RECORD_ALGORITHM, RECORD_STALE, RECORD_TTL, StoredKeySet, Trust,
};
use cloakroom_domain::ports::{ReadKeySet, SignError};
use cloakroom_domain::time::UnixTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, OnceCell};

/// How long after a record could not be had, while there is an older one to go on
/// with, the next attempt is made.
const RETRY: u64 = 5;

/// The public half of the KMS key that signs key sets: a SubjectPublicKeyInfo.
///
/// # Errors
///
/// When KMS refuses, or the key cannot sign key sets.
pub async fn keyset_public_key(client: &Client, arn: &str) -> Result<Vec<u8>, SignError> {
    let output = client
        .get_public_key()
        .key_id(arn)
        .send()
        .await
        .map_err(|error| CallFailure::new("GetPublicKey", &error))?;
    check_key(arn, output.key_id())?;
    if output.key_usage() != Some(&KeyUsageType::SignVerify) {
        return Err(SignError::Unacceptable("the key is not for signatures"));
    }
    let spki = output.public_key.map(Blob::into_inner).unwrap_or_default();
    PublicJwk::from_spki(&spki, RECORD_ALGORITHM, "").map_err(|_| {
        SignError::Unacceptable("the key that signs key sets must be ECC_NIST_P256")
    })?;
    Ok(spki)
}

/// Key sets of one system.
#[derive(Debug)]
pub struct KeySets<S> {
    store: S,
    client: Client,
    keyset_key: String,
    deployment: String,
    least_serial: u64,
    public_key: OnceCell<Vec<u8>>,
    held: Mutex<Option<Held>>,
    /// See [`KeySets::days_left`].
    days_left: AtomicU64,
    breaker: Breaker,
}

/// Nothing was read yet.
const UNKNOWN: u64 = u64::MAX;

/// A record that was believed.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) set: Arc<KeySet>,
    pub(super) stored: Arc<StoredKeySet>,
}

#[derive(Debug)]
struct Held {
    in_force: InForce,
    /// When it was read, or found unchanged.
    read_at: UnixTime,
    /// The next attempt, when the last one brought nothing.
    retry_at: UnixTime,
}

impl<S: ReadKeySet> KeySets<S> {
    /// Believes records about `deployment` that `keyset_key` has signed and whose
    /// serial number is at least `least_serial`. Without the `public_key` of that
    /// key, KMS is asked for it once.
    pub fn new(
        store: S,
        client: Client,
        keyset_key: impl Into<String>,
        public_key: &[u8],
        deployment: impl Into<String>,
        least_serial: u64,
    ) -> Self {
        let known = (!public_key.is_empty()).then(|| public_key.to_vec());
        Self {
            store,
            client,
            keyset_key: keyset_key.into(),
            deployment: deployment.into(),
            least_serial,
            public_key: OnceCell::new_with(known),
            held: Mutex::new(None),
            days_left: AtomicU64::new(UNKNOWN),
            breaker: Breaker::default(),
        }
    }

    /// The set in force at `now`.
    ///
    /// # Errors
    ///
    /// When there is none that may be believed.
    pub async fn key_set(&self, now: UnixTime) -> Result<Arc<KeySet>, SignError> {
        let set = self.in_force(now).await?.set;
        let days = set.signs_until().since(now) / 86_400;
        self.days_left.store(days, Ordering::Relaxed);
        Ok(set)
    }

    /// Whole days until the last key stopped signing, as of the last
    /// [`KeySets::key_set`]; `None` before there was one.
    pub fn days_left(&self) -> Option<u64> {
        Some(self.days_left.load(Ordering::Relaxed)).filter(|days| *days != UNKNOWN)
    }

    /// The record in force at `now`. An environment that has one goes on with it
    /// while the table does not answer or holds one that must not be believed: the
    /// schedule in it was signed, too.
    pub(super) async fn in_force(&self, now: UnixTime) -> Result<InForce, SignError> {
        // Held while reading, so that one caller reads for all.
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh(now)) {
            return Ok(held.in_force.clone());
        }
        match self.read(held.as_ref()).await {
            Ok(in_force) => {
                let known = held.as_ref().map(|held| &held.in_force.set);
                if known != Some(&in_force.set) {
                    warn_of_the_end(&in_force.set, now);
                }
                *held = Some(Held {
                    in_force: in_force.clone(),
                    read_at: now,
                    retry_at: UnixTime(0),
                });
                Ok(in_force)
            }
            Err(error) => {
                let alarming = matches!(&error, SignError::KeySet(fault) if fault.is_alarming());
                if alarming {
                    tracing::error!(error = &error as &dyn std::error::Error, "key set refused");
                }
                match held.as_mut().filter(|held| held.will_do(now)) {
                    Some(held) => {
                        held.retry_at = now.plus(RETRY);
                        Ok(held.in_force.clone())
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// The record that [`KeySets::in_force`] has last given.
    pub(super) async fn latest(&self) -> Result<InForce, SignError> {
        let held = self.held.lock().await;
        let held = held.as_ref().ok_or(KeySetFault::Missing)?;
        Ok(held.in_force.clone())
    }

    async fn read(&self, held: Option<&Held>) -> Result<InForce, SignError> {
        let stored = self.store.key_set().await?.ok_or(KeySetFault::Missing)?;
        if let Some(held) = held.filter(|held| *held.in_force.stored == stored) {
            return Ok(held.in_force.clone());
        }
        let trust = Trust {
            deployment: self.deployment.clone(),
            signer: kms_key_id(&self.keyset_key),
            public_key: self.public_key().await?.to_vec(),
            least_serial: self.least_serial,
        };
        let set = trust.open(&stored.record)?;
        // Of one serial number there is one set.
        let replayed = held.is_some_and(|held| {
            let known = &held.in_force.set;
            set.serial < known.serial || (set.serial == known.serial && set != **known)
        });
        if replayed {
            return Err(KeySetFault::Replayed.into());
        }
        Ok(InForce {
            set: Arc::new(set),
            stored: Arc::new(stored),
        })
    }

    async fn public_key(&self) -> Result<&[u8], SignError> {
        let ask = || async {
            if !self.breaker.admits() {
                return Err(resting("GetPublicKey"));
            }
            let key = keyset_public_key(&self.client, &self.keyset_key).await;
            self.breaker.report(key.is_ok());
            key
        };
        Ok(self.public_key.get_or_try_init(ask).await?)
    }
}

impl Held {
    fn is_fresh(&self, now: UnixTime) -> bool {
        // A clock that went backwards makes nothing fresher.
        let fresh = |since: UnixTime, ttl| now >= since && now.since(since) < ttl;
        fresh(self.read_at, RECORD_TTL) || (self.will_do(now) && now < self.retry_at)
    }

    fn will_do(&self, now: UnixTime) -> bool {
        now.since(self.read_at) < RECORD_STALE
    }
}

/// Without a rotation in time nothing signs.
fn warn_of_the_end(set: &KeySet, now: UnixTime) {
    let left = set.signs_until().since(now);
    if left < super::ROTATE_BEFORE {
        tracing::warn!(
            hours = left / 3600,
            "the last key of the key set ends soon: `cloakroom keys rotate`"
        );
    }
}
