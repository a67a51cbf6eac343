use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloakroom_domain::ports::{IdentityProviders, IdpError};
use serde_json::json;

use crate::testing::{CODE, SECRET, TestIdp, callback, field, refusal, relying_party, sign_in};

#[tokio::test]
async fn the_request_carries_code_verifier_and_redirect_uri() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    sign_in(&oidc, &idp).await.unwrap();
    let [seen] = &idp.seen("/token")[..] else {
        panic!("one request")
    };
    let expected = [
        ("grant_type", "authorization_code"),
        ("code", CODE),
        ("code_verifier", "the-verifier"),
        ("redirect_uri", "http://localhost:3000/auth/callback"),
    ];
    for (name, value) in expected {
        assert_eq!(field(&seen.body, name).as_deref(), Some(value));
    }
}

#[tokio::test]
async fn basic_authentication_encodes_both_halves_first() {
    // RFC 6749 §2.3.1
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    sign_in(&oidc, &idp).await.unwrap();
    let seen = idp.seen("/token").remove(0);
    let pair = "cloakroom:s3cret%3A+%2B%25%C3%A9";
    let expected = format!("Basic {}", STANDARD.encode(pair));
    assert_eq!(seen.authorization, Some(expected));
    assert_eq!(field(&seen.body, "client_id"), None);
    assert_eq!(field(&seen.body, "client_secret"), None);
}

#[tokio::test]
async fn the_secret_goes_where_the_configuration_says_and_nowhere_else() {
    let idp = TestIdp::start().await;
    let config = idp.config(r#"client_authentication = "client_secret_post""#);
    sign_in(&relying_party(&config).0, &idp).await.unwrap();
    let mut public = idp.config(r#"client_authentication = "client_secret_post""#);
    public.identity_providers[0].client_authentication =
        cloakroom_domain::config::ClientAuthentication::None;
    sign_in(&relying_party(&public).0, &idp).await.unwrap();

    let [post, none] = &idp.seen("/token")[..] else {
        panic!("two requests")
    };
    for (seen, secret) in [(post, Some(SECRET)), (none, None)] {
        assert_eq!(seen.authorization, None);
        assert_eq!(field(&seen.body, "client_id").as_deref(), Some("cloakroom"));
        assert_eq!(field(&seen.body, "client_secret").as_deref(), secret);
    }
}

#[tokio::test]
async fn an_answer_that_differs_in_one_point_is_refused() {
    // D9
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    for members in [
        json!({"token_type": "DPoP"}),
        json!({"token_type": null}),
        json!({"id_token": null}),
        json!({"id_token": 7}),
        json!({"id_token": ""}),
        json!({"access_token": null}),
        json!({"refresh_token": ["x"]}),
    ] {
        idp.issue(json!({}), json!({}));
        idp.tokens(members);
        refusal(sign_in(&oidc, &idp).await);
    }
    idp.issue(json!({}), json!({}));
    idp.tokens(json!({"token_type": "bEARER", "refresh_token": null}));
    assert!(sign_in(&oidc, &idp).await.unwrap().refresh_token.is_none());
}

#[tokio::test]
async fn an_answer_that_is_not_plain_json_within_bounds_is_refused() {
    // D9
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    let id_token = idp.id_token(json!({}), json!({}));
    let good = format!(r#"{{"token_type":"Bearer","access_token":"a","id_token":"{id_token}"}}"#);
    idp.raw(
        "/token",
        200,
        "application/json; charset=utf-8",
        good.as_bytes(),
    );
    sign_in(&oidc, &idp).await.unwrap();

    let twice = good.replacen('{', r#"{"id_token":"x","#, 1);
    let long = format!("{good}{}", " ".repeat(256 * 1024));
    let cases: [(u16, &'static str, &[u8]); 9] = [
        (200, "text/html", good.as_bytes()),
        (200, "application/jsonp", good.as_bytes()),
        (200, "", good.as_bytes()),
        (201, "application/json", good.as_bytes()),
        (302, "application/json", good.as_bytes()),
        (307, "application/json", good.as_bytes()),
        (200, "application/json", twice.as_bytes()),
        (200, "application/json", long.as_bytes()),
        (200, "application/json", b"\x1f\x8b\x08\x00"),
    ];
    for (status, content_type, body) in cases {
        idp.raw("/token", status, content_type, body);
        refusal(sign_in(&oidc, &idp).await);
    }
    assert!(idp.seen("/elsewhere").is_empty());

    let mut invalid = good.into_bytes();
    invalid.splice(1..1, *b"\"x\":\"\xff\",");
    idp.raw("/token", 200, "application/json", &invalid);
    refusal(sign_in(&oidc, &idp).await);
}

#[tokio::test]
async fn an_error_answer_becomes_words_of_our_own() {
    // D8
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    for (error, expected) in [
        ("invalid_grant", "it does not take the code"),
        ("invalid_client", "it does not take our client credentials"),
        ("<script>", "it refused the request"),
    ] {
        let body = json!({"error": error, "error_description": "<script>alert(1)</script>"});
        idp.raw(
            "/token",
            400,
            "application/json",
            body.to_string().as_bytes(),
        );
        assert_eq!(refusal(sign_in(&oidc, &idp).await), expected);
    }
    idp.raw("/token", 500, "text/html", b"<html>");
    let answer = oidc.redeem("demo", &callback(&idp)).await;
    assert!(matches!(answer, Err(IdpError::Unavailable(_))));
}

#[tokio::test]
async fn d95_an_answer_with_an_error_and_tokens_gives_no_tokens() {
    let idp = TestIdp::start().await;
    let (oidc, _) = idp.relying_party();
    for error in [
        json!("invalid_grant"),
        json!("temporarily_unavailable"),
        json!(""),
        json!(7),
        json!({}),
        json!(false),
    ] {
        idp.tokens(json!({"error": error}));
        let why = refusal(sign_in(&oidc, &idp).await);
        assert_eq!(
            why, "its answer reports an error beside a success",
            "{error}"
        );
    }
    // What is not there is no error; nor is a description alone.
    idp.tokens(json!({"error": null, "error_description": "none"}));
    sign_in(&oidc, &idp).await.unwrap();
}
