//! Every algorithm in every place where one of our keys signs: what the roles in the
//! templates allow, a team may choose.

use super::rotation::verified;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::oauth;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// An identity provider as far as a pushed request: what it was sent there.
#[derive(Clone, Default)]
struct Provider {
    issuer: String,
    pushed: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/par", post(pushed))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }
}

async fn metadata(State(provider): State<Provider>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"),
        "pushed_authorization_request_endpoint": at("/par"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    }))
}

async fn pushed(
    State(provider): State<Provider>,
    Form(form): Form<BTreeMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    *provider.pushed.lock().unwrap() = form;
    let answer = json!({"request_uri": "urn:example:1", "expires_in": 60});
    (StatusCode::CREATED, Json(answer))
}

async fn system(algorithm: &str, mode: &str, provider: &Provider) -> System {
    let callback = "id = \"demo\"\ncallback = \"own\"\n";
    let config = DEMO_CONFIG.replace("id = \"demo\"\n", callback)
        + &format!(
            r#"
            [jwt]
            algorithm = "{algorithm}"
            mode = "{mode}"

            [client_key]
            algorithm = "{algorithm}"

            [[identity_providers]]
            id = "keyed"
            issuer = "{}"
            client_id = "cloakroom"
            client_authentication = "private_key_jwt"
            callback = "own"
            "#,
            provider.issuer
        );
    let options = Options {
        config,
        ..Options::default()
    };
    System::start(options).await.unwrap()
}

/// The header of a JWT, if the keys at `path` say that it is good.
async fn algorithm_of(system: &System, path: &str, jwt: &str) -> Value {
    let keys = client().get(system.at(path)).send().await.unwrap();
    let keys = keys.json().await.unwrap();
    // Whom it is for is looked at elsewhere.
    let found = verified(&keys, jwt, |validation| validation.validate_aud = false);
    let (header, _) = found.unwrap();
    json!(header.alg)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_signs_wherever_one_of_our_keys_does() {
    let provider = Provider::start().await;
    for algorithm in ALGORITHMS {
        for mode in ["kms", "data-key"] {
            let system = system(algorithm, mode, &provider).await;
            // The authorizer's, which the service has verified.
            let token = oauth::machine_token(&system).await;
            let (status, seen) = oauth::call(&system, "/api/profile", &token).await;
            assert_eq!(status, StatusCode::OK, "{algorithm} {mode}");
            assert_eq!(seen["header"]["alg"], algorithm, "{mode}");

            // The token function's.
            let fresh = oauth::machine_token(&system).await;
            let answer = client()
                .post(system.at("/oauth/introspect"))
                .basic_auth("demo-machine", Some("demo-machine-secret"))
                .header("accept", "application/jwt")
                .form(&[("token", fresh.as_str())])
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{algorithm} {mode}");
            let jwt = answer.text().await.unwrap();
            let found = algorithm_of(&system, "/.well-known/jwks.json", &jwt).await;
            assert_eq!(found, algorithm, "{mode}");

            // The login function's, which says who we are.
            let mut browser = Browser::default();
            let login = system.at("/auth/login?idp=keyed&return_to=/");
            let url = login.parse().unwrap();
            let (status, _, page) = browser.step(reqwest::Method::GET, &url, None, false).await;
            assert_eq!(status, StatusCode::SEE_OTHER, "{algorithm} {mode}: {page}");
            let assertion = provider.pushed.lock().unwrap().remove("client_assertion");
            let assertion = assertion.expect("a pushed request with an assertion");
            let found = algorithm_of(&system, "/.well-known/client-jwks.json", &assertion).await;
            assert_eq!(found, algorithm, "{mode}");
        }
    }
}
