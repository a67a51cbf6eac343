//! Keeping the claims of a session fresh: the provider is asked again what it says of
//! the user, with the refresh token that it gave at the sign-in.
//!
//! Only `GET /auth/session` asks, and of several tabs one: it holds a lease on the
//! family, taken by a conditional write (D49). Providers rotate refresh tokens, so two
//! askers could look like a thief and his victim. A lease that nobody gives back, after
//! a crash or because the provider is down, runs out by itself.

use super::LoginService;
use super::session::SessionError;
use crate::config::IdentityProviderConfig;
use crate::family::{Change, Condition, FamilyRecord, FamilyState, TokenState, Transition};
use crate::grant::{self, Grant, Opened, Sealer};
use crate::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Renewal, RenewalError, Renewed, Roots,
    UpdateError, UpdateFamily, UseOnce,
};
use crate::seal::RootKeys;
use crate::time::UnixTime;
use crate::token::OpaqueToken;

/// Longer than a provider is waited for; then somebody else may ask. After a failure it
/// stays: nobody asks a provider that is down twice a second.
const LEASE_SECONDS: u64 = 30;

/// What became of the claims; for the log alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// They are young enough.
    Fresh,
    /// The provider has said them anew.
    Renewed,
    /// Somebody else is asking; the old ones serve meanwhile.
    BeingRenewed,
    /// There is no refresh token to ask with; the old ones serve to their limit.
    NotRenewable,
    /// The provider could not be asked; the old ones serve to their limit.
    Failed(&'static str),
}

impl Freshness {
    /// For logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Renewed => "renewed",
            Self::BeingRenewed => "being_renewed",
            Self::NotRenewable => "not_renewable",
            Self::Failed(_) => "failed",
        }
    }
}

/// A session as its token opened it, before its claims are judged.
pub(super) struct Session<'a> {
    pub(super) token: &'a OpaqueToken,
    pub(super) record: FamilyRecord,
    pub(super) opened: Opened,
    pub(super) roots: &'a RootKeys,
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// Renews the claims if they are due.
    pub(super) async fn freshen(
        &self,
        session: &mut Session<'_>,
        now: UnixTime,
    ) -> Result<Freshness, SessionError> {
        let grant = &session.opened.grant;
        let Some((max_age, idp)) = self.renews(grant) else {
            return Ok(Freshness::Fresh);
        };
        if now.since(grant.claims_at()) < max_age {
            return Ok(Freshness::Fresh);
        }
        let too_old = !grant.claims_are_current(&self.config, now);
        let freshness = match (&grant.upstream_refresh_token, &grant.upstream_id_token) {
            (Some(refresh), Some(first)) => {
                let (refresh, first) = (refresh.clone(), first.clone());
                let renewal = Renewal {
                    refresh_token: &refresh,
                    id_token: &first,
                    now,
                };
                self.ask_once(session, &idp.id, &renewal).await?
            }
            _ => Freshness::NotRenewable,
        };
        match freshness {
            Freshness::Failed(_) | Freshness::NotRenewable if too_old => {
                self.end(&session.record).await?;
                Err(SessionError::NoSession)
            }
            Freshness::BeingRenewed if too_old => {
                Err(SessionError::Unavailable("the claims are being renewed"))
            }
            freshness => Ok(freshness),
        }
    }

    /// After how long claims are asked for again, and where.
    fn renews(&self, grant: &Grant) -> Option<(u64, &IdentityProviderConfig)> {
        let user = grant.user.as_ref()?;
        let idp = self.config.identity_provider(&user.idp)?;
        Some((idp.claims_max_age?, idp))
    }

    async fn ask_once(
        &self,
        session: &mut Session<'_>,
        idp: &str,
        renewal: &Renewal<'_>,
    ) -> Result<Freshness, SessionError> {
        let lease = change(
            session,
            Some(Condition::LeaseFree(renewal.now)),
            vec![Change::Lease(Some(renewal.now.plus(LEASE_SECONDS)))],
        );
        if let Some(freshness) = self.carry_out(session, &lease, renewal.now).await? {
            return Ok(freshness);
        }
        match self.providers.renew(idp, renewal).await {
            Ok(renewed) => self.keep(session, renewed, renewal.now).await,
            Err(RenewalError::Over) => {
                self.end(&session.record).await?;
                Err(SessionError::NoSession)
            }
            Err(RenewalError::Failed(why)) => Ok(Freshness::Failed(why)),
        }
    }

    /// Seals what the provider gave under the next version, so that no JWT of the old
    /// claims is handed out again, and the old refresh token is not presented again.
    async fn keep(
        &self,
        session: &mut Session<'_>,
        renewed: Renewed,
        now: UnixTime,
    ) -> Result<Freshness, SessionError> {
        let record = &session.record;
        let mut grant = session.opened.grant.clone();
        if renewed.refresh_token.is_some() {
            grant.upstream_refresh_token = renewed.refresh_token;
        }
        let (freshness, lease) = match renewed.profile {
            Ok(profile) => {
                grant.user = grant.user.map(|user| user.with(profile));
                grant.claims_at = Some(now);
                (Freshness::Renewed, Some(Change::Lease(None)))
            }
            Err(why) => (Freshness::Failed(why), None),
        };
        let version = record.claims_version.saturating_add(1);
        let sealer = Sealer {
            root: session.roots.of(record)?,
            family: record.id,
            data_key: session.opened.data_key.clone(),
            entropy: &self.world,
        };
        let new = sealer
            .grant(&grant, version)
            .map_err(|_| SessionError::Unavailable("no entropy"))?;
        let changes = std::iter::once(Change::Claims {
            grant: new,
            version,
        });
        let keep = change(session, None, changes.chain(lease).collect());
        let mut kept = self.carry_out(session, &keep, now).await;
        // There is no second copy of the new refresh token.
        if matches!(kept, Err(SessionError::Unavailable(_))) {
            kept = self.carry_out(session, &keep, now).await;
        }
        let outrun = kept?;
        if outrun.is_none() {
            session.opened.grant = grant;
        }
        Ok(outrun.unwrap_or(freshness))
    }

    /// `None` if it was done, else what somebody else has done before us: the session
    /// is then as they left it.
    async fn carry_out(
        &self,
        session: &mut Session<'_>,
        transition: &Transition,
        now: UnixTime,
    ) -> Result<Option<Freshness>, SessionError> {
        match self.store.update_family(transition).await {
            Ok(()) => Ok(None),
            Err(UpdateError::Refused(Some(current))) => {
                let epoch = self.epoch().await?;
                let before = session.opened.grant.claims_at();
                session.opened = grant::open(&current, session.token, session.roots, epoch, now)?;
                session.record = *current;
                Ok(Some(if session.opened.grant.claims_at() > before {
                    Freshness::Renewed
                } else {
                    Freshness::BeingRenewed
                }))
            }
            Err(UpdateError::Refused(None)) => Err(SessionError::NoSession),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    pub(super) async fn end(&self, record: &FamilyRecord) -> Result<(), SessionError> {
        match self.store.update_family(&Transition::end(record.id)).await {
            Ok(()) | Err(UpdateError::Refused(_)) => Ok(()),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }
}

/// A change of a session that is as it was read.
fn change(session: &Session<'_>, condition: Option<Condition>, changes: Vec<Change>) -> Transition {
    let mut conditions = vec![
        Condition::State(FamilyState::Active),
        Condition::Token(session.opened.digest, TokenState::Live),
        Condition::ClaimsVersion(session.record.claims_version),
    ];
    conditions.extend(condition);
    Transition {
        family: session.record.id,
        conditions,
        changes,
    }
}
