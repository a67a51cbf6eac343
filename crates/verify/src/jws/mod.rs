//! The strict core: a compact JWS in, a verified header and claim set out.
//!
//! For whatever checks a JWT from outside (the internal JWT, an ID token, a
//! client assertion, a logout token). It knows form, keys, signatures and times;
//! what a claim *means* is the caller's business.
//!
//! `jsonwebtoken` does the signature and nothing else. Its own validation
//! accepts tokens without the `iss` and `aud` that were asked for, an array as
//! `iss`, any `typ`, an unknown `crit`, and makes an HMAC key of an `oct` JWK;
//! the tests below name each of these.
//!
//! Two steps, because the key may have to be fetched in between:
//! [`Unverified::parse`], then [`Unverified::verify`].

mod claim_set;
mod key_set;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_jose::json::{Document, Object, Value};
use serde::Serialize;

pub use claim_set::{ClaimSet, TimeRules};
pub use key_set::{Key, KeySet, KeySetError};

/// Longer tokens are refused unread: no parser sees more than this. Ours are far shorter;
/// identity providers list hundreds of groups.
pub const MAX_TOKEN_LENGTH: usize = 64 * 1024;

/// A `kid` is the sender's text and only ever compared with the key set's own.
const MAX_KEY_ID_LENGTH: usize = 200;

/// The signature algorithms there are for us.
///
/// HMAC and `none` have no variant, so no configuration can allow them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Reads a registered name; letter case matters (RFC 7515 §4.1.1).
    ///
    /// `Ed25519` is RFC 9864's name for what `EdDSA` means here.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "EdDSA" | "Ed25519" => Self::EdDSA,
            _ => return None,
        })
    }

    /// The name as it stands in a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    fn backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// What a caller takes, so that no kind of JWT passes for another (RFC 8725 §3.12).
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The `typ` values taken, without the `application/` prefix.
    pub types: &'a [&'a str],
    /// Whether a header without `typ` is taken.
    pub untyped: bool,
    /// The algorithms taken; the key must be for the same one.
    pub algorithms: &'a [Algorithm],
    /// Whether a header without `kid` is refused.
    pub key_id_required: bool,
}

/// The three header parameters that are ever acted on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Header {
    /// The algorithm, on the caller's list.
    pub alg: Algorithm,
    /// The media type, as written.
    pub typ: Option<String>,
    /// The key's name, as written.
    pub kid: Option<String>,
}

/// A token of the right form, signed by nobody knows whom.
pub struct Unverified<'a> {
    header: Header,
    /// A JSON object. Its claims are kept for nobody before the signature is verified.
    payload: Vec<u8>,
    issuer: Result<Option<String>, JwsError>,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Checks everything about a token that needs no key and no time.
    ///
    /// # Errors
    ///
    /// If the token is too long, is not a compact JWS in canonical base64url,
    /// has a header that `expected` does not take, or is not made of JSON objects
    /// with distinct keys.
    pub fn parse(token: &'a str, expected: &Expected<'_>) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(JwsError::TooLong);
        }
        // RFC 7515 §7.2 JSON serializations and polyglots need other characters.
        if !token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            return Err(JwsError::Malformed);
        }
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) else {
            return Err(JwsError::Malformed);
        };
        let signing_input = token.rsplit_once('.').map_or("", |(input, _)| input);

        let header = Header::read(&decode(header)?, expected)?;
        let payload = decode(payload)?;
        let issuer = object(&read(&payload)?)?
            .get("iss")
            .map(|iss| text(iss).ok_or(JwsError::Claim("iss")))
            .transpose();
        Ok(Self {
            header,
            payload,
            issuer,
            signing_input,
            signature: decode(signature)?,
        })
    }

    /// The header, to find a key by.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whom the token says it is from: to choose whose keys to try, and no more.
    ///
    /// # Errors
    ///
    /// If `iss` is not a string.
    pub fn claimed_issuer(&self) -> Result<Option<&str>, JwsError> {
        match &self.issuer {
            Ok(issuer) => Ok(issuer.as_deref()),
            Err(error) => Err(*error),
        }
    }

    /// Checks the signature with the key that `kid` names.
    ///
    /// Without `kid` the set must hold exactly one key for the algorithm.
    ///
    /// # Errors
    ///
    /// If there is no such key, the key is for another algorithm, or the
    /// signature is not the key's.
    pub fn verify(self, keys: &KeySet) -> Result<Verified, JwsError> {
        keys.find(self.header.kid.as_deref(), self.header.alg)?
            .check(
                self.header.alg,
                self.signing_input.as_bytes(),
                &self.signature,
            )?;
        Ok(Verified {
            claims: ClaimSet::parse_unsigned(&self.payload).ok_or(JwsError::Malformed)?,
            header: self.header,
        })
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// A token whose signature is that of a key in the caller's set.
///
/// Its claims are still to be judged.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The header.
    pub header: Header,
    /// The claims.
    pub claims: ClaimSet,
}

