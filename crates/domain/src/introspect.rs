//! Introspection: a service, or the gateway before it, asks what a token is worth.
//!
//! RFC 7662 in JSON, RFC 9701 as a signed JWT, and the older phantom-token call
//! whose answer is the access token's JWT itself. A caller learns only about tokens
//! that are good for an audience of its own or were issued to itself; of all others,
//! whatever is wrong with them, it learns the same: not active (D46, D58).

use crate::authorize::Rejection;
use crate::client::{ClientCredentials, ClientError, Clients};
use crate::config::{AudienceConfig, ClientConfig, ClientKind, Config};
use crate::delegation::Actor;
use crate::dpop::Confirmation;
use crate::grant::{Opened, TokenFault};
use crate::identity::{Identity, Mint, NewSlot, Origin, Outage};
use crate::jwt::{self, Jwt};
use crate::ports::{
    Clock, FindFamily, ReadEpoch, Roots, Signer, StoreError, UpdateError, UpdateFamily, World,
};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How long a signed "not active" is given again, so that whoever sends garbage
/// makes us pay KMS once a minute and not once a request (D72).
const INACTIVE_SECONDS: u64 = 60;

/// What is asked.
pub struct Question<'a> {
    /// The text that may be a token.
    pub token: &'a str,
    /// The audience as which the caller asks, when it has several.
    pub resource: Option<&'a str>,
}

impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question([redacted])")
    }
}

/// The answer of RFC 7662 §2.2.
#[derive(Serialize)]
pub struct Introspection {
    active: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    token: Option<Description>,
}

/// What a caller may know about a live token. Neither name nor roles: those are the
/// audience's claims, and the JWT has them.
#[derive(Serialize)]
struct Description {
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    client_id: String,
    token_type: &'static str,
    exp: UnixTime,
    iat: UnixTime,
    sub: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor>,
    /// RFC 9449 §6.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
}

impl Introspection {
    /// All that is ever said about a token that is not active for the caller.
    pub const INACTIVE: Self = Self {
        active: false,
        token: None,
    };
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection(active: {})", self.active)
    }
}

/// What a token is to a caller.
#[derive(Debug)]
pub enum Answer<T> {
    /// Alive and the caller's business: what was asked for.
    Active(T),
    /// Not. The caller does not learn why.
    Inactive(Inactive),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IntrospectError {
    /// The caller must say as which of its audiences it asks.
    NoResource,
    /// `resource` is no audience of the caller (RFC 8707 §2).
    InvalidTarget,
    /// We cannot tell: neither active nor inactive (invariant 3).
    Unavailable(Outage),
}

/// Why a token is not active; for logs and metrics alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Inactive {
    /// It is no good for anybody.
    Token(Rejection),
    /// It is alive, and none of this caller's business.
    NotForCaller,
    /// It is bound to a key, and nobody has proved to hold that.
    Bound,
}

impl Inactive {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token(rejection) => rejection.name(),
            Self::NotForCaller => "not_for_caller",
            Self::Bound => "bound",
        }
    }

    /// Whether it says that somebody wrote to the table who should not have.
    pub const fn is_alarming(self) -> bool {
        matches!(self, Self::Token(rejection) if rejection.is_alarming())
    }
}

/// Whom an answer was about and what it took; for logs and metrics alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// A keyed, truncated name of the subject.
    pub subject_tag: Option<String>,
    /// The family, hashed.
    pub family_tag: Option<String>,
    /// Where the JWT came from.
    pub jwt: Option<Origin>,
    /// Whether this was the token's first use.
    pub first_use: bool,
}

/// Answers callers that have proved who they are.
///
/// It remembers no identity: an answer is as of now (RFC 7662 §4).
#[derive(Debug)]
pub struct Introspector<S, G, R> {
    config: Arc<Config>,
    clients: Arc<Clients>,
    not_before: UnixTime,
    store: S,
    mint: Mint<G>,
    roots: R,
    world: World,
    /// By caller. Only configured clients get so far, so it is bounded.
    inactive: Mutex<HashMap<String, (UnixTime, Jwt)>>,
}

