//! Finding the one credential of a request.

use super::event::{AuthorizerEvent, EventKind};
use crate::cookies;
use crate::headers::Headers;
use cloakroom_domain::authorize::{Possession, Scheme};
use cloakroom_domain::config::Edge;

/// In an HTTP API the edge function moves the client's `Authorization` here.
pub(super) const RENAMED_HEADER: &str = "x-cloakroom-token";

/// The subprotocol that a WebSocket speaks when it brings a ticket: a server has to
/// choose one of those that the client offers, and must not choose the ticket.
pub const SUBPROTOCOL: &str = "cloakroom";

const SUBPROTOCOLS: &str = "sec-websocket-protocol";

/// What a request presents.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Credential<'a> {
    /// How.
    pub scheme: Scheme<'a>,
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
    /// Neither `Bearer` nor `DPoP`, or `Session` where there is no edge function (D26,
    /// D30).
    Scheme,
    /// `DPoP` without a proof, as always where the event holds one header alone, or with
    /// more than one (RFC 9449 §4.3).
    Proof,
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
            Self::Proof => "no_single_proof",
            Self::Bypass => "edge_bypass",
        }
    }
}

/// The one credential that the request presents.
///
/// # Errors
///
/// [`Missing`] if there is none, or not exactly one.
pub fn credential<'a>(
    event: &'a AuthorizerEvent<'_>,
    edge: Edge,
) -> Result<Credential<'a>, Missing> {
    match event.kind {
        EventKind::WebSocket => of_websocket(event),
        EventKind::AppSync => of_appsync(event),
        EventKind::RestToken
        | EventKind::RestRequest
        | EventKind::HttpV1
        | EventKind::HttpV2
        | EventKind::FunctionUrl
        | EventKind::LoadBalancer { .. } => of_request(event, edge),
    }
}

fn of_request<'a>(event: &'a AuthorizerEvent<'_>, edge: Edge) -> Result<Credential<'a>, Missing> {
    let headers = &event.headers;
    let one = |name| headers.one(name).map_err(|_| Missing::Ambiguous);
    let renamed = if event.kind.is_http_api() {
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
        (Some(value), None, edge) => from_header(event, value, edge),
    }
}

/// A WebSocket API has no cache, so the cookie may come to it in every topology, and
/// the edge function does not stand before it: `Session` is nobody's to say.
fn of_websocket<'a>(event: &'a AuthorizerEvent<'_>) -> Result<Credential<'a>, Missing> {
    let headers = &event.headers;
    let header = headers
        .one("authorization")
        .map_err(|_| Missing::Ambiguous)?;
    let cookie = cookies::value(headers, cookies::SESSION).map_err(|_| Missing::Ambiguous)?;
    match (header, cookie, ticket(headers)?) {
        (None, None, None) => Err(Missing::Nothing),
        (Some(value), None, None) => from_header(event, value, Edge::None),
        (None, Some(text), None) => Ok(Credential {
            scheme: Scheme::Session,
            text,
            from_cookie: true,
        }),
        (None, None, Some(text)) => Ok(Credential {
            scheme: Scheme::Ticket,
            text,
            from_cookie: false,
        }),
        _ => Err(Missing::Ambiguous),
    }
}

/// The ticket among the subprotocols. Any other token there is misplaced: what a client
/// offers is written down in more places than a credential should be.
fn ticket<'a>(headers: &'a Headers<'_>) -> Result<Option<&'a str>, Missing> {
    let mut tokens = subprotocols(headers).filter(|offered| offered.starts_with("cr_"));
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Missing::Ambiguous),
        // Without one that can be chosen, the browser would close the connection that
        // used up the ticket.
        (Some(token), None) if token.starts_with("cr_wt_") && offers_subprotocol(headers) => {
            Ok(Some(token))
        }
        (Some(_), None) => Err(Missing::Scheme),
    }
}

/// Whether a WebSocket offers our subprotocol, which has then to be chosen.
pub(super) fn offers_subprotocol(headers: &Headers<'_>) -> bool {
    subprotocols(headers).any(|offered| offered == SUBPROTOCOL)
}

fn subprotocols<'a>(headers: &'a Headers<'_>) -> impl Iterator<Item = &'a str> {
    headers
        .all(SUBPROTOCOLS)
        .flat_map(|line| line.split(','))
        .map(|offered| offered.trim_matches([' ', '\t']))
}

/// AppSync hands over the whole header. Its clients send the bare token: a scheme
/// would be taken for that of another of its modes.
fn of_appsync<'a>(event: &'a AuthorizerEvent<'_>) -> Result<Credential<'a>, Missing> {
    match event.headers.one("authorization") {
        Err(_) => Err(Missing::Ambiguous),
        Ok(None) => Err(Missing::Nothing),
        Ok(Some(value)) if value.contains(' ') => from_header(event, value, Edge::None),
        Ok(Some(text)) => Ok(Credential {
            scheme: Scheme::Bearer,
            text,
            from_cookie: false,
        }),
    }
}

/// Exactly one space (RFC 6750 §2.1); the scheme's case does not matter
/// (RFC 9110 §11.1), but only the edge function writes `Session`.
fn from_header<'a>(
    event: &'a AuthorizerEvent<'_>,
    value: &'a str,
    edge: Edge,
) -> Result<Credential<'a>, Missing> {
    let (scheme, text) = value.split_once(' ').ok_or(Missing::Scheme)?;
    let scheme = match edge {
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        // The URL of a WebSocket API is not ours, so a proof cannot be about it.
        _ if scheme.eq_ignore_ascii_case("dpop") && event.kind != EventKind::WebSocket => {
            let proof = event.headers.one("dpop").ok().flatten();
            Scheme::Dpop(Possession {
                proof: proof.ok_or(Missing::Proof)?,
                path: &event.path,
                reading: event.reading,
            })
        }
        Edge::Cloudfront if scheme == "Session" => Scheme::Session,
        Edge::Cloudfront | Edge::None => return Err(Missing::Scheme),
    };
    Ok(Credential {
        scheme,
        text,
        from_cookie: false,
    })
}
