//! What is inside the seals, and how a family is made and opened.

use crate::claims::UserClaims;
use crate::config::{Config, IdentityProviderConfig};
use crate::delegation::Delegation;
use crate::dpop::{Confirmation, Thumbprint};
use crate::family::{
    FamilyId, FamilyKind, FamilyRecord, FamilyState, TokenEntry, TokenState, is_within_grace,
};
use crate::pad;
use crate::ports::{Entropy, EntropyError};
use crate::scope::ScopeSet;
use crate::seal::{OpenError, Purpose, RootKey, RootKeys, Sealed, SealingKey};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenDigest, TokenKind, sha256};
use cloakroom_jose::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// What was granted: sealed once per family, under its data key.
#[derive(Clone, Deserialize, Serialize)]
pub struct Grant {
    /// What started it.
    pub kind: FamilyKind,
    /// The client to which it was granted; none for a browser session.
    pub client: Option<String>,
    /// The user who granted it; none for a machine's own.
    pub user: Option<UserClaims>,
    /// A public name of the session, for JWTs.
    pub sid: String,
    /// When it was granted.
    pub created_at: UnixTime,
    /// When it ends. Never moves.
    pub absolute_expires_at: UnixTime,
    /// The provider's ID token, for `id_token_hint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_id_token: Option<Zeroizing<String>>,
    /// The provider's refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_refresh_token: Option<Zeroizing<String>>,
    /// When the provider last said what it says of the user; if absent, at the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_at: Option<UnixTime>,
}

impl Grant {
    /// When the provider last said what it says of the user.
    pub fn claims_at(&self) -> UnixTime {
        self.claims_at.unwrap_or(self.created_at)
    }

    /// When the session is over, unless its claims are renewed before.
    pub fn ends_at(&self, config: &Config) -> UnixTime {
        let limit = self
            .user
            .as_ref()
            .filter(|_| self.kind == FamilyKind::Session)
            .and_then(|user| config.identity_provider(&user.idp))
            .and_then(IdentityProviderConfig::claims_limit);
        limit.map_or(self.absolute_expires_at, |limit| {
            self.claims_at().plus(limit).min(self.absolute_expires_at)
        })
    }

    /// Whether a browser session may still go on with these claims. Those of other
    /// grants are what the client was granted.
    pub fn claims_are_current(&self, config: &Config, now: UnixTime) -> bool {
        !self.ends_at(config).has_passed(now)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grant([redacted])")
    }
}

/// What one token may do: sealed in its entry, under the family's data key.
#[derive(Clone, Deserialize, Serialize)]
pub struct TokenMeta {
    /// What it is for.
    pub kind: TokenKind,
    /// To whom it was issued; none for a browser session.
    pub client: Option<String>,
    /// Its scopes.
    pub scope: ScopeSet,
    /// The audiences for which it is good; empty: all.
    pub audiences: Vec<String>,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// When it ends.
    pub expires_at: UnixTime,
    /// When it ends if nothing happens; browser sessions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_expires_at: Option<UnixTime>,
    /// Whether its first use must be noted: it came with a refresh token, whose
    /// lost response may be healed only until then.
    #[serde(default)]
    pub notes_first_use: bool,
    /// The refresh token that its pair replaced; access tokens alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor_of: Option<TokenDigest>,
    /// What an authorization code is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeBinding>,
    /// Who acts, and who may, on behalf of the subject.
    #[serde(default, skip_serializing_if = "Delegation::is_none")]
    pub delegation: Delegation,
    /// The key that it is bound to: worth nothing without a proof of it (RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

/// What an authorization code is bound to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CodeBinding {
    /// As it was in the authorization request.
    pub redirect_uri: String,
    /// S256 of the verifier (RFC 7636 §4.2).
    pub challenge: String,
    /// The only key that may redeem it (RFC 9449 §10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<Thumbprint>,
}

impl TokenMeta {
    /// The client's id, or the name that browser sessions go by.
    pub fn client_id(&self) -> &str {
        self.client.as_deref().unwrap_or(BROWSER)
    }

    /// The key that it is bound to.
    pub fn key(&self) -> Option<&Thumbprint> {
        self.cnf.as_ref().map(|cnf| &cnf.jkt)
    }

