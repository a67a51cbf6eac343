//! The `token` bootstrap: names the adapters, and nothing else.

use cloakroom_aws::dynamo::{self, DynamoStore};
use cloakroom_aws::kms::{self, KmsRoots, KmsSigner};
use cloakroom_domain::ports::Roots;
use cloakroom_gateway::entry;
use cloakroom_gateway::settings::{self, Env, Need};
use cloakroom_gateway::telemetry::{self, Format};
use cloakroom_oidc::Oidc;
use cloakroom_token::Handler;
use std::error::Error;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let needs = [Need::Table, Need::SigningKeys, Need::MacKeys];
    let (settings, config) = settings::load(&Env, &needs)?;
    telemetry::init(settings.log, Format::Json);
    let sdk = cloakroom_aws::sdk_config().await;
    let store = DynamoStore::new(dynamo::Client::new(&sdk), settings.table);
    let kms = kms::Client::new(&sdk);
    let signing_key = settings.signing_keys.into_iter().next().unwrap_or_default();
    let signer = KmsSigner::new(kms.clone(), signing_key, config.jwt.algorithm);
    let roots = KmsRoots::new(kms, settings.mac_keys);
    // A failure here does not end the process: the next request tries again.
    let _ = roots.roots().await;
    let world = cloakroom_aws::world();
    let verifier = Oidc::verifying(&config, &world.clock)?;
    let handler = Handler::new(
        Arc::new(config),
        settings.not_before,
        store,
        signer,
        roots,
        verifier,
        world,
    );
    // On the heap: the state of all nested calls is large.
    Box::pin(entry::run(async |event: &[u8]| handler.handle(event).await)).await
}
