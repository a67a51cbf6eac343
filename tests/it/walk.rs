//! The README's walk: what a stranger does in the first ten minutes, over HTTP.
//! The same walk is made through every flavour of API, and through real bootstraps
//! in `lambda.rs`.

use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::oauth;
use reqwest::{Method, StatusCode};
use std::time::Duration;

/// Every flavour and topology.
fn systems() -> Vec<Options> {
    let mut all = Vec::new();
    for flavour in [Flavour::Rest, Flavour::Http] {
        for edge in [Edge::None, Edge::Cloudfront] {
            all.push(Options {
                flavour,
                edge: Some(edge),
                ..Options::default()
            });
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_what_it_may() {
    for options in systems() {
        machine(&System::start(options).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_and_out() {
    for options in systems() {
        browser(&System::start(options).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_app_signs_in_refreshes_and_revokes() {
    for options in systems() {
        native(&System::start(options).await.unwrap()).await;
    }
}

/// By its `sid` (OpenID Connect Back-Channel Logout 1.0 §2.4); what a `sub` ends is held
/// in `attacks::sign_in`.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_at_the_provider_takes_its_own_grants_along_and_no_others() {
    let system = System::start(Options::default()).await.unwrap();
    let (mut here, mut elsewhere) = (Browser::default(), Browser::default());
    for browser in [&mut here, &mut elsewhere] {
        browser.sign_in(system.url(), "alice").await;
    }
    // A native app in the same session, that may not go on without its user.
    let scope = [("scope", "openid profile orders:read")];
    let asked = here.open(&oauth::authorization_url(&system, &scope)).await;
    let answer = here.submit(&asked, &[("decision", "allow")]).await;
    let code = oauth::parameter(&answer.redirect().unwrap(), "code").unwrap();
    let (status, tokens) = oauth::redeem(&system, &code).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let access = oauth::text(&tokens, "access_token");

    let logout = system.at("/auth/logout");
    let (_, _, body) = here.fetch(Method::POST, &logout).await;
    let (status, _) = oauth::call(&system, "/api/orders", &access).await;
    assert_eq!(status, StatusCode::OK, "signed out here, and not yet there");
    here.open(body["logout_url"].as_str().unwrap()).await;
    until_refused(&system, || async {
        oauth::call(&system, "/api/orders", &access).await.0
    })
    .await;
    let session = system.at("/auth/session");
    let (status, _, _) = elsewhere.fetch(Method::GET, &session).await;
    assert_eq!(status, StatusCode::OK, "another session of hers");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_at_once_are_one() {
    refreshes(&System::start(Options::default()).await.unwrap()).await;
}

pub(crate) async fn machine(system: &System) {
    let token = oauth::machine_token(system).await;
    assert_eq!(token.len(), 76);
    assert!(token.starts_with("cr_at_"));

    let (status, _) = oauth::call(system, "/api/orders", &token).await;
    assert_eq!(status, 200);
    let (status, _) = oauth::call(system, "/api/reports", &token).await;
    assert_eq!(status, 403);
    let (status, _) = oauth::call(system, "/api/nothing", &token).await;
    assert_eq!(status, 403, "what no route names is refused");

    let without = client().get(system.at("/api/orders")).send().await.unwrap();
    assert_eq!(without.status(), 401);
    if system.gateway().flavour() == Flavour::Rest {
        let challenge = without.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }

    let (_, profile) = oauth::call(system, "/api/profile", &token).await;
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
    for claim in ["name", "email", "roles"] {
        assert!(claims[claim].is_null(), "{claim}");
    }
    assert!(!profile.to_string().contains(&token));
}

pub(crate) async fn browser(system: &System) {
    let mut alice = Browser::default();
    let landed = alice.sign_in(system.url(), "alice").await;
    assert_eq!((landed.status, landed.url.path()), (StatusCode::OK, "/"));
    assert!(!landed.has_form());
    let ticket = alice.cookie("__Host-Http-cloakroom").unwrap();
    assert_eq!(ticket.len(), 76);
    assert!(ticket.starts_with("cr_st_"));
    assert_eq!(alice.cookies().len(), 1, "one cookie, and nothing else");

    let session = system.at("/auth/session");
    let (status, _, body) = alice.fetch(Method::GET, &session).await;
    assert_eq!(status, 200);
    assert_eq!(body["subject"], "demo|alice");
    assert_eq!(body["claims"]["name"], "Alice Example");
    assert_eq!(body["claims"]["email"], "alice@example.com");
    assert!(body["expires_in"].as_u64() > body["idle_expires_in"].as_u64());
    let (status, _, _) = alice.fetch_with(Method::GET, &session, &[]).await;
    assert_eq!(status, 403, "without the CSRF header");

    for (path, expected) in [
        ("/api/orders", 200),
        ("/api/reports", 200),
        ("/api/profile", 200),
    ] {
        let (status, _, body) = alice.fetch(Method::GET, &system.at(path)).await;
        assert_eq!(status, expected, "{path}");
        assert!(!body.to_string().contains(&ticket), "{path}");
    }
    let (status, _, _) = alice
        .fetch_with(Method::GET, &system.at("/api/orders"), &[])
        .await;
    assert_eq!(status, 403, "GET without the CSRF header too");
    let (_, _, profile) = alice.fetch(Method::GET, &system.at("/api/profile")).await;
    let claims = &profile["claims"];
    assert_eq!(claims["sub"], "demo|alice");
    assert_eq!(claims["name"], "Alice Example");
    assert_eq!(claims["email"], "alice@example.com");
    assert_eq!(claims["roles"], serde_json::json!(["admin", "user"]));

    let mut bob = Browser::default();
    bob.sign_in(system.url(), "bob").await;
    let (status, _, _) = bob.fetch(Method::GET, &system.at("/api/orders")).await;
    assert_eq!(status, 200);
    let (status, _, _) = bob.fetch(Method::GET, &system.at("/api/reports")).await;
    assert_eq!(status, 403, "bob is no admin");

    let logout = system.at("/auth/logout");
    let (status, _, _) = alice.fetch_with(Method::POST, &logout, &[]).await;
    assert_eq!(status, 403, "without the CSRF header");
    let (status, _, body) = alice.fetch(Method::POST, &logout).await;
    assert_eq!(status, 200);
    let url = body["logout_url"].as_str().unwrap();
    assert!(url.starts_with(system.provider_url()));
    assert!(alice.cookies().is_empty());
    alice.plant("__Host-Http-cloakroom", &ticket);
    until_refused(system, || async {
        let mut thief = Browser::default();
        thief.plant("__Host-Http-cloakroom", &ticket);
        thief.fetch(Method::GET, &system.at("/api/orders")).await.0
    })
    .await;
    let (status, _, _) = alice.fetch(Method::GET, &session).await;
    assert_eq!(status, 401);
    let (status, _, _) = bob.fetch(Method::GET, &system.at("/api/orders")).await;
    assert_eq!(status, 200, "bob is none of alice's business");
}

pub(crate) async fn native(system: &System) {
    let answer = oauth::authorize(system, "alice").await;
    assert!(answer.as_str().starts_with(oauth::REDIRECT));
    assert_eq!(
        oauth::parameter(&answer, "state").as_deref(),
        Some("native-state")
    );
    assert_eq!(
        oauth::parameter(&answer, "iss").as_deref(),
        Some(system.url())
    );
    let code = oauth::parameter(&answer, "code").unwrap();
    let (status, first) = oauth::redeem(system, &code).await;
    assert_eq!(status, 200, "{first}");
    let access = oauth::text(&first, "access_token");
    let (status, profile) = oauth::call(system, "/api/profile", &access).await;
    assert_eq!(status, 200);
    assert_eq!(profile["claims"]["sub"], "demo|alice");
    assert_eq!(profile["claims"]["client_id"], "demo-native");

    let (status, second) = oauth::refresh(system, &oauth::text(&first, "refresh_token")).await;
    assert_eq!(status, 200, "{second}");
    let access = oauth::text(&second, "access_token");
    let (status, _) = oauth::call(system, "/api/orders", &access).await;
    assert_eq!(status, 200);

    let refresh = oauth::text(&second, "refresh_token");
    assert_eq!(oauth::revoke(system, &refresh).await, 200);
    let (status, body) = oauth::refresh(system, &refresh).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into())
    );
    until_refused(system, || async {
        oauth::call(system, "/api/orders", &access).await.0
    })
    .await;
}

pub(crate) async fn refreshes(system: &System) {
    let (_, refresh) = oauth::native_tokens(system, "alice").await;
    let answers = (0..50).map(|_| oauth::refresh(system, &refresh));
    let mut pairs = Vec::new();
    for answer in join_all(answers).await {
        let (status, body) = answer;
        assert_eq!(status, 200, "{body}");
        pairs.push((
            oauth::text(&body, "access_token"),
            oauth::text(&body, "refresh_token"),
        ));
    }
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), 1, "all get the same pair");
    let (access, next) = pairs.pop().unwrap();

    let (status, _) = oauth::call(system, "/api/orders", &access).await;
    assert_eq!(status, 200);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (status, body) = oauth::refresh(system, &refresh).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into()),
        "the pair is in use and 10 s have passed"
    );
    let (status, _) = oauth::refresh(system, &next).await;
    assert_eq!(status, 400, "the whole family is gone");
    until_refused(system, || async {
        oauth::call(system, "/api/orders", &access).await.0
    })
    .await;
}

/// Asks until the answer is 401; longer than `revocation.max_latency` is a fault.
async fn until_refused<F: Future<Output = StatusCode>>(system: &System, ask: impl Fn() -> F) {
    // A second for the clock's own steps.
    let limit = system.config().revocation.max_latency + 1;
    let start = std::time::Instant::now();
    loop {
        let status = ask().await;
        if status == 401 {
            return;
        }
        assert_eq!(status, 200);
        let waited = start.elapsed().as_secs();
        assert!(waited <= limit, "still accepted after {waited} s");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

pub(crate) async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
