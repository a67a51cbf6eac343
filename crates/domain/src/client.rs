//! Clients of the token service and the secrets by which they are known.

pub mod assertion;

use crate::config::{ClientConfig, ClientProof, Config};
use crate::ports::{Entropy, EntropyError};
use crate::token::sha256;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use assertion::ProvenClient;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is kept of a client secret.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "String")
)]
pub enum SecretHash {
    /// SHA-256 of a secret that we generated: 256 random bits need no slow hash.
    Sha256([u8; 32]),
    /// Argon2id of a secret that a human chose, as a PHC string, at [`COST`].
    Argon2id(String),
}

/// Of each Argon2id hash: 19 MiB, two passes, one lane, as OWASP advises. One for all, so
/// that one hash takes as long as another (D46), and none takes a function's memory.
const COST: [(&str, u32); 3] = [("m", 19_456), ("t", 2), ("p", 1)];

impl SecretHash {
    /// Hashes a generated secret.
    pub fn of_generated(secret: &str) -> Self {
        Self::Sha256(sha256(secret.as_bytes()))
    }

    /// Whether `secret` is the one.
    pub fn matches(&self, secret: &str) -> bool {
        match self {
            Self::Sha256(hash) => sha256(secret.as_bytes()).ct_eq(hash).into(),
            Self::Argon2id(phc) => PasswordHash::new(phc).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(secret.as_bytes(), &hash)
                    .is_ok()
            }),
        }
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The text is not repeated: somebody may have put the secret itself there.
        const FAULT: &str = "a client secret is kept as sha256:… or argon2id:…; make one with `cloakroom clients new` or `clients hash`";
        match text.split_once(':') {
            Some(("sha256", hash)) => BASE64URL
                .decode(hash)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(Self::Sha256)
                .ok_or(FAULT),
            Some(("argon2id", phc)) if PasswordHash::new(phc).is_ok_and(|hash| is_ours(&hash)) => {
                Ok(Self::Argon2id(phc.into()))
            }
            _ => Err(FAULT),
        }
    }
}

fn is_ours(hash: &PasswordHash) -> bool {
    hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.hash.is_some()
        && hash.version == Some(argon2::Version::V0x13.into())
        && COST
            .iter()
            .all(|(name, value)| hash.params.get_decimal(*name) == Some(*value))
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        match hash {
            SecretHash::Sha256(bytes) => format!("sha256:{}", BASE64URL.encode(bytes)),
            SecretHash::Argon2id(phc) => format!("argon2id:{phc}"),
        }
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash([redacted])")
    }
}

/// How a client said who it is (RFC 6749 §2.3).
pub enum ClientCredentials<'a> {
    /// `client_id` alone: a public client.
    Public {
        /// Who.
        id: &'a str,
    },
    /// With a secret, in the header or in the body.
    Secret {
        /// Who.
        id: &'a str,
        /// The proof.
        secret: &'a str,
    },
    /// With an assertion that was found good.
    Assertion(&'a ProvenClient),
    /// With an assertion at which nobody has looked. Proves nothing.
    Unproven,
}

impl fmt::Debug for ClientCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCredentials([redacted])")
    }
}

/// The client, if it is who it says. A confidential client without its secret and
/// a public client with one are both refused (D54).
///
/// Work for an unknown client equals work for a wrong secret, so that the answer's
/// time does not tell which it was (D46).
pub fn authenticate<'a>(
    config: &'a Config,
    credentials: &ClientCredentials<'_>,
) -> Option<&'a ClientConfig> {
    match *credentials {
        ClientCredentials::Public { id } => config
            .client(id)
            .filter(|client| client.proof() == ClientProof::None),
        ClientCredentials::Assertion(proven) => config
            .client(proven.id())
            .filter(|client| client.proof() == ClientProof::PrivateKeyJwt),
        ClientCredentials::Unproven => None,
        ClientCredentials::Secret { id, secret } => {
            by_secret(config, id, |hash| hash.matches(secret))
        }
    }
}

/// The client, if one of its hashes `matches`.
fn by_secret<'a>(
    config: &'a Config,
    id: &str,
    matches: impl Fn(&SecretHash) -> bool,
) -> Option<&'a ClientConfig> {
    let client = config
        .client(id)
        .filter(|client| client.proof() == ClientProof::Secret);
    let hashes = client.map_or(&[][..], |client| &client.secrets);
    let known = hashes.iter().filter(|hash| matches(hash)).count() > 0;
    if !known {
        waste_what_it_would_have_cost(config, hashes, matches);
    }
    client.filter(|_| known)
}

