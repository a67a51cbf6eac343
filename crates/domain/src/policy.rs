//! Who may pass which route. Evaluated on every invocation, cache or not
//! (invariant 5); what matches no route is refused.

use crate::config::{Config, RouteConfig};
use crate::grant::{Grant, TokenMeta};
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Whose token passes a route.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenDemand {
    /// A user's or a machine's.
    #[default]
    Either,
    /// A user's.
    User,
    /// A machine's.
    Client,
    /// None: the route is public and has no authorizer.
    None,
}

/// Why a known token does not pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No route matches.
    NoRoute,
    /// The route is not for users, or not for machines.
    TokenKind,
    /// The token is not good for this audience.
    Audience,
    /// The client may not pass.
    Client,
    /// A scope is missing.
    Scope,
    /// A role is missing.
    Role,
    /// The sign-in was of another kind, or too long ago.
    StepUp,
}

impl Refusal {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::TokenKind => "token_kind",
            Self::Audience => "audience",
            Self::Client => "client",
            Self::Scope => "scope",
            Self::Role => "role",
            Self::StepUp => "step_up",
        }
    }
}

/// All routes, in a tree by path segment: a look-up costs the same for ten routes
/// and for a thousand.
#[derive(Debug, Default)]
pub struct Policy {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    variable: Option<Box<Node>>,
    greedy: HashMap<String, RouteConfig>,
    here: HashMap<String, RouteConfig>,
}

impl Policy {
    /// Builds the tree. Routes were judged when the configuration was read.
    pub fn new(config: &Config) -> Self {
        let mut policy = Self::default();
        for route in &config.routes {
            if let Some(pattern) = PathPattern::parse(&route.path) {
                policy.insert(&pattern, route);
            }
        }
        policy
    }

    fn insert(&mut self, pattern: &PathPattern, route: &RouteConfig) {
        let mut node = &mut self.root;
        for segment in &pattern.0 {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Variable => node.variable.get_or_insert_default(),
                Segment::Greedy => {
                    node.greedy.insert(route.method.clone(), route.clone());
                    return;
                }
            };
        }
        node.here.insert(route.method.clone(), route.clone());
    }

    /// The route for what the gateway matched: its own `resource`, not the path
    /// that the client sent. Reading the path again, with rules of our own, is how
    /// gateways and authorizers come to disagree (D34).
    ///
    /// The most specific path wins; if it does not have the method, nothing does.
    pub fn find(&self, method: &str, resource: &str) -> Option<&RouteConfig> {
        let pattern = PathPattern::parse(resource)?;
        let routes = self.root.find(&pattern.0)?;
        routes.get(method).or_else(|| routes.get("ANY"))
    }
}

impl Node {
    fn find(&self, segments: &[Segment]) -> Option<&HashMap<String, RouteConfig>> {
        let Some((first, rest)) = segments.split_first() else {
            return Some(&self.here).filter(|routes| !routes.is_empty());
        };
        let greedy = Some(&self.greedy).filter(|routes| !routes.is_empty());
        match first {
            Segment::Literal(text) => self.literals.get(text).and_then(|node| node.find(rest)),
            Segment::Variable => None,
            Segment::Greedy => return greedy,
        }
        .or_else(|| self.variable.as_ref().and_then(|node| node.find(rest)))
        .or(greedy)
    }
}

/// A path as API Gateway writes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern(Vec<Segment>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Literal(String),
    /// `{id}`: one segment.
    Variable,
    /// `{proxy+}`: all the rest; only at the end.
    Greedy,
}

