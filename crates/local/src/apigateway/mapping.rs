//! The parameter mapping of HTTP integrations: what a service gets to see.
//!
//! Invariant 6: no identity a client claims for itself reaches a service. It is
//! overwritten on authorized routes and removed on public ones (D39), and the opaque
//! token and the session cookie stay outside.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Flavour, authorizer::Authorized};

/// Where the JWT travels behind an HTTP API, which cannot map into `Authorization`
/// (specs B-http-6).
pub const JWT_HEADER: HeaderName = HeaderName::from_static("x-cloakroom-jwt");

/// Names under which services elsewhere expect an identity that a gateway vouches for.
const IDENTITY: [&str; 4] = ["x-amzn-oidc-", "x-cloakroom-", "x-internal-", "x-user-"];

/// Headers of one connection (RFC 9110 §7.6.1), and those that the next one sets.
const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The mapping names a context value that cannot be a header value.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a context value cannot be a header value")]
pub(super) struct UnmappableContext;

/// The request headers as a service receives them.
pub(super) fn request_headers(
    flavour: Flavour,
    received: &HeaderMap,
    authorized: Option<&Authorized>,
) -> Result<HeaderMap, UnmappableContext> {
    let mut headers = without_connection(received);
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::COOKIE);
    let claimed: Vec<_> = headers
        .keys()
        .filter(|name| claims_identity(name))
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
    let (key, name) = match flavour {
        Flavour::Rest => ("authorization", header::AUTHORIZATION),
        Flavour::Http => ("jwt", JWT_HEADER),
    };
    let mapped = authorized.and_then(|authorized| authorized.context.get(key)?.as_str());
    if let Some(mapped) = mapped {
        let mut value = HeaderValue::from_str(mapped).map_err(|_| UnmappableContext)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Many servers read `_` and `-` in a header's name as the same.
pub(super) fn claims_identity(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    IDENTITY.iter().any(|prefix| name.starts_with(prefix))
}

/// Without what belongs to one connection alone, `Connection`'s own list among it.
pub(super) fn without_connection(headers: &HeaderMap) -> HeaderMap {
    let listed: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = headers.clone();
    for name in OF_THE_CONNECTION {
        kept.remove(name);
    }
    for name in listed {
        kept.remove(name.as_str());
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received() -> HeaderMap {
        let pairs = [
            ("authorization", "Bearer forged"),
            ("authorization", "Bearer forged twice"),
            ("cookie", "__Host-Http-cloakroom=x"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("host", "localhost"),
            ("x-cloakroom-jwt", "forged"),
            ("x-cloakroom-token", "forged"),
            ("x-user-id", "root"),
            ("x_user_id", "root"),
            ("x-cloakroom_jwt", "forged"),
            ("x-amzn-oidc-data", "forged"),
            ("x-internal-token", "forged"),
            ("traceparent", "00-1-2-01"),
            ("accept", "*/*"),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn seen(flavour: Flavour, context: Option<serde_json::Value>) -> Vec<String> {
        let authorized = context.map(|context| Authorized {
            principal_id: None,
            context: context.as_object().unwrap().clone(),
        });
        let headers = request_headers(flavour, &received(), authorized.as_ref()).unwrap();
        let mut seen: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        seen.sort();
        seen
    }

    #[test]
    fn the_jwt_overwrites_what_the_client_claimed() {
        let context = || Some(json!({"authorization": "Bearer j.w.t", "jwt": "j.w.t"}));
        assert_eq!(
            seen(Flavour::Rest, context()),
            [
                "accept: */*",
                "authorization: Bearer j.w.t",
                "traceparent: 00-1-2-01"
            ],
        );
        assert_eq!(
            seen(Flavour::Http, context()),
            [
                "accept: */*",
                "traceparent: 00-1-2-01",
                "x-cloakroom-jwt: j.w.t"
            ],
        );
    }

    #[test]
    fn without_a_jwt_no_identity_is_left() {
        for flavour in [Flavour::Rest, Flavour::Http] {
            for context in [
                None,
                Some(json!({})),
                Some(json!({"authorization": 1, "jwt": []})),
            ] {
                assert_eq!(
                    seen(flavour, context),
                    ["accept: */*", "traceparent: 00-1-2-01"]
                );
            }
        }
    }

    #[test]
    fn a_context_value_cannot_smuggle_a_header() {
        let context = json!({"authorization": "Bearer x\r\nx-user-id: root"});
        let authorized = Authorized {
            principal_id: None,
            context: context.as_object().unwrap().clone(),
        };
        assert!(request_headers(Flavour::Rest, &received(), Some(&authorized)).is_err());
    }
}
