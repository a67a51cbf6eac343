//! `cloakroom explain`: which route matches, and which of its conditions fails first.

use crate::caller::Caller;
use crate::failure::Failure;
use crate::place::{Aws, Place};
use crate::{Answer, print};
use clap::builder::NonEmptyStringValueParser;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_aws::kms::KmsRoots;
use cloakroom_domain::authorize::Rejection;
use cloakroom_domain::claims::UserClaims;
use cloakroom_domain::config::{Config, RouteConfig};
use cloakroom_domain::grant::{self, Grant, TokenFault, TokenMeta};
use cloakroom_domain::policy::{self, Policy, Refusal, TokenDemand};
use cloakroom_domain::ports::{Clock, FindFamily, ReadEpoch, Roots, StoreError};
use cloakroom_domain::target::{self, Reading};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::{OpaqueToken, TokenKind};
use cloakroom_gateway::settings::Need;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Says whether a caller may pass, by which route, and what is missing
///
/// The caller is a user, just signed in, with exactly the roles and scopes given; with
/// --token it is the holder of that token, looked up in the table of the environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cloakroom explain GET /api/orders --scope orders:read
  cloakroom explain GET /api/reports --role admin
  cloakroom explain GET /api/orders --client --scope orders:read
  cloakroom explain GET /api/orders --token - < token.txt")]
pub(crate) struct Args {
    /// The HTTP method
    method: String,
    /// The path, as a client sends it or as API Gateway names the resource
    path: String,
    /// A role of the user (repeat for more)
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope of the token (repeat for more)
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A machine with a token of its own, instead of a user
    #[arg(long, conflicts_with_all = ["roles", "acr", "signed_in"])]
    client: bool,
    /// To which client the token was issued [default: a browser session]
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    client_id: Option<String>,
    /// The token is bound to a key and comes with a proof of it (DPoP)
    #[arg(long)]
    dpop: bool,
    /// The authentication context of the user
    #[arg(long)]
    acr: Option<String>,
    /// How many seconds ago the user signed in
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    signed_in: u64,
    /// A real token; `-` reads it from standard input, where no process list shows it
    #[arg(long, conflicts_with_all = ["roles", "scopes", "client", "client_id", "dpop", "acr", "signed_in"])]
    token: Option<Presented>,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// A token as it stands on the command line.
#[derive(Clone)]
struct Presented(Zeroizing<String>);

impl FromStr for Presented {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl Presented {
    /// The token; `-` stands for a line of standard input.
    fn read(&self) -> Result<Zeroizing<String>, Failure> {
        if self.0.as_str() != "-" {
            return Ok(self.0.clone());
        }
        let mut line = Zeroizing::new(String::new());
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|_| Failure::new("standard input cannot be read as text"))?;
        Ok(Zeroizing::new(line.trim().to_owned()))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented([redacted])")
    }
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Report {
    allowed: bool,
    route: Option<Route>,
    /// The condition that failed first; absent if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    explanation: String,
    /// Of a caller that may pass: what AppSync is told to hold back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied_fields: Vec<DeniedField>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
}

/// A field of the graph that the caller does not get.
#[derive(Debug, Serialize)]
struct DeniedField {
    name: String,
    /// The condition that failed first.
    reason: &'static str,
}

/// The route that matched.
#[derive(Debug, Serialize)]
struct Route {
    method: String,
    path: String,
    audience: String,
}

/// What a token is, without the token and without a claim.
#[derive(Debug, Serialize)]
struct Token {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(flatten)]
    good: Option<GoodToken>,
}

#[derive(Debug, Serialize)]
struct GoodToken {
    holder: &'static str,
    client_id: String,
    scope: String,
    expires_in: u64,
}

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Answer, Failure> {
    let config = place.config()?;
    let now = cloakroom_aws::world().now();
    let request = Request::of(args);
    let report = match &args.token {
        None => {
            let (grant, meta) = described(&config, args, now).papers(now);
            request.judge(&config, &grant, &meta, now)
        }
        Some(presented) => {
            let text = presented.read()?;
            match look_up(&config, &text, now).await? {
                Found::Good(papers) => {
                    let (grant, meta, family) = *papers;
                    Report {
                        token: Some(Token::good(&grant, &meta, family, now)),
                        ..request.judge(&config, &grant, &meta, now)
                    }
                }
                Found::Bad(rejection, family) => Report::rejected(rejection, family),
            }
        }
    };
    if args.json {
        print::json(&report);
    } else {
        report.print();
    }
    Ok(report.allowed.into())
}

/// The caller that the options describe.
fn described(config: &Config, args: &Args, now: UnixTime) -> Caller {
    let user = UserClaims {
        roles: args.roles.clone(),
        acr: args.acr.clone(),
        auth_time: Some(UnixTime(now.0.saturating_sub(args.signed_in))),
        ..UserClaims::default()
    };
    let client = args.client_id.as_deref().and_then(|id| config.client(id));
    Caller {
        user: (!args.client).then_some(user),
        // A machine of no name is none of those that a route lists.
        client: args
            .client_id
            .clone()
            .or_else(|| args.client.then(String::new)),
        scopes: args.scopes.iter().cloned().collect(),
        audiences: client.map_or_else(Vec::new, |client| client.audiences.clone()),
        dpop: args.dpop,
    }
}

/// What is asked for.
struct Request {
    method: String,
    /// Without the query; none for what is no request target.
    path: Option<String>,
}

impl Request {
    fn of(args: &Args) -> Self {
        Self {
            method: args.method.to_ascii_uppercase(),
            path: target::path_of(&args.path).map(str::to_owned),
        }
    }

