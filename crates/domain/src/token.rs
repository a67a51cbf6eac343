//! The token: 76 characters that say nothing.
//!
//! ```text
//! cr_at_ <64 of base64url: 16-byte family id, 32-byte secret> <6 of base62: CRC-32>
//! ```
//!
//! The checksum is no protection; it lets typing errors and random junk be
//! refused before any I/O is paid for.

use crate::family::FamilyId;
use crate::ports::{Entropy, EntropyError};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// What a token is for. Part of the digest, so a token of one kind never passes
/// for another (D30).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TokenKind {
    /// For the API.
    #[serde(rename = "at")]
    Access,
    /// For the token endpoint.
    #[serde(rename = "rt")]
    Refresh,
    /// A browser session, carried by the cookie.
    #[serde(rename = "st")]
    Session,
    /// An authorization code.
    #[serde(rename = "ac")]
    Code,
    /// A one-use ticket for a WebSocket's `$connect`.
    #[serde(rename = "wt")]
    WebSocketTicket,
}

impl TokenKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Access,
        Self::Refresh,
        Self::Session,
        Self::Code,
        Self::WebSocketTicket,
    ];

    /// Marks our tokens for secret scanners. Changing one revokes every token.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Access => "cr_at_",
            Self::Refresh => "cr_rt_",
            Self::Session => "cr_st_",
            Self::Code => "cr_ac_",
            Self::WebSocketTicket => "cr_wt_",
        }
    }

    /// The two letters inside the prefix, as stored.
    pub const fn letters(self) -> &'static str {
        match self {
            Self::Access => "at",
            Self::Refresh => "rt",
            Self::Session => "st",
            Self::Code => "ac",
            Self::WebSocketTicket => "wt",
        }
    }
}

/// A token in the clear. Exists in memory and in one HTTP response.
pub struct OpaqueToken {
    kind: TokenKind,
    family: FamilyId,
    secret: Zeroizing<[u8; OpaqueToken::SECRET_LEN]>,
    text: Zeroizing<String>,
}

/// The text is not one of our tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed token")]
pub struct MalformedToken;

impl OpaqueToken {
    /// Length of every token of every kind, for ever.
    pub const LEN: usize = Self::PREFIX_LEN + Self::BODY_LEN + Self::CRC_LEN;
    const PREFIX_LEN: usize = 6;
    const BODY_LEN: usize = 64;
    const CRC_LEN: usize = 6;
    const SECRET_LEN: usize = 32;

    /// Makes a new token of a family.
    ///
    /// # Errors
    ///
    /// When there is no entropy.
    pub fn generate(
        kind: TokenKind,
        family: FamilyId,
        entropy: &impl Entropy,
    ) -> Result<Self, EntropyError> {
        let mut secret = Zeroizing::new([0; Self::SECRET_LEN]);
        entropy.fill(secret.as_mut_slice())?;
        Ok(Self::assemble(kind, family, secret))
    }

    /// Reads a token off the wire, refusing junk before any I/O (D28).
    ///
    /// # Errors
    ///
    /// [`MalformedToken`], whatever is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        if text.len() != Self::LEN || !text.is_ascii() {
            return Err(MalformedToken);
        }
        let (prefix, rest) = text
            .split_at_checked(Self::PREFIX_LEN)
            .ok_or(MalformedToken)?;
        let (body, crc) = rest
            .split_at_checked(Self::BODY_LEN)
            .ok_or(MalformedToken)?;
        let kind = TokenKind::ALL
            .into_iter()
            .find(|kind| kind.prefix() == prefix)
            .ok_or(MalformedToken)?;
        if crc.as_bytes() != checksum(prefix, body) {
            return Err(MalformedToken);
        }
        // 48 bytes are exactly 64 characters, so there is one encoding only.
        let mut bytes = Zeroizing::new([0; FamilyId::LEN + Self::SECRET_LEN]);
        let written = BASE64URL
            .decode_slice(body, bytes.as_mut_slice())
            .map_err(|_| MalformedToken)?;
        let (family, secret) = bytes.split_at(FamilyId::LEN);
        if written != bytes.len() {
            return Err(MalformedToken);
        }
        Ok(Self {
            kind,
            family: FamilyId(family.try_into().map_err(|_| MalformedToken)?),
            secret: Zeroizing::new(secret.try_into().map_err(|_| MalformedToken)?),
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// What it is for.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Where its record is.
    pub fn family(&self) -> FamilyId {
        self.family
    }

    /// The key under which the family knows it. A leaked table mints nothing.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(sha256(self.text.as_bytes()))
    }

    /// The token text, for the one response that hands it to the client.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The secret half, for key derivation alone.
    pub(crate) fn expose_secret(&self) -> &[u8; Self::SECRET_LEN] {
        &self.secret
    }

    fn assemble(
        kind: TokenKind,
        family: FamilyId,
        secret: Zeroizing<[u8; Self::SECRET_LEN]>,
    ) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FamilyId::LEN + Self::SECRET_LEN));
        bytes.extend_from_slice(&family.0);
        bytes.extend_from_slice(secret.as_slice());
        let body = Zeroizing::new(BASE64URL.encode(&*bytes));
        let mut text = Zeroizing::new(String::with_capacity(Self::LEN));
        text.push_str(kind.prefix());
        text.push_str(&body);
        text.extend(checksum(kind.prefix(), &body).map(char::from));
        Self {
            kind,
            family,
            secret,
            text,
        }
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken([redacted])")
    }
}

