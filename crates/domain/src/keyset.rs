//! The key set of data-key mode: which keys sign JWTs, when, and until when each is
//! published (`docs/signing.md`).
//!
//! The private keys lie in the table, wrapped by KMS; the set beside them is one
//! record, signed by a KMS key with which no function may sign. So whoever can
//! write the table can neither plant a key nor change a schedule. They can put an
//! older record back: a function that has seen a later one refuses it, and one that
//! starts anew takes it at most until the schedule in it is over, or never, if its
//! environment says the least serial number that counts.

mod rotation;

pub use rotation::{NewKey, Rotation, RotationFault, lead, tail};

use crate::jwk::{self, PublicJwk};
use crate::jwt::Algorithm;
use crate::time::UnixTime;
use crate::token::sha256;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_jose::json;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The `typ` of the record.
pub const RECORD_TYPE: &str = "cloakroom-keys+jwt";

/// The algorithm of the key that signs records.
pub const RECORD_ALGORITHM: Algorithm = Algorithm::ES256;

/// How long services and proxies may keep the published keys, in seconds. A new key
/// is published at least this long before it signs.
pub const JWKS_MAX_AGE: u64 = 300;

/// How long a function uses the record before it reads it again.
pub const RECORD_TTL: u64 = 60;

/// How long a function goes on with the record that it has while the table does not
/// answer, or holds one that is not acceptable.
pub const RECORD_STALE: u64 = 3600;

/// Two are enough for a rotation; a schedule that is longer is not ours.
const MAX_KEYS: usize = 8;

/// A record of so many keys is far below this.
const MAX_RECORD: usize = 32 * 1024;

/// The format of the record.
const VERSION: u32 = 1;

/// Which keys sign and when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeySet {
    v: u32,
    /// For which system: its issuer.
    deployment: String,
    /// Each set of a system has a greater one than the set before.
    pub serial: u64,
    /// When it was made.
    pub issued_at: UnixTime,
    /// In the order in which they sign.
    pub keys: Vec<DataKey>,
}

/// A key and its schedule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DataKey {
    /// Its name, made of its public half.
    pub kid: String,
    /// With which algorithm it signs, and no other.
    pub alg: Algorithm,
    /// Its public half: SubjectPublicKeyInfo in base64url.
    public_key: String,
    /// The digest of its wrapped private half.
    wrapped: String,
    /// It signs from here on.
    pub sign_from: UnixTime,
    /// It does not sign any more.
    pub sign_until: UnixTime,
    /// It is not published any more: the last JWT that it signed is dead.
    pub publish_until: UnixTime,
}

/// The record as it lies in the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredKeySet {
    /// The signed set.
    pub record: String,
    /// The private halves by `kid`, each wrapped by KMS.
    pub wrapped: BTreeMap<String, Vec<u8>>,
}

/// Why there is no key set. All but the last two say that somebody wrote to the
/// table who should not have, or that the environment names another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeySetFault {
    /// Not a record, or one with a schedule that nobody would write.
    #[error("the key set is malformed")]
    Malformed,
    /// Not signed by the key that signs key sets.
    #[error("the key set is not signed by our key")]
    Signature,
    /// Another system's.
    #[error("the key set is of another system")]
    Deployment,
    /// Older than one that is known.
    #[error("the key set is older than one that was in force")]
    Replayed,
    /// A private key that is not the one in the record.
    #[error("the wrapped key is not the one in the key set")]
    Swapped,
    /// There is none.
    #[error("there is no key set: `cloakroom keys rotate` makes one")]
    Missing,
    /// None of its keys signs now.
    #[error("no key of the key set signs now: `cloakroom keys rotate` makes one")]
    Retired,
}

impl KeySetFault {
    /// Whether it says that somebody wrote to the table who should not have.
    pub const fn is_alarming(self) -> bool {
        match self {
            Self::Malformed
            | Self::Signature
            | Self::Deployment
            | Self::Replayed
            | Self::Swapped => true,
            Self::Missing | Self::Retired => false,
        }
    }
}

/// What a record is held to: all of it comes from the environment and the
/// configuration, nothing from the table.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The system's issuer.
    pub deployment: String,
    /// The `kid` of the KMS key that signs records.
    pub signer: String,
    /// The public half of that key: a SubjectPublicKeyInfo on P-256.
    pub public_key: Vec<u8>,
    /// Records with a smaller serial number are refused.
    pub least_serial: u64,
}

