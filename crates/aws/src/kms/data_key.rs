//! Data-key mode: signatures in the process, by keys that KMS unwraps once.

use super::breaker::Breaker;
use super::key_sets::{InForce, KeySets};
use super::keys::context;
use super::local_key::LocalKey;
use super::{check_key, resting};
use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::keyset::{DataKey, KeySetFault};
use cloakroom_domain::ports::{Clock, PublicKeys, ReadKeySet, SignError, Signer, SigningKey};
use cloakroom_domain::time::UnixTime;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// More are never in use at once: the one that signs and the one before.
const UNWRAPPED: usize = 2;

/// Signs with the data key whose turn it is.
#[derive(Debug)]
pub struct DataKeySigner<S> {
    sets: KeySets<S>,
    client: Client,
    wrapping_key: String,
    deployment: String,
    unwrapped: Mutex<Vec<(String, Arc<LocalKey>)>>,
    breaker: Breaker,
}

impl<S: ReadKeySet> DataKeySigner<S> {
    /// Signs by `sets`, whose keys are wrapped by `wrapping_key` for `deployment`.
    pub fn new(
        sets: KeySets<S>,
        client: Client,
        wrapping_key: impl Into<String>,
        deployment: impl Into<String>,
    ) -> Self {
        Self {
            sets,
            client,
            wrapping_key: wrapping_key.into(),
            deployment: deployment.into(),
            unwrapped: Mutex::default(),
            breaker: Breaker::default(),
        }
    }

    /// Gets ready to sign at `now`.
    ///
    /// # Errors
    ///
    /// When that does not work; signing will try again.
    pub async fn warm(&self, now: UnixTime) -> Result<(), SignError> {
        let key = self.signing_key(now).await?;
        self.local_key(&key.kid).await.map(drop)
    }

    /// The unwrapped key of this name, which the record in force has named: from
    /// memory, or by one Decrypt.
    async fn local_key(&self, kid: &str) -> Result<Arc<LocalKey>, SignError> {
        // Held while asking, so that one caller asks for all.
        let mut unwrapped = self.unwrapped.lock().await;
        if let Some((_, key)) = unwrapped.iter().find(|(known, _)| known == kid) {
            return Ok(Arc::clone(key));
        }
        let InForce { set, stored } = self.sets.latest().await?;
        let key = set.key(kid).ok_or(KeySetFault::Retired)?;
        let local = Arc::new(self.unwrap(key, key.wrapped(&stored)?).await?);
        unwrapped.truncate(UNWRAPPED - 1);
        unwrapped.insert(0, (kid.to_owned(), Arc::clone(&local)));
        Ok(local)
    }

    async fn unwrap(&self, key: &DataKey, wrapped: &[u8]) -> Result<LocalKey, SignError> {
        if !self.breaker.admits() {
            return Err(resting("Decrypt"));
        }
        let outcome = self.decrypt(wrapped).await;
        self.breaker.report(outcome.is_ok());
        LocalKey::read(key.alg, &outcome?, &key.spki()).ok_or(SignError::Unacceptable(
            "the unwrapped key is not the one of the key set",
        ))
    }

    async fn decrypt(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let output = self
            .client
            .decrypt()
            .key_id(&self.wrapping_key)
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(context(&self.deployment)))
            .send()
            .await
            .map_err(|error| CallFailure::new("Decrypt", &error))?;
        check_key(&self.wrapping_key, output.key_id())?;
        let plain = output.plaintext.map(Blob::into_inner).unwrap_or_default();
        Ok(Zeroizing::new(plain))
    }
}

impl<S: ReadKeySet> Signer for DataKeySigner<S> {
    fn is_remote(&self) -> bool {
        false
    }

    fn days_left(&self) -> Option<u64> {
        self.sets.days_left()
    }

    async fn signing_key(&self, now: UnixTime) -> Result<SigningKey, SignError> {
        let set = self.sets.key_set(now).await?;
        let key = set.signing(now).ok_or(KeySetFault::Retired)?;
        Ok(SigningKey {
            kid: key.kid.clone(),
            algorithm: key.alg,
        })
    }

    async fn sign(&self, key: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        let local = self.local_key(&key.kid).await?;
        local
            .sign(input)
            .ok_or(SignError::Unacceptable("the key does not sign"))
    }
}

/// Publishes the keys of the set in force.
pub struct DataKeyPublicKeys<S> {
    sets: KeySets<S>,
    clock: Arc<dyn Clock>,
}

impl<S: ReadKeySet> DataKeyPublicKeys<S> {
    /// Publishes by `sets`.
    pub fn new(sets: KeySets<S>, clock: Arc<dyn Clock>) -> Self {
        Self { sets, clock }
    }
}

impl<S> fmt::Debug for DataKeyPublicKeys<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKeyPublicKeys").finish_non_exhaustive()
    }
}

impl<S: ReadKeySet> PublicKeys for DataKeyPublicKeys<S> {
    /// The key set is an item, and the key that signed it is in the environment.
    fn kms_calls(&self) -> Option<u64> {
        Some(0)
    }

    fn days_left(&self) -> Option<u64> {
        self.sets.days_left()
    }

    async fn public_keys(&self) -> Result<Vec<PublicJwk>, SignError> {
        let now = self.clock.now();
        let set = self.sets.key_set(now).await?;
        let keys: Vec<_> = set
            .published(now)
            .into_iter()
            .filter_map(DataKey::jwk)
            .collect();
        if keys.is_empty() {
            return Err(KeySetFault::Retired.into());
        }
        Ok(keys)
    }
}
