//! Where a secret must not be: in logs at any level (D64), in files, in any answer
//! but the one that gives it, and nothing of ours in answers that say no (D66). And
//! nothing in a log that an attacker wrote (D65).

use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::swap::{Swap, swap};
use cloakroom_tests::{logs, oauth};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};
use std::path::Path;

const SESSION: &str = "__Host-Http-cloakroom";

/// The demo machine and its secret, as `Authorization: Basic` carries them.
const MACHINE_BASIC: &str = "ZGVtby1tYWNoaW5lOmRlbW8tbWFjaGluZS1zZWNyZXQ=";

/// A way through every flow: the secrets that came by, and the answers that had no
/// business with any of them.
#[derive(Default)]
pub(crate) struct Tour {
    secrets: Vec<(&'static str, String)>,
    answers: Vec<(String, String)>,
}

impl Tour {
    /// Makes the tour.
    pub(crate) async fn through(system: &System) -> Self {
        let mut tour = Self::default();
        for (what, secret) in [
            ("client secret", "demo-machine-secret"),
            ("client secret in base64", MACHINE_BASIC),
            ("wrong client secret", "wrong-secret-canary"),
            ("verifier", oauth::VERIFIER),
            (
                "verifier that is wrong",
                "wrong-verifier-canary-0123456789-0123456789",
            ),
            ("state of the app", "native-state"),
        ] {
            tour.hide(what, secret);
        }
        if let Some(secret) = system.environment().get("CLOAKROOM_DEMO_IDP_SECRET") {
            tour.hide("our secret at the provider", secret);
        }
        tour.machine(system).await;
        tour.browser(system).await;
        tour.native(system).await;
        tour
    }

    fn hide(&mut self, what: &'static str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(secret.len() >= 12, "{what} is long enough to be looked for");
        self.secrets.push((what, secret));
    }

    fn said(&mut self, what: impl Into<String>, answer: impl Into<String>) {
        self.answers.push((what.into(), answer.into()));
    }

    /// Sends it; its answer must give nothing away.
    async fn ask(&mut self, what: &str, request: RequestBuilder) -> u16 {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let head = format!("{status} {:?}", answer.headers());
        let body = answer.text().await.unwrap();
        self.said(what, format!("{head} {body}"));
        status.as_u16()
    }

    async fn machine(&mut self, system: &System) {
        let token = oauth::machine_token(system).await;
        if let Swap::Allowed(jwt) = swap(system, "/api/profile", &token).await {
            let (_, signature) = jwt.rsplit_once('.').unwrap();
            self.hide("signature of a JWT", signature);
        }
        let paths = [
            "/api/orders",
            "/api/reports",
            "/api/profile",
            "/api/nothing",
        ];
        for path in paths {
            let request = client().get(system.at(path)).bearer_auth(&token);
            self.ask(path, request).await;
        }
        for path in [
            "/.well-known/jwks.json",
            "/.well-known/oauth-authorization-server",
        ] {
            self.ask(path, client().get(system.at(path))).await;
        }
        let wrong = client()
            .post(system.at("/oauth/token"))
            .basic_auth("demo-machine", Some("wrong-secret-canary"))
            .form(&[("grant_type", "client_credentials")]);
        assert_eq!(self.ask("wrong secret", wrong).await, 401);
        // Where it does not belong.
        let wrong = client()
            .post(system.at("/oauth/token?client_secret=demo-machine-secret"))
            .form(&[
                ("grant_type", "client_credentials"),
                ("client_id", "demo-machine-secret"),
                ("client_secret", "demo-machine-secret"),
            ]);
        assert_eq!(self.ask("secret in the query", wrong).await, 400);
        let form = [("token", token.as_str())];
        self.ask(
            "introspection",
            as_machine(system, "/oauth/introspect").form(&form),
        )
        .await;
        self.hide("token of a machine", token);
    }

