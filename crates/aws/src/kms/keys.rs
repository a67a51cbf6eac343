//! Making keys. In a deployed stack the template makes those of KMS, and `cloakroom
//! keys rotate` the data keys; the rest is for setup and tests.

use super::{KmsSigner, check_key};
use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeyPairSpec, KeySpec, KeyUsageType};
use cloakroom_domain::jwt::{Algorithm, kms_key_id};
use cloakroom_domain::keyset::{KeySet, NewKey, RECORD_ALGORITHM};
use cloakroom_domain::ports::{SignError, Signer, SigningKey};
use cloakroom_domain::time::UnixTime;
use std::collections::HashMap;

/// The name in the encryption context that binds a wrapped key to its system, so
/// that a policy can name it: `kms:EncryptionContext:cloakroom:deployment`.
const CONTEXT: &str = "cloakroom:deployment";

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
    create(client, spec, KeyUsageType::SignVerify, "Cloakroom: signs").await
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

/// Makes a key that wraps data keys, and returns its ARN.
///
/// # Errors
///
/// When KMS refuses.
pub async fn create_wrapping_key(client: &Client) -> Result<String, SignError> {
    create(
        client,
        KeySpec::SymmetricDefault,
        KeyUsageType::EncryptDecrypt,
        "Cloakroom: wraps the keys that sign JWTs",
    )
    .await
}

/// Makes a key that signs key sets, and returns its ARN.
///
/// # Errors
///
/// When KMS refuses.
pub async fn create_keyset_key(client: &Client) -> Result<String, SignError> {
    create(
        client,
        KeySpec::EccNistP256,
        KeyUsageType::SignVerify,
        "Cloakroom: signs key sets",
    )
    .await
}

/// Makes a pair that signs with `alg`, whose private half nobody has seen: it comes
/// wrapped, for this deployment alone.
///
/// # Errors
///
/// When KMS refuses, or another key answers.
pub(super) async fn generate_data_key(
    client: &Client,
    wrapping_key: &str,
    deployment: &str,
    alg: Algorithm,
) -> Result<NewKey, SignError> {
    let spec = match alg {
        Algorithm::RS256 | Algorithm::PS256 => DataKeyPairSpec::Rsa2048,
        Algorithm::ES256 => DataKeyPairSpec::EccNistP256,
        Algorithm::EdDsa => DataKeyPairSpec::EccNistEdwards25519,
    };
    let output = client
        .generate_data_key_pair_without_plaintext()
        .key_id(wrapping_key)
        .key_pair_spec(spec)
        .set_encryption_context(Some(context(deployment)))
        .send()
        .await
        .map_err(|error| CallFailure::new("GenerateDataKeyPairWithoutPlaintext", &error))?;
    check_key(wrapping_key, output.key_id())?;
    let blob = |blob: Option<Blob>| blob.map(Blob::into_inner).unwrap_or_default();
    let key = NewKey {
        alg,
        spki: blob(output.public_key),
        wrapped: blob(output.private_key_ciphertext_blob),
    };
    cloakroom_domain::jwk::PublicJwk::from_spki(&key.spki, alg, "new")
        .map_err(|_| SignError::Unacceptable("the new key is of another kind"))?;
    Ok(key)
}

/// Makes a record of a key set. No function may do this.
///
/// # Errors
///
/// When KMS refuses.
pub(super) async fn sign_key_set(
    client: &Client,
    keyset_key: &str,
    set: &KeySet,
) -> Result<String, SignError> {
    let signer = KmsSigner::new(client.clone(), keyset_key, RECORD_ALGORITHM);
    let key = SigningKey {
        kid: kms_key_id(keyset_key),
        algorithm: RECORD_ALGORITHM,
    };
    let input = set
        .signing_input(&key.kid)
        .ok_or(SignError::Unacceptable("the key set cannot be written"))?;
    let signature = signer.sign(&key, input.as_bytes()).await?;
    Ok(cloakroom_domain::jwt::append_signature(input, &signature))
}

/// When a key was made.
///
/// # Errors
///
/// When KMS refuses.
pub async fn creation_time(client: &Client, arn: &str) -> Result<UnixTime, SignError> {
    let output = client
        .describe_key()
        .key_id(arn)
        .send()
        .await
        .map_err(|error| CallFailure::new("DescribeKey", &error))?;
    output
        .key_metadata()
        .and_then(|metadata| metadata.creation_date())
        .and_then(|date| u64::try_from(date.secs()).ok())
        .map(UnixTime)
        .ok_or(SignError::Unacceptable("the key has no date"))
}

/// What a wrapped key is bound to.
pub(super) fn context(deployment: &str) -> HashMap<String, String> {
    HashMap::from([(CONTEXT.to_owned(), deployment.to_owned())])
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
