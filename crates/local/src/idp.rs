//! The demo identity provider: OpenID Connect for local mode and tests.
//!
//! It stands for the company's identity provider, so it shares nothing with the
//! system: another origin (`127.0.0.1`, while the system is on `localhost`, so
//! that its callbacks are truly cross-site), its own key, its own users, no code
//! of ours. It knows one client, and passwords that are no secret: never deploy
//! it.
//!
//! Start at [`DemoIdp::serve_on`]. `authorization` is the front channel, `token`
//! what the client asks, `backchannel` what it is told, `grants` what was issued, `page` the HTML.

mod authorization;
mod backchannel;
mod grants;
mod page;
mod params;
mod signing;
#[cfg(test)]
mod tests;
mod token;
mod users;

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{constant_time, digest, error::Unspecified, rand};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

pub use self::backchannel::NotTold;
use self::{grants::Grants, signing::SigningKey};
use crate::clock::unix_now;

/// Scopes a client may ask for; others are left out of the grant.
const SCOPES: [&str; 5] = ["openid", "profile", "email", "roles", "offline_access"];
/// How the users sign in, as `acr` and for `acr_values_supported`.
const ACR: &str = "urn:cloakroom:demo:password";
/// What a client can step up to. That the password is asked for once more stands for
/// whatever a real provider would ask.
const STRONG_ACR: &str = "urn:cloakroom:demo:strong";
const BODY_LIMIT: usize = 16 * 1024;

/// What the provider is told about itself and its one client.
pub struct DemoIdpOptions {
    /// The origin it is served on, without a slash at the end.
    pub issuer: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// Where a sign-in may return to; compared as exact strings.
    pub redirect_uris: Vec<String>,
    /// Where a sign-out may return to; compared as exact strings.
    pub post_logout_redirect_uris: Vec<String>,
    /// Where the client wants to be told of sign-outs.
    pub backchannel_logout_uri: Option<String>,
}

impl fmt::Debug for DemoIdpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoIdpOptions")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("client_secret", &"[redacted]")
            .field("redirect_uris", &self.redirect_uris)
            .field("post_logout_redirect_uris", &self.post_logout_redirect_uris)
            .field("backchannel_logout_uri", &self.backchannel_logout_uri)
            .finish()
    }
}

/// Why the provider could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoIdpError {
    /// The issuer is not an origin.
    #[error("the issuer must be an http or https origin without a path")]
    Issuer,
    /// A redirect URI is not an absolute URL, or has a fragment (RFC 6749 §3.1.2).
    #[error("a redirect URI must be an absolute URL without a fragment")]
    RedirectUri,
    /// The signing key could not be made.
    #[error("the signing key cannot be made")]
    Key,
    /// No HTTP client could be made.
    #[error("no HTTP client can be made")]
    Http,
}

