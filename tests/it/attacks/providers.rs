//! D5, D8 to D12: an identity provider that is dead, slow, huge, or lies. A login with
//! it ends within its budget, never in a session, and always on a page that helps.

use cloakroom_local::system::{Options, System};
use cloakroom_tests::browser::{Browser, Page};
use cloakroom_tests::clock::TestClock;
use cloakroom_tests::liar::{Liar, Lie, jwk};
use cloakroom_tests::swap::{Swap, swap_session};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SESSION: &str = "__Host-Http-cloakroom";
/// The provider's own, and what the rest of us needs on a busy machine.
const BUDGET: Duration = Duration::from_secs(12);
const METADATA: &str = "/.well-known/openid-configuration";
const JSON: &str = "content-type: application/json\r\n";
/// In whatever a provider says that must not come back.
const MARK: &str = "<script>mark</script>";

/// What is wrong, where, and whether it may be better soon (503) or not (400).
type Case = (&'static str, &'static str, Lie, u16);

type Edit = fn(&mut Value);
type Header = fn() -> Value;

/// Tries a login against every lie, and one against the truth at the end. What was
/// not to be had is not asked for again at once, so `pause` seconds go by between two.
async fn all(cases: Vec<Case>, pause: u64) {
    let clock = TestClock::default();
    let liar = Liar::bind().await;
    let options = Options {
        clock: Some(Arc::new(clock.clone())),
        ..Options::default()
    };
    let system = liar.system("", options).await;
    for (what, path, lie, status) in cases {
        liar.lie(path, lie);
        let mut browser = Browser::default();
        let start = Instant::now();
        let page = login(&mut browser, &system).await;
        let took = start.elapsed();
        assert!(took < BUDGET, "{what}: {took:?}");
        assert_eq!(browser.cookie(SESSION), None, "{what}");
        assert_eq!(page.status, status, "{what}: {}", page.body);
        assert_eq!(page.url.host_str(), Some("localhost"), "{what}");
        assert!(page.body.contains("<h1>"), "{what}");
        let way_on = "href=\"/auth/login";
        assert!(page.body.contains(way_on), "{what}: a way on");
        assert!(!page.body.contains("mark"), "{what}: nothing of theirs");
        assert_eq!(page.headers["cache-control"], "no-store", "{what}");
        clock.advance(pause);
    }
    liar.repent();
    // A key set that was acceptable as such is kept for a while.
    clock.advance(50 * pause);
    let mut browser = Browser::default();
    let page = login(&mut browser, &system).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(browser.cookie(SESSION).is_some());
}

async fn login(browser: &mut Browser, system: &System) -> Page {
    let page = browser.open(&system.at("/auth/login?return_to=/")).await;
    if !page.has_form() {
        return page;
    }
    let credentials = [("username", "alice"), ("password", "alice")];
    browser.submit(&page, &credentials).await
}

