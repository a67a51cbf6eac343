//! The swap: an opaque token goes in, a verdict with an internal JWT comes out.
//!
//! Read [`Authorizer::authorize`] top down; it is architecture §4. What is
//! remembered between invocations is the identity and its JWTs, never the verdict
//! (invariant 5).

mod memory;

pub use crate::identity::{Origin, Outage};

use crate::config::{Config, RouteConfig};
use crate::grant::{self, TokenFault};
use crate::identity::{Identity, Mint, NewSlot};
use crate::jwt::Jwt;
use crate::policy::{self, Policy, Refusal};
use crate::ports::{
    Clock, FindFamily, ReadEpoch, Roots, Signer, StoreError, UpdateError, UpdateFamily, World,
};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind};
use memory::Memory;
use std::sync::{Arc, Mutex, PoisonError};

/// How a token was presented. The way decides the kind that is expected, so that
/// no token passes for one of another kind (D30).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `Authorization: Bearer`.
    Bearer,
    /// The browser's cookie, or `Authorization: Session` from the edge function.
    Session,
}

/// What became of one request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass, with this JWT.
    Allow(Allowed),
    /// The token is no good: 401. All causes look the same outside (D46).
    Unauthorized(Rejection),
    /// The token is good and the route is not for it: 403.
    Forbidden(Refusal),
    /// We cannot tell: 503, never an allow and never "invalid" (invariant 3).
    Unavailable(Outage),
}

/// What a request that may pass carries inside.
#[derive(Debug)]
pub struct Allowed {
    /// For the service.
    pub jwt: Jwt,
    /// To whom the token was issued.
    pub client_id: String,
    /// What the token may do.
    pub scope: String,
}

/// Why a token is no good; for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rejection {
    /// Not one of our tokens by its shape. Cost no I/O.
    Malformed,
    /// One of ours, but not of the kind that this scheme carries.
    WrongKind,
    /// There is no such family.
    NoFamily,
    /// The item is damaged. Worth an alarm.
    MalformedItem,
    /// See [`TokenFault`].
    Fault(TokenFault),
}

impl Rejection {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongKind => "wrong_kind",
            Self::NoFamily | Self::Fault(TokenFault::Unknown) => "unknown",
            Self::MalformedItem => "malformed_item",
            Self::Fault(TokenFault::Revoked) => "revoked",
            Self::Fault(TokenFault::Expired) => "expired",
            Self::Fault(TokenFault::ClientGone) => "client_gone",
            Self::Fault(TokenFault::Broken | TokenFault::Unreadable) => "broken_seal",
        }
    }

    /// Whether it says that somebody wrote to the table who should not have.
    pub const fn is_alarming(self) -> bool {
        matches!(
            self,
            Self::MalformedItem | Self::Fault(TokenFault::Broken | TokenFault::Unreadable)
        )
    }
}

/// What a decision cost and whom it was about; for logs and metrics alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// A keyed, truncated name of the subject.
    pub subject_tag: Option<String>,
    /// The family, hashed.
    pub family_tag: Option<String>,
    /// The path of the route that matched.
    pub route: Option<String>,
    /// Where the identity came from.
    pub identity: Option<Origin>,
    /// Where the JWT came from.
    pub jwt: Option<Origin>,
    /// Whether the epoch was read for this decision.
    pub epoch_read: bool,
    /// Whether this was the token's first use.
    pub first_use: bool,
}

/// Swaps tokens for JWTs.
#[derive(Debug)]
pub struct Authorizer<S, G, R> {
    config: Arc<Config>,
    policy: Policy,
    not_before: UnixTime,
    store: S,
    mint: Mint<G>,
    roots: R,
    world: World,
    memory: Memory<Identity>,
    epoch: Mutex<Option<(UnixTime, UnixTime)>>,
}

