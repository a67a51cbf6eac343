//! The edge function, in Rust: what CloudFront does to a request before the API sees
//! it. Its twin in JavaScript is deployed; `infra/edge/vectors.json` holds both to
//! the same answers, so a change here is a vector there first.
//!
//! Pure: headers in, headers or a refusal out. It knows what a session token looks
//! like, not whether one is good.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Flavour;

/// The topology in front of the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edge {
    /// Nothing: cookies go to the authorizer as they are.
    None,
    /// CloudFront with the edge function.
    CloudFront {
        /// The origin that browsers see, as they write it in `Origin`.
        public_origin: String,
        /// By which the API knows CloudFront; marked as sensitive.
        origin_secret: HeaderValue,
        /// `edge_allow_headers` of the configuration.
        allow_headers: Vec<String>,
    },
}

/// The browser session. `__Host-Http-` because a sibling host or a script could set
/// any other name (D15, D71).
pub const SESSION_COOKIE: &str = "__Host-Http-cloakroom";

/// Where the client's token travels to an HTTP API, which could not strip it from
/// `Authorization` (specs B-http-6).
pub const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-cloakroom-token");

/// The script that is deployed. Its list of headers is read out of it; the rest of it is
/// written here a second time.
const SCRIPT: &str = include_str!("../../../../infra/edge/viewer-request.js");

/// Names by which a framework behind us takes a request for one of another method (D25).
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// In which CloudFront shows its secret to the API.
pub(super) const ORIGIN_VERIFY: HeaderName = HeaderName::from_static("x-origin-verify");

const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The edge function's own answer. It never says which check failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EdgeRefusal {
    /// 401: no, two, or a malformed credential.
    Unauthenticated,
    /// 403: a session, but not from our own pages, or a request for another method.
    Forbidden,
}

impl EdgeRefusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
        }
    }
}

/// Does to a viewer's request what the edge does. `Session` is nobody else's to write,
/// on any path, nor is another method, and no header passes that is not on the list: what is
/// `/api` may be spelled in more ways than one. Beyond that only `/api` is touched: everywhere else cookies and
/// `Authorization` (a client's own, at the token endpoint) pass.
///
/// Before an HTTP API the token is renamed whatever the topology. On AWS nobody does so
/// without the edge function, and every service sees it (docs/deploy.md).
///
/// # Errors
///
/// If the edge answers itself.
pub fn apply(
    edge: &Edge,
    flavour: Flavour,
    path: &str,
    headers: &mut HeaderMap,
) -> Result<(), EdgeRefusal> {
    let is_api = path == "/api" || path.starts_with("/api/");
    if let Edge::CloudFront {
        public_origin,
        allow_headers,
        ..
    } = edge
    {
        if headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .any(impersonates_the_edge)
        {
            return Err(EdgeRefusal::Unauthenticated);
        }
        if headers
            .keys()
            .any(|name| is_one_of(&METHOD_OVERRIDES, name))
        {
            return Err(EdgeRefusal::Forbidden);
        }
        if is_api {
            admit(public_origin, headers)?;
        }
        let strange: Vec<_> = headers
            .keys()
            .filter(|name| !is_allowed(name, allow_headers))
            .cloned()
            .collect();
        for name in strange {
            headers.remove(name);
        }
    }
    if is_api && flavour == Flavour::Http {
        headers.remove(TOKEN_HEADER);
        let tokens: Vec<_> = headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .cloned()
            .collect();
        headers.remove(header::AUTHORIZATION);
        for token in tokens {
            headers.append(TOKEN_HEADER, token);
        }
    }
    Ok(())
}

/// What CloudFront itself adds after its function, over what the viewer wrote.
pub(super) fn show_secret(edge: &Edge, headers: &mut HeaderMap) {
    if let Edge::CloudFront { origin_secret, .. } = edge {
        headers.insert(ORIGIN_VERIFY, origin_secret.clone());
    }
}

/// One credential, of one kind, from our own pages if it is a cookie.
fn admit(public_origin: &str, headers: &mut HeaderMap) -> Result<(), EdgeRefusal> {
    let authorizations: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
    let sessions = session_cookies(headers);
    match (authorizations.as_slice(), sessions.as_slice()) {
        ([] | [_], []) => {}
        ([], [session]) => {
            if !is_from_our_own_pages(public_origin, headers) {
                return Err(EdgeRefusal::Forbidden);
            }
            let session = session_authorization(session).ok_or(EdgeRefusal::Unauthenticated)?;
            headers.insert(header::AUTHORIZATION, session);
        }
        // Two of a kind or one of each: never prefer one silently (D16, D19, D27).
        _ => return Err(EdgeRefusal::Unauthenticated),
    }
    headers.remove(header::COOKIE);
    Ok(())
}

