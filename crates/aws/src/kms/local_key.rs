//! A data key in the process: signs without a call.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding,
};
use cloakroom_domain::jwt::Algorithm;
use std::fmt;

/// A private key. AWS-LC zeroes it when it is dropped.
pub(super) struct LocalKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl LocalKey {
    /// Reads the PKCS#8 that KMS unwraps. `None` if it is no key for `algorithm`, or
    /// not the private half of the public key `spki`.
    pub(super) fn read(algorithm: Algorithm, pkcs8: &[u8], spki: &[u8]) -> Option<Self> {
        let pair = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(pkcs8).ok()?))
            }
            Algorithm::ES256 => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?)
            }
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).ok()?),
        };
        let public: PublicKeyX509Der<'_> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der().ok()?,
            Pair::Ecdsa(pair) => pair.public_key().as_der().ok()?,
            Pair::Ed25519(pair) => pair.public_key().as_der().ok()?,
        };
        (public.as_ref() == spki).then_some(Self { algorithm, pair })
    }

    /// A signature in JOSE form.
    pub(super) fn sign(&self, input: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match self.algorithm {
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDsa => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, input, &mut signature).ok()?;
                Some(signature)
            }
            Pair::Ecdsa(pair) => Some(pair.sign(&random, input).ok()?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Some(pair.try_sign(input).ok()?.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::Pkcs8V1Der;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
        UnparsedPublicKey, VerificationAlgorithm,
    };

    /// An algorithm, a pair as PKCS#8 and SubjectPublicKeyInfo, and who judges it.
    type Case = (
        Algorithm,
        (Vec<u8>, Vec<u8>),
        &'static dyn VerificationAlgorithm,
    );

    fn rsa() -> (Vec<u8>, Vec<u8>) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        (pkcs8.as_ref().to_vec(), spki.as_ref().to_vec())
    }

    fn ecdsa() -> (Vec<u8>, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        (
            pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            spki.as_ref().to_vec(),
        )
    }

    fn ed25519() -> (Vec<u8>, Vec<u8>) {
        let pair = Ed25519KeyPair::generate().unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        (
            pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            spki.as_ref().to_vec(),
        )
    }

    #[test]
    fn each_algorithm_signs_what_its_own_verification_takes() {
        let cases: [Case; 4] = [
            (Algorithm::RS256, rsa(), &RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::PS256, rsa(), &RSA_PSS_2048_8192_SHA256),
            (Algorithm::ES256, ecdsa(), &ECDSA_P256_SHA256_FIXED),
            (Algorithm::EdDsa, ed25519(), &ED25519),
        ];
        for (algorithm, (pkcs8, spki), verification) in cases {
            let key = LocalKey::read(algorithm, &pkcs8, &spki).unwrap();
            let signature = key.sign(b"message").unwrap();
            let public = UnparsedPublicKey::new(verification, &spki);
            public.verify(b"message", &signature).unwrap();
            assert!(public.verify(b"messagf", &signature).is_err());
        }
    }

    #[test]
    fn a_key_that_is_not_the_one_in_the_record_is_none() {
        let (own, spki) = ecdsa();
        let (other, _) = ecdsa();
        assert!(LocalKey::read(Algorithm::ES256, &own, &spki).is_some());
        assert!(LocalKey::read(Algorithm::ES256, &other, &spki).is_none());
        assert!(LocalKey::read(Algorithm::EdDsa, &own, &spki).is_none());
        assert!(LocalKey::read(Algorithm::ES256, &own[..own.len() - 1], &spki).is_none());
        assert!(LocalKey::read(Algorithm::ES256, &[], &spki).is_none());
    }
}
