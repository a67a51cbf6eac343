//! The same properties on the real code: many clients refresh through the whole
//! system while answers get lost, requests are cut off, and families are revoked.

use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::KmsRoots;
use cloakroom_domain::grant::{self, Grant, TokenMeta};
use cloakroom_domain::ports::{Clock, CreateFamily, Roots};
use cloakroom_domain::token::TokenKind;
use cloakroom_local::system::{DEMO_CONFIG, Options, System, TABLE};
use cloakroom_tests::browser::client;
use cloakroom_tests::oauth;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// At once, each with a request under way from beginning to end.
const CLIENTS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_logged_out_in_a_storm() {
    storm(Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute of load: `make bench` runs it"]
async fn nobody_is_logged_out_in_a_long_storm() {
    storm(Duration::from_secs(30)).await;
}

#[expect(
    clippy::print_stdout,
    reason = "the numbers are what one runs this for"
)]
async fn storm(time: Duration) {
    let options = Options {
        // Nothing is remembered: what is revoked is refused at once.
        config: DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0"),
        ..Options::default()
    };
    let system = Arc::new(System::start(options).await.unwrap());
    let front = Front {
        http: client(),
        system: Arc::clone(&system),
    };
    let tokens = families(&system).await;
    let end = Instant::now() + time;
    let apps: Vec<_> = (0..)
        .zip(tokens)
        .map(|(seed, refresh)| {
            let app = App {
                front: front.clone(),
                dice: Dice(seed),
                refresh,
                access: None,
                patience: Duration::from_millis(50),
                tally: Tally::default(),
            };
            // One in eight signs out at some time.
            tokio::spawn(app.live(end, seed % 8 == 7))
        })
        .collect();
    let mut sum = Tally::default();
    for app in apps {
        sum.add(app.await.unwrap());
    }
    println!("{CLIENTS} clients, {time:?}: {sum:?}");
    let Tally {
        refreshes,
        lost,
        cut_off,
        at_once,
        revokes,
        ..
    } = sum;
    assert!(refreshes >= CLIENTS / 2 && lost > 0 && cut_off > 0 && at_once > 0 && revokes > 0);
}