/// The demo identity provider.
pub struct DemoIdp {
    issuer: String,
    client_id: String,
    client_secret: SecretDigest,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    backchannel_logout_uri: Option<String>,
    key: SigningKey,
    grants: Mutex<Grants>,
    roles: Mutex<BTreeMap<&'static str, Vec<String>>>,
    http: reqwest::Client,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl DemoIdp {
    /// Sets the provider up, with a signing key of its own.
    ///
    /// # Errors
    ///
    /// When a URL of the options is none, or the key cannot be made.
    pub fn new(options: DemoIdpOptions) -> Result<Self, DemoIdpError> {
        Self::with_clock(options, unix_now)
    }

    fn with_clock(
        options: DemoIdpOptions,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, DemoIdpError> {
        let issuer = Url::parse(&options.issuer).map_err(|_| DemoIdpError::Issuer)?;
        if issuer.origin().ascii_serialization() != options.issuer {
            return Err(DemoIdpError::Issuer);
        }
        let uris = options.redirect_uris.iter();
        for uri in uris
            .chain(&options.post_logout_redirect_uris)
            .chain(&options.backchannel_logout_uri)
        {
            match Url::parse(uri) {
                Ok(url) if url.fragment().is_none() => {}
                _ => return Err(DemoIdpError::RedirectUri),
            }
        }
        Ok(Self {
            issuer: options.issuer,
            client_id: options.client_id,
            client_secret: SecretDigest::of(&options.client_secret),
            redirect_uris: options.redirect_uris,
            post_logout_redirect_uris: options.post_logout_redirect_uris,
            backchannel_logout_uri: options.backchannel_logout_uri,
            key: SigningKey::generate().map_err(|_| DemoIdpError::Key)?,
            grants: Mutex::default(),
            roles: Mutex::default(),
            http: backchannel::client().map_err(|_| DemoIdpError::Http)?,
            now: Box::new(now),
        })
    }

    /// Gives a user other roles, from now on: those of tokens that are issued later.
    pub fn set_roles(&self, name: &str, roles: &[&str]) {
        if let Some(user) = users::find(name) {
            let roles = roles.iter().map(|role| (*role).to_owned()).collect();
            let mut all = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(user.sub, roles);
        }
    }

    /// Signs a user out everywhere, and says so to the client.
    ///
    /// # Errors
    ///
    /// When the client does not take it.
    pub async fn sign_out(&self, name: &str) -> Result<(), NotTold> {
        match users::find(name) {
            Some(user) => {
                self.grants().end_user(user.sub);
                self.tell(Some(user.sub), None).await
            }
            None => Ok(()),
        }
    }

    /// Ends what a user was granted, and tells nobody.
    pub fn forget(&self, name: &str) {
        if let Some(user) = users::find(name) {
            self.grants().end_user(user.sub);
        }
    }

    fn roles_of(&self, user: &users::User) -> Vec<String> {
        let all = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(user.sub).cloned().unwrap_or_else(|| {
            let roles = user.roles.iter();
            roles.map(|role| (*role).to_owned()).collect()
        })
    }

    /// The issuer, as in its tokens and its discovery document.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Serves the provider on the listener of its issuer.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve_on(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    /// Everything the provider serves, to be mounted at the root of its origin.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route(
                "/authorize",
                get(authorization::authorize).post(authorization::authorize_form),
            )
            .route("/login", post(authorization::login))
            .route("/par", post(token::push))
            .route("/token", post(token::token))
            .route("/revoke", post(token::revoke))
            .route("/userinfo", get(token::userinfo).post(token::userinfo))
            .route(
                "/logout",
                get(authorization::logout).post(authorization::logout_form),
            )
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self)
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        (self.now)()
    }
}

impl fmt::Debug for DemoIdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoIdp")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// A secret that is only ever compared, kept as its SHA-256: a comparison of
/// digests tells neither the length nor a prefix.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct SecretDigest([u8; 32]);

impl SecretDigest {
    fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        let digest = digest::digest(&digest::SHA256, secret.as_bytes());
        // Both are 32 bytes long.
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    fn matches(&self, presented: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::of(presented).0).is_ok()
    }
}

/// 256 bits in base64url: a code, a token or a session id.
fn random_text() -> Result<String, Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// OpenID Connect Discovery 1.0 §3.
async fn discovery(State(idp): State<Arc<DemoIdp>>) -> Response {
    let issuer = &idp.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "end_session_endpoint": format!("{issuer}/logout"),
        "pushed_authorization_request_endpoint": format!("{issuer}/par"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": SCOPES,
        "acr_values_supported": [ACR, STRONG_ACR],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "acr", "amr",
            "sid", "name", "email", "email_verified", "roles",
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    }))
    .into_response()
}

async fn jwks(State(idp): State<Arc<DemoIdp>>) -> Response {
    (
        [(header::CACHE_CONTROL, "public, max-age=300")],
        Json(json!({ "keys": [idp.key.jwk()] })),
    )
        .into_response()
}
