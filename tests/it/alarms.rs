//! Breaks things for real and sees which alarms fire: the bootstraps that `sam build` makes run
//! against the local system, at the log level `error`, behind an Invoke API that counts as
//! Lambda does. `tests/sam/alarms.py` applies the alarms of the template to what they wrote.

use crate::sam::bootstrap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segment, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use cloakroom_aws::kms::next_key_set;
use cloakroom_domain::config::Edge;
use cloakroom_domain::keyset::Rotation;
use cloakroom_domain::ports::Clock;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::faults::Backend::{DynamoDb, Kms};
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{DEMO_CONFIG, Options, System, TABLE};
use cloakroom_tests::bench::runtime_api::{Answer, RuntimeApi};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::environment::{data_key_config, key_set, store, stored};
use cloakroom_tests::oauth;
use cloakroom_tests::table::{self, Table};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const FUNCTIONS: [(&str, &str); 4] = [
    ("authorizer", "Authorizer"),
    ("login", "Login"),
    ("token", "Token"),
    ("jwks", "Jwks"),
];

/// All that a line may have at the level `error` beside its metrics.
const ALWAYS: [&str; 4] = ["_aws", "function", "outcome", "stack"];

/// After so long a used refresh token may not be sent again by mistake any more.
const GRACE: Duration = Duration::from_secs(11);

/// Lambda, as the gateway sees it: starts environments, calls them, counts.
#[derive(Clone, Default)]
struct Lambda(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// What a function is told; another one for a function that is configured badly.
    variables: OnceLock<BTreeMap<String, String>>,
    changes: Mutex<HashMap<&'static str, (String, String)>>,
    throttled: Mutex<HashSet<&'static str>>,
    environments: tokio::sync::Mutex<HashMap<&'static str, Environment>>,
    /// `(function, metric)`
    counts: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    log: OnceLock<PathBuf>,
}

struct Environment {
    api: RuntimeApi,
    asked: bool,
    _child: Child,
}

impl Lambda {
    fn count(&self, function: &'static str, metric: &'static str, by: u64) {
        *(self.0.counts.lock().unwrap())
            .entry((function, metric))
            .or_default() += by;
    }

    /// Forgets all environments: the next request starts new ones.
    async fn restart(&self) {
        self.0.environments.lock().await.clear();
    }

    /// Starts a bootstrap; `None` if it ends before it asks for an event.
    async fn start(&self, name: &'static str, logical_id: &str) -> Option<Environment> {
        let mut api = RuntimeApi::serve().await.unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.0.log.get().unwrap())
            .unwrap();
        let change = self.0.changes.lock().unwrap().get(name).cloned();
        let mut child = Command::new(bootstrap(logical_id))
            .env_clear()
            .envs(self.0.variables.get().unwrap())
            .envs(change)
            .env("CLOAKROOM_LOG", "error")
            .env("CLOAKROOM_STACK", "cloakroom")
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        tokio::select! {
            asked = api.asked() => { asked.unwrap(); }
            _ = child.wait() => return None,
        }
        Some(Environment {
            api,
            asked: true,
            _child: child,
        })
    }

    async fn invoke(&self, name: &str, event: Bytes) -> Response {
        let known = FUNCTIONS.into_iter().find(|(one, _)| *one == name);
        let (name, logical_id) = known.expect("a function of ours");
        if self.0.throttled.lock().unwrap().contains(name) {
            self.count(name, "Throttles", 1);
            return (StatusCode::TOO_MANY_REQUESTS, "{}").into_response();
        }
        self.count(name, "Invocations", 1);
        let mut environments = self.0.environments.lock().await;
        if !environments.contains_key(name)
            && let Some(started) = self.start(name, logical_id).await
        {
            environments.insert(name, started);
        }
        let answer = match environments.get_mut(name) {
            Some(environment) => {
                if !environment.asked {
                    environment.api.asked().await.unwrap();
                }
                environment.asked = false;
                environment.api.invoke(event).await.unwrap()
            }
            None => Answer::Error(Bytes::from_static(
                br#"{"errorType":"Runtime.ExitError","errorMessage":"it did not start"}"#,
            )),
        };
        self.count(
            name,
            "Errors",
            u64::from(matches!(answer, Answer::Error(_))),
        );
        match answer {
            Answer::Response(body) => body.into_response(),
            Answer::Error(body) => {
                let header = HeaderName::from_static("x-amz-function-error");
                ([(header, HeaderValue::from_static("Unhandled"))], body).into_response()
            }
        }
    }

    async fn serve(&self) -> String {
        let route = async |State(lambda): State<Self>,
                           Segment(name): Segment<String>,
                           event: Bytes| { lambda.invoke(&name, event).await };
        let router = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(route))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

