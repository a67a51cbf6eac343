//! Introspection over HTTP: RFC 7662, RFC 9701 and the phantom-token call, and what
//! an attacker asks there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::faults::{Backend, Fault, Faults};
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::{Browser, client};
use cloakroom_tests::oauth;
use cloakroom_verify::Verifier;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SECRET: &str = "demo-machine-secret";
const SIGNED: &str = "application/token-introspection+jwt";
const ACCESS_JWT: &str = "application/jwt";

/// The demo, a profile service, a gateway before both services, and a client that is
/// nobody's service.
async fn system(faults: Option<Faults>) -> System {
    let client = |rest: &str| {
        format!(
            r#"
            [[clients]]
            kind = "confidential"
            secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
            grants = ["client_credentials"]
            scopes = ["orders:read"]
            {rest}
            "#
        )
    };
    let clients = [
        "id = \"profile-service\"\naudience = \"profile\"\naudiences = [\"orders\"]",
        "id = \"gateway\"\nintrospects = [\"orders\", \"profile\"]",
        "id = \"bystander\"",
    ]
    .map(client)
    .concat();
    let options = Options {
        config: format!("{DEMO_CONFIG}\n{clients}"),
        faults,
        ..Options::default()
    };
    System::start(options).await.unwrap()
}

/// An answer of the endpoint.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn media_type(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }
}

