//! A family as one of its tokens opened it, and the JWTs made for that token.
//!
//! The authorizer and the introspection endpoint answer with the same JWT for the
//! same token and audience: it is found in the item or signed here, sealed into the
//! item for all others, and handed out only after the one write that notes the first
//! use and shares the JWT has succeeded.

use crate::config::{AudienceConfig, Config};
use crate::family::{
    Change, Condition, FamilyId, FamilyRecord, FamilyState, MAX_SHARING, TokenState, Transition,
};
use crate::grant::{self, Opened, TokenFault};
use crate::jwt::{self, AccessClaims, Jwt, SigningInput};
use crate::pad;
use crate::ports::{Entropy, EntropyError, SignError, Signer, SigningKey, StoreError, World};
use crate::seal::{Purpose, RootKeys, Sealed};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenDigest, TokenKind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_jose::json;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroize;

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
    /// Data-key mode: the key set is missing, or none of its keys signs now.
    NoKey,
    /// Data-key mode: the key set is not one that we may believe. Worth an alarm.
    KeySet,
    /// The root keys could not be had.
    Roots,
    /// All of it together took longer than we may.
    Time,
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
            Self::NoKey => "no_key",
            Self::KeySet => "key_set",
            Self::Time => "time",
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
            SignError::KeySet(fault) if fault.is_alarming() => Self::KeySet,
            SignError::KeySet(_) => Self::NoKey,
        }
    }
}

/// What an identity weighs beside its texts.
const OVERHEAD: usize = 1024;

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

/// A family as one of its tokens opened it, and the JWTs made for that token.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) family: FamilyId,
    /// The family's name in logs, and the token's scope as a text: what every answer
    /// needs is made once.
    pub(crate) family_tag: String,
    pub(crate) scope: String,
    pub(crate) opened: Opened,
    /// Whether its first use has still to be noted.
    pub(crate) awaits_first_use: bool,
    state: TokenState,
    /// Whether the item may grow by another JWT.
    has_room: bool,
    /// Whose sealed pair the next write drops.
    outlived_pair: Option<TokenDigest>,
    claims_version: u64,
    /// By audience; so few that a list is the least.
    jwts: Mutex<Vec<(Box<str>, Kept)>>,
    /// What the opened rest weighs in memory, roughly.
    weight: usize,
}

impl Identity {
    /// Opens `record` with `token`: everything that can be wrong with a token.
    pub(crate) fn open(
        config: &Config,
        record: &FamilyRecord,
        token: &OpaqueToken,
        roots: &RootKeys,
        epoch: UnixTime,
        now: UnixTime,
    ) -> Result<Self, TokenFault> {
        let mut opened = grant::open(record, token, roots, epoch, now)?;
        let client_is_known = opened
            .meta
            .client
            .as_ref()
            .is_none_or(|id| config.client(id).is_some());
        if !client_is_known {
            return Err(TokenFault::ClientGone);
        }
        if !opened.grant.claims_are_current(config, now) {
            return Err(TokenFault::Expired);
        }
        // The provider's tokens are for who renews and logs out, and not to be remembered.
        opened.grant.upstream_id_token = None;
        opened.grant.upstream_refresh_token = None;
        let entry = grant::find_entry(record, opened.digest).ok_or(TokenFault::Unknown)?;
        let jwts = entry.jwts.iter();
        let jwts =
            jwts.map(|(audience, jwt)| (audience.as_str().into(), Kept::Sealed(jwt.clone())));
        Ok(Self {
            family: record.id,
            family_tag: record.id.tag(),
            scope: opened.meta.scope.to_string(),
            claims_version: record.claims_version,
            awaits_first_use: opened.meta.notes_first_use && entry.used_at.is_none(),
            state: entry.state,
            has_room: record.weight() < MAX_SHARING,
            outlived_pair: grant::outlived_pair(record, &opened.meta, now),
            weight: OVERHEAD + record.grant.as_bytes().len() + entry.meta.as_bytes().len(),
            jwts: Mutex::new(jwts.collect()),
            opened,
        })
    }

    /// Whether the token is good for one use alone.
    pub(crate) fn is_for_one_use(&self) -> bool {
        self.opened.meta.kind == TokenKind::WebSocketTicket
    }

