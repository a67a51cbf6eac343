//! The swap: an opaque token goes in, a verdict with an internal JWT comes out.
//!
//! Read [`Authorizer::authorize`] top down. What is remembered between invocations is
//! the identity and its JWTs, never the verdict (invariant 5).

mod memory;

pub use crate::identity::{Origin, Outage};

use crate::config::{Config, RouteConfig};
use crate::dpop::{self, Occasion, Proof, ProofFault};
use crate::family::FamilyState;
use crate::grant::{self, Opened, TokenFault};
use crate::identity::{Found, Identity, Mint, Minted, NewSlot};
use crate::jwt::Jwt;
use crate::policy::{self, Policy, Reach, Refusal};
use crate::ports::{
    Clock, FindFamily, ReadEpoch, Roots, Signer, StoreError, UpdateError, UpdateFamily, UseOnce,
    World,
};
use crate::target::Reading;
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind};
use memory::{Held, Memory};
use std::sync::{Arc, Mutex, PoisonError};

/// How a token was presented. The way decides the kind that is expected, so that
/// no token passes for one of another kind (D30).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme<'a> {
    /// `Authorization: Bearer`.
    Bearer,
    /// The browser's cookie, or `Authorization: Session` from the edge function.
    Session,
    /// A ticket among a WebSocket's subprotocols. Used up by the answer.
    Ticket,
    /// `Authorization: DPoP` (RFC 9449 §7.1).
    Dpop(Possession<'a>),
}

impl Scheme<'_> {
    /// The one kind of token that may come so.
    const fn carries(self) -> TokenKind {
        match self {
            Self::Bearer | Self::Dpop(_) => TokenKind::Access,
            Self::Session => TokenKind::Session,
            Self::Ticket => TokenKind::WebSocketTicket,
        }
    }
}

/// What comes with a token that is bound to a key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Possession<'a> {
    /// The one `DPoP` header.
    pub proof: &'a str,
    /// The path below our issuer.
    pub path: &'a str,
    /// How the path reached us.
    pub reading: Reading,
}

impl std::fmt::Debug for Possession<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Possession([redacted])")
    }
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
    /// The fields of the graph that it does not get.
    pub denied_fields: Vec<String>,
    /// What a policy may say about the route that was found.
    pub reach: Arc<Reach>,
    /// For how many seconds this answer may be given again, for the same token and
    /// route, without breaking a promise: that of `revocation.max_latency`, that of the
    /// epoch, and that the JWT lives until a service has seen it.
    pub reusable_for: u64,
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
    /// It may be used once, and was.
    Replayed,
    /// See [`TokenFault`].
    Fault(TokenFault),
    /// See [`PossessionFault`].
    Possession(PossessionFault),
}

/// Why a token does not count in this hand (RFC 9449 §7); for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PossessionFault {
    /// The proof is no good.
    Proof(ProofFault),
    /// A bound token was presented as if it were a bearer's (§7.2).
    AsBearer,
    /// A proof came with a token that is bound to nothing.
    Unbound,
    /// The proof is of another key than the token's.
    OtherKey,
    /// The route takes bound tokens alone.
    Demanded,
    /// The gateway would use the answer again for whoever stole the token.
    Cached,
}

impl PossessionFault {
    const fn name(self) -> &'static str {
        match self {
            Self::Proof(fault) => fault.name(),
            Self::AsBearer => "bound_as_bearer",
            Self::Unbound => "unbound_with_proof",
            Self::OtherKey => "other_key",
            Self::Demanded => "unbound",
            Self::Cached => "bound_behind_cache",
        }
    }
}