/// A system, and the minutes that were recorded of it.
struct Recorder {
    system: System,
    lambda: Lambda,
    faults: Faults,
    statuses: Mutex<Vec<u16>>,
    log: PathBuf,
    minutes: Map<String, Value>,
    files: TempDir,
}

impl Recorder {
    async fn start(flavour: Flavour, config: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (lambda, faults) = (Lambda::default(), Faults::default());
        let system = System::start(Options {
            flavour,
            edge: Some(Edge::None),
            lambda: Some(lambda.serve().await),
            env_file: Some(files.path().join("functions.env")),
            // Nothing is remembered: each request meets what is broken.
            config: config.replace("max_latency = 5", "max_latency = 0"),
            faults: Some(faults.clone()),
            ..Options::default()
        })
        .await
        .unwrap();
        let log = files.path().join("log");
        std::fs::write(&log, "").unwrap();
        lambda
            .0
            .variables
            .set(system.environment().clone())
            .unwrap();
        lambda.0.log.set(log.clone()).unwrap();
        Self {
            system,
            lambda,
            faults,
            statuses: Mutex::default(),
            log,
            minutes: Map::new(),
            files,
        }
    }

    /// Sends a request as a client does; its status counts.
    async fn send(&self, request: RequestBuilder) -> u16 {
        let status = request.send().await.unwrap().status().as_u16();
        self.statuses.lock().unwrap().push(status);
        status
    }

    async fn call(&self, token: &str) -> u16 {
        let request = client().get(self.system.at("/api/orders"));
        self.send(request.bearer_auth(token)).await
    }