/// A name of the list, or one that begins as an entry with `*` at its end does. Cookies come
/// apart from the headers at CloudFront, and were seen to before.
fn is_allowed(name: &HeaderName, more: &[String]) -> bool {
    let name = name.as_str();
    let fits = |entry: &str| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == entry,
    };
    let is_listed = || listed().any(fits) || more.iter().any(|entry| fits(entry));
    name == header::COOKIE || (!name.contains('_') && is_listed())
}

/// What `ALLOWED` of the script lists.
fn listed() -> impl Iterator<Item = &'static str> {
    let list = SCRIPT.split("const ALLOWED = (").nth(1);
    let list = list.and_then(|rest| rest.split(").split").next());
    let texts = list.unwrap_or_default().split('\'').skip(1).step_by(2);
    texts.flat_map(str::split_whitespace)
}

fn is_one_of(names: &[&str], name: &HeaderName) -> bool {
    names.contains(&spelling(name).as_str())
}

/// Many servers read `_` and `-` in a header's name as the same.
fn spelling(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

/// The values of the session cookie, spelled exactly so (D17).
fn session_cookies(headers: &HeaderMap) -> Vec<Vec<u8>> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let end_of_name = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at_checked(end_of_name)?;
            (name == SESSION_COOKIE.as_bytes()).then(|| value.iter().skip(1).copied().collect())
        })
        .collect()
}

/// `Session` is ours to write, and a session handle is no bearer token, nor one that
/// is bound to a key (D30).
fn impersonates_the_edge(authorization: &HeaderValue) -> bool {
    let text = authorization.as_bytes().trim_ascii();
    let end_of_scheme = text.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let (scheme, rest) = text
        .split_at_checked(end_of_scheme.unwrap_or(text.len()))
        .unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"session")
        || ((scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"dpop"))
            && rest.trim_ascii().starts_with(b"cr_st_"))
}

/// The CSRF checks (D20). `X-CSRF` is what a foreign page cannot send without asking;
/// the other two are judged when present, their absence is no fault.
fn is_from_our_own_pages(public_origin: &str, headers: &HeaderMap) -> bool {
    let every = |name: HeaderName, good: &[&str]| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        match values.as_slice() {
            [] => None,
            [value] => Some(good.iter().any(|good| good.as_bytes() == value.as_bytes())),
            _ => Some(false),
        }
    };
    every(CSRF_HEADER, &["1"]) == Some(true)
        && every(header::ORIGIN, &[public_origin]) != Some(false)
        && every(SEC_FETCH_SITE, &["same-origin", "none"]) != Some(false)
}

