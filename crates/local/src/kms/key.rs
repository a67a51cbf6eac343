//! One key: its kind, and the cryptography that KMS offers with it.
//!
//! Knows nothing of names, states, files or the protocol.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest::{self, Digest, SHA256, SHA384, SHA512},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    hmac, rand,
    rsa::KeySize,
    signature::{
        self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RsaKeyPair, RsaParameters, RsaSignatureEncoding,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, Zeroizing};

use super::error::KmsError;

/// The length of HMAC_256 and SYMMETRIC_DEFAULT keys.
const SYMMETRIC_KEY_LEN: usize = 32;
const CIPHERTEXT_VERSION: u8 = 1;
/// The length of a key's id, a UUID in text.
const KEY_ID_LEN: usize = 36;
const NONCE_LEN: usize = 12;

/// Bytes that travel as base64 text. What they are is not known here, so they
/// are treated as secret: no `Debug`, and zeroed on drop.
#[derive(Clone)]
pub(super) struct Blob(Zeroizing<Vec<u8>>);

impl Blob {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = STANDARD
            .decode(text.as_bytes())
            .map_err(|_| de::Error::custom("not base64"))?;
        Ok(Self::new(bytes))
    }
}

/// The kinds of keys, as KMS names them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum KeySpec {
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    #[serde(rename = "RSA_4096")]
    Rsa4096,
    #[serde(rename = "ECC_NIST_P256")]
    EccNistP256,
    #[serde(rename = "ECC_NIST_EDWARDS25519")]
    EccEdwards25519,
    #[serde(rename = "HMAC_256")]
    Hmac256,
    #[serde(rename = "SYMMETRIC_DEFAULT")]
    SymmetricDefault,
}

impl KeySpec {
    /// The one usage that keys of this spec have here.
    pub(super) fn usual_usage(self) -> KeyUsage {
        match self {
            Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::EccNistP256
            | Self::EccEdwards25519 => KeyUsage::SignVerify,
            Self::Hmac256 => KeyUsage::GenerateVerifyMac,
            Self::SymmetricDefault => KeyUsage::EncryptDecrypt,
        }
    }

    pub(super) fn signing_algorithms(self) -> &'static [SigningAlgorithm] {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[
                SigningAlgorithm::Pkcs1Sha256,
                SigningAlgorithm::Pkcs1Sha384,
                SigningAlgorithm::Pkcs1Sha512,
                SigningAlgorithm::PssSha256,
                SigningAlgorithm::PssSha384,
                SigningAlgorithm::PssSha512,
            ],
            Self::EccNistP256 => &[SigningAlgorithm::EcdsaSha256],
            Self::EccEdwards25519 => &[SigningAlgorithm::Ed25519Sha512],
            Self::Hmac256 | Self::SymmetricDefault => &[],
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum KeyUsage {
    SignVerify,
    EncryptDecrypt,
    GenerateVerifyMac,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum SigningAlgorithm {
    #[serde(rename = "RSASSA_PKCS1_V1_5_SHA_256")]
    Pkcs1Sha256,
    #[serde(rename = "RSASSA_PKCS1_V1_5_SHA_384")]
    Pkcs1Sha384,
    #[serde(rename = "RSASSA_PKCS1_V1_5_SHA_512")]
    Pkcs1Sha512,
    #[serde(rename = "RSASSA_PSS_SHA_256")]
    PssSha256,
    #[serde(rename = "RSASSA_PSS_SHA_384")]
    PssSha384,
    #[serde(rename = "RSASSA_PSS_SHA_512")]
    PssSha512,
    #[serde(rename = "ECDSA_SHA_256")]
    EcdsaSha256,
    #[serde(rename = "ED25519_SHA_512")]
    Ed25519Sha512,
}

impl SigningAlgorithm {
    /// The hash whose length a DIGEST message must have. None for Ed25519, which
    /// needs the message itself.
    fn hash(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::Pkcs1Sha256 | Self::PssSha256 | Self::EcdsaSha256 => Some(&SHA256),
            Self::Pkcs1Sha384 | Self::PssSha384 => Some(&SHA384),
            Self::Pkcs1Sha512 | Self::PssSha512 => Some(&SHA512),
            Self::Ed25519Sha512 => None,
        }
    }

    fn rsa(self) -> Option<(&'static RsaSignatureEncoding, &'static RsaParameters)> {
        match self {
            Self::Pkcs1Sha256 => Some((
                &signature::RSA_PKCS1_SHA256,
                &signature::RSA_PKCS1_2048_8192_SHA256,
            )),
            Self::Pkcs1Sha384 => Some((
                &signature::RSA_PKCS1_SHA384,
                &signature::RSA_PKCS1_2048_8192_SHA384,
            )),
            Self::Pkcs1Sha512 => Some((
                &signature::RSA_PKCS1_SHA512,
                &signature::RSA_PKCS1_2048_8192_SHA512,
            )),
            Self::PssSha256 => Some((
                &signature::RSA_PSS_SHA256,
                &signature::RSA_PSS_2048_8192_SHA256,
            )),
            Self::PssSha384 => Some((
                &signature::RSA_PSS_SHA384,
                &signature::RSA_PSS_2048_8192_SHA384,
            )),
            Self::PssSha512 => Some((
                &signature::RSA_PSS_SHA512,
                &signature::RSA_PSS_2048_8192_SHA512,
            )),
            Self::EcdsaSha256 | Self::Ed25519Sha512 => None,
        }
    }
}

