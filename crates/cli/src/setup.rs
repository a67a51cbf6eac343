//! `cloakroom setup`: the table and the keys, where there is no template to make
//! them.

use crate::failure::Failure;
use crate::place::{Aws, Place};
use crate::{Answer, keys, print};
use base64::Engine;
// Unpadded: environment files are read by programs that take a second `=` amiss.
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use cloakroom_aws::dynamo::create_table;
use cloakroom_aws::kms::{
    KeyPlaces, create_keyset_key, create_mac_key, create_signing_key, create_wrapping_key,
    keyset_public_key,
};
use cloakroom_domain::client::generate_secret;
use cloakroom_domain::config::{Config, SecretRef, SigningMode};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Makes the table and new keys, and says the environment that names them
///
/// Works against AWS or what stands in for it at AWS_ENDPOINT_URL_DYNAMODB and
/// AWS_ENDPOINT_URL_KMS. A table that is there is kept; keys are made anew each time,
/// of the kinds that the configuration's `jwt.mode`, `jwt.algorithm` and
/// `client_key.algorithm` need; in data-key mode with a first key set. The table's name is
/// CLOAKROOM_TABLE, or `cloakroom`. Secrets that the configuration wants from the
/// environment are written for what stands in for AWS alone; others are named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  AWS_ENDPOINT_URL=http://127.0.0.1:5000 cloakroom setup --env-file .env")]
pub(crate) struct Args {
    /// Where to write the environment, readable by you alone; a file that is there is
    /// kept as PATH.bak [default: standard output]
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

const DEFAULT_TABLE: &str = "cloakroom";

/// Where AWS is, as it was given.
const PLACES: &[&str] = &[
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_KMS",
];

/// Written only to a file, and only for what stands in for AWS, whose credentials are
/// none: real ones have no business in one more file.
const CREDENTIALS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Answer, Failure> {
    let config = place.config()?;
    let table = Place::variable("CLOAKROOM_TABLE").unwrap_or_else(|| DEFAULT_TABLE.to_owned());
    let aws = Aws::connect().await?;
    create_table(&aws.dynamodb, &table).await?;
    let mac_key = create_mac_key(&aws.kms).await?;
    let client_key = create_signing_key(&aws.kms, config.client_key.algorithm).await?;

    let path = place.config_path();
    let path = std::path::absolute(&path).unwrap_or(path);
    let mut environment: Vec<(&str, String)> = signing(&aws, &config, &table).await?;
    environment.extend([
        ("CLOAKROOM_TABLE", table),
        ("CLOAKROOM_MAC_KEYS", mac_key),
        ("CLOAKROOM_CLIENT_KEY", client_key),
        ("CLOAKROOM_CONFIG", path.display().to_string()),
    ]);
    environment.extend(given(&["CLOAKROOM_ISSUER"]));
    environment.extend(given(PLACES));
    let Some(file) = &args.env_file else {
        for (name, value) in &environment {
            print::line(&format!("{name}={value}"));
        }
        return Ok(Answer::Yes);
    };
    let stands_in = environment
        .iter()
        .any(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"));
    if stands_in {
        environment.extend(given(CREDENTIALS));
    }
    for name in wanted(&config) {
        match secret(name, &config, stands_in)? {
            Some(secret) => environment.push((name, secret)),
            None => print::note(&format!("the function login needs {name} too")),
        }
    }
    let lines: Vec<_> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    let text = lines.concat();
    write(file, &text)
        .map_err(|_| Failure::new(format!("the file {} cannot be written", file.display())))?;
    print::line(&format!("the environment is in {}", file.display()));
    Ok(Answer::Yes)
}

/// The variables in which the configuration expects our secrets at the providers.
fn wanted(config: &Config) -> BTreeSet<&str> {
    let providers = config.identity_providers.iter();
    let names = providers.filter_map(|idp| match &idp.client_secret {
        Some(SecretRef::Env(name)) => Some(name.as_str()),
        Some(SecretRef::Ssm(_) | SecretRef::SecretsManager(_)) | None => None,
    });
    names.collect()
}

/// As it was given, where what is given may be written at all. A system on one machine
/// gets one that no provider knows, so that its functions start.
fn secret(name: &str, config: &Config, stands_in: bool) -> Result<Option<String>, Failure> {
    if !stands_in {
        return Ok(None);
    }
    match Place::variable(name) {
        None if config.is_loopback() => {
            let secret = generate_secret(&cloakroom_aws::world())?;
            Ok(Some(secret.to_string()))
        }
        given => Ok(given),
    }
}

/// What it takes to sign JWTs in the configured mode; keys that the other mode would
/// need cost money, too.
async fn signing(
    aws: &Aws,
    config: &Config,
    table: &str,
) -> Result<Vec<(&'static str, String)>, Failure> {
    match config.jwt.mode {
        SigningMode::Kms => {
            let key = create_signing_key(&aws.kms, config.jwt.algorithm).await?;
            Ok(vec![("CLOAKROOM_SIGNING_KEYS", key)])
        }
        SigningMode::DataKey => {
            let wrapping_key = create_wrapping_key(&aws.kms).await?;
            let keyset_key = create_keyset_key(&aws.kms).await?;
            let public_key = keyset_public_key(&aws.kms, &keyset_key).await?;
            let places = KeyPlaces {
                wrapping_key: wrapping_key.clone(),
                keyset_key: keyset_key.clone(),
                ..KeyPlaces::default()
            };
            keys::start(aws, &places, config, table).await?;
            Ok(vec![
                ("CLOAKROOM_WRAPPING_KEY", wrapping_key),
                ("CLOAKROOM_KEYSET_KEY", keyset_key),
                ("CLOAKROOM_KEYSET_PUBLIC_KEY", BASE64.encode(public_key)),
            ])
        }
    }
}

fn given(names: &[&'static str]) -> Vec<(&'static str, String)> {
    names
        .iter()
        .filter_map(|name| Some((*name, Place::variable(name)?)))
        .collect()
}

/// A file that is there may name keys that are still in use: it is moved aside.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if path.exists() {
        let mut backup = path.as_os_str().to_owned();
        backup.push(".bak");
        std::fs::rename(path, backup)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_kept_beside_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/.env");
        write(&path, "A=1\n").unwrap();
        write(&path, "A=2\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "A=2\n");
        let backup = dir.path().join("new/.env.bak");
        assert_eq!(std::fs::read_to_string(backup).unwrap(), "A=1\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
