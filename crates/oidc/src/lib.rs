//! The relying party: signs users in at the company's identity providers.
//!
//! Implements [`IdentityProviders`] over HTTPS. A provider is trusted to say who
//! a user is and nothing more: its documents are bounded, its URLs are held to its
//! own hosts, and its ID token is believed only after every check of
//! OpenID Connect Core §3.1.3.7.
//!
//! Start at [`Oidc`]; `fetch` is the guarded way out, `discovery` and `token` what
//! is asked for over it, `id_token` the judgement, `claims` what becomes of it.

mod claims;
mod client_auth;
mod client_keys;
mod discovery;
mod fault;
mod fetch;
mod id_token;
mod logout_token;
mod provider;
mod pushed;
mod subject_token;
#[cfg(test)]
mod testing;
mod token;
mod userinfo;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cloakroom_domain::config::{Config, IdentityProviderConfig};
use cloakroom_domain::ports::{
    AssertionClaims, AssertionFault, Authenticated, AuthorizationRequest, CallbackCode, Clock,
    IdentityProviders, IdpError, LogoutToken, Renewal, RenewalError, Renewed, VerifyAssertion,
    VerifyLogoutToken, VerifySubjectToken, Vouched,
};
use cloakroom_domain::time::UnixTime;
use zeroize::Zeroizing;

use crate::client_auth::ClientIdentity;
use crate::client_keys::ClientKeys;
use crate::provider::Provider;

pub use crate::client_auth::{ClientKey, Signing};

/// The identity providers of a configuration.
pub struct Oidc {
    providers: Vec<Provider>,
    clients: ClientKeys,
}

impl Oidc {
    /// Sets every provider up; connects to nothing yet.
    ///
    /// `secrets` are our client secrets, by the provider's id; `client_key` signs our
    /// assertions, where a provider takes those instead.
    ///
    /// # Errors
    ///
    /// When a provider's settings cannot work, or TLS cannot be set up.
    pub fn new(
        config: &Config,
        mut secrets: BTreeMap<String, Zeroizing<String>>,
        client_key: Option<&Arc<dyn ClientKey>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        Self::with(config, clock, |idp| {
            let missing = || SetupError::MissingSecret(idp.id.clone());
            let secret = if idp.client_authentication.needs_secret() {
                secrets.remove(&idp.id).ok_or_else(missing)?
            } else {
                Zeroizing::default()
            };
            ClientIdentity::new(idp, secret, client_key)
                .ok_or_else(|| SetupError::MissingClientKey(idp.id.clone()))
        })
    }

    /// Sets up what verifies the tokens of providers and clients and signs nobody in:
    /// for that no secret is needed.
    ///
    /// # Errors
    ///
    /// As [`Oidc::new`].
    pub fn verifying(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, SetupError> {
        Self::with(config, clock, |idp| Ok(ClientIdentity::silent(idp)))
    }

    fn with(
        config: &Config,
        clock: &Arc<dyn Clock>,
        mut identity: impl FnMut(&IdentityProviderConfig) -> Result<ClientIdentity, SetupError>,
    ) -> Result<Self, SetupError> {
        let loopback = config.is_loopback();
        let client = fetch::client(loopback).map_err(SetupError::Tls)?;
        let alone = config.identity_providers.len() == 1;
        let providers = config.identity_providers.iter().map(|idp| {
            let ours = identity(idp)?;
            Provider::new(idp, ours, alone, client.clone(), loopback, clock)
        });
        Ok(Self {
            providers: providers.collect::<Result<_, _>>()?,
            clients: ClientKeys::new(config, &client, clock)?,
        })
    }

    fn provider(&self, idp: &str) -> Result<&Provider, IdpError> {
        self.providers
            .iter()
            .find(|provider| provider.id() == idp)
            .ok_or(IdpError::Unknown)
    }
}

impl IdentityProviders for Oidc {
    async fn authorization_url(
        &self,
        idp: &str,
        request: &AuthorizationRequest<'_>,
    ) -> Result<String, IdpError> {
        Ok(self.provider(idp)?.authorization_url(request).await?)
    }

    async fn redeem(
        &self,
        idp: &str,
        callback: &CallbackCode<'_>,
    ) -> Result<Authenticated, IdpError> {
        Ok(self.provider(idp)?.redeem(callback).await?)
    }

