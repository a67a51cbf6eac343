//! Every sample event in `events/`, through the function it is meant for, as the bytes
//! that Lambda would hand over. What must come back is in one table: a file without
//! an expectation and an expectation without a file both fail.

use crate::walk;
use Expected::{Deny, Fails, Simple, Status, Unauthorized};
use cloakroom_domain::token::OpaqueToken;
use cloakroom_gateway::authorizer::{AuthorizerEvent, EventKind};
use cloakroom_local::function::FunctionError;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::logs;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");

/// What a function makes of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// The authorizer throws what API Gateway turns into 401.
    Unauthorized,
    /// The authorizer answers with a policy that denies: 403.
    Deny,
    /// The authorizer answers simply: `isAuthorized`.
    Simple(bool),
    /// An HTTP answer that is no error.
    Status(u64),
    /// An HTTP answer with this `error` in its body; none, if the body is no JSON.
    Fails(u64, Option<&'static str>),
}

const fn error(status: u64, code: &'static str) -> Expected {
    Fails(status, Some(code))
}

const EXPECTED: &[(&str, Expected)] = &[
    ("authorizer/appsync", Simple(false)),
    ("authorizer/appsync-bearer", Simple(false)),
    ("authorizer/appsync-empty", Simple(false)),
    ("authorizer/appsync-hostile-query", Simple(false)),
    ("authorizer/appsync-jwt", Simple(false)),
    ("authorizer/appsync-no-api", Unauthorized),
    ("authorizer/appsync-session", Simple(false)),
    ("authorizer/appsync-session-scheme", Simple(false)),
    ("authorizer/appsync-ticket", Simple(false)),
    ("authorizer/array", Unauthorized),
    ("authorizer/deep-nesting", Unauthorized),
    ("authorizer/empty-object", Unauthorized),
    ("authorizer/function-url-bearer", Fails(401, None)),
    ("authorizer/function-url-cookie", Fails(401, None)),
    (
        "authorizer/function-url-cookie-without-csrf",
        Fails(403, None),
    ),
    ("authorizer/function-url-dot-segments", Fails(401, None)),
    ("authorizer/function-url-encoded-path", Fails(401, None)),
    (
        "authorizer/function-url-forwarded-by-client",
        Fails(401, None),
    ),
    ("authorizer/function-url-no-credential", Fails(401, None)),
    ("authorizer/function-url-two-joined", Fails(401, None)),
    ("authorizer/http-1-bearer", Unauthorized),
    ("authorizer/http-2-authorization", Unauthorized),
    ("authorizer/http-2-bearer", Unauthorized),
    ("authorizer/http-2-both-headers", Unauthorized),
    ("authorizer/http-2-cookie", Unauthorized),
    ("authorizer/http-2-cookie-without-csrf", Simple(false)),
    ("authorizer/http-2-dpop", Unauthorized),
    ("authorizer/http-2-dpop-proofs-joined", Unauthorized),
    ("authorizer/http-2-duplicates-joined", Unauthorized),
    ("authorizer/http-2-integration", Unauthorized),
    ("authorizer/http-2-null-maps", Unauthorized),
    ("authorizer/http-version-3", Unauthorized),
    ("authorizer/load-balancer-bearer", Fails(401, None)),
    (
        "authorizer/load-balancer-duplicate-authorization",
        Fails(401, None),
    ),
    ("authorizer/load-balancer-health-check", Fails(401, None)),
    ("authorizer/load-balancer-method-override", Fails(403, None)),
    ("authorizer/load-balancer-multi-value", Fails(401, None)),
    ("authorizer/load-balancer-wildcard-path", Fails(401, None)),
    ("authorizer/rest-request-basic", Unauthorized),
    ("authorizer/rest-request-bearer", Unauthorized),
    ("authorizer/rest-request-code-as-bearer", Unauthorized),
    ("authorizer/rest-request-control-characters", Unauthorized),
    ("authorizer/rest-request-cookie", Unauthorized),
    ("authorizer/rest-request-cookie-and-bearer", Unauthorized),
    ("authorizer/rest-request-cookie-foreign-origin", Deny),
    ("authorizer/rest-request-cookie-twice", Unauthorized),
    ("authorizer/rest-request-cookie-without-csrf", Deny),
    ("authorizer/rest-request-dpop", Unauthorized),
    ("authorizer/rest-request-dpop-malformed-proof", Unauthorized),
    ("authorizer/rest-request-dpop-two-proofs", Unauthorized),
    ("authorizer/rest-request-dpop-without-proof", Unauthorized),
    (
        "authorizer/rest-request-duplicate-authorization",
        Unauthorized,
    ),
    ("authorizer/rest-request-jwt-as-bearer", Unauthorized),
    ("authorizer/rest-request-lower-case-names", Unauthorized),
    ("authorizer/rest-request-method-override", Deny),
    ("authorizer/rest-request-no-credential", Unauthorized),
    ("authorizer/rest-request-null-maps", Unauthorized),
    ("authorizer/rest-request-partition-aws-cn", Unauthorized),
    ("authorizer/rest-request-partition-aws-eusc", Unauthorized),
    ("authorizer/rest-request-partition-aws-iso", Unauthorized),
    ("authorizer/rest-request-partition-aws-iso-b", Unauthorized),
    ("authorizer/rest-request-partition-aws-iso-e", Unauthorized),
    ("authorizer/rest-request-partition-aws-iso-f", Unauthorized),
    ("authorizer/rest-request-partition-aws-us-gov", Unauthorized),
    ("authorizer/rest-request-partition-unknown", Unauthorized),
    ("authorizer/rest-request-refresh-as-bearer", Unauthorized),
    ("authorizer/rest-request-session-as-bearer", Unauthorized),
    ("authorizer/rest-request-session-scheme", Unauthorized),
    ("authorizer/rest-request-two-in-one-header", Unauthorized),
    ("authorizer/rest-request-wildcard-path", Unauthorized),
    ("authorizer/rest-request-wrong-api", Unauthorized),
    ("authorizer/rest-request-wrong-checksum", Unauthorized),
    ("authorizer/rest-request-wrong-method", Unauthorized),
    ("authorizer/rest-request-wrong-stage", Unauthorized),
    ("authorizer/rest-token", Unauthorized),
    ("authorizer/rest-token-dpop", Unauthorized),
    ("authorizer/rest-token-empty", Unauthorized),
    ("authorizer/rest-token-foreign-arn", Unauthorized),
    ("authorizer/type-missing", Unauthorized),
    ("authorizer/websocket-bearer", Unauthorized),
    ("authorizer/websocket-cookie", Deny),
    ("authorizer/websocket-cookie-and-bearer", Unauthorized),
    ("authorizer/websocket-cookie-without-origin", Deny),
    ("authorizer/websocket-disconnect", Unauthorized),
    ("authorizer/websocket-message", Unauthorized),
    ("authorizer/websocket-no-credential", Unauthorized),
    ("authorizer/websocket-session-as-subprotocol", Unauthorized),
    ("authorizer/websocket-session-scheme", Unauthorized),
    ("authorizer/websocket-ticket", Unauthorized),
    ("authorizer/websocket-ticket-alone", Unauthorized),
    ("authorizer/websocket-ticket-and-cookie", Unauthorized),
    ("authorizer/websocket-ticket-as-bearer", Unauthorized),
    ("authorizer/websocket-ticket-foreign-origin", Deny),
    ("authorizer/websocket-ticket-in-query", Unauthorized),
    ("authorizer/websocket-two-tickets", Unauthorized),
    ("jwks/client-keys", Status(200)),
    ("jwks/empty-object", error(400, "invalid_request")),
    ("jwks/keys", Status(200)),
    ("jwks/keys-head", Status(200)),
    ("jwks/keys-http-2", Status(200)),
    ("jwks/keys-not-modified", Status(304)),
    ("jwks/keys-post", Fails(405, None)),
    ("jwks/metadata", Status(200)),
    ("jwks/metadata-http-2", Status(200)),
    ("jwks/unknown-path", Fails(404, None)),
    ("login/authorize", Status(303)),
    ("login/authorize-foreign-redirect", Fails(400, None)),
    ("login/authorize-plain-pkce", Status(303)),
    ("login/authorize-unknown-client", Fails(400, None)),
    ("login/authorize-without-pkce", Status(303)),
    ("login/backchannel-logout", error(400, "invalid_request")),
    (
        "login/backchannel-logout-empty",
        error(400, "invalid_request"),
    ),
    ("login/backchannel-logout-get", Fails(405, None)),
    ("login/callback-error", error(400, "not_pending")),
    ("login/callback-foreign-cookie", error(400, "not_pending")),
    (
        "login/callback-of-another-provider",
        error(400, "not_pending"),
    ),
    ("login/callback-post", Fails(405, None)),
    (
        "login/callback-without-pending-login",
        error(400, "not_pending"),
    ),
    (
        "login/confirm-foreign-origin",
        error(400, "invalid_request"),
    ),
    ("login/confirm-without-login", error(400, "not_pending")),
    ("login/empty-object", error(400, "invalid_request")),
    ("login/login", Status(303)),
    ("login/login-cross-site", Status(200)),
    (
        "login/login-duplicate-parameter",
        error(400, "invalid_request"),
    ),
    ("login/login-forged-host", Status(303)),
    ("login/login-head", Fails(405, None)),
    ("login/login-http-2", Status(303)),
    ("login/login-iframe", error(403, "not_a_navigation")),
    ("login/login-max-age-is-no-number", Fails(400, None)),
    ("login/login-prefetch", error(403, "not_a_navigation")),
    ("login/login-return-to-evil", Status(303)),
    ("login/login-step-up", Status(303)),
    (
        "login/login-unknown-provider",
        error(400, "unknown_provider"),
    ),
    ("login/logout", Status(200)),
    ("login/logout-cross-site", error(403, "csrf")),
    ("login/logout-get", Fails(405, None)),
    ("login/logout-unknown-session", Status(200)),
    ("login/logout-without-csrf", error(403, "csrf")),
    ("login/session-cookie-and-bearer", error(401, "no_session")),
    ("login/session-http-2", error(401, "no_session")),
    ("login/session-unknown", error(401, "no_session")),
    ("login/session-without-cookie", error(401, "no_session")),
    ("login/session-without-csrf", error(403, "csrf")),
    ("login/unknown-path", Fails(404, None)),
    ("login/ws-ticket-cross-site", error(403, "csrf")),
    ("login/ws-ticket-get", Fails(405, None)),
    ("login/ws-ticket-unknown-session", error(401, "no_session")),
    ("login/ws-ticket-without-csrf", error(403, "csrf")),
    ("token/base64-invalid", error(400, "invalid_request")),
    ("token/body-null", error(400, "invalid_request")),
    ("token/body-too-large", error(400, "invalid_request")),
    ("token/client-credentials-base64", Status(200)),
    ("token/client-credentials-basic", Status(200)),
    ("token/client-credentials-body", Status(200)),
    (
        "token/client-credentials-foreign-scope",
        error(400, "invalid_scope"),
    ),
    ("token/client-credentials-http-2", Status(200)),
    (
        "token/client-credentials-public-client",
        error(400, "unauthorized_client"),
    ),
    (
        "token/client-credentials-twice-authenticated",
        error(400, "invalid_request"),
    ),
    (
        "token/client-credentials-unknown-client",
        error(401, "invalid_client"),
    ),
    (
        "token/client-credentials-wrong-secret",
        error(401, "invalid_client"),
    ),
    ("token/code-unknown", error(400, "invalid_grant")),
    ("token/code-without-verifier", error(400, "invalid_request")),
    ("token/content-type-json", error(400, "invalid_request")),
    ("token/content-type-missing", error(400, "invalid_request")),
    ("token/content-type-utf-16", error(400, "invalid_request")),
    ("token/duplicate-parameter", error(400, "invalid_request")),
    ("token/empty-object", error(400, "invalid_request")),
    ("token/get", Fails(405, None)),
    ("token/grant-unknown", error(400, "unsupported_grant_type")),
    (
        "token/percent-encoding-invalid",
        error(400, "invalid_request"),
    ),
    ("token/query-credentials", error(400, "invalid_request")),
    ("token/refresh-malformed", error(400, "invalid_grant")),
    ("token/refresh-missing", error(400, "invalid_request")),
    ("token/refresh-unknown", error(400, "invalid_grant")),
    ("token/revoke-unknown", Status(200)),
    ("token/revoke-without-token", error(400, "invalid_request")),
];