    async fn get(&self, path: &str) -> u16 {
        self.send(client().get(self.system.at(path))).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> u16 {
        let request = client().post(self.system.at(path)).form(form);
        let machine = request.basic_auth("demo-machine", Some("demo-machine-secret"));
        self.send(machine).await
    }

    async fn issue(&self) -> u16 {
        self.post("/oauth/token", &[("grant_type", "client_credentials")])
            .await
    }

    async fn tokens<const N: usize>(&self) -> [String; N] {
        let mut tokens = [const { String::new() }; N];
        for token in &mut tokens {
            *token = oauth::machine_token(&self.system).await;
        }
        tokens
    }

    /// Writes down what a minute in which `run` happens leaves behind.
    async fn minute(&mut self, name: &str, run: impl AsyncFnOnce(&Self)) {
        let before = std::fs::read_to_string(&self.log).unwrap().len();
        self.lambda.0.counts.lock().unwrap().clear();
        self.statuses.lock().unwrap().clear();
        run(self).await;
        let log = std::fs::read_to_string(&self.log).unwrap();
        let lines: Vec<_> = log[before..].lines().collect();
        for line in &lines {
            bare(line);
        }
        let mut counted = Map::new();
        for ((function, metric), count) in self.lambda.0.counts.lock().unwrap().iter() {
            counted
                .entry(*function)
                .or_insert_with(|| json!({}))
                .as_object_mut()
                .unwrap()
                .insert((*metric).to_owned(), json!(count));
        }
        let statuses = self.statuses.lock().unwrap().clone();
        let minute = json!({"lines": lines, "lambda": counted, "api": statuses});
        assert!(self.minutes.insert(name.to_owned(), minute).is_none());
    }

    /// A few requests of a minute during which a call to AWS is broken.
    async fn broken(
        &mut self,
        name: &str,
        backend: Backend,
        fault: Fault,
        operation: &'static str,
    ) {
        let tokens = self.tokens::<3>().await;
        self.faults.set(backend, fault, &[operation]);
        self.minute(name, async |this| {
            for token in &tokens {
                assert!(this.call(token).await >= 500);
            }
        })
        .await;
        self.faults.clear(backend);
    }

    /// A minute in which a function is told something that it cannot start with.
    async fn cannot_start(&mut self, function: &'static str, path: &'static str) {
        let tokens = self.tokens::<1>().await;
        let nonsense = ("CLOAKROOM_CONFIG".to_owned(), "/nowhere".to_owned());
        self.lambda
            .0
            .changes
            .lock()
            .unwrap()
            .insert(function, nonsense);
        self.lambda.restart().await;
        self.minute(&format!("{function} cannot start"), async |this| {
            this.three(path, &tokens[0]).await;
        })
        .await;
        self.lambda.0.changes.lock().unwrap().clear();
        self.lambda.restart().await;
    }

    async fn throttled(&mut self, function: &'static str, path: &'static str) {
        let tokens = self.tokens::<1>().await;
        self.lambda.0.throttled.lock().unwrap().insert(function);
        self.minute(&format!("{function} throttled"), async |this| {
            this.three(path, &tokens[0]).await;
        })
        .await;
        self.lambda.0.throttled.lock().unwrap().clear();
    }

    async fn three(&self, path: &str, token: &str) {
        for _ in 0..3 {
            let request = if path == "/oauth/token" {
                client().post(self.system.at(path))
            } else {
                client().get(self.system.at(path)).bearer_auth(token)
            };
            let status = self.send(request).await;
            assert!(status >= 500, "{path}: {status}");
        }
    }
}

/// At the level `error` a line has dimensions and metrics, and nothing about the request.
fn bare(line: &str) {
    let document: Map<String, Value> = serde_json::from_str(line).expect("JSON");
    if !document.contains_key("_aws") {
        assert_eq!(document["level"], "ERROR", "{line}");
        return;
    }
    let metrics: HashSet<_> = document["_aws"]["CloudWatchMetrics"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|each| each["Metrics"].as_array().unwrap())
        .map(|metric| metric["Name"].as_str().unwrap().to_owned())
        .collect();
    for name in document.keys() {
        assert!(
            ALWAYS.contains(&name.as_str()) || metrics.contains(name),
            "{name} in {line}"
        );
    }
    assert!(!line.contains("cr_"), "a token in {line}");
}

/// All seals of an item, changed at one place.
fn change_seals(item: &table::Item, change: fn(&mut [u8])) -> table::Item {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue;
    let changed = item.iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::B(blob) if blob.as_ref().len() > 28 => {
                let mut bytes = blob.clone().into_inner();
                change(&mut bytes);
                AttributeValue::B(Blob::new(bytes))
            }
            AttributeValue::M(map) => AttributeValue::M(change_seals(map, change)),
            other => other.clone(),
        };
        (name.clone(), value)
    });
    changed.collect()
}

fn flip_last(sealed: &mut [u8]) {
    if let Some(last) = sealed.last_mut() {
        *last ^= 1;
    }
}

fn version_of_tomorrow(sealed: &mut [u8]) {
    if let Some(version) = sealed.first_mut() {
        *version = 200;
    }
}

/// One of everything that goes well, and of what is refused every day.
async fn healthy(this: &Recorder) {
    let (access, refresh) = oauth::native_tokens(&this.system, "alice").await;
    assert_eq!(oauth::refresh(&this.system, &refresh).await.0, 200);
    for token in [&access, &access, &access, &access] {
        assert_eq!(this.call(token).await, 200);
    }
    for _ in 0..3 {
        assert_eq!(this.get("/api/orders").await, 401);
        assert_eq!(this.issue().await, 200);
    }
    assert_eq!(this.get("/.well-known/jwks.json").await, 200);
    assert_eq!(this.get("/auth/session").await, 401);
    let form = [("token", access.as_str())];
    assert_eq!(this.post("/oauth/introspect", &form).await, 200);
    assert_eq!(this.post("/oauth/revoke", &form).await, 200);
}

async fn cross_site_logouts(this: &Recorder, count: usize) {
    for _ in 0..count {
        let request = client().post(this.system.at("/auth/logout"));
        let request = request.header("origin", "https://evil.example");
        assert_eq!(this.send(request).await, 403);
    }
}

/// A session's cookie, and the tokens of a native app.
async fn session(system: &System) -> (Browser, String) {
    let mut browser = Browser::default();
    browser.sign_in(system.url(), "alice").await;
    let cookie = browser.cookies().into_iter();
    let cookie = cookie
        .map(|(_, value)| value)
        .find(|value| value.starts_with("cr_st_"));
    (browser, cookie.expect("a session token"))
}

