//! A provider's metadata (OpenID Connect Discovery 1.0), kept for an hour.

use std::sync::Arc;

use cloakroom_domain::ports::Clock;
use cloakroom_domain::time::UnixTime;
use cloakroom_jose::json;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use crate::fault::Fault;
use crate::fetch::Fetcher;

/// For how long metadata is used without asking again, in seconds.
const LIFETIME: u64 = 60 * 60;
/// For how long it is used when asking fails.
const MAX_STALE: u64 = 24 * 60 * 60;
/// The least time between a failed request and the next.
const RETRY_DELAY: u64 = 5;

/// What we need to know of a provider.
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    pub(crate) end_session_endpoint: Option<Url>,
    pub(crate) pushed_request_endpoint: Option<Url>,
    /// Whether it takes no authorization request that was not pushed (RFC 9126 §5).
    pub(crate) requires_pushed_requests: bool,
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) revocation_endpoint: Option<Url>,
    /// Whether its callbacks carry `iss` (RFC 9207 §3).
    pub(crate) sends_issuer: bool,
}

/// Asks a provider for its metadata when needed.
pub(crate) struct Discovery {
    fetcher: Arc<Fetcher>,
    issuer: String,
    requires_pkce: bool,
    clock: Arc<dyn Clock>,
    /// Held by whoever asks, so that a burst makes one request.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<(Arc<Metadata>, UnixTime)>,
    failure: Option<(Fault, UnixTime)>,
}

impl Discovery {
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        issuer: &str,
        requires_pkce: bool,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            fetcher,
            issuer: issuer.into(),
            requires_pkce,
            clock,
            state: Mutex::default(),
        }
    }

    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, Fault> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(metadata) = state.held_for(LIFETIME, now) {
            return Ok(metadata);
        }
        let fault = match state.failure {
            Some((fault, at)) if now.since(at) < RETRY_DELAY => fault,
            _ => match self.fetch().await {
                Ok(metadata) => {
                    let metadata = Arc::new(metadata);
                    *state = State {
                        held: Some((Arc::clone(&metadata), now)),
                        failure: None,
                    };
                    return Ok(metadata);
                }
                Err(fault) => {
                    state.failure = Some((fault, now));
                    fault
                }
            },
        };
        state.held_for(MAX_STALE, now).ok_or(fault)
    }

    async fn fetch(&self) -> Result<Metadata, Fault> {
        // Discovery §4: a slash at the issuer's end is taken off first.
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        let url = format!("{base}/.well-known/openid-configuration");
        let body = self.fetcher.get(&self.fetcher.permit(&url)?).await?;
        let document: Document =
            json::from_slice(&body).map_err(|_| Fault::Refused("its metadata is malformed"))?;
        self.judge(&document)
    }

    fn judge(&self, document: &Document) -> Result<Metadata, Fault> {
        // Discovery §4.3: else one provider could answer for another.
        if document.issuer != self.issuer {
            return Err(Fault::Refused("its metadata names another issuer"));
        }
        // RFC 9700 §2.1.1: PKCE that the provider ignores protects nobody.
        if self.requires_pkce
            && !document
                .code_challenge_methods_supported
                .iter()
                .any(|method| method == "S256")
        {
            return Err(Fault::Refused(
                "its metadata does not offer PKCE with S256 (require_pkce_metadata)",
            ));
        }
        let permit = |url: &String| self.fetcher.permit(url);
        // We can do without these: one that may not be asked is as good as none.
        let permit_if_allowed = |name: &'static str, url: &Option<String>| {
            let url = url.as_ref()?;
            let permitted = self.fetcher.permit(url).ok();
            if permitted.is_none() {
                tracing::warn!(name, "not used: its host is not in allowed_hosts");
            }
            permitted
        };
        Ok(Metadata {
            authorization_endpoint: permit(&document.authorization_endpoint)?,
            token_endpoint: permit(&document.token_endpoint)?,
            jwks_uri: permit(&document.jwks_uri)?,
            end_session_endpoint: document
                .end_session_endpoint
                .as_ref()
                .map(permit)
                .transpose()?,
            pushed_request_endpoint: document
                .pushed_authorization_request_endpoint
                .as_ref()
                .map(permit)
                .transpose()?,
            requires_pushed_requests: document.require_pushed_authorization_requests,
            userinfo_endpoint: permit_if_allowed("userinfo_endpoint", &document.userinfo_endpoint),
            revocation_endpoint: permit_if_allowed(
                "revocation_endpoint",
                &document.revocation_endpoint,
            ),
            sends_issuer: document.authorization_response_iss_parameter_supported,
        })
    }
}

impl State {
    fn held_for(&self, seconds: u64, now: UnixTime) -> Option<Arc<Metadata>> {
        self.held
            .as_ref()
            .filter(|(_, at)| now.since(*at) < seconds)
            .map(|(metadata, _)| Arc::clone(metadata))
    }
}

/// As it is published. A name that occurs twice is an error of serde's derive.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    pushed_authorization_request_endpoint: Option<String>,
    #[serde(default)]
    require_pushed_authorization_requests: bool,
    userinfo_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[cfg(test)]
mod recipes;
#[cfg(test)]
mod tests;
