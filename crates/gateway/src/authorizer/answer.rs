//! Writing authorizer answers: one outcome, one encoder per shape.

use super::arn::MethodArn;
use super::credential::{SUBPROTOCOL, offers_subprotocol};
use super::event::{AuthorizerEvent, EventKind};
use super::statement::{self, METHODS, Statement};
use crate::entry::FunctionFailure;
use cloakroom_domain::authorize::Allowed;
use cloakroom_domain::jwt::Jwt;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// API Gateway refuses longer answers (quota L-20859C74).
pub const MAX_ANSWER: usize = 8 * 1024;

/// What became of a request, whatever the kind of its event.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// It may pass.
    Allow {
        /// With this.
        allowed: &'a Allowed,
        /// The subject's tag.
        subject_tag: &'a str,
    },
    /// The token is good, the request is not for it: 403.
    Forbid {
        /// The subject's tag, if we came that far.
        subject_tag: Option<&'a str>,
    },
    /// 401; thrown, because what is thrown is never cached.
    Unauthorized,
    /// 503; thrown.
    Unavailable,
}

/// What goes back to Lambda.
#[derive(Debug)]
pub enum Encoded {
    /// A document, or a failure that is meant.
    Done(Result<Vec<u8>, FunctionFailure>),
    /// The answer would contain what breaks the gateway's cache. It is not given; the
    /// request is answered with "unavailable".
    Unfit,
    /// The answer would be too long. Neither is it given.
    TooLong,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IamAnswer<'a> {
    principal_id: &'a str,
    policy_document: PolicyDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyDocument {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SimpleAnswer<'a> {
    is_authorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context<'a>>,
}

/// AppSync's: `false` is 401 there, whatever the reason.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppSyncAnswer<'a> {
    is_authorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver_context: Option<Context<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    denied_fields: &'a [String],
    ttl_override: u64,
}

/// An HTTP response, for a proxy.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpAnswer {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<BTreeMap<&'static str, [String; 1]>>,
    /// None; AWS's own types want to be told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[&'static str; 0]>,
    body: &'static str,
    is_base64_encoded: bool,
}

/// What the gateway may map into the request to the service. The JWT is in it once, and
/// as the text that it becomes: it is most of the answer, and has nothing to escape.
#[derive(Serialize)]
struct Context<'a> {
    /// REST can replace `Authorization` by a whole value only.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<Box<RawValue>>,
    client_id: &'a str,
    scope: &'a str,
    subject_tag: &'a str,
    /// For the integration to choose; never what else the client offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    subprotocol: Option<&'static str>,
}

/// What is set at the gateway and not said in its events.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Whether HTTP APIs of payload 2.0 have `enableSimpleResponses`.
    pub simple_responses: bool,
    /// The routes (method and path) for all of which one answer does. Only about them
    /// may a TOKEN authorizer's answer be, which is cached by the token alone.
    pub one_verdict: &'a [(String, String)],
}

