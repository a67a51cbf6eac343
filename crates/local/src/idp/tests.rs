//! The provider as its client and its users' browsers see it: over a socket.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::{
    digest::{self, SHA256},
    rsa::PublicKeyComponents,
    signature::RSA_PKCS1_2048_8192_SHA256,
};
use axum::http::StatusCode;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use form_urlencoded::Serializer;
use reqwest::{Response, redirect::Policy};
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use super::{DemoIdp, DemoIdpError, DemoIdpOptions};

const CLIENT: &str = "cloakroom";
/// With characters that Basic carries form-encoded.
const SECRET: &str = "a secret: 100%+";
const REDIRECT: &str = "http://localhost:3000/auth/callback";
const SIGNED_OUT: &str = "http://localhost:3000/";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

type Pairs<'a> = Vec<(&'a str, &'a str)>;

struct Provider {
    issuer: String,
    http: reqwest::Client,
    now: Arc<AtomicU64>,
    idp: Arc<DemoIdp>,
}

impl Provider {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(edit: impl FnOnce(&mut DemoIdpOptions)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let now = Arc::new(AtomicU64::new(1_000_000));
        let clock = Arc::clone(&now);
        let mut options = options(&issuer);
        edit(&mut options);
        let idp = DemoIdp::with_clock(options, move || clock.load(Ordering::SeqCst)).unwrap();
        let idp = Arc::new(idp);
        tokio::spawn(Arc::clone(&idp).serve_on(listener));
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .build()
            .unwrap();
        Self {
            issuer,
            http,
            now,
            idp,
        }
    }

    fn wait(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn fetch(&self, path_and_query: &str) -> Response {
        let url = format!("{}{path_and_query}", self.issuer);
        self.http.get(url).send().await.unwrap()
    }

    async fn authorize(&self, request: &Pairs<'_>) -> Response {
        self.fetch(&format!("/authorize?{}", encoded(request)))
            .await
    }

    async fn post(&self, path: &str, form: &Pairs<'_>, headers: &Pairs<'_>) -> Response {
        let mut request = self
            .http
            .post(format!("{}{path}", self.issuer))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(form));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Fills the form in as a user would: every field it has, and a name.
    async fn sign_in(&self, request: &Pairs<'_>, user: &str, password: &str) -> Response {
        let page = self.authorize(request).await;
        assert_eq!(page.status(), StatusCode::OK);
        let html = text(page).await;
        assert!(
            html.contains(r#"<form method="post" action="/login">"#),
            "{html}"
        );
        let mut form: Pairs<'_> = hidden_fields(&html);
        form.extend([("username", user), ("password", password)]);
        self.post("/login", &form, &Vec::new()).await
    }

    async fn code(&self, user: &str) -> String {
        let answer = self.sign_in(&request(), user, user).await;
        answer_parameter(&answer, "code").unwrap()
    }

    async fn redeem(&self, form: &Pairs<'_>) -> Response {
        self.post(
            "/token",
            form,
            &vec![("authorization", &basic(CLIENT, SECRET))],
        )
        .await
    }

    /// The claims of a token whose signature the published key verifies.
    async fn verified(&self, token: &str) -> Value {
        let keys = json(self.fetch("/jwks").await).await;
        let key = &keys["keys"][0];
        let (input, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = input.split_once('.').unwrap();
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        assert_eq!(header["alg"], "RS256");
        assert_eq!(header["kid"], key["kid"]);
        let public = PublicKeyComponents {
            n: decoded(key["n"].as_str().unwrap()),
            e: decoded(key["e"].as_str().unwrap()),
        };
        public
            .verify(
                &RSA_PKCS1_2048_8192_SHA256,
                input.as_bytes(),
                &decoded(signature),
            )
            .unwrap();
        serde_json::from_slice(&decoded(claims)).unwrap()
    }
}

fn options(issuer: &str) -> DemoIdpOptions {
    DemoIdpOptions {
        issuer: issuer.to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: SECRET.to_owned(),
        redirect_uris: vec![REDIRECT.to_owned()],
        post_logout_redirect_uris: vec![SIGNED_OUT.to_owned()],
        backchannel_logout_uri: None,
    }
}

fn request() -> Pairs<'static> {
    vec![
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", REDIRECT),
        ("scope", "openid profile email roles"),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

fn redemption(code: &str) -> Pairs<'_> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

fn with<'a>(mut pairs: Pairs<'a>, name: &'a str, value: &'a str) -> Pairs<'a> {
    pairs.retain(|(known, _)| *known != name);
    pairs.push((name, value));
    pairs
}

fn without<'a>(mut pairs: Pairs<'a>, name: &str) -> Pairs<'a> {
    pairs.retain(|(known, _)| *known != name);
    pairs
}

