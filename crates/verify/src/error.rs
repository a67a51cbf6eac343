//! Refusals: rich for the log, and one of three answers on the wire (RFC 6750 §3).

use http::{HeaderValue, StatusCode};

use crate::cache::KeysUnavailable;
use crate::jws::JwsError;

/// Why a request may not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No token at all.
    #[error("there is no token")]
    Missing,
    /// A header that holds no token, or several of them.
    #[error("the credentials are malformed")]
    MalformedCredentials,
    /// A token that is not good.
    #[error("the token is not valid")]
    Invalid(#[from] JwsError),
    /// A good token of somebody without the role.
    #[error("a required role is missing")]
    MissingRole,
    /// A good token without the scope, which is named here.
    #[error("a required scope is missing")]
    MissingScope(String),
    /// The keys are not to be had, so nobody can tell.
    #[error("the token cannot be verified at present")]
    Unavailable(#[from] KeysUnavailable),
}

impl VerifyError {
    /// 401, 403, or 503: not knowing is not "invalid".
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::MalformedCredentials | Self::Invalid(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::MissingRole | Self::MissingScope(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error code on the wire; none for a request that brought no token (RFC 6750 §3.1).
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::MalformedCredentials | Self::Invalid(_) => Some("invalid_token"),
            Self::MissingRole | Self::MissingScope(_) => Some("insufficient_scope"),
            Self::Unavailable(_) => Some("temporarily_unavailable"),
        }
    }

    /// The `WWW-Authenticate` header; none for 503.
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Self::Missing => HeaderValue::from_static("Bearer"),
            Self::MalformedCredentials | Self::Invalid(_) => {
                HeaderValue::from_static(r#"Bearer error="invalid_token""#)
            }
            Self::MissingScope(scope) if is_scope(scope) => {
                let text = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
                HeaderValue::try_from(text).ok()?
            }
            Self::MissingRole | Self::MissingScope(_) => {
                HeaderValue::from_static(r#"Bearer error="insufficient_scope""#)
            }
            Self::Unavailable(_) => return None,
        };
        Some(challenge)
    }
}

/// RFC 6749 §3.3: nothing that could end a quoted string or a header.
fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_answer_as_rfc_6750_says() {
        use VerifyError as E;
        let cases = [
            (E::Missing, 401, Some("Bearer")),
            (
                E::MalformedCredentials,
                401,
                Some(r#"Bearer error="invalid_token""#),
            ),
            (
                E::Invalid(JwsError::Expired),
                401,
                Some(r#"Bearer error="invalid_token""#),
            ),
            (
                E::MissingRole,
                403,
                Some(r#"Bearer error="insufficient_scope""#),
            ),
            (
                E::MissingScope("orders:read".to_owned()),
                403,
                Some(r#"Bearer error="insufficient_scope", scope="orders:read""#),
            ),
            (
                E::MissingScope("a\"\r\nx: y".to_owned()),
                403,
                Some(r#"Bearer error="insufficient_scope""#),
            ),
            (E::Unavailable(KeysUnavailable::default()), 503, None),
        ];
        for (error, status, challenge) in cases {
            let got = error.www_authenticate();
            assert_eq!(error.status(), status, "{error}");
            assert_eq!(
                got.as_ref().map(|value| value.to_str().unwrap()),
                challenge,
                "{error}"
            );
        }
    }
}
