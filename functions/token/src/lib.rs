//! The OAuth token service behind routes: token endpoint (RFC 6749 §3.2) and
//! revocation (RFC 7009) here, introspection (RFC 7662) beside. Composed in `main.rs`.

mod asked;
mod introspect;

use asked::Asked;
use cloakroom_domain::client::assertion::AssertionError;
use cloakroom_domain::config::Config;
use cloakroom_domain::dpop::{Proof, ProofError, ProofFault};
use cloakroom_domain::introspect::Introspector;
use cloakroom_domain::issue::exchange::SubjectFault;
use cloakroom_domain::issue::target::Targets;
use cloakroom_domain::issue::{GrantFault, IssueError, Issued, Revocation, TokenService};
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, ReadEpoch, Roots, Signer, UpdateFamily, UseOnce, VerifyAssertion,
    VerifySubjectToken, World,
};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Credentials, Method, Params, Request, Response, StatusCode, serve};
use cloakroom_gateway::telemetry::{Decision, Meter, Metered, Metric};
use serde::Serialize;
use std::sync::Arc;

/// The function.
#[derive(Debug)]
pub struct Handler<S, G, R, V> {
    service: TokenService<Metered<S>, Arc<Metered<R>>>,
    introspector: Introspector<Metered<S>, Metered<G>, Arc<Metered<R>>>,
    /// Whose word is believed about assertions and ID tokens.
    verifier: V,
    meter: Meter,
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    /// RFC 8693 §2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: String,
}

