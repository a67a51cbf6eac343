//! D46 to D60: attacks on the token service, each named as in the list of attacks and
//! made from outside, over HTTP. For what is refused there is always a neighbour that
//! is let in, so that no test passes because nothing works.

mod assertions;
mod cost;
mod exchange;
mod forms;
mod id_tokens;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use cloakroom_domain::client;
use cloakroom_domain::ports::Clock;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::client as http;
use cloakroom_tests::client_key::{self, ClientKey};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::swap::{Swap, swap};
use cloakroom_tests::table::{self, Table};
use cloakroom_tests::{logs, oauth};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call to the store is held: longer than a busy machine takes for what
/// happens meanwhile.
const HELD: Duration = Duration::from_secs(3);

const SECRET: &str = "demo-machine-secret";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The demo without a memory, and further clients.
fn options(clients: &str) -> Options {
    let config = DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0");
    Options {
        config: format!("{config}\n{clients}"),
        ..Options::default()
    }
}

async fn system(clients: &str) -> System {
    System::start(options(clients)).await.unwrap()
}

/// The same, in a time of its own.
async fn system_at(clock: &TestClock, clients: &str) -> System {
    let clock = Arc::new(clock.clone());
    let options = Options {
        clock: Some(clock),
        ..options(clients)
    };
    System::start(options).await.unwrap()
}

/// Status, headers that are not of the transport, and body.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: Vec<String>,
    text: String,
}

impl Answer {
    async fn to(request: RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        Self {
            status: answer.status(),
            headers: without_transport(answer.headers()),
            text: answer.text().await.unwrap(),
        }
    }

    fn error(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    }
}

fn without_transport(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            name != "date" && !name.starts_with("x-amz") && !name.starts_with("apigw")
        })
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

fn post(system: &System, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
    http().post(system.at(path)).form(form)
}

async fn token(system: &System, form: &[(&str, &str)]) -> Answer {
    Answer::to(post(system, "/oauth/token", form)).await
}

/// Of the right shape and with the right checksum, in the family of `token`.
fn forged(token: &str) -> String {
    let parsed = OpaqueToken::parse(token).unwrap();
    let world = cloakroom_aws::world();
    let forged = OpaqueToken::generate(parsed.kind(), parsed.family(), &world).unwrap();
    forged.expose().to_owned()
}

fn family_tag(token: &str) -> String {
    OpaqueToken::parse(token).unwrap().family().tag()
}

async fn introspected(system: &System, token: &str) -> Answer {
    let request = post(system, "/oauth/introspect", &[("token", token)]);
    Answer::to(request.basic_auth("demo-machine", Some(SECRET))).await
}

async fn called(system: &System, token: &str) -> Answer {
    Answer::to(http().get(system.at("/api/orders")).bearer_auth(token)).await
}

