//! Finding the one credential of a request.

use super::event::EventKind;
use crate::cookies;
use crate::headers::Headers;
use cloakroom_domain::authorize::Scheme;
use cloakroom_domain::config::Edge;

/// In an HTTP API the edge function moves the client's `Authorization` here.
pub(super) const RENAMED_HEADER: &str = "x-cloakroom-token";

/// What a request presents.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Credential<'a> {
    /// How.
    pub scheme: Scheme,
    /// The token text. Its shape was not looked at.
    pub text: &'a str,
    /// Whether a browser added it by itself, so that CSRF must be ruled out here.
    pub from_cookie: bool,
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential([redacted])")
    }
}

/// Why a request presents nothing that we take; for logs alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// Neither header nor cookie.
    Nothing,
    /// More than one credential: whichever we took would be a guess (D19, D27).
    Ambiguous,
    /// Not `Bearer`, or `Session` where there is no edge function (D26, D30).
    Scheme,
    /// A cookie that did not come through the edge function, though there is one.
    Bypass,
}

impl Missing {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no_credential",
            Self::Ambiguous => "ambiguous",
            Self::Scheme => "scheme",
            Self::Bypass => "edge_bypass",
        }
    }
}

/// The one credential that the request presents.
///
/// # Errors
///
/// [`Missing`] if there is none, or not exactly one.
pub fn credential(
    kind: EventKind,
    headers: &Headers,
    edge: Edge,
) -> Result<Credential<'_>, Missing> {
    let one = |name| headers.one(name).map_err(|_| Missing::Ambiguous);
    let renamed = if kind.is_http_api() {
        one(RENAMED_HEADER)?
    } else {
        None
    };
    let header = match (renamed, one("authorization")?) {
        (Some(_), Some(_)) => return Err(Missing::Ambiguous),
        (renamed, plain) => renamed.or(plain),
    };
    let cookie = cookies::value(headers, cookies::SESSION).map_err(|_| Missing::Ambiguous)?;
    match (header, cookie, edge) {
        (None, None, _) => Err(Missing::Nothing),
        (Some(_), Some(_), _) => Err(Missing::Ambiguous),
        (None, Some(_), Edge::Cloudfront) => Err(Missing::Bypass),
        (None, Some(text), Edge::None) => Ok(Credential {
            scheme: Scheme::Session,
            text,
            from_cookie: true,
        }),
        (Some(value), None, edge) => from_header(value, edge),
    }
}

/// Exactly one space (RFC 6750 §2.1); the scheme's case does not matter
/// (RFC 9110 §11.1), but only the edge function writes `Session`.
fn from_header(value: &str, edge: Edge) -> Result<Credential<'_>, Missing> {
    let (scheme, text) = value.split_once(' ').ok_or(Missing::Scheme)?;
    let scheme = match edge {
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        Edge::Cloudfront if scheme == "Session" => Scheme::Session,
        Edge::Cloudfront | Edge::None => return Err(Missing::Scheme),
    };
    Ok(Credential {
        scheme,
        text,
        from_cookie: false,
    })
}
