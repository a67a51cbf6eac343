//! A provider says that somebody has signed out there (OpenID Connect Back-Channel
//! Logout 1.0 §2.7): what was begun through that sign-in is over here too.

use super::{LoginError, LoginService};
use crate::ended::{self, Ending, Reach, TOMBSTONE_SECONDS, is_offline};
use crate::family::{FamilyId, FamilyState, IndexKey};
use crate::ports::{
    Clock, FindFamily, LogoutToken, OnceName, Roots, StoreError, SubjectIndex, UseOnce,
    VerifyLogoutToken,
};
use crate::seal::RootKeys;
use crate::token::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use std::collections::BTreeSet;

/// Who was signed out; for logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedOut {
    /// Which provider said so.
    pub idp: String,
    /// How many sessions and grants have ended.
    pub ended: u64,
    /// How many rows of the index name no family: somebody wrote to the table. What they
    /// hid ends by the tombstone, when it is next refreshed or slides.
    pub unreadable: u64,
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + SubjectIndex + UseOnce,
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
        let idp = self.config.identity_provider(&token.idp);
        let ends_all = idp.is_some_and(|idp| idp.logout_ends_offline_access);
        let reach = if ends_all { Reach::All } else { Reach::Online };
        // One record that cannot be read or written does not keep the others alive.
        let mut fault = None;
        let (mut families, mut unreadable) = (BTreeSet::new(), 0);
        for key in keys(&roots, &token) {
            // First of all: a login in flight must not slip through between the query
            // and the end of this. The next second, because what was begun in this
            // one was begun before us.
            let (from, until) = (now.plus(1), now.plus(TOMBSTONE_SECONDS));
            let written = self.store.end_subject(&key, reach, from, until).await;
            let listed = self.store.families_of(&key).await;
            fault = fault.or(written.err()).or(listed.fault);
            families.extend(listed.families);
            unreadable += listed.unreadable;
        }
        let mut ended = 0;
        for family in families {
            match self.end_listed(family, ends_all).await {
                Ok(now) => ended += u64::from(now),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        if let Some(error) = fault {
            return Err(error.into());
        }
        self.store.use_once(&name, token.expires_at).await?;
        Ok(SignedOut {
            idp: token.idp,
            ended,
            unreadable,
        })
    }

    /// Whether it was alive until now.
    async fn end_listed(&self, family: FamilyId, ends_all: bool) -> Result<bool, StoreError> {
        if !ends_all {
            match self.store.find_family(&family).await {
                // A native client with `offline_access` works while its user is away: a
                // logout does not end that (§2.7), unless the configuration says so.
                Ok(Some(record)) if is_offline(&record) => return Ok(false),
                // What cannot be read admits nobody, and ends all the same.
                Ok(_) | Err(StoreError::Malformed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let ending = self.store.end_unread(family, FamilyState::Ended).await?;
        Ok(ending == Ending::Now)
    }
}

/// Under which names the families are found, one per root key. A session, if one is
/// named, and not all of its user's.
fn keys(roots: &RootKeys, token: &LogoutToken) -> Vec<IndexKey> {
    let name = |root| match (&token.sid, &token.sub) {
        (Some(sid), _) => Some(ended::idp_session_key(root, &token.iss, sid)),
        (None, Some(sub)) => Some(ended::subject_key(root, &token.iss, sub)),
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
