//! Ending logins from outside: by a user, a session at a provider, a provider or a client.
//!
//! Two things end a login. Its family is ended directly, if it can be found. And a
//! tombstone says that nothing of that name which began before a certain moment counts.
//! The tombstone is looked at wherever a token is issued, exchanged or refreshed and
//! wherever a session slides, so that a login that nobody could find ends there. The
//! authorizer does not look: an access token that was missed lives to its own expiry.

use crate::claims::client_subject;
use crate::config::Config;
use crate::family::{FamilyId, FamilyKind, FamilyRecord, FamilyState, IndexKey};
use crate::grant::{BROWSER, Grant, Opened};
use crate::ports::StoreError;
use crate::seal::{RootKey, RootKeys};
use crate::time::UnixTime;
use crate::token::TokenKind;
use std::future::Future;

/// How long a tombstone is kept: as long as any login may last
/// (`lifetimes.grant` and `session.absolute` are at most this).
pub const TOMBSTONE_SECONDS: u64 = 400 * 86_400;

/// How old an ID token may be that starts a family (RFC 8693). Older ones could be from
/// before a sign-out that nobody remembers any more.
pub const MAX_SUBJECT_TOKEN_AGE: u64 = 86_400;

const _: () = assert!(MAX_SUBJECT_TOKEN_AGE <= TOMBSTONE_SECONDS);

/// What tombstones say, put together: 0 forbids nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tombstone {
    /// Logins that began earlier are over.
    pub not_before: UnixTime,
    /// The same for clients with `offline_access`, which work while their user is away.
    pub offline_not_before: UnixTime,
}

impl Tombstone {
    /// Whether it ends a login that began at `began_at`.
    pub fn ends(self, began_at: UnixTime, offline: bool) -> bool {
        began_at
            < if offline {
                self.offline_not_before
            } else {
                self.not_before
            }
    }

    /// The later moments of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            offline_not_before: self.offline_not_before.max(other.offline_not_before),
        }
    }
}

/// What a tombstone ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// All but clients with `offline_access` (OpenID Connect Back-Channel Logout 1.0 §2.7).
    Online,
    /// Everything.
    All,
}

/// Reads tombstones. IAM: `dynamodb:GetItem` on `ended#*`.
pub trait ReadTombstones: Send + Sync {
    /// What the tombstones under `names` say together, by strongly consistent reads.
    ///
    /// # Errors
    ///
    /// If the store could not answer for each of them.
    fn tombstone(
        &self,
        names: &[IndexKey],
    ) -> impl Future<Output = Result<Tombstone, StoreError>> + Send;
}

/// Finds and ends the families of a subject. IAM: `dynamodb:Query`, and
/// `dynamodb:UpdateItem` on `ended#*` and `f#*`.
pub trait SubjectIndex: Send + Sync {
    /// The families that are listed under `key`, by a strongly consistent query.
    fn families_of(&self, key: &IndexKey) -> impl Future<Output = Listed> + Send;

    /// Forbids families under `key` that began before `not_before`. A later moment wins
    /// over an earlier one, whatever the order of the calls.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    fn end_subject(
        &self,
        key: &IndexKey,
        reach: Reach,
        not_before: UnixTime,
        forget_after: UnixTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a family without reading it, so that an item that this release cannot read
    /// ends too. A family that is over stays as it is.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    fn end_unread(
        &self,
        id: FamilyId,
        state: FamilyState,
    ) -> impl Future<Output = Result<Ending, StoreError>> + Send;
}

/// What an index lists, as far as it could be read.
#[derive(Debug, Default)]
pub struct Listed {
    /// The families.
    pub families: Vec<FamilyId>,
    /// How many rows name no family.
    pub unreadable: u64,
    /// Why there may be more.
    pub fault: Option<StoreError>,
}

/// What became of a family that was to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It was active until now.
    Now,
    /// It was over before.
    Before,
    /// There is no such family (any more).
    Gone,
}

