//! The authorization endpoint for native clients (RFC 6749 §4.1, RFC 7636,
//! RFC 8252): what they ask for, the user's confirmation, and the answer.

use super::pending::{Confirmation, Purpose};
use super::{LoginError, LoginRequest, LoginService, SignedIn, StartedLogin};
use crate::claims::UserClaims;
use crate::config::{ClientConfig, ClientKind, Config, GrantKind};
use crate::family::FamilyKind;
use crate::grant::{CodeBinding, Grant, TokenMeta};
use crate::issue::OFFLINE_ACCESS;
use crate::ports::{
    Clock, CreateFamily, FindFamily, IdentityProviders, ReadEpoch, Roots, UpdateFamily, UseOnce,
};
use crate::scope::ScopeSet;
use crate::seal::RootKeys;
use crate::token::TokenKind;
use serde::{Deserialize, Serialize};

/// How long a code may be redeemed (RFC 6749 §4.1.2 recommends at most ten
/// minutes; a program needs seconds).
const CODE_SECONDS: u64 = 60;

/// The parameters of an authorization request that matter here.
#[derive(Clone, Copy, Default)]
pub struct AuthorizationParams<'a> {
    /// `client_id`
    pub client_id: Option<&'a str>,
    /// `redirect_uri`
    pub redirect_uri: Option<&'a str>,
    /// `response_type`
    pub response_type: Option<&'a str>,
    /// `response_mode`
    pub response_mode: Option<&'a str>,
    /// `scope`
    pub scope: Option<&'a str>,
    /// `state`
    pub state: Option<&'a str>,
    /// `code_challenge`
    pub code_challenge: Option<&'a str>,
    /// `code_challenge_method`
    pub code_challenge_method: Option<&'a str>,
    /// `prompt`
    pub prompt: Option<&'a str>,
    /// `idp`: ours; which provider.
    pub idp: Option<&'a str>,
}

impl std::fmt::Debug for AuthorizationParams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorizationParams([redacted])")
    }
}

/// An authorization request that was found in order.
#[derive(Clone, Deserialize, Serialize)]
pub struct NativeRequest {
    client: String,
    redirect_uri: String,
    scope: ScopeSet,
    state: Option<String>,
    challenge: String,
}

impl std::fmt::Debug for NativeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NativeRequest([redacted])")
    }
}

/// A redirect to the client. Always by 303, so that no browser sends a password
/// form on (RFC 9700 §4.12).
pub struct Answer {
    /// Where to, parameters included.
    pub location: String,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer([redacted])")
    }
}

