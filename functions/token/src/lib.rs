//! The OAuth token service behind routes: token endpoint (RFC 6749 §3.2) and
//! revocation (RFC 7009). Composed in `main.rs`.

mod credentials;

use cloakroom_domain::config::Config;
use cloakroom_domain::issue::{GrantFault, IssueError, Issued, TokenRequest, TokenService};
use cloakroom_domain::ports::{CreateFamily, FindFamily, ReadEpoch, Roots, UpdateFamily, World};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Method, Params, Request, Response, StatusCode, serve};
use cloakroom_gateway::telemetry::{Decision, Meter, Metered, Metric};
use credentials::Credentials;
use serde::Serialize;
use std::sync::Arc;

/// The function.
#[derive(Debug)]
pub struct Handler<S, R> {
    service: TokenService<Metered<S>, R>,
    meter: Meter,
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: String,
}

impl<S, R> Handler<S, R>
where
    S: FindFamily + UpdateFamily + CreateFamily + ReadEpoch,
    R: Roots,
{
    /// Puts the function together from its ports.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        roots: R,
        world: World,
    ) -> Self {
        let meter = Meter::default();
        let store = Metered::new(store, meter.clone());
        Self {
            service: TokenService::new(config, not_before, store, roots, world),
            meter,
        }
    }

    /// Answers one event.
    ///
    /// # Errors
    ///
    /// Never: every fault is an HTTP answer.
    pub async fn handle(&self, event: &[u8]) -> Result<Vec<u8>, FunctionFailure> {
        Ok(serve(event, |request| self.route(request)).await)
    }

    async fn route(&self, request: Request) -> Response {
        let known = matches!(request.path(), "/oauth/token" | "/oauth/revoke");
        if !known {
            return Response::empty(StatusCode::NOT_FOUND);
        }
        if *request.method() != Method::POST {
            return Response::method_not_allowed("POST");
        }
        let answer = match request.path() {
            "/oauth/token" => self.token(&request).await,
            _ => self.revoke(&request).await,
        };
        answer.unwrap_or_else(OAuthError::to_response)
    }

    async fn token(&self, request: &Request) -> Result<Response, OAuthError> {
        let (form, credentials) = read(request)?;
        let line = |outcome| {
            Decision::new("token", outcome)
                .id("request_id", request.request_id())
                .calls(&self.meter.take())
        };
        let asked = match token_request(&form) {
            Ok(asked) => asked,
            Err(error) => {
                line("refused").word("reason", error.code()).emit();
                return Err(error);
            }
        };
        match self.service.issue(&credentials.as_claimed(), &asked).await {
            Ok(issued) => {
                line(if issued.healed { "healed" } else { "issued" })
                    .word("grant", grant_name(&asked))
                    .id("subject", &issued.subject_tag)
                    .id("family", &issued.family_tag)
                    .emit();
                Ok(success(&issued))
            }
            Err(error) => {
                let mut line = log_failure(line(outcome(error)), error);
                if let Some(family) = asked.family() {
                    line = line.id("family", &family.tag());
                }
                line.emit();
                Err(to_oauth(error))
            }
        }
    }

    async fn revoke(&self, request: &Request) -> Result<Response, OAuthError> {
        let (form, credentials) = read(request)?;
        let token = form
            .get("token")
            .ok_or(OAuthError::InvalidRequest("token is missing"))?;
        let revoked = self.service.revoke(&credentials.as_claimed(), token).await;
        let line = |outcome| {
            Decision::new("revoke", outcome)
                .id("request_id", request.request_id())
                .calls(&self.meter.take())
        };
        match revoked {
            Ok(found) => {
                line(if found {
                    "revoked"
                } else {
                    "nothing_to_revoke"
                })
                .emit();
                Ok(Response::empty(StatusCode::OK))
            }
            Err(error) => {
                log_failure(line(outcome(error)), error).emit();
                Err(to_oauth(error))
            }
        }
    }
}

/// The form and who sent it. Parameters in the query would end in access logs, so
/// there may be none (RFC 6749 §2.3.1).
fn read(request: &Request) -> Result<(Params, Credentials), OAuthError> {
    request.refuse_query()?;
    let form = request.form()?;
    let credentials = Credentials::read(request, &form)?;
    Ok((form, credentials))
}

fn token_request(form: &Params) -> Result<TokenRequest<'_>, OAuthError> {
    let need = |name, fault| form.get(name).ok_or(OAuthError::InvalidRequest(fault));
    match need("grant_type", "grant_type is missing")? {
        "client_credentials" => Ok(TokenRequest::ClientCredentials {
            scope: form.get("scope"),
        }),
        "authorization_code" => Ok(TokenRequest::AuthorizationCode {
            code: need("code", "code is missing")?,
            redirect_uri: need("redirect_uri", "redirect_uri is missing")?,
            code_verifier: need("code_verifier", "code_verifier is missing")?,
        }),
        "refresh_token" => Ok(TokenRequest::RefreshToken {
            token: need("refresh_token", "refresh_token is missing")?,
            scope: form.get("scope"),
        }),
        _ => Err(OAuthError::UnsupportedGrantType),
    }
}

fn success(issued: &Issued) -> Response {
    let body = TokenResponse {
        access_token: issued.pair.access.expose(),
        token_type: "Bearer",
        expires_in: issued.expires_in,
        refresh_token: issued.pair.refresh.as_ref().map(OpaqueToken::expose),
        scope: issued.scope.to_string(),
    };
    Response::json(StatusCode::OK, &body)
}

fn to_oauth(error: IssueError) -> OAuthError {
    match error {
        IssueError::InvalidClient => OAuthError::InvalidClient,
        IssueError::UnauthorizedClient => OAuthError::UnauthorizedClient,
        // Which of the faults it was is nobody's business but the log's (D46).
        IssueError::InvalidGrant(_) => OAuthError::InvalidGrant,
        IssueError::InvalidScope => OAuthError::InvalidScope,
        IssueError::Unavailable(_) => OAuthError::TemporarilyUnavailable,
    }
}

fn outcome(error: IssueError) -> &'static str {
    match error {
        IssueError::Unavailable(_) => "unavailable",
        IssueError::InvalidClient
        | IssueError::UnauthorizedClient
        | IssueError::InvalidGrant(_)
        | IssueError::InvalidScope => "refused",
    }
}

fn log_failure(line: Decision, error: IssueError) -> Decision {
    match error {
        IssueError::InvalidClient => line.word("reason", "invalid_client"),
        IssueError::UnauthorizedClient => line.word("reason", "unauthorized_client"),
        IssueError::InvalidScope => line.word("reason", "invalid_scope"),
        IssueError::Unavailable(why) => line.word("reason", why),
        IssueError::InvalidGrant(fault) => {
            let line = line.word("reason", fault.name());
            match fault {
                GrantFault::Reused => line.count(Metric::RefreshReuse, 1),
                GrantFault::CodeReplayed => line.count(Metric::CodeReplay, 1),
                GrantFault::Broken => line.count(Metric::SealsBroken, 1),
                GrantFault::Unknown
                | GrantFault::Revoked
                | GrantFault::Expired
                | GrantFault::OtherClient
                | GrantFault::Binding => line,
            }
        }
    }
}

fn grant_name(request: &TokenRequest<'_>) -> &'static str {
    match request {
        TokenRequest::ClientCredentials { .. } => "client_credentials",
        TokenRequest::AuthorizationCode { .. } => "authorization_code",
        TokenRequest::RefreshToken { .. } => "refresh_token",
    }
}