impl Rejection {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongKind => "wrong_kind",
            Self::NoFamily | Self::Fault(TokenFault::Unknown) => "unknown",
            Self::MalformedItem => "malformed_item",
            Self::Replayed => "replayed",
            Self::Fault(TokenFault::Revoked) => "revoked",
            Self::Fault(TokenFault::Expired) => "expired",
            Self::Fault(TokenFault::Retired) => "retired_key",
            Self::Fault(TokenFault::ClientGone) => "client_gone",
            Self::Fault(TokenFault::Broken | TokenFault::Unreadable) => "broken_seal",
            Self::Possession(fault) => fault.name(),
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
    one_verdict: Vec<(String, String)>,
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
    S: FindFamily + UpdateFamily + UseOnce + ReadEpoch,
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
            one_verdict: policy::one_verdict(&config).unwrap_or_default(),
            not_before,
            store,
            mint: Mint::new(Arc::clone(&config), signer, world.clone()),
            roots,
            world,
            memory: Memory::new(config.memory_ttl()),
            epoch: Mutex::new(None),
            config,
        }
    }

    /// Fetches the root keys, which every token needs, before the first request comes. A
    /// failure is that request's to meet again, and so with the epoch.
    pub async fn warm_roots(&self) {
        let _ = self.roots.roots().await;
    }

    /// Reads the epoch, and so opens the connection to the store.
    pub async fn warm_epoch(&self) {
        let _ = self.epoch(self.world.now(), &mut Facts::default()).await;
    }

    /// Decides about one request. `method` and `resource` are the gateway's own
    /// match, not what the client sent (D34).
    pub async fn authorize(
        &self,
        scheme: Scheme<'_>,
        text: &str,
        method: &str,
        resource: &str,
    ) -> (Verdict, Facts) {
        let mut facts = Facts::default();
        let Ok(token) = OpaqueToken::parse(text) else {
            return (Rejection::Malformed.into(), facts);
        };
        if token.kind() != scheme.carries() {
            return (Rejection::WrongKind.into(), facts);
        }
        let verdict = self
            .decide(scheme, &token, method, resource, &mut facts)
            .await
            .map_or_else(|no| no, Verdict::Allow);
        facts.family_tag.get_or_insert_with(|| token.family().tag());
        (verdict, facts)
    }

    async fn decide(
        &self,
        scheme: Scheme<'_>,
        token: &OpaqueToken,
        method: &str,
        resource: &str,
        facts: &mut Facts,
    ) -> Result<Allowed, Verdict> {
        let now = self.world.now();
        // Before anything is read: a proof that is no good costs no I/O.
        let proof = self.proof(scheme, token, method, now)?;
        let epoch = self.epoch(now, facts).await?;
        let found = self.policy.entry(method, resource);
        let route = found.map(|entry| &entry.route);
        let remembered = match self.recall(token, epoch.not_before, now) {
            Some(held) => self.answers_at_once(held, route, now).await?,
            None => None,
        };
        let (held, judged) = if let Some(remembered) = remembered {
            facts.identity = Some(Origin::Memory);
            remembered
        } else {
            // Another environment may have renewed the JWT meanwhile: a read costs a
            // twentieth of a signature.
            facts.identity = Some(Origin::Item);
            let held = Held {
                read_at: now,
                value: Arc::new(self.read(token, epoch.not_before, now).await?),
            };
            let judged = judge(&held.value, route, now).map(|route| (route, None));
            (held, judged)
        };
        let identity = &*held.value;
        facts.subject_tag = Some(identity.opened.subject_tag.clone());
        facts.family_tag = Some(identity.family_tag.clone());
        holds_the_key(identity, proof.as_ref())?;
        let swapped = match judged {
            Ok((route, found)) => {
                self.use_up(proof.as_ref(), route).await?;
                let minted = self.jwt_for(identity, route, found, now, facts).await?;
                Ok((route, minted))
            }
            Err(refusal) => {
                // Even a refused use ends the time in which a lost refresh response
                // may be healed with the same pair, and uses up a ticket.
                self.note_use(identity, None, now, facts).await?;
                Err(Verdict::from(refusal))
            }
        };
        // Only now: nobody may find an identity here whose first use is not noted.
        if facts.identity == Some(Origin::Item) && !identity.is_for_one_use() {
            // Signed JWTs cost a read, after which the identity is weighed anew; others are
            // made for an identity that is remembered.
            let more = if self.mint.is_dear() {
                0
            } else {
                self.config.audiences.len().saturating_sub(1)
            };
            let weight = identity.weight(more);
            self.memory
                .keep(identity.opened.digest, held.clone(), weight, now);
        }
        let (route, minted) = swapped?;
        let Opened { grant, meta, .. } = &identity.opened;
        Ok(Allowed {
            client_id: meta.client_id().to_owned(),
            scope: identity.scope.clone(),
            denied_fields: route
                .denied_fields(grant, meta, now)
                .map(str::to_owned)
                .collect(),
            reach: found
                .map(|entry| Arc::clone(&entry.reach))
                .unwrap_or_default(),
            reusable_for: self.reusable_for(&held, route, &minted, epoch, now),
            jwt: minted.jwt,
        })
    }

    /// The least of all that the answer rests on.
    fn reusable_for(
        &self,
        held: &Held<Identity>,
        route: &RouteConfig,
        minted: &Minted,
        epoch: Epoch,
        now: UnixTime,
    ) -> u64 {
        // A proof counts once, and so does the answer to it.
        if held.value.is_for_one_use() || held.value.opened.meta.cnf.is_some() {
            return 0;
        }
        let Opened { grant, meta, .. } = &held.value.opened;
        let way = self.config.jwt.integration_timeout + self.config.jwt.skew;
        let max_latency = self.config.revocation.max_latency;
        [
            Some(held.read_at.plus(max_latency).since(now)),
            Some(epoch.read_at.plus(self.config.epoch_latency()).since(now)),
            Some(minted.expires_at.since(now).saturating_sub(way)),
            Some(meta.expires_at.since(now)),
            meta.idle_expires_at.map(|idle| idle.since(now)),
            route.verdict_holds_for(grant, now),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(0)
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The routes for all of which one answer does, whatever the token; see
    /// [`policy::one_verdict`].
    pub fn one_verdict(&self) -> &[(String, String)] {
        &self.one_verdict
    }

    /// The proof that came with the token, if one has to.
    fn proof(
        &self,
        scheme: Scheme<'_>,
        token: &OpaqueToken,
        method: &str,
        now: UnixTime,
    ) -> Result<Option<Proof>, PossessionFault> {
        let Scheme::Dpop(Possession {
            proof,
            path,
            reading,
        }) = scheme
        else {
            return Ok(None);
        };
        let occasion = Occasion {
            method,
            path,
            reading,
            token: Some(token),
        };
        let proof = dpop::judge(&self.config, proof, &occasion, now);
        proof.map(Some).map_err(PossessionFault::Proof)
    }

    /// Sees to it that a proof counts once. A write for every request, and only for who
    /// holds a live token and its key (invariant 10).
    async fn use_up(&self, proof: Option<&Proof>, route: &RouteConfig) -> Result<(), Verdict> {
        let Some(proof) = proof else { return Ok(()) };
        if !self.config.is_asked_always(route) {
            return Err(PossessionFault::Cached.into());
        }
        match proof.use_up(&self.store).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(PossessionFault::Proof(ProofFault::Replayed).into()),
            Err(error) => Err(Outage::from(&error).into()),
        }
    }

    /// The moment before which everything issued is dead.
    async fn epoch(&self, now: UnixTime, facts: &mut Facts) -> Result<Epoch, Outage> {
        let known = *self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went backwards makes nothing fresher.
        let fresh = known.filter(|(_, read_at)| {
            now >= *read_at && now.since(*read_at) < self.config.epoch_ttl()
        });
        let (stored, read_at) = if let Some(known) = fresh {
            known
        } else {
            facts.epoch_read = true;
            let epoch = self
                .store
                .epoch()
                .await
                .map_err(|error| Outage::from(&error))?;
            *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, now));
            (epoch, now)
        };
        Ok(Epoch {
            not_before: stored.max(self.not_before),
            read_at,
        })
    }

    /// From memory, if it is fresh enough there.
    fn recall(
        &self,
        token: &OpaqueToken,
        epoch: UnixTime,
        now: UnixTime,
    ) -> Option<Held<Identity>> {
        let digest = token.digest();
        let held = self.memory.recall(digest, now)?;
        let Opened { grant, meta, .. } = &held.value.opened;
        if grant::check_limits(grant, meta, epoch, now).is_ok()
            && grant.claims_are_current(&self.config, now)
        {
            return Some(held);
        }
        // A limit that has passed may have moved in the item since; what is over does
        // not stay here.
        self.memory.forget(digest);
        None
    }

    /// By one read.
    async fn read(
        &self,
        token: &OpaqueToken,
        epoch: UnixTime,
        now: UnixTime,
    ) -> Result<Identity, Verdict> {
        let roots = self.roots.roots().await.map_err(|_| Outage::Roots)?;
        let record = match self.store.find_family(&token.family()).await {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Rejection::NoFamily.into()),
            Err(StoreError::Malformed(_)) => return Err(Rejection::MalformedItem.into()),
            Err(error) => return Err(Outage::from(&error).into()),
        };
        let identity = Identity::open(&self.config, &record, token, &roots, epoch, now)?;
        if identity.is_spent() {
            return Err(Rejection::Replayed.into());
        }
        Ok(identity)
    }

    /// What is remembered, if it suffices: the route refuses, or its JWT is there too,
    /// or is signed here at no cost.
    async fn answers_at_once<'a>(
        &self,
        held: Held<Identity>,
        route: Option<&'a RouteConfig>,
        now: UnixTime,
    ) -> Result<Option<(Held<Identity>, Judged<'a>)>, Outage> {
        let judged = match judge(&held.value, route, now) {
            Ok(route) => {
                let found = self.mint.find(&held.value, &route.audience, now).await?;
                if found.is_none() && self.mint.is_dear() {
                    return Ok(None);
                }
                Ok((route, found))
            }
            Err(refusal) => Err(refusal),
        };
        Ok(Some((held, judged)))
    }

    /// The JWT that was found with enough life left, else one from the item, else a
    /// new one.
    async fn jwt_for(
        &self,
        identity: &Identity,
        route: &RouteConfig,
        found: Option<Found>,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<Minted, Verdict> {
        let audience = &route.audience;
        let found = match found {
            Some(found) => found,
            None => self.mint.find_or_sign(identity, audience, now).await?,
        };
        facts.jwt = Some(found.origin);
        self.note_use(identity, found.slot, now, facts).await?;
        if found.origin != Origin::Memory {
            identity.remember(audience, &found.minted);
        }
        Ok(found.minted)
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
        if identity.is_for_one_use() {
            return self.redeem(identity, now).await;
        }
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

    /// Uses up a token that is good for one use.
    async fn redeem(&self, identity: &Identity, now: UnixTime) -> Result<(), Verdict> {
        let mark = identity.mark(&self.world).map_err(|_| Outage::Entropy)?;
        let transition = identity.redemption(mark.clone(), now);
        match self.store.update_family(&transition).await {
            Ok(()) => Ok(()),
            Err(UpdateError::Refused(Some(current))) => {
                if current.state != FamilyState::Active {
                    Err(Rejection::Fault(TokenFault::Revoked).into())
                } else if identity.was_redeemed_by(&mark, &current) {
                    // A retry of our own write met its own effect.
                    Ok(())
                } else {
                    Err(Rejection::Replayed.into())
                }
            }
            Err(UpdateError::Refused(None)) => Err(Rejection::NoFamily.into()),
            Err(UpdateError::Store(error)) => Err(Outage::from(&error).into()),
        }
    }
}

/// The moment before which everything issued is dead, and when it was read.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    not_before: UnixTime,
    read_at: UnixTime,
}

