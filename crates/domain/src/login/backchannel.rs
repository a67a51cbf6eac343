//! A provider says that somebody has signed out there (OpenID Connect Back-Channel
//! Logout 1.0 §2.7): what was begun through that sign-in is over here too.

use super::{LOGIN_SECONDS, LoginError, LoginService};
use crate::family::{FamilyId, FamilyKind, FamilyRecord, IndexKey, Transition};
use crate::grant;
use crate::ports::{
    Clock, FindFamily, LogoutToken, OnceName, Roots, StoreError, SubjectIndex, UpdateError,
    UpdateFamily, UseOnce, VerifyLogoutToken,
};
use crate::seal::RootKeys;
use crate::token::{TokenKind, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use std::collections::BTreeSet;

/// For how long nobody comes in who began to sign in before the logout: far longer
/// than that can take.
const TOMBSTONE_SECONDS: u64 = 2 * LOGIN_SECONDS;

/// Who was signed out; for logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedOut {
    /// Which provider said so.
    pub idp: String,
    /// How many sessions and grants have ended.
    pub ended: u64,
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + SubjectIndex + UseOnce,
    R: Roots,
    P: VerifyLogoutToken,
{
    /// Ends what a logout token names: one session of a user at the provider, or all
    /// of the user's. That there is none is no fault.
    ///
    /// # Errors
    ///
    /// [`LoginError::Refused`], [`LoginError::UnknownProvider`] or
    /// [`LoginError::Replayed`] if the token is not to be believed;
    /// [`LoginError::Unavailable`] if something may still be alive: the provider is to
    /// send the token again.
    pub async fn sign_out_by_provider(&self, token: &str) -> Result<SignedOut, LoginError> {
        let now = self.world.now();
        let token = self.providers.verify_logout_token(token, now).await?;
        let name = once(&token);
        // Noted only when all is done, so that a token whose work failed half-way does
        // its work when it comes again. All of it can be done twice.
        if self.store.was_used(&name).await? {
            return Err(LoginError::Replayed);
        }
        let roots = self.roots.roots().await?;
        let mut families = BTreeSet::new();
        for key in keys(&roots, &token) {
            // First of all: a login in flight must not slip through between the query
            // and the end of this. The next second, because what was begun in this
            // one was begun before us.
            self.store
                .end_subject(&key, now.plus(1), now.plus(TOMBSTONE_SECONDS))
                .await?;
            families.extend(self.store.families_of(&key).await?);
        }
        let idp = self.config.identity_provider(&token.idp);
        let ends_all = idp.is_some_and(|idp| idp.logout_ends_offline_access);
        let mut ended = 0;
        for family in families {
            ended += u64::from(self.end_family(family, ends_all).await?);
        }
        self.store.use_once(&name, token.expires_at).await?;
        Ok(SignedOut {
            idp: token.idp,
            ended,
        })
    }

    async fn end_family(&self, family: FamilyId, ends_all: bool) -> Result<bool, StoreError> {
        let Some(record) = self.store.find_family(&family).await? else {
            return Ok(false);
        };
        if !ends_all && is_offline(&record) {
            return Ok(false);
        }
        match self.store.update_family(&Transition::end(family)).await {
            Ok(()) => Ok(true),
            // Over already.
            Err(UpdateError::Refused(_)) => Ok(false),
            Err(UpdateError::Store(error)) => Err(error),
        }
    }
}

/// A native client with `offline_access` works while its user is away: a logout does
/// not end that (§2.7), unless the provider's configuration says so.
fn is_offline(record: &FamilyRecord) -> bool {
    record.kind == FamilyKind::Grant
        && record
            .tokens
            .values()
            .any(|entry| entry.kind == TokenKind::Refresh)
}

/// Under which names the families are found, one per root key. A session, if one is
/// named, and not all of its user's.
fn keys(roots: &RootKeys, token: &LogoutToken) -> Vec<IndexKey> {
    let name = |root| match (&token.sid, &token.sub) {
        (Some(sid), _) => Some(grant::idp_session_key(root, &token.iss, sid)),
        (None, Some(sub)) => Some(grant::subject_key(root, &token.iss, sub)),
        (None, None) => None,
    };
    roots.iter().filter_map(name).collect()
}

/// Two providers may use the same `jti`.
fn once(token: &LogoutToken) -> OnceName {
    let text = format!("{}:{}{}", token.iss.len(), token.iss, token.jti);
    OnceName {
        namespace: "jti",
        digest: BASE64URL.encode(sha256(text.as_bytes())),
    }
}
