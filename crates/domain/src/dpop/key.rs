//! The public key that a proof brings along.

use super::{Present, ProofFault, Thumbprint};
use crate::token::sha256;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;

/// The algorithms that proofs may be signed with, as the metadata names them. HMAC and
/// `none` have no variant, so nothing can allow them.
pub const ALGORITHMS: [&str; 5] = ["ES256", "Ed25519", "EdDSA", "PS256", "RS256"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    ES256,
    Ed25519,
    PS256,
    RS256,
}

impl Algorithm {
    /// Reads a registered name; letter case matters (RFC 7515 §4.1.1). `EdDSA` is the
    /// older name (RFC 9864).
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::ES256),
            "EdDSA" | "Ed25519" => Some(Self::Ed25519),
            "PS256" => Some(Self::PS256),
            "RS256" => Some(Self::RS256),
            _ => None,
        }
    }
}

/// A JWK as it came (RFC 7517). The members of private and of symmetric keys are there
/// to be refused.
#[derive(Deserialize)]
pub(super) struct Jwk {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    d: Present,
    #[serde(default)]
    p: Present,
    #[serde(default)]
    q: Present,
    #[serde(default)]
    dp: Present,
    #[serde(default)]
    dq: Present,
    #[serde(default)]
    qi: Present,
    #[serde(default)]
    oth: Present,
    #[serde(default)]
    k: Present,
}

impl Jwk {
    fn is_private(&self) -> bool {
        [
            self.d, self.p, self.q, self.dp, self.dq, self.qi, self.oth, self.k,
        ]
        .iter()
        .any(|member| member.0)
    }

    /// What the key says about itself must not be at odds with how it is used.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let named = |name: &str| Algorithm::parse(name) == Some(algorithm);
        self.alg.as_deref().is_none_or(named) && self.usage.as_deref().is_none_or(|u| u == "sig")
    }
}

/// A key, and the one algorithm that it is used with.
pub(super) struct PublicKey {
    algorithm: Algorithm,
    material: Material,
    canonical: String,
}

enum Material {
    /// The point, or the bytes of an Ed25519 key.
    Bytes(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl PublicKey {
    /// Reads the public key of a proof that is signed with `algorithm`.
    pub(super) fn read(jwk: &Jwk, algorithm: Algorithm) -> Result<Self, ProofFault> {
        if jwk.is_private() {
            return Err(ProofFault::Key);
        }
        if !jwk.is_for(algorithm) {
            return Err(ProofFault::Algorithm);
        }
        let read = match algorithm {
            Algorithm::ES256 => jwk.p256(),
            Algorithm::Ed25519 => jwk.ed25519(),
            Algorithm::PS256 | Algorithm::RS256 => jwk.rsa(),
        };
        let (material, canonical) = read.ok_or(ProofFault::Key)?;
        Ok(Self {
            algorithm,
            material,
            canonical,
        })
    }

    /// RFC 7638: of the required members alone, in order.
    pub(super) fn thumbprint(&self) -> Thumbprint {
        Thumbprint(BASE64URL.encode(sha256(self.canonical.as_bytes())))
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (&self.material, self.algorithm) {
            (Material::Rsa { n, e }, algorithm) => {
                let parameters = if algorithm == Algorithm::PS256 {
                    &RSA_PSS_2048_8192_SHA256
                } else {
                    &RSA_PKCS1_2048_8192_SHA256
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Material::Bytes(point), Algorithm::ES256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Material::Bytes(key), _) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

/// The text of every member is the base64url of its bytes, so it can stand in JSON as
/// it is.
impl Jwk {
    fn p256(&self) -> Option<(Material, String)> {
        let (x, y) = (coordinate(&self.x)?, coordinate(&self.y)?);
        let fits = self.kty == "EC" && self.crv == "P-256";
        // An uncompressed point; whether it is on the curve is seen when it is used.
        let point = [&[0x04][..], &x, &y].concat();
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            self.x, self.y
        );
        fits.then_some((Material::Bytes(point), canonical))
    }

    fn ed25519(&self) -> Option<(Material, String)> {
        let key = coordinate(&self.x)?;
        let fits = self.kty == "OKP" && self.crv == "Ed25519";
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x);
        fits.then_some((Material::Bytes(key), canonical))
    }

    fn rsa(&self) -> Option<(Material, String)> {
        let (n, e) = (number(&self.n)?, number(&self.e)?);
        let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, self.e, self.n);
        (self.kty == "RSA").then_some((Material::Rsa { n, e }, canonical))
    }
}

/// 32 bytes, in full (RFC 7518 §6.2.1.2).
fn coordinate(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok().filter(|b| b.len() == 32)
}

/// An unsigned number in as few bytes as it takes (RFC 7518 §6.3.1.1): with zeros in
/// front, one key would have many thumbprints.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64URL.decode(text).ok()?;
    bytes.first().is_some_and(|b| *b != 0).then_some(bytes)
}
