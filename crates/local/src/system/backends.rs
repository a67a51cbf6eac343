//! The embedded DynamoDB and KMS, each on a loopback port of its own, and the table
//! and keys in them.

use super::{StartError, data_dir, key_set, loopback};
use crate::faults::{Backend, Faults};
use crate::kms::KmsEndpoint;
use crate::recording::Recorder;
use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use cloakroom_aws::Limits;
use cloakroom_aws::dynamo::{DynamoStore, create_table};
use cloakroom_aws::kms::{KeyPlaces, keyset_public_key};
use cloakroom_domain::config::{Config, SigningMode};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::Clock;
use dynoxide::{Database, server};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The table's name.
pub const TABLE: &str = "cloakroom";

/// As the embedded parts have it in their ARNs.
const REGION: &str = "us-east-1";

/// What stands in for AWS.
#[derive(Clone, Debug)]
pub struct Backends {
    sdk: SdkConfig,
    dynamodb_url: String,
    kms_url: String,
    kms: Arc<KmsEndpoint>,
    keys: KeyPlaces,
    mac_key: String,
    client_key: String,
    /// Their folder is ours for as long as they are.
    _taken: Option<Arc<File>>,
}

impl Backends {
    pub(super) async fn start(
        data_dir: Option<&Path>,
        config: &Config,
        clock: &Arc<dyn Clock>,
        faults: Option<&Faults>,
        recorder: Option<&Recorder>,
        limits: Limits,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let taken = data_dir.map(data_dir::take).transpose()?;
        let (database, kms) = match data_dir {
            None => (Database::memory(), Ok(KmsEndpoint::in_memory())),
            Some(dir) => {
                let file = dir.join("dynamodb.sqlite");
                let database = Database::new(&file.to_string_lossy());
                (database, KmsEndpoint::open(&dir.join("kms.json")))
            }
        };
        let database =
            database.map_err(|error| StartError::Backend("DynamoDB", error.to_string()))?;
        let kms = Arc::new(kms.map_err(|error| StartError::Backend("KMS", error.to_string()))?);
        let key = |alias: &str, spec: &str| {
            kms.ensure_key(alias, spec)
                .map_err(|error| StartError::Backend("KMS", error.to_string()))
        };
        let algorithm = config.jwt.algorithm;
        let signing_key = key(
            &format!(
                "alias/cloakroom-signing-{}",
                algorithm.name().to_lowercase()
            ),
            key_spec(algorithm),
        )?;
        let mac_key = key("alias/cloakroom-mac", "HMAC_256")?;
        let mut keys = KeyPlaces {
            signing_keys: vec![signing_key],
            wrapping_key: key("alias/cloakroom-wrapping", "SYMMETRIC_DEFAULT")?,
            keyset_key: key("alias/cloakroom-keyset", "ECC_NIST_P256")?,
            ..KeyPlaces::default()
        };
        let client_key = key(
            &format!(
                "alias/cloakroom-client-{}",
                config.client_key.algorithm.name().to_lowercase()
            ),
            key_spec(config.client_key.algorithm),
        )?;

        let (listener, dynamodb_url) = loopback().await?;
        tasks.spawn(server::serve_on(listener, database));
        let (listener, kms_url) = loopback().await?;
        let serving = Arc::clone(&kms).serve_on(listener);
        tasks.spawn(async move {
            let _ = serving.await;
        });
        let sdk = sdk_config(limits).await;
        let client = client(&sdk, &dynamodb_url);
        create_table(&client, TABLE)
            .await
            .map_err(|error| StartError::Backend("DynamoDB", error.to_string()))?;

        let mut backends = Self {
            sdk,
            dynamodb_url,
            kms_url,
            kms,
            keys: KeyPlaces::default(),
            mac_key,
            client_key,
            _taken: taken.map(Arc::new),
        };
        let at_kms = backends.kms();
        keys.keyset_public_key = keyset_public_key(&at_kms, &keys.keyset_key)
            .await
            .map_err(|error| StartError::Backend("KMS", error.to_string()))?;
        if config.jwt.mode == SigningMode::DataKey {
            let store = DynamoStore::new(client, TABLE);
            key_set::ensure(&at_kms, &store, &keys, config, clock.now()).await?;
        }
        backends.keys = keys;
        backends
            .set_doors(&config.issuer, faults, recorder, tasks)
            .await?;
        Ok(backends)
    }

