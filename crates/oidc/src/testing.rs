//! A provider that says whatever a test wants, with real keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_domain::config::Config;
use cloakroom_domain::ports::{
    Authenticated, CallbackCode, Clock, IdentityProviders, IdpError, SignError, Signer, SigningKey,
};
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::KeySet;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{ClientKey, Oidc};

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const SECRET: &str = "s3cret: +%é";
pub(crate) const CODE: &str = "the-code";
pub(crate) const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:6esc_11ACC";
const NONCE: &str = "the-nonce";
const ACCESS_TOKEN: &str = "upstream-access-token";

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

/// The provider. What it says can be changed between two requests.
pub(crate) struct TestIdp {
    pub(crate) issuer: String,
    shared: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    metadata: Value,
    keys: Value,
    tokens: Value,
    userinfo: Value,
    /// Answers that replace the above, by path.
    raw: HashMap<String, (u16, &'static str, Vec<u8>)>,
    seen: Vec<Seen>,
}

/// A request that the provider got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

impl TestIdp {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let script = Script {
            metadata: json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "end_session_endpoint": format!("{issuer}/logout"),
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
            keys: json!({"keys": [jwk("ES256"), jwk("RS256"), jwk("EdDSA")]}),
            userinfo: json!({"sub": "alice"}),
            ..Script::default()
        };
        let shared = Arc::new(Mutex::new(script));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let idp = Self { issuer, shared };
        idp.issue(json!({}), json!({}));
        idp
    }

    /// Members to replace in the metadata; `null` removes one.
    pub(crate) fn metadata(&self, members: Value) {
        merge(&mut self.script().metadata, members);
    }

    /// Members to replace in the token response; `null` removes one.
    pub(crate) fn tokens(&self, members: Value) {
        merge(&mut self.script().tokens, members);
    }

    pub(crate) fn publish(&self, keys: Value) {
        self.script().keys = keys;
    }

    /// An answer of any kind at a path.
    pub(crate) fn raw(&self, path: &str, status: u16, content_type: &'static str, body: &[u8]) {
        let answer = (status, content_type, body.to_vec());
        self.script().raw.insert(path.to_owned(), answer);
    }

    pub(crate) fn plain(&self, path: &str) {
        self.script().raw.remove(path);
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let all = self.script().seen.clone();
        all.into_iter().filter(|one| one.path == path).collect()
    }

    /// Puts a new ID token into the token response.
    pub(crate) fn issue(&self, header: Value, claims: Value) {
        let id_token = self.id_token(header, claims);
        self.script().tokens = json!({
            "token_type": "Bearer",
            "access_token": ACCESS_TOKEN,
            "id_token": id_token,
            "refresh_token": "upstream-refresh-token",
            "expires_in": 300,
        });
    }

    /// Members to replace in the UserInfo response; `null` removes one.
    pub(crate) fn userinfo(&self, members: Value) {
        merge(&mut self.script().userinfo, members);
    }

    /// A path of the provider's, announced under this name.
    pub(crate) fn announce(&self, name: &str, path: &str) {
        self.metadata(json!({name: format!("{}{path}", self.issuer)}));
    }

    pub(crate) fn id_token(&self, header: Value, claims: Value) -> String {
        let mut good = json!({
            "iss": self.issuer,
            "sub": "alice",
            "aud": "cloakroom",
            "exp": NOW.0 + 300,
            "iat": NOW.0,
            "nonce": NONCE,
            "name": "Alice Example",
            "email": "alice@example.com",
            "roles": ["admin", "user"],
        });
        merge(&mut good, claims);
        sign(header, &good)
    }

    pub(crate) fn logout_token(&self, header: Value, claims: Value) -> String {
        let mut good = json!({
            "iss": self.issuer,
            "sub": "alice",
            "sid": "session-1",
            "aud": "cloakroom",
            "exp": NOW.0 + 120,
            "iat": NOW.0,
            "jti": "logout-1",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        merge(&mut good, claims);
        let mut with_type = json!({"typ": "logout+jwt"});
        merge(&mut with_type, header);
        sign(with_type, &good)
    }

    pub(crate) fn config(&self, more: &str) -> Config {
        let text = format!(
            r#"
            config_version = 1
            issuer = "http://localhost:3000"
            [[identity_providers]]
            id = "demo"
            issuer = "{}"
            client_id = "cloakroom"
            client_secret = "env:IDP_SECRET"
            id_token_algorithms = ["RS256", "ES256", "EdDSA"]
            {more}
            "#,
            self.issuer
        );
        Config::parse(&text).unwrap()
    }

    pub(crate) fn relying_party(&self) -> (Oidc, TestClock) {
        relying_party(&self.config(""))
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.shared.lock().unwrap()
    }
}

pub(crate) fn relying_party(config: &Config) -> (Oidc, TestClock) {
    let clock = TestClock(Arc::new(AtomicU64::new(NOW.0)));
    let secrets = [("demo".to_owned(), Zeroizing::new(SECRET.to_owned()))];
    let port: Arc<dyn Clock> = Arc::new(clock.clone());
    let key: Arc<dyn ClientKey> = Arc::new(TestKey);
    let oidc = Oidc::new(config, secrets.into(), Some(&key), &port).unwrap();
    (oidc, clock)
}

pub(crate) fn callback(idp: &TestIdp) -> CallbackCode<'_> {
    CallbackCode {
        code: CODE,
        iss: Some(&idp.issuer),
        redirect_uri: "http://localhost:3000/auth/callback",
        code_verifier: "the-verifier",
        nonce: NONCE,
        max_age: None,
        acr_values: None,
        fresh_since: None,
        now: NOW,
    }
}

pub(crate) async fn sign_in(oidc: &Oidc, idp: &TestIdp) -> Result<Authenticated, IdpError> {
    oidc.redeem("demo", &callback(idp)).await
}

/// The text of a refusal; anything else is a failed test.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, IdpError>) -> &'static str {
    match result.unwrap_err() {
        IdpError::Refused(why) => why,
        other => panic!("{other}"),
    }
}

