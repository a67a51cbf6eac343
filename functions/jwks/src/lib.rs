//! Public keys (RFC 7517) and authorization server metadata (RFC 8414).
//! Composed in `main.rs`.

mod metadata;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_domain::config::Config;
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::keyset::JWKS_MAX_AGE;
use cloakroom_domain::ports::{PublicKeys, SignError};
use cloakroom_domain::token::sha256;
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Method, Request, Response, StatusCode, header, serve};
use cloakroom_gateway::telemetry::{Decision, Meter, Metered, Metric};
use metadata::Metadata;
use serde::Serialize;
use std::sync::Arc;

/// How long services and proxies may keep a document.
fn max_age() -> String {
    format!("public, max-age={JWKS_MAX_AGE}")
}

/// The function.
#[derive(Debug)]
pub struct Handler<K, C> {
    config: Arc<Config>,
    keys: Metered<K>,
    /// Of the key with which we authenticate to identity providers, if there is one.
    client_keys: Option<Metered<C>>,
    meter: Meter,
}

#[derive(Serialize)]
struct KeySet {
    keys: Vec<PublicJwk>,
}

impl<K: PublicKeys, C: PublicKeys> Handler<K, C> {
    /// Puts the function together from its ports.
    pub fn new(config: Arc<Config>, keys: K, client_keys: Option<C>) -> Self {
        let meter = Meter::default();
        Self {
            config,
            keys: Metered::new(keys, meter.clone()),
            client_keys: client_keys.map(|keys| Metered::new(keys, meter.clone())),
            meter,
        }
    }

    /// Answers one event.
    ///
    /// # Errors
    ///
    /// Never: every fault is an HTTP answer.
    pub async fn handle(&self, event: &[u8]) -> Result<Vec<u8>, FunctionFailure> {
        Ok(serve("jwks", event, |request| self.route(request)).await)
    }

    async fn route(&self, request: Request) -> Response {
        let line = |outcome| Decision::new("jwks", outcome).id("request_id", request.request_id());
        let asked = match request.path() {
            "/.well-known/jwks.json" => Asked::Keys,
            "/.well-known/client-jwks.json" if self.client_keys.is_some() => Asked::ClientKeys,
            "/.well-known/oauth-authorization-server" => Asked::Metadata,
            _ => {
                line("refused").word("reason", "no_such_path").emit();
                return Response::empty(StatusCode::NOT_FOUND);
            }
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            line("refused").word("reason", "method").emit();
            return Response::method_not_allowed("GET, HEAD");
        }
        match (asked, &self.client_keys) {
            (Asked::Keys, _) => self.key_set(&request, &self.keys).await,
            (Asked::ClientKeys, Some(keys)) => self.key_set(&request, keys).await,
            (Asked::ClientKeys, None) | (Asked::Metadata, _) => {
                line("described").emit();
                document(&request, &Metadata::new(&self.config))
            }
        }
    }

    /// Two sets, never one: what we sign for providers must not verify as a JWT for
    /// services, nor the other way round (RFC 8725 §3.12).
    async fn key_set(&self, request: &Request, keys: &Metered<impl PublicKeys>) -> Response {
        let keys = keys.public_keys().await;
        let line = |outcome| {
            Decision::new("jwks", outcome)
                .id("request_id", request.request_id())
                .calls(&self.meter.take())
        };
        match keys {
            Ok(keys) => {
                line("published").emit();
                document(request, &KeySet { keys })
            }
            // Half a key set, or an old one without a limit, would make services
            // refuse good tokens or accept withdrawn keys; a planted one, accept
            // somebody else's (D75).
            Err(error) => {
                let mut line = line("unavailable");
                if matches!(error, SignError::KeySet(fault) if fault.is_alarming()) {
                    line = line.word("reason", "key_set").count(Metric::SealsBroken, 1);
                }
                line.emit();
                OAuthError::TemporarilyUnavailable.to_response()
            }
        }
    }
}

/// What there is to read.
enum Asked {
    Keys,
    ClientKeys,
    Metadata,
}

/// A document that anybody may read, also from a script on another site.
fn document(request: &Request, body: &impl Serialize) -> Response {
    let Ok(text) = serde_json::to_string(body) else {
        return OAuthError::ServerError.to_response();
    };
    let etag = format!("\"{}\"", BASE64URL.encode(sha256(text.as_bytes())));
    let known = request
        .headers()
        .all("if-none-match")
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|each| each == "*" || each.trim_start_matches("W/") == etag);
    let response = if known {
        Response::empty(StatusCode::NOT_MODIFIED)
    } else {
        Response::text(StatusCode::OK, "application/json", text)
    };
    response
        .header(header::CACHE_CONTROL, &max_age())
        .header(header::ETAG, &etag)
        .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
}
