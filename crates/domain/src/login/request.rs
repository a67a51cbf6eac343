//! What a client asks of the authorization endpoint (RFC 6749 §4.1.1, RFC 7636,
//! RFC 8252, OpenID Connect Core §3.1.2.1), judged.

use crate::config::{ClientConfig, ClientKind, Config, GrantKind};
use crate::dpop::Thumbprint;
use crate::issue::OFFLINE_ACCESS;
use crate::issue::target::Targets;
use crate::scope::ScopeSet;
use serde::{Deserialize, Serialize};

/// The parameters of an authorization request that matter here.
#[derive(Clone, Default)]
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
    /// `max_age`
    pub max_age: Option<&'a str>,
    /// `acr_values`
    pub acr_values: Option<&'a str>,
    /// `request`: a request object, which we do not take (RFC 9101).
    pub request: Option<&'a str>,
    /// `request_uri`: what was pushed before (RFC 9126 §4).
    pub request_uri: Option<&'a str>,
    /// `login_hint`
    pub login_hint: Option<&'a str>,
    /// `idp`: ours; which provider.
    pub idp: Option<&'a str>,
    /// `dpop_jkt`: the only key that may redeem the code (RFC 9449 §10).
    pub dpop_jkt: Option<&'a str>,
    /// `resource`, as often as it was there (RFC 8707 §2.1).
    pub resources: Vec<&'a str>,
}

impl std::fmt::Debug for AuthorizationParams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorizationParams([redacted])")
    }
}

/// An authorization request that was found in order.
#[derive(Clone, Deserialize, Serialize)]
pub struct NativeRequest {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) scope: ScopeSet,
    pub(super) state: Option<String>,
    pub(super) challenge: String,
    /// For whom the tokens shall be good; empty: all.
    #[serde(default)]
    pub(super) audiences: Vec<String>,
    /// The user must be asked, whoever the client is.
    #[serde(default)]
    pub(super) consent: bool,
    /// Digest of the request URI, if it was pushed: good for one code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pushed: Option<String>,
    /// The only key that may redeem the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dpop_jkt: Option<Thumbprint>,
}

impl std::fmt::Debug for NativeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NativeRequest([redacted])")
    }
}

/// How the user must have signed in.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Demands {
    pub(super) idp: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) max_age: Option<u64>,
    pub(super) acr_values: Option<String>,
    /// Who is expected to sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login_hint: Option<String>,
}

/// `prompt` (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
pub(super) struct Prompt {
    /// Show nothing.
    pub(super) none: bool,
    /// Sign in afresh.
    pub(super) login: bool,
    /// Ask, even where it is not needed.
    pub(super) consent: bool,
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

/// What a client is told instead of a code (RFC 6749 §4.1.2.1, OpenID Connect Core
/// §3.1.2.6, RFC 9101 §6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnswerError {
    /// Something is missing or malformed; the text is ours, for developers.
    InvalidRequest(&'static str),
    /// Only `code`.
    UnsupportedResponseType,
    /// More than the client may ask for.
    InvalidScope,
    /// A resource that is unknown, or not for this client (RFC 8707 §2).
    InvalidTarget,
    /// The user, or the provider, said no.
    AccessDenied,
    /// Nothing may be shown, and nobody is signed in.
    LoginRequired,
    /// Nothing may be shown, and the user would have to be asked.
    ConsentRequired,
    /// Request objects are not taken.
    RequestNotSupported,
    /// The request URI is over, or was used.
    InvalidRequestUri,
}

impl AnswerError {
    /// The error code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::InvalidRequestUri => "invalid_request_uri",
        }
    }

    /// What else is said.
    const fn description(self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest(which) => Some(which),
            Self::InvalidRequestUri => Some("the request URI is over or was used"),
            Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::AccessDenied
            | Self::LoginRequired
            | Self::ConsentRequired
            | Self::RequestNotSupported => None,
        }
    }
}

/// What is wrong with a request.
pub(super) enum RequestFault {
    /// Client or redirect URI are not known: told to the user, never redirected
    /// (RFC 6749 §4.1.2.1).
    Shown(&'static str),
    /// Told to the client.
    Told(Box<NativeRequest>, AnswerError),
}

impl NativeRequest {
    /// An error answer (RFC 6749 §4.1.2.1).
    pub(super) fn error(&self, config: &Config, error: AnswerError) -> Answer {
        match error.description() {
            None => self.answer(config, &[("error", error.code())]),
            Some(description) => self.answer(
                config,
                &[("error", error.code()), ("error_description", description)],
            ),
        }
    }

