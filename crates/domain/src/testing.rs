//! Fixtures of the tests in this crate: good values here, ports that count, fail and
//! race on demand in the modules below.

mod provider;
mod store;
mod world;

pub(crate) use provider::{ISSUER, TestProviders};
pub(crate) use store::{Calls, Fault, MemoryStore, Verb};
pub(crate) use world::{SequenceEntropy, TestClock, TestRoots, TestSigner, world};

use crate::claims::UserClaims;
use crate::client::SecretHash;
use crate::config::Config;
use crate::delegation::Delegation;
use crate::family::{FamilyKind, FamilyRecord};
use crate::grant::{Grant, TokenMeta, new_family};
use crate::scope::ScopeSet;
use crate::seal::{RootKey, RootKeys};
use crate::time::UnixTime;
use crate::token::{OpaqueToken, TokenKind};
use std::error::Error;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What is behind an injected fault.
pub(crate) fn cause() -> Arc<dyn Error + Send + Sync> {
    Arc::new(std::fmt::Error)
}

pub(crate) fn root(n: u8) -> RootKey {
    RootKey::new(Zeroizing::new([n; 32]))
}

pub(crate) fn roots() -> RootKeys {
    RootKeys::new(root(1), vec![])
}

pub(crate) fn grant_of(user: &str) -> Grant {
    Grant {
        kind: FamilyKind::Grant,
        client: Some("app".into()),
        user: Some(UserClaims {
            sub: format!("demo|{user}"),
            idp: "demo".into(),
            iss: "https://idp.example".into(),
            name: Some(user.into()),
            email: Some(format!("{user}@example.com")),
            email_verified: None,
            roles: vec!["admin".into(), "user".into()],
            auth_time: Some(UnixTime(1_000)),
            acr: Some("gold".into()),
            amr: vec!["pwd".into()],
            idp_sid: None,
        }),
        sid: "sid-1".into(),
        created_at: UnixTime(1_000),
        absolute_expires_at: UnixTime(100_000),
        upstream_id_token: None,
        upstream_refresh_token: None,
        claims_at: None,
    }
}

impl Grant {
    pub(crate) fn with_auth_time(mut self, auth_time: Option<UnixTime>) -> Self {
        self.user.as_mut().unwrap().auth_time = auth_time;
        self
    }
}

pub(crate) fn meta() -> TokenMeta {
    TokenMeta {
        kind: TokenKind::Access,
        client: Some("app".into()),
        scope: ScopeSet::parse("orders:read").unwrap(),
        audiences: vec!["orders".into()],
        issued_at: UnixTime(1_000),
        expires_at: UnixTime(1_600),
        idle_expires_at: None,
        notes_first_use: false,
        successor_of: None,
        code: None,
        delegation: Delegation::default(),
        cnf: None,
    }
}

pub(crate) fn family_of(user: &str) -> (FamilyRecord, OpaqueToken) {
    // Another user is another stream of randomness, as it would be in life.
    let entropy = SequenceEntropy::starting_at(user.bytes().fold(0, u8::wrapping_add));
    new_family(&grant_of(user), &meta(), &root(1), &entropy).unwrap()
}

pub(crate) fn record() -> FamilyRecord {
    family_of("alice").0
}

pub(crate) fn config() -> Config {
    Config::parse(
        r#"
        config_version = 1
        issuer = "https://app.example.com"

        [[clients]]
        id = "app"
        kind = "public"
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["https://app.example.com/cb"]
        scopes = ["orders:read", "orders:write", "offline_access"]

        [[audiences]]
        id = "orders"
        claims = ["name", "email", "roles"]

        [[routes]]
        method = "GET"
        path = "/api/orders"
        audience = "orders"
        "#,
    )
    .unwrap()
}

/// The secret of the clients `machine` and `server`.
pub(crate) const SECRET: &str = "a-secret-of-256-bits";

/// A configuration with every kind of client, two audiences and a provider.
pub(crate) fn system() -> Config {
    let secret = String::from(SecretHash::of_generated(SECRET));
    Config::parse(&format!(
        r#"
        config_version = 1
        issuer = "https://app.example.com"

        [session]
        scopes = ["orders:read"]

        [[identity_providers]]
        id = "demo"
        issuer = "https://idp.example"
        client_id = "cloakroom"
        client_secret = "env:IDP_SECRET"

        [[clients]]
        id = "app"
        name = "The App"
        kind = "public"
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["http://127.0.0.1/callback", "com.example.app:/cb", "https://app.example.com/cb"]
        scopes = ["openid", "orders:read", "orders:write", "offline_access"]

        [[clients]]
        id = "server"
        kind = "confidential"
        secrets = ["{secret}"]
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["https://server.example.com/cb?tenant=1", "http://127.0.0.1/server"]
        scopes = ["orders:read"]

        [[clients]]
        id = "machine"
        kind = "confidential"
        secrets = ["{secret}"]
        grants = ["client_credentials"]
        scopes = ["orders:read", "orders:write", "openid", "offline_access"]
        audiences = ["orders"]
        access_token_lifetime = 120

        [[audiences]]
        id = "orders"
        claims = ["name", "email", "roles"]

        [[audiences]]
        id = "profile"

        [[routes]]
        method = "GET"
        path = "/api/orders"
        audience = "orders"
        scopes = ["orders:read"]

        [[routes]]
        method = "GET"
        path = "/api/profile"
        audience = "profile"

        [[routes]]
        method = "GET"
        path = "/api/owners"
        audience = "orders"
        roles = ["owner"]
        "#
    ))
    .unwrap()
}
