//! Judges an ID token, item by item of OpenID Connect Core §3.1.3.7.
//!
//! Form, algorithm, key and signature are `cloakroom-verify`'s; here is what the
//! claims must say.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_domain::config::IdentityProviderConfig;
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::{Algorithm, ClaimSet, Expected, TimeRules, Verified};
use subtle::ConstantTimeEq;

use crate::claims::auth_time;
use crate::fault::Fault;

/// How far the provider's clock and ours may be apart.
pub(crate) const SKEW: u64 = 60;
/// A pending login lives this long, and its nonce is not older: nor can the ID
/// token be.
const OLDEST: u64 = 10 * 60;

/// What the ID token of one login must answer.
pub(crate) struct Demand<'a> {
    pub(crate) idp: &'a IdentityProviderConfig,
    pub(crate) nonce: &'a str,
    pub(crate) access_token: &'a str,
    pub(crate) max_age: Option<u64>,
    pub(crate) acr_values: Option<&'a str>,
    pub(crate) fresh_since: Option<UnixTime>,
    pub(crate) now: UnixTime,
}

/// An access token or a logout token is no ID token (RFC 8725 §3.11). Many
/// providers write no `typ`, and some with one key no `kid`.
pub(crate) fn expected(algorithms: &[Algorithm]) -> Expected<'_> {
    Expected {
        types: &["JWT"],
        untyped: true,
        algorithms,
        key_id_required: false,
    }
}

/// Judges the claims of a token whose signature is the provider's.
pub(crate) fn judge(token: &Verified, demand: &Demand<'_>) -> Result<(), Fault> {
    let claims = &token.claims;
    issuer(claims, demand.idp)?;
    audience(claims, demand.idp)?;
    times(claims, demand.now)?;
    nonce(claims, demand.nonce)?;
    authentication(claims, demand)?;
    access_token_hash(token, demand.access_token)
}

/// What the sign-in's own ID token says, and what a renewed one must therefore say.
pub(crate) struct Before {
    first: ClaimSet,
}

impl Before {
    /// Reads the claims of a token that was judged at the sign-in, and sealed since.
    pub(crate) fn of(id_token: &str) -> Option<Self> {
        let payload = id_token.split('.').nth(1)?;
        let first = ClaimSet::parse_unsigned(&URL_SAFE_NO_PAD.decode(payload).ok()?)?;
        Some(Self { first })
    }

    /// What the sign-in's own ID token said.
    pub(crate) fn claims(&self) -> &ClaimSet {
        &self.first
    }

    /// The provider's name for the user.
    pub(crate) fn subject(&self) -> Result<&str, Fault> {
        Ok(self.first.string("sub")?)
    }

    /// OpenID Connect Core §12.2, item by item.
    pub(crate) fn judge(
        &self,
        token: &Verified,
        idp: &IdentityProviderConfig,
        access_token: &str,
        now: UnixTime,
    ) -> Result<(), Fault> {
        let (claims, first) = (&token.claims, &self.first);
        issuer(claims, idp)?;
        audience(claims, idp)?;
        times(claims, now)?;
        if claims.string("sub")? != first.string("sub")? {
            return Err(Fault::Refused("the token is about somebody else"));
        }
        let auth_time = claims.optional_time("auth_time")?;
        if auth_time.is_some() && auth_time != first.optional_time("auth_time")? {
            return Err(Fault::Refused("the token is of another sign-in"));
        }
        let nonce = claims.optional_string("nonce")?;
        if nonce.is_some() && nonce != first.optional_string("nonce")? {
            return Err(Fault::Refused("the token's nonce is another login's"));
        }
        if claims.optional_string("azp")? != first.optional_string("azp")? {
            return Err(Fault::Refused("the token was given to another client"));
        }
        access_token_hash(token, access_token)
    }
}

pub(crate) fn issuer(claims: &ClaimSet, idp: &IdentityProviderConfig) -> Result<(), Fault> {
    if claims.string("iss")? == idp.issuer {
        Ok(())
    } else {
        Err(Fault::Refused("the token is of another issuer"))
    }
}

