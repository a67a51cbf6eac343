//! The README's walk: what a stranger does in the first ten minutes, over HTTP.

use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{Options, System};
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;

fn client() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .build()
        .unwrap()
}

async fn machine_token(http: &Client, system: &System) -> String {
    let answer = http
        .post(system.at("/oauth/token"))
        .basic_auth("demo-machine", Some("demo-machine-secret"))
        .form(&[
            ("grant_type", "client_credentials"),
            ("scope", "orders:read"),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "orders:read");
    assert!(body.get("refresh_token").is_none(), "RFC 6749 §4.4.3");
    body["access_token"].as_str().unwrap().to_owned()
}

async fn machine_walk(options: Options) {
    let system = System::start(options).await.unwrap();
    let http = client();
    let token = machine_token(&http, &system).await;
    assert_eq!(token.len(), 76);
    assert!(token.starts_with("cr_at_"));

    let get = |path: &str| http.get(system.at(path)).bearer_auth(&token).send();
    assert_eq!(get("/api/orders").await.unwrap().status(), 200);
    assert_eq!(get("/api/reports").await.unwrap().status(), 403);
    assert_eq!(get("/api/nothing").await.unwrap().status(), 403);

    let without = http.get(system.at("/api/orders")).send().await.unwrap();
    assert_eq!(without.status(), 401);
    let challenge = without.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Bearer"), "{challenge}");

    let profile: Value = get("/api/profile").await.unwrap().json().await.unwrap();
    assert_eq!(profile["header"]["typ"], "at+jwt");
    let claims = &profile["claims"];
    assert_eq!(claims["iss"], system.url());
    assert_eq!(claims["aud"], "profile");
    assert_eq!(claims["sub"], "client|demo-machine");
    assert_eq!(claims["client_id"], "demo-machine");
    assert_eq!(claims["scope"], "orders:read");
    for claim in ["exp", "iat", "jti"] {
        assert!(!claims[claim].is_null(), "{claim}");
    }
    assert!(!profile.to_string().contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_walks_through_a_rest_api() {
    machine_walk(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_walks_through_an_http_api_too() {
    for edge in [
        cloakroom_domain::config::Edge::None,
        cloakroom_domain::config::Edge::Cloudfront,
    ] {
        machine_walk(Options {
            flavour: Flavour::Http,
            edge: Some(edge),
            ..Options::default()
        })
        .await;
    }
}
