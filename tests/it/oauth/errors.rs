//! Every error that an endpoint answers, as a whole: status, headers, body. The texts in
//! `errors/` hold what they are (those of the authorization endpoint and of PAR are
//! beside its tests); nothing that an endpoint can say may be missing there.

use super::gallery::Gallery;
use cloakroom_domain::ended::{self, Reach};
use cloakroom_domain::ports::{Clock, Roots, SubjectIndex};
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{DEMO_CONFIG, Options, System, TABLE};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::oauth;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

const SECRET: &str = "demo-machine-secret";
const HTML: &str = "text/html,application/xhtml+xml;q=0.9";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The demo, a gateway before two audiences, and a client whose keys cannot be had.
async fn system(faults: &Faults) -> System {
    let clients = r#"
        [[clients]]
        id = "gateway"
        kind = "confidential"
        secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
        grants = ["client_credentials"]
        introspects = ["orders", "profile"]

        [[clients]]
        id = "keyless"
        kind = "confidential"
        jwks_uri = "http://127.0.0.1:9/jwks.json"
        grants = ["client_credentials"]
    "#;
    system_with(faults, clients).await
}

/// The demo, and an identity provider that is gone.
async fn system_of_two_providers(faults: &Faults) -> System {
    let provider = r#"
        [[identity_providers]]
        id = "gone"
        callback = "own"
        issuer = "http://127.0.0.1:9"
        client_id = "cloakroom"
        client_secret = "env:CLOAKROOM_DEMO_IDP_SECRET"
    "#;
    system_with(faults, provider).await
}

async fn system_with(faults: &Faults, more: &str) -> System {
    let config = DEMO_CONFIG
        .replace("max_latency = 5", "max_latency = 0")
        .replace("id = \"demo\"\n", "id = \"demo\"\ncallback = \"shared\"\n");
    let options = Options {
        config: format!("{config}\n{more}"),
        faults: Some(faults.clone()),
        ..Options::default()
    };
    System::start(options).await.unwrap()
}

fn machine(system: &System, path: &str) -> RequestBuilder {
    client()
        .post(system.at(path))
        .basic_auth("demo-machine", Some(SECRET))
}

