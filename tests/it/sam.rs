//! What `sam build` makes, started as Lambda starts it, on the table that the transformed
//! template makes in moto and with keys of the kinds that it asks for.
//!
//! moto stands for DynamoDB, CloudFormation, SSM and Secrets Manager. Its KMS hashes a
//! digest once more, so keys are made, by the KMS API, in the embedded one.

use crate::contract::moto;
use crate::walk;
use aws_lc_rs::rand;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segment, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::{KeyPlaces, keyset_public_key, next_key_set};
use cloakroom_domain::config::{Config, SigningMode};
use cloakroom_domain::keyset::Rotation;
use cloakroom_domain::ports::Clock;
use cloakroom_local::faults::{Backend, Faults};
use cloakroom_local::recording::{self, Recorder};
use cloakroom_local::system::{Options, System};
use cloakroom_tests::bench::runtime_api::{Answer, RuntimeApi};
use cloakroom_tests::environment::data_key_config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PATIENCE: Duration = Duration::from_mins(1);

/// Name, and logical id in the template.
const FUNCTIONS: [(&str, &str); 4] = [
    ("authorizer", "Authorizer"),
    ("login", "Login"),
    ("token", "Token"),
    ("jwks", "Jwks"),
];

/// The file that `sam build` made for a function; `make test` runs it before.
pub(crate) fn bootstrap(logical_id: &str) -> PathBuf {
    let file = Path::new(ROOT)
        .join("target/sam-build")
        .join(logical_id)
        .join("bootstrap");
    assert!(
        file.exists(),
        "there is no bootstrap of {logical_id}: `make sam-build` makes it"
    );
    file
}

/// One environment of a function, which ends when this is dropped.
struct Environment {
    api: RuntimeApi,
    /// It has asked for the event that it has not been given yet.
    waiting: bool,
    _child: Child,
}

impl Environment {
    /// Starts a bootstrap, and waits until it asks for its first event.
    async fn start(
        (name, logical_id): (&str, &str),
        variables: &BTreeMap<String, String>,
        log: &Path,
    ) -> Self {
        let mut api = RuntimeApi::serve().await.unwrap();
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut child = Command::new(bootstrap(logical_id))
            .env_clear()
            .envs(variables)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        tokio::select! {
            asked = tokio::time::timeout(PATIENCE, api.asked()) => { asked.expect(name).unwrap(); }
            status = child.wait() => {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                panic!("{name} ended at its start with {}: {log}", status.unwrap());
            }
        }
        Self {
            api,
            waiting: true,
            _child: child,
        }
    }

    async fn invoke(&mut self, event: Bytes) -> Answer {
        if !self.waiting {
            self.api.asked().await.unwrap();
        }
        self.waiting = false;
        self.api.invoke(event).await.unwrap()
    }
}

type Environments = BTreeMap<&'static str, Mutex<Environment>>;

/// The Lambda Invoke API before these environments, one call at a time each.
#[derive(Clone, Default)]
struct InvokeApi(Arc<OnceLock<Environments>>);

impl InvokeApi {
    async fn serve(&self) -> String {
        let router = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(invoke))
            .with_state(self.clone());
        serve(router).await
    }
}

