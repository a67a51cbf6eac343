//! KMS: signatures, public keys, data keys and the root keys.
//!
//! Keys are named by ARN, never by alias: an alias may move between the moment
//! when a JWT's header says `kid` and the moment when the key signs. Every answer
//! is compared with what was asked for (D43).

mod breaker;
mod data_key;
mod ecdsa;
mod key_sets;
mod keys;
mod local_key;
mod mode;
mod public_keys;
mod roots;
mod rotate;
mod signer;

pub use aws_sdk_kms::Client;
pub use data_key::{DataKeyPublicKeys, DataKeySigner};
pub use key_sets::{KeySets, keyset_public_key};
pub use keys::{
    create_keyset_key, create_mac_key, create_signing_key, create_wrapping_key, creation_time,
};
pub use mode::{JwtPublicKeys, JwtSigner, KeyPlaces};
pub use public_keys::KmsPublicKeys;
pub use roots::KmsRoots;
pub use rotate::{RotateError, next_key_set};
pub use signer::KmsSigner;

use crate::CallFailure;
use aws_sdk_kms::types::SigningAlgorithmSpec;
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::ports::SignError;

/// In data-key mode it is time to rotate when the last key has less than this left,
/// in seconds.
pub const ROTATE_BEFORE: u64 = 14 * 86_400;

/// What KMS calls an algorithm.
fn signing_algorithm(algorithm: Algorithm) -> SigningAlgorithmSpec {
    match algorithm {
        Algorithm::RS256 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
        Algorithm::PS256 => SigningAlgorithmSpec::RsassaPssSha256,
        Algorithm::ES256 => SigningAlgorithmSpec::EcdsaSha256,
        Algorithm::EdDsa => SigningAlgorithmSpec::Ed25519Sha512,
    }
}

/// An answer must be about the very key that was asked. KMS says its ARN;
/// endpoints that stand in for it may say the id alone, which is as exact.
fn check_key(asked: &str, answered: Option<&str>) -> Result<(), SignError> {
    let id = asked.rsplit('/').next();
    if answered.is_some() && (answered == Some(asked) || answered == id) {
        Ok(())
    } else {
        Err(SignError::Unacceptable("another key answered"))
    }
}

/// What is said while a [`breaker`] is open.
fn resting(operation: &'static str) -> SignError {
    CallFailure::of(operation, "not asked: it has failed repeatedly").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_was_asked_may_answer() {
        let asked = "arn:aws:kms:eu-west-1:111122223333:key/1234-ab";
        for right in [asked, "1234-ab"] {
            assert!(check_key(asked, Some(right)).is_ok(), "{right}");
        }
        for wrong in [
            "arn:aws:kms:eu-west-1:111122223333:key/1234-ac",
            "arn:aws:kms:us-east-1:111122223333:key/1234-ab",
            "alias/1234-ab",
            "234-ab",
            "",
        ] {
            assert!(check_key(asked, Some(wrong)).is_err(), "{wrong}");
        }
        assert!(check_key(asked, None).is_err());
    }
}