    /// `token_type`, as a client has to present it (RFC 6750, RFC 9449 §5).
    pub fn token_type(&self) -> &'static str {
        match self.cnf {
            None => "Bearer",
            Some(_) => "DPoP",
        }
    }

    /// Whether the token is good for services of `audience`.
    pub fn is_good_for(&self, audience: &str) -> bool {
        self.audiences.is_empty() || self.audiences.iter().any(|each| each == audience)
    }
}

impl fmt::Debug for TokenMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenMeta({:?})", self.kind)
    }
}

/// The `client_id` of browser sessions: ourselves.
pub const BROWSER: &str = "cloakroom";

/// The pair that followed a used code or refresh token.
#[derive(Deserialize, Serialize)]
struct SealedPair {
    access: String,
    refresh: Option<String>,
}

/// Tokens as they are handed to a client.
#[derive(Debug)]
pub struct TokenPair {
    /// For the API.
    pub access: OpaqueToken,
    /// For more of them.
    pub refresh: Option<OpaqueToken>,
}

/// A family that a token has opened.
#[derive(Debug)]
pub struct Opened {
    /// The token's digest.
    pub digest: TokenDigest,
    /// What was granted.
    pub grant: Grant,
    /// What the token may do.
    pub meta: TokenMeta,
    /// Opens the rest of the family.
    pub data_key: SealingKey,
    /// A keyed, truncated name of the subject, for logs and `principalId`.
    pub subject_tag: String,
}

impl TokenFault {
    /// How [`TokenFault::Unreadable`] is logged, by which telemetry counts it.
    pub const UNREADABLE: &str = "sealed in an unknown way";
}

/// Why a token is no good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenFault {
    /// Not in the family.
    #[error("unknown token")]
    Unknown,
    /// The family was revoked or ended.
    #[error("revoked token")]
    Revoked,
    /// Past its own, its idle or its grant's limit, or issued before the epoch.
    #[error("expired token")]
    Expired,
    /// It was issued to a client that is no longer configured.
    #[error("the client is gone")]
    ClientGone,
    /// A seal does not open, or says something else than the clear copy: planted,
    /// swapped or damaged. Worth an alarm.
    #[error("a seal is broken")]
    Broken,
    /// Sealed under a MAC key that is no longer listed.
    #[error("sealed under a retired key")]
    Retired,
    /// Sealed by a later release or under a key that this environment does not have yet.
    /// We cannot tell, so it is "unavailable".
    #[error("sealed in an unknown way")]
    Unreadable,
}

impl From<OpenError> for TokenFault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownVersion => Self::Unreadable,
            OpenError::Broken => Self::Broken,
        }
    }
}

/// Opens `record` with `token`: state, entry, seals, limits.
///
/// # Errors
///
/// See [`TokenFault`].
pub fn open(
    record: &FamilyRecord,
    token: &OpaqueToken,
    roots: &RootKeys,
    epoch: UnixTime,
    now: UnixTime,
) -> Result<Opened, TokenFault> {
    let opened = open_whatever_its_state(record, token, roots)?;
    if record.state != FamilyState::Active {
        return Err(TokenFault::Revoked);
    }
    check_limits(&opened.grant, &opened.meta, epoch, now)?;
    Ok(opened)
}

/// As [`open`], for those who must recognize a token that is used or revoked.
///
/// # Errors
///
/// See [`TokenFault`].
pub fn open_whatever_its_state(
    record: &FamilyRecord,
    token: &OpaqueToken,
    roots: &RootKeys,
) -> Result<Opened, TokenFault> {
    let digest = token.digest();
    let entry = find_entry(record, digest).ok_or(TokenFault::Unknown)?;
    let root = roots.of(record)?;
    let token_key = root.token_key(token, Purpose::DataKey);
    let data_key = SealingKey::unwrap(&entry.data_key, &token_key, record.id, digest)?;
    let meta: TokenMeta =
        read(&data_key.open(&entry.meta, record.id, Some(digest), Purpose::TokenMeta)?)?;
    let grant = open_grant(record, &data_key)?;
    // The clear copies are for conditions and clean-up; a writer of the table may
    // have changed them, but not what is sealed.
    let consistent = meta.kind == token.kind()
        && meta.kind == entry.kind
        && meta.expires_at == entry.expires_at
        && grant.kind == record.kind
        && grant.client.as_deref().unwrap_or_default() == record.client
        && grant.created_at == record.created_at
        && grant.absolute_expires_at == record.absolute_expires_at
        && meta
            .idle_expires_at
            .is_none_or(|idle| idle == record.idle_expires_at);
    if !consistent {
        return Err(TokenFault::Broken);
    }
    let subject_tag = subject_tag(root, &crate::jwt::subject(&grant, &meta));
    Ok(Opened {
        digest,
        grant,
        meta,
        data_key,
        subject_tag,
    })
}

