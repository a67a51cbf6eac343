//! One provider: what is known of it, and what we do with it.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_domain::claims::Profile;
use cloakroom_domain::config::{CallbackUri, IdentityProviderConfig, PushedRequests};
use cloakroom_domain::ports::{
    Authenticated, AuthorizationRequest, CallbackCode, Clock, LogoutToken, Renewal, Renewed,
    Vouched,
};
use cloakroom_domain::time::UnixTime;
use cloakroom_verify::jws::{Algorithm, ClaimSet, Expected, Unverified, Verified};
use cloakroom_verify::{CachePolicy, FetchError, FetchJwks, JwksCache};
use reqwest::{Client, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::claims::{self, Said};
use crate::client_auth::{ClientIdentity, Credentials};
use crate::discovery::{Discovery, Metadata};
use crate::fault::Fault;
use crate::fetch::{Answer, Fetcher};
use crate::id_token::{self, Before, Demand};
use crate::token::{self, Refreshed, Tokens};
use crate::{SetupError, logout_token, pushed, subject_token, userinfo};

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
    /// Whether nothing but `iss` tells its answers from another provider's.
    needs_issuer: bool,
    algorithms: Vec<Algorithm>,
    fetcher: Arc<Fetcher>,
    discovery: Arc<Discovery>,
    keys: JwksCache<ProviderKeys>,
    clock: Arc<dyn Clock>,
}

/// A browser waits for all of it, however many requests it takes.
const BUDGET: Duration = Duration::from_secs(8);

async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout_at(deadline, work)
        .await
        .unwrap_or(Err(Fault::Unavailable("it did not answer in time")))
}

impl Provider {
    pub(crate) fn new(
        config: &IdentityProviderConfig,
        client: ClientIdentity,
        alone: bool,
        http: Client,
        loopback: bool,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let id = || config.id.clone();
        let issuer = Url::parse(&config.issuer).map_err(|_| SetupError::Issuer(id()))?;
        let fetcher = Fetcher::new(http, &issuer, &config.allowed_hosts, loopback)
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
            client,
            needs_issuer: !alone && config.callback != Some(CallbackUri::Own),
            config: config.clone(),
            algorithms,
            fetcher,
            discovery,
            keys,
            clock: Arc::clone(clock),
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
        in_time(Instant::now() + BUDGET, self.begin(request)).await
    }