impl<S, G, R> Introspector<S, G, R>
where
    S: FindFamily + UpdateFamily + ReadEpoch,
    G: Signer,
    R: Roots,
{
    /// Puts together what introspection needs.
    pub fn new(
        config: Arc<Config>,
        not_before: UnixTime,
        store: S,
        signer: G,
        roots: R,
        world: World,
    ) -> Self {
        Self {
            mint: Mint::new(Arc::clone(&config), signer, world.clone()),
            clients: Arc::new(Clients::new(Arc::clone(&config), world.clone())),
            config,
            not_before,
            store,
            roots,
            world,
            inactive: Mutex::default(),
        }
    }

    /// The same, with clients that another service of this process knows too.
    #[must_use]
    pub fn sharing(self, clients: Arc<Clients>) -> Self {
        Self { clients, ..self }
    }

    /// The client that asks, if it is who it says. It must have proved it: what
    /// anybody may ask, anybody may scan (RFC 7662 §2.1).
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub fn caller(
        &self,
        credentials: &ClientCredentials<'_>,
    ) -> Result<&ClientConfig, ClientError> {
        let client = self.clients.authenticate(credentials)?;
        let is_known = client.kind == ClientKind::Confidential;
        is_known.then_some(client).ok_or(ClientError::Invalid)
    }

    /// What `caller` may know about a token.
    pub async fn describe(
        &self,
        caller: &ClientConfig,
        question: &Question<'_>,
    ) -> (Result<Answer<Introspection>, IntrospectError>, Facts) {
        let mut facts = Facts::default();
        let answer = self.description(caller, question, &mut facts).await;
        (No::settle(answer), facts)
    }

    /// The JWT that the authorizer would hand to services of the caller's audience.
    pub async fn access_jwt(
        &self,
        caller: &ClientConfig,
        question: &Question<'_>,
    ) -> (Result<Answer<Jwt>, IntrospectError>, Facts) {
        let mut facts = Facts::default();
        let answer = self.swap(caller, question, &mut facts).await;
        (No::settle(answer), facts)
    }

    /// An answer as a JWT for `caller` (RFC 9701 §5). It has neither `sub` nor `exp`
    /// of its own, and a type of its own, so that no service takes it for an access
    /// token (§8.1).
    ///
    /// # Errors
    ///
    /// When no signature could be had.
    pub async fn sign(&self, caller: &ClientConfig, answer: &Introspection) -> Result<Jwt, Outage> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            aud: &'a str,
            iat: UnixTime,
            token_introspection: &'a Introspection,
        }
        let now = self.world.now();
        let known = self.known_inactive(caller, now);
        if let Some(jwt) = known.filter(|_| !answer.active) {
            return Ok(jwt);
        }
        let claims = Claims {
            iss: &self.config.issuer,
            aud: &caller.id,
            iat: now,
            token_introspection: answer,
        };
        let typ = "token-introspection+jwt";
        let jwt = self.mint.sign(typ, &claims, now).await?;
        if !answer.active {
            let mut inactive = self.inactive.lock().unwrap_or_else(PoisonError::into_inner);
            inactive.insert(caller.id.clone(), (now, jwt.clone()));
        }
        Ok(jwt)
    }

    fn known_inactive(&self, caller: &ClientConfig, now: UnixTime) -> Option<Jwt> {
        let inactive = self.inactive.lock().unwrap_or_else(PoisonError::into_inner);
        let (made_at, jwt) = inactive.get(&caller.id)?;
        // A clock that went backwards makes nothing fresher.
        let fresh = now >= *made_at && now.since(*made_at) < INACTIVE_SECONDS;
        fresh.then(|| jwt.clone())
    }

    async fn description(
        &self,
        caller: &ClientConfig,
        question: &Question<'_>,
        facts: &mut Facts,
    ) -> Result<Introspection, No> {
        let resource = self.checked(caller, question.resource)?;
        let now = self.world.now();
        let identity = self.identity(question.token, now, facts).await?;
        let Opened { grant, meta, .. } = &identity.opened;
        let issued_to_caller = meta.client.as_deref() == Some(caller.id.as_str());
        // A caller sees of a token's audiences those that are its own.
        let aud: Vec<_> = match resource {
            Some(resource) => vec![resource],
            None if issued_to_caller => self
                .config
                .audiences
                .iter()
                .map(|a| a.id.as_str())
                .collect(),
            None => audiences(caller).collect(),
        };
        let aud: Vec<_> = aud
            .into_iter()
            .filter(|audience| meta.is_good_for(audience))
            .map(str::to_owned)
            .collect();
        if aud.is_empty() && !(issued_to_caller && resource.is_none()) {
            return Err(Inactive::NotForCaller.into());
        }
        self.accept(&identity, None, now, facts).await?;
        Ok(Introspection {
            active: true,
            token: Some(Description {
                scope: meta.scope.to_string(),
                client_id: meta.client_id().to_owned(),
                token_type: meta.token_type(),
                exp: meta.expires_at.min(grant.absolute_expires_at),
                iat: meta.issued_at,
                sub: jwt::subject(grant, meta),
                aud,
                iss: self.config.issuer.clone(),
                act: meta.delegation.act.clone(),
                cnf: meta.cnf.clone(),
            }),
        })
    }

    async fn swap(
        &self,
        caller: &ClientConfig,
        question: &Question<'_>,
        facts: &mut Facts,
    ) -> Result<Jwt, No> {
        let audience = match self.checked(caller, question.resource)? {
            Some(resource) => resource,
            None => own_audience(caller).ok_or(IntrospectError::NoResource)?,
        };
        let now = self.world.now();
        let identity = self.identity(question.token, now, facts).await?;
        if !identity.opened.meta.is_good_for(audience) {
            return Err(Inactive::NotForCaller.into());
        }
        // Whoever asks so hands on what it gets, and has seen no proof: a bound token
        // would be a bearer token here (RFC 9449 §7.2).
        if identity.opened.meta.cnf.is_some() {
            return Err(Inactive::Bound.into());
        }
        let found = self.mint.find_or_sign(&identity, audience, now).await?;
        facts.jwt = Some(found.origin);
        self.accept(&identity, found.slot, now, facts).await?;
        Ok(found.minted.jwt)
    }

    /// The audience that `resource` names, by its id or its URI, if it is one of the
    /// caller's.
    fn checked<'a>(
        &self,
        caller: &'a ClientConfig,
        resource: Option<&str>,
    ) -> Result<Option<&'a str>, IntrospectError> {
        let Some(resource) = resource else {
            return Ok(None);
        };
        let by_uri = |audience: &&AudienceConfig| audience.resource.as_deref() == Some(resource);
        let by_uri = self.config.audiences.iter().find(by_uri);
        let id = by_uri.map_or(resource, |audience| &audience.id);
        audiences(caller)
            .find(|each| *each == id)
            .map(Some)
            .ok_or(IntrospectError::InvalidTarget)
    }

    /// A live access token. Every other kind is none of a service's business.
    ///
    /// The same two reads for a token that does not exist and for one that is
    /// another's, so that the answer's time does not tell them apart (D58).
    async fn identity(&self, text: &str, now: UnixTime, facts: &mut Facts) -> Result<Identity, No> {
        let token = OpaqueToken::parse(text).map_err(|_| Rejection::Malformed)?;
        if token.kind() != TokenKind::Access {
            return Err(Rejection::WrongKind.into());
        }
        facts.family_tag = Some(token.family().tag());
        let epoch = self.store.epoch().await;
        let epoch = epoch.map_err(|error| Outage::from(&error))?;
        let record = match self.store.find_family(&token.family()).await {
            Ok(record) => record.ok_or(Rejection::NoFamily)?,
            Err(StoreError::Malformed(_)) => return Err(Rejection::MalformedItem.into()),
            Err(error) => return Err(Outage::from(&error).into()),
        };
        let roots = self.roots.roots().await.map_err(|_| Outage::Roots)?;
        let epoch = epoch.max(self.not_before);
        let identity = Identity::open(&self.config, &record, &token, &roots, epoch, now)?;
        facts.subject_tag = Some(identity.opened.subject_tag.clone());
        Ok(identity)
    }

    /// Notes the first use and shares a new JWT, in one write, before we answer: from
    /// here on the pair of a refresh is in use and heals no more.
    async fn accept(
        &self,
        identity: &Identity,
        slot: Option<NewSlot>,
        now: UnixTime,
        facts: &mut Facts,
    ) -> Result<(), No> {
        facts.first_use = identity.awaits_first_use;
        let Some(transition) = identity.acceptance(identity.awaits_first_use, slot, now) else {
            return Ok(());
        };
        let written = self.store.update_family(&transition).await;
        written.map_err(|error| match error {
            UpdateError::Refused(_) => TokenFault::Revoked.into(),
            UpdateError::Store(error) => Outage::from(&error).into(),
        })
    }
}