async fn refreshed(system: &System, token: &str) -> Answer {
    self::token(system, &oauth::refreshing(token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn d46_unknown_forged_expired_and_revoked_tokens_get_one_answer() {
    let clock = TestClock::default();
    let system = system_at(
        &clock,
        "[lifetimes]\naccess_token = 100\nrefresh_token_idle = 100",
    )
    .await;
    let stranger = {
        let elsewhere = self::system("").await;
        oauth::native_tokens(&elsewhere, "alice").await
    };
    let expired = oauth::native_tokens(&system, "alice").await;
    clock.advance(100);
    let revoked = oauth::native_tokens(&system, "alice").await;
    assert_eq!(oauth::revoke(&system, &revoked.1).await, 200);
    let live = oauth::native_tokens(&system, "alice").await;
    let dead = [
        stranger,
        (forged(&live.0), forged(&live.1)),
        expired,
        revoked,
    ];
    let mut answers = Vec::new();
    for (access, refresh) in &dead {
        answers.push((
            introspected(&system, access).await,
            called(&system, access).await,
            refreshed(&system, refresh).await,
        ));
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(answers[0].0.text, r#"{"active":false}"#);
    assert_eq!(answers[0].1.status, 401);
    assert_eq!(answers[0].2.error(), "invalid_grant");
    assert!(matches!(
        swap(&system, "/api/orders", &live.0).await,
        Swap::Allowed(_)
    ));
    assert_eq!(refreshed(&system, &live.1).await.status, 200);
}

/// How many slow hashes that takes is counted beside the code
/// (`d46_a_wrong_secret_costs_as_many_slow_hashes_whosever_it_is`).
#[tokio::test(flavor = "multi_thread")]
async fn d46_a_client_that_does_not_exist_gets_the_answer_of_one_that_does() {
    let hash = |secret| String::from(client::hash_chosen(secret, &cloakroom_aws::world()).unwrap());
    let faults = Faults::default();
    let system = System::start(Options {
        faults: Some(faults.clone()),
        ..options(&format!(
            r#"
            [[clients]]
            id = "chosen"
            kind = "confidential"
            secrets = ["{}", "{}"]
            grants = ["client_credentials"]
            scopes = ["orders:read"]
            "#,
            hash("one"),
            hash("another")
        ))
    })
    .await
    .unwrap();
    let ask = async |id: &str, secret: &str| {
        faults.take_calls();
        let form = [("grant_type", "client_credentials")];
        let request = post(&system, "/oauth/token", &form).basic_auth(id, Some(secret));
        (Answer::to(request).await, faults.take_calls())
    };
    // A stranger, one with a generated secret, one with two chosen ones, a public one.
    let (stranger, _) = ask("stranger", "wrong").await;
    assert_eq!(stranger.status, 401);
    for id in ["stranger", "demo-machine", "chosen", "demo-native"] {
        let (answer, calls) = ask(id, "wrong").await;
        assert_eq!(answer, stranger, "{id}");
        assert!(calls.is_empty(), "{id}: {calls:?}");
    }
    for (id, secret) in [("demo-machine", SECRET), ("chosen", "another")] {
        let (answer, calls) = ask(id, secret).await;
        assert_eq!(answer.status, 200, "{id}");
        assert!(
            !calls.is_empty(),
            "and what is worth something costs something"
        );
    }
}

/// How many slow hashes that takes is counted beside the code.
#[tokio::test(flavor = "multi_thread")]
async fn d101_refused_clients_are_limited_at_every_endpoint_and_honest_ones_are_not() {
    let hash = String::from(client::hash_chosen("right", &cloakroom_aws::world()).unwrap());
    let faults = Faults::default();
    let client = |id: &str| {
        format!(
            "[[clients]]\nid = \"{id}\"\nkind = \"confidential\"\nsecrets = [\"{hash}\"]\ngrants = [\"client_credentials\"]\nscopes = [\"orders:read\"]\n"
        )
    };
    let system = System::start(Options {
        faults: Some(faults.clone()),
        ..options(&[client("chosen"), client("cold")].concat())
    })
    .await
    .unwrap();
    let ask = async |path: &str, id: &str, secret: &str| {
        let form = [("grant_type", "client_credentials"), ("token", "x")];
        let request = post(&system, path, &form).basic_auth(id, Some(secret));
        let answer = request.send().await.unwrap();
        let wait = answer.headers().get("retry-after").cloned();
        let wait = wait.map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
        let status = answer.status().as_u16();
        (status, wait, answer.text().await.unwrap())
    };
    assert_eq!(ask("/oauth/token", "chosen", "right").await.0, 200);
    faults.take_calls();
    // Three endpoints of one function count together, the fourth is another function's.
    for (paths, id) in [
        (
            &["/oauth/token", "/oauth/revoke", "/oauth/introspect"][..],
            "chosen",
        ),
        (
            &["/oauth/introspect", "/oauth/token", "/oauth/revoke"][..],
            "stranger",
        ),
        (&["/oauth/par"][..], "chosen"),
        (&["/oauth/par"][..], "stranger"),
    ] {
        for n in 0..8 {
            let path = paths[n % paths.len()];
            let (status, wait, body) = ask(path, id, &format!("wrong {n}")).await;
            if n < 5 {
                assert_eq!((status, wait), (401, None), "{path} {id} {n}");
                assert_eq!(body, r#"{"error":"invalid_client"}"#);
            } else {
                assert_eq!(status, 429, "{path} {id} {n}");
                assert!((1..=60).contains(&wait.unwrap()));
                assert!(body.starts_with(r#"{"error":"temporarily_unavailable","#));
            }
        }
    }
    assert!(faults.take_calls().is_empty(), "no read, and no write");
    // Verified before, another client, and one whose secret was generated.
    for (id, secret) in [
        ("chosen", "right"),
        ("cold", "right"),
        ("demo-machine", SECRET),
    ] {
        assert_eq!(ask("/oauth/token", id, secret).await.0, 200, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d47_a_refresh_token_used_again_after_its_successor_ends_the_family_and_alarms() {
    logs::listen();
    let clock = TestClock::default();
    let system = system_at(&clock, "").await;
    // After the window, with the successor in use; and of an older generation.
    for older in [false, true] {
        let (_, first) = oauth::native_tokens(&system, "alice").await;
        let (_, second) = oauth::refresh(&system, &first).await;
        let second_access = oauth::text(&second, "access_token");
        let mut newest = oauth::text(&second, "refresh_token");
        if older {
            let (_, third) = oauth::refresh(&system, &newest).await;
            newest = oauth::text(&third, "refresh_token");
        } else {
            assert_eq!(called(&system, &second_access).await.status, 200);
            clock.advance(9);
            let healed = refreshed(&system, &first).await;
            assert_eq!(healed.status, 200, "within the window");
            clock.advance(1);
        }
        let replayed = refreshed(&system, &first).await;
        assert_eq!(replayed.status, 400);
        assert_eq!(replayed.text, r#"{"error":"invalid_grant"}"#);
        assert_eq!(refreshed(&system, &newest).await.error(), "invalid_grant");
        assert_eq!(called(&system, &second_access).await.status, 401);
        let lines = logs::with(&family_tag(&first));
        let alarm = lines
            .iter()
            .any(|line| line.contains("\"reused\"") && line.contains("RefreshReuse"));
        assert!(alarm, "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d48_parallel_refreshes_of_one_token_are_one_rotation() {
    let system = Arc::new(system("").await);
    let (_, refresh) = oauth::native_tokens(&system, "alice").await;
    let tasks: Vec<_> = (0..24)
        .map(|_| {
            let (system, refresh) = (Arc::clone(&system), refresh.clone());
            tokio::spawn(async move { oauth::refresh(&system, &refresh).await })
        })
        .collect();
    let mut pairs = Vec::new();
    for task in tasks {
        let (status, body) = task.await.unwrap();
        match status.as_u16() {
            200 => pairs.push((
                oauth::text(&body, "access_token"),
                oauth::text(&body, "refresh_token"),
            )),
            // May be tried again; nobody is logged out.
            503 => assert_eq!(body["error"], "temporarily_unavailable"),
            other => panic!("{other}: {body}"),
        }
    }
    assert!(!pairs.is_empty());
    assert!(pairs.iter().all(|pair| *pair == pairs[0]), "one branch");
    assert_eq!(called(&system, &pairs[0].0).await.status, 200);
    assert_eq!(refreshed(&system, &pairs[0].1).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn d50_a_lost_answer_heals_with_the_same_pair_however_late() {
    let (clock, faults) = (TestClock::default(), Faults::default());
    let options = Options {
        clock: Some(Arc::new(clock.clone())),
        faults: Some(faults.clone()),
        ..options("")
    };
    let system = System::start(options).await.unwrap();
    let (_, first) = oauth::native_tokens(&system, "alice").await;
    // The write arrives, its answer does not.
    faults.set(Backend::DynamoDb, Fault::AnswerLost, &["UpdateItem"]);
    let lost = refreshed(&system, &first).await;
    faults.clear(Backend::DynamoDb);
    assert!(
        matches!(lost.status.as_u16(), 200 | 503),
        "never the client's fault: {lost:?}"
    );
    clock.advance(3600);
    let (status, one) = oauth::refresh(&system, &first).await;
    assert_eq!(status, 200);
    clock.advance(3600);
    let (status, other) = oauth::refresh(&system, &first).await;
    assert_eq!(status, 200);
    for name in ["access_token", "refresh_token"] {
        assert_eq!(one[name], other[name], "no second branch");
    }
    let next = refreshed(&system, &oauth::text(&one, "refresh_token")).await;
    assert_eq!(next.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn d51_a_refresh_token_in_another_clients_hands_ends_its_family() {
    let system = system(
        r#"
        [[clients]]
        id = "other-native"
        kind = "public"
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["http://127.0.0.1/callback"]
        scopes = ["orders:read", "offline_access"]
        "#,
    )
    .await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let as_other = |refresh: &str| {
        let refresh = refresh.to_owned();
        let system = &system;
        async move {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "other-native"),
                ("refresh_token", &refresh),
            ];
            token(system, &form).await
        }
    };
    // Guessing a secret of the family costs its owner nothing.
    assert_eq!(as_other(&forged(&refresh)).await.error(), "invalid_grant");
    assert_eq!(called(&system, &access).await.status, 200);
    let (_, pair) = oauth::refresh(&system, &refresh).await;
    let (access, refresh) = (
        oauth::text(&pair, "access_token"),
        oauth::text(&pair, "refresh_token"),
    );
    // Having it is another matter: it has leaked.
    assert_eq!(as_other(&refresh).await.error(), "invalid_grant");
    assert_eq!(refreshed(&system, &refresh).await.error(), "invalid_grant");
    assert_eq!(called(&system, &access).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn d52_no_scope_is_got_that_was_not_granted() {
    let system = system("").await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let many = (0..1000)
        .map(|n| format!("s{n}"))
        .collect::<Vec<_>>()
        .join(" ");
    let too_many = "a ".repeat(10_000);
    let wrong = [
        "admin",
        "orders:read admin",
        "ORDERS:READ",
        "orders:read  openid",
        " orders:read",
        "orders:read ",
        "orders:read orders:read",
        "orders:read\u{0}",
        "orders:read\topenid",
        "orders:\"read\"",
        "orders:réad",
        "*",
        many.as_str(),
        too_many.as_str(),
    ];
    for scope in wrong {
        let short: String = scope.chars().take(40).collect();
        let at_refresh = [
            ("grant_type", "refresh_token"),
            ("client_id", "demo-native"),
            ("refresh_token", &refresh),
            ("scope", scope),
        ];
        let of_machine = [
            ("grant_type", "client_credentials"),
            ("client_id", "demo-machine"),
            ("client_secret", SECRET),
            ("scope", scope),
        ];
        let at_exchange = [
            ("grant_type", EXCHANGE),
            ("client_id", "demo-machine"),
            ("client_secret", SECRET),
            ("subject_token", &access),
            ("subject_token_type", ACCESS_TOKEN),
            ("scope", scope),
        ];
        for form in [&at_refresh[..], &of_machine, &at_exchange] {
            let answer = token(&system, form).await;
            assert_eq!(answer.status, 400, "{} {short:?}", form[0].1);
            let expected = if scope.len() > 16_000 {
                "invalid_request"
            } else {
                "invalid_scope"
            };
            assert_eq!(answer.error(), expected, "{} {short:?}", form[0].1);
        }
    }
    // The exchange of a scope that the subject has, but its new holder may not have.
    let form = [
        ("grant_type", EXCHANGE),
        ("client_id", "demo-machine"),
        ("client_secret", SECRET),
        ("subject_token", &access),
        ("subject_token_type", ACCESS_TOKEN),
        ("scope", "profile"),
    ];
    assert_eq!(token(&system, &form).await.error(), "invalid_scope");
    // None of it has burnt the token; an empty scope is none (RFC 6749 §3.2).
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "demo-native"),
        ("refresh_token", &refresh),
        ("scope", ""),
    ];
    let answer = token(&system, &form).await;
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(body["scope"], "offline_access openid orders:read profile");
    // Nor by a token whose answer got lost; and asked for what it has, it still heals.
    let asking = async |scope| {
        let form = [&oauth::refreshing(&refresh)[..], &[("scope", scope)]].concat();
        token(&system, &form).await
    };
    assert_eq!(asking("orders:read admin").await.error(), "invalid_scope");
    let healed: Value = serde_json::from_str(&asking("orders:read").await.text).unwrap();
    assert_eq!(healed["refresh_token"], body["refresh_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d59_a_token_is_revoked_by_its_own_client_alone() {
    let system = system("").await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let machine = oauth::machine_token(&system).await;
    for token in [&access, &refresh] {
        let by_machine = post(&system, "/oauth/revoke", &[("token", token)])
            .basic_auth("demo-machine", Some(SECRET));
        let answer = Answer::to(by_machine).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
        let by_nobody = post(&system, "/oauth/revoke", &[("token", token)]);
        assert_eq!(Answer::to(by_nobody).await.status, 401);
    }
    assert_eq!(oauth::revoke(&system, &machine).await, 200);
    assert_eq!(called(&system, &access).await.status, 200);
    assert_eq!(called(&system, &machine).await.status, 200);
    assert_eq!(oauth::revoke(&system, &access).await, 200);
    assert_eq!(called(&system, &access).await.status, 401);
    assert_eq!(refreshed(&system, &refresh).await.error(), "invalid_grant");
}

/// A refresh is held once before its write takes place and once after, until the
/// revocation has been answered.
#[tokio::test(flavor = "multi_thread")]
async fn d59_a_revocation_wins_over_a_refresh_under_way() {
    let faults = Faults::default();
    let options = Options {
        faults: Some(faults.clone()),
        ..options("")
    };
    let system = Arc::new(System::start(options).await.unwrap());
    for written in [false, true] {
        let (access, refresh) = oauth::native_tokens(&system, "alice").await;
        let generation = async || {
            let family = Table::of(&system).family(&refresh).await;
            table::number(&family, "gen")
        };
        let before = generation().await;
        let fault = if written {
            Fault::LateAnswer
        } else {
            Fault::Slow
        };
        faults.take_calls();
        faults.set(Backend::DynamoDb, fault(HELD), &["UpdateItem"]);
        let refreshing = tokio::spawn({
            let (system, refresh) = (Arc::clone(&system), refresh.clone());
            async move { refreshed(&system, &refresh).await }
        });
        if written {
            while generation().await == before {}
        } else {
            while !faults.take_calls().contains_key("UpdateItem") {
                tokio::task::yield_now().await;
            }
        }
        faults.clear(Backend::DynamoDb);
        assert_eq!(oauth::revoke(&system, &refresh).await, 200);
        assert!(!refreshing.is_finished(), "it is under way");
        assert_eq!(called(&system, &access).await.status, 401);

        let answer = refreshing.await.unwrap();
        if written {
            assert_eq!(answer.status, 200, "it was faster");
            let body: Value = serde_json::from_str(&answer.text).unwrap();
            let token = oauth::text(&body, "access_token");
            assert_eq!(called(&system, &token).await.status, 401);
            let token = oauth::text(&body, "refresh_token");
            assert_eq!(refreshed(&system, &token).await.error(), "invalid_grant");
        } else {
            assert_eq!(answer.error(), "invalid_grant", "its write came too late");
            assert_eq!(generation().await, before);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d59_a_revocation_wins_over_a_crowd_of_refreshes() {
    let system = Arc::new(system("").await);
    for round in 0..6_u64 {
        let (access, refresh) = oauth::native_tokens(&system, "alice").await;
        let refreshes: Vec<_> = (0..6)
            .map(|_| {
                let (system, refresh) = (Arc::clone(&system), refresh.clone());
                tokio::spawn(async move { refreshed(&system, &refresh).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(2 * round)).await;
        assert_eq!(oauth::revoke(&system, &refresh).await, 200);
        // From here on nothing of the family works, whatever a refresh has answered.
        assert_eq!(called(&system, &access).await.status, 401);
        for task in refreshes {
            let answer = task.await.unwrap();
            let body: Value = serde_json::from_str(&answer.text).unwrap();
            if answer.status == 200 {
                let token = oauth::text(&body, "access_token");
                assert_eq!(called(&system, &token).await.status, 401);
                let token = oauth::text(&body, "refresh_token");
                assert_eq!(refreshed(&system, &token).await.error(), "invalid_grant");
            } else {
                assert_eq!(body["error"], "invalid_grant");
            }
        }
    }
}

/// RFC 6750 §2 and RFC 9700 §4.3.2: the header is the only place for a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_query_or_a_form_opens_nothing() {
    let system = system("").await;
    let token = oauth::machine_token(&system).await;
    let query = http().get(system.at(&format!("/api/orders?access_token={token}")));
    assert_eq!(Answer::to(query).await.status, 401);
    let form = http()
        .request(reqwest::Method::GET, system.at("/api/orders"))
        .form(&[("access_token", &token)]);
    assert_eq!(Answer::to(form).await.status, 401);
    assert_eq!(called(&system, &token).await.status, 200);
}
