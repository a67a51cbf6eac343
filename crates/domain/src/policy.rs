//! Who may pass which route. Evaluated on every invocation, cache or not
//! (invariant 5); what matches no route is refused.

mod reach;

pub use reach::Reach;

use crate::config::{Config, FieldConfig, RouteConfig};
use crate::grant::{Grant, TokenMeta};
use crate::target;
use crate::time::UnixTime;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::sync::Arc;

/// The method of a WebSocket's `$connect`. No HTTP route has it, and `ANY` does not
/// stand for it: what lets requests in must not open connections by accident.
pub const CONNECT: &str = "CONNECT";

/// The path of a WebSocket's `$connect`: one per API, whatever its stage.
pub const CONNECT_PATH: &str = "/$connect";

/// The HTTP request that every AppSync operation is.
pub const GRAPHQL: (&str, &str) = ("POST", "/graphql");

/// Whose token passes a route.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Whether a route takes proofs of possession (RFC 9449).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DpopDemand {
    /// Nothing is said: it does where its authorizer is asked for every request.
    #[default]
    Unsaid,
    /// `"optional"`: it does, beside tokens that are bound to nothing. Its authorizer
    /// is asked for every request.
    Optional,
    /// `true`: only tokens that are bound to a key pass.
    Required,
}

impl DpopDemand {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's `skip_serializing_if` calls it so"
    )]
    pub(crate) fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
}

impl<'de> Deserialize<'de> for DpopDemand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Switch;

        impl Visitor<'_> for Switch {
            type Value = DpopDemand;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or \"optional\" as dpop")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<DpopDemand, E> {
                Ok(if on {
                    DpopDemand::Required
                } else {
                    DpopDemand::Unsaid
                })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<DpopDemand, E> {
                if word == "optional" {
                    Ok(DpopDemand::Optional)
                } else {
                    Err(E::invalid_value(Unexpected::Str(word), &self))
                }
            }
        }

        deserializer.deserialize_any(Switch)
    }
}

impl Serialize for DpopDemand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unsaid => serializer.serialize_bool(false),
            Self::Optional => serializer.serialize_str("optional"),
            Self::Required => serializer.serialize_bool(true),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for DpopDemand {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DpopDemand".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Whether a route takes proofs of possession (RFC 9449).",
            "enum": [false, "optional", true],
        })
    }
}

/// Why a known token does not pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No route matches.
    NoRoute,
    /// The route is not for users, or not for machines.
    TokenKind,
    /// The token is bound to no key.
    Dpop,
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
            Self::Dpop => "dpop",
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
    /// Whether a literal of a path holds a character that may be percent-encoded instead.
    has_reserved_literals: bool,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    variable: Option<Box<Node>>,
    greedy: Methods,
    here: Methods,
}

/// The routes of one path.
type Methods = HashMap<String, Entry>;

/// A route, and what an answer about it may say.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The route.
    pub route: RouteConfig,
    /// What a policy about it covers.
    pub reach: Arc<Reach>,
}

impl Policy {
    /// Builds the tree. Routes were judged when the configuration was read.
    pub fn new(config: &Config) -> Self {
        let routes: Vec<_> = config
            .routes
            .iter()
            .filter_map(|route| Some((PathPattern::parse(&route.path)?, route)))
            .collect();
        // First as they are: how far an answer may reach depends on all of them.
        let mut plain = Self::default();
        for (pattern, route) in &routes {
            plain.insert(pattern, route, Arc::default());
        }
        let mut policy = Self {
            has_reserved_literals: routes
                .iter()
                .any(|(pattern, route)| route.method != CONNECT && pattern.has_reserved_literals()),
            ..Self::default()
        };
        let reaches = reach::all(&routes, &plain);
        for ((pattern, route), reach) in routes.iter().zip(reaches) {
            policy.insert(pattern, route, Arc::new(reach));
        }
        policy
    }

