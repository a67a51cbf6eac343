//! Lambda functions, as the services that call them see them: event bytes in,
//! answer bytes out.
//!
//! In process or behind the Invoke API, a caller cannot tell which: nothing but
//! serialized events and answers passes, so that local mode skips nothing that a
//! deployed function would do. This module knows no event's shape.
//!
//! Start at [`Function`]; [`invoke_within`] is how a service calls one.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_lambda::{
    Client,
    config::{StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
    error::SdkError,
    primitives::Blob,
};
use bytes::Bytes;
use cloakroom_jose::json;
use serde::Deserialize;

/// A Lambda function as its callers see it: event bytes in, answer bytes out.
pub trait Function: Send + Sync + 'static {
    /// Sends one event and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`FunctionError::Handled`] if the function ran and failed,
    /// [`FunctionError::Unavailable`] if it could not be asked.
    fn invoke(
        &self,
        event: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, FunctionError>> + Send + '_>>;

    /// How long a caller waits whose own limit is `limit`.
    fn patience(&self, limit: Duration) -> Duration {
        limit
    }
}

impl fmt::Debug for dyn Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The function answered with an error: Lambda's `errorType` and `errorMessage`.
    #[error("the function answered with an error")]
    Handled {
        /// Lambda's `errorType`.
        error_type: String,
        /// Lambda's `errorMessage`, which API Gateway compares with `Unauthorized`.
        error_message: String,
    },
    /// The function could not be asked, or did not answer in time.
    #[error("the function is unavailable")]
    Unavailable(#[source] Unavailable),
}

/// Why a function could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// No answer within the caller's limit.
    #[error("no answer in time")]
    TimedOut,
    /// Unreachable, throttled, unknown, or speaking something else.
    #[error("the invocation failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Invokes as AWS's own services do: the function runs on its own, so that
/// neither its panic nor a caller that gave up takes the other along.
///
/// # Errors
///
/// Those of [`Function::invoke`]; a panic is `Handled`, no answer within `limit`
/// is `Unavailable`.
pub async fn invoke_within(
    function: &Arc<dyn Function>,
    event: Bytes,
    limit: Duration,
) -> Result<Bytes, FunctionError> {
    let patience = function.patience(limit);
    let running = tokio::spawn({
        let function = Arc::clone(function);
        async move { function.invoke(event).await }
    });
    match tokio::time::timeout(patience, running).await {
        Ok(Ok(answer)) => answer,
        // The panic's text stays here: it may quote the event.
        Ok(Err(_)) => Err(FunctionError::Handled {
            error_type: "Runtime.Panic".to_owned(),
            error_message: "the function panicked".to_owned(),
        }),
        Err(_) => Err(FunctionError::Unavailable(Unavailable::TimedOut)),
    }
}

/// A function in this process: the handler entry that Lambda would call.
pub struct InProcess<F>(F);

impl<F, Answer, E> InProcess<F>
where
    F: Fn(Bytes) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
    E: fmt::Display,
{
    /// Wraps a handler. What its error displays is Lambda's `errorMessage`.
    pub fn new(handler: F) -> Self {
        Self(handler)
    }
}

impl<F> fmt::Debug for InProcess<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl<F, Answer, E> Function for InProcess<F>
where
    F: Fn(Bytes) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
    E: fmt::Display,
{
    fn invoke(
        &self,
        event: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, FunctionError>> + Send + '_>> {
        let answer = (self.0)(event);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| FunctionError::Handled {
                error_type: std::any::type_name::<E>().to_owned(),
                error_message: error.to_string(),
            })?;
            Ok(answer.into())
        })
    }
}

/// A function behind the Lambda Invoke API: a real one, or `cargo lambda watch`.
#[derive(Debug)]
pub struct LambdaInvoke {
    client: Client,
    endpoint_url: String,
    function_name: String,
    answered_before: AtomicBool,
}

impl LambdaInvoke {
    /// `cargo lambda watch` builds the function before it answers the first time.
    const FIRST_ANSWER: Duration = Duration::from_mins(10);

    /// A function of this name at this endpoint, with the region and the
    /// credentials of `config`.
    pub fn new(
        config: &SdkConfig,
        endpoint_url: impl Into<String>,
        function_name: impl Into<String>,
    ) -> Self {
        let endpoint_url = endpoint_url.into();
        let config = aws_sdk_lambda::config::Builder::from(config)
            .endpoint_url(&endpoint_url)
            // A thrown error is a 500 under `cargo lambda watch`: a retry would
            // run the function again and hide what it said.
            .retry_config(RetryConfig::disabled())
            // The caller says how long it waits; the functions' own limits are for
            // DynamoDB and KMS.
            .timeout_config(TimeoutConfig::disabled())
            // The build before the first answer is silence, not a stall.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self {
            client: Client::from_conf(config),
            endpoint_url,
            function_name: function_name.into(),
            answered_before: AtomicBool::new(false),
        }
    }

    async fn call(&self, event: Bytes) -> Result<Bytes, FunctionError> {
        let sent = self
            .client
            .invoke()
            .function_name(&self.function_name)
            .payload(Blob::new(event))
            .send()
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                if let SdkError::DispatchFailure(failure) = &error
                    && failure.is_io()
                {
                    tracing::error!(
                        "nobody answers at {}: is `cargo lambda watch` running?",
                        self.endpoint_url
                    );
                }
                let thrown = error
                    .raw_response()
                    .and_then(|response| response.body().bytes())
                    .and_then(|body| json::from_slice::<Thrown>(body).ok());
                return Err(match thrown {
                    Some(thrown) => {
                        self.answered_before.store(true, Ordering::Relaxed);
                        thrown.into()
                    }
                    None => FunctionError::Unavailable(Unavailable::Failed(error.into())),
                });
            }
        };
        self.answered_before.store(true, Ordering::Relaxed);
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            None => Ok(payload.into()),
            Some(kind) => Err(json::from_slice::<Thrown>(&payload).map_or_else(
                |_| FunctionError::Handled {
                    error_type: kind,
                    error_message: String::new(),
                },
                FunctionError::from,
            )),
        }
    }
}

