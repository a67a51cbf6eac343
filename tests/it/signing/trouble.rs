//! What KMS is asked for, and what becomes of requests while it does not answer
//! (D42, D43).

use cloakroom_domain::ports::Clock;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{Options, System};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::environment::{Environment, config_with, data_key_config, rotate};
use cloakroom_tests::oauth;
use cloakroom_tests::swap::Swap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ORDERS: &str = "/api/orders";

/// A system whose clock and whose AWS are in the test's hands.
pub(super) struct World {
    pub(super) system: System,
    pub(super) clock: TestClock,
    pub(super) faults: Faults,
}

impl World {
    pub(super) async fn start(config: String) -> Self {
        let (clock, faults) = (TestClock::default(), Faults::default());
        let system = System::start(Options {
            config,
            clock: Some(Arc::new(clock.clone())),
            faults: Some(faults.clone()),
            ..Options::default()
        })
        .await
        .unwrap();
        let world = Self {
            system,
            clock,
            faults,
        };
        // The system's own functions have asked for what they need, then.
        world.token().await;
        world
    }

    pub(super) async fn cold(&self) -> Environment {
        let places = self.system.backends().key_places();
        Environment::start(&self.system, &places, &self.clock).await
    }

    pub(super) async fn token(&self) -> String {
        oauth::machine_token(&self.system).await
    }

    /// What KMS was asked for since the last time, in the order of the alphabet.
    pub(super) fn kms_calls(&self) -> Vec<String> {
        let calls = self.faults.take_calls();
        let kms = ["Decrypt", "GenerateMac", "GetPublicKey", "Sign"];
        kms.iter()
            .flat_map(|name| std::iter::repeat_n(*name, calls.get(*name).copied().unwrap_or(0)))
            .map(str::to_owned)
            .collect()
    }
}

