//! One token and one route, asked in every way in which AWS can ask: the answer is the
//! same, whatever its shape. And our lenient reading of events is held against the
//! types that AWS publishes.

use aws_lambda_events::alb::{AlbTargetGroupRequest, AlbTargetGroupResponse};
use aws_lambda_events::apigw::{
    ApiGatewayCustomAuthorizerRequest, ApiGatewayCustomAuthorizerRequestTypeRequest,
    ApiGatewayCustomAuthorizerResponse, ApiGatewayV2CustomAuthorizerSimpleResponse,
    ApiGatewayV2CustomAuthorizerV1Request, ApiGatewayV2CustomAuthorizerV2Request,
    ApiGatewayWebsocketProxyRequest,
};
use aws_lambda_events::appsync::{AppSyncLambdaAuthorizerRequest, AppSyncLambdaAuthorizerResponse};
use aws_lambda_events::http::HeaderMap;
use aws_lambda_events::lambda_function_urls::{
    LambdaFunctionUrlRequest, LambdaFunctionUrlResponse,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_authorizer::Handler;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::{KmsRoots, KmsSigner};
use cloakroom_domain::config::{Config, Edge, RouteConfig};
use cloakroom_domain::policy::{CONNECT, CONNECT_PATH, GRAPHQL, TokenDemand};
use cloakroom_domain::ports::World;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_gateway::authorizer::{AuthorizerEvent, EventKind};
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_local::system::{Options, System, TABLE};
use cloakroom_tests::browser::Browser;
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::oauth::{machine_token, native_tokens, revoke};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/authorizer");
const PATH: &str = "/api/orders";

fn fixture(name: &str) -> Value {
    let text = fs::read_to_string(format!("{FOLDER}/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The sample events of a bearer token, each kind once, and whether HTTP APIs have
/// simple responses.
const KINDS: [(&str, bool); 11] = [
    ("rest-token", true),
    ("rest-request-bearer", true),
    ("rest-request-lower-case-names", true),
    ("http-1-bearer", true),
    ("http-2-bearer", true),
    ("http-2-bearer", false),
    ("websocket-bearer", true),
    ("appsync", true),
    ("function-url-bearer", true),
    ("load-balancer-bearer", true),
    ("load-balancer-multi-value", true),
];

/// The sample event with this token instead of its own.
fn with_token(name: &str, token: &str) -> Value {
    let event = fixture(name).to_string();
    let sample = OpaqueToken::LEN;
    let at = event.find("cr_at_").expect("a sample token");
    let sample = &event[at..at + sample];
    serde_json::from_str(&event.replace(sample, token)).unwrap()
}

/// What an answer says, whatever its shape.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    Allowed(Box<Claims>),
    Forbidden,
    Unauthorized,
    Unavailable,
}

/// What must be the same, whoever asks.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Claims {
    subject: Value,
    audience: Value,
    scope: Value,
    roles: Value,
}

fn claims(jwt: &str) -> Claims {
    let part = jwt.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap();
    Claims {
        subject: claims["sub"].clone(),
        audience: claims["aud"].clone(),
        scope: claims["scope"].clone(),
        roles: claims["roles"].clone(),
    }
}

/// Reads an answer as the one who asked would, by AWS's own types where they have one.
fn read(kind: &str, answer: Result<Vec<u8>, FunctionFailure>) -> Said {
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(FunctionFailure::Unauthorized) => return Said::Unauthorized,
        Err(FunctionFailure::Unavailable | FunctionFailure::TooLong(_)) => {
            return Said::Unavailable;
        }
        Err(FunctionFailure::Internal) => panic!("{kind}"),
    };
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let jwt = |context: &Value| {
        let bearer = context["authorization"].as_str();
        let jwt = bearer.map_or(context["jwt"].as_str(), |text| text.strip_prefix("Bearer "));
        jwt.expect("a JWT").to_owned()
    };
    if kind.starts_with("appsync") {
        let answer: AppSyncLambdaAuthorizerResponse = serde_json::from_slice(&bytes).unwrap();
        let context = json!(answer.resolver_context);
        return if answer.is_authorized {
            Said::Allowed(Box::new(claims(&jwt(&context))))
        } else {
            // AppSync has one word for both.
            Said::Unauthorized
        };
    }
    if let Some(status) = value["statusCode"].as_i64() {
        let (status, headers) = if kind.starts_with("load-balancer") {
            let answer: AlbTargetGroupResponse = serde_json::from_slice(&bytes).unwrap();
            let mut headers = answer.headers;
            headers.extend(answer.multi_value_headers);
            assert_eq!(answer.status_code, status);
            (status, headers)
        } else {
            let answer: LambdaFunctionUrlResponse = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(answer.status_code, status);
            (status, answer.headers)
        };
        return match status {
            200 => {
                let bearer = headers["authorization"].to_str().unwrap();
                Said::Allowed(Box::new(claims(bearer.strip_prefix("Bearer ").unwrap())))
            }
            401 => Said::Unauthorized,
            403 => Said::Forbidden,
            503 => Said::Unavailable,
            other => panic!("{other}"),
        };
    }
    if value["isAuthorized"].is_boolean() {
        let answer: ApiGatewayV2CustomAuthorizerSimpleResponse =
            serde_json::from_slice(&bytes).unwrap();
        return if answer.is_authorized {
            Said::Allowed(Box::new(claims(&jwt(&answer.context))))
        } else {
            Said::Forbidden
        };
    }
    let answer: ApiGatewayCustomAuthorizerResponse = serde_json::from_slice(&bytes).unwrap();
    assert!(answer.principal_id.is_some_and(|name| !name.is_empty()));
    let effect = &value["policyDocument"]["Statement"][0]["Effect"];
    if effect == "Allow" {
        Said::Allowed(Box::new(claims(&jwt(&answer.context))))
    } else {
        assert_eq!(effect, "Deny");
        Said::Forbidden
    }
}

/// An authorizer over the table of `system`, with another policy.
struct Asked {
    handler: Handler<DynamoStore, KmsSigner, KmsRoots>,
}

impl Asked {
    fn over(system: &System, world: &World, edit: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::clone(system.config());
        edit(&mut config);
        let backends = system.backends();
        let algorithm = config.jwt.algorithm;
        Self {
            handler: Handler::new(
                Arc::new(config),
                UnixTime(0),
                DynamoStore::new(backends.dynamodb(), TABLE),
                KmsSigner::new(backends.kms(), backends.signing_key(), algorithm),
                KmsRoots::new(backends.kms(), vec![backends.mac_key().to_owned()]),
                world.clone(),
            ),
        }
    }

    async fn ask(&self, kind: &str, event: &Value) -> Said {
        read(kind, self.raw(event).await)
    }

    async fn raw(&self, event: &Value) -> Result<Vec<u8>, FunctionFailure> {
        self.handler.handle(event.to_string().as_bytes()).await
    }
}

type Edit = fn(&mut RouteConfig);

/// All the places where a route can be asked for, with the same demands.
fn everywhere(route: &RouteConfig) -> Vec<RouteConfig> {
    [("GET", PATH), (CONNECT, CONNECT_PATH), GRAPHQL]
        .into_iter()
        .map(|(method, path)| RouteConfig {
            method: method.to_owned(),
            path: path.to_owned(),
            ..route.clone()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_token_and_route_have_the_same_verdict_over_all_kinds() {
    let system = System::start(Options::default()).await.unwrap();
    let world = cloakroom_aws::world();
    let (alice, _) = native_tokens(&system, "alice").await;
    let (bob, _) = native_tokens(&system, "bob").await;
    let (ended, _) = native_tokens(&system, "alice").await;
    let machine = machine_token(&system).await;
    assert_eq!(revoke(&system, &ended).await, StatusCode::OK);
    let (_, refresh) = native_tokens(&system, "bob").await;
    let unknown = "cr_at_ulcDH8AiuwdTP2vuLAaSpDh2EiOWQ_cJ4V3FkEprRuI6NJWQ6G34XcaqWeOV1ad119PSJ5";
    let tokens = [&alice, &bob, &ended, &machine, &refresh, unknown, "junk"];

    let route = system.config().routes[0].clone();
    let open = RouteConfig {
        scopes: vec![],
        ..route.clone()
    };
    let demands: [(Edit, &str); 9] = [
        (|_| {}, "aba"),
        (|r| r.scopes = vec!["orders:read".into()], "aba"),
        (|r| r.any_scope = vec!["orders:write".into()], "---"),
        (|r| r.roles = vec!["admin".into()], "a--"),
        (|r| r.any_role = vec!["owner".into(), "user".into()], "ab-"),
        (|r| r.token = TokenDemand::User, "ab-"),
        (|r| r.token = TokenDemand::Client, "--a"),
        (|r| r.clients = vec!["demo-machine".into()], "--a"),
        (|r| r.max_age = Some(3_600), "ab-"),
    ];
    for (index, (edit, passes)) in demands.into_iter().enumerate() {
        let mut route = open.clone();
        edit(&mut route);
        let asked = [true, false].map(|simple| {
            Asked::over(&system, &world, |config| {
                config.routes = everywhere(&route);
                config.authorizer.simple_responses = simple;
            })
        });
        for (number, token) in tokens.iter().enumerate() {
            let mut verdicts = BTreeMap::new();
            for (kind, simple) in KINDS {
                let event = with_token(kind, token);
                let said = asked[usize::from(!simple)].ask(kind, &event).await;
                verdicts.insert((kind, simple), said);
            }
            // AppSync does not tell "not you" from "who are you?".
            let appsync = verdicts.remove(&("appsync", true)).unwrap();
            let first = verdicts.values().next().unwrap().clone();
            assert!(
                verdicts.values().all(|said| *said == first),
                "{index} {number}: {verdicts:?}"
            );
            match first {
                Said::Forbidden => assert_eq!(appsync, Said::Unauthorized),
                ref other => assert_eq!(appsync, *other, "{index} {number}"),
            }
            // The three good tokens are those of alice, bob and the machine.
            let good = match number {
                0 | 1 => passes.as_bytes().get(number),
                3 => passes.as_bytes().get(2),
                _ => None,
            };
            match good {
                Some(b'-') => assert_eq!(first, Said::Forbidden, "{index} {number}"),
                Some(_) => assert!(matches!(first, Said::Allowed(_)), "{index} {number}"),
                None => assert_eq!(first, Said::Unauthorized, "{index} {number}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_gets_a_ticket_and_opens_one_websocket_with_it() {
    let system = System::start(Options::default()).await.unwrap();
    let mut browser = Browser::default();
    browser.sign_in(system.url(), "alice").await;
    let url = system.at("/auth/ws-ticket");
    let (status, headers, body) = browser
        .fetch_with(Method::POST, &url, &[("x-csrf", "1")])
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(headers["cache-control"], "no-store");
    let ticket = body["ticket"].as_str().unwrap();
    assert!(ticket.starts_with("cr_wt_") && ticket.len() == OpaqueToken::LEN);
    assert_eq!(body["expires_in"], 30);

    let authorizer = system.function("authorizer").unwrap();
    let mut event = fixture("websocket-ticket");
    let protocols = format!("{}, {ticket}", body["subprotocol"].as_str().unwrap());
    event["headers"]["Sec-WebSocket-Protocol"] = json!(protocols);
    event["multiValueHeaders"]["Sec-WebSocket-Protocol"] = json!([protocols]);
    let foreign = {
        let mut event = event.clone();
        event["headers"]["Origin"] = json!("https://evil.example");
        event["multiValueHeaders"]["Origin"] = json!(["https://evil.example"]);
        event
    };
    let answer = authorizer.invoke(foreign.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let effect = "/policyDocument/Statement/0/Effect";
    assert_eq!(answer.pointer(effect).unwrap(), "Deny", "D22");

    let answer = authorizer.invoke(event.to_string().into()).await.unwrap();
    let text = String::from_utf8(answer.to_vec()).unwrap();
    assert!(!text.contains("cr_wt_"), "never the ticket");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer.pointer(effect).unwrap(), "Allow");
    assert_eq!(answer["context"]["subprotocol"], "cloakroom");
    assert_eq!(
        claims(answer["context"]["jwt"].as_str().unwrap()).subject,
        "demo|alice"
    );
    let again = authorizer.invoke(event.to_string().into()).await;
    assert!(again.is_err(), "one use");

    let without = browser.fetch_with(Method::POST, &url, &[]).await;
    assert_eq!(without.0, StatusCode::FORBIDDEN, "X-CSRF");
}

#[tokio::test(flavor = "multi_thread")]
async fn d22_a_cookie_opens_a_websocket_for_our_own_pages_alone() {
    let system = System::start(Options::default()).await.unwrap();
    let mut browser = Browser::default();
    browser.sign_in(system.url(), "bob").await;
    let cookie = browser.cookie("__Host-Http-cloakroom").unwrap();
    let world = cloakroom_aws::world();
    for edge in [Edge::None, Edge::Cloudfront] {
        let asked = Asked::over(&system, &world, |config| config.edge = edge);
        let mut event = fixture("websocket-cookie");
        let cookie = format!("a=1; __Host-Http-cloakroom={cookie}");
        event["headers"]["Cookie"] = json!(cookie);
        event["multiValueHeaders"]["Cookie"] = json!([cookie]);
        let foreign = [
            "https://evil.example",
            "null",
            "",
            "https://app.example.com",
        ];
        for origin in foreign {
            event["headers"]["Origin"] = json!(origin);
            event["multiValueHeaders"]["Origin"] = json!([origin]);
            let said = asked.ask("websocket", &event).await;
            assert_eq!(said, Said::Forbidden, "D22: {origin}");
        }
        let mut absent = event.clone();
        for headers in ["headers", "multiValueHeaders"] {
            absent[headers].as_object_mut().unwrap().remove("Origin");
        }
        let said = asked.ask("websocket", &absent).await;
        assert_eq!(said, Said::Forbidden, "D22: absent");
        let own = system.url();
        event["headers"]["Origin"] = json!(own);
        event["multiValueHeaders"]["Origin"] = json!([own]);
        let said = asked.ask("websocket", &event).await;
        assert!(matches!(said, Said::Allowed(_)), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appsync_holds_fields_back_and_keeps_answers_no_longer_than_promised() {
    let clock = TestClock::default();
    let system = System::start(Options {
        clock: Some(Arc::new(clock.clone())),
        ..Options::default()
    })
    .await
    .unwrap();
    let world = World {
        clock: Arc::new(clock.clone()),
        ..cloakroom_aws::world()
    };
    let asked = Asked::over(&system, &world, |config| config.revocation.max_latency = 60);
    let (alice, _) = native_tokens(&system, "alice").await;
    let (bob, _) = native_tokens(&system, "bob").await;
    let answer = async |token: &str| {
        let bytes = asked.raw(&with_token("appsync", token)).await.unwrap();
        serde_json::from_slice::<AppSyncLambdaAuthorizerResponse>(&bytes).unwrap()
    };
    let first = answer(&bob).await;
    assert_eq!(first.denied_fields, Some(vec!["Query.reports".to_owned()]));
    assert_eq!(first.ttl_override, Some(60));
    assert_eq!(answer(&alice).await.denied_fields, None);
    clock.advance(20);
    assert_eq!(answer(&bob).await.ttl_override, Some(40));

    // What AppSync may still give is over when the promise is.
    assert_eq!(revoke(&system, &bob).await, StatusCode::OK);
    let kept_until = answer(&bob).await.ttl_override.unwrap();
    assert_eq!(kept_until, 40);
    clock.advance(40);
    let late = answer(&bob).await;
    assert!(!late.is_authorized, "D33");
    assert_eq!(late.ttl_override, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_nobody_would_hold_back_close_the_route() {
    let system = System::start(Options::default()).await.unwrap();
    let asked = Asked::over(&system, &cloakroom_aws::world(), |_| {});
    let (alice, _) = native_tokens(&system, "alice").await;
    let (bob, _) = native_tokens(&system, "bob").await;
    let mut event = with_token("function-url-bearer", &bob);
    let mut post_graphql = |token: &str| {
        event = with_token("function-url-bearer", token);
        event["rawPath"] = json!(GRAPHQL.1);
        event["requestContext"]["http"]["path"] = json!(GRAPHQL.1);
        event["requestContext"]["http"]["method"] = json!(GRAPHQL.0);
        event.clone()
    };
    let (of_bob, of_alice) = (post_graphql(&bob), post_graphql(&alice));
    assert_eq!(asked.ask("function-url", &of_bob).await, Said::Forbidden);
    let alices = asked.ask("function-url", &of_alice).await;
    assert!(matches!(alices, Said::Allowed(_)), "nothing is held back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_what_it_asks_about() {
    let system = System::start(Options::default()).await.unwrap();
    let world = cloakroom_aws::world();
    let (bob, _) = native_tokens(&system, "bob").await;
    let mut event = with_token("load-balancer-bearer", &bob);
    event["path"] = json!("/");
    for (trusted, uri, expected) in [
        (true, "/api/orders?page=2", "allowed"),
        (true, "/api/reports", "forbidden"),
        (true, "/api/profile/../reports", "forbidden"),
        (true, "", "forbidden"),
        (false, "/api/orders", "forbidden"),
    ] {
        let asked = Asked::over(&system, &world, |config| {
            config.authorizer.trust_forwarded = trusted;
        });
        event["headers"]["x-forwarded-method"] = json!("GET");
        event["headers"]["x-forwarded-uri"] = json!(uri);
        let said = asked.ask("load-balancer", &event).await;
        let said = match said {
            Said::Allowed(_) => "allowed",
            Said::Forbidden => "forbidden",
            other => panic!("{other:?}"),
        };
        assert_eq!(said, expected, "{trusted} {uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d80_every_partition_of_aws_may_ask_and_nothing_like_it() {
    let system = System::start(Options::default()).await.unwrap();
    let machine = machine_token(&system).await;
    let asked = Asked::over(&system, &cloakroom_aws::world(), |_| {});
    for kind in [
        "rest-token",
        "rest-request-bearer",
        "http-1-bearer",
        "http-2-bearer",
        "websocket-bearer",
    ] {
        let event = with_token(kind, &machine).to_string();
        for partition in [
            "aws",
            "aws-cn",
            "aws-us-gov",
            "aws-eusc",
            "aws-iso",
            "aws-iso-b",
            "aws-iso-e",
            "aws-iso-f",
        ] {
            let event = event.replace("arn:aws:", &format!("arn:{partition}:"));
            let said = asked
                .ask(kind, &serde_json::from_str(&event).unwrap())
                .await;
            assert!(
                matches!(said, Said::Allowed(_)),
                "{kind} {partition}: {said:?}"
            );
        }
        for other in ["aws-", "awsx", "AWS", "", "*"] {
            let event = event.replace("arn:aws:", &format!("arn:{other}:"));
            let said = asked
                .ask(kind, &serde_json::from_str(&event).unwrap())
                .await;
            assert_eq!(said, Said::Unauthorized, "{kind} {other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d76_no_kind_lets_a_path_in_that_others_read_otherwise_nor_answers_5xx() {
    let system = System::start(Options::default()).await.unwrap();
    let machine = machine_token(&system).await;
    let asked = Asked::over(&system, &cloakroom_aws::world(), |config| {
        config.authorizer.simple_responses = false;
        let route = config.routes[0].clone();
        config.routes = ["/api/orders", "/api/{proxy+}", "/api/items/{id}"]
            .map(|path| RouteConfig {
                path: path.to_owned(),
                ..route.clone()
            })
            .to_vec();
    });
    let forwarded = Asked::over(&system, &cloakroom_aws::world(), |config| {
        config.authorizer.trust_forwarded = true;
    });
    let long = format!("/api/items/{}", "a".repeat(700));
    let bad = [
        "/api/orders#/../reports",
        "/api/orders?x",
        "/api/items/{x+}",
        "/api/{proxy}",
        "/api/a;b",
        "/api/*",
        "/api/a%2Fb",
        "/api/%2e%2e/x",
        "/api/..",
        "/api//a",
        "/api/a/",
        "/api/a\\b",
        "/api/%5C",
        "/api/%23",
        "/api/%C0%AF",
        "/api/a\tb",
        "/api/\u{85}",
        "http://app.example.com/api/orders",
        "",
        &long,
    ];
    for path in bad {
        for kind in [
            "rest-token",
            "rest-request-bearer",
            "http-1-bearer",
            "http-2-bearer",
            "function-url-bearer",
            "load-balancer-bearer",
        ] {
            let mut event = with_token(kind, &machine);
            let arn = |event: &Value, name: &str| {
                let arn = event[name].as_str().unwrap();
                let end = arn
                    .match_indices('/')
                    .nth(2)
                    .map_or(arn.len(), |(at, _)| at);
                format!("{}/{}", &arn[..end], path.trim_start_matches('/'))
            };
            match kind {
                "rest-token" => event["methodArn"] = json!(arn(&event, "methodArn")),
                "rest-request-bearer" | "http-1-bearer" => {
                    event["methodArn"] = json!(arn(&event, "methodArn"));
                    event["path"] = json!(path);
                }
                "http-2-bearer" => {
                    event["routeArn"] = json!(arn(&event, "routeArn"));
                    event["rawPath"] = json!(path);
                }
                "function-url-bearer" => {
                    event["rawPath"] = json!(path);
                    event["requestContext"]["http"]["path"] = json!(path);
                }
                _ => event["path"] = json!(path),
            }
            let gateway_matched = kind.starts_with("rest-request") || kind.starts_with("http");
            let said = asked.ask(kind, &event).await;
            // What the gateway matched may be long, and HTTP APIs decode.
            let is_fine = (gateway_matched && (path == long || path.is_empty()))
                || (kind == "function-url-bearer" || kind == "load-balancer-bearer")
                    && path == long
                || kind.starts_with("http") && (path.contains("%C0") || path.contains("%23"));
            match said {
                Said::Forbidden | Said::Unauthorized => {}
                Said::Allowed(_) if is_fine => {}
                other => panic!("{kind} {path:?}: {other:?}"),
            }
        }
        if path != long {
            let mut event = with_token("load-balancer-bearer", &machine);
            event["headers"]["x-forwarded-method"] = json!("GET");
            event["headers"]["x-forwarded-uri"] = json!(path);
            let said = forwarded.ask("load-balancer", &event).await;
            let is_query = path == "/api/orders?x";
            assert!(
                matches!(said, Said::Forbidden) || (is_query && matches!(said, Said::Allowed(_))),
                "{path:?}: {said:?}"
            );
        }
    }
}

// AWS's own types.

/// What both readings must agree in.
#[derive(Debug, Eq, PartialEq)]
struct Reading {
    method: String,
    /// The gateway's match where it says it, else the path.
    resource: String,
    asker: String,
    credentials: Vec<String>,
    cookies: Vec<String>,
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn api_and_stage(arn: Option<&str>) -> String {
    let resource = arn.unwrap().split(':').nth(5).unwrap();
    let mut parts = resource.split('/');
    format!("{}/{}", parts.next().unwrap(), parts.next().unwrap())
}

fn theirs(kind: EventKind, bytes: &[u8]) -> Option<Reading> {
    let reading = match kind {
        EventKind::RestToken => {
            let event: ApiGatewayCustomAuthorizerRequest = typed(bytes)?;
            let arn = event.method_arn.unwrap();
            let mut parts = arn.splitn(4, '/').skip(2);
            Reading {
                method: parts.next().unwrap().to_owned(),
                resource: format!("/{}", parts.next().unwrap()),
                asker: api_and_stage(Some(&arn)),
                credentials: event.authorization_token.into_iter().collect(),
                cookies: vec![],
            }
        }
        EventKind::RestRequest => {
            let event: ApiGatewayCustomAuthorizerRequestTypeRequest = typed(bytes)?;
            let mut headers = event.multi_value_headers;
            if headers.is_empty() {
                headers = event.headers;
            }
            Reading {
                method: event.http_method.unwrap().to_string(),
                resource: event.resource.unwrap(),
                asker: api_and_stage(event.method_arn.as_deref()),
                credentials: all(&headers, "authorization"),
                cookies: all(&headers, "cookie"),
            }
        }
        EventKind::HttpV1 => {
            let event: ApiGatewayV2CustomAuthorizerV1Request = typed(bytes)?;
            Reading {
                method: event.http_method.to_string(),
                resource: event.resource.unwrap(),
                asker: api_and_stage(event.method_arn.as_deref()),
                credentials: all(&event.headers, "x-cloakroom-token"),
                cookies: all(&event.headers, "cookie"),
            }
        }
        EventKind::HttpV2 => {
            let event: ApiGatewayV2CustomAuthorizerV2Request = typed(bytes)?;
            let route = event.route_key.unwrap();
            Reading {
                method: event.request_context.http.method.to_string(),
                resource: route.split_once(' ').unwrap().1.to_owned(),
                asker: api_and_stage(event.route_arn.as_deref()),
                credentials: all(&event.headers, "x-cloakroom-token"),
                cookies: event.cookies,
            }
        }
        EventKind::WebSocket => {
            let event: ApiGatewayWebsocketProxyRequest = typed(bytes)?;
            let context = event.request_context;
            let headers = event.multi_value_headers;
            assert_eq!(context.event_type.as_deref(), Some("CONNECT"));
            Reading {
                method: CONNECT.to_owned(),
                resource: format!("/{}", context.route_key.unwrap()),
                asker: format!("{}/{}", context.apiid.unwrap(), context.stage.unwrap()),
                credentials: all(&headers, "authorization"),
                cookies: all(&headers, "cookie"),
            }
        }
        EventKind::AppSync => {
            let event: AppSyncLambdaAuthorizerRequest = typed(bytes)?;
            Reading {
                method: GRAPHQL.0.to_owned(),
                resource: GRAPHQL.1.to_owned(),
                asker: event.request_context.apiid.unwrap(),
                credentials: event.authorization_token.into_iter().collect(),
                cookies: vec![],
            }
        }
        EventKind::FunctionUrl => {
            let event: LambdaFunctionUrlRequest = typed(bytes)?;
            let context = event.request_context;
            Reading {
                method: context.http.method.unwrap(),
                resource: event.raw_path.unwrap(),
                asker: format!("{}/{}", context.apiid.unwrap(), "$default"),
                credentials: all(&event.headers, "authorization"),
                cookies: event.cookies.unwrap_or_default(),
            }
        }
        EventKind::LoadBalancer { .. } => {
            let event: AlbTargetGroupRequest = typed(bytes)?;
            let mut headers = event.multi_value_headers;
            if headers.is_empty() {
                headers = event.headers;
            }
            Reading {
                method: event.http_method.to_string(),
                resource: event.path.unwrap(),
                asker: event.request_context.elb.target_group_arn.unwrap(),
                credentials: all(&headers, "authorization"),
                cookies: all(&headers, "cookie"),
            }
        }
    };
    Some(reading)
}

fn ours(event: &AuthorizerEvent<'_>) -> Reading {
    let credential = if event.kind.is_http_api() {
        "x-cloakroom-token"
    } else {
        "authorization"
    };
    let texts = |name| event.headers.all(name).map(str::to_owned).collect();
    Reading {
        method: event.method.to_string(),
        resource: event.resource.to_string(),
        asker: event.asker.to_string(),
        credentials: texts(credential),
        cookies: texts("cookie"),
    }
}

/// Events that a client can cause and AWS's types do not read: with them, each of these
/// would be a 500.
const READ_BY_US_ALONE: [&str; 2] = ["http-2-null-maps", "rest-request-control-characters"];

/// Paths that we do not take at their word, because others might read them otherwise.
const NOT_PLAIN: [&str; 4] = [
    "function-url-dot-segments",
    "function-url-encoded-path",
    "load-balancer-wildcard-path",
    "rest-request-wildcard-path",
];

#[test]
fn our_reading_of_every_sample_agrees_with_the_types_of_aws() {
    let (mut agreed, mut alone) = (0, Vec::new());
    for file in fs::read_dir(FOLDER).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_stem().and_then(|name| Path::new(name).to_str());
        let name = name.unwrap().to_owned();
        let bytes = fs::read(&file).unwrap();
        let Ok(event) = AuthorizerEvent::parse(&bytes) else {
            continue;
        };
        let Some(mut theirs) = theirs(event.kind, &bytes) else {
            alone.push(name);
            continue;
        };
        if NOT_PLAIN.contains(&name.as_str()) {
            assert_eq!(event.resource, "", "{name}");
            theirs.resource.clear();
        }
        assert_eq!(ours(&event), theirs, "{name}");
        agreed += 1;
    }
    alone.sort();
    assert_eq!(alone, READ_BY_US_ALONE);
    assert!(agreed > 60, "{agreed}");
}
