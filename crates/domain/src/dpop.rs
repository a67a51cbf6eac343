//! Proof of possession (RFC 9449): a token that is bound to a key is worth something
//! only beside a fresh JWT, signed by that key, about this very request.
//!
//! What a proof must say is here, and so is the check of its signature: the key comes
//! *with* the proof, so there is nothing to fetch, and the authorizer, which judges
//! one per request, links no JWT library for it. Who may present which key is decided
//! where the token is known.

mod key;
mod nonce;
mod uri;

pub use key::ALGORITHMS;

use crate::config::Config;
use crate::ports::{OnceName, Roots, StoreError, UseOnce};
use crate::target::Reading;
use crate::time::UnixTime;
use crate::token::{OpaqueToken, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_jose::json;
use key::PublicKey;
use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// Far above a proof with an RSA key of 4096 bits, far below what a gateway lets
/// through.
const MAX_PROOF: usize = 4 * 1024;

/// How old a proof may be: so long a stolen one could be presented elsewhere, and so
/// long its name is remembered.
const LIFE: u64 = 60;

/// How far the client's clock and ours may be apart.
const SKEW: u64 = 60;

/// A `jti` is remembered by its digest, but hashing has a price too.
const MAX_JTI: usize = 256;

/// The name of a key: SHA-256 of its JWK in canonical form (RFC 7638).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint(String);

/// Not the base64url of a SHA-256.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JWK thumbprint")]
pub struct MalformedThumbprint;

impl Thumbprint {
    /// As clients write it in `dpop_jkt` (RFC 9449 §10).
    ///
    /// # Errors
    ///
    /// [`MalformedThumbprint`] if it cannot be one: no key would ever fit.
    pub fn parse(text: &str) -> Result<Self, MalformedThumbprint> {
        let bytes = BASE64URL.decode(text).map_err(|_| MalformedThumbprint)?;
        if bytes.len() == 32 {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedThumbprint)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = MalformedThumbprint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.0
    }
}

/// The `cnf` of a token (RFC 7800 §3.1, RFC 9449 §6.1): the key that it is bound to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Confirmation {
    /// Which.
    pub jkt: Thumbprint,
}

/// The request that a proof must be about.
#[derive(Clone, Copy)]
pub struct Occasion<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path below our issuer. The rest of the URI is the configuration's: `Host`
    /// is the sender's own word (D7).
    pub path: &'a str,
    /// How the path reached us.
    pub reading: Reading,
    /// The access token that is presented beside it.
    pub token: Option<&'a OpaqueToken>,
}

impl fmt::Debug for Occasion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Occasion({} {})", self.method, self.path)
    }
}

/// A proof that has passed every check but one: whether it was presented before, which
/// [`Proof::use_up`] says. Made by [`judge`] alone.
#[derive(Clone)]
pub struct Proof {
    key: Thumbprint,
    nonce: Option<String>,
    once: OnceName,
    forget_after: UnixTime,
}

impl Proof {
    /// The key that the sender holds.
    pub fn key(&self) -> &Thumbprint {
        &self.key
    }

    /// For a token that is to be bound to it.
    pub(crate) fn confirmation(&self) -> Confirmation {
        Confirmation {
            jkt: self.key.clone(),
        }
    }

    /// `true` to exactly one of all who present this proof (RFC 9449 §11.1).
    ///
    /// A write: only after everything else about the request was found good, so that
    /// whoever has no grant and no token cannot make us write (invariant 10). A key of
    /// one's own proves nothing.
    ///
    /// # Errors
    ///
    /// When the store could not answer; the request must then not go on.
    pub async fn use_up(&self, store: &impl UseOnce) -> Result<bool, StoreError> {
        store.use_once(&self.once, self.forget_after).await
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.key.0)
    }
}

/// What is wrong with a proof.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum ProofFault {
    /// Not one compact JWS of two JSON objects, or too long.
    Malformed,
    /// Another kind of JWT, or one with an extension that we do not know.
    Type,
    /// Not on the list, or not one for that key.
    Algorithm,
    /// No public key, or a private one.
    Key,
    /// Not that key's.
    Signature,
    /// About a request with another method.
    Method,
    /// About another URI.
    Uri,
    /// Too old, or from the future.
    Time,
    /// No `jti`, or too long a one.
    Name,
    /// About another token, or about none.
    Token,
    /// It was presented before.
    Replayed,
    /// There is none where one is demanded.
    Missing,
    /// There are several (RFC 9449 §4.3).
    Several,
}