    /// Puts before DynamoDB and KMS what breaks them on demand, and what writes down who
    /// calls them.
    async fn set_doors(
        &mut self,
        issuer: &str,
        faults: Option<&Faults>,
        recorder: Option<&Recorder>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), StartError> {
        if let Some(recorder) = recorder {
            for (value, name) in [
                (issuer, "PublicUrl"),
                (self.signing_key(), "SigningKey"),
                (self.mac_key(), "MacKey"),
                (self.client_key(), "ClientKey"),
                (self.keys.wrapping_key.as_str(), "WrappingKey"),
                (self.keys.keyset_key.as_str(), "KeysetKey"),
            ] {
                recorder.name(value, name);
            }
        }
        if faults.is_some() || recorder.is_some() {
            let faults = faults.cloned().unwrap_or_default();
            let behind = |backend, url: &String| {
                let door = faults.stand_before(backend, url.clone());
                recorder.map_or(door.clone(), |recorder| recorder.before(door))
            };
            let (dynamodb, kms) = (
                behind(Backend::DynamoDb, &self.dynamodb_url),
                behind(Backend::Kms, &self.kms_url),
            );
            for (service, url) in [(dynamodb, &mut self.dynamodb_url), (kms, &mut self.kms_url)] {
                let (listener, before) = loopback().await?;
                *url = before;
                tasks.spawn(async move {
                    let _ = axum::serve(listener, service).await;
                });
            }
        }
        Ok(())
    }

    /// Region, credentials, time limits: all but the endpoints.
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// The same as one function sees them: its name is its access key, by which
    /// [`Recorder`] knows it.
    #[must_use]
    pub fn acting_as(&self, function: &str) -> Self {
        let credentials = Credentials::new(function, ACCESS_KEY, None, None, "embedded");
        let mut backends = self.clone();
        backends.sdk = self
            .sdk
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        backends
    }

    /// Where DynamoDB is.
    pub fn dynamodb_url(&self) -> &str {
        &self.dynamodb_url
    }

    /// Where KMS is.
    pub fn kms_url(&self) -> &str {
        &self.kms_url
    }

    /// A client of the table, as the functions have it.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        client(&self.sdk, &self.dynamodb_url)
    }

    /// A client of KMS, as the functions have it.
    pub fn kms(&self) -> aws_sdk_kms::Client {
        let config = aws_sdk_kms::config::Builder::from(&self.sdk).endpoint_url(&self.kms_url);
        aws_sdk_kms::Client::from_conf(config.build())
    }

    /// KMS itself.
    pub fn kms_endpoint(&self) -> &Arc<KmsEndpoint> {
        &self.kms
    }

    /// Where the keys of JWTs are, for either mode.
    pub fn key_places(&self) -> KeyPlaces {
        self.keys.clone()
    }

    /// The ARN of the key that signs in `kms` mode.
    pub fn signing_key(&self) -> &str {
        self.keys.signing_keys.first().map_or("", String::as_str)
    }

    /// The ARN of the MAC key.
    pub fn mac_key(&self) -> &str {
        &self.mac_key
    }

    /// The ARN of the key with which we authenticate to identity providers.
    pub fn client_key(&self) -> &str {
        &self.client_key
    }
}

/// With credentials that the embedded parts take for good.
async fn sdk_config(limits: Limits) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "embedded");
    // Said before it is loaded: the SDK would ask the network for what is missing.
    cloakroom_aws::sdk_loader(limits)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await
}

/// Not a credential of anybody's.
pub(super) const ACCESS_KEY: &str = "embedded";

/// The Region of [`Backends`].
pub(super) const fn region() -> &'static str {
    REGION
}

fn client(sdk: &SdkConfig, url: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(sdk).endpoint_url(url);
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

fn key_spec(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => "RSA_2048",
        Algorithm::ES256 => "ECC_NIST_P256",
        Algorithm::EdDsa => "ECC_NIST_EDWARDS25519",
    }
}