impl Trust {
    /// Opens a record, if it is one that this system's operator has signed.
    ///
    /// # Errors
    ///
    /// See [`KeySetFault`].
    pub fn open(&self, record: &str) -> Result<KeySet, KeySetFault> {
        if record.len() > MAX_RECORD {
            return Err(KeySetFault::Malformed);
        }
        let (input, signature) = record.rsplit_once('.').ok_or(KeySetFault::Malformed)?;
        let (header, payload) = input.split_once('.').ok_or(KeySetFault::Malformed)?;
        // The one header that we write: nothing that comes from the table chooses an
        // algorithm, a key or a kind of JWS (RFC 8725 §3.1, §3.11).
        if header != header_text(&self.signer) {
            return Err(KeySetFault::Signature);
        }
        let signature = BASE64URL
            .decode(signature)
            .map_err(|_| KeySetFault::Malformed)?;
        let point = jwk::p256_point(&self.public_key).ok_or(KeySetFault::Signature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(input.as_bytes(), &signature)
            .map_err(|_| KeySetFault::Signature)?;
        let payload = BASE64URL
            .decode(payload)
            .map_err(|_| KeySetFault::Malformed)?;
        let set: KeySet = json::from_slice(&payload).map_err(|_| KeySetFault::Malformed)?;
        if set.deployment != self.deployment {
            return Err(KeySetFault::Deployment);
        }
        if !set.is_sound() {
            return Err(KeySetFault::Malformed);
        }
        if set.serial < self.least_serial {
            return Err(KeySetFault::Replayed);
        }
        Ok(set)
    }
}

impl KeySet {
    /// What is to be signed to make a record of it.
    pub fn signing_input(&self, signer: &str) -> Option<String> {
        let payload = serde_json::to_vec(self).ok()?;
        Some(format!(
            "{}.{}",
            header_text(signer),
            BASE64URL.encode(payload)
        ))
    }

    /// When the last of its keys stops signing.
    pub fn signs_until(&self) -> UnixTime {
        let ends = self.keys.iter().map(|key| key.sign_until);
        ends.max().unwrap_or_default()
    }

    /// The key that signs at `now`.
    pub fn signing(&self, now: UnixTime) -> Option<&DataKey> {
        self.keys
            .iter()
            .filter(|key| now >= key.sign_from && !key.sign_until.has_passed(now))
            .max_by_key(|key| key.sign_from)
    }

    /// The keys that are published at `now`: the one that signs, those that will,
    /// and those that have.
    pub fn published(&self, now: UnixTime) -> Vec<&DataKey> {
        let signing = self.signing(now).map(|key| key.kid.as_str());
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .filter(|key| !key.publish_until.has_passed(now))
            .collect();
        keys.sort_by_key(|key| {
            (
                Some(key.kid.as_str()) != signing,
                std::cmp::Reverse(key.sign_from),
            )
        });
        keys
    }

    /// The key of this name.
    pub fn key(&self, kid: &str) -> Option<&DataKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// What its signer promises; a record that breaks it was made by a program that
    /// is not this one.
    fn is_sound(&self) -> bool {
        let kids: BTreeSet<_> = self.keys.iter().map(|key| &key.kid).collect();
        self.v == VERSION
            && !self.keys.is_empty()
            && self.keys.len() <= MAX_KEYS
            && kids.len() == self.keys.len()
            && self.keys.iter().all(DataKey::is_sound)
    }
}

impl DataKey {
    /// Its public half as DER.
    pub fn spki(&self) -> Vec<u8> {
        BASE64URL.decode(&self.public_key).unwrap_or_default()
    }

    /// Its public half as services read it.
    pub fn jwk(&self) -> Option<PublicJwk> {
        PublicJwk::from_spki(&self.spki(), self.alg, &self.kid).ok()
    }

    /// Its wrapped private half, if it is the one that the record speaks of.
    ///
    /// # Errors
    ///
    /// [`KeySetFault::Swapped`] if it is absent or another.
    pub fn wrapped<'a>(&self, stored: &'a StoredKeySet) -> Result<&'a [u8], KeySetFault> {
        stored
            .wrapped
            .get(&self.kid)
            .filter(|wrapped| digest(wrapped) == self.wrapped)
            .map(Vec::as_slice)
            .ok_or(KeySetFault::Swapped)
    }

    fn is_sound(&self) -> bool {
        self.kid == kid(&self.spki())
            && self.jwk().is_some()
            && self.sign_from < self.sign_until
            && self.sign_until <= self.publish_until
    }
}

/// The name of a key: of its public half, so that no two keys share one.
fn kid(spki: &[u8]) -> String {
    let digest = sha256(&[b"cloakroom/kid/v1/", spki].concat());
    BASE64URL.encode(digest.get(..16).unwrap_or_default())
}

fn digest(wrapped: &[u8]) -> String {
    BASE64URL.encode(sha256(wrapped))
}

fn header_text(signer: &str) -> String {
    #[derive(Serialize)]
    struct Header<'a> {
        alg: &'a str,
        typ: &'a str,
        kid: &'a str,
    }
    let header = Header {
        alg: RECORD_ALGORITHM.name(),
        typ: RECORD_TYPE,
        kid: signer,
    };
    BASE64URL.encode(serde_json::to_vec(&header).unwrap_or_default())
}

#[cfg(test)]
mod tests;