/// `<function>/<case>` of every file.
fn files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for function in fs::read_dir(ROOT).unwrap() {
        let function = function.unwrap().path();
        if function.is_dir() {
            for file in fs::read_dir(&function).unwrap() {
                let file = file.unwrap().path();
                assert_eq!(file.extension().unwrap(), "json", "{}", file.display());
                files.insert(format!("{}/{}", stem(&function), stem(&file)));
            }
        }
    }
    files
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

fn event(name: &str) -> Vec<u8> {
    fs::read(format!("{ROOT}/{name}.json")).unwrap()
}

async fn outcome(system: &System, name: &str) -> Expected {
    let (function, _) = name.split_once('/').unwrap();
    let function = system.function(function).expect("a function");
    match function.invoke(event(name).into()).await {
        Ok(answer) => read(&serde_json::from_slice(&answer).unwrap()),
        Err(FunctionError::Handled { error_message, .. }) => {
            assert_eq!(error_message, "Unauthorized", "{name}");
            Unauthorized
        }
        Err(FunctionError::Unavailable(why)) => panic!("{name}: {why}"),
    }
}

fn read(answer: &Value) -> Expected {
    if let Some(authorized) = answer["isAuthorized"].as_bool() {
        return Simple(authorized);
    }
    if let Some(statement) = answer["policyDocument"]["Statement"].get(0) {
        assert_eq!(statement["Effect"], "Deny", "no sample token is known");
        assert!(answer["context"].is_null());
        return Deny;
    }
    let status = answer["statusCode"].as_u64().unwrap();
    if status < 400 {
        return Status(status);
    }
    let body = answer["body"].as_str().unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body["error"].as_str().map(str::to_owned);
    let known = EXPECTED.iter().find_map(|(_, expected)| match expected {
        Fails(_, Some(known)) if Some(*known) == code.as_deref() => Some(*known),
        _ => None,
    });
    assert!(code.is_none() || known.is_some(), "{body}");
    Fails(status, known)
}