    /// Whether the token was redeemed: only one that is good for one use ever is.
    pub(crate) fn is_spent(&self) -> bool {
        self.state != TokenState::Live
    }

    /// The bytes that it may come to hold, roughly: what is sealed is no larger when it is
    /// opened, and so many more JWTs will be made for it where it is.
    pub(crate) fn weight(&self, more: usize) -> usize {
        let jwts = self.jwts();
        let sizes = jwts.iter().map(|(_, kept)| match kept {
            Kept::Sealed(jwt) => jwt.as_bytes().len(),
            Kept::Opened(minted) => minted.jwt.expose().len(),
        });
        // Before there is any, a JWT is about as large as what it is made of.
        let size = sizes.clone().max().unwrap_or(self.weight);
        self.weight + sizes.sum::<usize>() + more * size
    }

    /// The write that has to succeed before a token that is good for one use counts as
    /// accepted. `mark` is in the place of the successor that it does not have.
    pub(crate) fn redemption(&self, mark: Sealed, now: UnixTime) -> Transition {
        let token = self.opened.digest;
        Transition {
            family: self.family,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Token(token, TokenState::Live),
            ],
            changes: vec![Change::Redeem {
                token,
                at: now,
                successor: Some(mark),
            }],
        }
    }

    /// Names one redemption: no two are the same.
    pub(crate) fn mark(&self, entropy: &impl Entropy) -> Result<Sealed, EntropyError> {
        let Opened {
            data_key, digest, ..
        } = &self.opened;
        data_key.seal(&[], self.family, Some(*digest), Purpose::Successor, entropy)
    }

    /// Whether it was this redemption that used the token up.
    pub(crate) fn was_redeemed_by(&self, mark: &Sealed, record: &FamilyRecord) -> bool {
        grant::find_entry(record, self.opened.digest)
            .is_some_and(|entry| entry.successor.as_ref() == Some(mark))
    }

    /// The write that has to succeed before any other token counts as accepted: notes the
    /// first use, if this is it, and shares a new JWT. A family that was revoked
    /// since it was read refuses it.
    pub(crate) fn acceptance(
        &self,
        first_use: bool,
        jwt: Option<NewSlot>,
        now: UnixTime,
    ) -> Option<Transition> {
        let token = self.opened.digest;
        let mut changes = Vec::new();
        if first_use {
            changes.push(Change::FirstUse(token, now));
        }
        if let Some(NewSlot { audience, jwt }) = jwt {
            changes.push(Change::Jwt {
                token,
                audience,
                jwt,
            });
        }
        if changes.is_empty() {
            return None;
        }
        changes.extend(self.outlived_pair.map(Change::DropSuccessor));
        Some(Transition {
            family: self.family,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::TokenExists(token),
            ],
            changes,
        })
    }

    /// Instead of what there was for `audience`, sealed or not.
    pub(crate) fn remember(&self, audience: &str, minted: &Minted) {
        let (mut jwts, minted) = (self.jwts(), Kept::Opened(minted.clone()));
        match jwts.iter_mut().find(|(other, _)| **other == *audience) {
            Some((_, kept)) => *kept = minted,
            None => jwts.push((audience.into(), minted)),
        }
    }

    /// The JWT for a place, and whether it had to be opened.
    ///
    /// One of another key than the one that signs now is not handed out any more. A slot
    /// that does not open was made for other claims, by another key, or planted; it is
    /// overwritten (D75).
    fn jwt(&self, place: Purpose<'_>) -> Option<(Minted, Origin)> {
        let Purpose::Jwt { audience, kid, .. } = place else {
            return None;
        };
        let jwts = self.jwts();
        let (_, kept) = jwts.iter().find(|(other, _)| **other == *audience)?;
        let sealed = match kept {
            Kept::Opened(minted) => {
                return (*minted.kid == *kid).then(|| (minted.clone(), Origin::Memory));
            }
            Kept::Sealed(sealed) => sealed,
        };
        let Opened {
            data_key, digest, ..
        } = &self.opened;
        let plain = data_key
            .open(sealed, self.family, Some(*digest), place)
            .ok()?;
        let slot: Slot = json::from_slice(&plain).ok()?;
        let minted = Minted {
            jwt: Jwt::from_sealed(slot.jwt)?,
            expires_at: slot.exp,
            kid: kid.into(),
        };
        Some((minted, Origin::Item))
    }

    fn jwts(&self) -> MutexGuard<'_, Vec<(Box<str>, Kept)>> {
        self.jwts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A JWT as the item has it, until it is asked for.
