//! The `authorizer` bootstrap: names the adapters, and nothing else.

use cloakroom_authorizer::Handler;
use cloakroom_aws::dynamo::{self, DynamoStore};
use cloakroom_aws::kms::{self, JwtSigner, KeyPlaces, KmsRoots};
use cloakroom_gateway::entry::{self, StartFailure};
use cloakroom_gateway::settings::{self, Env, Need};
use cloakroom_gateway::telemetry::{self, Format, Start};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartFailure> {
    let mut start = Start::begin();
    let needs = [Need::Table, Need::ToSign, Need::MacKeys];
    let (settings, config) = settings::load(&Env, &needs)?;
    telemetry::init(&settings.stack, settings.log, Format::Json);
    start.step("settings");
    let world = cloakroom_aws::world();
    let sdk = cloakroom_aws::sdk_config().await;
    let store = DynamoStore::new(dynamo::Client::new(&sdk), settings.table);
    let kms = kms::Client::new(&sdk);
    start.step("clients");
    let places = KeyPlaces {
        signing_keys: settings.signing_keys,
        signing_algorithms: settings.signing_algorithms,
        wrapping_key: settings.wrapping_key,
        keyset_key: settings.keyset_key,
        keyset_public_key: settings.keyset_public_key,
        keyset_serial: settings.keyset_serial,
    };
    let signer = JwtSigner::new(&config, &places, &kms, store.clone());
    let roots = KmsRoots::new(kms, settings.mac_keys);
    // A failure here does not end the process: the next request tries again.
    let _ = signer.warm(world.clock.now()).await;
    start.step("signing key");
    let handler = Handler::new(
        Arc::new(config),
        settings.not_before,
        store,
        signer,
        roots,
        world,
    )
    .behind(settings.origin_secret);
    start.step("policy");
    // On the heap, as below: the state of all nested calls is large.
    Box::pin(handler.warm()).await;
    start.step("root keys and epoch");
    start.emit();
    Box::pin(entry::run(async |event: &[u8]| handler.handle(event).await)).await
}