pub(crate) fn audience(claims: &ClaimSet, idp: &IdentityProviderConfig) -> Result<(), Fault> {
    let audiences = claims.audiences()?;
    if !audiences.contains(&idp.client_id.as_str()) {
        return Err(Fault::Refused("the token is for another client"));
    }
    let is_trusted =
        |aud: &&str| **aud == *idp.client_id || idp.trusted_audiences.iter().any(|one| one == *aud);
    if !audiences.iter().all(is_trusted) {
        return Err(Fault::Refused("the token is for others too"));
    }
    match claims.optional_string("azp")? {
        Some(party) if party == idp.client_id => Ok(()),
        Some(_) => Err(Fault::Refused("the token was given to another client")),
        None if audiences.len() > 1 => Err(Fault::Refused(
            "the token does not say whom it was given to",
        )),
        None => Ok(()),
    }
}

fn times(claims: &ClaimSet, now: UnixTime) -> Result<(), Fault> {
    claims.check_times(TimeRules {
        now: now.0,
        leeway: SKEW,
        max_lifetime: u64::MAX,
    })?;
    if UnixTime(claims.time("iat")?).plus(OLDEST + SKEW) < now {
        return Err(Fault::Refused("the token is older than the login"));
    }
    Ok(())
}

fn nonce(claims: &ClaimSet, wanted: &str) -> Result<(), Fault> {
    let nonce = claims.string("nonce")?;
    // An empty one would be equal to a nonce that nobody sent.
    if !wanted.is_empty() && same(nonce.as_bytes(), wanted.as_bytes()) {
        Ok(())
    } else {
        Err(Fault::Refused("the token's nonce is another login's"))
    }
}

fn authentication(claims: &ClaimSet, demand: &Demand<'_>) -> Result<(), Fault> {
    let auth_time = auth_time(claims)?;
    if auth_time.is_some_and(|time| time > demand.now.plus(SKEW)) {
        return Err(Fault::Refused("the sign-in is from the future"));
    }
    // Whoever sits at the browser can take `prompt=login` out of the address (D1).
    if let (Some(time), Some(asked)) = (auth_time, demand.fresh_since)
        && time.plus(SKEW) < asked
    {
        return Err(Fault::Refused("the sign-in is not a fresh one"));
    }
    if let Some(max_age) = demand.max_age {
        let Some(time) = auth_time else {
            return Err(Fault::Refused(
                "the token does not say when the sign-in was",
            ));
        };
        if demand.now.since(time) > max_age.saturating_add(SKEW) {
            return Err(Fault::Refused("the sign-in is too long ago"));
        }
    }
    let acr = claims.optional_string("acr")?;
    if let Some(wanted) = demand.acr_values
        && !wanted.split(' ').any(|one| acr == Some(one))
    {
        return Err(Fault::Refused("the sign-in was not strong enough"));
    }
    Ok(())
}

/// OpenID Connect Core §3.1.3.8: ties the access token to this ID token.
fn access_token_hash(token: &Verified, access_token: &str) -> Result<(), Fault> {
    let Some(claimed) = token.claims.optional_string("at_hash")? else {
        return Ok(());
    };
    let own = left_half(token.header.alg, access_token)
        .ok_or(Fault::Refused("the token's algorithm is not accepted"))?;
    if same(claimed.as_bytes(), own.as_bytes()) {
        Ok(())
    } else {
        Err(Fault::Refused("the token is not for this access token"))
    }
}

/// The left half of the hash that the signature algorithm uses. Ed25519 hashes
/// with SHA-512.
fn left_half(alg: Algorithm, text: &str) -> Option<String> {
    let hash = match alg {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &digest::SHA256,
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        _ => return None,
    };
    let digest = digest::digest(hash, text.as_bytes());
    let half = digest.as_ref().get(..digest.as_ref().len() / 2)?;
    Some(URL_SAFE_NO_PAD.encode(half))
}

fn same(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

#[cfg(test)]
mod tests;
