//! Who signs and what is published, in the mode that is configured: so that a
//! composition root has no branches.

use super::{Client, DataKeyPublicKeys, DataKeySigner, KeySets, KmsPublicKeys, KmsSigner};
use cloakroom_domain::config::{Config, SigningMode};
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::{Clock, PublicKeys, ReadKeySet, SignError, Signer, SigningKey};
use cloakroom_domain::time::UnixTime;
use std::sync::Arc;

/// Where the keys of JWTs are: what the environment says, of which each mode uses
/// its own part.
#[derive(Clone, Debug, Default)]
pub struct KeyPlaces {
    /// `kms` mode: the first signs, the others stay published.
    pub signing_keys: Vec<String>,
    /// `kms` mode: the algorithm of each of them; empty: the configured one of the first.
    pub signing_algorithms: Vec<Algorithm>,
    /// `data-key` mode: what wraps them.
    pub wrapping_key: String,
    /// `data-key` mode: what signs the key set.
    pub keyset_key: String,
    /// The public half of that key; empty: KMS is asked.
    pub keyset_public_key: Vec<u8>,
    /// Key sets with a smaller serial number are refused.
    pub keyset_serial: u64,
}

impl KeyPlaces {
    /// With which algorithm the first key of `kms` mode signs.
    fn algorithm(&self, config: &Config) -> Algorithm {
        let of_key = self.signing_algorithms.first().copied();
        of_key.unwrap_or(config.jwt.algorithm)
    }

    fn sets<S: ReadKeySet>(&self, config: &Config, client: &Client, store: S) -> KeySets<S> {
        KeySets::new(
            store,
            client.clone(),
            &self.keyset_key,
            &self.keyset_public_key,
            &config.issuer,
            self.keyset_serial,
        )
    }
}

/// Signs JWTs.
#[derive(Debug)]
pub enum JwtSigner<S> {
    /// In KMS.
    Kms(KmsSigner),
    /// In the process.
    DataKey(Box<DataKeySigner<S>>),
}

impl<S: ReadKeySet> JwtSigner<S> {
    /// As `config` says, with the keys that are there; the key set of data-key mode
    /// is in `store`.
    pub fn new(config: &Config, places: &KeyPlaces, client: &Client, store: S) -> Self {
        match config.jwt.mode {
            SigningMode::Kms => {
                let arn = places.signing_keys.first().cloned().unwrap_or_default();
                Self::Kms(KmsSigner::new(
                    client.clone(),
                    arn,
                    places.algorithm(config),
                ))
            }
            SigningMode::DataKey => Self::DataKey(Box::new(DataKeySigner::new(
                places.sets(config, client, store),
                client.clone(),
                &places.wrapping_key,
                &config.issuer,
            ))),
        }
    }

    /// Gets ready to sign at `now`: what can be asked for before the first request
    /// is.
    ///
    /// # Errors
    ///
    /// When that does not work; signing will try again.
    pub async fn warm(&self, now: UnixTime) -> Result<(), SignError> {
        match self {
            Self::Kms(_) => Ok(()),
            Self::DataKey(signer) => signer.warm(now).await,
        }
    }
}

impl<S: ReadKeySet> Signer for JwtSigner<S> {
    fn kms_calls(&self) -> Option<u64> {
        match self {
            Self::Kms(signer) => signer.kms_calls(),
            Self::DataKey(signer) => signer.kms_calls(),
        }
    }

    fn is_remote(&self) -> bool {
        match self {
            Self::Kms(signer) => signer.is_remote(),
            Self::DataKey(signer) => signer.is_remote(),
        }
    }

    fn days_left(&self) -> Option<u64> {
        match self {
            Self::Kms(signer) => signer.days_left(),
            Self::DataKey(signer) => signer.days_left(),
        }
    }

    async fn signing_key(&self, now: UnixTime) -> Result<SigningKey, SignError> {
        match self {
            Self::Kms(signer) => signer.signing_key(now).await,
            Self::DataKey(signer) => signer.signing_key(now).await,
        }
    }

    async fn sign(&self, key: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Kms(signer) => signer.sign(key, input).await,
            Self::DataKey(signer) => signer.sign(key, input).await,
        }
    }
}

/// Publishes the keys of JWTs.
#[derive(Debug)]
pub enum JwtPublicKeys<S> {
    /// Those of KMS.
    Kms(KmsPublicKeys),
    /// Those of the key set.
    DataKey(DataKeyPublicKeys<S>),
}

impl<S: ReadKeySet> JwtPublicKeys<S> {
    /// As [`JwtSigner::new`].
    pub fn new(
        config: &Config,
        places: &KeyPlaces,
        client: &Client,
        store: S,
        clock: Arc<dyn Clock>,
    ) -> Self {
        match config.jwt.mode {
            SigningMode::Kms => Self::Kms(
                KmsPublicKeys::new(
                    client.clone(),
                    places.signing_keys.clone(),
                    places.algorithm(config),
                )
                .of_algorithms(places.signing_algorithms.clone()),
            ),
            SigningMode::DataKey => Self::DataKey(DataKeyPublicKeys::new(
                places.sets(config, client, store),
                clock,
            )),
        }
    }
}

impl<S: ReadKeySet> PublicKeys for JwtPublicKeys<S> {
    fn kms_calls(&self) -> Option<u64> {
        match self {
            Self::Kms(keys) => keys.kms_calls(),
            Self::DataKey(keys) => keys.kms_calls(),
        }
    }

    fn days_left(&self) -> Option<u64> {
        match self {
            Self::Kms(keys) => keys.days_left(),
            Self::DataKey(keys) => keys.days_left(),
        }
    }

    async fn public_keys(&self) -> Result<Vec<PublicJwk>, SignError> {
        match self {
            Self::Kms(keys) => keys.public_keys().await,
            Self::DataKey(keys) => keys.public_keys().await,
        }
    }
}