impl<S, G, R> Authorizer<S, G, R>
where
    S: FindFamily + UpdateFamily + ReadEpoch,
    G: Signer,
    R: Roots,
{
    /// Puts together what the authorizer needs. `not_before` is the epoch that the
    /// environment sets; the later of it and the stored one holds.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        signer: G,
        roots: R,
        world: World,
    ) -> Self {
        Self {
            policy: Policy::new(&config),
            not_before,
            store,
            mint: Mint::new(Arc::clone(&config), signer, world.clone()),
            roots,
            world,
            memory: Memory::new(),
            epoch: Mutex::new(None),
            config,
        }
    }

    /// Decides about one request. `method` and `resource` are the gateway's own
    /// match, not what the client sent (D34).
    pub async fn authorize(
        &self,
        scheme: Scheme,
        text: &str,
        method: &str,
        resource: &str,
    ) -> (Verdict, Facts) {
        let mut facts = Facts::default();
        let verdict = self
            .decide(scheme, text, method, resource, &mut facts)
            .await
            .map_or_else(|no| no, Verdict::Allow);
        (verdict, facts)
    }

    async fn decide(
        &self,
        scheme: Scheme,
        text: &str,
        method: &str,
        resource: &str,
        facts: &mut Facts,
    ) -> Result<Allowed, Verdict> {
        let token = OpaqueToken::parse(text).map_err(|_| Rejection::Malformed)?;
        let expected = match scheme {
            Scheme::Bearer => TokenKind::Access,
            Scheme::Session => TokenKind::Session,
        };
        if token.kind() != expected {
            return Err(Rejection::WrongKind.into());
        }
        facts.family_tag = Some(token.family().tag());
        let now = self.world.now();
        let epoch = self.epoch(now, facts).await?;
        let identity = self.identity(&token, epoch, now, facts).await?;
        facts.subject_tag = Some(identity.opened.subject_tag.clone());
        let swapped = match self.judge(&identity, method, resource, now, facts) {
            Ok(route) => Ok(self.jwt_for(&identity, route, now, facts).await?),
            Err(refusal) => {
                // Even a refused use ends the time in which a lost refresh response
                // may be healed with the same pair.
                self.note_use(&identity, None, now, facts).await?;
                Err(Verdict::Forbidden(refusal))
            }
        };
        // Only now: nobody may find an identity here whose first use is not noted.
        if facts.identity == Some(Origin::Item) && self.config.memory_ttl() > 0 {
            self.memory
                .keep(identity.opened.digest, Arc::clone(&identity), now);
        }
        Ok(Allowed {
            jwt: swapped?,
            client_id: identity.opened.meta.client_id().to_owned(),
            scope: identity.opened.meta.scope.to_string(),
        })
    }

    /// The moment before which everything issued is dead.
    async fn epoch(&self, now: UnixTime, facts: &mut Facts) -> Result<UnixTime, Outage> {
        let known = *self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went backwards makes nothing fresher.
        let fresh = known.filter(|(_, read_at)| {
            now >= *read_at && now.since(*read_at) < self.config.epoch_ttl()
        });
        let stored = if let Some((epoch, _)) = fresh {
            epoch
        } else {
            facts.epoch_read = true;
            let epoch = self
                .store
                .epoch()
                .await
                .map_err(|error| Outage::from(&error))?;
            *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, now));
            epoch
        };
        Ok(stored.max(self.not_before))
    }

    /// From memory if it is fresh enough, else by one read.
    async fn identity(
        &self,
        token: &OpaqueToken,
        epoch: UnixTime,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<Arc<Identity>, Verdict> {
        let digest = token.digest();
        let ttl = self.config.memory_ttl();
        // A limit that has passed may have moved in the item since: read again.
        let known = self.memory.recall(digest, now, ttl).filter(|identity| {
            grant::check_limits(&identity.opened.grant, &identity.opened.meta, epoch, now).is_ok()
        });
        if let Some(identity) = known {
            facts.identity = Some(Origin::Memory);
            return Ok(identity);
        }
        facts.identity = Some(Origin::Item);
        let roots = self.roots.roots().await.map_err(|_| Outage::Roots)?;
        let record = match self.store.find_family(&token.family()).await {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Rejection::NoFamily.into()),
            Err(StoreError::Malformed(_)) => return Err(Rejection::MalformedItem.into()),
            Err(error) => return Err(Outage::from(&error).into()),
        };
        let identity = Identity::open(&self.config, &record, token, &roots, epoch, now)?;
        Ok(Arc::new(identity))
    }

    fn judge(
        &self,
        identity: &Identity,
        method: &str,
        resource: &str,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<&RouteConfig, Refusal> {
        let route = self.policy.find(method, resource).ok_or(Refusal::NoRoute)?;
        facts.route = Some(route.path.clone());
        policy::judge(route, &identity.opened.grant, &identity.opened.meta, now)?;
        Ok(route)
    }

    /// A JWT with enough life left, from memory or item, else a new one.
    async fn jwt_for(
        &self,
        identity: &Identity,
        route: &RouteConfig,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<Jwt, Verdict> {
        let audience = &route.audience;
        let found = self.mint.find_or_sign(identity, audience, now).await?;
        facts.jwt = Some(found.origin);
        self.note_use(identity, found.slot, now, facts).await?;
        identity.remember(audience, &found.minted);
        Ok(found.minted.jwt)
    }

    /// Notes the first use and shares a new JWT, in one write, before we answer.
    /// A family that was revoked since it was read stops us here.
    async fn note_use(
        &self,
        identity: &Identity,
        jwt: Option<NewSlot>,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<(), Verdict> {
        let first_use = identity.awaits_first_use && facts.identity == Some(Origin::Item);
        facts.first_use |= first_use;
        let Some(transition) = identity.acceptance(first_use, jwt, now) else {
            return Ok(());
        };
        self.store
            .update_family(&transition)
            .await
            .map_err(|error| match error {
                UpdateError::Refused(_) => {
                    self.memory.forget(identity.opened.digest);
                    Rejection::Fault(TokenFault::Revoked).into()
                }
                UpdateError::Store(error) => Outage::from(&error).into(),
            })
    }
}

impl From<Rejection> for Verdict {
    fn from(rejection: Rejection) -> Self {
        Self::Unauthorized(rejection)
    }
}

impl From<Outage> for Verdict {
    fn from(outage: Outage) -> Self {
        Self::Unavailable(outage)
    }
}

impl From<TokenFault> for Verdict {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Unreadable => Self::Unavailable(Outage::UnknownSeal),
            TokenFault::Unknown
            | TokenFault::Revoked
            | TokenFault::Expired
            | TokenFault::ClientGone
            | TokenFault::Broken => Self::Unauthorized(Rejection::Fault(fault)),
        }
    }
}

#[cfg(test)]
mod tests;