#[derive(Debug)]
enum Kept {
    Sealed(Sealed),
    Opened(Minted),
}

/// A JWT and the moment of its death.
#[derive(Clone, Debug)]
pub(crate) struct Minted {
    pub(crate) jwt: Jwt,
    pub(crate) expires_at: UnixTime,
    kid: Arc<str>,
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
        let plain = pad::json(&slot, pad::SLOT).ok_or(EntropyError)?;
        slot.jwt.zeroize();
        let Opened {
            data_key, digest, ..
        } = &identity.opened;
        data_key.seal(&plain, identity.family, Some(*digest), place, entropy)
    }
}

/// A new JWT, sealed for its place in the item.
#[derive(Debug)]
pub(crate) struct NewSlot {
    audience: String,
    jwt: Sealed,
}

/// A JWT, where it came from, and what has to be written before it is handed out.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) minted: Minted,
    pub(crate) origin: Origin,
    pub(crate) slot: Option<NewSlot>,
}

/// All that a JWT must fit, beside the token whose it is.
fn place<'a>(
    key: &'a SigningKey,
    identity: &Identity,
    audience: &'a AudienceConfig,
    fingerprint: &'a str,
) -> Purpose<'a> {
    Purpose::Jwt {
        audience: &audience.id,
        kid: &key.kid,
        fingerprint,
        claims_version: identity.claims_version,
    }
}

/// Finds or signs the JWTs of opened tokens.
#[derive(Debug)]
pub(crate) struct Mint<G> {
    config: Arc<Config>,
    /// In the order of the audiences.
    fingerprints: Vec<String>,
    signer: G,
    world: World,
}

impl<G: Signer> Mint<G> {
    pub(crate) fn new(config: Arc<Config>, signer: G, world: World) -> Self {
        let fingerprints = config
            .audiences
            .iter()
            .map(|audience| jwt::fingerprint(&config, audience))
            .collect();
        Self {
            config,
            fingerprints,
            signer,
            world,
        }
    }

    /// Whether a signature costs more than a read that may spare it.
    pub(crate) fn is_dear(&self) -> bool {
        self.signer.is_remote()
    }

    /// A JWT by the key that signs now, with enough life left, if there is one in
    /// memory or item.
    pub(crate) async fn find(
        &self,
        identity: &Identity,
        audience: &str,
        now: UnixTime,
    ) -> Result<Option<Found>, Outage> {
        let key = self.key(now).await?;
        Ok(self.find_by(&key, identity, audience, now))
    }

    fn find_by(
        &self,
        key: &SigningKey,
        identity: &Identity,
        audience: &str,
        now: UnixTime,
    ) -> Option<Found> {
        let (audience, fingerprint) = self.audience(audience)?;
        let place = place(key, identity, audience, fingerprint);
        identity
            .jwt(place)
            .filter(|(minted, _)| self.has_life(identity, minted, now))
            .map(|(minted, origin)| Found {
                minted,
                origin,
                slot: None,
            })
    }

    /// A JWT with enough life left, else a new one. For an identity that was just
    /// read: nobody has shared a better one by then.
    ///
    /// One whose end is near is renewed ahead, by one of many and not by all at once;
    /// while it is good, a signer that does not answer is no outage.
    pub(crate) async fn find_or_sign(
        &self,
        identity: &Identity,
        audience: &str,
        now: UnixTime,
    ) -> Result<Found, Outage> {
        let key = self.key(now).await?;
        let renewed = self.renewed(&key, identity, audience, now);
        match self.find_by(&key, identity, audience, now) {
            Some(found) if !self.is_due(identity, &found.minted, now) => Ok(found),
            Some(found) => Ok(renewed.await.unwrap_or(found)),
            None => renewed.await,
        }
    }

