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
mod discovery;
mod fault;
mod fetch;
mod id_token;
mod logout_token;
mod provider;
#[cfg(test)]
mod testing;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cloakroom_domain::config::{ClientAuthentication, Config};
use cloakroom_domain::ports::{
    Authenticated, AuthorizationRequest, CallbackCode, Clock, IdentityProviders, IdpError,
};
use cloakroom_domain::time::UnixTime;
use zeroize::Zeroizing;

use crate::provider::Provider;

pub use crate::logout_token::LogoutToken;

/// The identity providers of a configuration.
pub struct Oidc {
    providers: Vec<Provider>,
}

impl Oidc {
    /// Sets every provider up; connects to nothing yet.
    ///
    /// `secrets` are our client secrets, by the provider's id.
    ///
    /// # Errors
    ///
    /// When a provider's settings cannot work, or TLS cannot be set up.
    pub fn new(
        config: &Config,
        mut secrets: BTreeMap<String, Zeroizing<String>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let loopback = config.is_loopback();
        let client = fetch::client(loopback).map_err(SetupError::Tls)?;
        let providers = config.identity_providers.iter().map(|idp| {
            let secret = secrets.remove(&idp.id);
            if idp.client_authentication != ClientAuthentication::None && secret.is_none() {
                return Err(SetupError::MissingSecret(idp.id.clone()));
            }
            Provider::new(idp, secret, client.clone(), loopback, clock)
        });
        Ok(Self {
            providers: providers.collect::<Result<_, _>>()?,
        })
    }

    /// Verifies the logout token of OpenID Connect Back-Channel Logout 1.0 §2.6,
    /// from whichever provider it is.
    ///
    /// Whether its `jti` was seen before is the caller's to find out.
    ///
    /// # Errors
    ///
    /// [`IdpError::Refused`] when anything at all is wrong with it.
    pub async fn verify_logout_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<LogoutToken, IdpError> {
        // Keys belong to an issuer: an unknown one costs no fetch (RFC 8725 §3.8).
        let issuer = logout_token::claimed_issuer(token)?;
        let mut candidates = self
            .providers
            .iter()
            .filter(|provider| provider.issuer() == issuer);
        match (candidates.next(), candidates.next()) {
            (Some(provider), None) => Ok(provider.verify_logout_token(token, now).await?),
            (None, _) => Err(IdpError::Unknown),
            (Some(_), Some(_)) => Err(IdpError::Refused("several providers have this issuer")),
        }
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
    /// The issuer is not a URL that may be fetched from.
    #[error("identity provider {0}: the issuer cannot be fetched from")]
    Issuer(String),
    /// An entry of `allowed_hosts` is not a host with or without port.
    #[error("identity provider {0}: allowed_hosts must be host or host:port")]
    AllowedHost(String),
    /// `id_token_algorithms` names one that there is not.
    #[error("identity provider {0}: id_token_algorithms names an unknown algorithm")]
    Algorithm(String),
    /// No TLS client could be made.
    #[error("TLS could not be set up")]
    Tls(#[source] reqwest::Error),
}
