//! What may be said about a call that failed.
//!
//! The SDK's own errors carry the response, and a refused condition answers with
//! the whole item, so their `Debug` must never reach a log. Messages stay out as
//! well: a validation fault quotes the values of the request.

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{DispatchFailure, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use cloakroom_domain::ports::{SignError, StoreError};
use std::error::Error;
use std::sync::Arc;

/// A call to AWS that failed: which, how, and the request's id for support.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {fault}")]
pub struct CallFailure {
    operation: &'static str,
    fault: String,
    trouble: Trouble,
}

/// What kind of failure it was: who has to do something about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// Nobody has given us credentials.
    NoCredentials,
    /// Nobody has said which Region.
    NoRegion,
    /// The endpoint that was given is no URL.
    NoEndpoint,
    /// Nobody listens there, or the name is unknown.
    Unreachable,
    /// There was no answer in time.
    TimedOut,
    /// What answers is not AWS, nor like it.
    NotAws,
    /// The credentials are wrong or have expired.
    Stranger,
    /// They are good, but not for this.
    Denied,
    /// It is not there.
    NotFound,
    /// What answers does not know the operation: an emulator of a part of AWS.
    Unsupported,
    /// Later.
    Throttled,
    /// Anything else.
    Other,
}

/// Codes that mean that AWS does not know who asks.
const STRANGERS: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Codes that mean "later", beside HTTP 429.
const THROTTLES: &[&str] = &[
    "LimitExceededException",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottledException",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
];

impl CallFailure {
    /// Keeps of an SDK error what may be logged.
    pub fn new<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let (fault, trouble) = match error {
            SdkError::ServiceError(context) => {
                let code = context.err().code().unwrap_or_default();
                let status = context.raw().status().as_u16();
                let request = context
                    .raw()
                    .headers()
                    .get("x-amzn-requestid")
                    .unwrap_or_default();
                let fault = format!(
                    "{} (HTTP {status}, request {})",
                    plain(code),
                    plain(request)
                );
                (fault, Trouble::told(code, status))
            }
            SdkError::DispatchFailure(failure) => dispatch(error, failure),
            // Raised before there was a request.
            SdkError::ConstructionFailure(_) => (chain(error), Trouble::Other),
            SdkError::TimeoutError(_) => ("timed out".to_owned(), Trouble::TimedOut),
            _ => ("unreadable answer".to_owned(), Trouble::NotAws),
        };
        Self {
            operation,
            fault,
            trouble,
        }
    }

    /// Which call: an operation of the service's API.
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// What kind of failure it was.
    pub const fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// A failure that we found out ourselves.
    #[cfg(any(feature = "dynamodb", feature = "kms"))]
    pub(crate) fn of(operation: &'static str, fault: &str) -> Self {
        Self {
            operation,
            fault: fault.to_owned(),
            trouble: Trouble::Other,
        }
    }

    /// Says that it is worth trying again.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn into_throttle(mut self) -> Self {
        self.trouble = Trouble::Throttled;
        self
    }
}

impl Trouble {
    /// What a service has said.
    fn told(code: &str, status: u16) -> Self {
        match code {
            _ if status == 429 || is_throttle(code) => Self::Throttled,
            "" => Self::NotAws,
            "AccessDenied" | "AccessDeniedException" => Self::Denied,
            "NotFoundException" | "ResourceNotFoundException" => Self::NotFound,
            "UnknownOperationException" => Self::Unsupported,
            _ if STRANGERS.contains(&code) => Self::Stranger,
            _ => Self::Other,
        }
    }
}

