//! What the system is: `cloakroom.toml`, read and judged.
//!
//! Where things are (table, keys) comes from the environment, which this crate
//! does not know. Durations are whole seconds. Nothing here is secret: secrets
//! are references or one-way hashes.

mod authorizer;
mod check;
mod edge;
mod provider;

pub use edge::{Edge, may_be_allowed};
pub use provider::{
    AssertionAudience, CallbackUri, ClaimMapping, ClientAuthentication, IdentityProviderConfig,
    PushedRequests, UnverifiedEmail,
};

pub use authorizer::{AuthorizerConfig, tells_routes_apart};
pub(crate) use check::METHODS;

use crate::jwt::Algorithm;
use crate::policy::{DpopDemand, TokenDemand};
use crate::scope::ScopeSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The version of this file's format: 1.
    pub config_version: u32,
    /// Our own public base URL, and the `iss` of every JWT.
    pub issuer: String,
    /// Which topology carries browser cookies to the authorizer.
    #[serde(default)]
    pub edge: Edge,
    /// Request headers that pass CloudFront besides the standard ones, in lower case; `x-acme-*`
    /// stands for all that begin so. The parameter `EdgeAllowHeaders` of the templates must agree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge_allow_headers: Vec<String>,
    /// Origins besides the issuer's whose pages may call `/api` with a token of their own
    /// (CORS). The session's cookie is for pages of the issuer's origin alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// How the authorizer answers, and whom.
    #[serde(default)]
    pub authorizer: AuthorizerConfig,
    /// The internal JWT.
    #[serde(default)]
    pub jwt: JwtConfig,
    /// The one revocation knob.
    #[serde(default)]
    pub revocation: RevocationConfig,
    /// How long tokens of native clients and machines live.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// Browser sessions.
    #[serde(default)]
    pub session: SessionConfig,
    /// The key with which we authenticate to identity providers.
    #[serde(default)]
    pub client_key: ClientKeyConfig,
    /// Who vouches for users.
    #[serde(default)]
    pub identity_providers: Vec<IdentityProviderConfig>,
    /// Who may ask for tokens.
    #[serde(default)]
    pub clients: Vec<ClientConfig>,
    /// For whom JWTs are made.
    #[serde(default)]
    pub audiences: Vec<AudienceConfig>,
    /// What is reachable, by whom.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

/// The internal JWT.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// Who makes the signatures.
    #[serde(skip_serializing_if = "SigningMode::is_kms")]
    pub mode: SigningMode,
    /// Must fit the KMS key. In `data-key` mode: of the keys that `cloakroom keys
    /// rotate` makes.
    pub algorithm: Algorithm,
    /// Seconds from issue to expiry.
    pub lifetime: u64,
    /// The longest that a backend may take; a JWT must not die on the way.
    pub integration_timeout: u64,
    /// The clock skew that services allow.
    pub skew: u64,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            mode: SigningMode::Kms,
            algorithm: Algorithm::RS256,
            lifetime: 300,
            integration_timeout: 29,
            skew: 60,
        }
    }
}

/// Who makes the signatures of JWTs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SigningMode {
    /// KMS signs each JWT; no private key ever leaves it.
    #[default]
    Kms,
    /// The functions sign, with a key that KMS unwraps once per cold start.
    DataKey,
}

impl SigningMode {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    fn is_kms(&self) -> bool {
        *self == Self::Kms
    }
}

/// The one revocation knob.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RevocationConfig {
    /// Seconds within which a revoked token is refused everywhere; 0 caches
    /// identities nowhere.
    pub max_latency: u64,
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self { max_latency: 60 }
    }
}

/// How long tokens live.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// An access token.
    pub access_token: u64,
    /// A refresh token that nobody uses.
    pub refresh_token_idle: u64,
    /// A grant, however often it is refreshed. Never moves.
    pub grant: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access_token: 600,
            refresh_token_idle: 14 * 86_400,
            grant: 90 * 86_400,
        }
    }
}

