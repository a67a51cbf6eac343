//! From one key set to the next, without a gap.

use super::{DataKey, JWKS_MAX_AGE, KeySet, RECORD_TTL, VERSION, digest, kid};
use crate::config::Config;
use crate::jwt::Algorithm;
use crate::time::UnixTime;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

/// A pair that KMS has just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it is to sign with.
    pub alg: Algorithm,
    /// Its public half: SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Its private half, wrapped by KMS.
    pub wrapped: Vec<u8>,
}

impl NewKey {
    /// The name that it will have.
    pub fn kid(&self) -> String {
        kid(&self.spki)
    }
}

/// How a new key takes over.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long the new key signs.
    pub sign_for: u64,
    /// The new key signs at once and the others are withdrawn at once: they may be
    /// in other hands.
    pub at_once: bool,
}

/// Why there is no next key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RotationFault {
    /// A next key is waiting already.
    #[error("the next key is waiting: it signs from {0:?} on, and the one after it can come then")]
    Pending(UnixTime),
}

/// How long before it signs a new key is published: the functions notice the record,
/// a proxy keeps the keys of the moment before, a service those of the proxy, and
/// clocks differ.
pub fn lead(config: &Config) -> u64 {
    RECORD_TTL
        .saturating_add(2 * JWKS_MAX_AGE)
        .saturating_add(config.jwt.skew)
}

/// How long a key is published after it has ceased to sign: the life of its last
/// JWT, and the skew of the clock that made it and of the one that judges it.
pub fn tail(config: &Config) -> u64 {
    config
        .jwt
        .lifetime
        .saturating_add(config.jwt.skew.saturating_mul(2))
}

impl Rotation {
    /// Whether there can be a set after `previous` at `now`.
    ///
    /// # Errors
    ///
    /// As [`Rotation::next`].
    pub fn check(&self, previous: Option<&KeySet>, now: UnixTime) -> Result<(), RotationFault> {
        let mut keys = previous.iter().flat_map(|set| &set.keys);
        match keys.find(|key| key.sign_from > now) {
            Some(waiting) if !self.at_once => Err(RotationFault::Pending(waiting.sign_from)),
            _ => Ok(()),
        }
    }

    /// The set after `previous` (none: the first), with `new` in it.
    ///
    /// # Errors
    ///
    /// While a key is waiting already: a second one would take its place before
    /// services have seen it.
    pub fn next(
        &self,
        previous: Option<&KeySet>,
        new: &NewKey,
        config: &Config,
        now: UnixTime,
    ) -> Result<KeySet, RotationFault> {
        self.check(previous, now)?;
        let mut keys = previous.map(|set| set.keys.clone()).unwrap_or_default();
        keys.retain(|key| !self.at_once && !key.publish_until.has_passed(now));
        // A key that is about to end does not wait for its successor to be known
        // everywhere: services ask again for a key that they do not know, and
        // without any key there is nothing to serve.
        let last = keys.iter().map(|key| key.sign_until).max();
        let sign_from = last.map_or(now, |last| now.plus(lead(config)).min(last).max(now));
        for key in &mut keys {
            if key.sign_until > sign_from {
                key.sign_until = sign_from;
                key.publish_until = sign_from.plus(tail(config));
            }
        }
        let sign_until = sign_from.plus(self.sign_for.max(1));
        keys.push(DataKey {
            kid: new.kid(),
            alg: new.alg,
            public_key: BASE64URL.encode(&new.spki),
            wrapped: digest(&new.wrapped),
            sign_from,
            sign_until,
            publish_until: sign_until.plus(tail(config)),
        });
        // A key that was to sign from the second on in which its successor does has
        // never signed.
        keys.retain(|key| key.sign_from < key.sign_until);
        Ok(KeySet {
            v: VERSION,
            deployment: config.issuer.clone(),
            // At least the time, so that a set that follows on a lost one is not
            // taken for an old one.
            serial: previous
                .map_or(0, |set| set.serial.saturating_add(1))
                .max(now.0),
            issued_at: now,
            keys,
        })
    }
}
