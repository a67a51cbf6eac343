//! Who passes which route.

use super::*;
use crate::testing::{config, grant_of, meta};

fn find<'a>(policy: &'a Policy, method: &str, resource: &str) -> Option<&'a str> {
    policy
        .find(method, resource)
        .map(|route| route.path.as_str())
}

#[test]
fn the_most_specific_path_wins_and_the_rest_is_refused() {
    let mut config = config();
    let template = config.routes[0].clone();
    config.routes = [
        ("GET", "/orders"),
        ("GET", "/orders/{id}"),
        ("ANY", "/orders/{id}/items"),
        ("POST", "/orders/{id}/items"),
        ("GET", "/orders/new"),
        ("ANY", "/files/{proxy+}"),
        ("GET", "/"),
    ]
    .map(|(method, path)| RouteConfig {
        method: method.into(),
        path: path.into(),
        ..template.clone()
    })
    .to_vec();
    let policy = Policy::new(&config);
    let cases = [
        ("GET", "/orders", Some("/orders")),
        ("POST", "/orders", None),
        ("get", "/orders", None),
        ("GET", "/orders/", None),
        ("GET", "/orders/{order}", Some("/orders/{id}")),
        ("GET", "/orders/7", Some("/orders/{id}")),
        ("GET", "/orders/new", Some("/orders/new")),
        ("DELETE", "/orders/new", None),
        ("PATCH", "/orders/{id}/items", Some("/orders/{id}/items")),
        ("GET", "/orders/{proxy+}", None),
        ("GET", "/files/{proxy+}", Some("/files/{proxy+}")),
        ("GET", "/files/a/b", Some("/files/{proxy+}")),
        ("GET", "/files", None),
        ("GET", "/{proxy+}", None),
        ("GET", "/", Some("/")),
        ("GET", "", None),
        ("GET", "/*", None),
        ("GET", "/orders//", None),
    ];
    for (method, resource, expected) in cases {
        assert_eq!(
            find(&policy, method, resource),
            expected,
            "{method} {resource}"
        );
    }
    assert_eq!(
        policy.find("POST", "/orders/{id}/items").unwrap().method,
        "POST"
    );
}

#[test]
fn what_lets_requests_in_opens_no_connection() {
    let mut config = config();
    let template = config.routes[0].clone();
    let route = |method: &str, path: &str| RouteConfig {
        method: method.into(),
        path: path.into(),
        ..template.clone()
    };
    config.routes = vec![route("ANY", "/{proxy+}"), route("ANY", "/{one}")];
    let policy = Policy::new(&config);
    assert_eq!(find(&policy, CONNECT, CONNECT_PATH), None);
    assert_eq!(find(&policy, "GET", CONNECT_PATH), Some("/{one}"));
    config.routes.push(route(CONNECT, CONNECT_PATH));
    let policy = Policy::new(&config);
    assert_eq!(find(&policy, CONNECT, CONNECT_PATH), Some(CONNECT_PATH));
}

#[test]
fn a_pattern_covers_what_it_matches() {
    let covers = |pattern: &str, other: &str| {
        let [pattern, other] = [pattern, other].map(|text| PathPattern::parse(text).unwrap());
        pattern.covers(&other)
    };
    for (pattern, other, expected) in [
        ("/orders", "/orders", true),
        ("/orders", "/order", false),
        ("/{id}", "/orders", true),
        ("/orders", "/{id}", false),
        ("/{id}", "/{other}", true),
        ("/{id}", "/{proxy+}", false),
        ("/{proxy+}", "/{id}", true),
        ("/{proxy+}", "/a/b/c", true),
        ("/{proxy+}", "/a/{proxy+}", true),
        ("/a/{proxy+}", "/{proxy+}", false),
        ("/a/{proxy+}", "/a", false),
        ("/{proxy+}", "/", false),
        ("/a/{id}", "/a/b/c", false),
        ("/a/{id}/c", "/a/b", false),
        ("/", "/", true),
    ] {
        assert_eq!(covers(pattern, other), expected, "{pattern} {other}");
    }
}

#[test]
fn one_verdict_does_only_if_all_ask_for_the_same() {
    let mut config = config();
    let first = config.routes[0].clone();
    let key = |path: &str| ("GET".to_owned(), path.to_owned());
    assert_eq!(one_verdict(&config).unwrap(), [key("/api/orders")]);
    config.routes.push(RouteConfig {
        path: "/api/other".into(),
        ..first.clone()
    });
    config.routes.push(RouteConfig {
        path: "/public".into(),
        token: TokenDemand::None,
        audience: String::new(),
        ..first.clone()
    });
    let both = [key("/api/orders"), key("/api/other")];
    assert_eq!(
        one_verdict(&config).unwrap(),
        both,
        "a public route asks for nothing"
    );
    let edits: [fn(&mut RouteConfig); 9] = [
        |r| r.path = "/api/{id}".into(),
        |r| r.audience = "elsewhere".into(),
        |r| r.scopes = vec!["orders:read".into()],
        |r| r.any_scope = vec!["orders:read".into()],
        |r| r.roles = vec!["admin".into()],
        |r| r.token = TokenDemand::User,
        |r| r.clients = vec!["app".into()],
        |r| r.acr = vec!["gold".into()],
        |r| r.max_age = Some(60),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let mut config = config.clone();
        edit(&mut config.routes[1]);
        assert_eq!(one_verdict(&config), None, "edit {i}");
    }
}

