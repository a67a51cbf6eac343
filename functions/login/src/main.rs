//! The `login` bootstrap: names the adapters, and nothing else.

use cloakroom_aws::dynamo::{self, DynamoStore};
use cloakroom_aws::kms::{self, KmsRoots, KmsSigner};
use cloakroom_aws::secrets::Secrets;
use cloakroom_domain::ports::Roots;
use cloakroom_gateway::entry::{self, StartFailure};
use cloakroom_gateway::settings::{self, Env, Need, Source};
use cloakroom_gateway::telemetry::{self, Format};
use cloakroom_login::Handler;
use cloakroom_oidc::{ClientKey, Oidc};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartFailure> {
    let (settings, config) = settings::load(&Env, &[Need::Table, Need::MacKeys])?;
    telemetry::init(&settings.stack, settings.log, Format::Json);
    let sdk = cloakroom_aws::sdk_config().await;
    let world = cloakroom_aws::world();
    let store = DynamoStore::new(dynamo::Client::new(&sdk), settings.table);
    let kms = kms::Client::new(&sdk);
    let roots = KmsRoots::new(kms.clone(), settings.mac_keys);
    // A failure here does not end the process: the next request tries again.
    let _ = roots.roots().await;
    let secrets = Secrets::new(&sdk);
    let secrets = secrets
        .of_providers(&config, |name| Env.value(name))
        .await?;
    let client_key = KmsSigner::optional(kms, &settings.client_key, config.client_key.algorithm)
        .map(|key| Arc::new(key) as Arc<dyn ClientKey>);
    let providers = Oidc::new(&config, secrets, client_key.as_ref(), &world.clock)?;
    let handler = Handler::new(
        Arc::new(config),
        settings.not_before,
        store,
        roots,
        providers,
        world,
    );
    // On the heap: the state of all nested calls is large.
    Box::pin(entry::run(async |event: &[u8]| handler.handle(event).await)).await
}
