//! The Lambda authorizer, for every way in which AWS can ask one: reads the event, asks the rules, writes the answer and
//! one log line. Composed in `main.rs`.

use cloakroom_domain::authorize::{
    Authorizer, Facts, Origin as CameFrom, Outage, PossessionFault, Rejection, Scheme, Verdict,
};
use cloakroom_domain::config::{Config, Edge};
use cloakroom_domain::dpop::ProofFault;
use cloakroom_domain::jwt::LargestClaims;
use cloakroom_domain::ports::{FindFamily, ReadEpoch, Roots, Signer, UpdateFamily, UseOnce, World};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::authorizer::{
    Answer, AuthorizerEvent, Credential, Encoded, EventKind, Settings, credential,
};
use cloakroom_gateway::csrf::{self, Origin};
use cloakroom_gateway::entry::FunctionFailure;
use cloakroom_gateway::headers::Headers;
use cloakroom_gateway::settings::OriginSecret;
use cloakroom_gateway::telemetry::{Decision, Meter, Metered, Metric};
use std::sync::Arc;
use std::time::Duration;

/// For two calls that take as long as they may. The gateway gives up after 10 s (HTTP
/// APIs), and a client long before that.
const TIME_BUDGET: Duration = Duration::from_secs(4);

/// Headers with which a client asks a framework behind us to take the request for
/// one of another method, which the policy has not judged (D25).
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// In which CloudFront shows the API that it is CloudFront.
const ORIGIN_VERIFY: &str = "x-origin-verify";

/// The function.
#[derive(Debug)]
pub struct Handler<S, G, R> {
    config: Arc<Config>,
    origin_secret: Option<OriginSecret>,
    budget: Duration,
    authorizer: Authorizer<Metered<S>, Metered<G>, Metered<R>>,
    meter: Meter,
}

/// What is decided before or after the rules: all that the log line and the answer
/// are made of.
struct Outcome {
    verdict: Judged,
    facts: Facts,
}

