//! A policy that is kept by the token alone, held against fresh decisions.

use super::*;
use cloakroom_domain::config::Config;
use cloakroom_domain::policy::Policy;
use proptest::prelude::*;
use serde_json::{Value, json};

const PREFIX: &str = "arn:aws:execute-api:eu-west-1:111122223333:abc123/prod";

fn arn(method: &str, path: &str) -> MethodArn<'static> {
    MethodArn::parse(format!("{PREFIX}/{method}{path}")).unwrap()
}

/// IAM's wildcards, written anew: by recursion over characters.
fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    for byte in pattern {
        let before = reachable.clone();
        for at in 0..=text.len() {
            reachable[at] = match byte {
                b'*' => before[at] || (at > 0 && reachable[at - 1]),
                b'?' => at > 0 && before[at - 1],
                byte => at > 0 && before[at - 1] && text[at - 1] == *byte,
            };
        }
    }
    reachable[text.len()]
}

/// Whether IAM allows the request: an explicit deny wins, silence denies.
fn evaluates(statements: &Value, method: &str, path: &str) -> bool {
    let request = format!("{PREFIX}/{method}{path}");
    let applies = |statement: &&Value| {
        let resource = &statement["Resource"];
        let list = resource
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![resource.clone()]);
        list.iter()
            .any(|pattern| covers(pattern.as_str().unwrap().as_bytes(), request.as_bytes()))
    };
    let all: Vec<_> = statements
        .as_array()
        .unwrap()
        .iter()
        .filter(applies)
        .collect();
    !all.is_empty() && all.iter().all(|statement| statement["Effect"] == "Allow")
}

