//! Pushed authorization requests (RFC 9126). The request URI *is* the request,
//! sealed: pushing one stores nothing, and one that we did not make does not open.
//!
//! A request URI is good for one code. That is noted (`used#`) in the moment before
//! the code is made: the user is known by then, so that nobody who is not signed in
//! can make us write (invariant 10), and a page that is loaded again costs nothing.
//! A request URI that was used is refused on sight, by a read.

use super::native::AuthorizeError;
use super::pending::PushedRequest;
use super::request::{AnswerError, AuthorizationParams, Demands, NativeRequest, RequestFault};
use super::{LoginError, LoginService, once, request};
use crate::client::{ClientCredentials, ClientError};
use crate::config::GrantKind;
use crate::dpop::{self, Proof, ProofError};
use crate::ports::{
    Clock, CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, SignError, UpdateFamily,
    UseOnce,
};
use crate::token::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use zeroize::Zeroizing;

/// How long a pushed request may wait for its user's browser.
pub(super) const PUSHED_SECONDS: u64 = 60;

const URN: &str = "urn:ietf:params:oauth:request_uri:";

/// A request that was pushed.
pub struct Pushed {
    /// What the client sends the browser off with.
    pub request_uri: Zeroizing<String>,
    /// Seconds.
    pub expires_in: u64,
}

impl std::fmt::Debug for Pushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pushed([redacted])")
    }
}

/// A request was not taken (RFC 9126 §2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PushError {
    /// The client did not prove who it is.
    #[error("client authentication failed")]
    InvalidClient,
    /// Too many attempts to authenticate as this client failed; try again after these seconds.
    #[error("too many failed client authentications")]
    ClientLimited(u64),
    /// The client may not send users here.
    #[error("the client may not use authorization codes")]
    UnauthorizedClient,
    /// The request breaks a rule of the endpoint; the text is ours.
    #[error("{0}")]
    Malformed(&'static str),
    /// What the authorization endpoint would have told the client.
    #[error("refused: {}", .0.code())]
    Refused(AnswerError),
    /// We cannot tell.
    #[error("temporarily unavailable: {0}")]
    Unavailable(&'static str),
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// Judges the proof of possession that came with a pushed request. That it counts
    /// once is not noted: an unauthenticated request writes nothing (invariant 10), and
    /// presented again it could only ask for a code of the same key.
    ///
    /// # Errors
    ///
    /// See [`ProofError`].
    pub async fn judge_proof(&self, proof: &str) -> Result<Proof, ProofError> {
        let now = self.world.now();
        dpop::judge_with_nonce(&self.config, &self.roots, proof, "/oauth/par", now).await
    }

    /// The nonce that proofs are to have from now on.
    pub async fn fresh_nonce(&self) -> Option<String> {
        dpop::fresh_nonce(&self.roots, self.world.now()).await
    }

    /// Takes a request out of the browser's hands. Judged as at the authorization
    /// endpoint; the code is bound to the key of `proof`, if there is one (RFC 9449
    /// §10.1).
    ///
    /// # Errors
    ///
    /// See [`PushError`].
    pub async fn push(
        &self,
        credentials: &ClientCredentials<'_>,
        params: &AuthorizationParams<'_>,
        proof: Option<&Proof>,
    ) -> Result<Pushed, PushError> {
        let client = self.clients.authenticate(credentials)?;
        if !client.grants.contains(&GrantKind::AuthorizationCode) {
            return Err(PushError::UnauthorizedClient);
        }
        if params.request_uri.is_some() {
            return Err(PushError::Malformed("request_uri cannot be pushed"));
        }
        let params = AuthorizationParams {
            // Whoever authenticated by the header need not say it again.
            client_id: params.client_id.or(Some(&client.id)),
            ..params.clone()
        };
        if params.client_id != Some(client.id.as_str()) {
            return Err(PushError::Malformed("client_id is another client's"));
        }
        let key = proof.map(|proof| proof.key().as_str());
        if params.dpop_jkt.is_some() && key.is_some() && params.dpop_jkt != key {
            return Err(PushError::Malformed(
                "dpop_jkt is not the key of the DPoP proof",
            ));
        }
        let params = AuthorizationParams {
            dpop_jkt: params.dpop_jkt.or(key),
            ..params
        };
        let (_, request, demands) =
            request::judge(&params, &self.config).map_err(|fault| match fault {
                RequestFault::Shown(_) => {
                    PushError::Malformed("the redirect_uri is not one of this client's")
                }
                RequestFault::Told(_, error) => PushError::Refused(error),
            })?;
        let roots = self.roots.roots().await?;
        let pushed = PushedRequest {
            created_at: self.world.now(),
            request,
            demands,
        };
        let sealed = pushed
            .seal(roots.current(), &self.world)
            .map_err(|_| PushError::Unavailable("no entropy"))?;
        Ok(Pushed {
            request_uri: Zeroizing::new(format!("{URN}{}", &*sealed)),
            expires_in: PUSHED_SECONDS,
        })
    }

    /// The request behind a request URI. Whatever else the browser brings along
    /// does not count (RFC 9101 §6.3), or a user could edit what was pushed.
    pub(super) async fn pushed(
        &self,
        client_id: Option<&str>,
        uri: &str,
    ) -> Result<(NativeRequest, Demands), AuthorizeError> {
        const UNKNOWN: AuthorizeError =
            AuthorizeError::Shown("This request was not made here, or by another client.");
        let sealed = uri.strip_prefix(URN).ok_or(UNKNOWN)?;
        let roots = self.roots.roots().await.map_err(LoginError::from)?;
        let pushed = PushedRequest::open(&roots, sealed).ok_or(UNKNOWN)?;
        // RFC 9126 §4: bound to the client that pushed it.
        if client_id != Some(pushed.request.client.as_str()) {
            return Err(UNKNOWN);
        }
        self.client_of(&pushed.request).map_err(|_| UNKNOWN)?;
        let request = NativeRequest {
            pushed: Some(BASE64URL.encode(sha256(uri.as_bytes()))),
            ..pushed.request
        };
        let over = pushed
            .created_at
            .plus(PUSHED_SECONDS)
            .has_passed(self.world.now());
        if over || self.was_used(&request).await? {
            let answer = request.error(&self.config, AnswerError::InvalidRequestUri);
            return Err(AuthorizeError::Answered(answer));
        }
        Ok((request, pushed.demands))
    }

    async fn was_used(&self, request: &NativeRequest) -> Result<bool, LoginError> {
        match name_of(request) {
            Some(name) => Ok(self.store.was_used(&once(&name)).await?),
            None => Ok(false),
        }
    }

    /// Notes that a pushed request has led to a code. `false` if one did before.
    pub(super) async fn use_pushed(&self, request: &NativeRequest) -> Result<bool, LoginError> {
        let Some(name) = name_of(request) else {
            return Ok(true);
        };
        // Remembered for as long as a login that began with it can be under way.
        let until = self.world.now().plus(PUSHED_SECONDS);
        match self.use_once(&name, until).await {
            Ok(()) => Ok(true),
            Err(LoginError::Replayed) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Under which name it is noted that a pushed request was used.
fn name_of(request: &NativeRequest) -> Option<String> {
    let digest = request.pushed.as_ref()?;
    Some(format!("{URN}{digest}"))
}

impl From<ClientError> for PushError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Invalid => Self::InvalidClient,
            ClientError::Limited { retry_after } => Self::ClientLimited(retry_after),
        }
    }
}

impl From<SignError> for PushError {
    fn from(_: SignError) -> Self {
        Self::Unavailable("the root keys are unavailable")
    }
}
