//! `/oauth/authorize`: native clients, and the user's word about them.

use crate::{Handler, page};
use cloakroom_domain::login::{AuthorizationParams, AuthorizeError, Decision, cookie_suffix};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
};
use cloakroom_gateway::cookies::{self, SetCookie};
use cloakroom_gateway::csrf;
use cloakroom_gateway::http::{Request, Response};

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// `GET /oauth/authorize`
    pub(crate) async fn authorize(&self, request: &Request) -> Response {
        let Ok(query) = request.query() else {
            self.line(request, "authorize", "refused").emit();
            return page::shown(request, "The request is malformed.");
        };
        let started = self
            .service
            .authorize(&AuthorizationParams {
                client_id: query.get("client_id"),
                redirect_uri: query.get("redirect_uri"),
                response_type: query.get("response_type"),
                response_mode: query.get("response_mode"),
                scope: query.get("scope"),
                state: query.get("state"),
                code_challenge: query.get("code_challenge"),
                code_challenge_method: query.get("code_challenge_method"),
                prompt: query.get("prompt"),
                idp: query.get("idp"),
            })
            .await;
        match started {
            Ok(started) => self.to_provider(request, &started),
            Err(AuthorizeError::Shown(why)) => {
                self.line(request, "authorize", "refused").emit();
                page::shown(request, why)
            }
            Err(AuthorizeError::Answered(answer)) => {
                self.line(request, "authorize", "answered_with_error")
                    .emit();
                Response::see_other(&answer.location)
            }
            Err(AuthorizeError::Login(error)) => self.login_failed(request, error),
        }
    }

    /// `POST /oauth/authorize`: the confirmation form.
    pub(crate) async fn confirm(&self, request: &Request) -> Response {
        let origins = &self.config.allowed_origins;
        if csrf::origin(request.headers(), &self.config.issuer, origins).is_err() {
            self.line(request, "authorize", "csrf").emit();
            return page::shown(request, "This form was sent from another site.");
        }
        let Ok(form) = request.form() else {
            return page::shown(request, "The form is malformed.");
        };
        let decision = match form.get("decision") {
            Some("allow") => Decision::Allow,
            Some("deny") => Decision::Deny,
            _ => return page::shown(request, "The form lacks a decision."),
        };
        let names: Vec<_> = cookies::pending_logins(request.headers())
            .into_iter()
            .map(cookies::login_name)
            .collect();
        let values: Vec<_> = names
            .iter()
            .filter_map(|name| request.cookie(name).ok().flatten())
            .collect();
        let ticket = form.get("ticket").unwrap_or_default();
        match self.service.confirm(ticket, &values, decision).await {
            Ok((answer, state)) => {
                self.line(request, "authorize", "confirmed").emit();
                let response = Response::see_other(&answer.location);
                match cookie_suffix(&state).map(SetCookie::clear_login) {
                    Some(Ok(cleared)) => response.cookie(&cleared),
                    _ => response,
                }
            }
            Err(error) => self.login_failed(request, error),
        }
    }
}
