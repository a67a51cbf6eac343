//! The recipes of `docs/identity-providers.md`, against what those providers publish and
//! say of a user (2026): each is a configuration, its metadata is taken, and its claims
//! become ours. None of its settings is there for nothing.

use std::sync::Arc;

use cloakroom_domain::claims::UserClaims;
use cloakroom_domain::config::{Config, IdentityProviderConfig};
use cloakroom_jose::json;
use cloakroom_verify::jws::ClaimSet;
use serde_json::{Value, json};
use url::Url;

use super::{Discovery, Document, Metadata};
use crate::claims;
use crate::fault::Fault;
use crate::fetch::Fetcher;
use crate::testing::{NOW, TestClock};

const POOL: &str = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Abc123";
const REALM: &str = "https://sso.example.com/realms/staff";
const ENTRA: &str = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";
const AUTH0: &str = "https://shop.eu-central-1.auth0.com/";
const OKTA: &str = "https://shop.okta.com/oauth2/default";
const GOOGLE: &str = "https://accounts.google.com";

const DOCUMENT: &str = include_str!("../../../../docs/identity-providers.md");

/// The provider of the recipe under this heading, with its capitals filled in.
fn recipe(heading: &str) -> IdentityProviderConfig {
    let (_, rest) = DOCUMENT.split_once(&format!("\n### {heading}\n")).unwrap();
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    let (recipe, _) = rest.split_once("```").unwrap();
    let text = format!(
        "config_version = 1\nissuer = \"https://app.example.com\"\n{}",
        recipe
            .replace("REGION", "eu-central-1")
            .replace("POOL_ID", "eu-central-1_Abc123")
            .replace("PREFIX", "shop")
            .replace("KEYCLOAK_HOST", "sso.example.com")
            .replace("REALM", "staff")
            .replace("TENANT_ID", "72f988bf-86f1-41af-91ab-2d7cd011db47")
            .replace("TENANT", "shop")
            .replace("ORG", "shop")
    );
    let mut config = Config::parse(&text).unwrap_or_else(|error| panic!("{heading}: {error}"));
    config.identity_providers.remove(0)
}

fn judge(idp: &IdentityProviderConfig, metadata: &Value) -> Result<Metadata, Fault> {
    let issuer = Url::parse(&idp.issuer).unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    let fetcher = Fetcher::new(client, &issuer, &idp.allowed_hosts, false);
    let discovery = Discovery::new(
        Arc::new(fetcher.ok().unwrap()),
        &idp.issuer,
        idp.require_pkce_metadata,
        Arc::new(TestClock::default()),
    );
    let document: Document = json::from_slice(metadata.to_string().as_bytes()).unwrap();
    discovery.judge(&document)
}

fn user(idp: &IdentityProviderConfig, said: &Value) -> UserClaims {
    let claims = ClaimSet::parse_unsigned(said.to_string().as_bytes()).unwrap();
    claims::map(&claims, None, idp, NOW).unwrap()
}

