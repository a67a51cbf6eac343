//! The front channel: the authorization request, the sign-in form, the sign-out.
//!
//! There is no session cookie: every authorization request shows the form, so
//! `prompt=login` and `max_age` are met without a word.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use url::Url;

use super::{
    DemoIdp, SCOPES, STRONG_ACR,
    grants::{Code, Session},
    page,
    params::Params,
    random_text, users,
};

/// An authorization request that may be answered at its redirect URI.
pub(super) struct AuthorizationRequest {
    client_id: String,
    pub(super) redirect_uri: Url,
    /// As it was sent: what is compared, and what the form carries.
    redirect_text: String,
    scope: String,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
    acr_values: Option<String>,
}

impl AuthorizationRequest {
    /// The request as the form carries it; it is checked again when it returns.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("response_type", Some("code")),
            ("client_id", Some(self.client_id.as_str())),
            ("redirect_uri", Some(self.redirect_text.as_str())),
            ("scope", Some(self.scope.as_str())),
            ("state", self.state.as_deref()),
            ("nonce", self.nonce.as_deref()),
            ("code_challenge", Some(self.challenge.as_str())),
            ("code_challenge_method", Some("S256")),
            ("acr_values", self.acr_values.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Why a request is refused, and where that may be said.
pub(super) enum Refusal {
    /// The client or its redirect URI is not known, so nothing is sent anywhere
    /// (RFC 6749 §4.1.2.1).
    Page(&'static str),
    Redirect {
        to: Box<Url>,
        state: Option<String>,
        error: &'static str,
    },
}

pub(super) async fn authorize(
    State(idp): State<Arc<DemoIdp>>,
    RawQuery(query): RawQuery,
) -> Response {
    show_form(&idp, query.unwrap_or_default().as_bytes())
}

pub(super) async fn authorize_form(State(idp): State<Arc<DemoIdp>>, body: Bytes) -> Response {
    show_form(&idp, &body)
}

fn show_form(idp: &DemoIdp, encoded: &[u8]) -> Response {
    let Ok(params) = Params::parse(encoded) else {
        return refuse(idp, Refusal::Page("A parameter was sent twice."));
    };
    let params = match idp.dereferenced(params) {
        Ok(params) => params,
        Err(refusal) => return refuse(idp, refusal),
    };
    match idp.read_request(&params) {
        Ok(request) => page::sign_in(
            &request,
            params.text("login_hint").unwrap_or_default(),
            false,
        ),
        Err(refusal) => refuse(idp, refusal),
    }
}

pub(super) async fn login(
    State(idp): State<Arc<DemoIdp>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A form on another site must not sign anybody in. Programs send no Origin.
    if let Some(origin) = headers.get(header::ORIGIN)
        && origin.as_bytes() != idp.issuer.as_bytes()
    {
        return page::refusal(StatusCode::FORBIDDEN, "The form came from another site.");
    }
    let Ok(params) = Params::parse(&body) else {
        return refuse(&idp, Refusal::Page("A parameter was sent twice."));
    };
    let request = match idp.read_request(&params) {
        Ok(request) => request,
        Err(refusal) => return refuse(&idp, refusal),
    };
    let username = params.text("username").unwrap_or_default();
    let password = params.text("password").unwrap_or_default();
    let Some(user) = users::sign_in(username, password) else {
        return page::sign_in(&request, username, true);
    };
    let (Ok(code), Ok(sid)) = (random_text(), random_text()) else {
        let to = Box::new(request.redirect_uri);
        let state = request.state;
        let error = "server_error";
        return refuse(&idp, Refusal::Redirect { to, state, error });
    };
    let now = idp.now();
    let grant = Code {
        session: Session {
            user,
            sid,
            auth_time: now,
            scope: request.scope,
            strong: request
                .acr_values
                .is_some_and(|acr| acr.split(' ').next() == Some(STRONG_ACR)),
        },
        redirect_uri: request.redirect_text,
        challenge: request.challenge,
        nonce: request.nonce,
    };
    idp.grants().add_code(&code, grant, now);
    idp.answer(
        request.redirect_uri,
        ("code", &code),
        request.state.as_deref(),
    )
}

impl DemoIdp {
    /// What was pushed, if the browser carries a reference to it: that alone, whatever
    /// else it carries (RFC 9126 §4).
    fn dereferenced(&self, params: Params) -> Result<Params, Refusal> {
        let Some(reference) = params.text("request_uri") else {
            return Ok(params);
        };
        if !params.is("client_id", &self.client_id) {
            return Err(Refusal::Page("The client is not known here."));
        }
        let pushed = self.grants().pushed(reference, self.now());
        pushed.map(Params::of).ok_or(Refusal::Page(
            "This request is too old. Please start again.",
        ))
    }

    pub(super) fn read_request(&self, params: &Params) -> Result<AuthorizationRequest, Refusal> {
        if !params.is("client_id", &self.client_id) {
            return Err(Refusal::Page("The client is not known here."));
        }
        let redirect_text = params
            .text("redirect_uri")
            .filter(|uri| self.redirect_uris.iter().any(|known| known == uri))
            .ok_or(Refusal::Page("The redirect URI is not registered."))?;
        let redirect_uri = Url::parse(redirect_text)
            .map_err(|_| Refusal::Page("The redirect URI is not registered."))?;
        let state = params.text("state").map(str::to_owned);
        let refused = |error| {
            Err(Refusal::Redirect {
                to: Box::new(redirect_uri.clone()),
                state: state.clone(),
                error,
            })
        };

        // OpenID Connect Core §6: a provider without request objects says so.
        if params.text("request").is_some() {
            return refused("request_not_supported");
        }
        if params.text("request_uri").is_some() {
            return refused("request_uri_not_supported");
        }
        match params.text("response_type") {
            Some("code") => {}
            Some(_) => return refused("unsupported_response_type"),
            None => return refused("invalid_request"),
        }
        if params
            .text("response_mode")
            .is_some_and(|mode| mode != "query")
        {
            return refused("invalid_request");
        }
        let scope = granted(params.text("scope").unwrap_or_default());
        if !scope.split(' ').any(|scope| scope == "openid") {
            return refused("invalid_scope");
        }
        // A missing method means `plain` (RFC 7636 §4.3), which is not taken.
        let challenge = match params.text("code_challenge") {
            Some(challenge) if is_s256(challenge) && params.is("code_challenge_method", "S256") => {
                challenge.to_owned()
            }
            _ => return refused("invalid_request"),
        };
        if params
            .text("max_age")
            .is_some_and(|age| age.parse::<u32>().is_err())
        {
            return refused("invalid_request");
        }
        let prompts: Vec<&str> = params
            .text("prompt")
            .map(|prompt| prompt.split(' ').collect())
            .unwrap_or_default();
        if prompts == ["none"] {
            // Nobody is ever signed in already.
            return refused("login_required");
        }
        if !prompts
            .iter()
            .all(|prompt| matches!(*prompt, "login" | "consent" | "select_account"))
        {
            return refused("invalid_request");
        }
        Ok(AuthorizationRequest {
            client_id: self.client_id.clone(),
            redirect_text: redirect_text.to_owned(),
            scope,
            nonce: params.text("nonce").map(str::to_owned),
            challenge,
            acr_values: params.text("acr_values").map(str::to_owned),
            state,
            redirect_uri,
        })
    }

    /// Sends the browser back, with `iss` against mix-up (RFC 9207).
    fn answer(&self, mut to: Url, (name, value): (&str, &str), state: Option<&str>) -> Response {
        {
            let mut query = to.query_pairs_mut();
            query.append_pair(name, value);
            if let Some(state) = state {
                query.append_pair("state", state);
            }
            query.append_pair("iss", &self.issuer);
        }
        see_other(&to)
    }
}

pub(super) async fn logout(State(idp): State<Arc<DemoIdp>>, RawQuery(query): RawQuery) -> Response {
    end_session(&idp, query.unwrap_or_default().as_bytes()).await
}

pub(super) async fn logout_form(State(idp): State<Arc<DemoIdp>>, body: Bytes) -> Response {
    end_session(&idp, &body).await
}

/// OpenID Connect RP-Initiated Logout 1.0. The session is ended only for one who
/// holds its ID token; and a browser is sent on only to a registered address, for
/// a client that is named.
async fn end_session(idp: &DemoIdp, encoded: &[u8]) -> Response {
    let refused = |what| page::refusal(StatusCode::BAD_REQUEST, what);
    let Ok(params) = Params::parse(encoded) else {
        return refused("A parameter was sent twice.");
    };
    let named = match params.text("client_id") {
        Some(id) if id == idp.client_id => true,
        Some(_) => return refused("The client is not known here."),
        None => false,
    };
    let hint = match params
        .text("id_token_hint")
        .map(|token| idp.key.verify(token))
    {
        Some(Some(claims)) => Some(claims),
        Some(None) => return refused("The ID token is not one of ours."),
        None => None,
    };
    let to = match params.text("post_logout_redirect_uri") {
        Some(uri)
            if !idp
                .post_logout_redirect_uris
                .iter()
                .any(|known| known == uri) =>
        {
            return refused("The address to return to is not registered.");
        }
        Some(_) if !named && hint.is_none() => {
            return refused("It is not known which client asks for this.");
        }
        Some(uri) => Url::parse(uri).ok(),
        None => None,
    };
    if let Some(sid) = hint.as_ref().and_then(|claims| claims.get("sid")?.as_str()) {
        idp.grants().end(sid);
        // The client began this, and is told all the same: it may have sessions that it
        // has forgotten. That it does not listen is no reason to keep the browser.
        let _ = idp.tell(None, Some(sid)).await;
    }
    match to {
        Some(mut to) => {
            if let Some(state) = params.text("state") {
                to.query_pairs_mut().append_pair("state", state);
            }
            see_other(&to)
        }
        None => page::signed_out(),
    }
}

fn refuse(idp: &DemoIdp, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Page(what) => page::refusal(StatusCode::BAD_REQUEST, what),
        Refusal::Redirect { to, state, error } => {
            idp.answer(*to, ("error", error), state.as_deref())
        }
    }
}

/// A 303 turns the form's POST into a GET, so the password goes no further
/// (RFC 9700 §4.12).
fn see_other(to: &Url) -> Response {
    (
        StatusCode::SEE_OTHER,
        [
            (header::LOCATION, to.as_str()),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
        ],
    )
        .into_response()
}

/// Base64url of a SHA-256, the only challenge there can be (RFC 7636 §4.2).
fn is_s256(challenge: &str) -> bool {
    challenge.len() == 43
        && challenge
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn granted(asked: &str) -> String {
    let asked: Vec<&str> = asked.split(' ').collect();
    let granted: Vec<&str> = SCOPES
        .into_iter()
        .filter(|scope| asked.contains(scope))
        .collect();
    granted.join(" ")
}
