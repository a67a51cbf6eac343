//! The authorization endpoint over HTTP: the browser's session, pushed requests, the
//! confirmation form, and what an attacker tries with them.

mod errors;
mod pushed;
mod session;

use cloakroom_domain::config::Config;
use cloakroom_local::faults::Faults;
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::{Browser, Page};
use cloakroom_tests::oauth;
use reqwest::{Method, StatusCode, Url};

/// The demo, and three clients more.
async fn system() -> System {
    system_with(None).await
}

async fn system_with(faults: Option<Faults>) -> System {
    // What the provider is asked for stays in sight.
    let demo = DEMO_CONFIG.replace("id = \"demo\"\n", "id = \"demo\"\npar = \"never\"\n");
    let config = format!(
        "{demo}\n{}",
        r#"
        # The secret of these is "demo-machine-secret".
        [[clients]]
        id = "server"
        name = "The Server"
        kind = "confidential"
        secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["https://server.example.com/callback"]
        scopes = ["openid", "orders:read", "offline_access"]

        [[clients]]
        id = "pushing"
        kind = "confidential"
        secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
        grants = ["authorization_code"]
        redirect_uris = ["https://server.example.com/callback"]
        require_par = true
        scopes = ["orders:read"]

        [[clients]]
        id = "other-native"
        name = "Another app"
        kind = "public"
        grants = ["authorization_code"]
        redirect_uris = ["http://127.0.0.1/callback"]
        scopes = ["orders:read"]
        "#
    );
    let options = Options {
        config,
        faults,
        ..Options::default()
    };
    System::start(options).await.unwrap()
}

/// A request of the client `server`, which needs no confirmation.
fn server_url(system: &System, changes: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("client_id", "server"),
        ("redirect_uri", "https://server.example.com/callback"),
        ("scope", "orders:read"),
    ];
    all.extend_from_slice(changes);
    oauth::authorization_url(system, &all)
}

/// Opens `url` as a link on another site; what the first request answers.
async fn first_answer(
    browser: &mut Browser,
    url: &str,
) -> (StatusCode, reqwest::header::HeaderMap, String) {
    let url = Url::parse(url).unwrap();
    browser.step(Method::GET, &url, None, true).await
}

/// Signs `user` in at the provider; where the provider sends the browser then.
async fn callback_url(browser: &mut Browser, url: &str, user: &str) -> Url {
    let form = browser.open(url).await;
    let fields = [("username", user), ("password", user)];
    let (status, headers, body) = browser.submit_once(&form, &fields).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
    Url::parse(headers["location"].to_str().unwrap()).unwrap()
}

/// Says yes on a confirmation page; the code that the client gets.
async fn allow(browser: &mut Browser, page: &Page) -> String {
    let answered = browser.submit(page, &[("decision", "allow")]).await;
    let url = answered.redirect().expect("a redirect to the client");
    oauth::parameter(&url, "code").unwrap_or_else(|| panic!("a code in {url}"))
}

fn is_confirmation(page: &Page) -> bool {
    page.status == StatusCode::OK && page.body.contains("name=\"decision\"")
}

