//! Execution environments that a test starts itself, over a system's table and keys:
//! for what depends on when an environment has started and what it has seen.

use crate::clock::TestClock;
use crate::swap::{Swap, event, read};
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::{
    JwtPublicKeys, JwtSigner, KeyPlaces, KmsPublicKeys, KmsRoots, RotateError, next_key_set,
};
use cloakroom_domain::config::Config;
use cloakroom_domain::jwt::kms_key_id;
use cloakroom_domain::keyset::{KeySet, Rotation, StoredKeySet, Trust};
use cloakroom_domain::ports::{Clock, Entropy, ReadKeySet, Roots, World};
use cloakroom_domain::time::UnixTime;
use cloakroom_local::system::{DEMO_CONFIG, System, TABLE};
use serde_json::{Value, json};
use std::sync::Arc;

/// The demo's configuration, with this in its section `[jwt]`.
pub fn config_with(jwt: &str) -> String {
    format!("{DEMO_CONFIG}\n[jwt]\n{jwt}\n")
}

/// The demo in data-key mode.
pub fn data_key_config() -> String {
    config_with("mode = \"data-key\"\nalgorithm = \"ES256\"")
}

/// An environment of the authorizer and one of the jwks function.
#[derive(Debug)]
pub struct Environment {
    authorizer: cloakroom_authorizer::Handler<DynamoStore, JwtSigner<DynamoStore>, KmsRoots>,
    jwks: cloakroom_jwks::Handler<JwtPublicKeys<DynamoStore>, KmsPublicKeys>,
}

impl Environment {
    /// Starts cold, as the bootstraps do.
    pub async fn start(system: &System, places: &KeyPlaces, clock: &TestClock) -> Self {
        Self::with(system, places, clock, cloakroom_aws::world().entropy).await
    }

    /// The same with a randomness of its own.
    pub async fn with(
        system: &System,
        places: &KeyPlaces,
        clock: &TestClock,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let config = system.config();
        let (kms, store) = (system.backends().kms(), store(system));
        let world = World {
            clock: Arc::new(clock.clone()),
            entropy,
        };
        let signer = JwtSigner::new(config, places, &kms, store.clone());
        let mac_keys = vec![system.backends().mac_key().to_owned()];
        let roots = KmsRoots::new(kms.clone(), mac_keys);
        let _ = roots.roots().await;
        let _ = signer.warm(clock.now()).await;
        let keys = JwtPublicKeys::new(
            config,
            places,
            &kms,
            store.clone(),
            Arc::clone(&world.clock),
        );
        Self {
            authorizer: cloakroom_authorizer::Handler::new(
                Arc::clone(config),
                UnixTime(0),
                store,
                signer,
                roots,
                world,
            ),
            jwks: cloakroom_jwks::Handler::new(Arc::clone(config), keys, None),
        }
    }

    /// What its authorizer says to `GET path` with `token`.
    pub async fn swap(&self, path: &str, token: &str) -> Swap {
        let headers = json!({"Authorization": [format!("Bearer {token}")]});
        let event = event(path, &headers).to_string();
        // On the heap: the state of all nested calls is large.
        let answer = Box::pin(self.authorizer.handle(event.as_bytes())).await;
        read(answer.map_err(|failure| failure.to_string()).as_deref())
    }

    /// What it publishes.
    ///
    /// # Errors
    ///
    /// The HTTP status, if it does not.
    pub async fn published(&self) -> Result<Value, u64> {
        let event = include_bytes!("../../events/jwks/keys.json");
        let answer = self.jwks.handle(event).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        match answer["statusCode"].as_u64().unwrap() {
            200 => Ok(serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()),
            other => Err(other),
        }
    }
}

/// The table, with an operator's rights.
pub fn store(system: &System) -> DynamoStore {
    DynamoStore::new(system.backends().dynamodb(), TABLE)
}

/// The record in the table, whatever it is.
pub async fn stored(system: &System) -> StoredKeySet {
    store(system).key_set().await.unwrap().expect("a key set")
}

/// The key set in the table, as an operator reads it.
pub async fn key_set(system: &System) -> KeySet {
    let places = system.backends().key_places();
    let trust = Trust {
        deployment: system.config().issuer.clone(),
        signer: kms_key_id(&places.keyset_key),
        public_key: places.keyset_public_key,
        least_serial: 0,
    };
    trust.open(&stored(system).await.record).unwrap()
}

/// What `cloakroom keys rotate` does, at the time of `clock`.
///
/// # Errors
///
/// As there.
pub async fn rotate(
    system: &System,
    config: &Config,
    at_once: bool,
    clock: &TestClock,
) -> Result<KeySet, RotateError> {
    let (before, known) = (stored(system).await, key_set(system).await);
    let rotation = Rotation {
        sign_for: 30 * 86_400,
        at_once,
    };
    let (set, next) = next_key_set(
        &system.backends().kms(),
        &system.backends().key_places(),
        config,
        Some((&known, &before)),
        rotation,
        clock.now(),
    )
    .await?;
    store(system)
        .write_key_set(Some(&before), &next)
        .await
        .unwrap();
    Ok(set)
}

/// What somebody does who can write the table: puts any record there.
pub async fn put_back(system: &System, record: &StoredKeySet) {
    let there = store(system).key_set().await.unwrap();
    store(system)
        .write_key_set(there.as_ref(), record)
        .await
        .unwrap();
}
