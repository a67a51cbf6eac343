//! What the provider has issued: codes, access tokens and refresh tokens, in
//! memory, by the digest of their text.
//!
//! Every kind is bounded and expires, so that a loop of sign-ins costs nothing.

use std::collections::HashMap;

use super::{SecretDigest, users::User};

pub(super) const CODE_LIFETIME: u64 = 60;
pub(super) const TOKEN_LIFETIME: u64 = 600;
pub(super) const PUSHED_LIFETIME: u64 = 600;
const REFRESH_LIFETIME: u64 = 8 * 3600;
const MAX_ENTRIES: usize = 1000;

/// One sign-in of one user; what its tokens stand for.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) user: &'static User,
    pub(super) sid: String,
    pub(super) auth_time: u64,
    pub(super) scope: String,
    pub(super) strong: bool,
}

/// What a code is bound to.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) session: Session,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
}

#[derive(Default)]
pub(super) struct Grants {
    codes: Expiring<Code>,
    redeemed: Expiring<String>,
    access: Expiring<Session>,
    refresh: Expiring<Session>,
    pushed: Expiring<Vec<(String, String)>>,
}

impl Grants {
    pub(super) fn add_code(&mut self, code: &str, grant: Code, now: u64) {
        self.codes.insert(code, grant, now, CODE_LIFETIME);
    }

    /// Redeems a code, once, if `accept` finds that it belongs to the request.
    /// A wrong request leaves it as it is; a second right one, or any later one,
    /// ends what the first was given (RFC 6749 §4.1.2).
    pub(super) fn redeem(
        &mut self,
        code: &str,
        now: u64,
        accept: impl FnOnce(&Code) -> bool,
    ) -> Option<Code> {
        if let Some(sid) = self.redeemed.find(code, now).cloned() {
            self.end(&sid);
            return None;
        }
        if !accept(self.codes.find(code, now)?) {
            return None;
        }
        let grant = self.codes.remove(code)?;
        let sid = grant.session.sid.clone();
        self.redeemed.insert(code, sid, now, REFRESH_LIFETIME);
        Some(grant)
    }

    pub(super) fn add_access(&mut self, token: &str, session: Session, now: u64) {
        self.access.insert(token, session, now, TOKEN_LIFETIME);
    }

    pub(super) fn access(&self, token: &str, now: u64) -> Option<&Session> {
        self.access.find(token, now)
    }

    pub(super) fn add_refresh(&mut self, token: &str, session: Session, now: u64) {
        self.refresh.insert(token, session, now, REFRESH_LIFETIME);
    }

    pub(super) fn refresh(&self, token: &str, now: u64) -> Option<&Session> {
        self.refresh.find(token, now)
    }

    /// Takes a refresh or an access token back (RFC 7009 §2.1).
    pub(super) fn revoke(&mut self, token: &str) {
        if let Some(session) = self.refresh.remove(token) {
            self.end(&session.sid);
        }
        self.access.remove(token);
    }

    /// Keeps a request until its user's browser comes (RFC 9126).
    pub(super) fn push(&mut self, reference: &str, params: Vec<(String, String)>, now: u64) {
        self.pushed.insert(reference, params, now, PUSHED_LIFETIME);
    }

    /// The request of this reference, as often as its page is loaded again (RFC 9126
    /// §4 leaves that to us).
    pub(super) fn pushed(&self, reference: &str, now: u64) -> Option<Vec<(String, String)>> {
        self.pushed.find(reference, now).cloned()
    }

    /// Ends all sessions of a user.
    pub(super) fn end_user(&mut self, sub: &str) {
        self.codes.retain(|code| code.session.user.sub != sub);
        self.access.retain(|session| session.user.sub != sub);
        self.refresh.retain(|session| session.user.sub != sub);
    }

    /// Ends a session: its tokens are dead at once.
    pub(super) fn end(&mut self, sid: &str) {
        self.codes.retain(|code| code.session.sid != sid);
        self.access.retain(|session| session.sid != sid);
        self.refresh.retain(|session| session.sid != sid);
    }
}

struct Expiring<T> {
    entries: HashMap<SecretDigest, (u64, T)>,
}

impl<T> Default for Expiring<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<T> Expiring<T> {
    fn insert(&mut self, text: &str, value: T, now: u64, lifetime: u64) {
        self.entries.retain(|_, (expires_at, _)| now < *expires_at);
        if self.entries.len() >= MAX_ENTRIES {
            let soonest = self.entries.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(key) = soonest.map(|(key, _)| *key) {
                self.entries.remove(&key);
            }
        }
        let entry = (now + lifetime, value);
        self.entries.insert(SecretDigest::of(text), entry);
    }

    fn find(&self, text: &str, now: u64) -> Option<&T> {
        let (expires_at, value) = self.entries.get(&SecretDigest::of(text))?;
        (now < *expires_at).then_some(value)
    }

    fn remove(&mut self, text: &str) -> Option<T> {
        let (_, value) = self.entries.remove(&SecretDigest::of(text))?;
        Some(value)
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_, (_, value)| keep(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_dead_at_its_expiry() {
        let mut entries = Expiring::default();
        entries.insert("a", 1, 100, 60);
        assert_eq!(entries.find("a", 159), Some(&1));
        assert_eq!(entries.find("a", 160), None);
    }

    #[test]
    fn the_entry_that_would_expire_first_makes_room() {
        let mut entries = Expiring::default();
        entries.insert("first", 0, 100, 60);
        for number in 0..MAX_ENTRIES {
            entries.insert(&number.to_string(), number, 101, 60);
        }
        assert_eq!(entries.entries.len(), MAX_ENTRIES);
        assert_eq!(entries.find("first", 101), None);
        assert_eq!(entries.find("0", 101), Some(&0));
    }
}
