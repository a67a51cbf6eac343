//! The provider's signing key: RS256, made at start, gone at the end.

use aws_lc_rs::{
    digest::{self, SHA256},
    error::Unspecified,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cloakroom_jose::json;
use serde_json::{Value, json};

pub(super) struct SigningKey {
    pair: RsaKeyPair,
    jwk: Value,
    kid: String,
}

impl SigningKey {
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let (n, e) = modulus_and_exponent(pair.public_key().as_ref()).ok_or(Unspecified)?;
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        // RFC 7638 §3.1: the required members, in this order.
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&SHA256, thumbprint.as_bytes()));
        let jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e });
        Ok(Self { pair, jwk, kid })
    }

    pub(super) fn jwk(&self) -> &Value {
        &self.jwk
    }

    pub(super) fn sign(&self, claims: &Value) -> Result<String, Unspecified> {
        self.sign_as("JWT", claims)
    }

    pub(super) fn sign_as(&self, typ: &str, claims: &Value) -> Result<String, Unspecified> {
        let header = json!({ "alg": "RS256", "kid": self.kid, "typ": typ });
        let input = format!("{}.{}", segment(&header), segment(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            input.as_bytes(),
            &mut signature,
        )?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token of ours, expired or not: what an `id_token_hint` is
    /// (OpenID Connect RP-Initiated Logout 1.0 §2). The header is not read; there
    /// is one key and one algorithm.
    pub(super) fn verify(&self, token: &str) -> Option<Value> {
        let (input, signature) = token.rsplit_once('.')?;
        let (_, claims) = input.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key())
            .verify(input.as_bytes(), &signature)
            .ok()?;
        json::to_serde_json(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

fn segment(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Reads an RSAPublicKey (RFC 8017 §A.1.1): a sequence of two integers.
fn modulus_and_exponent(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = element(der, 0x30)?;
    let (n, rest) = element(sequence, 0x02)?;
    let (e, _) = element(rest, 0x02)?;
    Some((unsigned(n), unsigned(e)))
}

/// Takes one DER element with this tag off the front: its content, and the rest.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    let length = length.iter().try_fold(0_usize, |sum, byte| {
        sum.checked_mul(256)?.checked_add(usize::from(*byte))
    })?;
    rest.split_at_checked(length)
}

/// A DER integer whose top bit is set starts with a zero; a JWK has none.
fn unsigned(integer: &[u8]) -> &[u8] {
    match integer.split_first() {
        Some((0, rest)) if !rest.is_empty() => rest,
        _ => integer,
    }
}
