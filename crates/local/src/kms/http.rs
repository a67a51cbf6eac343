//! The protocol: AWS JSON 1.1, one route, the operation in a header.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{KmsEndpoint, error::KmsError, store::random_uuid};

/// Operations are named `TrentService.<Operation>` in `X-Amz-Target`.
const TARGET_PREFIX: &str = "TrentService.";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

pub(super) async fn serve(
    State(endpoint): State<Arc<KmsEndpoint>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let answer = match request(&headers, body) {
        // RSA keys and files take their time: not on a thread that serves.
        Ok((operation, body)) => {
            tokio::task::spawn_blocking(move || endpoint.dispatch(&operation, &body))
                .await
                .unwrap_or(Err(KmsError::Crypto))
        }
        Err(error) => Err(error),
    };
    let (status, body) = match answer {
        Ok(output) => (StatusCode::OK, output),
        Err(error) => {
            if error.status().is_server_error() {
                tracing::error!(
                    error = %error,
                    cause = std::error::Error::source(&error).map(tracing::field::display),
                    "the KMS endpoint failed"
                );
            }
            let body = json!({ "__type": error.code(), "message": error.to_string() });
            (error.status(), body)
        }
    };
    let request_id = random_uuid().unwrap_or_default();
    (
        status,
        [
            (header::CONTENT_TYPE.as_str(), CONTENT_TYPE.to_owned()),
            ("x-amzn-requestid", request_id),
        ],
        body.to_string(),
    )
        .into_response()
}

/// Reads the envelope. None of what it asks for can be sent by a web page
/// without a preflight, so a page cannot make a browser call us.
fn request(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(String, Bytes), KmsError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("content-type") != Some(CONTENT_TYPE) {
        return Err(KmsError::UnknownOperation);
    }
    let operation = text("x-amz-target")
        .and_then(|target| target.strip_prefix(TARGET_PREFIX))
        .ok_or(KmsError::UnknownOperation)?;
    if text("authorization").is_none_or(str::is_empty) {
        return Err(KmsError::MissingAuthentication);
    }
    let body = body.map_err(|_| KmsError::Validation("the request is too long"))?;
    Ok((operation.to_owned(), body))
}
