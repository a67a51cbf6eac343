//! The back channel: the token endpoint and userinfo.

use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    ACR, DemoIdp, STRONG_ACR, SecretDigest, grants, grants::Session, params::Params, random_text,
};

/// RFC 6749 §5.2, one answer per fault and none with a reason to probe for.
#[derive(Clone, Copy)]
enum Fault {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnsupportedGrantType,
    Server,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::InvalidGrant => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Server => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let mut response = (
            status,
            [(header::CACHE_CONTROL, "no-store")],
            Json(json!({ "error": error })),
        )
            .into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Basic realm=\"token\", charset=\"UTF-8\""),
            );
        }
        response
    }
}

pub(super) async fn token(
    State(idp): State<Arc<DemoIdp>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match idp.answer_token_request(&headers, &body) {
        Ok(tokens) => ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response(),
        Err(fault) => fault.into_response(),
    }
}

/// RFC 9126 §2.
pub(super) async fn push(
    State(idp): State<Arc<DemoIdp>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match idp.take_request(&headers, &body) {
        Ok(pushed) => (
            StatusCode::CREATED,
            [(header::CACHE_CONTROL, "no-store")],
            Json(pushed),
        )
            .into_response(),
        Err(fault) => fault.into_response(),
    }
}

/// RFC 7009 §2: a token that is not known is as good as revoked.
pub(super) async fn revoke(
    State(idp): State<Arc<DemoIdp>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = match idp.authenticated_form(&headers, &body) {
        Ok(params) => params,
        Err(fault) => return fault.into_response(),
    };
    match params.text("token") {
        Some(token) => {
            idp.grants().revoke(token);
            StatusCode::OK.into_response()
        }
        None => Fault::InvalidRequest.into_response(),
    }
}

impl DemoIdp {
    fn take_request(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
        let params = self.authenticated_form(headers, body)?;
        // §2.1: no reference inside; and whom it is from is told by who has proven it.
        if params.text("request_uri").is_some() || !params.is("client_id", &self.client_id) {
            return Err(Fault::InvalidRequest);
        }
        self.read_request(&params)
            .map_err(|_| Fault::InvalidRequest)?;
        let reference = random_text().map_err(|_| Fault::Server)?;
        let reference = format!("urn:ietf:params:oauth:request_uri:{reference}");
        let mut pairs = params.into_pairs();
        pairs.retain(|(name, _)| name != "client_secret");
        self.grants().push(&reference, pairs, self.now());
        Ok(json!({ "request_uri": reference, "expires_in": grants::PUSHED_LIFETIME }))
    }

