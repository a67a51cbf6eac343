//! `private_key_jwt`: a client proves who it is with a JWT that it signs (RFC 7523
//! §3 as draft-ietf-oauth-rfc7523bis changes it).
//!
//! Who signed is found out behind the port [`VerifyAssertion`]; what the claims
//! must say is here.

use crate::config::{ClientProof, Config};
use crate::ports::{
    AssertionClaims, AssertionFault, OnceName, StoreError, UseOnce, VerifyAssertion,
};
use crate::time::UnixTime;
use crate::token::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

/// The only `client_assertion_type` (RFC 7523 §2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The furthest that an assertion may reach into the future: so long its `jti` is
/// remembered. It is used up by its first use, and an hour is what client libraries
/// give it that were not told otherwise (Authlib).
const MAX_LIFE: u64 = 3600;

/// How far the client's clock and ours may be apart.
const SKEW: u64 = 60;

/// A `jti` is remembered by its digest, but hashing has a price too.
const MAX_JTI: usize = 256;

/// A client whose assertion has passed every check. Made by [`prove`] alone.
pub struct ProvenClient(String);

impl ProvenClient {
    /// `client_id`.
    pub fn id(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ProvenClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProvenClient([redacted])")
    }
}

/// Why a client is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AssertionError {
    /// `invalid_client`. The text is ours, for the log.
    #[error("the assertion is refused: {0}")]
    Refused(&'static str),
    /// `invalid_client`: it is good, and came before.
    #[error("the assertion is refused: {}", Self::REPLAYED)]
    Replayed,
    /// We cannot tell.
    #[error("temporarily unavailable: {0}")]
    Unavailable(&'static str),
}

impl AssertionError {
    /// What is said of [`Self::Replayed`] in the log.
    pub const REPLAYED: &str = "the assertion was used before";
}

/// Judges an assertion, and uses it up. `claimed_id` is the `client_id` parameter,
/// which may be left out (RFC 7521 §4.2).
///
/// # Errors
///
/// See [`AssertionError`].
pub async fn prove(
    config: &Config,
    verifier: &impl VerifyAssertion,
    store: &impl UseOnce,
    claimed_id: Option<&str>,
    jwt: &str,
    now: UnixTime,
) -> Result<ProvenClient, AssertionError> {
    let claims = verifier.verify_assertion(jwt).await?;
    let client = judge(config, &claims, claimed_id, now).map_err(AssertionError::Refused)?;
    // Last, so that only what the client has signed is ever written (invariant 10).
    let name = OnceName {
        namespace: "jti",
        digest: digest(&client, &claims.jti),
    };
    if store.use_once(&name, claims.exp.plus(2 * SKEW)).await? {
        Ok(ProvenClient(client))
    } else {
        Err(AssertionError::Replayed)
    }
}

fn judge(
    config: &Config,
    claims: &AssertionClaims,
    claimed_id: Option<&str>,
    now: UnixTime,
) -> Result<String, &'static str> {
    if claims.iss != claims.sub || claimed_id.is_some_and(|id| id != claims.sub) {
        return Err("the assertion is about another client");
    }
    let client = config
        .client(&claims.sub)
        .filter(|client| client.proof() == ClientProof::PrivateKeyJwt)
        .ok_or("the client does not authenticate by assertions")?;
    // rfc7523bis §3: an assertion for a token endpoint's URL, or for several, could
    // have been got out of the client by another server (D55).
    if claims.aud != config.issuer {
        return Err("the assertion is for somebody else");
    }
    let latest = now.plus(SKEW);
    if claims.exp.plus(SKEW).has_passed(now) {
        return Err("the assertion has expired");
    }
    if claims.exp > latest.plus(MAX_LIFE) {
        return Err("the assertion lives too long");
    }
    if claims.iat.is_some_and(|iat| iat > latest) || claims.nbf.is_some_and(|nbf| nbf > latest) {
        return Err("the assertion is from the future");
    }
    if claims
        .iat
        .is_some_and(|iat| claims.exp.since(iat) > MAX_LIFE + SKEW || claims.exp < iat)
    {
        return Err("the assertion lives too long");
    }
    if claims.jti.is_empty() || claims.jti.len() > MAX_JTI {
        return Err("the assertion's name is missing or too long");
    }
    Ok(client.id.clone())
}

/// Of the client's name too: two clients may choose the same `jti`.
fn digest(client: &str, jti: &str) -> String {
    let text = format!(
        "cloakroom/client-assertion/v1/{}/{client}/{jti}",
        client.len()
    );
    BASE64URL.encode(sha256(text.as_bytes()))
}

impl From<AssertionFault> for AssertionError {
    fn from(fault: AssertionFault) -> Self {
        match fault {
            AssertionFault::Refused(why) => Self::Refused(why),
            AssertionFault::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<StoreError> for AssertionError {
    fn from(_: StoreError) -> Self {
        Self::Unavailable("the store is unavailable")
    }
}

#[cfg(test)]
mod tests;