async fn invoke(
    State(api): State<InvokeApi>,
    Segment(name): Segment<String>,
    event: Bytes,
) -> Response {
    let Some(environment) = api.0.get().and_then(|all| all.get(name.as_str())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match environment.lock().await.invoke(event).await {
        Answer::Response(body) => body.into_response(),
        Answer::Error(body) => {
            let header = HeaderName::from_static("x-amz-function-error");
            ([(header, HeaderValue::from_static("Unhandled"))], body).into_response()
        }
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Deploys the template to moto, and says each function's environment there.
async fn deploy(order: Value) -> Value {
    let mut child = Command::new(Path::new(ROOT).join(".venv/bin/python"))
        .arg("deploy.py")
        .current_dir(Path::new(ROOT).join("tests/sam"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is no .venv: run `make test` once");
    let mut input = child.stdin.take().unwrap();
    input.write_all(order.to_string().as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A system whose functions are what `sam build` made, in the places that the template
/// made.
struct Stack {
    system: System,
    environment: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// What each function asked of KMS before its first event.
    asked_at_start: BTreeMap<&'static str, Vec<String>>,
    /// Counts what is asked of KMS.
    at_kms: Faults,
    calls: PathBuf,
    files: TempDir,
    _moto: moto::Server,
}

/// Which stack.
#[derive(Default)]
struct Order {
    config: Option<String>,
    parameters: Value,
    /// A data-key stack is deployed once to have its keys, and again to be told them.
    second: bool,
}

impl Stack {
    async fn start(order: Order) -> Self {
        let files = tempfile::tempdir().unwrap();
        let moto = moto::Server::start().await;
        let invoke_api = InvokeApi::default();
        let system = System::start(Options {
            lambda: Some(invoke_api.serve().await),
            env_file: Some(files.path().join("functions.env")),
            config: order.config.unwrap_or(Options::default().config),
            ..Options::default()
        })
        .await
        .unwrap();

        // The secret is where config/cloakroom.toml says, and not in the environment.
        let demo = system.environment();
        let secret = demo["CLOAKROOM_DEMO_IDP_SECRET"].clone();
        let config = Path::new(&demo["CLOAKROOM_CONFIG"]);
        let text = std::fs::read_to_string(config).unwrap();
        let by_reference = text.replace("env:CLOAKROOM_DEMO_IDP_SECRET", "ssm:/cloakroom/idp");
        assert_ne!(text, by_reference);
        std::fs::write(config, by_reference).unwrap();

        let deployed = deploy(json!({
            "aws": moto.url,
            "kms": system.backends().kms_url(),
            "kind": "rest",
            "parameters": if order.parameters.is_null() { json!({}) } else { order.parameters },
            "second": order.second,
            "secrets": {"/cloakroom/idp": secret},
        }))
        .await;

        let calls = std::env::var_os(recording::VARIABLE)
            .map_or_else(|| files.path().join("calls.jsonl"), PathBuf::from);
        let recorder = Recorder::appending_to(&calls).unwrap();
        recorder.name(system.url(), "PublicUrl");
        for (logical_id, arn) in deployed["keys"].as_object().unwrap() {
            // Two slots, one kind.
            let kind = logical_id.trim_end_matches(['A', 'B']);
            recorder.name(arn.as_str().unwrap(), kind);
        }
        let door = Faults::default().stand_before(Backend::DynamoDb, moto.url.clone());
        let aws = serve(recorder.before(door)).await;
        let at_kms = Faults::default();
        let door = at_kms.stand_before(Backend::Kms, system.backends().kms_url().to_owned());
        let kms = serve(recorder.before(door)).await;

        let environment: BTreeMap<_, BTreeMap<String, String>> = FUNCTIONS
            .iter()
            .map(|(name, _)| {
                let told = deployed["environment"][name].as_object().unwrap();
                let mut variables: BTreeMap<_, _> = told
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                    .collect();
                // Where this stack is; everything else is the template's.
                for (name, value) in [
                    ("CLOAKROOM_ISSUER", system.url()),
                    ("CLOAKROOM_CONFIG", &demo["CLOAKROOM_CONFIG"]),
                    ("AWS_REGION", "eu-central-1"),
                    ("AWS_ACCESS_KEY_ID", name),
                    ("AWS_SECRET_ACCESS_KEY", name),
                    ("AWS_ENDPOINT_URL", &aws),
                    ("AWS_ENDPOINT_URL_KMS", &kms),
                ] {
                    variables.insert(name.to_owned(), value.to_owned());
                }
                (*name, variables)
            })
            .collect();
        if system.config().jwt.mode == SigningMode::DataKey {
            rotate(&system, &moto.url, &environment["token"]).await;
        }
        let mut asked_at_start = BTreeMap::new();
        let mut environments = Environments::new();
        for function in FUNCTIONS {
            let log = files.path().join(format!("{}.log", function.0));
            at_kms.take_calls();
            let started = Environment::start(function, &environment[function.0], &log).await;
            asked_at_start.insert(function.0, operations(&at_kms));
            environments.insert(function.0, Mutex::new(started));
        }
        assert!(invoke_api.0.set(environments).is_ok());
        Self {
            system,
            environment,
            asked_at_start,
            at_kms,
            calls,
            files,
            _moto: moto,
        }
    }

    fn called(&self, function: &str, action: &str) -> bool {
        let calls = std::fs::read_to_string(&self.calls).unwrap();
        let start = format!(r#"{{"function":"{function}","action":"{action}""#);
        calls.lines().any(|line| line.starts_with(&start))
    }
}

/// What was asked since the last time.
fn operations(service: &Faults) -> Vec<String> {
    let calls = service.take_calls().into_iter();
    calls.flat_map(|(name, count)| vec![name; count]).collect()
}

/// What `cloakroom keys rotate` does the first time, on the stack's table and keys.
async fn rotate(system: &System, dynamodb: &str, told: &BTreeMap<String, String>) {
    let kms = system.backends().kms();
    let places = KeyPlaces {
        wrapping_key: told["CLOAKROOM_WRAPPING_KEY"].clone(),
        keyset_key: told["CLOAKROOM_KEYSET_KEY"].clone(),
        keyset_public_key: keyset_public_key(&kms, &told["CLOAKROOM_KEYSET_KEY"])
            .await
            .unwrap(),
        ..KeyPlaces::default()
    };
    let first = Rotation {
        sign_for: 90 * 86_400,
        at_once: true,
    };
    let now = cloakroom_aws::world().now();
    let (_, set) = next_key_set(&kms, &places, system.config(), None, first, now)
        .await
        .unwrap();
    let moto = aws_sdk_dynamodb::config::Builder::from(system.backends().sdk())
        .region(aws_config::Region::new("eu-central-1"))
        .endpoint_url(dynamodb);
    let client = aws_sdk_dynamodb::Client::from_conf(moto.build());
    let store = DynamoStore::new(client, &told["CLOAKROOM_TABLE"]);
    store.write_key_set(None, &set).await.unwrap();
}

/// docs/signing.md: two calls of KMS per cold start, once the stack knows its own key.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_stack_asks_kms_twice_at_a_cold_start_and_never_after() {
    for second in [false, true] {
        let stack = Stack::start(Order {
            config: Some(data_key_config()),
            parameters: json!({"SigningMode": "data-key"}),
            second,
        })
        .await;
        let expected: &[_] = if second {
            &["Decrypt", "GenerateMac"]
        } else {
            &["Decrypt", "GenerateMac", "GetPublicKey"]
        };
        for name in ["authorizer", "token"] {
            assert_eq!(stack.asked_at_start[name], expected, "{name}");
        }
        assert_eq!(stack.asked_at_start["login"], ["GenerateMac"]);
        assert_eq!(stack.asked_at_start["jwks"], Vec::<String>::new());
        stack.at_kms.take_calls();
        walk::machine(&stack.system).await;
        walk::browser(&stack.system).await;
        // That one reads the key set when it is first asked for it.
        let later: &[&str] = if second { &[] } else { &["GetPublicKey"] };
        assert_eq!(operations(&stack.at_kms), later);
        assert!(!stack.environment["token"].contains_key("CLOAKROOM_SIGNING_KEYS"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sam_builds_runs_on_what_the_template_makes() {
    let stack = Stack::start(Order::default()).await;
    walk::machine(&stack.system).await;
    walk::browser(&stack.system).await;
    walk::native(&stack.system).await;

    // It was moto's table, the secret from moto's SSM, and the template's keys.
    for (function, action) in [
        ("login", "ssm:GetParameter"),
        ("login", "dynamodb:PutItem"),
        ("authorizer", "dynamodb:GetItem"),
        ("authorizer", "kms:Sign"),
        ("token", "dynamodb:UpdateItem"),
        ("jwks", "kms:GetPublicKey"),
    ] {
        assert!(stack.called(function, action), "{function} {action}");
    }
    let own = stack.system.environment();
    for name in [
        "CLOAKROOM_TABLE",
        "CLOAKROOM_SIGNING_KEYS",
        "CLOAKROOM_MAC_KEYS",
    ] {
        assert_ne!(stack.environment["token"][name], own[name], "{name}");
    }
    let items = stack.system.backends().dynamodb();
    let items = items
        .scan()
        .table_name(&own["CLOAKROOM_TABLE"])
        .send()
        .await;
    assert_eq!(items.unwrap().count(), 0, "the local system's own table");

    a_secret_in_secrets_manager_will_do(&stack).await;
    a_secret_that_is_not_there_stops_the_login_function_alone(&stack).await;
}

/// Its INIT reads the secret: that it asks for an event says that it had it.
async fn a_secret_in_secrets_manager_will_do(stack: &Stack) {
    let (variables, log) = other_secret(stack, "secretsmanager:cloakroom/idp");
    Environment::start(FUNCTIONS[1], &variables, &log).await;
    assert!(stack.called("login", "secretsmanager:GetSecretValue"));
}

async fn a_secret_that_is_not_there_stops_the_login_function_alone(stack: &Stack) {
    let (variables, log) = other_secret(stack, "ssm:/cloakroom/other");
    let status = Command::new(bootstrap("Login"))
        .env_clear()
        .envs(&variables)
        .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .status();
    let status = tokio::time::timeout(PATIENCE, status).await.unwrap();
    assert!(!status.unwrap().success());
    let said = std::fs::read_to_string(log).unwrap();
    let why = "Error: identity_providers[0].client_secret cannot be had: `ssm:/cloakroom/other`: \
               GetParameter: ParameterNotFound ";
    assert!(said.starts_with(why), "{said}");
}

fn other_secret(stack: &Stack, reference: &str) -> (BTreeMap<String, String>, PathBuf) {
    let mut variables = stack.environment["login"].clone();
    let text = std::fs::read_to_string(&variables["CLOAKROOM_CONFIG"]).unwrap();
    let mut number = [0; 4];
    rand::fill(&mut number).unwrap();
    let name = u32::from_ne_bytes(number);
    let config = stack.files.path().join(format!("{name}.toml"));
    std::fs::write(&config, text.replace("ssm:/cloakroom/idp", reference)).unwrap();
    let config = config.to_string_lossy().into_owned();
    variables.insert("CLOAKROOM_CONFIG".to_owned(), config);
    (variables, stack.files.path().join(format!("{name}.log")))
}

#[tokio::test]
async fn the_template_of_the_http_api_makes_the_same() {
    let moto = moto::Server::start().await;
    let deployed = deploy(json!({
        "aws": moto.url,
        "kms": moto.url,
        "kind": "http",
        "parameters": {"Edge": "none"},
    }))
    .await;
    assert_eq!(deployed["table"]["keys"], json!(["pk", "sk"]));
    for (name, _) in FUNCTIONS {
        let told = &deployed["environment"][name];
        assert_eq!(told["CLOAKROOM_CONFIG"], "/opt/cloakroom.toml", "{name}");
    }
}

/// What the template repeats of it, tests/sam compares by its own arithmetic.
#[test]
fn the_deployed_configuration_is_good_and_keeps_answers_as_long_as_the_template_says() {
    let read = |path: &str| std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    let config = Config::parse(&read("config/cloakroom.toml")).unwrap();
    for template in ["infra/template.yaml", "infra/http-api.yaml"] {
        let template = read(template);
        let (_, parameter) = template.split_once("\n  AuthorizerTtl:\n").unwrap();
        let (_, default) = parameter.split_once("Default: ").unwrap();
        let (default, _) = default.split_once('\n').unwrap();
        assert_eq!(default, config.gateway_ttl().to_string());
    }
}

#[test]
fn the_bootstraps_are_programs_for_this_architecture() {
    for (_, logical_id) in FUNCTIONS {
        let head = std::fs::read(bootstrap(logical_id)).unwrap();
        assert_eq!(&head[..4], b"\x7fELF", "{logical_id}");
    }
}