/// SHA-256 over a whole token text, kind included.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest(pub [u8; 32]);

impl TryFrom<String> for TokenDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_text(&text).ok_or("not the digest of a token")
    }
}

impl From<TokenDigest> for String {
    fn from(digest: TokenDigest) -> Self {
        digest.to_text()
    }
}

impl TokenDigest {
    /// As a map key in the store.
    pub fn to_text(self) -> String {
        BASE64URL.encode(self.0)
    }

    /// Reads what [`TokenDigest::to_text`] wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        BASE64URL.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Enough to correlate two log lines; of no use for anything else.
    pub fn short(self) -> String {
        self.to_text().chars().take(8).collect()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({})", self.short())
    }
}

/// Plain SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// CRC-32 (ISO-HDLC) of prefix and body, in six digits of base62.
fn checksum(prefix: &str, body: &str) -> [u8; OpaqueToken::CRC_LEN] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix.as_bytes());
    hasher.update(body.as_bytes());
    let mut rest = hasher.finalize();
    let mut digits = [b'0'; OpaqueToken::CRC_LEN];
    for digit in digits.iter_mut().rev() {
        // Below 62, so it fits.
        let value = u8::try_from(rest % 62).unwrap_or_default();
        rest /= 62;
        *digit = match value {
            0..=9 => b'0' + value,
            10..=35 => b'A' + (value - 10),
            _ => b'a' + (value - 36),
        };
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SequenceEntropy;
    use proptest::prelude::*;

    const FAMILY: FamilyId = FamilyId([7; 16]);

    fn token(kind: TokenKind) -> OpaqueToken {
        OpaqueToken::generate(kind, FAMILY, &SequenceEntropy::default()).unwrap()
    }

    #[test]
    fn every_kind_is_written_and_read_back() {
        for kind in TokenKind::ALL {
            let made = token(kind);
            assert_eq!(made.expose().len(), 76);
            let read = OpaqueToken::parse(made.expose()).unwrap();
            assert_eq!((read.kind(), read.family()), (kind, FAMILY));
            assert_eq!(read.digest(), made.digest());
            assert_eq!(read.expose_secret(), made.expose_secret());
        }
    }

    #[test]
    fn the_format_is_fixed_for_ever() {
        // Made once and kept: secret scanners and issued tokens depend on it.
        let text = "cr_at_BwcHBwcHBwcHBwcHBwcHBwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let secret = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let made = OpaqueToken::assemble(TokenKind::Access, FAMILY, Zeroizing::new(secret));
        assert_eq!(made.expose().get(..70), Some(text));
        let read = OpaqueToken::parse(made.expose()).unwrap();
        assert_eq!(read.expose_secret(), &secret);
    }

    #[test]
    fn one_changed_character_anywhere_is_refused() {
        let good = token(TokenKind::Access).expose().to_owned();
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(
                OpaqueToken::parse(&changed).unwrap_err(),
                MalformedToken,
                "{at}"
            );
        }
    }

    #[test]
    fn the_same_body_with_another_prefix_is_another_token() {
        let access = token(TokenKind::Access).expose().to_owned();
        let swapped = access.replace("cr_at_", "cr_st_");
        assert!(
            OpaqueToken::parse(&swapped).is_err(),
            "D30: the checksum covers the prefix"
        );
        assert_ne!(
            token(TokenKind::Access).digest(),
            token(TokenKind::Session).digest()
        );
    }

    #[test]
    fn junk_is_refused() {
        let good = token(TokenKind::Access).expose().to_owned();
        let cases = [
            String::new(),
            good[..75].to_owned(),
            format!("{good}0"),
            format!("{good}="),
            format!("{good}\n"),
            format!(" {good}"),
            good.to_uppercase(),
            good.replace("cr_at_", "cr_xx_"),
            format!("{}\u{fffd}", &good[..73]),
            "\u{ff43}".repeat(76),
            "a".repeat(10_000),
        ];
        for text in cases {
            assert_eq!(OpaqueToken::parse(&text).unwrap_err(), MalformedToken);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", token(TokenKind::Access)),
            "OpaqueToken([redacted])"
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,100}") {
            let _ = OpaqueToken::parse(&text);
        }
    }
}
