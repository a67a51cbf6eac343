//! D41 to D43: the store or KMS is down, throttled, slow, says no, or answers for
//! another. Never an allow, never "invalid token", and the answer comes in time.

use super::with_max_latency;
use cloakroom_aws::Limits;
use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::oauth;
use cloakroom_tests::swap::{Swap, swap};
use reqwest::Method;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// API Gateway waits 10 s for an authorizer; clients do not.
const BUDGET: Duration = Duration::from_secs(5);

/// A system in which nothing is remembered, so that every request needs the store; and
/// that waits for it no longer than a deployed one.
async fn system(faults: &Faults) -> System {
    let options = Options {
        faults: Some(faults.clone()),
        limits: Limits::DEPLOYED,
        ..Options::default()
    };
    with_max_latency(0, options).await
}

const FAULTS: [Fault; 5] = [
    Fault::Failing,
    Fault::Throttling,
    Fault::Denying,
    Fault::Slow(Duration::from_secs(30)),
    Fault::AnswerLost,
];

#[tokio::test(flavor = "multi_thread")]
async fn d41_without_the_store_nobody_passes_and_nobody_is_called_invalid() {
    let faults = Faults::default();
    let system = system(&faults).await;
    for fault in FAULTS {
        for operation in ["GetItem", "UpdateItem"] {
            // A fresh token has no JWT yet, so that it needs the write too.
            let token = oauth::machine_token(&system).await;
            faults.set(Backend::DynamoDb, fault, &[operation]);
            let start = Instant::now();
            let answer = swap(&system, "/api/orders", &token).await;
            assert_eq!(answer, Swap::Unavailable, "{fault:?} {operation}");
            assert!(start.elapsed() < BUDGET, "{fault:?} {operation}");
            faults.clear(Backend::DynamoDb);
            let after = swap(&system, "/api/orders", &token).await;
            assert!(matches!(after, Swap::Allowed(_)), "{fault:?} {operation}");
        }
    }
}

/// What a client sees, through every flavour and topology.
#[tokio::test(flavor = "multi_thread")]
async fn d41_clients_see_503_and_no_challenge() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        for edge in [Edge::None, Edge::Cloudfront] {
            let faults = Faults::default();
            let options = Options {
                flavour,
                edge: Some(edge),
                faults: Some(faults.clone()),
                ..Options::default()
            };
            let system = with_max_latency(0, options).await;
            let token = oauth::machine_token(&system).await;
            for fault in [Fault::Failing, Fault::Throttling] {
                faults.set(Backend::DynamoDb, fault, &[]);
                let request = client().get(system.at("/api/orders"));
                let answer = request.bearer_auth(&token).send().await.unwrap();
                // What an HTTP API makes of an error that is thrown is its own.
                let expected = if flavour == Flavour::Rest { 503 } else { 500 };
                assert_eq!(answer.status(), expected, "{flavour:?} {edge:?} {fault:?}");
                assert!(!answer.headers().contains_key("www-authenticate"));
                faults.clear(Backend::DynamoDb);
                // And it was not cached.
                let (status, _) = oauth::call(&system, "/api/orders", &token).await;
                assert_eq!(status, 200);
            }
        }
    }
}

/// What is remembered is good for as long as it always was, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn d41_an_outage_prolongs_nothing_that_is_remembered() {
    let (faults, clock) = (Faults::default(), TestClock::default());
    let options = Options {
        faults: Some(faults.clone()),
        clock: Some(Arc::new(clock.clone())),
        ..Options::default()
    };
    let system = with_max_latency(5, options).await;
    let token = oauth::machine_token(&system).await;
    let known = swap(&system, "/api/orders", &token).await;
    assert!(matches!(known, Swap::Allowed(_)));
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    assert_eq!(swap(&system, "/api/orders", &token).await, known);
    clock.advance(5);
    assert_eq!(
        swap(&system, "/api/orders", &token).await,
        Swap::Unavailable
    );
}

/// Slow, but within what we wait: nobody is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn d41_a_store_and_a_kms_that_are_a_little_slow_are_waited_for() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let slow = Fault::Slow(Duration::from_millis(250));
    faults.set(Backend::DynamoDb, slow, &[]);
    faults.set(Backend::Kms, slow, &[]);
    let token = oauth::machine_token(&system).await;
    let start = Instant::now();
    let answer = swap(&system, "/api/orders", &token).await;
    assert!(matches!(answer, Swap::Allowed(_)));
    assert!(start.elapsed() > Duration::from_millis(500), "it was slow");
    assert!(start.elapsed() < BUDGET);
}

