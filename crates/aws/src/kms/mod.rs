//! KMS: signatures, public keys and the root keys.
//!
//! Keys are named by ARN, never by alias: an alias may move between the moment
//! when a JWT's header says `kid` and the moment when the key signs. Every answer
//! is compared with what was asked for (D43).

mod breaker;
mod ecdsa;
mod keys;
mod public_keys;
mod roots;
mod signer;

pub use aws_sdk_kms::Client;
pub use keys::{create_mac_key, create_signing_key};
pub use public_keys::KmsPublicKeys;
pub use roots::KmsRoots;
pub use signer::KmsSigner;

use crate::CallFailure;
use aws_sdk_kms::types::SigningAlgorithmSpec;
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::SignError;

/// What KMS calls an algorithm.
fn signing_algorithm(algorithm: Algorithm) -> SigningAlgorithmSpec {
    match algorithm {
        Algorithm::RS256 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
        Algorithm::PS256 => SigningAlgorithmSpec::RsassaPssSha256,
        Algorithm::ES256 => SigningAlgorithmSpec::EcdsaSha256,
        Algorithm::EdDsa => SigningAlgorithmSpec::Ed25519Sha512,
    }
}

/// An answer must be about the very key that was asked.
fn check_key(asked: &str, answered: Option<&str>) -> Result<(), SignError> {
    if answered == Some(asked) {
        Ok(())
    } else {
        Err(SignError::Unacceptable("another key answered"))
    }
}

/// What is said while a [`breaker`] is open.
fn resting(operation: &'static str) -> SignError {
    CallFailure::of(operation, "not asked: it has failed repeatedly").into()
}
