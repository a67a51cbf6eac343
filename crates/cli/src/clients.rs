//! `cloakroom clients`: who may ask for tokens, and secrets for them.

use crate::failure::Failure;
use crate::place::Place;
use crate::{Answer, print};
use clap::{Subcommand, ValueEnum};
use cloakroom_domain::client::{SecretHash, generate_secret, hash_chosen};
use cloakroom_domain::config::{ClientKind, Config, GrantKind};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal as _, stdin};
use std::process::{self, Stdio};
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(List),
    New(New),
    Hash(Hash),
}

/// Shows the clients of the configuration
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// Makes a new client: prints what the configuration needs, and its secret once
///
/// Nothing is written: paste the block into cloakroom.toml. The secret is 256 random
/// bits; what the configuration keeps of it is its SHA-256.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cloakroom clients new --id billing --scope orders:read --audience orders
  cloakroom clients new --id phone --kind public --redirect-uri com.example.phone:/callback \\
      --scope openid --scope offline_access")]
pub(crate) struct New {
    /// The `client_id`
    #[arg(long)]
    id: String,
    /// For people, on the confirmation page
    #[arg(long)]
    name: Option<String>,
    /// Whether it can keep a secret
    #[arg(long, value_enum, default_value_t = Kind::Confidential)]
    kind: Kind,
    /// What it may do [default: client_credentials if confidential, else
    /// authorization_code and refresh_token]
    #[arg(long = "grant", value_name = "GRANT", value_parser = parse_grant)]
    grants: Vec<GrantKind>,
    /// Where its users may come back to (repeat for more)
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// A scope that it may ask for (repeat for more)
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// An audience for which its tokens are good [default: all]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audiences: Vec<String>,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// Hashes a secret that a human chose, read from standard input
///
/// Prefer `clients new`: a random secret is stronger, and its hash costs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cloakroom clients hash < secret.txt")]
pub(crate) struct Hash {
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Public,
    Confidential,
}

impl From<Kind> for ClientKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Public => Self::Public,
            Kind::Confidential => Self::Confidential,
        }
    }
}

pub(crate) fn run(place: &Place, command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::List(args) => list(&place.config()?, args.json),
        Command::New(args) => {
            // Without a configuration there is nobody to meet.
            if place
                .config()
                .is_ok_and(|config| config.client(&args.id).is_some())
            {
                return Err(Failure::new("the configuration has a client of this id"));
            }
            args.print()?;
        }
        Command::Hash(args) => hash(args.json)?,
    }
    Ok(Answer::Yes)
}

fn list(config: &Config, json: bool) {
    #[derive(Serialize)]
    struct Row<'a> {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        kind: ClientKind,
        grants: &'a [GrantKind],
        scopes: &'a [String],
        audiences: &'a [String],
        redirect_uris: &'a [String],
        secrets: usize,
    }
    let rows: Vec<_> = config
        .clients
        .iter()
        .map(|client| Row {
            id: &client.id,
            name: client.name.as_deref(),
            kind: client.kind,
            grants: &client.grants,
            scopes: &client.scopes.0,
            audiences: &client.audiences,
            redirect_uris: &client.redirect_uris,
            secrets: client.secrets.len(),
        })
        .collect();
    if json {
        print::json(&serde_json::json!({ "clients": rows }));
        return;
    }
    for row in rows {
        let kind = match row.kind {
            ClientKind::Public => "public",
            ClientKind::Confidential => "confidential",
        };
        let grants: Vec<_> = row.grants.iter().map(|grant| grant_name(*grant)).collect();
        print::line(&format!(
            "{}  {kind}  grants {}  scopes {}  audiences {}  secrets {}",
            row.id,
            grants.join(","),
            or(row.scopes, "none"),
            or(row.audiences, "all"),
            row.secrets
        ));
    }
}

fn or(list: &[String], empty: &str) -> String {
    if list.is_empty() {
        empty.to_owned()
    } else {
        list.join(",")
    }
}

/// As the configuration writes it.
fn grant_name(grant: GrantKind) -> String {
    let name = serde_json::to_value(grant).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn parse_grant(text: &str) -> Result<GrantKind, &'static str> {
    let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
    GrantKind::deserialize(text).map_err(|_| "not a grant of this release")
}

/// A client that does not exist yet: what the configuration will say of it, and its
/// secret.
struct Made {
    block: String,
    hash: Option<SecretHash>,
    secret: Option<Zeroizing<String>>,
}

impl New {
    fn print(&self) -> Result<(), Failure> {
        let made = self.make()?;
        if self.json {
            print::json(&serde_json::json!({
                "client_id": self.id,
                "client_secret": made.secret.as_ref().map(|secret| secret.as_str()),
                "hash": made.hash,
                "toml": made.block,
            }));
            return Ok(());
        }
        if let Some(secret) = &made.secret {
            // No TOML, so that it is not pasted along with the block.
            print::line(&format!("client_secret (shown this once): {}", **secret));
            print::line("");
        }
        made.block.lines().for_each(print::line);
        Ok(())
    }

