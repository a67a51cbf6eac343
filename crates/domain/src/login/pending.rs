//! A login under way: nowhere but in the browser, sealed.

use super::native::NativeRequest;
use crate::claims::UserClaims;
use crate::ports::{Entropy, EntropyError};
use crate::seal::{RootKey, RootKeys, Sealed};
use crate::time::UnixTime;
use crate::token::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How long a user may take to sign in.
pub const LOGIN_SECONDS: u64 = 600;

/// How much of the state names the login's cookie.
pub const COOKIE_SUFFIX_LEN: usize = 12;

const PENDING: &[u8] = b"cloakroom/pending-login/v1";
const CONFIRMATION: &[u8] = b"cloakroom/confirmation/v1";

/// What must be remembered until the provider sends the browser back.
#[derive(Deserialize, Serialize)]
pub(super) struct PendingLogin {
    pub(super) idp: String,
    pub(super) verifier: Zeroizing<String>,
    pub(super) nonce: Zeroizing<String>,
    pub(super) created_at: UnixTime,
    pub(super) max_age: Option<u64>,
    pub(super) acr_values: Option<String>,
    pub(super) purpose: Purpose,
}

/// What the user signs in for.
#[derive(Deserialize, Serialize)]
pub(super) enum Purpose {
    /// A browser session.
    Browser { return_to: String },
    /// A native client's code.
    Native(NativeRequest),
}

/// What must be remembered until the user has said yes to a public client.
#[derive(Deserialize, Serialize)]
pub(super) struct Confirmation {
    /// The state of the login, whose cookie must come along: the question was put
    /// to this browser and to no other.
    pub(super) state: String,
    pub(super) started_at: UnixTime,
    pub(super) created_at: UnixTime,
    pub(super) user: UserClaims,
    pub(super) request: NativeRequest,
}

impl PendingLogin {
    /// The value of the login cookie.
    pub(super) fn seal(
        &self,
        root: &RootKey,
        entropy: &impl Entropy,
    ) -> Result<Zeroizing<String>, EntropyError> {
        seal(root, self, PENDING, entropy)
    }

    /// Opens the cookie if `state` is its digest and it is not too old.
    pub(super) fn open(roots: &RootKeys, cookie: &str, state: &str, now: UnixTime) -> Option<Self> {
        if !is_state_of(state, cookie) {
            return None;
        }
        open::<Self>(roots, cookie, PENDING)
            .filter(|pending| !pending.created_at.plus(LOGIN_SECONDS).has_passed(now))
    }
}

impl Confirmation {
    /// The hidden field.
    pub(super) fn seal(
        &self,
        root: &RootKey,
        entropy: &impl Entropy,
    ) -> Result<Zeroizing<String>, EntropyError> {
        seal(root, self, CONFIRMATION, entropy)
    }

    /// Opens the hidden field if one of `cookies` is that of its login.
    pub(super) fn open(
        roots: &RootKeys,
        ticket: &str,
        cookies: &[&str],
        now: UnixTime,
    ) -> Option<Self> {
        open::<Self>(roots, ticket, CONFIRMATION).filter(|confirmation| {
            !confirmation.created_at.plus(LOGIN_SECONDS).has_passed(now)
                && cookies
                    .iter()
                    .any(|cookie| is_state_of(&confirmation.state, cookie))
        })
    }
}

/// The `state` that belongs to a cookie: its digest, so that neither is any use
/// without the other (D2).
pub(super) fn state_of(cookie: &str) -> String {
    BASE64URL.encode(sha256(cookie.as_bytes()))
}

fn is_state_of(state: &str, cookie: &str) -> bool {
    state_of(cookie).as_bytes().ct_eq(state.as_bytes()).into()
}

/// The end of the name of the cookie that belongs to `state`, if it is one.
pub fn cookie_suffix(state: &str) -> Option<&str> {
    let is_digest = state.len() == 43
        && state
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    state.get(..COOKIE_SUFFIX_LEN).filter(|_| is_digest)
}

fn seal(
    root: &RootKey,
    value: &impl Serialize,
    aad: &[u8],
    entropy: &impl Entropy,
) -> Result<Zeroizing<String>, EntropyError> {
    let plain = Zeroizing::new(serde_json::to_vec(value).map_err(|_| EntropyError)?);
    let sealed = root
        .pending_login_key()
        .seal_with_aad(&plain, aad, entropy)?;
    Ok(Zeroizing::new(BASE64URL.encode(sealed.as_bytes())))
}

/// Any of our roots may have sealed it: the current one may have changed since.
fn open<T: DeserializeOwned>(roots: &RootKeys, text: &str, aad: &[u8]) -> Option<T> {
    let sealed = Sealed::from_bytes(BASE64URL.decode(text).ok()?);
    let plain = roots
        .iter()
        .find_map(|root| root.pending_login_key().open_with_aad(&sealed, aad).ok())?;
    serde_json::from_slice(&plain).ok()
}
