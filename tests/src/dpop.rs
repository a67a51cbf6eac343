//! Clients that hold a key (RFC 9449).

use crate::browser::client;
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::system::System;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Somebody with a P-256 key, who remembers the nonce that was given last.
#[derive(Debug)]
pub struct Holder {
    key: EcdsaKeyPair,
    jwk: Value,
    nonce: Mutex<Option<String>>,
    proofs: AtomicU64,
}

impl Default for Holder {
    fn default() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "x": BASE64URL.encode(x),
            "y": BASE64URL.encode(y),
        });
        Self {
            key,
            jwk,
            nonce: Mutex::default(),
            proofs: AtomicU64::new(0),
        }
    }
}

impl Holder {
    /// The key's name (RFC 7638).
    pub fn thumbprint(&self) -> String {
        // serde_json sorts by name.
        hash(&self.jwk.to_string())
    }

    /// A proof like a good one but for what `edit` does to its claims.
    pub fn proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        edit: impl FnOnce(&mut Value),
    ) -> String {
        let number = self.proofs.fetch_add(1, Ordering::SeqCst);
        let now = cloakroom_aws::world().clock.now();
        let mut claims = json!({
            "jti": format!("{}-{number}", self.thumbprint()),
            "htm": method,
            "htu": url,
            "iat": now,
        });
        if let Some(token) = token {
            claims["ath"] = json!(hash(token));
        }
        if let Some(nonce) = self.nonce.lock().unwrap().as_ref() {
            claims["nonce"] = json!(nonce);
        }
        edit(&mut claims);
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk});
        let signed = format!(
            "{}.{}",
            BASE64URL.encode(header.to_string()),
            BASE64URL.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    /// Takes the nonce that an answer brings.
    pub fn learn(&self, answer: &reqwest::Response) {
        if let Some(nonce) = answer.headers().get("dpop-nonce") {
            *self.nonce.lock().unwrap() = Some(nonce.to_str().unwrap().to_owned());
        }
    }

    /// Posts a form as a client does that plays by the rules: told to use a nonce, it
    /// tries again once.
    pub async fn post(
        &self,
        system: &System,
        path: &str,
        form: &[(&str, &str)],
        authenticate: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> (StatusCode, Value) {
        let url = system.at(path);
        for attempt in 0..2 {
            let proof = self.proof("POST", &url, None, |_| {});
            let request = client().post(&url).header("dpop", proof).form(form);
            let answer = authenticate(request).send().await.unwrap();
            self.learn(&answer);
            let status = answer.status();
            let body: Value = answer.json().await.unwrap();
            if attempt == 1 || body["error"] != "use_dpop_nonce" {
                return (status, body);
            }
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
        unreachable!("the second attempt has returned")
    }

    /// What the token endpoint says to a public client, or to one that names itself in
    /// the form.
    pub async fn token(&self, system: &System, form: &[(&str, &str)]) -> (StatusCode, Value) {
        self.post(system, "/oauth/token", form, |request| request)
            .await
    }

    /// What an API says to the holder of a bound token.
    pub async fn call(&self, system: &System, path: &str, token: &str) -> (StatusCode, Value) {
        let proof = self.proof("GET", &system.at(path), Some(token), |_| {});
        present(system, Method::GET, path, token, &proof).await
    }
}

/// What an API says to `Authorization: DPoP token` beside a proof.
pub async fn present(
    system: &System,
    method: Method,
    path: &str,
    token: &str,
    proof: &str,
) -> (StatusCode, Value) {
    let answer = client()
        .request(method, system.at(path))
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn hash(text: &str) -> String {
    BASE64URL.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
