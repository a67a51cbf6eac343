//! One provider: what is known of it, and the four things we do with it.

use std::sync::Arc;

use cloakroom_domain::config::IdentityProviderConfig;
use cloakroom_domain::ports::{Authenticated, AuthorizationRequest, CallbackCode, Clock, Vouched};
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::{Algorithm, Expected, Unverified, Verified};
use cloakroom_verify::{CachePolicy, FetchError, FetchJwks, JwksCache};
use reqwest::Client;
use url::Url;
use zeroize::Zeroizing;

use crate::discovery::Discovery;
use crate::fault::Fault;
use crate::fetch::Fetcher;
use crate::id_token::{self, Demand};
use crate::logout_token::{self, LogoutToken};
use crate::subject_token;
use crate::token::{self, ClientIdentity};
use crate::{SetupError, claims};

/// Every algorithm there is, none of them symmetric. A provider's own list is applied
/// once we know whose token it is.
pub(crate) const ANY_ALGORITHM: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// One identity provider.
pub(crate) struct Provider {
    config: IdentityProviderConfig,
    client: ClientIdentity,
    algorithms: Vec<Algorithm>,
    fetcher: Arc<Fetcher>,
    discovery: Arc<Discovery>,
    keys: JwksCache<ProviderKeys>,
}

impl Provider {
    pub(crate) fn new(
        config: &IdentityProviderConfig,
        secret: Option<Zeroizing<String>>,
        client: Client,
        loopback: bool,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let id = || config.id.clone();
        let issuer = Url::parse(&config.issuer).map_err(|_| SetupError::Issuer(id()))?;
        let fetcher = Fetcher::new(client, &issuer, &config.allowed_hosts, loopback)
            .map_err(|_| SetupError::AllowedHost(id()))?;
        fetcher
            .permit(&config.issuer)
            .map_err(|_| SetupError::Issuer(id()))?;
        let algorithms = config
            .id_token_algorithms
            .iter()
            .map(|name| Algorithm::parse(name).ok_or_else(|| SetupError::Algorithm(id())))
            .collect::<Result<_, _>>()?;

        let fetcher = Arc::new(fetcher);
        let discovery = Arc::new(Discovery::new(
            Arc::clone(&fetcher),
            &config.issuer,
            config.require_pkce_metadata,
            Arc::clone(clock),
        ));
        let keys = JwksCache::with(
            ProviderKeys {
                fetcher: Arc::clone(&fetcher),
                discovery: Arc::clone(&discovery),
            },
            CachePolicy::default(),
            CacheClock(Arc::clone(clock)),
        );
        Ok(Self {
            client: ClientIdentity {
                id: config.client_id.clone(),
                secret: secret.unwrap_or_default(),
                method: config.client_authentication,
            },
            config: config.clone(),
            algorithms,
            fetcher,
            discovery,
            keys,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.config.id
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    pub(crate) async fn authorization_url(
        &self,
        request: &AuthorizationRequest<'_>,
    ) -> Result<String, Fault> {
        let metadata = self.discovery.metadata().await?;
        let mut url = metadata.authorization_endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &self.config.scopes.0.join(" "))
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.code_challenge)
            .append_pair("code_challenge_method", "S256");
        if request.prompt_login {
            query.append_pair("prompt", "login");
        }
        if let Some(max_age) = request.max_age {
            query.append_pair("max_age", &max_age.to_string());
        }
        if let Some(acr_values) = request.acr_values {
            query.append_pair("acr_values", acr_values);
        }
        drop(query);
        Ok(url.into())
    }

    pub(crate) async fn redeem(&self, callback: &CallbackCode<'_>) -> Result<Authenticated, Fault> {
        // D5: before the code, which may be another provider's, goes anywhere.
        self.check_issuer(callback.iss).await?;
        let metadata = self.discovery.metadata().await?;
        let tokens = token::redeem(
            &self.fetcher,
            &metadata.token_endpoint,
            &self.client,
            callback,
        )
        .await?;

        let expected = id_token::expected(&self.algorithms);
        let verified = self.verify(&tokens.id_token, &expected).await?;
        let demand = Demand {
            idp: &self.config,
            nonce: callback.nonce,
            access_token: &tokens.access_token,
            max_age: callback.max_age,
            acr_values: callback.acr_values,
            now: callback.now,
        };
        id_token::judge(&verified, &demand)?;
        Ok(Authenticated {
            claims: claims::map(verified.claims, &self.config, callback.now)?,
            id_token: tokens.id_token,
            refresh_token: tokens.refresh_token,
        })
    }

    /// RFC 9207 §2.4: present exactly when it is announced, and then ours.
    pub(crate) async fn check_issuer(&self, iss: Option<&str>) -> Result<(), Fault> {
        if iss.is_some_and(|iss| iss != self.config.issuer) {
            return Err(Fault::Refused("the answer is of another issuer"));
        }
        match (iss, self.discovery.metadata().await?.sends_issuer) {
            (Some(_), true) | (None, false) => Ok(()),
            (None, true) => Err(Fault::Refused("the answer does not name its issuer")),
            (Some(_), false) => Err(Fault::Refused("it does not announce the iss parameter")),
        }
    }

    pub(crate) async fn logout_url(
        &self,
        id_token_hint: &str,
        post_logout_redirect_uri: &str,
    ) -> Result<Option<String>, Fault> {
        let metadata = self.discovery.metadata().await?;
        Ok(metadata.end_session_endpoint.clone().map(|mut url| {
            url.query_pairs_mut()
                .append_pair("id_token_hint", id_token_hint)
                .append_pair("client_id", &self.config.client_id)
                .append_pair("post_logout_redirect_uri", post_logout_redirect_uri);
            url.into()
        }))
    }

    pub(crate) async fn verify_logout_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<LogoutToken, Fault> {
        let expected = logout_token::expected(&self.algorithms);
        let verified = self.verify(token, &expected).await?;
        logout_token::judge(&verified, &self.config, now)
    }

    pub(crate) async fn verify_subject_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<Vouched, Fault> {
        let expected = id_token::expected(&self.algorithms);
        let verified = self.verify(token, &expected).await?;
        subject_token::judge(verified, &self.config, now)
    }

    async fn verify(&self, token: &str, expected: &Expected<'_>) -> Result<Verified, Fault> {
        let unverified = Unverified::parse(token, expected)?;
        let keys = self
            .keys
            .keys_for(unverified.header().kid.as_deref())
            .await?;
        Ok(unverified.verify(&keys)?)
    }
}

/// Fetches the key set from where the metadata says it is.
struct ProviderKeys {
    fetcher: Arc<Fetcher>,
    discovery: Arc<Discovery>,
}

impl FetchJwks for ProviderKeys {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let document = async {
            let metadata = self.discovery.metadata().await?;
            self.fetcher.get(&metadata.jwks_uri).await
        };
        match document.await {
            Ok(document) => Ok(document.to_vec()),
            Err(Fault::Unavailable(why) | Fault::Refused(why)) => Err(FetchError::new(why)),
        }
    }
}

/// Our clock, for the cache of keys.
pub(crate) struct CacheClock(pub(crate) Arc<dyn Clock>);

impl cloakroom_verify::Clock for CacheClock {
    fn now(&self) -> u64 {
        self.0.now().0
    }
}

#[cfg(test)]
mod tests;
