use cloakroom_domain::ports::{AuthorizationRequest, IdentityProviders, IdpError};
use serde_json::json;
use url::Url;

use crate::testing::{REQUEST_URI, TestIdp, field, refusal, relying_party};

async fn begin(idp: &TestIdp, more: &str) -> Result<Url, IdpError> {
    let (oidc, _) = relying_party(&idp.config(more));
    let request = AuthorizationRequest {
        redirect_uri: "http://localhost:3000/auth/callback",
        state: "the-state",
        nonce: "the-nonce",
        code_challenge: "the-challenge",
        prompt_login: true,
        max_age: Some(60),
        acr_values: None,
        login_hint: None,
    };
    let url = oidc.authorization_url("demo", &request).await?;
    Ok(Url::parse(&url).unwrap())
}

fn is_pushed(url: &Url) -> bool {
    url.query_pairs().any(|(name, _)| name == "request_uri")
}

#[tokio::test]
async fn a_request_is_pushed_and_the_browser_carries_a_reference_alone() {
    // A14
    let idp = TestIdp::start().await;
    idp.announce("pushed_authorization_request_endpoint", "/par");
    let url = begin(&idp, "").await.unwrap();
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let expected = [
        ("tenant", "a"),
        ("client_id", "cloakroom"),
        ("request_uri", REQUEST_URI),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs, expected);

    let [seen] = &idp.seen("/par")[..] else {
        panic!("one request")
    };
    assert!(seen.authorization.as_deref().unwrap().starts_with("Basic "));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "cloakroom"),
        ("redirect_uri", "http://localhost:3000/auth/callback"),
        ("scope", "openid profile email"),
        ("state", "the-state"),
        ("nonce", "the-nonce"),
        ("code_challenge", "the-challenge"),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
        ("max_age", "60"),
    ] {
        assert_eq!(field(&seen.body, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(field(&seen.body, "request_uri"), None);
}

#[tokio::test]
async fn whether_it_is_pushed_is_the_providers_and_the_configurations_word() {
    let idp = TestIdp::start().await;
    assert!(!is_pushed(&begin(&idp, "").await.unwrap()));
    assert!(!is_pushed(&begin(&idp, "par = \"never\"").await.unwrap()));
    // Somebody may have taken the endpoint out of the metadata.
    refusal(begin(&idp, "par = \"always\"").await);
    idp.metadata(json!({"require_pushed_authorization_requests": true}));
    refusal(begin(&idp, "").await);

    idp.announce("pushed_authorization_request_endpoint", "/par");
    for par in ["auto", "always", "never"] {
        let url = begin(&idp, &format!("par = \"{par}\"")).await.unwrap();
        assert!(is_pushed(&url), "it takes no others: {par}");
    }
    idp.metadata(json!({"require_pushed_authorization_requests": false}));
    assert!(is_pushed(&begin(&idp, "par = \"always\"").await.unwrap()));
    assert!(!is_pushed(&begin(&idp, "par = \"never\"").await.unwrap()));
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_never_used() {
    // D11
    let idp = TestIdp::start().await;
    let elsewhere = json!({"pushed_authorization_request_endpoint": "https://evil.example/par"});
    idp.metadata(elsewhere);
    refusal(begin(&idp, "").await);
}

#[tokio::test]
async fn an_answer_that_is_no_reference_ends_the_login() {
    let idp = TestIdp::start().await;
    idp.announce("pushed_authorization_request_endpoint", "/par");
    let answers = [
        (201, r#"{"request_uri":"","expires_in":60}"#),
        (201, r#"{"request_uri":"a b"}"#),
        (201, r#"{"request_uri":7}"#),
        (201, r"{}"),
        (201, "no json"),
        (201, r#"{"request_uri":"urn:x","error":"invalid_request"}"#),
        (400, r#"{"error":"invalid_request"}"#),
        (401, r#"{"error":"invalid_client"}"#),
        (302, r#"{"request_uri":"urn:x"}"#),
    ];
    for (status, body) in answers {
        idp.raw("/par", status, "application/json", body.as_bytes());
        refusal(begin(&idp, "").await);
    }
    let long = json!({"request_uri": format!("urn:{}", "x".repeat(1024))}).to_string();
    idp.raw("/par", 201, "application/json", long.as_bytes());
    refusal(begin(&idp, "").await);
    for status in [429, 503] {
        idp.raw("/par", status, "application/json", b"{}");
        let answer = begin(&idp, "").await;
        assert!(matches!(answer, Err(IdpError::Unavailable(_))), "{status}");
    }
    idp.raw(
        "/par",
        200,
        "application/json",
        br#"{"request_uri":"urn:x"}"#,
    );
    assert!(is_pushed(&begin(&idp, "").await.unwrap()));
}