    /// Whether a literal of a path holds a character that a client may percent-encode
    /// instead: the gateway would then find another route than the service does.
    pub fn has_reserved_literals(&self) -> bool {
        self.has_reserved_literals
    }

    fn insert(&mut self, pattern: &PathPattern, route: &RouteConfig, reach: Arc<Reach>) {
        let entry = Entry {
            route: route.clone(),
            reach,
        };
        let mut node = &mut self.root;
        for segment in &pattern.0 {
            node = match segment {
                Segment::Literal(text) => {
                    let text = target::canonical(text.as_str().into()).into_owned();
                    node.literals.entry(text).or_default()
                }
                Segment::Variable => node.variable.get_or_insert_default(),
                Segment::Greedy => {
                    node.greedy.insert(route.method.clone(), entry);
                    return;
                }
            };
        }
        node.here.insert(route.method.clone(), entry);
    }

    /// The route for what the gateway matched: its own `resource`, not the path
    /// that the client sent. Reading the path again, with rules of our own, is how
    /// gateways and authorizers come to disagree (D34).
    ///
    /// The most specific path wins; if it does not have the method, nothing does.
    /// Allocates nothing, and costs the same for ten routes and for a thousand.
    pub fn find(&self, method: &str, resource: &str) -> Option<&RouteConfig> {
        self.entry(method, resource).map(|entry| &entry.route)
    }

    /// As [`Policy::find`], with what an answer about the route may say.
    pub fn entry(&self, method: &str, resource: &str) -> Option<&Entry> {
        // One path has one spelling.
        if resource.contains('%') {
            let canonical = target::canonical(resource.into());
            return self.entry_of(method, &canonical);
        }
        self.entry_of(method, resource)
    }

    fn entry_of(&self, method: &str, resource: &str) -> Option<&Entry> {
        let path = resource.strip_prefix('/')?;
        if !segments(path).all(|segment| segment.is_some()) {
            return None;
        }
        let routes = self.root.find((!path.is_empty()).then_some(path))?;
        let any = || routes.get("ANY").filter(|_| method != CONNECT);
        routes.get(method).or_else(any)
    }
}

impl Node {
    /// `path` is well-formed; none: the path ends here.
    fn find(&self, path: Option<&str>) -> Option<&Methods> {
        let some = |routes: &'_ Methods| !routes.is_empty();
        let Some(path) = path else {
            return Some(&self.here).filter(|routes| some(routes));
        };
        let greedy = Some(&self.greedy).filter(|routes| some(routes));
        let (first, rest) = path
            .split_once('/')
            .map_or((path, None), |(first, rest)| (first, Some(rest)));
        match Part::read(first, rest.is_none())? {
            Part::Literal(text) => self.literals.get(text).and_then(|node| node.find(rest)),
            Part::Variable => None,
            Part::Greedy => return greedy,
        }
        .or_else(|| self.variable.as_ref().and_then(|node| node.find(rest)))
        .or(greedy)
    }
}

/// One segment of a path, as it is written.
#[derive(Clone, Copy)]
enum Part<'a> {
    Literal(&'a str),
    Variable,
    Greedy,
}

impl<'a> Part<'a> {
    fn read(part: &'a str, last: bool) -> Option<Self> {
        match part.strip_prefix('{').map(|name| name.strip_suffix('}')) {
            None if is_literal(part) => Some(Self::Literal(part)),
            Some(Some(name)) if is_name(name) => Some(Self::Variable),
            Some(Some(name)) if last && name.strip_suffix('+').is_some_and(is_name) => {
                Some(Self::Greedy)
            }
            _ => None,
        }
    }
}