/// An authorization request is not in order.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// Client or redirect URI are not known: told to the user, never redirected
    /// (RFC 6749 §4.1.2.1).
    #[error("{0}")]
    Shown(&'static str),
    /// Told to the client.
    #[error("the request was answered with an error")]
    Answered(Answer),
    /// The login could not begin.
    #[error(transparent)]
    Login(#[from] LoginError),
}

/// What the user said on the confirmation page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

impl<S, R, P> LoginService<S, R, P>
where
    S: FindFamily + UpdateFamily + CreateFamily + UseOnce + ReadEpoch,
    R: Roots,
    P: IdentityProviders,
{
    /// Begins a login for a native client.
    ///
    /// # Errors
    ///
    /// See [`AuthorizeError`].
    pub async fn authorize(
        &self,
        params: &AuthorizationParams<'_>,
    ) -> Result<StartedLogin, AuthorizeError> {
        let client = params
            .client_id
            .and_then(|id| self.config.client(id))
            .filter(|client| client.grants.contains(&GrantKind::AuthorizationCode))
            .ok_or(AuthorizeError::Shown("This client is not known here."))?;
        let redirect_uri = params
            .redirect_uri
            .filter(|uri| is_registered(client, uri))
            .ok_or(AuthorizeError::Shown(
                "This client may not be answered at that redirect URI.",
            ))?;
        let request = NativeRequest {
            client: client.id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            scope: ScopeSet::default(),
            state: params.state.map(str::to_owned),
            challenge: params.code_challenge.unwrap_or_default().to_owned(),
        };
        let scope = judge(params, client)
            .map_err(|code| AuthorizeError::Answered(request.error(&self.config, code)))?;
        let login = LoginRequest {
            idp: params.idp,
            prompt_login: params
                .prompt
                .is_some_and(|prompt| prompt.split(' ').any(|each| each == "login")),
            ..LoginRequest::default()
        };
        let purpose = Purpose::Native(NativeRequest { scope, ..request });
        Ok(self.begin(&login, purpose).await?)
    }

    /// After sign-in. Any local program can use a public client's id, so the user
    /// is asked (RFC 8252 §8.6).
    pub(super) async fn ask_or_answer(
        &self,
        confirmation: Confirmation,
        roots: &RootKeys,
    ) -> Result<SignedIn, LoginError> {
        let client = self.client_of(&confirmation.request)?;
        let proven = client.kind == ClientKind::Confidential
            && confirmation.request.redirect_uri.starts_with("https://");
        if proven {
            return Ok(SignedIn::Answer(self.grant_code(confirmation).await?));
        }
        let ticket = confirmation.seal(roots.current(), &self.world)?;
        let UserClaims {
            name, email, sub, ..
        } = confirmation.user;
        Ok(SignedIn::Confirm {
            ticket,
            client: client.name.clone().unwrap_or_else(|| client.id.clone()),
            scope: confirmation.request.scope.to_string(),
            user: name.or(email).unwrap_or(sub),
        })
    }

    /// The user's word. `cookies` are the values of this browser's login cookies.
    ///
    /// # Errors
    ///
    /// See [`LoginError`].
    pub async fn confirm(
        &self,
        ticket: &str,
        cookies: &[&str],
        decision: Decision,
    ) -> Result<(Answer, String), LoginError> {
        let now = self.world.now();
        let roots = self.roots.roots().await?;
        let confirmation =
            Confirmation::open(&roots, ticket, cookies, now).ok_or(LoginError::NotPending)?;
        // The epoch may have been moved while the user was looking at the page.
        if confirmation.started_at < self.epoch().await? {
            return Err(LoginError::NotPending);
        }
        let state = confirmation.state.clone();
        let answer = match decision {
            Decision::Deny => confirmation.request.error(&self.config, "access_denied"),
            Decision::Allow => {
                self.use_once(ticket, confirmation.created_at).await?;
                self.grant_code(confirmation).await?
            }
        };
        Ok((answer, state))
    }

    /// A code is the first token of its family.
    async fn grant_code(&self, confirmation: Confirmation) -> Result<Answer, LoginError> {
        let Confirmation {
            user,
            request,
            started_at,
            ..
        } = confirmation;
        let client = self.client_of(&request)?;
        let now = self.world.now();
        let refreshes = request.scope.contains(OFFLINE_ACCESS)
            && client.grants.contains(&GrantKind::RefreshToken);
        let lifetime = if refreshes {
            self.config.lifetimes.grant
        } else {
            CODE_SECONDS
                + client
                    .access_token_lifetime
                    .unwrap_or(self.config.lifetimes.access_token)
        };
        let grant = Grant {
            kind: FamilyKind::Grant,
            client: Some(client.id.clone()),
            user: Some(user),
            sid: self.random()?.as_str().to_owned(),
            created_at: now,
            absolute_expires_at: now.plus(lifetime),
            upstream_id_token: None,
            upstream_refresh_token: None,
        };
        let meta = TokenMeta {
            kind: TokenKind::Code,
            client: Some(client.id.clone()),
            scope: request.scope.clone(),
            audiences: client.audiences.clone(),
            issued_at: now,
            expires_at: now.plus(CODE_SECONDS),
            idle_expires_at: None,
            notes_first_use: false,
            code: Some(CodeBinding {
                redirect_uri: request.redirect_uri.clone(),
                challenge: request.challenge.clone(),
            }),
        };
        let (code, _) = self.create(&grant, &meta, started_at).await?;
        Ok(request.answer(&self.config, &[("code", code.expose())]))
    }

    /// The client may have been taken out of the configuration meanwhile.
    fn client_of(&self, request: &NativeRequest) -> Result<&ClientConfig, LoginError> {
        self.config
            .client(&request.client)
            .filter(|client| is_registered(client, &request.redirect_uri))
            .ok_or(LoginError::Refused("the client is gone"))
    }
}

impl NativeRequest {
    /// An error answer (RFC 6749 §4.1.2.1).
    pub(super) fn error(&self, config: &Config, code: &str) -> Answer {
        self.answer(config, &[("error", code)])
    }

    /// Appends the answer's parameters, `state` and `iss` (RFC 9207) included.
    fn answer(&self, config: &Config, params: &[(&str, &str)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(params);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &config.issuer);
        let joint = if self.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        Answer {
            location: format!("{}{joint}{}", self.redirect_uri, query.finish()),
        }
    }
}

/// All that an authorization request must have, or the error code for the client.
fn judge(
    params: &AuthorizationParams<'_>,
    client: &ClientConfig,
) -> Result<ScopeSet, &'static str> {
    const MAX_STATE: usize = 1024;
    match params.response_type {
        Some("code") => {}
        Some(_) => return Err("unsupported_response_type"),
        None => return Err("invalid_request"),
    }
    let plain_mode = params.response_mode.is_none_or(|mode| mode == "query");
    let short_state = params.state.is_none_or(|state| state.len() <= MAX_STATE);
    // `plain` would show the verifier to whoever sees the request (RFC 9700 §2.1.1).
    let challenged = params.code_challenge_method == Some("S256")
        && params.code_challenge.is_some_and(is_challenge);
    if !plain_mode || !short_state || !challenged {
        return Err("invalid_request");
    }
    if params.prompt == Some("none") {
        return Err("login_required");
    }
    let allowed = client.scopes.to_set();
    match params.scope {
        // Long-lived access only for those who ask for it.
        None => Ok(allowed
            .iter()
            .filter(|scope| *scope != OFFLINE_ACCESS)
            .map(str::to_owned)
            .collect()),
        Some(text) => ScopeSet::parse(text)
            .ok()
            .filter(|asked| asked.is_subset(&allowed))
            .ok_or("invalid_scope"),
    }
}

/// base64url of a SHA-256 (RFC 7636 §4.2).
fn is_challenge(text: &str) -> bool {
    text.len() == 43
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Exactly as registered (RFC 9700 §2.1); a loopback address may have any port,
/// because the operating system picks it (RFC 8252 §7.3).
fn is_registered(client: &ClientConfig, uri: &str) -> bool {
    client.redirect_uris.iter().any(|registered| {
        registered == uri
            || loopback_parts(registered)
                .zip(loopback_parts(uri))
                .is_some_and(|(registered, uri)| registered == uri)
    })
}

/// Host and path of an http URL on a loopback address, without the port.
fn loopback_parts(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let host = ["127.0.0.1", "[::1]"]
        .into_iter()
        .find(|host| authority.starts_with(host))?;
    let port = authority.get(host.len()..)?;
    let well_formed = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok_and(|n| n.to_string() == port));
    // What follows goes into a Location header.
    let clean = path
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"#\\\"<>".contains(&b));
    (well_formed && clean).then_some((host, path))
}
