//! The environment with which the real bootstraps run against this system.

use super::StartError;
use super::backends::{ACCESS_KEY, Backends, TABLE, region};
use base64::Engine;
// Unpadded: environment files are read by programs that take a second `=` amiss.
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use cloakroom_domain::config::Config;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Makes the environment. With an `env_file`, writes it there, and the
/// configuration as it is in force beside it: the functions read that file.
pub(super) fn write(
    config: &Config,
    backends: &Backends,
    secrets: [(&str, &String); 2],
    env_file: Option<&Path>,
    data_dir: Option<&Path>,
) -> Result<BTreeMap<String, String>, StartError> {
    let keys = backends.key_places();
    let keyset_public_key = BASE64.encode(&keys.keyset_public_key);
    let mut environment: BTreeMap<String, String> = [
        ("CLOAKROOM_TABLE", TABLE),
        ("CLOAKROOM_ISSUER", &config.issuer),
        ("CLOAKROOM_SIGNING_KEYS", backends.signing_key()),
        ("CLOAKROOM_MAC_KEYS", backends.mac_key()),
        ("CLOAKROOM_WRAPPING_KEY", &keys.wrapping_key),
        ("CLOAKROOM_KEYSET_KEY", &keys.keyset_key),
        ("CLOAKROOM_KEYSET_PUBLIC_KEY", &keyset_public_key),
        ("CLOAKROOM_CLIENT_KEY", backends.client_key()),
        ("AWS_REGION", region()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY),
        ("AWS_ENDPOINT_URL_DYNAMODB", backends.dynamodb_url()),
        ("AWS_ENDPOINT_URL_KMS", backends.kms_url()),
    ]
    .into_iter()
    .chain(secrets.map(|(name, secret)| (name, secret.as_str())))
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let place = env_file
        .map(|file| file.with_extension("toml"))
        .or_else(|| data_dir.map(|dir| dir.join("cloakroom.toml")));
    if let Some(place) = place {
        let text = toml::to_string(config).map_err(|error| StartError::Part(error.to_string()))?;
        let place = std::path::absolute(&place).unwrap_or(place);
        write_private(&place, &text)?;
        let place = place.to_string_lossy().into_owned();
        environment.insert("CLOAKROOM_CONFIG".to_owned(), place);
    }
    if let Some(file) = env_file {
        let text = environment
            .iter()
            .fold(String::new(), |mut text, (name, value)| {
                let _ = writeln!(text, "{name}={value}");
                text
            });
        write_private(file, &text)?;
    }
    Ok(environment)
}

/// It holds a secret, so it is nobody else's to read, from the first byte on.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    use std::io::Write as _;
    let fault = |error: std::io::Error| StartError::File {
        path: PathBuf::from(path),
        reason: error.to_string(),
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent).map_err(fault)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(fault)?;
    file.write_all(text.as_bytes()).map_err(fault)
}