/// The audiences as which a caller may ask, its own first.
fn audiences(caller: &ClientConfig) -> impl Iterator<Item = &str> {
    caller
        .audience
        .iter()
        .chain(&caller.introspects)
        .map(String::as_str)
}

/// Whose JWT a caller gets that does not say: its own audience's, or that of the only
/// one it may introspect.
fn own_audience(caller: &ClientConfig) -> Option<&str> {
    let mut all = audiences(caller);
    let first = all.next()?;
    (caller.audience.is_some() || all.next().is_none()).then_some(first)
}

/// Why not, on the way out.
enum No {
    Inactive(Inactive),
    Fault(IntrospectError),
}

impl No {
    fn settle<T>(result: Result<T, Self>) -> Result<Answer<T>, IntrospectError> {
        match result {
            Ok(active) => Ok(Answer::Active(active)),
            Err(Self::Inactive(why)) => Ok(Answer::Inactive(why)),
            Err(Self::Fault(error)) => Err(error),
        }
    }
}

impl From<Inactive> for No {
    fn from(inactive: Inactive) -> Self {
        Self::Inactive(inactive)
    }
}

impl From<Rejection> for No {
    fn from(rejection: Rejection) -> Self {
        Inactive::Token(rejection).into()
    }
}

impl From<TokenFault> for No {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Unreadable => Outage::UnknownSeal.into(),
            TokenFault::Unknown
            | TokenFault::Revoked
            | TokenFault::Expired
            | TokenFault::Retired
            | TokenFault::ClientGone
            | TokenFault::Broken => Rejection::Fault(fault).into(),
        }
    }
}

impl From<IntrospectError> for No {
    fn from(error: IntrospectError) -> Self {
        Self::Fault(error)
    }
}

impl From<Outage> for No {
    fn from(outage: Outage) -> Self {
        IntrospectError::Unavailable(outage).into()
    }
}

#[cfg(test)]
mod tests;
