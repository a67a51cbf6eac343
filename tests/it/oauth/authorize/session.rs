//! Clients of a user who is signed in already.

use super::*;
use std::collections::BTreeMap;

/// Where a page's refresh leads.
fn refresh_of(body: &str, base: &Url) -> Url {
    let (_, rest) = body
        .split_once("http-equiv=\"refresh\" content=\"0;url=")
        .unwrap();
    let (url, _) = rest.split_once('"').unwrap();
    base.join(&url.replace("&amp;", "&")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_finds_the_session() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    let (_, _, session) = alice.fetch(Method::GET, &system.at("/api/profile")).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;

    let url = oauth::authorization_url(&system, &[]);
    let page = alice.follow_link(&url).await;
    assert!(is_confirmation(&page), "{}", page.body);
    assert_eq!(page.hops.len(), 2, "our own pages alone: {:?}", page.hops);
    assert!(page.body.contains("Alice Example"));
    let code = allow(&mut alice, &page).await;
    let (status, body) = oauth::redeem(&system, &code).await;
    assert_eq!(status, 200, "{body}");
    let access = oauth::text(&body, "access_token");
    let (status, profile) = oauth::call(&system, "/api/profile", &access).await;
    assert_eq!(status, 200);
    let claims = &profile["claims"];
    assert_eq!(claims["sub"], "demo|alice");
    assert_eq!(claims["client_id"], "demo-native");
    for claim in ["auth_time", "acr", "amr", "name", "email", "roles"] {
        assert_eq!(claims[claim], session["claims"][claim], "{claim}");
    }
    assert!(alice.cookie("__Host-Http-cloakroom").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proven_client_gets_its_code_at_once() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    let url = Url::parse(&server_url(&system, &[])).unwrap();
    let (status, headers, _) = alice.step(Method::GET, &url, None, false).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let answer = Url::parse(headers["location"].to_str().unwrap()).unwrap();
    assert_eq!(answer.host_str(), Some("server.example.com"));
    assert_eq!(
        oauth::parameter(&answer, "iss").as_deref(),
        Some(system.url())
    );
    let code = oauth::parameter(&answer, "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "server"),
        ("client_secret", "demo-machine-secret"),
        ("code", &code),
        ("redirect_uri", "https://server.example.com/callback"),
        ("code_verifier", oauth::VERIFIER),
    ];
    let (status, body) = oauth::token(&system, &form).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_look_is_one_and_stays_on_our_site() {
    let system = system().await;
    let mut nobody = Browser::default();
    let odd = oauth::authorization_url(
        &system,
        &[
            ("state", "\"><script>&amp;=+ é"),
            ("return_to", "https://evil.example"),
            ("//evil.example", "x"),
        ],
    );
    let base = Url::parse(&odd).unwrap();
    let (status, headers, body) = first_answer(&mut nobody, &odd).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!headers.contains_key("set-cookie"));
    assert!(!body.contains("<script"));
    let again = refresh_of(&body, &base);
    assert_eq!(again.origin(), base.origin(), "D6");
    assert_eq!(again.path(), "/oauth/authorize", "D6");
    assert_eq!(
        oauth::parameter(&again, "state"),
        oauth::parameter(&base, "state")
    );
    // However often it is followed.
    for _ in 0..2 {
        let (status, headers, _) = nobody.step(Method::GET, &again, None, false).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "off to the provider");
        let location = headers["location"].to_str().unwrap();
        assert!(location.starts_with(system.provider_url()));
    }
    // A link on another site that looks like it is looked at twice as well.
    let (status, _, body) = nobody.step(Method::GET, &again, None, true).await;
    assert_eq!(status, StatusCode::OK);
    let pairs = |url: &Url| url.query_pairs().into_owned().collect::<BTreeMap<_, _>>();
    let once_more = refresh_of(&body, &base);
    assert_eq!(once_more.path(), again.path());
    assert_eq!(pairs(&once_more), pairs(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_sends_no_fetch_metadata_gets_in_too() {
    let system = system().await;
    let mut program = Browser::default();
    let url = oauth::authorization_url(&system, &[]);
    let (status, _, body) = program.fetch_with(Method::GET, &url, &[]).await;
    assert_eq!(status, StatusCode::OK);
    let again = refresh_of(body.as_str().unwrap(), &Url::parse(&url).unwrap());
    let (status, headers, _) = program.fetch_with(Method::GET, again.as_str(), &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let provider = headers["location"].to_str().unwrap();
    assert!(provider.starts_with(system.provider_url()));
    let form = program.open(provider).await;
    let fields = [("username", "alice"), ("password", "alice")];
    let page = program.submit(&form, &fields).await;
    assert!(is_confirmation(&page));
    allow(&mut program, &page).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompt_and_max_age_decide_whether_a_session_will_do() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    for (changes, leads_to_provider) in [
        (&[][..], false),
        (&[("prompt", "none")], false),
        (&[("max_age", "3600")], false),
        (&[("prompt", "login")], true),
        (&[("prompt", "select_account")], true),
        (&[("max_age", "1")], true),
        (&[("max_age", "0")], true),
        (&[("acr_values", "platinum")], true),
    ] {
        let url = Url::parse(&server_url(&system, changes)).unwrap();
        let (status, headers, _) = alice.step(Method::GET, &url, None, false).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{changes:?}");
        let location = headers["location"].to_str().unwrap();
        assert_eq!(
            location.starts_with(system.provider_url()),
            leads_to_provider,
            "{changes:?}: {location}"
        );
        assert_eq!(location.contains("code=cr_ac_"), !leads_to_provider);
        let at_provider = Url::parse(location).unwrap();
        for (name, value) in changes.iter().filter(|_| leads_to_provider) {
            if *value != "select_account" {
                assert_eq!(
                    oauth::parameter(&at_provider, name).as_deref(),
                    Some(*value),
                    "the provider is told"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_signed_out_is_no_session() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    let url = oauth::authorization_url(&system, &[]);
    let page = alice.open(&url).await;
    let ticket = alice.cookie("__Host-Http-cloakroom").unwrap();
    let (status, _, _) = alice.fetch(Method::POST, &system.at("/auth/logout")).await;
    assert_eq!(status, 200);
    alice.plant("__Host-Http-cloakroom", &ticket);
    let answered = alice.submit(&page, &[("decision", "allow")]).await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST, "D24");
    let url = Url::parse(&server_url(&system, &[])).unwrap();
    let (_, headers, _) = alice.step(Method::GET, &url, None, false).await;
    let location = headers["location"].to_str().unwrap();
    assert!(
        location.starts_with(system.provider_url()),
        "D24: {location}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_can_be_let_in_at_once() {
    let system = system().await;
    let first = oauth::authorization_url(&system, &[]);
    let second = oauth::authorization_url(
        &system,
        &[("client_id", "other-native"), ("scope", "orders:read")],
    );
    let mut browser = signed_in(&system, "alice").await;
    let (one, two) = (browser.open(&first).await, browser.open(&second).await);
    assert!(two.body.contains("Another app"));
    allow(&mut browser, &two).await;
    allow(&mut browser, &one).await;

    // And without a session, each after a login of its own.
    let mut browser = Browser::default();
    let fields = [("username", "alice"), ("password", "alice")];
    let form = browser.open(&first).await;
    let one = browser.submit(&form, &fields).await;
    let form = browser.open(&second).await;
    let two = browser.submit(&form, &fields).await;
    let refused = browser.submit(&two, &[("decision", "deny")]).await;
    let url = refused.redirect().unwrap();
    assert_eq!(
        oauth::parameter(&url, "error").as_deref(),
        Some("access_denied")
    );
    allow(&mut browser, &one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_session_is_none_d16_d19() {
    let system = system().await;
    let alice = signed_in(&system, "alice").await;
    let ticket = alice.cookie("__Host-Http-cloakroom").unwrap();
    let cookie = format!("__Host-Http-cloakroom={ticket}");
    let twice = format!("{cookie}; {cookie}");
    for headers in [
        &[("cookie", twice.as_str())][..],
        &[("cookie", &cookie), ("authorization", "Bearer x")],
    ] {
        let url = server_url(&system, &[]);
        let mut request = cloakroom_tests::browser::client().get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        assert!(location.starts_with(system.provider_url()), "{location}");
    }
}