async fn kms_mode(flavour: Flavour) -> Map<String, Value> {
    let mut this = Recorder::start(flavour, DEMO_CONFIG).await;
    let used = oauth::native_tokens(&this.system, "alice").await.1;
    let (_, second) = oauth::refresh(&this.system, &used).await;
    let second = oauth::text(&second, "refresh_token");
    assert_eq!(oauth::refresh(&this.system, &second).await.0, 200);
    let used_at = Instant::now();

    this.minute("healthy", healthy).await;
    let lines = this.minutes["healthy"]["lines"].to_string();
    for function in [
        "authorizer",
        "login",
        "session",
        "token",
        "introspect",
        "revoke",
        "jwks",
    ] {
        let name = format!(r#"\"function\":\"{function}\""#);
        assert!(
            lines.contains(&name),
            "{function} writes its metrics at `error`"
        );
    }

    let faults = [
        ("signing key disabled", Kms, Fault::KeyDisabled, "Sign"),
        ("kms throttles", Kms, Fault::Throttling, "Sign"),
        ("dynamodb throttles", DynamoDb, Fault::Throttling, "GetItem"),
    ];
    for (name, backend, fault, operation) in faults {
        this.broken(name, backend, fault, operation).await;
    }
    this.lambda.restart().await;
    this.broken("mac key disabled", Kms, Fault::KeyDisabled, "GenerateMac")
        .await;

    let tokens = this.tokens::<4>().await;
    this.minute("four fail", async |this| {
        this.faults.set(DynamoDb, Fault::Failing, &["GetItem"]);
        for token in &tokens {
            assert!(this.call(token).await >= 500);
        }
        this.faults.clear(DynamoDb);
        healthy(this).await;
    })
    .await;

    for (function, path) in [
        ("authorizer", "/api/orders"),
        ("login", "/auth/session"),
        ("token", "/oauth/token"),
        ("jwks", "/.well-known/jwks.json"),
    ] {
        this.cannot_start(function, path).await;
        this.throttled(function, path).await;
    }
    provider_down(&mut this).await;

    this.minute("only 401", async |this| {
        for _ in 0..10 {
            assert_eq!(this.call("cr_at_nonsense").await, 401);
        }
    })
    .await;
    this.minute("five csrf", async |this| cross_site_logouts(this, 5).await)
        .await;
    this.minute("sixty csrf", async |this| {
        cross_site_logouts(this, 60).await;
    })
    .await;

    let code = oauth::code(&this.system, "alice").await;
    assert_eq!(oauth::redeem(&this.system, &code).await.0, 200);
    this.minute("code replay", async |this| {
        assert_eq!(oauth::redeem(&this.system, &code).await.0, 400);
    })
    .await;
    written_items(&mut this).await;
    tokio::time::sleep(GRACE.saturating_sub(used_at.elapsed())).await;
    this.minute("refresh reuse", async |this| {
        assert_eq!(oauth::refresh(&this.system, &used).await.0, 400);
    })
    .await;

    // The last: nothing works any more.
    let tokens = this.tokens::<3>().await;
    let dynamodb = this.system.backends().dynamodb();
    dynamodb
        .delete_table()
        .table_name(TABLE)
        .send()
        .await
        .unwrap();
    this.minute("table gone", async |this| {
        for token in &tokens {
            assert!(this.call(token).await >= 500);
        }
        assert_eq!(this.issue().await, 503);
    })
    .await;
    this.minutes
}

async fn provider_down(this: &mut Recorder) {
    let told = &this.lambda.0.variables.get().unwrap()["CLOAKROOM_CONFIG"];
    let text = std::fs::read_to_string(told).unwrap();
    let other = text.replace(this.system.provider_url(), "http://127.0.0.1:9");
    assert_ne!(text, other);
    let path = this.files.path().join("provider-down.toml");
    std::fs::write(&path, other).unwrap();
    let path = path.to_string_lossy().into_owned();
    let change = ("CLOAKROOM_CONFIG".to_owned(), path);
    this.lambda
        .0
        .changes
        .lock()
        .unwrap()
        .insert("login", change);
    this.lambda.restart().await;
    this.minute("provider down", async |this| {
        for _ in 0..3 {
            assert_eq!(this.get("/auth/login").await, 503);
        }
    })
    .await;
    this.lambda.0.changes.lock().unwrap().clear();
    this.lambda.restart().await;
}

/// Items that somebody else wrote, or a later release.
async fn written_items(this: &mut Recorder) {
    for (name, change, statuses, metric) in [
        (
            "seals broken",
            flip_last as fn(&mut [u8]),
            [401, 200, 400, 401],
            "SealsBroken",
        ),
        (
            "unknown format",
            version_of_tomorrow,
            [503, 503, 503, 503],
            "UnknownFormat",
        ),
    ] {
        let (access, refresh) = oauth::native_tokens(&this.system, "alice").await;
        let (mut browser, cookie) = session(&this.system).await;
        for token in [&access, &cookie] {
            let table = Table::of(&this.system);
            let item = change_seals(&table.family(token).await, change);
            table.put(&item).await;
        }
        this.minute(name, async |this| {
            let token = [("token", access.as_str())];
            let url = this.system.at("/auth/session");
            let (session, _, _) = browser.fetch(Method::GET, &url).await;
            let got = [
                this.call(&access).await,
                this.post("/oauth/introspect", &token).await,
                oauth::refresh(&this.system, &refresh).await.0.as_u16(),
                session.as_u16(),
            ];
            // An HTTP API makes of an error that is thrown what it likes.
            let rest = this.system.gateway().flavour() == Flavour::Rest;
            let expected = |n: usize| {
                if n == 0 && !rest && statuses[0] == 503 {
                    500
                } else {
                    statuses[n]
                }
            };
            assert_eq!(got, std::array::from_fn(expected), "{name}");
        })
        .await;
        let lines = this.minutes[name]["lines"].as_array().unwrap();
        for function in ["authorizer", "introspect", "token", "session"] {
            let counted = lines.iter().filter_map(Value::as_str).any(|line| {
                line.contains(&format!(r#""function":"{function}""#))
                    && line.contains(&format!(r#""{metric}":1"#))
            });
            assert!(counted, "{function} counts {metric}");
        }
    }
}

async fn data_key_mode(flavour: Flavour) -> Map<String, Value> {
    let mut this = Recorder::start(flavour, &data_key_config()).await;
    for days in [90, 10] {
        let (before, known) = (stored(&this.system).await, key_set(&this.system).await);
        let rotation = Rotation {
            sign_for: days * 86_400,
            at_once: true,
        };
        let (_, next) = next_key_set(
            &this.system.backends().kms(),
            &this.system.backends().key_places(),
            this.system.config(),
            Some((&known, &before)),
            rotation,
            cloakroom_aws::world().now(),
        )
        .await
        .unwrap();
        let table = store(&this.system);
        table.write_key_set(Some(&before), &next).await.unwrap();
        this.lambda.restart().await;
        let tokens = this.tokens::<3>().await;
        this.minute(&format!("data key for {days} days"), async |this| {
            for token in &tokens {
                assert_eq!(this.call(token).await, 200);
            }
            assert_eq!(this.get("/.well-known/jwks.json").await, 200);
        })
        .await;
    }
    this.minutes
}

async fn judge(kind: &str, minutes: Map<String, Value>) {
    let recording = json!({"kind": kind, "minutes": minutes}).to_string();
    let kept = Path::new(ROOT).join(format!("target/alarms-{kind}.json"));
    std::fs::write(kept, &recording).unwrap();
    let mut child = Command::new(Path::new(ROOT).join(".venv/bin/python"))
        .arg("alarms.py")
        .current_dir(Path::new(ROOT).join("tests/sam"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is no .venv: run `make test` once");
    let mut input = child.stdin.take().unwrap();
    input.write_all(recording.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn every_alarm(kind: &str, flavour: Flavour) {
    let (mut minutes, more) = tokio::join!(kms_mode(flavour), data_key_mode(flavour));
    minutes.extend(more);
    judge(kind, minutes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alarm_of_the_rest_template_fires_by_its_fault_and_not_without_it() {
    every_alarm("rest", Flavour::Rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alarm_of_the_http_template_fires_by_its_fault_and_not_without_it() {
    every_alarm("http", Flavour::Http).await;
}
