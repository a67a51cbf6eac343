//! Pushed authorization requests (RFC 9126) over HTTP.

use super::*;
use cloakroom_tests::browser::client;
use serde_json::Value;

/// Pushes a request, as `demo-native` unless it says otherwise.
async fn push(system: &System, changes: &[(&str, &str)]) -> (StatusCode, Value) {
    let answer = client()
        .post(system.at("/oauth/par"))
        .form(&oauth::authorization_request(changes))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    (status, answer.json().await.unwrap())
}

const PUSHING: [(&str, &str); 4] = [
    ("client_id", "pushing"),
    ("client_secret", "demo-machine-secret"),
    ("redirect_uri", "https://server.example.com/callback"),
    ("scope", "orders:read"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_request_leads_to_tokens() {
    let system = system().await;
    let (status, pushed) = push(&system, &[]).await;
    assert_eq!(status, StatusCode::CREATED, "{pushed}");
    assert_eq!(pushed["expires_in"], 60);
    let uri = oauth::text(&pushed, "request_uri");
    assert!(uri.starts_with("urn:ietf:params:oauth:request_uri:"));

    let url = oauth::pushed_url(&system, "demo-native", &pushed);
    let mut browser = Browser::default();
    let form = browser.follow_link(&url).await;
    assert!(form.hops[1].as_str().contains("second_look"));
    let fields = [("username", "alice"), ("password", "alice")];
    let page = browser.submit(&form, &fields).await;
    let code = allow(&mut browser, &page).await;
    let (status, body) = oauth::redeem(&system, &code).await;
    assert_eq!(status, 200, "{body}");

    // It has led to a code.
    let (status, headers, _) = first_answer(&mut browser, &url).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let answer = Url::parse(headers["location"].to_str().unwrap()).unwrap();
    assert!(answer.as_str().starts_with(oauth::REDIRECT));
    assert_eq!(
        oauth::parameter(&answer, "error").as_deref(),
        Some("invalid_request_uri")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_must_push_gets_a_code_only_so() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    let plain = oauth::authorization_url(&system, &PUSHING);
    let (_, headers, _) = first_answer(&mut alice, &plain).await;
    let answer = Url::parse(headers["location"].to_str().unwrap()).unwrap();
    assert_eq!(
        oauth::parameter(&answer, "error").as_deref(),
        Some("invalid_request")
    );

    let (status, pushed) = push(&system, &PUSHING).await;
    assert_eq!(status, StatusCode::CREATED, "{pushed}");
    let url = Url::parse(&oauth::pushed_url(&system, "pushing", &pushed)).unwrap();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (status, headers, _) = alice.step(Method::GET, &url, None, false).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        answers.push(Url::parse(headers["location"].to_str().unwrap()).unwrap());
    }
    assert!(oauth::parameter(&answers[0], "code").is_some());
    assert_eq!(oauth::parameter(&answers[1], "code"), None, "one code");
    let (status, headers, _) = alice
        .step(
            Method::GET,
            &Url::parse(&oauth::pushed_url(&system, "server", &pushed)).unwrap(),
            None,
            false,
        )
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "another client's");
    assert!(!headers.contains_key("location"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushing_takes_the_clients_own_proof_d54() {
    let system = system().await;
    for secret in ["", "wrong"] {
        let mut changes = PUSHING.to_vec();
        changes.push(("client_secret", secret));
        let (status, body) = push(&system, &changes).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(body["error"], "invalid_client");
    }
    let (status, body) = push(&system, &[("client_secret", "demo-machine-secret")]).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (401, &"invalid_client".into())
    );
    // By the header, without a client_id in the body.
    let mut changes = PUSHING.to_vec();
    changes.extend([("client_id", ""), ("client_secret", "")]);
    let form = oauth::authorization_request(&changes);
    for (secret, expected) in [("demo-machine-secret", 201), ("wrong", 401)] {
        let request = client()
            .post(system.at("/oauth/par"))
            .basic_auth("pushing", Some(secret))
            .form(&form);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), expected);
        assert_eq!(
            answer.headers().contains_key("www-authenticate"),
            expected == 401
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_says_where_to_push_and_who_must() {
    let everybody = |config: &str| {
        config.replace(
            "redirect_uris = [\"http://127.0.0.1/callback\"]",
            "redirect_uris = [\"http://127.0.0.1/callback\"]\nrequire_par = true",
        )
    };
    for (config, all) in [
        (DEMO_CONFIG.to_owned(), false),
        (everybody(DEMO_CONFIG), true),
    ] {
        let options = Options {
            config,
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let url = system.at("/.well-known/oauth-authorization-server");
        let metadata: Value = client()
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            metadata["pushed_authorization_request_endpoint"],
            system.at("/oauth/par")
        );
        assert_eq!(metadata["require_pushed_authorization_requests"], all);
    }
}
