//! Where the commands find things: the configuration file, the environment, AWS.

use crate::failure::Failure;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use cloakroom_aws::dynamo::{self, DynamoStore};
use cloakroom_aws::kms;
use cloakroom_domain::config::{Config, ConfigError};
use cloakroom_gateway::settings::{Env, Need, Settings, Source};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is if nobody says so.
const DEFAULT_CONFIG: &str = "cloakroom.toml";

/// The environment of a command.
#[derive(Debug)]
pub(crate) struct Place {
    config: Option<PathBuf>,
}

impl Place {
    /// `config` is what `--config` says.
    pub(crate) fn new(config: Option<PathBuf>) -> Self {
        Self { config }
    }

    /// A variable; an empty one is none, as for the functions.
    pub(crate) fn variable(name: &str) -> Option<String> {
        let value = Env.value(name)?.trim().to_owned();
        Some(value).filter(|value| !value.is_empty())
    }

    /// The configuration file that was named, by option or by environment.
    pub(crate) fn named_config(&self) -> Option<PathBuf> {
        let named = || Self::variable("CLOAKROOM_CONFIG").map(PathBuf::from);
        self.config.clone().or_else(named)
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.named_config()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG))
    }

    /// The configuration, without a fault.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        judge(&read(&self.config_path())?).map_err(|error| Failure::from(&error))
    }

    /// The environment of the functions.
    pub(crate) fn settings(needs: &[Need]) -> Result<Settings, Failure> {
        Ok(Settings::read(&Env, needs)?)
    }

    /// The table of these settings.
    pub(crate) async fn store(settings: &Settings) -> Result<DynamoStore, Failure> {
        let aws = Aws::connect().await?;
        Ok(DynamoStore::new(aws.dynamodb, &settings.table))
    }
}

/// The text of a configuration file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|_| Failure::new(format!("the file {} cannot be read", path.display())))
}

/// Judges a configuration as the functions do: `CLOAKROOM_ISSUER` replaces its
/// issuer.
pub(crate) fn judge(text: &str) -> Result<Config, ConfigError> {
    Config::parse_with_issuer(text, Place::variable("CLOAKROOM_ISSUER").as_deref())
}

/// Clients of what the environment says: AWS, or what stands in for it.
#[derive(Debug)]
pub(crate) struct Aws {
    pub(crate) dynamodb: dynamo::Client,
    pub(crate) kms: kms::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) cloudformation: aws_sdk_cloudformation::Client,
    /// For what has no client here.
    pub(crate) sdk: aws_config::SdkConfig,
}

/// What says that AWS is elsewhere.
const ENDPOINTS: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_CLOUDFORMATION",
    "AWS_ENDPOINT_URL_CLOUDWATCH",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_ENDPOINT_URL_LAMBDA",
];

/// People wait longer than API Gateway does, and their way to AWS is longer.
const CONNECT: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(15);

impl Aws {
    pub(crate) async fn connect() -> Result<Self, Failure> {
        // The SDK takes an empty endpoint for one, and panics.
        let empty = |name: &&str| Env.value(name).is_some_and(|value| value.trim().is_empty());
        if let Some(name) = ENDPOINTS.iter().find(|name| empty(name)) {
            return Err(Failure::new(format!(
                "{name} is empty: set it, or unset it"
            )));
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(ATTEMPT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(ATTEMPT)
            .build();
        let sdk = cloakroom_aws::sdk_loader(cloakroom_aws::Limits::DEPLOYED)
            .timeout_config(timeouts)
            // A key that is asked for twice is made twice.
            .retry_config(RetryConfig::disabled())
            .load()
            .await;
        Ok(Self {
            dynamodb: dynamo::Client::new(&sdk),
            kms: kms::Client::new(&sdk),
            lambda: aws_sdk_lambda::Client::new(&sdk),
            cloudformation: aws_sdk_cloudformation::Client::new(&sdk),
            sdk,
        })
    }
}