impl<S, G, R, V> Handler<S, G, R, V>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    G: Signer,
    R: Roots,
    V: VerifyAssertion + VerifySubjectToken,
{
    /// Puts the function together from its ports.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        signer: G,
        roots: R,
        verifier: V,
        world: World,
    ) -> Self
    where
        S: Clone,
    {
        let meter = Meter::default();
        let store = Metered::new(store, meter.clone());
        let roots = Arc::new(Metered::new(roots, meter.clone()));
        let introspector = Introspector::new(
            Arc::clone(&config),
            not_before,
            store.clone(),
            Metered::new(signer, meter.clone()),
            Arc::clone(&roots),
            world.clone(),
        );
        let service = TokenService::new(config, not_before, store, roots, world);
        Self {
            introspector: introspector.sharing(service.clients()),
            service,
            verifier,
            meter,
        }
    }

    /// Answers one event.
    ///
    /// # Errors
    ///
    /// Never: every fault is an HTTP answer.
    pub async fn handle(&self, event: &[u8]) -> Result<Vec<u8>, FunctionFailure> {
        Ok(serve("token", event, |request| Box::pin(self.route(request))).await)
    }

    async fn route(&self, request: Request) -> Response {
        let known = matches!(
            request.path(),
            "/oauth/token" | "/oauth/revoke" | "/oauth/introspect"
        );
        if !known {
            log_refusal(&request, "token", "no_such_path");
            return Response::empty(StatusCode::NOT_FOUND);
        }
        if *request.method() != Method::POST {
            log_refusal(&request, "token", "method");
            return Response::method_not_allowed("POST");
        }
        let answer = match request.path() {
            "/oauth/token" => return self.token_with_nonce(&request).await,
            "/oauth/introspect" => self.introspect(&request).await,
            _ => self.revoke(&request).await,
        };
        answer.unwrap_or_else(OAuthError::to_response)
    }

    /// The token endpoint's answer, with the nonce of now for whoever uses them: a nonce
    /// that is about to be over is replaced before it is refused (RFC 9449 §8.2).
    async fn token_with_nonce(&self, request: &Request) -> Response {
        let answer = self.token(request).await;
        let answer = answer.unwrap_or_else(OAuthError::to_response);
        if !request.headers().contains("dpop") {
            return answer;
        }
        match self.service.fresh_nonce().await {
            Some(nonce) => answer.dpop_nonce(&nonce),
            None => answer,
        }
    }

    /// The proof of possession, if one came. Before the client's assertion is used up:
    /// a client that is told to use a nonce tries again.
    async fn proof(&self, request: &Request) -> Result<Option<Proof>, OAuthError> {
        let judged = match request.proof() {
            Ok(None) => return Ok(None),
            Ok(Some(proof)) => self.service.judge_proof(proof).await,
            Err(fault) => Err(fault.into()),
        };
        judged.map(Some).map_err(|error| {
            let (outcome, why) = match error {
                ProofError::Invalid(fault) => ("refused", fault.name()),
                ProofError::Nonce => ("refused", "use_dpop_nonce"),
                ProofError::Unavailable => ("unavailable", "the root keys are unavailable"),
            };
            Decision::new("token", outcome)
                .id("request_id", request.request_id())
                .calls(&self.meter.take())
                .word("reason", why)
                .emit();
            error.into()
        })
    }

    /// The form and who sent it. Parameters in the query would end in access logs, so
    /// there may be none (RFC 6749 §2.3.1).
    pub(crate) async fn read(
        &self,
        request: &Request,
        endpoint: &'static str,
    ) -> Result<(Params, Credentials), OAuthError> {
        let malformed = |error: &OAuthError| log_refusal(request, endpoint, error.code());
        let form = request.refuse_query().and_then(|()| request.form());
        let form = form.map_err(OAuthError::from).inspect_err(malformed)?;
        let mut credentials = Credentials::read(request, &form).inspect_err(malformed)?;
        if let Some((id, jwt)) = credentials.assertion() {
            // On the heap: the client's keys may have to be fetched.
            let proven = Box::pin(self.service.prove(&self.verifier, id, jwt)).await;
            let proven = proven.inspect_err(|error| {
                let (outcome, why) = match *error {
                    AssertionError::Refused(why) => ("refused", why),
                    AssertionError::Replayed => ("refused", AssertionError::REPLAYED),
                    AssertionError::Unavailable(why) => ("unavailable", why),
                };
                let mut line = Decision::new(endpoint, outcome)
                    .id("request_id", request.request_id())
                    .calls(&self.meter.take())
                    .word("reason", why);
                if *error == AssertionError::Replayed {
                    line = line.count(Metric::Replay, 1);
                }
                line.emit();
            })?;
            credentials = credentials.proven_by(proven);
        }
        Ok((form, credentials))
    }

    async fn token(&self, request: &Request) -> Result<Response, OAuthError> {
        let proof = self.proof(request).await?;
        let (form, credentials) = self.read(request, "token").await?;
        let line = |outcome| {
            Decision::new("token", outcome)
                .id("request_id", request.request_id())
                .calls(&self.meter.take())
        };
        let asked = match Asked::read(&form) {
            Ok(asked) => asked,
            Err(error) => {
                line("refused").word("reason", error.code()).emit();
                return Err(error);
            }
        };
        let (client, targets) = (credentials.as_claimed(), targets(&form));
        let issued = match &asked {
            Asked::Token(request) => {
                self.service
                    .issue_for(&client, request, &targets, proof.as_ref())
                    .await
            }
            Asked::Exchange(request) => {
                let proof = proof.as_ref();
                let exchange =
                    self.service
                        .exchange(&client, request, &targets, proof, &self.verifier);
                // On the heap: a provider may have to be asked for its keys.
                Box::pin(exchange).await
            }
        };
        match issued {
            Ok(issued) => {
                line(if issued.healed { "healed" } else { "issued" })
                    .word("grant", asked.grant_name())
                    .id("subject", &issued.subject_tag)
                    .id("family", &issued.family_tag)
                    .emit();
                Ok(success(&issued, asked.issued_token_type()))
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
        let (form, credentials) = self.read(request, "revoke").await?;
        let token = form
            .get("token")
            .ok_or(OAuthError::InvalidRequest("token is missing"))
            .inspect_err(|error| log_refusal(request, "revoke", error.code()))?;
        let revoked = self.service.revoke(&credentials.as_claimed(), token).await;
        let line = |outcome| {
            let line = Decision::new("revoke", outcome)
                .id("request_id", request.request_id())
                .calls(&self.meter.take());
            match OpaqueToken::parse(token) {
                Ok(token) => line.id("family", &token.family().tag()),
                Err(_) => line,
            }
        };
        match revoked {
            Ok(revocation) => {
                let mut line = line(revocation.name());
                if revocation == Revocation::Broken {
                    line = line.count(Metric::SealsBroken, 1);
                }
                line.emit();
                Ok(Response::empty(StatusCode::OK))
            }
            Err(error) => {
                log_failure(line(outcome(error)), error).emit();
                Err(to_oauth(error))
            }
        }
    }
}

/// A request that did not come as far as a decision about a token.
fn log_refusal(request: &Request, endpoint: &'static str, why: &'static str) {
    Decision::new(endpoint, "refused")
        .id("request_id", request.request_id())
        .word("reason", why)
        .emit();
}

/// For whom the token shall be good (RFC 8707, RFC 8693 §2.1).
fn targets(form: &Params) -> Targets<'_> {
    Targets {
        resources: form.all("resource").collect(),
        audiences: form.all("audience").collect(),
    }
}

