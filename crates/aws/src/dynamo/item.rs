//! The layout of the table, format 1.
//!
//! A release reads what the release before wrote (`fixtures/`). Whatever is not
//! as written here is malformed and nothing is guessed: a store that somebody
//! else wrote to must not decide anything (D32, D75).

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::family::{
    FamilyId, FamilyKind, FamilyRecord, FamilyState, IndexKey, TokenEntry, TokenState,
};
use cloakroom_domain::ports::StoreError;
use cloakroom_domain::seal::Sealed;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::{TokenDigest, TokenKind};
use std::collections::{BTreeMap, HashMap};

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const PK: &str = "pk";
pub(super) const SK: &str = "sk";
pub(super) const TTL: &str = "ttl";

pub(super) const STATE: &str = "state";
const KIND: &str = "kind";
pub(super) const CLIENT: &str = "client";
const ROOT: &str = "root";
const CREATED_AT: &str = "created_at";
pub(super) const IDLE_EXPIRES_AT: &str = "idle_expires_at";
pub(super) const ABSOLUTE_EXPIRES_AT: &str = "absolute_expires_at";
pub(super) const GENERATION: &str = "gen";
pub(super) const CLAIMS: &str = "claims";
pub(super) const CLAIMS_VERSION: &str = "claims_version";
pub(super) const LEASE_UNTIL: &str = "lease_until";
pub(super) const TOKENS: &str = "toks";
pub(super) const SPENT: &str = "spent";
/// Under which names the family is ended, shortened: for `cloakroom sessions revoke`, which
/// finds by them what the index does not list. It decides nothing.
pub(super) const NAMES: &str = "names";

// Of a token, beside `kind` and `state`.
const EXPIRES_AT: &str = "expires_at";
const DATA_KEY: &str = "data_key";
pub(super) const META: &str = "meta";
pub(super) const USED_AT: &str = "used_at";
pub(super) const REDEEMED_AT: &str = "redeemed_at";
pub(super) const SUCCESSOR: &str = "successor";
pub(super) const JWTS: &str = "jwts";

/// The key of any item.
pub(super) fn key(pk: &str, sk: &str) -> Item {
    Item::from([(PK.into(), text(pk)), (SK.into(), text(sk))])
}

/// The key of a family.
pub(super) fn family_key(id: FamilyId) -> Item {
    key(&format!("f#{}", id.to_text()), "f")
}

/// Where a subject's families are listed. Nothing is, under a name that is not listed.
pub(super) fn index_pk(key: &IndexKey) -> String {
    match key {
        IndexKey::Subject(name) => format!("sub#{name}"),
        IndexKey::IdpSession(name) => format!("ids#{name}"),
        IndexKey::Provider(name) => format!("idp#{name}"),
        IndexKey::Client(name) => format!("client#{name}"),
    }
}

/// 128 bits of a name are enough to know it again.
pub(super) fn short_name(key: &IndexKey) -> &str {
    key.name().get(..22).unwrap_or(key.name())
}

/// Names as an attribute.
pub(super) fn short_names(names: &[IndexKey]) -> AttributeValue {
    AttributeValue::L(names.iter().map(|key| text(short_name(key))).collect())
}

/// What lists `family` under `key`.
pub(super) fn index_item(index: &IndexKey, family: &FamilyRecord) -> Item {
    let mut item = key(&index_pk(index), &format!("f#{}", family.id.to_text()));
    item.insert(TTL.into(), number(family.forget_after.0));
    item
}

/// Which family an index item lists.
pub(super) fn indexed_family(item: &Item) -> Result<FamilyId, StoreError> {
    required(item, SK, as_text)?
        .strip_prefix("f#")
        .and_then(FamilyId::from_text)
        .ok_or(StoreError::Malformed(SK))
}

/// What forbids families under `key`. The name is a MAC over its domain too, so that
/// those of a subject, a session, a provider and a client never meet.
pub(super) fn tombstone_key(index: &IndexKey) -> Item {
    key(&format!("ended#{}", index.name()), "ended")
}

