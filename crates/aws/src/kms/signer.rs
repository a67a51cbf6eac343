//! Signatures by a KMS key.

use super::breaker::Breaker;
use super::{ecdsa, resting, signing_algorithm};
use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::operation::sign::SignOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MessageType;
use cloakroom_domain::jwt::{Algorithm, kms_key_id};
use cloakroom_domain::ports::{SignError, Signer, SigningKey};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::sha256;

/// What KMS takes as a whole message.
const RAW_LIMIT: usize = 4096;

/// Signs with one key of KMS.
#[derive(Debug)]
pub struct KmsSigner {
    client: Client,
    arn: String,
    kid: String,
    algorithm: Algorithm,
    breaker: Breaker,
}

impl KmsSigner {
    /// Signs with the key of this ARN; it must be of a kind that can do
    /// `algorithm`, or every signature fails.
    pub fn new(client: Client, arn: impl Into<String>, algorithm: Algorithm) -> Self {
        let arn = arn.into();
        Self {
            client,
            kid: kms_key_id(&arn),
            arn,
            algorithm,
            breaker: Breaker::default(),
        }
    }

    /// The same, if there is an ARN: not every system has such a key.
    pub fn optional(client: Client, arn: &str, algorithm: Algorithm) -> Option<Self> {
        (!arn.is_empty()).then(|| Self::new(client, arn, algorithm))
    }

    async fn ask(&self, message_type: MessageType, message: Vec<u8>) -> Result<Vec<u8>, SignError> {
        let output = self
            .client
            .sign()
            .key_id(&self.arn)
            .signing_algorithm(signing_algorithm(self.algorithm))
            .message_type(message_type)
            .message(Blob::new(message))
            .send()
            .await
            .map_err(|error| CallFailure::new("Sign", &error))?;
        accept(&self.arn, self.algorithm, &output)
    }
}

impl Signer for KmsSigner {
    fn kms_calls(&self) -> Option<u64> {
        Some(self.breaker.asked())
    }

    async fn signing_key(&self, _: UnixTime) -> Result<SigningKey, SignError> {
        Ok(SigningKey {
            kid: self.kid.clone(),
            algorithm: self.algorithm,
        })
    }

    async fn sign(&self, key: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        if key.kid != self.kid {
            return Err(SignError::Unacceptable("another key is asked for"));
        }
        let (message_type, message) = match self.algorithm {
            // Hashed here: no limit of length, and no claims on the wire. A digest
            // sent as RAW would be hashed twice.
            Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => {
                (MessageType::Digest, sha256(input).to_vec())
            }
            // Ed25519 hashes in two passes, so KMS needs all of it.
            Algorithm::EdDsa if input.len() <= RAW_LIMIT => (MessageType::Raw, input.to_vec()),
            Algorithm::EdDsa => {
                return Err(SignError::Unacceptable(
                    "Ed25519 keys sign up to 4,096 bytes",
                ));
            }
        };
        if !self.breaker.admits() {
            return Err(resting("Sign"));
        }
        let outcome = self.ask(message_type, message).await;
        self.breaker.report(outcome.is_ok());
        outcome
    }
}

/// Takes an answer that is a signature by this key, by this algorithm, and no
/// other (D43).
fn accept(arn: &str, algorithm: Algorithm, output: &SignOutput) -> Result<Vec<u8>, SignError> {
    if output.key_id() != Some(arn) {
        return Err(SignError::Unacceptable("another key answered"));
    }
    if output.signing_algorithm() != Some(&signing_algorithm(algorithm)) {
        return Err(SignError::Unacceptable("another algorithm was used"));
    }
    let signature = output.signature().map(Blob::as_ref).unwrap_or_default();
    match algorithm {
        // RSA_2048, RSA_3072, RSA_4096.
        Algorithm::RS256 | Algorithm::PS256 => {
            Some(signature.to_vec()).filter(|bytes| [256, 384, 512].contains(&bytes.len()))
        }
        Algorithm::ES256 => ecdsa::from_der(signature),
        Algorithm::EdDsa => Some(signature.to_vec()).filter(|bytes| bytes.len() == 64),
    }
    .ok_or(SignError::Unacceptable("not a signature of this algorithm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kms::types::SigningAlgorithmSpec;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1";

    fn output(arn: &str, algorithm: SigningAlgorithmSpec, signature: &[u8]) -> SignOutput {
        SignOutput::builder()
            .key_id(arn)
            .signing_algorithm(algorithm)
            .signature(Blob::new(signature))
            .build()
    }

    #[test]
    fn only_what_was_asked_for_is_accepted() {
        let der = [
            &[0x30, 68, 0x02, 32][..],
            &[0x11; 32],
            &[0x02, 32],
            &[0x22; 32],
        ]
        .concat();
        let good: [(Algorithm, &[u8], usize); 5] = [
            (Algorithm::RS256, &[1; 256], 256),
            (Algorithm::RS256, &[1; 512], 512),
            (Algorithm::PS256, &[1; 384], 384),
            (Algorithm::ES256, &der, 64),
            (Algorithm::EdDsa, &[1; 64], 64),
        ];
        for (algorithm, signature, len) in good {
            let spec = signing_algorithm(algorithm);
            let accepted = |output: &SignOutput| accept(ARN, algorithm, output);
            let right = output(ARN, spec.clone(), signature);
            assert_eq!(accepted(&right).unwrap().len(), len);

            let other_key = output(&ARN.replace("key/1", "key/2"), spec.clone(), signature);
            let other_algorithm = output(ARN, SigningAlgorithmSpec::EcdsaSha384, signature);
            let short = output(ARN, spec.clone(), &signature[1..]);
            let long = output(ARN, spec.clone(), &[signature, &[0]].concat());
            let empty = output(ARN, spec.clone(), &[]);
            let nothing = SignOutput::builder()
                .key_id(ARN)
                .signing_algorithm(spec)
                .build();
            for wrong in [other_key, other_algorithm, short, long, empty, nothing] {
                assert!(
                    matches!(accepted(&wrong), Err(SignError::Unacceptable(_))),
                    "{algorithm:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_kms_would_refuse_is_not_sent() {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(aws_sdk_kms::config::BehaviorVersion::v2026_01_12())
            .build();
        let signer = KmsSigner::new(Client::from_conf(config), ARN, Algorithm::EdDsa);
        let key = signer.signing_key(UnixTime(0)).await.unwrap();
        assert!(matches!(
            signer.sign(&key, &[0; RAW_LIMIT + 1]).await,
            Err(SignError::Unacceptable(_))
        ));
    }
}
