//! The authorization endpoint (RFC 6749 §4.1): who is signed in, the user's
//! confirmation, and the answer.

use super::pending::{AskedIn, Confirmation, Purpose};
use super::request::{
    Answer, AnswerError, AuthorizationParams, Demands, NativeRequest, RequestFault, is_registered,
    judge,
};
use super::session::SessionError;
use super::{LoginError, LoginRequest, LoginService, SignedIn, StartedLogin};
use crate::claims::UserClaims;
use crate::config::{ClientConfig, GrantKind};
use crate::delegation::Delegation;
use crate::family::FamilyKind;
use crate::grant::{CodeBinding, Grant, TokenMeta};
use crate::issue::OFFLINE_ACCESS;
use crate::ports::{
    Clock, CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
};
use crate::seal::RootKeys;
use crate::time::UnixTime;
use crate::token::TokenKind;
use crate::visible::visible;

/// How long a code may be redeemed (RFC 6749 §4.1.2 recommends at most ten
/// minutes; a program needs seconds).
const CODE_SECONDS: u64 = 60;

/// What a browser's request tells about its session.
#[derive(Clone, Copy)]
pub enum Presence<'a> {
    /// Nothing: another site led here, so the Strict cookie stayed at home.
    Unseen,
    /// There is none.
    Absent,
    /// This one; not yet judged.
    Cookie(&'a str),
}

impl std::fmt::Debug for Presence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unseen => "Unseen",
            Self::Absent => "Absent",
            Self::Cookie(_) => "Cookie([redacted])",
        })
    }
}

/// How an authorization request goes on.
#[derive(Debug)]
pub enum Authorized {
    /// The request is in order; the browser is to make it again from our own site,
    /// so that its session is seen.
    LookAgain,
    /// Off to the provider.
    Login(StartedLogin),
    /// The browser's session will do.
    SignedIn(SignedIn),
}

/// An authorization request is not in order.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// Client or redirect URI are not known: told to the user, never redirected
    /// (RFC 6749 §4.1.2.1).
    #[error("{0}")]
    Shown(&'static str),
    /// Told to the client.
    #[error("the request was answered with an error")]
    Answered(Answer),
    /// The login could not begin.
    #[error(transparent)]
    Login(#[from] LoginError),
}

/// What the user said on the confirmation page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// The cookies of the browser in which the user answers.
#[derive(Clone, Copy, Default)]
pub struct ConfirmingBrowser<'a> {
    /// The values of all its login cookies.
    pub logins: &'a [&'a str],
    /// Its session.
    pub session: Option<&'a str>,
}

impl std::fmt::Debug for ConfirmingBrowser<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfirmingBrowser([redacted])")
    }
}

/// The user's word has been heard.
#[derive(Debug)]
pub struct Confirmed {
    /// Back to the client.
    pub answer: Answer,
    /// The state of the login that is over now, if there was one.
    pub login: Option<String>,
}

/// Who is signed in, and since when.
struct Present {
    user: UserClaims,
    since: UnixTime,
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// Judges an authorization request, and goes on with the browser's session if
    /// it will do, else with a login.
    ///
    /// # Errors
    ///
    /// See [`AuthorizeError`].
    pub async fn authorize(
        &self,
        params: &AuthorizationParams<'_>,
        presence: Presence<'_>,
    ) -> Result<Authorized, AuthorizeError> {
        let (request, demands) = self.requested(params).await?;
        let told = |error| Err(AuthorizeError::Answered(request.error(&self.config, error)));
        let session = match presence {
            // A fresh sign-in is asked for: no session will do.
            _ if demands.prompt.login => None,
            Presence::Unseen => return Ok(Authorized::LookAgain),
            Presence::Absent => None,
            Presence::Cookie(text) => {
                let present = self.present(text).await?;
                let now = self.world.now();
                present
                    .filter(|present| demands.are_met_by(&present.user, now))
                    .map(|present| (text, present))
            }
        };
        let Some((text, present)) = session else {
            if demands.prompt.none {
                return told(AnswerError::LoginRequired);
            }
            let login = LoginRequest {
                idp: demands.idp.as_deref(),
                prompt_login: demands.prompt.login,
                max_age: demands.max_age,
                acr_values: demands.acr_values.as_deref(),
                login_hint: demands.login_hint.as_deref(),
                ..LoginRequest::default()
            };
            let started = self.begin(&login, Purpose::Native(request)).await?;
            return Ok(Authorized::Login(started));
        };
        if demands.prompt.none && request.needs_confirmation(self.client_of(&request)?) {
            return told(AnswerError::ConsentRequired);
        }
        let roots = self.roots.roots().await.map_err(LoginError::from)?;
        let confirmation = Confirmation {
            asked_in: AskedIn::session(text),
            started_at: present.since,
            created_at: self.world.now(),
            user: present.user,
            request,
        };
        let signed_in = self.ask_or_answer(confirmation, &roots).await?;
        Ok(Authorized::SignedIn(signed_in))
    }