#[test]
fn every_event_has_an_expectation_and_every_expectation_an_event() {
    let expected: Vec<_> = EXPECTED.iter().map(|(name, _)| *name).collect();
    assert!(expected.is_sorted(), "so that none is there twice unseen");
    let expected: BTreeSet<_> = expected.into_iter().map(str::to_owned).collect();
    assert_eq!(expected.len(), EXPECTED.len());
    assert_eq!(files(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_answered_as_expected() {
    let system = System::start(Options::default()).await.unwrap();
    let mut wrong = Vec::new();
    for (name, expected) in EXPECTED.iter().copied() {
        let outcome = outcome(&system, name).await;
        if outcome != expected {
            wrong.push((name, expected, outcome));
        }
    }
    assert!(wrong.is_empty(), "(event, expected, outcome): {wrong:#?}");
}

/// The gateway's id of the request, replaced, so that its lines can be told apart.
/// `None` if the function never sees one.
fn renamed(name: &str, id: &str) -> Option<Vec<u8>> {
    let bytes = event(name);
    if name.starts_with("authorizer/") {
        let read = AuthorizerEvent::parse(&bytes).ok()?;
        let without = matches!(
            read.kind,
            EventKind::RestToken | EventKind::LoadBalancer { .. }
        );
        (!without).then_some(())?;
    }
    let mut event: Value = serde_json::from_slice(&bytes).ok()?;
    event.get_mut("requestContext")?["requestId"] = id.into();
    Some(event.to_string().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_one_line_of_the_log_and_a_metric() {
    logs::listen();
    let system = System::start(Options::default()).await.unwrap();
    let documented = include_str!("../../docs/metrics.md");
    let mut seen = 0;
    for (n, (name, _)) in EXPECTED.iter().enumerate() {
        let id = format!("one-line-each-{n}-");
        let Some(event) = renamed(name, &id) else {
            continue;
        };
        let function = system.function(name.split_once('/').unwrap().0).unwrap();
        let _ = function.invoke(event.into()).await;
        let lines = logs::with(&id);
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["Decisions"], 1, "{name}");
        let function = format!("`{}`", line["function"].as_str().unwrap());
        assert!(documented.contains(&function), "{function}");
        seen += 1;
    }
    assert!(seen > 80, "{seen} events have an id");
}

/// Alarms have the stack alone, and so no function that could be the wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn every_graph_of_the_dashboard_is_fed() {
    logs::listen();
    let system = System::start(Options::default()).await.unwrap();
    walk::machine(&system).await;
    walk::browser(&system).await;
    let lines: Vec<Value> = logs::all()
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let template = include_str!("../../infra/template.yaml");
    let mut graphs = 0;
    for graph in template.split("[\"Cloakroom\",\"").skip(1) {
        let (metric, rest) = graph.split_once('"').unwrap();
        let (dimensions, _) = rest.split_once(']').unwrap();
        let Some((_, function)) = dimensions.split_once("\"function\",\"") else {
            continue;
        };
        let function = function.trim_end_matches('"');
        let fed = lines
            .iter()
            .any(|line| line["function"] == function && !line[metric].is_null());
        assert!(fed, "nobody feeds {metric} of {function}");
        graphs += 1;
    }
    assert_eq!(graphs, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_repeats_what_an_attacker_put_into_the_event() {
    let system = System::start(Options::default()).await.unwrap();
    for name in files() {
        let function = system.function(name.split_once('/').unwrap().0).unwrap();
        let Ok(answer) = function.invoke(event(&name).into()).await else {
            continue;
        };
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        for word in [
            "evil.example",
            "<script>",
            "access_denied",
            "cr_rt_",
            "cr_st_",
            "cr_ac_",
        ] {
            assert!(!answer.contains(word), "{name}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_client_without_s256_gets_an_error_and_no_login() {
    let system = System::start(Options::default()).await.unwrap();
    let function = system.function("login").unwrap();
    for name in ["authorize-without-pkce", "authorize-plain-pkce"] {
        let event = event(&format!("login/{name}"));
        let answer = function.invoke(event.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let location = &answer["multiValueHeaders"]["location"][0];
        let location = location.as_str().unwrap();
        assert!(location.starts_with("http://127.0.0.1:49152/callback?"));
        assert!(location.contains("error=invalid_request"), "{location}");
    }
}

#[test]
fn sample_tokens_are_well_formed() {
    for name in files() {
        let text = String::from_utf8(event(&name)).unwrap();
        let is_part = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_';
        for token in text.split(is_part).filter(|part| part.starts_with("cr_")) {
            let well_formed = OpaqueToken::parse(token).is_ok();
            assert_eq!(well_formed, !name.ends_with("wrong-checksum"), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_differs_in_its_token_alone_is_allowed() {
    let system = System::start(Options::default()).await.unwrap();
    let token = cloakroom_tests::oauth::machine_token(&system).await;
    let function = system.function("authorizer").unwrap();
    for name in [
        "rest-token",
        "rest-request-bearer",
        "rest-request-lower-case-names",
        "rest-request-control-characters",
        "http-1-bearer",
        "http-2-bearer",
        "http-2-authorization",
        "websocket-bearer",
        "appsync",
        "appsync-bearer",
        "appsync-hostile-query",
        "function-url-bearer",
        "load-balancer-bearer",
        "load-balancer-multi-value",
    ] {
        let event = String::from_utf8(event(&format!("authorizer/{name}"))).unwrap();
        let at = event.find("cr_at_").unwrap();
        let sample = event[at..at + OpaqueToken::LEN].to_owned();
        let event = event.replace(&sample, &token);
        let answer = function.invoke(event.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let allowed = answer["isAuthorized"] == true
            || answer["statusCode"] == 200
            || answer["policyDocument"]["Statement"][0]["Effect"] == "Allow";
        assert!(allowed, "{name}: {answer}");
        assert!(!answer.to_string().contains(&token), "{name}");
    }
}
