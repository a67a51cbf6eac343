//! Who the client says it is (RFC 6749 §2.3, RFC 7523 §2.2).

use super::oauth_error::OAuthError;
use super::{Params, Request, basic};
use cloakroom_domain::client::ClientCredentials;
use cloakroom_domain::client::assertion::{AssertionError, JWT_BEARER, ProvenClient};
use std::fmt;
use zeroize::Zeroizing;

/// What the client presented. Not yet judged.
pub struct Credentials {
    id: Option<String>,
    proof: Proof,
}

/// By what it wants to be believed.
enum Proof {
    Nothing,
    Secret(Zeroizing<String>),
    Assertion(Zeroizing<String>),
    Proven(ProvenClient),
}

impl Credentials {
    /// Reads header and body. Two methods in one request are refused: which of them
    /// counts would be a guess (D54).
    ///
    /// # Errors
    ///
    /// `invalid_request` when it is ambiguous, `invalid_client` when nobody is named.
    pub fn read(request: &Request, form: &Params) -> Result<Self, OAuthError> {
        let header = request.header("authorization")?;
        let basic = basic::parse(header)?;
        let (id, secret) = (form.get("client_id"), form.get("client_secret"));
        if let Some(assertion) = assertion(form)? {
            if header.is_some() || secret.is_some() {
                return Err(SENT_TWICE);
            }
            return Ok(Self {
                id: id.map(str::to_owned),
                proof: Proof::Assertion(Zeroizing::new(assertion.to_owned())),
            });
        }
        match (basic, id, secret) {
            (Some(_), _, Some(_)) => Err(SENT_TWICE),
            (Some(basic), id, None) if id.is_none_or(|id| id == basic.client_id) => Ok(Self {
                id: Some(basic.client_id),
                proof: Proof::Secret(basic.secret),
            }),
            (Some(_), Some(_), None) => Err(OAuthError::InvalidRequest(
                "client_id differs from the one in the header",
            )),
            // Some other scheme: it may not be ignored.
            (None, _, _) if header.is_some() => Err(OAuthError::InvalidClient),
            (None, Some(id), secret) => Ok(Self {
                id: Some(id.to_owned()),
                proof: secret.map_or(Proof::Nothing, |secret| {
                    Proof::Secret(Zeroizing::new(secret.to_owned()))
                }),
            }),
            (Some(_) | None, None, _) => Err(OAuthError::InvalidClient),
        }
    }

    /// The assertion that is to be judged, if there is one, and the client that is
    /// named beside it.
    pub fn assertion(&self) -> Option<(Option<&str>, &str)> {
        match &self.proof {
            Proof::Assertion(jwt) => Some((self.id.as_deref(), jwt)),
            Proof::Nothing | Proof::Secret(_) | Proof::Proven(_) => None,
        }
    }

    /// The same, after the assertion was found good.
    #[must_use]
    pub fn proven_by(self, client: ProvenClient) -> Self {
        Self {
            proof: Proof::Proven(client),
            ..self
        }
    }

    /// As the rules take it. An assertion that was not judged proves nothing.
    pub fn as_claimed(&self) -> ClientCredentials<'_> {
        let id = self.id.as_deref().unwrap_or_default();
        match &self.proof {
            Proof::Nothing => ClientCredentials::Public { id },
            Proof::Secret(secret) => ClientCredentials::Secret { id, secret },
            Proof::Assertion(_) => ClientCredentials::Unproven,
            Proof::Proven(client) => ClientCredentials::Assertion(client),
        }
    }
}

const SENT_TWICE: OAuthError = OAuthError::InvalidRequest("client authentication was sent twice");

/// RFC 7521 §4.2.
fn assertion(form: &Params) -> Result<Option<&str>, OAuthError> {
    match (
        form.get("client_assertion_type"),
        form.get("client_assertion"),
    ) {
        (None, None) => Ok(None),
        (Some(JWT_BEARER), Some(assertion)) => Ok(Some(assertion)),
        (Some(_), Some(_)) => Err(OAuthError::InvalidClient),
        (None, Some(_)) | (Some(_), None) => Err(OAuthError::InvalidRequest(
            "client_assertion and client_assertion_type belong together",
        )),
    }
}

impl From<AssertionError> for OAuthError {
    fn from(error: AssertionError) -> Self {
        match error {
            // Which of the faults it was is nobody's business but the log's (D46).
            AssertionError::Refused(_) | AssertionError::Replayed => Self::InvalidClient,
            AssertionError::Unavailable(_) => Self::TemporarilyUnavailable,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}
