//! Maps a provider's claims into ours.
//!
//! A mapped claim of the wrong shape refuses the login, so that a wrong pointer
//! shows at once and never as a user without a role, or with one too many.

mod vetting;

use std::collections::BTreeSet;

use cloakroom_domain::claims::{Profile, UserClaims};
use cloakroom_domain::config::{ClaimMapping, IdentityProviderConfig};
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::ClaimSet;
use serde_json::Value;

use crate::fault::Fault;

/// OpenID Connect Core §2: a `sub` is at most 255 ASCII characters.
const MAX_NAME: usize = 255;
/// For what a person reads: a JWT must fit a header.
const MAX_TEXT: usize = 1024;
const MAX_LIST: usize = 100;

/// What is said about a user: by an ID token, and by UserInfo, which counts only
/// where the ID token is silent.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a>(pub(crate) &'a [&'a ClaimSet]);

/// The user of a judged ID token.
pub(crate) fn map(
    claims: &ClaimSet,
    userinfo: Option<&ClaimSet>,
    idp: &IdentityProviderConfig,
    now: UnixTime,
) -> Result<UserClaims, Fault> {
    let subject = subject(claims)?;
    let session = session(claims)?;
    let auth_time = auth_time(claims)?;
    let acr = claims.optional_string("acr")?.map(bounded).transpose()?;
    let amr = claims.strings("amr")?;
    if amr.len() > MAX_LIST {
        return Err(MALFORMED);
    }
    let amr = amr.into_iter().map(bounded).collect::<Result<_, _>>()?;

    let said = [claims].into_iter().chain(userinfo).collect::<Vec<_>>();
    let Profile {
        name,
        email,
        email_verified,
        roles,
    } = profile(Said(&said), None, idp)?;
    Ok(UserClaims {
        sub: format!("{}|{subject}", idp.id),
        idp: idp.id.clone(),
        iss: idp.issuer.clone(),
        name,
        email,
        email_verified,
        roles,
        // Never `iat` in its place: an ID token that was renewed, or given without asking
        // the user, is younger than the sign-in. The provider's clock may be ahead; a
        // sign-in of the future would stay fresh for longer than it is.
        auth_time: auth_time.map(|time| time.min(now)),
        acr,
        amr,
        idp_sid: session,
    })
}

/// When the user signed in, if the provider knows. Some that do not know say 0.
pub(crate) fn auth_time(claims: &ClaimSet) -> Result<Option<UnixTime>, Fault> {
    let time = claims.optional_time("auth_time")?;
    Ok(time.filter(|time| *time > 0).map(UnixTime))
}

/// What may change while a session lasts. `first` is what the sign-in's own ID token said,
/// if that is another.
pub(crate) fn profile(
    said: Said<'_>,
    first: Option<&ClaimSet>,
    idp: &IdentityProviderConfig,
) -> Result<Profile, Fault> {
    let mapping = &idp.claims;
    let vetted = |pointer, is_address| vetting::vet(said, first, pointer, is_address, idp);
    let (email, standing) = vetted(&mapping.email, true)?;
    let email = text(email)?;
    Ok(Profile {
        name: text(vetted(&mapping.name, false)?.0)?,
        email_verified: standing.filter(|_| email.is_some()),
        email,
        roles: roles(vetted(&mapping.roles, false)?.0, mapping)?,
    })
}

impl<'a> Said<'a> {
    /// Absent and null are both "silent", and so is what is mapped nowhere.
    pub(crate) fn at(self, pointer: &str) -> Option<&'a Value> {
        let mut said = self.0.iter().filter_map(|claims| claims.pointer(pointer));
        said.find(|value| !value.is_null())
    }

    /// Whether something that is mapped is not said.
    pub(crate) fn lacks_any(self, mapping: &ClaimMapping) -> bool {
        [&mapping.name, &mapping.email, &mapping.roles]
            .into_iter()
            .any(|pointer| !pointer.is_empty() && self.at(pointer).is_none())
    }
}

/// The provider's name for the user.
pub(crate) fn subject(claims: &ClaimSet) -> Result<String, Fault> {
    name(claims.string("sub")?)
}

/// The provider's name for the user's session there.
pub(crate) fn session(claims: &ClaimSet) -> Result<Option<String>, Fault> {
    claims.optional_string("sid")?.map(name).transpose()
}

const MALFORMED: Fault = Fault::Refused("a mapped claim is of the wrong shape");

fn name(text: &str) -> Result<String, Fault> {
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if text.is_empty() || text.len() > MAX_NAME || !printable {
        return Err(Fault::Refused("the token's sub or sid is not acceptable"));
    }
    Ok(text.into())
}

/// Absent, null and empty are all "none".
fn text(claim: Option<&Value>) -> Result<Option<String>, Fault> {
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => bounded(text).map(Some),
        Some(_) => Err(MALFORMED),
    }
}

fn roles(claim: Option<&Value>, mapping: &ClaimMapping) -> Result<Vec<String>, Fault> {
    let theirs = match claim {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(all)) => all
            .iter()
            .map(|role| role.as_str().ok_or(MALFORMED))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(MALFORMED),
    };
    let mut ours: BTreeSet<&str> = theirs
        .into_iter()
        .filter_map(|role| renamed(role, mapping))
        .filter(|role| mapping.allow_roles.is_empty() || contains(&mapping.allow_roles, role))
        .filter(|role| !role.is_empty())
        .collect();
    ours.extend(mapping.default_roles.iter().map(String::as_str));
    if ours.len() > MAX_LIST {
        return Err(Fault::Refused(
            "the user has too many roles: set allow_roles",
        ));
    }
    ours.into_iter().map(bounded).collect()
}

/// With a table, a role that is not in it is dropped: a group of theirs that
/// happens to be called as a role of ours is not that role.
fn renamed<'a>(role: &'a str, mapping: &'a ClaimMapping) -> Option<&'a str> {
    if mapping.rename_roles.is_empty() {
        return Some(role);
    }
    mapping.rename_roles.get(role).map(String::as_str)
}

fn contains(list: &[String], text: &str) -> bool {
    list.iter().any(|one| one == text)
}

fn bounded(text: &str) -> Result<String, Fault> {
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(MALFORMED);
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests;