fn config(routes: &[(&str, &str, u8)]) -> Config {
    let mut text =
        "config_version = 1\nissuer = \"https://app.example.com\"\n[[audiences]]\nid = \"a\"\n"
            .to_owned();
    for (method, path, role) in routes {
        for line in [
            "[[routes]]".to_owned(),
            format!("method = \"{method}\""),
            format!("path = \"{path}\""),
            "audience = \"a\"".to_owned(),
            format!("roles = [\"r{role}\"]"),
        ] {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Config::parse(&text).unwrap()
}

/// The role that a fresh decision asks for; none: it refuses. The gateway finds the resource
/// as the policy does.
fn asks(policy: &Policy, method: &str, path: &str) -> Option<String> {
    Reading::Routed
        .accepts(path)
        .then(|| policy.find(method, path))?
        .map(|route| route.roles.concat())
}

fn answer(policy: &Policy, method: &str, path: &str) -> Option<Value> {
    answer_to(policy, method, path, false)
}

fn answer_to(policy: &Policy, method: &str, path: &str, by_route_key: bool) -> Option<Value> {
    let arn = arn(method, path);
    let entry = policy.entry(method, path)?;
    let statements = route(&arn, &entry.reach, by_route_key).or_else(|| super::path(&arn))?;
    Some(serde_json::to_value(&statements).unwrap())
}

#[test]
fn d77_the_policy_is_about_the_route_that_was_found() {
    let policy = Policy::new(&config(&[
        ("GET", "/api/orders", 0),
        ("GET", "/api/items/{id}", 0),
        ("GET", "/api/items/new", 1),
        ("GET", "/api/items/mine", 0),
        ("ANY", "/api/{proxy+}", 1),
    ]));
    let literal = answer(&policy, "GET", "/api/orders").unwrap();
    assert_eq!(
        literal,
        json!([{
            "Action": "execute-api:Invoke",
            "Effect": "Allow",
            "Resource": format!("{PREFIX}/GET/api/orders"),
        }])
    );
    let items = answer(&policy, "GET", "/api/items/7").unwrap();
    assert_eq!(items[0]["Resource"], format!("{PREFIX}/GET/api/items/*"));
    assert_eq!(
        items[1]["Resource"],
        json!([
            format!("{PREFIX}/GET/api/items/*/*"),
            format!("{PREFIX}/GET/api/items/new")
        ])
    );
    for (method, path, expected) in [
        ("GET", "/api/items/8", true),
        ("GET", "/api/items/mine", true),
        ("GET", "/api/items/a%40b", true),
        ("GET", "/api/items/caf%C3%A9", true),
        ("POST", "/api/items/8", false),
        ("GET", "/api/items/new", false),
        ("GET", "/api/items/8/x", false),
        ("GET", "/api/items/", false),
        ("GET", "/api/items/..%2Forders", false),
        ("GET", "/api/items/..", false),
        ("GET", "/api/items/%2e%2E", false),
        ("GET", "/api/items/n%65w", false),
        ("GET", "/api/items/a;b", false),
        ("GET", "/api/items/a\\b", false),
        ("GET", "/api/orders", false),
    ] {
        assert_eq!(evaluates(&items, method, path), expected, "{method} {path}");
    }
    let rest = answer(&policy, "POST", "/api/x/y").unwrap();
    assert!(evaluates(&rest, "POST", "/api/x/z"));
    assert!(!evaluates(&rest, "POST", "/api/orders"));
    assert!(!evaluates(&rest, "GET", "/api/x/z"));
    // An HTTP API keeps answers by the key of the route, which is `ANY` here.
    let rest = answer_to(&policy, "POST", "/api/x/y", true).unwrap();
    assert!(evaluates(&rest, "GET", "/api/x/z"));
    assert!(!evaluates(&rest, "GET", "/api/orders"));
    assert!(!evaluates(&rest, "GET", "/api/items/7"));
}

#[test]
fn d77_where_exceptions_do_not_fit_the_policy_is_about_the_path_alone() {
    let mut routes: Vec<_> = (0..40).map(|n| format!("/api/items/item-{n}")).collect();
    routes.push("/api/items/{id}".to_owned());
    let routes: Vec<_> = routes
        .iter()
        .map(|path| ("GET", path.as_str(), u8::from(path.contains("item-"))))
        .collect();
    let policy = Policy::new(&config(&routes));
    assert!(
        !policy
            .entry("GET", "/api/items/x")
            .unwrap()
            .reach
            .is_bounded()
    );
    let only = answer(&policy, "GET", "/api/items/x").unwrap();
    assert!(evaluates(&only, "GET", "/api/items/x"));
    assert!(!evaluates(&only, "GET", "/api/items/y"));
}

#[test]
fn wildcards_cover_as_in_iam() {
    for (pattern, text) in [
        ("/a/*", "/a/b/c"),
        ("/a/*", "/a/"),
        ("/a/*", "/a"),
        ("/*/b", "/a/b"),
        ("/*/b", "/b"),
        ("/a", "/a"),
        ("/a", "/ab"),
        ("/*a*a", "/aa"),
        ("/*a*a", "/a"),
        ("*", ""),
        ("/a*b*a", "/aba"),
        ("/a*b*a", "/ab"),
        ("*//*", "/a//b"),
        ("*//*", "/a/b"),
        ("", ""),
        ("", "a"),
    ] {
        assert_eq!(
            matches(pattern, text),
            covers(pattern.as_bytes(), text.as_bytes()),
            "{pattern} {text}"
        );
    }
}

const SEGMENTS: [&str; 7] = ["a", "b", "c", "@me", "{x}", "{x}", "caf%C3%A9"];

fn any_routes() -> impl Strategy<Value = Vec<(&'static str, String, u8)>> {
    let path = (
        prop::collection::vec(prop::sample::select(&SEGMENTS[..]), 1..4),
        prop::bool::weighted(0.25),
    )
        .prop_map(|(segments, greedy)| {
            let tail = if greedy { "/{p+}" } else { "" };
            format!("/{}{tail}", segments.join("/"))
        });
    let method = prop::sample::select(&["GET", "POST", "ANY"][..]);
    prop::collection::vec((method, path, 0..2_u8), 1..9).prop_map(|mut routes| {
        let key = |(method, path, _): &(&str, String, u8)| ((*method).to_owned(), path.clone());
        routes.sort_by_key(key);
        routes.dedup_by_key(|route| key(route));
        routes
    })
}

fn any_asked() -> impl Strategy<Value = (&'static str, String)> {
    let segment = prop::sample::select(
        &[
            "a",
            "b",
            "c",
            "d",
            "@me",
            "%40me",
            "x%2Cy",
            "caf%C3%A9",
            "caf%c3%a9",
            "..",
            ".",
            "",
            "a;b",
            "%2e%2e",
            "%61",
            "a%2Fb",
            "a%5Cb",
            "a\\b",
            "a#b",
        ][..],
    );
    let path = prop::collection::vec(segment, 1..6)
        .prop_map(|segments| format!("/{}", segments.join("/")));
    (prop::sample::select(&["GET", "POST"][..]), path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn d77_a_policy_kept_by_the_token_alone_allows_nothing_that_a_fresh_decision_denies(
        routes in any_routes(),
        first in prop::collection::vec(any_asked(), 6),
        later in prop::collection::vec(any_asked(), 12),
        by_route_key in any::<bool>(),
    ) {
        let routes: Vec<_> = routes.iter().map(|(m, p, r)| (*m, p.as_str(), *r)).collect();
        let policy = Policy::new(&config(&routes));
        // Where a literal may be spelled in two ways, the function refuses every path with an
        // encoded reserved character. What counts is then that no other route is served.
        let fresh = |method: &str, path: &str| {
            let role = asks(&policy, method, path)?;
            let plain = path.replace("%40", "@").replace("%2C", ",");
            (policy.find(method, &plain)?.roles.concat() == role).then_some(role)
        };
        for (method, path) in &first {
            let Some(role) = fresh(method, path) else { continue };
            let Some(kept) = answer_to(&policy, method, path, by_route_key) else { continue };
            prop_assert!(evaluates(&kept, method, path), "{method} {path}: {kept}");
            // The holder has this one role.
            for (method, path) in &later {
                if evaluates(&kept, method, path) {
                    prop_assert_eq!(fresh(method, path), Some(role.clone()), "{} {}: {}", method, path, kept);
                }
            }
        }
    }
}