/// Whether grant and token are within all their limits.
///
/// # Errors
///
/// [`TokenFault::Expired`].
pub fn check_limits(
    grant: &Grant,
    meta: &TokenMeta,
    epoch: UnixTime,
    now: UnixTime,
) -> Result<(), TokenFault> {
    let over = meta.expires_at.has_passed(now)
        || grant.absolute_expires_at.has_passed(now)
        || meta
            .idle_expires_at
            .is_some_and(|idle| idle.has_passed(now))
        || grant.created_at < epoch
        || meta.issued_at < epoch;
    if over {
        Err(TokenFault::Expired)
    } else {
        Ok(())
    }
}

/// Compares with every entry in constant time.
pub fn find_entry(record: &FamilyRecord, digest: TokenDigest) -> Option<&TokenEntry> {
    record.tokens.iter().fold(None, |found, (each, entry)| {
        if bool::from(each.0.ct_eq(&digest.0)) {
            Some(entry)
        } else {
            found
        }
    })
}

/// A keyed, truncated name of a subject: correlates, reveals nothing.
pub fn subject_tag(root: &RootKey, subject: &str) -> String {
    root.name("tag", &[subject]).chars().take(16).collect()
}

fn open_grant(record: &FamilyRecord, data_key: &SealingKey) -> Result<Grant, TokenFault> {
    let purpose = Purpose::Grant {
        claims_version: record.claims_version,
    };
    read(&data_key.open(&record.grant, record.id, None, purpose)?)
}

/// Something authentic that does not parse was written by another release.
fn read<'a, T: Deserialize<'a>>(plain: &'a Zeroizing<Vec<u8>>) -> Result<T, TokenFault> {
    json::from_slice(plain).map_err(|_| TokenFault::Unreadable)
}

/// Makes entries of a family.
#[derive(Debug)]
pub struct Sealer<'a, E> {
    /// The current root key for new families, the family's own for others.
    pub root: &'a RootKey,
    /// Whose entries.
    pub family: FamilyId,
    /// The family's data key.
    pub data_key: SealingKey,
    /// For nonces and secrets.
    pub entropy: &'a E,
}

impl<E: Entropy> Sealer<'_, E> {
    /// A new token and its entry.
    ///
    /// # Errors
    ///
    /// When there is no entropy.
    pub fn token(&self, meta: &TokenMeta) -> Result<(OpaqueToken, TokenEntry), EntropyError> {
        let token = OpaqueToken::generate(meta.kind, self.family, self.entropy)?;
        let digest = token.digest();
        let token_key = self.root.token_key(&token, Purpose::DataKey);
        let entry = TokenEntry {
            kind: meta.kind,
            state: TokenState::Live,
            expires_at: meta.expires_at,
            data_key: self
                .data_key
                .wrap(&token_key, self.family, digest, self.entropy)?,
            meta: self.meta(digest, meta)?,
            used_at: None,
            redeemed_at: None,
            successor: None,
            jwts: BTreeMap::new(),
        };
        Ok((token, entry))
    }

    /// Seals what a token may do.
    ///
    /// # Errors
    ///
    /// When there is no entropy.
    pub fn meta(&self, digest: TokenDigest, meta: &TokenMeta) -> Result<Sealed, EntropyError> {
        let plain = pad::json(meta, pad::META).ok_or(EntropyError)?;
        self.data_key.seal(
            &plain,
            self.family,
            Some(digest),
            Purpose::TokenMeta,
            self.entropy,
        )
    }

    /// Seals the grant.
    ///
    /// # Errors
    ///
    /// When there is no entropy.
    pub fn grant(&self, grant: &Grant, claims_version: u64) -> Result<Sealed, EntropyError> {
        let plain = pad::json(grant, pad::GRANT).ok_or(EntropyError)?;
        self.data_key.seal(
            &plain,
            self.family,
            None,
            Purpose::Grant { claims_version },
            self.entropy,
        )
    }
}

