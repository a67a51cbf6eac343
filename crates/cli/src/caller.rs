//! Callers that nobody has signed in: made up, to ask the policy about them.

use cloakroom_domain::claims::UserClaims;
use cloakroom_domain::config::{Config, GrantKind, IdentityProviderConfig, RouteConfig};
use cloakroom_domain::delegation::Delegation;
use cloakroom_domain::dpop::{Confirmation, Thumbprint};
use cloakroom_domain::family::FamilyKind;
use cloakroom_domain::grant::{Grant, TokenMeta};
use cloakroom_domain::policy::{self, TokenDemand};
use cloakroom_domain::scope::ScopeSet;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::TokenKind;

/// Somebody with a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The user; none: a machine with a token of its own.
    pub(crate) user: Option<UserClaims>,
    /// To which client the token was issued; none: a browser session.
    pub(crate) client: Option<String>,
    /// What the token may do.
    pub(crate) scopes: ScopeSet,
    /// For whom the token is good; empty: for all.
    pub(crate) audiences: Vec<String>,
    /// Whether the token is bound to a key.
    pub(crate) dpop: bool,
}

impl Caller {
    /// What the policy looks at.
    pub(crate) fn papers(&self, now: UnixTime) -> (Grant, TokenMeta) {
        let kind = match (&self.user, &self.client) {
            (None, _) => FamilyKind::Client,
            (Some(_), None) => FamilyKind::Session,
            (Some(_), Some(_)) => FamilyKind::Grant,
        };
        let grant = Grant {
            kind,
            client: self.client.clone(),
            user: self.user.clone(),
            sid: String::new(),
            created_at: now,
            absolute_expires_at: now.plus(1),
            upstream_id_token: None,
            upstream_refresh_token: None,
            claims_at: None,
        };
        let meta = TokenMeta {
            kind: match kind {
                FamilyKind::Session => TokenKind::Session,
                FamilyKind::Grant | FamilyKind::Client => TokenKind::Access,
            },
            client: self.client.clone(),
            scope: self.scopes.clone(),
            audiences: self.audiences.clone(),
            issued_at: now,
            expires_at: now.plus(1),
            idle_expires_at: None,
            notes_first_use: false,
            successor_of: None,
            code: None,
            delegation: Delegation::default(),
            cnf: self.dpop.then(some_key).flatten(),
        };
        (grant, meta)
    }
}

/// Which one does not matter to the policy.
fn some_key() -> Option<Confirmation> {
    let jkt = Thumbprint::parse(&"A".repeat(43)).ok()?;
    Some(Confirmation { jkt })
}

/// Whether anybody whom the configuration lets in could ever pass `route`.
pub(crate) fn somebody_passes(config: &Config, route: &RouteConfig) -> bool {
    let now = UnixTime(1);
    route.token == TokenDemand::None
        || everybody(config, route, now).iter().any(|caller| {
            let (grant, meta) = caller.papers(now);
            policy::judge(route, &grant, &meta, now).is_ok()
        })
}

/// The best equipped caller of each kind: browser sessions and the users of each
/// client, by each identity provider, and machines.
fn everybody(config: &Config, route: &RouteConfig, now: UnixTime) -> Vec<Caller> {
    let users = || {
        config.identity_providers.iter().map(move |idp| UserClaims {
            roles: obtainable_roles(idp, route),
            acr: route.acr.first().cloned(),
            auth_time: Some(now),
            ..UserClaims::default()
        })
    };
    let browsers = users().map(|user| Caller {
        user: Some(user),
        client: None,
        scopes: config.session.scopes.to_set(),
        audiences: Vec::new(),
        dpop: false,
    });
    let mut everybody: Vec<_> = browsers.collect();
    for client in &config.clients {
        let caller = Caller {
            user: None,
            client: Some(client.id.clone()),
            scopes: client.scopes.to_set(),
            audiences: client.audiences.clone(),
            // Any client may have its tokens bound.
            dpop: true,
        };
        if client.grants.contains(&GrantKind::AuthorizationCode) {
            everybody.extend(users().map(|user| Caller {
                user: Some(user),
                ..caller.clone()
            }));
        }
        if client.grants.contains(&GrantKind::ClientCredentials) {
            everybody.push(caller);
        }
    }
    everybody
}

/// The roles of `route` that users of `idp` may have.
fn obtainable_roles(idp: &IdentityProviderConfig, route: &RouteConfig) -> Vec<String> {
    let mapping = &idp.claims;
    route
        .roles
        .iter()
        .chain(&route.any_role)
        .filter(|role| {
            mapping.allow_roles.is_empty()
                || mapping.allow_roles.contains(role)
                || mapping.default_roles.contains(role)
        })
        .cloned()
        .collect()
}
