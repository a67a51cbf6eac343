//! What a client asks of the token endpoint, read from its form.

use cloakroom_domain::family::FamilyId;
use cloakroom_domain::issue::TokenRequest;
use cloakroom_domain::issue::exchange::{ExchangeRequest, GRANT_TYPE, TokenType};
use cloakroom_gateway::http::Params;
use cloakroom_gateway::http::oauth_error::OAuthError;

/// A token request in order.
pub(crate) enum Asked<'a> {
    /// One of RFC 6749.
    Token(TokenRequest<'a>),
    /// RFC 8693.
    Exchange(ExchangeRequest<'a>),
}

impl<'a> Asked<'a> {
    pub(crate) fn read(form: &'a Params) -> Result<Self, OAuthError> {
        let request = match need(form, "grant_type", "grant_type is missing")? {
            GRANT_TYPE => return exchange(form).map(Self::Exchange),
            "client_credentials" => TokenRequest::ClientCredentials {
                scope: form.get("scope"),
            },
            "authorization_code" => TokenRequest::AuthorizationCode {
                code: need(form, "code", "code is missing")?,
                redirect_uri: need(form, "redirect_uri", "redirect_uri is missing")?,
                code_verifier: need(form, "code_verifier", "code_verifier is missing")?,
            },
            "refresh_token" => TokenRequest::RefreshToken {
                token: need(form, "refresh_token", "refresh_token is missing")?,
                scope: form.get("scope"),
            },
            _ => return Err(OAuthError::UnsupportedGrantType),
        };
        Ok(Self::Token(request))
    }

    /// The family that its code or token claims, for logs.
    pub(crate) fn family(&self) -> Option<FamilyId> {
        match self {
            Self::Token(request) => request.family(),
            Self::Exchange(request) => request.family(),
        }
    }

    /// For logs.
    pub(crate) fn grant_name(&self) -> &'static str {
        match self {
            Self::Token(TokenRequest::ClientCredentials { .. }) => "client_credentials",
            Self::Token(TokenRequest::AuthorizationCode { .. }) => "authorization_code",
            Self::Token(TokenRequest::RefreshToken { .. }) => "refresh_token",
            Self::Exchange(_) => "token_exchange",
        }
    }

    /// What an exchange must say that it gives (RFC 8693 §2.2.1).
    pub(crate) fn issued_token_type(&self) -> Option<&'static str> {
        match self {
            Self::Token(_) => None,
            Self::Exchange(_) => Some(TokenType::ISSUED),
        }
    }
}

fn exchange(form: &Params) -> Result<ExchangeRequest<'_>, OAuthError> {
    let subject_token = need(form, "subject_token", "subject_token is missing")?;
    let subject_token_type = need(form, "subject_token_type", "subject_token_type is missing")?;
    let subject_token_type = TokenType::parse(subject_token_type).ok_or(
        OAuthError::InvalidRequest("subject_token_type is not supported"),
    )?;
    if form
        .get("requested_token_type")
        .is_some_and(|wanted| wanted != TokenType::ISSUED)
    {
        return Err(OAuthError::InvalidRequest(
            "requested_token_type is not supported",
        ));
    }
    Ok(ExchangeRequest {
        subject_token,
        subject_token_type,
        actor_token: actor_token(form)?,
        scope: form.get("scope"),
    })
}

/// The type is required with an actor token, and forbidden without (RFC 8693 §2.1).
fn actor_token(form: &Params) -> Result<Option<&str>, OAuthError> {
    match (form.get("actor_token"), form.get("actor_token_type")) {
        (None, None) => Ok(None),
        (Some(token), Some(TokenType::ISSUED)) => Ok(Some(token)),
        (Some(_), Some(_)) => Err(OAuthError::InvalidRequest(
            "actor_token_type is not supported",
        )),
        (Some(_), None) | (None, Some(_)) => Err(OAuthError::InvalidRequest(
            "actor_token and actor_token_type belong together",
        )),
    }
}

fn need<'a>(form: &'a Params, name: &str, fault: &'static str) -> Result<&'a str, OAuthError> {
    form.get(name).ok_or(OAuthError::InvalidRequest(fault))
}