#[tokio::test(flavor = "multi_thread")]
async fn d41_a_browser_is_told_to_try_again_and_stays_signed_in() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let session = system.at("/auth/session");
    let logout = system.at("/auth/logout");
    for fault in FAULTS {
        faults.set(Backend::DynamoDb, fault, &[]);
        let start = Instant::now();
        let (status, _, body) = alice.fetch(Method::GET, &session).await;
        assert_eq!(status, 503, "{fault:?}: {body}");
        let (status, _, body) = alice.fetch(Method::POST, &logout).await;
        assert_eq!(status, 503, "{fault:?}: {body}");
        // A login that the provider has vouched for, but that cannot be kept.
        let mut bob = Browser::default();
        let landed = bob.sign_in(system.url(), "bob").await;
        assert_eq!(landed.status, 503, "{fault:?}");
        assert!(bob.cookie("__Host-Http-cloakroom").is_none());
        assert!(start.elapsed() < 4 * BUDGET, "{fault:?}");
        faults.clear(Backend::DynamoDb);
        // "AnswerLost" has signed her out, as she asked.
        if fault == Fault::AnswerLost {
            alice.sign_in(system.url(), "alice").await;
        }
        assert_eq!(alice.fetch(Method::GET, &session).await.0, 200, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d41_the_token_endpoint_says_try_again() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let (_, refresh) = oauth::native_tokens(&system, "alice").await;
    for fault in FAULTS {
        faults.set(Backend::DynamoDb, fault, &[]);
        let start = Instant::now();
        let (status, body) = oauth::refresh(&system, &refresh).await;
        assert_eq!(status, 503, "{fault:?}: {body}");
        assert_eq!(body["error"], "temporarily_unavailable", "{fault:?}");
        assert_eq!(oauth::revoke(&system, &refresh).await, 503, "{fault:?}");
        assert!(start.elapsed() < 2 * BUDGET, "{fault:?}");
        faults.clear(Backend::DynamoDb);
    }
    let (status, body) = oauth::refresh(&system, &refresh).await;
    assert_eq!(status, 200, "nobody was logged out by an outage: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d42_without_kms_nothing_is_signed_and_it_recovers() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let known = oauth::machine_token(&system).await;
    let before = swap(&system, "/api/orders", &known).await;
    for fault in FAULTS
        .into_iter()
        .chain([Fault::KeyDisabled, Fault::OtherKey])
    {
        let token = oauth::machine_token(&system).await;
        faults.set(Backend::Kms, fault, &["Sign"]);
        let start = Instant::now();
        let answer = swap(&system, "/api/orders", &token).await;
        assert_eq!(answer, Swap::Unavailable, "{fault:?}");
        assert!(start.elapsed() < BUDGET, "{fault:?}");
        // A JWT that was signed for this very token is still good.
        assert_eq!(swap(&system, "/api/orders", &known).await, before);
        faults.clear(Backend::Kms);
        // The breaker lets a probe through after a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let after = swap(&system, "/api/orders", &token).await;
        assert!(matches!(after, Swap::Allowed(_)), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d43_while_another_key_answers_nothing_is_signed_published_or_opened() {
    let faults = Faults::default();
    let system = system(&faults).await;
    faults.set(Backend::Kms, Fault::OtherKey, &[]);
    let keys = || client().get(system.at("/.well-known/jwks.json")).send();
    assert_eq!(keys().await.unwrap().status(), 503);
    let grant = [("grant_type", "client_credentials")];
    let (status, body) = oauth::machine(&system, &grant).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (503, &"temporarily_unavailable".into())
    );
    faults.clear(Backend::Kms);
    assert_eq!(keys().await.unwrap().status(), 200);
    let token = oauth::machine_token(&system).await;
    for operation in ["GenerateMac", "Sign"] {
        faults.set(Backend::Kms, Fault::OtherKey, &[operation]);
        let answer = swap(&system, "/api/orders", &token).await;
        assert_eq!(answer, Swap::Unavailable, "{operation}");
        faults.clear(Backend::Kms);
    }
    let answer = swap(&system, "/api/orders", &token).await;
    assert!(matches!(answer, Swap::Allowed(_)));
}

/// KMS is down when the functions start: they do not end, and work once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn d42_without_the_root_nothing_opens_and_it_recovers() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let token = oauth::machine_token(&system).await;
    for fault in FAULTS.into_iter().chain([Fault::KeyDisabled]) {
        faults.set(Backend::Kms, fault, &["GenerateMac"]);
        let start = Instant::now();
        let answer = swap(&system, "/api/orders", &token).await;
        assert_eq!(answer, Swap::Unavailable, "{fault:?}");
        let form = oauth::authorization_url(&system, &[]);
        let page = Browser::default().open(&form).await;
        assert_eq!(page.status, 503, "{fault:?}");
        assert!(start.elapsed() < 2 * BUDGET, "{fault:?}");
    }
    faults.clear(Backend::Kms);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = swap(&system, "/api/orders", &token).await;
    assert!(matches!(answer, Swap::Allowed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn d42_an_outage_of_kms_does_not_pile_up_timeouts() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let token = oauth::machine_token(&system).await;
    faults.set(Backend::Kms, Fault::Failing, &["Sign"]);
    for _ in 0..8 {
        assert_eq!(
            swap(&system, "/api/orders", &token).await,
            Swap::Unavailable
        );
    }
    faults.set(
        Backend::Kms,
        Fault::Slow(Duration::from_secs(30)),
        &["Sign"],
    );
    let start = Instant::now();
    let mut quick = 0;
    for _ in 0..8 {
        let one = Instant::now();
        assert_eq!(
            swap(&system, "/api/orders", &token).await,
            Swap::Unavailable
        );
        quick += usize::from(one.elapsed() < Duration::from_millis(500));
    }
    assert!(quick >= 4, "the breaker is open: {quick} of 8 were quick");
    assert!(start.elapsed() < 4 * BUDGET);
}
