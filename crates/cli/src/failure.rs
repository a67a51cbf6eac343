//! Why a command cannot answer, in our words.

use crate::place::Place;
use cloakroom_aws::{CallFailure, Trouble};
use cloakroom_domain::config::ConfigError;
use cloakroom_domain::ports::{EntropyError, SignError, StoreError};
use cloakroom_gateway::settings::SettingsError;
use std::error::Error;
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
        let is_missing = |fault: &String| fault.strip_suffix(" is not set").map(str::to_owned);
        let missing: Vec<_> = error.faults().iter().filter_map(is_missing).collect();
        let mut lines = error.faults().to_vec();
        lines.retain(|fault| is_missing(fault).is_none());
        if !missing.is_empty() {
            let are = if missing.len() == 1 { "is" } else { "are" };
            let names = missing.join(", ");
            lines.insert(0, format!("{names} {are} not set: {ENVIRONMENT}"));
        }
        Self(lines)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(match &error {
            StoreError::Throttled(cause) | StoreError::Unavailable(cause) => {
                Service::DynamoDb.said(cause.as_ref())
            }
            StoreError::Malformed(what) => {
                format!("an item of the table cannot be read by this release: {what}")
            }
        })
    }
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        Self::new(match &error {
            SignError::Throttled(cause) | SignError::Unavailable(cause) => {
                Service::Kms.said(cause.as_ref())
            }
            SignError::Unacceptable(what) => format!("KMS answered what we cannot use: {what}"),
            SignError::KeySet(fault) => fault.to_string(),
        })
    }
}

/// Whom of AWS we have asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    CloudFormation,
    DynamoDb,
    Kms,
    Lambda,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::CloudFormation => "CloudFormation",
            Self::DynamoDb => "DynamoDB",
            Self::Kms => "KMS",
            Self::Lambda => "Lambda",
        }
    }

    /// Where it is, if it is elsewhere than in AWS.
    const fn endpoint(self) -> &'static str {
        match self {
            Self::CloudFormation => "AWS_ENDPOINT_URL_CLOUDFORMATION",
            Self::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Lambda => "AWS_ENDPOINT_URL_LAMBDA",
        }
    }

    /// What of ours is there, and where we have its name from.
    const fn named(self) -> &'static str {
        match self {
            Self::CloudFormation => "stack: check --stack",
            Self::DynamoDb => "table: check CLOAKROOM_TABLE (`cloakroom setup` makes one)",
            Self::Kms => {
                "key: check the ARNs in CLOAKROOM_SIGNING_KEYS, CLOAKROOM_MAC_KEYS and the like"
            }
            Self::Lambda => "function: check --stack",
        }
    }

    /// A line about a call that failed: what is wrong, and what to do about it.
    pub(crate) fn said(self, cause: &(dyn Error + Send + Sync + 'static)) -> String {
        match cause.downcast_ref() {
            Some(failure) => self.trouble(failure),
            None => format!("{} does not do it: {}", self.name(), brief(cause)),
        }
    }

    fn trouble(self, failure: &CallFailure) -> String {
        let (name, operation) = (self.name(), failure.operation());
        let at = self.place();
        match failure.trouble() {
            Trouble::NoCredentials => match Place::variable("AWS_PROFILE") {
                Some(profile) => format!(
                    "AWS_PROFILE={profile} has no AWS credentials: `aws configure list-profiles` says which profiles there are, `aws sso login` signs in"
                ),
                None => format!(
                    "there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; {LOCAL}"
                ),
            },
            Trouble::NoRegion => {
                format!("there is no AWS Region: set AWS_REGION; {LOCAL}")
            }
            Trouble::NoEndpoint => format!("{at} is no URL, as in http://127.0.0.1:8000"),
            Trouble::Unreachable => {
                format!("{name} cannot be reached: check {at}, and the network")
            }
            Trouble::TimedOut => format!("{name} did not answer in time at {at}: try again"),
            Trouble::NotAws => format!("what answers at {at} is not {name} ({})", brief(failure)),
            Trouble::Stranger => format!(
                "{name} does not accept these AWS credentials ({}): they are wrong or have expired; sign in again (`aws sso login`), or set AWS_PROFILE",
                brief(failure)
            ),
            Trouble::Denied => format!(
                "these AWS credentials may not do {operation} at {name} ({}): their policy has to allow it",
                brief(failure)
            ),
            Trouble::NotFound => {
                format!("{name} has no such {}, and {at}", self.named())
            }
            Trouble::Throttled => format!("{name} asks us to slow down: try again"),
            Trouble::Unsupported => format!(
                "what answers at {at} does not know {operation}, which Cloakroom needs of {name}"
            ),
            Trouble::Other => format!(
                "{name} does not do it ({}): it was asked for a {}",
                brief(failure),
                self.named()
            ),
        }
    }

    /// Where we have looked for it, as it was given.
    fn place(self) -> String {
        let given = |name: &'static str| Some((name, Place::variable(name)?));
        given(self.endpoint())
            .or_else(|| given("AWS_ENDPOINT_URL"))
            .or_else(|| given("AWS_REGION"))
            .or_else(|| given("AWS_DEFAULT_REGION"))
            .map_or_else(
                || "the Region of AWS_PROFILE".to_owned(),
                |(name, value)| format!("{name}={value}"),
            )
    }
}

/// Where the variables of the functions come from.
const ENVIRONMENT: &str = "load the file that `cloakroom setup` or `cloakroom dev` has written with --env-file PATH: `set -a; . PATH; set +a`";

/// Who runs the system on one machine needs no AWS, but what stands in for it.
const LOCAL: &str =
    "or load the file that `cloakroom dev --env-file PATH` has written: `set -a; . PATH; set +a`";

impl From<EntropyError> for Failure {
    fn from(_: EntropyError) -> Self {
        Self::new("the operating system has no randomness")
    }
}

/// Which call failed and with which code, or that it did not get through; not the
/// transport's whole story, nor the request's id, which makes of one fault many.
fn brief(cause: &(impl Display + ?Sized)) -> String {
    let text = cause.to_string();
    let text = text.split(" (HTTP").next().unwrap_or_default();
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
            "GetItem: ResourceNotFoundException"
        );
    }
}
