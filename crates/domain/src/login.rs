//! Signing in: the code flow toward the identity provider, and what follows from
//! it: a browser session, or an authorization code for a native client.
//!
//! A login that is under way is nowhere but in a sealed cookie ([`pending`]); the
//! table is written only after the provider has vouched for the user (D72).

mod backchannel;
mod native;
mod par;
mod pending;
mod renewal;
mod request;
mod return_to;
mod session;

pub use backchannel::SignedOut;
pub use native::{AuthorizeError, Authorized, Confirmed, ConfirmingBrowser, Decision, Presence};
pub use par::{PushError, Pushed};
pub use pending::{COOKIE_SUFFIX_LEN, LOGIN_SECONDS, cookie_suffix};
pub use renewal::Freshness;
pub use request::{Answer, AnswerError, AuthorizationParams, NativeRequest};
pub use return_to::local_path;
pub use session::{LoggedOut, SessionError, SessionView, TICKET_LIFE};

use crate::client::Clients;
use crate::client::assertion::{self, AssertionError, ProvenClient};
use crate::config::{CallbackUri, Config, IdentityProviderConfig};
use crate::delegation::Delegation;
use crate::ended::{self, subject_keys};
use crate::family::FamilyKind;
use crate::grant::{self, Grant, TokenMeta, new_family};
use crate::ports::{
    Authenticated, AuthorizationRequest, CallbackCode, Clock, CreateError, CreateFamily, Entropy,
    EntropyError, FindFamily, IdentityProviders, IdpError, OnceName, ReadEpoch, Roots, SignError,
    StoreError, UpdateFamily, UseOnce, VerifyAssertion, World,
};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use pending::{AskedIn, Confirmation, PendingLogin, Purpose};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Signs users in and out.
#[derive(Debug)]
pub struct LoginService<S, R, P> {
    config: Arc<Config>,
    clients: Clients,
    not_before: UnixTime,
    store: S,
    roots: R,
    providers: P,
    world: World,
}

/// What a browser asks for.
#[derive(Debug, Default)]
pub struct LoginRequest<'a> {
    /// Which provider; the only one, if there is one.
    pub idp: Option<&'a str>,
    /// Where to land afterwards. Anything but a local path becomes `/`.
    pub return_to: Option<&'a str>,
    /// Whether a fresh sign-in is demanded.
    pub prompt_login: bool,
    /// The oldest acceptable sign-in, in seconds.
    pub max_age: Option<u64>,
    /// The authentication context asked for.
    pub acr_values: Option<&'a str>,
    /// Who is expected to sign in. An e-mail address may name the provider.
    pub login_hint: Option<&'a str>,
    /// The session that this browser has, which the new one replaces.
    pub old_session: Option<&'a str>,
}

/// A login that has begun.
pub struct StartedLogin {
    /// The provider's page.
    pub location: String,
    /// The value of the login cookie whose name ends in [`cookie_suffix`] of `state`.
    pub cookie: Zeroizing<String>,
    /// The `state`: a digest of the cookie.
    pub state: String,
}

impl std::fmt::Debug for StartedLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StartedLogin([redacted])")
    }
}

/// What came back from the provider.
pub struct Callback<'a> {
    /// The `state` parameter.
    pub state: &'a str,
    /// The login cookie that belongs to it.
    pub cookie: &'a str,
    /// The code, or the provider's error code.
    pub result: Result<&'a str, &'a str>,
    /// RFC 9207.
    pub iss: Option<&'a str>,
    /// The provider to whose own address it came.
    pub at: Option<&'a str>,
    /// The session cookie that this browser had before, if it came along.
    pub old_session: Option<&'a str>,
}

impl std::fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callback([redacted])")
    }
}

/// How a login went on.
pub enum SignedIn {
    /// The browser has a session now.
    Browser {
        /// For the cookie.
        session: OpaqueToken,
        /// Seconds until its absolute limit.
        lifetime: u64,
        /// Where to land.
        return_to: String,
        /// For logs.
        subject_tag: String,
    },
    /// A public client asks; the user is asked whether that is so.
    Confirm {
        /// The sealed hidden field.
        ticket: Zeroizing<String>,
        /// The client, by its name for people.
        client: String,
        /// What it would get.
        scope: String,
        /// Who is signed in, for people.
        user: String,
    },
    /// A native client's answer.
    Answer(Answer),
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Browser { .. } => "Browser([redacted])",
            Self::Confirm { .. } => "Confirm([redacted])",
            Self::Answer(_) => "Answer([redacted])",
        })
    }
}