fn says(status: u16, headers: &'static str, body: impl Into<Vec<u8>>) -> Lie {
    Lie::Says(status, headers, body.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn d9_d11_a_provider_whose_metadata_is_no_good_starts_no_login() {
    all(
        vec![
            ("hangs up", METADATA, Lie::HangsUp, 503),
            ("is silent", METADATA, Lie::Silent, 503),
            ("drips", METADATA, Lie::Drips, 503),
            ("stops halfway", METADATA, Lie::StopsHalfway, 503),
            ("500", METADATA, says(500, JSON, MARK), 503),
            ("404", METADATA, says(404, JSON, "{}"), 503),
            (
                "html",
                METADATA,
                says(200, "content-type: text/html\r\n", MARK),
                400,
            ),
            ("huge", METADATA, says(200, JSON, vec![b' '; 2 << 20]), 400),
            (
                "redirects",
                METADATA,
                says(
                    302,
                    "content-type: application/json\r\nlocation: http://169.254.169.254/\r\n",
                    "{}",
                ),
                400,
            ),
            (
                "another issuer",
                METADATA,
                Lie::Edited(|v| v["issuer"] = json!("ISSUER/")),
                400,
            ),
            (
                "a token endpoint inside the network",
                METADATA,
                Lie::Edited(|v| v["token_endpoint"] = json!("http://169.254.169.254/token")),
                400,
            ),
            (
                "keys from the runtime's own API",
                METADATA,
                Lie::Edited(|v| v["jwks_uri"] = json!("http://localhost:9001/2018-06-01/runtime")),
                400,
            ),
            (
                "a user name in a URL",
                METADATA,
                Lie::Edited(|v| v["token_endpoint"] = json!("http://x@evil.example/token")),
                400,
            ),
            (
                "no PKCE",
                METADATA,
                Lie::Edited(|v| v["code_challenge_methods_supported"] = json!(["plain"])),
                400,
            ),
            (
                "refuses what is pushed",
                "/par",
                says(
                    400,
                    JSON,
                    r#"{"error":"invalid_request","error_description":"<script>mark</script>"}"#,
                ),
                400,
            ),
            ("is silent when pushed to", "/par", Lie::Silent, 503),
            (
                "a reference that breaks the URL",
                "/par",
                says(201, JSON, "{\"request_uri\":\"a\\r\\nb\"}"),
                400,
            ),
        ],
        6,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_d9_a_token_response_that_is_no_good_gives_no_session() {
    const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    let bomb = [GZIP, &vec![0; 200_000]].concat();
    all(vec![
        ("hangs up", "/token", Lie::HangsUp, 503),
        ("is silent", "/token", Lie::Silent, 503),
        ("drips", "/token", Lie::Drips, 503),
        ("stops halfway", "/token", Lie::StopsHalfway, 503),
        ("500", "/token", says(500, JSON, MARK), 503),
        ("429", "/token", says(429, JSON, "{}"), 503),
        (
            "says no, with script",
            "/token",
            says(
                400,
                JSON,
                r#"{"error":"<script>mark</script>","error_description":"<script>mark</script>"}"#,
            ),
            400,
        ),
        (
            "html",
            "/token",
            says(200, "content-type: text/html\r\n", MARK),
            400,
        ),
        ("huge", "/token", says(200, JSON, vec![b' '; 2 << 20]), 400),
        (
            "a gzip bomb",
            "/token",
            says(
                200,
                "content-type: application/json\r\ncontent-encoding: gzip\r\n",
                bomb,
            ),
            400,
        ),
        (
            "redirects",
            "/token",
            says(
                307,
                "content-type: application/json\r\nlocation: /elsewhere\r\n",
                "{}",
            ),
            400,
        ),
        ("empty", "/token", says(200, JSON, ""), 400),
        (
            "not UTF-8",
            "/token",
            Lie::Garbled(|body| [b"{\"x\":\"\xff\",", &body[1..]].concat()),
            400,
        ),
        (
            "names twice",
            "/token",
            Lie::Garbled(|body| [b"{\"access_token\":\"x\",", &body[1..]].concat()),
            400,
        ),
        (
            "a byte order mark",
            "/token",
            Lie::Garbled(|body| [b"\xef\xbb\xbf", &body[..]].concat()),
            400,
        ),
        (
            "deep",
            "/token",
            says(200, JSON, [vec![b'['; 5000], vec![b']'; 5000]].concat()),
            400,
        ),
        (
            "no ID token",
            "/token",
            Lie::Edited(|v| v["id_token"] = Value::Null),
            400,
        ),
        (
            "another type",
            "/token",
            Lie::Edited(|v| v["token_type"] = json!("mac")),
            400,
        ),
        (
            "no access token",
            "/token",
            Lie::Edited(|v| v["access_token"] = Value::Null),
            400,
        ),
    ], 0)
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_an_id_token_that_is_wrong_in_one_point_gives_no_session() {
    let claims: Vec<(&str, Edit)> = vec![
        ("another issuer", |c| {
            c["iss"] = json!("https://evil.example");
        }),
        ("a slash more", |c| {
            c["iss"] = json!(format!("{}/", c["iss"].as_str().unwrap()));
        }),
        ("another audience", |c| c["aud"] = json!("another")),
        ("an audience more", |c| {
            c["aud"] = json!(["cloakroom", "another"]);
        }),
        ("another party", |c| c["azp"] = json!("another")),
        ("another nonce", |c| c["nonce"] = json!("another")),
        ("no nonce", |c| c["nonce"] = Value::Null),
        ("expired", |c| {
            c["exp"] = json!(c["iat"].as_u64().unwrap() - 61);
        }),
        ("no expiry", |c| c["exp"] = Value::Null),
        ("from the future", |c| {
            c["iat"] = json!(c["iat"].as_u64().unwrap() + 90);
        }),
        ("old", |c| {
            c["iat"] = json!(c["iat"].as_u64().unwrap() - 10_000);
        }),
        ("of another access token", |c| {
            c["at_hash"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
        }),
        ("about nobody", |c| c["sub"] = json!("")),
        ("roles of another shape", |c| {
            c["roles"] = json!({"admin": true});
        }),
    ];
    let headers: Vec<(&str, Header)> = vec![
        ("signed by nobody", || json!({"alg": "none"})),
        ("signed with the public key", || json!({"alg": "HS256"})),
        ("signed by an unknown key", || json!({"kid": "unknown"})),
        ("an access token", || json!({"typ": "at+jwt"})),
        ("a logout token", || json!({"typ": "logout+jwt"})),
        (
            "with what must be understood",
            || json!({"crit": ["x"], "x": 1}),
        ),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (what, edit) in claims {
        cases.push((what, "/token", Lie::Claims(edit), 400));
    }
    for (what, header) in headers {
        cases.push((what, "/token", Lie::Header(header), 400));
    }
    cases.push((
        "another signature",
        "/token",
        Lie::Edited(|v| {
            let token = v["id_token"].as_str().unwrap().to_owned();
            let at = token.rfind('.').unwrap() + 1;
            let other = if token[at..].starts_with('A') {
                "B"
            } else {
                "A"
            };
            v["id_token"] = json!(format!("{}{other}{}", &token[..at], &token[at + 1..]));
        }),
        400,
    ));
    all(cases, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_key_set_that_is_no_good_verifies_nothing() {
    let many: Vec<_> = (0..1000)
        .map(|n| {
            let mut key = jwk();
            key["kid"] = json!(n.to_string());
            key
        })
        .collect();
    let set = |keys: Value| says(200, JSON, json!({ "keys": keys }).to_string());
    let with = |name: &str, value: Value| {
        let mut key = jwk();
        key[name] = value;
        set(json!([key]))
    };
    all(
        vec![
            ("hangs up", "/jwks", Lie::HangsUp, 503),
            ("is silent", "/jwks", Lie::Silent, 503),
            ("500", "/jwks", says(500, JSON, MARK), 503),
            ("no keys", "/jwks", set(json!([])), 503),
            ("no JSON", "/jwks", says(200, JSON, MARK), 503),
            ("huge", "/jwks", says(200, JSON, vec![b' '; 2 << 20]), 503),
            ("too many keys", "/jwks", set(json!(many)), 503),
            (
                "one name for two keys",
                "/jwks",
                set(json!([jwk(), jwk()])),
                503,
            ),
            (
                "a secret",
                "/jwks",
                set(json!([{"kty": "oct", "k": "c2VjcmV0", "kid": "liar"}])),
                503,
            ),
            ("a private key", "/jwks", with("d", json!("AQAB")), 503),
            ("for encryption", "/jwks", with("use", json!("enc")), 503),
            (
                "for another algorithm",
                "/jwks",
                with("alg", json!("PS256")),
                400,
            ),
        ],
        6,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_an_error_of_the_provider_is_a_page_in_our_own_words() {
    let liar = Liar::bind().await;
    let system = liar.system("", Options::default()).await;
    let mut browser = Browser::default();
    let form = browser.open(&system.at("/auth/login?return_to=/")).await;
    let state = state_of(&form);
    let url = |iss: &str| {
        let pairs = [
            ("error", "access_denied"),
            ("error_description", MARK),
            ("error_uri", "javascript:alert(1)"),
            ("state", &state),
            ("iss", iss),
        ];
        let url = reqwest::Url::parse_with_params(&system.at("/auth/callback"), pairs);
        url.unwrap().to_string()
    };
    let page = browser.follow_link(&url(&liar.issuer)).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("did not sign you in"));
    assert!(!page.body.contains("mark") && !page.body.contains("javascript"));
    assert_eq!(browser.cookie(SESSION), None);
    assert_eq!(liar.seen("/token"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_an_answer_that_does_not_name_this_provider_goes_nowhere() {
    let liar = Liar::bind().await;
    let system = liar.system("", Options::default()).await;
    for (iss, works) in [
        (vec![], false),
        (vec!["https://evil.example"], false),
        (vec!["ISSUER/"], false),
        (vec!["ISSUER", "ISSUER"], false),
        (vec!["ISSUER", "https://evil.example"], false),
        (vec!["ISSUER"], true),
    ] {
        let mut browser = Browser::default();
        let form = browser.open(&system.at("/auth/login?return_to=/")).await;
        let credentials = [("username", "alice"), ("password", "alice")];
        let (_, headers, _) = browser.submit_once(&form, &credentials).await;
        let answer = reqwest::Url::parse(headers["location"].to_str().unwrap()).unwrap();
        let pairs: Vec<_> = answer
            .query_pairs()
            .into_owned()
            .filter(|(name, _)| name != "iss")
            .chain(
                iss.iter()
                    .map(|iss| ("iss".to_owned(), iss.replace("ISSUER", &liar.issuer))),
            )
            .collect();
        let url = reqwest::Url::parse_with_params(&system.at("/auth/callback"), &pairs).unwrap();
        let before = liar.seen("/token");
        let page = browser.follow_link(url.as_str()).await;
        assert_eq!(page.status == 200, works, "{iss:?}");
        assert_eq!(browser.cookie(SESSION).is_some(), works, "{iss:?}");
        assert_eq!(liar.seen("/token") - before, usize::from(works), "{iss:?}");
    }
}

/// The `state` that the provider's page was given.
fn state_of(page: &Page) -> String {
    let hidden = page.hidden();
    let state = hidden.into_iter().find(|(name, _)| name == "state");
    state.unwrap().1
}

/// OpenID Connect Core §2: `auth_time` is there if it was asked for. Who is signed in at
/// the provider gets a new ID token at any time, whose `iat` is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_the_provider_does_not_date_is_no_fresh_one() {
    let liar = Liar::bind().await;
    let routes = r#"
        [[routes]]
        method = "GET"
        path = "/api/recent"
        audience = "profile"
        max_age = 300
    "#;
    let system = liar.system_with("", routes, Options::default()).await;
    let without: Edit = |claims| {
        claims.as_object_mut().unwrap().remove("auth_time");
    };
    for (lie, is_dated) in [(None, true), (Some(without), false)] {
        if let Some(edit) = lie {
            liar.lie("/token", Lie::Claims(edit));
        }
        let mut browser = Browser::default();
        assert_eq!(login(&mut browser, &system).await.status, 200);
        let session = browser.cookie(SESSION).unwrap();
        let profile = swap_session(&system, "/api/profile", &session).await;
        assert_eq!(profile.claims().get("auth_time").is_some(), is_dated);
        let recent = swap_session(&system, "/api/recent", &session).await;
        match recent {
            Swap::Allowed(_) => assert!(is_dated),
            other => assert!(!is_dated && other == Swap::Denied, "{other:?}"),
        }
    }
}
