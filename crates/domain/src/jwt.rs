//! The internal JWT (RFC 9068): what services see instead of the ticket.
//!
//! KMS signs asynchronously and `jsonwebtoken` does not, so the signing input is
//! made here and the signature is appended when it has come.

use crate::claims::{UserClaims, client_subject};
use crate::config::{AudienceConfig, ClaimName, Config};
use crate::delegation::Actor;
use crate::dpop::Confirmation;
use crate::grant::{Grant, TokenMeta};
use crate::time::UnixTime;
use crate::token::{TokenKind, sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_jose::json;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// JWS algorithms that a KMS key can make.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5. What RFC 9068 §2.1 requires everyone to support.
    RS256,
    /// RSA PSS.
    PS256,
    /// ECDSA on P-256.
    ES256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RS256, Self::PS256, Self::ES256, Self::EdDsa];

    /// The `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A signed JWT: base64url and dots, whoever made it. Clones are one text.
#[derive(Clone)]
pub struct Jwt(Arc<Zeroizing<String>>);

impl Jwt {
    /// The compact text, for the one header that hands it on.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The names of the three claims that take the most room in it, for whoever has to
    /// find out why an answer is too long.
    pub fn largest_claims(&self) -> LargestClaims {
        let payload = self.0.split('.').nth(1).unwrap_or_default();
        let claims = BASE64URL.decode(payload).map(Zeroizing::new);
        let claims = claims
            .ok()
            .and_then(|claims| json::to_serde_json(&claims).ok());
        let claims = claims.as_ref().and_then(serde_json::Value::as_object);
        let mut claims: Vec<_> = claims.into_iter().flatten().collect();
        claims.sort_by_key(|(_, value)| Reverse(value.to_string().len()));
        let mut names = claims.iter().map(|(name, _)| LargestClaims::word(name));
        LargestClaims([(); 3].map(|()| names.next().unwrap_or_default()))
    }

    /// Takes a text that was a JWT of ours when it was sealed.
    pub(crate) fn from_sealed(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let is_of_jwt = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        text.bytes().all(is_of_jwt).then(|| Self(Arc::new(text)))
    }
}

/// Names of claims, the largest first; never what they say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LargestClaims([&'static str; 3]);

impl LargestClaims {
    /// The names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.0.into_iter().filter(|name| !name.is_empty())
    }

    /// A word of ours for a name that an audience may have given.
    fn word(name: &str) -> &'static str {
        let told = ["name", "email", "roles"].into_iter();
        told.chain(RESERVED)
            .find(|known| *known == name)
            .unwrap_or("renamed")
    }
}

impl fmt::Display for LargestClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwt([redacted])")
    }
}

/// `base64url(header).base64url(claims)`, waiting for its signature.
pub struct SigningInput(Zeroizing<String>);

impl SigningInput {
    /// Assembles header and claims.
    ///
    /// `typ` tells kinds of JWT apart, so that none passes for another (RFC 8725
    /// §3.11).
    pub fn new(
        typ: &str,
        kid: &str,
        algorithm: Algorithm,
        claims: &impl Serialize,
    ) -> Option<Self> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'a str,
            typ: &'a str,
            kid: &'a str,
        }
        let header = serde_json::to_vec(&Header {
            alg: algorithm.name(),
            typ,
            kid,
        })
        .ok()?;
        let claims = Zeroizing::new(serde_json::to_vec(claims).ok()?);
        let mut text = Zeroizing::new(String::with_capacity(
            (header.len() + claims.len()) * 4 / 3 + 400,
        ));
        BASE64URL.encode_string(&header, &mut text);
        text.push('.');
        BASE64URL.encode_string(&*claims, &mut text);
        Some(Self(text))
    }

    /// What is to be signed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Appends the signature.
    pub fn into_jwt(self, signature: &[u8]) -> Jwt {
        let mut text = self.0;
        text.push('.');
        BASE64URL.encode_string(signature, &mut text);
        Jwt(Arc::new(text))
    }
}

impl fmt::Debug for SigningInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningInput([redacted])")
    }
}

/// Appends a signature to what it is over: a compact JWS.
pub fn append_signature(input: String, signature: &[u8]) -> String {
    let mut text = input;
    text.push('.');
    BASE64URL.encode_string(signature, &mut text);
    text
}

/// The claims of the internal JWT (RFC 9068 §2.2).
#[derive(Serialize)]
#[expect(
    missing_debug_implementations,
    reason = "these are the claims that must not be logged"
)]
pub struct AccessClaims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    client_id: &'a str,
    exp: UnixTime,
    iat: UnixTime,
    nbf: UnixTime,
    jti: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    user: Option<UserPart<'a>>,
}

#[derive(Serialize)]
struct UserPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'a [String],
    sid: &'a str,
    /// Beside the address, and only where the configuration hands on unverified ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    /// What the provider told, under the audience's own names.
    #[serde(flatten)]
    told: BTreeMap<&'a str, Told<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Text(&'a str),
    List(&'a [String]),
}

impl<'a> AccessClaims<'a> {
    /// What the services of `audience` may know about the holder of a token.
    pub fn new(
        config: &'a Config,
        audience: &'a AudienceConfig,
        grant: &'a Grant,
        meta: &'a TokenMeta,
        jti: &'a str,
        now: UnixTime,
    ) -> Self {
        Self {
            iss: &config.issuer,
            sub: subject(grant, meta),
            aud: &audience.id,
            client_id: meta.client_id(),
            exp: expiry(config, grant, meta, now),
            iat: now,
            nbf: now,
            jti,
            scope: meta.scope.to_string(),
            act: meta.delegation.act.as_ref(),
            cnf: meta.cnf.as_ref(),
            user: grant
                .user
                .as_ref()
                .map(|user| UserPart::new(audience, grant, user)),
        }
    }
}

