//! An identity provider that vouches for whomever the code names.

use crate::claims::UserClaims;
use crate::ports::{
    Authenticated, AuthorizationRequest, CallbackCode, IdentityProviders, IdpError,
};
use crate::token::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

pub(crate) const ISSUER: &str = "https://idp.example";

/// Accepts the code `code-of-<user>`, as often as it comes: what it lets through
/// twice must be stopped by us. Clones are one provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestProviders {
    asked: Arc<Mutex<Vec<Asked>>>,
    redeemed: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

/// What a login asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) idp: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) challenge: String,
    pub(crate) prompt_login: bool,
    pub(crate) max_age: Option<u64>,
}

impl TestProviders {
    pub(crate) fn last_asked(&self) -> Asked {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    /// How many codes came here since this was last asked.
    pub(crate) fn take_redeemed(&self) -> usize {
        self.redeemed.swap(0, SeqCst)
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, SeqCst);
    }

    fn is_up(&self) -> Result<(), IdpError> {
        if self.down.load(SeqCst) {
            return Err(IdpError::Unavailable("down"));
        }
        Ok(())
    }
}

impl IdentityProviders for TestProviders {
    async fn authorization_url(
        &self,
        idp: &str,
        request: &AuthorizationRequest<'_>,
    ) -> Result<String, IdpError> {
        self.is_up()?;
        assert_eq!(
            request.redirect_uri,
            "https://app.example.com/auth/callback"
        );
        self.asked.lock().unwrap().push(Asked {
            idp: idp.into(),
            state: request.state.into(),
            nonce: request.nonce.into(),
            challenge: request.code_challenge.into(),
            prompt_login: request.prompt_login,
            max_age: request.max_age,
        });
        Ok(format!("{ISSUER}/authorize?state={}", request.state))
    }

    async fn redeem(
        &self,
        idp: &str,
        callback: &CallbackCode<'_>,
    ) -> Result<Authenticated, IdpError> {
        self.redeemed.fetch_add(1, SeqCst);
        self.is_up()?;
        tokio::task::yield_now().await;
        self.check_issuer(idp, callback.iss).await?;
        let challenge = BASE64URL.encode(sha256(callback.code_verifier.as_bytes()));
        let asked = self.asked.lock().unwrap().clone();
        if !asked
            .iter()
            .any(|each| each.challenge == challenge && each.nonce == callback.nonce)
        {
            return Err(IdpError::Refused("verifier or nonce"));
        }
        let user = callback
            .code
            .strip_prefix("code-of-")
            .ok_or(IdpError::Refused("code"))?;
        let grant = super::grant_of(user);
        Ok(Authenticated {
            claims: UserClaims {
                auth_time: callback.now,
                idp_sid: Some(format!("idp-sid-of-{user}")),
                ..grant.user.unwrap()
            },
            id_token: format!("id-token-of-{user}").into(),
            refresh_token: None,
        })
    }

    async fn check_issuer(&self, _: &str, iss: Option<&str>) -> Result<(), IdpError> {
        if iss == Some(ISSUER) {
            Ok(())
        } else {
            Err(IdpError::Refused("issuer"))
        }
    }

    async fn logout_url(
        &self,
        _: &str,
        id_token_hint: &str,
        post_logout_redirect_uri: &str,
    ) -> Result<Option<String>, IdpError> {
        self.is_up()?;
        Ok(Some(format!(
            "{ISSUER}/logout?id_token_hint={id_token_hint}&post_logout_redirect_uri={post_logout_redirect_uri}"
        )))
    }
}