/// Makes every refusal as costly as the costliest: a client that has no Argon2id hash,
/// or fewer than another, or that does not exist, is no faster to refuse (D46).
fn waste_what_it_would_have_cost(
    config: &Config,
    spent: &[SecretHash],
    matches: impl Fn(&SecretHash) -> bool,
) {
    let is_slow = |hash: &&SecretHash| matches!(hash, SecretHash::Argon2id(_));
    let slow = |hashes: &[SecretHash]| hashes.iter().filter(is_slow).count();
    let costliest = config
        .clients
        .iter()
        .max_by_key(|client| slow(&client.secrets));
    let hashes = costliest.map_or(&[][..], |client| &client.secrets);
    let missing = slow(hashes).saturating_sub(slow(spent));
    for hash in hashes.iter().filter(is_slow).take(missing) {
        std::hint::black_box(matches(hash));
    }
}

/// A new client secret: 256 random bits.
///
/// # Errors
///
/// When there is no entropy.
pub fn generate_secret(entropy: &impl Entropy) -> Result<Zeroizing<String>, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(BASE64URL.encode(bytes.as_slice())))
}

/// Hashes a secret that a human chose.
///
/// # Errors
///
/// When there is no entropy for the salt.
pub fn hash_chosen(secret: &str, entropy: &impl Entropy) -> Result<SecretHash, EntropyError> {
    use argon2::PasswordHasher;
    let mut salt = [0; 16];
    entropy.fill(&mut salt)?;
    Argon2::default()
        .hash_password_with_salt(secret.as_bytes(), &salt)
        .map(|hash| SecretHash::Argon2id(hash.to_string()))
        .map_err(|_| EntropyError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SequenceEntropy;
    use serde_json::json;

    #[test]
    fn a_secret_matches_its_own_hash_alone() {
        let entropy = SequenceEntropy::default();
        let generated = generate_secret(&entropy).unwrap();
        for hash in [
            SecretHash::of_generated(&generated),
            hash_chosen(&generated, &entropy).unwrap(),
        ] {
            assert!(hash.matches(&generated));
            assert!(!hash.matches(""));
            assert!(!hash.matches(&format!("{}x", &*generated)));
            let text = String::from(hash.clone());
            assert!(!text.contains(&*generated));
            assert!(SecretHash::try_from(text).unwrap() == hash);
        }
    }

    /// Counted, not timed: a slow hash takes a hundred thousand times as long as all else.
    #[test]
    fn d46_a_wrong_secret_costs_as_many_slow_hashes_whosever_it_is() {
        let entropy = SequenceEntropy::default();
        let chosen = |secret| hash_chosen(secret, &entropy).unwrap();
        let generated = SecretHash::of_generated("generated");
        let client = |id: &str, kind: &str, secrets: &[SecretHash]| -> ClientConfig {
            let client = json!({"id": id, "kind": kind, "secrets": secrets, "grants": []});
            serde_json::from_value(client).unwrap()
        };
        let mut config = crate::testing::config();
        config.clients = vec![
            client(
                "generated",
                "confidential",
                std::slice::from_ref(&generated),
            ),
            client("one", "confidential", &[chosen("one")]),
            client(
                "two",
                "confidential",
                &[chosen("one"), generated, chosen("another")],
            ),
            client("public", "public", &[]),
        ];
        // What is asked, who is found, and how many slow hashes that took.
        let ask = |id: &str, secret: &str| {
            let slow = std::cell::Cell::new(0);
            let found = by_secret(&config, id, |hash| {
                slow.set(slow.get() + u32::from(matches!(hash, SecretHash::Argon2id(_))));
                hash.matches(secret)
            });
            (found.map(|client| client.id.clone()), slow.get())
        };
        for id in ["stranger", "generated", "one", "two", "public"] {
            assert_eq!(ask(id, "wrong"), (None, 2), "{id}");
        }
        // Who proves who it is need not wait for others' secrets.
        for (id, secret, slow) in [
            ("generated", "generated", 0),
            ("one", "one", 1),
            ("two", "another", 2),
        ] {
            assert_eq!(ask(id, secret), (Some(id.to_owned()), slow));
        }
    }

    #[test]
    fn a_secret_in_the_clear_is_no_hash() {
        for text in [
            "hunter2",
            "sha256:hunter2",
            "argon2id:hunter2",
            "argon2id:$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAA",
            "argon2id:$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA",
            "argon2id:$argon2id$v=16$m=19456,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA",
            "argon2id:$argon2id$v=19$m=19455,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA",
            "argon2id:$argon2id$v=19$m=19456,t=20000000,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA",
        ] {
            assert!(
                !SecretHash::try_from(text.to_owned())
                    .unwrap_err()
                    .contains("hunter2")
            );
        }
    }
}
