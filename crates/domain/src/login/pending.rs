//! A login under way: nowhere but in the browser, sealed.

use super::native::ConfirmingBrowser;
use super::request::{Demands, NativeRequest};
use crate::claims::UserClaims;
use crate::ports::{Entropy, EntropyError};
use crate::seal::{RootKey, RootKeys, Sealed};
use crate::time::UnixTime;
use crate::token::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_jose::json;
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
const PUSHED: &[u8] = b"cloakroom/pushed-request/v1";

/// What must be remembered until the provider sends the browser back.
#[derive(Deserialize, Serialize)]
pub(super) struct PendingLogin {
    pub(super) idp: String,
    pub(super) verifier: Zeroizing<String>,
    pub(super) nonce: Zeroizing<String>,
    pub(super) created_at: UnixTime,
    pub(super) max_age: Option<u64>,
    pub(super) acr_values: Option<String>,
    /// Whether a fresh sign-in was asked for.
    #[serde(default)]
    pub(super) prompt_login: bool,
    /// The session that the new one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) old_session: Option<Zeroizing<String>>,
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
    /// The question was put to this browser and to no other.
    pub(super) asked_in: AskedIn,
    pub(super) started_at: UnixTime,
    pub(super) created_at: UnixTime,
    pub(super) user: UserClaims,
    pub(super) request: NativeRequest,
}

/// By which of its cookies a browser is known again.
#[derive(Deserialize, Serialize)]
pub(super) enum AskedIn {
    /// That of the login with this state, which it has just been through.
    Login(String),
    /// That of its session, which it had before; a digest.
    Session(String),
}

/// What a client has pushed (RFC 9126).
#[derive(Deserialize, Serialize)]
pub(super) struct PushedRequest {
    pub(super) created_at: UnixTime,
    pub(super) request: NativeRequest,
    pub(super) demands: Demands,
}

impl PushedRequest {
    /// The secret half of the request URI.
    pub(super) fn seal(
        &self,
        root: &RootKey,
        entropy: &impl Entropy,
    ) -> Result<Zeroizing<String>, EntropyError> {
        seal(root, self, PUSHED, entropy)
    }

    /// Opens it, however old it is.
    pub(super) fn open(roots: &RootKeys, sealed: &str) -> Option<Self> {
        open(roots, sealed, PUSHED)
    }
}

impl AskedIn {
    /// The browser that has this session.
    pub(super) fn session(text: &str) -> Self {
        Self::Session(state_of(text))
    }

    /// The state of the login, if it was one.
    pub(super) fn login(&self) -> Option<&str> {
        match self {
            Self::Login(state) => Some(state),
            Self::Session(_) => None,
        }
    }

    fn is(&self, browser: &ConfirmingBrowser<'_>) -> bool {
        match self {
            Self::Login(state) => browser
                .logins
                .iter()
                .any(|cookie| is_state_of(state, cookie)),
            Self::Session(digest) => browser
                .session
                .is_some_and(|cookie| is_state_of(digest, cookie)),
        }
    }
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

    /// Opens the hidden field in the browser that was asked.
    pub(super) fn open(
        roots: &RootKeys,
        ticket: &str,
        browser: &ConfirmingBrowser<'_>,
        now: UnixTime,
    ) -> Option<Self> {
        open::<Self>(roots, ticket, CONFIRMATION).filter(|confirmation| {
            !confirmation.created_at.plus(LOGIN_SECONDS).has_passed(now)
                && confirmation.asked_in.is(browser)
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
    json::from_slice(&plain).ok()
}
