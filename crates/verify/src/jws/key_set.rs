//! Public keys from a JWK set (RFC 7517), each tied to what it may verify.
//!
//! A set is somebody else's text: what is not plainly a public signature key is
//! passed over, and a set that could mean two things is refused.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_jose::json::{Document, Object, Value};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc;

use super::{Algorithm, JwsError, is_key_id, text};

/// The public keys of one issuer.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// A longer document is refused unread.
    pub const MAX_LENGTH: usize = 150 * 1024;
    /// A set with more entries is refused.
    pub const MAX_KEYS: usize = 32;

    /// Reads a JWK set document.
    ///
    /// Passed over are symmetric and private keys, keys for anything but
    /// signatures, short RSA keys, unknown types, curves and algorithms.
    ///
    /// # Errors
    ///
    /// If the document is too long, is no JWK set, has too many entries, has two
    /// keys of one name, or has no usable key at all.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > Self::MAX_LENGTH {
            return Err(KeySetError::TooLong);
        }
        let document = Document::read(json).map_err(|_| KeySetError::Malformed)?;
        let keys = document.root().as_object().and_then(|set| set.get("keys"));
        let keys = keys.and_then(Value::as_array);
        let keys = keys.ok_or(KeySetError::Malformed)?;
        if keys.count() > Self::MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let keys = keys.map(|key| key.as_object().ok_or(KeySetError::Malformed));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        Self::from_keys(keys.into_iter().filter_map(Key::read).collect())
    }

    /// Makes a set of keys that were read one by one.
    ///
    /// # Errors
    ///
    /// If two keys have one name, or there is none.
    pub fn from_keys(keys: Vec<Key>) -> Result<Self, KeySetError> {
        let mut names: Vec<&str> = keys.iter().filter_map(|key| key.kid.as_deref()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        if names.len() != count {
            return Err(KeySetError::DuplicateKeyId);
        }
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self { keys })
    }

    /// Whether a key has this name.
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn find(&self, kid: Option<&str>, alg: Algorithm) -> Result<&Key, JwsError> {
        if let Some(kid) = kid {
            let named = self.keys.iter().find(|key| key.kid.as_deref() == Some(kid));
            let key = named.ok_or(JwsError::UnknownKey)?;
            return if key.verifies(alg) {
                Ok(key)
            } else {
                Err(JwsError::Algorithm)
            };
        }
        let mut suitable = self.keys.iter().filter(|key| key.verifies(alg));
        match (suitable.next(), suitable.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(JwsError::AmbiguousKey),
            (None, _) => Err(JwsError::UnknownKey),
        }
    }
}

/// Why a JWK set was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Over [`KeySet::MAX_LENGTH`].
    #[error("the key set is too long")]
    TooLong,
    /// Not a JSON object with a list of objects named `keys`.
    #[error("the key set is malformed")]
    Malformed,
    /// Over [`KeySet::MAX_KEYS`].
    #[error("the key set has too many keys")]
    TooManyKeys,
    /// A reader that takes the first and one that takes the last would differ.
    #[error("the key set names two keys alike")]
    DuplicateKeyId,
    /// Nothing in it can verify a signature.
    #[error("the key set has no usable key")]
    NoUsableKey,
}

/// One public signature key.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

impl Key {
    /// Reads one JWK; `None` if it is not a public signature key we can use.
    pub fn parse(json: &[u8]) -> Option<Self> {
        if json.len() > KeySet::MAX_LENGTH {
            return None;
        }
        Self::read(Document::read(json).ok()?.root().as_object()?)
    }

    /// The key's name.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the key may verify signatures of this algorithm (RFC 8725 §3.1).
    pub fn verifies(&self, alg: Algorithm) -> bool {
        self.algorithms.contains(&alg)
    }

    fn read(jwk: Object<'_, '_>) -> Option<Self> {
        const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        if PRIVATE.iter().any(|name| jwk.contains(name)) {
            return None;
        }
        if jwk.get("use").is_some_and(|usage| !usage.is("sig")) {
            return None;
        }
        let verifies = |operations: Value<'_, '_>| {
            let operations = operations.as_array();
            operations.is_some_and(|mut all| all.any(|one| one.is("verify")))
        };
        if jwk
            .get("key_ops")
            .is_some_and(|operations| !verifies(operations))
        {
            return None;
        }
        let kid = match jwk.get("kid").map(text) {
            None => None,
            Some(Some(kid)) if is_key_id(&kid) => Some(kid),
            Some(_) => return None,
        };

        let (public, mut algorithms) = public_key(jwk)?;
        if let Some(alg) = jwk.get("alg") {
            let alg = Algorithm::parse(&alg.as_str()?)?;
            algorithms.retain(|possible| *possible == alg);
        }
        (!algorithms.is_empty()).then_some(Self {
            kid,
            algorithms,
            public,
        })
    }

    pub(super) fn check(
        &self,
        alg: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), JwsError> {
        // Named here and not through the process-wide default, which panics when
        // another crate in the program turns on a second provider.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&alg.backend(), &self.public)
            .map_err(|_| JwsError::Algorithm)?;
        verifier
            .verify(message, &signature.to_vec())
            .map_err(|_| JwsError::Signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// SEC 1 §2.3.3: the mark of a point with both coordinates.
const UNCOMPRESSED: &[u8] = &[4];

/// The key, and the algorithms that its type allows.
fn public_key(jwk: Object<'_, '_>) -> Option<(DecodingKey, Vec<Algorithm>)> {
    use Algorithm as A;

    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.as_bytes()).ok();
    match (text("kty")?.as_ref(), text("crv").as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
            let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
            let sound_exponent = e.len() <= 4 && e != [1] && e.last()? % 2 == 1;
            if !(2048..=8192).contains(&bits) || !sound_exponent {
                return None;
            }
            let algorithms = vec![A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512];
            Some((DecodingKey::from_rsa_raw_components(n, e), algorithms))
        }
        // Whether the point is on the curve is checked with each signature.
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (size, alg) = if curve == "P-256" {
                (32, A::ES256)
            } else {
                (48, A::ES384)
            };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != size || y.len() != size {
                return None;
            }
            Some((
                DecodingKey::from_ec_der(&[UNCOMPRESSED, &x, &y].concat()),
                vec![alg],
            ))
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x").filter(|x| x.len() == 32)?;
            Some((DecodingKey::from_ed_der(&x), vec![A::EdDSA]))
        }
        _ => None,
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
