//! What a service learns about the caller.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::error::VerifyError;
use crate::jws::{ClaimSet, Header, JwsError, Verified};

/// The verified claims of the internal JWT (RFC 9068 §2.2).
///
/// Roles, scopes, `name` and `email` are there only where the audience is given
/// them. `Debug` shows no personal data.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// Who issued the token.
    pub iss: String,
    /// `<idp>|<subject>` for a user, `client|<client_id>` for a machine.
    pub sub: String,
    /// The service this token is for.
    pub aud: String,
    /// The OAuth client that calls, also on behalf of a user.
    pub client_id: String,
    /// When the token dies, in seconds since 1970.
    pub exp: u64,
    /// When it was issued.
    pub iat: u64,
    /// The token's name. Not single use: a JWT is sent many times.
    pub jti: String,
    /// The scopes granted.
    pub scope: BTreeSet<String>,
    /// The user's roles.
    pub roles: BTreeSet<String>,
    /// The user's full name.
    pub name: Option<String>,
    /// The user's e-mail address.
    pub email: Option<String>,
    /// Whether the identity provider has verified the address. Absent unless the
    /// configuration hands on unverified ones (`unverified_email = "pass"`).
    pub email_verified: Option<bool>,
    /// When the user authenticated, at the identity provider.
    pub auth_time: Option<u64>,
    /// How strongly (authentication context class).
    pub acr: Option<String>,
    /// By which methods.
    pub amr: Vec<String>,
    /// The session.
    pub sid: Option<String>,
    /// Who acts for the subject (RFC 8693 §4.1). Only its top level may be used
    /// for access decisions.
    pub act: Option<Map<String, Value>>,
    /// The token's header.
    pub header: Header,
    /// Every claim, as it came.
    pub raw: Map<String, Value>,
}

impl Claims {
    /// Whether a person, and not a machine, is the subject.
    pub fn is_user(&self) -> bool {
        !self.sub.starts_with("client|")
    }

    /// Whether the user has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// Whether the scope was granted.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.contains(scope)
    }

    /// Lets only users with the role pass.
    ///
    /// # Errors
    ///
    /// [`VerifyError::MissingRole`] (403) if the user does not have it.
    pub fn require_role(&self, role: &str) -> Result<(), VerifyError> {
        if self.has_role(role) {
            Ok(())
        } else {
            Err(VerifyError::MissingRole)
        }
    }

    /// Lets only calls with the scope pass.
    ///
    /// # Errors
    ///
    /// [`VerifyError::MissingScope`] (403) if it was not granted.
    pub fn require_scope(&self, scope: &str) -> Result<(), VerifyError> {
        if self.has_scope(scope) {
            Ok(())
        } else {
            Err(VerifyError::MissingScope(scope.to_owned()))
        }
    }

    /// Types the claims; which issuer, audience and time are right is not judged here.
    pub(crate) fn read(verified: Verified) -> Result<Self, JwsError> {
        let Verified { header, claims } = verified;
        Ok(Self {
            iss: claims.string("iss")?.to_owned(),
            sub: claims.string("sub")?.to_owned(),
            aud: one_audience(&claims)?.to_owned(),
            client_id: claims.string("client_id")?.to_owned(),
            exp: claims.time("exp")?,
            iat: claims.time("iat")?,
            jti: claims.string("jti")?.to_owned(),
            scope: claims
                .optional_string("scope")?
                .unwrap_or_default()
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            roles: claims
                .strings("roles")?
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
            name: claims.optional_string("name")?.map(ToOwned::to_owned),
            email: claims.optional_string("email")?.map(ToOwned::to_owned),
            email_verified: match claims.value("email_verified") {
                None => None,
                Some(Value::Bool(verified)) => Some(*verified),
                Some(_) => return Err(JwsError::Claim("email_verified")),
            },
            auth_time: claims.optional_time("auth_time")?,
            acr: claims.optional_string("acr")?.map(ToOwned::to_owned),
            amr: claims
                .strings("amr")?
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
            sid: claims.optional_string("sid")?.map(ToOwned::to_owned),
            act: match claims.value("act") {
                None => None,
                Some(Value::Object(actor)) => Some(actor.clone()),
                Some(_) => return Err(JwsError::Claim("act")),
            },
            header,
            raw: claims.into_map(),
        })
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("aud", &self.aud)
            .field("client_id", &self.client_id)
            .field("jti", &self.jti)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// An internal JWT is for one service: a second audience could replay it here.
fn one_audience(claims: &ClaimSet) -> Result<&str, JwsError> {
    match claims.audiences()?.as_slice() {
        [one] => Ok(one),
        _ => Err(JwsError::Claim("aud")),
    }
}