    async fn renewed(
        &self,
        key: &SigningKey,
        identity: &Identity,
        audience: &str,
        now: UnixTime,
    ) -> Result<Found, Outage> {
        let (audience, fingerprint) = self.audience(audience).ok_or(Outage::Claims)?;
        let minted = self.make(key, identity, audience, now).await?;
        // A signature that costs less than the write that would share it is made
        // again where it is needed; and so is one for which there is no room.
        let slot = if self.signer.is_remote() && identity.has_room {
            let place = place(key, identity, audience, fingerprint);
            let jwt = minted
                .seal(identity, place, &self.world)
                .map_err(|_| Outage::Entropy)?;
            Some(NewSlot {
                audience: audience.id.clone(),
                jwt,
            })
        } else {
            None
        };
        Ok(Found {
            minted,
            origin: Origin::Made,
            slot,
        })
    }

    async fn key(&self, now: UnixTime) -> Result<SigningKey, Outage> {
        let key = self.signer.signing_key(now).await;
        key.map_err(|error| Outage::from(&error))
    }

    fn audience(&self, id: &str) -> Option<(&AudienceConfig, &str)> {
        let audiences = self.config.audiences.iter().zip(&self.fingerprints);
        audiences
            .map(|(audience, fingerprint)| (audience, fingerprint.as_str()))
            .find(|(audience, _)| audience.id == id)
    }

    /// Whether it should be renewed, although it is good: one of two requests does so
    /// in the last second in which it is good, one of four in the second before, and
    /// so on. However many there are, the first of them is early enough for all
    /// others to find its JWT in the item, and few sign twice.
    fn is_due(&self, identity: &Identity, minted: &Minted, now: UnixTime) -> bool {
        let Opened { grant, meta, .. } = &identity.opened;
        let spare = minted
            .expires_at
            .since(now)
            .saturating_sub(self.config.min_jwt_life());
        let can_be_bettered = minted.expires_at != jwt::limit(&self.config, grant, meta);
        let mut dice = [0; 4];
        can_be_bettered
            && spare < u64::from(u32::BITS)
            && self.world.fill(&mut dice).is_ok()
            && spare < u64::from(u32::from_be_bytes(dice).leading_zeros())
    }

    /// Signs `claims` as a JWT of kind `typ`.
    pub(crate) async fn sign(
        &self,
        typ: &str,
        claims: &impl Serialize,
        now: UnixTime,
    ) -> Result<Jwt, Outage> {
        self.sign_with(&self.key(now).await?, typ, claims).await
    }

    async fn sign_with(
        &self,
        key: &SigningKey,
        typ: &str,
        claims: &impl Serialize,
    ) -> Result<Jwt, Outage> {
        let input =
            SigningInput::new(typ, &key.kid, key.algorithm, claims).ok_or(Outage::Claims)?;
        let signature = self.signer.sign(key, input.as_bytes()).await;
        Ok(input.into_jwt(&signature.map_err(|error| Outage::from(&error))?))
    }

    /// Whether it will live until the service has seen it; one that dies with its
    /// token cannot be bettered.
    fn has_life(&self, identity: &Identity, minted: &Minted, now: UnixTime) -> bool {
        let Opened { grant, meta, .. } = &identity.opened;
        let cap = jwt::limit(&self.config, grant, meta);
        !minted.expires_at.has_passed(now)
            && (minted.expires_at == cap
                || minted.expires_at.since(now) >= self.config.min_jwt_life())
    }

    async fn make(
        &self,
        key: &SigningKey,
        identity: &Identity,
        audience: &AudienceConfig,
        now: UnixTime,
    ) -> Result<Minted, Outage> {
        let Opened { grant, meta, .. } = &identity.opened;
        let mut jti = [0; 16];
        self.world.fill(&mut jti).map_err(|_| Outage::Entropy)?;
        let jti = BASE64URL.encode(jti);
        let claims = AccessClaims::new(&self.config, audience, grant, meta, &jti, now);
        Ok(Minted {
            jwt: self.sign_with(key, "at+jwt", &claims).await?,
            expires_at: jwt::expiry(&self.config, grant, meta, now),
            kid: key.kid.as_str().into(),
        })
    }
}