/// Seals a pair under the token that it was given for, so that only who presents
/// that token again gets the same pair again.
///
/// # Errors
///
/// When there is no entropy.
pub fn seal_successor(
    root: &RootKey,
    of: &OpaqueToken,
    pair: &TokenPair,
    entropy: &impl Entropy,
) -> Result<Sealed, EntropyError> {
    let mut sealed = SealedPair {
        access: pair.access.expose().to_owned(),
        refresh: pair.refresh.as_ref().map(|token| token.expose().to_owned()),
    };
    let plain = Zeroizing::new(serde_json::to_vec(&sealed).map_err(|_| EntropyError)?);
    sealed.access.zeroize();
    sealed.refresh.zeroize();
    root.token_key(of, Purpose::Successor).seal(
        &plain,
        of.family(),
        Some(of.digest()),
        Purpose::Successor,
        entropy,
    )
}

/// Opens what another token of the same family may do.
///
/// # Errors
///
/// See [`TokenFault`].
pub fn open_meta(
    record: &FamilyRecord,
    token: &OpaqueToken,
    data_key: &SealingKey,
) -> Result<TokenMeta, TokenFault> {
    let digest = token.digest();
    let entry = find_entry(record, digest).ok_or(TokenFault::Unknown)?;
    open_meta_of(record, digest, entry, data_key)
}

/// Opens what the token behind an entry may do.
///
/// # Errors
///
/// See [`TokenFault`].
pub fn open_meta_of(
    record: &FamilyRecord,
    digest: TokenDigest,
    entry: &TokenEntry,
    data_key: &SealingKey,
) -> Result<TokenMeta, TokenFault> {
    read(&data_key.open(&entry.meta, record.id, Some(digest), Purpose::TokenMeta)?)
}

/// The refresh token that was redeemed for the pair of the access token that `meta` is
/// of, if whoever presents it gets that pair no more once the access token is used: then
/// what its seal holds need not lie about (docs/rotation.md).
pub fn outlived_pair(
    record: &FamilyRecord,
    meta: &TokenMeta,
    now: UnixTime,
) -> Option<TokenDigest> {
    let predecessor = meta.successor_of?;
    let entry = record.tokens.get(&predecessor)?;
    (entry.successor.is_some() && !is_within_grace(meta.issued_at, now)).then_some(predecessor)
}

/// Under which name a family remembers a used refresh token. One that is bound to a key
/// is remembered together with it: without the key it is nobody's, and ends nothing.
pub fn spent_name(token: TokenDigest, key: Option<&Thumbprint>) -> TokenDigest {
    key.map_or(token, |key| {
        TokenDigest(sha256(&[&token.0, key.as_str().as_bytes()].concat()))
    })
}

/// Opens the pair that `token` was redeemed for.
///
/// # Errors
///
/// See [`TokenFault`].
pub fn open_successor(
    record: &FamilyRecord,
    token: &OpaqueToken,
    sealed: &Sealed,
    roots: &RootKeys,
) -> Result<TokenPair, TokenFault> {
    let root = roots.of(record)?;
    let key = root.token_key(token, Purpose::Successor);
    let plain = key.open(sealed, record.id, Some(token.digest()), Purpose::Successor)?;
    let SealedPair {
        mut access,
        mut refresh,
    } = read(&plain)?;
    let pair = TokenPair {
        access: OpaqueToken::parse(&access).map_err(|_| TokenFault::Broken)?,
        refresh: refresh
            .as_deref()
            .map(OpaqueToken::parse)
            .transpose()
            .map_err(|_| TokenFault::Broken)?,
    };
    access.zeroize();
    refresh.zeroize();
    Ok(pair)
}

