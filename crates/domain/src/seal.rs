//! Sealing: what decides anything is stored so that only the holder of a token,
//! together with the KMS MAC key, can open or make it.
//!
//! ```text
//! sealed = version (1) | nonce (12) | AES-256-GCM ciphertext and tag
//! AAD    = version | length-prefixed: family id, purpose and its context
//! ```
//!
//! A token's key is derived from the token's secret *and* the root, so that a
//! dump of the table opens nothing and a writer of the table mints nothing (D75).

use crate::family::FamilyId;
use crate::ports::{Entropy, EntropyError};
use crate::token::{OpaqueToken, TokenDigest};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use std::fmt;
use zeroize::Zeroizing;

mod roots;
pub use roots::RootKeys;

/// The message whose MAC is the root.
pub const ROOT_MESSAGE: &[u8] = b"cloakroom/root/v1";

/// The format of everything sealed by this release.
const VERSION: u8 = 1;

/// A root key: KMS GenerateMac over [`ROOT_MESSAGE`].
pub struct RootKey {
    key: Zeroizing<[u8; 32]>,
    id: String,
}

impl RootKey {
    /// Takes the MAC that KMS made.
    pub fn new(mac: Zeroizing<[u8; 32]>) -> Self {
        // Names the key material, whatever its ARN, so that replicas in other
        // Regions agree. One-way.
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, mac.as_slice()),
            b"cloakroom/root-id/v1",
        );
        let id = BASE64URL.encode(tag.as_ref().get(..8).unwrap_or_default());
        Self { key: mac, id }
    }

    /// The name under which items say that this key sealed them.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key of one token for one purpose.
    pub(crate) fn token_key(&self, token: &OpaqueToken, purpose: Purpose) -> SealingKey {
        SealingKey::derive(self.key.as_slice(), token.expose_secret(), purpose.name())
    }

    /// The key that seals pending logins into a cookie.
    pub(crate) fn pending_login_key(&self) -> SealingKey {
        SealingKey::derive(
            b"cloakroom/pending/v1",
            self.key.as_slice(),
            "cloakroom/pending-login/v1",
        )
    }

    /// A keyed name: no reader of the table or of a log can tell, or try out, whose.
    ///
    /// `domain` separates uses; the parts are length-prefixed, so that no two
    /// different lists of parts have the same name (D31).
    pub fn name(&self, domain: &str, parts: &[&str]) -> String {
        let mut message = Vec::new();
        push_prefixed(&mut message, domain.as_bytes());
        for part in parts {
            push_prefixed(&mut message, part.as_bytes());
        }
        let key = SealingKey::derive_bytes(
            b"cloakroom/names/v1",
            self.key.as_slice(),
            "cloakroom/names/v1",
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), &message);
        BASE64URL.encode(tag.as_ref())
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey({})", self.id)
    }
}

/// What is inside a seal. Part of the AAD, so that sealed values cannot be
/// swapped between places.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose<'a> {
    /// The family's data key, under a token's key.
    DataKey,
    /// The pair that followed a used token, under that token's key.
    Successor,
    /// The grant: user, client, limits. Under the data key.
    Grant {
        /// Moves when the claims change.
        claims_version: u64,
    },
    /// What a token may do. Under the data key.
    TokenMeta,
    /// A signed JWT. Under the data key.
    Jwt {
        /// Its `aud`.
        audience: &'a str,
        /// The key that signed it.
        kid: &'a str,
        /// What the audience sees, and how, as it was then.
        fingerprint: &'a str,
        /// The claims that it was made from.
        claims_version: u64,
    },
}

impl Purpose<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::DataKey => "cloakroom/data-key/v1",
            Self::Successor => "cloakroom/successor/v1",
            Self::Grant { .. } => "cloakroom/grant/v1",
            Self::TokenMeta => "cloakroom/token-meta/v1",
            Self::Jwt { .. } => "cloakroom/jwt/v1",
        }
    }

    /// `entry` is absent for what belongs to the whole family.
    fn aad(self, family: FamilyId, entry: Option<TokenDigest>) -> Vec<u8> {
        let mut aad = Vec::with_capacity(192);
        aad.push(VERSION);
        push_prefixed(&mut aad, &family.0);
        push_prefixed(&mut aad, entry.as_ref().map_or(&[][..], |digest| &digest.0));
        push_prefixed(&mut aad, self.name().as_bytes());
        match self {
            Self::DataKey | Self::Successor | Self::TokenMeta => {}
            Self::Grant { claims_version } => aad.extend_from_slice(&claims_version.to_be_bytes()),
            Self::Jwt {
                audience,
                kid,
                fingerprint,
                claims_version,
            } => {
                for part in [audience, kid, fingerprint] {
                    push_prefixed(&mut aad, part.as_bytes());
                }
                aad.extend_from_slice(&claims_version.to_be_bytes());
            }
        }
        aad
    }
}