    /// What is asked for, from the browser's parameters or from what was pushed.
    async fn requested(
        &self,
        params: &AuthorizationParams<'_>,
    ) -> Result<(NativeRequest, Demands), AuthorizeError> {
        if let Some(uri) = params.request_uri {
            let (request, mut demands) = self.pushed(params.client_id, uri).await?;
            // What the browser carries does not count beside what was pushed (RFC 9126 §4),
            // with one exception: where the client did not say at which provider to sign in,
            // the user does, on our page, by its name or by an address of theirs.
            let of = |address: &str| self.config.provider_of_email(address);
            if demands.idp.is_none() && demands.login_hint.as_deref().and_then(of).is_none() {
                let chosen = || params.login_hint.and_then(of).map(|idp| idp.id.clone());
                demands.idp = params.idp.map(str::to_owned).or_else(chosen);
            }
            return Ok((request, demands));
        }
        match judge(params, &self.config) {
            // RFC 9126 §2.4: what a browser carries, its user can edit.
            Ok((client, request, _)) if client.require_par => {
                let error = AnswerError::InvalidRequest("this client must push its requests");
                Err(AuthorizeError::Answered(request.error(&self.config, error)))
            }
            Ok((_, request, demands)) => Ok((request, demands)),
            Err(RequestFault::Shown(why)) => Err(AuthorizeError::Shown(why)),
            Err(RequestFault::Told(request, error)) => {
                Err(AuthorizeError::Answered(request.error(&self.config, error)))
            }
        }
    }

    /// Who is signed in by this session, if it is alive.
    async fn present(&self, session: &str) -> Result<Option<Present>, LoginError> {
        match self.opened_session(session).await {
            Ok(opened) => Ok(opened.grant.user.map(|user| Present {
                user,
                since: opened.grant.created_at,
            })),
            Err(SessionError::NoSession | SessionError::Broken | SessionError::TooManyTickets) => {
                Ok(None)
            }
            Err(SessionError::Unavailable(why)) => Err(LoginError::Unavailable(why)),
        }
    }

    /// Once it is known who the user is.
    pub(super) async fn ask_or_answer(
        &self,
        confirmation: Confirmation,
        roots: &RootKeys,
    ) -> Result<SignedIn, LoginError> {
        let client = self.client_of(&confirmation.request)?;
        if !confirmation.request.needs_confirmation(client) {
            return Ok(SignedIn::Answer(self.grant_code(confirmation).await?));
        }
        let ticket = confirmation.seal(roots.current(), &self.world)?;
        let UserClaims {
            name, email, sub, ..
        } = confirmation.user;
        let mut told = [name, email].into_iter().flatten();
        Ok(SignedIn::Confirm {
            ticket,
            client: client.name.clone().unwrap_or_else(|| client.id.clone()),
            scope: confirmation.request.scope.to_string(),
            // A name of which nothing can be seen names nobody.
            user: told.find(|text| !visible(text).is_empty()).unwrap_or(sub),
        })
    }

