//! Verifies the internal JWT (RFC 9068 §4): is it ours, for us, now?

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::cache::{FetchJwks, JwksCache, KeysUnavailable};
use crate::claims::Claims;
use crate::clock::{Clock, SystemClock};
use crate::error::VerifyError;
use crate::jws::{Algorithm, Expected, JwsError, KeySet, TimeRules, Unverified};

/// No other kind of JWT may pass for an access token (RFC 9068 §4).
const TYPES: &[&str] = &["at+jwt"];

/// What Cloakroom can be configured to sign with.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// Verifies tokens of one issuer for one audience. Clones share the key cache.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    leeway: u64,
    max_lifetime: u64,
    keys: Box<dyn Keys>,
    clock: Box<dyn Clock>,
}

impl Verifier {
    /// Starts a verifier for tokens that `issuer` made for `audience`, this service.
    ///
    /// Both are compared exactly: an issuer with a trailing slash is another one.
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithms: ALGORITHMS.to_vec(),
            leeway: 60,
            max_lifetime: 60 * 60,
            keys: None,
            clock: Box::new(SystemClock),
        }
    }

    /// Verifies a bare token.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Invalid`] if the token is not good, and
    /// [`VerifyError::Unavailable`] if that cannot be told for want of keys.
    pub async fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let Inner {
            issuer,
            audience,
            algorithms,
            leeway,
            max_lifetime,
            keys,
            clock,
        } = &*self.inner;
        let expected = Expected {
            types: TYPES,
            untyped: false,
            algorithms,
            key_id_required: true,
        };
        let token = Unverified::parse(token, &expected)?;
        // RFC 8725 §3.8: before any key is looked up, let alone fetched.
        if token.claimed_issuer()? != Some(issuer) {
            return Err(JwsError::Claim("iss").into());
        }
        let keys = keys.keys_for(token.header().kid.as_deref()).await?;
        let verified = token.verify(&keys)?;
        verified.claims.check_times(TimeRules {
            now: clock.now(),
            leeway: *leeway,
            max_lifetime: *max_lifetime,
        })?;
        // We always set it; a token without it is none of ours (ASVS 9.2.1).
        verified.claims.time("nbf")?;
        let claims = Claims::read(verified)?;
        if claims.aud != *audience {
            return Err(JwsError::Claim("aud").into());
        }
        Ok(claims)
    }

    /// Verifies the value of an `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`VerifyError::MalformedCredentials`] if it is not `Bearer`, one space and
    /// a token (RFC 6750 §2.1), else as [`Verifier::verify`].
    pub async fn verify_authorization_header(&self, value: &str) -> Result<Claims, VerifyError> {
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => {
                self.verify(token).await
            }
            _ => Err(VerifyError::MalformedCredentials),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.inner.issuer)
            .field("audience", &self.inner.audience)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Verifier`].
pub struct VerifierBuilder {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    leeway: u64,
    max_lifetime: u64,
    keys: Option<Result<Box<dyn Keys>, BuildError>>,
    clock: Box<dyn Clock>,
}

impl VerifierBuilder {
    /// Takes the keys from a URL, cached.
    #[cfg(feature = "fetch")]
    #[must_use]
    pub fn jwks_url(mut self, url: &str) -> Self {
        let fetch = crate::fetch::HttpFetch::new(url).map_err(BuildError::Url);
        self.keys = Some(fetch.map(|fetch| Box::new(JwksCache::new(fetch)) as Box<dyn Keys>));
        self
    }

    /// Takes the keys from a cache with a fetcher or times of one's own.
    #[must_use]
    pub fn jwks_cache<F: FetchJwks>(mut self, cache: JwksCache<F>) -> Self {
        self.keys = Some(Ok(Box::new(cache)));
        self
    }

    /// Takes these keys, for ever: for the tests of a service, which sign with a
    /// key of their own, and for programs without a network.
    ///
    /// ```
    /// use cloakroom_verify::{Verifier, jws::KeySet};
    ///
    /// # fn verifier() -> Result<Verifier, Box<dyn std::error::Error>> {
    /// let public = br#"{"keys": [{
    ///     "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "test",
    ///     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    /// }]}"#;
    /// let verifier = Verifier::builder("https://auth.example.com", "orders")
    ///     .key_set(KeySet::parse(public)?)
    ///     .build()?;
    /// # Ok(verifier)
    /// # }
    /// # verifier().unwrap();
    /// ```
    #[must_use]
    pub fn key_set(mut self, keys: KeySet) -> Self {
        self.keys = Some(Ok(Box::new(Arc::new(keys))));
        self
    }

    /// Takes only these algorithms (default: RS256, PS256, ES256, EdDSA).
    #[must_use]
    pub fn algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        self.algorithms = algorithms.to_vec();
        self
    }

    /// How far the clocks may be apart, in seconds (default 60, at most 300).
    #[must_use]
    pub fn leeway(mut self, seconds: u64) -> Self {
        self.leeway = seconds;
        self
    }

    /// The longest life of a token, in seconds (default: one hour).
    #[must_use]
    pub fn max_lifetime(mut self, seconds: u64) -> Self {
        self.max_lifetime = seconds;
        self
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Makes the verifier; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If issuer or audience is empty, there are no keys or no algorithms, the key
    /// set's URL is refused, or the leeway is over five minutes.
    pub fn build(self) -> Result<Verifier, BuildError> {
        let Self {
            issuer,
            audience,
            algorithms,
            leeway,
            max_lifetime,
            keys,
            clock,
        } = self;
        if issuer.is_empty() || audience.is_empty() {
            return Err(BuildError::Unnamed);
        }
        if algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        if leeway > 300 {
            return Err(BuildError::Leeway);
        }
        let keys = keys.ok_or(BuildError::NoKeys)??;
        let inner = Inner {
            issuer,
            audience,
            algorithms,
            leeway,
            max_lifetime,
            keys,
            clock,
        };
        Ok(Verifier {
            inner: Arc::new(inner),
        })
    }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Why no verifier could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Empty names match empty claims.
    #[error("issuer or audience is empty")]
    Unnamed,
    /// None of `jwks_url`, `jwks_cache` and `key_set` was called.
    #[error("there is no key set")]
    NoKeys,
    /// An empty list takes no token.
    #[error("there is no algorithm")]
    NoAlgorithm,
    /// Over five minutes, an expiry means nothing.
    #[error("the leeway is over 300 seconds")]
    Leeway,
    /// The key set's URL.
    #[cfg(feature = "fetch")]
    #[error(transparent)]
    Url(crate::fetch::UrlRefused),
}

/// Where keys come from, with the fetcher's type forgotten.
trait Keys: Send + Sync {
    fn keys_for<'a>(&'a self, kid: Option<&'a str>) -> KeysFuture<'a>;
}

type KeysFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<KeySet>, KeysUnavailable>> + Send + 'a>>;

impl<F: FetchJwks> Keys for JwksCache<F> {
    fn keys_for<'a>(&'a self, kid: Option<&'a str>) -> KeysFuture<'a> {
        Box::pin(JwksCache::keys_for(self, kid))
    }
}

impl Keys for Arc<KeySet> {
    fn keys_for<'a>(&'a self, _: Option<&'a str>) -> KeysFuture<'a> {
        Box::pin(std::future::ready(Ok(Arc::clone(self))))
    }
}

#[cfg(test)]
mod tests;
