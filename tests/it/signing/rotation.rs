//! D63: a rotation under load, in both modes and with every algorithm. Services that
//! keep the published keys for as long as they may, behind a proxy that does so too,
//! and that never ask for a key that they do not know, refuse no JWT before, during
//! or after it; and three libraries that nobody here wrote agree.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_aws::kms::{KeyPlaces, create_signing_key};
use cloakroom_domain::config::Config;
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::keyset::{JWKS_MAX_AGE, lead, tail};
use cloakroom_domain::ports::Clock;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::environment::{Environment, config_with, rotate};
use cloakroom_tests::oauth;
use cloakroom_verify::Verifier;
use cloakroom_verify::jws::KeySet;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Between two looks at the world, in seconds. No divisor of anything else here.
const STEP: u64 = 47;

/// How many requests are under way at once.
const AT_ONCE: usize = 6;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The `kid` in a JWT's header.
pub(super) fn kid(jwt: &str) -> String {
    header(jwt)["kid"].as_str().unwrap().to_owned()
}

fn header(jwt: &str) -> Value {
    part(jwt.split('.').next().unwrap())
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&BASE64URL.decode(text).unwrap()).unwrap()
}

/// A part of a JWS with something changed in it.
pub(super) fn edit(text: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut value = part(text);
    edit(&mut value);
    BASE64URL.encode(value.to_string())
}

