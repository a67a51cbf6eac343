//! Making keys, for setup and tests. In a deployed stack the template makes them.

use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::SignError;

/// Makes a key that signs with `algorithm`, and returns its ARN.
///
/// # Errors
///
/// When KMS refuses.
pub async fn create_signing_key(
    client: &Client,
    algorithm: Algorithm,
) -> Result<String, SignError> {
    let spec = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => KeySpec::Rsa2048,
        Algorithm::ES256 => KeySpec::EccNistP256,
        Algorithm::EdDsa => KeySpec::EccNistEdwards25519,
    };
    create(
        client,
        spec,
        KeyUsageType::SignVerify,
        "Cloakroom: signs JWTs",
    )
    .await
}

/// Makes a MAC key, whose MAC is the root of all seals, and returns its ARN.
///
/// # Errors
///
/// When KMS refuses.
pub async fn create_mac_key(client: &Client) -> Result<String, SignError> {
    create(
        client,
        KeySpec::Hmac256,
        KeyUsageType::GenerateVerifyMac,
        "Cloakroom: root of all seals",
    )
    .await
}

async fn create(
    client: &Client,
    spec: KeySpec,
    usage: KeyUsageType,
    description: &str,
) -> Result<String, SignError> {
    let output = client
        .create_key()
        .key_spec(spec)
        .key_usage(usage)
        .description(description)
        .send()
        .await
        .map_err(|error| CallFailure::new("CreateKey", &error))?;
    output
        .key_metadata
        .and_then(|metadata| metadata.arn)
        .ok_or(SignError::Unacceptable("the new key has no ARN"))
}