/// The segments of a path without its first slash; none for one that is malformed.
fn segments(path: &str) -> impl Iterator<Item = Option<Part<'_>>> {
    let mut parts = path.split('/').peekable();
    let mut done = path.is_empty();
    std::iter::from_fn(move || {
        let part = parts.next().filter(|_| !done)?;
        done = parts.peek().is_none();
        Some(Part::read(part, done))
    })
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
        segments(text.strip_prefix('/')?)
            .map(|segment| {
                Some(match segment? {
                    Part::Literal(text) => Segment::Literal(text.to_owned()),
                    Part::Variable => Segment::Variable,
                    Part::Greedy => Segment::Greedy,
                })
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Whether every path that `other` matches is one that this matches too.
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.0.iter();
        for mine in &self.0 {
            let fits = match (mine, theirs.next()) {
                (Segment::Greedy, Some(_)) => return true,
                (Segment::Literal(mine), Some(Segment::Literal(theirs))) => mine == theirs,
                (Segment::Variable, Some(theirs)) => *theirs != Segment::Greedy,
                (Segment::Literal(_), _) | (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        theirs.next().is_none()
    }

    /// Whether a literal holds what may be percent-encoded instead ([`target::Reading`]).
    fn has_reserved_literals(&self) -> bool {
        let is_reserved = |byte: u8| target::Reading::Routed.accepts_encoded_ascii(byte);
        let mut segments = self.0.iter();
        segments.any(
            |segment| matches!(segment, Segment::Literal(text) if text.bytes().any(is_reserved)),
        )
    }

    /// Whether it matches one path alone.
    pub fn is_literal(&self) -> bool {
        let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        self.0.iter().all(is_literal)
    }

    /// Whether its first segment is this.
    pub fn is_below(&self, prefix: &str) -> bool {
        matches!(self.0.first(), Some(Segment::Literal(first)) if first == prefix)
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

/// What a route, or a field of a graph, asks of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Demands<'a> {
    /// Whose token it must be.
    pub token: TokenDemand,
    /// For which audience it must be good.
    pub audience: &'a str,
    /// To which clients it may have been issued; empty: all.
    pub clients: &'a [String],
    /// Scopes that it must all have.
    pub scopes: &'a [String],
    /// Scopes of which it must have one.
    pub any_scope: &'a [String],
    /// Roles that the user must all have.
    pub roles: &'a [String],
    /// Roles of which the user must have one.
    pub any_role: &'a [String],
    /// Authentication contexts of which the user's must be one.
    pub acr: &'a [String],
    /// The oldest acceptable sign-in, in seconds.
    pub max_age: Option<u64>,
    /// Whether it must be bound to a key.
    pub bound: bool,
}

impl RouteConfig {
    /// What it takes to pass.
    pub fn demands(&self) -> Demands<'_> {
        Demands {
            token: self.token,
            audience: &self.audience,
            clients: &self.clients,
            scopes: &self.scopes,
            any_scope: &self.any_scope,
            roles: &self.roles,
            any_role: &self.any_role,
            acr: &self.acr,
            max_age: self.max_age,
            bound: self.dpop == DpopDemand::Required,
        }
    }

    /// The fields that the holder of a token does not get, each rule for itself.
    pub fn denied_fields<'a>(
        &'a self,
        grant: &'a Grant,
        meta: &'a TokenMeta,
        now: UnixTime,
    ) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |field| {
                field
                    .demands(&self.audience)
                    .judge(grant, meta, now)
                    .is_err()
            })
            .flat_map(|field| field.names.iter().map(String::as_str))
    }

    /// For how long the same token gets the same answer, as far as it is a matter of
    /// time: a sign-in grows too old for what demands a fresh one.
    pub fn verdict_holds_for(&self, grant: &Grant, now: UnixTime) -> Option<u64> {
        let signed_in = grant.user.as_ref()?.auth_time?;
        std::iter::once(self.max_age)
            .chain(self.fields.iter().map(|field| field.max_age))
            .flatten()
            .map(|age| signed_in.plus(age))
            .filter(|end| !end.has_passed(now))
            .min()
            .map(|end| end.since(now))
    }
}