    async fn browser(&mut self, system: &System) {
        let mut alice = Browser::default();
        let form = alice.open(&system.at("/auth/login?return_to=/")).await;
        for (_, cookie) in alice.cookies() {
            self.hide("cookie of a pending login", cookie);
        }
        let fields = [("username", "alice"), ("password", "alice")];
        let landed = alice.submit(&form, &fields).await;
        for url in form.hops.iter().chain(&landed.hops) {
            self.hide_parameters(url);
        }
        let ticket = alice.cookie(SESSION).unwrap();
        let session = system.at("/auth/session");
        for (method, path) in [
            (Method::GET, "/auth/session"),
            (Method::GET, "/api/orders"),
            (Method::GET, "/api/profile"),
        ] {
            let (status, headers, body) = alice.fetch(method, &system.at(path)).await;
            assert_eq!(status, 200);
            self.said(path, format!("{headers:?} {body}"));
        }
        let (_, headers, body) = alice.fetch_with(Method::GET, &session, &[]).await;
        self.said(
            "session without the CSRF header",
            format!("{headers:?} {body}"),
        );
        // The callback once more, and the same with another state.
        let callback = landed
            .hops
            .iter()
            .find(|url| url.path() == "/auth/callback");
        let callback = callback.unwrap().clone();
        let again = alice.open(callback.as_str()).await;
        self.said(
            "callback again",
            format!("{:?} {}", again.headers, again.body),
        );
        let (status, _, body) = alice.fetch(Method::POST, &system.at("/auth/logout")).await;
        assert_eq!(status, 200);
        // An id_token_hint is in there for the browser, and for no log.
        let url = Url::parse(body["logout_url"].as_str().unwrap()).unwrap();
        self.hide_parameters(&url);
        alice.plant(SESSION, &ticket);
        let (_, headers, body) = alice.fetch(Method::GET, &session).await;
        self.said("session that is over", format!("{headers:?} {body}"));
        self.hide("session", ticket);
    }

    fn hide_parameters(&mut self, url: &Url) {
        for (name, value) in url.query_pairs() {
            let what = match &*name {
                "code" => "code",
                "state" => "state",
                "nonce" => "nonce",
                "code_challenge" => "challenge",
                "id_token_hint" => "ID token",
                _ => continue,
            };
            self.hide(what, value);
        }
    }

    async fn native(&mut self, system: &System) {
        let (access, refresh) = self.redeemed(system).await;
        let (status, body) = oauth::refresh(system, &refresh).await;
        assert_eq!(status, 200);
        let (second, next) = pair(&body);
        for token in [&access, &second] {
            let request = client().get(system.at("/api/orders")).bearer_auth(token);
            assert_eq!(self.ask("orders", request).await, 200);
        }
        let exchange = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", second.as_str()),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
        ];
        let (status, body) = oauth::machine(system, &exchange).await;
        assert_eq!(status, 200, "{body}");
        self.hide("exchanged token", oauth::text(&body, "access_token"));
        for token in [&second, &next] {
            let form = [("token", token.as_str())];
            let request = as_machine(system, "/oauth/introspect").form(&form);
            self.ask("introspection", request).await;
        }
        let pushed = [
            ("client_id", "demo-native"),
            ("response_type", "code"),
            ("redirect_uri", oauth::REDIRECT),
            ("state", "native-state"),
            ("code_challenge", &oauth::challenge(oauth::VERIFIER)),
            ("code_challenge_method", "S256"),
        ];
        let request = client().post(system.at("/oauth/par")).form(&pushed);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        self.hide("pushed request", oauth::text(&answer, "request_uri"));
        self.hide("refresh token", refresh);
        self.hide("refresh token", next.clone());
        self.hide("access token", access);
        self.hide("access token", second);
        let revoke = [("client_id", "demo-native"), ("token", next.as_str())];
        let request = client().post(system.at("/oauth/revoke")).form(&revoke);
        assert_eq!(self.ask("revoke", request).await, 200);
        self.once_more(system, "over").await;
    }