/// Something sealed, as it is stored.
#[derive(Clone, Eq, PartialEq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Takes stored bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// A seal did not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Made by a later release, or garbage: we cannot tell, so it is "unavailable"
    /// and never "invalid".
    #[error("sealed in an unknown format")]
    UnknownVersion,
    /// Not sealed by this key for this place: planted, swapped or damaged.
    #[error("a seal does not open")]
    Broken,
}

/// An AES-256-GCM key.
pub struct SealingKey {
    bytes: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    /// A fresh random key: a family's data key.
    ///
    /// # Errors
    ///
    /// When there is no entropy.
    pub fn generate(entropy: &impl Entropy) -> Result<Self, EntropyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut_slice())?;
        Ok(Self { bytes })
    }

    /// Seals `plain` for one place.
    ///
    /// # Errors
    ///
    /// When there is no entropy for the nonce.
    pub fn seal(
        &self,
        plain: &[u8],
        family: FamilyId,
        entry: Option<TokenDigest>,
        purpose: Purpose<'_>,
        entropy: &impl Entropy,
    ) -> Result<Sealed, EntropyError> {
        self.seal_with_aad(plain, &purpose.aad(family, entry), entropy)
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(
        &self,
        sealed: &Sealed,
        family: FamilyId,
        entry: Option<TokenDigest>,
        purpose: Purpose<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.open_with_aad(sealed, &purpose.aad(family, entry))
    }

    /// Seals this key under another one.
    pub(crate) fn wrap(
        &self,
        under: &Self,
        family: FamilyId,
        entry: TokenDigest,
        entropy: &impl Entropy,
    ) -> Result<Sealed, EntropyError> {
        under.seal(
            self.bytes.as_slice(),
            family,
            Some(entry),
            Purpose::DataKey,
            entropy,
        )
    }

    /// Opens a wrapped key.
    pub(crate) fn unwrap(
        wrapped: &Sealed,
        under: &Self,
        family: FamilyId,
        entry: TokenDigest,
    ) -> Result<Self, OpenError> {
        let plain = under.open(wrapped, family, Some(entry), Purpose::DataKey)?;
        let bytes = plain.as_slice().try_into().map_err(|_| OpenError::Broken)?;
        Ok(Self {
            bytes: Zeroizing::new(bytes),
        })
    }

    pub(crate) fn seal_with_aad(
        &self,
        plain: &[u8],
        aad: &[u8],
        entropy: &impl Entropy,
    ) -> Result<Sealed, EntropyError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        let key = self.cipher().ok_or(EntropyError)?;
        let mut body = Zeroizing::new(plain.to_vec());
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut body,
            )
            .map_err(|_| EntropyError)?;
        let mut out = Vec::with_capacity(1 + NONCE_LEN + body.len() + tag.as_ref().len());
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&body);
        out.extend_from_slice(tag.as_ref());
        Ok(Sealed(out))
    }

    pub(crate) fn open_with_aad(
        &self,
        sealed: &Sealed,
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (&version, rest) = sealed.0.split_first().ok_or(OpenError::UnknownVersion)?;
        if version != VERSION {
            return Err(OpenError::UnknownVersion);
        }
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(OpenError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Broken)?;
        let key = self.cipher().ok_or(OpenError::Broken)?;
        let mut body = Zeroizing::new(body.to_vec());
        let len = key
            .open_in_place(nonce, Aad::from(aad), &mut body)
            .map_err(|_| OpenError::Broken)?
            .len();
        body.truncate(len);
        Ok(body)
    }

    /// HKDF-SHA-256 (RFC 5869).
    fn derive(salt: &[u8], secret: &[u8], info: &str) -> Self {
        Self {
            bytes: Self::derive_bytes(salt, secret, info),
        }
    }

    fn derive_bytes(salt: &[u8], secret: &[u8], info: &str) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        let info = [info.as_bytes()];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
        // 32 bytes from SHA-256 are within RFC 5869's limit, so this cannot fail;
        // if it did, the zero key would open nothing that was ever sealed.
        let filled = prk
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(bytes.as_mut_slice()));
        debug_assert!(filled.is_ok());
        bytes
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.bytes.as_slice())
            .ok()
            .map(LessSafeKey::new)
    }
}

impl Clone for SealingKey {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey([redacted])")
    }
}