// What an attacker tries, by the names of the list of attacks.

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_code_of_another_login_at_the_provider_is_refused() {
    let system = system().await;
    let url = oauth::authorization_url(&system, &[]);
    let (mut mallory, mut alice) = (Browser::default(), Browser::default());
    let injected = callback_url(&mut mallory, &url, "bob").await;
    let mut own = callback_url(&mut alice, &url, "alice").await;
    let code = oauth::parameter(&injected, "code").unwrap();
    let pairs: Vec<_> = own
        .query_pairs()
        .map(|(name, value)| {
            let value = if name == "code" {
                code.clone()
            } else {
                value.into_owned()
            };
            (name.into_owned(), value)
        })
        .collect();
    own.query_pairs_mut().clear().extend_pairs(pairs);
    let (status, headers, _) = alice.step(Method::GET, &own, None, true).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!headers.contains_key("location"));
    assert!(alice.cookies().is_empty(), "the login is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_an_answer_of_the_provider_counts_only_where_the_login_began() {
    let system = system().await;
    let mut mallory = Browser::default();
    let url = oauth::authorization_url(&system, &[]);
    let callback = callback_url(&mut mallory, &url, "bob").await;
    for mut victim in [Browser::default(), signed_in(&system, "alice").await] {
        let (status, headers, _) = victim.step(Method::GET, &callback, None, true).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!headers.contains_key("location"));
    }
    let (status, _, body) = mallory.step(Method::GET, &callback, None, true).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_an_answer_of_the_provider_is_taken_once() {
    let system = system().await;
    let mut browser = Browser::default();
    let callback = callback_url(&mut browser, &server_url(&system, &[]), "alice").await;
    let cookies = browser.cookies();
    let (status, headers, _) = browser.step(Method::GET, &callback, None, true).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(
        headers["location"]
            .to_str()
            .unwrap()
            .contains("code=cr_ac_")
    );
    for (name, value) in cookies {
        browser.plant_lax(&name, &value);
    }
    let (status, headers, _) = browser.step(Method::GET, &callback, None, true).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!headers.contains_key("location"));
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_confirmation_is_answered_in_the_browser_that_was_asked() {
    let system = system().await;
    let url = oauth::authorization_url(&system, &[]);
    // One was asked after a login, the other in its session.
    let mut mallory = Browser::default();
    let form = mallory.open(&url).await;
    let fields = [("username", "bob"), ("password", "bob")];
    let after_login = mallory.submit(&form, &fields).await;
    let mut mallory_too = signed_in(&system, "bob").await;
    let in_session = mallory_too.open(&url).await;
    for page in [&after_login, &in_session] {
        assert!(is_confirmation(page));
        for mut victim in [Browser::default(), signed_in(&system, "alice").await] {
            let answered = victim.submit(page, &[("decision", "allow")]).await;
            assert_eq!(answered.status, StatusCode::BAD_REQUEST);
            assert_eq!(answered.redirect(), None);
        }
    }
    allow(&mut mallory, &after_login).await;
    allow(&mut mallory_too, &in_session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_an_answer_of_another_issuer_reaches_no_client() {
    let system = system().await;
    for changed in [None, Some("https://evil.example")] {
        let mut browser = Browser::default();
        let url = oauth::authorization_url(&system, &[]);
        let mut callback = callback_url(&mut browser, &url, "alice").await;
        let pairs: Vec<_> = callback
            .query_pairs()
            .into_owned()
            .filter(|(name, _)| name != "iss")
            .chain(changed.map(|iss| ("iss".to_owned(), iss.to_owned())))
            .collect();
        callback.query_pairs_mut().clear().extend_pairs(pairs);
        let (status, headers, _) = browser.step(Method::GET, &callback, None, true).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{changed:?}");
        assert!(!headers.contains_key("location"));
    }
}

#[test]
fn d57_no_client_can_be_called_like_a_user() {
    // Nor like browser sessions are, in the JWTs' `client_id`.
    for (id, accepted) in [
        ("demo|alice", false),
        ("client|demo-machine", false),
        ("", false),
        ("cloakroom", false),
        ("cloakroom-app", true),
    ] {
        let config = DEMO_CONFIG.replace("\"demo-native\"", &format!("{id:?}"));
        assert_ne!(config, DEMO_CONFIG);
        assert_eq!(Config::parse(&config).is_ok(), accepted, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_can_be_for_browser_sessions_alone() {
    let profile = "path = \"/api/profile\"\n";
    let config = DEMO_CONFIG.replace(profile, &format!("{profile}clients = [\"cloakroom\"]\n"));
    assert_ne!(config, DEMO_CONFIG);
    let options = Options {
        config,
        ..Options::default()
    };
    let system = System::start(options).await.unwrap();
    let (native, _) = oauth::native_tokens(&system, "alice").await;
    assert_eq!(oauth::call(&system, "/api/orders", &native).await.0, 200);
    assert_eq!(oauth::call(&system, "/api/profile", &native).await.0, 403);
    let mut browser = Browser::default();
    browser.sign_in(system.url(), "alice").await;
    let profile = system.at("/api/profile");
    let (status, _, body) = browser
        .fetch_with(Method::GET, &profile, &[("x-csrf", "1")])
        .await;
    assert_eq!(
        (status.as_u16(), &body["claims"]["client_id"]),
        (200, &"cloakroom".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_it_can_be_framed_or_loaded_ahead() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    let url = oauth::authorization_url(&system, &[]);
    let (status, hop, _) = first_answer(&mut alice, &url).await;
    assert_eq!(status, StatusCode::OK);
    let page = alice.open(&url).await;
    assert!(is_confirmation(&page));
    for headers in [&hop, &page.headers] {
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["cache-control"], "no-store");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    for (name, value) in [
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-dest", "frame"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
    ] {
        let (status, headers, _) = alice.fetch_with(Method::GET, &url, &[(name, value)]).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "D14: {name}: {value}");
        assert!(!headers.contains_key("location"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_confirmation_form_is_taken_from_our_own_page_alone() {
    let system = system().await;
    let mut alice = signed_in(&system, "alice").await;
    let page = alice.open(&oauth::authorization_url(&system, &[])).await;
    // Under `no-referrer` a browser would send `Origin: null` with the form.
    assert_eq!(page.headers["referrer-policy"], "strict-origin");
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(page.hidden())
        .append_pair("decision", "allow");
    let form = form.finish();
    let post = async |extra: &[(&str, &str)]| {
        let mut request = cloakroom_tests::browser::client()
            .post(system.at("/oauth/authorize"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header(
                "cookie",
                format!(
                    "__Host-Http-cloakroom={}",
                    alice.cookie("__Host-Http-cloakroom").unwrap()
                ),
            )
            .body(form.clone());
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status()
    };
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", system.provider_url()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(
            post(&[foreign]).await,
            StatusCode::BAD_REQUEST,
            "D20: {foreign:?}"
        );
    }
    let own = [("origin", system.url()), ("sec-fetch-site", "same-origin")];
    assert_eq!(post(&own).await, StatusCode::SEE_OTHER);
    assert_eq!(post(&own).await, StatusCode::BAD_REQUEST, "once");
}

/// A browser with a session.
async fn signed_in(system: &System, user: &str) -> Browser {
    let mut browser = Browser::default();
    browser.sign_in(system.url(), user).await;
    assert!(browser.cookie("__Host-Http-cloakroom").is_some());
    browser
}
