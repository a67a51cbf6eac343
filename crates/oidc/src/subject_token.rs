//! Judges an ID token that a client presents for its user (RFC 8693 §2.1).
//!
//! No login waits for it, so there is no nonce to compare; all the more must it be
//! an ID token, for us, and alive.

use cloakroom_domain::config::IdentityProviderConfig;
use cloakroom_domain::delegation::MayAct;
use cloakroom_domain::ports::Vouched;
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::{ClaimSet, TimeRules, Unverified, Verified};
use serde::Deserialize;

use crate::claims;
use crate::fault::Fault;
use crate::id_token::{self, SKEW};
use crate::provider::ANY_ALGORITHM;

/// Whom an unverified subject token says it is from.
pub(crate) fn claimed_issuer(token: &str) -> Result<String, Fault> {
    let token = Unverified::parse(token, &id_token::expected(ANY_ALGORITHM))?;
    Ok(token.claimed_issuer()?.unwrap_or_default().into())
}

/// Judges the claims of a token whose signature is the provider's.
pub(crate) fn judge(
    token: &Verified,
    idp: &IdentityProviderConfig,
    now: UnixTime,
) -> Result<Vouched, Fault> {
    let claims = &token.claims;
    id_token::issuer(claims, idp)?;
    id_token::audience(claims, idp)?;
    claims.check_times(TimeRules {
        now: now.0,
        leeway: SKEW,
        max_lifetime: u64::MAX,
    })?;
    is_id_token(claims)?;
    let issued_at = UnixTime(claims.time("iat")?).min(now);
    let expires_at = UnixTime(claims.time("exp")?);
    let may_act = claims
        .value("may_act")
        .map(|value| MayAct::deserialize(value).map_err(|_| MALFORMED))
        .transpose()?;
    Ok(Vouched {
        claims: claims::map(claims, None, idp, now)?,
        issued_at,
        expires_at,
        may_act,
    })
}

const MALFORMED: Fault = Fault::Refused("the token's may_act is not understood");

/// What else a provider signs for us may not pass for a sign-in: a logout token has
/// events, and an access token scopes (RFC 8725 §3.12).
fn is_id_token(claims: &ClaimSet) -> Result<(), Fault> {
    if ["events", "scope", "scp"]
        .iter()
        .any(|name| claims.value(name).is_some())
    {
        return Err(Fault::Refused("the token is no ID token"));
    }
    // Its actors have names of the provider's, which are none of ours.
    if claims.value("act").is_some() {
        return Err(Fault::Refused("the token is a delegated one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