impl ProofFault {
    /// For logs, and for whoever develops a client: our own words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "the DPoP proof is malformed",
            Self::Type => "the DPoP proof is of another type",
            Self::Algorithm => "the DPoP proof has an algorithm that is not accepted",
            Self::Key => "the DPoP proof has a jwk that is not accepted",
            Self::Signature => "the DPoP proof has a wrong signature",
            Self::Method => "the DPoP proof has another htm",
            Self::Uri => "the DPoP proof has another htu",
            Self::Time => "the DPoP proof is not from now: check the clock",
            Self::Name => "the DPoP proof has no acceptable jti",
            Self::Token => "the DPoP proof has another ath",
            Self::Replayed => "the DPoP proof was used before",
            Self::Missing => "a DPoP proof is required",
            Self::Several => "there is more than one DPoP proof",
        }
    }

    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "proof_malformed",
            Self::Type => "proof_type",
            Self::Algorithm => "proof_algorithm",
            Self::Key => "proof_key",
            Self::Signature => "proof_signature",
            Self::Method => "proof_htm",
            Self::Uri => "proof_htu",
            Self::Time => "proof_iat",
            Self::Name => "proof_jti",
            Self::Token => "proof_ath",
            Self::Replayed => "proof_replayed",
            Self::Missing => "proof_missing",
            Self::Several => "proof_several",
        }
    }
}

/// Judges a proof (RFC 9449 §4.3): all but its nonce, the token's key, and whether it
/// was presented before. No I/O.
///
/// # Errors
///
/// See [`ProofFault`].
pub fn judge(
    config: &Config,
    proof: &str,
    occasion: &Occasion<'_>,
    now: UnixTime,
) -> Result<Proof, ProofFault> {
    let parts = Parts::of(proof).ok_or(ProofFault::Malformed)?;
    let header: Header = json::from_slice(&parts.header).map_err(|_| ProofFault::Malformed)?;
    let key = header.key()?;
    let claims: Claims = json::from_slice(&parts.payload).map_err(|_| ProofFault::Malformed)?;
    if !key.verifies(parts.signed.as_bytes(), &parts.signature) {
        return Err(ProofFault::Signature);
    }
    claims.judge(config, key.thumbprint(), occasion, now)
}

/// The JOSE header. What is not named here decides nothing.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    jwk: Option<key::Jwk>,
    // Critical extensions, of which we understand none (RFC 7515 §4.1.11); `b64` would
    // change what is signed (RFC 7797).
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    b64: Present,
}

impl Header {
    fn key(self) -> Result<PublicKey, ProofFault> {
        // RFC 8725 §3.11. `application/` may be left out, letter case does not matter
        // (RFC 7515 §4.1.9).
        let typ = self.typ.unwrap_or_default().to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        if typ != "dpop+jwt" || self.crit.0 || self.b64.0 {
            return Err(ProofFault::Type);
        }
        let algorithm = self
            .alg
            .as_deref()
            .and_then(key::Algorithm::parse)
            .ok_or(ProofFault::Algorithm)?;
        let jwk = self.jwk.ok_or(ProofFault::Key)?;
        PublicKey::read(&jwk, algorithm)
    }
}

/// The claims (RFC 9449 §4.2).
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    htm: Option<String>,
    #[serde(default)]
    htu: Option<String>,
    #[serde(default)]
    iat: Option<NumericDate>,
    #[serde(default)]
    exp: Option<NumericDate>,
    #[serde(default)]
    nbf: Option<NumericDate>,
    #[serde(default)]
    ath: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
}

impl Claims {
    fn judge(
        self,
        config: &Config,
        key: Thumbprint,
        occasion: &Occasion<'_>,
        now: UnixTime,
    ) -> Result<Proof, ProofFault> {
        if self.htm.as_deref() != Some(occasion.method) {
            return Err(ProofFault::Method);
        }
        let uri = self.htu.as_deref().and_then(uri::normalize);
        let uri = uri
            .filter(|uri| uri::is_about(uri, &config.issuer, occasion.path, occasion.reading))
            .ok_or(ProofFault::Uri)?;
        let until = self.judge_times(now)?;
        let jti = self
            .jti
            .filter(|jti| (1..=MAX_JTI).contains(&jti.len()))
            .ok_or(ProofFault::Name)?;
        if let Some(token) = occasion.token {
            let made = BASE64URL.encode(sha256(token.expose().as_bytes()));
            let said = self.ath.unwrap_or_default();
            if !bool::from(made.as_bytes().ct_eq(said.as_bytes())) {
                return Err(ProofFault::Token);
            }
        }
        Ok(Proof {
            once: OnceName {
                namespace: "jti",
                digest: digest(&key, &uri, &jti),
            },
            key,
            nonce: self.nonce,
            forget_after: until.plus(SKEW),
        })
    }