/// A library in a process of its own.
struct Library {
    name: &'static str,
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Library {
    fn start(name: &'static str, program: &str, script: &str) -> Self {
        let mut child = Command::new(program)
            .arg(script)
            .current_dir(ROOT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: `make test` installs it"));
        Self {
            name,
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
        }
    }

    async fn ask(&mut self, question: &Value) -> Vec<Value> {
        let line = format!("{question}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        let answer = self.output.next_line().await.unwrap();
        let answer = answer.unwrap_or_else(|| panic!("{} has ended", self.name));
        serde_json::from_str(&answer).unwrap()
    }
}

/// The libraries: `jose` and PyJWT in processes of their own, `jsonwebtoken` here.
struct Libraries(Vec<Library>);

impl Libraries {
    fn start() -> Self {
        Self(vec![
            Library::start("jose", "node", "tests/verifiers/verify.mjs"),
            Library::start("PyJWT", ".venv/bin/python", "tests/verifiers/verify.py"),
        ])
    }

    /// Every JWT must be good by `keys`, for each of them.
    async fn all_accept(
        &mut self,
        issuer: &str,
        keys: &Value,
        jwts: &[String],
        now: u64,
        at: &str,
    ) {
        let question = json!({
            "keys": keys["keys"],
            "jwts": jwts,
            "now": now,
            "issuer": issuer,
            "audience": "orders",
        });
        for library in &mut self.0 {
            let faults = library.ask(&question).await;
            assert_eq!(faults.len(), jwts.len());
            for (fault, jwt) in faults.iter().zip(jwts) {
                let about = format!("{} {at}: {} by {keys}", library.name, header(jwt));
                assert_eq!(*fault, Value::Null, "{about}");
            }
        }
        for jwt in jwts {
            let fault = with_jsonwebtoken(issuer, keys, jwt, now).err();
            assert_eq!(fault, None, "jsonwebtoken {at}: {}", header(jwt));
        }
        let set = KeySet::parse(keys.to_string().as_bytes()).unwrap();
        let verifier = Verifier::builder(issuer, "orders")
            .key_set(set)
            .clock(At(now));
        let verifier = verifier.build().unwrap();
        for jwt in jwts {
            let fault = verifier.verify(jwt).await.err();
            assert!(fault.is_none(), "cloakroom-verify {at}: {fault:?}");
        }
    }
}

/// A clock that stands still.
struct At(u64);

impl cloakroom_verify::Clock for At {
    fn now(&self) -> u64 {
        self.0
    }
}

/// The crate alone, without our strict layer around it.
fn with_jsonwebtoken(issuer: &str, keys: &Value, jwt: &str, now: u64) -> Result<(), String> {
    let (_, claims) = verified(keys, jwt, |validation| {
        validation.set_issuer(&[issuer]);
        validation.set_audience(&["orders"]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    })?;
    let time = |name: &str| claims[name].as_u64().unwrap();
    let alive = time("nbf") <= now + 60 && now < time("exp") + 60;
    alive.then_some(()).ok_or_else(|| "time".to_owned())
}

/// Header and claims of a JWT that one of `keys` has signed.
pub(super) fn verified(
    keys: &Value,
    jwt: &str,
    demand: impl FnOnce(&mut Validation),
) -> Result<(jsonwebtoken::Header, Value), String> {
    let set: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let header = jsonwebtoken::decode_header(jwt).map_err(|error| error.to_string())?;
    let jwk = set.find(header.kid.as_ref().ok_or("no kid")?);
    let key = DecodingKey::from_jwk(jwk.ok_or("unknown kid")?);
    let mut validation = Validation::new(header.alg);
    // It knows no clock but the system's.
    validation.validate_exp = false;
    demand(&mut validation);
    let key = key.map_err(|error| error.to_string())?;
    let decoded = jsonwebtoken::decode::<Value>(jwt, &key, &validation);
    Ok((header, decoded.map_err(|error| error.to_string())?.claims))
}

/// A cache that keeps what it has for exactly as long as it may.
#[derive(Clone)]
struct Cache {
    keys: Value,
    since: u64,
}

impl Cache {
    fn expired(&self, now: u64) -> bool {
        now >= self.since + JWKS_MAX_AGE
    }
}

/// The world around the functions: a proxy, services behind it, and the JWTs that are
/// alive.
struct Scene {
    system: System,
    clock: TestClock,
    config: Arc<Config>,
    proxy: Cache,
    services: Vec<Cache>,
    jwts: Vec<String>,
    kids: BTreeSet<String>,
    algorithms: BTreeSet<String>,
    libraries: Libraries,
}

impl Scene {
    async fn start(mode: &str, algorithm: Algorithm, libraries: Libraries) -> Self {
        let clock = TestClock::default();
        let jwt = format!("mode = \"{mode}\"\nalgorithm = \"{}\"", algorithm.name());
        let system = System::start(Options {
            config: config_with(&jwt),
            clock: Some(Arc::new(clock.clone())),
            ..Options::default()
        })
        .await
        .unwrap();
        let empty = Cache {
            keys: Value::Null,
            since: 0,
        };
        Self {
            config: Arc::clone(system.config()),
            system,
            proxy: empty.clone(),
            services: vec![empty; 3],
            jwts: Vec::new(),
            kids: BTreeSet::new(),
            algorithms: BTreeSet::new(),
            clock,
            libraries,
        }
    }

    /// Lets time pass, with requests through each of `environments` all the time.
    async fn pass(&mut self, seconds: u64, environments: &[&Environment], at: &str) {
        let end = self.clock.now().plus(seconds);
        while self.clock.now() < end {
            self.request(environments).await;
            self.look(environments, at).await;
            self.clock.advance(STEP);
        }
    }

    /// Requests with old and new tokens, at once and of each environment.
    async fn request(&mut self, environments: &[&Environment]) {
        let token = oauth::machine_token(&self.system).await;
        for environment in environments {
            let mut under_way = Vec::new();
            for _ in 0..AT_ONCE {
                under_way.push(environment.swap("/api/orders", &token));
            }
            for answer in join_all(under_way).await {
                let jwt = answer.jwt().to_owned();
                let algorithm = header(&jwt)["alg"].as_str().unwrap().to_owned();
                self.algorithms.insert(algorithm);
                self.kids.insert(kid(&jwt));
                if !self.jwts.contains(&jwt) {
                    self.jwts.push(jwt);
                }
            }
        }
        let now = self.clock.now().0;
        self.jwts.retain(|jwt| {
            part(jwt.split('.').nth(1).unwrap())["exp"]
                .as_u64()
                .unwrap()
                > now
        });
    }

    /// Every service verifies every JWT that is alive, with the keys that it has.
    async fn look(&mut self, environments: &[&Environment], at: &str) {
        let now = self.clock.now().0;
        for (n, environment) in environments.iter().enumerate() {
            let published = environment.published().await.unwrap();
            if n == 0 && self.proxy.expired(now) {
                self.proxy = Cache {
                    keys: published,
                    since: now,
                };
            }
        }
        let (services, proxy) = (self.services.len(), &self.proxy);
        for (n, service) in self.services.iter_mut().enumerate() {
            if service.keys == Value::Null {
                // They did not all start at once.
                let earlier = JWKS_MAX_AGE * n as u64 / services as u64;
                *service = Cache {
                    keys: proxy.keys.clone(),
                    since: now - earlier,
                };
            } else if service.expired(now) {
                *service = Cache {
                    keys: proxy.keys.clone(),
                    since: now,
                };
            }
        }
        let issuer = self.config.issuer.clone();
        for service in &self.services {
            self.libraries
                .all_accept(&issuer, &service.keys, &self.jwts, now, at)
                .await;
        }
    }
}

async fn join_all<T>(under_way: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut under_way: Vec<_> = under_way.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = under_way.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in under_way.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(answer) = one.as_mut().poll(context)
            {
                *done = Some(answer);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDsa,
];

#[tokio::test(flavor = "multi_thread")]
async fn d63_a_data_key_follows_another_under_load_without_a_failure() {
    let mut libraries = Libraries::start();
    for algorithm in ALGORITHMS {
        let mut scene = Scene::start("data-key", algorithm, libraries).await;
        let places = scene.system.backends().key_places();
        let first = Environment::start(&scene.system, &places, &scene.clock).await;
        let second = Environment::start(&scene.system, &places, &scene.clock).await;
        let both = [&first, &second];
        scene.pass(2 * STEP, &both, "before").await;
        assert_eq!(scene.kids.len(), 1);
        let config = Arc::clone(&scene.config);
        let set = rotate(&scene.system, &config, false, &scene.clock)
            .await
            .unwrap();
        let until = set.keys[1].sign_from.since(scene.clock.now());
        scene.pass(until, &both, "before it signs").await;
        assert_eq!(scene.kids.len(), 1);
        scene.pass(tail(&config), &both, "after it signs").await;
        assert_eq!(scene.kids.len(), 2);
        let published = first.published().await.unwrap();
        assert_eq!(published["keys"].as_array().unwrap().len(), 1, "withdrawn");
        scene.pass(2 * STEP, &both, "after").await;
        libraries = scene.libraries;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d63_a_kms_key_follows_another_under_load_without_a_failure() {
    let mut libraries = Libraries::start();
    for algorithm in ALGORITHMS {
        let mut scene = Scene::start("kms", algorithm, libraries).await;
        let config = Arc::clone(&scene.config);
        let a = scene.system.backends().signing_key().to_owned();
        let b = create_signing_key(&scene.system.backends().kms(), algorithm)
            .await
            .unwrap();
        let mut environments = Vec::new();
        // What `cloakroom keys rotate` says to deploy, and how long to wait.
        for keys in [vec![&a], vec![&a, &b], vec![&b, &a], vec![&b]] {
            let places = KeyPlaces {
                signing_keys: keys.into_iter().cloned().collect(),
                ..KeyPlaces::default()
            };
            environments.push(Environment::start(&scene.system, &places, &scene.clock).await);
        }
        let [before, published, signs, after] = &environments[..] else {
            panic!("four steps")
        };
        scene.pass(STEP, &[before], "before").await;
        // A deployment takes a while: old and new environments answer side by side.
        scene.pass(STEP, &[before, published], "publishing").await;
        scene.pass(lead(&config), &[published], "published").await;
        assert_eq!(scene.kids.len(), 1);
        scene.pass(STEP, &[published, signs], "changing").await;
        assert_eq!(scene.kids.len(), 2);
        scene.pass(tail(&config), &[signs], "signs").await;
        scene.pass(STEP, &[signs, after], "withdrawing").await;
        scene.pass(2 * JWKS_MAX_AGE, &[after], "after").await;
        let keys = after.published().await.unwrap();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
        assert_eq!(scene.algorithms, names(&[algorithm]));
        libraries = scene.libraries;
    }
}

fn names(algorithms: &[Algorithm]) -> BTreeSet<String> {
    let names = algorithms.iter().map(|one| one.name().to_owned());
    names.collect()
}

/// The algorithm belongs to the key, also where both keys are of one kind (RSA).
#[tokio::test(flavor = "multi_thread")]
async fn d63_an_algorithm_follows_another_under_load_without_a_failure() {
    let mut libraries = Libraries::start();
    for [old, new] in [
        [Algorithm::RS256, Algorithm::ES256],
        [Algorithm::PS256, Algorithm::RS256],
    ] {
        // The configuration says the old algorithm throughout.
        let mut scene = Scene::start("kms", old, libraries).await;
        let config = Arc::clone(&scene.config);
        let a = scene.system.backends().signing_key().to_owned();
        let kms = scene.system.backends().kms();
        let b = create_signing_key(&kms, new).await.unwrap();
        let mut environments = Vec::new();
        for keys in [
            vec![(&a, old)],
            vec![(&a, old), (&b, new)],
            vec![(&b, new), (&a, old)],
            vec![(&b, new)],
        ] {
            let places = KeyPlaces {
                signing_keys: keys.iter().map(|(arn, _)| (*arn).clone()).collect(),
                signing_algorithms: keys.iter().map(|(_, algorithm)| *algorithm).collect(),
                ..KeyPlaces::default()
            };
            let started = Environment::start(&scene.system, &places, &scene.clock).await;
            let published = started.published().await.unwrap();
            let of_keys = published["keys"].as_array().unwrap().iter();
            let of_keys: Vec<_> = of_keys.map(|key| key["alg"].as_str().unwrap()).collect();
            let expected: Vec<_> = keys.iter().map(|(_, algorithm)| algorithm.name()).collect();
            assert_eq!(of_keys, expected);
            environments.push(started);
        }
        let [before, published, signs, after] = &environments[..] else {
            panic!("four steps")
        };
        scene.pass(STEP, &[before, published], "publishing").await;
        scene.pass(lead(&config), &[published], "published").await;
        assert_eq!(scene.algorithms, names(&[old]));
        scene.pass(STEP, &[published, signs], "changing").await;
        assert_eq!(scene.algorithms, names(&[old, new]));
        scene.pass(tail(&config), &[signs], "signs").await;
        scene.algorithms.clear();
        scene.pass(STEP, &[signs, after], "withdrawing").await;
        scene.pass(2 * JWKS_MAX_AGE, &[after], "after").await;
        assert_eq!(scene.algorithms, names(&[new]));
        libraries = scene.libraries;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_libraries_refuse_what_is_wrong() {
    let mut libraries = Libraries::start();
    let scene = Scene::start("data-key", Algorithm::ES256, Libraries(Vec::new())).await;
    let places = scene.system.backends().key_places();
    let environment = Environment::start(&scene.system, &places, &scene.clock).await;
    let token = oauth::machine_token(&scene.system).await;
    let jwt = environment.swap("/api/orders", &token).await;
    let jwt = jwt.jwt();
    let keys = environment.published().await.unwrap();
    let parts: Vec<_> = jwt.split('.').collect();
    let claims = edit(parts[1], |claims| claims["sub"] = "demo|alice".into());
    let changed = [parts[0], claims.as_str(), parts[2]].join(".");
    let now = scene.clock.now().0;
    let ours = json!({"keys": []});
    let config = &scene.config;
    for (keys, jwt, now) in [
        (&keys, changed.as_str(), now),
        (&ours, jwt, now),
        (&keys, jwt, now + config.jwt.lifetime + 61),
    ] {
        let question = json!({
            "keys": keys["keys"],
            "jwts": [jwt],
            "now": now,
            "issuer": config.issuer,
            "audience": "orders",
        });
        for library in &mut libraries.0 {
            assert_ne!(
                library.ask(&question).await,
                [Value::Null],
                "{}",
                library.name
            );
        }
        assert!(with_jsonwebtoken(&config.issuer, keys, jwt, now).is_err());
    }
}
