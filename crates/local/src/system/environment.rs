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

/// With which a configuration begins that this module has written: no other is overwritten.
const MARK: &str = "# Written by `cloakroom dev`, which overwrites it at each start.\n";

/// Makes the environment. With an `env_file`, writes it there, and the configuration as it
/// is in force into `<env_file>.cloakroom.toml`: the functions read that file.
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
        .map(|file| {
            let mut name = file.as_os_str().to_owned();
            name.push(".cloakroom.toml");
            PathBuf::from(name)
        })
        .or_else(|| data_dir.map(|dir| dir.join("running.cloakroom.toml")));
    if let Some(place) = place {
        let text = toml::to_string(config).map_err(|error| StartError::Part(error.to_string()))?;
        let place = std::path::absolute(&place).unwrap_or(place);
        refuse_what_is_not_ours(&place)?;
        write_private(&place, &[MARK, &text].concat())?;
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

/// A file that somebody else wrote, or that cannot be read, stays as it is.
fn refuse_what_is_not_ours(path: &Path) -> Result<(), StartError> {
    let reason = match std::fs::read(path) {
        Ok(text) if text.starts_with(MARK.as_bytes()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(_) => {
            "`cloakroom dev` would write the configuration there, and did not write what is there now: move that file, or choose another --env-file or --data-dir"
                .to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(StartError::File {
        path: path.to_owned(),
        reason,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d103_a_configuration_that_somebody_else_wrote_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("functions.env.cloakroom.toml");
        refuse_what_is_not_ours(&path).unwrap();
        write_private(&path, &[MARK, "config_version = 1\n"].concat()).unwrap();
        refuse_what_is_not_ours(&path).unwrap();
        for text in ["config_version = 1\n", "", "# mine\n", &format!("\n{MARK}")] {
            std::fs::write(&path, text).unwrap();
            let refused = refuse_what_is_not_ours(&path).unwrap_err().to_string();
            assert!(
                refused.contains("functions.env.cloakroom.toml"),
                "{refused}"
            );
            assert!(refused.contains("move that file"), "{refused}");
        }
    }
}
