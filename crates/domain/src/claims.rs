//! Who a user is, as an identity provider told it.

use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// The claims about a user. Stored only sealed, handed on only in the internal
/// JWT, per audience.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserClaims {
    /// `<idp>|<upstream sub>`: no two providers can name the same user.
    pub sub: String,
    /// The provider's id in our configuration.
    pub idp: String,
    /// Full name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What the provider says of the address, where the configuration hands that on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Roles, after the provider's mapping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// When the user proved who they are, if the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<UnixTime>,
    /// Authentication context class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Authentication methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The session's id at the provider, for back-channel logout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp_sid: Option<String>,
    /// The provider's issuer, the other half of the subject's true name.
    pub iss: String,
}

impl std::fmt::Debug for UserClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserClaims([redacted])")
    }
}

/// What a provider says about a user beside who it is: what may change while a
/// session lasts.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Profile {
    /// Full name.
    pub name: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// What the provider says of the address, where the configuration hands that on.
    pub email_verified: Option<bool>,
    /// Roles, after the provider's mapping.
    pub roles: Vec<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profile([redacted])")
    }
}

impl UserClaims {
    /// The same user, as the provider describes them now.
    #[must_use]
    pub fn with(self, profile: Profile) -> Self {
        let Profile {
            name,
            email,
            email_verified,
            roles,
        } = profile;
        Self {
            name,
            email,
            email_verified,
            roles,
            ..self
        }
    }
}

/// The `sub` of a machine: `client|<client_id>`. `client` is reserved, so that no
/// client can look like a user (RFC 9700 §4.15, D57).
pub fn client_subject(client_id: &str) -> String {
    format!("{CLIENT_NAMESPACE}|{client_id}")
}

/// The namespace that no identity provider may be called.
pub const CLIENT_NAMESPACE: &str = "client";
