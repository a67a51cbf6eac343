//! A Lambda authorizer as the gateway sees it: what identifies a request to it, and
//! what its answer means. The gateway itself (`mod.rs`) calls it and caches.

use std::sync::Arc;

use cloakroom_jose::json;
use http::header;
use serde_json::{Map, Value};

use super::{
    Edge, Flavour,
    edge::{ORIGIN_VERIFY, TOKEN_HEADER},
    event::{Place, Received},
    policy::Policy,
};
use crate::function::Function;

/// The result of an authorizer may be this long (specs B-rest-6).
const LONGEST_ANSWER: usize = 8 * 1024;

/// A Lambda authorizer.
#[derive(Debug)]
pub struct Authorizer {
    /// Part of the cache key.
    pub name: String,
    /// Which event it is sent and which answer it gives.
    pub kind: AuthorizerKind,
    /// What must be there, and what the cache goes by. Without any, every request is
    /// sent and nothing is cached.
    pub identity_sources: Vec<IdentitySource>,
    /// How long an answer is used again (`authorizerResultTtlInSeconds`); 0 is never.
    pub ttl_seconds: u64,
    /// The authorizer.
    pub function: Arc<dyn Function>,
}

/// Which event an authorizer is sent and which answer it gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthorizerKind {
    /// REST, one header alone.
    RestToken,
    /// REST, the whole request.
    RestRequest,
    /// HTTP, payload format 1.0, a policy document.
    HttpV1,
    /// HTTP, payload format 2.0, `isAuthorized`.
    HttpSimple,
    /// HTTP, payload format 2.0, a policy document.
    HttpIam,
}

/// A part of the request that identifies the caller to the authorizer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdentitySource {
    /// `method.request.header.NAME`, `$request.header.NAME`.
    Header(String),
    /// `context.httpMethod`.
    HttpMethod,
    /// `context.resourcePath`.
    ResourcePath,
    /// `$context.routeKey`.
    RouteKey,
}

impl AuthorizerKind {
    pub(super) fn flavour(self) -> Flavour {
        match self {
            Self::RestToken | Self::RestRequest => Flavour::Rest,
            Self::HttpV1 | Self::HttpSimple | Self::HttpIam => Flavour::Http,
        }
    }
}

impl Authorizer {
    /// The authorizer of a topology, sent whole requests.
    ///
    /// With a TTL, one header holds the credential, and its answer is cached by token
    /// and route. Without the edge function a cookie may hold it, which no identity
    /// source can select: then there is no TTL, and every request is sent (specs
    /// B-http-4, B-cache-7).
    pub fn of_topology(
        edge: &Edge,
        flavour: Flavour,
        ttl_seconds: u64,
        function: Arc<dyn Function>,
    ) -> Self {
        let (kind, behind_the_edge) = match flavour {
            Flavour::Rest => (
                AuthorizerKind::RestRequest,
                vec![
                    IdentitySource::Header(header::AUTHORIZATION.to_string()),
                    IdentitySource::HttpMethod,
                    IdentitySource::ResourcePath,
                ],
            ),
            Flavour::Http => (
                AuthorizerKind::HttpSimple,
                vec![
                    IdentitySource::Header(TOKEN_HEADER.to_string()),
                    // What was allowed through the edge must not serve who comes past it.
                    IdentitySource::Header(ORIGIN_VERIFY.to_string()),
                    IdentitySource::RouteKey,
                ],
            ),
        };
        let (identity_sources, ttl_seconds) = match edge {
            Edge::None => (Vec::new(), 0),
            Edge::CloudFront { .. } => (behind_the_edge, ttl_seconds),
        };
        let name = "authorizer".to_owned();
        Self {
            name,
            kind,
            identity_sources,
            ttl_seconds,
            function,
        }
    }

    /// The same authorizer, asked for every request: what a proof of possession is
    /// about, no identity source can tell.
    #[must_use]
    pub fn each_time(self) -> Self {
        Self {
            name: format!("{}-each-time", self.name),
            identity_sources: Vec::new(),
            ttl_seconds: 0,
            ..self
        }
    }

    /// The values of the identity sources. `None` if one is missing or empty, which
    /// is a 401 for which nobody is asked.
    pub(super) fn identity(&self, received: &Received, place: &Place<'_>) -> Option<Vec<String>> {
        let value = |source: &IdentitySource| match source {
            // Two headers are one value: neither may stand for both (D27).
            IdentitySource::Header(name) => received.joined(name),
            IdentitySource::HttpMethod => Some(received.method.clone()),
            IdentitySource::ResourcePath => Some(place.resource.to_owned()),
            IdentitySource::RouteKey => Some(place.route_key.clone()),
        };
        let found = |source| value(source).filter(|value| !value.is_empty());
        self.identity_sources.iter().map(found).collect()
    }
}

