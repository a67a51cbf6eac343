//! The token endpoint: codes (OpenID Connect Core §3.1.3) and refresh tokens (§12)
//! go in, tokens come out, of which none is verified yet.

use cloakroom_domain::ports::CallbackCode;
use cloakroom_jose::json;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::fetch::Answer;

/// The tokens of a successful answer to a code.
#[derive(Deserialize)]
pub(crate) struct Tokens {
    token_type: String,
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) id_token: Zeroizing<String>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

/// Those of a successful answer to a refresh token, whose ID token may be left out
/// (OpenID Connect Core §12.2).
#[derive(Deserialize)]
pub(crate) struct Refreshed {
    token_type: String,
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) id_token: Option<Zeroizing<String>>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

/// What a code is traded with.
pub(crate) fn code_request<'a>(callback: &CallbackCode<'a>) -> [(&'static str, &'a str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", callback.code),
        ("redirect_uri", callback.redirect_uri),
        ("code_verifier", callback.code_verifier),
    ]
}

/// What a refresh token is traded with. No scope: the same as before.
pub(crate) fn refresh_request(token: &str) -> [(&'static str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

impl Tokens {
    pub(crate) fn read(answer: &Answer) -> Result<Self, Fault> {
        if answer.status != StatusCode::OK {
            return Err(refusal(&answer.body));
        }
        refuse_error(&answer.body)?;
        let tokens: Self = json::from_slice(&answer.body).map_err(|_| MALFORMED)?;
        check_type(&tokens.token_type)?;
        Ok(tokens)
    }
}

impl Refreshed {
    /// `Ok(None)` if the provider says that the grant is over.
    pub(crate) fn read(answer: &Answer) -> Result<Option<Self>, Fault> {
        if answer.status != StatusCode::OK {
            return match error_code(&answer.body).as_deref() {
                Some("invalid_grant") => Ok(None),
                _ => Err(refusal(&answer.body)),
            };
        }
        refuse_error(&answer.body)?;
        let tokens: Self = json::from_slice(&answer.body).map_err(|_| MALFORMED)?;
        check_type(&tokens.token_type)?;
        Ok(Some(tokens))
    }
}

const MALFORMED: Fault = Fault::Refused("its token response is malformed");

/// Whoever reports an error gives nothing (RFC 6749 §5.1, §5.2): an answer that does both
/// says two things, and one of them is not true.
pub(crate) fn refuse_error(body: &[u8]) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Contradiction {
        error: Option<IgnoredAny>,
    }
    match json::from_slice(body) {
        Ok(Contradiction { error: Some(_) }) => Err(Fault::Refused(
            "its answer reports an error beside a success",
        )),
        Ok(Contradiction { error: None }) => Ok(()),
        Err(_) => Err(Fault::Refused("its answer is malformed")),
    }
}

fn check_type(token_type: &str) -> Result<(), Fault> {
    if token_type.eq_ignore_ascii_case("Bearer") {
        Ok(())
    } else {
        Err(Fault::Refused("its token response is of another type"))
    }
}

/// RFC 6749 §5.2. Its description may hold anything and goes nowhere (D8).
pub(crate) fn refusal(body: &[u8]) -> Fault {
    Fault::Refused(match error_code(body).as_deref() {
        Some("invalid_grant") => "it does not take the code",
        Some("invalid_client" | "unauthorized_client") => "it does not take our client credentials",
        Some("invalid_request") => "it does not take our request",
        Some("invalid_scope") => "it does not take our scopes",
        _ => "it refused the request",
    })
}

fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let refusal: Refusal = json::from_slice(body).ok()?;
    Some(refusal.error)
}

#[cfg(test)]
mod tests;