impl PathPattern {
    /// Reads `/orders/{id}` or `/files/{proxy+}`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        let path = text.strip_prefix('/')?;
        if path.is_empty() {
            return Some(Self(segments));
        }
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            segments.push(
                match part.strip_prefix('{').map(|name| name.strip_suffix('}')) {
                    None if is_literal(part) => Segment::Literal(part.into()),
                    Some(Some(name)) if is_name(name) => Segment::Variable,
                    Some(Some(name)) if last && name.strip_suffix('+').is_some_and(is_name) => {
                        Segment::Greedy
                    }
                    _ => return None,
                },
            );
        }
        Some(Self(segments))
    }

    /// The pattern without the names of its variables: two routes of one shape
    /// are one route.
    pub fn shape(&self) -> String {
        self.0.iter().fold(String::new(), |shape, segment| {
            shape
                + "/"
                + match segment {
                    Segment::Literal(text) => text,
                    Segment::Variable => "{}",
                    Segment::Greedy => "{+}",
                }
        })
    }
}

fn is_literal(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;=:@".contains(&b))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// Whether the holder of a token passes `route`.
///
/// # Errors
///
/// The first condition that does not hold.
pub fn judge(
    route: &RouteConfig,
    grant: &Grant,
    meta: &TokenMeta,
    now: UnixTime,
) -> Result<(), Refusal> {
    let user = grant.user.as_ref();
    let kind_fits = match route.token {
        TokenDemand::Either => true,
        TokenDemand::User => user.is_some(),
        TokenDemand::Client => user.is_none(),
        // A public route has no authorizer; if it is called all the same, the
        // template and the policy disagree.
        TokenDemand::None => false,
    };
    let roles = user.map_or(&[][..], |user| &user.roles);
    let acr = user.and_then(|user| user.acr.as_ref());
    let conditions = [
        (kind_fits, Refusal::TokenKind),
        (meta.is_good_for(&route.audience), Refusal::Audience),
        (
            route.clients.is_empty() || route.clients.iter().any(|id| id == meta.client_id()),
            Refusal::Client,
        ),
        (
            route.scopes.iter().all(|scope| meta.scope.contains(scope)),
            Refusal::Scope,
        ),
        (
            route.any_scope.is_empty()
                || route
                    .any_scope
                    .iter()
                    .any(|scope| meta.scope.contains(scope)),
            Refusal::Scope,
        ),
        (
            route.roles.iter().all(|role| roles.contains(role)),
            Refusal::Role,
        ),
        (
            route.any_role.is_empty() || route.any_role.iter().any(|role| roles.contains(role)),
            Refusal::Role,
        ),
        (
            route.acr.is_empty() || acr.is_some_and(|acr| route.acr.contains(acr)),
            Refusal::StepUp,
        ),
        (
            route.max_age.is_none_or(|age| {
                user.is_some_and(|user| !user.auth_time.plus(age).has_passed(now))
            }),
            Refusal::StepUp,
        ),
    ];
    conditions
        .into_iter()
        .find(|(holds, _)| !holds)
        .map_or(Ok(()), |(_, refusal)| Err(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, grant_of, meta};

    fn find<'a>(policy: &'a Policy, method: &str, resource: &str) -> Option<&'a str> {
        policy
            .find(method, resource)
            .map(|route| route.path.as_str())
    }

    #[test]
    fn the_most_specific_path_wins_and_the_rest_is_refused() {
        let mut config = config();
        let template = config.routes[0].clone();
        config.routes = [
            ("GET", "/orders"),
            ("GET", "/orders/{id}"),
            ("ANY", "/orders/{id}/items"),
            ("POST", "/orders/{id}/items"),
            ("GET", "/orders/new"),
            ("ANY", "/files/{proxy+}"),
            ("GET", "/"),
        ]
        .map(|(method, path)| RouteConfig {
            method: method.into(),
            path: path.into(),
            ..template.clone()
        })
        .to_vec();
        let policy = Policy::new(&config);
        let cases = [
            ("GET", "/orders", Some("/orders")),
            ("POST", "/orders", None),
            ("get", "/orders", None),
            ("GET", "/orders/", None),
            ("GET", "/orders/{order}", Some("/orders/{id}")),
            ("GET", "/orders/7", Some("/orders/{id}")),
            ("GET", "/orders/new", Some("/orders/new")),
            ("DELETE", "/orders/new", None),
            ("PATCH", "/orders/{id}/items", Some("/orders/{id}/items")),
            ("GET", "/orders/{proxy+}", None),
            ("GET", "/files/{proxy+}", Some("/files/{proxy+}")),
            ("GET", "/files/a/b", Some("/files/{proxy+}")),
            ("GET", "/files", None),
            ("GET", "/{proxy+}", None),
            ("GET", "/", Some("/")),
            ("GET", "", None),
            ("GET", "/*", None),
            ("GET", "/orders//", None),
        ];
        for (method, resource, expected) in cases {
            assert_eq!(
                find(&policy, method, resource),
                expected,
                "{method} {resource}"
            );
        }
        assert_eq!(
            policy.find("POST", "/orders/{id}/items").unwrap().method,
            "POST"
        );
    }

    #[test]
    fn each_condition_refuses_by_itself() {
        type Edit = fn(&mut RouteConfig);
        let base = RouteConfig {
            audience: "orders".into(),
            ..config().routes[0].clone()
        };
        let now = UnixTime(10_000);
        let (user, meta) = (grant_of("alice"), meta());
        assert_eq!(judge(&base, &user, &meta, now), Ok(()));
        let cases: [(Edit, Result<(), Refusal>); 18] = [
            (|r| r.token = TokenDemand::User, Ok(())),
            (|r| r.token = TokenDemand::Client, Err(Refusal::TokenKind)),
            (|r| r.token = TokenDemand::None, Err(Refusal::TokenKind)),
            (|r| r.audience = "elsewhere".into(), Err(Refusal::Audience)),
            (|r| r.clients = vec!["app".into()], Ok(())),
            (|r| r.clients = vec!["other".into()], Err(Refusal::Client)),
            (|r| r.scopes = vec!["orders:read".into()], Ok(())),
            (
                |r| r.scopes = vec!["orders:read".into(), "orders:write".into()],
                Err(Refusal::Scope),
            ),
            (
                |r| r.any_scope = vec!["orders:read".into(), "orders:write".into()],
                Ok(()),
            ),
            (
                |r| r.any_scope = vec!["orders:write".into()],
                Err(Refusal::Scope),
            ),
            (|r| r.roles = vec!["admin".into(), "user".into()], Ok(())),
            (
                |r| r.roles = vec!["admin".into(), "owner".into()],
                Err(Refusal::Role),
            ),
            (
                |r| r.any_role = vec!["owner".into(), "admin".into()],
                Ok(()),
            ),
            (|r| r.any_role = vec!["owner".into()], Err(Refusal::Role)),
            (|r| r.acr = vec!["gold".into()], Ok(())),
            (|r| r.acr = vec!["platinum".into()], Err(Refusal::StepUp)),
            (|r| r.max_age = Some(9_001), Ok(())),
            (|r| r.max_age = Some(9_000), Err(Refusal::StepUp)),
        ];
        for (i, (edit, expected)) in cases.into_iter().enumerate() {
            let mut route = base.clone();
            edit(&mut route);
            assert_eq!(judge(&route, &user, &meta, now), expected, "case {i}");
        }
    }

    #[test]
    fn a_machine_has_no_roles_and_never_signed_in() {
        let machine = Grant {
            user: None,
            ..grant_of("alice")
        };
        let base = RouteConfig {
            audience: "orders".into(),
            ..config().routes[0].clone()
        };
        for (edit, expected) in [
            ((|_| {}) as fn(&mut RouteConfig), Ok(())),
            (|r| r.token = TokenDemand::Client, Ok(())),
            (|r| r.token = TokenDemand::User, Err(Refusal::TokenKind)),
            (|r| r.roles = vec!["admin".into()], Err(Refusal::Role)),
            (|r| r.max_age = Some(u64::MAX), Err(Refusal::StepUp)),
        ] {
            let mut route = base.clone();
            edit(&mut route);
            assert_eq!(judge(&route, &machine, &meta(), UnixTime(10_000)), expected);
        }
    }
}
