//! Signs tokens for the tests, good ones and such as no decent library would make.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::Clock;
use crate::jws::{Algorithm, KeySet};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://auth.example.com";

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public half of the test key for an algorithm, without `kid` and `alg`.
pub(crate) fn jwk(alg: Algorithm) -> Value {
    let point = |key: &EcdsaKeyPair, curve: &str| {
        let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
        json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
    };
    match alg {
        Algorithm::ES256 => point(&P256, "P-256"),
        Algorithm::ES384 => point(&P384, "P-384"),
        Algorithm::EdDSA => {
            json!({"kty": "OKP", "crv": "Ed25519", "x": b64(ED25519.public_key())})
        }
        _ => {
            let key = RSA.public_key();
            json!({
                "kty": "RSA",
                "n": b64(key.modulus().big_endian_without_leading_zero()),
                "e": b64(key.exponent().big_endian_without_leading_zero()),
            })
        }
    }
}

/// `jwk` with members replaced.
pub(crate) fn jwk_with(alg: Algorithm, members: Value) -> Value {
    merge(jwk(alg), members)
}

/// A document with one key, named after its algorithm.
pub(crate) fn jwks(alg: Algorithm) -> Vec<u8> {
    let key = jwk_with(
        alg,
        json!({"kid": alg.name(), "alg": alg.name(), "use": "sig"}),
    );
    json!({"keys": [key]}).to_string().into_bytes()
}

pub(crate) fn key_set(alg: Algorithm) -> KeySet {
    KeySet::parse(&jwks(alg)).unwrap()
}

pub(crate) fn sign(alg: Algorithm, message: &[u8]) -> Vec<u8> {
    let rng = SystemRandom::new();
    let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match alg {
        Algorithm::RS256 => &RSA_PKCS1_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        Algorithm::ES256 => return P256.sign(&rng, message).unwrap().as_ref().to_vec(),
        Algorithm::ES384 => return P384.sign(&rng, message).unwrap().as_ref().to_vec(),
        Algorithm::EdDSA => return ED25519.sign(message).as_ref().to_vec(),
    };
    let mut signature = vec![0; RSA.public_modulus_len()];
    RSA.sign(padding, &rng, message, &mut signature).unwrap();
    signature
}

/// Signs header and claims as they stand, duplicates and all.
pub(crate) fn token_of_text(alg: Algorithm, header: &str, claims: &str) -> String {
    let input = format!("{}.{}", b64(header), b64(claims));
    let signature = b64(sign(alg, input.as_bytes()));
    format!("{input}.{signature}")
}

/// The header of a good token, with members replaced; `null` removes one.
pub(crate) fn header_with(alg: Algorithm, members: Value) -> Value {
    merge(
        json!({"typ": "at+jwt", "alg": alg.name(), "kid": alg.name()}),
        members,
    )
}

/// The claims of a good token, with members replaced; `null` removes one.
pub(crate) fn claims_with(members: Value) -> Value {
    let good = json!({
        "iss": ISSUER,
        "sub": "demo|alice",
        "aud": "orders",
        "client_id": "demo-web",
        "exp": NOW + 300,
        "iat": NOW,
        "nbf": NOW,
        "jti": "j1",
        "scope": "orders:read orders:write",
        "roles": ["admin", "user"],
        "name": "Alice Example",
        "email": "alice@example.com",
        "auth_time": NOW - 60,
        "acr": "2",
        "amr": ["pwd", "otp"],
        "sid": "s1",
    });
    merge(good, members)
}

pub(crate) fn token(alg: Algorithm, header: Value, claims: Value) -> String {
    let (header, claims) = (header_with(alg, header), claims_with(claims));
    token_of_text(alg, &header.to_string(), &claims.to_string())
}

fn merge(mut base: Value, members: Value) -> Value {
    let object = base.as_object_mut().unwrap();
    let Value::Object(members) = members else {
        panic!("members are an object")
    };
    for (name, value) in members {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
    base
}

/// A clock that a test turns.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(std::sync::Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn at(now: u64) -> Self {
        Self(std::sync::Arc::new(AtomicU64::new(now)))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