/// What is signed: the message, or the hash of one that stays with the caller.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    Raw(&'a [u8]),
    Digest(&'a [u8]),
}

impl<'a> Message<'a> {
    fn digest(self, algorithm: SigningAlgorithm) -> Result<Digest, KmsError> {
        let hash = algorithm.hash().ok_or(KmsError::InvalidKeyUsage)?;
        match self {
            Self::Raw(message) => Ok(digest::digest(hash, message)),
            Self::Digest(digest) => Digest::import_less_safe(digest, hash).map_err(|_| {
                KmsError::Validation("the digest does not have the length of the algorithm's hash")
            }),
        }
    }

    fn raw(self) -> Result<&'a [u8], KmsError> {
        match self {
            Self::Raw(message) => Ok(message),
            Self::Digest(_) => Err(KmsError::Validation("this algorithm signs RAW messages")),
        }
    }
}

/// A key that can be used, and the bytes it is stored as: PKCS#8 for pairs, the
/// key itself for the symmetric kinds.
pub(super) struct KeyMaterial {
    stored: Blob,
    kind: Kind,
}

enum Kind {
    Rsa(Box<RsaKeyPair>),
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(Box<hmac::Key>),
    Aes(RandomizedNonceKey),
}

impl KeyMaterial {
    pub(super) fn generate(spec: KeySpec) -> Result<Self, KmsError> {
        let stored = match spec {
            KeySpec::Rsa2048 => rsa_pkcs8(KeySize::Rsa2048)?,
            KeySpec::Rsa3072 => rsa_pkcs8(KeySize::Rsa3072)?,
            KeySpec::Rsa4096 => rsa_pkcs8(KeySize::Rsa4096)?,
            KeySpec::EccNistP256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
                pair.to_pkcs8v1()?.as_ref().to_vec()
            }
            KeySpec::EccEdwards25519 => {
                let pair = Ed25519KeyPair::generate()?;
                pair.to_pkcs8v1()?.as_ref().to_vec()
            }
            KeySpec::Hmac256 | KeySpec::SymmetricDefault => {
                let mut key = vec![0; SYMMETRIC_KEY_LEN];
                rand::fill(&mut key)?;
                key
            }
        };
        Self::import(spec, Blob::new(stored))
    }

    /// Takes a key up again from what [`stored`](Self::stored) gave.
    pub(super) fn import(spec: KeySpec, stored: Blob) -> Result<Self, KmsError> {
        let bytes = stored.expose();
        let kind = match spec {
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
                Kind::Rsa(Box::new(RsaKeyPair::from_pkcs8(bytes)?))
            }
            KeySpec::EccNistP256 => Kind::EcdsaP256(EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                bytes,
            )?),
            KeySpec::EccEdwards25519 => Kind::Ed25519(Ed25519KeyPair::from_pkcs8(bytes)?),
            KeySpec::Hmac256 if bytes.len() == SYMMETRIC_KEY_LEN => {
                Kind::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
            }
            KeySpec::Hmac256 => return Err(KmsError::Crypto),
            KeySpec::SymmetricDefault => Kind::Aes(RandomizedNonceKey::new(&AES_256_GCM, bytes)?),
        };
        Ok(Self { stored, kind })
    }

    /// What [`import`](Self::import) takes: the private half of a pair as PKCS#8.
    pub(super) fn stored(&self) -> &Blob {
        &self.stored
    }

    /// The public half as SubjectPublicKeyInfo, which is what KMS returns for
    /// every kind of pair.
    pub(super) fn public_key(&self) -> Result<Option<Vec<u8>>, KmsError> {
        let spki: PublicKeyX509Der<'_> = match &self.kind {
            Kind::Rsa(pair) => pair.public_key().as_der()?,
            Kind::EcdsaP256(pair) => pair.public_key().as_der()?,
            Kind::Ed25519(pair) => pair.public_key().as_der()?,
            Kind::Hmac(_) | Kind::Aes(_) => return Ok(None),
        };
        Ok(Some(spki.as_ref().to_vec()))
    }

    pub(super) fn sign(
        &self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
    ) -> Result<Vec<u8>, KmsError> {
        match (&self.kind, algorithm, algorithm.rsa()) {
            (Kind::Rsa(pair), _, Some((encoding, _))) => {
                let digest = message.digest(algorithm)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(encoding, &digest, &mut signature)?;
                Ok(signature)
            }
            (Kind::EcdsaP256(pair), SigningAlgorithm::EcdsaSha256, _) => {
                let signature = pair.sign_digest(&message.digest(algorithm)?)?;
                Ok(signature.as_ref().to_vec())
            }
            (Kind::Ed25519(pair), SigningAlgorithm::Ed25519Sha512, _) => {
                Ok(pair.try_sign(message.raw()?)?.as_ref().to_vec())
            }
            _ => Err(KmsError::InvalidKeyUsage),
        }
    }

    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), KmsError> {
        let verification: &'static dyn VerificationAlgorithm =
            match (&self.kind, algorithm, algorithm.rsa()) {
                (Kind::Rsa(_), _, Some((_, parameters))) => parameters,
                (Kind::EcdsaP256(_), SigningAlgorithm::EcdsaSha256, _) => &ECDSA_P256_SHA256_ASN1,
                (Kind::Ed25519(_), SigningAlgorithm::Ed25519Sha512, _) => &ED25519,
                _ => return Err(KmsError::InvalidKeyUsage),
            };
        let public = self.public_key()?.ok_or(KmsError::InvalidKeyUsage)?;
        let public = UnparsedPublicKey::new(verification, public);
        let verified = if algorithm.hash().is_some() {
            public.verify_digest(&message.digest(algorithm)?, signature)
        } else {
            public.verify(message.raw()?, signature)
        };
        verified.map_err(|_| KmsError::InvalidSignature)
    }

    pub(super) fn mac(&self, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        match &self.kind {
            Kind::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            _ => Err(KmsError::InvalidKeyUsage),
        }
    }

    pub(super) fn verify_mac(&self, message: &[u8], mac: &[u8]) -> Result<(), KmsError> {
        match &self.kind {
            Kind::Hmac(key) => hmac::verify(key, message, mac).map_err(|_| KmsError::InvalidMac),
            _ => Err(KmsError::InvalidKeyUsage),
        }
    }

    /// Encrypts: version, key id, nonce, AES-256-GCM ciphertext and tag. The
    /// first two and the context are authenticated.
    pub(super) fn seal(
        &self,
        key_id: &str,
        context: &BTreeMap<String, String>,
        plaintext: &Blob,
    ) -> Result<Vec<u8>, KmsError> {
        let Kind::Aes(key) = &self.kind else {
            return Err(KmsError::InvalidKeyUsage);
        };
        let mut in_out = plaintext.expose().to_vec();
        let nonce =
            key.seal_in_place_append_tag(Aad::from(associated(key_id, context)), &mut in_out)?;
        let mut sealed = vec![CIPHERTEXT_VERSION];
        sealed.extend_from_slice(key_id.as_bytes());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut in_out);
        Ok(sealed)
    }

    pub(super) fn open(
        &self,
        key_id: &str,
        context: &BTreeMap<String, String>,
        sealed: &Blob,
    ) -> Result<Blob, KmsError> {
        let Kind::Aes(key) = &self.kind else {
            return Err(KmsError::InvalidKeyUsage);
        };
        let (nonce, ciphertext) = sealed
            .expose()
            .get(1 + KEY_ID_LEN..)
            .and_then(|rest| rest.split_at_checked(NONCE_LEN))
            .ok_or(KmsError::InvalidCiphertext)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| KmsError::InvalidCiphertext)?;
        let mut in_out = Zeroizing::new(ciphertext.to_vec());
        let plaintext = key
            .open_in_place(nonce, Aad::from(associated(key_id, context)), &mut in_out)
            .map_err(|_| KmsError::InvalidCiphertext)?;
        let opened = Blob::new(plaintext.to_vec());
        plaintext.zeroize();
        Ok(opened)
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial([redacted])")
    }
}

/// The id of the key that a ciphertext says it was made with.
pub(super) fn sealed_by(sealed: &[u8]) -> Result<String, KmsError> {
    let (version, rest) = sealed.split_first().ok_or(KmsError::InvalidCiphertext)?;
    if *version != CIPHERTEXT_VERSION {
        return Err(KmsError::InvalidCiphertext);
    }
    let id = rest.get(..KEY_ID_LEN).ok_or(KmsError::InvalidCiphertext)?;
    match std::str::from_utf8(id) {
        Ok(id) => Ok(id.to_owned()),
        Err(_) => Err(KmsError::InvalidCiphertext),
    }
}

/// Every part with its length before it, so that no two contexts are the same
/// bytes; the map is sorted, so that the order of the JSON does not matter.
fn associated(key_id: &str, context: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = vec![CIPHERTEXT_VERSION];
    let parts = context.iter().flat_map(|(name, value)| [name, value]);
    for part in std::iter::once(key_id).chain(parts.map(String::as_str)) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn rsa_pkcs8(size: KeySize) -> Result<Vec<u8>, KmsError> {
    let pair = RsaKeyPair::generate(size)?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der()?;
    Ok(pkcs8.as_ref().to_vec())
}