/// Metadata with endpoints at these addresses.
fn metadata(issuer: &str, endpoints: [&str; 5], more: &Value) -> Value {
    let [authorization, token, jwks, userinfo, end_session] = endpoints;
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": authorization,
        "token_endpoint": token,
        "jwks_uri": jwks,
        "userinfo_endpoint": userinfo,
    });
    if !end_session.is_empty() {
        document["end_session_endpoint"] = end_session.into();
    }
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn claims_of(issuer: &str, more: &Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "sub": "5f3c", "aud": "CLIENT_ID", "iat": NOW.0, "exp": NOW.0 + 300,
        "name": "Alice Example", "email": "alice@example.com",
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// What the provider of each recipe publishes.
fn published() -> [(&'static str, Value); 6] {
    let silent = json!({});
    let s256 = json!({"code_challenge_methods_supported": ["plain", "S256"]});
    let below = |issuer: &str, base: &str, paths: [&str; 5], more: &Value| {
        let urls = paths.map(|path| format!("{base}{path}"));
        metadata(issuer, urls.each_ref().map(String::as_str), more)
    };
    let keycloak = ["/auth", "/token", "/certs", "/userinfo", "/logout"];
    let auth0 = [
        "authorize",
        "oauth/token",
        ".well-known/jwks.json",
        "userinfo",
        "oidc/logout",
    ];
    let okta = ["/authorize", "/token", "/keys", "/userinfo", "/logout"];
    let realm = format!("{REALM}/protocol/openid-connect");
    let pool_keys = format!("{POOL}/.well-known/jwks.json");
    let tenant = ENTRA.strip_suffix("/v2.0").unwrap();
    let entra = |path: &str| format!("{tenant}{path}");
    [
        (
            "Amazon Cognito",
            metadata(
                POOL,
                [
                    "https://shop.auth.eu-central-1.amazoncognito.com/oauth2/authorize",
                    "https://shop.auth.eu-central-1.amazoncognito.com/oauth2/token",
                    &pool_keys,
                    "https://shop.auth.eu-central-1.amazoncognito.com/oauth2/userInfo",
                    "https://shop.auth.eu-central-1.amazoncognito.com/logout",
                ],
                &silent,
            ),
        ),
        ("Keycloak", below(REALM, &realm, keycloak, &s256)),
        (
            "Microsoft Entra ID",
            metadata(
                ENTRA,
                [
                    &entra("/oauth2/v2.0/authorize"),
                    &entra("/oauth2/v2.0/token"),
                    &entra("/discovery/v2.0/keys"),
                    "https://graph.microsoft.com/oidc/userinfo",
                    &entra("/oauth2/v2.0/logout"),
                ],
                &silent,
            ),
        ),
        ("Auth0", below(AUTH0, AUTH0, auth0, &s256)),
        ("Okta", below(OKTA, &format!("{OKTA}/v1"), okta, &s256)),
        (
            "Google",
            metadata(
                GOOGLE,
                [
                    "https://accounts.google.com/o/oauth2/v2/auth",
                    "https://oauth2.googleapis.com/token",
                    "https://www.googleapis.com/oauth2/v3/certs",
                    "https://openidconnect.googleapis.com/v1/userinfo",
                    "",
                ],
                &s256,
            ),
        ),
    ]
}

/// What the provider of each recipe says of Alice, and which roles those are.
fn said() -> [(Value, &'static [&'static str]); 6] {
    let groups = json!({"cognito:groups": ["admin", "user"], "cognito:username": "alice"});
    let realm =
        json!({"realm_access": {"roles": ["default-roles-staff", "offline_access", "user"]}});
    let apps = json!({"roles": ["admin"], "oid": "1", "tid": "2", "ver": "2.0"});
    let named = json!({"https://app.example.com/roles": ["admin"]});
    let okta = json!({"groups": ["Everyone", "Cloakroom Admins"]});
    let google = json!({"hd": "example.com", "email_verified": true});
    [
        (claims_of(POOL, &groups), &["admin", "user"]),
        (claims_of(REALM, &realm), &["user"]),
        (claims_of(ENTRA, &apps), &["admin"]),
        (claims_of(AUTH0, &named), &["admin"]),
        (claims_of(OKTA, &okta), &["admin"]),
        (claims_of(GOOGLE, &google), &["user"]),
    ]
}

#[test]
fn every_recipe_takes_its_providers_metadata_and_maps_its_claims() {
    for ((heading, metadata), (said, roles)) in published().into_iter().zip(said()) {
        let idp = recipe(heading);
        let taken = judge(&idp, &metadata).unwrap_or_else(|fault| panic!("{heading}: {fault:?}"));
        assert!(taken.userinfo_endpoint.is_some(), "{heading}");
        let user = user(&idp, &said);
        assert_eq!(user.sub, format!("{}|5f3c", idp.id), "{heading}");
        assert_eq!(user.name.as_deref(), Some("Alice Example"), "{heading}");
        assert_eq!(
            user.email.as_deref(),
            Some("alice@example.com"),
            "{heading}"
        );
        assert_eq!(user.roles, roles, "{heading}");
    }
    assert_eq!(DOCUMENT.matches("```toml").count(), published().len());
}

#[test]
fn without_what_a_recipe_adds_its_provider_would_be_refused() {
    for (heading, metadata) in published() {
        let idp = recipe(heading);
        if !idp.allowed_hosts.is_empty() {
            let mut strict = idp.clone();
            strict.allowed_hosts.clear();
            let taken = judge(&strict, &metadata);
            let userinfo = taken.is_ok_and(|taken| taken.userinfo_endpoint.is_some());
            assert!(!userinfo, "{heading}: allowed_hosts");
        }
        if !idp.require_pkce_metadata {
            let mut strict = idp.clone();
            strict.require_pkce_metadata = true;
            assert!(judge(&strict, &metadata).is_err(), "{heading}: PKCE");
        }
        let mut elsewhere = idp.clone();
        elsewhere.issuer = format!("{}x", idp.issuer.trim_end_matches('/'));
        assert!(judge(&elsewhere, &metadata).is_err(), "{heading}: issuer");
    }
}
