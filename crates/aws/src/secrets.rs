//! Secrets by reference: configuration says where a secret is, never what it is.

use crate::CallFailure;
use aws_config::SdkConfig;
use cloakroom_domain::config::{Config, SecretRef};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Reads secrets from where they are kept.
#[derive(Clone, Debug)]
pub struct Secrets {
    ssm: aws_sdk_ssm::Client,
    secrets_manager: aws_sdk_secretsmanager::Client,
}

/// A secret could not be had. Says nothing of what it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment has no such variable, or an empty one.
    #[error("the variable is not set")]
    Unset,
    /// It is not where the reference says, or has no text.
    #[error("the secret is missing or empty")]
    Missing,
    /// It could not be asked for.
    #[error(transparent)]
    Unavailable(#[from] CallFailure),
}

/// The secret that a setting refers to could not be had: the function does not start.
/// Says where it should have been, which is no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{setting} cannot be had: `{reference}`: {fault}")]
pub struct SettingWithoutSecret {
    /// The setting, by its name in the configuration.
    setting: String,
    /// What it refers to, as the configuration writes it.
    reference: String,
    fault: SecretError,
}

impl Secrets {
    /// Asks the services of this configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            ssm: aws_sdk_ssm::Client::new(config),
            secrets_manager: aws_sdk_secretsmanager::Client::new(config),
        }
    }

    /// Reads a secret; `env` is the function's environment.
    ///
    /// # Errors
    ///
    /// See [`SecretError`]. An empty secret is none: it would authenticate
    /// nobody, or everybody.
    pub async fn resolve(
        &self,
        reference: &SecretRef,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Zeroizing<String>, SecretError> {
        let (secret, absent) = match reference {
            SecretRef::Env(name) => (env(name), SecretError::Unset),
            SecretRef::Ssm(name) => (self.parameter(name).await?, SecretError::Missing),
            SecretRef::SecretsManager(id) => (self.secret(id).await?, SecretError::Missing),
        };
        secret
            .filter(|secret| !secret.is_empty())
            .map(Zeroizing::new)
            .ok_or(absent)
    }

    /// Reads our secrets at all identity providers, by the provider's id.
    ///
    /// # Errors
    ///
    /// When one of them cannot be had.
    pub async fn of_providers(
        &self,
        config: &Config,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, Zeroizing<String>>, SettingWithoutSecret> {
        let mut secrets = BTreeMap::new();
        for (i, idp) in config.identity_providers.iter().enumerate() {
            if let Some(reference) = &idp.client_secret {
                let secret = self.resolve(reference, &env).await;
                let secret = secret.map_err(|fault| SettingWithoutSecret {
                    setting: format!("identity_providers[{i}].client_secret"),
                    reference: reference.clone().into(),
                    fault,
                })?;
                secrets.insert(idp.id.clone(), secret);
            }
        }
        Ok(secrets)
    }

    async fn parameter(&self, name: &str) -> Result<Option<String>, SecretError> {
        let output = self
            .ssm
            .get_parameter()
            .name(name)
            .with_decryption(true)
            .send()
            .await
            .map_err(|error| CallFailure::new("GetParameter", &error))?;
        Ok(output.parameter.and_then(|parameter| parameter.value))
    }

    async fn secret(&self, id: &str) -> Result<Option<String>, SecretError> {
        let output = self
            .secrets_manager
            .get_secret_value()
            .secret_id(id)
            .send()
            .await
            .map_err(|error| CallFailure::new("GetSecretValue", &error))?;
        Ok(output.secret_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_config::Region;
    use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};

    #[tokio::test]
    async fn a_secret_of_the_environment_is_found_unless_it_is_empty() {
        let secrets = Secrets::new(&crate::sdk_config().await);
        let env = |name: &str| match name {
            "A" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let resolve = |name: &str| {
            let reference = SecretRef::Env(name.into());
            let secrets = secrets.clone();
            async move { secrets.resolve(&reference, env).await }
        };
        assert_eq!(resolve("A").await.unwrap().as_str(), "s3cret");
        for name in ["EMPTY", "B"] {
            assert!(matches!(resolve(name).await, Err(SecretError::Unset)));
        }
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_named() {
        let credentials = Credentials::new("id", "key", None, None, "test");
        let sdk = crate::sdk_config().await.into_builder();
        let sdk = sdk
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url("http://127.0.0.1:1");
        let secrets = Secrets::new(&sdk.build());
        for (reference, call) in [
            (SecretRef::Ssm("/idp".into()), "GetParameter: "),
            (SecretRef::SecretsManager("idp".into()), "GetSecretValue: "),
        ] {
            let error = secrets.resolve(&reference, |_| None).await.unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with(call), "{error}");
        }
    }
}
