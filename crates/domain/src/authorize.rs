//! The swap: an opaque token goes in, a verdict with an internal JWT comes out.
//!
//! Read [`Authorizer::authorize`] top down; it is architecture §4. What is
//! remembered between invocations is the identity and its JWTs, never the verdict
//! (invariant 5).

mod memory;

use crate::config::{AudienceConfig, Config, RouteConfig};
use crate::family::{Change, Condition, FamilyId, FamilyRecord, FamilyState, Transition};
use crate::grant::{self, Opened, TokenFault};
use crate::jwt::{self, AccessClaims, Jwt, SigningInput};
use crate::policy::{self, Policy, Refusal};
use crate::ports::{
    Clock, Entropy, EntropyError, FindFamily, ReadEpoch, Roots, SignError, Signer, StoreError,
    UpdateError, UpdateFamily, World,
};
use crate::seal::{Purpose, RootKeys, Sealed};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use memory::Memory;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::{Zeroize, Zeroizing};

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

/// Why we cannot tell; for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    /// The store asked us to slow down.
    StoreThrottled,
    /// The store did not answer.
    Store,
    /// KMS asked us to slow down.
    SignerThrottled,
    /// KMS did not answer, or not acceptably.
    Signer,
    /// The root keys could not be had.
    Roots,
    /// The item was sealed by a later release, or under a key that we do not have.
    UnknownSeal,
    /// The operating system has no randomness.
    Entropy,
    /// The claims do not fit into a JWT, or the answer not into its limit.
    Claims,
}

impl Outage {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoreThrottled => "store_throttled",
            Self::Store => "store",
            Self::SignerThrottled => "signer_throttled",
            Self::Signer => "signer",
            Self::Roots => "roots",
            Self::UnknownSeal => "unknown_seal",
            Self::Entropy => "entropy",
            Self::Claims => "claims",
        }
    }
}

impl From<&StoreError> for Outage {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Throttled(_) => Self::StoreThrottled,
            StoreError::Unavailable(_) | StoreError::Malformed(_) => Self::Store,
        }
    }
}

impl From<&SignError> for Outage {
    fn from(error: &SignError) -> Self {
        match error {
            SignError::Throttled(_) => Self::SignerThrottled,
            SignError::Unavailable(_) | SignError::Unacceptable(_) => Self::Signer,
        }
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

/// Where something came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The function's memory.
    Memory,
    /// The family item.
    Item,
    /// Made now.
    Made,
}

/// Swaps tokens for JWTs.
#[derive(Debug)]
pub struct Authorizer<S, G, R> {
    config: Arc<Config>,
    policy: Policy,
    fingerprints: HashMap<String, String>,
    not_before: UnixTime,
    store: S,
    signer: G,
    roots: R,
    world: World,
    memory: Memory<Identity>,
    epoch: Mutex<Option<(UnixTime, UnixTime)>>,
}

/// A family as one of its tokens opened it, and the JWTs made for that token.
#[derive(Debug)]
struct Identity {
    family: FamilyId,
    claims_version: u64,
    opened: Opened,
    awaits_first_use: bool,
    sealed_jwts: BTreeMap<String, Sealed>,
    jwts: Mutex<HashMap<String, Minted>>,
}

/// A JWT and the moment of its death.
#[derive(Clone, Debug)]
struct Minted {
    jwt: Jwt,
    expires_at: UnixTime,
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
        let fingerprints = config
            .audiences
            .iter()
            .map(|audience| (audience.id.clone(), jwt::fingerprint(&config, audience)))
            .collect();
        Self {
            policy: Policy::new(&config),
            fingerprints,
            not_before,
            store,
            signer,
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
        Ok(Arc::new(self.open(&record, token, &roots, epoch, now)?))
    }

    fn open(
        &self,
        record: &FamilyRecord,
        token: &OpaqueToken,
        roots: &RootKeys,
        epoch: UnixTime,
        now: UnixTime,
    ) -> Result<Identity, TokenFault> {
        let opened = grant::open(record, token, roots, epoch, now)?;
        let client_is_known = opened
            .meta
            .client
            .as_ref()
            .is_none_or(|id| self.config.client(id).is_some());
        if !client_is_known {
            return Err(TokenFault::ClientGone);
        }
        let entry = grant::find_entry(record, opened.digest).ok_or(TokenFault::Unknown)?;
        Ok(Identity {
            family: record.id,
            claims_version: record.claims_version,
            awaits_first_use: opened.meta.notes_first_use && entry.used_at.is_none(),
            sealed_jwts: entry.jwts.clone(),
            jwts: Mutex::default(),
            opened,
        })
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
        let (audience, fingerprint) = self
            .config
            .audiences
            .iter()
            .find(|audience| audience.id == route.audience)
            .zip(self.fingerprints.get(&route.audience))
            .ok_or(Outage::Claims)?;
        let place = Purpose::Jwt {
            audience: &audience.id,
            kid: self.signer.key_id(),
            fingerprint,
            claims_version: identity.claims_version,
        };
        let found = identity
            .remembered(&audience.id)
            .map(|jwt| (jwt, Origin::Memory));
        let found = found.or_else(|| identity.stored(place).map(|jwt| (jwt, Origin::Item)));
        if let Some((minted, origin)) = found.filter(|(jwt, _)| self.has_life(identity, jwt, now)) {
            facts.jwt = Some(origin);
            identity.remember(&audience.id, &minted);
            self.note_use(identity, None, now, facts).await?;
            return Ok(minted.jwt);
        }
        facts.jwt = Some(Origin::Made);
        let minted = self.sign(identity, audience, now).await?;
        let sealed = minted
            .seal(identity, place, &self.world)
            .map_err(|_| Outage::Entropy)?;
        self.note_use(identity, Some((&audience.id, sealed)), now, facts)
            .await?;
        identity.remember(&audience.id, &minted);
        Ok(minted.jwt)
    }