/// Whether a client with `offline_access` holds this family.
pub fn is_offline(record: &FamilyRecord) -> bool {
    record.kind == FamilyKind::Grant
        && record
            .tokens
            .values()
            .any(|entry| entry.kind == TokenKind::Refresh)
}

/// Whether a tombstone ends the login that a token has opened.
///
/// # Errors
///
/// If the store could not answer: then nothing may be issued.
pub async fn is_ended(
    store: &impl ReadTombstones,
    config: &Config,
    roots: &RootKeys,
    record: &FamilyRecord,
    opened: &Opened,
) -> Result<bool, StoreError> {
    let Opened { grant, meta, .. } = opened;
    let owner = grant.client.as_deref().unwrap_or(BROWSER);
    let mut all = names(roots, config, grant);
    all.extend(roots.iter().map(|root| client_key(root, owner)));
    let tombstone = store.tombstone(&all).await?;
    if tombstone.ends(grant.created_at, is_offline(record)) {
        return Ok(true);
    }
    if meta.client_id() == owner {
        return Ok(false);
    }
    // It was got by exchange: its own client may have been ended since.
    let own: Vec<_> = roots
        .iter()
        .map(|root| client_key(root, meta.client_id()))
        .collect();
    let tombstone = store.tombstone(&own).await?;
    Ok(tombstone.ends(meta.issued_at, false))
}

/// Whether a user who was authenticated at `authenticated_at` was signed out since. A
/// tombstone of the client does not count: what begins now is not what it ended.
///
/// # Errors
///
/// If the store could not answer: then nothing may start.
pub async fn was_ended_since(
    store: &impl ReadTombstones,
    config: &Config,
    roots: &RootKeys,
    grant: &Grant,
    authenticated_at: UnixTime,
) -> Result<bool, StoreError> {
    let tombstone = store.tombstone(&names(roots, config, grant)).await?;
    Ok(tombstone.ends(authenticated_at, false))
}

/// The names of a grant under every root key: whoever wrote a tombstone may have had
/// another current one.
fn names(roots: &RootKeys, config: &Config, grant: &Grant) -> Vec<IndexKey> {
    roots
        .iter()
        .flat_map(|root| names_under(root, config, grant))
        .collect()
}

/// Under which names the family of a new grant is found.
pub fn subject_keys(roots: &RootKeys, config: &Config, grant: &Grant) -> Vec<IndexKey> {
    names_under(roots.current(), config, grant)
}

fn names_under(root: &RootKey, config: &Config, grant: &Grant) -> Vec<IndexKey> {
    let client = grant.client.as_deref().unwrap_or(BROWSER);
    match &grant.user {
        None => vec![subject_key(root, &config.issuer, &client_subject(client))],
        Some(user) => std::iter::once(subject_key(root, &user.iss, &user.sub))
            .chain(
                user.idp_sid
                    .as_ref()
                    .map(|sid| idp_session_key(root, &user.iss, sid)),
            )
            .chain([provider_key(root, &user.idp)])
            .collect(),
    }
}

/// Under which name the families of a subject are found, sealed under `root`.
pub fn subject_key(root: &RootKey, issuer: &str, subject: &str) -> IndexKey {
    IndexKey::Subject(root.name("sub", &[issuer, subject]))
}

/// Under which name the families of a session at a provider are found.
pub fn idp_session_key(root: &RootKey, issuer: &str, sid: &str) -> IndexKey {
    IndexKey::IdpSession(root.name("ids", &[issuer, sid]))
}

/// Under which name all that an identity provider has vouched for is ended.
pub fn provider_key(root: &RootKey, idp: &str) -> IndexKey {
    IndexKey::Provider(root.name("idp", &[idp]))
}

/// Under which name all that a client holds is ended.
pub fn client_key(root: &RootKey, client: &str) -> IndexKey {
    IndexKey::Client(root.name("client", &[client]))
}

#[cfg(test)]
mod tests;