    async fn check_issuer(&self, idp: &str, iss: Option<&str>) -> Result<(), IdpError> {
        Ok(self.provider(idp)?.check_issuer(iss).await?)
    }

    async fn logout_url(
        &self,
        idp: &str,
        id_token_hint: &str,
        post_logout_redirect_uri: &str,
    ) -> Result<Option<String>, IdpError> {
        let provider = self.provider(idp)?;
        Ok(provider
            .logout_url(id_token_hint, post_logout_redirect_uri)
            .await?)
    }

    async fn renew(&self, idp: &str, renewal: &Renewal<'_>) -> Result<Renewed, RenewalError> {
        let provider = self.provider(idp);
        let provider = provider.map_err(|_| RenewalError::Failed("it is not configured"))?;
        match provider.renew(renewal).await {
            Ok(Some(renewed)) => Ok(renewed),
            Ok(None) => Err(RenewalError::Over),
            Err(fault) => Err(RenewalError::Failed(fault.why())),
        }
    }

    async fn revoke(&self, idp: &str, refresh_token: &str) -> Result<(), IdpError> {
        Ok(self.provider(idp)?.revoke(refresh_token).await?)
    }
}

impl VerifyLogoutToken for Oidc {
    async fn verify_logout_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<LogoutToken, IdpError> {
        // Keys belong to an issuer: an unknown one costs no fetch (RFC 8725 §3.8).
        let issuer = logout_token::claimed_issuer(token)?;
        let of_issuer = |provider: &&Provider| provider.issuer() == issuer;
        let mut answer = Err(IdpError::Unknown);
        // We may be several clients there: the audience tells which is meant.
        for provider in self.providers.iter().filter(of_issuer) {
            match provider.verify_logout_token(token, now).await {
                Ok(token) => return Ok(token),
                Err(_) if matches!(answer, Err(IdpError::Unavailable(_))) => {}
                Err(fault) => answer = Err(fault.into()),
            }
        }
        answer
    }
}

impl VerifyAssertion for Oidc {
    async fn verify_assertion(&self, jwt: &str) -> Result<AssertionClaims, AssertionFault> {
        Ok(self.clients.verify(jwt).await?)
    }
}

impl VerifySubjectToken for Oidc {
    async fn verify_subject_token(
        &self,
        trusted: &[String],
        token: &str,
        now: UnixTime,
    ) -> Result<Vouched, IdpError> {
        let issuer = subject_token::claimed_issuer(token)?;
        let mut candidates = self.providers.iter().filter(|provider| {
            provider.issuer() == issuer && trusted.iter().any(|id| id == provider.id())
        });
        match (candidates.next(), candidates.next()) {
            (Some(provider), None) => Ok(provider.verify_subject_token(token, now).await?),
            (None, _) => Err(IdpError::Unknown),
            (Some(_), Some(_)) => Err(IdpError::Refused("several providers have this issuer")),
        }
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.providers.iter().map(Provider::id))
            .finish()
    }
}

/// Why the providers could not be set up. Names the provider and no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Nothing was resolved for its `client_secret`.
    #[error("identity provider {0}: there is no client secret")]
    MissingSecret(String),
    /// It takes assertions, and there is no key to sign them with.
    #[error("identity provider {0}: private_key_jwt needs CLOAKROOM_CLIENT_KEY")]
    MissingClientKey(String),
    /// The issuer is not a URL that may be fetched from.
    #[error("identity provider {0}: the issuer cannot be fetched from")]
    Issuer(String),
    /// An entry of `allowed_hosts` is not a host with or without port.
    #[error("identity provider {0}: allowed_hosts must be host or host:port")]
    AllowedHost(String),
    /// `id_token_algorithms` names one that there is not.
    #[error("identity provider {0}: id_token_algorithms names an unknown algorithm")]
    Algorithm(String),
    /// The keys of a client of ours cannot be read, or not be fetched from there.
    #[error("client {0}: jwks or jwks_uri cannot be used")]
    ClientKeys(String),
    /// No TLS client could be made.
    #[error("TLS could not be set up")]
    Tls(#[source] reqwest::Error),
}
