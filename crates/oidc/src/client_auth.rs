//! How we prove to a provider who we are (RFC 6749 §2.3, RFC 7523 §2.2).
//!
//! With `private_key_jwt` there is no secret that anybody could lose: a KMS key signs
//! a statement that is good for a minute, for one provider, once.

use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloakroom_domain::config::{AssertionAudience, ClientAuthentication, IdentityProviderConfig};
use cloakroom_domain::jwt::{Jwt, SigningInput};
use cloakroom_domain::ports::{SignError, Signer};
use cloakroom_domain::time::UnixTime;
use form_urlencoded::{Serializer, byte_serialize};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use crate::fault::Fault;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion lives: as long as a request can take, and some skew.
const ASSERTION_SECONDS: u64 = 60;

/// The key with which we sign our assertions; every [`Signer`] is one.
pub trait ClientKey: Send + Sync {
    /// Signs `claims` as a JWT of type `typ`, with the key that signs at `now`.
    fn sign<'a>(&'a self, typ: &'a str, claims: &'a Value, now: UnixTime) -> Signing<'a>;
}

/// A signature that is being made.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Jwt, SignError>> + Send + 'a>>;

impl<S: Signer> ClientKey for S {
    fn sign<'a>(&'a self, typ: &'a str, claims: &'a Value, now: UnixTime) -> Signing<'a> {
        Box::pin(async move {
            let key = self.signing_key(now).await?;
            let input = SigningInput::new(typ, &key.kid, key.algorithm, claims)
                .ok_or(SignError::Unacceptable("the claims fit no JWT"))?;
            let signature = Signer::sign(self, &key, input.as_bytes()).await?;
            Ok(input.into_jwt(&signature))
        })
    }
}

/// Who we are at a provider, and how we prove it.
pub(crate) struct ClientIdentity {
    pub(crate) id: String,
    proof: Proof,
}

enum Proof {
    None,
    Basic(Zeroizing<String>),
    Post(Zeroizing<String>),
    Assertion(Arc<dyn ClientKey>, AssertionAudience),
}

/// What a request carries to say who we are.
#[derive(Default)]
pub(crate) struct Credentials {
    pub(crate) authorization: Option<HeaderValue>,
    fields: Vec<(&'static str, Zeroizing<String>)>,
}

impl ClientIdentity {
    /// `None` if there is no key and one is needed. A secret that is missing proves
    /// nothing: those who only verify tokens have none.
    pub(crate) fn new(
        config: &IdentityProviderConfig,
        secret: Zeroizing<String>,
        key: Option<&Arc<dyn ClientKey>>,
    ) -> Option<Self> {
        let proof = match config.client_authentication {
            ClientAuthentication::ClientSecretBasic => Proof::Basic(secret),
            ClientAuthentication::ClientSecretPost => Proof::Post(secret),
            ClientAuthentication::PrivateKeyJwt => {
                Proof::Assertion(Arc::clone(key?), config.client_assertion_audience)
            }
            ClientAuthentication::None => Proof::None,
        };
        Some(Self {
            id: config.client_id.clone(),
            proof,
        })
    }

    /// A client that never asks for anything.
    pub(crate) fn silent(config: &IdentityProviderConfig) -> Self {
        Self {
            id: config.client_id.clone(),
            proof: Proof::None,
        }
    }

    /// Proves who we are, anew for every request.
    pub(crate) async fn prove(
        &self,
        issuer: &str,
        token_endpoint: &Url,
        now: UnixTime,
    ) -> Result<Credentials, Fault> {
        let mut credentials = Credentials::default();
        match &self.proof {
            Proof::None => {}
            Proof::Basic(secret) => credentials.authorization = Some(basic(&self.id, secret)?),
            Proof::Post(secret) => credentials.fields.push(("client_secret", secret.clone())),
            Proof::Assertion(key, audience) => {
                let (typ, audience) = match audience {
                    AssertionAudience::Issuer => ("client-authentication+jwt", issuer),
                    AssertionAudience::TokenEndpoint => ("JWT", token_endpoint.as_str()),
                };
                let claims = self.assertion(audience, now)?;
                let jwt = key.sign(typ, &claims, now).await?;
                credentials.fields.extend([
                    ("client_assertion_type", ASSERTION_TYPE.to_owned().into()),
                    ("client_assertion", jwt.expose().to_owned().into()),
                ]);
            }
        }
        Ok(credentials)
    }

    /// The claims of RFC 7523 §3.
    fn assertion(&self, audience: &str, now: UnixTime) -> Result<Value, Fault> {
        let mut jti = [0; 16];
        rand::fill(&mut jti).map_err(|_| Fault::Unavailable("there is no entropy"))?;
        Ok(json!({
            "iss": self.id,
            "sub": self.id,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(jti),
            "iat": now,
            "exp": now.plus(ASSERTION_SECONDS),
        }))
    }

    /// The form of a request with our credentials in it.
    pub(crate) fn form(&self, params: &[(&str, &str)], credentials: &Credentials) -> String {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(params);
        // Whoever is named in the header is not named again (RFC 6749 §2.3.1).
        let named = params.iter().any(|(name, _)| *name == "client_id");
        if credentials.authorization.is_none() && !named {
            form.append_pair("client_id", &self.id);
        }
        for (name, value) in &credentials.fields {
            form.append_pair(name, value);
        }
        form.finish()
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded first, so that a colon in one
/// cannot move the border between them.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, Fault> {
    let encoded = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let (id, secret) = (encoded(id), encoded(secret));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Fault::Unavailable("our client secret fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl From<SignError> for Fault {
    fn from(_: SignError) -> Self {
        Self::Unavailable("our client key cannot sign")
    }
}

#[cfg(test)]
mod tests;
