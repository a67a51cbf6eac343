//! D33: what was taken back is refused, everywhere and in time.

use super::{forgetful, with_max_latency};
use cloakroom_domain::config::Edge;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::Browser;
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::oauth;
use reqwest::Method;
use std::sync::Arc;

const SESSION: &str = "__Host-Http-cloakroom";

#[tokio::test(flavor = "multi_thread")]
async fn d33_a_revoked_familys_access_token_is_401_at_the_next_call() {
    let system = forgetful().await;
    let (others, _) = oauth::native_tokens(&system, "alice").await;
    for by_which in ["access_token", "refresh_token"] {
        let (access, refresh) = oauth::native_tokens(&system, "alice").await;
        assert_eq!(oauth::call(&system, "/api/orders", &access).await.0, 200);
        let token = if by_which == "access_token" {
            &access
        } else {
            &refresh
        };
        assert_eq!(oauth::revoke(&system, token).await, 200);
        let (status, _) = oauth::call(&system, "/api/orders", &access).await;
        assert_eq!(status, 401, "{by_which}");
        let (status, body) = oauth::refresh(&system, &refresh).await;
        assert_eq!(
            (status.as_u16(), &body["error"]),
            (400, &"invalid_grant".into())
        );
    }
    assert_eq!(oauth::call(&system, "/api/orders", &others).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn d33_signing_out_ends_the_ticket_at_the_next_call() {
    let system = forgetful().await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let mut elsewhere = Browser::default();
    elsewhere.sign_in(system.url(), "alice").await;
    let ticket = alice.cookie(SESSION).unwrap();
    let orders = system.at("/api/orders");
    assert_eq!(alice.fetch(Method::GET, &orders).await.0, 200);
    let logout = system.at("/auth/logout");
    assert_eq!(alice.fetch(Method::POST, &logout).await.0, 200);
    alice.plant(SESSION, &ticket);
    assert_eq!(alice.fetch(Method::GET, &orders).await.0, 401);
    assert_eq!(elsewhere.fetch(Method::GET, &orders).await.0, 200);
}

/// Caches of the gateway and of the authorizer remember for `max_latency` together,
/// and not a second longer.
#[tokio::test(flavor = "multi_thread")]
async fn d33_what_caches_remember_is_over_within_max_latency() {
    const LATENCY: u64 = 5;
    let mut remembered = 0;
    for flavour in [Flavour::Rest, Flavour::Http] {
        for edge in [Edge::None, Edge::Cloudfront] {
            let clock = TestClock::default();
            let options = Options {
                flavour,
                edge: Some(edge),
                clock: Some(Arc::new(clock.clone())),
                ..Options::default()
            };
            let system = with_max_latency(LATENCY, options).await;
            remembered += within(&system, &clock, LATENCY).await;
        }
    }
    assert!(remembered > 0, "there are caches that this test is about");
}

/// Revokes a token and a session that every cache knows; how many answers were still
/// 200 just before the time is over.
async fn within(system: &System, clock: &TestClock, latency: u64) -> usize {
    let (access, refresh) = oauth::native_tokens(system, "alice").await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let ticket = alice.cookie(SESSION).unwrap();
    let ask = async || {
        let mut thief = Browser::default();
        thief.plant(SESSION, &ticket);
        let orders = system.at("/api/orders");
        let by_cookie = thief.fetch(Method::GET, &orders).await.0.as_u16();
        let by_token = oauth::call(system, "/api/orders", &access).await.0.as_u16();
        [by_cookie, by_token]
    };
    assert_eq!(ask().await, [200, 200]);
    assert_eq!(oauth::revoke(system, &refresh).await, 200);
    let logout = system.at("/auth/logout");
    assert_eq!(alice.fetch(Method::POST, &logout).await.0, 200);

    clock.advance(latency - 1);
    let just_before = ask().await;
    assert!(just_before.iter().all(|status| [200, 401].contains(status)));
    clock.advance(1);
    assert_eq!(ask().await, [401, 401]);
    just_before.iter().filter(|status| **status == 200).count()
}