    fn judge(&self, config: &Config, grant: &Grant, meta: &TokenMeta, now: UnixTime) -> Report {
        let policy = Policy::new(config);
        let path = self.accepted(config, &policy);
        let Some(route) = path.and_then(|path| policy.find(&self.method, path)) else {
            return Report {
                allowed: false,
                route: None,
                reason: Some(Refusal::NoRoute.name()),
                explanation: path.map_or_else(not_accepted, |path| no_route(&policy, path)),
                denied_fields: Vec::new(),
                token: None,
            };
        };
        let refusal = match route.token {
            TokenDemand::None => None,
            TokenDemand::User | TokenDemand::Client | TokenDemand::Either => {
                policy::judge(route, grant, meta, now).err()
            }
        };
        Report {
            allowed: refusal.is_none(),
            route: Some(Route {
                method: route.method.clone(),
                path: route.path.clone(),
                audience: route.audience.clone(),
            }),
            reason: refusal.map(Refusal::name),
            explanation: match refusal {
                Some(refusal) => missing(route, refusal),
                None if route.token == TokenDemand::None => {
                    "the route is public: it asks for no token".to_owned()
                }
                None => "every condition of the route holds".to_owned(),
            },
            denied_fields: match refusal {
                None => denied_fields(route, grant, meta, now),
                Some(_) => Vec::new(),
            },
            token: None,
        }
    }

    /// The path, if the authorizer accepts it: as a client may write it (to a REST API,
    /// unless the configuration says that somebody else asks), or as the gateway names one
    /// of its resources.
    fn accepted(&self, config: &Config, policy: &Policy) -> Option<&str> {
        let path = self.path.as_deref()?;
        let asked_by = &config.authorizer;
        let strict =
            asked_by.token_authorizer || asked_by.trust_forwarded || policy.has_reserved_literals();
        let reading = if strict {
            Reading::Written
        } else {
            Reading::Routed
        };
        let is_resource = || config.routes.iter().any(|route| route.path == path);
        (reading.accepts(path) || is_resource()).then_some(path)
    }
}

fn not_accepted() -> String {
    "the path is not accepted, because other programs may read it otherwise: see docs/authorizer.md"
        .to_owned()
}

fn no_route(policy: &Policy, path: &str) -> String {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let others: Vec<_> = methods
        .into_iter()
        .filter(|method| policy.find(method, path).is_some())
        .collect();
    if others.is_empty() {
        "no route has this path".to_owned()
    } else {
        format!("the path has {} alone", others.join(", "))
    }
}

impl Report {
    fn rejected(rejection: Rejection, family: Option<String>) -> Self {
        Self {
            allowed: false,
            route: None,
            reason: Some(rejection.name()),
            explanation: told(rejection).to_owned(),
            denied_fields: Vec::new(),
            token: Some(Token {
                state: rejection.name(),
                family,
                good: None,
            }),
        }
    }

