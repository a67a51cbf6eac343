//! Asking again what a provider says of a user (OpenID Connect Core §12), and giving
//! its refresh token back (RFC 7009).

use cloakroom_domain::ports::{IdentityProviders, IdpError, Renewal, RenewalError, Renewed};
use serde_json::{Value, json};

use crate::Oidc;
use crate::testing::{NOW, TestIdp, field, sign_in};

async fn renew(oidc: &Oidc, first: &str) -> Result<Renewed, RenewalError> {
    let renewal = Renewal {
        refresh_token: "upstream-refresh-token",
        id_token: first,
        now: NOW,
    };
    oidc.renew("demo", &renewal).await
}

/// Signs in, then renews with an ID token that differs from the first like this.
async fn renewed(claims: Value) -> Result<Renewed, RenewalError> {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let first = json!({"auth_time": NOW.0 - 100, "iat": NOW.0 - 100, "exp": NOW.0 + 200});
    idp.issue(json!({}), first.clone());
    let first = sign_in(&oidc, &idp).await.unwrap().id_token;
    let mut second = json!({"auth_time": NOW.0 - 100, "nonce": null, "roles": ["user"]});
    for (name, value) in claims.as_object().unwrap() {
        second[name] = value.clone();
    }
    idp.issue(json!({}), second);
    renew(&oidc, &first).await
}

#[tokio::test]
async fn what_is_said_now_replaces_what_was_said_then() {
    let renewed = renewed(json!({"name": "Alice Married"})).await.unwrap();
    let profile = renewed.profile.unwrap();
    assert_eq!(profile.roles, ["user"]);
    assert_eq!(profile.name.as_deref(), Some("Alice Married"));
    assert_eq!(
        renewed.refresh_token.as_deref().map(String::as_str),
        Some("upstream-refresh-token")
    );
}

#[tokio::test]
async fn a_renewed_token_is_about_the_same_sign_in() {
    // A17.9
    for same in [
        json!({"auth_time": null}),
        json!({"nonce": "the-nonce"}),
        json!({"iat": NOW.0 - 60}),
    ] {
        assert!(renewed(same.clone()).await.is_ok(), "{same}");
    }
    for other in [
        json!({"sub": "bob"}),
        json!({"iss": "https://evil.example"}),
        json!({"aud": "another"}),
        json!({"aud": ["cloakroom", "another"], "azp": "cloakroom"}),
        json!({"azp": "cloakroom"}),
        json!({"auth_time": NOW.0}),
        json!({"nonce": "another"}),
        json!({"exp": NOW.0 - 60}),
        json!({"iat": NOW.0 - 10_000}),
        json!({"iat": NOW.0 + 61}),
        json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
    ] {
        let answer = renewed(other.clone()).await;
        assert!(matches!(answer, Err(RenewalError::Failed(_))), "{other}");
    }
}

/// The old one is spent: without the new one the next renewal would look like a thief's.
#[tokio::test]
async fn a_new_refresh_token_survives_what_fails_after_it_was_given() {
    let keeps = |answer: Result<Renewed, RenewalError>| {
        let renewed = answer.unwrap();
        assert!(renewed.profile.is_err());
        assert!(renewed.refresh_token.is_some());
    };
    keeps(renewed(json!({"roles": 7})).await);

    let idp = TestIdp::start().await;
    let (oidc, clock) = idp.relying_party();
    let first = sign_in(&oidc, &idp).await.unwrap().id_token;
    idp.announce("userinfo_endpoint", "/userinfo");
    idp.tokens(json!({"id_token": null}));
    clock.advance(3600);
    for status in [503, 401] {
        idp.raw("/userinfo", status, "application/json", b"{}");
        keeps(renew(&oidc, &first).await);
    }
    idp.plain("/userinfo");
    idp.userinfo(json!({"roles": ["user"]}));
    assert!(renew(&oidc, &first).await.unwrap().profile.is_ok());

    // A key set that cannot be had, for a token that may be as good as any.
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let first = sign_in(&oidc, &idp).await.unwrap().id_token;
    let (fresh, _) = idp.relying_party();
    idp.raw("/jwks", 503, "application/json", b"{}");
    keeps(renew(&fresh, &first).await);
}

