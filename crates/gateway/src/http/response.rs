//! Our answers. Whatever one of them forgets to say is said strictly.

use super::page::Page;
use crate::cookies::SetCookie;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, PRAGMA,
    REFERRER_POLICY, SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use std::fmt;

/// An answer under construction.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    /// Something could not be said; then nothing is.
    broken: bool,
}

impl Response {
    /// No body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: String::new(),
            broken: false,
        }
    }

    /// A document of a program's kind.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self::text(status, "application/json", body),
            Err(_) => Self::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// A body of any other kind.
    pub fn text(status: StatusCode, content_type: &'static str, body: String) -> Self {
        let mut response = Self::empty(status).header(CONTENT_TYPE, content_type);
        response.body = body;
        response
    }

    /// A page for people. It loads nothing, runs no script and cannot be framed
    /// (RFC 9700 §4.16).
    pub fn html(status: StatusCode, page: &Page<'_>) -> Self {
        Self::text(status, "text/html; charset=utf-8", page.to_html())
            .header(CONTENT_SECURITY_POLICY, &page.content_security_policy())
            .header(X_FRAME_OPTIONS, "DENY")
    }

    /// Sends the browser elsewhere by GET. Never 307, which would repeat a form with
    /// its secrets there (RFC 9700 §4.12).
    pub fn see_other(url: &str) -> Self {
        Self::empty(StatusCode::SEE_OTHER).header(LOCATION, url)
    }

    /// 405, with the methods that would do.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::empty(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, allow)
    }

    /// Sets a cookie, beside those that are set already.
    #[must_use]
    pub fn cookie(mut self, cookie: &SetCookie) -> Self {
        if let Some(value) = self.value(cookie.expose()) {
            self.headers.append(SET_COOKIE, value);
        }
        self
    }

    /// Sets a header. A value that cannot be one (a line break in a URL) makes the
    /// whole answer a 500: half of it would be worse.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Some(value) = self.value(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Tells which nonce the next proof of possession is to have (RFC 9449 §8.2).
    #[must_use]
    pub fn dpop_nonce(self, nonce: &str) -> Self {
        self.header(HeaderName::from_static("dpop-nonce"), nonce)
    }

    fn value(&mut self, text: &str) -> Option<HeaderValue> {
        let value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii());
        if value.is_none() {
            self.status = StatusCode::INTERNAL_SERVER_ERROR;
            self.broken = true;
        }
        value
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_parts(mut self) -> (StatusCode, HeaderMap, String) {
        if self.broken {
            self = Self::empty(self.status);
        }
        // A cache must not keep what was for one client (D70, RFC 6749 §5.1).
        if !self.headers.contains_key(CACHE_CONTROL) {
            self.say(CACHE_CONTROL, "no-store");
            self.say(PRAGMA, "no-cache");
        }
        // A REST API calls JSON what has no type. No JSON is empty (RFC 8259 §2), and clients
        // that parse it take a revocation for failed.
        if self.status != StatusCode::NOT_MODIFIED {
            self.say(CONTENT_TYPE, "text/plain; charset=utf-8");
        }
        self.say(X_CONTENT_TYPE_OPTIONS, "nosniff");
        // The callback's URL holds a code (RFC 9700 §4.2.4).
        self.say(REFERRER_POLICY, "no-referrer");
        self.say(STRICT_TRANSPORT_SECURITY, "max-age=31536000");
        (self.status, self.headers, self.body)
    }

    fn say(&mut self, name: HeaderName, value: &'static str) {
        self.headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, [redacted])", self.status.as_u16())
    }
}
