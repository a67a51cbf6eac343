//! Judges a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6).

use cloakroom_domain::config::IdentityProviderConfig;
use cloakroom_domain::ports::LogoutToken;
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::{Algorithm, Expected, TimeRules, Unverified, Verified};
use serde_json::Value;

use crate::claims;
use crate::fault::Fault;
use crate::id_token::{SKEW, audience, issuer};
use crate::provider::ANY_ALGORITHM;

/// Back-Channel Logout §4 advises two minutes; some providers take a few more.
const MAX_LIFETIME: u64 = 10 * 60;
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Providers are told to write the type, and not all do.
pub(crate) fn expected(algorithms: &[Algorithm]) -> Expected<'_> {
    Expected {
        types: &["logout+jwt", "JWT"],
        untyped: true,
        algorithms,
        key_id_required: false,
    }
}

/// Whom an unverified logout token says it is from.
pub(crate) fn claimed_issuer(token: &str) -> Result<String, Fault> {
    let token = Unverified::parse(token, &expected(ANY_ALGORITHM))?;
    let issuer = token.claimed_issuer()?;
    Ok(issuer.unwrap_or_default().into())
}

/// Judges the claims of a token whose signature is the provider's.
pub(crate) fn judge(
    token: &Verified,
    idp: &IdentityProviderConfig,
    now: UnixTime,
) -> Result<LogoutToken, Fault> {
    let claims = &token.claims;
    issuer(claims, idp)?;
    audience(claims, idp)?;
    claims.check_times(TimeRules {
        now: now.0,
        leeway: SKEW,
        max_lifetime: MAX_LIFETIME,
    })?;
    // §2.4: what tells it from an ID token, whatever its type says.
    if claims.value("nonce").is_some() {
        return Err(Fault::Refused("the logout token has a nonce"));
    }
    if !claims
        .value("events")
        .and_then(|events| events.get(EVENT))
        .is_some_and(Value::is_object)
    {
        return Err(Fault::Refused("the token is no logout token"));
    }
    let subject = match claims.optional_string("sub")? {
        Some(_) => Some(format!("{}|{}", idp.id, claims::subject(claims)?)),
        None => None,
    };
    let session = claims::session(claims)?;
    if subject.is_none() && session.is_none() {
        return Err(Fault::Refused("the logout token names nobody"));
    }
    Ok(LogoutToken {
        idp: idp.id.clone(),
        iss: idp.issuer.clone(),
        sub: subject,
        sid: session,
        jti: claims.string("jti")?.into(),
        issued_at: UnixTime(claims.time("iat")?),
        expires_at: UnixTime(claims.time("exp")?).plus(SKEW),
    })
}

#[cfg(test)]
mod tests;
