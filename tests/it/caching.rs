//! What is cached, where, for how long: at the gateway as AWS keys it, and in the
//! function. One promise (`revocation.max_latency`) over both, and no verdict that
//! reaches another route.

use crate::lab::{Calls, Handed, Holder, Lab};
use cloakroom_domain::config::{Config, Edge, RouteConfig};
use cloakroom_domain::family::Transition;
use cloakroom_domain::grant::{Grant, TokenMeta};
use cloakroom_domain::policy::{self, CONNECT, CONNECT_PATH, GRAPHQL, Policy, TokenDemand};
use cloakroom_domain::ports::Clock;
use cloakroom_domain::token::{OpaqueToken, TokenKind};
use cloakroom_local::apigateway::AuthorizerKind;
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::logs;
use cloakroom_tests::oauth::{call, native_tokens, revoke};
use proptest::prelude::*;
use reqwest::StatusCode;
use serde_json::json;

const ALL: [AuthorizerKind; 5] = [
    AuthorizerKind::RestToken,
    AuthorizerKind::RestRequest,
    AuthorizerKind::HttpV1,
    AuthorizerKind::HttpSimple,
    AuthorizerKind::HttpIam,
];

fn demo() -> Config {
    Config::parse(DEMO_CONFIG).unwrap()
}

fn machine() -> Holder {
    Holder {
        client: "demo-machine".into(),
        scopes: vec!["orders:read".into()],
        ..Holder::default()
    }
}

// Two routes never share a verdict.

const METHODS: [&str; 3] = ["GET", "POST", "ANY"];
const PATHS: [&str; 6] = [
    "/api/a",
    "/api/b",
    "/api/{id}",
    "/api/a/{id}",
    "/api/{x}/b",
    "/api/files/{proxy+}",
];
const ASKED: [&str; 9] = [
    "/api/a",
    "/api/b",
    "/api/c",
    "/api/a/b",
    "/api/a/c",
    "/api/c/b",
    "/api/files/x",
    "/api/files/x/y",
    "/api/no/such/thing",
];
const ROLES: [&str; 2] = ["r1", "r2"];
const SCOPES: [&str; 2] = ["s1", "s2"];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(of, 0..=of.len())
        .prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

/// What a route demands: usually little, so that many tokens pass.
fn any_route() -> impl Strategy<Value = RouteConfig> {
    let rarely = |of| prop_oneof![3 => Just(vec![]), 2 => some(of)];
    (
        prop::sample::select(&METHODS[..]),
        prop::sample::select(&PATHS[..]),
        prop::sample::select(&["orders", "profile"][..]),
        prop_oneof![
            3 => Just(TokenDemand::Either),
            1 => Just(TokenDemand::User),
            1 => Just(TokenDemand::Client),
        ],
        (
            rarely(&SCOPES),
            rarely(&SCOPES),
            rarely(&ROLES),
            rarely(&ROLES),
        ),
        prop_oneof![4 => Just(vec![]), 1 => Just(vec!["demo-native".to_owned()])],
    )
        .prop_map(|(method, path, audience, token, lists, clients)| {
            let (scopes, any_scope, roles, any_role) = lists;
            RouteConfig {
                method: method.to_owned(),
                path: path.to_owned(),
                audience: audience.to_owned(),
                token,
                scopes,
                any_scope,
                roles,
                any_role,
                clients,
                ..demo().routes[0].clone()
            }
        })
}

fn any_holder() -> impl Strategy<Value = Holder> {
    (
        prop::option::of(some(&ROLES)),
        prop::sample::select(&["demo-native", "demo-machine"][..]),
        some(&SCOPES),
        prop_oneof![3 => Just(vec![]), 1 => Just(vec!["orders".to_owned()])],
    )
        .prop_map(|(roles, client, scopes, audiences)| Holder {
            roles,
            client: client.to_owned(),
            scopes,
            audiences,
            kind: None,
        })
}