enum Judged {
    /// The rules have spoken.
    Rules(Verdict),
    /// No usable credential: 401.
    Unauthorized(&'static str),
    /// The request is not one that this token may make from there: 403.
    Forbidden(&'static str),
}

impl<S, G, R> Handler<S, G, R>
where
    S: FindFamily + UpdateFamily + UseOnce + ReadEpoch,
    G: Signer,
    R: Roots,
{
    /// Puts the function together from its ports.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        signer: G,
        roots: R,
        world: World,
    ) -> Self {
        let meter = Meter::default();
        Self {
            authorizer: Authorizer::new(
                Arc::clone(&config),
                not_before,
                Metered::new(store, meter.clone()),
                Metered::new(signer, meter.clone()),
                Metered::new(roots, meter.clone()),
                world,
            ),
            config,
            origin_secret: None,
            budget: TIME_BUDGET,
            meter,
        }
    }

    /// The secret that CloudFront shows an HTTP API. Behind CloudFront, an HTTP API
    /// without one takes no request at all.
    #[must_use]
    pub fn behind(self, origin_secret: Option<OriginSecret>) -> Self {
        Self {
            origin_secret,
            ..self
        }
    }

    /// What is not decided within this is "unavailable". For who waits longer for DynamoDB
    /// and KMS than AWS gives reason to.
    #[must_use]
    pub fn within(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Asks for what the first request would have to wait for. If that fails, the request
    /// tries again.
    pub async fn warm(&self) {
        tokio::join!(self.authorizer.warm_roots(), self.authorizer.warm_epoch());
        // No request's.
        self.meter.take();
    }

    /// Answers one event. The same bytes as in Lambda, whoever calls.
    ///
    /// # Errors
    ///
    /// What API Gateway is to see as an error: 401 and 503 are never cached so.
    pub async fn handle(&self, event: &[u8]) -> Result<Vec<u8>, FunctionFailure> {
        let Ok(mut event) = AuthorizerEvent::parse(event) else {
            Decision::new("authorizer", "unauthorized")
                .word("reason", "unknown_event")
                .count(Metric::ErrorAnswers, 1)
                .emit();
            return Err(FunctionFailure::Unauthorized);
        };
        if event.kind.is_forward_auth() && self.config.authorizer.trust_forwarded {
            event.take_forwarded();
        }
        if self.authorizer.policy().has_reserved_literals() {
            event.keep_to_plain_paths();
        }
        let outcome = self.judge(&event).await;
        let settings = Settings {
            simple_responses: self.config.authorizer.simple_responses,
            one_verdict: self.authorizer.one_verdict(),
        };
        let (result, unfit) = match outcome.answer().encode(&event, settings) {
            Encoded::Done(result) => (result, None),
            Encoded::Unfit => (unavailable(&event, settings), Some(Unfit::Unclean)),
            Encoded::TooLong => {
                let largest = outcome.largest_claims();
                let answer = unavailable(&event, settings).map_err(|failure| match largest {
                    Some(largest) => FunctionFailure::TooLong(largest),
                    None => failure,
                });
                (answer, Some(Unfit::TooLong(largest)))
            }
        };
        self.log(&event, &outcome, unfit, result.is_err());
        result
    }

    async fn judge(&self, event: &AuthorizerEvent<'_>) -> Outcome {
        let presented = match self.presented(event) {
            Ok(presented) => presented,
            Err(verdict) => return verdict.into(),
        };
        let decision = self.authorizer.authorize(
            presented.scheme,
            presented.text,
            &event.method,
            &event.resource,
        );
        match tokio::time::timeout(self.budget, decision).await {
            // Whoever is not AppSync would let them pass.
            Ok((Verdict::Allow(allowed), facts))
                if event.kind != EventKind::AppSync && !allowed.denied_fields.is_empty() =>
            {
                Outcome {
                    verdict: Judged::Forbidden("fields"),
                    facts,
                }
            }
            Ok((verdict, facts)) => Outcome {
                verdict: Judged::Rules(verdict),
                facts,
            },
            Err(_) => Judged::Rules(Verdict::Unavailable(Outage::Time)).into(),
        }
    }

    /// The credential, if the request may present one at all from where it comes.
    fn presented<'a>(&self, event: &'a AuthorizerEvent<'_>) -> Result<Credential<'a>, Judged> {
        let apis = &self.config.authorizer.apis;
        if !apis.is_empty() && !apis.iter().any(|api| event.is_asked_by(api)) {
            return Err(Judged::Unauthorized("foreign_api"));
        }
        if self.is_past_the_edge(event) {
            return Err(Judged::Unauthorized("edge_bypass"));
        }
        let presented = credential(event, self.config.edge)
            .map_err(|missing| Judged::Unauthorized(missing.name()))?;
        if event.headers.names().any(overrides_method) {
            return Err(Judged::Forbidden("method_override"));
        }
        if self.is_foreign(event, presented) {
            return Err(Judged::Forbidden("csrf"));
        }
        Ok(presented)
    }

    /// Whether an HTTP API was called by another than CloudFront, which takes off what a
    /// client says about itself (D39, D69). A REST API has WAF for that; before an HTTP
    /// API nothing can stand.
    fn is_past_the_edge(&self, event: &AuthorizerEvent) -> bool {
        let shows = |headers: &Headers| match (headers.one(ORIGIN_VERIFY), &self.origin_secret) {
            (Ok(Some(shown)), Some(secret)) => secret.is(shown),
            _ => false,
        };
        self.config.edge == Edge::Cloudfront && event.kind.is_http_api() && !shows(&event.headers)
    }

    /// Whether it may be another site's page that presents what a browser holds.
    fn is_foreign(&self, event: &AuthorizerEvent<'_>, presented: Credential<'_>) -> bool {
        let issuer = &self.config.issuer;
        let from = |allowed| csrf::origin(&event.headers, issuer, allowed);
        match (event.kind, presented.scheme) {
            // A browser's script cannot add a header to a WebSocket, but the browser
            // always says whose script it is (D22).
            (EventKind::WebSocket, Scheme::Session) => from(&[]) != Ok(Origin::Own),
            // A ticket is presented on purpose; a program that does so has no origin.
            (EventKind::WebSocket, Scheme::Ticket) => from(&self.config.allowed_origins).is_err(),
            _ if presented.from_cookie => csrf::judge(&event.headers, issuer).is_err(),
            _ => false,
        }
    }

    fn log(
        &self,
        event: &AuthorizerEvent<'_>,
        outcome: &Outcome,
        unfit: Option<Unfit>,
        is_error: bool,
    ) {
        let (name, reason) = match unfit {
            Some(_) => ("unavailable", "answer_unfit"),
            None => outcome.names(),
        };
        let facts = &outcome.facts;
        let mut line = Decision::new("authorizer", name)
            .word("reason", reason)
            .word("kind", event.kind.name())
            .flag("first_use", facts.first_use)
            .calls(&self.meter.take());
        if let Some(Unfit::TooLong(Some(largest))) = unfit {
            line = line.words("largest_claims", largest.names());
        }
        if !event.request_id.is_empty() {
            line = line.id("request_id", &event.request_id);
        }
        for (key, value) in [
            ("subject", &facts.subject_tag),
            ("family", &facts.family_tag),
        ] {
            if let Some(value) = value {
                line = line.id(key, value);
            }
        }
        if facts.identity == Some(CameFrom::Memory) {
            line = line.count(Metric::IdentityHits, 1);
        }
        match facts.jwt {
            Some(CameFrom::Memory) => line = line.count(Metric::JwtMemoryHits, 1),
            Some(CameFrom::Item) => line = line.count(Metric::JwtItemHits, 1),
            Some(CameFrom::Made) | None => {}
        }
        if is_error {
            line = line.count(Metric::ErrorAnswers, 1);
        }
        if let Some(metric) = outcome.alarm() {
            line = line.count(metric, 1);
        }
        line.emit();
    }
}

/// Names have no case, and many servers read `_` and `-` in them as the same.
fn overrides_method(name: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    METHOD_OVERRIDES
        .iter()
        .any(|known| known.len() == name.len() && known.bytes().eq(name.bytes().map(plain)))
}

/// Why an answer is not given.
#[derive(Clone, Copy)]
enum Unfit {
    /// It has what might break out of where it goes.
    Unclean,
    /// It is too long, and this is why.
    TooLong(Option<LargestClaims>),
}

fn unavailable(
    event: &AuthorizerEvent<'_>,
    settings: Settings<'_>,
) -> Result<Vec<u8>, FunctionFailure> {
    match Answer::Unavailable.encode(event, settings) {
        Encoded::Done(result) => result,
        Encoded::Unfit | Encoded::TooLong => Err(FunctionFailure::Unavailable),
    }
}

impl Outcome {
    /// Of the JWT that would be handed out.
    fn largest_claims(&self) -> Option<LargestClaims> {
        match &self.verdict {
            Judged::Rules(Verdict::Allow(allowed)) => Some(allowed.jwt.largest_claims()),
            Judged::Rules(_) | Judged::Unauthorized(_) | Judged::Forbidden(_) => None,
        }
    }

    fn answer(&self) -> Answer<'_> {
        let subject_tag = self.facts.subject_tag.as_deref();
        match &self.verdict {
            Judged::Rules(Verdict::Allow(allowed)) => Answer::Allow {
                allowed,
                subject_tag: subject_tag.unwrap_or_default(),
            },
            Judged::Rules(Verdict::Forbidden(_)) | Judged::Forbidden(_) => {
                Answer::Forbid { subject_tag }
            }
            Judged::Rules(Verdict::Unauthorized(_)) | Judged::Unauthorized(_) => {
                Answer::Unauthorized
            }
            Judged::Rules(Verdict::Unavailable(_)) => Answer::Unavailable,
        }
    }

    fn names(&self) -> (&'static str, &'static str) {
        match &self.verdict {
            Judged::Rules(Verdict::Allow(_)) => ("allowed", "policy"),
            Judged::Rules(Verdict::Forbidden(refusal)) => ("forbidden", refusal.name()),
            Judged::Rules(Verdict::Unauthorized(rejection)) => ("unauthorized", rejection.name()),
            Judged::Rules(Verdict::Unavailable(outage)) => ("unavailable", outage.name()),
            Judged::Forbidden(reason) => ("forbidden", reason),
            Judged::Unauthorized(reason) => ("unauthorized", reason),
        }
    }

    /// What somebody should look at.
    fn alarm(&self) -> Option<Metric> {
        match &self.verdict {
            Judged::Rules(Verdict::Unauthorized(rejection)) if rejection.is_alarming() => {
                Some(Metric::SealsBroken)
            }
            Judged::Rules(Verdict::Unauthorized(
                Rejection::Replayed
                | Rejection::Possession(PossessionFault::Proof(ProofFault::Replayed)),
            )) => Some(Metric::Replay),
            Judged::Rules(Verdict::Unavailable(Outage::UnknownSeal)) => Some(Metric::UnknownFormat),
            Judged::Rules(Verdict::Unavailable(Outage::KeySet)) => Some(Metric::SealsBroken),
            Judged::Forbidden("csrf") => Some(Metric::CsrfRefusals),
            Judged::Rules(_) | Judged::Forbidden(_) | Judged::Unauthorized(_) => None,
        }
    }
}

impl From<Judged> for Outcome {
    fn from(verdict: Judged) -> Self {
        Self {
            verdict,
            facts: Facts::default(),
        }
    }
}