impl Answer<'_> {
    /// Writes the answer as the event's kind demands.
    pub fn encode(self, event: &AuthorizerEvent<'_>, settings: Settings<'_>) -> Encoded {
        let kind = event.kind;
        let document = match (self, kind) {
            (answer, EventKind::FunctionUrl | EventKind::LoadBalancer { .. }) => answer.http(kind),
            (Self::Unavailable, _) => return Encoded::Done(Err(FunctionFailure::Unavailable)),
            (answer, EventKind::AppSync) => answer.appsync(),
            (Self::Unauthorized, _) => return Encoded::Done(Err(FunctionFailure::Unauthorized)),
            (answer, EventKind::HttpV2) if settings.simple_responses => answer.simple(event),
            (
                answer,
                EventKind::RestToken
                | EventKind::RestRequest
                | EventKind::HttpV1
                | EventKind::HttpV2
                | EventKind::WebSocket,
            ) => answer.iam_that_fits(event, settings),
        };
        match document {
            Ok(_) if !self.is_clean() => Encoded::Unfit,
            Ok(document) if document.len() > MAX_ANSWER => Encoded::TooLong,
            Ok(document) => Encoded::Done(Ok(document)),
            Err(_) => Encoded::Unfit,
        }
    }

    /// The policy allows the route that was found (D77); where that cannot be said, the
    /// requested path alone; and where that cannot be named, nothing.
    fn iam_that_fits(
        self,
        event: &AuthorizerEvent<'_>,
        settings: Settings<'_>,
    ) -> serde_json::Result<Vec<u8>> {
        let Some(arn) = event.arn.as_ref() else {
            return self.iam(event, Vec::new());
        };
        let stage = || vec![arn.whole_stage()];
        let Self::Allow {
            allowed,
            subject_tag,
        } = self
        else {
            return self.iam(event, vec![Statement::deny(stage())]);
        };
        let widest = match event.kind {
            // It has one policy per connection, and no other route is asked about.
            EventKind::WebSocket => Some(vec![Statement::allow(stage())]),
            EventKind::RestToken => one_verdict(arn, settings.one_verdict),
            kind => statement::route(arn, &allowed.reach, kind.is_http_api()),
        };
        if let Some(statements) = widest {
            let document = self.iam(event, statements)?;
            if document.len() <= MAX_ANSWER {
                return Ok(document);
            }
        }
        if let Some(statements) = statement::path(arn) {
            return self.iam(event, statements);
        }
        let subject_tag = Some(subject_tag);
        Self::Forbid { subject_tag }.iam(event, vec![Statement::deny(stage())])
    }

    fn simple(self, event: &AuthorizerEvent<'_>) -> serde_json::Result<Vec<u8>> {
        let context = self.context(event)?;
        document(&SimpleAnswer {
            is_authorized: context.is_some(),
            context,
        })
    }

    fn iam(
        self,
        event: &AuthorizerEvent<'_>,
        statement: Vec<Statement>,
    ) -> serde_json::Result<Vec<u8>> {
        document(&IamAnswer {
            // Required, and must not be empty.
            principal_id: self
                .subject_tag()
                .filter(|tag| !tag.is_empty())
                .unwrap_or("unknown"),
            policy_document: PolicyDocument {
                version: "2012-10-17",
                statement,
            },
            context: self.context(event)?,
        })
    }

    /// A refusal is never kept: what is missing may be there a moment later.
    fn appsync(self) -> serde_json::Result<Vec<u8>> {
        let (denied_fields, ttl_override) = match self {
            Self::Allow { allowed, .. } => (&allowed.denied_fields[..], allowed.reusable_for),
            Self::Forbid { .. } | Self::Unauthorized | Self::Unavailable => (&[][..], 0),
        };
        let resolver_context = self.context_with(false, None)?;
        document(&AppSyncAnswer {
            is_authorized: resolver_context.is_some(),
            resolver_context,
            denied_fields,
            // AWS takes no more.
            ttl_override: ttl_override.min(3600),
        })
    }

    /// The challenges are those that API Gateway's own answers have (RFC 6750 §3).
    fn http(self, kind: EventKind) -> serde_json::Result<Vec<u8>> {
        let mut headers = BTreeMap::from([("cache-control", "no-store".to_owned())]);
        let (status_code, status, body) = match self {
            Self::Allow { allowed, .. } => {
                let jwt = allowed.jwt.expose();
                headers.insert("authorization", format!("Bearer {jwt}"));
                (200, "200 OK", "")
            }
            Self::Unauthorized => {
                headers.insert("www-authenticate", r#"Bearer realm="cloakroom""#.to_owned());
                (401, "401 Unauthorized", r#"{"message":"Unauthorized"}"#)
            }
            Self::Forbid { .. } => (403, "403 Forbidden", r#"{"message":"Forbidden"}"#),
            Self::Unavailable => {
                headers.insert("retry-after", "1".to_owned());
                (
                    503,
                    "503 Service Unavailable",
                    r#"{"message":"Service Unavailable"}"#,
                )
            }
        };
        if !body.is_empty() {
            headers.insert("content-type", "application/json".to_owned());
        }
        let (headers, multi_value_headers) = match kind {
            EventKind::LoadBalancer {
                multi_value_headers: true,
            } => {
                let lists = headers.into_iter().map(|(name, value)| (name, [value]));
                (None, Some(lists.collect()))
            }
            _ => (Some(headers), None),
        };
        document(&HttpAnswer {
            status_code,
            status_description: (kind != EventKind::FunctionUrl).then_some(status),
            headers,
            multi_value_headers,
            cookies: (kind == EventKind::FunctionUrl).then_some([]),
            body,
            is_base64_encoded: false,
        })
    }

    fn context(&self, event: &AuthorizerEvent<'_>) -> serde_json::Result<Option<Context<'_>>> {
        let is_rest = matches!(event.kind, EventKind::RestToken | EventKind::RestRequest);
        let offered = event.kind == EventKind::WebSocket && offers_subprotocol(&event.headers);
        self.context_with(is_rest, offered.then_some(SUBPROTOCOL))
    }

    fn context_with(
        &self,
        is_rest: bool,
        subprotocol: Option<&'static str>,
    ) -> serde_json::Result<Option<Context<'_>>> {
        let Self::Allow {
            allowed,
            subject_tag,
        } = self
        else {
            return Ok(None);
        };
        let (authorization, jwt) = if is_rest {
            (Some(quoted("Bearer ", &allowed.jwt)?), None)
        } else {
            (None, Some(quoted("", &allowed.jwt)?))
        };
        Ok(Some(Context {
            authorization,
            jwt,
            client_id: &allowed.client_id,
            scope: &allowed.scope,
            subject_tag,
            subprotocol,
        }))
    }

    fn subject_tag(&self) -> Option<&str> {
        match self {
            Self::Allow { subject_tag, .. } => Some(subject_tag),
            Self::Forbid { subject_tag } => *subject_tag,
            Self::Unauthorized | Self::Unavailable => None,
        }
    }

    /// A quote or a backslash in a context value makes the gateway answer 500 from
    /// its cache (specs B-http-10), and what is not printable might end a header
    /// (D38).
    fn is_clean(&self) -> bool {
        let Self::Allow {
            allowed,
            subject_tag,
        } = self
        else {
            return true;
        };
        // A JWT has nothing else to begin with.
        [&*allowed.client_id, &*allowed.scope, subject_tag]
            .iter()
            .all(|value| {
                value.bytes().all(|b| {
                    matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
                    | b'.' | b'_' | b'~' | b':' | b'/' | b'+' | b'=' | b' ' | b'-')
                })
            })
    }
}

/// A TOKEN authorizer's cache has one key per token, so its policy names all routes that ask
/// for the same, if all do. `ANY` is written out: `*` in place of the method would span into
/// the path. Too many for an answer are those of the requested method.
fn one_verdict(arn: &MethodArn<'_>, routes: &[(String, String)]) -> Option<Vec<Statement>> {
    const MOST: usize = 32;
    let asked = arn.method();
    let all: Vec<_> = routes
        .iter()
        .flat_map(|(verb, path)| {
            let verbs = if verb == "ANY" { &METHODS[..] } else { &[] };
            let verbs = verbs
                .iter()
                .copied()
                .chain((verb != "ANY").then_some(verb.as_str()));
            verbs.map(move |verb| (verb, path.as_str()))
        })
        .collect();
    let every = all.len() <= MOST;
    let resources = all
        .into_iter()
        .filter(|(verb, _)| every || *verb == asked)
        .map(|(verb, path)| arn.of(verb, path))
        .collect::<Option<Vec<_>>>()?;
    (!resources.is_empty()).then(|| vec![Statement::allow(resources)])
}

/// Typical size of an answer in bytes.
const LENGTH: usize = 2 * 1024;

fn document(answer: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut document = Vec::with_capacity(LENGTH);
    serde_json::to_writer(&mut document, answer)?;
    Ok(document)
}

/// A JWT as a JSON text.
fn quoted(prefix: &str, jwt: &Jwt) -> serde_json::Result<Box<RawValue>> {
    let jwt = jwt.expose();
    let mut text = String::with_capacity(prefix.len() + jwt.len() + 2);
    for part in ["\"", prefix, jwt, "\""] {
        text.push_str(part);
    }
    RawValue::from_string(text)
}