/// A new family with its first token, not yet stored.
///
/// # Errors
///
/// When there is no entropy.
pub fn new_family(
    grant: &Grant,
    meta: &TokenMeta,
    root: &RootKey,
    entropy: &impl Entropy,
) -> Result<(FamilyRecord, OpaqueToken), EntropyError> {
    let family = FamilyId::generate(entropy)?;
    let sealer = Sealer {
        root,
        family,
        data_key: SealingKey::generate(entropy)?,
        entropy,
    };
    let (token, entry) = sealer.token(meta)?;
    let record = FamilyRecord {
        id: family,
        state: FamilyState::Active,
        kind: grant.kind,
        client: grant.client.clone().unwrap_or_default(),
        root: root.id().to_owned(),
        created_at: grant.created_at,
        idle_expires_at: meta.idle_expires_at.unwrap_or(grant.absolute_expires_at),
        absolute_expires_at: grant.absolute_expires_at,
        generation: 0,
        grant: sealer.grant(grant, 0)?,
        claims_version: 0,
        lease_until: None,
        tokens: BTreeMap::from([(token.digest(), entry)]),
        spent: Vec::new(),
        forget_after: grant.absolute_expires_at.plus(evidence_margin(meta.kind)),
    };
    Ok((record, token))
}

/// For how long a family stays in the table after its end, so that a late replay is
/// still recognized. One that starts with an access token has none that is used up, and
/// machines start many.
fn evidence_margin(first: TokenKind) -> u64 {
    match first {
        TokenKind::Access => 0,
        TokenKind::Refresh | TokenKind::Session | TokenKind::Code | TokenKind::WebSocketTicket => {
            86_400
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SequenceEntropy, family_of, grant_of, meta, root, roots};

    const NOW: UnixTime = UnixTime(1_100);

    fn at(record: &FamilyRecord, token: &OpaqueToken, now: UnixTime) -> Result<Opened, TokenFault> {
        open(record, token, &roots(), UnixTime(0), now)
    }

    #[test]
    fn a_token_opens_its_family_until_its_last_second() {
        let (record, token) = family_of("alice");
        let opened = at(&record, &token, NOW).unwrap();
        assert_eq!(opened.grant.user.as_ref().unwrap().sub, "demo|alice");
        assert_eq!(opened.meta.scope.to_string(), "orders:read");
        let end = opened.meta.expires_at;
        assert!(at(&record, &token, UnixTime(end.0 - 1)).is_ok());
        assert_eq!(
            at(&record, &token, end).unwrap_err(),
            TokenFault::Expired,
            "D32: dead at its expiry"
        );
    }

    #[test]
    fn only_a_family_that_may_see_a_replay_outlasts_its_end() {
        let end = grant_of("alice").absolute_expires_at;
        for (kind, margin) in [
            (TokenKind::Access, 0),
            (TokenKind::Code, 86_400),
            (TokenKind::Session, 86_400),
        ] {
            let meta = TokenMeta { kind, ..meta() };
            let entropy = SequenceEntropy::default();
            let (record, _) = new_family(&grant_of("alice"), &meta, &root(1), &entropy).unwrap();
            assert_eq!(record.forget_after, end.plus(margin), "{kind:?}");
        }
    }

    #[test]
    fn every_limit_counts() {
        let (_, token) = family_of("alice");
        let grant = grant_of("alice");
        let fine = TokenMeta {
            idle_expires_at: Some(UnixTime(2_000)),
            ..meta()
        };
        let over = |grant: &Grant, meta: &TokenMeta, epoch| {
            check_limits(grant, meta, UnixTime(epoch), NOW).is_err()
        };
        drop(token);
        assert!(!over(&grant, &fine, 1_000));
        assert!(over(
            &grant,
            &TokenMeta {
                expires_at: NOW,
                ..fine.clone()
            },
            0
        ));
        assert!(over(
            &grant,
            &TokenMeta {
                idle_expires_at: Some(NOW),
                ..fine.clone()
            },
            0
        ));
        assert!(over(
            &Grant {
                absolute_expires_at: NOW,
                ..grant.clone()
            },
            &fine,
            0
        ));
        assert!(over(&grant, &fine, 1_001), "D68: issued before the epoch");
    }

    #[test]
    fn a_finished_family_refuses_its_tokens() {
        for state in [FamilyState::Revoked, FamilyState::Ended] {
            let (mut record, token) = family_of("alice");
            record.state = state;
            assert_eq!(at(&record, &token, NOW).unwrap_err(), TokenFault::Revoked);
        }
    }

    #[test]
    fn another_token_of_the_same_family_id_is_unknown() {
        let (record, _) = family_of("alice");
        let stranger = OpaqueToken::generate(
            TokenKind::Access,
            record.id,
            &SequenceEntropy::starting_at(200),
        )
        .unwrap();
        assert_eq!(
            at(&record, &stranger, NOW).unwrap_err(),
            TokenFault::Unknown
        );
    }

    #[test]
    fn a_writer_of_the_table_cannot_change_what_decides() {
        // D75: each hand-made record differs from a good one in one point.
        type Edit = fn(&mut FamilyRecord, &TokenDigest);
        let edits: [Edit; 9] = [
            |r, d| r.tokens.get_mut(d).unwrap().expires_at = UnixTime(u64::MAX),
            |r, d| r.tokens.get_mut(d).unwrap().kind = TokenKind::Session,
            |r, _| r.absolute_expires_at = UnixTime(u64::MAX),
            |r, _| r.created_at = UnixTime(u64::MAX),
            |r, _| r.client = "other".into(),
            |r, _| r.kind = FamilyKind::Session,
            |r, _| r.claims_version = 1,
            |r, d| r.tokens.get_mut(d).unwrap().meta = r.grant.clone(),
            |r, d| r.grant = r.tokens[d].meta.clone(),
        ];
        for (i, edit) in edits.into_iter().enumerate() {
            let (mut record, token) = family_of("alice");
            edit(&mut record, &token.digest());
            assert_eq!(
                at(&record, &token, NOW).unwrap_err(),
                TokenFault::Broken,
                "edit {i}"
            );
        }
    }

    #[test]
    fn sealed_values_of_another_family_do_not_open() {
        let (bob, bobs) = family_of("bob");
        let (alice, alices) = family_of("alice");
        let mut planted = bob.clone();
        planted.grant = alice.grant.clone();
        assert_eq!(at(&planted, &bobs, NOW).unwrap_err(), TokenFault::Broken);
        let mut planted = bob.clone();
        planted
            .tokens
            .insert(bobs.digest(), alice.tokens[&alices.digest()].clone());
        assert_eq!(at(&planted, &bobs, NOW).unwrap_err(), TokenFault::Broken);
    }

    #[test]
    fn a_family_made_without_the_root_does_not_open() {
        // All of the code is public; only the MAC key is missing.
        let forged = RootKey::new(Zeroizing::new([0x66; 32]));
        let entropy = SequenceEntropy::default();
        let (mut record, token) =
            new_family(&grant_of("alice"), &meta(), &forged, &entropy).unwrap();
        assert_eq!(
            at(&record, &token, NOW).unwrap_err(),
            TokenFault::Retired,
            "names a key that is not ours"
        );
        record.root = root(1).id().to_owned();
        assert_eq!(at(&record, &token, NOW).unwrap_err(), TokenFault::Broken);
    }

    #[test]
    fn a_later_format_is_unreadable_and_not_invalid() {
        let (mut record, token) = family_of("alice");
        let mut bytes = record.grant.as_bytes().to_vec();
        bytes[0] = 2;
        record.grant = Sealed::from_bytes(bytes);
        assert_eq!(
            at(&record, &token, NOW).unwrap_err(),
            TokenFault::Unreadable
        );
    }

    #[test]
    fn a_successor_opens_for_its_predecessor_alone() {
        let entropy = SequenceEntropy::default();
        let (record, old) = family_of("alice");
        let access = OpaqueToken::generate(TokenKind::Access, record.id, &entropy).unwrap();
        let text = access.expose().to_owned();
        let pair = TokenPair {
            access,
            refresh: None,
        };
        let sealed = seal_successor(&root(1), &old, &pair, &entropy).unwrap();
        assert_eq!(
            open_successor(&record, &old, &sealed, &roots())
                .unwrap()
                .access
                .expose(),
            text
        );
        let other = OpaqueToken::generate(TokenKind::Refresh, record.id, &entropy).unwrap();
        assert!(open_successor(&record, &other, &sealed, &roots()).is_err());
    }
}
