//! What goes on between the client, the gateway's cache and the services.

use super::with_max_latency;
use crate::lab::{Holder, Lab, ORIGIN_SECRET};
use cloakroom_domain::config::{Config, Edge, RouteConfig};
use cloakroom_domain::policy::TokenDemand;
use cloakroom_local::apigateway::AuthorizerKind;
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::oauth::{call, machine_token};
use cloakroom_tests::swap::swap;
use reqwest::StatusCode;
use std::sync::Arc;

const ALL: [AuthorizerKind; 5] = [
    AuthorizerKind::RestToken,
    AuthorizerKind::RestRequest,
    AuthorizerKind::HttpV1,
    AuthorizerKind::HttpSimple,
    AuthorizerKind::HttpIam,
];

fn cached_demo() -> Config {
    let mut config = Config::parse(DEMO_CONFIG).unwrap();
    config.revocation.max_latency = 300;
    config.authorizer.gateway_ttl = Some(300);
    config
}

fn machine() -> Holder {
    Holder {
        client: "demo-machine".into(),
        scopes: vec!["orders:read".into()],
        ..Holder::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d35_what_is_kept_for_our_own_page_serves_no_other() {
    for edge in [Edge::None, Edge::Cloudfront] {
        let options = Options {
            edge: Some(edge),
            ..Options::default()
        };
        let system = with_max_latency(60, options).await;
        let mut browser = Browser::default();
        browser.sign_in(system.url(), "alice").await;
        let cookie = browser.cookie("__Host-Http-cloakroom").unwrap();
        let cookie = format!("__Host-Http-cloakroom={cookie}");
        let get = async |headers: &[(&str, &str)]| {
            let mut request = client()
                .get(system.at("/api/orders"))
                .header("cookie", &cookie);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.send().await.unwrap().status()
        };
        let own = [("x-csrf", "1")];
        // Kept, if anywhere, by then.
        for _ in 0..2 {
            assert_eq!(get(&own).await, StatusCode::OK, "{edge:?}");
        }
        for foreign in [
            &[][..],
            &[("x-csrf", "0")],
            &[("x-csrf", "1"), ("origin", "https://evil.example")],
            &[("x-csrf", "1"), ("origin", "null")],
            &[("x-csrf", "1"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(
                get(foreign).await,
                StatusCode::FORBIDDEN,
                "{edge:?} {foreign:?}"
            );
        }
        assert_eq!(get(&own).await, StatusCode::OK, "and a refusal is not kept");
    }
}

#[tokio::test]
async fn d25_an_answer_that_is_kept_serves_no_other_method() {
    for kind in ALL {
        let mut config = cached_demo();
        config.authorizer.simple_responses = kind != AuthorizerKind::HttpIam;
        let lab = Lab::new(config);
        let api = lab.api(kind, 300);
        let (token, ..) = lab.token(&machine());
        let bearer = format!("Bearer {}", token.expose());
        let with = |name| [("authorization", bearer.as_str()), (name, "GET")];
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ] {
            let kept = api.send("GET", "/api/orders", &with("x-method")).await;
            assert_eq!(kept.status, 200, "{kind:?}");
            assert!(kept.names.contains(&"x-method".to_owned()), "{kind:?}");
            let other = api.send("GET", "/api/orders", &with(name)).await;
            assert_eq!(other.status, 200, "{kind:?} {name}: nobody was asked");
            assert!(!other.names.contains(&name.to_owned()), "{kind:?} {name}");
        }
    }
}

#[tokio::test]
async fn d36_a_refusal_does_not_outlive_the_sign_in() {
    for kind in ALL {
        let mut config = cached_demo();
        config.authorizer.simple_responses = kind != AuthorizerKind::HttpIam;
        let lab = Lab::new(config);
        let api = lab.api(kind, 300);
        let (token, ..) = lab.token(&machine());
        let record = lab.table.hide(token.family());
        for _ in 0..2 {
            let early = api.call("GET", "/api/orders", Some(token.expose())).await;
            assert_eq!(early.status, 401, "{kind:?}");
        }
        lab.table.show(record);
        let later = api.call("GET", "/api/orders", Some(token.expose())).await;
        assert_eq!(later.status, 200, "{kind:?}");
    }
}

#[tokio::test]
async fn d39_no_identity_that_a_client_claims_reaches_a_service() {
    const CLAIMED: [(&str, &str); 8] = [
        ("x-user-id", "root"),
        ("x_user_id", "root"),
        ("x-user-roles", "admin"),
        ("x-internal-token", "forged"),
        ("x-forwarded-user", "root"),
        ("remote-user", "root"),
        ("x-cloakroom-subject", "demo|alice"),
        ("traceparent", "00-1-2-01"),
    ];
    for kind in ALL {
        let mut config = cached_demo();
        config.authorizer.simple_responses = kind != AuthorizerKind::HttpIam;
        config.routes.push(RouteConfig {
            path: "/public".into(),
            token: TokenDemand::None,
            audience: String::new(),
            scopes: vec![],
            ..config.routes[0].clone()
        });
        let lab = Lab::new(config);
        let api = lab.api(kind, 300);
        let (token, ..) = lab.token(&machine());
        let bearer = format!("Bearer {}", token.expose());
        let forged = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkZW1vfGFsaWNlIn0.";
        let rest = matches!(
            kind,
            AuthorizerKind::RestToken | AuthorizerKind::RestRequest
        );
        let with = |authorization| {
            let mut headers = vec![
                ("authorization", authorization),
                ("x-cloakroom-jwt", forged),
            ];
            headers.extend(CLAIMED);
            // What AWS has reserved, an HTTP API cannot map: the edge takes it off.
            if rest {
                headers.push(("x-amzn-oidc-data", "forged"));
            }
            headers
        };
        // Asked twice: from the cache, too.
        for _ in 0..2 {
            let handed = api.send("GET", "/api/orders", &with(&bearer)).await;
            assert_eq!(handed.status, 200, "{kind:?}");
            assert_eq!(handed.claims["sub"], "client|demo-machine", "{kind:?}");
            let jwts = ["authorization", "x-cloakroom-jwt"];
            let kept: Vec<_> = handed
                .names
                .iter()
                .filter(|name| !jwts.contains(&name.as_str()))
                .collect();
            assert_eq!(kept, ["traceparent"], "{kind:?}");
        }
        let public = api.send("GET", "/public", &with(forged)).await;
        assert_eq!(public.status, 200, "{kind:?}");
        let own: &[&str] = if rest { &[] } else { &["authorization"] };
        let passed = [own, &["traceparent"]].concat();
        assert_eq!(public.names, passed, "{kind:?}: nobody vouches for it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d44_clocks_may_disagree_by_a_minute_and_no_jwt_is_issued_expired() {
    // The services of this system have clocks of their own, which are right.
    let clock = TestClock::default();
    let system = System::start(Options {
        clock: Some(Arc::new(clock.clone())),
        ..Options::default()
    })
    .await
    .unwrap();
    for (forward, back, expected) in [
        (0, 0, StatusCode::OK),
        (50, 0, StatusCode::OK),
        (0, 50, StatusCode::OK),
        (300, 0, StatusCode::UNAUTHORIZED),
        (0, 420, StatusCode::UNAUTHORIZED),
    ] {
        clock.advance(forward);
        clock.rewind(back);
        let token = machine_token(&system).await;
        let claims = swap(&system, "/api/orders", &token).await.claims();
        let number = |name: &str| claims[name].as_u64().unwrap();
        assert_eq!(number("exp"), number("iat") + 300);
        assert_eq!(number("nbf"), number("iat"));
        let (status, _) = call(&system, "/api/orders", &token).await;
        assert_eq!(status, expected, "+{forward} -{back}");
        clock.rewind(forward);
        clock.advance(back);
    }
}

#[tokio::test]
async fn d69_an_http_api_that_is_called_past_the_edge_takes_nothing() {
    for kind in [
        AuthorizerKind::HttpV1,
        AuthorizerKind::HttpSimple,
        AuthorizerKind::HttpIam,
    ] {
        let mut config = cached_demo();
        config.edge = Edge::Cloudfront;
        config.authorizer.simple_responses = kind != AuthorizerKind::HttpIam;
        let lab = Lab::new(config);
        let (token, ..) = lab.token(&machine());
        let bearer = format!("Bearer {}", token.expose());
        // As for most routes, and as for those with proofs.
        for ttl in [300, 0] {
            let api = lab.api(kind, ttl);
            let get = async |shown: &[&'static str]| {
                let mut headers = vec![("authorization", bearer.as_str())];
                headers.extend(shown.iter().map(|secret| ("x-origin-verify", *secret)));
                api.send("GET", "/api/orders", &headers).await
            };
            for _ in 0..2 {
                let through = get(&[ORIGIN_SECRET]).await;
                assert_eq!(through.status, 200, "{kind:?} {ttl}");
                assert_eq!(through.names, ["x-cloakroom-jwt"], "{kind:?} {ttl}");
                for past in [
                    &[][..],
                    &[""],
                    &["guess"],
                    &["guess", ORIGIN_SECRET],
                    &[ORIGIN_SECRET, ORIGIN_SECRET],
                ] {
                    let past_it = get(past).await;
                    assert_eq!(past_it.status, 401, "{kind:?} {ttl} {past:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d69_a_service_that_is_called_past_the_gateway_wants_a_jwt_of_its_own() {
    let system = System::start(Options::default()).await.unwrap();
    let token = machine_token(&system).await;
    let orders = swap(&system, "/api/orders", &token).await;
    let profile = swap(&system, "/api/profile", &token).await;
    let get = async |path: &str, authorization: Option<&str>| {
        let mut request = client()
            .get(format!("{}{path}", system.services_url()))
            .header("x-user-id", "demo|alice")
            .header("x-cloakroom-subject", "demo|alice");
        if let Some(authorization) = authorization {
            request = request.header("authorization", format!("Bearer {authorization}"));
        }
        request.send().await.unwrap().status()
    };
    assert_eq!(get("/api/orders", Some(orders.jwt())).await, StatusCode::OK);
    for wrong in [
        None,
        Some(""),
        Some(token.as_str()),
        Some(profile.jwt()),
        Some(&orders.jwt()[..orders.jwt().len() - 4]),
    ] {
        let status = get("/api/orders", wrong).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let report = get("/api/reports", Some(orders.jwt())).await;
    assert_eq!(report, StatusCode::FORBIDDEN, "the role is judged again");
}