    /// Signs in for an app; what it shows on the way is hidden too.
    async fn redeemed(&mut self, system: &System) -> (String, String) {
        let answer = oauth::authorize(system, "alice").await;
        self.hide_parameters(&answer);
        let code = oauth::parameter(&answer, "code").unwrap();
        let wrong = [
            ("grant_type", "authorization_code"),
            ("client_id", "demo-native"),
            ("code", code.as_str()),
            ("redirect_uri", oauth::REDIRECT),
            (
                "code_verifier",
                "wrong-verifier-canary-0123456789-0123456789",
            ),
        ];
        let request = client().post(system.at("/oauth/token")).form(&wrong);
        assert_eq!(self.ask("wrong verifier", request).await, 400);
        let (status, body) = oauth::redeem(system, &code).await;
        assert_eq!(status, 200, "{body}");
        pair(&body)
    }

    /// Presents every secret wherever something is presented: nothing is to come of it.
    pub(crate) async fn once_more(&mut self, system: &System, why: &str) {
        for (what, secret) in self.secrets.clone() {
            let requests = [
                client().get(system.at("/api/orders")).bearer_auth(&secret),
                client()
                    .get(system.at("/auth/session"))
                    .header("x-csrf", "1")
                    .header("cookie", format!("{SESSION}={secret}")),
                client().post(system.at("/oauth/token")).form(&[
                    ("grant_type", "refresh_token"),
                    ("client_id", "demo-native"),
                    ("refresh_token", &secret),
                ]),
                client().post(system.at("/oauth/token")).form(&[
                    ("grant_type", "authorization_code"),
                    ("client_id", "demo-native"),
                    ("code", &secret),
                    ("code_verifier", &secret),
                    ("redirect_uri", &secret),
                ]),
                as_machine(system, "/oauth/introspect").form(&[("token", &secret)]),
                client()
                    .get(system.at("/auth/callback"))
                    .query(&[("code", &secret), ("state", &secret)]),
                client()
                    .get(system.at("/oauth/authorize"))
                    .query(&[("client_id", &secret), ("state", &secret)]),
            ];
            for request in requests {
                self.ask(&format!("{what}, {why}"), request).await;
            }
        }
    }

    /// The tour's secrets are not in `text`.
    pub(crate) fn is_not_in(&self, place: &str, text: &[u8]) {
        for (what, secret) in &self.secrets {
            let found = text
                .windows(secret.len())
                .position(|window| window == secret.as_bytes());
            if let Some(at) = found {
                let around = text.get(at.saturating_sub(200)..at).unwrap_or_default();
                let around = String::from_utf8_lossy(around);
                panic!("{what} is in {place}, after {around:?}");
            }
        }
    }

    /// No answer that had no business with a secret has one, nor a JWT.
    pub(crate) fn is_in_no_answer(&self) {
        assert!(self.answers.len() > 50);
        for (what, answer) in &self.answers {
            self.is_not_in(what, answer.as_bytes());
            assert!(!has_a_jwt(answer), "{what}: {answer}");
        }
    }

    /// No line of a log has a secret, a JWT, or what a person is called.
    pub(crate) fn is_in_no_log(&self, lines: &[String]) {
        assert!(lines.len() > 20, "the flows were logged");
        let log = lines.join("\n");
        self.is_not_in("a log", log.as_bytes());
        assert!(!has_a_jwt(&log));
        for person in ["Alice Example", "alice@example.com", "demo|alice"] {
            let line = lines.iter().find(|line| line.contains(person));
            assert!(line.is_none(), "{line:?}");
        }
    }
}

fn as_machine(system: &System, path: &str) -> RequestBuilder {
    client()
        .post(system.at(path))
        .basic_auth("demo-machine", Some("demo-machine-secret"))
}

