//! OAuth clients: a machine, and a native app with PKCE.

use crate::browser::{Browser, client};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::system::System;
use reqwest::{StatusCode, Url};
use serde_json::Value;

/// The redirect URI of the native app in these tests.
pub const REDIRECT: &str = "http://127.0.0.1:49152/callback";

/// A verifier; any would do.
pub const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters-0123";

/// What a native app asks for.
pub const SCOPE: &str = "openid profile orders:read offline_access";

/// What the token endpoint says.
pub async fn token(system: &System, form: &[(&str, &str)]) -> (StatusCode, Value) {
    let answer = client()
        .post(system.at("/oauth/token"))
        .form(form)
        .send()
        .await
        .unwrap();
    (answer.status(), json(answer).await)
}

/// What the token endpoint says to the demo machine.
pub async fn machine(system: &System, form: &[(&str, &str)]) -> (StatusCode, Value) {
    let answer = client()
        .post(system.at("/oauth/token"))
        .basic_auth("demo-machine", Some("demo-machine-secret"))
        .form(form)
        .send()
        .await
        .unwrap();
    (answer.status(), json(answer).await)
}

/// A token of the demo machine.
pub async fn machine_token(system: &System) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "orders:read"),
    ];
    let (status, body) = machine(system, &form).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    text(&body, "access_token")
}

/// The authorization request of the native app, with these changes.
pub fn authorization_request(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let challenge = challenge(VERIFIER);
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", "demo-native"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPE),
        ("state", "native-state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        parameters.retain(|(other, _)| other != name);
        if !value.is_empty() {
            parameters.push((name, value));
        }
    }
    parameters
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The URL with which the native app sends the user off.
pub fn authorization_url(system: &System, changes: &[(&str, &str)]) -> String {
    authorization_endpoint(system, &authorization_request(changes))
}

/// The URL with which a client sends the user off whose request was pushed.
pub fn pushed_url(system: &System, client: &str, pushed: &Value) -> String {
    let uri = text(pushed, "request_uri");
    authorization_endpoint(system, &[("client_id", client), ("request_uri", &uri)])
}

fn authorization_endpoint(
    system: &System,
    parameters: &[(impl AsRef<str>, impl AsRef<str>)],
) -> String {
    Url::parse_with_params(&system.at("/oauth/authorize"), parameters)
        .unwrap()
        .into()
}

/// Signs `user` in for the native app; the URL that the app gets.
pub async fn authorize(system: &System, user: &str) -> Url {
    let mut browser = Browser::default();
    let form = browser.open(&authorization_url(system, &[])).await;
    let asked = browser
        .submit(&form, &[("username", user), ("password", user)])
        .await;
    assert_eq!(asked.status, StatusCode::OK, "the confirmation page");
    let answered = browser.submit(&asked, &[("decision", "allow")]).await;
    answered.redirect().expect("a redirect to the app")
}

/// A code for the native app.
pub async fn code(system: &System, user: &str) -> String {
    parameter(&authorize(system, user).await, "code").expect("a code")
}

/// A code for the native app, whose user is sent off with `url`.
pub async fn code_at(url: &str, user: &str) -> String {
    let mut browser = Browser::default();
    let form = browser.open(url).await;
    let fields = [("username", user), ("password", user)];
    let asked = browser.submit(&form, &fields).await;
    let answered = browser.submit(&asked, &[("decision", "allow")]).await;
    let answer = answered.redirect().expect("a redirect to the app");
    parameter(&answer, "code").expect("a code")
}

/// What the native app posts to redeem a code.
pub fn redemption(code: &str) -> [(&'static str, &str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", "demo-native"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

/// What the native app posts to refresh.
pub fn refreshing(refresh_token: &str) -> [(&'static str, &str); 3] {
    [
        ("grant_type", "refresh_token"),
        ("client_id", "demo-native"),
        ("refresh_token", refresh_token),
    ]
}

/// Redeems a code as the native app does.
pub async fn redeem(system: &System, code: &str) -> (StatusCode, Value) {
    token(system, &redemption(code)).await
}

/// Refreshes as the native app does.
pub async fn refresh(system: &System, refresh_token: &str) -> (StatusCode, Value) {
    token(system, &refreshing(refresh_token)).await
}

/// Revokes a token as the native app does.
pub async fn revoke(system: &System, token: &str) -> StatusCode {
    let form = [("client_id", "demo-native"), ("token", token)];
    let request = client().post(system.at("/oauth/revoke")).form(&form);
    request.send().await.unwrap().status()
}

/// Access and refresh token of the native app for `user`.
pub async fn native_tokens(system: &System, user: &str) -> (String, String) {
    let (status, body) = redeem(system, &code(system, user).await).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    (text(&body, "access_token"), text(&body, "refresh_token"))
}

/// An ID token that the demo provider gives us for `user`, in a sign-in that we follow
/// in our own system's place.
pub async fn id_token(system: &System, user: &str) -> String {
    let provider = system.provider_url();
    let redirect_uri = system.config().callback_url();
    let parameters = [
        ("response_type", "code"),
        ("client_id", "cloakroom"),
        ("redirect_uri", &redirect_uri),
        ("scope", "openid profile email roles"),
        ("nonce", "n"),
        ("code_challenge", &challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
    ];
    let url = Url::parse_with_params(&format!("{provider}/authorize"), parameters).unwrap();
    let mut browser = Browser::default();
    let form = browser.open(url.as_str()).await;
    let fields = [("username", user), ("password", user)];
    let (_, headers, _) = browser.submit_once(&form, &fields).await;
    let callback = Url::parse(headers["location"].to_str().unwrap()).unwrap();
    let secret = &system.environment()["CLOAKROOM_DEMO_IDP_SECRET"];
    let request = client()
        .post(format!("{provider}/token"))
        .basic_auth("cloakroom", Some(secret))
        .form(&[
            ("grant_type", "authorization_code"),
            ("code", &parameter(&callback, "code").expect("a code")),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", VERIFIER),
        ]);
    text(&json(request.send().await.unwrap()).await, "id_token")
}

/// What an API says to a bearer of `token`.
pub async fn call(system: &System, path: &str, token: &str) -> (StatusCode, Value) {
    let request = client().get(system.at(path)).bearer_auth(token);
    let answer = request.send().await.unwrap();
    (answer.status(), json(answer).await)
}

/// A member of a JSON object, as text.
pub fn text(body: &Value, name: &str) -> String {
    body[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {body}"))
        .to_owned()
}

/// A parameter of a URL's query.
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.into_owned())
}

/// S256 (RFC 7636 §4.2).
pub fn challenge(verifier: &str) -> String {
    BASE64URL.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

async fn json(answer: reqwest::Response) -> Value {
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