    /// Whether it will live until the service has seen it; one that dies with its
    /// token cannot be bettered.
    fn has_life(&self, identity: &Identity, minted: &Minted, now: UnixTime) -> bool {
        let Opened { grant, meta, .. } = &identity.opened;
        let cap = meta.expires_at.min(grant.absolute_expires_at);
        !minted.expires_at.has_passed(now)
            && (minted.expires_at == cap
                || minted.expires_at.since(now) >= self.config.min_jwt_life())
    }

    async fn sign(
        &self,
        identity: &Identity,
        audience: &AudienceConfig,
        now: UnixTime,
    ) -> Result<Minted, Outage> {
        let Opened { grant, meta, .. } = &identity.opened;
        let mut jti = [0; 16];
        self.world.fill(&mut jti).map_err(|_| Outage::Entropy)?;
        let jti = BASE64URL.encode(jti);
        let claims = AccessClaims::new(&self.config, audience, grant, meta, &jti, now);
        let (kid, algorithm) = (self.signer.key_id(), self.signer.algorithm());
        let input = SigningInput::new("at+jwt", kid, algorithm, &claims).ok_or(Outage::Claims)?;
        let signature = self.signer.sign(input.as_bytes()).await;
        Ok(Minted {
            jwt: input.into_jwt(&signature.map_err(|error| Outage::from(&error))?),
            expires_at: jwt::expiry(&self.config, grant, meta, now),
        })
    }

    /// Notes the first use and shares a new JWT, in one write, before we answer.
    /// A family that was revoked since it was read stops us here.
    async fn note_use(
        &self,
        identity: &Identity,
        jwt: Option<(&str, Sealed)>,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<(), Verdict> {
        let token = identity.opened.digest;
        let mut changes = Vec::new();
        if identity.awaits_first_use && facts.identity == Some(Origin::Item) {
            facts.first_use = true;
            changes.push(Change::FirstUse(token, now));
        }
        if let Some((audience, jwt)) = jwt {
            let audience = audience.to_owned();
            changes.push(Change::Jwt {
                token,
                audience,
                jwt,
            });
        }
        if changes.is_empty() {
            return Ok(());
        }
        let transition = Transition {
            family: identity.family,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::TokenExists(token),
            ],
            changes,
        };
        self.store
            .update_family(&transition)
            .await
            .map_err(|error| match error {
                UpdateError::Refused(_) => {
                    self.memory.forget(token);
                    Rejection::Fault(TokenFault::Revoked).into()
                }
                UpdateError::Store(error) => Outage::from(&error).into(),
            })
    }
}

impl Identity {
    fn remembered(&self, audience: &str) -> Option<Minted> {
        let jwts = self.jwts.lock().unwrap_or_else(PoisonError::into_inner);
        jwts.get(audience).cloned()
    }

    fn remember(&self, audience: &str, minted: &Minted) {
        let mut jwts = self.jwts.lock().unwrap_or_else(PoisonError::into_inner);
        jwts.insert(audience.to_owned(), minted.clone());
    }

    /// A slot that does not open was made for other claims, by another key, or
    /// planted; it is overwritten (D75).
    fn stored(&self, place: Purpose<'_>) -> Option<Minted> {
        let Purpose::Jwt { audience, .. } = place else {
            return None;
        };
        let sealed = self.sealed_jwts.get(audience)?;
        let Opened {
            data_key, digest, ..
        } = &self.opened;
        let plain = data_key
            .open(sealed, self.family, Some(*digest), place)
            .ok()?;
        let slot: Slot = serde_json::from_slice(&plain).ok()?;
        Some(Minted {
            jwt: Jwt::from_sealed(slot.jwt),
            expires_at: slot.exp,
        })
    }
}

/// A JWT as it is sealed into the item.
#[derive(Deserialize, Serialize)]
struct Slot {
    exp: UnixTime,
    jwt: String,
}

impl Minted {
    fn seal(
        &self,
        identity: &Identity,
        place: Purpose<'_>,
        entropy: &impl Entropy,
    ) -> Result<Sealed, EntropyError> {
        let mut slot = Slot {
            exp: self.expires_at,
            jwt: self.jwt.expose().to_owned(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&slot).map_err(|_| EntropyError)?);
        slot.jwt.zeroize();
        let Opened {
            data_key, digest, ..
        } = &identity.opened;
        data_key.seal(&plain, identity.family, Some(*digest), place, entropy)
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
