//! Authorization server metadata (RFC 8414 §2).

use cloakroom_domain::config::{ClientProof, Config, GrantKind};
use cloakroom_domain::dpop;
use cloakroom_domain::issue::exchange;
use serde::Serialize;
use std::collections::BTreeSet;

/// What clients may know about us. Says only what this configuration does, and nothing
/// of what is empty (RFC 8414 §3.2); but without `grant_types_supported` clients would
/// take us to have the implicit grant (§2).
#[derive(Serialize)]
pub(crate) struct Metadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    pushed_authorization_request_endpoint: String,
    require_pushed_authorization_requests: bool,
    token_endpoint: String,
    revocation_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    scopes_supported: BTreeSet<&'a str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg_values_supported: Option<[&'static str; 10]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint_auth_signing_alg_values_supported: Option<[&'static str; 10]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint_auth_signing_alg_values_supported: Option<[&'static str; 10]>,
    /// RFC 9701 §7.
    introspection_signing_alg_values_supported: [&'static str; 1],
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    /// RFC 9449 §5.1.
    dpop_signing_alg_values_supported: [&'static str; 5],
}

/// How clients prove who they are.
const AUTHENTICATION: [(&str, ClientProof); 4] = [
    ("client_secret_basic", ClientProof::Secret),
    ("client_secret_post", ClientProof::Secret),
    ("private_key_jwt", ClientProof::PrivateKeyJwt),
    ("none", ClientProof::None),
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
        let uses = |proof| config.clients.iter().any(|client| client.proof() == proof);
        let methods: Vec<_> = AUTHENTICATION
            .iter()
            .filter(|(_, proof)| uses(*proof))
            .map(|(name, _)| *name)
            .collect();
        // Not everybody may introspect (RFC 7662 §2.1).
        let proven = methods.iter().filter(|name| **name != "none").copied();
        let proven: Vec<_> = proven.collect();
        let assertions = uses(ClientProof::PrivateKeyJwt).then_some(ASSERTIONS);
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
            introspection_endpoint: (!proven.is_empty()).then(|| at("/oauth/introspect")),
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
            token_endpoint_auth_methods_supported: methods.clone(),
            token_endpoint_auth_signing_alg_values_supported: assertions,
            revocation_endpoint_auth_methods_supported: methods,
            revocation_endpoint_auth_signing_alg_values_supported: assertions,
            introspection_endpoint_auth_methods_supported: proven,
            introspection_endpoint_auth_signing_alg_values_supported: assertions,
            introspection_signing_alg_values_supported: [config.jwt.algorithm.name()],
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
            dpop_signing_alg_values_supported: dpop::ALGORITHMS,
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