/// A request that never got an answer. Of what the SDK says to that, only the
/// transport's part is repeated, which does not know what it carries, and the
/// credentials'; anything else may quote the request, body and all.
fn dispatch(error: &(dyn Error + 'static), failure: &DispatchFailure) -> (String, Trouble) {
    if failure.is_timeout() {
        return (chain(error), Trouble::TimedOut);
    }
    if failure.is_io() {
        return (chain(error), Trouble::Unreachable);
    }
    if sources(error).any(<dyn Error>::is::<CredentialsError>) {
        return (chain(error), Trouble::NoCredentials);
    }
    let said: Vec<_> = sources(error).map(ToString::to_string).collect();
    let said = |text: &str| said.iter().any(|line| line.starts_with(text));
    if said("Invalid Configuration: Missing Region") || said("missing signing region") {
        ("there is no Region".to_owned(), Trouble::NoRegion)
    } else if said("failed to apply endpoint") {
        ("the endpoint is no URL".to_owned(), Trouble::NoEndpoint)
    } else {
        ("the request cannot be made".to_owned(), Trouble::Other)
    }
}

/// Whether a service's code means "later".
pub(crate) fn is_throttle(code: &str) -> bool {
    THROTTLES.contains(&code)
}

impl From<CallFailure> for StoreError {
    fn from(failure: CallFailure) -> Self {
        if failure.trouble == Trouble::Throttled {
            Self::Throttled(Arc::new(failure))
        } else {
            Self::Unavailable(Arc::new(failure))
        }
    }
}

impl From<CallFailure> for SignError {
    fn from(failure: CallFailure) -> Self {
        if failure.trouble == Trouble::Throttled {
            Self::Throttled(Arc::new(failure))
        } else {
            Self::Unavailable(Arc::new(failure))
        }
    }
}

/// Codes and ids come from the network: nothing but the characters that they are
/// made of gets into a log line.
fn plain(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .take(64)
        .collect();
    if plain.is_empty() {
        "unknown".to_owned()
    } else {
        plain
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for error in sources(error) {
        text.push_str(": ");
        text.push_str(&error.to_string());
    }
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}

#[cfg(test)]
#[cfg(feature = "dynamodb")]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    fn refused(code: &str, status: u16) -> SdkError<UpdateItemError, HttpResponse> {
        let mut response = HttpResponse::new(
            StatusCode::try_from(status).unwrap(),
            SdkBody::from(r#"{"Item":{"claims":{"B":"SECRET"}}}"#),
        );
        response.headers_mut().insert("x-amzn-requestid", "R-1");
        let error = ConditionalCheckFailedException::builder()
            .message("SECRET")
            .item("claims", AttributeValue::S("SECRET".into()))
            .meta(
                ErrorMetadata::builder()
                    .code(code)
                    .message("SECRET")
                    .build(),
            )
            .build();
        let error = UpdateItemError::ConditionalCheckFailedException(error);
        SdkError::service_error(error, response)
    }

    /// Whatever a log could make of an error.
    fn all_of(error: &(dyn Error + 'static)) -> String {
        format!("{error:?} {error:#?} {}", chain(error))
    }

    #[test]
    fn nothing_of_an_item_is_left_in_an_error() {
        let error = refused("SomeException", 400);
        assert!(all_of(&error).contains("SECRET"), "the SDK's own shows it");
        let failure = CallFailure::new("UpdateItem", &error);
        assert_eq!(
            failure.to_string(),
            "UpdateItem: SomeException (HTTP 400, request R-1)"
        );
        for text in [
            all_of(&failure),
            all_of(&StoreError::from(failure.clone())),
            all_of(&SignError::from(failure)),
        ] {
            assert!(!text.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn a_code_from_the_network_cannot_forge_a_log_line() {
        let failure = CallFailure::new("UpdateItem", &refused("Bad\n{\"level\":\"INFO\"}", 400));
        assert_eq!(
            failure.to_string(),
            "UpdateItem: BadlevelINFO (HTTP 400, request R-1)"
        );
    }

    #[test]
    fn later_is_told_from_never() {
        let throttled = |code, status| {
            let failure = CallFailure::new("UpdateItem", &refused(code, status));
            matches!(StoreError::from(failure), StoreError::Throttled(_))
        };
        assert!(throttled("ThrottlingException", 400));
        assert!(throttled("TransactionConflictException", 400));
        assert!(throttled("ProvisionedThroughputExceededException", 400));
        assert!(throttled("", 429));
        assert!(!throttled("AccessDeniedException", 400));
        assert!(!throttled("ResourceNotFoundException", 400));
        assert!(!throttled("InternalServerError", 500));
    }

    #[test]
    fn what_is_wrong_is_told_by_code_and_status() {
        for (code, status, expected) in [
            ("AccessDeniedException", 400, Trouble::Denied),
            ("ExpiredTokenException", 400, Trouble::Stranger),
            ("UnrecognizedClientException", 400, Trouble::Stranger),
            ("ResourceNotFoundException", 400, Trouble::NotFound),
            ("UnknownOperationException", 400, Trouble::Unsupported),
            ("ThrottlingException", 400, Trouble::Throttled),
            ("", 404, Trouble::NotAws),
            ("", 429, Trouble::Throttled),
            ("ValidationException", 400, Trouble::Other),
        ] {
            let failure = CallFailure::new("GetItem", &refused(code, status));
            assert_eq!(failure.trouble(), expected, "{code} {status}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_sent_is_not_quoted() {
        for (text, expected, trouble) in [
            (
                "failed to apply endpoint `x` to request `SECRET`",
                "GetItem: the endpoint is no URL",
                Trouble::NoEndpoint,
            ),
            (
                "missing signing region",
                "GetItem: there is no Region",
                Trouble::NoRegion,
            ),
            (
                "some interceptor saw SECRET",
                "GetItem: the request cannot be made",
                Trouble::Other,
            ),
        ] {
            let error = ConnectorError::other(text.into(), None);
            let error = SdkError::<UpdateItemError, HttpResponse>::dispatch_failure(error);
            let failure = CallFailure::new("GetItem", &error);
            assert_eq!(
                (failure.to_string().as_str(), failure.trouble()),
                (expected, trouble)
            );
        }
    }

    #[test]
    fn missing_credentials_are_told_from_a_service_that_is_away() {
        let error = ConnectorError::other(CredentialsError::not_loaded("none").into(), None);
        let error = SdkError::<UpdateItemError, HttpResponse>::dispatch_failure(error);
        let failure = CallFailure::new("GetItem", &error);
        assert_eq!(failure.trouble(), Trouble::NoCredentials);
    }

    #[test]
    fn an_unreachable_service_is_said_to_be_that() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = SdkError::<UpdateItemError, HttpResponse>::dispatch_failure(
            ConnectorError::io(refused.into()),
        );
        let failure = CallFailure::new("GetItem", &error);
        assert_eq!(
            failure.to_string(),
            "GetItem: dispatch failure: io error: connection refused"
        );
        assert_eq!(failure.trouble(), Trouble::Unreachable);
    }
}
