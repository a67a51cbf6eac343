//! `[[identity_providers]]`.

use super::{ScopeSetConfig, SecretRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An OpenID provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderConfig {
    /// Short name: the first half of every `sub` it vouches for.
    pub id: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Exact issuer URL; discovery is below it.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// How we prove it.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Reference to our secret there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretRef>,
    /// For whom our assertions are, if we authenticate by `private_key_jwt`.
    #[serde(default)]
    pub client_assertion_audience: AssertionAudience,
    /// Whether authorization requests are pushed (RFC 9126).
    #[serde(default)]
    pub par: PushedRequests,
    /// What we ask for.
    #[serde(default = "default_idp_scopes")]
    pub scopes: ScopeSetConfig,
    /// Hosts besides the issuer's that its metadata may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// Algorithms acceptable on its ID tokens.
    #[serde(default = "default_id_token_algorithms")]
    pub id_token_algorithms: Vec<String>,
    /// Further audiences that its ID tokens may carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_audiences: Vec<String>,
    /// Whether UserInfo is asked for mapped claims that the ID token leaves out.
    #[serde(default = "yes")]
    pub userinfo: bool,
    /// Where it sends browsers back to; must be said if there are several providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackUri>,
    /// The e-mail domains of its users: who names an address there is sent here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email_domains: Vec<String>,
    /// Seconds after which a browser session's roles, name and e-mail address are asked
    /// for again; absent: they are those of the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_max_age: Option<u64>,
    /// Seconds after which a session whose claims could not be renewed is over; absent:
    /// four times `claims_max_age`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_max_stale: Option<u64>,
    /// Whether its back-channel logout ends what clients hold with `offline_access` too
    /// (OpenID Connect Back-Channel Logout 1.0 §2.7: it should not).
    #[serde(default)]
    pub logout_ends_offline_access: bool,
    /// Whether metadata without S256 is refused (RFC 9700 §2.1.1).
    #[serde(default = "yes")]
    pub require_pkce_metadata: bool,
    /// What becomes of an e-mail address or a telephone number that the provider calls
    /// unverified.
    #[serde(default)]
    pub unverified_email: UnverifiedEmail,
    /// Where its claims are, as JSON pointers.
    #[serde(default)]
    pub claims: ClaimMapping,
}

/// What becomes of an address that a provider calls unverified: anybody may have typed it
/// in there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum UnverifiedEmail {
    /// It is left out.
    #[default]
    Drop,
    /// It is handed on, and `email_verified` beside it says what it is worth.
    Pass,
    /// The sign-in is refused.
    Refuse,
}

/// Where a provider sends browsers back to. Of two providers with the same address
/// and no `iss` parameter (RFC 9207), one could pass the other's code off as its own
/// (mix-up, RFC 9700 §4.4).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallbackUri {
    /// `/auth/callback`. With several providers it must announce RFC 9207.
    Shared,
    /// `/auth/callback/<id>`.
    Own,
}

/// How we authenticate to an identity provider.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// RFC 6749 §2.3.1, in the header.
    #[default]
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, in the body.
    ClientSecretPost,
    /// RFC 7523 §2.2: an assertion signed by a KMS key, so that there is no secret.
    PrivateKeyJwt,
    /// A public client.
    None,
}

impl ClientAuthentication {
    /// Whether it takes a secret that both sides know.
    pub const fn needs_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// For whom the assertions are with which we authenticate to a provider.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// The provider's issuer and nothing else (rfc7523bis): an assertion for one
    /// endpoint could be wheedled out of us by another provider that names it.
    #[default]
    Issuer,
    /// The token endpoint, and the plain type `JWT`: for providers that know RFC 7523
    /// alone.
    TokenEndpoint,
}

/// Whether authorization requests are pushed to a provider (RFC 9126).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PushedRequests {
    /// If its metadata has an endpoint for it.
    #[default]
    Auto,
    /// Always: metadata without an endpoint is refused.
    Always,
    /// Only if it takes no others.
    Never,
}

/// Where in the ID token our claims are, as JSON pointers (RFC 6901).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ClaimMapping {
    /// Full name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Roles: an array of strings, or one string.
    pub roles: String,
    /// Provider's role to ours; an empty table hands all on as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename_roles: BTreeMap<String, String>,
    /// Roles that are handed on (after renaming); empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_roles: Vec<String>,
    /// Roles of everyone who signs in here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_roles: Vec<String>,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            name: "/name".into(),
            email: "/email".into(),
            roles: "/roles".into(),
            rename_roles: BTreeMap::new(),
            allow_roles: Vec::new(),
            default_roles: Vec::new(),
        }
    }
}

impl IdentityProviderConfig {
    /// When claims of this age are no longer good enough for a session to go on, if
    /// they are ever renewed at all.
    pub fn claims_limit(&self) -> Option<u64> {
        let max_age = self.claims_max_age?;
        Some(self.claims_max_stale.unwrap_or(max_age.saturating_mul(4)))
    }

    /// For people.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

fn yes() -> bool {
    true
}

fn default_idp_scopes() -> ScopeSetConfig {
    ScopeSetConfig(vec!["openid".into(), "profile".into(), "email".into()])
}

fn default_id_token_algorithms() -> Vec<String> {
    vec!["RS256".into()]
}