impl<'a> UserPart<'a> {
    fn new(audience: &'a AudienceConfig, grant: &'a Grant, user: &'a UserClaims) -> Self {
        let told = [
            (ClaimName::Name, user.name.as_deref().map(Told::Text)),
            (ClaimName::Email, user.email.as_deref().map(Told::Text)),
            (ClaimName::Roles, Some(Told::List(&user.roles))),
        ];
        Self {
            auth_time: user.auth_time,
            acr: user.acr.as_deref(),
            amr: &user.amr,
            sid: &grant.sid,
            email_verified: user
                .email_verified
                .filter(|_| user.email.is_some() && audience.name_of(ClaimName::Email).is_some()),
            told: told
                .into_iter()
                .filter_map(|(claim, value)| Some((audience.name_of(claim)?, value?)))
                .collect(),
        }
    }
}

/// Claims whose names are taken: our own, and those that would mean something else to
/// whoever verifies the JWT.
pub const RESERVED: [&str; 23] = [
    "iss",
    "sub",
    "aud",
    "client_id",
    "exp",
    "iat",
    "nbf",
    "jti",
    "scope",
    "act",
    "may_act",
    "cnf",
    "auth_time",
    "acr",
    "amr",
    "sid",
    "azp",
    "nonce",
    "events",
    "typ",
    "token_introspection",
    "authorization_details",
    "email_verified",
];

/// The `sub` of whom the token is about: the user, or the machine that the grant is
/// of. Another client that has exchanged the token is not the subject.
pub fn subject(grant: &Grant, meta: &TokenMeta) -> String {
    let client = || grant.client.as_deref().unwrap_or(meta.client_id());
    grant
        .user
        .as_ref()
        .map_or_else(|| client_subject(client()), |user| user.sub.clone())
}

/// A JWT never outlives its token's grant (invariant 4).
pub fn expiry(config: &Config, grant: &Grant, meta: &TokenMeta, now: UnixTime) -> UnixTime {
    now.plus(config.jwt.lifetime)
        .min(limit(config, grant, meta))
}

/// When every JWT for a token is over. A ticket stands for the session that it was
/// given to: it ends within seconds, the connection that it opens does not.
pub fn limit(config: &Config, grant: &Grant, meta: &TokenMeta) -> UnixTime {
    match meta.kind {
        TokenKind::WebSocketTicket => grant.ends_at(config),
        TokenKind::Access | TokenKind::Refresh | TokenKind::Session | TokenKind::Code => {
            meta.expires_at.min(grant.ends_at(config))
        }
    }
}

/// Names all that decides what an audience's JWT looks like, so that a stored JWT
/// is not handed out any more when that has changed.
pub fn fingerprint(config: &Config, audience: &AudienceConfig) -> String {
    // The structs hold no map with a random order, so the text is stable.
    let text = serde_json::to_vec(&(&config.issuer, &config.jwt, audience)).unwrap_or_default();
    BASE64URL.encode(sha256(&text).get(..12).unwrap_or_default())
}

/// The `kid` of a KMS key: names the key without naming the account, is known
/// before the first call, and is the same for the replicas of a multi-Region key.
pub fn kms_key_id(arn: &str) -> String {
    let id = arn.rsplit('/').next().unwrap_or(arn);
    BASE64URL.encode(
        sha256(format!("cloakroom/kid/v1/{id}").as_bytes())
            .get(..16)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_input_is_two_parts_and_the_jwt_three() {
        let input = SigningInput::new(
            "at+jwt",
            "k1",
            Algorithm::ES256,
            &serde_json::json!({"a": 1}),
        )
        .unwrap();
        assert_eq!(
            std::str::from_utf8(input.as_bytes()).unwrap(),
            "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsxIn0.eyJhIjoxfQ"
        );
        assert!(
            input
                .into_jwt(b"sig")
                .expose()
                .ends_with(".eyJhIjoxfQ.c2ln")
        );
    }

    #[test]
    fn the_largest_claims_are_named_and_not_told() {
        let named = |claims: serde_json::Value| {
            let input = SigningInput::new("at+jwt", "k", Algorithm::RS256, &claims).unwrap();
            input.into_jwt(b"s").largest_claims().to_string()
        };
        let text = |size| "x".repeat(size);
        let claims = |largest: &str, second: &str| {
            named(
                serde_json::json!({largest: text(50), second: text(40), "sub": text(30), "jti": "x"}),
            )
        };
        assert_eq!(claims("scope", "roles"), "scope, roles, sub");
        assert_eq!(claims("roles", "scope"), "roles, scope, sub");
        assert_eq!(claims("canary", "email"), "renamed, email, sub");
        assert_eq!(named(serde_json::json!({"aud": text(9)})), "aud");
        let none = Jwt::from_sealed("x".into()).unwrap().largest_claims();
        assert_eq!(none.names().count(), 0);
    }

    #[test]
    fn d38_what_was_sealed_is_a_jwt_or_nothing() {
        assert!(Jwt::from_sealed("eyJ9.e-_0.c2ln".into()).is_some());
        for odd in ["a b", "a\"", "a\\", "a\r\nb", "a=", "é"] {
            assert!(Jwt::from_sealed(odd.into()).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_kid_names_the_key_and_not_the_account() {
        let kid = kms_key_id("arn:aws:kms:eu-west-1:111122223333:key/mrk-1");
        assert_eq!(
            kid,
            kms_key_id("arn:aws:kms:us-east-1:444455556666:key/mrk-1")
        );
        assert_ne!(
            kid,
            kms_key_id("arn:aws:kms:eu-west-1:111122223333:key/mrk-2")
        );
    }
}