    /// Until when it could be presented again.
    fn judge_times(&self, now: UnixTime) -> Result<UnixTime, ProofFault> {
        let latest = now.plus(SKEW);
        let iat = self.iat.and_then(|iat| iat.0);
        let iat = iat.ok_or(ProofFault::Time)?;
        let until = iat.plus(LIFE + SKEW);
        // Neither belongs to a proof; a client that says them means them.
        let is_over = |exp: UnixTime| exp.plus(SKEW).has_passed(now);
        let over = self.exp.is_some_and(|exp| exp.0.is_none_or(is_over));
        let early = self
            .nbf
            .is_some_and(|nbf| nbf.0.is_none_or(|nbf| nbf > latest));
        if iat > latest || until.has_passed(now) || over || early {
            return Err(ProofFault::Time);
        }
        Ok(until)
    }
}

/// Seconds since 1970 (RFC 7519 §2), which need not be whole; `None` for a number that is
/// no moment that we can hold.
#[derive(Clone, Copy)]
struct NumericDate(Option<UnixTime>);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, whole: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(Some(UnixTime(whole))))
            }

            fn visit_i64<E>(self, _negative: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(None))
            }

            fn visit_f64<E>(self, seconds: f64) -> Result<NumericDate, E> {
                // Rust writes all digits of it, and no exponent.
                let text = format!("{:.0}", seconds.trunc());
                Ok(NumericDate(text.parse().ok().map(UnixTime)))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// Of the key and the URI too: two clients may choose the same `jti`, and one client
/// for two requests (RFC 9449 §11.1).
fn digest(key: &Thumbprint, uri: &str, jti: &str) -> String {
    let text = format!("cloakroom/dpop/v1/{}/{}/{uri}/{jti}", key.0, uri.len());
    BASE64URL.encode(sha256(text.as_bytes()))
}

/// A compact JWS. Canonical base64url alone, so that one proof has one spelling.
struct Parts<'a> {
    signed: &'a str,
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(proof: &'a str) -> Option<Self> {
        if proof.len() > MAX_PROOF {
            return None;
        }
        let (signed, signature) = proof.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part| BASE64URL.decode(part).ok().filter(|part| !part.is_empty());
        Some(Self {
            signed,
            header: decode(header)?,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }
}

/// Whether a member is there, whatever it is.
#[derive(Clone, Copy, Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// Why a proof is not taken at an endpoint of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// `invalid_dpop_proof`
    #[error(transparent)]
    Invalid(#[from] ProofFault),
    /// `use_dpop_nonce`: it has none of ours, or one that is over.
    #[error("the DPoP proof has no nonce of ours")]
    Nonce,
    /// We cannot tell.
    #[error("the root keys are unavailable")]
    Unavailable,
}

/// Judges a proof at an endpoint of ours, where the nonce is demanded: it bounds how
/// long before its use a proof was made, whatever the client's clock says (RFC 9449
/// §8).
///
/// # Errors
///
/// See [`ProofError`].
pub async fn judge_with_nonce(
    config: &Config,
    roots: &impl Roots,
    proof: &str,
    path: &str,
    now: UnixTime,
) -> Result<Proof, ProofError> {
    let occasion = Occasion {
        method: "POST",
        path,
        reading: Reading::Written,
        token: None,
    };
    let proof = judge(config, proof, &occasion, now)?;
    let roots = roots.roots().await.map_err(|_| ProofError::Unavailable)?;
    let nonce = proof.nonce.as_deref().unwrap_or_default();
    if nonce::is_ours(&roots, nonce, now) {
        Ok(proof)
    } else {
        Err(ProofError::Nonce)
    }
}

/// The nonce that clients are to use now. `None` when the root keys are out of reach.
pub async fn fresh_nonce(roots: &impl Roots, now: UnixTime) -> Option<String> {
    let roots = roots.roots().await.ok()?;
    Some(nonce::of(roots.current(), now))
}

#[cfg(test)]
pub(crate) mod tests;