async fn ask_with(system: &System, caller: &str, form: &[(&str, &str)], accept: &str) -> Answer {
    let request = client()
        .post(system.at("/oauth/introspect"))
        .basic_auth(caller, Some(SECRET))
        .form(form);
    let request = if accept.is_empty() {
        request
    } else {
        request.header("accept", accept)
    };
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

async fn ask(system: &System, caller: &str, token: &str) -> Value {
    let answer = ask_with(system, caller, &[("token", token)], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// A token of a client, good for what the client's configuration says.
async fn token_of(system: &System, id: &str) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", SECRET),
    ];
    let (status, body) = oauth::token(system, &form).await;
    assert_eq!(status, 200, "{body}");
    oauth::text(&body, "access_token")
}

/// Header and claims.
fn parts(jwt: &str) -> (Value, Value) {
    let mut parts = jwt.split('.');
    let mut next = || {
        let bytes = BASE64URL.decode(parts.next().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    (next(), next())
}

fn verifier(system: &System, audience: &str) -> Verifier {
    Verifier::builder(system.url(), audience)
        .jwks_url(&system.at("/.well-known/jwks.json"))
        .build()
        .unwrap()
}

fn inactive() -> Value {
    json!({"active": false})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_machine_reads_what_a_token_is_worth() {
    let system = system(None).await;
    let (users, _) = oauth::native_tokens(&system, "alice").await;
    let answer = ask_with(&system, "demo-machine", &[("token", &users)], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.media_type(), "application/json");
    let said = answer.json();
    for (name, value) in [
        ("active", json!(true)),
        ("scope", json!("offline_access openid orders:read profile")),
        ("client_id", json!("demo-native")),
        ("token_type", json!("Bearer")),
        ("sub", json!("demo|alice")),
        ("aud", json!(["orders", "profile"])),
        ("iss", json!(system.url())),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    assert!(said["exp"].as_u64() > said["iat"].as_u64());
    assert_eq!(said.as_object().unwrap().len(), 9, "and no more: {said}");

    let own = oauth::machine_token(&system).await;
    let said = ask(&system, "demo-machine", &own).await;
    assert_eq!(said["sub"], "client|demo-machine");
    let hinted = [
        ("token", own.as_str()),
        ("token_type_hint", "refresh_token"),
    ];
    let hinted = ask_with(&system, "demo-machine", &hinted, "").await.json();
    assert_eq!(hinted["active"], true, "the hint changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_inactive_at_once() {
    let system = system(None).await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    assert_eq!(ask(&system, "demo-machine", &access).await["active"], true);
    assert_eq!(oauth::revoke(&system, &refresh).await, 200);
    assert_eq!(ask(&system, "demo-machine", &access).await, inactive());
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_is_a_use_that_ends_the_healing_of_a_lost_refresh() {
    let system = system(None).await;
    let (_, refresh) = oauth::native_tokens(&system, "alice").await;
    let (_, pair) = oauth::refresh(&system, &refresh).await;
    let access = oauth::text(&pair, "access_token");
    ask(&system, "demo-machine", &access).await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let (status, _) = oauth::refresh(&system, &refresh).await;
    assert_eq!(status, 400, "the pair is in use");
    assert_eq!(ask(&system, "demo-machine", &access).await, inactive());
}

#[tokio::test(flavor = "multi_thread")]
async fn d58_what_is_not_the_callers_business_is_inactive_and_nothing_more() {
    let system = system(None).await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let code = oauth::code(&system, "alice").await;
    let mut browser = Browser::default();
    browser.sign_in(system.url(), "alice").await;
    let session = browser.cookie("__Host-Http-cloakroom").unwrap();
    let orders = token_of(&system, "profile-service").await;
    let wrong = format!("{}000000", &access[..70]);
    for (caller, token, why) in [
        ("bystander", access.as_str(), "no service"),
        ("profile-service", "garbage", "garbage"),
        ("gateway", &refresh, "a refresh token"),
        ("gateway", &code, "a code"),
        ("gateway", &session, "a session"),
        ("gateway", &wrong, "a wrong checksum"),
        ("bystander", &orders, "another client's, another audience's"),
    ] {
        for accept in ["", SIGNED, ACCESS_JWT] {
            let form = [("token", token), ("resource", "orders")];
            let resource = caller == "gateway" && accept == ACCESS_JWT;
            let form = if resource { &form[..] } else { &form[..1] };
            let answer = ask_with(&system, caller, form, accept).await;
            match accept {
                "" => {
                    assert_eq!(answer.status, 200, "{why}");
                    assert_eq!(answer.text, r#"{"active":false}"#, "{why}");
                }
                SIGNED => {
                    assert_eq!(answer.status, 200, "{why}");
                    let said = &parts(&answer.text).1["token_introspection"];
                    assert_eq!(*said, inactive(), "{why}");
                }
                // Who is no service is told so, whatever the token.
                _ if caller == "bystander" => {
                    assert_eq!(answer.status, 400, "{why}");
                    assert_eq!(answer.json()["error"], "invalid_request", "{why}");
                }
                _ => assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, "")),
            }
        }
    }
    // Each of them differs in one point from one that is active.
    assert_eq!(ask(&system, "gateway", &access).await["active"], true);
    assert_eq!(
        ask(&system, "gateway", &orders).await["aud"],
        json!(["orders"])
    );
    let own = ask(&system, "profile-service", &orders).await;
    assert_eq!(own["active"], true, "its own, though for another audience");
}

#[tokio::test(flavor = "multi_thread")]
async fn d58_who_has_not_proved_who_it_is_learns_nothing() {
    let system = system(None).await;
    let token = oauth::machine_token(&system).await;
    let post = |form: Vec<(&'static str, String)>| {
        let request = client().post(system.at("/oauth/introspect")).form(&form);
        async { request.send().await.unwrap() }
    };
    let with = |id: &str, secret: Option<&str>| {
        let mut form = vec![("token", token.clone()), ("client_id", id.to_owned())];
        form.extend(secret.map(|secret| ("client_secret", secret.to_owned())));
        form
    };
    for form in [
        vec![("token", token.clone())],
        with("demo-machine", None),
        with("demo-machine", Some("wrong")),
        with("demo-native", None),
        with("nobody", Some(SECRET)),
    ] {
        let answer = post(form).await;
        assert_eq!(answer.status(), 401);
        assert!(answer.headers().contains_key("www-authenticate"));
        assert_eq!(
            answer.text().await.unwrap(),
            r#"{"error":"invalid_client"}"#
        );
    }
    let posted = post(with("demo-machine", Some(SECRET))).await;
    assert_eq!(posted.status(), 200, "client_secret_post");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_one_form() {
    let system = system(None).await;
    let token = oauth::machine_token(&system).await;
    let url = system.at("/oauth/introspect");
    let got = client()
        .get(&url)
        .basic_auth("demo-machine", Some(SECRET))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (got.status(), &got.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let in_query = client()
        .request(Method::POST, format!("{url}?token={token}"))
        .basic_auth("demo-machine", Some(SECRET))
        .form(&[("token", &token)])
        .send()
        .await
        .unwrap();
    assert_eq!(in_query.status(), 400);
    for (form, error) in [
        (vec![], "invalid_request"),
        (vec![("token", "")], "invalid_request"),
        (vec![("token", "a"), ("token", "a")], "invalid_request"),
        (
            vec![("token", "a"), ("resource", "elsewhere")],
            "invalid_target",
        ),
        (
            vec![
                ("token", "a"),
                ("resource", "orders"),
                ("resource", "profile"),
            ],
            "invalid_target",
        ),
    ] {
        let answer = ask_with(&system, "demo-machine", &form, "").await;
        assert_eq!(answer.status, 400, "{form:?}");
        assert_eq!(answer.json()["error"], error, "{form:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_answer_is_no_access_token() {
    let system = system(None).await;
    let token = oauth::machine_token(&system).await;
    let form = [("token", token.as_str())];
    let answer = ask_with(&system, "demo-machine", &form, SIGNED).await;
    assert_eq!(
        (answer.status, answer.media_type()),
        (StatusCode::OK, SIGNED)
    );
    let (header, claims) = parts(&answer.text);
    assert_eq!(header["typ"], "token-introspection+jwt");
    assert_eq!(claims["iss"], system.url());
    assert_eq!(claims["aud"], "demo-machine");
    assert!(claims["iat"].is_u64());
    assert_eq!(claims.as_object().unwrap().len(), 4, "{claims}");
    assert_eq!(
        claims["token_introspection"],
        ask(&system, "demo-machine", &token).await
    );
    for audience in ["orders", "demo-machine"] {
        let judged = verifier(&system, audience).verify(&answer.text).await;
        assert!(judged.is_err(), "{audience}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phantom_token_gateway_gets_the_authorizers_jwt() {
    let system = system(None).await;
    let (token, _) = oauth::native_tokens(&system, "alice").await;
    let form = [("token", token.as_str())];
    let answer = ask_with(&system, "demo-machine", &form, ACCESS_JWT).await;
    assert_eq!(
        (answer.status, answer.media_type()),
        (StatusCode::OK, ACCESS_JWT)
    );
    assert_eq!(parts(&answer.text).0["typ"], "at+jwt");
    let claims = verifier(&system, "orders").verify(&answer.text).await;
    assert_eq!(claims.unwrap().sub, "demo|alice");
    let elsewhere = verifier(&system, "profile").verify(&answer.text).await;
    assert!(elsewhere.is_err(), "for its own audience alone");

    let several = ask_with(&system, "gateway", &form, ACCESS_JWT).await;
    assert_eq!(several.status, 400, "of which audience?");
    assert_eq!(several.json()["error"], "invalid_request");
    for (resource, audience) in [
        ("profile", "profile"),
        ("https://api.example.com/orders", "orders"),
    ] {
        let form = [("token", token.as_str()), ("resource", resource)];
        let answer = ask_with(&system, "gateway", &form, ACCESS_JWT).await;
        assert_eq!(parts(&answer.text).1["aud"], audience);
    }

    // The same JWT as behind the API, shared through the item.
    let (_, seen) = oauth::call(&system, "/api/profile", &token).await;
    let form = [("token", token.as_str()), ("resource", "profile")];
    let answer = ask_with(&system, "gateway", &form, ACCESS_JWT).await;
    assert_eq!(seen["claims"], parts(&answer.text).1);
}

/// The same through whatever serves the functions: it signs, so it needs the key.
pub(crate) async fn walk(system: &System) {
    let token = oauth::machine_token(system).await;
    assert_eq!(ask(system, "demo-machine", &token).await["active"], true);
    assert_eq!(ask(system, "demo-machine", "x").await, inactive());
    let form = [("token", token.as_str())];
    for (accept, typ) in [(ACCESS_JWT, "at+jwt"), (SIGNED, "token-introspection+jwt")] {
        let answer = ask_with(system, "demo-machine", &form, accept).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(parts(&answer.text).0["typ"], typ);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_chooses_the_form() {
    let system = system(None).await;
    let token = oauth::machine_token(&system).await;
    for (accept, media_type) in [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        (
            "application/jwt;q=0.5, application/json",
            "application/json",
        ),
        ("application/jwt;q=0", "application/json"),
        ("application/jwt;q=nan", "application/json"),
        ("Application/JWT", ACCESS_JWT),
        ("application/json;q=0.5, application/jwt", ACCESS_JWT),
        (
            "application/jwt;q=0.9, application/token-introspection+jwt",
            SIGNED,
        ),
    ] {
        let form = [("token", token.as_str())];
        let answer = ask_with(&system, "demo-machine", &form, accept).await;
        assert_eq!(answer.status, 200, "{accept}");
        assert_eq!(answer.media_type(), media_type, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d72_garbage_costs_no_write_and_no_signature_but_one_a_minute() {
    let faults = Faults::default();
    let system = system(Some(faults.clone())).await;
    let token = oauth::machine_token(&system).await;
    // Of the right shape, with a checksum, and revoked: the longest way to no.
    let form = [
        ("client_id", "demo-machine"),
        ("client_secret", SECRET),
        ("token", token.as_str()),
    ];
    let revoked = client().post(system.at("/oauth/revoke")).form(&form);
    assert_eq!(revoked.send().await.unwrap().status(), 200);
    let first = ask_with(&system, "demo-machine", &form[2..], SIGNED).await;
    assert_eq!(first.status, 200);

    // From here on whoever calls KMS, or writes, gets nowhere.
    faults.set(Backend::Kms, Fault::Failing, &[]);
    faults.set(
        Backend::DynamoDb,
        Fault::Failing,
        &["PutItem", "UpdateItem", "TransactWriteItems"],
    );
    for text in [token.as_str(), "garbage"] {
        let form = [("token", text)];
        assert_eq!(ask(&system, "demo-machine", text).await, inactive());
        let again = ask_with(&system, "demo-machine", &form, SIGNED).await;
        assert_eq!((again.status, &again.text), (StatusCode::OK, &first.text));
        let jwt = ask_with(&system, "demo-machine", &form, ACCESS_JWT).await;
        assert_eq!(jwt.status, 204);
    }
    let another = ask_with(&system, "gateway", &[("token", "garbage")], SIGNED).await;
    assert_eq!(another.status, 503, "another caller's is another signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_cannot_tell_is_neither_active_nor_inactive() {
    let faults = Faults::default();
    let system = system(Some(faults.clone())).await;
    let token = oauth::machine_token(&system).await;
    let form = [("token", token.as_str())];
    faults.set(Backend::DynamoDb, Fault::Failing, &["GetItem"]);
    for accept in ["", SIGNED, ACCESS_JWT] {
        let answer = ask_with(&system, "demo-machine", &form, accept).await;
        assert_eq!(answer.status, 503, "{accept}");
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
        assert!(answer.headers.contains_key("retry-after"));
    }
    faults.clear(Backend::DynamoDb);
    faults.set(Backend::Kms, Fault::Failing, &["Sign"]);
    assert_eq!(ask(&system, "demo-machine", &token).await["active"], true);
    for accept in [SIGNED, ACCESS_JWT] {
        let answer = ask_with(&system, "demo-machine", &form, accept).await;
        assert_eq!(answer.status, 503, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_names_the_endpoint_and_how_to_prove_oneself() {
    let system = system(None).await;
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
        metadata["introspection_endpoint"],
        system.at("/oauth/introspect")
    );
    assert_eq!(
        metadata["introspection_endpoint_auth_methods_supported"],
        json!(["client_secret_basic", "client_secret_post"])
    );
    assert_eq!(
        metadata["introspection_signing_alg_values_supported"],
        json!(["RS256"])
    );
}
