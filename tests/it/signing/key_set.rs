//! D75 for the key set of data-key mode: planted, swapped, retired and replayed
//! records. An environment that starts on one refuses; one that has seen a good
//! record goes on with that.

use cloakroom_aws::kms::{KeyPlaces, create_keyset_key, create_wrapping_key, next_key_set};
use cloakroom_domain::keyset::{Rotation, StoredKeySet};
use cloakroom_domain::ports::Clock;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::environment::{
    Environment, data_key_config, key_set, put_back, rotate, stored,
};
use cloakroom_tests::oauth;
use cloakroom_tests::swap::Swap;
use serde_json::Value;
use std::sync::Arc;

const ORDERS: &str = "/api/orders";

struct World {
    system: System,
    clock: TestClock,
    /// Started before anything happens.
    warm: Environment,
    token: String,
}

impl World {
    async fn start() -> Self {
        let clock = TestClock::default();
        let system = System::start(Options {
            // Nothing is remembered but keys, so that each request signs or fails.
            config: data_key_config().replace("max_latency = 5", "max_latency = 0"),
            clock: Some(Arc::new(clock.clone())),
            ..Options::default()
        })
        .await
        .unwrap();
        let warm = Environment::start(&system, &system.backends().key_places(), &clock).await;
        let token = oauth::machine_token(&system).await;
        let world = Self {
            system,
            clock,
            warm,
            token,
        };
        assert!(allows(&world.warm, &world.token).await);
        assert_eq!(kids(&world.warm).await.unwrap().len(), 1);
        world
    }

    fn places(&self) -> KeyPlaces {
        self.system.backends().key_places()
    }

    async fn cold(&self) -> Environment {
        Environment::start(&self.system, &self.places(), &self.clock).await
    }

    /// A new environment neither signs nor publishes; the old one goes on as before.
    async fn is_refused(&self, record: &StoredKeySet, why: &str) {
        let good = stored(&self.system).await;
        let before = kids(&self.warm).await;
        put_back(&self.system, record).await;
        let cold = self.cold().await;
        let answer = cold.swap(ORDERS, &self.token).await;
        assert_eq!(answer, Swap::Unavailable, "{why}: authorizer");
        assert_eq!(kids(&cold).await, Err(503), "{why}: jwks");
        // Long enough for the warm one to look again.
        self.clock.advance(61);
        assert!(allows(&self.warm, &self.token).await, "{why}: warm");
        assert_eq!(kids(&self.warm).await, before, "{why}: warm jwks");
        put_back(&self.system, &good).await;
        self.clock.advance(61);
        assert!(allows(&cold, &self.token).await, "{why}: it recovers");
        assert_eq!(kids(&cold).await, before, "{why}: it recovers");
    }
}

async fn allows(environment: &Environment, token: &str) -> bool {
    matches!(environment.swap(ORDERS, token).await, Swap::Allowed(_))
}

/// Of the JWT with which the environment answers.
async fn signed_by(environment: &Environment, token: &str) -> String {
    let answer = environment.swap(ORDERS, token).await;
    super::rotation::kid(answer.jwt())
}

