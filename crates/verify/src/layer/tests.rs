use axum::body::{Body, to_bytes};
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::jws::Algorithm;
use crate::testing::{ISSUER, NOW, TestClock, key_set, token};

const ES256: Algorithm = Algorithm::ES256;

fn layer() -> VerifyLayer {
    let verifier = Verifier::builder(ISSUER, "orders")
        .key_set(key_set(ES256))
        .clock(TestClock::at(NOW))
        .build()
        .unwrap();
    VerifyLayer::new(verifier)
}

async fn call(layer: VerifyLayer, path: &str, headers: &[(&str, &[u8])]) -> (u16, String, String) {
    let whoami = async |Extension(claims): Extension<Claims>| claims.sub;
    let app = Router::new()
        .route("/", get(whoami))
        .route("/admin", get(whoami).layer(RequireLayer::role("admin")))
        .route(
            "/write",
            get(whoami).layer(RequireLayer::scope("orders:write")),
        )
        .layer(layer);
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(app, request.body(Body::empty()).unwrap()).await
}

async fn answer(app: Router, request: Request<Body>) -> (u16, String, String) {
    let response = app.oneshot(request).await.unwrap();
    let challenge = response
        .headers()
        .get(WWW_AUTHENTICATE)
        .map(|value| value.to_str().unwrap());
    let (status, challenge) = (
        response.status().as_u16(),
        challenge.unwrap_or("").to_owned(),
    );
    let body = to_bytes(response.into_body(), 1024).await.unwrap();
    (status, challenge, String::from_utf8(body.to_vec()).unwrap())
}

fn bearer(claims: serde_json::Value) -> String {
    format!("Bearer {}", token(ES256, json!({}), claims))
}

fn answered(status: u16, challenge: &str, body: &str) -> (u16, String, String) {
    (status, challenge.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_good_token_passes_and_the_handler_sees_its_claims() {
    let good = bearer(json!({}));
    for path in ["/", "/admin", "/write"] {
        let answer = call(layer(), path, &[("authorization", good.as_bytes())]).await;
        assert_eq!(answer, answered(200, "", "demo|alice"), "{path}");
    }
}

#[tokio::test]
async fn refusals_say_which_of_the_three_they_are() {
    let bob = bearer(json!({"roles": ["user"], "scope": "orders:read"}));
    let call = async |path, value: &[u8]| call(layer(), path, &[("authorization", value)]).await;
    let invalid = answered(
        401,
        r#"Bearer error="invalid_token""#,
        r#"{"error":"invalid_token"}"#,
    );

    assert_eq!(call("/", b"Bearer x").await, invalid);
    assert_eq!(call("/", b"Bearer \xc3\xa9").await, invalid);
    assert_eq!(
        call("/admin", bob.as_bytes()).await,
        answered(
            403,
            r#"Bearer error="insufficient_scope""#,
            r#"{"error":"insufficient_scope"}"#
        )
    );
    assert_eq!(
        call("/write", bob.as_bytes()).await,
        answered(
            403,
            r#"Bearer error="insufficient_scope", scope="orders:write""#,
            r#"{"error":"insufficient_scope"}"#
        )
    );
}

#[tokio::test]
async fn exactly_one_header_is_taken() {
    let good = bearer(json!({}));
    let one = ("authorization", good.as_bytes());
    assert_eq!(call(layer(), "/", &[one]).await.0, 200);
    assert_eq!(call(layer(), "/", &[one, one]).await.0, 401);
    assert_eq!(
        call(layer(), "/", &[]).await,
        answered(401, "Bearer", r#"{"error":"unauthorized"}"#)
    );
}

#[tokio::test]
async fn another_header_carries_the_bare_token_and_authorization_is_ignored() {
    let layer = || layer().header(HeaderName::from_static("x-cloakroom-jwt"));
    let (bare, good) = (token(ES256, json!({}), json!({})), bearer(json!({})));
    assert_eq!(
        call(layer(), "/", &[("x-cloakroom-jwt", bare.as_bytes())])
            .await
            .0,
        200
    );
    assert_eq!(
        call(layer(), "/", &[("x-cloakroom-jwt", good.as_bytes())])
            .await
            .0,
        401
    );
    assert_eq!(
        call(layer(), "/", &[("authorization", good.as_bytes())])
            .await
            .0,
        401
    );
}

#[tokio::test]
async fn requirements_of_the_layer_hold_on_every_route() {
    let good = bearer(json!({}));
    let headers = &[("authorization", good.as_bytes())][..];
    let strict = layer().require_role("admin").require_scope("orders:read");
    assert_eq!(call(strict.clone(), "/", headers).await.0, 200);
    assert_eq!(
        call(strict.require_role("owner"), "/", headers).await.0,
        403
    );
}

#[tokio::test]
async fn a_requirement_without_a_verifier_lets_nobody_pass() {
    let app = Router::new()
        .route("/", get(async || "in"))
        .layer(RequireLayer::role("admin"));
    let request = Request::builder().uri("/").body(Body::empty()).unwrap();
    assert_eq!(answer(app, request).await.0, 401);
}
