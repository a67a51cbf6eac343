use cloakroom_domain::ports::{IdpError, LogoutToken, VerifyLogoutToken};
use serde_json::{Value, json};

use crate::testing::{NOW, TestIdp, refusal, relying_party};

async fn judged(header: Value, claims: Value) -> Result<LogoutToken, IdpError> {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let token = idp.logout_token(header, claims);
    oidc.verify_logout_token(&token, NOW).await
}

#[tokio::test]
async fn a_good_token_says_who_has_left() {
    let token = judged(json!({}), json!({})).await.unwrap();
    assert_eq!(token.idp, "demo");
    assert_eq!(token.sub.as_deref(), Some("demo|alice"));
    assert_eq!(token.sid.as_deref(), Some("session-1"));
    assert_eq!(token.jti, "logout-1");
    assert_eq!(token.issued_at, NOW);
    assert!(judged(json!({}), json!({"sid": null})).await.is_ok());
    assert!(judged(json!({}), json!({"sub": null})).await.is_ok());
    assert!(judged(json!({"typ": null}), json!({})).await.is_ok());
}

#[tokio::test]
async fn of_two_clients_at_one_provider_the_one_that_is_meant_hears_of_it() {
    let idp = TestIdp::start().await;
    let second = format!(
        r#"callback = "own"
        [[identity_providers]]
        id = "second"
        issuer = "{}"
        client_id = "cloakroom-too"
        client_authentication = "private_key_jwt"
        id_token_algorithms = ["RS256", "ES256", "EdDSA"]
        callback = "own""#,
        idp.issuer
    );
    let (oidc, _) = relying_party(&idp.config(&second));
    let told = async |audience: &str| {
        let token = idp.logout_token(json!({}), json!({"aud": audience}));
        oidc.verify_logout_token(&token, NOW).await
    };
    assert_eq!(told("cloakroom").await.unwrap().idp, "demo");
    assert_eq!(told("cloakroom-too").await.unwrap().idp, "second");
    refusal(told("another").await);
}

#[tokio::test]
async fn a_token_that_differs_in_one_point_is_refused() {
    // A18.3
    let event = "http://schemas.openid.net/event/backchannel-logout";
    for claims in [
        json!({"nonce": "n"}),
        json!({"nonce": 7}),
        json!({"events": null}),
        json!({"events": {}}),
        json!({"events": [event]}),
        json!({"events": {event: true}}),
        json!({"sub": null, "sid": null}),
        json!({"sub": "a\nb"}),
        json!({"jti": null}),
        json!({"aud": "another"}),
        json!({"exp": null}),
        json!({"iat": null}),
        json!({"exp": NOW.0 - 60, "iat": NOW.0 - 120}),
        json!({"exp": NOW.0 + 601}),
        json!({"iat": NOW.0 + 61}),
    ] {
        refusal(judged(json!({}), claims).await);
    }
    for header in [
        json!({"typ": "at+jwt"}),
        json!({"alg": "none"}),
        json!({"kid": "unknown"}),
    ] {
        refusal(judged(header, json!({})).await);
    }
}

#[tokio::test]
async fn an_id_token_is_no_logout_token_and_the_reverse() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let id_token = idp.id_token(json!({}), json!({}));
    refusal(oidc.verify_logout_token(&id_token, NOW).await);
    idp.tokens(json!({"id_token": idp.logout_token(json!({}), json!({}))}));
    refusal(crate::testing::sign_in(&oidc, &idp).await);
}

#[tokio::test]
async fn a_token_of_an_unknown_issuer_costs_no_fetch() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let foreign = idp.logout_token(json!({}), json!({"iss": "https://evil.example"}));
    let answer = oidc.verify_logout_token(&foreign, NOW).await;
    assert!(matches!(answer, Err(IdpError::Unknown)));
    assert!(idp.seen("/jwks").is_empty());
}
