//! Which route a request takes: literal before `{name}` before `{name+}`, then the
//! method before `ANY`. Paths are compared as received: what is percent-encoded is
//! no literal, so that no second spelling of a path finds a route.

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use http::{Method, header};
use percent_encoding::percent_decode_str;
use url::Url;

use super::{Flavour, authorizer::Authorizer};
use crate::function::Function;

/// One route of the API.
#[derive(Debug)]
pub struct Route {
    /// The method, or `None` for `ANY`.
    pub method: Option<Method>,
    /// The resource: `/api/orders`, `/orders/{id}`, `/auth/{proxy+}`.
    pub resource: String,
    /// Who decides. `None` is a public route.
    pub authorizer: Option<Arc<Authorizer>>,
    /// Who answers.
    pub integration: Integration,
}

/// Who answers a route.
#[derive(Clone, Debug)]
pub enum Integration {
    /// Lambda proxy: event in payload format 1.0 (REST) or 2.0 (HTTP).
    Function(Arc<dyn Function>),
    /// HTTP proxy to this URL; the request's path is appended.
    Url(Url),
    /// The same to a service in this process.
    Service(Router),
}

impl Integration {
    /// One document, whatever is asked: the example page, which only local mode has.
    /// Whoever serves such a page says the same: a page cannot forbid its own framing.
    pub fn document(media_type: &'static str, body: Bytes) -> Self {
        let headers = [
            (header::CONTENT_TYPE, media_type),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "same-origin"),
        ];
        Self::Service(Router::new().fallback(move || std::future::ready((headers, body.clone()))))
    }
}

/// A path that found its route.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub(super) route: &'a Route,
    /// Decoded.
    pub(super) path_parameters: Vec<(String, String)>,
}

impl Route {
    /// `GET /api/orders`, `ANY /auth/{proxy+}`.
    pub(super) fn key(&self) -> String {
        let method = self.method.as_ref().map_or("ANY", Method::as_str);
        format!("{method} {}", self.resource)
    }
}

/// The route for a request.
pub(super) fn find<'a>(
    routes: &'a [Route],
    flavour: Flavour,
    method: &str,
    path: &str,
) -> Option<Matched<'a>> {
    let takes = |route: &Route| {
        route
            .method
            .as_ref()
            .is_none_or(|own| own.as_str() == method)
    };
    let mut candidates: Vec<_> = routes
        .iter()
        .filter_map(|route| Some((route, captures(&route.resource, path)?)))
        // A REST API chooses the resource first, and then looks for the method on it.
        .filter(|(route, _)| flavour == Flavour::Rest || takes(route))
        .map(|(route, path_parameters)| Matched {
            route,
            path_parameters,
        })
        .collect();
    candidates
        .sort_by_key(|Matched { route, .. }| (ranks(&route.resource), route.method.is_none()));
    let best = ranks(&candidates.first()?.route.resource);
    candidates
        .into_iter()
        .take_while(|candidate| ranks(&candidate.route.resource) == best)
        .find(|candidate| takes(candidate.route))
}

