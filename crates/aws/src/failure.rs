//! What may be said about a call that failed.
//!
//! The SDK's own errors carry the response, and a refused condition answers with
//! the whole item, so their `Debug` must never reach a log. Messages stay out as
//! well: a validation fault quotes the values of the request.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
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
    throttled: bool,
}

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
        let (fault, throttled) = match error {
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
                (fault, status == 429 || is_throttle(code))
            }
            // Raised before anything of the request was sent, or by the
            // transport, which does not know what it carries.
            SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
                (chain(error), false)
            }
            SdkError::TimeoutError(_) => ("timed out".to_owned(), false),
            _ => ("unreadable answer".to_owned(), false),
        };
        Self {
            operation,
            fault,
            throttled,
        }
    }

    /// A failure that we found out ourselves.
    #[cfg(any(feature = "dynamodb", feature = "kms"))]
    pub(crate) fn of(operation: &'static str, fault: &str) -> Self {
        Self {
            operation,
            fault: fault.to_owned(),
            throttled: false,
        }
    }

    /// Says that it is worth trying again.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn into_throttle(mut self) -> Self {
        self.throttled = true;
        self
    }
}

/// Whether a service's code means "later".
pub(crate) fn is_throttle(code: &str) -> bool {
    THROTTLES.contains(&code)
}

impl From<CallFailure> for StoreError {
    fn from(failure: CallFailure) -> Self {
        if failure.throttled {
            Self::Throttled(Arc::new(failure))
        } else {
            Self::Unavailable(Arc::new(failure))
        }
    }
}

impl From<CallFailure> for SignError {
    fn from(failure: CallFailure) -> Self {
        if failure.throttled {
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
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text.chars().filter(|c| !c.is_control()).take(300).collect()
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
    fn an_unreachable_service_is_said_to_be_that() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = SdkError::<UpdateItemError, HttpResponse>::dispatch_failure(
            ConnectorError::io(refused.into()),
        );
        assert_eq!(
            CallFailure::new("GetItem", &error).to_string(),
            "GetItem: dispatch failure: io error: connection refused"
        );
    }
}
