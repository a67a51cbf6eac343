//! An identity provider that vouches for whomever the code names.

use crate::claims::{Profile, UserClaims};
use crate::ports::{
    Authenticated, AuthorizationRequest, CallbackCode, IdentityProviders, IdpError, LogoutToken,
    Renewal, RenewalError, Renewed, VerifyLogoutToken,
};
use crate::time::UnixTime;
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
    renewals: Arc<Mutex<Renewals>>,
}

/// How the provider answers those who come back with a refresh token.
#[derive(Debug, Default)]
struct Renewals {
    /// None: it gives none at sign-ins.
    refresh_token: Option<String>,
    profile: Profile,
    /// It takes the refresh token, gives another, and then cannot say who the user is.
    mute: bool,
    over: bool,
    asked: Vec<String>,
    revoked: Vec<String>,
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
    pub(crate) acr_values: Option<String>,
    pub(crate) login_hint: Option<String>,
    pub(crate) redirect_uri: String,
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

    /// From now on sign-ins come with a refresh token, and this is what is said of the
    /// user to whoever presents it.
    pub(crate) fn says(&self, roles: &[&str]) {
        let mut renewals = self.renewals.lock().unwrap();
        renewals.refresh_token.get_or_insert("refresh-0".to_owned());
        renewals.profile = Profile {
            name: Some("renewed".into()),
            email: None,
            email_verified: None,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        };
    }

    /// Whether it cannot say who the user is, though it takes the refresh token.
    pub(crate) fn set_mute(&self, mute: bool) {
        self.renewals.lock().unwrap().mute = mute;
    }

    /// It has ended what it granted.
    pub(crate) fn end_grants(&self) {
        self.renewals.lock().unwrap().over = true;
    }

    /// The refresh tokens that were presented since this was last asked.
    pub(crate) fn take_renewals(&self) -> Vec<String> {
        std::mem::take(&mut self.renewals.lock().unwrap().asked)
    }

    /// The refresh tokens that were given back.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.renewals.lock().unwrap().revoked.clone()
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
        let own = format!("https://app.example.com/auth/callback/{idp}");
        assert!(
            request.redirect_uri == "https://app.example.com/auth/callback"
                || request.redirect_uri == own
        );
        self.asked.lock().unwrap().push(Asked {
            idp: idp.into(),
            state: request.state.into(),
            nonce: request.nonce.into(),
            challenge: request.code_challenge.into(),
            prompt_login: request.prompt_login,
            max_age: request.max_age,
            acr_values: request.acr_values.map(str::to_owned),
            login_hint: request.login_hint.map(str::to_owned),
            redirect_uri: request.redirect_uri.into(),
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
                auth_time: Some(callback.now),
                idp_sid: Some(format!("idp-sid-of-{user}")),
                ..grant.user.unwrap()
            },
            id_token: format!("id-token-of-{user}").into(),
            refresh_token: self
                .renewals
                .lock()
                .unwrap()
                .refresh_token
                .clone()
                .map(Into::into),
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

    /// Rotates, and ends the grant when a refresh token comes twice.
    async fn renew(&self, _: &str, renewal: &Renewal<'_>) -> Result<Renewed, RenewalError> {
        tokio::task::yield_now().await;
        let mut renewals = self.renewals.lock().unwrap();
        renewals.asked.push(renewal.refresh_token.to_owned());
        if self.down.load(SeqCst) {
            return Err(RenewalError::Failed("down"));
        }
        if renewals.over || renewals.refresh_token.as_deref() != Some(renewal.refresh_token) {
            renewals.over = true;
            return Err(RenewalError::Over);
        }
        assert!(renewal.id_token.starts_with("id-token-of-"));
        let next = format!("refresh-{}", renewals.asked.len());
        renewals.refresh_token = Some(next.clone());
        Ok(Renewed {
            profile: if renewals.mute {
                Err("mute")
            } else {
                Ok(renewals.profile.clone())
            },
            refresh_token: Some(next.into()),
        })
    }

    async fn revoke(&self, _: &str, refresh_token: &str) -> Result<(), IdpError> {
        self.is_up()?;
        let mut renewals = self.renewals.lock().unwrap();
        renewals.revoked.push(refresh_token.to_owned());
        Ok(())
    }
}

/// A token reads `sid=S`, `sub=U` or `sid=S,sub=U`, then `;` and its `jti`.
impl VerifyLogoutToken for TestProviders {
    async fn verify_logout_token(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<LogoutToken, IdpError> {
        self.is_up()?;
        let (whom, jti) = token.split_once(';').ok_or(IdpError::Refused("token"))?;
        let named = |name: &str| {
            let mut parts = whom.split(',');
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        Ok(LogoutToken {
            idp: "demo".into(),
            iss: ISSUER.into(),
            sub: named("sub").map(str::to_owned),
            sid: named("sid").map(str::to_owned),
            jti: jti.into(),
            issued_at: now,
            expires_at: now.plus(120),
        })
    }
}
