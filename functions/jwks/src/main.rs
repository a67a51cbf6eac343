//! The `jwks` bootstrap: names the adapters, and nothing else.

// The types of nested futures are deep; the compiler wants to be told.
#![recursion_limit = "256"]

use cloakroom_aws::dynamo::{self, DynamoStore};
use cloakroom_aws::kms::{self, JwtPublicKeys, KeyPlaces, KmsPublicKeys};
use cloakroom_gateway::entry::{self, StartFailure};
use cloakroom_gateway::settings::{self, Env, Need};
use cloakroom_gateway::telemetry::{self, Format};
use cloakroom_jwks::Handler;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartFailure> {
    let (settings, config) = settings::load(&Env, &[Need::ToPublish])?;
    telemetry::init(&settings.stack, settings.log, Format::Json);
    let sdk = cloakroom_aws::sdk_config().await;
    let kms = kms::Client::new(&sdk);
    let store = DynamoStore::new(dynamo::Client::new(&sdk), settings.table);
    let places = KeyPlaces {
        signing_keys: settings.signing_keys,
        signing_algorithms: settings.signing_algorithms,
        wrapping_key: settings.wrapping_key,
        keyset_key: settings.keyset_key,
        keyset_public_key: settings.keyset_public_key,
        keyset_serial: settings.keyset_serial,
    };
    let clock = cloakroom_aws::world().clock;
    let keys = JwtPublicKeys::new(&config, &places, &kms, store, clock);
    let client_keys =
        KmsPublicKeys::optional(kms, settings.client_key, config.client_key.algorithm);
    let handler = Handler::new(Arc::new(config), keys, client_keys);
    // On the heap: the state of all nested calls is large.
    Box::pin(entry::run(async |event: &[u8]| handler.handle(event).await)).await
}