    /// The user's word. It counts only in the browser that was asked.
    ///
    /// # Errors
    ///
    /// See [`LoginError`].
    pub async fn confirm(
        &self,
        ticket: &str,
        browser: &ConfirmingBrowser<'_>,
        decision: Decision,
    ) -> Result<Confirmed, LoginError> {
        let now = self.world.now();
        let roots = self.roots.roots().await?;
        let confirmation =
            Confirmation::open(&roots, ticket, browser, now).ok_or(LoginError::NotPending)?;
        // The epoch may have been moved while the user was looking at the page.
        if confirmation.started_at < self.epoch().await? {
            return Err(LoginError::NotPending);
        }
        let login = confirmation.asked_in.login().map(str::to_owned);
        let answer = match decision {
            Decision::Deny => confirmation
                .request
                .error(&self.config, AnswerError::AccessDenied),
            Decision::Allow => {
                if let (None, Some(session)) = (&login, browser.session) {
                    // Signed out meanwhile, in another tab.
                    self.present(session).await?.ok_or(LoginError::NotPending)?;
                }
                self.use_once(ticket, confirmation.created_at).await?;
                self.grant_code(confirmation).await?
            }
        };
        Ok(Confirmed { answer, login })
    }

    /// A code is the first token of its family.
    async fn grant_code(&self, confirmation: Confirmation) -> Result<Answer, LoginError> {
        let Confirmation {
            user,
            request,
            started_at,
            ..
        } = confirmation;
        let client = self.client_of(&request)?;
        if !self.use_pushed(&request).await? {
            return Ok(request.error(&self.config, AnswerError::InvalidRequestUri));
        }
        let now = self.world.now();
        let refreshes = request.scope.contains(OFFLINE_ACCESS)
            && client.grants.contains(&GrantKind::RefreshToken);
        let lifetime = if refreshes {
            self.config.lifetimes.grant
        } else {
            CODE_SECONDS
                + client
                    .access_token_lifetime
                    .unwrap_or(self.config.lifetimes.access_token)
        };
        let grant = Grant {
            kind: FamilyKind::Grant,
            client: Some(client.id.clone()),
            user: Some(user),
            sid: self.random()?.as_str().to_owned(),
            created_at: now,
            absolute_expires_at: now.plus(lifetime),
            upstream_id_token: None,
            upstream_refresh_token: None,
            claims_at: None,
        };
        let meta = TokenMeta {
            kind: TokenKind::Code,
            client: Some(client.id.clone()),
            scope: request.scope.clone(),
            audiences: request.audiences.clone(),
            issued_at: now,
            expires_at: now.plus(CODE_SECONDS),
            idle_expires_at: None,
            notes_first_use: false,
            successor_of: None,
            code: Some(CodeBinding {
                redirect_uri: request.redirect_uri.clone(),
                challenge: request.challenge.clone(),
                jkt: request.dpop_jkt.clone(),
            }),
            delegation: Delegation::default(),
            cnf: None,
        };
        let (code, _) = self.create(&grant, &meta, started_at).await?;
        Ok(request.answer(&self.config, &[("code", code.expose())]))
    }

    /// The client may have been taken out of the configuration meanwhile.
    pub(super) fn client_of(&self, request: &NativeRequest) -> Result<&ClientConfig, LoginError> {
        self.config
            .client(&request.client)
            .filter(|client| client.grants.contains(&GrantKind::AuthorizationCode))
            .filter(|client| is_registered(client, &request.redirect_uri))
            .ok_or(LoginError::Refused("the client is gone"))
    }
}

impl Demands {
    /// Whether a user who signed in before is as the client wants them.
    fn are_met_by(&self, user: &UserClaims, now: UnixTime) -> bool {
        let right_provider = self.idp.as_ref().is_none_or(|idp| *idp == user.idp);
        // Too old *at* the limit, so that 0 means a fresh sign-in.
        let recent = self
            .max_age
            .is_none_or(|limit| user.auth_time.is_some_and(|at| now.since(at) < limit));
        let good_enough = self.acr_values.as_ref().is_none_or(|wanted| {
            let mut wanted = wanted.split(' ');
            user.acr
                .as_ref()
                .is_some_and(|acr| wanted.any(|each| each == acr))
        });
        right_provider && recent && good_enough
    }
}
