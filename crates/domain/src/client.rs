//! Clients of the token service and the secrets by which they are known.

pub mod assertion;
mod authenticate;

pub use authenticate::{ClientError, Clients, PER_ID, TOTAL, WINDOW};

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