/// One request: whose token, which method and path, and how long after the one before.
type Asked = (usize, &'static str, &'static str, u64);

fn any_request() -> impl Strategy<Value = Asked> {
    (
        0..4_usize,
        prop::sample::select(&["GET", "POST"][..]),
        prop::sample::select(&ASKED[..]),
        prop_oneof![4 => Just(0_u64), 2 => 1..40_u64, 1 => 40..4_000_u64],
    )
}

fn passes(route: &RouteConfig, grant: &Grant, meta: &TokenMeta, lab: &Lab) -> bool {
    policy::judge(route, grant, meta, lab.clock.now()).is_ok()
}

/// What must hold of every answer, cached or not.
fn judge(
    lab: &Lab,
    holder: &(OpaqueToken, Grant, TokenMeta),
    (method, path): (&str, &str),
    handed: &Handed,
    sometimes_stale_refusals: bool,
) -> Result<(), TestCaseError> {
    let (_, grant, meta) = holder;
    let policy = Policy::new(&lab.config);
    let by_name = |(method, path): &(String, String)| {
        let mut routes = lab.config.routes.iter();
        routes.find(|route| route.method == *method && route.path == *path)
    };
    if handed.status == 200 {
        let route = by_name(&handed.route);
        prop_assert!(route.is_some(), "default deny: {handed:?}");
        let route = route.unwrap();
        prop_assert!(
            passes(route, grant, meta, lab),
            "a verdict of another route"
        );
        prop_assert_eq!(
            &handed.claims["aud"],
            &json!(route.audience),
            "another's JWT"
        );
        let subject = cloakroom_domain::jwt::subject(grant, meta);
        prop_assert_eq!(&handed.claims["sub"], &json!(subject), "D45");
        prop_assert_eq!(
            &handed.claims["scope"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            &meta.scope.to_string()
        );
    } else {
        prop_assert!([403, 404].contains(&handed.status), "{}", handed.status);
        let expected = policy.find(method, path);
        let refused = expected.is_none_or(|route| !passes(route, grant, meta, lab));
        prop_assert!(
            refused || sometimes_stale_refusals,
            "refused by another route's verdict"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn d34_two_routes_never_share_a_verdict_whatever_is_cached(
        routes in prop::collection::vec(any_route(), 1..6),
        holders in prop::collection::vec(any_holder(), 4),
        kind in prop::sample::select(&ALL[..]),
        ttl in prop::sample::select(&[0_u64, 1, 30, 300, 3_600][..]),
        remembered in prop::sample::select(&[0_u64, 30][..]),
        requests in prop::collection::vec(any_request(), 1..30),
    ) {
        let mut config = demo();
        config.routes = routes;
        config.routes.sort_by_key(|route| (route.method.clone(), route.path.clone()));
        config.routes.dedup_by_key(|route| (route.method.clone(), route.path.clone()));
        config.authorizer.gateway_ttl = Some(ttl);
        config.revocation.max_latency = ttl + remembered;
        config.authorizer.simple_responses = kind != AuthorizerKind::HttpIam;
        let lab = Lab::new(config);
        let holders: Vec<_> = holders.iter().map(|holder| lab.token(holder)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = lab.api(kind, ttl);
            for (who, method, path, later) in requests {
                lab.clock.advance(later);
                let holder = &holders[who];
                let handed = api.call(method, path, Some(holder.0.expose())).await;
                // A TOKEN authorizer's cache has one entry per token. It never lets
                // anybody through by it; that it may refuse is why `check` wants one
                // verdict behind it.
                let token_cache = kind == AuthorizerKind::RestToken && ttl > 0;
                judge(&lab, holder, (method, path), &handed, token_cache)?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[tokio::test]
async fn a_token_authorizer_before_routes_of_one_verdict_may_be_cached() {
    let mut config = demo();
    let route = config.routes[0].clone();
    config.routes = ["/api/orders", "/api/invoices"]
        .map(|path| RouteConfig {
            path: path.to_owned(),
            ..route.clone()
        })
        .to_vec();
    config.authorizer.token_authorizer = true;
    config.authorizer.gateway_ttl = Some(300);
    config.revocation.max_latency = 300;
    let lab = Lab::new(config);
    let (token, ..) = lab.token(&machine());
    let api = lab.api(AuthorizerKind::RestToken, 300);
    for (path, calls) in [("/api/orders", 1), ("/api/invoices", 0), ("/api/orders", 0)] {
        let handed = api.call("GET", path, Some(token.expose())).await;
        assert_eq!((handed.status, handed.route.1.as_str()), (200, path));
        assert_eq!(lab.take_calls().get, calls, "{path}");
    }
}

// The bound of revocation.

fn promised(max_latency: u64, edge: Edge) -> Config {
    let mut config = demo();
    config.revocation.max_latency = max_latency;
    config.edge = edge;
    config.routes.push(RouteConfig {
        path: "/api/invoices".into(),
        ..config.routes[0].clone()
    });
    config
}

/// The seconds after `strike` until nobody is let in any more, polled each second; the
/// worst over all moments at which the gateway may ask next.
async fn worst_latency(config: &Config, strike: impl Fn(&Lab, &OpaqueToken)) -> u64 {
    let bound = config.epoch_latency();
    let mut worst = 0;
    // Each side of every limit; what lies between is like its neighbours.
    let (gateway, memory) = (config.gateway_ttl(), config.memory_ttl());
    let mut pauses: Vec<_> = [0, gateway, memory, config.epoch_ttl(), bound]
        .into_iter()
        .flat_map(|limit| [limit.saturating_sub(1), limit])
        .filter(|pause| *pause <= bound)
        .collect();
    pauses.sort_unstable();
    pauses.dedup();
    for pause in pauses {
        let lab = Lab::new(config.clone());
        let (token, ..) = lab.token(&machine());
        let api = lab.api(AuthorizerKind::RestRequest, config.gateway_ttl());
        let get = async |path| api.call("GET", path, Some(token.expose())).await.status;
        // Fills the function's memory; the gateway keeps that for this route alone.
        assert_eq!(get("/api/invoices").await, 200);
        strike(&lab, &token);
        // Then the gateway asks about another route, and keeps what the memory says.
        lab.clock.advance(pause);
        let mut refused_before = false;
        for second in pause..=pause + bound + 2 {
            let refused = get("/api/orders").await != 200;
            assert!(refused || !refused_before, "once refused, always refused");
            if !refused {
                worst = worst.max(second + 1);
            }
            refused_before = refused;
            lab.clock.advance(1);
        }
        assert!(refused_before, "it ends");
    }
    worst
}

fn revoke_family(lab: &Lab, token: &OpaqueToken) {
    assert!(lab.table.carry_out(&Transition::revoke(token.family())));
}

#[tokio::test]
async fn d33_a_revoked_token_is_refused_everywhere_within_max_latency() {
    for edge in [Edge::None, Edge::Cloudfront] {
        for max_latency in [0, 5, 60] {
            let config = promised(max_latency, edge);
            let worst = worst_latency(&config, revoke_family).await;
            assert!(worst <= max_latency, "{edge:?} {max_latency}: {worst}");
            // And the caches are there: the bound is reached, but for a second.
            assert!(worst + 1 >= max_latency, "{edge:?} {max_latency}: {worst}");
        }
    }
}

#[tokio::test]
async fn d68_a_moved_epoch_kills_everything_within_five_seconds_or_max_latency() {
    for edge in [Edge::None, Edge::Cloudfront] {
        for max_latency in [0, 5, 60] {
            let config = promised(max_latency, edge);
            let worst = worst_latency(&config, |lab, _| {
                lab.table.move_epoch(lab.clock.now().plus(1));
            });
            let (worst, bound) = (worst.await, max_latency.max(5));
            assert!(worst <= bound, "D68: {edge:?} {max_latency}: {worst}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_latency_a_revoked_token_is_refused_at_once_by_the_running_system() {
    for edge in [Edge::None, Edge::Cloudfront] {
        let system = System::start(Options {
            config: DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0"),
            edge: Some(edge),
            ..Options::default()
        })
        .await
        .unwrap();
        let (token, _) = native_tokens(&system, "bob").await;
        let status = async || call(&system, "/api/orders", &token).await.0;
        for _ in 0..3 {
            assert_eq!(status().await, StatusCode::OK);
        }
        assert_eq!(revoke(&system, &token).await, StatusCode::OK);
        assert_eq!(status().await, StatusCode::UNAUTHORIZED, "{edge:?}");
    }
}

// What the warm path costs.

/// The event in which each kind asks for the demo's orders, with this credential.
fn events(token: &str) -> Vec<(&'static str, serde_json::Value)> {
    let arn = "arn:aws:execute-api:us-east-1:111122223333:local/prod";
    let bearer = format!("Bearer {token}");
    let request = json!({
        "type": "REQUEST",
        "methodArn": format!("{arn}/GET/api/orders"),
        "resource": "/api/orders",
        "httpMethod": "GET",
        "headers": {"authorization": bearer},
        "requestContext": {"apiId": "local", "stage": "prod"},
    });
    let mut http_v1 = request.clone();
    http_v1["version"] = json!("1.0");
    let mut websocket = request.clone();
    websocket["methodArn"] = json!(format!("{arn}/$connect"));
    websocket["requestContext"]["routeKey"] = json!("$connect");
    websocket["requestContext"]["connectionId"] = json!("id");
    let http = json!({"method": "GET", "path": "/api/orders"});
    vec![
        (
            "rest_token",
            json!({
                "type": "TOKEN",
                "authorizationToken": bearer,
                "methodArn": format!("{arn}/GET/api/orders"),
            }),
        ),
        ("rest_request", request),
        ("http_v1", http_v1),
        (
            "http_v2",
            json!({
                "type": "REQUEST",
                "version": "2.0",
                "routeArn": format!("{arn}/GET/api/orders"),
                "routeKey": "GET /api/orders",
                "headers": {"x-cloakroom-token": bearer},
                "requestContext": {"http": http},
            }),
        ),
        ("websocket", websocket),
        (
            "appsync",
            json!({"authorizationToken": token, "requestContext": {"apiId": "graph"}}),
        ),
        (
            "function_url",
            json!({
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/api/orders",
                "headers": {"authorization": bearer},
                "requestContext": {
                    "apiId": "url",
                    "domainName": "url.lambda-url.us-east-1.on.aws",
                    "http": http,
                },
            }),
        ),
        (
            "load_balancer",
            json!({
                "httpMethod": "GET",
                "path": "/api/orders",
                "headers": {"authorization": bearer},
                "requestContext": {"elb": {"targetGroupArn": "arn:aws:elb:group"}},
            }),
        ),
    ]
}

#[tokio::test]
async fn every_kind_costs_the_network_calls_of_the_table_and_no_more() {
    const FREE: Calls = Calls {
        epoch: 0,
        get: 0,
        sign: 0,
        update: 0,
    };
    const READ: Calls = Calls { get: 1, ..FREE };
    const FIRST: Calls = Calls {
        sign: 1,
        update: 1,
        ..READ
    };
    for (index, (kind, _)) in events("").into_iter().enumerate() {
        let lab = Lab::new(demo());
        let (token, ..) = lab.token(&machine());
        let (stranger, ..) = Lab::new(demo()).token(&machine());
        let event = |token: &str| events(token).swap_remove(index).1;
        let ask = async |lab: &Lab, token: &str| {
            let allowed = match lab.ask(&event(token)).await {
                Err(_) => false,
                Ok(answer) => {
                    answer["isAuthorized"] == true
                        || answer["statusCode"] == 200
                        || answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
                }
            };
            (allowed, lab.take_calls())
        };
        for junk in [
            "",
            "junk",
            &token.expose()[1..],
            &token.expose().to_uppercase(),
        ] {
            assert_eq!(ask(&lab, junk).await, (false, FREE), "{kind} junk {junk}");
        }
        let with_epoch = |calls| Calls { epoch: 1, ..calls };
        let unknown = ask(&lab, stranger.expose()).await;
        assert_eq!(unknown, (false, with_epoch(READ)), "{kind} unknown");
        let first = ask(&lab, token.expose()).await;
        assert_eq!(first, (true, FIRST), "{kind} first use");
        for _ in 0..3 {
            let hit = ask(&lab, token.expose()).await;
            assert_eq!(hit, (true, FREE), "{kind} hit");
        }
        let neighbour = lab.neighbour();
        let shared = ask(&neighbour, token.expose()).await;
        assert_eq!(shared, (true, with_epoch(READ)), "{kind} in the item");
        assert_eq!(
            ask(&neighbour, token.expose()).await,
            (true, FREE),
            "{kind}"
        );
        let unknown = ask(&lab, stranger.expose()).await;
        assert_eq!(unknown, (false, READ), "{kind} unknown again");
    }
}

#[tokio::test]
async fn a_ticket_costs_one_read_one_signature_and_one_write() {
    let lab = Lab::new(demo());
    let (ticket, ..) = lab.token(&Holder {
        roles: Some(vec!["user".into()]),
        kind: Some(TokenKind::WebSocketTicket),
        ..machine()
    });
    let mut event = events("").swap_remove(4).1;
    let offered = format!("cloakroom, {}", ticket.expose());
    event["headers"] = json!({"sec-websocket-protocol": offered});
    let answer = lab.ask(&event).await.unwrap();
    assert_eq!(answer["context"]["subprotocol"], "cloakroom");
    let cost = lab.take_calls();
    assert_eq!((cost.get, cost.sign, cost.update), (1, 1, 1));
    assert!(lab.ask(&event).await.is_err());
    let cost = lab.take_calls();
    assert_eq!((cost.get, cost.sign, cost.update), (1, 0, 0));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_none_and_its_largest_claims_are_named_not_told() {
    logs::listen();
    let lab = Lab::new(demo());
    let token = |scopes: usize| {
        let long = (0..scopes).map(|n| format!("canary-{n:03}"));
        let holder = Holder {
            scopes: long.chain(machine().scopes).collect(),
            ..machine()
        };
        lab.token(&holder).0.expose().to_owned()
    };
    let (fits, too_long) = (token(10), token(600));
    for (kind, event) in events(&fits) {
        assert!(lab.ask(&event).await.is_ok(), "{kind}");
    }
    for (kind, mut event) in events(&too_long) {
        let id = format!("too-long-for-{kind}");
        event["requestContext"]["requestId"] = json!(id);
        match lab.ask(&event).await {
            Ok(answer) => assert_eq!(answer["statusCode"], 503, "{kind}"),
            Err(failure) => {
                let text = failure.to_string();
                assert!(
                    text.starts_with("Unavailable: ")
                        && text.contains("scope, ")
                        && !text.contains("canary"),
                    "{kind}: {text}"
                );
            }
        }
        // These two have no number of their own.
        if !["rest_token", "load_balancer"].contains(&kind) {
            let lines = logs::with(&id);
            let [line] = lines.as_slice() else {
                panic!("{kind}: {lines:?}")
            };
            assert!(
                line.contains(r#""reason":"answer_unfit""#)
                    && line.contains(r#""largest_claims":["scope","#)
                    && !line.contains("canary"),
                "{kind}: {line}"
            );
        }
    }
}

#[test]
fn the_routes_of_these_events_are_the_demos() {
    let config = demo();
    let policy = Policy::new(&config);
    for (method, path) in [("GET", "/api/orders"), (CONNECT, CONNECT_PATH), GRAPHQL] {
        assert!(policy.find(method, path).is_some(), "{method} {path}");
    }
}
