//! Writing authorizer answers.

use super::event::{AuthorizerEvent, EventKind};
use crate::entry::FunctionFailure;
use cloakroom_domain::authorize::Allowed;
use serde::Serialize;

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
    /// The answer would be too long, or contain what breaks the gateway's cache.
    /// It is not given; the request is answered with "unavailable".
    Unfit,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IamAnswer<'a> {
    principal_id: &'a str,
    policy_document: PolicyDocument<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyDocument<'a> {
    version: &'static str,
    statement: [Statement<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    action: &'static str,
    effect: &'static str,
    resource: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SimpleAnswer<'a> {
    is_authorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context<'a>>,
}

/// What the gateway may map into the request to the service. The JWT is in it once.
#[derive(Serialize)]
struct Context<'a> {
    /// REST can replace `Authorization` by a whole value only.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    client_id: &'a str,
    scope: &'a str,
    subject_tag: &'a str,
}

impl Answer<'_> {
    /// Writes the answer as the event's kind demands.
    pub fn encode(self, event: &AuthorizerEvent, simple_responses: bool) -> Encoded {
        let document = match (self, event.kind) {
            (Self::Unauthorized, _) => return Encoded::Done(Err(FunctionFailure::Unauthorized)),
            (Self::Unavailable, _) => return Encoded::Done(Err(FunctionFailure::Unavailable)),
            (answer, EventKind::HttpV2) if simple_responses => {
                let context = answer.context(event.kind);
                serde_json::to_vec(&SimpleAnswer {
                    is_authorized: context.is_some(),
                    context,
                })
            }
            (answer, kind) => answer.iam(kind, &event.arn.whole_stage()),
        };
        match document {
            Ok(document) if document.len() <= MAX_ANSWER && self.is_clean() => {
                Encoded::Done(Ok(document))
            }
            _ => Encoded::Unfit,
        }
    }

    fn iam(self, kind: EventKind, resource: &str) -> serde_json::Result<Vec<u8>> {
        let context = self.context(kind);
        serde_json::to_vec(&IamAnswer {
            // Required, and must not be empty.
            principal_id: self
                .subject_tag()
                .filter(|tag| !tag.is_empty())
                .unwrap_or("unknown"),
            policy_document: PolicyDocument {
                version: "2012-10-17",
                statement: [Statement {
                    action: "execute-api:Invoke",
                    effect: if context.is_some() { "Allow" } else { "Deny" },
                    resource,
                }],
            },
            context,
        })
    }

    fn context(&self, kind: EventKind) -> Option<Context<'_>> {
        let Self::Allow {
            allowed,
            subject_tag,
        } = self
        else {
            return None;
        };
        let jwt = allowed.jwt.expose();
        Some(Context {
            authorization: (!kind.is_http_api()).then(|| format!("Bearer {jwt}")),
            jwt: kind.is_http_api().then_some(jwt),
            client_id: &allowed.client_id,
            scope: &allowed.scope,
            subject_tag,
        })
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
        [
            allowed.jwt.expose(),
            &allowed.client_id,
            &allowed.scope,
            subject_tag,
        ]
        .iter()
        .all(|value| {
            value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._~:/+= -".contains(&b))
        })
    }
}
