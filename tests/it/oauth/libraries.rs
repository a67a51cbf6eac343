//! Other people's OAuth clients against the running system: `openid-client` and
//! `oauth4webapi` (both certified by the OpenID Foundation) and Authlib. The suites are
//! in `tests/oauth/`; here are the system that they run against and its clients.

use cloakroom_domain::client::{SecretHash, generate_secret, hash_chosen};
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::client_key::{self, ClientKey};
use serde_json::{Value, json};
use std::path::Path;
use tokio::process::Command;
use tokio::task::JoinHandle;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a human might choose, with all that form-encoding is there for (RFC 6749
/// §2.3.1).
const CHOSEN: &str = "pass phrase: 100% +é&=";

const SCOPE: &str = "orders:read offline_access";

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_drives_every_grant() {
    let script = "tests/oauth/openid-client.mjs";
    runs(
        "node",
        script,
        include_str!("../../oauth/openid-client.mjs"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth4webapi_drives_every_grant() {
    let script = "tests/oauth/oauth4webapi.mjs";
    runs("node", script, include_str!("../../oauth/oauth4webapi.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authlib_drives_every_grant() {
    let script = "tests/oauth/authlib_client.py";
    let source = include_str!("../../oauth/authlib_client.py");
    runs(".venv/bin/python", script, source).await;
}

/// Runs a suite; it must report each of its cases as passed.
#[expect(
    clippy::print_stdout,
    reason = "what the suite says is what one looks for when it fails"
)]
async fn runs(program: &str, script: &str, source: &str) {
    let world = World::start().await;
    let program = match program.split_once('/') {
        None => program.into(),
        Some(_) => Path::new(ROOT).join(program),
    };
    let output = Command::new(&program)
        .arg(script)
        .current_dir(ROOT)
        .env("CLOAKROOM_SUITE", world.description().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}; `make test` installs it", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{script}:\n{said}\n{complained}");
    let cases: Vec<_> = cases(source).collect();
    assert!(cases.len() >= 10, "{script} has {} cases", cases.len());
    let passed: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("ok "))
        .collect();
    assert_eq!(passed, cases, "{script}");
}

/// The names of a suite's cases.
pub(crate) fn cases(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let rest = line
            .strip_prefix("test(\"")
            .or(line.strip_prefix("@case(\""))?;
        rest.split_once('"').map(|(name, _)| name)
    })
}

/// A running system with a client of each kind.
struct World {
    system: System,
    secret: String,
    inline: ClientKey,
    remote: ClientKey,
    _published: JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        let random = cloakroom_aws::world();
        let secret = generate_secret(&random).unwrap().to_string();
        let generated = String::from(SecretHash::of_generated(&secret));
        let chosen = String::from(hash_chosen(CHOSEN, &random).unwrap());
        let (inline, remote) = (ClientKey::p256(), ClientKey::p384());
        let (jwks_uri, published) = client_key::publish(remote.jwks.clone()).await;

        let user_grants =
            r#"grants = ["authorization_code", "refresh_token", "client_credentials"]"#;
        let server = |id: &str, proof: &str| {
            format!(
                "[[clients]]\nid = \"{id}\"\nkind = \"confidential\"\n{proof}\n{user_grants}\n\
                 redirect_uris = [\"https://{id}.example.com/callback\"]\n\
                 scopes = [\"orders:read\", \"offline_access\"]\n"
            )
        };
        let by_secret = format!("secrets = [\"{generated}\"]");
        let clients = [
            server("basic", &by_secret),
            server("post", &by_secret),
            server("chosen", &format!("secrets = [\"{chosen}\"]")),
            server("inline", &format!("jwks = '{}'", inline.jwks)),
            server("remote", &format!("jwks_uri = \"{jwks_uri}\"")),
            server("pushing", &format!("{by_secret}\nrequire_par = true"))
                .replace(", \"client_credentials\"", ""),
            format!(
                "[[clients]]\nid = \"exchanger\"\nkind = \"confidential\"\n{by_secret}\n\
                 grants = [\"client_credentials\", \"token_exchange\"]\nscopes = [\"orders:read\"]\n\
                 audiences = [\"orders\"]\nexchanges = [\"native\", \"exchanger\"]\n\
                 exchange_id_tokens = [\"demo\"]\n"
            ),
            format!(
                "[[clients]]\nid = \"api\"\nkind = \"confidential\"\n{by_secret}\n\
                 grants = [\"client_credentials\"]\naudience = \"orders\"\nintrospects = [\"profile\"]\n"
            ),
            "[[clients]]\nid = \"native\"\nkind = \"public\"\n\
             grants = [\"authorization_code\", \"refresh_token\"]\n\
             redirect_uris = [\"http://127.0.0.1/callback\"]\n\
             scopes = [\"openid\", \"profile\", \"orders:read\", \"offline_access\"]\n"
                .to_owned(),
        ];
        // Nothing is remembered: what is revoked is refused at once.
        let demo = DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0");
        let system = System::start(Options {
            config: format!("{demo}\n{}", clients.join("\n")),
            ..Options::default()
        });
        Self {
            system: system.await.unwrap(),
            secret,
            inline,
            remote,
            _published: published,
        }
    }

    /// What a suite must know, as anybody who has registered a client would.
    fn description(&self) -> Value {
        let server = |id: &str, proof: Value| {
            let mut client = json!({
                "id": id,
                "redirectUri": format!("https://{id}.example.com/callback"),
                "scope": SCOPE,
            });
            client
                .as_object_mut()
                .unwrap()
                .extend(proof.as_object().unwrap().clone());
            client
        };
        let secret = || json!({"secret": self.secret});
        json!({
            "issuer": self.system.url(),
            "alg": self.system.config().jwt.algorithm.name(),
            // We as the provider knows us.
            "provider": {
                "issuer": self.system.provider_url(),
                "id": "cloakroom",
                "secret": self.system.environment()["CLOAKROOM_DEMO_IDP_SECRET"],
                "redirectUri": self.system.config().callback_url(),
                "scope": "openid profile email roles",
            },
            "clients": {
                "basic": server("basic", secret()),
                "post": server("post", secret()),
                "chosen": server("chosen", json!({"secret": CHOSEN})),
                "inline": server("inline", json!({"key": self.inline.description()})),
                "remote": server("remote", json!({"key": self.remote.description()})),
                "pushing": server("pushing", secret()),
                "exchanger": {"id": "exchanger", "secret": self.secret},
                "api": {"id": "api", "secret": self.secret},
                "native": {
                    "id": "native",
                    "redirectUri": "http://127.0.0.1:49152/callback",
                    "scope": SCOPE,
                },
            },
        })
    }
}