/// A family as an item.
pub(super) fn write_family(family: &FamilyRecord) -> Item {
    let tokens = family.tokens.iter();
    let tokens = tokens.map(|(digest, entry)| (digest.to_text(), write_token(entry)));
    let mut item = family_key(family.id);
    item.extend(
        [
            (STATE, text(family.state.name())),
            (KIND, text(family.kind.name())),
            (CLIENT, text(&family.client)),
            (ROOT, text(&family.root)),
            (CREATED_AT, number(family.created_at.0)),
            (IDLE_EXPIRES_AT, number(family.idle_expires_at.0)),
            (ABSOLUTE_EXPIRES_AT, number(family.absolute_expires_at.0)),
            (GENERATION, number(family.generation)),
            (CLAIMS, sealed(&family.grant)),
            (CLAIMS_VERSION, number(family.claims_version)),
            (TOKENS, AttributeValue::M(tokens.collect())),
            (SPENT, digests(&family.spent)),
            (TTL, number(family.forget_after.0)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let lease = family.lease_until.map(|until| number(until.0));
    item.extend(lease.map(|until| (LEASE_UNTIL.to_owned(), until)));
    item
}

/// Reads a family that was found under the key of `id`.
pub(super) fn read_family(id: FamilyId, item: &Item) -> Result<FamilyRecord, StoreError> {
    if item.get(PK) != family_key(id).get(PK) {
        return Err(StoreError::Malformed(PK));
    }
    Ok(FamilyRecord {
        id,
        state: required(item, STATE, as_name)?,
        kind: required(item, KIND, as_name)?,
        client: required(item, CLIENT, as_text)?,
        root: required(item, ROOT, as_text)?,
        created_at: time(item, CREATED_AT)?,
        idle_expires_at: time(item, IDLE_EXPIRES_AT)?,
        absolute_expires_at: time(item, ABSOLUTE_EXPIRES_AT)?,
        generation: required(item, GENERATION, as_number)?,
        grant: required(item, CLAIMS, as_sealed)?,
        claims_version: required(item, CLAIMS_VERSION, as_number)?,
        lease_until: optional(item, LEASE_UNTIL, as_number)?.map(UnixTime),
        tokens: read_tokens(item)?,
        spent: required(item, SPENT, as_digests)?,
        forget_after: time(item, TTL)?,
    })
}

/// A token's entry as an attribute.
pub(super) fn write_token(entry: &TokenEntry) -> AttributeValue {
    let jwts = entry.jwts.iter();
    let jwts = jwts.map(|(audience, jwt)| (audience.clone(), sealed(jwt)));
    let optional = [
        (USED_AT, entry.used_at.map(|at| number(at.0))),
        (REDEEMED_AT, entry.redeemed_at.map(|at| number(at.0))),
        (SUCCESSOR, entry.successor.as_ref().map(sealed)),
    ];
    let attributes = [
        (KIND, text(entry.kind.letters())),
        (STATE, text(entry.state.name())),
        (EXPIRES_AT, number(entry.expires_at.0)),
        (DATA_KEY, sealed(&entry.data_key)),
        (META, sealed(&entry.meta)),
        // Written even when empty, so that one path sets a slot.
        (JWTS, AttributeValue::M(jwts.collect())),
    ]
    .into_iter()
    .chain(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    AttributeValue::M(
        attributes
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn read_tokens(item: &Item) -> Result<BTreeMap<TokenDigest, TokenEntry>, StoreError> {
    let tokens = borrow(item, TOKENS)?;
    tokens
        .iter()
        .map(|(digest, entry)| {
            let digest = TokenDigest::from_text(digest).ok_or(StoreError::Malformed(TOKENS))?;
            let entry = entry.as_m().map_err(|_| StoreError::Malformed(TOKENS))?;
            Ok((digest, read_token(entry)?))
        })
        .collect()
}

fn read_token(entry: &Item) -> Result<TokenEntry, StoreError> {
    let jwts = borrow(entry, JWTS)?;
    let jwts = jwts.iter().map(|(audience, jwt)| {
        let jwt = as_sealed(jwt).ok_or(StoreError::Malformed(JWTS))?;
        Ok((audience.clone(), jwt))
    });
    Ok(TokenEntry {
        kind: required(entry, KIND, as_name)?,
        state: required(entry, STATE, as_name)?,
        expires_at: time(entry, EXPIRES_AT)?,
        data_key: required(entry, DATA_KEY, as_sealed)?,
        meta: required(entry, META, as_sealed)?,
        used_at: optional(entry, USED_AT, as_number)?.map(UnixTime),
        redeemed_at: optional(entry, REDEEMED_AT, as_number)?.map(UnixTime),
        successor: optional(entry, SUCCESSOR, as_sealed)?,
        jwts: jwts.collect::<Result<_, StoreError>>()?,
    })
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn sealed(sealed: &Sealed) -> AttributeValue {
    AttributeValue::B(Blob::new(sealed.as_bytes()))
}

pub(super) fn digests(digests: &[TokenDigest]) -> AttributeValue {
    let digests = digests.iter().map(|digest| text(&digest.to_text()));
    AttributeValue::L(digests.collect())
}

/// A point in time that must be there.
pub(super) fn time(item: &Item, name: &'static str) -> Result<UnixTime, StoreError> {
    required(item, name, as_number).map(UnixTime)
}

fn required<T>(
    item: &Item,
    name: &'static str,
    read: impl Fn(&AttributeValue) -> Option<T>,
) -> Result<T, StoreError> {
    optional(item, name, read)?.ok_or(StoreError::Malformed(name))
}

/// May be absent, but not be something else.
fn optional<T>(
    item: &Item,
    name: &'static str,
    read: impl Fn(&AttributeValue) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    item.get(name)
        .map(|value| read(value).ok_or(StoreError::Malformed(name)))
        .transpose()
}

fn borrow<'a>(item: &'a Item, name: &'static str) -> Result<&'a Item, StoreError> {
    item.get(name)
        .and_then(|value| value.as_m().ok())
        .ok_or(StoreError::Malformed(name))
}

fn as_text(value: &AttributeValue) -> Option<String> {
    value.as_s().ok().cloned()
}

/// Whole, not negative, and within what every reader of it can hold.
fn as_number(value: &AttributeValue) -> Option<u64> {
    let number = value.as_n().ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

fn as_sealed(value: &AttributeValue) -> Option<Sealed> {
    let bytes = value.as_b().ok()?;
    Some(Sealed::from_bytes(bytes.as_ref().to_vec()))
}

fn as_digests(value: &AttributeValue) -> Option<Vec<TokenDigest>> {
    let digests = value.as_l().ok()?.iter();
    digests
        .map(|digest| TokenDigest::from_text(digest.as_s().ok()?))
        .collect()
}

fn as_name<T: Named>(value: &AttributeValue) -> Option<T> {
    let text = value.as_s().ok()?;
    T::ALL.iter().copied().find(|each| each.name() == text)
}

/// One of few, stored by name.
pub(super) trait Named: Copy + 'static {
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

impl Named for FamilyState {
    const ALL: &'static [Self] = &[Self::Active, Self::Revoked, Self::Ended];

    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
        }
    }
}

impl Named for FamilyKind {
    const ALL: &'static [Self] = &[Self::Session, Self::Grant, Self::Client];

    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Grant => "grant",
            Self::Client => "client",
        }
    }
}

impl Named for TokenState {
    const ALL: &'static [Self] = &[Self::Live, Self::Used];

    fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Used => "used",
        }
    }
}

impl Named for TokenKind {
    const ALL: &'static [Self] = &TokenKind::ALL;

    fn name(self) -> &'static str {
        self.letters()
    }
}

#[cfg(test)]
mod tests;
