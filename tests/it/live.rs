//! The smoke suite for deployed stacks, run against the local system: it must find it
//! good, and a system that is not so bad.

use aws_lc_rs::digest;
use axum::body::Bytes;
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, StatusCode};
use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::client;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The exit code, and what was reported.
async fn smoke(system: &System, secret: &str, more: &[&str]) -> (Option<i32>, Value) {
    smoke_at(system.url(), system, secret, more).await
}

/// The same through what stands at `url`.
async fn smoke_at(url: &str, system: &System, secret: &str, more: &[&str]) -> (Option<i32>, Value) {
    let latency = system.config().revocation.max_latency.to_string();
    let output = Command::new(Path::new(ROOT).join(".venv/bin/python"))
        .arg("tests/live/smoke.py")
        .args(["--url", url, "--client", "demo-machine"])
        .args([
            "--scope",
            "orders:read",
            "--json",
            "--max-latency",
            &latency,
        ])
        .args(more)
        .current_dir(ROOT)
        .env("CLOAKROOM_CLIENT_SECRET", secret)
        .env("CLOAKROOM_SMOKE_USER", "alice")
        .env("CLOAKROOM_SMOKE_PASSWORD", "alice")
        .output()
        .await
        .expect("there is no .venv: run `make test` once");
    let said = String::from_utf8_lossy(&output.stdout);
    for secret in ["cr_at_", "cr_rt_", "demo-machine-secret", "eyJ"] {
        assert!(!said.contains(secret), "{secret} was printed");
    }
    let report = serde_json::from_str(&said).unwrap_or_else(|_| {
        let error = String::from_utf8_lossy(&output.stderr);
        panic!("no report: {said}{error}")
    });
    (output.status.code(), report)
}

