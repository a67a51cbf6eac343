//! `POST /oauth/introspect`: RFC 7662, as JSON or signed (RFC 9701), and the older
//! call of phantom-token gateways, whose answer is the access token's JWT.

use crate::Handler;
use cloakroom_domain::authorize::{Origin, Outage};
use cloakroom_domain::client::ClientError;
use cloakroom_domain::config::ClientConfig;
use cloakroom_domain::introspect::{
    Answer, Facts, Inactive, IntrospectError, Introspection, Question,
};
use cloakroom_domain::jwt::Jwt;
use cloakroom_domain::ports::{
    CreateFamily, FindFamily, ReadEpoch, Roots, Signer, UpdateFamily, UseOnce, VerifyAssertion,
    VerifySubjectToken,
};
use cloakroom_gateway::http::oauth_error::OAuthError;
use cloakroom_gateway::http::{Params, Request, Response, StatusCode};
use cloakroom_gateway::telemetry::{Decision, Metric};

/// RFC 9701 §5.
const SIGNED: &str = "application/token-introspection+jwt";

/// The phantom-token convention.
const ACCESS_JWT: &str = "application/jwt";

/// As what the caller wants its answer.
#[derive(Clone, Copy)]
enum Wanted {
    Json,
    Signed,
    AccessJwt,
}

/// What there is to say.
enum Said {
    Description(Answer<Introspection>),
    AccessJwt(Answer<Jwt>),
}

impl<S, G, R, V> Handler<S, G, R, V>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    G: Signer,
    R: Roots,
    V: VerifyAssertion + VerifySubjectToken,
{
    pub(crate) async fn introspect(&self, request: &Request) -> Result<Response, OAuthError> {
        let (form, credentials) = self.read(request, "introspect").await?;
        let caller = self.introspector.caller(&credentials.as_claimed());
        let caller = caller.map_err(|error| {
            let (why, error) = match error {
                ClientError::Invalid => ("invalid_client", OAuthError::InvalidClient),
                ClientError::Limited { retry_after } => {
                    ("client_limited", OAuthError::TooManyAttempts(retry_after))
                }
            };
            self.line(request, "refused").word("reason", why).emit();
            error
        })?;
        let question = question(&form)
            .inspect_err(|error| crate::log_refusal(request, "introspect", error.code()))?;
        let wanted = Wanted::of(request);
        let (said, facts) = match wanted {
            Wanted::AccessJwt => {
                let (jwt, facts) = self.introspector.access_jwt(caller, &question).await;
                (jwt.map(Said::AccessJwt), facts)
            }
            Wanted::Json | Wanted::Signed => {
                let (description, facts) = self.introspector.describe(caller, &question).await;
                (description.map(Said::Description), facts)
            }
        };
        let inactive = said.as_ref().ok().and_then(Said::inactive);
        let response = match said {
            Ok(said) => self.say(said, wanted, caller).await,
            Err(error) => Err(error),
        };
        let outcome = response.as_ref().map(|_| inactive).map_err(|error| *error);
        self.log(request, caller, &facts, outcome);
        response.map_err(to_oauth)
    }

    async fn say(
        &self,
        said: Said,
        wanted: Wanted,
        caller: &ClientConfig,
    ) -> Result<Response, IntrospectError> {
        let description = match said {
            Said::AccessJwt(Answer::Active(jwt)) => return Ok(jwt_response(ACCESS_JWT, &jwt)),
            // Not `{"active":false}`: these gateways forward the body of any 200 as the
            // bearer token, and take 204 for what it says.
            Said::AccessJwt(Answer::Inactive(_)) => {
                return Ok(Response::empty(StatusCode::NO_CONTENT));
            }
            Said::Description(Answer::Active(description)) => description,
            Said::Description(Answer::Inactive(_)) => Introspection::INACTIVE,
        };
        if !matches!(wanted, Wanted::Signed) {
            return Ok(Response::json(StatusCode::OK, &description));
        }
        let jwt = self.introspector.sign(caller, &description).await;
        Ok(jwt_response(
            SIGNED,
            &jwt.map_err(IntrospectError::Unavailable)?,
        ))
    }

    fn log(
        &self,
        request: &Request,
        caller: &ClientConfig,
        facts: &Facts,
        outcome: Result<Option<Inactive>, IntrospectError>,
    ) {
        let mut line = match outcome {
            Ok(None) => self.line(request, "active"),
            Ok(Some(why)) => self.line(request, "inactive").word("reason", why.name()),
            Err(IntrospectError::Unavailable(outage)) => self
                .line(request, "unavailable")
                .word("reason", outage.name()),
            Err(error) => self
                .line(request, "refused")
                .word("reason", to_oauth(error).code()),
        };
        line = line
            .id("client", &caller.id)
            .flag("first_use", facts.first_use);
        for (key, value) in [
            ("subject", &facts.subject_tag),
            ("family", &facts.family_tag),
        ] {
            if let Some(value) = value {
                line = line.id(key, value);
            }
        }
        line = match outcome {
            Ok(Some(why)) if why.is_alarming() => line.count(Metric::SealsBroken, 1),
            Err(IntrospectError::Unavailable(Outage::KeySet)) => line.count(Metric::SealsBroken, 1),
            Err(IntrospectError::Unavailable(Outage::UnknownSeal)) => {
                line.count(Metric::UnknownFormat, 1)
            }
            _ => line,
        };
        if facts.jwt == Some(Origin::Item) {
            line = line.count(Metric::JwtItemHits, 1);
        }
        line.emit();
    }

    fn line(&self, request: &Request, outcome: &'static str) -> Decision {
        Decision::new("introspect", outcome)
            .id("request_id", request.request_id())
            .calls(&self.meter.take())
    }
}

impl Wanted {
    /// What the caller names and wishes for most; JSON if it says nothing else
    /// (RFC 7662 §2.2). A wildcard asks for no JWT.
    fn of(request: &Request) -> Self {
        let json = request.wish("application/json");
        let (signed, access_jwt) = (request.wish(SIGNED), request.wish(ACCESS_JWT));
        if signed > 0.0 && signed >= json.max(access_jwt) {
            Self::Signed
        } else if access_jwt > 0.0 && access_jwt >= json {
            Self::AccessJwt
        } else {
            Self::Json
        }
    }
}

impl Said {
    fn inactive(&self) -> Option<Inactive> {
        match self {
            Self::Description(Answer::Inactive(why)) | Self::AccessJwt(Answer::Inactive(why)) => {
                Some(*why)
            }
            Self::Description(Answer::Active(_)) | Self::AccessJwt(Answer::Active(_)) => None,
        }
    }
}

/// `token_type_hint` is not looked at: a token says itself what it is.
fn question(form: &Params) -> Result<Question<'_>, OAuthError> {
    let token = form
        .get("token")
        .ok_or(OAuthError::InvalidRequest("token is missing"))?;
    let mut resources = form.all("resource");
    let resource = resources.next();
    if resources.next().is_some() {
        return Err(OAuthError::InvalidTarget);
    }
    Ok(Question { token, resource })
}

fn jwt_response(content_type: &'static str, jwt: &Jwt) -> Response {
    Response::text(StatusCode::OK, content_type, jwt.expose().to_owned())
}

fn to_oauth(error: IntrospectError) -> OAuthError {
    match error {
        IntrospectError::NoResource => OAuthError::InvalidRequest(
            "resource is missing: the client has no audience of its own, or several",
        ),
        IntrospectError::InvalidTarget => OAuthError::InvalidTarget,
        IntrospectError::Unavailable(_) => OAuthError::TemporarilyUnavailable,
    }
}