/// What an authorizer said.
#[derive(Debug)]
pub(super) enum Answer {
    Policy {
        principal_id: String,
        policy: Policy,
        context: Map<String, Value>,
    },
    Simple {
        authorized: bool,
        context: Map<String, Value>,
    },
}

/// The answer is not one. No detail: the answer holds the JWT.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed authorizer answer")]
pub(super) struct MalformedAnswer;

/// What an authorizer hands to the integration.
#[derive(Debug)]
pub(super) struct Authorized {
    pub(super) principal_id: Option<String>,
    pub(super) context: Map<String, Value>,
}

impl Answer {
    pub(super) fn read(kind: AuthorizerKind, answer: &[u8]) -> Result<Self, MalformedAnswer> {
        if answer.len() > LONGEST_ANSWER {
            return Err(MalformedAnswer);
        }
        let Ok(Value::Object(mut answer)) = json::to_serde_json(answer) else {
            return Err(MalformedAnswer);
        };
        let context = match answer.remove("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(_) => return Err(MalformedAnswer),
        };
        if kind.flavour() == Flavour::Rest && !context.values().all(is_scalar) {
            return Err(MalformedAnswer);
        }
        if kind == AuthorizerKind::HttpSimple {
            let authorized = answer.get("isAuthorized").and_then(Value::as_bool);
            return Ok(Self::Simple {
                authorized: authorized.ok_or(MalformedAnswer)?,
                context,
            });
        }
        let principal_id = answer
            .get("principalId")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if principal_id.is_empty() {
            return Err(MalformedAnswer);
        }
        let policy = Policy::read(answer.get("policyDocument").ok_or(MalformedAnswer)?)?;
        Ok(Self::Policy {
            principal_id: principal_id.to_owned(),
            policy,
            context,
        })
    }

    /// The verdict for one request; `None` is a refusal.
    pub(super) fn judge(&self, arn: &str) -> Option<Authorized> {
        let (allowed, principal_id, context) = match self {
            Self::Policy {
                principal_id,
                policy,
                context,
            } => (policy.allows(arn), Some(principal_id), context),
            Self::Simple {
                authorized,
                context,
            } => (*authorized, None, context),
        };
        allowed.then(|| Authorized {
            principal_id: principal_id.cloned(),
            context: context.clone(),
        })
    }

    /// Whether an HTTP API could serve this from its cache: `"` and `\` break it there
    /// (specs B-http-10).
    pub(super) fn survives_the_http_cache(&self) -> bool {
        let (Self::Policy { context, .. } | Self::Simple { context, .. }) = self;
        let breaks = |value: &Value| {
            value
                .as_str()
                .is_some_and(|text| text.contains(['"', '\\']))
        };
        !context.values().any(breaks)
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy_answer() -> Value {
        json!({
            "principalId": "tag",
            "policyDocument": {"Version": "2012-10-17", "Statement": [
                {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": "*"}
            ]},
            "context": {"authorization": "Bearer j.w.t", "n": 1, "b": true},
        })
    }

    fn is_read(kind: AuthorizerKind, answer: &Value) -> bool {
        Answer::read(kind, answer.to_string().as_bytes()).is_ok()
    }

    #[test]
    fn a_policy_answer_differing_in_one_point_is_malformed() {
        assert!(is_read(AuthorizerKind::RestRequest, &policy_answer()));
        let faults = [
            ("principalId", json!("")),
            ("principalId", json!(7)),
            ("policyDocument", json!("allow")),
            ("policyDocument", json!({})),
            ("context", json!([])),
            ("context", json!({"list": []})),
            ("context", json!({"nothing": null})),
            ("context", json!({"jwt": "x".repeat(LONGEST_ANSWER)})),
        ];
        for (key, value) in faults {
            let mut answer = policy_answer();
            answer[key] = value;
            assert!(!is_read(AuthorizerKind::RestRequest, &answer), "{key}");
        }
        for garbage in ["", "null", "[]", "\"Allow\"", "{}", "{"] {
            assert!(Answer::read(AuthorizerKind::RestToken, garbage.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_simple_answer_needs_a_boolean() {
        for (value, expected) in [
            (json!(true), true),
            (json!(false), true),
            (json!("true"), false),
            (json!(1), false),
            (json!(null), false),
        ] {
            let answer = json!({"isAuthorized": value});
            assert_eq!(
                is_read(AuthorizerKind::HttpSimple, &answer),
                expected,
                "{value}"
            );
        }
        assert!(!is_read(AuthorizerKind::HttpSimple, &policy_answer()));
        assert!(!is_read(
            AuthorizerKind::HttpIam,
            &json!({"isAuthorized": true})
        ));
    }

    #[test]
    fn only_an_http_api_takes_structured_context() {
        let mut answer = policy_answer();
        answer["context"]["roles"] = json!(["admin"]);
        assert!(is_read(AuthorizerKind::HttpIam, &answer));
        assert!(!is_read(AuthorizerKind::RestRequest, &answer));
    }
}
