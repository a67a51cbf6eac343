//! Pages of other origins (Fetch standard, CORS), as the templates have it: only those of
//! the allowed origins, only under `/api`, and never with credentials, so that the
//! session's cookie is of no use to them. They bring a token of their own.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

const METHODS: &str = "GET,HEAD,POST,PUT,PATCH,DELETE";
const HEADERS: &str = "Authorization,Content-Type,DPoP";
/// What scripts may read besides the body.
const EXPOSED: &str = "WWW-Authenticate,Retry-After";
/// In seconds.
const MAX_AGE: &str = "600";

/// The origin of the page that asks, if it is an allowed one.
pub(super) fn allowed(origins: &[String], path: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (all.next(), all.next()) else {
        return None;
    };
    let known = origins.iter().any(|each| each.as_bytes() == origin);
    (known && path.starts_with("/api/")).then(|| origin.clone())
}

/// Whether a browser asks before it sends the request itself.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight.
pub(super) fn preflight(origin: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    say(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    say(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    say(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    share(response.headers_mut(), origin);
    response
}

/// Lets the page read an answer.
pub(super) fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
