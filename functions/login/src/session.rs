//! `GET /auth/session`, `POST /auth/ws-ticket` and `POST /auth/logout`: what the page
//! itself calls.

use crate::Handler;
use cloakroom_domain::login::{Freshness, SessionError, TICKET_LIFE};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
};
use cloakroom_gateway::authorizer::SUBPROTOCOL;
use cloakroom_gateway::cookies::{self, SetCookie};
use cloakroom_gateway::csrf;
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Request, Response, StatusCode, header};
use cloakroom_gateway::telemetry::Metric;
use serde::Serialize;

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
}

#[derive(Serialize)]
struct LogoutBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_url: Option<String>,
}

#[derive(Serialize)]
struct TicketBody<'a> {
    ticket: &'a str,
    expires_in: u64,
    /// What the page must offer beside the ticket.
    subprotocol: &'static str,
}

/// Why a cookie is not looked at.
#[derive(Clone, Copy)]
enum Refused {
    /// Two of them, or another credential beside it.
    Ambiguous,
    /// Perhaps from a foreign page.
    Csrf,
}

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// `GET /auth/session`
    pub(crate) async fn session(&self, request: &Request) -> Response {
        let cookie = match self.cookie(request) {
            Ok(Some(cookie)) => cookie,
            Ok(None) => {
                self.line(request, "session", "no_cookie").emit();
                return no_session();
            }
            Err(refused) => return self.refuse(request, refused),
        };
        let Ok(query) = request.query() else {
            self.line(request, "session", "refused").emit();
            return OAuthError::InvalidRequest("malformed query").to_response();
        };
        let slide = query.get("slide") != Some("false");
        match self.service.session(cookie, slide).await {
            Ok(view) => {
                let mut line = self
                    .line(request, "session", "shown")
                    .id("subject", &view.subject_tag)
                    .word("claims", view.freshness.name());
                if let Freshness::Failed(why) = view.freshness {
                    line = line.word("reason", why);
                }
                line.emit();
                Response::json(StatusCode::OK, &view)
            }
            Err(error) => self.session_failed(request, error),
        }
    }

    /// `POST /auth/ws-ticket`
    pub(crate) async fn ticket(&self, request: &Request) -> Response {
        let cookie = match self.cookie(request) {
            Ok(Some(cookie)) => cookie,
            Ok(None) => {
                self.line(request, "session", "no_cookie").emit();
                return no_session();
            }
            Err(refused) => return self.refuse(request, refused),
        };
        match self.service.ticket(cookie).await {
            Ok(ticket) => {
                self.line(request, "session", "ticket")
                    .id("subject", &ticket.subject_tag)
                    .emit();
                let body = TicketBody {
                    ticket: ticket.token.expose(),
                    expires_in: ticket.expires_in,
                    subprotocol: SUBPROTOCOL,
                };
                Response::json(StatusCode::OK, &body)
            }
            Err(error) => self.session_failed(request, error),
        }
    }

    /// `POST /auth/logout`
    pub(crate) async fn logout(&self, request: &Request) -> Response {
        // With or without a cookie: another site must not even clear it.
        let judged = self.rule_out_csrf(request);
        let cookie = match judged.and_then(|()| self.cookie(request)) {
            Ok(cookie) => cookie,
            Err(refused) => return self.refuse(request, refused),
        };
        let ended = match cookie {
            Some(cookie) => self.service.log_out(cookie).await,
            None => Ok(cloakroom_domain::login::LoggedOut::default()),
        };
        match ended {
            Ok(ended) => {
                let mut line = self.line(request, "session", "logged_out");
                if let Some(tag) = &ended.subject_tag {
                    line = line.id("subject", tag);
                }
                if let Some(why) = ended.not_revoked {
                    line = line.word("not_revoked", why);
                }
                line.emit();
                let body = LogoutBody {
                    logout_url: ended.logout_url,
                };
                Response::json(StatusCode::OK, &body)
                    .cookie(&SetCookie::clear_session())
                    .header(
                        header::HeaderName::from_static("clear-site-data"),
                        "\"cache\", \"storage\"",
                    )
            }
            // The cookie stays, so that signing out can be tried again.
            Err(error) => self.session_failed(request, error),
        }
    }

    /// The session cookie, once it is sure that a page of ours sends it (D20), and
    /// that nothing else is presented beside it (D16, D19).
    fn cookie<'a>(&self, request: &'a Request) -> Result<Option<&'a str>, Refused> {
        let cookie = request
            .cookie(cookies::SESSION)
            .map_err(|_| Refused::Ambiguous)?;
        if cookie.is_some() {
            if request.headers().contains("authorization") {
                return Err(Refused::Ambiguous);
            }
            self.rule_out_csrf(request)?;
        }
        Ok(cookie)
    }

    fn rule_out_csrf(&self, request: &Request) -> Result<(), Refused> {
        csrf::judge(request.headers(), &self.config.issuer).map_err(|_| Refused::Csrf)
    }

    fn refuse(&self, request: &Request, refused: Refused) -> Response {
        match refused {
            Refused::Ambiguous => {
                self.line(request, "session", "ambiguous").emit();
                no_session()
            }
            Refused::Csrf => {
                self.line(request, "session", "csrf")
                    .count(Metric::CsrfRefusals, 1)
                    .emit();
                let body = ErrorBody {
                    error: "csrf",
                    error_description: "the header X-CSRF: 1 is needed, and requests must come from our own pages",
                };
                Response::json(StatusCode::FORBIDDEN, &body)
            }
        }
    }

    fn session_failed(&self, request: &Request, error: SessionError) -> Response {
        let mut line = self.line(request, "session", error.name());
        if let SessionError::Unavailable(why) = error {
            line = line.because(why);
        }
        if error == SessionError::Broken {
            line = line.count(Metric::SealsBroken, 1);
        }
        line.emit();
        match error {
            SessionError::NoSession | SessionError::Broken => no_session(),
            SessionError::TooManyTickets => Response::json(
                StatusCode::TOO_MANY_REQUESTS,
                &ErrorBody {
                    error: "too_many_tickets",
                    error_description: "this session has as many tickets as it may have at a time",
                },
            )
            // By then at the latest there is room.
            .header(header::RETRY_AFTER, &TICKET_LIFE.to_string()),
            SessionError::Unavailable(_) => OAuthError::TemporarilyUnavailable.to_response(),
        }
    }
}

fn no_session() -> Response {
    Response::json(
        StatusCode::UNAUTHORIZED,
        &ErrorBody {
            error: "no_session",
            error_description: "sign in at /auth/login",
        },
    )
    // Of every 401 (RFC 9110 §15.5.2). No scheme is registered for cookies; this is the
    // name that drafts have given it, and no browser asks for a password because of it.
    .header(header::WWW_AUTHENTICATE, "Cookie realm=\"cloakroom\"")
}
