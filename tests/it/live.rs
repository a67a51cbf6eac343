//! The smoke suite for deployed stacks, run against the local system: it must find it
//! good, and a system that is not so bad.

use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{Options, System};
use serde_json::Value;
use std::path::Path;
use tokio::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The exit code, and what was reported.
async fn smoke(system: &System, secret: &str, more: &[&str]) -> (Option<i32>, Value) {
    let latency = system.config().revocation.max_latency.to_string();
    let output = Command::new(Path::new(ROOT).join(".venv/bin/python"))
        .arg("tests/live/smoke.py")
        .args(["--url", system.url(), "--client", "demo-machine"])
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
        assert_eq!(report["checks"].as_array().unwrap().len(), 20, "{report}");
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
