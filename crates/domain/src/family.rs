//! The family: everything about one grant, in one record.
//!
//! A login, an authorization, a machine's token: each starts a family, and every
//! later change of it is one [`Transition`], whose conditions and changes are
//! data. A store carries transitions out; it decides nothing. [`Transition::apply`]
//! says what carrying out means, for models and for the contract suite.

use crate::ports::{Entropy, EntropyError};
use crate::seal::Sealed;
use crate::time::UnixTime;
use crate::token::{TokenDigest, TokenKind, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How many used refresh tokens a family remembers, to know a replay when it sees one.
pub const MAX_SPENT: usize = 32;

/// How many audiences' JWTs a token's entry holds.
pub const MAX_JWTS: usize = 16;

/// How many live tokens a family may have.
pub const MAX_TOKENS: usize = 64;

/// From this weight on, no more JWTs are shared through a family's item: the table takes
/// none above 400 KB, and each read and write costs by its size.
pub const MAX_SHARING: usize = 100 * 1024;

/// How long after a rotation the same pair is given again, even if it is in use.
const HEALING_SECONDS: u64 = 10;

/// Where a family is in the table. Says nothing, admits nobody.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FamilyId(pub [u8; FamilyId::LEN]);

impl FamilyId {
    /// 128 bits, random.
    pub const LEN: usize = 16;

    /// Makes a new one.
    ///
    /// # Errors
    ///
    /// When there is no entropy.
    pub fn generate(entropy: &impl Entropy) -> Result<Self, EntropyError> {
        let mut id = [0; Self::LEN];
        entropy.fill(&mut id)?;
        Ok(Self(id))
    }

    /// As stored.
    pub fn to_text(self) -> String {
        BASE64URL.encode(self.0)
    }

    /// Reads what [`FamilyId::to_text`] wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        BASE64URL.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// For logs: correlates lines, finds nothing.
    pub fn tag(self) -> String {
        BASE64URL.encode(sha256(&self.0).get(..9).unwrap_or_default())
    }
}

impl fmt::Debug for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FamilyId({})", self.tag())
    }
}

/// Whether a family's tokens are good. Never leaves the last two.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyState {
    /// Good.
    Active,
    /// Taken back: by request, or because a token was replayed.
    Revoked,
    /// Over in peace: signed out.
    Ended,
}

/// What started the family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyKind {
    /// A browser's sign-in.
    Session,
    /// An authorization code.
    Grant,
    /// A machine's client_credentials.
    Client,
}

impl FamilyKind {
    /// Whether somebody was authenticated before the request that starts the family, and
    /// may have been signed out everywhere since. A machine is authenticated by that very
    /// request.
    pub const fn follows_a_sign_in(self) -> bool {
        match self {
            Self::Session | Self::Grant => true,
            Self::Client => false,
        }
    }
}

/// Whether a token may still be used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// Yes.
    Live,
    /// A code or refresh token that has been redeemed.
    Used,
}

/// A family as it is stored. What is readable here is only for conditions and
/// clean-up: what decides anything is inside the seals and compared with this.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FamilyRecord {
    /// Its key.
    pub id: FamilyId,
    /// Whether its tokens are good.
    pub state: FamilyState,
    /// What started it.
    pub kind: FamilyKind,
    /// The client; empty for a browser session.
    pub client: String,
    /// Names the root key that sealed it.
    pub root: String,
    /// When it started.
    pub created_at: UnixTime,
    /// When it ends if nothing happens. Slides.
    pub idle_expires_at: UnixTime,
    /// When it ends, whatever happens. Never moves.
    pub absolute_expires_at: UnixTime,
    /// Moves with every rotation.
    pub generation: u64,
    /// The grant, sealed.
    pub grant: Sealed,
    /// Moves when the claims change.
    pub claims_version: u64,
    /// Until when somebody is asking the provider for new claims.
    pub lease_until: Option<UnixTime>,
    /// Its tokens.
    pub tokens: BTreeMap<TokenDigest, TokenEntry>,
    /// The last used refresh tokens.
    pub spent: Vec<TokenDigest>,
    /// When it stops being evidence.
    pub forget_after: UnixTime,
}

impl FamilyRecord {
    /// How many bytes its item has, roughly.
    pub fn weight(&self) -> usize {
        // Names and numbers, of the family and of each token; a digest as text.
        const FAMILY: usize = 500;
        const TOKEN: usize = 150;
        const DIGEST: usize = 43;
        let tokens = self.tokens.values().map(|entry| {
            let sealed = [&entry.data_key, &entry.meta].into_iter();
            let sealed = sealed.chain(&entry.successor).chain(entry.jwts.values());
            let audiences = entry.jwts.keys().map(String::len);
            TOKEN
                + audiences
                    .chain(sealed.map(|sealed| sealed.as_bytes().len()))
                    .sum::<usize>()
        });
        FAMILY + self.grant.as_bytes().len() + DIGEST * self.spent.len() + tokens.sum::<usize>()
    }
}

