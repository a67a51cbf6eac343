//! What is presented as a token and is none (D19, D26 to D32, D37, D38, D40).

use super::{forgetful, with_max_latency};
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::config::Edge;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{DEMO_CONFIG, Options, StartError, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::swap::{self, Swap, swap, swap_session};
use cloakroom_tests::table::{Table, digest, entry, family_tag, n, s};
use cloakroom_tests::{logs, oauth};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;

/// The status for `GET /api/orders` with these values of `Authorization`.
async fn status(system: &System, values: &[&[u8]]) -> u16 {
    let mut request = client().get(system.at("/api/orders"));
    for value in values {
        request = request.header(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
    }
    request.send().await.unwrap().status().as_u16()
}

/// Every flavour and topology, with a store that answers nothing: 401 is then said
/// without having asked it.
async fn without_a_store() -> Vec<(System, String)> {
    let mut systems = Vec::new();
    for flavour in [Flavour::Rest, Flavour::Http] {
        for edge in [Edge::None, Edge::Cloudfront] {
            let faults = Faults::default();
            let system = System::start(Options {
                flavour,
                edge: Some(edge),
                faults: Some(faults.clone()),
                ..Options::default()
            })
            .await
            .unwrap();
            let token = oauth::machine_token(&system).await;
            faults.set(Backend::DynamoDb, Fault::Failing, &[]);
            systems.push((system, token));
        }
    }
    systems
}

#[tokio::test(flavor = "multi_thread")]
async fn d26_what_is_not_one_bearer_token_is_401_and_costs_no_read() {
    for (system, token) in without_a_store().await {
        // An HTTP API cannot say 503.
        let well_formed = status(&system, &[format!("Bearer {token}").as_bytes()]).await;
        assert!([503, 500].contains(&well_formed), "a token is looked up");
        // On an HTTP API the error of a thrown "Unauthorized" is 401 here.
        assert_eq!(status(&system, &[]).await, 401);
        for value in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer  {token}"),
            format!("Bearer\t{token}"),
            format!("Bearer\u{a0}{token}"),
            format!("Basic {token}"),
            format!("DPoP {token}"),
            format!("Bearer {token},{token}"),
            format!("Bearer {token}, Bearer {token}"),
            format!("Bearer{token}"),
            token.clone(),
        ] {
            assert_eq!(status(&system, &[value.as_bytes()]).await, 401, "{value:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d26_the_scheme_has_no_case() {
    let system = System::start(Options::default()).await.unwrap();
    let token = oauth::machine_token(&system).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        assert_eq!(status(&system, &[value.as_bytes()]).await, 200, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d27_two_headers_are_401_even_if_both_are_good() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        for edge in [Edge::None, Edge::Cloudfront] {
            let options = Options {
                flavour,
                edge: Some(edge),
                ..Options::default()
            };
            let system = System::start(options).await.unwrap();
            let good = format!("Bearer {}", oauth::machine_token(&system).await);
            let good = good.as_bytes();
            assert_eq!(status(&system, &[good]).await, 200);
            assert_eq!(status(&system, &[good, good]).await, 401);
            assert_eq!(status(&system, &[b"Bearer x", good]).await, 401);
            assert_eq!(status(&system, &[good, b"Basic x"]).await, 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d28_a_token_of_another_shape_is_401_and_costs_no_read() {
    for (system, token) in without_a_store().await {
        let (head, last) = token.split_at(token.len() - 1);
        let other_last = if last == "0" { "1" } else { "0" };
        let mut texts: Vec<Vec<u8>> = [
            String::new(),
            "x".to_owned(),
            head.to_owned(),
            format!("{token}0"),
            format!("{token}="),
            format!("{head}{other_last}"),
            format!("{head}%{last}"),
            format!("{head}\u{ff10}"),
            format!("{head}😀"),
            token.to_uppercase(),
            token.replacen('c', "%63", 1),
            token.replacen("cr_", "CR_", 1),
            "cr_at_".repeat(1700),
            "A".repeat(OpaqueToken::LEN),
        ]
        .map(String::into_bytes)
        .to_vec();
        texts.push([head.as_bytes(), b"\xff"].concat());
        for text in texts {
            let value = [b"Bearer ", text.as_slice()].concat();
            // A header that is too long does not get through at all.
            let status = status(&system, &[&value]).await;
            assert!(
                status == 401 || (status == 431 && value.len() > 8_000),
                "{status}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d28_what_no_http_client_sends_is_401_too() {
    let system = System::start(Options::default()).await.unwrap();
    let token = oauth::machine_token(&system).await;
    let path = "/api/orders";
    assert!(matches!(
        swap(&system, path, &token).await,
        Swap::Allowed(_)
    ));
    for text in [
        format!("{token}\n"),
        format!("{token} "),
        format!("{token}\r\nX-CSRF: 1"),
        format!("{token}\0"),
        format!("\0{token}"),
        format!("{}\u{fffd}", &token[..75]),
        "x".repeat(6_000_000),
    ] {
        assert_eq!(swap(&system, path, &text).await, Swap::Unauthorized);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d29_a_jwt_is_no_ticket_and_a_ticket_is_no_jwt() {
    let system = System::start(Options::default()).await.unwrap();
    let token = oauth::machine_token(&system).await;
    let jwt = swap(&system, "/api/orders", &token).await.jwt().to_owned();
    assert_eq!(swap(&system, "/api/orders", &jwt).await, Swap::Unauthorized);
    assert_eq!(
        status(&system, &[format!("Bearer {jwt}").as_bytes()]).await,
        401
    );

    let downstream = async |token: &str| {
        let url = format!("{}/api/orders", system.services_url());
        let answer = client().get(url).bearer_auth(token).send().await;
        answer.unwrap().status()
    };
    assert_eq!(downstream(&jwt).await, 200);
    assert_eq!(downstream(&token).await, 401, "D69");
    assert_eq!(downstream("").await, 401, "D69");
}

#[tokio::test(flavor = "multi_thread")]
async fn d30_a_token_of_another_kind_is_401_however_good() {
    for edge in [Edge::None, Edge::Cloudfront] {
        let options = Options {
            edge: Some(edge),
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let mut alice = Browser::default();
        alice.sign_in(system.url(), "alice").await;
        let session = alice.cookie("__Host-Http-cloakroom").unwrap();
        let (access, refresh) = oauth::native_tokens(&system, "alice").await;
        let code = oauth::code(&system, "alice").await;
        let family = OpaqueToken::parse(&access).unwrap().family().to_text();

        assert_eq!(
            status(&system, &[format!("Bearer {access}").as_bytes()]).await,
            200
        );
        for value in [
            format!("Bearer {session}"),
            format!("Session {session}"),
            format!("session {session}"),
            format!("Session {access}"),
            format!("Bearer {refresh}"),
            format!("Bearer {code}"),
            format!("Bearer {family}"),
            "Bearer demo-machine-secret".to_owned(),
            // The kind is under the digest: another prefix is another token.
            format!("Bearer {}", refresh.replacen("cr_rt_", "cr_at_", 1)),
        ] {
            assert_eq!(status(&system, &[value.as_bytes()]).await, 401);
        }

        let orders = system.at("/api/orders");
        assert_eq!(alice.fetch(reqwest::Method::GET, &orders).await.0, 200);
        for wrong in [&access, &refresh, &code] {
            let mut thief = Browser::default();
            thief.plant("__Host-Http-cloakroom", wrong);
            assert_eq!(thief.fetch(reqwest::Method::GET, &orders).await.0, 401);
        }
        // The code is still good for what it is for.
        assert_eq!(oauth::redeem(&system, &code).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d31_what_the_table_shows_is_no_token() {
    let system = forgetful().await;
    let token = oauth::machine_token(&system).await;
    let path = "/api/orders";
    assert!(matches!(
        swap(&system, path, &token).await,
        Swap::Allowed(_)
    ));
    let family = OpaqueToken::parse(&token).unwrap().family().to_text();
    for text in [
        digest(&token),
        format!("cr_at_{}", digest(&token)),
        family.clone(),
        format!("f#{family}"),
        format!("{family}|{}", digest(&token)),
        token.to_lowercase(),
    ] {
        assert_eq!(
            swap(&system, path, &text).await,
            Swap::Unauthorized,
            "{text}"
        );
    }
    // The same family and another secret, checksum and all.
    let other = neighbour(&token);
    assert_eq!(swap(&system, path, &other).await, Swap::Unauthorized);
}

/// A well-formed token of the same family that was never issued.
fn neighbour(token: &str) -> String {
    let token = OpaqueToken::parse(token).unwrap();
    OpaqueToken::generate(token.kind(), token.family(), &cloakroom_aws::world())
        .unwrap()
        .expose()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn d32_a_token_is_dead_at_its_expiry_though_the_item_is_there() {
    let clock = TestClock::default();
    let system = with_max_latency(
        0,
        Options {
            clock: Some(Arc::new(clock.clone())),
            ..Options::default()
        },
    )
    .await;
    let token = oauth::machine_token(&system).await;
    let life = system.config().lifetimes.access_token;
    clock.advance(life - 1);
    let last = swap(&system, "/api/orders", &token).await.claims();
    clock.advance(1);
    assert_eq!(
        swap(&system, "/api/orders", &token).await,
        Swap::Unauthorized
    );
    assert!(!Table::of(&system).family(&token).await.is_empty());
    clock.rewind(1);
    let claims = swap(&system, "/api/orders", &token).await.claims();
    assert_eq!(claims["exp"], last["exp"], "a JWT never outlives its token");
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn d32_a_malformed_item_is_401_and_an_alarm() {
    logs::listen();
    let system = forgetful().await;
    let table = Table::of(&system);
    for (name, wrong) in [
        ("expires_at", None),
        ("expires_at", Some(s("soon"))),
        ("expires_at", Some(n("-1"))),
        ("expires_at", Some(n("9223372036854775808"))),
        ("expires_at", Some(n("1.5"))),
        ("expires_at", Some(AttributeValue::Null(true))),
        ("kind", Some(s("xx"))),
        ("state", None),
        ("meta", Some(s("text"))),
        ("data_key", None),
        ("jwts", None),
    ] {
        let token = oauth::machine_token(&system).await;
        let original = table.family(&token).await;
        let mut damaged = original.clone();
        match &wrong {
            None => entry(&mut damaged, &token).remove(name),
            Some(wrong) => entry(&mut damaged, &token).insert(name.to_owned(), wrong.clone()),
        };
        table.put(&damaged).await;
        let path = "/api/orders";
        assert_eq!(
            swap(&system, path, &token).await,
            Swap::Unauthorized,
            "{name} {wrong:?}"
        );
        let alarmed = logs::with(&family_tag(&token));
        assert!(
            alarmed
                .iter()
                .any(|line| line.contains("\"SealsBroken\":1")),
            "{name} {wrong:?}: {alarmed:?}"
        );
        table.put(&original).await;
        assert!(matches!(
            swap(&system, path, &token).await,
            Swap::Allowed(_)
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d37_an_event_of_an_api_stage_or_account_that_is_not_ours_is_401() {
    let config = |api: &str| format!("{DEMO_CONFIG}\n[authorizer]\napis = [\"{api}\"]\n");
    for (api, expected) in [
        ("local/local", 200),
        ("local/dev", 401),
        ("other/local", 401),
        ("000000000000/local/local", 200),
        ("111122223333/local/local", 401),
        ("000000000000/local", 401),
    ] {
        let system = System::start(Options {
            config: config(api),
            ..Options::default()
        })
        .await
        .unwrap();
        let token = oauth::machine_token(&system).await;
        let (status, _) = oauth::call(&system, "/api/orders", &token).await;
        assert_eq!(status, expected, "{api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d37_an_event_that_contradicts_itself_is_401() {
    let system = System::start(Options::default()).await.unwrap();
    let token = oauth::machine_token(&system).await;
    let headers = json!({"Authorization": [format!("Bearer {token}")]});
    let event = swap::event("/api/orders", &headers);
    assert!(matches!(
        swap::answer(&system, &event).await,
        Swap::Allowed(_)
    ));
    for (pointer, wrong) in [
        ("/requestContext/accountId", "111122223333"),
        ("/requestContext/apiId", "other"),
        ("/requestContext/stage", "dev"),
        ("/requestContext/resourcePath", "/api/reports"),
        ("/requestContext/httpMethod", "POST"),
        ("/httpMethod", "POST"),
        (
            "/methodArn",
            "arn:aws:execute-api:us-east-1:000000000000:local/prod",
        ),
        (
            "/methodArn",
            "arn:evil:execute-api:us-east-1:000000000000:local/prod/GET/api/orders",
        ),
        ("/methodArn", "*"),
    ] {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = json!(wrong);
        assert_eq!(
            swap::answer(&system, &event).await,
            Swap::Unauthorized,
            "{pointer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d38_a_name_that_could_break_out_of_the_context_does_not_start() {
    for odd in ["demo\\\"machine", "demo machine", "demo\\nmachine", "démo"] {
        let config = DEMO_CONFIG.replace("\"demo-machine\"", &format!("\"{odd}\""));
        let started = System::start(Options {
            config,
            ..Options::default()
        })
        .await;
        assert!(matches!(started, Err(StartError::Config(_))), "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d38_what_reaches_a_service_is_the_one_header_that_is_ours() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        let options = Options {
            flavour,
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let token = oauth::machine_token(&system).await;
        let answer = client()
            .get(system.at("/api/profile"))
            .bearer_auth(&token)
            .header("x-cloakroom-jwt", "forged")
            .header("x-cloakroom-token", "forged")
            .header("x-user-id", "admin\u{22}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["claims"]["sub"], "client|demo-machine");
        assert!(!body.to_string().contains("x-cloakroom-token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d40_an_event_of_another_shape_is_401_and_ends_nothing() {
    let system = System::start(Options::default()).await.unwrap();
    let token = oauth::machine_token(&system).await;
    let headers = json!({"Authorization": [format!("Bearer {token}")]});
    let good = swap::event("/api/orders", &headers);
    let mut version = good.clone();
    version["version"] = json!("3.0");
    let mut connect = good.clone();
    connect["requestContext"]["connectionId"] = json!("x");
    let mut untyped = good.clone();
    untyped.as_object_mut().unwrap().remove("type");
    let mut large = good.clone();
    large["requestContext"]["stage"] = json!("x".repeat(6_000_000));
    for event in [
        json!({}),
        json!([]),
        json!(null),
        json!([good]),
        version,
        connect,
        untyped,
        large,
    ] {
        assert_eq!(swap::answer(&system, &event).await, Swap::Unauthorized);
    }
    assert!(matches!(
        swap::answer(&system, &good).await,
        Swap::Allowed(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn d19_cookie_and_bearer_token_together_are_401() {
    for edge in [Edge::None, Edge::Cloudfront] {
        let options = Options {
            edge: Some(edge),
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let token = oauth::machine_token(&system).await;
        let mut alice = Browser::default();
        alice.sign_in(system.url(), "alice").await;
        let orders = system.at("/api/orders");
        let get = reqwest::Method::GET;
        assert_eq!(alice.fetch(get.clone(), &orders).await.0, 200);
        let both = format!("Bearer {token}");
        let headers = [("x-csrf", "1"), ("authorization", both.as_str())];
        assert_eq!(alice.fetch_with(get, &orders, &headers).await.0, 401);
    }
    let system = System::start(Options::default()).await.unwrap();
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let session = alice.cookie("__Host-Http-cloakroom").unwrap();
    assert!(matches!(
        swap_session(&system, "/api/orders", &session).await,
        Swap::Allowed(_)
    ));
}
