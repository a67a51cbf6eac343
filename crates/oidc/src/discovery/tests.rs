use cloakroom_domain::ports::{IdentityProviders, IdpError};
use serde_json::json;

use crate::testing::{TestIdp, refusal, relying_party};

const PATH: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn metadata_that_does_not_hold_is_refused() {
    // D11, Discovery §4.3
    for members in [
        json!({"issuer": "https://evil.example"}),
        json!({"issuer": null}),
        json!({"authorization_endpoint": null}),
        json!({"authorization_endpoint": "https://evil.example/authorize"}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"token_endpoint": null}),
        json!({"token_endpoint": "http://169.254.169.254/token"}),
        json!({"token_endpoint": "http://localhost:9001/token"}),
        json!({"jwks_uri": null}),
        json!({"jwks_uri": "https://evil.example/jwks"}),
        json!({"jwks_uri": 7}),
        json!({"end_session_endpoint": "https://evil.example/logout"}),
        json!({"code_challenge_methods_supported": null}),
        json!({"code_challenge_methods_supported": ["plain"]}),
    ] {
        let (idp, text) = (TestIdp::start().await, members.to_string());
        idp.metadata(members);
        let (oidc, _) = idp.relying_party();
        let answer = oidc.check_issuer("demo", Some(&idp.issuer)).await;
        assert!(matches!(answer, Err(IdpError::Refused(_))), "{text}");
        assert!(idp.seen("/token").is_empty() && idp.seen("/jwks").is_empty());
    }
}

#[tokio::test]
async fn an_issuer_with_a_slash_more_is_another_issuer() {
    let idp = TestIdp::start().await;
    idp.metadata(json!({"issuer": format!("{}/", idp.issuer)}));
    let (oidc, _) = idp.relying_party();
    refusal(oidc.check_issuer("demo", Some(&idp.issuer)).await);
}

#[tokio::test]
async fn missing_pkce_metadata_is_taken_where_the_configuration_says_so() {
    let idp = TestIdp::start().await;
    idp.metadata(json!({"code_challenge_methods_supported": null}));
    let (oidc, _) = relying_party(&idp.config("require_pkce_metadata = false"));
    assert!(oidc.check_issuer("demo", Some(&idp.issuer)).await.is_ok());
}

#[tokio::test]
async fn a_document_that_is_not_plain_json_within_bounds_is_refused() {
    // D9
    let idp = TestIdp::start().await;
    let (oidc, clock) = idp.relying_party();
    let long = vec![b' '; 256 * 1024 + 1];
    let twice = format!(
        r#"{{"issuer":"https://evil.example","issuer":"{}"}}"#,
        idp.issuer
    );
    let cases: [(u16, &'static str, &[u8]); 7] = [
        (200, "text/html", b"{}"),
        (200, "application/json", &long),
        (200, "application/json", b"{}"),
        (200, "application/json", b"\x1f\x8b\x08"),
        (200, "application/json", b"{\"x\":\"\xff\"}"),
        (200, "application/json", twice.as_bytes()),
        (302, "application/json", b"{}"),
    ];
    for (status, content_type, body) in cases {
        idp.raw(PATH, status, content_type, body);
        clock.advance(5);
        refusal(oidc.check_issuer("demo", Some(&idp.issuer)).await);
    }
    assert!(idp.seen("/elsewhere").is_empty());
    idp.plain(PATH);
    clock.advance(5);
    assert!(oidc.check_issuer("demo", Some(&idp.issuer)).await.is_ok());
}

#[tokio::test]
async fn metadata_is_asked_for_once_an_hour_and_survives_an_outage() {
    let idp = TestIdp::start().await;
    let (oidc, clock) = idp.relying_party();
    let ask = async || oidc.check_issuer("demo", Some(&idp.issuer)).await;
    assert!(ask().await.is_ok());
    clock.advance(3599);
    assert!(ask().await.is_ok());
    assert_eq!(idp.seen(PATH).len(), 1);

    idp.raw(PATH, 500, "application/json", b"{}");
    clock.advance(1);
    assert!(ask().await.is_ok());
    assert!(ask().await.is_ok());
    assert_eq!(idp.seen(PATH).len(), 2, "the failure is remembered");
    clock.advance(24 * 3600);
    assert!(matches!(ask().await, Err(IdpError::Unavailable(_))));
    idp.plain(PATH);
    clock.advance(5);
    assert!(ask().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_asks_once() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let oidc = std::sync::Arc::new(oidc);
    let burst: Vec<_> = (0..20)
        .map(|_| {
            let (oidc, issuer) = (std::sync::Arc::clone(&oidc), idp.issuer.clone());
            tokio::spawn(async move { oidc.check_issuer("demo", Some(&issuer)).await })
        })
        .collect();
    for one in burst {
        assert!(one.await.unwrap().is_ok());
    }
    assert_eq!(idp.seen(PATH).len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_away_is_unavailable_and_not_asked_again_at_once() {
    let idp = TestIdp::start().await;
    idp.raw(PATH, 503, "text/plain", b"away");
    let (oidc, clock) = idp.relying_party();
    for _ in 0..5 {
        let answer = oidc
            .logout_url("demo", "hint", "https://app.example/")
            .await;
        assert!(matches!(answer, Err(IdpError::Unavailable(_))));
    }
    assert_eq!(idp.seen(PATH).len(), 1);
    clock.advance(5);
    assert!(oidc.logout_url("demo", "hint", "x").await.is_err());
    assert_eq!(idp.seen(PATH).len(), 2);
}