/// A login did not work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// No provider of that name.
    #[error("unknown identity provider")]
    UnknownProvider,
    /// There are several providers, and it was not said which.
    #[error("an identity provider must be chosen")]
    ChoiceNeeded,
    /// No cookie of a login under way fits (D2, D15), or it is too old.
    #[error("no login is under way")]
    NotPending,
    /// This login was finished before (D3).
    #[error("the login was used before")]
    Replayed,
    /// The provider said no, or the user did.
    #[error("the identity provider reports an error")]
    Denied,
    /// The provider's answer failed a check. The text is ours, for the log.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// The user was signed out everywhere while this login was in flight.
    #[error("signed out meanwhile")]
    SignedOut,
    /// We cannot tell.
    #[error("temporarily unavailable: {0}")]
    Unavailable(&'static str),
}

impl LoginError {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownProvider => "unknown_provider",
            Self::ChoiceNeeded => "choice_needed",
            Self::NotPending => "not_pending",
            Self::Replayed => "replayed",
            Self::Denied => "denied",
            Self::Refused(_) => "refused",
            Self::SignedOut => "signed_out",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl<S: UseOnce, R, P: VerifyAssertion> LoginService<S, R, P> {
    /// Judges a client's assertion, and uses it up.
    ///
    /// # Errors
    ///
    /// See [`AssertionError`].
    pub async fn prove(
        &self,
        claimed_id: Option<&str>,
        jwt: &str,
    ) -> Result<ProvenClient, AssertionError> {
        let (verifier, now) = (&self.providers, self.world.now());
        assertion::prove(&self.config, verifier, &self.store, claimed_id, jwt, now).await
    }
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// Puts together what signing in needs.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        roots: R,
        providers: P,
        world: World,
    ) -> Self {
        Self {
            clients: Clients::new(Arc::clone(&config), world.clone()),
            config,
            not_before,
            store,
            roots,
            providers,
            world,
        }
    }

    /// Begins a browser's login. Writes nothing.
    ///
    /// # Errors
    ///
    /// See [`LoginError`].
    pub async fn start(&self, request: &LoginRequest<'_>) -> Result<StartedLogin, LoginError> {
        let purpose = Purpose::Browser {
            return_to: local_path(request.return_to.unwrap_or("/")).to_owned(),
        };
        self.begin(request, purpose).await
    }

    async fn begin(
        &self,
        request: &LoginRequest<'_>,
        purpose: Purpose,
    ) -> Result<StartedLogin, LoginError> {
        let idp = self.choose(request)?;
        let pending = PendingLogin {
            idp: idp.id.clone(),
            verifier: self.random()?,
            nonce: self.random()?,
            created_at: self.world.now(),
            max_age: request.max_age,
            acr_values: request.acr_values.map(str::to_owned),
            prompt_login: request.prompt_login,
            old_session: request
                .old_session
                .filter(|text| OpaqueToken::parse(text).is_ok())
                .map(|text| Zeroizing::new(text.to_owned())),
            purpose,
        };
        let roots = self.roots.roots().await?;
        let cookie = pending.seal(roots.current(), &self.world)?;
        let state = pending::state_of(&cookie);
        let location = self
            .providers
            .authorization_url(
                &idp.id,
                &AuthorizationRequest {
                    redirect_uri: &self.config.callback_url_of(idp),
                    state: &state,
                    nonce: &pending.nonce,
                    code_challenge: &BASE64URL.encode(sha256(pending.verifier.as_bytes())),
                    prompt_login: request.prompt_login,
                    max_age: request.max_age,
                    acr_values: request.acr_values,
                    login_hint: request.login_hint,
                },
            )
            .await?;
        Ok(StartedLogin {
            location,
            cookie,
            state,
        })
    }

