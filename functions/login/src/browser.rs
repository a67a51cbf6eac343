//! A browser's login: off to the provider, and back.

use crate::authorize::{again, presence};
use crate::{Handler, page};
use cloakroom_domain::login::{
    Callback, LOGIN_SECONDS, LoginError, LoginRequest, Presence, SignedIn, StartedLogin,
    cookie_suffix, local_path,
};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
};
use cloakroom_gateway::cookies::{self, SetCookie};
use cloakroom_gateway::http::{Params, Request, Response};

/// How many logins may be under way in one browser. More tabs than this are an
/// accident or an attack on the size of the Cookie header (D14).
const MAX_PENDING: usize = 5;

/// How long their cookies may be together: API Gateway takes 10,240 bytes of headers,
/// and one too many would lock the browser out until they run out.
const MAX_PENDING_LEN: usize = 6 * 1024;

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// `GET /auth/login`
    pub(crate) async fn login(&self, request: &Request) -> Response {
        if is_speculative(request) {
            self.line(request, "login", "not_a_navigation").emit();
            return page::not_a_navigation(request);
        }
        let malformed = || {
            self.line(request, "login", "refused").emit();
            page::shown(request, "The request is malformed.")
        };
        let Ok(query) = request.query() else {
            return malformed();
        };
        let Some(asked) = login_request(query) else {
            return malformed();
        };
        let old_session = match presence(request, query) {
            // Without the cookie the session that it replaces would live on (D4).
            Presence::Unseen if request.header("sec-fetch-site") == Ok(Some("cross-site")) => {
                self.line(request, "login", "second_look").emit();
                return page::second_look(&again("/auth/login", query));
            }
            Presence::Unseen | Presence::Absent => None,
            Presence::Cookie(cookie) => Some(cookie),
        };
        let asked = LoginRequest {
            old_session,
            ..asked
        };
        match self.service.start(&asked).await {
            Ok(started) => self.to_provider(request, &started),
            Err(LoginError::ChoiceNeeded) => self.choose(request, "/auth/login", query),
            Err(error) => {
                let return_to = local_path(asked.return_to.unwrap_or("/"));
                self.login_failed(request, error, return_to)
            }
        }
    }

    /// Asks which provider it shall be.
    pub(crate) fn choose(&self, request: &Request, path: &str, query: &Params) -> Response {
        self.line(request, "login", "choice_needed").emit();
        page::chooser(request, &self.config, path, query)
    }

    /// Sends the browser to the provider, with the login's cookie.
    pub(crate) fn to_provider(&self, request: &Request, started: &StartedLogin) -> Response {
        let suffix = cookie_suffix(&started.state).unwrap_or_default();
        let Ok(cookie) = SetCookie::login(suffix, &started.cookie, LOGIN_SECONDS) else {
            let error = LoginError::Refused("the request is too long");
            return self.login_failed(request, error, "/");
        };
        let mut response = Response::see_other(&started.location).cookie(&cookie);
        // Make room: cookies say nothing about their age, so any of them goes.
        let mut room = MAX_PENDING_LEN.saturating_sub(started.cookie.len());
        let mut kept = 1;
        for old in cookies::pending_logins(request.headers()) {
            let len = request
                .cookie(&cookies::login_name(old))
                .map_or(usize::MAX, |value| value.unwrap_or_default().len());
            if kept < MAX_PENDING && len <= room {
                room -= len;
                kept += 1;
            } else if let Ok(cleared) = SetCookie::clear_login(old) {
                response = response.cookie(&cleared);
            }
        }
        self.line(request, "login", "started").emit();
        response
    }

    /// `GET /auth/callback`, and `/auth/callback/<id>` of a provider with an address of
    /// its own.
    pub(crate) async fn callback(&self, request: &Request, at: Option<&str>) -> Response {
        let state = request
            .query()
            .ok()
            .and_then(|query| query.get("state"))
            .unwrap_or_default();
        let suffix = cookie_suffix(state);
        let callback = callback_parameters(request, state, at);
        let outcome = match &callback {
            Ok(callback) => self.service.callback(callback).await,
            Err(error) => Err(*error),
        };
        let response = match outcome {
            Ok(SignedIn::Browser {
                session,
                lifetime,
                return_to,
                subject_tag,
            }) => {
                self.line(request, "login", "signed_in")
                    .id("subject", &subject_tag)
                    .emit();
                match SetCookie::session(session.expose(), lifetime) {
                    // The Strict cookie is not sent when another site led here, so
                    // the landing page is one of our own that goes on by itself.
                    Ok(cookie) => page::landing(&return_to).cookie(&cookie),
                    Err(_) => {
                        page::login_failed(request, LoginError::Unavailable("cookie"), &return_to)
                    }
                }
            }
            Ok(SignedIn::Confirm {
                ticket,
                client,
                scope,
                user,
            }) => {
                self.line(request, "login", "confirmation_asked").emit();
                // The login's cookie stays: the answer must come from this browser.
                return page::confirmation(&ticket, &client, &scope, &user);
            }
            Ok(SignedIn::Answer(answer)) => {
                self.line(request, "login", "client_answered").emit();
                Response::see_other(&answer.location)
            }
            Err(error) => {
                let return_to = match &callback {
                    Ok(callback) => self.service.was_to_land(callback).await,
                    Err(_) => None,
                };
                let return_to = return_to.as_deref().unwrap_or("/");
                let response = self.login_failed(request, error, return_to);
                // If the code is not spent yet, a reload finds the login as it was.
                if matches!(error, LoginError::Unavailable(_)) {
                    return response;
                }
                response
            }
        };
        match suffix.map(SetCookie::clear_login) {
            Some(Ok(cleared)) => response.cookie(&cleared),
            _ => response,
        }
    }
}