fn encoded(pairs: &Pairs<'_>) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = format!("{}:{}", encode(id), encode(secret));
    format!("Basic {}", STANDARD.encode(credentials))
}

fn hidden_fields(html: &str) -> Pairs<'_> {
    html.lines()
        .filter_map(|line| {
            let rest = line.split_once(r#"<input type="hidden" name=""#)?.1;
            let (name, rest) = rest.split_once(r#"" value=""#)?;
            Some((name, rest.strip_suffix(r#"">"#)?))
        })
        .collect()
}

/// A parameter of the redirect back to the client.
fn answer_parameter(response: &Response, name: &str) -> Option<String> {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers().get("location")?.to_str().unwrap();
    assert!(location.starts_with(REDIRECT), "{location}");
    let url = Url::parse(location).unwrap();
    url.query_pairs()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}

async fn text(response: Response) -> String {
    String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn error_of(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, json(response).await["error"].clone())
}

#[tokio::test]
async fn a_user_signs_in_and_the_code_becomes_an_id_token() {
    let provider = Provider::start().await;
    let answer = provider.sign_in(&request(), "alice", "alice").await;
    assert_eq!(
        answer_parameter(&answer, "state").as_deref(),
        Some("the state")
    );
    assert_eq!(
        answer_parameter(&answer, "iss"),
        Some(provider.issuer.clone())
    );
    let code = answer_parameter(&answer, "code").unwrap();

    provider.wait(5);
    let response = provider.redeem(&redemption(&code)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let tokens = json(response).await;
    assert_eq!(tokens["token_type"], "Bearer");
    let claims = provider
        .verified(tokens["id_token"].as_str().unwrap())
        .await;
    let expected = [
        ("iss", Value::from(provider.issuer.as_str())),
        ("aud", CLIENT.into()),
        ("sub", "alice".into()),
        ("nonce", "the nonce".into()),
        ("name", "Alice Example".into()),
        ("email", "alice@example.com".into()),
        ("roles", vec!["admin", "user"].into()),
        ("amr", vec!["pwd"].into()),
        ("auth_time", 1_000_000.into()),
        ("iat", 1_000_005.into()),
    ];
    for (name, value) in expected {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims["acr"].is_string());
    assert!(claims["sid"].as_str().unwrap().len() > 20);
    let access_token = tokens["access_token"].as_str().unwrap();
    let hash = digest::digest(&SHA256, access_token.as_bytes());
    assert_eq!(
        decoded(claims["at_hash"].as_str().unwrap()),
        hash.as_ref()[..16]
    );

    let userinfo = provider
        .post(
            "/userinfo",
            &Vec::new(),
            &vec![("authorization", &format!("Bearer {access_token}"))],
        )
        .await;
    assert_eq!(json(userinfo).await["sub"], "alice");
}

#[tokio::test]
async fn bob_has_no_admin_role() {
    let provider = Provider::start().await;
    let code = provider.code("bob").await;
    let tokens = json(provider.redeem(&redemption(&code)).await).await;
    let claims = provider
        .verified(tokens["id_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["sub"], "bob");
    assert_eq!(claims["name"], "Bob Example");
    assert_eq!(claims["roles"], Value::from(vec!["user"]));
}

#[tokio::test]
async fn a_redemption_that_differs_in_one_point_is_refused_and_burns_nothing() {
    let provider = Provider::start().await;
    let code = provider.code("alice").await;
    let good = redemption(&code);
    let other_verifier = "a".repeat(43);
    let short_verifier = VERIFIER.get(1..).unwrap();
    let cases = [
        (
            with(good.clone(), "code_verifier", &other_verifier),
            "invalid_grant",
        ),
        (
            with(good.clone(), "code_verifier", short_verifier),
            "invalid_grant",
        ),
        (
            with(good.clone(), "code_verifier", CHALLENGE),
            "invalid_grant",
        ),
        (without(good.clone(), "code_verifier"), "invalid_request"),
        (
            with(good.clone(), "redirect_uri", SIGNED_OUT),
            "invalid_grant",
        ),
        (without(good.clone(), "redirect_uri"), "invalid_request"),
        (with(good.clone(), "code", "other"), "invalid_grant"),
        (
            with(good.clone(), "grant_type", "password"),
            "unsupported_grant_type",
        ),
        (
            [good.clone(), vec![("code", &code)]].concat(),
            "invalid_request",
        ),
    ];
    for (form, expected) in cases {
        let (status, error) = error_of(provider.redeem(&form).await).await;
        assert_eq!((status, error), (400, expected.into()), "{form:?}");
    }
    assert_eq!(provider.redeem(&good).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_does_not_prove_itself_is_refused() {
    let provider = Provider::start().await;
    let code = provider.code("alice").await;
    let form = redemption(&code);
    let cases = [
        Some(basic(CLIENT, "another secret")),
        Some(basic("another", SECRET)),
        Some(basic(CLIENT, "")),
        Some("Basic !".to_owned()),
        Some(format!("Bearer {SECRET}")),
        None,
    ];
    for header in cases {
        let headers: Pairs<'_> = header
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        let response = provider.post("/token", &form, &headers).await;
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(error_of(response).await, (401, "invalid_client".into()));
    }
    // Two ways at once are one too many (RFC 6749 §2.3).
    let twice = [
        form.clone(),
        vec![("client_id", CLIENT), ("client_secret", SECRET)],
    ]
    .concat();
    let (status, error) = error_of(provider.redeem(&twice).await).await;
    assert_eq!((status, error), (400, "invalid_request".into()));

    let in_form = provider.post("/token", &twice, &Vec::new()).await;
    assert_eq!(in_form.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_code_presented_twice_ends_what_it_gave() {
    let provider = Provider::start().await;
    let code = provider.code("alice").await;
    let tokens = json(provider.redeem(&redemption(&code)).await).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let userinfo = async || {
        let headers = vec![("authorization", bearer.as_str())];
        provider
            .post("/userinfo", &Vec::new(), &headers)
            .await
            .status()
    };
    assert_eq!(userinfo().await, StatusCode::OK);

    let again = provider.redeem(&redemption(&code)).await;
    assert_eq!(error_of(again).await, (400, "invalid_grant".into()));
    assert_eq!(userinfo().await, StatusCode::UNAUTHORIZED);
    let refresh = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let (status, error) = error_of(provider.redeem(&refresh).await).await;
    assert_eq!((status, error), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn a_code_lives_until_its_sixtieth_second() {
    let provider = Provider::start().await;
    let (early, late) = (provider.code("alice").await, provider.code("alice").await);
    provider.wait(59);
    assert_eq!(
        provider.redeem(&redemption(&early)).await.status(),
        StatusCode::OK
    );
    provider.wait(1);
    let refused = provider.redeem(&redemption(&late)).await;
    assert_eq!(error_of(refused).await, (400, "invalid_grant".into()));
}

#[tokio::test]
async fn a_refresh_keeps_the_session_and_its_time() {
    let provider = Provider::start().await;
    let code = provider.code("alice").await;
    let first = json(provider.redeem(&redemption(&code)).await).await;
    let before = provider.verified(first["id_token"].as_str().unwrap()).await;
    provider.wait(300);
    let refresh = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", first["refresh_token"].as_str().unwrap()),
    ];
    let second = json(provider.redeem(&refresh).await).await;
    let after = provider
        .verified(second["id_token"].as_str().unwrap())
        .await;
    for name in ["sub", "sid", "auth_time"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!(after["iat"], 1_000_300);
    assert!(after["nonce"].is_null());
}

#[tokio::test]
async fn a_pushed_request_counts_and_what_the_browser_adds_does_not() {
    let provider = Provider::start().await;
    let us = basic(CLIENT, SECRET);
    let proven: Pairs<'_> = vec![("authorization", &us)];
    let pushed = provider.post("/par", &request(), &proven).await;
    assert_eq!(pushed.status(), StatusCode::CREATED);
    let pushed = json(pushed).await;
    let reference = pushed["request_uri"].as_str().unwrap();
    let by_reference = vec![
        ("client_id", CLIENT),
        ("request_uri", reference),
        ("redirect_uri", "https://evil.example/"),
        ("state", "edited"),
    ];
    let answer = provider.sign_in(&by_reference, "alice", "alice").await;
    assert_eq!(answer_parameter(&answer, "state").unwrap(), "the state");
    let code = answer_parameter(&answer, "code").unwrap();
    let tokens = provider.redeem(&redemption(&code)).await;
    assert_eq!(tokens.status(), StatusCode::OK);

    for (client, reference) in [
        (CLIENT, "urn:ietf:params:oauth:request_uri:x"),
        ("another", reference),
    ] {
        let page = provider
            .authorize(&vec![("client_id", client), ("request_uri", reference)])
            .await;
        assert_eq!(page.status(), StatusCode::BAD_REQUEST);
    }
    provider.wait(600);
    let late = vec![("client_id", CLIENT), ("request_uri", reference)];
    let late = provider.authorize(&late).await;
    assert_eq!(late.status(), StatusCode::BAD_REQUEST);

    let nobody = provider.post("/par", &request(), &Vec::new()).await;
    assert_eq!(error_of(nobody).await, (401, "invalid_client".into()));
    for faulty in [
        with(request(), "request_uri", "urn:x"),
        with(request(), "redirect_uri", "https://evil.example/"),
        with(request(), "client_id", "another"),
    ] {
        let refused = provider.post("/par", &faulty, &proven).await;
        assert!(refused.status().is_client_error());
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_taken_back_refreshes_nothing() {
    let provider = Provider::start().await;
    let us = basic(CLIENT, SECRET);
    let proven: Pairs<'_> = vec![("authorization", &us)];
    let code = provider.code("alice").await;
    let tokens = json(provider.redeem(&redemption(&code)).await).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let refresh = vec![("grant_type", "refresh_token"), ("refresh_token", token)];

    let of_ours = vec![("token", token)];
    let nobody = provider.post("/revoke", &of_ours, &Vec::new()).await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    let unknown = provider
        .post("/revoke", &vec![("token", "x")], &proven)
        .await;
    assert_eq!(unknown.status(), StatusCode::OK);
    assert_eq!(provider.redeem(&refresh).await.status(), StatusCode::OK);
    let revoked = provider
        .post("/revoke", &vec![("token", token)], &proven)
        .await;
    assert_eq!(revoked.status(), StatusCode::OK);
    let refused = provider.redeem(&refresh).await;
    assert_eq!(error_of(refused).await, (400, "invalid_grant".into()));
}

#[tokio::test]
async fn other_roles_are_those_of_the_next_tokens() {
    let provider = Provider::start().await;
    let code = provider.code("alice").await;
    let tokens = json(provider.redeem(&redemption(&code)).await).await;
    provider.idp.set_roles("alice", &["user"]);
    let token = tokens["refresh_token"].as_str().unwrap();
    let refresh = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
    let tokens = json(provider.redeem(&refresh).await).await;
    let claims = provider.verified(tokens["id_token"].as_str().unwrap());
    assert_eq!(claims.await["roles"], Value::from(vec!["user"]));
}

#[tokio::test]
async fn who_is_asked_for_more_proves_more() {
    let provider = Provider::start().await;
    for (asked, given) in [
        ("urn:cloakroom:demo:strong", "urn:cloakroom:demo:strong"),
        ("urn:cloakroom:demo:password", "urn:cloakroom:demo:password"),
        ("unknown", "urn:cloakroom:demo:password"),
    ] {
        let answer = provider
            .sign_in(&with(request(), "acr_values", asked), "alice", "alice")
            .await;
        let code = answer_parameter(&answer, "code").unwrap();
        let tokens = json(provider.redeem(&redemption(&code)).await).await;
        let claims = provider.verified(tokens["id_token"].as_str().unwrap());
        assert_eq!(claims.await["acr"], given, "{asked}");
    }
}

#[tokio::test]
async fn the_client_is_told_who_has_signed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/told", listener.local_addr().unwrap());
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let client = axum::Router::new().fallback(move |body: String| {
        let heard = Arc::clone(&heard);
        async move {
            heard.lock().unwrap().push(body);
        }
    });
    tokio::spawn(async move { axum::serve(listener, client).await });
    let provider = Provider::with(|options| options.backchannel_logout_uri = Some(uri)).await;
    let code = provider.code("alice").await;
    let tokens = json(provider.redeem(&redemption(&code)).await).await;
    let id_token = tokens["id_token"].as_str().unwrap();
    let sid = provider.verified(id_token).await["sid"].clone();
    let hint: Pairs<'_> = vec![("id_token_hint", id_token)];
    provider.fetch(&format!("/logout?{}", encoded(&hint))).await;
    provider.idp.sign_out("alice").await.unwrap();

    let told = told.lock().unwrap().clone();
    let mut claims = Vec::new();
    for form in told {
        let token = form.strip_prefix("logout_token=").unwrap();
        claims.push(provider.verified(token).await);
    }
    let [one, all] = &claims[..] else {
        panic!("told twice: {claims:?}")
    };
    assert_eq!((&one["sid"], &one["sub"]), (&sid, &Value::Null));
    assert_eq!((&all["sid"], &all["sub"]), (&Value::Null, &"alice".into()));
    assert_ne!(one["jti"], all["jti"]);
    for claims in [one, all] {
        assert!(claims["events"].is_object());
        assert!(claims.get("nonce").is_none());
        assert_eq!(claims["aud"], CLIENT);
    }
}

#[tokio::test]
async fn a_request_of_an_unknown_client_or_address_is_answered_here() {
    let provider = Provider::start().await;
    let near = format!("{REDIRECT}/");
    let cases = [
        with(request(), "client_id", "another"),
        without(request(), "client_id"),
        with(request(), "redirect_uri", "https://attacker.example/"),
        with(request(), "redirect_uri", &near),
        without(request(), "redirect_uri"),
        [
            request(),
            vec![("redirect_uri", "https://attacker.example/")],
        ]
        .concat(),
    ];
    for case in cases {
        let response = provider.authorize(&case).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{case:?}");
        assert!(!response.headers().contains_key("location"));
        // Nor does the form's own target let it through.
        let login = [case, vec![("username", "alice"), ("password", "alice")]].concat();
        let response = provider.post("/login", &login, &Vec::new()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_faulty_request_is_answered_at_the_redirect_uri() {
    let provider = Provider::start().await;
    let cases = [
        (without(request(), "code_challenge"), "invalid_request"),
        (
            without(request(), "code_challenge_method"),
            "invalid_request",
        ),
        (
            with(request(), "code_challenge_method", "plain"),
            "invalid_request",
        ),
        (
            with(request(), "code_challenge", "short"),
            "invalid_request",
        ),
        (
            with(request(), "response_type", "token"),
            "unsupported_response_type",
        ),
        (
            with(request(), "response_mode", "fragment"),
            "invalid_request",
        ),
        (with(request(), "scope", "profile"), "invalid_scope"),
        (
            with(request(), "request", "e30.e30."),
            "request_not_supported",
        ),
        (with(request(), "prompt", "none"), "login_required"),
        (with(request(), "prompt", "none login"), "invalid_request"),
        (with(request(), "max_age", "soon"), "invalid_request"),
    ];
    for (case, expected) in cases {
        let response = provider.authorize(&case).await;
        assert_eq!(
            answer_parameter(&response, "error").as_deref(),
            Some(expected),
            "{case:?}"
        );
        assert_eq!(
            answer_parameter(&response, "state").as_deref(),
            Some("the state")
        );
        assert_eq!(
            answer_parameter(&response, "iss"),
            Some(provider.issuer.clone())
        );
        assert_eq!(answer_parameter(&response, "code"), None);
    }
}

#[tokio::test]
async fn a_request_to_sign_in_anew_is_met() {
    let provider = Provider::start().await;
    for (name, value) in [
        ("prompt", "login"),
        ("prompt", "select_account consent"),
        ("max_age", "0"),
        ("acr_values", "anything"),
        ("unknown", "parameter"),
    ] {
        let answer = provider
            .sign_in(&with(request(), name, value), "alice", "alice")
            .await;
        assert!(
            answer_parameter(&answer, "code").is_some(),
            "{name}={value}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_brings_the_form_back() {
    let provider = Provider::start().await;
    for (user, password) in [
        ("alice", "bob"),
        ("alice", ""),
        ("carol", "carol"),
        ("", ""),
    ] {
        let response = provider.sign_in(&request(), user, password).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let html = text(response).await;
        assert!(html.contains(r#"role="alert""#));
        assert!(html.contains(r#"name="password""#));
        assert_eq!(hidden_fields(&html), request());
    }
}

#[tokio::test]
async fn a_form_on_another_site_signs_nobody_in() {
    let provider = Provider::start().await;
    let form = [
        request(),
        vec![("username", "alice"), ("password", "alice")],
    ]
    .concat();
    for (origin, expected) in [
        (provider.issuer.as_str(), StatusCode::SEE_OTHER),
        ("https://attacker.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let response = provider
            .post("/login", &form, &vec![("origin", origin)])
            .await;
        assert_eq!(response.status(), expected, "{origin}");
    }
}

#[tokio::test]
async fn what_a_request_carries_is_text_on_the_page() {
    let provider = Provider::start().await;
    let sharp = r#"'"><script>alert(1)</script>&amp;"#;
    let case = with(with(request(), "state", sharp), "login_hint", sharp);
    let page = provider.authorize(&case).await;
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let html = text(page).await;
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(html.matches("&lt;script&gt;").count(), 2);
    assert!(html.contains("Demo identity provider"));
    assert!(html.contains("<code>alice</code>") && html.contains("<code>bob</code>"));
}

#[tokio::test]
async fn a_sign_out_ends_the_session_and_returns_only_to_a_known_address() {
    let provider = Provider::start().await;
    let code = provider.code("alice").await;
    let tokens = json(provider.redeem(&redemption(&code)).await).await;
    let hint = tokens["id_token"].as_str().unwrap();
    let refresh = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let forged = format!("{hint}AA");
    let refused = [
        vec![
            ("id_token_hint", hint),
            ("post_logout_redirect_uri", "https://attacker.example/"),
        ],
        vec![
            ("id_token_hint", &forged),
            ("post_logout_redirect_uri", SIGNED_OUT),
        ],
        vec![("id_token_hint", hint), ("client_id", "another")],
        vec![("post_logout_redirect_uri", SIGNED_OUT)],
    ];
    for case in refused {
        let response = provider.fetch(&format!("/logout?{}", encoded(&case))).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{case:?}");
        assert_eq!(provider.redeem(&refresh).await.status(), StatusCode::OK);
    }

    // An expired hint still says whose session it is.
    provider.wait(3600);
    let good = vec![
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", SIGNED_OUT),
        ("state", "bye"),
    ];
    let response = provider.post("/logout", &good, &Vec::new()).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        response.headers()["location"],
        "http://localhost:3000/?state=bye"
    );
    let (status, error) = error_of(provider.redeem(&refresh).await).await;
    assert_eq!((status, error), (400, "invalid_grant".into()));

    let plain = provider.fetch("/logout").await;
    assert_eq!(plain.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_metadata_names_endpoints_that_answer() {
    let provider = Provider::start().await;
    let metadata = json(provider.fetch("/.well-known/openid-configuration").await).await;
    assert_eq!(metadata["issuer"], provider.issuer.as_str());
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        Value::from(vec!["S256"])
    );
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "jwks_uri",
        "end_session_endpoint",
        "pushed_authorization_request_endpoint",
        "revocation_endpoint",
    ] {
        let url = metadata[name].as_str().unwrap();
        assert!(url.starts_with(&provider.issuer), "{name}");
        let response = provider.http.get(url).send().await.unwrap();
        assert_ne!(response.status(), StatusCode::NOT_FOUND, "{name}");
    }
    let keys = json(provider.fetch("/jwks").await).await;
    let members: Vec<&String> = keys["keys"][0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
}

#[test]
fn options_that_cannot_be_served_are_refused() {
    for issuer in [
        "",
        "localhost:4000",
        "http://127.0.0.1:4000/",
        "http://127.0.0.1:4000/a",
    ] {
        assert!(
            matches!(DemoIdp::new(options(issuer)), Err(DemoIdpError::Issuer)),
            "{issuer}"
        );
    }
    for redirect in ["/auth/callback", "http://localhost:3000/#fragment"] {
        let mut options = options("http://127.0.0.1:4000");
        options.redirect_uris.push(redirect.to_owned());
        assert!(
            matches!(DemoIdp::new(options), Err(DemoIdpError::RedirectUri)),
            "{redirect}"
        );
    }
}

#[test]
fn debug_shows_no_secret() {
    let options = options("http://127.0.0.1:4000");
    assert!(!format!("{options:?}").contains(SECRET));
    let idp = DemoIdp::new(options).unwrap();
    assert!(!format!("{idp:?}").contains(SECRET));
}
