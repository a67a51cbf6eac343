//! The public half of the signing keys, for the JWKS.

use super::breaker::Breaker;
use super::{check_key, resting};
use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::KeyUsageType;
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::jwt::{Algorithm, kms_key_id};
use cloakroom_domain::ports::{PublicKeys, SignError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a set is handed out without asking KMS.
const FRESH: Duration = Duration::from_mins(5);

/// How long it is handed out while KMS does not answer. Public keys do not change;
/// what would be missed is that one was disabled.
const STALE: Duration = Duration::from_hours(1);

/// With which algorithm a key may have signed that is not the current one. An RSA
/// key can do two: the one that is configured, if it is one of them, else the
/// usual one.
const OTHERS: &[Algorithm] = &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDsa];

/// Reads public keys from KMS.
#[derive(Debug)]
pub struct KmsPublicKeys {
    client: Client,
    arns: Vec<String>,
    algorithm: Algorithm,
    algorithms: Vec<Algorithm>,
    cached: Mutex<Option<KeySet>>,
    breaker: Breaker,
}

#[derive(Debug)]
struct KeySet {
    keys: Vec<PublicJwk>,
    read_at: Instant,
}

impl KmsPublicKeys {
    /// Publishes the keys of these ARNs. The first one signs with `algorithm`; the
    /// others may be of any kind that we sign with.
    pub fn new(client: Client, arns: Vec<String>, algorithm: Algorithm) -> Self {
        Self {
            client,
            arns,
            algorithm,
            algorithms: Vec::new(),
            cached: Mutex::new(None),
            breaker: Breaker::default(),
        }
    }

    /// The same, with the algorithm of each key. A key whose algorithm is not said is
    /// published with one that its kind can do.
    #[must_use]
    pub fn of_algorithms(self, algorithms: Vec<Algorithm>) -> Self {
        Self { algorithms, ..self }
    }

    /// The same of one key, if there is an ARN: not every system has such a key.
    pub fn optional(client: Client, arn: String, algorithm: Algorithm) -> Option<Self> {
        (!arn.is_empty()).then(|| Self::new(client, vec![arn], algorithm))
    }

    async fn read_all(&self) -> Result<Vec<PublicJwk>, SignError> {
        if !self.breaker.admits() {
            return Err(resting("GetPublicKey"));
        }
        let mut keys = Vec::with_capacity(self.arns.len());
        for (position, arn) in self.arns.iter().enumerate() {
            match self.read(arn, &self.candidates(position)).await {
                Ok(key) => keys.push(key),
                Err(error) => {
                    self.breaker.report(false);
                    return Err(error);
                }
            }
        }
        self.breaker.report(true);
        Ok(keys)
    }

    /// The algorithms that the key at a position may be published with, best first.
    fn candidates(&self, position: usize) -> Vec<Algorithm> {
        match self.algorithms.get(position) {
            Some(algorithm) => vec![*algorithm],
            None if position == 0 => vec![self.algorithm],
            None => [&[self.algorithm], OTHERS].concat(),
        }
    }

    async fn read(&self, arn: &str, algorithms: &[Algorithm]) -> Result<PublicJwk, SignError> {
        let output = self
            .client
            .get_public_key()
            .key_id(arn)
            .send()
            .await
            .map_err(|error| CallFailure::new("GetPublicKey", &error))?;
        check_key(arn, output.key_id())?;
        if output.key_usage() != Some(&KeyUsageType::SignVerify) {
            return Err(SignError::Unacceptable("the key is not for signatures"));
        }
        let spki = output.public_key().map(Blob::as_ref).unwrap_or_default();
        let jwk = |algorithm| PublicJwk::from_spki(spki, algorithm, &kms_key_id(arn)).ok();
        algorithms
            .iter()
            .find_map(|algorithm| jwk(*algorithm))
            .ok_or(SignError::Unacceptable(
                "the public key does not fit the algorithm",
            ))
    }
}

impl PublicKeys for KmsPublicKeys {
    fn kms_calls(&self) -> Option<u64> {
        Some(self.breaker.asked())
    }

    async fn public_keys(&self) -> Result<Vec<PublicJwk>, SignError> {
        // Held while asking, so that one caller asks for all.
        let mut cached = self.cached.lock().await;
        let age = cached.as_ref().map(|set| set.read_at.elapsed());
        if age.is_none_or(|age| age >= FRESH) {
            match self.read_all().await {
                Ok(keys) => {
                    *cached = Some(KeySet {
                        keys,
                        read_at: Instant::now(),
                    });
                }
                Err(error) if age.is_some_and(|age| age < STALE) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "stale public keys"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(cached
            .as_ref()
            .map(|set| set.keys.clone())
            .unwrap_or_default())
    }
}
