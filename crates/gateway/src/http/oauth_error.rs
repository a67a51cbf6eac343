//! The errors of the OAuth endpoints: a table, and nothing from outside in it.

use super::{BadRequest, Response, StatusCode, header};
use cloakroom_domain::dpop::{ProofError, ProofFault};
use serde::Serialize;

/// What a client may learn (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9126 §2.3, RFC 9449 §5).
/// There is no `unsupported_token_type` (RFC 7009 §2.2.1): what of ours a client can
/// hold can be revoked, and anything else is unknown. What is answered to a redirect
/// URI is `AnswerError`'s.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.code())]
pub enum OAuthError {
    /// The form of the request is wrong; the text is our own.
    InvalidRequest(&'static str),
    /// The client is not who it says, or did not say.
    InvalidClient,
    /// A code or a refresh token is no good. Which of all reasons is not said.
    InvalidGrant,
    /// This client may not do this.
    UnauthorizedClient,
    /// There is no such grant.
    UnsupportedGrantType,
    /// There is no such response type.
    UnsupportedResponseType,
    /// A scope is unknown, malformed, or more than is allowed.
    InvalidScope,
    /// A `resource` or `audience` is unknown, or not for this client.
    InvalidTarget,
    /// There is no proof of possession, or it is no good (RFC 9449 §5).
    InvalidDpopProof(ProofFault),
    /// The proof has no nonce of ours; the answer brings one (RFC 9449 §8).
    UseDpopNonce,
    /// There are too many live tokens of this login.
    TooManyTokens,
    /// Too many client authentications failed; try again after these seconds.
    TooManyAttempts(u64),
    /// The store or the signer could not answer. Try again.
    TemporarilyUnavailable,
    /// A fault of ours.
    ServerError,
}

impl OAuthError {
    /// The error code.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidDpopProof(_) => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::TooManyTokens | Self::TooManyAttempts(_) | Self::TemporarilyUnavailable => {
                "temporarily_unavailable"
            }
            Self::ServerError => "server_error",
        }
    }

    /// What else may be said.
    pub fn description(self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest(which) => Some(which),
            Self::InvalidDpopProof(fault) => Some(fault.text()),
            Self::UseDpopNonce => {
                Some("the DPoP proof must have the nonce of the DPoP-Nonce header")
            }
            Self::TooManyTokens => Some("too many live tokens of this login"),
            Self::TooManyAttempts(_) => Some("too many failed client authentications"),
            Self::InvalidClient
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::TemporarilyUnavailable
            | Self::ServerError => None,
        }
    }

    /// The status at an endpoint that answers the client itself.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidDpopProof(_)
            | Self::UseDpopNonce => StatusCode::BAD_REQUEST,
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::TooManyTokens | Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer to the client itself.
    pub fn to_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_description: Option<&'static str>,
        }
        let body = Body {
            error: self.code(),
            error_description: self.description(),
        };
        let response = Response::json(self.status(), &body);
        match self {
            // Demanded when the client used the header (RFC 6749 §5.2), and of every
            // 401 (RFC 9110 §15.5.2).
            Self::InvalidClient => response.header(
                header::WWW_AUTHENTICATE,
                "Basic realm=\"cloakroom\", charset=\"UTF-8\"",
            ),
            Self::TemporarilyUnavailable => response.header(header::RETRY_AFTER, "1"),
            Self::TooManyTokens => response.header(header::RETRY_AFTER, "60"),
            Self::TooManyAttempts(seconds) => {
                response.header(header::RETRY_AFTER, &seconds.to_string())
            }
            _ => response,
        }
    }
}

impl From<ProofError> for OAuthError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Invalid(fault) => Self::InvalidDpopProof(fault),
            ProofError::Nonce => Self::UseDpopNonce,
            ProofError::Unavailable => Self::TemporarilyUnavailable,
        }
    }
}

impl From<BadRequest> for OAuthError {
    fn from(BadRequest(which): BadRequest) -> Self {
        Self::InvalidRequest(which)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_code_and_status() {
        for (error, code, status) in [
            (OAuthError::InvalidRequest("x"), "invalid_request", 400),
            (OAuthError::InvalidClient, "invalid_client", 401),
            (OAuthError::InvalidGrant, "invalid_grant", 400),
            (OAuthError::UnauthorizedClient, "unauthorized_client", 400),
            (
                OAuthError::UnsupportedGrantType,
                "unsupported_grant_type",
                400,
            ),
            (
                OAuthError::UnsupportedResponseType,
                "unsupported_response_type",
                400,
            ),
            (OAuthError::InvalidScope, "invalid_scope", 400),
            (OAuthError::InvalidTarget, "invalid_target", 400),
            (
                OAuthError::InvalidDpopProof(ProofFault::Signature),
                "invalid_dpop_proof",
                400,
            ),
            (OAuthError::UseDpopNonce, "use_dpop_nonce", 400),
            (OAuthError::TooManyTokens, "temporarily_unavailable", 429),
            (
                OAuthError::TooManyAttempts(7),
                "temporarily_unavailable",
                429,
            ),
            (
                OAuthError::TemporarilyUnavailable,
                "temporarily_unavailable",
                503,
            ),
            (OAuthError::ServerError, "server_error", 500),
        ] {
            assert_eq!((error.code(), error.status().as_u16()), (code, status));
            assert_eq!(error.to_response().status(), error.status());
        }
    }

    #[test]
    fn the_body_and_the_headers_are_those_of_rfc_6749() {
        let (_, headers, body) = OAuthError::InvalidClient.to_response().into_parts();
        assert_eq!(body, r#"{"error":"invalid_client"}"#);
        assert_eq!(
            headers["www-authenticate"],
            "Basic realm=\"cloakroom\", charset=\"UTF-8\""
        );
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["pragma"], "no-cache");
        assert_eq!(headers["content-type"], "application/json");

        let (_, headers, body) = OAuthError::from(BadRequest("our words"))
            .to_response()
            .into_parts();
        assert_eq!(
            body,
            r#"{"error":"invalid_request","error_description":"our words"}"#
        );
        assert!(!headers.contains_key("www-authenticate"));

        let (_, headers, _) = OAuthError::TemporarilyUnavailable
            .to_response()
            .into_parts();
        assert_eq!(headers["retry-after"], "1");

        let (_, headers, body) = OAuthError::TooManyAttempts(59).to_response().into_parts();
        assert_eq!(headers["retry-after"], "59");
        assert!(!headers.contains_key("www-authenticate"));
        assert_eq!(
            body,
            r#"{"error":"temporarily_unavailable","error_description":"too many failed client authentications"}"#
        );
    }
}
