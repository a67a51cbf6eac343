//! Limits of the policy at which a small mistake would let more requests pass.

use super::*;
use crate::testing::{config, grant_of, meta};

fn route(method: &str, path: &str) -> RouteConfig {
    RouteConfig {
        method: method.into(),
        path: path.into(),
        ..config().routes[0].clone()
    }
}

fn policy(routes: &[(&str, &str)]) -> Policy {
    let mut config = config();
    config.routes = routes.iter().map(|(m, p)| route(m, p)).collect();
    Policy::new(&config)
}

#[test]
fn a_greedy_variable_is_one_only_at_the_end() {
    assert!(PathPattern::parse("/files/{proxy+}").is_some());
    for text in ["/{proxy+}/x", "/files/{proxy+}/x", "/{a+}/{b+}", "/{a+}/"] {
        assert_eq!(PathPattern::parse(text), None, "{text}");
    }
    let policy = policy(&[("GET", "/{one}/x"), ("GET", "/{proxy+}")]);
    assert!(policy.find("GET", "/{one}/x").is_some());
    assert!(policy.find("GET", "/{proxy+}").is_some());
    assert!(policy.find("GET", "/{proxy+}/x").is_none());
}

#[test]
fn d34_a_path_is_well_formed_to_its_end_or_matches_nothing() {
    let policy = policy(&[("GET", "/files/{proxy+}"), ("GET", "/{proxy+}")]);
    assert!(policy.find("GET", "/files/a/b").is_some());
    for resource in [
        "/files/a//b",
        "/files/a/",
        "/files/a/b c",
        "/files/a/{}",
        "/files/a/{x+}/b",
        "/files/a/\u{e9}",
        "/a/b?c",
        "/a/*",
        "/a/b\u{7f}",
        "a/b",
    ] {
        assert!(policy.find("GET", resource).is_none(), "{resource}");
    }
}

#[test]
fn a_user_whose_authentication_context_is_unknown_fails_every_demand_for_one() {
    let mut route = route("GET", "/api/orders");
    let mut user = grant_of("alice");
    let now = UnixTime(1_001);
    for (demanded, acr, expected) in [
        (&[][..], None, Ok(())),
        (&["gold"][..], Some("gold"), Ok(())),
        (&["gold"][..], None, Err(Refusal::StepUp)),
        (&["gold", ""][..], None, Err(Refusal::StepUp)),
    ] {
        route.acr = demanded.iter().map(|acr| (*acr).to_owned()).collect();
        user.user.as_mut().unwrap().acr = acr.map(str::to_owned);
        assert_eq!(judge(&route, &user, &meta(), now), expected, "{demanded:?}");
    }
    let machine = Grant { user: None, ..user };
    let refused = judge(&route, &machine, &meta(), now);
    assert_eq!(refused, Err(Refusal::StepUp));
}

#[test]
fn one_verdict_is_none_with_fields_a_connection_or_more_routes_than_fit() {
    let with = |routes: Vec<RouteConfig>| {
        let mut config = config();
        config.routes = routes;
        one_verdict(&config)
    };
    let routes = |count: usize| (0..count).map(|n| route("GET", &format!("/api/{n}")));
    assert_eq!(with(routes(16).collect()).unwrap().len(), 16);
    assert_eq!(with(routes(17).collect()), None);
    assert_eq!(with(vec![]), None);

    let field = FieldConfig {
        names: vec!["Query.a".into()],
        token: TokenDemand::Either,
        scopes: vec![],
        any_scope: vec![],
        roles: vec![],
        any_role: vec![],
        clients: vec![],
        acr: vec![],
        max_age: None,
    };
    for at in 0..2 {
        let mut fields: Vec<_> = routes(2).collect();
        fields[at].fields = vec![field.clone()];
        assert_eq!(with(fields), None, "route {at} has fields");

        let mut connects: Vec<_> = routes(2).collect();
        connects[at].method = CONNECT.into();
        assert_eq!(with(connects), None, "route {at} opens connections");
    }
}
