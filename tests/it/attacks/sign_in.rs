//! D1 to D25, D49, D70 to D72, as far as a browser and its foes can see them; and what
//! an identity provider tells us past the browser.

use cloakroom_domain::config::Edge;
use cloakroom_domain::ports::Clock as _;
use cloakroom_local::apigateway::Flavour;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::{Browser, Page, client};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::liar::{Liar, Lie};
use cloakroom_tests::oauth::machine_token;
use cloakroom_tests::table::Table;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use std::sync::Arc;

const SESSION: &str = "__Host-Http-cloakroom";
const JSON: &str = "content-type: application/json\r\n";

async fn system() -> System {
    System::start(Options::default()).await.unwrap()
}

/// A system whose provider has these settings too, and whose time is ours.
async fn system_with(more: &str, flavour: Flavour) -> (System, TestClock) {
    let clock = TestClock::default();
    let config = DEMO_CONFIG.replace("id = \"demo\"\n", &format!("id = \"demo\"\n{more}\n"));
    let options = Options {
        config,
        flavour,
        clock: Some(Arc::new(clock.clone())),
        ..Options::default()
    };
    (System::start(options).await.unwrap(), clock)
}

/// Signs in up to the provider's answer, which is not followed: where it leads.
async fn answer_of(browser: &mut Browser, system: &System, user: &str) -> String {
    let form = browser.open(&system.at("/auth/login?return_to=/")).await;
    answer_to(browser, &form, user).await
}

async fn answer_to(browser: &mut Browser, form: &Page, user: &str) -> String {
    let credentials = [("username", user), ("password", user)];
    let (status, headers, _) = browser.submit_once(form, &credentials).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    headers[LOCATION].to_str().unwrap().to_owned()
}

fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(each, _)| each == name);
    found.unwrap().1.into_owned()
}

fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let url = Url::parse(url).unwrap();
    let pairs = url.query_pairs().into_owned().map(|(each, old)| {
        let new = if each == name { value.to_owned() } else { old };
        (each, new)
    });
    let mut edited = url.clone();
    edited.query_pairs_mut().clear().extend_pairs(pairs);
    edited.into()
}

async fn is_in(browser: &mut Browser, system: &System) -> bool {
    let session = system.at("/auth/session");
    browser.fetch(Method::GET, &session).await.0 == StatusCode::OK
}

fn logins(browser: &Browser) -> Vec<(String, String)> {
    let mut cookies = browser.cookies();
    cookies.retain(|(name, _)| name.starts_with("__Host-Http-login-"));
    cookies
}