fn success(issued: &Issued, issued_token_type: Option<&'static str>) -> Response {
    let body = TokenResponse {
        access_token: issued.pair.access.expose(),
        issued_token_type,
        token_type: issued.token_type,
        expires_in: issued.expires_in,
        refresh_token: issued.pair.refresh.as_ref().map(OpaqueToken::expose),
        scope: issued.scope.to_string(),
    };
    Response::json(StatusCode::OK, &body)
}

fn to_oauth(error: IssueError) -> OAuthError {
    match error {
        IssueError::InvalidClient => OAuthError::InvalidClient,
        IssueError::ClientLimited(seconds) => OAuthError::TooManyAttempts(seconds),
        IssueError::UnauthorizedClient => OAuthError::UnauthorizedClient,
        // Which of the faults it was is nobody's business but the log's (D46).
        IssueError::InvalidGrant(_) => OAuthError::InvalidGrant,
        IssueError::InvalidProof(fault) => OAuthError::InvalidDpopProof(fault),
        IssueError::InvalidScope => OAuthError::InvalidScope,
        IssueError::InvalidTarget => OAuthError::InvalidTarget,
        // Not `invalid_grant` (RFC 8693 §2.2.2), and no more is said.
        IssueError::InvalidSubject(_) => {
            OAuthError::InvalidRequest("the subject or actor token is not acceptable")
        }
        IssueError::TooManyTokens => OAuthError::TooManyTokens,
        IssueError::Unavailable(_) => OAuthError::TemporarilyUnavailable,
    }
}

fn outcome(error: IssueError) -> &'static str {
    match error {
        IssueError::Unavailable(_) => "unavailable",
        IssueError::InvalidClient
        | IssueError::ClientLimited(_)
        | IssueError::UnauthorizedClient
        | IssueError::InvalidGrant(_)
        | IssueError::InvalidProof(_)
        | IssueError::InvalidScope
        | IssueError::InvalidTarget
        | IssueError::InvalidSubject(_)
        | IssueError::TooManyTokens => "refused",
    }
}

fn log_failure(line: Decision, error: IssueError) -> Decision {
    match error {
        IssueError::InvalidClient => line.word("reason", "invalid_client"),
        IssueError::ClientLimited(_) => line.word("reason", "client_limited"),
        IssueError::UnauthorizedClient => line.word("reason", "unauthorized_client"),
        IssueError::InvalidProof(ProofFault::Replayed) => line
            .word("reason", ProofFault::Replayed.name())
            .count(Metric::Replay, 1),
        IssueError::InvalidProof(fault) => line.word("reason", fault.name()),
        IssueError::InvalidScope => line.word("reason", "invalid_scope"),
        IssueError::Unavailable(why) => line.because(why),
        IssueError::InvalidTarget => line.word("reason", "invalid_target"),
        IssueError::TooManyTokens => line.word("reason", "too_many_tokens"),
        IssueError::InvalidSubject(fault) => {
            let line = line.word("reason", fault.name());
            match fault {
                SubjectFault::Token(GrantFault::Broken) => line.count(Metric::SealsBroken, 1),
                SubjectFault::NotVouchedFor(why) => line.word("detail", why),
                _ => line,
            }
        }
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
                | GrantFault::Binding
                | GrantFault::Key => line,
            }
        }
    }
}
