//! The services of `examples/services`, run as they stand there, each asked the same
//! questions. What each must refuse differs from what it lets in by one thing.

use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::oauth;
use cloakroom_tests::swap::{swap, swap_session};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A question and its answer.
struct Case {
    name: &'static str,
    path: &'static str,
    authorization: Option<String>,
    status: u16,
}

fn case(name: &'static str, path: &'static str, token: &str, status: u16) -> Case {
    Case {
        name,
        path,
        authorization: Some(format!("Bearer {token}")),
        status,
    }
}

/// Signs what the authorizer would not, with the authorizer's key.
async fn signed(system: &System, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let answer = system
        .backends()
        .kms()
        .sign()
        .key_id(system.backends().signing_key())
        .message_type(MessageType::Raw)
        .signing_algorithm(SigningAlgorithmSpec::RsassaPkcs1V15Sha256)
        .message(input.clone().into_bytes().into())
        .send()
        .await
        .unwrap();
    let signature = BASE64URL.encode(answer.signature.unwrap());
    format!("{input}.{signature}")
}

/// The parts of a JWT.
fn parts(jwt: &str) -> (Value, Value, String) {
    let mut parts = jwt.split('.');
    let mut json =
        || serde_json::from_slice(&BASE64URL.decode(parts.next().unwrap()).unwrap()).unwrap();
    let (header, claims) = (json(), json());
    (header, claims, parts.next().unwrap().to_owned())
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

async fn cases(system: &System) -> Vec<Case> {
    let ticket = oauth::machine_token(system).await;
    let machine = swap(system, "/api/orders", &ticket).await.jwt().to_owned();
    let other_audience = swap(system, "/api/profile", &ticket).await.jwt().to_owned();
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let cookie = alice.cookie("__Host-Http-cloakroom").unwrap();
    let admin = swap_session(system, "/api/orders", &cookie)
        .await
        .jwt()
        .to_owned();

    let (header, claims, signature) = parts(&machine);
    let unsigned = with(&header, "alg", json!("none"));
    let by_claims = |header: &Value, claims: &Value| {
        format!(
            "{}.{}.{signature}",
            BASE64URL.encode(header.to_string()),
            BASE64URL.encode(claims.to_string())
        )
    };
    let mut cases = vec![
        case("a machine's", "/api/orders", &machine, 200),
        case("a machine has no role", "/api/reports", &machine, 403),
        case("an admin's", "/api/reports", &admin, 200),
        case("the ticket itself", "/api/orders", &ticket, 401),
        case("another audience's", "/api/orders", &other_audience, 401),
        case("no path", "/api/nothing", &machine, 404),
        case("a target that is no URL", "//", &machine, 404),
        case(
            "another's claims",
            "/api/orders",
            &by_claims(&header, &with(&claims, "sub", json!("demo|alice"))),
            401,
        ),
        case(
            "unsigned",
            "/api/orders",
            &by_claims(&unsigned, &claims),
            401,
        ),
        Case {
            name: "nothing",
            path: "/api/orders",
            authorization: None,
            status: 401,
        },
        Case {
            name: "another scheme",
            path: "/api/orders",
            authorization: Some(format!("Basic {machine}")),
            status: 401,
        },
    ];
    cases.extend(signed_cases(system, &header, &claims).await);
    cases
}

/// What the right key has signed.
async fn signed_cases(system: &System, header: &Value, claims: &Value) -> Vec<Case> {
    let now = claims["iat"].as_u64().unwrap();
    let mut cases = Vec::new();
    for (name, header, claims, status) in [
        ("signed again", header.clone(), claims.clone(), 200),
        (
            "without scope",
            header.clone(),
            without(claims, "scope"),
            403,
        ),
        (
            "another typ",
            with(header, "typ", json!("JWT")),
            claims.clone(),
            401,
        ),
        ("no typ", without(header, "typ"), claims.clone(), 401),
        (
            "unknown kid",
            with(header, "kid", json!("nobody's")),
            claims.clone(),
            401,
        ),
        (
            "unknown crit",
            with(&with(header, "crit", json!(["x"])), "x", json!(1)),
            claims.clone(),
            401,
        ),
        (
            "another issuer",
            header.clone(),
            with(claims, "iss", json!(format!("{}/", system.url()))),
            401,
        ),
        (
            "two audiences",
            header.clone(),
            with(claims, "aud", json!(["orders", "profile"])),
            401,
        ),
        ("no audience", header.clone(), without(claims, "aud"), 401),
        (
            "expired",
            header.clone(),
            with(claims, "exp", json!(now - 61)),
            401,
        ),
        ("no expiry", header.clone(), without(claims, "exp"), 401),
        ("no iat", header.clone(), without(claims, "iat"), 401),
        (
            "not yet",
            header.clone(),
            with(claims, "nbf", json!(now + 120)),
            401,
        ),
    ] {
        let token = signed(system, &header, &claims).await;
        cases.push(case(name, "/api/orders", &token, status));
    }
    cases
}

/// The programs, each with the environment that all examples share.
fn services() -> Vec<(&'static str, PathBuf, Option<&'static str>)> {
    let root = Path::new(ROOT);
    // `cargo test` builds examples beside the tests.
    let built = std::env::current_exe().unwrap();
    let built = built.ancestors().nth(2).unwrap().join("examples/orders");
    vec![
        ("Rust", built, None),
        (
            "Node",
            "node".into(),
            Some("examples/services/node/orders.mjs"),
        ),
        (
            "Python",
            root.join(".venv/bin/python"),
            Some("examples/services/python/orders.py"),
        ),
    ]
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}

async fn start(program: &Path, script: Option<&str>, jwks: &str, issuer: &str) -> (Child, String) {
    let port = free_port();
    let child = Command::new(program)
        .args(script)
        .current_dir(ROOT)
        .env("ISSUER", issuer)
        .env("AUDIENCE", "orders")
        .env("JWKS_URL", jwks)
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    for _ in 0..600 {
        let up = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        if up.is_ok() {
            return (child, format!("http://127.0.0.1:{port}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} does not listen", program.display());
}

async fn ask(base: &str, path: &str, authorization: Option<&str>) -> (u16, bool, Value) {
    let mut request = client().get(format!("{base}{path}"));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = request.send().await.unwrap();
    let challenged = answer
        .headers()
        .get("www-authenticate")
        .is_some_and(|value| value.to_str().unwrap().starts_with("Bearer"));
    (
        answer.status().as_u16(),
        challenged,
        answer.json().await.unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_services_take_the_right_tokens_and_no_others() {
    let system = System::start(Options::default()).await.unwrap();
    let cases = cases(&system).await;
    let jwks = system.at("/.well-known/jwks.json");
    for (language, program, script) in services() {
        let (_child, base) = start(&program, script, &jwks, system.url()).await;
        for case in &cases {
            let (status, challenged, body) =
                ask(&base, case.path, case.authorization.as_deref()).await;
            assert_eq!(status, case.status, "{language}: {}: {body}", case.name);
            assert!(challenged || status != 401, "{language}: {}", case.name);
        }
        let admin = &cases[2];
        let (_, _, body) = ask(&base, admin.path, admin.authorization.as_deref()).await;
        assert_eq!(body["subject"], "demo|alice", "{language}");
        assert_eq!(body["email"], "alice@example.com", "{language}");
    }
}

#[tokio::test]
async fn the_example_services_say_why_they_do_not_start() {
    for (language, program, script) in services() {
        let (code, error) = refusal(&program, script, &[]).await;
        assert_eq!(code, Some(1), "{language}: {error}");
        let mut lines = error.lines();
        assert!(
            lines.any(|line| line.ends_with("ISSUER is not set")),
            "{language}: {error}"
        );
    }
    let (_, rust, script) = &services()[0];
    let variables = [
        ("ISSUER", "https://app.example.com"),
        ("AUDIENCE", "orders"),
        ("JWKS_URL", "http://app.example.com/jwks.json"),
        ("PORT", "0"),
    ];
    let (code, error) = refusal(rust, *script, &variables).await;
    assert_eq!(
        (code, error.as_str()),
        (Some(1), "the key set's URL is not https\n")
    );
}

/// How a program ends that does not start, and what it says.
async fn refusal(
    program: &Path,
    script: Option<&str>,
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command.args(script).current_dir(ROOT).kill_on_drop(true);
    for name in ["ISSUER", "AUDIENCE", "JWKS_URL", "PORT"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output();
    let output = tokio::time::timeout(Duration::from_secs(30), output).await;
    let output = output.unwrap().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), error)
}

/// Without keys nobody is let in, and nobody is told that the token is bad.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_services_say_so_when_they_have_no_keys() {
    let system = System::start(Options::default()).await.unwrap();
    let token = oauth::machine_token(&system).await;
    let jwt = swap(&system, "/api/orders", &token).await.jwt().to_owned();
    let good = client().get(system.at("/.well-known/jwks.json")).send();
    let good = good.await.unwrap().text().await.unwrap();
    // The key is there and of no use: it encrypts.
    let useless = good.replace("\"sig\"", "\"enc\"");
    assert_ne!(useless, good);
    let sets = [
        ("keys", StatusCode::OK, good.as_str(), 200),
        ("an outage", StatusCode::SERVICE_UNAVAILABLE, &good, 503),
        ("an empty set", StatusCode::OK, r#"{"keys":[]}"#, 503),
        ("no set", StatusCode::OK, "{}", 503),
        ("a list", StatusCode::OK, "[]", 503),
        ("no keys", StatusCode::OK, r#"{"keys":[1,{}]}"#, 503),
        ("useless keys", StatusCode::OK, &useless, 503),
        ("a page", StatusCode::OK, "<!doctype html><p>Welcome", 503),
    ];
    for (language, program, script) in services() {
        let nowhere = format!("http://127.0.0.1:{}/jwks.json", free_port());
        let mut places = vec![("nobody", nowhere, 503)];
        for (name, status, body, expected) in sets {
            places.push((name, publish(status, body).await, expected));
        }
        for (name, jwks, expected) in places {
            let (_child, base) = start(&program, script, &jwks, system.url()).await;
            // Twice: what was learnt of the first fetch decides the second answer.
            for _ in 0..2 {
                let (status, challenged, _) =
                    ask(&base, "/api/orders", Some(&format!("Bearer {jwt}"))).await;
                assert_eq!(status, expected, "{language}: {name}");
                assert!(!challenged, "{language}: {name}");
            }
        }
    }
}

/// Where this is answered to everybody.
async fn publish(status: StatusCode, body: &str) -> String {
    let body = body.to_owned();
    let answer = async move || (status, [("content-type", "application/json")], body.clone());
    let router = axum::Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
