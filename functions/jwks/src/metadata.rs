//! Authorization server metadata (RFC 8414 §2).

use cloakroom_domain::config::{Config, GrantKind};
use serde::Serialize;
use std::collections::BTreeSet;

/// What clients may know about us. Says only what this configuration does.
#[derive(Serialize)]
pub(crate) struct Metadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    jwks_uri: String,
    scopes_supported: BTreeSet<&'a str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 3],
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
}

const AUTHENTICATION: [&str; 3] = ["client_secret_basic", "client_secret_post", "none"];

impl<'a> Metadata<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        let at = |path: &str| format!("{}{path}", config.issuer);
        let offered = |kind: &GrantKind| {
            config
                .clients
                .iter()
                .any(|client| client.grants.contains(kind))
        };
        let grants = [
            (GrantKind::AuthorizationCode, "authorization_code"),
            (GrantKind::RefreshToken, "refresh_token"),
            (GrantKind::ClientCredentials, "client_credentials"),
        ];
        Self {
            issuer: &config.issuer,
            authorization_endpoint: at("/oauth/authorize"),
            token_endpoint: at("/oauth/token"),
            revocation_endpoint: at("/oauth/revoke"),
            jwks_uri: at("/.well-known/jwks.json"),
            scopes_supported: config
                .clients
                .iter()
                .flat_map(|client| &client.scopes.0)
                .map(String::as_str)
                .collect(),
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: grants
                .iter()
                .filter(|(kind, _)| offered(kind))
                .map(|(_, name)| *name)
                .collect(),
            token_endpoint_auth_methods_supported: AUTHENTICATION,
            revocation_endpoint_auth_methods_supported: AUTHENTICATION,
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
        }
    }
}