/// Whether a resource is one that can be matched: `{name+}` only at the end.
pub(super) fn is_well_formed(resource: &str) -> bool {
    let Some(segments) = resource.strip_prefix('/') else {
        return false;
    };
    let count = segments.split('/').count();
    segments
        .split('/')
        .enumerate()
        .all(|(index, segment)| match Segment::of(segment) {
            Segment::Literal(text) => !text.contains(['{', '}', '+', '?', '#']),
            Segment::Variable(name) => is_name(name),
            Segment::Greedy(name) => is_name(name) && index + 1 == count,
        })
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

enum Segment<'a> {
    Literal(&'a str),
    Variable(&'a str),
    Greedy(&'a str),
}

impl<'a> Segment<'a> {
    fn of(text: &'a str) -> Self {
        match text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        {
            Some(inner) => match inner.strip_suffix('+') {
                Some(name) => Self::Greedy(name),
                None => Self::Variable(inner),
            },
            None => Self::Literal(text),
        }
    }
}

/// How specific a resource is, segment by segment; less is more.
fn ranks(resource: &str) -> Vec<u8> {
    let rank = |segment| match Segment::of(segment) {
        Segment::Literal(_) => 0,
        Segment::Variable(_) => 1,
        Segment::Greedy(_) => 2,
    };
    resource.split('/').map(rank).collect()
}

/// The path's parameters, if the resource matches.
fn captures(resource: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut captured = Vec::new();
    let mut capture = |name: &str, value: &str| {
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        captured.push((name.to_owned(), value));
    };
    let mut rest = Some(path.strip_prefix('/')?);
    for segment in resource.strip_prefix('/')?.split('/') {
        let text = rest?;
        let (head, tail) = match text.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        match Segment::of(segment) {
            Segment::Literal(literal) if literal == head => {}
            Segment::Variable(name) if !head.is_empty() => capture(name, head),
            Segment::Greedy(name) if !text.is_empty() => {
                capture(name, text);
                rest = None;
                break;
            }
            Segment::Literal(_) | Segment::Variable(_) | Segment::Greedy(_) => return None,
        }
        rest = tail;
    }
    rest.is_none().then_some(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(keys: &[&str]) -> Vec<Route> {
        let route = |key: &&str| {
            let (method, resource) = key.split_once(' ').unwrap();
            Route {
                method: (method != "ANY").then(|| method.parse().unwrap()),
                resource: resource.to_owned(),
                authorizer: None,
                integration: Integration::Service(Router::new()),
            }
        };
        keys.iter().map(route).collect()
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = routes(&[
            "ANY /{proxy+}",
            "GET /orders/{id}",
            "ANY /orders/mine",
            "GET /orders/mine",
            "POST /orders",
            "ANY /auth/{proxy+}",
        ]);
        let cases = [
            ("GET", "/orders/mine", Some("GET /orders/mine")),
            ("PUT", "/orders/mine", Some("ANY /orders/mine")),
            ("GET", "/orders/1", Some("GET /orders/{id}")),
            ("GET", "/orders/1/lines", Some("ANY /{proxy+}")),
            ("POST", "/orders", Some("POST /orders")),
            ("GET", "/auth/a/b", Some("ANY /auth/{proxy+}")),
            ("GET", "/auth/", Some("ANY /{proxy+}")),
            ("GET", "/%6frders/mine", Some("ANY /{proxy+}")),
            ("GET", "/", None),
            ("GET", "*", None),
            ("GET", "", None),
        ];
        for (method, path, expected) in cases {
            let found = find(&routes, Flavour::Http, method, path).map(|found| found.route.key());
            assert_eq!(found.as_deref(), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_rest_api_does_not_fall_back_to_another_resource_for_the_method() {
        let routes = routes(&["ANY /{proxy+}", "GET /orders/{id}"]);
        assert!(find(&routes, Flavour::Rest, "PUT", "/orders/1").is_none());
        assert!(find(&routes, Flavour::Http, "PUT", "/orders/1").is_some());
    }

    #[test]
    fn path_parameters_are_decoded_once() {
        let routes = routes(&["GET /orders/{id}", "ANY /auth/{proxy+}"]);
        for (path, name, value) in [
            ("/orders/a%2Fb", "id", "a/b"),
            ("/orders/%2525", "id", "%25"),
            ("/orders/%ff", "id", "\u{fffd}"),
            ("/auth/x/y", "proxy", "x/y"),
        ] {
            let found = find(&routes, Flavour::Rest, "GET", path).unwrap();
            assert_eq!(
                found.path_parameters,
                [(name.to_owned(), value.to_owned())],
                "{path}"
            );
        }
        assert!(find(&routes, Flavour::Rest, "GET", "/orders/").is_none());
    }

    #[test]
    fn resources_are_checked() {
        for good in ["/", "/api/orders", "/orders/{id}", "/auth/{proxy+}"] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in ["", "api", "/{proxy+}/x", "/{}", "/{+}", "/a{id}", "/a?b"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