fn pair(body: &Value) -> (String, String) {
    (
        oauth::text(body, "access_token"),
        oauth::text(body, "refresh_token"),
    )
}

/// Two parts that begin as JSON objects do in base64url.
fn has_a_jwt(text: &str) -> bool {
    text.match_indices(".eyJ").any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let start = before.trim_end_matches(is_part).len();
        before.get(start..).unwrap_or_default().starts_with("eyJ")
    })
}

#[test]
fn a_jwt_is_found_where_there_is_one() {
    assert!(has_a_jwt("Bearer eyJhbGciOiJ9.eyJzdWIiOi.c2ln"));
    assert!(!has_a_jwt("eyJ.x a.eyJ.b eyJhb"));
}

/// Every flavour and topology differs in which headers carry the secrets.
#[tokio::test(flavor = "multi_thread")]
async fn d64_no_flow_logs_a_secret_at_any_level() {
    logs::listen();
    for (flavour, edge) in [
        (Flavour::Rest, Edge::None),
        (Flavour::Http, Edge::Cloudfront),
    ] {
        let faults = Faults::default();
        let system = System::start(Options {
            flavour,
            edge: Some(edge),
            faults: Some(faults.clone()),
            ..Options::default()
        })
        .await
        .unwrap();
        let mut tour = Tour::through(&system).await;
        // What goes wrong is logged too.
        for backend in [Backend::DynamoDb, Backend::Kms] {
            for fault in [Fault::Denying, Fault::AnswerLost] {
                faults.set(backend, fault, &[]);
                tour.once_more(&system, "in an outage").await;
                faults.clear(backend);
            }
        }
        tour.is_in_no_log(&logs::all());
        tour.is_in_no_answer();
    }
}

/// A second line, a field, an escape sequence, and a change of direction.
const FORGED: &str = "x\r\n{\"function\":\"forged\"}\u{1b}[2J\",\"function\":\"forged\u{202e}";

