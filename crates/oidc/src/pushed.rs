//! Pushed authorization requests (RFC 9126): what we ask for goes to the provider
//! directly, and the browser carries only a reference that it cannot change.

use cloakroom_jose::json;
use reqwest::StatusCode;
use serde::Deserialize;

use crate::fault::Fault;
use crate::fetch::Answer;
use crate::token::{refusal, refuse_error};

/// A reference has to fit a URL beside the rest.
const MAX_LENGTH: usize = 1024;

/// RFC 9126 §2.2. How long it is good for is the provider's to say and to keep: the
/// browser is sent there at once.
#[derive(Deserialize)]
struct Pushed {
    request_uri: String,
}

/// The reference of a request that was taken.
pub(crate) fn read(answer: &Answer) -> Result<String, Fault> {
    // The RFC says 201; some say 200.
    if !matches!(answer.status, StatusCode::CREATED | StatusCode::OK) {
        return Err(refusal(&answer.body));
    }
    refuse_error(&answer.body)?;
    let pushed: Pushed = json::from_slice(&answer.body)
        .map_err(|_| Fault::Refused("its answer to a pushed request is malformed"))?;
    let uri = pushed.request_uri;
    if uri.is_empty() || uri.len() > MAX_LENGTH || !uri.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Fault::Refused("its request_uri is not acceptable"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests;
