//! Who the client says it is (RFC 6749 §2.3.1).

use cloakroom_domain::client::ClientCredentials;
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Params, Request, basic};
use zeroize::Zeroizing;

/// What the client presented. Not yet judged.
pub(crate) struct Credentials {
    id: String,
    secret: Option<Zeroizing<String>>,
}

impl Credentials {
    /// Reads header and body. Two methods in one request are refused: which of them
    /// counts would be a guess (D54).
    pub(crate) fn read(request: &Request, form: &Params) -> Result<Self, OAuthError> {
        let header = request.header("authorization")?;
        let basic = basic::parse(header)?;
        let (id, secret) = (form.get("client_id"), form.get("client_secret"));
        match (basic, id, secret) {
            (Some(_), _, Some(_)) => Err(OAuthError::InvalidRequest(
                "client authentication was sent twice",
            )),
            (Some(basic), id, None) if id.is_none_or(|id| id == basic.client_id) => Ok(Self {
                id: basic.client_id,
                secret: Some(basic.secret),
            }),
            (Some(_), Some(_), None) => Err(OAuthError::InvalidRequest(
                "client_id differs from the one in the header",
            )),
            // Some other scheme: it may not be ignored.
            (None, _, _) if header.is_some() => Err(OAuthError::InvalidClient),
            (None, Some(id), secret) => Ok(Self {
                id: id.to_owned(),
                secret: secret.map(|secret| Zeroizing::new(secret.to_owned())),
            }),
            (Some(_) | None, None, _) => Err(OAuthError::InvalidClient),
        }
    }

    pub(crate) fn as_claimed(&self) -> ClientCredentials<'_> {
        match &self.secret {
            Some(secret) => ClientCredentials::Secret {
                id: &self.id,
                secret,
            },
            None => ClientCredentials::Public { id: &self.id },
        }
    }
}
