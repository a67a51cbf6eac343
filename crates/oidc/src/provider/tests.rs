use std::collections::BTreeMap;
use std::sync::Arc;

use cloakroom_domain::config::ClientAuthentication;
use cloakroom_domain::ports::{AuthorizationRequest, Clock, IdentityProviders, IdpError};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::*;
use crate::testing::{SECRET, TestClock, TestIdp, callback, jwk, refusal, relying_party, sign_in};
use crate::{Oidc, SetupError};

#[tokio::test]
async fn a_code_becomes_a_user_and_the_tokens_for_later() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let user = sign_in(&oidc, &idp).await.unwrap();
    assert_eq!(user.claims.sub, "demo|alice");
    assert_eq!(user.id_token.split('.').count(), 3);
    assert_eq!(
        user.refresh_token.as_deref().map(String::as_str),
        Some("upstream-refresh-token")
    );
}

#[tokio::test]
async fn the_authorization_url_asks_for_a_code_with_pkce_and_nonce() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let mut request = AuthorizationRequest {
        redirect_uri: "http://localhost:3000/auth/callback",
        state: "s&t=a+te",
        nonce: "n",
        code_challenge: "c",
        prompt_login: false,
        max_age: None,
        acr_values: None,
        login_hint: None,
    };
    let query = |url: &str| -> Vec<(String, String)> {
        assert!(url.starts_with(&format!("{}/authorize?", idp.issuer)));
        Url::parse(url)
            .unwrap()
            .query_pairs()
            .into_owned()
            .collect()
    };
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let always = [
        ("tenant", "a"),
        ("response_type", "code"),
        ("client_id", "cloakroom"),
        ("redirect_uri", "http://localhost:3000/auth/callback"),
        ("scope", "openid profile email"),
        ("state", "s&t=a+te"),
        ("nonce", "n"),
        ("code_challenge", "c"),
        ("code_challenge_method", "S256"),
    ];
    let url = oidc.authorization_url("demo", &request).await.unwrap();
    assert_eq!(query(&url), pairs(&always));

    request.prompt_login = true;
    request.max_age = Some(0);
    request.acr_values = Some("gold silver");
    request.login_hint = Some("alice@example.com");
    let url = oidc.authorization_url("demo", &request).await.unwrap();
    let more = [
        ("prompt", "login"),
        ("max_age", "0"),
        ("acr_values", "gold silver"),
        ("login_hint", "alice@example.com"),
    ];
    assert_eq!(query(&url), pairs(&[&always[..], &more].concat()));
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_refused_before_the_token_call() {
    // D5
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let slash = format!("{}/", idp.issuer);
    for iss in [
        None,
        Some(""),
        Some("https://evil.example"),
        Some(slash.as_str()),
    ] {
        let mut mixed_up = callback(&idp);
        mixed_up.iss = iss;
        refusal(oidc.redeem("demo", &mixed_up).await);
        refusal(oidc.check_issuer("demo", iss).await);
    }
    assert!(idp.seen("/token").is_empty());
    assert!(oidc.check_issuer("demo", Some(&idp.issuer)).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_does_not_announce_iss_must_not_send_it() {
    // RFC 9207 §2.4
    let idp = TestIdp::start().await;
    idp.metadata(json!({"authorization_response_iss_parameter_supported": null}));
    let (oidc, _) = idp.relying_party();
    refusal(oidc.check_issuer("demo", Some(&idp.issuer)).await);
    assert!(oidc.check_issuer("demo", None).await.is_ok());
    let mut silent = callback(&idp);
    silent.iss = None;
    assert!(oidc.redeem("demo", &silent).await.is_ok());
}

#[tokio::test]
async fn the_logout_url_names_the_session_us_and_the_way_back() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let back = "http://localhost:3000/?a=b&c";
    let url = oidc.logout_url("demo", "the.id.token", back).await.unwrap();
    let url = Url::parse(&url.unwrap()).unwrap();
    assert_eq!(url.path(), "/logout");
    let pairs: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let value = |name: &str| pairs.get(name).map(String::as_str);
    assert_eq!(value("id_token_hint"), Some("the.id.token"));
    assert_eq!(value("client_id"), Some("cloakroom"));
    assert_eq!(value("post_logout_redirect_uri"), Some(back));

    let without = TestIdp::start().await;
    without.metadata(json!({"end_session_endpoint": null}));
    let (oidc, _) = without.relying_party();
    assert_eq!(oidc.logout_url("demo", "hint", back).await.unwrap(), None);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_one_fetch() {
    // D12
    let idp = TestIdp::start().await;
    let (oidc, clock) = idp.relying_party();
    sign_in(&oidc, &idp).await.unwrap();
    idp.issue(json!({"kid": "invented"}), json!({}));
    for _ in 0..10 {
        refusal(sign_in(&oidc, &idp).await);
    }
    assert_eq!(idp.seen("/jwks").len(), 2);

    // A key that was really added is found after the cool-down.
    let mut added = jwk("ES256");
    added["kid"] = json!("invented");
    idp.publish(json!({"keys": [added]}));
    clock.advance(60);
    assert!(sign_in(&oidc, &idp).await.is_ok());
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_not_the_tokens_fault() {
    // D12
    for (status, body) in [(500, "{}"), (200, r#"{"keys":[]}"#), (200, "no json")] {
        let idp = TestIdp::start().await;
        let (oidc, clock) = idp.relying_party();
        idp.raw("/jwks", status, "application/json", body.as_bytes());
        let answer = sign_in(&oidc, &idp).await;
        assert!(matches!(answer, Err(IdpError::Unavailable(_))), "{body}");

        // Once there, they serve through an outage.
        idp.plain("/jwks");
        clock.advance(5);
        sign_in(&oidc, &idp).await.unwrap();
        idp.raw("/jwks", status, "application/json", body.as_bytes());
        clock.advance(3600);
        sign_in(&oidc, &idp).await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_provider_is_unknown() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    for id in ["", "Demo", "demo|alice", "other"] {
        let answer = oidc.check_issuer(id, None).await;
        assert!(matches!(answer, Err(IdpError::Unknown)), "{id}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let idp = TestIdp::start().await;
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let secret = || BTreeMap::from([("demo".to_owned(), Zeroizing::new(SECRET.to_owned()))]);
    let good = idp.config("");
    assert!(Oidc::new(&good, secret(), None, &clock).is_ok());
    let error = Oidc::new(&good, BTreeMap::new(), None, &clock).unwrap_err();
    assert!(matches!(error, SetupError::MissingSecret(_)));

    let with = |change: fn(&mut IdentityProviderConfig)| {
        let mut config = idp.config("");
        change(&mut config.identity_providers[0]);
        Oidc::new(&config, secret(), None, &clock).unwrap_err()
    };
    let error = with(|idp| idp.client_authentication = ClientAuthentication::PrivateKeyJwt);
    assert!(matches!(error, SetupError::MissingClientKey(_)));
    let error = with(|idp| idp.allowed_hosts = vec!["https://a.example".into()]);
    assert!(matches!(error, SetupError::AllowedHost(_)));
    let error = with(|idp| idp.id_token_algorithms = vec!["HS256".into()]);
    assert!(matches!(error, SetupError::Algorithm(_)));
    let error = with(|idp| idp.issuer = "http://idp.example.com".into());
    assert!(matches!(error, SetupError::Issuer(_)));
}

#[tokio::test]
async fn beside_others_a_provider_needs_iss_or_an_address_of_its_own() {
    // D5, RFC 9700 §4.4.2: the shared address is refused before the user goes anywhere.
    let idp = TestIdp::start().await;
    let url = async |callback: &str| {
        let config = idp.config(&format!(
            r#"
            callback = "{callback}"
            [[identity_providers]]
            id = "other"
            issuer = "https://other.example"
            client_id = "cloakroom"
            client_authentication = "none"
            callback = "own"
            "#
        ));
        let (oidc, _) = relying_party(&config);
        oidc.authorization_url("demo", &request()).await
    };
    assert!(url("shared").await.is_ok());
    assert!(url("own").await.is_ok());
    idp.metadata(json!({"authorization_response_iss_parameter_supported": null}));
    assert!(url("own").await.is_ok());
    refusal(url("shared").await);
    let (alone, _) = idp.relying_party();
    assert!(alone.authorization_url("demo", &request()).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_drips_is_given_up_within_the_budget() {
    // D9: each request has its limit, and all of them together have one.
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    sign_in(&oidc, &idp).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let config = idp.config("").clone();
    let mut config = config;
    config.identity_providers[0].issuer = silent;
    let (oidc, _) = relying_party(&config);
    let start = std::time::Instant::now();
    let answer = oidc.authorization_url("demo", &request()).await;
    assert!(matches!(answer, Err(IdpError::Unavailable(_))));
    assert!(start.elapsed() < BUDGET);
    drop(listener);
}

fn request() -> AuthorizationRequest<'static> {
    AuthorizationRequest {
        redirect_uri: "http://localhost:3000/auth/callback",
        state: "s",
        nonce: "n",
        code_challenge: "c",
        prompt_login: false,
        max_age: None,
        acr_values: None,
        login_hint: None,
    }
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    // D64
    let idp = TestIdp::start().await;
    let (oidc, _) = relying_party(&idp.config(""));
    let user = sign_in(&oidc, &idp).await.unwrap();
    let shown = format!("{oidc:?} {user:?} {:?}", callback(&idp));
    for secret in [SECRET, "alice", "upstream", "the-code", "the-nonce"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}