    fn print(&self) {
        if let Some(token) = &self.token {
            token.print();
        }
        if let Some(route) = &self.route {
            print::line(&match route.audience.as_str() {
                "" => format!("route {} {}", route.method, route.path),
                audience => format!(
                    "route {} {} (audience {audience})",
                    route.method, route.path
                ),
            });
        }
        print::line(&match self.reason {
            None => format!("allowed: {}", self.explanation),
            Some(reason) => format!("refused ({reason}): {}", self.explanation),
        });
        for DeniedField { name, reason } in &self.denied_fields {
            print::line(&format!("without the field {name} ({reason})"));
        }
    }
}

/// Each rule for itself, as [`RouteConfig::denied_fields`] has it, with what it is that
/// the caller lacks.
fn denied_fields(
    route: &RouteConfig,
    grant: &Grant,
    meta: &TokenMeta,
    now: UnixTime,
) -> Vec<DeniedField> {
    let rules = route.fields.iter().filter_map(|field| {
        let demands = field.demands(&route.audience);
        let refusal = demands.judge(grant, meta, now).err()?;
        Some((field, refusal.name()))
    });
    rules
        .flat_map(|(field, reason)| {
            let names = field.names.iter().cloned();
            names.map(move |name| DeniedField { name, reason })
        })
        .collect()
}

impl Token {
    fn good(grant: &Grant, meta: &TokenMeta, family: String, now: UnixTime) -> Self {
        let ends = [
            Some(meta.expires_at),
            meta.idle_expires_at,
            Some(grant.absolute_expires_at),
        ];
        let ends = ends.into_iter().flatten().min().unwrap_or(now);
        Self {
            state: "live",
            family: Some(family),
            good: Some(GoodToken {
                holder: if grant.user.is_some() {
                    "user"
                } else {
                    "client"
                },
                client_id: meta.client_id().to_owned(),
                scope: meta.scope.to_string(),
                expires_in: ends.since(now),
            }),
        }
    }