    /// The provider that is named, or the only one, or the one of the user's e-mail
    /// address.
    fn choose(&self, request: &LoginRequest<'_>) -> Result<&IdentityProviderConfig, LoginError> {
        match (request.idp, self.config.identity_providers.as_slice()) {
            (Some(id), _) => self
                .config
                .identity_provider(id)
                .ok_or(LoginError::UnknownProvider),
            (None, [only]) => Ok(only),
            (None, []) => Err(LoginError::UnknownProvider),
            (None, _) => request
                .login_hint
                .and_then(|address| self.config.provider_of_email(address))
                .ok_or(LoginError::ChoiceNeeded),
        }
    }

    /// Where a login that did not work was to land, as its own cookie says.
    pub async fn was_to_land(&self, callback: &Callback<'_>) -> Option<String> {
        let roots = self.roots.roots().await.ok()?;
        let (cookie, state, now) = (callback.cookie, callback.state, self.world.now());
        match PendingLogin::open(&roots, cookie, state, now)?.purpose {
            Purpose::Browser { return_to } => Some(return_to),
            Purpose::Native(_) => None,
        }
    }

    /// Ends a login: judges what the provider sent, and starts the session.
    ///
    /// # Errors
    ///
    /// See [`LoginError`].
    pub async fn callback(&self, callback: &Callback<'_>) -> Result<SignedIn, LoginError> {
        let now = self.world.now();
        let roots = self.roots.roots().await?;
        let pending = PendingLogin::open(&roots, callback.cookie, callback.state, now)
            .ok_or(LoginError::NotPending)?;
        if pending.created_at < self.epoch().await? {
            return Err(LoginError::NotPending);
        }
        let idp = self
            .config
            .identity_provider(&pending.idp)
            .ok_or(LoginError::UnknownProvider)?;
        // D5: a provider with an address of its own answers there, and no other does.
        let own = idp.callback == Some(CallbackUri::Own);
        if callback.at != own.then_some(idp.id.as_str()) {
            return Err(LoginError::Refused("the answer came to another's address"));
        }
        let Ok(code) = callback.result else {
            return self.provider_said_no(callback, &pending).await;
        };
        let authenticated = self
            .providers
            .redeem(
                &pending.idp,
                &CallbackCode {
                    code,
                    iss: callback.iss,
                    redirect_uri: &self.config.callback_url_of(idp),
                    code_verifier: &pending.verifier,
                    nonce: &pending.nonce,
                    max_age: pending.max_age,
                    acr_values: pending.acr_values.as_deref(),
                    fresh_since: pending.prompt_login.then_some(pending.created_at),
                    now,
                },
            )
            .await?;
        // After the provider has accepted the code and before there is a session:
        // of several callbacks with one state, one goes on (D3).
        self.use_once(callback.state, pending.created_at).await?;
        let started_at = pending.created_at;
        match pending.purpose {
            Purpose::Browser { return_to } => {
                let signed_in = self
                    .start_session(authenticated, return_to, started_at, now)
                    .await?;
                // The old handle is never adopted (D4); that it cannot be ended just
                // now is no reason to refuse the new one. It is known from the start of
                // the login: the Strict cookie does not come with a redirect from
                // another site.
                let seen = callback.old_session;
                let remembered = pending.old_session.as_deref().map(String::as_str);
                for old in seen
                    .into_iter()
                    .chain(remembered.filter(|old| Some(*old) != seen))
                {
                    let _ = self.end_session(old).await;
                }
                Ok(signed_in)
            }
            Purpose::Native(request) => {
                let confirmation = Confirmation {
                    asked_in: AskedIn::Login(callback.state.to_owned()),
                    started_at,
                    created_at: now,
                    user: authenticated.claims,
                    request,
                };
                self.ask_or_answer(confirmation, &roots).await
            }
        }
    }

    /// An error on the callback. It is believed only from the right issuer, and
    /// never shown (D5, D8).
    async fn provider_said_no(
        &self,
        callback: &Callback<'_>,
        pending: &PendingLogin,
    ) -> Result<SignedIn, LoginError> {
        self.providers
            .check_issuer(&pending.idp, callback.iss)
            .await?;
        match &pending.purpose {
            Purpose::Browser { .. } => Err(LoginError::Denied),
            Purpose::Native(request) => Ok(SignedIn::Answer(
                request.error(&self.config, AnswerError::AccessDenied),
            )),
        }
    }

