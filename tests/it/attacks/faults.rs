//! D41, D42: the store or KMS is down, throttled, slow, or says no. Never an allow,
//! never "invalid token", and the answer comes in time.

use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{Options, System};
use cloakroom_tests::oauth;
use cloakroom_tests::swap::{Swap, swap};
use std::time::{Duration, Instant};

/// API Gateway waits 10 s for an authorizer; clients do not.
const BUDGET: Duration = Duration::from_secs(5);

/// A system in which nothing is remembered, so that every request needs the store.
async fn system(faults: &Faults) -> System {
    System::start(Options {
        config: cloakroom_local::system::DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0"),
        faults: Some(faults.clone()),
        ..Options::default()
    })
    .await
    .unwrap()
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
    for fault in FAULTS.into_iter().chain([Fault::KeyDisabled]) {
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
