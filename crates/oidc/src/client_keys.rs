//! The keys of our own clients, with which they sign their assertions (RFC 7523).
//!
//! A key set of the configuration is at hand; one behind a URL is fetched with the
//! same care as a provider's.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloakroom_domain::config::{ClientConfig, ClientProof, Config};
use cloakroom_domain::ports::{AssertionClaims, AssertionFault, Clock};
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::{Expected, KeySet, Unverified, Verified};
use cloakroom_verify::{CachePolicy, FetchError, FetchJwks, JwksCache};
use reqwest::Client;
use url::Url;

use crate::SetupError;
use crate::fault::Fault;
use crate::fetch::Fetcher;
use crate::provider::{ANY_ALGORITHM, CacheClock};

/// The type that rfc7523bis names; many clients write `JWT` or none at all.
const EXPECTED: Expected<'_> = Expected {
    types: &["client-authentication+jwt", "JWT"],
    untyped: true,
    algorithms: ANY_ALGORITHM,
    key_id_required: false,
};

/// The keys of every client that has some, by its id.
#[derive(Default)]
pub(crate) struct ClientKeys(BTreeMap<String, Source>);

/// Where a client's keys are.
enum Source {
    Here(KeySet),
    There(JwksCache<Remote>),
}

impl ClientKeys {
    pub(crate) fn new(
        config: &Config,
        client: &Client,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let loopback = config.is_loopback();
        let with_keys = config
            .clients
            .iter()
            .filter(|each| each.proof() == ClientProof::PrivateKeyJwt);
        with_keys
            .map(|each| {
                let source = Source::new(each, client, loopback, clock);
                let source = source.ok_or_else(|| SetupError::ClientKeys(each.id.clone()))?;
                Ok((each.id.clone(), source))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Verifies who signed; see
    /// [`VerifyAssertion`](cloakroom_domain::ports::VerifyAssertion).
    pub(crate) async fn verify(&self, jwt: &str) -> Result<AssertionClaims, Fault> {
        let assertion = Unverified::parse(jwt, &EXPECTED)?;
        // Keys belong to whom the assertion names: nobody else's are tried, and a
        // stranger costs no fetch (RFC 8725 §3.8).
        let claimed = assertion.claimed_issuer()?.unwrap_or_default();
        let source = self
            .0
            .get(claimed)
            .ok_or(Fault::Refused("the assertion is of no client with keys"))?;
        let verified = match source {
            Source::Here(keys) => assertion.verify(keys)?,
            Source::There(cache) => {
                let keys = cache.keys_for(assertion.header().kid.as_deref()).await?;
                assertion.verify(&keys)?
            }
        };
        read(&verified)
    }
}

impl Source {
    fn new(
        config: &ClientConfig,
        client: &Client,
        loopback: bool,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        if let Some(text) = &config.jwks {
            return KeySet::parse(text.as_bytes()).ok().map(Self::Here);
        }
        let text = config.jwks_uri.as_deref()?;
        let url = Url::parse(text).ok()?;
        let fetcher = Fetcher::new(client.clone(), &url, &[], loopback).ok()?;
        let url = fetcher.permit(text).ok()?;
        Some(Self::There(JwksCache::with(
            Remote { fetcher, url },
            CachePolicy::default(),
            CacheClock(Arc::clone(clock)),
        )))
    }
}

/// A key set behind a URL of the configuration.
struct Remote {
    fetcher: Fetcher,
    url: Url,
}

impl FetchJwks for Remote {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        match self.fetcher.get(&self.url).await {
            Ok(document) => Ok(document.to_vec()),
            Err(Fault::Unavailable(why) | Fault::Refused(why)) => Err(FetchError::new(why)),
        }
    }
}

/// A list as `aud` is not read, however short: rfc7523bis takes one string.
fn read(assertion: &Verified) -> Result<AssertionClaims, Fault> {
    let claims = &assertion.claims;
    let optional = |name| Ok::<_, Fault>(claims.optional_time(name)?.map(UnixTime));
    Ok(AssertionClaims {
        iss: claims.string("iss")?.into(),
        sub: claims.string("sub")?.into(),
        aud: claims.string("aud")?.into(),
        jti: claims.string("jti")?.into(),
        exp: UnixTime(claims.time("exp")?),
        iat: optional("iat")?,
        nbf: optional("nbf")?,
    })
}

impl From<Fault> for AssertionFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(why) => Self::Unavailable(why),
            Fault::Refused(why) => Self::Refused(why),
        }
    }
}

#[cfg(test)]
mod tests;
