//! `/oauth/authorize`: who is signed in, and the user's word about a client.

use crate::browser::is_speculative;
use crate::{Handler, page};
use cloakroom_domain::login::{
    AuthorizationParams, AuthorizeError, Authorized, ConfirmingBrowser, Decision, LoginError,
    Presence, SignedIn, cookie_suffix,
};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
};
use cloakroom_gateway::cookies::{self, SetCookie};
use cloakroom_gateway::csrf::{self, Origin};
use cloakroom_gateway::http::{Params, Request, Response, with_query};
use cloakroom_gateway::telemetry::Metric;

/// Says that this request comes from our own page: there is no second one, so that
/// nobody is sent round in circles.
const SECOND_LOOK: &str = "second_look";

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// `GET /oauth/authorize`
    pub(crate) async fn authorize(&self, request: &Request) -> Response {
        if is_speculative(request) {
            self.line(request, "authorize", "not_a_navigation").emit();
            return page::not_a_navigation(request);
        }
        let Ok(query) = request.query() else {
            self.line(request, "authorize", "refused").emit();
            return page::shown(request, "The request is malformed.");
        };
        let authorized = self
            .service
            .authorize(&authorization_params(query), presence(request, query))
            .await;
        match authorized {
            Ok(Authorized::LookAgain) => {
                self.line(request, "authorize", "second_look").emit();
                page::second_look(&again("/oauth/authorize", query))
            }
            Ok(Authorized::Login(started)) => self.to_provider(request, &started),
            Ok(Authorized::SignedIn(signed_in)) => self.with_session(request, signed_in),
            Err(AuthorizeError::Shown(why)) => {
                self.line(request, "authorize", "refused").emit();
                page::shown(request, why)
            }
            Err(AuthorizeError::Answered(answer)) => {
                self.line(request, "authorize", "answered_with_error")
                    .emit();
                Response::see_other(&answer.location)
            }
            Err(AuthorizeError::Login(LoginError::ChoiceNeeded)) => {
                self.choose(request, "/oauth/authorize", query)
            }
            Err(AuthorizeError::Login(error)) => self.login_failed(request, error, "/"),
        }
    }

    /// The browser's session did.
    fn with_session(&self, request: &Request, signed_in: SignedIn) -> Response {
        match signed_in {
            SignedIn::Confirm {
                ticket,
                client,
                scope,
                user,
            } => {
                self.line(request, "authorize", "confirmation_asked").emit();
                page::confirmation(&ticket, &client, &scope, &user)
            }
            SignedIn::Answer(answer) => {
                self.line(request, "authorize", "client_answered").emit();
                Response::see_other(&answer.location)
            }
            // An authorization request starts no session of the browser's own.
            SignedIn::Browser { return_to, .. } => page::landing(&return_to),
        }
    }

    /// `POST /oauth/authorize`: the confirmation form.
    pub(crate) async fn confirm(&self, request: &Request) -> Response {
        // The form is on our own page alone, whoever else may call us from a script.
        let origin = csrf::origin(request.headers(), &self.config.issuer, &[]);
        if !matches!(origin, Ok(Origin::Own | Origin::Absent)) || is_foreign(request) {
            self.line(request, "authorize", "csrf")
                .count(Metric::CsrfRefusals, 1)
                .emit();
            return page::shown(request, "This form was sent from another site.");
        }
        let malformed = |why| {
            self.line(request, "authorize", "refused").emit();
            page::shown(request, why)
        };
        if request.refuse_query().is_err() {
            return malformed("The form is malformed.");
        }
        let Ok(form) = request.form() else {
            return malformed("The form is malformed.");
        };
        let decision = match form.get("decision") {
            Some("allow") => Decision::Allow,
            Some("deny") => Decision::Deny,
            _ => return malformed("The form lacks a decision."),
        };
        let names: Vec<_> = cookies::pending_logins(request.headers())
            .into_iter()
            .map(cookies::login_name)
            .collect();
        let values: Vec<_> = names
            .iter()
            .filter_map(|name| request.cookie(name).ok().flatten())
            .collect();
        let browser = ConfirmingBrowser {
            logins: &values,
            session: request.cookie(cookies::SESSION).ok().flatten(),
        };
        let ticket = form.get("ticket").unwrap_or_default();
        match self.service.confirm(ticket, &browser, decision).await {
            Ok(confirmed) => {
                self.line(request, "authorize", "confirmed").emit();
                let response = Response::see_other(&confirmed.answer.location);
                let suffix = confirmed.login.as_deref().and_then(cookie_suffix);
                match suffix.map(SetCookie::clear_login) {
                    Some(Ok(cleared)) => response.cookie(&cleared),
                    _ => response,
                }
            }
            Err(error) => self.login_failed(request, error, "/"),
        }
    }
}

/// The parameters, from a query or from a form.
pub(crate) fn authorization_params(params: &Params) -> AuthorizationParams<'_> {
    AuthorizationParams {
        client_id: params.get("client_id"),
        redirect_uri: params.get("redirect_uri"),
        response_type: params.get("response_type"),
        response_mode: params.get("response_mode"),
        scope: params.get("scope"),
        state: params.get("state"),
        code_challenge: params.get("code_challenge"),
        code_challenge_method: params.get("code_challenge_method"),
        prompt: params.get("prompt"),
        max_age: params.get("max_age"),
        acr_values: params.get("acr_values"),
        request: params.get("request"),
        request_uri: params.get("request_uri"),
        login_hint: params.get("login_hint"),
        idp: params.get("idp"),
        dpop_jkt: params.get("dpop_jkt"),
        resources: params.all("resource").collect(),
    }
}

/// What is known of the browser's session. Its cookie is Strict: a navigation that
/// another site began does not carry it, one of our own page does. A browser that
/// says that nobody else began this one need not be asked twice.
pub(crate) fn presence<'a>(request: &'a Request, query: &Params) -> Presence<'a> {
    match request.cookie(cookies::SESSION) {
        // With another credential beside it, or with a second one, it is not clear
        // whose request this is (D16, D19): the provider will say.
        Ok(Some(_)) if request.headers().contains("authorization") => Presence::Absent,
        Err(_) => Presence::Absent,
        Ok(Some(cookie)) => Presence::Cookie(cookie),
        Ok(None) => match request.header("sec-fetch-site") {
            Ok(Some("none" | "same-origin" | "same-site")) => Presence::Absent,
            // Our own page is not another site: the parameter is that site's doing (D4).
            Ok(Some("cross-site")) => Presence::Unseen,
            _ if query.get(SECOND_LOOK).is_some() => Presence::Absent,
            Ok(_) | Err(_) => Presence::Unseen,
        },
    }
}

/// The same request once more. The address is ours whatever the query says, so this
/// leads nowhere else (D6).
pub(crate) fn again(path: &str, query: &Params) -> String {
    let rest = query.pairs().filter(|(name, _)| *name != SECOND_LOOK);
    let pairs: Vec<_> = rest.chain([(SECOND_LOOK, "1")]).collect();
    with_query(path, &pairs)
}

/// Said by a browser that does not send `Origin` with a form.
fn is_foreign(request: &Request) -> bool {
    !matches!(
        request.header("sec-fetch-site"),
        Ok(None | Some("same-origin" | "none"))
    )
}
