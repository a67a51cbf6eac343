//! Addresses that a provider calls unverified (OpenID Connect Core §5.1): whoever signed up
//! there may have typed in anybody's.

use super::Said;
use crate::fault::Fault;
use cloakroom_domain::config::{IdentityProviderConfig, UnverifiedEmail};
use cloakroom_verify::jws::ClaimSet;
use serde_json::Value;

/// The value of a mapped claim, and what is to be handed on about it: nothing unless
/// unverified addresses are handed on at all.
///
/// A claim is an address if it is mapped to our `email`, or if its pointer ends in `email`
/// or `phone_number`. A name or a role has nothing beside it that could say that it is
/// unverified, so there `pass` leaves it out as well.
pub(super) fn vet<'a>(
    said: Said<'a>,
    first: Option<&ClaimSet>,
    pointer: &str,
    is_address: bool,
    idp: &IdentityProviderConfig,
) -> Result<(Option<&'a Value>, Option<bool>), Fault> {
    let value = said.at(pointer);
    let verified = match (value, flags(pointer, is_address)) {
        (Some(_), Some(flags)) => standing(said, first, pointer, &flags),
        _ => None,
    };
    if verified != Some(false) {
        let handed_on = verified.filter(|_| idp.unverified_email == UnverifiedEmail::Pass);
        return Ok((value, handed_on));
    }
    match idp.unverified_email {
        UnverifiedEmail::Refuse => Err(Fault::Refused("the user's address is not verified")),
        UnverifiedEmail::Pass if is_address => Ok((value, Some(false))),
        UnverifiedEmail::Pass | UnverifiedEmail::Drop => {
            tracing::info!(idp = %idp.id, "left out: the provider calls the address unverified");
            Ok((None, None))
        }
    }
}

/// Where a provider says whether an address is verified: beside it, or at the top.
fn flags(pointer: &str, is_address: bool) -> Option<Vec<String>> {
    let (parent, name) = pointer.rsplit_once('/')?;
    let flag = match name {
        "phone_number" => "phone_number_verified",
        "email" => "email_verified",
        _ if is_address => "email_verified",
        _ => return None,
    };
    let mut flags = vec![format!("{parent}/{flag}")];
    if !parent.is_empty() {
        flags.push(format!("/{flag}"));
    }
    Some(flags)
}

/// Whether an address is verified, if anybody says so. Whatever says that it is not
/// counts, wherever it stands; that it is counts only beside the address itself.
fn standing(
    said: Said<'_>,
    first: Option<&ClaimSet>,
    pointer: &str,
    flags: &[String],
) -> Option<bool> {
    let told = |claims: &ClaimSet| {
        let told = flags.iter().filter_map(|flag| claims.pointer(flag));
        told.map(is_true).reduce(|all, each| all && each)
    };
    let all: Vec<_> = said
        .0
        .iter()
        .map(|claims| (*claims, told(claims)))
        .collect();
    if all.iter().any(|(_, told)| *told == Some(false)) {
        return Some(false);
    }
    let source = all.iter().find(|(claims, _)| {
        claims
            .pointer(pointer)
            .is_some_and(|value| !value.is_null())
    });
    let verified = source.and_then(|(_, told)| *told);
    // A token that was renewed may leave out what the first one said.
    verified.or_else(|| first.and_then(told).filter(|verified| !verified))
}

/// Some providers write the truth as a string. Nothing else is a yes.
fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true)) || value.as_str() == Some("true")
}

#[cfg(test)]
mod tests;