/// Browser sessions.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// The scopes that every browser session has.
    pub scopes: ScopeSetConfig,
    /// Seconds without `GET /auth/session` after which a session ends.
    pub idle: u64,
    /// Seconds after which a session ends, whatever happens.
    pub absolute: u64,
    /// The idle limit moves at most once in this many seconds.
    pub slide_interval: u64,
    /// Where the browser may land after logout, below our issuer.
    pub logged_out_path: String,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            scopes: ScopeSetConfig::default(),
            idle: 3600,
            absolute: 12 * 3600,
            slide_interval: 60,
            logged_out_path: "/".into(),
        }
    }
}

/// The key with which we authenticate to identity providers (`private_key_jwt`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ClientKeyConfig {
    /// Must fit the KMS key.
    pub algorithm: Algorithm,
}

impl Default for ClientKeyConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::RS256,
        }
    }
}

/// Scopes as a list of strings.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ScopeSetConfig(pub Vec<String>);

impl ScopeSetConfig {
    /// As a set.
    pub fn to_set(&self) -> ScopeSet {
        self.0.iter().cloned().collect()
    }
}

/// Says where a secret is: `ssm:NAME`, `secretsmanager:ID` or `env:NAME`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub enum SecretRef {
    /// A SecureString in SSM Parameter Store.
    Ssm(String),
    /// A secret in Secrets Manager.
    SecretsManager(String),
    /// A variable of the function's environment.
    Env(String),
}

impl TryFrom<String> for SecretRef {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The text is not repeated: somebody may have put the secret itself there.
        match text.split_once(':') {
            Some(("ssm", name)) if !name.is_empty() => Ok(Self::Ssm(name.into())),
            Some(("secretsmanager", id)) if !id.is_empty() => Ok(Self::SecretsManager(id.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.into())),
            _ => Err("a secret is a reference: ssm:NAME, secretsmanager:ID or env:NAME"),
        }
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        match reference {
            SecretRef::Ssm(name) => format!("ssm:{name}"),
            SecretRef::SecretsManager(id) => format!("secretsmanager:{id}"),
            SecretRef::Env(name) => format!("env:{name}"),
        }
    }
}

/// A client of ours.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// `client_id`.
    pub id: String,
    /// For people, on the confirmation page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it can keep a secret.
    pub kind: ClientKind,
    /// Hashes of its secrets: `sha256:…` or `argon2id:…`. Several while one is
    /// being replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<crate::client::SecretHash>,
    /// How it proves who it is. If absent: nothing of a public client, a secret of a
    /// confidential one, or `private_key_jwt` if it has keys and no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<ClientProof>,
    /// Its public keys for `private_key_jwt`: a JWK set (RFC 7517) as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Where its public keys are, if not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// What it may do at the token endpoint.
    pub grants: Vec<GrantKind>,
    /// Exact redirect URIs; for loopback hosts any port (RFC 8252 §7.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// Whether its authorization requests must be pushed (RFC 9126): what a browser
    /// carries, its user can edit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_par: bool,
    /// What it may ask for.
    #[serde(default)]
    pub scopes: ScopeSetConfig,
    /// The audiences for which its tokens are good; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The audience that this client *is*, when it is a service or stands before one:
    /// it may introspect the tokens that are good for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Further audiences whose tokens it may introspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub introspects: Vec<String>,
    /// The clients whose access tokens it may exchange (RFC 8693).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<String>,
    /// The identity providers whose ID tokens it may exchange.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchange_id_tokens: Vec<String>,
    /// Whether its access tokens are bound to a key of its own without exception: a
    /// token request without a proof is refused (RFC 9449 §5.2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens: bool,
    /// Overrides of the general lifetimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<u64>,
}

impl ClientConfig {
    /// How it proves who it is.
    pub fn proof(&self) -> ClientProof {
        let has_keys = self.jwks.is_some() || self.jwks_uri.is_some();
        self.authentication.unwrap_or(match self.kind {
            ClientKind::Public => ClientProof::None,
            ClientKind::Confidential if has_keys && self.secrets.is_empty() => {
                ClientProof::PrivateKeyJwt
            }
            ClientKind::Confidential => ClientProof::Secret,
        })
    }
}