/// Our own key, which is no key of the provider's.
struct TestKey;

static CLIENT: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());

impl Signer for TestKey {
    async fn signing_key(&self, _: UnixTime) -> Result<SigningKey, SignError> {
        Ok(SigningKey {
            kid: "client-key".to_owned(),
            algorithm: cloakroom_domain::jwt::Algorithm::ES256,
        })
    }

    async fn sign(&self, _: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = CLIENT.sign(&SystemRandom::new(), input).unwrap();
        Ok(signature.as_ref().to_vec())
    }
}

/// The public half, as a key set.
pub(crate) fn client_keys() -> KeySet {
    let (x, y) = CLIENT.public_key().as_ref()[1..].split_at(32);
    let key = json!({
        "kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y),
        "kid": "client-key", "alg": "ES256", "use": "sig",
    });
    KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
}

/// A field of a form.
pub(crate) fn field(body: &str, name: &str) -> Option<String> {
    let mut found = form_urlencoded::parse(body.as_bytes()).filter(|(key, _)| key == name);
    let value = found.next().map(|(_, value)| value.into_owned());
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

/// A clock that a test turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Our public key for an algorithm, named after it.
pub(crate) fn jwk(alg: &str) -> Value {
    let mut key = match alg {
        "ES256" => {
            let (x, y) = P256.public_key().as_ref()[1..].split_at(32);
            json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)})
        }
        "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(ED25519.public_key())}),
        _ => json!({
            "kty": "RSA",
            "n": b64(RSA.public_key().modulus().big_endian_without_leading_zero()),
            "e": b64(RSA.public_key().exponent().big_endian_without_leading_zero()),
        }),
    };
    merge(&mut key, json!({"kid": alg, "alg": alg, "use": "sig"}));
    key
}

/// Signs with the key of the header's own algorithm, or with ES256's if it has none.
fn sign(header: Value, claims: &Value) -> String {
    let alg = header["alg"].as_str().unwrap_or("ES256").to_owned();
    let mut full = json!({"alg": alg, "kid": alg, "typ": "JWT"});
    merge(&mut full, header);
    let input = format!("{}.{}", b64(full.to_string()), b64(claims.to_string()));
    let rng = SystemRandom::new();
    let signature = match alg.as_str() {
        "RS256" => {
            let mut signature = vec![0; RSA.public_modulus_len()];
            RSA.sign(&RSA_PKCS1_SHA256, &rng, input.as_bytes(), &mut signature)
                .unwrap();
            signature
        }
        "EdDSA" => ED25519.sign(input.as_bytes()).as_ref().to_vec(),
        _ => P256.sign(&rng, input.as_bytes()).unwrap().as_ref().to_vec(),
    };
    format!("{input}.{}", b64(signature))
}

fn merge(base: &mut Value, members: Value) {
    let Value::Object(members) = members else {
        panic!("members are an object")
    };
    let object = base.as_object_mut().unwrap();
    for (name, value) in members {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
}

async fn answer(State(shared): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 64 * 1024)
        .await
        .unwrap();
    let mut script = shared.lock().unwrap();
    script.seen.push(Seen {
        path: path.clone(),
        authorization,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    if let Some((status, content_type, body)) = script.raw.get(&path).cloned() {
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let headers = [("content-type", content_type), ("location", "/elsewhere")];
        return (status, headers, body).into_response();
    }
    match path.as_str() {
        "/.well-known/openid-configuration" => axum::Json(script.metadata.clone()).into_response(),
        "/jwks" => axum::Json(script.keys.clone()).into_response(),
        "/token" => axum::Json(script.tokens.clone()).into_response(),
        "/userinfo" => axum::Json(script.userinfo.clone()).into_response(),
        "/par" => {
            let pushed = json!({"request_uri": REQUEST_URI, "expires_in": 60});
            (axum::http::StatusCode::CREATED, axum::Json(pushed)).into_response()
        }
        "/revoke" => ().into_response(),
        _ => axum::http::StatusCode::NOT_FOUND.into_response(),
    }
}