#[test]
fn fields_are_held_back_from_who_lacks_what_they_take() {
    let field = |name: &str, edit: fn(&mut FieldConfig)| {
        let mut field = FieldConfig {
            names: vec![name.to_owned()],
            token: TokenDemand::Either,
            scopes: vec![],
            any_scope: vec![],
            roles: vec![],
            any_role: vec![],
            clients: vec![],
            acr: vec![],
            max_age: None,
        };
        edit(&mut field);
        field
    };
    let route = RouteConfig {
        audience: "orders".into(),
        fields: vec![
            field("Query.a", |f| f.roles = vec!["admin".into()]),
            field("Query.b", |f| f.roles = vec!["owner".into()]),
            field("Query.c", |f| f.scopes = vec!["orders:read".into()]),
            field("Query.d", |f| f.any_scope = vec!["orders:write".into()]),
            field("Query.e", |f| f.token = TokenDemand::User),
            field("Query.f", |f| f.token = TokenDemand::Client),
            field("Query.g", |f| f.clients = vec!["other".into()]),
            field("Query.h", |f| f.acr = vec!["gold".into()]),
            field("Query.i", |f| f.max_age = Some(60)),
            field("Query.j", |f| {
                f.any_role = vec!["owner".into(), "user".into()];
            }),
        ],
        ..config().routes[0].clone()
    };
    let denied = |now| {
        let (grant, meta) = (grant_of("alice"), meta());
        let fields = route.denied_fields(&grant, &meta, UnixTime(now));
        fields
            .map(|name| name.replace("Query.", ""))
            .collect::<String>()
    };
    assert_eq!(denied(1_059), "bdfg");
    assert_eq!(denied(1_060), "bdfgi", "the sign-in is too old by then");
    let user = grant_of("alice");
    assert_eq!(route.verdict_holds_for(&user, UnixTime(1_010)), Some(50));
    assert_eq!(route.verdict_holds_for(&user, UnixTime(1_060)), None);
}

#[test]
fn each_condition_refuses_by_itself() {
    type Edit = fn(&mut RouteConfig);
    let base = RouteConfig {
        audience: "orders".into(),
        ..config().routes[0].clone()
    };
    let now = UnixTime(10_000);
    let (user, meta) = (grant_of("alice"), meta());
    assert_eq!(judge(&base, &user, &meta, now), Ok(()));
    let cases: [(Edit, Result<(), Refusal>); 18] = [
        (|r| r.token = TokenDemand::User, Ok(())),
        (|r| r.token = TokenDemand::Client, Err(Refusal::TokenKind)),
        (|r| r.token = TokenDemand::None, Err(Refusal::TokenKind)),
        (|r| r.audience = "elsewhere".into(), Err(Refusal::Audience)),
        (|r| r.clients = vec!["app".into()], Ok(())),
        (|r| r.clients = vec!["other".into()], Err(Refusal::Client)),
        (|r| r.scopes = vec!["orders:read".into()], Ok(())),
        (
            |r| r.scopes = vec!["orders:read".into(), "orders:write".into()],
            Err(Refusal::Scope),
        ),
        (
            |r| r.any_scope = vec!["orders:read".into(), "orders:write".into()],
            Ok(()),
        ),
        (
            |r| r.any_scope = vec!["orders:write".into()],
            Err(Refusal::Scope),
        ),
        (|r| r.roles = vec!["admin".into(), "user".into()], Ok(())),
        (
            |r| r.roles = vec!["admin".into(), "owner".into()],
            Err(Refusal::Role),
        ),
        (
            |r| r.any_role = vec!["owner".into(), "admin".into()],
            Ok(()),
        ),
        (|r| r.any_role = vec!["owner".into()], Err(Refusal::Role)),
        (|r| r.acr = vec!["gold".into()], Ok(())),
        (|r| r.acr = vec!["platinum".into()], Err(Refusal::StepUp)),
        (|r| r.max_age = Some(9_001), Ok(())),
        (|r| r.max_age = Some(9_000), Err(Refusal::StepUp)),
    ];
    for (i, (edit, expected)) in cases.into_iter().enumerate() {
        let mut route = base.clone();
        edit(&mut route);
        assert_eq!(judge(&route, &user, &meta, now), expected, "case {i}");
    }
}

#[test]
fn a_sign_in_of_unknown_age_is_too_old_for_every_limit() {
    let unknown = grant_of("alice").with_auth_time(None);
    let mut route = RouteConfig {
        audience: "orders".into(),
        ..config().routes[0].clone()
    };
    let now = UnixTime(1_001);
    assert_eq!(judge(&route, &unknown, &meta(), now), Ok(()));
    assert_eq!(route.verdict_holds_for(&unknown, now), None);
    route.max_age = Some(u64::MAX);
    assert_eq!(judge(&route, &unknown, &meta(), now), Err(Refusal::StepUp));
    let known = grant_of("alice").with_auth_time(Some(UnixTime(1_000)));
    assert_eq!(judge(&route, &known, &meta(), now), Ok(()));
}

#[test]
fn a_machine_has_no_roles_and_never_signed_in() {
    let machine = Grant {
        user: None,
        ..grant_of("alice")
    };
    let base = RouteConfig {
        audience: "orders".into(),
        ..config().routes[0].clone()
    };
    for (edit, expected) in [
        ((|_| {}) as fn(&mut RouteConfig), Ok(())),
        (|r| r.token = TokenDemand::Client, Ok(())),
        (|r| r.token = TokenDemand::User, Err(Refusal::TokenKind)),
        (|r| r.roles = vec!["admin".into()], Err(Refusal::Role)),
        (|r| r.max_age = Some(u64::MAX), Err(Refusal::StepUp)),
    ] {
        let mut route = base.clone();
        edit(&mut route);
        assert_eq!(judge(&route, &machine, &meta(), UnixTime(10_000)), expected);
    }
}