    fn make(&self) -> Result<Made, Failure> {
        if self.redirect_uris.is_empty() && self.grants().contains(&GrantKind::AuthorizationCode) {
            return Err(Failure::new(
                "a client that is granted authorization_code needs --redirect-uri",
            ));
        }
        let secret = match self.kind {
            Kind::Public => None,
            Kind::Confidential => Some(generate_secret(&cloakroom_aws::world())?),
        };
        let hash = secret
            .as_ref()
            .map(|secret| SecretHash::of_generated(secret));
        let block = toml::to_string(&Block {
            clients: [Client {
                id: &self.id,
                name: self.name.as_deref(),
                kind: self.kind.into(),
                secrets: hash.as_slice(),
                grants: &self.grants(),
                redirect_uris: &self.redirect_uris,
                scopes: &self.scopes,
                audiences: &self.audiences,
            }],
        })
        .map_err(|_| Failure::new("the client cannot be written as TOML"))?;
        self.judge(&block)?;
        Ok(Made {
            block,
            hash,
            secret,
        })
    }

    /// Judges the client by the rules for configurations, in one of its own.
    fn judge(&self, block: &str) -> Result<(), Failure> {
        let audiences: Vec<_> = self.audiences.iter().map(|id| Audience { id }).collect();
        let alone = toml::to_string(&Alone {
            config_version: 1,
            issuer: "https://example.com",
            audiences: &audiences,
        })
        .map_err(|_| Failure::new("the client cannot be written as TOML"))?;
        Config::parse(&format!("{alone}\n{block}"))
            .map(drop)
            .map_err(|error| Failure::from(&error))
    }

    fn grants(&self) -> Vec<GrantKind> {
        let usual: &[GrantKind] = match self.kind {
            Kind::Public => &[GrantKind::AuthorizationCode, GrantKind::RefreshToken],
            Kind::Confidential => &[GrantKind::ClientCredentials],
        };
        if self.grants.is_empty() {
            usual.to_vec()
        } else {
            self.grants.clone()
        }
    }
}

#[derive(Serialize)]
struct Block<'a> {
    clients: [Client<'a>; 1],
}

/// What is said of a new client.
#[derive(Serialize)]
struct Client<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    kind: ClientKind,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    secrets: &'a [SecretHash],
    grants: &'a [GrantKind],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    redirect_uris: &'a [String],
    scopes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audiences: &'a [String],
}

/// The least configuration that a client can stand in.
#[derive(Serialize)]
struct Alone<'a> {
    config_version: u32,
    issuer: &'a str,
    audiences: &'a [Audience<'a>],
}

#[derive(Serialize)]
struct Audience<'a> {
    id: &'a str,
}

fn hash(json: bool) -> Result<(), Failure> {
    let secret = read_secret()?;
    let hash = hash_chosen(&secret, &cloakroom_aws::world())?;
    if json {
        print::json(&serde_json::json!({ "hash": hash }));
    } else {
        print::line(&String::from(hash));
    }
    Ok(())
}

/// One line of standard input, which a terminal does not show.
fn read_secret() -> Result<Zeroizing<String>, Failure> {
    let _hidden = stdin().is_terminal().then(|| {
        print::note("Type the secret and press Enter; it is not shown.");
        HiddenInput::new()
    });
    let mut line = Zeroizing::new(String::new());
    stdin()
        .read_line(&mut line)
        .map_err(|_| Failure::new("standard input cannot be read as text"))?;
    let secret = line.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(Failure::new("the secret is empty"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// While it lives, the terminal shows nothing that is typed.
struct HiddenInput;

impl HiddenInput {
    fn new() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// Every terminal that we run on has it; without it the secret is merely visible.
fn stty(argument: &str) {
    let _ = process::Command::new("stty")
        .arg(argument)
        .stdin(Stdio::inherit())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: New,
    }

    fn made(line: &str) -> Result<Made, Failure> {
        let words = std::iter::once("new").chain(line.split(' '));
        Line::parse_from(words).args.make()
    }

    #[test]
    fn a_new_machine_is_known_by_its_secret_alone() {
        let made = made("--id billing --scope orders:read --audience orders").unwrap();
        let secret = made.secret.unwrap();
        let block = made.block;
        assert!(!block.contains(secret.as_str()));
        let text = format!(
            "config_version = 1\nissuer = \"https://example.com\"\n[[audiences]]\nid = \"orders\"\n{block}"
        );
        let config = Config::parse(&text).unwrap();
        let [hash] = config.clients[0].secrets.as_slice() else {
            panic!("one secret")
        };
        assert!(hash.matches(&secret));
        assert!(!hash.matches(&format!("{}x", &*secret)));
    }

    #[test]
    fn a_public_client_has_no_secret() {
        let made = made("--id phone --kind public --redirect-uri com.example.phone:/cb").unwrap();
        assert!(made.secret.is_none());
        assert!(!made.block.contains("secrets"));
    }

    #[test]
    fn a_client_that_no_configuration_would_take_is_not_made() {
        for (line, beginning) in [
            ("--id a\"b", "clients[0].id"),
            (
                "--id phone --kind public",
                "a client that is granted authorization_code needs --redirect-uri",
            ),
            (
                "--id phone --kind public --grant client_credentials",
                "clients[0].grants",
            ),
            (
                "--id web --redirect-uri https://a.example/cb",
                "clients[0].redirect_uris",
            ),
            (
                "--id web --grant authorization_code --redirect-uri http://a.example/cb",
                "clients[0].redirect_uris",
            ),
            ("--id web --scope a --scope a", "clients[0].scopes"),
        ] {
            let failure = made(line).err().unwrap();
            assert!(
                failure.lines()[0].starts_with(beginning),
                "{line}: {failure:?}"
            );
        }
    }
}
