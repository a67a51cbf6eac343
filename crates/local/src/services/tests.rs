//! The services against a key of the test's own.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cloakroom_verify::{Clock, jws::KeySet};
use http::{Request, StatusCode};
use tower::ServiceExt;

use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "http://localhost:3000";
const JWT_HEADER: HeaderName = HeaderName::from_static("x-cloakroom-jwt");

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> u64 {
        NOW
    }
}

struct Demo {
    key: Ed25519KeyPair,
}

impl Demo {
    fn new() -> Self {
        Self {
            key: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn services(&self) -> Services {
        let verifier = |audience| {
            let jwk = json!({
                "kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "use": "sig",
                "x": URL_SAFE_NO_PAD.encode(self.key.public_key()),
            });
            let keys = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
            Verifier::builder(ISSUER, audience)
                .key_set(keys)
                .clock(Fixed)
                .build()
                .unwrap()
        };
        Services::new(verifier(ORDERS), verifier(PROFILE))
    }

    /// A good JWT of alice's for an audience, with claims replaced.
    fn jwt(&self, audience: &str, replaced: &Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "sub": "demo|alice", "aud": audience, "client_id": "cloakroom",
            "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "j",
            "scope": "orders:read", "roles": ["admin", "user"],
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "k"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }
}

async fn answer(
    services: Services,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> (StatusCode, String) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = services.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn status(demo: &Demo, path: &str, jwt: &str) -> u16 {
    let bearer = format!("Bearer {jwt}");
    let (status, _) = answer(demo.services(), path, &[(header::AUTHORIZATION, &bearer)]).await;
    status.as_u16()
}

#[tokio::test]
async fn orders_need_the_scope_and_reports_the_role() {
    let demo = Demo::new();
    let cases = [
        ("/api/orders", json!({}), 200),
        ("/api/orders", json!({"scope": "orders:write"}), 403),
        ("/api/orders", json!({"roles": []}), 200),
        ("/api/reports", json!({}), 200),
        ("/api/reports", json!({"roles": ["user"]}), 403),
        ("/api/reports", json!({"scope": ""}), 200),
    ];
    for (path, claims, expected) in cases {
        let jwt = demo.jwt(ORDERS, &claims);
        assert_eq!(status(&demo, path, &jwt).await, expected, "{path} {claims}");
    }
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let demo = Demo::new();
    for (path, audience, expected) in [
        ("/api/orders", ORDERS, 200),
        ("/api/orders", PROFILE, 401),
        ("/api/profile", PROFILE, 200),
        ("/api/profile", ORDERS, 401),
    ] {
        let jwt = demo.jwt(audience, &json!({}));
        assert_eq!(
            status(&demo, path, &jwt).await,
            expected,
            "{path} {audience}"
        );
    }
}

#[tokio::test]
async fn without_the_gateways_signature_nobody_is_let_in() {
    let demo = Demo::new();
    let stranger = Demo::new();
    for path in ["/api/orders", "/api/reports", "/api/profile"] {
        let audience = if path == "/api/profile" {
            PROFILE
        } else {
            ORDERS
        };
        assert_eq!(
            status(&demo, path, &demo.jwt(audience, &json!({}))).await,
            200
        );
        assert_eq!(
            status(&demo, path, &stranger.jwt(audience, &json!({}))).await,
            401
        );
        assert_eq!(
            answer(demo.services(), path, &[]).await.0,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn the_profile_shows_what_was_verified_and_no_signature() {
    let demo = Demo::new();
    let jwt = demo.jwt(PROFILE, &json!({}));
    let bearer = format!("Bearer {jwt}");
    let headers = [
        (header::AUTHORIZATION, bearer.as_str()),
        (header::ACCEPT, "*/*"),
    ];
    let (_, body) = answer(demo.services(), "/api/profile", &headers).await;
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        shown["header"],
        json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "k"})
    );
    assert_eq!(shown["claims"]["sub"], "demo|alice");
    assert_eq!(
        shown["received_headers"],
        json!(["accept", "authorization"])
    );
    let signature = jwt.rsplit('.').next().unwrap();
    assert!(!body.contains(signature));
}

#[tokio::test]
async fn behind_an_http_api_only_the_mapped_header_counts() {
    let demo = Demo::new();
    let jwt = demo.jwt(ORDERS, &json!({}));
    let bearer = format!("Bearer {jwt}");
    let services = || demo.services().header(JWT_HEADER);
    for (name, value, expected) in [
        (JWT_HEADER, &jwt, StatusCode::OK),
        (JWT_HEADER, &bearer, StatusCode::UNAUTHORIZED),
        (header::AUTHORIZATION, &bearer, StatusCode::UNAUTHORIZED),
    ] {
        let (status, _) = answer(services(), "/api/orders", &[(name, value)]).await;
        assert_eq!(status, expected);
    }
}
