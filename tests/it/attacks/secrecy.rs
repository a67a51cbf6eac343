//! D64, D66: nothing secret in a log at any level, in the table, or in an answer
//! that says no; and what `--data-dir` keeps.

use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::Browser;
use cloakroom_tests::{logs, oauth};
use reqwest::Method;
use std::path::Path;

const SESSION: &str = "__Host-Http-cloakroom";

#[tokio::test(flavor = "multi_thread")]
async fn d64_no_flow_logs_a_secret_at_any_level() {
    logs::listen();
    let system = System::start(Options::default()).await.unwrap();
    let mut secrets: Vec<String> = [
        "demo-machine-secret",
        oauth::VERIFIER,
        "native-state",
        "Alice Example",
        "alice@example.com",
        "demo|alice",
    ]
    .map(str::to_owned)
    .to_vec();

    let token = oauth::machine_token(&system).await;
    let (_, profile) = oauth::call(&system, "/api/profile", &token).await;
    secrets.push(oauth::text(&profile["claims"], "jti"));
    secrets.push(token);

    let mut alice = Browser::default();
    let landed = alice.sign_in(system.url(), "alice").await;
    for hop in &landed.hops {
        for (name, value) in hop.query_pairs() {
            if matches!(&*name, "code" | "state" | "nonce" | "code_challenge") {
                secrets.push(value.into_owned());
            }
        }
    }
    secrets.push(alice.cookie(SESSION).unwrap());
    alice.fetch(Method::GET, &system.at("/auth/session")).await;
    alice.fetch(Method::GET, &system.at("/api/orders")).await;
    alice.fetch(Method::POST, &system.at("/auth/logout")).await;

    let code = oauth::code(&system, "alice").await;
    let (_, first) = oauth::redeem(&system, &code).await;
    let refresh = oauth::text(&first, "refresh_token");
    secrets.push(oauth::text(&first, "access_token"));
    let (_, second) = oauth::refresh(&system, &refresh).await;
    oauth::call(
        &system,
        "/api/orders",
        &oauth::text(&second, "access_token"),
    )
    .await;
    secrets.push(oauth::text(&second, "access_token"));
    secrets.push(oauth::text(&second, "refresh_token"));
    // What goes wrong is logged too.
    oauth::redeem(&system, &code).await;
    oauth::refresh(&system, "cr_rt_junk").await;
    oauth::revoke(&system, &refresh).await;
    secrets.extend([code, refresh]);

    let lines = logs::all();
    assert!(lines.len() > 20, "the flows were logged");
    for secret in &secrets {
        let found = lines.iter().find(|line| line.contains(secret.as_str()));
        assert!(found.is_none(), "{found:?}");
    }
    let jwt = lines.iter().find(|line| line.contains("eyJ"));
    assert!(jwt.is_none(), "{jwt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d66_answers_that_say_no_name_nothing_of_ours() {
    let system = System::start(Options::default()).await.unwrap();
    let mut said = String::new();
    for (status, body) in [
        oauth::call(&system, "/api/orders", "junk").await,
        oauth::token(&system, &[("grant_type", "junk")]).await,
        oauth::refresh(&system, "junk").await,
        oauth::redeem(&system, "junk").await,
    ] {
        assert!(status.is_client_error());
        said += &body.to_string();
    }
    let mut browser = Browser::default();
    said += &browser
        .open(&system.at("/auth/callback?code=x&state=y"))
        .await
        .body;
    said += &browser
        .open(&system.at("/auth/login?idp=nobody"))
        .await
        .body;
    for inside in [
        "arn:",
        "dynamodb",
        "kms",
        "cloakroom_",
        "127.0.0.1",
        "panicked",
        ".rs",
    ] {
        assert!(!said.to_lowercase().contains(inside), "{inside}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_sessions_and_the_files_tell_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let first = System::start(options()).await.unwrap();
    let held = Held::before(&first).await;
    drop(first);
    // The listeners of the first go with their tasks.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    held.after(&System::start(options()).await.unwrap(), dir.path())
        .await;
}

/// What clients hold over a restart.
pub(crate) struct Held {
    alice: Browser,
    access: String,
    refresh: String,
    machine: String,
}

impl Held {
    pub(crate) async fn before(system: &System) -> Self {
        let mut alice = Browser::default();
        alice.sign_in(system.url(), "alice").await;
        let (status, _, _) = alice.fetch(Method::GET, &system.at("/api/reports")).await;
        assert_eq!(status, 200);
        let (access, refresh) = oauth::native_tokens(system, "alice").await;
        let machine = oauth::machine_token(system).await;
        oauth::call(system, "/api/profile", &access).await;
        Self {
            alice,
            access,
            refresh,
            machine,
        }
    }

    pub(crate) async fn after(mut self, system: &System, dir: &Path) {
        let session = system.at("/auth/session");
        let (status, _, body) = self.alice.fetch(Method::GET, &session).await;
        assert_eq!(
            (status.as_u16(), &body["subject"]),
            (200, &"demo|alice".into())
        );
        let (status, _) = oauth::call(system, "/api/orders", &self.machine).await;
        assert_eq!(status, 200);
        let (status, _) = oauth::refresh(system, &self.refresh).await;
        assert_eq!(status, 200);

        let ticket = self.alice.cookie(SESSION).unwrap();
        let secrets = [
            &*ticket,
            &*self.access,
            &*self.refresh,
            &*self.machine,
            "alice",
            "alice@example.com",
            "admin",
        ];
        let mut seen = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            if !is_database(&path) {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            seen += bytes.len();
            for secret in secrets {
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{} in {}", secret.len(), path.display());
            }
        }
        assert!(seen > 4096, "the database was looked at");
    }
}

fn is_database(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("dynamodb.sqlite"))
}
