//! The parameter mapping of HTTP integrations: what a service gets to see.
//!
//! Invariant 6: no identity a client claims for itself reaches a service. It is
//! overwritten on authorized routes and removed on public ones (D39), and the opaque
//! token and the session cookie stay outside. As exactly as the templates do it: a
//! mapping knows names and no families of them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Flavour, authorizer::Authorized};

/// Where the JWT travels behind an HTTP API, which cannot map into `Authorization`
/// (specs B-http-6).
pub const JWT_HEADER: HeaderName = HeaderName::from_static("x-cloakroom-jwt");

/// What the templates map: a name a line, and `rest` if an HTTP API cannot.
const MAPPED: &str = include_str!("../../../../infra/headers.txt");

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
    // Whether a blanked header arrives empty or not at all is undocumented; here, not.
    for name in mapped(flavour) {
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

/// The headers that a mapping of this kind of API takes off.
fn mapped(flavour: Flavour) -> impl Iterator<Item = &'static str> {
    let names = MAPPED.lines().filter(|line| !line.starts_with('#'));
    names.filter_map(move |line| match line.split_once(' ') {
        None => Some(line),
        Some((name, _)) => (flavour == Flavour::Rest).then_some(name),
    })
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
            ("x_cloakroom_jwt", "forged"),
            ("x-internal-token", "forged"),
            ("x-origin-verify", "secret"),
            ("x-user-agent", "kept"),
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
                "traceparent: 00-1-2-01",
                "x-user-agent: kept",
            ],
        );
        assert_eq!(
            seen(Flavour::Http, context()),
            [
                "accept: */*",
                "authorization: Bearer forged",
                "authorization: Bearer forged twice",
                "traceparent: 00-1-2-01",
                "x-cloakroom-jwt: j.w.t",
                "x-user-agent: kept",
            ],
            "an HTTP API cannot map Authorization: the edge renames it",
        );
    }

    #[test]
    fn without_a_jwt_no_identity_is_left() {
        let kept = [
            "accept: */*",
            "traceparent: 00-1-2-01",
            "x-user-agent: kept",
        ];
        for flavour in [Flavour::Rest, Flavour::Http] {
            for context in [
                None,
                Some(json!({})),
                Some(json!({"authorization": 1, "jwt": []})),
            ] {
                let mut seen = seen(flavour, context);
                if flavour == Flavour::Http {
                    seen.retain(|line| !line.starts_with("authorization: "));
                }
                assert_eq!(seen, kept);
            }
        }
    }

    #[test]
    fn what_aws_has_reserved_only_a_rest_api_takes_off() {
        for name in ["authorization", "x-amzn-oidc-data"] {
            assert!(mapped(Flavour::Rest).any(|each| each == name));
            assert!(mapped(Flavour::Http).all(|each| each != name));
        }
        for flavour in [Flavour::Rest, Flavour::Http] {
            assert!(mapped(flavour).all(|name| name.parse::<HeaderName>().is_ok()));
            assert!(mapped(flavour).any(|name| name == "cookie"));
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
