//! What can be wrong with a provider, in our own words.

use std::error::Error;

use cloakroom_domain::ports::IdpError;
use cloakroom_verify::KeysUnavailable;
use cloakroom_verify::jws::JwsError;

/// As [`IdpError`], for one provider; can be remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It could not be asked, or does not work.
    Unavailable(&'static str),
    /// It said no, or what it said is not acceptable.
    Refused(&'static str),
}

impl Fault {
    /// For the log.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Unavailable(why) | Self::Refused(why) => why,
        }
    }
}

impl From<Fault> for IdpError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(why) => Self::Unavailable(why),
            Fault::Refused(why) => Self::Refused(why),
        }
    }
}

impl From<KeysUnavailable> for Fault {
    fn from(error: KeysUnavailable) -> Self {
        let cause = root_cause(&error);
        tracing::warn!(cause, "an identity provider's keys are not to be had");
        Self::Unavailable("its keys are not to be had")
    }
}

impl From<JwsError> for Fault {
    fn from(error: JwsError) -> Self {
        Self::Refused(match error {
            JwsError::Type => "the token is of another type",
            JwsError::Algorithm => "the token's algorithm is not accepted",
            JwsError::KeyId | JwsError::UnknownKey | JwsError::AmbiguousKey => {
                "the token's key is unknown"
            }
            JwsError::Signature => "the token's signature is wrong",
            JwsError::TooLong => "the token is too long (over 64 KiB)",
            JwsError::Claim(claim) => {
                tracing::info!(
                    claim,
                    "a token without a claim that it must have, or with one of another type"
                );
                "a claim of the token is missing or malformed"
            }
            JwsError::Expired => "the token has expired",
            JwsError::NotYetValid | JwsError::IssuedInFuture => "the token is from the future",
            JwsError::LifetimeTooLong => "the token's lifetime is not acceptable",
            _ => "the token is malformed",
        })
    }
}

/// The innermost cause: "connection refused" says more than "could not send".
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
