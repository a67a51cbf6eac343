//! What Lambda calls: event bytes in, answer bytes out.
//!
//! The same `async fn(&[u8]) -> Result<Vec<u8>, FunctionFailure>` is called by local
//! mode, so nothing lies between an event and a function that is not tested there.

use cloakroom_domain::jwt::LargestClaims;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// A function that answers with an error instead of a document. The text is all
/// that the caller gets (D66).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FunctionFailure {
    /// API Gateway turns exactly this text into 401, and does not cache it.
    #[error("Unauthorized")]
    Unauthorized,
    /// We cannot tell: never an allow, never "invalid token".
    #[error("Unavailable")]
    Unavailable,
    /// As [`Self::Unavailable`]: the answer would be longer than AWS takes.
    #[error("Unavailable: the answer is too long; its largest claims are {0}")]
    TooLong(LargestClaims),
    /// A fault of ours.
    #[error("Internal")]
    Internal,
}

impl FunctionFailure {
    const fn name(self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::Unavailable | Self::TooLong(_) => "Unavailable",
            Self::Internal => "Internal",
        }
    }
}

impl From<FunctionFailure> for Diagnostic {
    fn from(failure: FunctionFailure) -> Self {
        Self {
            error_type: failure.name().to_owned(),
            error_message: failure.to_string(),
        }
    }
}

/// Why a function did not start, or did not go on. Rust writes what `main` returns by its
/// `Debug`, which here is the sentence and not the structure: it stands in the log alone.
pub struct StartFailure(Box<dyn Error + Send + Sync>);

impl<E: Error + Send + Sync + 'static> From<E> for StartFailure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Serves invocations until Lambda ends the process.
///
/// # Errors
///
/// When the Runtime API cannot be spoken to.
pub async fn run<H>(handler: H) -> Result<(), StartFailure>
where
    H: AsyncFn(&[u8]) -> Result<Vec<u8>, FunctionFailure>,
{
    let handler = &handler;
    // Raw JSON on both sides: the runtime neither interprets an event (one that it
    // could not would be a 500 that a client can cause) nor writes an answer anew.
    lambda_runtime::run(service_fn(
        move |event: LambdaEvent<Box<RawValue>>| async move {
            raw(guarded(handler, event.payload.get().as_bytes()).await?)
        },
    ))
    .await
    .map_err(StartFailure)
}

/// Calls the handler; a panic becomes a failure that does not repeat its text,
/// which the runtime would put into the answer.
async fn guarded<H>(handler: &H, event: &[u8]) -> Result<Vec<u8>, FunctionFailure>
where
    H: AsyncFn(&[u8]) -> Result<Vec<u8>, FunctionFailure>,
{
    let mut answer = pin!(handler(event));
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)))
            .unwrap_or(Poll::Ready(Err(FunctionFailure::Internal)))
    })
    .await
}

fn raw(answer: Vec<u8>) -> Result<Box<RawValue>, FunctionFailure> {
    String::from_utf8(answer)
        .ok()
        .and_then(|text| RawValue::from_string(text).ok())
        .ok_or(FunctionFailure::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_does_not_start_says_so_in_a_sentence() {
        let failure = StartFailure::from(std::fmt::Error);
        assert_eq!(format!("{failure:?}"), std::fmt::Error.to_string());
    }

    #[test]
    fn api_gateway_reads_exactly_unauthorized() {
        let diagnostic = Diagnostic::from(FunctionFailure::Unauthorized);
        assert_eq!(
            serde_json::to_string(&diagnostic).unwrap(),
            r#"{"errorType":"Unauthorized","errorMessage":"Unauthorized"}"#
        );
    }

    #[tokio::test]
    async fn a_panic_becomes_a_failure_without_its_text() {
        let handler = async |_: &[u8]| -> Result<Vec<u8>, FunctionFailure> { panic!("canary") };
        let answer = guarded(&handler, b"{}").await;
        assert_eq!(answer, Err(FunctionFailure::Internal));
    }

    #[tokio::test]
    async fn an_answer_passes_as_it_is() {
        let handler = async |event: &[u8]| Ok(event.to_vec());
        let answer = guarded(&handler, br#"{ "a":1.0 }"#).await.unwrap();
        assert_eq!(raw(answer).unwrap().get(), r#"{ "a":1.0 }"#);
    }

    #[test]
    fn an_answer_that_is_no_json_is_a_failure() {
        assert_eq!(raw(b"{".to_vec()).unwrap_err(), FunctionFailure::Internal);
        assert_eq!(raw(vec![0xff]).unwrap_err(), FunctionFailure::Internal);
    }

    #[test]
    fn an_event_may_be_as_deep_as_it_likes_d60() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let event: Box<RawValue> = serde_json::from_str(&deep).unwrap();
        assert_eq!(event.get().len(), deep.len());
    }
}