    fn authenticated_form(&self, headers: &HeaderMap, body: &[u8]) -> Result<Params, Fault> {
        let is_form = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| {
                kind.trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if !is_form {
            return Err(Fault::InvalidRequest);
        }
        let params = Params::parse(body).map_err(|_| Fault::InvalidRequest)?;
        self.authenticate(headers, &params)?;
        Ok(params)
    }

    fn answer_token_request(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
        let params = self.authenticated_form(headers, body)?;
        match params.text("grant_type") {
            Some("authorization_code") => self.redeem(&params),
            Some("refresh_token") => self.refresh(&params),
            Some(_) => Err(Fault::UnsupportedGrantType),
            None => Err(Fault::InvalidRequest),
        }
    }

    /// By exactly one of `client_secret_basic` and `client_secret_post`
    /// (RFC 6749 §2.3).
    fn authenticate(&self, headers: &HeaderMap, params: &Params) -> Result<(), Fault> {
        let (id, secret) = match (
            headers.get(header::AUTHORIZATION),
            params.text("client_secret"),
        ) {
            (Some(_), Some(_)) => return Err(Fault::InvalidRequest),
            (Some(value), None) => {
                let (id, secret) = value
                    .to_str()
                    .ok()
                    .and_then(basic)
                    .ok_or(Fault::InvalidClient)?;
                if params.text("client_id").is_some_and(|named| named != id) {
                    return Err(Fault::InvalidRequest);
                }
                (id, secret)
            }
            (None, Some(secret)) => {
                let id = params.text("client_id").ok_or(Fault::InvalidClient)?;
                (id.to_owned(), secret.to_owned())
            }
            (None, None) => return Err(Fault::InvalidClient),
        };
        if id == self.client_id && self.client_secret.matches(&secret) {
            Ok(())
        } else {
            Err(Fault::InvalidClient)
        }
    }

    fn redeem(&self, params: &Params) -> Result<Value, Fault> {
        let code = params.text("code").ok_or(Fault::InvalidRequest)?;
        let verifier = params.text("code_verifier").ok_or(Fault::InvalidRequest)?;
        let redirect_uri = params.text("redirect_uri").ok_or(Fault::InvalidRequest)?;
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&SHA256, verifier.as_bytes()));
        let now = self.now();
        let grant = self
            .grants()
            .redeem(code, now, |grant| {
                is_verifier(verifier)
                    && grant.redirect_uri == redirect_uri
                    && SecretDigest::of(&grant.challenge).matches(&challenge)
            })
            .ok_or(Fault::InvalidGrant)?;
        let refresh_token = random_text().map_err(|_| Fault::Server)?;
        self.grants()
            .add_refresh(&refresh_token, grant.session.clone(), now);
        let mut tokens = self.issue(&grant.session, grant.nonce.as_deref(), now)?;
        if let Value::Object(tokens) = &mut tokens {
            tokens.insert("refresh_token".to_owned(), json!(refresh_token));
        }
        Ok(tokens)
    }

    /// The client is confidential, so its refresh token stays the same
    /// (RFC 9700 §4.14.2 asks rotation of public clients).
    fn refresh(&self, params: &Params) -> Result<Value, Fault> {
        let token = params.text("refresh_token").ok_or(Fault::InvalidRequest)?;
        let now = self.now();
        let session = self
            .grants()
            .refresh(token, now)
            .cloned()
            .ok_or(Fault::InvalidGrant)?;
        // OpenID Connect Core §12.2: the same `auth_time`, and no `nonce`.
        self.issue(&session, None, now)
    }

    fn issue(&self, session: &Session, nonce: Option<&str>, now: u64) -> Result<Value, Fault> {
        let access_token = random_text().map_err(|_| Fault::Server)?;
        let hash = digest::digest(&SHA256, access_token.as_bytes());
        let left_half = hash.as_ref().get(..16).ok_or(Fault::Server)?;
        let user = session.user;
        let mut claims = json!({
            "iss": self.issuer,
            "sub": user.sub,
            "aud": self.client_id,
            "exp": now + grants::TOKEN_LIFETIME,
            "iat": now,
            "auth_time": session.auth_time,
            "at_hash": URL_SAFE_NO_PAD.encode(left_half),
            "acr": if session.strong { STRONG_ACR } else { ACR },
            "amr": ["pwd"],
            "sid": session.sid,
            "name": user.name,
            "email": user.email,
            "email_verified": true,
            "roles": self.roles_of(user),
        });
        if let (Value::Object(claims), Some(nonce)) = (&mut claims, nonce) {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        let id_token = self.key.sign(&claims).map_err(|_| Fault::Server)?;
        self.grants()
            .add_access(&access_token, session.clone(), now);
        Ok(json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": grants::TOKEN_LIFETIME,
            "id_token": id_token,
            "scope": session.scope,
        }))
    }
}

/// OpenID Connect Core §5.3.
pub(super) async fn userinfo(State(idp): State<Arc<DemoIdp>>, headers: HeaderMap) -> Response {
    let Some(presented) = headers.get(header::AUTHORIZATION) else {
        // RFC 6750 §3.1: no error code for one who has not tried.
        return unauthorized("Bearer");
    };
    let user = presented
        .to_str()
        .ok()
        .and_then(|text| scheme(text, "bearer"))
        .and_then(|token| Some(idp.grants().access(token, idp.now())?.user));
    match user {
        Some(user) => (
            [(header::CACHE_CONTROL, "no-store")],
            Json(json!({
                "sub": user.sub,
                "name": user.name,
                "email": user.email,
                "email_verified": true,
                "roles": idp.roles_of(user),
            })),
        )
            .into_response(),
        None => unauthorized("Bearer error=\"invalid_token\""),
    }
}

fn unauthorized(challenge: &'static str) -> Response {
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, challenge)],
    )
        .into_response()
}

/// The credentials of an `Authorization` header with this scheme.
fn scheme<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (scheme, credentials) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case(name)
        .then(|| credentials.trim_start_matches(' '))
}

/// The id and the secret, which are form-encoded inside of Basic
/// (RFC 6749 §2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(scheme(header, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// RFC 7636 §4.1.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}