    /// Appends the answer's parameters, `state` and `iss` (RFC 9207) included.
    pub(super) fn answer(&self, config: &Config, params: &[(&str, &str)]) -> Answer {
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

    /// Whether the user must say yes. Any local program can use a public client's
    /// id and listen on a loopback address (RFC 8252 §8.6).
    pub(super) fn needs_confirmation(&self, client: &ClientConfig) -> bool {
        let proven =
            client.kind == ClientKind::Confidential && self.redirect_uri.starts_with("https://");
        self.consent || !proven
    }
}

/// Judges all of a request but its client's leave to make it in the front channel.
pub(super) fn judge<'a>(
    params: &AuthorizationParams<'_>,
    config: &'a Config,
) -> Result<(&'a ClientConfig, NativeRequest, Demands), RequestFault> {
    let client = params
        .client_id
        .and_then(|id| config.client(id))
        .filter(|client| client.grants.contains(&GrantKind::AuthorizationCode))
        .ok_or(RequestFault::Shown("This client is not known here."))?;
    let redirect_uri = params
        .redirect_uri
        .filter(|uri| is_registered(client, uri))
        .ok_or(RequestFault::Shown(
            "This client may not be answered at that redirect URI.",
        ))?;
    let request = NativeRequest {
        client: client.id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        scope: ScopeSet::default(),
        state: params.state.map(str::to_owned),
        challenge: params.code_challenge.unwrap_or_default().to_owned(),
        audiences: Vec::new(),
        consent: false,
        pushed: None,
        dpop_jkt: None,
    };
    let told = judge_rest(params, client).and_then(|(scope, demands)| {
        let targets = Targets {
            resources: params.resources.clone(),
            audiences: Vec::new(),
        };
        let audiences = targets
            .narrow(config, &client.audiences)
            .map_err(|_| AnswerError::InvalidTarget)?;
        let dpop_jkt = params.dpop_jkt.map(Thumbprint::parse).transpose();
        let dpop_jkt = dpop_jkt.map_err(|_| {
            AnswerError::InvalidRequest("dpop_jkt must be the base64url of a SHA-256")
        })?;
        Ok((scope, audiences, dpop_jkt, demands))
    });
    match told {
        Ok((scope, audiences, dpop_jkt, demands)) => {
            let request = NativeRequest {
                scope,
                audiences,
                dpop_jkt,
                consent: demands.prompt.consent,
                ..request
            };
            Ok((client, request, demands))
        }
        Err(error) => Err(RequestFault::Told(Box::new(request), error)),
    }
}

/// What may be told to the client, since we know now that it is the client's
/// address.
fn judge_rest(
    params: &AuthorizationParams<'_>,
    client: &ClientConfig,
) -> Result<(ScopeSet, Demands), AnswerError> {
    const MAX_STATE: usize = 1024;
    const MAX_ACR: usize = 256;
    const MAX_HINT: usize = 256;
    if params.request.is_some() {
        return Err(AnswerError::RequestNotSupported);
    }
    let invalid = |which| Err(AnswerError::InvalidRequest(which));
    match params.response_type {
        Some("code") => {}
        Some(_) => return Err(AnswerError::UnsupportedResponseType),
        None => return invalid("response_type is missing"),
    }
    if params.response_mode.is_some_and(|mode| mode != "query") {
        return invalid("response_mode must be query");
    }
    if params.state.is_some_and(|state| state.len() > MAX_STATE) {
        return invalid("state is too long");
    }
    // `plain` would show the verifier to whoever sees the request (RFC 9700 §2.1.1).
    if params.code_challenge_method != Some("S256") {
        return invalid("code_challenge_method must be S256");
    }
    if !params.code_challenge.is_some_and(is_challenge) {
        return invalid("code_challenge must be the base64url of a SHA-256");
    }
    if params.acr_values.is_some_and(|acr| acr.len() > MAX_ACR) {
        return invalid("acr_values is too long");
    }
    let is_odd = |hint: &str| hint.len() > MAX_HINT || hint.chars().any(char::is_control);
    if params.login_hint.is_some_and(is_odd) {
        return invalid("login_hint is too long or has control characters");
    }
    let max_age = params.max_age.map(digits);
    if max_age == Some(None) {
        return invalid("max_age must be a number of seconds");
    }
    let demands = Demands {
        idp: params.idp.map(str::to_owned),
        prompt: Prompt::parse(params.prompt)?,
        max_age: max_age.flatten(),
        acr_values: params.acr_values.map(str::to_owned),
        login_hint: params.login_hint.map(str::to_owned),
    };
    let allowed = client.scopes.to_set();
    let scope = match params.scope {
        // Long-lived access only for those who ask for it.
        None => allowed
            .iter()
            .filter(|scope| *scope != OFFLINE_ACCESS)
            .map(str::to_owned)
            .collect(),
        Some(text) => ScopeSet::parse(text)
            .ok()
            .filter(|asked| asked.is_subset(&allowed))
            .ok_or(AnswerError::InvalidScope)?,
    };
    Ok((scope, demands))
}

impl Prompt {
    /// `none` goes with nothing else; a word that we do not know may ask for a
    /// safeguard that we would leave out.
    fn parse(text: Option<&str>) -> Result<Self, AnswerError> {
        let mut prompt = Self::default();
        for word in text.into_iter().flat_map(|text| text.split(' ')) {
            match word {
                "none" => prompt.none = true,
                // Who wants another account must be able to sign in as it.
                "login" | "select_account" => prompt.login = true,
                "consent" => prompt.consent = true,
                _ => return Err(AnswerError::InvalidRequest("prompt is unknown")),
            }
        }
        if prompt.none && (prompt.login || prompt.consent) {
            return Err(AnswerError::InvalidRequest(
                "prompt=none goes with no other prompt",
            ));
        }
        Ok(prompt)
    }
}

/// `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
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
pub(super) fn is_registered(client: &ClientConfig, uri: &str) -> bool {
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