#[tokio::test]
async fn only_invalid_grant_is_a_no() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let first = sign_in(&oidc, &idp).await.unwrap().id_token;
    idp.raw(
        "/token",
        400,
        "application/json",
        br#"{"error":"invalid_grant"}"#,
    );
    assert!(matches!(
        renew(&oidc, &first).await,
        Err(RenewalError::Over)
    ));
    let others: [(u16, &str, &[u8]); 7] = [
        (400, "application/json", br#"{"error":"invalid_request"}"#),
        (401, "application/json", br#"{"error":"invalid_client"}"#),
        (429, "application/json", br#"{"error":"invalid_grant"}"#),
        (500, "application/json", br#"{"error":"invalid_grant"}"#),
        (400, "text/html", b"invalid_grant"),
        (200, "application/json", br#"{"error":"invalid_grant"}"#),
        (302, "application/json", b"{}"),
    ];
    for (status, content_type, body) in others {
        idp.raw("/token", status, content_type, body);
        let answer = renew(&oidc, &first).await;
        assert!(matches!(answer, Err(RenewalError::Failed(_))), "{status}");
    }
}

#[tokio::test]
async fn without_an_id_token_userinfo_speaks_for_the_same_user() {
    let idp = TestIdp::start().await;
    let (oidc, clock) = idp.relying_party();
    let first = sign_in(&oidc, &idp).await.unwrap().id_token;
    idp.tokens(json!({"id_token": null}));
    let profile = async || renew(&oidc, &first).await.unwrap().profile;
    assert!(profile().await.is_err(), "nobody says anything");

    idp.announce("userinfo_endpoint", "/userinfo");
    clock.advance(3600);
    idp.userinfo(json!({"roles": ["user"]}));
    assert_eq!(profile().await.unwrap().roles, ["user"]);
    idp.userinfo(json!({"sub": "bob"}));
    assert!(profile().await.is_err());
}

#[tokio::test]
async fn the_request_is_a_refresh_by_us_for_the_same_scope() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let first = sign_in(&oidc, &idp).await.unwrap().id_token;
    renew(&oidc, &first).await.unwrap();
    let seen = idp.seen("/token").remove(1);
    assert!(seen.authorization.unwrap().starts_with("Basic "));
    let value = |name| field(&seen.body, name);
    assert_eq!(value("grant_type").as_deref(), Some("refresh_token"));
    let token = value("refresh_token");
    assert_eq!(token.as_deref(), Some("upstream-refresh-token"));
    assert_eq!(value("scope"), None);
}

#[tokio::test]
async fn a_refresh_token_is_given_back_where_it_is_taken_back() {
    let idp = TestIdp::start().await;
    let (oidc, clock) = idp.relying_party();
    oidc.revoke("demo", "r").await.unwrap();
    assert!(idp.seen("/revoke").is_empty(), "there is no endpoint");

    idp.announce("revocation_endpoint", "/revoke");
    clock.advance(3600);
    oidc.revoke("demo", "r").await.unwrap();
    let seen = idp.seen("/revoke").remove(0);
    assert!(seen.authorization.unwrap().starts_with("Basic "));
    assert_eq!(field(&seen.body, "token").as_deref(), Some("r"));
    let hint = field(&seen.body, "token_type_hint");
    assert_eq!(hint.as_deref(), Some("refresh_token"));

    for status in [400, 302] {
        idp.raw("/revoke", status, "text/plain", b"");
        assert!(matches!(
            oidc.revoke("demo", "r").await,
            Err(IdpError::Refused(_))
        ));
    }
    idp.raw("/revoke", 503, "text/plain", b"");
    assert!(matches!(
        oidc.revoke("demo", "r").await,
        Err(IdpError::Unavailable(_))
    ));
}
