//! Where things are: the functions' environment, read once at start.
//!
//! What the system *is* stands in `cloakroom.toml`. Every fault of both is reported
//! at once, by the setting's name and never its value.

use crate::arns::is_key_arn;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use cloakroom_domain::config::{Config, SigningMode};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::sha256;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use tracing::Level;

/// Where the configuration file is if `CLOAKROOM_CONFIG` does not say: in a Lambda
/// layer, since SAM's Rust builder packages the bootstrap alone.
pub const DEFAULT_CONFIG: &str = "/opt/cloakroom.toml";

/// What a system is called that nobody has named.
pub const DEFAULT_STACK: &str = "cloakroom";

/// Something that has values by name.
pub trait Source {
    /// The value of `name`, if it has one.
    fn value(&self, name: &str) -> Option<String>;
}

/// The process's environment. Nothing else here reads it.
#[derive(Clone, Copy, Debug)]
pub struct Env;

impl Source for Env {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter that owns it"
    )]
    fn value(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Source for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

impl<S: std::hash::BuildHasher> Source for HashMap<String, String, S> {
    fn value(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// What a function cannot do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// `CLOAKROOM_TABLE`.
    Table,
    /// `CLOAKROOM_SIGNING_KEYS`.
    SigningKeys,
    /// `CLOAKROOM_MAC_KEYS`.
    MacKeys,
    /// `CLOAKROOM_CLIENT_KEY`.
    ClientKey,
    /// `CLOAKROOM_WRAPPING_KEY`.
    WrappingKey,
    /// `CLOAKROOM_KEYSET_KEY`.
    KeysetKey,
    /// What it takes to sign JWTs in the configured mode.
    ToSign,
    /// What it takes to publish the keys of JWTs in the configured mode.
    ToPublish,
}

impl Need {
    /// What this comes to in a mode.
    fn in_mode(self, mode: SigningMode) -> Vec<Self> {
        match (self, mode) {
            (Self::ToSign | Self::ToPublish, SigningMode::Kms) => vec![Self::SigningKeys],
            (Self::ToSign, SigningMode::DataKey) => {
                vec![Self::Table, Self::WrappingKey, Self::KeysetKey]
            }
            (Self::ToPublish, SigningMode::DataKey) => vec![Self::Table, Self::KeysetKey],
            (need, _) => vec![need],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Table => "CLOAKROOM_TABLE",
            Self::SigningKeys => "CLOAKROOM_SIGNING_KEYS",
            Self::MacKeys => "CLOAKROOM_MAC_KEYS",
            Self::ClientKey => "CLOAKROOM_CLIENT_KEY",
            Self::WrappingKey => "CLOAKROOM_WRAPPING_KEY",
            Self::KeysetKey => "CLOAKROOM_KEYSET_KEY",
            Self::ToSign | Self::ToPublish => "jwt.mode",
        }
    }
}

/// The environment of a function. What it does not need and was not given is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The DynamoDB table.
    pub table: String,
    /// KMS keys of the JWTs: the first signs, the others stay published.
    pub signing_keys: Vec<String>,
    /// The algorithm of each signing key; empty: `jwt.algorithm` of the configuration.
    pub signing_algorithms: Vec<Algorithm>,
    /// KMS MAC keys: the first seals, the others still open.
    pub mac_keys: Vec<String>,
    /// KMS key with which we authenticate to identity providers.
    pub client_key: String,
    /// KMS key that wraps data keys (data-key mode).
    pub wrapping_key: String,
    /// KMS key that signs the key set (data-key mode).
    pub keyset_key: String,
    /// The public half of that key (DER), so that it need not be asked for; empty:
    /// KMS is asked.
    pub keyset_public_key: Vec<u8>,
    /// Key sets with a smaller serial number are refused.
    pub keyset_serial: u64,
    /// Everything issued earlier is dead (D68).
    pub not_before: UnixTime,
    /// By what an HTTP API knows CloudFront.
    pub origin_secret: Option<OriginSecret>,
    /// How much is logged.
    pub log: Level,
    /// What this system is called among others in the account: a dimension of its
    /// metrics.
    pub stack: String,
}

/// The secret that CloudFront shows, as its SHA-256: it is generated. While it changes,
/// there are two.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginSecret(Vec<[u8; 32]>);

impl OriginSecret {
    /// Hashes the secrets, which commas separate.
    pub fn new(secrets: &str) -> Self {
        let each = secrets.split(',').map(str::trim);
        let each = each.filter(|secret| !secret.is_empty());
        Self(each.map(|secret| sha256(secret.as_bytes())).collect())
    }

    /// Whether this is one of them. How long the comparison of two digests takes tells
    /// nothing of the secret.
    pub fn is(&self, shown: &str) -> bool {
        self.0.contains(&sha256(shown.as_bytes()))
    }
}

impl Settings {
    /// Reads the environment of a function that needs `needs`.
    ///
    /// # Errors
    ///
    /// Every fault at once.
    pub fn read(source: &impl Source, needs: &[Need]) -> Result<Self, SettingsError> {
        let mut reader = Reader {
            source,
            needs,
            faults: Vec::new(),
        };
        let table = reader.text(Need::Table);
        let signing_keys = reader.keys(Need::SigningKeys);
        let settings = Self {
            table,
            signing_algorithms: reader.algorithms(signing_keys.len()),
            signing_keys,
            mac_keys: reader.keys(Need::MacKeys),
            client_key: reader.key(Need::ClientKey),
            wrapping_key: reader.key(Need::WrappingKey),
            keyset_key: reader.key(Need::KeysetKey),
            keyset_public_key: reader.der("CLOAKROOM_KEYSET_PUBLIC_KEY"),
            keyset_serial: reader.parsed("CLOAKROOM_KEYSET_SERIAL", 0, "must be a number"),
            not_before: UnixTime(reader.parsed(
                "CLOAKROOM_NOT_BEFORE",
                0,
                "must be a number of seconds",
            )),
            origin_secret: present(source, "CLOAKROOM_ORIGIN_SECRET")
                .map(|secret| OriginSecret::new(&secret)),
            log: reader.parsed(
                "CLOAKROOM_LOG",
                Level::INFO,
                "must be one of error, warn, info, debug, trace",
            ),
            stack: reader.stack(),
        };
        reader.finish(settings)
    }
}

/// Reads the environment and the configuration file of a function.
///
/// # Errors
///
/// Every fault of both at once.
pub fn load(source: &impl Source, needs: &[Need]) -> Result<(Settings, Config), SettingsError> {
    let config = load_config(source);
    let needs = match &config {
        Ok(config) => in_mode(needs, config.jwt.mode),
        // In which mode is not known then: what is needed in any is needed.
        Err(_) => (needs.iter().copied())
            .filter(|need| !matches!(need, Need::ToSign | Need::ToPublish))
            .collect(),
    };
    match (Settings::read(source, &needs), config) {
        (Ok(settings), Ok(mut config)) => {
            // The algorithm belongs to the key: it changes with the key that signs.
            if let Some(algorithm) = settings.signing_algorithms.first() {
                config.jwt.algorithm = *algorithm;
            }
            Ok((settings, config))
        }
        (Err(mut one), Err(other)) => {
            one.0.extend(other.0);
            Err(one)
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// What a function needs when its JWTs are signed in this mode.
pub fn in_mode(needs: &[Need], mode: SigningMode) -> Vec<Need> {
    needs.iter().flat_map(|need| need.in_mode(mode)).collect()
}

/// Reads the file that `CLOAKROOM_CONFIG` names; `CLOAKROOM_ISSUER` replaces its
/// issuer.
///
/// # Errors
///
/// When there is no such file, or with every fault of it.
pub fn load_config(source: &impl Source) -> Result<Config, SettingsError> {
    let path = present(source, "CLOAKROOM_CONFIG").unwrap_or_else(|| DEFAULT_CONFIG.to_owned());
    let text = std::fs::read_to_string(path)
        .map_err(|_| SettingsError(vec!["CLOAKROOM_CONFIG: the file cannot be read".to_owned()]))?;
    let issuer = present(source, "CLOAKROOM_ISSUER");
    Config::parse_with_issuer(&text, issuer.as_deref())
        .map_err(|error| SettingsError(error.faults().to_vec()))
}

/// What is wrong with the settings; names, never values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    /// One line per fault.
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for SettingsError {}

struct Reader<'a, S> {
    source: &'a S,
    needs: &'a [Need],
    faults: Vec<String>,
}

impl<S: Source> Reader<'_, S> {
    fn key(&mut self, need: Need) -> String {
        let key = self.text(need);
        if !key.is_empty() && !is_key_arn(&key) {
            self.fault(need.name(), "must be the ARN of a KMS key");
        }
        key
    }

    fn keys(&mut self, need: Need) -> Vec<String> {
        let text = self.text(need);
        if text.is_empty() {
            return Vec::new();
        }
        let keys: Vec<_> = text.split(',').map(|key| key.trim().to_owned()).collect();
        if !keys.iter().all(|key| is_key_arn(key)) {
            self.fault(need.name(), "must be ARNs of KMS keys, separated by commas");
        }
        keys
    }

    /// One for each of `keys` keys, in their order; a single one is of all of them.
    fn algorithms(&mut self, keys: usize) -> Vec<Algorithm> {
        const NAME: &str = "CLOAKROOM_SIGNING_ALGORITHMS";
        let text = present(self.source, NAME).unwrap_or_default();
        let named = |name: &str| {
            Algorithm::ALL
                .into_iter()
                .find(|one| one.name() == name.trim())
        };
        let mut algorithms: Vec<_> = text.split(',').filter_map(named).collect();
        if let ([only], false) = (algorithms.as_slice(), text.contains(',')) {
            algorithms = vec![*only; keys];
        }
        let named = text.split(',').count();
        let complete = algorithms.len() == keys && (named == keys || named == 1);
        if !text.is_empty() && !complete {
            self.fault(
                NAME,
                "must be one of RS256, PS256, ES256, EdDSA, or one for each key of CLOAKROOM_SIGNING_KEYS, separated by commas",
            );
        }
        algorithms
    }

    fn der(&mut self, name: &str) -> Vec<u8> {
        let text = present(self.source, name).unwrap_or_default();
        BASE64
            .decode(text.trim_end_matches('='))
            .unwrap_or_else(|_| {
                self.fault(name, "must be a public key: DER in base64");
                Vec::new()
            })
    }

    fn stack(&mut self) -> String {
        const NAME: &str = "CLOAKROOM_STACK";
        let stack = present(self.source, NAME).unwrap_or_else(|| DEFAULT_STACK.to_owned());
        let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if stack.len() > 128 || !stack.bytes().all(fits) {
            self.fault(NAME, "must be the name of a CloudFormation stack");
        }
        stack
    }

    fn text(&mut self, need: Need) -> String {
        let value = present(self.source, need.name());
        if value.is_none() && self.needs.contains(&need) {
            self.fault(need.name(), "is not set");
        }
        value.unwrap_or_default()
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: T, rule: &str) -> T {
        match present(self.source, name).map(|text| text.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                self.fault(name, rule);
                default
            }
        }
    }

    fn fault(&mut self, name: &str, rule: &str) {
        self.faults.push(format!("{name} {rule}"));
    }

    fn finish(self, settings: Settings) -> Result<Settings, SettingsError> {
        if self.faults.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError(self.faults))
        }
    }
}

/// CloudFormation writes an empty string where there is nothing.
fn present(source: &impl Source, name: &str) -> Option<String> {
    source
        .value(name)
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
