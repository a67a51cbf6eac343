//! Sign-in, session and sign-out behind routes: `/auth/*`, `/oauth/authorize` and
//! `/oauth/par`.
//! Composed in `main.rs`.

mod authorize;
mod backchannel;
mod browser;
mod page;
mod par;
mod session;

use cloakroom_domain::config::Config;
use cloakroom_domain::login::{LoginError, LoginService};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, SubjectIndex, UpdateFamily,
    UseOnce, VerifyAssertion, VerifyLogoutToken, World,
};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_gateway::http::{Method, Request, Response, StatusCode, serve};
use cloakroom_gateway::telemetry::{Decision, Meter, Metered, Metric};
use std::sync::Arc;

/// The function.
#[derive(Debug)]
pub struct Handler<S, R, P> {
    config: Arc<Config>,
    service: LoginService<Metered<S>, Metered<R>, Metered<P>>,
    meter: Meter,
}

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch + SubjectIndex,
    R: Roots,
    P: IdentityProviders + VerifyAssertion + VerifyLogoutToken,
{
    /// Puts the function together from its ports.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        roots: R,
        providers: P,
        world: World,
    ) -> Self {
        let meter = Meter::default();
        let store = Metered::new(store, meter.clone());
        let roots = Metered::new(roots, meter.clone());
        let providers = Metered::new(providers, meter.clone());
        let service = LoginService::new(
            Arc::clone(&config),
            not_before,
            store,
            roots,
            providers,
            world,
        );
        Self {
            config,
            service,
            meter,
        }
    }

    /// Answers one event.
    ///
    /// # Errors
    ///
    /// Never: every fault is an HTTP answer.
    pub async fn handle(&self, event: &[u8]) -> Result<Vec<u8>, FunctionFailure> {
        // On the heap: the state of all nested calls is large.
        Ok(serve("login", event, |request| Box::pin(self.route(request))).await)
    }

    async fn route(&self, request: Request) -> Response {
        // One answer per path, and the methods that it takes. HEAD is none of them:
        // link checkers must not start logins (D13).
        let callback = callback_of(request.path());
        let allow = match request.path() {
            _ if callback.is_some() => "GET",
            "/auth/login" | "/auth/session" => "GET",
            "/auth/logout" | "/auth/ws-ticket" | "/auth/backchannel-logout" | "/oauth/par" => {
                "POST"
            }
            "/oauth/authorize" => "GET, POST",
            _ => {
                self.refused(&request, "no_such_path");
                return Response::empty(StatusCode::NOT_FOUND);
            }
        };
        if let (Some(at), &Method::GET) = (callback, request.method()) {
            let at = Some(at).filter(|at| !at.is_empty());
            return self.callback(&request, at).await;
        }
        match (request.path(), request.method()) {
            ("/auth/login", &Method::GET) => self.login(&request).await,
            ("/auth/session", &Method::GET) => self.session(&request).await,
            ("/auth/logout", &Method::POST) => self.logout(&request).await,
            ("/auth/ws-ticket", &Method::POST) => self.ticket(&request).await,
            ("/auth/backchannel-logout", &Method::POST) => self.backchannel(&request).await,
            ("/oauth/authorize", &Method::GET) => self.authorize(&request).await,
            ("/oauth/authorize", &Method::POST) => self.confirm(&request).await,
            ("/oauth/par", &Method::POST) => self.push(&request).await,
            _ => {
                self.refused(&request, "method");
                Response::method_not_allowed(allow)
            }
        }
    }
}

/// Whose answers come to this path, if any do: those of the provider whose own address
/// it is, or, with an empty id, of all the others.
fn callback_of(path: &str) -> Option<&str> {
    match path.strip_prefix("/auth/callback")? {
        "" => Some(""),
        rest => rest.strip_prefix('/').filter(|id| !id.is_empty()),
    }
}

impl<S, R, P> Handler<S, R, P> {
    /// The start of a log line.
    fn line(&self, request: &Request, function: &'static str, outcome: &'static str) -> Decision {
        Decision::new(function, outcome)
            .id("request_id", request.request_id())
            .calls(&self.meter.take())
    }

    /// A request that is for no endpoint.
    fn refused(&self, request: &Request, why: &'static str) {
        self.line(request, "login", "refused")
            .word("reason", why)
            .emit();
    }

    /// A login that did not work, for the log and for the person, who may try again to get
    /// to `return_to`, a path of ours.
    fn login_failed(&self, request: &Request, error: LoginError, return_to: &str) -> Response {
        let mut line = self.line(request, "login", error.name());
        match error {
            LoginError::Refused(why) => line = line.word("reason", why),
            LoginError::Unavailable(why) => line = line.because(why),
            LoginError::Replayed => line = line.count(Metric::Replay, 1),
            LoginError::UnknownProvider
            | LoginError::ChoiceNeeded
            | LoginError::NotPending
            | LoginError::Denied
            | LoginError::SignedOut => {}
        }
        line.emit();
        page::login_failed(request, error, return_to)
    }
}