    async fn start_session(
        &self,
        authenticated: Authenticated,
        return_to: String,
        started_at: UnixTime,
        now: UnixTime,
    ) -> Result<SignedIn, LoginError> {
        let session = &self.config.session;
        let absolute = now.plus(session.absolute);
        let grant = Grant {
            kind: FamilyKind::Session,
            client: None,
            user: Some(authenticated.claims),
            sid: self.random()?.as_str().to_owned(),
            created_at: now,
            absolute_expires_at: absolute,
            upstream_id_token: Some(authenticated.id_token),
            upstream_refresh_token: authenticated.refresh_token,
            claims_at: Some(now),
        };
        let meta = TokenMeta {
            kind: TokenKind::Session,
            client: None,
            scope: session.scopes.to_set(),
            audiences: Vec::new(),
            issued_at: now,
            expires_at: absolute,
            idle_expires_at: Some(now.plus(session.idle).min(absolute)),
            notes_first_use: false,
            successor_of: None,
            code: None,
            delegation: Delegation::default(),
            cnf: None,
        };
        let (token, subject_tag) = self.create(&grant, &meta, started_at).await?;
        Ok(SignedIn::Browser {
            session: token,
            lifetime: session.absolute,
            return_to,
            subject_tag,
        })
    }

    /// Starts a family, unless its subject was signed out everywhere since
    /// `started_at`.
    async fn create(
        &self,
        grant: &Grant,
        meta: &TokenMeta,
        started_at: UnixTime,
    ) -> Result<(OpaqueToken, String), LoginError> {
        let roots = self.roots.roots().await?;
        if ended::was_ended_since(&self.store, &self.config, &roots, grant, started_at).await? {
            return Err(LoginError::SignedOut);
        }
        let (record, token) = new_family(grant, meta, roots.current(), &self.world)?;
        let index = subject_keys(&roots, &self.config, grant);
        self.store
            .create_family(&record, &index, started_at)
            .await
            .map_err(|error| match error {
                CreateError::Ended => LoginError::SignedOut,
                CreateError::Store(error) => error.into(),
            })?;
        let subject = crate::jwt::subject(grant, meta);
        Ok((token, grant::subject_tag(roots.current(), &subject)))
    }

    async fn use_once(&self, what: &str, created_at: UnixTime) -> Result<(), LoginError> {
        let forget_after = created_at.plus(LOGIN_SECONDS * 2);
        if self.store.use_once(&once(what), forget_after).await? {
            Ok(())
        } else {
            Err(LoginError::Replayed)
        }
    }

    /// The moment before which everything issued is dead.
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        Ok(self.store.epoch().await?.max(self.not_before))
    }

    /// 256 random bits as text.
    fn random(&self) -> Result<Zeroizing<String>, EntropyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.world.fill(bytes.as_mut_slice())?;
        Ok(Zeroizing::new(BASE64URL.encode(bytes.as_slice())))
    }
}

/// The name under which it is noted that `what` was used.
fn once(what: &str) -> OnceName {
    OnceName {
        namespace: "used",
        digest: BASE64URL.encode(sha256(what.as_bytes())),
    }
}

impl From<StoreError> for LoginError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(match error {
            StoreError::Throttled(_) => "the store throttled",
            StoreError::Unavailable(_) => "the store is unavailable",
            StoreError::Malformed(_) => StoreError::MALFORMED,
        })
    }
}

impl From<SignError> for LoginError {
    fn from(_: SignError) -> Self {
        Self::Unavailable("the root keys are unavailable")
    }
}

impl From<EntropyError> for LoginError {
    fn from(_: EntropyError) -> Self {
        Self::Unavailable("no entropy")
    }
}

impl From<IdpError> for LoginError {
    fn from(error: IdpError) -> Self {
        match error {
            IdpError::Unknown => Self::UnknownProvider,
            IdpError::Unavailable(why) => Self::Unavailable(why),
            IdpError::Refused(why) => Self::Refused(why),
        }
    }
}

#[cfg(test)]
mod tests;
