//! The four functions: composed here as their `main.rs` compose them, or reached
//! through the Lambda Invoke API.

use super::StartError;
use super::backends::{Backends, TABLE};
use super::configuration::ORIGIN_SECRET_VARIABLE;
use crate::function::{Function, InProcess, LambdaInvoke};
use aws_config::SdkConfig;
use bytes::Bytes;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::{JwtPublicKeys, JwtSigner, KmsPublicKeys, KmsRoots, KmsSigner};
use cloakroom_aws::secrets::Secrets;
use cloakroom_domain::config::Config;
use cloakroom_domain::ports::World;
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::{Env, OriginSecret, Source as _};
use cloakroom_oidc::{ClientKey, Oidc};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The functions, each as one thing that takes event bytes.
#[derive(Debug)]
pub(super) struct Functions {
    pub(super) authorizer: Arc<dyn Function>,
    pub(super) login: Arc<dyn Function>,
    pub(super) token: Arc<dyn Function>,
    pub(super) jwks: Arc<dyn Function>,
}

impl Functions {
    /// In this process.
    pub(super) async fn here(
        config: &Arc<Config>,
        backends: &Backends,
        environment: &BTreeMap<String, String>,
        world: &World,
        authorizer_budget: Duration,
    ) -> Result<Self, StartError> {
        let epoch = UnixTime(0);
        let store = |name| DynamoStore::new(backends.acting_as(name).dynamodb(), TABLE);
        let kms = |name| backends.acting_as(name).kms();
        let roots = |name| KmsRoots::new(kms(name), vec![backends.mac_key().to_owned()]);
        let signer = |name| JwtSigner::new(config, &backends.key_places(), &kms(name), store(name));
        let origin_secret = environment
            .value(ORIGIN_SECRET_VARIABLE)
            .map(|secret| OriginSecret::new(&secret));
        let authorizer = cloakroom_authorizer::Handler::new(
            Arc::clone(config),
            epoch,
            store("authorizer"),
            signer("authorizer"),
            roots("authorizer"),
            world.clone(),
        )
        .behind(origin_secret)
        .within(authorizer_budget);
        let token = cloakroom_token::Handler::new(
            Arc::clone(config),
            epoch,
            store("token"),
            signer("token"),
            roots("token"),
            Oidc::verifying(config, &world.clock)
                .map_err(|error| StartError::Part(error.to_string()))?,
            world.clone(),
        );
        // Ours at the demo provider is new at each start; others come from outside.
        let variable = |name: &str| environment.value(name).or_else(|| Env.value(name));
        let secrets = Secrets::new(backends.sdk())
            .of_providers(config, variable)
            .await
            .map_err(|error| StartError::Part(error.to_string()))?;
        let client_algorithm = config.client_key.algorithm;
        let client_key: Arc<dyn ClientKey> = Arc::new(KmsSigner::new(
            kms("login"),
            backends.client_key(),
            client_algorithm,
        ));
        let providers = Oidc::new(config, secrets, Some(&client_key), &world.clock)
            .map_err(|error| StartError::Part(error.to_string()))?;
        let login = cloakroom_login::Handler::new(
            Arc::clone(config),
            epoch,
            store("login"),
            roots("login"),
            providers,
            world.clone(),
        );
        let keys = JwtPublicKeys::new(
            config,
            &backends.key_places(),
            &kms("jwks"),
            store("jwks"),
            Arc::clone(&world.clock),
        );
        let client_keys = KmsPublicKeys::optional(
            kms("jwks"),
            backends.client_key().to_owned(),
            client_algorithm,
        );
        let jwks = cloakroom_jwks::Handler::new(Arc::clone(config), keys, client_keys);
        let (authorizer, login) = (Arc::new(authorizer), Arc::new(login));
        let (token, jwks) = (Arc::new(token), Arc::new(jwks));
        Ok(Self {
            authorizer: Arc::new(InProcess::new(move |event: Bytes| {
                let handler = Arc::clone(&authorizer);
                async move { handler.handle(&event).await }
            })),
            login: Arc::new(InProcess::new(move |event: Bytes| {
                let handler = Arc::clone(&login);
                async move { handler.handle(&event).await }
            })),
            token: Arc::new(InProcess::new(move |event: Bytes| {
                let handler = Arc::clone(&token);
                async move { handler.handle(&event).await }
            })),
            jwks: Arc::new(InProcess::new(move |event: Bytes| {
                let handler = Arc::clone(&jwks);
                async move { handler.handle(&event).await }
            })),
        })
    }

    /// Through the Lambda Invoke API at `url`.
    pub(super) fn behind(sdk: &SdkConfig, url: &str) -> Self {
        let function =
            |name: &str| -> Arc<dyn Function> { Arc::new(LambdaInvoke::new(sdk, url, name)) };
        Self {
            authorizer: function("authorizer"),
            login: function("login"),
            token: function("token"),
            jwks: function("jwks"),
        }
    }
}
