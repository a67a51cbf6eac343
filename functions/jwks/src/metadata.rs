//! Authorization server metadata (RFC 8414 §2).

use cloakroom_domain::config::{Config, GrantKind};
use cloakroom_domain::issue::exchange;
use serde::Serialize;
use std::collections::BTreeSet;

/// What clients may know about us. Says only what this configuration does.
#[derive(Serialize)]
pub(crate) struct Metadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    pushed_authorization_request_endpoint: String,
    require_pushed_authorization_requests: bool,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    scopes_supported: BTreeSet<&'a str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 4],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 10],
    revocation_endpoint_auth_methods_supported: [&'static str; 4],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 10],
    introspection_endpoint_auth_methods_supported: [&'static str; 3],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 10],
    /// RFC 9701 §7.
    introspection_signing_alg_values_supported: [&'static str; 1],
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
}

const AUTHENTICATION: [&str; 4] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "none",
];

/// Not everybody may introspect (RFC 7662 §2.1).
const PROVEN: [&str; 3] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];

/// What a client may sign an assertion with.
const ASSERTIONS: [&str; 10] = [
    "ES256", "ES384", "Ed25519", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
];

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
            (GrantKind::TokenExchange, exchange::GRANT_TYPE),
        ];
        Self {
            issuer: &config.issuer,
            authorization_endpoint: at("/oauth/authorize"),
            pushed_authorization_request_endpoint: at("/oauth/par"),
            require_pushed_authorization_requests: all_push(config),
            token_endpoint: at("/oauth/token"),
            revocation_endpoint: at("/oauth/revoke"),
            introspection_endpoint: at("/oauth/introspect"),
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
            token_endpoint_auth_signing_alg_values_supported: ASSERTIONS,
            revocation_endpoint_auth_methods_supported: AUTHENTICATION,
            revocation_endpoint_auth_signing_alg_values_supported: ASSERTIONS,
            introspection_endpoint_auth_methods_supported: PROVEN,
            introspection_endpoint_auth_signing_alg_values_supported: ASSERTIONS,
            introspection_signing_alg_values_supported: [config.jwt.algorithm.name()],
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
        }
    }
}

/// Whether no client at all may do without pushing (RFC 9126 §5).
fn all_push(config: &Config) -> bool {
    let mut by_code = config
        .clients
        .iter()
        .filter(|client| client.grants.contains(&GrantKind::AuthorizationCode))
        .peekable();
    by_code.peek().is_some() && by_code.all(|client| client.require_par)
}
