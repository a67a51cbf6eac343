//! Why a command cannot answer, in our words.

use cloakroom_domain::config::ConfigError;
use cloakroom_domain::ports::{EntropyError, SignError, StoreError};
use cloakroom_gateway::settings::SettingsError;
use std::fmt::Display;

/// One line per fault.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Failure(Vec<String>);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(vec![text.into()])
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.0
    }
}

impl From<&ConfigError> for Failure {
    fn from(error: &ConfigError) -> Self {
        Self(error.faults().to_vec())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self(error.faults().to_vec())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(match &error {
            StoreError::Throttled(_) => "DynamoDB asks us to slow down: try again".to_owned(),
            StoreError::Unavailable(cause) => format!(
                "DynamoDB does not do it ({}): check CLOAKROOM_TABLE, credentials, region and AWS_ENDPOINT_URL_DYNAMODB",
                brief(cause)
            ),
            StoreError::Malformed(what) => {
                format!("an item of the table cannot be read by this release: {what}")
            }
        })
    }
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        Self::new(match &error {
            SignError::Throttled(_) => "KMS asks us to slow down: try again".to_owned(),
            SignError::Unavailable(cause) => format!(
                "KMS does not do it ({}): check the key ARNs, credentials, region and AWS_ENDPOINT_URL_KMS",
                brief(cause)
            ),
            SignError::Unacceptable(what) => format!("KMS answered what we cannot use: {what}"),
            SignError::KeySet(fault) => fault.to_string(),
        })
    }
}

impl From<EntropyError> for Failure {
    fn from(_: EntropyError) -> Self {
        Self::new("the operating system has no randomness")
    }
}

/// Which call failed and with which code, or that it did not get through; not the
/// transport's whole story.
fn brief(cause: &(impl Display + ?Sized)) -> String {
    let text = cause.to_string();
    text.split(": ").take(2).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_did_not_get_through_is_said_in_two_words() {
        assert_eq!(
            brief("GetItem: dispatch failure: io error: tcp connect error: refused"),
            "GetItem: dispatch failure"
        );
        assert_eq!(
            brief("GetItem: ResourceNotFoundException (HTTP 400, request R-1)"),
            "GetItem: ResourceNotFoundException (HTTP 400, request R-1)"
        );
    }
}
