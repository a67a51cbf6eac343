//! `POST /oauth/par`: pushed authorization requests (RFC 9126).

use crate::Handler;
use crate::authorize::authorization_params;
use cloakroom_domain::client::assertion::AssertionError;
use cloakroom_domain::login::{AnswerError, PushError};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
    VerifyAssertion,
};
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Credentials, Request, Response, StatusCode};
use cloakroom_gateway::telemetry::Metric;
use serde::Serialize;

/// RFC 9126 §2.2.
#[derive(Serialize)]
struct PushedBody<'a> {
    request_uri: &'a str,
    expires_in: u64,
}

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders + VerifyAssertion,
{
    /// `POST /oauth/par`
    pub(crate) async fn push(&self, request: &Request) -> Response {
        let answer = self.pushed(request).await;
        let answer = answer.unwrap_or_else(OAuthError::to_response);
        if !request.headers().contains("dpop") {
            return answer;
        }
        match self.service.fresh_nonce().await {
            Some(nonce) => answer.dpop_nonce(&nonce),
            None => answer,
        }
    }

    async fn pushed(&self, request: &Request) -> Result<Response, OAuthError> {
        let refused = |error: OAuthError| {
            let why = match error {
                OAuthError::TooManyAttempts(_) => "client_limited",
                _ => error.code(),
            };
            self.line(request, "par", "refused")
                .word("reason", why)
                .emit();
            error
        };
        // Before the client's assertion is used up: a client that is told to use a nonce
        // tries again.
        let proof = match request.proof() {
            Ok(None) => None,
            Ok(Some(proof)) => {
                let judged = self.service.judge_proof(proof).await;
                Some(judged.map_err(|error| refused(error.into()))?)
            }
            Err(fault) => return Err(refused(OAuthError::InvalidDpopProof(fault))),
        };
        request
            .refuse_query()
            .map_err(OAuthError::from)
            .map_err(refused)?;
        let form = request.form().map_err(OAuthError::from).map_err(refused)?;
        let mut credentials = Credentials::read(request, &form).map_err(refused)?;
        if let Some((id, jwt)) = credentials.assertion() {
            let proven = self.service.prove(id, jwt).await;
            let proven = proven.map_err(|error| match error {
                AssertionError::Refused(_) => refused(error.into()),
                AssertionError::Replayed => {
                    self.line(request, "par", "refused")
                        .word("reason", AssertionError::REPLAYED)
                        .count(Metric::Replay, 1)
                        .emit();
                    error.into()
                }
                AssertionError::Unavailable(why) => {
                    self.line(request, "par", "unavailable")
                        .word("reason", why)
                        .emit();
                    error.into()
                }
            })?;
            credentials = credentials.proven_by(proven);
        }
        let params = authorization_params(&form);
        let (client, proof) = (credentials.as_claimed(), proof.as_ref());
        match self.service.push(&client, &params, proof).await {
            Ok(pushed) => {
                self.line(request, "par", "pushed").emit();
                let body = PushedBody {
                    request_uri: &pushed.request_uri,
                    expires_in: pushed.expires_in,
                };
                Ok(Response::json(StatusCode::CREATED, &body))
            }
            Err(PushError::Unavailable(why)) => {
                self.line(request, "par", "unavailable").because(why).emit();
                Err(OAuthError::TemporarilyUnavailable)
            }
            Err(error) => Err(refused(to_oauth(error))),
        }
    }
}

fn to_oauth(error: PushError) -> OAuthError {
    match error {
        PushError::InvalidClient => OAuthError::InvalidClient,
        PushError::ClientLimited(seconds) => OAuthError::TooManyAttempts(seconds),
        PushError::UnauthorizedClient => OAuthError::UnauthorizedClient,
        PushError::Malformed(why) => OAuthError::InvalidRequest(why),
        PushError::Unavailable(_) => OAuthError::TemporarilyUnavailable,
        PushError::Refused(AnswerError::UnsupportedResponseType) => {
            OAuthError::UnsupportedResponseType
        }
        PushError::Refused(AnswerError::InvalidScope) => OAuthError::InvalidScope,
        PushError::Refused(AnswerError::InvalidTarget) => OAuthError::InvalidTarget,
        PushError::Refused(AnswerError::RequestNotSupported) => {
            OAuthError::InvalidRequest("request objects are not taken here")
        }
        PushError::Refused(AnswerError::InvalidRequest(which)) => OAuthError::InvalidRequest(which),
        PushError::Refused(
            AnswerError::AccessDenied
            | AnswerError::LoginRequired
            | AnswerError::ConsentRequired
            | AnswerError::InvalidRequestUri,
        ) => OAuthError::InvalidRequest("the authorization request is not in order"),
    }
}