fn assert_helps(page: &Page) {
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "{}", page.body);
    assert!(page.body.contains("href=\"/auth/login"), "a way on");
    assert_eq!(page.headers["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_code_of_another_login_starts_no_session() {
    let system = system().await;
    let bobs = answer_of(&mut Browser::default(), &system, "bob").await;
    let mut alice = Browser::default();
    let hers = answer_of(&mut alice, &system, "alice").await;
    let injected = with_parameter(&hers, "code", &parameter(&bobs, "code"));
    assert_helps(&alice.follow_link(&injected).await);
    assert_eq!(alice.cookie(SESSION), None);
    assert!(logins(&alice).is_empty(), "the login is burnt");

    let hers = answer_of(&mut alice, &system, "alice").await;
    assert_eq!(alice.follow_link(&hers).await.status, StatusCode::OK);
    assert!(is_in(&mut alice, &system).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_nobody_is_signed_in_as_somebody_else() {
    let system = system().await;
    let mut mallory = Browser::default();
    let answer = answer_of(&mut mallory, &system, "bob").await;
    // The victim has a login of her own under way, so that there is a cookie.
    let mut victim = Browser::default();
    victim.open(&system.at("/auth/login?return_to=/")).await;
    assert_helps(&victim.follow_link(&answer).await);
    assert_eq!(victim.cookie(SESSION), None);
    // The code was not spent: it never went to the provider.
    assert_eq!(mallory.follow_link(&answer).await.status, StatusCode::OK);
    assert!(is_in(&mut mallory, &system).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_an_answer_is_taken_once_and_a_reload_gets_a_page_that_helps() {
    let system = system().await;
    let mut alice = Browser::default();
    let answer = answer_of(&mut alice, &system, "alice").await;
    let (name, value) = logins(&alice).remove(0);
    assert_eq!(alice.follow_link(&answer).await.status, StatusCode::OK);
    let ticket = alice.cookie(SESSION);
    // By the back button, by a reload, and with the cookie put back.
    assert_helps(&alice.follow_link(&answer).await);
    assert_helps(&alice.open(&answer).await);
    alice.plant_lax(&name, &value);
    assert_helps(&alice.follow_link(&answer).await);
    assert_eq!(alice.cookie(SESSION), ticket);
    assert!(
        is_in(&mut alice, &system).await,
        "and the session is untouched"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_new_sign_in_has_a_new_handle_and_the_old_one_is_dead() {
    let system = system().await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let old = alice.cookie(SESSION).unwrap();
    // From our own page, and from links on another site, whose request has no cookie.
    for (from_elsewhere, more) in [(false, ""), (true, ""), (true, "&second_look=1")] {
        let old = alice.cookie(SESSION).unwrap();
        let login = system.at(&format!("/auth/login?return_to=/{more}"));
        let form = if from_elsewhere {
            alice.follow_link(&login).await
        } else {
            alice.open(&login).await
        };
        let credentials = [("username", "alice"), ("password", "alice")];
        alice.submit(&form, &credentials).await;
        assert_ne!(alice.cookie(SESSION).unwrap(), old);
        let mut thief = Browser::default();
        thief.plant(SESSION, &old);
        assert!(!is_in(&mut thief, &system).await, "{from_elsewhere} {more}");
        assert!(is_in(&mut alice, &system).await);
    }
    // A handle that somebody has planted is not adopted.
    let mut victim = Browser::default();
    victim.plant(SESSION, &old);
    victim.sign_in(system.url(), "bob").await;
    assert_ne!(victim.cookie(SESSION).unwrap(), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_a_sign_in_lands_on_this_site() {
    let system = system().await;
    for (return_to, lands) in [
        ("/?page=2", "/?page=2"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
    ] {
        let mut alice = Browser::default();
        let login = Url::parse_with_params(&system.at("/auth/login"), [("return_to", return_to)]);
        let form = alice.open(login.unwrap().as_str()).await;
        let credentials = [("username", "alice"), ("password", "alice")];
        let page = alice.submit(&form, &credentials).await;
        assert_eq!(page.url.as_str(), system.at(lands), "{return_to}");
    }
}

/// The page's link to a new sign-in: where that one is to land.
fn way_on(page: &Page) -> Option<String> {
    let (_, rest) = page.body.split_once("href=\"/auth/login").unwrap();
    let (query, _) = rest.split_once('"').unwrap();
    let url = format!("http://localhost/{query}");
    (!query.is_empty()).then(|| parameter(&url, "return_to"))
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_what_failed_leads_to_where_it_was_to_land_and_nowhere_else() {
    let liar = Liar::bind().await;
    let system = liar.system("", Options::default()).await;
    let place = "/orders?page=2&q=%22%3E%3Cscript%3E";
    for (asked, lands) in [
        (place, Some(place)),
        ("/", None),
        ("//evil.example", None),
        ("/%09/evil.example", None),
        ("https://evil.example", None),
    ] {
        let login = Url::parse_with_params(&system.at("/auth/login"), [("return_to", asked)]);
        let login = login.unwrap();
        // The provider takes the code for no good; its answer must bring its own cookie.
        let mut alice = Browser::default();
        let form = alice.open(login.as_str()).await;
        let answer = answer_to(&mut alice, &form, "alice").await;
        liar.lie("/token", Lie::HangsUp);
        let page = alice.follow_link(&answer).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(way_on(&page).as_deref(), lands, "{asked}");
        liar.lie("/token", Lie::Says(400, JSON, b"{}".to_vec()));
        let page = alice.follow_link(&answer).await;
        assert_helps(&page);
        assert_eq!(way_on(&page).as_deref(), lands, "{asked}");
        assert!(!page.body.contains("<script"));
        // The cookie is gone.
        assert_eq!(way_on(&alice.follow_link(&answer).await), None);
        // No provider of that name.
        let mut unknown = login.clone();
        unknown.query_pairs_mut().append_pair("idp", "nobody");
        let page = alice.open(unknown.as_str()).await;
        assert_eq!(way_on(&page).as_deref(), lands, "{asked}");
        liar.repent();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_no_header_of_the_request_says_where_we_are() {
    let system = system().await;
    for forged in [
        &[("host", "evil.example")][..],
        &[
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example"),
            ("x-original-host", "evil.example"),
        ],
    ] {
        let mut request = client().get(system.at("/auth/login?return_to=/"));
        for (name, value) in forged {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let location = answer.headers()[LOCATION].to_str().unwrap();
        assert!(location.starts_with(system.provider_url()));
        let form = Browser::default().open(location).await;
        let back = form
            .hidden()
            .into_iter()
            .find(|(name, _)| name == "redirect_uri");
        assert_eq!(back.unwrap().1, system.at("/auth/callback"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_an_answer_comes_by_get_and_any_other_way_leaves_the_login_as_it_is() {
    let system = system().await;
    let mut alice = Browser::default();
    let answer = answer_of(&mut alice, &system, "alice").await;
    let url = Url::parse(&answer).unwrap();
    for method in [Method::POST, Method::HEAD, Method::PUT, Method::OPTIONS] {
        let body = (method == Method::POST).then(|| url.query().unwrap().to_owned());
        let (status, headers, _) = alice.step(method.clone(), &url, body, true).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(headers["allow"], "GET");
        assert!(headers.get(SET_COOKIE).is_none());
    }
    assert_eq!(alice.follow_link(&answer).await.status, StatusCode::OK);
    assert!(is_in(&mut alice, &system).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_nothing_starts_unless_a_person_opens_it() {
    let system = system().await;
    let login = system.at("/auth/login?return_to=/");
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-dest", "frame"),
        ("sec-fetch-dest", "embed"),
        ("sec-fetch-dest", "object"),
    ] {
        let answer = client()
            .get(&login)
            .header(name, value)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(answer.headers().get(SET_COOKIE).is_none());
    }
    let person = client().get(&login).header("sec-fetch-dest", "document");
    assert_eq!(person.send().await.unwrap().status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_five_logins_at_once_all_end_and_a_sixth_makes_room() {
    let system = system().await;
    let mut alice = Browser::default();
    for _ in 0..6 {
        answer_of(&mut alice, &system, "alice").await;
        assert!(logins(&alice).len() <= 5);
    }
    let newest = answer_of(&mut alice, &system, "alice").await;
    assert_eq!(logins(&alice).len(), 5);
    assert_eq!(alice.follow_link(&newest).await.status, StatusCode::OK);
    let mut alice = Browser::default();
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(answer_of(&mut alice, &system, "alice").await);
    }
    assert_eq!(logins(&alice).len(), 5);
    for answer in answers {
        assert_eq!(alice.follow_link(&answer).await.status, StatusCode::OK);
    }
    assert!(logins(&alice).is_empty());
    assert!(is_in(&mut alice, &system).await);
    // However long what they remember is, the Cookie header stays one that API Gateway
    // takes.
    let long = format!("/?q={}", "a".repeat(2000));
    for _ in 0..8 {
        let url = system.at(&format!("/auth/login?return_to={long}"));
        let url = Url::parse(&url).unwrap();
        let (status, _, _) = alice.step(Method::GET, &url, None, false).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let size: usize = logins(&alice).iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(size < 7 * 1024, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d15_a_login_cookie_that_was_tossed_in_is_no_login() {
    let system = system().await;
    let mut alice = Browser::default();
    let answer = answer_of(&mut alice, &system, "alice").await;
    let (name, good) = logins(&alice).remove(0);
    let mut mallory = Browser::default();
    answer_of(&mut mallory, &system, "bob").await;
    let (_, another) = logins(&mallory).remove(0);
    let flipped = format!(
        "{}{}",
        if good.starts_with('A') { "B" } else { "A" },
        &good[1..]
    );
    for value in ["", "x", &another, &flipped, &good[..good.len() - 1]] {
        let mut browser = Browser::default();
        browser.plant_lax(&name, value);
        assert_helps(&browser.follow_link(&answer).await);
        assert_eq!(browser.cookie(SESSION), None);
    }
    // Under another name, without the prefix that keeps siblings out (D71).
    let mut browser = Browser::default();
    browser.plant_lax(&name.replace("__Host-Http-", ""), &good);
    assert_helps(&browser.follow_link(&answer).await);
    assert_eq!(alice.follow_link(&answer).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn d16_d17_d18_a_cookie_is_one_of_ours_and_the_only_one_or_none() {
    let faults = Faults::default();
    let options = Options {
        faults: Some(faults.clone()),
        ..Options::default()
    };
    let system = System::start(options).await.unwrap();
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let ticket = alice.cookie(SESSION).unwrap();
    let ask = async |cookie: String| {
        let request = client()
            .get(system.at("/auth/session"))
            .header("x-csrf", "1")
            .header("cookie", cookie);
        request.send().await.unwrap().status()
    };
    assert_eq!(ask(format!("{SESSION}={ticket}")).await, StatusCode::OK);
    // D18: what has not the shape of a ticket is refused though the table is away.
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    let down = ask(format!("{SESSION}={ticket}")).await;
    assert_eq!(down, StatusCode::SERVICE_UNAVAILABLE);
    let long = "x".repeat(4200);
    for odd in [
        format!("{SESSION}={ticket}; {SESSION}={ticket}"),
        format!("{SESSION}=x; {SESSION}={ticket}"),
        format!("__host-http-cloakroom={ticket}"),
        format!("__HOST-HTTP-CLOAKROOM={ticket}"),
        format!("cloakroom={ticket}"),
        format!("{SESSION}=\"{ticket}\""),
        format!("{SESSION}={ticket}%00"),
        format!("{SESSION}={ticket}="),
        format!("{SESSION}={} {}", &ticket[..40], &ticket[40..]),
        format!("{SESSION}={}", ticket.replace("cr_st_", "cr_at_")),
        format!("{SESSION}={long}"),
        format!("{SESSION}="),
    ] {
        assert_eq!(ask(odd.clone()).await, StatusCode::UNAUTHORIZED, "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d19_d20_a_foreign_page_changes_and_learns_nothing() {
    let system = system().await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let own = system.url().to_owned();
    let good: Vec<Vec<(&str, &str)>> = vec![
        vec![("x-csrf", "1")],
        vec![("x-csrf", "1"), ("origin", &own)],
        vec![
            ("x-csrf", "1"),
            ("origin", &own),
            ("sec-fetch-site", "same-origin"),
        ],
    ];
    let lookalike = format!("{own}.evil.example");
    let bad: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("x-csrf", "0")],
        vec![("origin", &own), ("sec-fetch-site", "same-origin")],
        vec![("x-csrf", "1"), ("origin", "null")],
        vec![("x-csrf", "1"), ("origin", "https://evil.example")],
        vec![("x-csrf", "1"), ("origin", &lookalike)],
        vec![("x-csrf", "1"), ("sec-fetch-site", "cross-site")],
        vec![("x-csrf", "1"), ("sec-fetch-site", "same-site")],
        vec![
            ("content-type", "text/plain"),
            ("origin", "https://evil.example"),
        ],
    ];
    let calls = [
        (Method::GET, "/auth/session"),
        (Method::GET, "/api/orders"),
        (Method::POST, "/auth/logout"),
    ];
    for (method, path) in &calls {
        for headers in &bad {
            let url = system.at(path);
            let (status, answer, _) = alice.fetch_with(method.clone(), &url, headers).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            // D21: and no script elsewhere may read even that.
            assert!(answer.get("access-control-allow-origin").is_none());
            assert!(answer.get("access-control-allow-credentials").is_none());
        }
    }
    // D19
    let both = [("x-csrf", "1"), ("authorization", "Bearer cr_at_x")];
    for (method, path) in &calls {
        let (status, _, _) = alice
            .fetch_with(method.clone(), &system.at(path), &both)
            .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for headers in &good {
        for (method, path) in &calls[..2] {
            let (status, _, _) = alice
                .fetch_with(method.clone(), &system.at(path), headers)
                .await;
            assert_eq!(status, StatusCode::OK, "{path} {headers:?}");
        }
    }
}

/// Pages of an allowed origin bring a token of their own. The cookie is ours alone: it is
/// Strict, a sign-in lands on our own site, and the edge knows one origin.
#[tokio::test(flavor = "multi_thread")]
async fn d21_an_allowed_origin_calls_with_a_token_and_never_with_the_cookie() {
    const SHOP: &str = "https://shop.example.com";
    for (flavour, edge) in [
        (Flavour::Rest, "none"),
        (Flavour::Http, "none"),
        (Flavour::Rest, "cloudfront"),
        (Flavour::Http, "cloudfront"),
    ] {
        let settings = format!("edge = \"{edge}\"\nallowed_origins = [\"{SHOP}\"]\n\n[revocation]");
        let options = Options {
            config: DEMO_CONFIG.replace("[revocation]", &settings),
            flavour,
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let mut alice = Browser::default();
        alice.sign_in(system.url(), "alice").await;
        let cookie = format!("{SESSION}={}", alice.cookie(SESSION).unwrap());
        let bearer = format!("Bearer {}", machine_token(&system).await);
        let own = system.url().to_owned();
        let shares = |headers: &HeaderMap| {
            assert!(!headers.contains_key("access-control-allow-credentials"));
            headers.get("access-control-allow-origin").cloned()
        };
        for origin in [
            SHOP,
            "https://other.example.com",
            "http://shop.example.com",
            "https://shop.example.com:8443",
            "https://shop.example.com.evil.example",
            "null",
            &own,
        ] {
            let allowed = (origin == SHOP).then_some(SHOP);
            let preflight = async |path: &str| {
                let request = client()
                    .request(Method::OPTIONS, system.at(path))
                    .header("origin", origin)
                    .header("access-control-request-method", "POST")
                    .header("access-control-request-headers", "authorization,x-csrf");
                request.send().await.unwrap()
            };
            for path in ["/api/orders", "/api/nothing/here"] {
                let answer = preflight(path).await;
                assert_eq!(answer.status().is_success(), allowed.is_some(), "{origin}");
                let headers = answer.headers();
                assert_eq!(shares(headers), allowed.map(HeaderValue::from_static));
                let offered = headers.get("access-control-allow-headers");
                let offered = offered.map(|value| value.to_str().unwrap().to_lowercase());
                assert_eq!(offered.is_some(), allowed.is_some());
                assert!(!offered.unwrap_or_default().contains("x-csrf"));
            }
            for path in ["/auth/session", "/auth/logout", "/auth/login"] {
                let answer = preflight(path).await;
                assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
                assert_eq!(shares(answer.headers()), None);
            }
            let call = async |path: &str, name: &str, value: &str| {
                let request = client()
                    .get(system.at(path))
                    .header("origin", origin)
                    .header("x-csrf", "1")
                    .header(name, value);
                request.send().await.unwrap()
            };
            let answer = call("/api/orders", "authorization", &bearer).await;
            assert_eq!(answer.status(), StatusCode::OK, "a token is its bearer's");
            assert_eq!(
                shares(answer.headers()),
                allowed.map(HeaderValue::from_static),
                "{origin}"
            );
            let answer = call("/api/orders", "authorization", "Bearer nonsense").await;
            assert!(answer.status().is_client_error());
            assert_eq!(
                shares(answer.headers()),
                allowed.map(HeaderValue::from_static)
            );
            for path in ["/api/orders", "/auth/session"] {
                let answer = call(path, "cookie", &cookie).await;
                let expected = if origin == own {
                    StatusCode::OK
                } else {
                    StatusCode::FORBIDDEN
                };
                assert_eq!(answer.status(), expected, "{path} {origin}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d23_d24_a_sign_out_is_a_post_of_our_own_page_and_then_final() {
    let system = system().await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let ticket = alice.cookie(SESSION).unwrap();
    let logout = system.at("/auth/logout");
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let (status, headers, _) = alice.fetch(method, &logout).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(headers.get(SET_COOKIE).is_none());
    }
    assert_eq!(
        alice.follow_link(&logout).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert!(is_in(&mut alice, &system).await);

    let (status, headers, _) = alice.fetch(Method::POST, &logout).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        headers["clear-site-data"]
            .to_str()
            .unwrap()
            .contains("storage")
    );
    assert_eq!(alice.cookie(SESSION), None);
    alice.plant(SESSION, &ticket);
    assert!(!is_in(&mut alice, &system).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn d25_an_override_of_the_method_gets_around_nothing() {
    const OVERRIDES: [&str; 4] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x_http_method_override",
    ];
    for (flavour, edge) in [
        (Flavour::Rest, Edge::None),
        (Flavour::Rest, Edge::Cloudfront),
        (Flavour::Http, Edge::None),
        (Flavour::Http, Edge::Cloudfront),
    ] {
        let options = Options {
            flavour,
            edge: Some(edge),
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let mut alice = Browser::default();
        alice.sign_in(system.url(), "alice").await;
        let bearer = format!("Bearer {}", machine_token(&system).await);
        let url = system.at("/api/orders");
        for name in OVERRIDES {
            // The same method, so that the route and its policy are the same. Before and
            // after: what is kept of one answer serves no other.
            for (header, status) in [
                ("x-method", StatusCode::OK),
                (name, StatusCode::FORBIDDEN),
                ("x-method", StatusCode::OK),
            ] {
                let told = format!("{flavour:?} {edge:?} {header}");
                let headers = [("x-csrf", "1"), (header, "GET")];
                let (by_cookie, _, _) = alice.fetch_with(Method::GET, &url, &headers).await;
                assert_eq!(by_cookie, status, "{told}, by cookie");
                let by_token = client().get(&url).header("authorization", &bearer);
                let by_token = by_token.header(header, "GET").send().await.unwrap();
                assert_eq!(by_token.status(), status, "{told}, by token");
            }
            let logout = system.at("/auth/logout");
            let headers = [(name, "POST"), ("x-csrf", "0")];
            let (status, _, _) = alice.fetch_with(Method::GET, &logout, &headers).await;
            assert!(status.is_client_error(), "{name}");
            assert!(is_in(&mut alice, &system).await, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d49_roles_that_are_taken_away_are_gone_and_many_tabs_ask_once() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        let (system, clock) = system_with("claims_max_age = 30", flavour).await;
        let mut alice = Browser::default();
        alice.sign_in(system.url(), "alice").await;
        let (status, _, _) = alice.fetch(Method::GET, &system.at("/api/reports")).await;
        assert_eq!(status, StatusCode::OK);
        system.provider().set_roles("alice", &["user"]);
        clock.advance(30);
        let before = clock.now();
        let ticket = alice.cookie(SESSION).unwrap();
        let tabs = (0..6).map(|_| {
            let request = client()
                .get(system.at("/auth/session"))
                .header("x-csrf", "1")
                .header("cookie", format!("{SESSION}={ticket}"));
            tokio::spawn(async move { request.send().await.unwrap().status() })
        });
        for tab in tabs.collect::<Vec<_>>() {
            assert_eq!(tab.await.unwrap(), StatusCode::OK);
        }
        let (_, _, session) = alice.fetch(Method::GET, &system.at("/auth/session")).await;
        assert_eq!(session["claims"]["roles"], json!(["user"]));
        let family = Table::of(&system).family(&ticket).await;
        let version = family["claims_version"].as_n().unwrap();
        assert_eq!(version, "1", "one of them asked, at {before:?}");
        // What the authorizer remembers is over within `max_latency`.
        clock.advance(system.config().revocation.max_latency + 1);
        let (status, _, _) = alice.fetch(Method::GET, &system.at("/api/reports")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "alice is no admin any more");
        let (status, _, _) = alice.fetch(Method::GET, &system.at("/api/orders")).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_provider_says_so_and_the_authorizer_holds_the_limit() {
    let settings = "claims_max_age = 30\nclaims_max_stale = 40";
    let (system, clock) = system_with(settings, Flavour::Rest).await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let orders = system.at("/api/orders");
    // The services' clocks are their own, and may be a minute behind.
    clock.advance(39);
    assert_eq!(alice.fetch(Method::GET, &orders).await.0, StatusCode::OK);
    clock.advance(1);
    let (status, _, _) = alice.fetch(Method::GET, &orders).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "claims too old");
    assert!(
        is_in(&mut alice, &system).await,
        "the provider says them anew"
    );
    assert_eq!(alice.fetch(Method::GET, &orders).await.0, StatusCode::OK);

    // Nothing is left of it at the provider, and it tells us no more than when asked.
    let (system, clock) = system_with("claims_max_age = 30", Flavour::Rest).await;
    let mut bob = Browser::default();
    bob.sign_in(system.url(), "bob").await;
    system.provider().forget("bob");
    assert!(is_in(&mut bob, &system).await);
    clock.advance(30);
    assert!(!is_in(&mut bob, &system).await, "the provider says no");
    clock.advance(system.config().revocation.max_latency + 1);
    let (status, _, _) = bob.fetch(Method::GET, &system.at("/api/orders")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_ends_is_over_here_and_a_login_in_flight_too() {
    for flavour in [Flavour::Rest, Flavour::Http] {
        let options = Options {
            flavour,
            ..Options::default()
        };
        let system = System::start(options).await.unwrap();
        let (mut alice, mut again, mut bob) =
            (Browser::default(), Browser::default(), Browser::default());
        for browser in [&mut alice, &mut again] {
            browser.sign_in(system.url(), "alice").await;
        }
        bob.sign_in(system.url(), "bob").await;
        let mut late = Browser::default();
        let answer = answer_of(&mut late, &system, "alice").await;

        system.provider().sign_out("alice").await.unwrap();
        assert!(!is_in(&mut alice, &system).await);
        assert!(!is_in(&mut again, &system).await);
        assert!(
            is_in(&mut bob, &system).await,
            "bob is none of alice's business"
        );
        late.follow_link(&answer).await;
        assert_eq!(late.cookie(SESSION), None, "a login in flight");
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        alice.sign_in(system.url(), "alice").await;
        assert!(is_in(&mut alice, &system).await, "and she may come again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_token_that_is_not_the_providers_ends_nothing() {
    let system = system().await;
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let post = async |form: &[(&str, &str)]| {
        let request = client().post(system.at("/auth/backchannel-logout"));
        let answer = request.form(form).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    };
    for form in [
        &[][..],
        &[("logout_token", "")],
        &[("logout_token", "x")],
        &[("logout_token", "a.b.c")],
        &[("logout_token", "eyJhbGciOiJub25lIn0.e30.")],
        &[("token", "x")],
        &[("logout_token", "x"), ("logout_token", "y")],
    ] {
        let (status, body) = post(form).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{form:?}");
        assert_eq!(body["error"], "invalid_request");
    }
    let get = client().get(system.at("/auth/backchannel-logout?logout_token=x"));
    assert_eq!(
        get.send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert!(is_in(&mut alice, &system).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stronger_sign_in_is_asked_for_and_got() {
    let system = system().await;
    let strong = "urn:cloakroom:demo:strong";
    let mut alice = Browser::default();
    alice.sign_in(system.url(), "alice").await;
    let acr = async |alice: &mut Browser| {
        let (_, _, profile) = alice.fetch(Method::GET, &system.at("/api/profile")).await;
        profile["claims"]["acr"].clone()
    };
    assert_ne!(acr(&mut alice).await, strong);
    let login = system.at(&format!(
        "/auth/login?return_to=/&max_age=0&acr_values={strong}"
    ));
    let form = alice.open(&login).await;
    let credentials = [("username", "alice"), ("password", "alice")];
    assert_eq!(
        alice.submit(&form, &credentials).await.status,
        StatusCode::OK
    );
    assert_eq!(acr(&mut alice).await, strong);
    // A provider that does less than was asked for signs nobody in.
    let more = system.at("/auth/login?return_to=/&acr_values=urn:more");
    let mut bob = Browser::default();
    let form = bob.open(&more).await;
    let page = bob
        .submit(&form, &[("username", "bob"), ("password", "bob")])
        .await;
    assert_helps(&page);
    assert_eq!(bob.cookie(SESSION), None);
    for odd in ["max_age=-1", "max_age=x", "max_age=1&max_age=2"] {
        let page = bob.open(&system.at(&format!("/auth/login?{odd}"))).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_providers_a_person_chooses_one() {
    let settings = r#"callback = "own"
email_domains = ["example.com"]"#;
    let config = DEMO_CONFIG.replace("id = \"demo\"\n", &format!("id = \"demo\"\n{settings}\n"))
        + r#"
        [[identity_providers]]
        id = "other"
        name = "Other & <Co>"
        issuer = "https://other.example"
        client_id = "cloakroom"
        client_authentication = "private_key_jwt"
        callback = "own"
        "#;
    let options = Options {
        config,
        ..Options::default()
    };
    let system = System::start(options).await.unwrap();
    let mut alice = Browser::default();
    let page = alice
        .open(&system.at("/auth/login?return_to=/%3Fpage%3D2&max_age=100"))
        .await;
    assert_eq!(page.status, StatusCode::OK);
    let (_, link) = page.body.split_once("href=\"/auth/login?").unwrap();
    let (link, _) = link.split_once('"').unwrap();
    for part in ["return_to=%2F%3Fpage%3D2", "max_age=100", "idp=demo"] {
        assert!(link.split("&amp;").any(|each| each == part), "{link}");
    }
    assert_eq!(alice.cookies(), [], "nothing has begun");

    let by_address = async |browser: &mut Browser, address: &str| {
        let login = "/auth/login?return_to=/%3Fpage%3D2&max_age=100&login_hint=";
        browser.open(&system.at(&format!("{login}{address}"))).await
    };
    let form = by_address(&mut alice, "alice@example.com").await;
    assert!(form.url.as_str().starts_with(system.provider_url()));
    assert!(
        form.body.contains("value=\"alice@example.com\""),
        "{}",
        form.body
    );
    let answer = answer_to(&mut alice, &form, "alice").await;
    assert!(
        answer.starts_with(&system.at("/auth/callback/demo?")),
        "{answer}"
    );
    // D5: at another's address it is not taken.
    for elsewhere in ["/auth/callback?", "/auth/callback/other?"] {
        let mut copy = Browser::default();
        for (name, value) in logins(&alice) {
            copy.plant_lax(&name, &value);
        }
        let elsewhere = answer.replace("/auth/callback/demo?", elsewhere);
        assert_helps(&copy.follow_link(&elsewhere).await);
    }
    let landed = alice.follow_link(&answer).await;
    assert_eq!(landed.url.as_str(), system.at("/?page=2"));

    let unknown = by_address(&mut alice, "x@nowhere.example").await;
    assert!(unknown.body.contains("role=\"alert\""));
    let program = client().get(system.at("/auth/login")).send().await.unwrap();
    assert_eq!(program.status(), StatusCode::BAD_REQUEST);
    let choice: Value = program.json().await.unwrap();
    assert_eq!(choice["identity_providers"], json!(["demo", "other"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_for_providers_is_published_apart_from_that_for_services() {
    let system = system().await;
    let keys = async |path: &str| -> Value {
        let answer = client().get(system.at(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    };
    let ours = keys("/.well-known/client-jwks.json").await;
    let services = keys("/.well-known/jwks.json").await;
    assert_eq!(ours["keys"].as_array().unwrap().len(), 1);
    assert_eq!(ours["keys"][0]["alg"], "RS256");
    assert!(ours["keys"][0].get("d").is_none());
    assert_ne!(ours["keys"][0]["kid"], services["keys"][0]["kid"]);
    assert_ne!(ours["keys"][0]["n"], services["keys"][0]["n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d70_what_is_for_one_person_is_kept_by_no_cache() {
    let system = system().await;
    let mut alice = Browser::default();
    let answer = answer_of(&mut alice, &system, "alice").await;
    let callback = Url::parse(&answer).unwrap();
    let (_, headers, _) = alice.step(Method::GET, &callback, None, true).await;
    assert_eq!(headers["cache-control"], "no-store", "the callback");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    for (method, path) in [
        (Method::GET, "/auth/login"),
        (Method::GET, "/auth/session"),
        (Method::GET, "/auth/session/x.css"),
        (Method::POST, "/auth/logout"),
        (Method::POST, "/oauth/token"),
        (Method::GET, "/auth/callback"),
    ] {
        let (_, headers, _) = alice.fetch(method, &system.at(path)).await;
        assert_eq!(headers["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d71_the_cookie_is_small_and_nobody_elses_to_set_or_read() {
    let system = system().await;
    let mut alice = Browser::default();
    let answer = answer_of(&mut alice, &system, "alice").await;
    let callback = Url::parse(&answer).unwrap();
    let (_, headers, page) = alice.step(Method::GET, &callback, None, true).await;
    let set = headers.get_all(SET_COOKIE).iter();
    let set: Vec<_> = set.map(|line| line.to_str().unwrap()).collect();
    let session = set.iter().find(|line| line.starts_with(SESSION)).unwrap();
    let pair = session.split(';').next().unwrap();
    assert!(pair.len() < 100, "{}", pair.len());
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(session.contains(attribute), "{attribute}");
    }
    assert!(!session.to_ascii_lowercase().contains("domain"));
    let (_, value) = pair.split_once('=').unwrap();
    assert!(!page.contains(value), "no ticket in a page");
}

#[tokio::test(flavor = "multi_thread")]
async fn d72_a_flood_at_the_door_writes_nothing() {
    let system = system().await;
    let before = Table::of(&system).count().await;
    let mut browser = Browser::default();
    for n in 0..20 {
        browser
            .open(&system.at(&format!("/auth/login?return_to=/{n}")))
            .await;
        let callback = format!("/auth/callback?code={n}&state={}&iss=x", "a".repeat(43));
        browser.open(&system.at(&callback)).await;
        let form = [("logout_token", "x.y.z")];
        let post = client()
            .post(system.at("/auth/backchannel-logout"))
            .form(&form);
        post.send().await.unwrap();
    }
    assert_eq!(Table::of(&system).count().await, before);
    browser.sign_in(system.url(), "alice").await;
    assert!(
        Table::of(&system).count().await > before,
        "a person does write"
    );
}