/// What came back, and the cookie that belongs to it. A parameter twice, both
/// code and error, or neither: not an answer of a provider (RFC 6749 §4.1.2).
fn callback_parameters<'a>(
    request: &'a Request,
    state: &'a str,
    at: Option<&'a str>,
) -> Result<Callback<'a>, LoginError> {
    let query = request
        .query()
        .map_err(|_| LoginError::Refused("malformed query"))?;
    let suffix = cookie_suffix(state).ok_or(LoginError::NotPending)?;
    let cookie = request
        .cookie(&cookies::login_name(suffix))
        .ok()
        .flatten()
        .ok_or(LoginError::NotPending)?;
    let result = match (query.get("code"), query.get("error")) {
        (Some(code), None) => Ok(code),
        (None, Some(error)) => Err(error),
        _ => return Err(LoginError::Refused("neither code nor error")),
    };
    Ok(Callback {
        state,
        cookie,
        result,
        iss: query.get("iss"),
        at,
        old_session: request.cookie(cookies::SESSION).ok().flatten(),
    })
}

/// What is asked for. A number that is none, or a text without end, is not passed on.
fn login_request(query: &Params) -> Option<LoginRequest<'_>> {
    const MAX_TEXT: usize = 256;
    let max_age = match query.get("max_age") {
        Some(text) => Some(digits(text)?),
        None => None,
    };
    let texts = [query.get("acr_values"), query.get("login_hint")];
    if texts
        .into_iter()
        .flatten()
        .any(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control))
    {
        return None;
    }
    let some = |name| query.get(name).filter(|text: &&str| !text.is_empty());
    Some(LoginRequest {
        idp: some("idp"),
        return_to: query.get("return_to"),
        prompt_login: query.get("prompt") == Some("login"),
        max_age,
        acr_values: some("acr_values"),
        login_hint: some("login_hint"),
        old_session: None,
    })
}

/// `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    let all = text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// Loaded ahead, or by a page as a part of itself (a frame, an image, a script's
/// `fetch`): nobody has asked for this (D14). Programs that say nothing may go on.
pub(crate) fn is_speculative(request: &Request) -> bool {
    let says = |name, is: fn(&str) -> bool| {
        request
            .headers()
            .all(name)
            .any(|value| is(&value.to_ascii_lowercase()))
    };
    let ahead = |purpose: &str| purpose.contains("prefetch");
    says("sec-purpose", ahead)
        || says("purpose", ahead)
        || says("sec-fetch-dest", |dest| dest != "document")
}