fn kms_config() -> String {
    config_with("algorithm = \"ES256\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_in_data_key_mode_costs_two_calls_of_kms_and_requests_none() {
    let world = World::start(data_key_config()).await;
    world.kms_calls();
    let environment = world.cold().await;
    assert_eq!(world.kms_calls(), ["Decrypt", "GenerateMac"]);
    for _ in 0..20 {
        let token = world.token().await;
        let answer = environment.swap(ORDERS, &token).await;
        assert!(matches!(answer, Swap::Allowed(_)));
        environment.published().await.unwrap();
    }
    assert_eq!(world.kms_calls(), Vec::<String>::new());

    // A rotation costs one more.
    let config = world.system.config();
    let set = rotate(&world.system, config, false, &world.clock).await;
    let from = set.unwrap().keys[1].sign_from;
    world.clock.advance(from.since(world.clock.now()));
    world.kms_calls();
    for _ in 0..5 {
        let token = world.token().await;
        environment.swap(ORDERS, &token).await.jwt();
    }
    assert_eq!(world.kms_calls(), ["Decrypt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_public_half_the_key_sets_key_is_asked_for_it_once() {
    let world = World::start(data_key_config()).await;
    let mut places = world.system.backends().key_places();
    places.keyset_public_key.clear();
    world.kms_calls();
    let environment = Environment::start(&world.system, &places, &world.clock).await;
    let token = world.token().await;
    environment.swap(ORDERS, &token).await.jwt();
    assert_eq!(
        world.kms_calls(),
        ["Decrypt", "GenerateMac", "GetPublicKey"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_kms_mode_each_token_and_audience_is_signed_for_once() {
    let world = World::start(kms_config()).await;
    let (one, other) = (world.cold().await, world.cold().await);
    world.kms_calls();
    let token = world.token().await;
    for _ in 0..10 {
        for environment in [&one, &other] {
            environment.swap(ORDERS, &token).await.jwt();
            environment.swap("/api/profile", &token).await.jwt();
        }
    }
    assert_eq!(world.kms_calls(), ["Sign", "Sign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d42_live_jwts_outlive_an_outage_of_kms_in_memory_and_in_the_table() {
    let world = World::start(kms_config()).await;
    let (one, other) = (world.cold().await, world.cold().await);
    let (known, unknown) = (world.token().await, world.token().await);
    let jwt = one.swap(ORDERS, &known).await;
    world.faults.set(Backend::Kms, Fault::Failing, &[]);
    assert_eq!(one.swap(ORDERS, &known).await, jwt, "from memory");
    assert_eq!(other.swap(ORDERS, &known).await, jwt, "from the table");
    assert_eq!(one.swap(ORDERS, &unknown).await, Swap::Unavailable);
    // Until they die, and not longer.
    world.clock.advance(world.system.config().jwt.lifetime);
    assert_eq!(one.swap(ORDERS, &known).await, Swap::Unavailable);
    world.faults.clear(Backend::Kms);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_ne!(one.swap(ORDERS, &known).await.jwt(), jwt.jwt());
}

#[tokio::test(flavor = "multi_thread")]
async fn d42_in_data_key_mode_an_outage_of_kms_stops_only_new_environments() {
    let world = World::start(data_key_config()).await;
    let warm = world.cold().await;
    world.faults.set(Backend::Kms, Fault::Failing, &[]);
    // A start that KMS does not help with is a start all the same.
    let cold = world.cold().await;
    for _ in 0..3 {
        let token = world.token().await;
        assert!(matches!(warm.swap(ORDERS, &token).await, Swap::Allowed(_)));
        assert_eq!(cold.swap(ORDERS, &token).await, Swap::Unavailable);
        warm.published().await.unwrap();
        cold.published().await.unwrap();
    }
    world.faults.clear(Backend::Kms);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let token = world.token().await;
    assert!(matches!(cold.swap(ORDERS, &token).await, Swap::Allowed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn d41_in_data_key_mode_the_record_outlives_an_outage_of_the_table() {
    let world = World::start(data_key_config()).await;
    let environment = world.cold().await;
    let before = environment.published().await.unwrap();
    world.faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    world.clock.advance(61);
    assert_eq!(environment.published().await, Ok(before.clone()));
    world.clock.advance(3_600);
    assert_eq!(environment.published().await, Err(503), "not for ever");
    world.faults.clear(Backend::DynamoDb);
    assert_eq!(environment.published().await, Ok(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn d42_recovery_is_tried_by_one_and_followed_by_all() {
    let world = World::start(kms_config()).await;
    let environment = Arc::new(world.cold().await);
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(world.token().await);
    }
    world.faults.set(Backend::Kms, Fault::Failing, &["Sign"]);
    for token in &tokens[..5] {
        let answer = environment.swap(ORDERS, token).await;
        assert_eq!(answer, Swap::Unavailable);
    }
    world.kms_calls();
    // Half-open: of all that come at once, one asks; and it waits alone.
    let slow = Fault::Slow(Duration::from_millis(300));
    world.faults.set(Backend::Kms, slow, &["Sign"]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let start = Instant::now();
    let under_way: Vec<_> = tokens
        .iter()
        .map(|token| {
            let (environment, token) = (Arc::clone(&environment), token.clone());
            tokio::spawn(async move { environment.swap(ORDERS, &token).await })
        })
        .collect();
    let mut allowed = 0;
    for one in under_way {
        allowed += usize::from(matches!(one.await.unwrap(), Swap::Allowed(_)));
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(allowed, 1, "the probe");
    assert_eq!(world.kms_calls(), ["Sign"], "no stampede");
    // It has worked: the rest follows.
    world.faults.clear(Backend::Kms);
    for token in &tokens {
        let answer = environment.swap(ORDERS, token).await;
        assert!(matches!(answer, Swap::Allowed(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d43_a_key_that_another_one_has_unwrapped_signs_nothing() {
    let world = World::start(data_key_config()).await;
    let token = world.token().await;
    let other = Fault::OtherKey;
    world.faults.set(Backend::Kms, other, &["Decrypt"]);
    let environment = world.cold().await;
    let answer = environment.swap(ORDERS, &token).await;
    assert_eq!(answer, Swap::Unavailable);
    world.faults.clear(Backend::Kms);
    let answer = environment.swap(ORDERS, &token).await;
    assert!(matches!(answer, Swap::Allowed(_)));
}