    async fn begin(&self, request: &AuthorizationRequest<'_>) -> Result<String, Fault> {
        let metadata = self.discovery.metadata().await?;
        // RFC 9700 §4.4.2: before the user has gone anywhere.
        if self.needs_issuer && !metadata.sends_issuer {
            return Err(Fault::Refused(
                "it does not announce the iss parameter: with several providers it needs a callback of its own",
            ));
        }
        let scope = self.config.scopes.0.join(" ");
        let max_age = request.max_age.map(|seconds| seconds.to_string());
        let optional = [
            ("prompt", request.prompt_login.then_some("login")),
            ("max_age", max_age.as_deref()),
            ("acr_values", request.acr_values),
            ("login_hint", request.login_hint),
        ];
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", request.redirect_uri),
            ("scope", &scope),
            ("state", request.state),
            ("nonce", request.nonce),
            ("code_challenge", request.code_challenge),
            ("code_challenge_method", "S256"),
        ];
        params.extend(
            optional
                .iter()
                .filter_map(|(name, value)| Some((*name, (*value)?))),
        );
        let mut url = metadata.authorization_endpoint.clone();
        match self.push_endpoint(&metadata)? {
            None => url.query_pairs_mut().extend_pairs(&params).finish(),
            Some(endpoint) => {
                let uri = self.push(&metadata, endpoint, &params).await?;
                url.query_pairs_mut()
                    .append_pair("client_id", &self.config.client_id)
                    .append_pair("request_uri", &uri)
                    .finish()
            }
        };
        Ok(url.into())
    }

    /// Where the request is to be pushed, if it is (RFC 9126).
    fn push_endpoint<'a>(&self, metadata: &'a Metadata) -> Result<Option<&'a Url>, Fault> {
        let required = metadata.requires_pushed_requests;
        let wanted = required || self.config.par != PushedRequests::Never;
        let needed = required || self.config.par == PushedRequests::Always;
        match &metadata.pushed_request_endpoint {
            None if needed => Err(Fault::Refused("it has no endpoint for pushed requests")),
            endpoint => Ok(endpoint.as_ref().filter(|_| wanted)),
        }
    }

    async fn push(
        &self,
        metadata: &Metadata,
        endpoint: &Url,
        params: &[(&str, &str)],
    ) -> Result<String, Fault> {
        let credentials = self.credentials(metadata).await?;
        let form = self.client.form(params, &credentials);
        let answer = self
            .fetcher
            .post_form(endpoint, form, credentials.authorization)
            .await?;
        pushed::read(&answer)
    }

    /// Who we are, for one request.
    async fn credentials(&self, metadata: &Metadata) -> Result<Credentials, Fault> {
        self.client
            .prove(
                &self.config.issuer,
                &metadata.token_endpoint,
                self.clock.now(),
            )
            .await
    }

    pub(crate) async fn redeem(&self, callback: &CallbackCode<'_>) -> Result<Authenticated, Fault> {
        in_time(Instant::now() + BUDGET, self.end(callback)).await
    }

    async fn end(&self, callback: &CallbackCode<'_>) -> Result<Authenticated, Fault> {
        // D5: before the code, which may be another provider's, goes anywhere.
        self.check_issuer(callback.iss).await?;
        let metadata = self.discovery.metadata().await?;
        let answer = self
            .ask_for_tokens(&metadata, &token::code_request(callback))
            .await?;
        let tokens = Tokens::read(&answer)?;

        let expected = id_token::expected(&self.algorithms);
        let verified = self.verify(&tokens.id_token, &expected).await?;
        let demand = Demand {
            idp: &self.config,
            nonce: callback.nonce,
            access_token: &tokens.access_token,
            max_age: callback.max_age,
            acr_values: callback.acr_values,
            fresh_since: callback.fresh_since,
            now: callback.now,
        };
        // RFC 9700 §4.5.3.2: until then no token is used for anything.
        id_token::judge(&verified, &demand)?;
        let claims = &verified.claims;
        let userinfo = self
            .userinfo(
                &metadata,
                Said(&[claims]),
                &tokens.access_token,
                claims.string("sub")?,
            )
            .await?;
        Ok(Authenticated {
            claims: claims::map(claims, userinfo.as_ref(), &self.config, callback.now)?,
            id_token: tokens.id_token,
            refresh_token: tokens.refresh_token,
        })
    }

    async fn ask_for_tokens(
        &self,
        metadata: &Metadata,
        params: &[(&str, &str)],
    ) -> Result<Answer, Fault> {
        let credentials = self.credentials(metadata).await?;
        let form = self.client.form(params, &credentials);
        self.fetcher
            .post_form(&metadata.token_endpoint, form, credentials.authorization)
            .await
    }

    /// What UserInfo adds, if anything that is mapped was not said.
    async fn userinfo(
        &self,
        metadata: &Metadata,
        said: Said<'_>,
        access_token: &str,
        subject: &str,
    ) -> Result<Option<ClaimSet>, Fault> {
        match &metadata.userinfo_endpoint {
            Some(endpoint) if self.config.userinfo && said.lacks_any(&self.config.claims) => {
                userinfo::ask(&self.fetcher, endpoint, access_token, subject)
                    .await
                    .map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `None` if the provider says that what it granted is over.
    pub(crate) async fn renew(&self, renewal: &Renewal<'_>) -> Result<Option<Renewed>, Fault> {
        let deadline = Instant::now() + BUDGET;
        let before = Before::of(renewal.id_token)
            .ok_or(Fault::Refused("the sign-in's own token is not readable"))?;
        let refreshed = in_time(deadline, self.refresh(renewal.refresh_token)).await?;
        let Some(tokens) = refreshed else {
            return Ok(None);
        };
        // The old refresh token may be spent now: what fails from here on must not cost
        // the new one, unless it came with a token that is not to be believed.
        let judged = self.judge_again(&before, &tokens, renewal.now);
        let profile = match in_time(deadline, judged).await {
            Ok(verified) => {
                let profile = self.profile(&before, verified.as_ref(), &tokens.access_token);
                in_time(deadline, profile).await.map_err(Fault::why)
            }
            Err(Fault::Unavailable(why)) => Err(why),
            Err(refused @ Fault::Refused(_)) => return Err(refused),
        };
        Ok(Some(Renewed {
            profile,
            refresh_token: tokens.refresh_token,
        }))
    }

    async fn refresh(&self, refresh_token: &str) -> Result<Option<Refreshed>, Fault> {
        let metadata = self.discovery.metadata().await?;
        let params = token::refresh_request(refresh_token);
        let answer = self.ask_for_tokens(&metadata, &params).await?;
        Refreshed::read(&answer)
    }

    async fn judge_again(
        &self,
        before: &Before,
        tokens: &Refreshed,
        now: UnixTime,
    ) -> Result<Option<Verified>, Fault> {
        let Some(token) = &tokens.id_token else {
            return Ok(None);
        };
        let expected = id_token::expected(&self.algorithms);
        let verified = self.verify(token, &expected).await?;
        before.judge(&verified, &self.config, &tokens.access_token, now)?;
        Ok(Some(verified))
    }

    async fn profile(
        &self,
        before: &Before,
        verified: Option<&Verified>,
        access_token: &str,
    ) -> Result<Profile, Fault> {
        let metadata = self.discovery.metadata().await?;
        let mut said: Vec<_> = verified.iter().map(|token| &token.claims).collect();
        let userinfo = self
            .userinfo(&metadata, Said(&said), access_token, before.subject()?)
            .await?;
        said.extend(&userinfo);
        if said.is_empty() {
            return Err(Fault::Refused("it says nothing about the user any more"));
        }
        claims::profile(Said(&said), Some(before.claims()), &self.config)
    }

    /// RFC 7009 §2.1.
    pub(crate) async fn revoke(&self, refresh_token: &str) -> Result<(), Fault> {
        in_time(Instant::now() + BUDGET, self.give_back(refresh_token)).await
    }

    async fn give_back(&self, refresh_token: &str) -> Result<(), Fault> {
        let metadata = self.discovery.metadata().await?;
        let Some(endpoint) = &metadata.revocation_endpoint else {
            return Ok(());
        };
        let params = [
            ("token", refresh_token),
            ("token_type_hint", "refresh_token"),
        ];
        let credentials = self.credentials(&metadata).await?;
        let form = self.client.form(&params, &credentials);
        let status = self
            .fetcher
            .tell(endpoint, form, credentials.authorization)
            .await?;
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(Fault::Refused("it does not take the token back"))
        }
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
        subject_token::judge(&verified, &self.config, now)
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
mod renewal_tests;
#[cfg(test)]
mod tests;