/// Whether a token was redeemed so lately that its pair is given again though it is in use.
/// When it was is when its pair was made, which the pair's seals say: the clear
/// `redeemed_at` could be anything after somebody wrote to the table.
pub fn is_within_grace(pair_made_at: UnixTime, now: UnixTime) -> bool {
    !pair_made_at.plus(HEALING_SECONDS).has_passed(now)
}

/// A token as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenEntry {
    /// Clear copy.
    pub kind: TokenKind,
    /// Whether it may still be used.
    pub state: TokenState,
    /// Clear copy, for clean-up.
    pub expires_at: UnixTime,
    /// The family's data key, wrapped under this token.
    pub data_key: Sealed,
    /// What it may do, sealed.
    pub meta: Sealed,
    /// When it was first accepted, if that matters.
    pub used_at: Option<UnixTime>,
    /// When it was redeemed. Clear: for people who look into the table, decides nothing.
    pub redeemed_at: Option<UnixTime>,
    /// The pair that it was redeemed for, sealed under this token. Of a token that is
    /// redeemed for nothing: what tells its redemption from any other.
    pub successor: Option<Sealed>,
    /// Sealed JWTs, per audience.
    pub jwts: BTreeMap<String, Sealed>,
}

/// One change of a family: all of it, if all conditions hold, or nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transition {
    /// Whose.
    pub family: FamilyId,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What then happens.
    pub changes: Vec<Change>,
}

/// Must hold for a transition to take place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// The family is in this state.
    State(FamilyState),
    /// No rotation came in between.
    Generation(u64),
    /// This token is there, in this state.
    Token(TokenDigest, TokenState),
    /// This token is there.
    TokenExists(TokenDigest),
    /// The family has fewer tokens than this, dead ones included.
    FewerTokens(usize),
    /// The claims have not changed since.
    ClaimsVersion(u64),
    /// Nobody is asking for new claims at this moment.
    LeaseFree(UnixTime),
}

/// What a transition does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Ends the family.
    State(FamilyState),
    /// Moves the generation.
    Generation(u64),
    /// Adds a token.
    AddToken(TokenDigest, Box<TokenEntry>),
    /// Forgets a token.
    RemoveToken(TokenDigest),
    /// Redeems a code or refresh token for the sealed pair.
    Redeem {
        /// Which.
        token: TokenDigest,
        /// When.
        at: UnixTime,
        /// For what.
        successor: Option<Sealed>,
    },
    /// Drops the pair that a token was redeemed for.
    DropSuccessor(TokenDigest),
    /// Notes the first acceptance, unless there was one.
    FirstUse(TokenDigest, UnixTime),
    /// Stores a JWT.
    Jwt {
        /// For which token.
        token: TokenDigest,
        /// For which audience.
        audience: String,
        /// The JWT.
        jwt: Sealed,
    },
    /// Moves the idle limit, in the clear and inside the token's seal.
    Slide {
        /// Which token holds the sealed copy.
        token: TokenDigest,
        /// Until when.
        until: UnixTime,
        /// The sealed copy.
        meta: Sealed,
    },
    /// Replaces the grant, under the next version of its claims.
    Claims {
        /// The sealed grant.
        grant: Sealed,
        /// Its version.
        version: u64,
    },
    /// Says until when somebody is asking for new claims; or that nobody is.
    Lease(Option<UnixTime>),
    /// Replaces the list of used refresh tokens. Only under a `Generation` condition.
    Spent(Vec<TokenDigest>),
}

impl Transition {
    /// Takes back the family, if it is still good.
    pub fn revoke(family: FamilyId) -> Self {
        Self::finish(family, FamilyState::Revoked)
    }

    /// Ends the family in peace, if it is still good.
    pub fn end(family: FamilyId) -> Self {
        Self::finish(family, FamilyState::Ended)
    }

    fn finish(family: FamilyId, state: FamilyState) -> Self {
        Self {
            family,
            conditions: vec![Condition::State(FamilyState::Active)],
            changes: vec![Change::State(state)],
        }
    }

    /// Carries the transition out on `record`; `false`, and nothing changed, if a
    /// condition does not hold. This is the law that every store is tested by.
    pub fn apply(&self, record: &mut FamilyRecord) -> bool {
        let holds = self.conditions.iter().all(|condition| match condition {
            Condition::State(state) => record.state == *state,
            Condition::Generation(generation) => record.generation == *generation,
            Condition::Token(digest, state) => record
                .tokens
                .get(digest)
                .is_some_and(|entry| entry.state == *state),
            Condition::TokenExists(digest) => record.tokens.contains_key(digest),
            Condition::FewerTokens(limit) => record.tokens.len() < *limit,
            Condition::ClaimsVersion(version) => record.claims_version == *version,
            Condition::LeaseFree(now) => record.lease_until.is_none_or(|until| until <= *now),
        });
        if holds {
            for change in &self.changes {
                change.apply(record);
            }
        }
        holds
    }
}

