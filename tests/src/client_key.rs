//! Key pairs of clients that authenticate by `private_key_jwt` (RFC 7523).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair,
};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use std::fmt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A key pair of a client.
pub struct ClientKey {
    alg: &'static str,
    curve: &'static str,
    pair: EcdsaKeyPair,
    pem: String,
    /// The public half, as a key set of one.
    pub jwks: Value,
}

impl ClientKey {
    /// For ES256.
    pub fn p256() -> Self {
        Self::generate("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    /// For ES384.
    pub fn p384() -> Self {
        Self::generate("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn generate(
        alg: &'static str,
        curve: &'static str,
        algorithm: &'static EcdsaSigningAlgorithm,
    ) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let [x, y] = [x, y].map(|half| BASE64URL.encode(half));
        let body = STANDARD.encode(pkcs8.as_ref());
        let jwk = json!({"kty": "EC", "crv": curve, "x": x, "y": y, "alg": alg, "use": "sig"});
        Self {
            alg,
            curve,
            pair,
            pem: format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
            jwks: json!({"keys": [jwk]}),
        }
    }

    /// As the suites of other languages read it.
    pub fn description(&self) -> Value {
        json!({"alg": self.alg, "curve": self.curve, "pem": self.pem})
    }

    /// A JWS over these texts, whatever they say.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), input.as_bytes())
            .unwrap();
        format!("{input}.{}", BASE64URL.encode(signature.as_ref()))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.alg)
    }
}

/// Serves a client's keys; where, and as long as the task lives.
pub async fn publish(jwks: Value) -> (String, JoinHandle<()>) {
    publish_text(jwks.to_string()).await
}

/// Serves what may or may not be keys.
pub async fn publish_text(text: String) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let answer = async move || ([(CONTENT_TYPE, "application/json")], text);
    let router = Router::new().route("/jwks.json", get(answer));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (uri, serving)
}
