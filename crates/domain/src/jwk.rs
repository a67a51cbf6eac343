//! Public keys as JWKs (RFC 7517, RFC 7518, RFC 8037), from the
//! SubjectPublicKeyInfo that KMS hands out. There is no place here for a private
//! member.

use crate::jwt::Algorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Serialize;

/// A public key for signatures.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PublicJwk {
    #[serde(flatten)]
    key: Material,
    alg: &'static str,
    r#use: &'static str,
    kid: String,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kty")]
enum Material {
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
    #[serde(rename = "EC")]
    Ec {
        crv: &'static str,
        x: String,
        y: String,
    },
    #[serde(rename = "OKP")]
    Okp { crv: &'static str, x: String },
}

/// The bytes are not a public key that fits the algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a SubjectPublicKeyInfo that fits the algorithm")]
pub struct MalformedKey;

/// Everything before the point (RFC 5480): sequence, id-ecPublicKey, prime256v1,
/// bit string, uncompressed.
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Everything before the key (RFC 8410): sequence, id-Ed25519, bit string.
const ED25519_PREFIX: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// rsaEncryption with NULL parameters (RFC 8017 §A.1).
const RSA_ALGORITHM: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

impl PublicJwk {
    /// Reads the DER that KMS GetPublicKey returns.
    ///
    /// # Errors
    ///
    /// [`MalformedKey`] when it is no key, or one of another kind than `algorithm`
    /// needs: published as it is, it would make services refuse good tokens.
    pub fn from_spki(spki: &[u8], algorithm: Algorithm, kid: &str) -> Result<Self, MalformedKey> {
        let key = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => rsa(spki),
            Algorithm::ES256 => spki
                .strip_prefix(P256_PREFIX)
                .filter(|point| point.len() == 64)
                .and_then(|point| point.split_at_checked(32))
                .map(|(x, y)| Material::Ec {
                    crv: "P-256",
                    x: BASE64URL.encode(x),
                    y: BASE64URL.encode(y),
                }),
            Algorithm::EdDsa => spki
                .strip_prefix(ED25519_PREFIX)
                .filter(|x| x.len() == 32)
                .map(|x| Material::Okp {
                    crv: "Ed25519",
                    x: BASE64URL.encode(x),
                }),
        };
        Ok(Self {
            key: key.ok_or(MalformedKey)?,
            alg: algorithm.name(),
            r#use: "sig",
            kid: kid.into(),
        })
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// The uncompressed point of a key on P-256.
pub(crate) fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.get(P256_PREFIX.len() - 1..)?;
    (spki.starts_with(P256_PREFIX) && point.len() == 65).then_some(point)
}

fn rsa(spki: &[u8]) -> Option<Material> {
    let (outer, rest) = element(spki, 0x30)?;
    let bits = outer.strip_prefix(RSA_ALGORITHM)?;
    let (bits, after) = element(bits, 0x03)?;
    let (key, end) = element(bits.strip_prefix(&[0])?, 0x30)?;
    let (n, key) = element(key, 0x02)?;
    let (e, key) = element(key, 0x02)?;
    let over = [rest, after, end, key].iter().all(|tail| tail.is_empty());
    // JWA wants unsigned numbers without the sign byte (RFC 7518 §6.3.1.1).
    let (n, e) = (
        n.strip_prefix(&[0]).unwrap_or(n),
        e.strip_prefix(&[0]).unwrap_or(e),
    );
    (over && n.len() >= 256 && !e.is_empty()).then(|| Material::Rsa {
        n: BASE64URL.encode(n),
        e: BASE64URL.encode(e),
    })
}

/// Splits one DER element with this tag into its contents and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest
            .split_first()
            .map(|(&len, rest)| (usize::from(len), rest))?,
        0x82 => rest
            .split_first_chunk::<2>()
            .map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(len))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    };

    #[test]
    fn keys_of_each_kind_become_public_jwks() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa = rsa.public_key().as_der().unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ec = ec.public_key().as_der().unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let ed = ed.public_key().as_der().unwrap();
        let spkis = [rsa.as_ref(), ec.as_ref(), ed.as_ref()];
        let fits = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDsa];
        let members = [
            &["alg", "e", "kid", "kty", "n", "use"][..],
            &["alg", "crv", "kid", "kty", "use", "x", "y"],
            &["alg", "crv", "kid", "kty", "use", "x"],
        ];
        for (i, spki) in spkis.iter().enumerate() {
            for (j, algorithm) in fits.iter().enumerate() {
                let jwk = PublicJwk::from_spki(spki, *algorithm, "k");
                assert_eq!(jwk.is_ok(), i == j, "{algorithm:?}");
                if let Ok(jwk) = jwk {
                    let json = serde_json::to_value(jwk).unwrap();
                    let mut names: Vec<_> = json
                        .as_object()
                        .unwrap()
                        .keys()
                        .map(String::as_str)
                        .collect();
                    names.sort_unstable();
                    assert_eq!(names, members[i]);
                }
            }
            for len in 0..spki.len() {
                assert!(
                    PublicJwk::from_spki(&spki[..len], fits[i], "k").is_err(),
                    "{len}"
                );
            }
        }
    }

    #[test]
    fn an_rsa_key_keeps_its_numbers() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.public_key().as_der().unwrap();
        let json = serde_json::to_value(
            PublicJwk::from_spki(der.as_ref(), Algorithm::PS256, "k").unwrap(),
        )
        .unwrap();
        assert_eq!(json["e"], "AQAB");
        assert_eq!(
            BASE64URL.decode(json["n"].as_str().unwrap()).unwrap().len(),
            256
        );
    }
}
