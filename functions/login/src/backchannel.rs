//! `POST /auth/backchannel-logout`: a provider says that somebody has signed out there.
//!
//! No browser is involved: there is no cookie, and what is believed is the signature.

use crate::Handler;
use cloakroom_domain::login::LoginError;
use cloakroom_domain::ports::{FindFamily, Roots, SubjectIndex, UseOnce, VerifyLogoutToken};
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Request, Response, StatusCode};
use cloakroom_gateway::telemetry::Metric;

impl<S, R, P> Handler<S, R, P>
where
    S: FindFamily + SubjectIndex + UseOnce,
    R: Roots,
    P: VerifyLogoutToken,
{
    /// `POST /auth/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0 §2.5)
    pub(crate) async fn backchannel(&self, request: &Request) -> Response {
        let form = request.refuse_query().and_then(|()| request.form());
        let token = match &form {
            Ok(form) => form.get("logout_token"),
            Err(_) => None,
        };
        let Some(token) = token else {
            self.line(request, "backchannel_logout", "malformed").emit();
            return refused("logout_token is missing");
        };
        match self.service.sign_out_by_provider(token).await {
            Ok(signed_out) => {
                let mut line = self.line(request, "backchannel_logout", "signed_out");
                if signed_out.unreadable > 0 {
                    // Somebody wrote to the table.
                    line = line
                        .number("unreadable", signed_out.unreadable)
                        .count(Metric::SealsBroken, 1);
                }
                line.id("idp", &signed_out.idp)
                    .number("ended", signed_out.ended)
                    .emit();
                // §2.8: nobody is known here by that name: as good as done.
                Response::empty(StatusCode::OK)
            }
            Err(error) => {
                let mut line = self.line(request, "backchannel_logout", error.name());
                match error {
                    LoginError::Refused(why) => line = line.word("reason", why),
                    LoginError::Unavailable(why) => line = line.because(why),
                    LoginError::Replayed => line = line.count(Metric::Replay, 1),
                    _ => {}
                }
                line.emit();
                match error {
                    LoginError::Unavailable(_) => OAuthError::TemporarilyUnavailable.to_response(),
                    _ => refused("the logout token is not acceptable"),
                }
            }
        }
    }
}

/// §2.8: 400, and no hint for those who guess.
fn refused(why: &'static str) -> Response {
    OAuthError::InvalidRequest(why).to_response()
}