/// A family per client, each with its first refresh token.
async fn families(system: &System) -> Vec<String> {
    let backends = system.backends();
    let roots = KmsRoots::new(backends.kms(), vec![backends.mac_key().to_owned()]);
    let roots = roots.roots().await.unwrap();
    let store = DynamoStore::new(backends.dynamodb(), TABLE);
    let world = cloakroom_aws::world();
    let now = world.now();
    let grant: Grant = read(json!({
        "kind": "grant", "client": "demo-native", "sid": "sid", "created_at": now,
        "absolute_expires_at": now.plus(3600), "user": {
            "sub": "demo|alice", "idp": "demo", "iss": "https://idp.example", "auth_time": now,
        },
    }));
    let meta: TokenMeta = read(json!({
        "kind": TokenKind::Refresh, "client": "demo-native", "audiences": [],
        "scope": ["offline_access", "orders:read"], "issued_at": now, "expires_at": now.plus(3600),
    }));
    let mut tokens = Vec::new();
    for _ in 0..CLIENTS {
        let (record, token) = grant::new_family(&grant, &meta, roots.current(), &world).unwrap();
        store.create_family(&record, &[], now).await.unwrap();
        tokens.push(token.expose().to_owned());
    }
    tokens
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The system's front door.
#[derive(Clone)]
struct Front {
    http: reqwest::Client,
    system: Arc<System>,
}

impl Front {
    /// A pair; or `None`, if the grant is over.
    async fn refresh(&self, token: &str) -> Option<(String, String)> {
        let (status, body) = self.post("/oauth/token", &oauth::refreshing(token)).await;
        if status == StatusCode::BAD_REQUEST {
            assert_eq!(body["error"], "invalid_grant");
            return None;
        }
        assert_eq!(status, StatusCode::OK, "{body}");
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Some((text("access_token"), text("refresh_token")))
    }

    async fn revoke(&self, token: &str) {
        let form = [("client_id", "demo-native"), ("token", token)];
        let (status, body) = self.post("/oauth/revoke", &form).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// What the API says to a bearer of `token`.
    async fn call(&self, token: &str) -> StatusCode {
        let request = self
            .http
            .get(self.system.at("/api/orders"))
            .bearer_auth(token);
        request.send().await.unwrap().status()
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let request = self.http.post(self.system.at(path)).form(form);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

/// A native app that plays by the rules, on a bad network.
struct App {
    front: Front,
    dice: Dice,
    refresh: String,
    access: Option<String>,
    /// How long an answer took lately.
    patience: Duration,
    tally: Tally,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    refreshes: u64,
    lost: u64,
    cut_off: u64,
    at_once: u64,
    calls: u64,
    revokes: u64,
}

impl App {
    async fn live(mut self, end: Instant, signs_out: bool) -> Tally {
        while Instant::now() < end {
            match self.dice.roll(10) {
                0 => self.loses_the_answer().await,
                1 => self.is_cut_off().await,
                2 => self.refreshes_twice_at_once().await,
                3 if signs_out => return self.signs_out().await,
                _ => self.refreshes().await,
            }
            if self.dice.roll(2) == 0 {
                self.calls().await;
            }
        }
        if signs_out {
            return self.signs_out().await;
        }
        self.refreshes().await;
        self.calls().await;
        self.tally
    }

    async fn refreshes(&mut self) {
        let start = Instant::now();
        let pair = self.front.refresh(&self.refresh).await;
        self.patience = start.elapsed();
        self.takes(pair);
    }

    fn takes(&mut self, pair: Option<(String, String)>) {
        let (access, refresh) = pair.expect("nobody is logged out");
        (self.access, self.refresh) = (Some(access), refresh);
        self.tally.refreshes += 1;
    }

    /// The next refresh is with the same token.
    async fn loses_the_answer(&mut self) {
        assert!(
            self.front.refresh(&self.refresh).await.is_some(),
            "nobody is logged out"
        );
        self.tally.lost += 1;
    }

    /// Whoever served it stops where it is.
    async fn is_cut_off(&mut self) {
        let micros = u64::try_from(self.patience.as_micros()).unwrap();
        let patience = Duration::from_micros(self.dice.roll(micros.max(1)));
        match timeout(patience, self.front.refresh(&self.refresh)).await {
            Ok(pair) => self.takes(pair),
            Err(_) => self.tally.cut_off += 1,
        }
    }

    async fn refreshes_twice_at_once(&mut self) {
        let (one, other) = tokio::join!(
            self.front.refresh(&self.refresh),
            self.front.refresh(&self.refresh)
        );
        assert_eq!(one, other, "one branch");
        self.takes(one);
        self.tally.at_once += 1;
    }

    async fn calls(&mut self) {
        if let Some(access) = &self.access {
            assert_eq!(self.front.call(access).await, StatusCode::OK);
            self.tally.calls += 1;
        }
    }

    /// While a refresh is under way.
    async fn signs_out(mut self) -> Tally {
        let (pair, ()) = tokio::join!(
            self.front.refresh(&self.refresh),
            self.front.revoke(&self.refresh)
        );
        let before = self
            .access
            .take()
            .map(|access| (access, self.refresh.clone()));
        for (access, refresh) in before.into_iter().chain(pair) {
            assert_eq!(self.front.call(&access).await, StatusCode::UNAUTHORIZED);
            assert_eq!(self.front.refresh(&refresh).await, None, "it is over");
        }
        self.tally.revokes += 1;
        self.tally
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.refreshes += other.refreshes;
        self.lost += other.lost;
        self.cut_off += other.cut_off;
        self.at_once += other.at_once;
        self.calls += other.calls;
        self.revokes += other.revokes;
    }
}

/// Chance that repeats itself: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}