/// `Session cr_st_…`, if the cookie has a session token's shape. The checksum is the
/// authorizer's business.
fn session_authorization(cookie: &[u8]) -> Option<HeaderValue> {
    let rest = cookie.strip_prefix(b"cr_st_")?;
    let (body, checksum) = rest.split_at_checked(64)?;
    let well_formed = body
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && checksum.len() == 6
        && checksum.iter().all(u8::is_ascii_alphanumeric);
    if !well_formed {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&[b"Session ", cookie].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        public_origin: String,
        allow_headers: String,
        #[serde(rename = "vectors")]
        list: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        api: String,
        path: String,
        headers: Vec<(String, String)>,
        expect: Expectation,
    }

    #[derive(Debug, Deserialize, Eq, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Expectation {
        Forward(Vec<(String, String)>),
        Refuse(u16),
    }

    fn header_map(pairs: &[(String, String)]) -> HeaderMap {
        let pair = |(name, value): &(String, String)| {
            (
                name.parse::<HeaderName>().unwrap(),
                value.parse::<HeaderValue>().unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let mut pairs: Vec<_> = headers.iter().map(pair).collect();
        pairs.sort();
        pairs
    }

    fn outcome(
        edge: &Edge,
        flavour: Flavour,
        path: &str,
        headers: &[(String, String)],
    ) -> Expectation {
        let mut headers = header_map(headers);
        match apply(edge, flavour, path, &mut headers) {
            Ok(()) => Expectation::Forward(sorted(&headers)),
            Err(refusal) => Expectation::Refuse(refusal.status().as_u16()),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_shared_vectors_hold() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../../../infra/edge/vectors.json")).unwrap();
        let edge = Edge::CloudFront {
            public_origin: vectors.public_origin,
            origin_secret: HeaderValue::from_static("shown"),
            allow_headers: vectors
                .allow_headers
                .split(' ')
                .map(str::to_owned)
                .collect(),
        };
        assert!(vectors.list.len() > 40);
        assert!(listed().count() > 80);
        for Vector {
            name,
            api,
            path,
            headers,
            mut expect,
        } in vectors.list
        {
            let flavour = match api.as_str() {
                "rest" => Flavour::Rest,
                "http" => Flavour::Http,
                other => panic!("{name}: {other}"),
            };
            if let Expectation::Forward(headers) = &mut expect {
                headers.sort();
            }
            assert_eq!(outcome(&edge, flavour, &path, &headers), expect, "{name}");
        }
    }

    #[test]
    fn d102_what_a_mapping_takes_off_passes_no_edge_and_cannot_be_allowed() {
        for line in include_str!("../../../../infra/headers.txt").lines() {
            let name = line.split(' ').next().unwrap_or_default();
            let is_our_own = ["authorization", "cookie"].contains(&name);
            if line.starts_with('#') || is_our_own {
                continue;
            }
            let parsed = name.parse::<HeaderName>().unwrap();
            assert!(!is_allowed(&parsed, &[]), "{name}");
            assert!(!cloakroom_domain::config::may_be_allowed(name), "{name}");
        }
        for entry in listed() {
            assert!(
                !entry.contains('_') && entry == entry.to_lowercase(),
                "{entry}"
            );
        }
    }

    #[test]
    fn the_script_that_is_deployed_holds_the_shared_vectors_too() {
        let runner = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../infra/edge/run-vectors.mjs"
        );
        // Without Node there is nothing to run; the whole test suite always has it.
        if let Ok(ran) = std::process::Command::new("node").arg(runner).output() {
            assert!(
                ran.status.success(),
                "{}",
                String::from_utf8_lossy(&ran.stderr)
            );
        }
    }

    #[test]
    fn without_an_edge_a_rest_api_gets_the_request_as_it_is() {
        let headers = pairs(&[("authorization", "Session x"), ("cookie", "a=1")]);
        let expected = Expectation::Forward(headers.clone());
        assert_eq!(
            outcome(&Edge::None, Flavour::Rest, "/api/orders", &headers),
            expected
        );
    }

    #[test]
    fn an_http_api_never_gets_the_token_under_its_own_name() {
        let headers = pairs(&[
            ("authorization", "Bearer a"),
            ("authorization", "Bearer b"),
            ("cookie", "a=1"),
            ("x-cloakroom-token", "Bearer forged"),
        ]);
        let expected = Expectation::Forward(pairs(&[
            ("cookie", "a=1"),
            ("x-cloakroom-token", "Bearer a"),
            ("x-cloakroom-token", "Bearer b"),
        ]));
        assert_eq!(
            outcome(&Edge::None, Flavour::Http, "/api/orders", &headers),
            expected
        );
    }

    #[test]
    fn cloudfront_shows_its_secret_over_what_the_viewer_wrote() {
        let edge = Edge::CloudFront {
            public_origin: "https://app.example.com".to_owned(),
            origin_secret: HeaderValue::from_static("shown"),
            allow_headers: vec![],
        };
        for (edge, expected) in [(edge, vec!["shown"]), (Edge::None, vec!["a", "b"])] {
            let mut headers = header_map(&pairs(&[
                ("x-origin-verify", "a"),
                ("x-origin-verify", "b"),
            ]));
            show_secret(&edge, &mut headers);
            let found: Vec<_> = headers.get_all(ORIGIN_VERIFY).iter().collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_a_refusal() {
        let edge = Edge::CloudFront {
            public_origin: "https://app.example.com".to_owned(),
            origin_secret: HeaderValue::from_static("shown"),
            allow_headers: vec![],
        };
        let mut headers = header_map(&pairs(&[("x-csrf", "1")]));
        let cookie = [b"__Host-Http-cloakroom=cr_st_\xff".as_slice(), &[b'A'; 69]].concat();
        headers.insert(header::COOKIE, HeaderValue::from_bytes(&cookie).unwrap());
        let refused = apply(&edge, Flavour::Rest, "/api/orders", &mut headers);
        assert_eq!(refused, Err(EdgeRefusal::Unauthenticated));
    }
}