impl Change {
    fn apply(&self, record: &mut FamilyRecord) {
        match self {
            Self::State(state) => record.state = *state,
            Self::Generation(generation) => record.generation = *generation,
            Self::AddToken(digest, entry) => {
                record.tokens.insert(*digest, (**entry).clone());
            }
            Self::RemoveToken(digest) => {
                record.tokens.remove(digest);
            }
            Self::Redeem {
                token,
                at,
                successor,
            } => {
                if let Some(entry) = record.tokens.get_mut(token) {
                    entry.state = TokenState::Used;
                    entry.redeemed_at = Some(*at);
                    entry.successor.clone_from(successor);
                }
            }
            Self::DropSuccessor(token) => {
                if let Some(entry) = record.tokens.get_mut(token) {
                    entry.successor = None;
                }
            }
            Self::FirstUse(token, at) => {
                if let Some(entry) = record.tokens.get_mut(token) {
                    entry.used_at.get_or_insert(*at);
                }
            }
            Self::Jwt {
                token,
                audience,
                jwt,
            } => {
                if let Some(entry) = record.tokens.get_mut(token) {
                    entry.jwts.insert(audience.clone(), jwt.clone());
                }
            }
            Self::Slide { token, until, meta } => {
                record.idle_expires_at = *until;
                if let Some(entry) = record.tokens.get_mut(token) {
                    entry.meta = meta.clone();
                }
            }
            Self::Claims { grant, version } => {
                record.grant = grant.clone();
                record.claims_version = *version;
            }
            Self::Lease(until) => record.lease_until = *until,
            Self::Spent(spent) => record.spent.clone_from(spent),
        }
    }
}

/// A keyed name under which families are found or ended. It tells nobody whose they are.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum IndexKey {
    /// All families of a subject.
    Subject(String),
    /// All families of a session at an identity provider.
    IdpSession(String),
    /// All families of users for whom an identity provider has vouched. Not listed.
    Provider(String),
    /// All families of a client. Not listed.
    Client(String),
}

impl IndexKey {
    /// The name alone.
    pub fn name(&self) -> &str {
        let (Self::Subject(name)
        | Self::IdpSession(name)
        | Self::Provider(name)
        | Self::Client(name)) = self;
        name
    }

    /// Whether a row of the table lists each family under this name. A provider's rows
    /// would all be in one partition of the table.
    pub const fn is_listed(&self) -> bool {
        matches!(self, Self::Subject(_) | Self::IdpSession(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn a_transition_happens_as_a_whole_or_not_at_all() {
        let before = record();
        let digest = *before.tokens.keys().next().unwrap();
        let good = Transition {
            family: before.id,
            conditions: vec![
                Condition::State(FamilyState::Active),
                Condition::Generation(0),
                Condition::Token(digest, TokenState::Live),
                Condition::TokenExists(digest),
                Condition::FewerTokens(2),
                Condition::ClaimsVersion(0),
                Condition::LeaseFree(UnixTime(1)),
            ],
            changes: vec![Change::Generation(1), Change::FirstUse(digest, UnixTime(5))],
        };
        let mut after = before.clone();
        assert!(good.apply(&mut after));
        assert_eq!(
            (after.generation, after.tokens[&digest].used_at),
            (1, Some(UnixTime(5)))
        );

        let stranger = TokenDigest([0xEE; 32]);
        for wrong in [
            Condition::State(FamilyState::Revoked),
            Condition::Generation(7),
            Condition::Token(digest, TokenState::Used),
            Condition::Token(stranger, TokenState::Live),
            Condition::TokenExists(stranger),
            Condition::FewerTokens(1),
            Condition::ClaimsVersion(1),
        ] {
            let mut transition = good.clone();
            transition.conditions.push(wrong.clone());
            let mut after = before.clone();
            assert!(!transition.apply(&mut after), "{wrong:?}");
            assert_eq!(after, before, "{wrong:?}");
        }
    }

    #[test]
    fn a_lease_is_free_at_its_end_and_not_before() {
        let mut record = record();
        let lease = |now, until| Transition {
            family: record.id,
            conditions: vec![Condition::LeaseFree(UnixTime(now))],
            changes: vec![Change::Lease(until)],
        };
        let steps = [
            (10, Some(UnixTime(40)), true),
            (39, Some(UnixTime(99)), false),
            (40, Some(UnixTime(70)), true),
            (70, None, true),
            (70, Some(UnixTime(80)), true),
        ]
        .map(|(now, until, works)| (lease(now, until), works));
        for (step, works) in steps {
            assert_eq!(step.apply(&mut record), works, "{step:?}");
        }
    }

    #[test]
    fn a_first_use_stays_the_first() {
        let mut record = record();
        let digest = *record.tokens.keys().next().unwrap();
        Change::FirstUse(digest, UnixTime(5)).apply(&mut record);
        Change::FirstUse(digest, UnixTime(9)).apply(&mut record);
        assert_eq!(record.tokens[&digest].used_at, Some(UnixTime(5)));
    }

    #[test]
    fn a_finished_family_stays_as_it_is() {
        for first in [Transition::revoke, Transition::end] {
            for second in [Transition::revoke, Transition::end] {
                let mut record = record();
                assert!(first(record.id).apply(&mut record));
                let state = record.state;
                assert!(!second(record.id).apply(&mut record));
                assert_eq!(record.state, state);
            }
        }
    }
}
