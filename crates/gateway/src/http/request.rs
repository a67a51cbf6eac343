//! A request to one of our endpoints.

use super::BadRequest;
use super::params::Params;
use crate::cookies::{self, DuplicateCookie};
use crate::headers::Headers;
use cloakroom_domain::dpop::ProofFault;
use http::Method;
use std::fmt;

/// What a client asked, in the gateway's own words: nothing here comes from `Host` or
/// `X-Forwarded-*` (D7).
pub struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Headers<'static>,
    pub(super) query: Result<Params, BadRequest>,
    pub(super) body: Result<Vec<u8>, BadRequest>,
    /// The gateway's.
    pub(super) id: String,
}

impl Request {
    /// The largest form that is read (D53).
    const MAX_FORM: usize = 16 * 1024;

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, without the stage.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// All headers.
    pub fn headers(&self) -> &Headers<'static> {
        &self.headers
    }

    /// The value of a header that may occur once.
    ///
    /// # Errors
    ///
    /// When it occurs more often.
    pub fn header(&self, name: &str) -> Result<Option<&str>, BadRequest> {
        self.headers
            .one(name)
            .map_err(|_| BadRequest("a header occurs more than once"))
    }

    /// The proof of possession, if one came (RFC 9449 §4.1).
    ///
    /// # Errors
    ///
    /// When several came.
    pub fn proof(&self) -> Result<Option<&str>, ProofFault> {
        self.headers.one("dpop").map_err(|_| ProofFault::Several)
    }

    /// The query.
    ///
    /// # Errors
    ///
    /// When it is malformed, or a parameter occurs twice.
    pub fn query(&self) -> Result<&Params, BadRequest> {
        self.query.as_ref().map_err(|fault| *fault)
    }

    /// Refuses a query at an endpoint that takes its parameters in the body: what is
    /// in a URL ends up in logs (RFC 6749 §2.3.1).
    ///
    /// # Errors
    ///
    /// When there is one.
    pub fn refuse_query(&self) -> Result<(), BadRequest> {
        if self.query()?.is_empty() {
            Ok(())
        } else {
            Err(BadRequest("parameters belong into the body"))
        }
    }

    /// The form in the body (RFC 6749 Appendix B).
    ///
    /// # Errors
    ///
    /// When the body is anything else, malformed, too large, or a parameter occurs
    /// twice.
    pub fn form(&self) -> Result<Params, BadRequest> {
        if !self.header("content-type")?.is_some_and(is_form) {
            return Err(BadRequest(
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        let body = self.body.as_ref().map_err(|fault| *fault)?;
        if body.len() > Self::MAX_FORM {
            return Err(BadRequest("the body is too large"));
        }
        Params::parse(body)
    }

    /// The value of a cookie.
    ///
    /// # Errors
    ///
    /// When there are two of this name.
    pub fn cookie(&self, name: &str) -> Result<Option<&str>, DuplicateCookie> {
        cookies::value(&self.headers, name)
    }

    /// The gateway's id of this request.
    pub fn request_id(&self) -> &str {
        &self.id
    }

    /// Whether a person is likely to look at the answer.
    pub fn prefers_html(&self) -> bool {
        let html = self.wish("text/html");
        html > 0.0 && html >= self.wish("application/json")
    }

    /// How much the client wishes for a media type that it names; what a wildcard
    /// would admit is 0 (RFC 9110 §12.5.1).
    pub fn wish(&self, media_type: &str) -> f32 {
        self.headers
            .all("accept")
            .flat_map(|line| line.split(','))
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let named = parts.next()?.eq_ignore_ascii_case(media_type);
                let q = parts.find_map(|part| part.strip_prefix("q="));
                named.then(|| q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            })
            .fold(0.0_f32, f32::max)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request([redacted])")
    }
}

fn is_form(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && parts.all(|parameter| {
            // Another charset would make other text of the same bytes.
            parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}