/// What is the same at every endpoint that takes a form from a client.
async fn back_channel(system: &System, gallery: &mut Gallery, path: &str, good: &[(&str, &str)]) {
    let post = || client().post(system.at(path));
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        good.iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let mut hang = async |title: &str, request: RequestBuilder| {
        gallery
            .hang(&format!("POST {path}: {title}"), request)
            .await;
    };
    let query = client().post(system.at(&format!("{path}?token=x")));
    hang("a query", query.form(good)).await;
    hang("JSON", machine(system, path).json(&json!({}))).await;
    let long = "x".repeat(17_000);
    hang("too much", machine(system, path).form(&[("token", &long)])).await;
    let twice = [("token", "x"), ("token", "x")];
    hang("a parameter twice", machine(system, path).form(&twice)).await;
    let escape = machine(system, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("token=%zz");
    hang("half an escape", escape).await;
    let headers = machine(system, path).bearer_auth("x").form(good);
    hang("two Authorization headers", headers).await;
    let basic = post().header("authorization", "Basic x").form(good);
    hang("malformed credentials", basic).await;
    hang("nobody", post().form(good)).await;
    hang(
        "a stranger",
        post().basic_auth("stranger", Some("x")).form(good),
    )
    .await;
    let wrong = post().basic_auth("demo-machine", Some("wrong"));
    hang("a wrong secret", wrong.form(good)).await;
    let both = with(&[("client_id", "demo-machine"), ("client_secret", SECRET)]);
    hang("two proofs", machine(system, path).form(&both)).await;
    let other = with(&[("client_id", "demo-native")]);
    hang("another client's name", machine(system, path).form(&other)).await;
    let half = with(&[("client_assertion", "x")]);
    hang("half an assertion", post().form(&half)).await;
    let kind = with(&[("client_assertion", "x"), ("client_assertion_type", "saml")]);
    hang("an assertion of another type", post().form(&kind)).await;
    let bad = with(&[
        ("client_assertion", "x"),
        ("client_assertion_type", ASSERTION),
    ]);
    hang("a bad assertion", post().form(&bad)).await;
    // {"alg":"ES256"} . {"iss":"keyless"} . no signature
    let keyless = with(&[
        (
            "client_assertion",
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJrZXlsZXNzIn0.AAAA",
        ),
        ("client_assertion_type", ASSERTION),
    ]);
    hang(
        "an assertion whose keys cannot be had",
        post().form(&keyless),
    )
    .await;
    gallery
        .hang(&format!("GET {path}"), client().get(system.at(path)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_token_endpoint_is_known() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let mut gallery = Gallery::of(&system);
    let good = [("grant_type", "client_credentials")];
    back_channel(&system, &mut gallery, "/oauth/token", &good).await;
    grants(&system, &mut gallery).await;
    exchanges(&system, &mut gallery).await;
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    let request = machine(&system, "/oauth/token").form(&good);
    gallery
        .hang("POST /oauth/token: the store is broken", request)
        .await;
    faults.clear(Backend::DynamoDb);
    let nowhere = client().post(system.at("/oauth/nothing"));
    gallery.hang("POST /oauth/nothing", nowhere).await;
    gallery.compare("errors/token.txt", include_str!("errors/token.txt"));
}

async fn grants(system: &System, gallery: &mut Gallery) {
    let native = |form: &[(&str, &str)]| {
        let form: Vec<_> = [("client_id", "demo-native")]
            .iter()
            .chain(form)
            .copied()
            .collect();
        client().post(system.at("/oauth/token")).form(&form)
    };
    let machine = |form: &[(&str, &str)]| machine(system, "/oauth/token").form(form);
    let mut hang = async |title: &str, request: RequestBuilder| {
        gallery
            .hang(&format!("POST /oauth/token: {title}"), request)
            .await;
    };
    hang("no grant type", machine(&[])).await;
    hang("another grant type", machine(&[("grant_type", "password")])).await;
    let code = ("grant_type", "authorization_code");
    hang(
        "a grant that is not the client's",
        machine(&[
            code,
            ("code", "x"),
            ("redirect_uri", "x"),
            ("code_verifier", "x"),
        ]),
    )
    .await;
    hang("no code", native(&[code])).await;
    hang("no redirect URI", native(&[code, ("code", "x")])).await;
    let no_verifier = [code, ("code", "x"), ("redirect_uri", "x")];
    hang("no verifier", native(&no_verifier)).await;
    let bad = [
        code,
        ("code", "x"),
        ("redirect_uri", "x"),
        ("code_verifier", "x"),
    ];
    hang("a bad code", native(&bad)).await;
    let refresh = ("grant_type", "refresh_token");
    hang("no refresh token", native(&[refresh])).await;
    hang(
        "a bad refresh token",
        native(&[refresh, ("refresh_token", "x")]),
    )
    .await;
    let (_, token) = oauth::native_tokens(system, "alice").await;
    let token = ("refresh_token", token.as_str());
    hang(
        "a wider scope",
        native(&[refresh, token, ("scope", "admin")]),
    )
    .await;
    hang(
        "an unknown resource",
        native(&[refresh, token, ("resource", "https://evil.example")]),
    )
    .await;
    let credentials = ("grant_type", "client_credentials");
    hang(
        "a scope that a machine may not have",
        machine(&[credentials, ("scope", "openid")]),
    )
    .await;
    hang(
        "an unknown audience",
        machine(&[credentials, ("audience", "nowhere")]),
    )
    .await;
}

async fn exchanges(system: &System, gallery: &mut Gallery) {
    let (access, _) = oauth::native_tokens(system, "alice").await;
    let subject = [
        ("subject_token", access.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let exchange = |form: &[(&str, &str)]| {
        let form: Vec<_> = [("grant_type", EXCHANGE)]
            .iter()
            .chain(form)
            .copied()
            .collect();
        machine(system, "/oauth/token").form(&form)
    };
    let mut hang = async |title: &str, request: RequestBuilder| {
        gallery
            .hang(&format!("POST /oauth/token: {title}"), request)
            .await;
    };
    hang("no subject token", exchange(&[])).await;
    hang("a subject token of no type", exchange(&subject[..1])).await;
    let saml = [
        subject[0],
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:saml2",
        ),
    ];
    hang("a subject token of another type", exchange(&saml)).await;
    let bad = [("subject_token", "x"), subject[1]];
    hang("a bad subject token", exchange(&bad)).await;
    let more = |name, value| [subject[0], subject[1], (name, value)];
    hang(
        "another type is wanted",
        exchange(&more("requested_token_type", "jwt")),
    )
    .await;
    hang("an actor of no type", exchange(&more("actor_token", "x"))).await;
    let actor = [
        subject[0],
        subject[1],
        ("actor_token", "x"),
        ("actor_token_type", "jwt"),
    ];
    hang("an actor of another type", exchange(&actor)).await;
    hang("exchanged for more", exchange(&more("scope", "openid"))).await;
    hang(
        "exchanged for elsewhere",
        exchange(&more("audience", "nowhere")),
    )
    .await;
    let id_token = [
        subject[0],
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
    ];
    hang(
        "an ID token by a client that exchanges none",
        exchange(&id_token),
    )
    .await;
    let mut live = 0;
    while exchange(&subject).send().await.unwrap().status() == 200 {
        live += 1;
        assert!(live < 100);
    }
    hang("too many tokens of one login", exchange(&subject)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_revocation_is_known() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let token = oauth::machine_token(&system).await;
    let mut gallery = Gallery::of(&system);
    let good = [("token", token.as_str())];
    back_channel(&system, &mut gallery, "/oauth/revoke", &good).await;
    let empty: [(&str, &str); 0] = [];
    let request = machine(&system, "/oauth/revoke").form(&empty);
    gallery.hang("POST /oauth/revoke: no token", request).await;
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    let request = machine(&system, "/oauth/revoke").form(&good);
    gallery
        .hang("POST /oauth/revoke: the store is broken", request)
        .await;
    gallery.compare("errors/revoke.txt", include_str!("errors/revoke.txt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_introspection_is_known() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let token = oauth::machine_token(&system).await;
    let mut gallery = Gallery::of(&system);
    let good = [("token", token.as_str())];
    back_channel(&system, &mut gallery, "/oauth/introspect", &good).await;
    let path = "/oauth/introspect";
    let mut hang = async |title: &str, request: RequestBuilder| {
        gallery
            .hang(&format!("POST {path}: {title}"), request)
            .await;
    };
    let empty: [(&str, &str); 0] = [];
    hang("no token", machine(&system, path).form(&empty)).await;
    let public = client().post(system.at(path));
    let public = public.form(&[good[0], ("client_id", "demo-native")]);
    hang("a public client", public).await;
    let gateway = || {
        client()
            .post(system.at(path))
            .basic_auth("gateway", Some(SECRET))
    };
    let which = gateway().header("accept", "application/jwt").form(&good);
    hang("a JWT of no audience in particular", which).await;
    let elsewhere = machine(&system, path).form(&[good[0], ("resource", "nowhere")]);
    hang("for an unknown audience", elsewhere).await;
    let two = [good[0], ("resource", "orders"), ("resource", "profile")];
    hang("for two audiences", gateway().form(&two)).await;
    faults.set(Backend::Kms, Fault::Failing, &["Sign"]);
    let signed = machine(&system, path)
        .header("accept", "application/token-introspection+jwt")
        .form(&good);
    hang("nothing can be signed", signed).await;
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    hang("the store is broken", machine(&system, path).form(&good)).await;
    gallery.compare(
        "errors/introspect.txt",
        include_str!("errors/introspect.txt"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_published_documents_is_known() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let mut gallery = Gallery::of(&system);
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/client-jwks.json",
        "/.well-known/oauth-authorization-server",
    ] {
        let request = client().post(system.at(path));
        gallery.hang(&format!("POST {path}"), request).await;
    }
    let nothing = client().get(system.at("/.well-known/nothing"));
    gallery.hang("GET /.well-known/nothing", nothing).await;
    faults.set(Backend::Kms, Fault::Failing, &[]);
    let keys = client().get(system.at("/.well-known/jwks.json"));
    gallery
        .hang("GET /.well-known/jwks.json: KMS is broken", keys)
        .await;
    gallery.compare("errors/documents.txt", include_str!("errors/documents.txt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_sign_in_is_known() {
    let faults = Faults::default();
    let system = system_of_two_providers(&faults).await;
    let mut gallery = Gallery::of(&system);
    let get = |path: &str| client().get(system.at(path));
    for (title, request) in [
        (
            "GET /auth/login: an unknown provider",
            get("/auth/login?idp=nobody"),
        ),
        ("GET /auth/login: no provider", get("/auth/login")),
        (
            "GET /auth/login: a provider that is gone",
            get("/auth/login?idp=gone"),
        ),
        (
            "GET /auth/login: a parameter twice",
            get("/auth/login?idp=demo&idp=demo"),
        ),
        (
            "GET /auth/login: loaded ahead",
            get("/auth/login?idp=demo").header("sec-purpose", "prefetch"),
        ),
        ("POST /auth/login", client().post(system.at("/auth/login"))),
        (
            "GET /auth/callback: no login is under way",
            get("/auth/callback?code=x&state=x"),
        ),
        (
            "GET /auth/callback: no login is under way, to a person",
            get("/auth/callback?code=x&state=x").header("accept", HTML),
        ),
        (
            "HEAD /auth/callback",
            client().head(system.at("/auth/callback?code=x&state=x")),
        ),
        (
            "GET /auth/login: a time that is none",
            get("/auth/login?idp=demo&max_age=x"),
        ),
        (
            "POST /auth/backchannel-logout: no token",
            client().post(system.at("/auth/backchannel-logout")),
        ),
        (
            "POST /auth/backchannel-logout: a token of nobody's",
            client()
                .post(system.at("/auth/backchannel-logout"))
                .form(&[("logout_token", "x")]),
        ),
        (
            "GET /auth/backchannel-logout",
            get("/auth/backchannel-logout"),
        ),
        ("GET /auth/nothing", get("/auth/nothing")),
    ] {
        gallery.hang(title, request).await;
    }
    callbacks(&system, &mut gallery, &faults).await;
    gallery.compare("errors/sign-in.txt", include_str!("errors/sign-in.txt"));
}

/// What a callback may end with, once the browser has a login under way.
async fn callbacks(system: &System, gallery: &mut Gallery, faults: &Faults) {
    let changed = |url: &Url, name: &str, value: Option<&str>| {
        let pairs: Vec<_> = url
            .query_pairs()
            .into_owned()
            .filter(|(other, _)| other != name)
            .chain(value.map(|value| (name.to_owned(), value.to_owned())))
            .collect();
        let mut url = url.clone();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    };
    let back = |title: &str| format!("GET /auth/callback: {title}");
    let request =
        |(url, cookie): &(Url, String)| client().get(url.clone()).header("cookie", cookie);

    let (url, cookie) = returning(system).await;
    let request_of = |url: Url| request(&(url, cookie.clone()));
    let neither = changed(&url, "code", None);
    gallery
        .hang(&back("neither code nor error"), request_of(neither.clone()))
        .await;
    let other = changed(&url, "iss", Some("https://evil.example"));
    gallery
        .hang(&back("of another issuer"), request_of(other))
        .await;
    let bad = changed(&url, "code", Some("x"));
    gallery.hang(&back("a bad code"), request_of(bad)).await;
    let denied = changed(&neither, "error", Some("access_denied"));
    gallery
        .hang(&back("the provider says no"), request_of(denied))
        .await;
    let mut twice = url.clone();
    twice.query_pairs_mut().append_pair("state", "again");
    gallery
        .hang(&back("a parameter twice"), request_of(twice))
        .await;

    let used = returning(system).await;
    assert_eq!(request(&used).send().await.unwrap().status(), 200);
    gallery.hang(&back("the second time"), request(&used)).await;

    let broken = returning(system).await;
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    gallery
        .hang(&back("the store is broken"), request(&broken))
        .await;
    faults.clear(Backend::DynamoDb);

    let late = returning(system).await;
    sign_out_everywhere(system).await;
    gallery
        .hang(&back("signed out everywhere meanwhile"), request(&late))
        .await;
}

/// A login that has come back from the provider: where to, and with which cookie.
async fn returning(system: &System) -> (Url, String) {
    let mut browser = Browser::default();
    let form = browser.open(&system.at("/auth/login?idp=demo")).await;
    let fields = [("username", "alice"), ("password", "alice")];
    let (_, headers, body) = browser.submit_once(&form, &fields).await;
    assert!(headers.contains_key("location"), "{body}");
    let url = Url::parse(headers["location"].to_str().unwrap()).unwrap();
    let cookies: Vec<_> = browser
        .cookies()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (url, cookies.join("; "))
}

async fn sign_out_everywhere(system: &System) {
    let backends = system.backends();
    let kms =
        cloakroom_aws::kms::KmsRoots::new(backends.kms(), vec![backends.mac_key().to_owned()]);
    let roots = kms.roots().await.unwrap();
    let name = ended::subject_key(roots.current(), system.provider_url(), "demo|alice");
    let store = cloakroom_aws::dynamo::DynamoStore::new(backends.dynamodb(), TABLE);
    let now = cloakroom_aws::world().now();
    store
        .end_subject(&name, Reach::All, now.plus(60), now.plus(600))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_a_session_is_known() {
    let faults = Faults::default();
    let system = system_of_two_providers(&faults).await;
    let mut gallery = Gallery::of(&system);
    let mut alice = Browser::default();
    let form = alice.open(&system.at("/auth/login?idp=demo")).await;
    alice
        .submit(&form, &[("username", "alice"), ("password", "alice")])
        .await;
    let cookie = format!(
        "__Host-Http-cloakroom={}",
        alice.cookie("__Host-Http-cloakroom").unwrap()
    );
    let ask = |method: Method, path: &str| client().request(method, system.at(path));
    let own = |method: Method, path: &str| {
        ask(method, path)
            .header("cookie", &cookie)
            .header("x-csrf", "1")
    };
    for (title, request) in [
        (
            "GET /auth/session: no cookie",
            ask(Method::GET, "/auth/session").header("x-csrf", "1"),
        ),
        (
            "GET /auth/session: no CSRF header",
            ask(Method::GET, "/auth/session").header("cookie", &cookie),
        ),
        (
            "GET /auth/session: from another site",
            own(Method::GET, "/auth/session").header("origin", "https://evil.example"),
        ),
        (
            "GET /auth/session: two cookies",
            own(Method::GET, "/auth/session").header("cookie", &cookie),
        ),
        (
            "GET /auth/session: another credential",
            own(Method::GET, "/auth/session").bearer_auth("x"),
        ),
        (
            "GET /auth/session: a bad cookie",
            ask(Method::GET, "/auth/session")
                .header("cookie", "__Host-Http-cloakroom=x")
                .header("x-csrf", "1"),
        ),
        (
            "GET /auth/session: a parameter twice",
            own(Method::GET, "/auth/session?a=1&a=1"),
        ),
        ("POST /auth/session", own(Method::POST, "/auth/session")),
        ("GET /auth/logout", own(Method::GET, "/auth/logout")),
        (
            "POST /auth/logout: no CSRF header",
            ask(Method::POST, "/auth/logout").header("cookie", &cookie),
        ),
    ] {
        gallery.hang(title, request).await;
    }
    tickets(&system, &mut gallery, &cookie).await;
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    for (title, request) in [
        (
            "GET /auth/session: the store is broken",
            own(Method::GET, "/auth/session"),
        ),
        (
            "POST /auth/logout: the store is broken",
            own(Method::POST, "/auth/logout"),
        ),
        (
            "POST /auth/ws-ticket: the store is broken",
            own(Method::POST, "/auth/ws-ticket"),
        ),
    ] {
        gallery.hang(title, request).await;
    }
    faults.clear(Backend::DynamoDb);
    gallery.compare("errors/session.txt", include_str!("errors/session.txt"));
}

/// What a session is told that asks for a WebSocket's ticket.
async fn tickets(system: &System, gallery: &mut Gallery, cookie: &str) {
    let ask = |method: Method| client().request(method, system.at("/auth/ws-ticket"));
    let own = || {
        ask(Method::POST)
            .header("cookie", cookie)
            .header("x-csrf", "1")
    };
    gallery.hang("GET /auth/ws-ticket", ask(Method::GET)).await;
    let none = ask(Method::POST).header("x-csrf", "1");
    gallery.hang("POST /auth/ws-ticket: no cookie", none).await;
    let foreign = ask(Method::POST).header("cookie", cookie);
    gallery
        .hang("POST /auth/ws-ticket: no CSRF header", foreign)
        .await;
    let mut tickets = 0;
    while own().send().await.unwrap().status() == 200 {
        tickets += 1;
        assert!(tickets < 100);
    }
    gallery
        .hang("POST /auth/ws-ticket: too many of them", own())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_api_is_known() {
    let faults = Faults::default();
    let system = system(&faults).await;
    let token = oauth::machine_token(&system).await;
    let mut gallery = Gallery::of(&system);
    let get = |path: &str| client().get(system.at(path));
    for (title, request) in [
        ("GET /api/orders: no token", get("/api/orders")),
        (
            "GET /api/orders: a bad token",
            get("/api/orders").bearer_auth("x"),
        ),
        (
            "GET /api/reports: a client where a user is needed",
            get("/api/reports").bearer_auth(&token),
        ),
        ("GET /api/nothing", get("/api/nothing").bearer_auth(&token)),
        (
            "GET /api/orders: a token and a cookie",
            get("/api/orders")
                .bearer_auth(&token)
                .header("cookie", "__Host-Http-cloakroom=x"),
        ),
        (
            "GET /api/orders: a cookie and no CSRF header",
            get("/api/orders").header("cookie", "__Host-Http-cloakroom=x"),
        ),
    ] {
        gallery.hang(title, request).await;
    }
    faults.set(Backend::DynamoDb, Fault::Failing, &[]);
    let request = get("/api/orders").bearer_auth(&token);
    gallery
        .hang("GET /api/orders: the store is broken", request)
        .await;
    gallery.compare("errors/api.txt", include_str!("errors/api.txt"));
}

/// All that is known to be answered.
const KNOWN: [&str; 9] = [
    include_str!("authorize/errors.txt"),
    include_str!("errors/api.txt"),
    include_str!("errors/documents.txt"),
    // Made in `dpop.rs`.
    include_str!("errors/dpop.txt"),
    include_str!("errors/introspect.txt"),
    include_str!("errors/revoke.txt"),
    include_str!("errors/session.txt"),
    include_str!("errors/sign-in.txt"),
    include_str!("errors/token.txt"),
];

/// What is not there, and why.
const ELSEWHERE: [(&str, &str); 10] = [
    (
        "login_hint is too long or has control characters",
        "no row yet: said of a request that no browser writes",
    ),
    (
        "access_denied",
        "told to the client in tests/it/oauth/authorize and in tests/oauth",
    ),
    (
        "server_error",
        "our own fault: a document that cannot be written as JSON",
    ),
    (
        "the request cannot be read",
        "an event that no gateway sends: crates/gateway/src/http/tests.rs",
    ),
    (
        "the request is too large",
        "no gateway lets it through: crates/gateway/src/http/tests.rs",
    ),
    (
        "the body is not the base64 that it claims to be",
        "an event that no gateway sends: crates/gateway/src/http/tests.rs",
    ),
    (
        "replayed",
        "of a provider that takes a code twice: crates/domain/src/login/tests.rs",
    ),
    (
        "The page was loaded twice. You may be signed in already.",
        "the same in words",
    ),
    (
        "the authorization request is not in order",
        "what cannot be wrong before a user was asked",
    ),
    (
        "client_id is another client's",
        "the credentials say so first, in other words",
    ),
];

#[test]
fn no_error_that_an_endpoint_can_answer_is_missing() {
    let known = KNOWN.concat();
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut texts = BTreeSet::new();
    for source in sources() {
        texts.extend(said(&source));
    }
    assert!(texts.len() > 60, "{texts:#?}");
    let is_known =
        |text: &String| known.contains(text) || known.contains(&format!("={}&", encoded(text)));
    let excused = |text: &String| ELSEWHERE.iter().any(|(other, _)| other == text);
    let missing: Vec<_> = texts
        .iter()
        .filter(|text| !is_known(text) && !excused(text))
        .collect();
    assert!(
        missing.is_empty(),
        "without a row in tests/it/oauth/errors: {missing:#?}"
    );
    for (text, why) in ELSEWHERE {
        assert!(texts.contains(text), "{text} is not said any more: {why}");
        assert!(
            !known.contains(&format!("\"{text}\"")),
            "{text} has a row now: {why}"
        );
    }
}

#[test]
fn what_is_said_of_an_error_is_in_the_alphabet_of_rfc_6749() {
    // §5.2: %x20-21 / %x23-5B / %x5D-7E.
    let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    let mut texts = Vec::new();
    for known in KNOWN {
        for line in known.lines().filter(|line| line.starts_with("{\"error\"")) {
            let body: serde_json::Value = serde_json::from_str(line).unwrap();
            for name in ["error", "error_description"] {
                texts.extend(body[name].as_str().map(str::to_owned));
            }
        }
        for line in known
            .lines()
            .filter_map(|line| line.strip_prefix("location: "))
        {
            let url = Url::parse(line).unwrap();
            let said = url
                .query_pairs()
                .filter(|(name, _)| name.starts_with("error"));
            texts.extend(said.map(|(_, value)| value.into_owned()));
        }
    }
    assert!(texts.len() > 100);
    for text in texts {
        assert!(text.bytes().all(allowed), "{text}");
    }
}

#[test]
fn every_endpoint_has_a_row() {
    let known = KNOWN.concat();
    for function in ["jwks", "login", "token"] {
        let source = read(&format!("functions/{function}/src/lib.rs"));
        let paths: BTreeSet<_> = source
            .split('"')
            .filter(|text| text.starts_with('/') && !text.contains(char::is_whitespace))
            .collect();
        assert!(paths.len() > 1, "{function}");
        for path in paths {
            // Their texts are beside the tests of these two.
            let beside = ["/oauth/authorize", "/oauth/par"].contains(&path);
            assert!(
                beside || known.contains(&format!(" {path}")),
                "{path} has no row"
            );
        }
    }
}

/// The files in which answers are worded.
fn sources() -> Vec<String> {
    let mut files = vec![
        "crates/domain/src/login/native.rs".to_owned(),
        "crates/domain/src/login/par.rs".to_owned(),
        "crates/domain/src/login/request.rs".to_owned(),
    ];
    for folder in [
        "crates/gateway/src/http",
        "functions/jwks/src",
        "functions/login/src",
        "functions/token/src",
    ] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(
                    path.strip_prefix(root())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    files.retain(|file| !file.ends_with("tests.rs"));
    files.iter().map(|file| read(file)).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A source file, without its tests and comments.
fn read(file: &str) -> String {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The texts that a file can answer: what it hands to whatever makes an error of it,
/// and the codes.
fn said(source: &str) -> Vec<String> {
    const MAKERS: [&str; 9] = [
        "BadRequest(",
        "InvalidRequest(",
        "Malformed(",
        "Shown(",
        "invalid(",
        "malformed(",
        "shown(request, ",
        "error: ",
        "error_description: ",
    ];
    let mut texts = Vec::new();
    let mut literals = |after: &str| {
        let literal = after.trim_start().strip_prefix('"');
        texts.extend(
            literal
                .and_then(|rest| rest.split_once('"'))
                .map(|(text, _)| text.to_owned()),
        );
    };
    for maker in MAKERS {
        source.split(maker).skip(1).for_each(&mut literals);
    }
    // `need(form, "code", "code is missing")`
    for call in source.split("need(form, \"").skip(1) {
        call.split_once("\", ")
            .into_iter()
            .for_each(|(_, text)| literals(text));
    }
    // The tables of codes, and of what a person is told: `Self::X => "code",` and
    // `LoginError::X => ("code", "title", "text")`.
    for arm in source.split("=>").skip(1) {
        let arm = arm.trim_start();
        if let Some(tuple) = arm.strip_prefix('(') {
            let tuple = tuple.split("),").next().unwrap_or_default();
            let strings: Vec<_> = tuple.split('"').collect();
            let is_code = strings.get(1).is_some_and(|code| is_word(code));
            if is_code && strings.len() > 6 {
                literals(&format!("\"{}\"", strings[1]));
                literals(&format!("\"{}\"", strings[5]));
            }
        } else if let Some((code, _)) = arm.strip_prefix('"').and_then(|rest| rest.split_once('"'))
            && is_word(code)
            && code.contains('_')
            && source.contains("fn code(")
        {
            literals(&format!("\"{code}\""));
        }
    }
    texts
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