/// How a client proves who it is (RFC 6749 §2.3, RFC 7523 §2.2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientProof {
    /// Not at all: a public client.
    None,
    /// By a secret, in the header or in the body.
    Secret,
    /// By an assertion that it signs.
    PrivateKeyJwt,
}

/// RFC 6749 §2.1.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// Cannot keep a secret.
    Public,
    /// Can.
    Confidential,
}

/// What a client may do at the token endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// RFC 6749 §4.1 with PKCE.
    AuthorizationCode,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 8693.
    TokenExchange,
}

/// A group of services that share an `aud` and see the same claims.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AudienceConfig {
    /// The `aud`.
    pub id: String,
    /// The absolute URI by which clients may ask for it (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Which of `name`, `email`, `roles` its services see.
    #[serde(default)]
    pub claims: Vec<ClaimName>,
    /// What its services call them, where they have names of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename_claims: BTreeMap<ClaimName, String>,
}

impl AudienceConfig {
    /// Under which name its services see a claim, if they do.
    pub fn name_of(&self, claim: ClaimName) -> Option<&str> {
        let renamed = self.rename_claims.get(&claim).map(String::as_str);
        self.claims
            .contains(&claim)
            .then(|| renamed.unwrap_or(claim.name()))
    }
}

/// A claim that an audience may see.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClaimName {
    /// Full name.
    Name,
    /// E-mail address.
    Email,
    /// Roles.
    Roles,
}

impl ClaimName {
    /// As OpenID Connect, and the rest of the world, calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Email => "email",
            Self::Roles => "roles",
        }
    }
}

/// A route of the API and what it takes to pass it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// An HTTP method, or `ANY`.
    pub method: String,
    /// A path as API Gateway writes it: `/orders/{id}`, `/files/{proxy+}`.
    pub path: String,
    /// The audience whose services stand behind it.
    #[serde(default)]
    pub audience: String,
    /// Whose token passes.
    #[serde(default)]
    pub token: TokenDemand,
    /// Scopes that the token must all have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Scopes of which the token must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_scope: Vec<String>,
    /// Roles that the user must all have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Roles of which the user must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_role: Vec<String>,
    /// Clients that may pass, browser sessions by the name of `cloakroom`; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Authentication contexts of which the user's must be one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// The oldest acceptable sign-in, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// Whether it takes a token that is bound to a key, with a proof (RFC 9449).
    #[serde(default, skip_serializing_if = "DpopDemand::is_unsaid")]
    pub dpop: DpopDemand,
    /// Fields of the graph that take more than the route does. AppSync alone can hold
    /// them back, so only its route may have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldConfig>,
}

/// Fields of a graph, and what it takes to get them beyond what the route asks. Who
/// lacks any of it gets them in AppSync's `deniedFields`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FieldConfig {
    /// `Type.field`, or the ARN of a field.
    pub names: Vec<String>,
    /// Whose token gets them.
    #[serde(default)]
    pub token: TokenDemand,
    /// Scopes that the token must all have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Scopes of which the token must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_scope: Vec<String>,
    /// Roles that the user must all have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Roles of which the user must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_role: Vec<String>,
    /// Clients that get them, browser sessions by the name of `cloakroom`; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Authentication contexts of which the user's must be one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// The oldest acceptable sign-in, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}