/// Why a token was refused. One word to its bearer; the detail is for logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Over [`MAX_TOKEN_LENGTH`].
    #[error("the token is too long")]
    TooLong,
    /// Not three canonical base64url segments holding JSON objects.
    #[error("the token is not a well-formed JWS")]
    Malformed,
    /// Encrypted or compressed: a bomb, or a confusion of signing and sealing.
    #[error("the token is encrypted or compressed")]
    Encrypted,
    /// Another kind of JWT, or one that does not say its kind.
    #[error("the token is of another type")]
    Type,
    /// Not on the list, or not the key's own algorithm.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// A `crit` header: we understand no extension.
    #[error("the token has a critical extension")]
    CriticalExtension,
    /// A header that brings or points to its own key.
    #[error("the token's header carries a key")]
    EmbeddedKey,
    /// No `kid` where one is needed, or one that cannot be a key's name.
    #[error("the token's key id is missing or malformed")]
    KeyId,
    /// No key of that name.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// No `kid`, and several keys that could be meant.
    #[error("the token does not say which key it is signed with")]
    AmbiguousKey,
    /// Not the signature of that key.
    #[error("the token's signature is wrong")]
    Signature,
    /// The named claim is missing, of the wrong type, or not what was expected.
    #[error("the token's claim {0} is missing or not acceptable")]
    Claim(&'static str),
    /// Dead at its expiry.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// `exp` - `iat` is over the cap.
    #[error("the token lives too long")]
    LifetimeTooLong,
}

impl Header {
    fn read(json: &[u8], expected: &Expected<'_>) -> Result<Self, JwsError> {
        let document = read(json)?;
        let header = object(&document)?;
        let has_any = |names: &[&str]| names.iter().any(|name| header.contains(name));
        if has_any(&["enc", "zip"]) {
            return Err(JwsError::Encrypted);
        }
        // `b64` (RFC 7797) changes what is signed and counts only with `crit`.
        if has_any(&["crit", "b64"]) {
            return Err(JwsError::CriticalExtension);
        }
        // RFC 8725 §3.10: a key that comes with the token proves nothing, and
        // fetching one is server-side request forgery.
        if has_any(&["jku", "jwk", "x5u", "x5c"]) {
            return Err(JwsError::EmbeddedKey);
        }

        let alg = header
            .get("alg")
            .and_then(text)
            .and_then(|alg| Algorithm::parse(&alg))
            .filter(|alg| expected.algorithms.contains(alg))
            .ok_or(JwsError::Algorithm)?;
        let typ = match header.get("typ").map(text) {
            None if expected.untyped => None,
            Some(Some(typ)) if names_one_of(&typ, expected.types) => Some(typ),
            _ => return Err(JwsError::Type),
        };
        let kid = match header.get("kid").map(text) {
            None if !expected.key_id_required => None,
            Some(Some(kid)) if is_key_id(&kid) => Some(kid),
            _ => return Err(JwsError::KeyId),
        };
        Ok(Self { alg, typ, kid })
    }
}

fn read(json: &[u8]) -> Result<Document<'_>, JwsError> {
    Document::read(json).map_err(|_| JwsError::Malformed)
}

fn object<'d, 'a>(document: &'d Document<'a>) -> Result<Object<'d, 'a>, JwsError> {
    document.root().as_object().ok_or(JwsError::Malformed)
}

fn text(value: Value<'_, '_>) -> Option<String> {
    value.as_str().map(Into::into)
}

/// Media types ignore letter case, and `application/` may be left out (RFC 7515 §4.1.9).
fn names_one_of(typ: &str, types: &[&str]) -> bool {
    const PREFIX: &str = "application/";
    let subtype = match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    };
    types
        .iter()
        .any(|taken| subtype.eq_ignore_ascii_case(taken))
}

fn is_key_id(kid: &str) -> bool {
    (1..=MAX_KEY_ID_LENGTH).contains(&kid.len()) && kid.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Unpadded, and without stray trailing bits: one value has one spelling.
fn decode(segment: &str) -> Result<Vec<u8>, JwsError> {
    if segment.is_empty() {
        return Err(JwsError::Malformed);
    }
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| JwsError::Malformed)
}

#[cfg(test)]
mod tests;
