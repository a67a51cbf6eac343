//! From an event's bytes to a request, and from an answer to a response's bytes.
//!
//! The types of the events are `lambda_http`'s; its conversion to `http::Request`
//! is not used. It panics on a body that is not the base64 it claims to be and on a
//! path or query that is no URI, puts the stage into the path, turns a form of
//! headers with duplicates into one without, and leaves an event with an odd header
//! to be the runtime's error: each of them a 500 that a client can cause (C9), or a
//! check that a client can get around (D16). Here every input has an answer.

pub mod basic;
mod credentials;
mod event;
pub mod oauth_error;
mod page;
mod params;
mod request;
mod response;

pub use ::http::{Method, StatusCode, header};
pub use credentials::Credentials;
pub use page::{Page, escape};
pub use params::{Params, with_query};
pub use request::Request;
pub use response::Response;

use crate::telemetry::Decision;
use oauth_error::OAuthError;

/// A request that breaks a rule of its form. The text is our own literal, and may be
/// shown (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub &'static str);

/// Answers an event of a REST API, or of an HTTP API in either payload format.
///
/// What cannot be read is answered here, with 400, and logged as `function`'s.
pub async fn serve<F, Fut>(function: &'static str, event: &[u8], handler: F) -> Vec<u8>
where
    F: FnOnce(Request) -> Fut,
    Fut: Future<Output = Response>,
{
    let (shape, request) = event::read(event);
    let response = match request {
        Ok(request) => handler(request).await,
        Err(fault) => {
            Decision::new(function, "refused")
                .word("reason", "unreadable_event")
                .emit();
            OAuthError::from(fault).to_response()
        }
    };
    event::write(shape, response)
}

#[cfg(test)]
mod tests;