    fn print(&self) {
        if let (Some(family), Some(good)) = (&self.family, &self.good) {
            print::line(&format!(
                "token {} of family {family}: of a {}, issued to {}, scope \"{}\", {} s left",
                self.state, good.holder, good.client_id, good.scope, good.expires_in
            ));
        }
    }
}

/// What a refused caller would need. Names what the route demands, never what the
/// caller has: of a real token that would be claims.
fn missing(route: &RouteConfig, refusal: Refusal) -> String {
    let listed = |what: &str, all: &[String], any: &[String]| {
        let mut parts = Vec::new();
        if !all.is_empty() {
            parts.push(format!("all of the {what}s {}", all.join(", ")));
        }
        if !any.is_empty() {
            parts.push(format!("one of the {what}s {}", any.join(", ")));
        }
        format!("the route needs {}", parts.join(" and "))
    };
    match refusal {
        Refusal::NoRoute => "no route matches".to_owned(),
        Refusal::TokenKind if route.token == TokenDemand::User => {
            "the route is for users alone".to_owned()
        }
        Refusal::TokenKind => "the route is for machines alone".to_owned(),
        Refusal::Dpop => "the route takes tokens that are bound to a key alone (DPoP)".to_owned(),
        Refusal::Audience => format!("the token is not good for audience {}", route.audience),
        Refusal::Client => format!(
            "the route is for tokens of these clients alone: {}",
            route.clients.join(", ")
        ),
        Refusal::Scope => listed("scope", &route.scopes, &route.any_scope),
        Refusal::Role => listed("role", &route.roles, &route.any_role),
        Refusal::StepUp => {
            let acr =
                (!route.acr.is_empty()).then(|| format!("with an acr of {}", route.acr.join(", ")));
            let age = route
                .max_age
                .map(|seconds| format!("less than {seconds} s ago"));
            let parts: Vec<_> = acr.into_iter().chain(age).collect();
            format!("the route needs a sign-in {}", parts.join(" and "))
        }
    }
}

/// Why a token is no good, for its holder's operator.
fn told(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Malformed => {
            "not one of our tokens: 76 characters that begin with cr_ and end with a checksum"
        }
        Rejection::WrongKind => {
            "one of our tokens, but neither an access token (cr_at_) nor a session (cr_st_)"
        }
        Rejection::NoFamily => "no grant belongs to it: never issued here, or forgotten long ago",
        Rejection::MalformedItem => "its item in the table is damaged",
        Rejection::Replayed => "it may be used once, and was",
        Rejection::Fault(TokenFault::Unknown) => {
            "its grant exists and does not have it: replaced, or never issued"
        }
        Rejection::Fault(TokenFault::Revoked) => "its grant was revoked, or ended by signing out",
        Rejection::Fault(TokenFault::Expired) => {
            "past its own, its idle or its grant's limit, or issued before the epoch"
        }
        Rejection::Fault(TokenFault::ClientGone) => {
            "issued to a client that is no longer configured"
        }
        Rejection::Fault(TokenFault::Retired) => "CLOAKROOM_MAC_KEYS does not list its MAC key",
        Rejection::Fault(TokenFault::Broken | TokenFault::Unreadable) => {
            "its seal does not open: the item was damaged or changed"
        }
        Rejection::Possession(_) => "it is bound to a key, of which a proof is needed (DPoP)",
    }
}

/// What the table says of a token.
enum Found {
    Good(Box<(Grant, TokenMeta, String)>),
    Bad(Rejection, Option<String>),
}

async fn look_up(config: &Config, text: &str, now: UnixTime) -> Result<Found, Failure> {
    let Ok(token) = OpaqueToken::parse(text) else {
        return Ok(Found::Bad(Rejection::Malformed, None));
    };
    let family = token.family().tag();
    if !matches!(token.kind(), TokenKind::Access | TokenKind::Session) {
        return Ok(Found::Bad(Rejection::WrongKind, Some(family)));
    }
    let settings = Place::settings(&[Need::Table, Need::MacKeys])?;
    let aws = Aws::connect().await?;
    let roots = KmsRoots::new(aws.kms, settings.mac_keys).roots().await?;
    let store = DynamoStore::new(aws.dynamodb, settings.table);
    let epoch = store.epoch().await?.max(settings.not_before);
    let record = match store.find_family(&token.family()).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Found::Bad(Rejection::NoFamily, Some(family))),
        Err(StoreError::Malformed(_)) => {
            return Ok(Found::Bad(Rejection::MalformedItem, Some(family)));
        }
        Err(error) => return Err(error.into()),
    };
    match grant::open(&record, &token, &roots, epoch, now) {
        Err(TokenFault::Unreadable) => Err(Failure::new(
            "the token's item was sealed by a later release",
        )),
        Err(fault) => Ok(Found::Bad(Rejection::Fault(fault), Some(family))),
        Ok(opened) => {
            let client = opened.meta.client.as_deref();
            if client.is_some_and(|id| config.client(id).is_none()) {
                let gone = Rejection::Fault(TokenFault::ClientGone);
                return Ok(Found::Bad(gone, Some(family)));
            }
            Ok(Found::Good(Box::new((opened.grant, opened.meta, family))))
        }
    }
}

#[cfg(test)]
mod tests;