async fn kids(environment: &Environment) -> Result<Vec<String>, u64> {
    let keys = environment.published().await?;
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    Ok(keys["keys"].as_array().unwrap().iter().map(kid).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_planted_key_set_is_refused() {
    let world = Box::pin(World::start()).await;
    let kms = world.system.backends().kms();
    // The attacker has KMS keys of their own, and does everything as we do.
    let theirs = KeyPlaces {
        wrapping_key: create_wrapping_key(&kms).await.unwrap(),
        keyset_key: create_keyset_key(&kms).await.unwrap(),
        ..KeyPlaces::default()
    };
    let rotation = Rotation {
        sign_for: 86_400,
        at_once: true,
    };
    let config = world.system.config();
    let now = world.clock.now();
    let made = next_key_set(&kms, &theirs, config, None, rotation, now).await;
    let (_, planted) = made.unwrap();
    world.is_refused(&planted, "signed by another key").await;

    // Their payload under our header, and their keys beside our record.
    let ours = stored(&world.system).await;
    let header = ours.record.split('.').next().unwrap();
    let (_, rest) = planted.record.split_once('.').unwrap();
    let dressed = StoredKeySet {
        record: format!("{header}.{rest}"),
        ..planted.clone()
    };
    world.is_refused(&dressed, "under our header").await;
    let nothing = StoredKeySet {
        record: String::new(),
        ..ours.clone()
    };
    world.is_refused(&nothing, "no record").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_the_key_set_of_another_system_is_refused() {
    let world = Box::pin(World::start()).await;
    // Two systems of one company that share their KMS keys.
    let mut other = world.system.config().as_ref().clone();
    other.issuer = "https://other.example".into();
    let rotation = Rotation {
        sign_for: 86_400,
        at_once: true,
    };
    let made = next_key_set(
        &world.system.backends().kms(),
        &world.places(),
        &other,
        None,
        rotation,
        world.clock.now(),
    )
    .await;
    let (_, foreign) = made.unwrap();
    world.is_refused(&foreign, "another deployment").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_swapped_private_keys_sign_nothing() {
    let world = Box::pin(World::start()).await;
    let config = world.system.config();
    rotate(&world.system, config, false, &world.clock)
        .await
        .unwrap();
    let good = stored(&world.system).await;
    let [a, b] = &good.wrapped.keys().cloned().collect::<Vec<_>>()[..] else {
        panic!("two keys")
    };
    let mut exchanged = good.clone();
    exchanged.wrapped.insert(a.clone(), good.wrapped[b].clone());
    exchanged.wrapped.insert(b.clone(), good.wrapped[a].clone());
    let mut absent = good.clone();
    absent.wrapped.clear();
    for (swapped, why) in [(exchanged, "exchanged"), (absent, "absent")] {
        put_back(&world.system, &swapped).await;
        let cold = world.cold().await;
        let answer = cold.swap(ORDERS, &world.token).await;
        assert_eq!(answer, Swap::Unavailable, "{why}");
        // The public keys are in the record, which nobody has touched.
        assert_eq!(kids(&cold).await.unwrap().len(), 2, "{why}");
        world.clock.advance(61);
        assert!(allows(&world.warm, &world.token).await, "{why}: warm");
    }
    put_back(&world.system, &good).await;
    assert!(allows(&world.cold().await, &world.token).await);

    // Public keys exchanged in the record itself.
    let (input, signature) = good.record.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    let swapped = super::rotation::edit(payload, |set| {
        let first = set["keys"][0]["public_key"].clone();
        set["keys"][0]["public_key"] = set["keys"][1]["public_key"].clone();
        set["keys"][1]["public_key"] = first;
    });
    let record = StoredKeySet {
        record: format!("{header}.{swapped}.{signature}"),
        ..good
    };
    world.is_refused(&record, "public keys exchanged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_retired_keys_neither_sign_nor_stay_published() {
    let world = Box::pin(World::start()).await;
    let retired = stored(&world.system).await;
    let set = key_set(&world.system).await;
    let config = world.system.config();
    // Rotated in good time, and life went on until the old schedule was over.
    let end = set.keys[0].sign_until;
    let now = world.clock.now();
    world.clock.advance(end.since(now) - 86_400);
    rotate(&world.system, config, false, &world.clock)
        .await
        .unwrap();
    world.clock.advance(86_400);
    let token = oauth::machine_token(&world.system).await;
    let good = stored(&world.system).await;
    put_back(&world.system, &retired).await;
    let cold = world.cold().await;
    assert_eq!(cold.swap(ORDERS, &token).await, Swap::Unavailable);
    assert_eq!(
        kids(&cold).await,
        Ok(vec![set.keys[0].kid.clone()]),
        "its last JWTs may still live"
    );
    world.clock.advance(set.keys[0].publish_until.since(end));
    let cold = world.cold().await;
    assert_eq!(cold.swap(ORDERS, &token).await, Swap::Unavailable);
    assert_eq!(kids(&cold).await, Err(503));
    put_back(&world.system, &good).await;
    let token = oauth::machine_token(&world.system).await;
    assert!(allows(&world.cold().await, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_replayed_key_set_does_not_bring_an_old_key_back() {
    let world = Box::pin(World::start()).await;
    let old = stored(&world.system).await;
    let old_kid = key_set(&world.system).await.keys[0].kid.clone();
    let config = world.system.config();
    // The old key may be in other hands.
    let set = rotate(&world.system, config, true, &world.clock)
        .await
        .unwrap();
    world.clock.advance(61);
    let seen = world.cold().await;
    let new_kid = signed_by(&seen, &world.token).await;
    assert_ne!(new_kid, old_kid);
    assert_eq!(signed_by(&world.warm, &world.token).await, new_kid);
    for environment in [&seen, &world.warm] {
        assert_eq!(kids(environment).await, Ok(vec![new_kid.clone()]));
    }

    put_back(&world.system, &old).await;
    world.clock.advance(61);
    for environment in [&seen, &world.warm] {
        assert_eq!(signed_by(environment, &world.token).await, new_kid);
        assert_eq!(kids(environment).await, Ok(vec![new_kid.clone()]));
    }
    // A new environment that knows how far things are refuses it, too.
    let places = KeyPlaces {
        keyset_serial: set.serial,
        ..world.places()
    };
    let told = Environment::start(&world.system, &places, &world.clock).await;
    assert_eq!(told.swap(ORDERS, &world.token).await, Swap::Unavailable);
    assert_eq!(kids(&told).await, Err(503));
    // One that knows nothing takes it: until its schedule is over, and no longer,
    // as the test of retired keys shows. SECURITY says so.
    let new = world.cold().await;
    assert_eq!(signed_by(&new, &world.token).await, old_kid);
}
