use serde_json::{Value, json};

use crate::testing::{TestIdp, refusal, relying_party, sign_in};

/// A provider whose ID token says nothing but who, and whose UserInfo says more.
async fn terse(userinfo: Value) -> TestIdp {
    let idp = TestIdp::start().await;
    idp.announce("userinfo_endpoint", "/userinfo");
    idp.issue(
        json!({}),
        json!({"name": null, "email": null, "roles": null}),
    );
    idp.userinfo(userinfo);
    idp
}

#[tokio::test]
async fn what_the_id_token_leaves_out_is_asked_for() {
    let idp = terse(json!({"name": "Alice", "email": "a@example.com", "roles": ["user"]})).await;
    let (oidc, _) = idp.relying_party();
    let user = sign_in(&oidc, &idp).await.unwrap().claims;
    assert_eq!(user.name.as_deref(), Some("Alice"));
    assert_eq!(user.email.as_deref(), Some("a@example.com"));
    assert_eq!(user.roles, ["user"]);
    let seen = idp.seen("/userinfo");
    let bearer = seen[0].authorization.as_deref();
    assert_eq!(bearer, Some("Bearer upstream-access-token"));
}

#[tokio::test]
async fn what_the_id_token_says_counts_whatever_userinfo_says() {
    let idp = terse(json!({"name": "Mallory", "roles": ["admin"]})).await;
    idp.issue(json!({}), json!({"roles": [], "email": null}));
    let (oidc, _) = idp.relying_party();
    let user = sign_in(&oidc, &idp).await.unwrap().claims;
    assert_eq!(user.name.as_deref(), Some("Alice Example"));
    assert!(user.roles.is_empty(), "an empty list is said too");
    assert_eq!(idp.seen("/userinfo").len(), 1);
}

#[tokio::test]
async fn nobody_asks_who_has_no_need() {
    let idp = terse(json!({})).await;
    let silent = relying_party(&idp.config("userinfo = false")).0;
    assert!(sign_in(&silent, &idp).await.unwrap().claims.name.is_none());
    idp.issue(json!({}), json!({}));
    let complete = idp.relying_party().0;
    sign_in(&complete, &idp).await.unwrap();
    assert!(idp.seen("/userinfo").is_empty());
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_as_good_as_none() {
    // D11: Entra's is at another host, and its ID token can say it all.
    let idp = terse(json!({})).await;
    idp.metadata(json!({"userinfo_endpoint": "https://169.254.169.254/userinfo"}));
    let (oidc, _) = idp.relying_party();
    assert!(sign_in(&oidc, &idp).await.unwrap().claims.name.is_none());
}

#[tokio::test]
async fn an_answer_about_somebody_else_or_malformed_refuses_the_login() {
    let idp = terse(json!({"name": "Alice"})).await;
    let (oidc, _) = idp.relying_party();
    sign_in(&oidc, &idp).await.unwrap();
    for sub in [
        json!("bob"),
        json!("Alice"),
        json!(""),
        json!(7),
        json!(null),
    ] {
        idp.userinfo(json!({"sub": sub}));
        refusal(sign_in(&oidc, &idp).await);
    }
    for body in [
        r#"{"sub":"alice","name":7}"#,
        r#"{"sub":"bob","sub":"alice"}"#,
        r#"["alice"]"#,
        "",
    ] {
        idp.raw("/userinfo", 200, "application/json", body.as_bytes());
        refusal(sign_in(&oidc, &idp).await);
    }
    idp.raw("/userinfo", 401, "application/json", b"{}");
    refusal(sign_in(&oidc, &idp).await);
    idp.raw("/userinfo", 200, "application/jwt; charset=utf-8", b"a.b.c");
    assert_eq!(
        refusal(sign_in(&oidc, &idp).await),
        "it answered with a JWT instead of JSON"
    );
    idp.raw("/userinfo", 200, "text/jwt", br#"{"sub":"alice"}"#);
    refusal(sign_in(&oidc, &idp).await);
}
