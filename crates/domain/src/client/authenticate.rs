//! Client authentication, with a bound on what refused attempts cost.
//!
//! An Argon2id hash costs about 33 ms of CPU on purpose, so whoever sends wrong secrets would
//! choose how much we compute (D101). Three rules bound that, per execution environment:
//!
//! - a secret that was verified here before is recognised by a keyed hash and costs no Argon2id;
//! - a client id has [`PER_ID`] refused attempts a window, after that nothing is computed for it;
//! - all ids together have [`TOTAL`]; after that only clients with an Argon2id hash are still
//!   computed for, within their own [`PER_ID`], so that a flood of other ids keeps none of them out.
//!
//! Generated secrets (SHA-256) are compared first and are never limited.

use super::{ClientCredentials, SecretHash};
use crate::config::{ClientConfig, ClientProof, Config};
use crate::ports::{Clock, Entropy, World};
use crate::time::UnixTime;
use crate::token::sha256;
use aws_lc_rs::hmac;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How long refused attempts are counted, in seconds.
pub const WINDOW: u64 = 60;

/// Refused attempts that a client id has in a window.
pub const PER_ID: u32 = 5;

/// Refused attempts that all ids together have in a window before unknown ids are refused
/// without work.
pub const TOTAL: u32 = 60;

/// Why a client is not authenticated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// The client is unknown, or did not prove who it is.
    #[error("client authentication failed")]
    Invalid,
    /// There were too many refused attempts lately: nothing was checked, or nothing is said.
    #[error("too many failed client authentications")]
    Limited {
        /// Seconds until attempts are counted anew.
        retry_after: u64,
    },
}

/// The configured clients, and what was seen of them in this execution environment. To be
/// shared by all services of a process.
pub struct Clients {
    config: Arc<Config>,
    world: World,
    key: OnceLock<hmac::Key>,
    verified: Mutex<HashSet<[u8; 32]>>,
    attempts: Mutex<Attempts>,
}

/// Refused attempts of one window. At most [`TOTAL`] ids, and one for each client with an
/// Argon2id hash.
#[derive(Debug, Default)]
struct Attempts {
    since: UnixTime,
    total: u32,
    by_id: HashMap<[u8; 32], u32>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients([redacted])")
    }
}

impl Clients {
    /// The clients of a configuration, none of which was seen yet.
    pub fn new(config: Arc<Config>, world: World) -> Self {
        Self {
            config,
            world,
            key: OnceLock::new(),
            verified: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    /// The client, if it is who it says. A confidential client without its secret and a
    /// public client with one are both refused (D54).
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub fn authenticate(
        &self,
        credentials: &ClientCredentials<'_>,
    ) -> Result<&ClientConfig, ClientError> {
        let client = match *credentials {
            ClientCredentials::Public { id } => self.find(id, ClientProof::None),
            ClientCredentials::Assertion(proven) => {
                self.find(proven.id(), ClientProof::PrivateKeyJwt)
            }
            ClientCredentials::Unproven => None,
            ClientCredentials::Secret { id, secret } => {
                return self.by_secret(id, secret, &|hash| hash.matches(secret));
            }
        };
        client.ok_or(ClientError::Invalid)
    }

    fn find(&self, id: &str, proof: ClientProof) -> Option<&ClientConfig> {
        let client = self.config.client(id);
        client.filter(|client| client.proof() == proof)
    }

    /// The client, if one of its hashes `matches`. Until a limit is reached, refusing an
    /// unknown client costs as many Argon2id hashes as refusing a known one, so that the
    /// answer's time does not tell which it was (D46).
    fn by_secret(
        &self,
        id: &str,
        secret: &str,
        matches: &dyn Fn(&SecretHash) -> bool,
    ) -> Result<&ClientConfig, ClientError> {
        let client = self.find(id, ClientProof::Secret);
        let hashes = client.map_or(&[][..], |client| &client.secrets);
        let (slow, fast): (Vec<_>, Vec<_>) = hashes.iter().partition(|hash| is_slow(hash));
        let found = |matching: usize| client.filter(|_| matching > 0);
        if let Some(client) = found(fast.iter().filter(|hash| matches(hash)).count()) {
            return Ok(client);
        }
        let most = self.most_slow_hashes();
        if most.is_empty() {
            return Err(ClientError::Invalid);
        }
        let name = self.name(id, secret);
        if let Some(client) = client.filter(|_| self.was_verified(name)) {
            return Ok(client);
        }
        // Held while hashes are computed: requests that come at once are counted, and the
        // second of two with the same secret finds it verified.
        let mut attempts = lock(&self.attempts);
        if let Some(client) = client.filter(|_| self.was_verified(name)) {
            return Ok(client);
        }
        let now = self.world.now();
        attempts.start_window(now);
        let limited = Err(ClientError::Limited {
            retry_after: attempts.since.plus(WINDOW).since(now).max(1),
        });
        let id = sha256(id.as_bytes());
        let flooded = attempts.total >= TOTAL;
        let spent = attempts.by_id.get(&id).copied().unwrap_or_default();
        if spent >= PER_ID || (flooded && slow.is_empty()) {
            return limited;
        }
        if let Some(client) = found(slow.iter().filter(|hash| matches(hash)).count()) {
            self.remember(name);
            return Ok(client);
        }
        attempts.count(id);
        if flooded {
            return limited;
        }
        for hash in most.iter().skip(slow.len()) {
            std::hint::black_box(matches(hash));
        }
        Err(ClientError::Invalid)
    }

    /// The Argon2id hashes of the client that has most of them: what a refusal costs.
    fn most_slow_hashes(&self) -> Vec<&SecretHash> {
        let slow =
            |client: &'_ ClientConfig| client.secrets.iter().filter(|hash| is_slow(hash)).count();
        let most = self.config.clients.iter().max_by_key(|client| slow(client));
        let hashes = most.map_or(&[][..], |client| &client.secrets);
        hashes.iter().filter(|hash| is_slow(hash)).collect()
    }

    /// A name for an id with its secret that says nothing without this process's key. None if
    /// there is no entropy for one: then nothing is remembered.
    fn name(&self, id: &str, secret: &str) -> Option<[u8; 32]> {
        if self.key.get().is_none() {
            let mut key = zeroize::Zeroizing::new([0; 32]);
            self.world.fill(key.as_mut_slice()).ok()?;
            let _ = self
                .key
                .set(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()));
        }
        let mut mac = hmac::Context::with_key(self.key.get()?);
        mac.update(&u64::try_from(id.len()).ok()?.to_be_bytes());
        mac.update(id.as_bytes());
        mac.update(secret.as_bytes());
        mac.sign().as_ref().try_into().ok()
    }

    fn was_verified(&self, name: Option<[u8; 32]>) -> bool {
        name.is_some_and(|name| lock(&self.verified).contains(&name))
    }

    /// Bounded by the configuration: only what matches one of its hashes gets here.
    fn remember(&self, name: Option<[u8; 32]>) {
        lock(&self.verified).extend(name);
    }
}

impl Attempts {
    /// A clock that went backwards starts a window too.
    fn start_window(&mut self, now: UnixTime) {
        if now < self.since || now.since(self.since) >= WINDOW {
            *self = Self {
                since: now,
                ..Self::default()
            };
        }
    }

    fn count(&mut self, id: [u8; 32]) {
        self.total = self.total.saturating_add(1);
        *self.by_id.entry(id).or_default() += 1;
    }
}

fn is_slow(hash: &SecretHash) -> bool {
    matches!(hash, SecretHash::Argon2id(_))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