impl Function for LambdaInvoke {
    fn invoke(
        &self,
        event: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, FunctionError>> + Send + '_>> {
        Box::pin(self.call(event))
    }

    fn patience(&self, limit: Duration) -> Duration {
        if self.answered_before.load(Ordering::Relaxed) {
            limit
        } else {
            Self::FIRST_ANSWER
        }
    }
}

/// What a function's error looks like on the wire. The Invoke API sends it with
/// status 200 and `X-Amz-Function-Error`, `cargo lambda watch` with status 500;
/// Lambda's own faults have neither field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thrown {
    error_type: String,
    error_message: String,
}

impl From<Thrown> for FunctionError {
    fn from(thrown: Thrown) -> Self {
        Self::Handled {
            error_type: thrown.error_type,
            error_message: thrown.error_message,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
    use axum::{Router, http::StatusCode};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    async fn ask(function: impl Function) -> Result<Bytes, FunctionError> {
        let function: Arc<dyn Function> = Arc::new(function);
        invoke_within(&function, Bytes::from_static(b"{}"), LIMIT).await
    }

    #[tokio::test]
    async fn an_answer_in_time_is_the_answer() {
        let answer = ask(InProcess::new(|event| async move {
            Ok::<_, String>(event.to_vec())
        }))
        .await;
        assert_eq!(answer.unwrap(), "{}");
    }

    #[tokio::test]
    async fn no_answer_in_time_is_unavailable() {
        let answer = ask(InProcess::new(|_| {
            std::future::pending::<Result<_, String>>()
        }))
        .await;
        assert!(matches!(
            answer,
            Err(FunctionError::Unavailable(Unavailable::TimedOut))
        ));
    }

    #[tokio::test]
    async fn a_panic_is_the_functions_error_and_not_the_callers() {
        async fn handler(_: Bytes) -> Result<Vec<u8>, String> {
            panic!("boom")
        }
        let answer = ask(InProcess::new(handler)).await;
        let Err(FunctionError::Handled { error_message, .. }) = answer else {
            panic!("{answer:?}")
        };
        assert!(!error_message.contains("boom"));
    }

    #[tokio::test]
    async fn what_a_handlers_error_displays_is_the_error_message() {
        async fn handler(_: Bytes) -> Result<Vec<u8>, &'static str> {
            Err("Unauthorized")
        }
        let Err(FunctionError::Handled { error_message, .. }) = ask(InProcess::new(handler)).await
        else {
            panic!("no error")
        };
        assert_eq!(error_message, "Unauthorized");
    }

    /// An Invoke API that always answers the same.
    async fn invoke_api(
        status: u16,
        function_error: Option<&'static str>,
        body: &'static str,
    ) -> LambdaInvoke {
        let api = Router::new().fallback(move || async move {
            let mut response = axum::response::Response::new(axum::body::Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(kind) = function_error {
                let kind = http::HeaderValue::from_static(kind);
                response.headers_mut().insert("x-amz-function-error", kind);
            }
            response
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, api).await });
        let credentials = Credentials::new("local", "local", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        LambdaInvoke::new(&config, url, "authorizer")
    }

    #[tokio::test]
    async fn both_forms_of_a_thrown_error_are_understood() {
        const THROWN: &str = r#"{"errorType":"Refused","errorMessage":"Unauthorized"}"#;
        for (status, header) in [(200, Some("Unhandled")), (500, None)] {
            let function = invoke_api(status, header, THROWN).await;
            let answer = function.invoke(Bytes::from_static(b"{}")).await;
            let Err(FunctionError::Handled {
                error_type,
                error_message,
            }) = answer
            else {
                panic!("{status}: {answer:?}")
            };
            assert_eq!(
                (error_type.as_str(), error_message.as_str()),
                ("Refused", "Unauthorized")
            );
        }
    }

    #[tokio::test]
    async fn lambdas_own_fault_is_unavailable() {
        let function = invoke_api(500, None, r#"{"Type":"Service","Message":"down"}"#).await;
        let answer = function.invoke(Bytes::from_static(b"{}")).await;
        assert!(matches!(
            answer,
            Err(FunctionError::Unavailable(Unavailable::Failed(_)))
        ));
    }

    #[tokio::test]
    async fn only_the_first_answer_may_take_as_long_as_a_build() {
        let function = invoke_api(200, None, r#"{"ok":true}"#).await;
        assert_eq!(function.patience(LIMIT), LambdaInvoke::FIRST_ANSWER);
        let answer = function.invoke(Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(answer, r#"{"ok":true}"#);
        assert_eq!(function.patience(LIMIT), LIMIT);
    }
}
