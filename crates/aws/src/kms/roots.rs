//! The root keys: MACs that only KMS can make.

use super::breaker::Breaker;
use super::{check_key, resting};
use crate::CallFailure;
use aws_sdk_kms::Client;
use aws_sdk_kms::operation::generate_mac::GenerateMacOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MacAlgorithmSpec;
use cloakroom_domain::ports::{Clock, Roots, SignError};
use cloakroom_domain::seal::{ROOT_MESSAGE, RootKey, RootKeys};
use std::sync::Arc;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// Fetches the root keys, once.
#[derive(Debug)]
pub struct KmsRoots {
    client: Client,
    arns: Vec<String>,
    fetched: OnceCell<Arc<RootKeys>>,
    breaker: Breaker,
}

impl KmsRoots {
    /// The first ARN is of the current MAC key; the others still open what they
    /// sealed.
    pub fn new(client: Client, arns: Vec<String>) -> Self {
        Self {
            client,
            arns,
            fetched: OnceCell::new(),
            breaker: Breaker::default(),
        }
    }

    async fn fetch(&self) -> Result<Arc<RootKeys>, SignError> {
        if !self.breaker.admits() {
            return Err(resting("GenerateMac"));
        }
        let outcome = self.ask_all().await;
        self.breaker.report(outcome.is_ok());
        outcome.map(Arc::new)
    }

    /// All or nothing: without an older key, good tokens would look forged.
    async fn ask_all(&self) -> Result<RootKeys, SignError> {
        let (current, others) = self
            .arns
            .split_first()
            .ok_or(SignError::Unacceptable("no MAC key is configured"))?;
        let current = self.ask(current).await?;
        let mut older = Vec::with_capacity(others.len());
        for arn in others {
            older.push(self.ask(arn).await?);
        }
        Ok(RootKeys::new(current, older).loaded_at(crate::world().now()))
    }

    async fn ask(&self, arn: &str) -> Result<RootKey, SignError> {
        let output = self
            .client
            .generate_mac()
            .key_id(arn)
            .mac_algorithm(MacAlgorithmSpec::HmacSha256)
            .message(Blob::new(ROOT_MESSAGE))
            .send()
            .await
            .map_err(|error| CallFailure::new("GenerateMac", &error))?;
        accept(arn, output)
    }
}

impl Roots for KmsRoots {
    async fn roots(&self) -> Result<Arc<RootKeys>, SignError> {
        // Callers wait for one fetch; a failed one is not kept.
        let roots = self.fetched.get_or_try_init(|| self.fetch()).await?;
        Ok(Arc::clone(roots))
    }
}

fn accept(arn: &str, output: GenerateMacOutput) -> Result<RootKey, SignError> {
    check_key(arn, output.key_id())?;
    if output.mac_algorithm() != Some(&MacAlgorithmSpec::HmacSha256) {
        return Err(SignError::Unacceptable("another algorithm was used"));
    }
    let mac = Zeroizing::new(output.mac.map(Blob::into_inner).unwrap_or_default());
    let mac: [u8; 32] = mac
        .as_slice()
        .try_into()
        .map_err(|_| SignError::Unacceptable("not a MAC of this algorithm"))?;
    Ok(RootKey::new(Zeroizing::new(mac)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1";

    #[test]
    fn only_a_mac_by_the_key_that_was_asked_is_a_root() {
        let answer = |arn: &str, algorithm, len| {
            GenerateMacOutput::builder()
                .key_id(arn)
                .mac_algorithm(algorithm)
                .mac(Blob::new(vec![7; len]))
                .build()
        };
        let sha256 = MacAlgorithmSpec::HmacSha256;
        assert!(accept(ARN, answer(ARN, sha256.clone(), 32)).is_ok());
        for wrong in [
            answer(
                "arn:aws:kms:eu-west-1:111122223333:key/2",
                sha256.clone(),
                32,
            ),
            answer(ARN, MacAlgorithmSpec::HmacSha384, 32),
            answer(ARN, sha256.clone(), 31),
            answer(ARN, sha256.clone(), 0),
            GenerateMacOutput::builder()
                .key_id(ARN)
                .mac_algorithm(sha256)
                .build(),
        ] {
            assert!(matches!(
                accept(ARN, wrong),
                Err(SignError::Unacceptable(_))
            ));
        }
    }
}