impl Config {
    /// Reads and judges a configuration.
    ///
    /// # Errors
    ///
    /// Every fault at once, each with its setting's name; of values, none but names of
    /// clients, audiences, methods and paths.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_with_issuer(text, None)
    }

    /// As [`Config::parse`]; `issuer` replaces the file's.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_with_issuer(text: &str, issuer: Option<&str>) -> Result<Self, ConfigError> {
        let mut config: Self =
            toml::from_str(text).map_err(|error| ConfigError::syntax(&error, text))?;
        if let Some(issuer) = issuer {
            config.issuer = issuer.into();
        }
        let faults = check::faults(&config);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { faults })
        }
    }

    /// The JSON Schema of the file, for editors.
    #[cfg(feature = "schema")]
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Whether this is a system on one machine: http is then accepted for
    /// loopback hosts.
    pub fn is_loopback(&self) -> bool {
        check::is_loopback_http(&self.issuer)
    }

    /// The client with this id.
    pub fn client(&self, id: &str) -> Option<&ClientConfig> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The identity provider with this id.
    pub fn identity_provider(&self, id: &str) -> Option<&IdentityProviderConfig> {
        self.identity_providers.iter().find(|idp| idp.id == id)
    }

    /// How long the gateway may keep an authorizer's answer.
    pub fn gateway_ttl(&self) -> u64 {
        match (self.authorizer.gateway_ttl, self.edge) {
            (Some(ttl), _) => ttl,
            // Without the edge function the authorizer judges CSRF headers, which
            // are no identity sources: its answers must not be reused (D35).
            (None, Edge::None) => 0,
            (None, Edge::Cloudfront) => (self.revocation.max_latency / 2).min(3600),
        }
    }

    /// Whether the authorizer of `route` is asked for every request: nobody else can
    /// judge a proof of possession.
    pub fn is_asked_always(&self, route: &RouteConfig) -> bool {
        self.gateway_ttl() == 0 || route.dpop != DpopDemand::Unsaid
    }

    /// How long the authorizer's memory may keep an identity.
    pub fn memory_ttl(&self) -> u64 {
        self.revocation
            .max_latency
            .saturating_sub(self.gateway_ttl())
    }

    /// How long a moved epoch may take to reach everybody.
    pub fn epoch_latency(&self) -> u64 {
        self.revocation.max_latency.max(5)
    }

    /// How long the epoch may be remembered here: the gateway keeps answers for longer.
    pub fn epoch_ttl(&self) -> u64 {
        self.epoch_latency().saturating_sub(self.gateway_ttl())
    }

    /// The least life that a JWT must have left when it is handed to the gateway.
    pub fn min_jwt_life(&self) -> u64 {
        self.gateway_ttl()
            .saturating_add(self.jwt.integration_timeout)
            .saturating_add(self.jwt.skew)
    }

    /// Where identity providers send browsers back to that have no address of their own.
    pub fn callback_url(&self) -> String {
        format!("{}/auth/callback", self.issuer)
    }

    /// Where this identity provider sends browsers back to.
    pub fn callback_url_of(&self, idp: &IdentityProviderConfig) -> String {
        match idp.callback {
            Some(CallbackUri::Own) => format!("{}/{}", self.callback_url(), idp.id),
            Some(CallbackUri::Shared) | None => self.callback_url(),
        }
    }

    /// The provider whose users have e-mail addresses like this one.
    pub fn provider_of_email(&self, address: &str) -> Option<&IdentityProviderConfig> {
        let (_, domain) = address.rsplit_once('@')?;
        self.identity_providers.iter().find(|idp| {
            idp.email_domains
                .iter()
                .any(|each| each.eq_ignore_ascii_case(domain))
        })
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    faults: Vec<String>,
}

impl ConfigError {
    /// Each fault, in the order of the file.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn syntax(error: &toml::de::Error, text: &str) -> Self {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        Self {
            faults: vec![format!("line {line}: {}", without_value(error.message()))],
        }
    }
}

/// Takes the offending value out of a message like
/// `invalid type: string "value", expected u64`: it may be a misplaced secret.
fn without_value(message: &str) -> String {
    match (message.split_once(": "), message.rfind(", expected")) {
        (Some((kind, _)), Some(at)) if kind.starts_with("invalid") => {
            format!("{kind}{}", message.get(at..).unwrap_or_default())
        }
        _ => message.into(),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("; "))
    }
}

impl std::error::Error for ConfigError {}