/// A route that lets pass, with its JWT if that was looked for and found; or why not.
type Judged<'a> = Result<(&'a RouteConfig, Option<Found>), Refusal>;

fn judge<'a>(
    identity: &Identity,
    route: Option<&'a RouteConfig>,
    now: UnixTime,
) -> Result<&'a RouteConfig, Refusal> {
    let route = route.ok_or(Refusal::NoRoute)?;
    policy::judge(route, &identity.opened.grant, &identity.opened.meta, now)?;
    Ok(route)
}

/// Whether whoever presents the token holds its key, if it has one.
fn holds_the_key(identity: &Identity, proof: Option<&Proof>) -> Result<(), PossessionFault> {
    match (identity.opened.meta.key(), proof) {
        (None, None) => Ok(()),
        (Some(key), Some(proof)) if key == proof.key() => Ok(()),
        (Some(_), Some(_)) => Err(PossessionFault::OtherKey),
        (Some(_), None) => Err(PossessionFault::AsBearer),
        (None, Some(_)) => Err(PossessionFault::Unbound),
    }
}

impl From<PossessionFault> for Verdict {
    fn from(fault: PossessionFault) -> Self {
        Self::Unauthorized(Rejection::Possession(fault))
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            // It is the way of presenting that has to change, which a 401 tells
            // (RFC 9449 §7.1), and what is thrown is not cached.
            Refusal::Dpop => PossessionFault::Demanded.into(),
            Refusal::NoRoute
            | Refusal::TokenKind
            | Refusal::Audience
            | Refusal::Client
            | Refusal::Scope
            | Refusal::Role
            | Refusal::StepUp => Self::Forbidden(refusal),
        }
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
            _ => Self::Unauthorized(Rejection::Fault(fault)),
        }
    }
}

#[cfg(test)]
mod tests;