fn failed(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["ok"] == false);
    failed
        .map(|check| check["check"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_system_passes_the_smoke_suite_whatever_stands_before_it() {
    for (flavour, edge) in [
        (Flavour::Rest, Edge::None),
        (Flavour::Rest, Edge::Cloudfront),
        (Flavour::Http, Edge::Cloudfront),
    ] {
        let system = System::start(Options {
            flavour,
            edge: Some(edge),
            ..Options::default()
        })
        .await
        .unwrap();
        let everything = [
            "--forbidden-path=/api/reports",
            "--echo-path=/api/profile",
            "--native-client=demo-native",
            "--native-scope=openid profile orders:read offline_access",
            "--samples=5",
        ];
        let (code, report) = smoke(&system, "demo-machine-secret", &everything).await;
        assert_eq!(code, Some(0), "{flavour:?} {edge:?}: {report}");
        assert_eq!(failed(&report), Vec::<&str>::new());
        assert_eq!(report["latencies"].as_object().unwrap().len(), 4);
        assert_eq!(report["checks"].as_array().unwrap().len(), 29, "{report}");
        let answers = &report["open points"];
        assert_eq!(
            answers["answers are kept per token, method and resource"],
            "yes"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_found() {
    let system = System::start(Options::default()).await.unwrap();
    for (secret, more, expected) in [
        ("wrong", &[][..], "a machine gets a token"),
        (
            "demo-machine-secret",
            &["--path=/api/reports", "--samples=0"][..],
            "with a token it is 200",
        ),
        (
            "demo-machine-secret",
            &["--forbidden-path=/api/profile", "--samples=0"][..],
            "a verdict is for one route",
        ),
        (
            "demo-machine-secret",
            &["--max-latency=-10", "--samples=0"][..],
            "and refused in time",
        ),
        (
            "demo-machine-secret",
            &["--samples=0", "--direct", system.url(), "--path=/"][..],
            "the API's own hostname is closed",
        ),
    ] {
        let (code, report) = smoke(&system, secret, more).await;
        assert_eq!(code, Some(1), "{expected}");
        assert!(failed(&report).contains(&expected), "{expected}: {report}");
    }
}

#[tokio::test]
async fn without_the_clients_secret_nothing_is_asked() {
    for secret in [None, Some("")] {
        let mut command = Command::new(Path::new(ROOT).join(".venv/bin/python"));
        command
            .args(["tests/live/smoke.py", "--client=demo-machine"])
            .arg("--url=http://127.0.0.1:1")
            .current_dir(ROOT)
            .env_remove("CLOAKROOM_CLIENT_SECRET");
        command.envs(secret.map(|secret| ("CLOAKROOM_CLIENT_SECRET", secret)));
        let output = command.output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.ends_with("error: CLOAKROOM_CLIENT_SECRET is not set\n"),
            "{error}"
        );
    }
}

/// What a gateway or a cache before the system does wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// None: the neighbour.
    None,
    /// The service gets a header as the client wrote it.
    Passes(&'static str),
    /// The service gets the client's token beside the JWT.
    PassesToken,
    /// The service gets two JWTs.
    Doubles,
    /// Errors are kept by their paths.
    KeepsErrors,
}

/// A door before the system that shows what its service would have received.
async fn door(system: &System, fault: Fault) -> String {
    let target = system.url().to_owned();
    let kept = Arc::new(Mutex::new(HashSet::<String>::new()));
    let answer = async move |request: axum::extract::Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let path = parts.uri.path_and_query().unwrap().as_str();
        if kept.lock().unwrap().contains(path) {
            return (StatusCode::FORBIDDEN, HeaderMap::new(), Bytes::new());
        }
        let sent = client().request(parts.method, format!("{target}{path}"));
        let sent = sent.headers(without_host(&parts.headers)).body(body);
        let answer = sent.send().await.unwrap();
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        let mut body = answer.bytes().await.unwrap();
        if path == "/api/profile" && status == StatusCode::OK {
            let mut seen: Value = serde_json::from_slice(&body).unwrap();
            let received = seen["received_digests"].as_object_mut().unwrap();
            let sent = |name: &str| digest(parts.headers[name].as_bytes());
            match fault {
                Fault::None | Fault::KeepsErrors => {}
                Fault::Passes(name) => {
                    received.insert(name.to_owned(), json!([sent(name)]));
                }
                Fault::PassesToken => {
                    received.insert("x-original".to_owned(), json!([sent("authorization")]));
                }
                Fault::Doubles => {
                    let jwts = received["authorization"].as_array_mut().unwrap();
                    jwts.push(jwts[0].clone());
                }
            }
            body = serde_json::to_vec(&seen).unwrap().into();
            headers.remove(CONTENT_LENGTH);
        }
        if matches!(fault, Fault::KeepsErrors) && status == StatusCode::FORBIDDEN {
            kept.lock().unwrap().insert(path.to_owned());
        }
        (status, headers, body)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn without_host(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(HOST);
    headers
}

fn digest(value: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, value);
    let beginning = hash.as_ref().first_chunk().copied().unwrap();
    format!("{:08x}", u32::from_be_bytes(beginning))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_lets_pass_is_found() {
    let system = System::start(Options::default()).await.unwrap();
    let spellings = ["as written", "in lower case", "in upper case"];
    for (fault, expected) in [
        (Fault::None, None),
        (
            Fault::Passes("x-user-id"),
            Some("nothing forged reaches a service"),
        ),
        (
            Fault::Passes("x_user_id"),
            Some("nothing forged reaches a service"),
        ),
        (
            Fault::Passes("cookie"),
            Some("nothing forged reaches a service"),
        ),
        (
            Fault::PassesToken,
            Some("the opaque token reaches no service"),
        ),
        (Fault::Doubles, Some("the JWT arrives once")),
        (Fault::KeepsErrors, Some("one's error is not another's")),
    ] {
        let door = door(&system, fault).await;
        let more = ["--samples=0", "--echo-path=/api/profile"];
        let (_, report) = smoke_at(&door, &system, "demo-machine-secret", &more).await;
        // The door is not the issuer; nothing else may be wrong.
        let mut wanted = vec!["the issuer is this URL".to_owned()];
        match (fault, expected) {
            (Fault::KeepsErrors, Some(check)) => wanted.push(check.to_owned()),
            (_, Some(check)) => wanted.extend(spellings.map(|one| format!("{check}, {one}"))),
            (_, None) => {}
        }
        assert_eq!(failed(&report), wanted, "{fault:?}: {report}");
    }
}