#[tokio::test(flavor = "multi_thread")]
async fn d65_nobody_writes_a_line_of_our_log() {
    logs::listen();
    let system = System::start(Options::default()).await.unwrap();
    let http = |path: &str, method: &str, body: Value| {
        json!({
            "resource": path, "path": path, "httpMethod": method,
            "headers": {"User-Agent": FORGED, "Host": FORGED, "X-Amzn-Trace-Id": FORGED},
            "multiValueHeaders": {
                "User-Agent": [FORGED], "Host": [FORGED],
                "Cookie": [format!("{SESSION}={FORGED}")], "X-CSRF": ["1"],
                "Content-Type": ["application/x-www-form-urlencoded"],
            },
            "queryStringParameters": {"idp": FORGED, "client_id": FORGED, "state": FORGED},
            "multiValueQueryStringParameters": {
                "idp": [FORGED], "client_id": [FORGED], "state": [FORGED], "code": [FORGED],
            },
            "requestContext": {
                "requestId": FORGED, "path": path, "httpMethod": method, "stage": "prod",
                "identity": {"sourceIp": FORGED, "userAgent": FORGED},
            },
            "body": body, "isBase64Encoded": false,
        })
    };
    let form = "grant_type=client_credentials&client_id=x%0D%0Aforged%1B%5B2J&client_secret=x";
    let mut authorizer = cloakroom_tests::swap::event(
        "/api/orders",
        &json!({"Authorization": [format!("Bearer {FORGED}")], "User-Agent": [FORGED]}),
    );
    authorizer["requestContext"]["requestId"] = json!(FORGED);
    authorizer["path"] = json!(FORGED);
    let before = logs::all().len();
    for (function, event) in [
        ("authorizer", authorizer),
        ("login", http("/auth/login", "GET", Value::Null)),
        ("login", http("/auth/callback", "GET", Value::Null)),
        ("login", http("/auth/session", "GET", Value::Null)),
        ("login", http("/oauth/authorize", "GET", Value::Null)),
        ("token", http("/oauth/token", "POST", json!(form))),
        ("token", http("/oauth/introspect", "POST", json!(form))),
        ("jwks", http("/.well-known/jwks.json", "GET", Value::Null)),
    ] {
        let function = system.function(function).unwrap();
        let _ = function.invoke(event.to_string().into()).await;
    }
    // A request id that is one is in the line, so that this is the place to look at.
    let mut good = cloakroom_tests::swap::event("/api/orders", &json!({}));
    good["requestContext"]["requestId"] = json!("d65-neighbour");
    cloakroom_tests::swap::answer(&system, &good).await;
    assert_eq!(logs::with("d65-neighbour").len(), 1);

    let lines = logs::all();
    assert!(lines.len() >= before + 8, "each of them was logged");
    for line in &lines {
        let control = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!line.chars().any(control), "{line:?}");
        let document: Value = serde_json::from_str(line).unwrap();
        assert_ne!(document["function"], "forged");
        assert!(!line.contains("forged"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d66_answers_that_say_no_name_nothing_of_ours() {
    let faults = Faults::default();
    let system = System::start(Options {
        faults: Some(faults.clone()),
        ..Options::default()
    })
    .await
    .unwrap();
    let token = oauth::machine_token(&system).await;
    let (_, refresh) = oauth::native_tokens(&system, "alice").await;
    let mut said = say_no(&system, "junk", "junk").await;
    for backend in [Backend::DynamoDb, Backend::Kms] {
        for fault in [Fault::Failing, Fault::Denying, Fault::Throttling] {
            faults.set(backend, fault, &[]);
            said += &say_no(&system, &token, &refresh).await;
            faults.clear(backend);
        }
    }
    assert!(
        said.contains("temporarily_unavailable"),
        "outages were among them"
    );
    for inside in [
        "arn:",
        "dynamo",
        "kms",
        "cloakroom_",
        "127.0.0.1",
        "panicked",
        ".rs",
        "exception",
        "injected",
        "embedded",
    ] {
        let at = said.to_lowercase().find(inside);
        assert!(at.is_none(), "{inside}: {said}");
    }
}

/// Asks everything in a way that cannot be granted.
async fn say_no(system: &System, access: &str, refresh: &str) -> String {
    let mut said = String::new();
    for (_, body) in [
        oauth::call(system, "/api/reports", access).await,
        oauth::token(system, &[("grant_type", "junk")]).await,
        oauth::refresh(system, refresh).await,
        oauth::redeem(system, "junk").await,
    ] {
        said += &body.to_string();
    }
    for path in [
        "/auth/callback?code=x&state=y",
        "/auth/login?idp=nobody",
        "/oauth/authorize?client_id=nobody",
        "/auth/nothing",
        "/nothing",
    ] {
        said += &Browser::default().open(&system.at(path)).await.body;
    }
    let mut browser = Browser::default();
    browser.plant(SESSION, access);
    let session = system.at("/auth/session");
    let (status, _, body) = browser.fetch(Method::GET, &session).await;
    assert!(status.is_client_error());
    said + &body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_sessions_and_the_files_tell_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let first = System::start(options()).await.unwrap();
    let tour = Tour::through(&first).await;
    let held = Held::before(&first).await;
    drop(first);
    // The listeners of the first go with their tasks.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let second = System::start(options()).await.unwrap();
    held.after(&second, dir.path()).await;
    for (file, bytes) in files(dir.path()) {
        tour.is_not_in(&file, &bytes);
    }
}

/// Name and contents of what is in a directory.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect()
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
        for (file, bytes) in files(dir) {
            if !file.starts_with("dynamodb.sqlite") {
                continue;
            }
            seen += bytes.len();
            for secret in secrets {
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{} in {file}", secret.len());
            }
        }
        assert!(seen > 4096, "the database was looked at");
    }
}
