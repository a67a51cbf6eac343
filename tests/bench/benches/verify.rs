//! How many JWTs a service verifies per second: `cargo bench -p cloakroom-bench --bench verify`.
//! `verify.mjs` beside it asks the same of `jose` in Node.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot be set up is a failed bench"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_verify::Verifier;
use cloakroom_verify::jws::KeySet;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const ISSUER: &str = "https://app.example.com";

/// A JWT and the key set that verifies it.
fn signed(algorithm: &str) -> (String, Value) {
    let random = SystemRandom::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "the verifier reads the same clock"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let part = |value: Value| BASE64URL.encode(value.to_string());
    let input = format!(
        "{}.{}",
        part(json!({"alg": algorithm, "typ": "at+jwt", "kid": "bench"})),
        part(json!({
            "iss": ISSUER, "sub": "demo|alice", "aud": "orders", "client_id": "app",
            "exp": now + 600, "iat": now, "nbf": now, "jti": "a-jti-of-22-characters",
            "scope": "openid profile orders:read", "name": "Alice Example",
            "email": "alice@example.com", "roles": ["admin", "user"],
        }))
    );
    let b64 = |bytes: &[u8]| BASE64URL.encode(bytes);
    let (signature, mut key) = match algorithm {
        "ES256" => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let (x, y) = pair.public_key().as_ref().split_at(1).1.split_at(32);
            let key = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)});
            (
                pair.sign(&random, input.as_bytes())
                    .unwrap()
                    .as_ref()
                    .to_vec(),
                key,
            )
        }
        "EdDSA" => {
            let pair = Ed25519KeyPair::generate().unwrap();
            let key = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())});
            (pair.sign(input.as_bytes()).as_ref().to_vec(), key)
        }
        _ => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let padding = if algorithm == "PS256" {
                &RSA_PSS_SHA256
            } else {
                &RSA_PKCS1_SHA256
            };
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &random, input.as_bytes(), &mut signature)
                .unwrap();
            let public = pair.public_key();
            let key = json!({
                "kty": "RSA",
                "n": b64(public.modulus().big_endian_without_leading_zero()),
                "e": b64(public.exponent().big_endian_without_leading_zero()),
            });
            (signature, key)
        }
    };
    key["kid"] = json!("bench");
    key["alg"] = json!(algorithm);
    (
        format!("{input}.{}", b64(&signature)),
        json!({"keys": [key]}),
    )
}

fn verifications(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(1));
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let (jwt, keys) = signed(algorithm);
        let verifier = Verifier::builder(ISSUER, "orders")
            .key_set(KeySet::parse(keys.to_string().as_bytes()).unwrap())
            .build()
            .unwrap();
        group.bench_function(algorithm, |bencher| {
            bencher.iter(|| runtime.block_on(verifier.verify(&jwt)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, verifications);
criterion_main!(benches);
