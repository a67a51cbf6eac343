//! A browser session: what the browser may know about it, sliding, and its end.

use super::LoginService;
use super::renewal::{Freshness, Session};
use crate::ended;
use crate::family::{
    Change, Condition, FamilyRecord, FamilyState, MAX_TOKENS, TokenState, Transition,
};
use crate::grant::{self, Opened, Sealer, TokenFault, TokenMeta};
use crate::ports::{
    Clock, CreateFamily, FindFamily, IdentityProviders, IdpError, ReadEpoch, Roots, StoreError,
    UpdateError, UpdateFamily, UseOnce,
};
use crate::seal::RootKeys;
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind};
use serde::Serialize;

/// What the browser may know about its session.
#[derive(Serialize)]
pub struct SessionView {
    /// The JWT's `sub`.
    pub subject: String,
    /// Name, e-mail and roles.
    pub claims: SessionClaims,
    /// Seconds until the absolute limit.
    pub expires_in: u64,
    /// Seconds until the idle limit.
    pub idle_expires_in: u64,
    /// For logs.
    #[serde(skip)]
    pub subject_tag: String,
    /// For logs.
    #[serde(skip)]
    pub freshness: Freshness,
}

/// What the browser may know about its user.
#[derive(Serialize)]
pub struct SessionClaims {
    name: Option<String>,
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    roles: Vec<String>,
}

impl std::fmt::Debug for SessionView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionView([redacted])")
    }
}

impl std::fmt::Debug for SessionClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionClaims([redacted])")
    }
}

/// A session that is over.
#[derive(Default)]
pub struct LoggedOut {
    /// Where the browser can sign out at the provider too.
    pub logout_url: Option<String>,
    /// Why the provider's refresh token may still be good; for logs.
    pub not_revoked: Option<&'static str>,
    /// For logs.
    pub subject_tag: Option<String>,
}

impl std::fmt::Debug for LoggedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoggedOut([redacted])")
    }
}

/// A ticket for one WebSocket: the session's stand-in where its cookie does not come
/// along, and `Authorization` cannot be set.
#[derive(Debug)]
pub struct Ticket {
    /// Good for one `$connect`.
    pub token: OpaqueToken,
    /// For so many seconds.
    pub expires_in: u64,
    /// For logs.
    pub subject_tag: String,
}

/// Seconds from a ticket's issue to its end, used or not.
pub const TICKET_LIFE: u64 = 30;

/// There is no session to speak of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// Malformed, unknown, over: all the same outside.
    #[error("no session")]
    NoSession,
    /// A seal is broken. Worth an alarm; the same as the above outside.
    #[error("a seal is broken")]
    Broken,
    /// It has as many tickets as it may have at a time.
    #[error("too many tickets")]
    TooManyTickets,
    /// We cannot tell.
    #[error("temporarily unavailable: {0}")]
    Unavailable(&'static str),
}

impl SessionError {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::Broken => "broken_seal",
            Self::TooManyTickets => "too_many_tickets",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// Describes a session, with claims that are fresh enough, and, if `slide`, moves
    /// its idle limit, at most once per interval.
    ///
    /// # Errors
    ///
    /// See [`SessionError`].
    pub async fn session(&self, text: &str, slide: bool) -> Result<SessionView, SessionError> {
        let now = self.world.now();
        let token = parse(text)?;
        let (record, opened, roots) = self.open_unended(&token, now).await?;
        let mut session = Session {
            token: &token,
            record,
            opened,
            roots: &roots,
        };
        let freshness = self.freshen(&mut session, now).await?;
        let Session { record, opened, .. } = session;
        let current = opened
            .meta
            .idle_expires_at
            .unwrap_or(record.idle_expires_at);
        let absolute = opened.grant.absolute_expires_at;
        let moved = now.plus(self.config.session.idle).min(absolute);
        let due = slide && moved.since(current) >= self.config.session.slide_interval.max(1);
        let view = |idle: UnixTime, opened: &Opened| view(opened, idle, now, freshness);
        if !due {
            return Ok(view(current, &opened));
        }
        let seen = view(moved, &opened);
        self.slide(&record, opened, &roots, moved).await?;
        Ok(seen)
    }