impl FieldConfig {
    /// What it takes to get the fields, behind a route of `audience`.
    pub fn demands<'a>(&'a self, audience: &'a str) -> Demands<'a> {
        Demands {
            token: self.token,
            audience,
            clients: &self.clients,
            scopes: &self.scopes,
            any_scope: &self.any_scope,
            roles: &self.roles,
            any_role: &self.any_role,
            acr: &self.acr,
            max_age: self.max_age,
            // As for the whole graph.
            bound: false,
        }
    }
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
    route.demands().judge(grant, meta, now)
}

impl Demands<'_> {
    /// Whether any token that is good for the audience has it.
    pub fn is_empty(&self) -> bool {
        let nothing = Self {
            token: TokenDemand::Either,
            audience: self.audience,
            clients: &[],
            scopes: &[],
            any_scope: &[],
            roles: &[],
            any_role: &[],
            acr: &[],
            max_age: None,
            bound: false,
        };
        *self == nothing
    }

    /// Whether the holder of a token has all of it.
    ///
    /// # Errors
    ///
    /// The first condition that does not hold.
    pub fn judge(&self, grant: &Grant, meta: &TokenMeta, now: UnixTime) -> Result<(), Refusal> {
        let user = grant.user.as_ref();
        let kind_fits = match self.token {
            TokenDemand::Either => true,
            TokenDemand::User => user.is_some(),
            TokenDemand::Client => user.is_none(),
            // A public route has no authorizer; if it is called all the same, the
            // template and the policy disagree.
            TokenDemand::None => false,
        };
        let roles = user.map_or(&[][..], |user| &user.roles);
        let acr = user.and_then(|user| user.acr.as_ref());
        let signed_in = user.and_then(|user| user.auth_time);
        let scope = &meta.scope;
        let conditions = [
            (kind_fits, Refusal::TokenKind),
            (!self.bound || meta.cnf.is_some(), Refusal::Dpop),
            (meta.is_good_for(self.audience), Refusal::Audience),
            (
                self.clients.is_empty() || self.clients.iter().any(|id| id == meta.client_id()),
                Refusal::Client,
            ),
            (
                self.scopes.iter().all(|each| scope.contains(each)),
                Refusal::Scope,
            ),
            (
                self.any_scope.is_empty() || self.any_scope.iter().any(|each| scope.contains(each)),
                Refusal::Scope,
            ),
            (
                self.roles.iter().all(|role| roles.contains(role)),
                Refusal::Role,
            ),
            (
                self.any_role.is_empty() || self.any_role.iter().any(|role| roles.contains(role)),
                Refusal::Role,
            ),
            (
                self.acr.is_empty() || acr.is_some_and(|acr| self.acr.contains(acr)),
                Refusal::StepUp,
            ),
            (
                // Nobody knows how old it is, if the provider does not say.
                self.max_age.is_none_or(|age| {
                    signed_in.is_some_and(|signed_in| !signed_in.plus(age).has_passed(now))
                }),
                Refusal::StepUp,
            ),
        ];
        conditions
            .into_iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, refusal)| Err(refusal))
    }
}

/// The routes that ask for a token, if all of them ask for the same and have paths
/// without variables: then one answer can name them all, and a TOKEN authorizer, whose
/// cache goes by the token alone, may be kept. Each is a method and a path.
pub fn one_verdict(config: &Config) -> Option<Vec<(String, String)>> {
    let routes = || {
        let mut routes = config.routes.iter();
        std::iter::from_fn(move || routes.find(|route| route.token != TokenDemand::None))
    };
    let first = routes().next()?.demands();
    let is_one = routes().all(|route| {
        let pattern = PathPattern::parse(&route.path);
        route.demands() == first
            && route.fields.is_empty()
            && route.method != CONNECT
            && pattern.is_some_and(|pattern| pattern.is_literal())
    });
    let list = || routes().map(|route| (route.method.clone(), route.path.clone()));
    // More would not fit into an answer.
    (is_one && routes().count() <= 16).then(|| list().collect())
}

#[cfg(test)]
mod boundaries;

#[cfg(test)]
mod tests;