fn push_prefixed(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SequenceEntropy, root};
    use crate::token::TokenKind;

    const FAMILY: FamilyId = FamilyId([1; 16]);
    const ENTRY: TokenDigest = TokenDigest([2; 32]);

    fn jwt<'a>(
        audience: &'a str,
        kid: &'a str,
        fingerprint: &'a str,
        claims_version: u64,
    ) -> Purpose<'a> {
        Purpose::Jwt {
            audience,
            kid,
            fingerprint,
            claims_version,
        }
    }

    #[test]
    fn what_was_sealed_opens_only_at_its_place() {
        let entropy = SequenceEntropy::default();
        let key = SealingKey::generate(&entropy).unwrap();
        let place = jwt("orders", "kid", "print", 1);
        let sealed = key
            .seal(b"secret", FAMILY, Some(ENTRY), place, &entropy)
            .unwrap();
        assert_eq!(
            key.open(&sealed, FAMILY, Some(ENTRY), place)
                .unwrap()
                .as_slice(),
            b"secret"
        );

        let other_family = FamilyId([9; 16]);
        let other_entry = TokenDigest([9; 32]);
        let elsewhere = [
            (other_family, Some(ENTRY), place),
            (FAMILY, Some(other_entry), place),
            (FAMILY, None, place),
            (FAMILY, Some(ENTRY), Purpose::TokenMeta),
            (FAMILY, Some(ENTRY), jwt("profile", "kid", "print", 1)),
            (FAMILY, Some(ENTRY), jwt("orders", "dik", "print", 1)),
            (FAMILY, Some(ENTRY), jwt("orders", "kid", "other", 1)),
            (FAMILY, Some(ENTRY), jwt("orders", "kid", "print", 2)),
            (FAMILY, Some(ENTRY), jwt("orderskid", "", "print", 1)),
        ];
        for (family, entry, purpose) in elsewhere {
            assert_eq!(
                key.open(&sealed, family, entry, purpose).unwrap_err(),
                OpenError::Broken,
                "{purpose:?}"
            );
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let entropy = SequenceEntropy::default();
        let key = SealingKey::generate(&entropy).unwrap();
        let sealed = key
            .seal(b"claims", FAMILY, Some(ENTRY), Purpose::TokenMeta, &entropy)
            .unwrap();
        for at in 0..sealed.as_bytes().len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[at] ^= 1;
            let expected = if at == 0 {
                OpenError::UnknownVersion
            } else {
                OpenError::Broken
            };
            let got = key.open(
                &Sealed::from_bytes(bytes),
                FAMILY,
                Some(ENTRY),
                Purpose::TokenMeta,
            );
            assert_eq!(got.unwrap_err(), expected, "{at}");
        }
        for len in 0..sealed.as_bytes().len() {
            let cut = Sealed::from_bytes(sealed.as_bytes()[..len].to_vec());
            assert!(
                key.open(&cut, FAMILY, Some(ENTRY), Purpose::TokenMeta)
                    .is_err()
            );
        }
    }

    #[test]
    fn a_token_key_needs_both_the_token_and_the_root() {
        let entropy = SequenceEntropy::default();
        let token = OpaqueToken::generate(TokenKind::Access, FAMILY, &entropy).unwrap();
        let other =
            OpaqueToken::generate(TokenKind::Access, FAMILY, &SequenceEntropy::starting_at(99))
                .unwrap();
        let sealed = root(1)
            .token_key(&token, Purpose::DataKey)
            .seal(b"x", FAMILY, Some(ENTRY), Purpose::DataKey, &entropy)
            .unwrap();
        let open = |root: &RootKey, token, purpose| {
            root.token_key(token, purpose)
                .open(&sealed, FAMILY, Some(ENTRY), Purpose::DataKey)
        };
        assert!(open(&root(1), &token, Purpose::DataKey).is_ok());
        assert!(open(&root(2), &token, Purpose::DataKey).is_err());
        assert!(open(&root(1), &other, Purpose::DataKey).is_err());
        assert!(open(&root(1), &token, Purpose::Successor).is_err());
    }

    #[test]
    fn names_are_separated_by_domain_and_part_d31() {
        let root = root(1);
        let name = root.name("sub", &["a|b", "c"]);
        assert_eq!(name, root.name("sub", &["a|b", "c"]));
        for (domain, parts) in [
            ("sub", ["a", "b|c"]),
            ("ids", ["a|b", "c"]),
            ("sub", ["a|bc", ""]),
        ] {
            assert_ne!(name, root.name(domain, &parts));
        }
        assert_ne!(name, super::tests::root(2).name("sub", &["a|b", "c"]));
    }

    #[test]
    fn a_fixture_of_format_1_still_opens() {
        // A release reads what the release before wrote.
        let key = SealingKey {
            bytes: Zeroizing::new([3; 32]),
        };
        let stored = BASE64URL
            .decode(include_str!("seal/v1.b64").trim())
            .unwrap();
        let plain = key
            .open(
                &Sealed::from_bytes(stored),
                FAMILY,
                Some(ENTRY),
                Purpose::TokenMeta,
            )
            .unwrap();
        assert_eq!(plain.as_slice(), b"format 1");
    }
}