    async fn slide(
        &self,
        record: &FamilyRecord,
        opened: Opened,
        roots: &RootKeys,
        until: UnixTime,
    ) -> Result<(), SessionError> {
        let meta = TokenMeta {
            idle_expires_at: Some(until),
            ..opened.meta
        };
        let sealer = Sealer {
            root: roots.of(record)?,
            family: record.id,
            data_key: opened.data_key,
            entropy: &self.world,
        };
        let meta = sealer
            .meta(opened.digest, &meta)
            .map_err(|_| SessionError::Unavailable("no entropy"))?;
        let transition = Transition {
            family: record.id,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Token(opened.digest, TokenState::Live),
            ],
            changes: vec![Change::Slide {
                token: opened.digest,
                until,
                meta,
            }],
        };
        match self.store.update_family(&transition).await {
            Ok(()) => Ok(()),
            // Ended between read and write.
            Err(UpdateError::Refused(_)) => Err(SessionError::NoSession),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// Makes a ticket for one WebSocket, good for half a minute and never for longer
    /// than the session.
    ///
    /// # Errors
    ///
    /// See [`SessionError`].
    pub async fn ticket(&self, text: &str) -> Result<Ticket, SessionError> {
        let now = self.world.now();
        let session = parse(text)?;
        let (record, opened, roots) = self.open_unended(&session, now).await?;
        if !opened.grant.claims_are_current(&self.config, now) {
            return Err(SessionError::NoSession);
        }
        let Opened {
            digest,
            grant,
            meta: session,
            data_key,
            subject_tag,
        } = opened;
        let (dead, live): (Vec<_>, Vec<_>) = record
            .tokens
            .iter()
            .filter(|(_, entry)| entry.kind == TokenKind::WebSocketTicket)
            .partition(|(_, entry)| entry.expires_at.has_passed(now));
        if live.len() >= MAX_TOKENS {
            return Err(SessionError::TooManyTickets);
        }
        let expires_at = now
            .plus(TICKET_LIFE)
            .min(session.idle_expires_at.unwrap_or(session.expires_at))
            .min(session.expires_at)
            .min(grant.absolute_expires_at);
        let meta = TokenMeta {
            kind: TokenKind::WebSocketTicket,
            issued_at: now,
            expires_at,
            idle_expires_at: None,
            ..session
        };
        let sealer = Sealer {
            root: roots.of(&record)?,
            family: record.id,
            data_key,
            entropy: &self.world,
        };
        let (token, entry) = sealer
            .token(&meta)
            .map_err(|_| SessionError::Unavailable("no entropy"))?;
        let mut changes = vec![Change::AddToken(token.digest(), Box::new(entry))];
        changes.extend(dead.iter().map(|(each, _)| Change::RemoveToken(**each)));
        let transition = Transition {
            family: record.id,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Token(digest, TokenState::Live),
                // Others may be adding at the same time; none of them can add what
                // this count has not seen.
                Condition::FewerTokens(record.tokens.len() + MAX_TOKENS - live.len()),
            ],
            changes,
        };
        match self.store.update_family(&transition).await {
            Ok(()) => Ok(Ticket {
                token,
                expires_in: expires_at.since(now),
                subject_tag,
            }),
            // Ended between read and write, or filled up meanwhile.
            Err(UpdateError::Refused(_)) => Err(SessionError::NoSession),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// Ends a session here, gives the provider's refresh token back, then says where
    /// the browser can sign out at the provider. A session that is over already is no
    /// error.
    ///
    /// # Errors
    ///
    /// [`SessionError::Unavailable`] when the session may still be alive.
    pub async fn log_out(&self, text: &str) -> Result<LoggedOut, SessionError> {
        let Some(opened) = self.end_session(text).await? else {
            return Ok(LoggedOut::default());
        };
        // Whatever the provider does, the session is over here (ASVS 7.4.1).
        let not_revoked = self.give_back(&opened).await;
        Ok(LoggedOut {
            logout_url: self.provider_logout(&opened).await,
            not_revoked,
            subject_tag: Some(opened.subject_tag),
        })
    }

    /// Ends a session whose token opens it; any other is nobody's to end.
    pub(super) async fn end_session(&self, text: &str) -> Result<Option<Opened>, SessionError> {
        let found = async {
            let token = parse(text)?;
            self.open_session(&token, self.world.now()).await
        };
        let (record, opened, _) = match found.await {
            Ok(found) => found,
            Err(SessionError::Unavailable(why)) => return Err(SessionError::Unavailable(why)),
            Err(SessionError::NoSession | SessionError::Broken | SessionError::TooManyTickets) => {
                return Ok(None);
            }
        };
        match self.store.update_family(&Transition::end(record.id)).await {
            Ok(()) | Err(UpdateError::Refused(_)) => Ok(Some(opened)),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// Why the provider's refresh token could not be revoked (RFC 7009), if there was
    /// one and it could not.
    async fn give_back(&self, opened: &Opened) -> Option<&'static str> {
        let user = opened.grant.user.as_ref()?;
        let token = opened.grant.upstream_refresh_token.as_ref()?;
        match self.providers.revoke(&user.idp, token).await {
            Ok(()) => None,
            Err(IdpError::Unknown) => Some("it is not configured"),
            Err(IdpError::Unavailable(why) | IdpError::Refused(why)) => Some(why),
        }
    }

    /// The session is over here; a provider that cannot be reached changes nothing.
    async fn provider_logout(&self, opened: &Opened) -> Option<String> {
        let user = opened.grant.user.as_ref()?;
        let hint = opened.grant.upstream_id_token.as_ref()?;
        let back = format!(
            "{}{}",
            self.config.issuer, self.config.session.logged_out_path
        );
        self.providers
            .logout_url(&user.idp, hint, &back)
            .await
            .ok()
            .flatten()
    }

    /// A session, if it is alive and its claims are not too old.
    pub(super) async fn opened_session(&self, text: &str) -> Result<Opened, SessionError> {
        let token = parse(text)?;
        let now = self.world.now();
        let (_, opened, _) = self.open_unended(&token, now).await?;
        if opened.grant.claims_are_current(&self.config, now) {
            Ok(opened)
        } else {
            Err(SessionError::NoSession)
        }
    }

    /// As [`Self::open_session`], and ends the session if a tombstone says that it is
    /// over: it could not be found when its user was signed out.
    async fn open_unended(
        &self,
        token: &OpaqueToken,
        now: UnixTime,
    ) -> Result<(FamilyRecord, Opened, std::sync::Arc<RootKeys>), SessionError> {
        let (record, opened, roots) = self.open_session(token, now).await?;
        let ended = ended::is_ended(&self.store, &self.config, &roots, &record, &opened).await;
        let ended = ended.map_err(|error| match error {
            // It is not the session that is broken.
            StoreError::Malformed(_) => SessionError::Unavailable("a tombstone is malformed"),
            error => error.into(),
        })?;
        if ended {
            self.end(&record).await?;
            return Err(SessionError::NoSession);
        }
        Ok((record, opened, roots))
    }

    async fn open_session(
        &self,
        token: &OpaqueToken,
        now: UnixTime,
    ) -> Result<(FamilyRecord, Opened, std::sync::Arc<RootKeys>), SessionError> {
        let roots = self
            .roots
            .roots()
            .await
            .map_err(|_| SessionError::Unavailable("the root keys are unavailable"))?;
        let epoch = self.epoch().await?;
        let record = self.store.find_family(&token.family()).await?;
        let record = record.ok_or(SessionError::NoSession)?;
        let opened = grant::open(&record, token, &roots, epoch, now)?;
        Ok((record, opened, roots))
    }
}

fn parse(text: &str) -> Result<OpaqueToken, SessionError> {
    OpaqueToken::parse(text)
        .ok()
        .filter(|token| token.kind() == TokenKind::Session)
        .ok_or(SessionError::NoSession)
}

fn view(opened: &Opened, idle: UnixTime, now: UnixTime, freshness: Freshness) -> SessionView {
    let user = opened.grant.user.as_ref();
    SessionView {
        subject: crate::jwt::subject(&opened.grant, &opened.meta),
        claims: SessionClaims {
            name: user.and_then(|user| user.name.clone()),
            email: user.and_then(|user| user.email.clone()),
            email_verified: user.and_then(|user| user.email_verified),
            roles: user.map(|user| user.roles.clone()).unwrap_or_default(),
        },
        expires_in: opened.grant.absolute_expires_at.since(now),
        idle_expires_in: idle.since(now),
        subject_tag: opened.subject_tag.clone(),
        freshness,
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Throttled(_) => Self::Unavailable("the store throttled"),
            StoreError::Unavailable(_) => Self::Unavailable("the store is unavailable"),
            StoreError::Malformed(_) => Self::Broken,
        }
    }
}

impl From<TokenFault> for SessionError {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Unreadable => Self::Unavailable(TokenFault::UNREADABLE),
            TokenFault::Broken => Self::Broken,
            TokenFault::Unknown
            | TokenFault::Revoked
            | TokenFault::Expired
            | TokenFault::Retired
            | TokenFault::ClientGone => Self::NoSession,
        }
    }
}
