//! `cloakroom doctor`: what is wrong with an environment, and what to do about it.

mod alarms;
mod cloudwatch;
mod deployed;
mod outside;
mod running;
mod stack;

use crate::failure::Failure;
use crate::keys::{self, places};
use crate::place::{self, Aws, Place};
use crate::{Answer, print};
use aws_sdk_dynamodb::types::{KeyType, TableStatus, TimeToLiveStatus};
use cloakroom_aws::dynamo::{self, DynamoStore};
use cloakroom_aws::kms::{self, JwtPublicKeys, JwtSigner, KmsRoots, ROTATE_BEFORE};
use cloakroom_domain::config::{Config, SigningMode};
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::ports::{Clock, PublicKeys, Roots, Signer};
use cloakroom_gateway::settings::{Env, Need, Settings, SettingsError, Source, in_mode};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What the template's layer is made of.
const DEPLOYED_CONFIG: &str = "config/cloakroom.toml";

/// Checks configuration, environment, table and keys, and with --url what is served
///
/// Run it where the functions' environment is set, or name the stack whose functions
/// have it. It reads, and signs one line of text that is no JWT (not with --stack: none
/// but the functions may); it changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cloakroom doctor --url https://app.example.com --stack cloakroom")]
pub(crate) struct Args {
    /// The deployed stack whose environment to look at; the configuration is then
    /// config/cloakroom.toml, unless --config or CLOAKROOM_CONFIG says otherwise
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Where the deployed system is: its issuer URL, or the API's own
    #[arg(long)]
    url: Option<String>,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    ok: bool,
    /// What was found, or what is wrong and what to do.
    detail: String,
}

/// The outcome of one check: what was found, or what to do.
type Outcome = Result<String, String>;

/// All that was looked at.
#[derive(Debug, Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn note(&mut self, name: &'static str, outcome: Outcome) {
        let ok = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        self.0.push(Check { name, ok, detail });
    }

    fn complete(&mut self, environment: Result<Settings, Vec<String>>) -> Option<Settings> {
        match environment {
            Ok(settings) => {
                self.note("environment", Ok("complete".to_owned()));
                Some(settings)
            }
            Err(faults) => {
                for fault in faults {
                    self.note("environment", Err(fault));
                }
                None
            }
        }
    }

    /// For people: what failed for one reason is one line, and what is wrong with one
    /// thing stands together.
    fn lines(&self) -> Vec<String> {
        let mut groups: Vec<(bool, Vec<&str>, Vec<&str>)> = Vec::new();
        for Check { name, ok, detail } in &self.0 {
            let same_name =
                |group: &&mut (bool, Vec<&str>, Vec<&str>)| group.0 == *ok && group.1 == [*name];
            let same_reason =
                |group: &&mut (bool, Vec<&str>, Vec<&str>)| !group.0 && !ok && group.2 == [detail];
            if let Some(group) = groups.iter_mut().find(same_name) {
                group.2.push(detail);
            } else if let Some(group) = groups.iter_mut().find(same_reason) {
                group.1.push(name);
            } else {
                groups.push((*ok, vec![name], vec![detail]));
            }
        }
        let mut lines = Vec::new();
        for (ok, names, details) in groups {
            let (verdict, names) = (if ok { "ok  " } else { "FAIL" }, names.join(", "));
            if let [detail] = details.as_slice() {
                lines.push(format!("{verdict}  {names}: {detail}"));
            } else {
                lines.push(format!("{verdict}  {names}:"));
                lines.extend(details.iter().map(|detail| format!("        {detail}")));
            }
        }
        lines
    }
}

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Answer, Failure> {
    let mut findings = Findings::default();
    let aws = Aws::connect().await?;
    let (config, settings) = match &args.stack {
        None => {
            let issuer = Place::variable("CLOAKROOM_ISSUER");
            let config = configuration(&place.config_path(), issuer.as_deref(), &mut findings);
            let settings = environment(&Env, config.as_ref()).map_err(Failure::from);
            let settings = findings.complete(settings.map_err(|failure| failure.lines().to_vec()));
            (config, settings)
        }
        Some(stack) => {
            let (told, pairs) = stack::environment(&aws.lambda, stack, &mut findings).await;
            // Lambda does not know it: nobody else needs to be asked.
            if !pairs.is_empty() {
                running::look(&pairs, &mut findings);
                if let Some(deployed) =
                    deployed::ask(&aws.cloudformation, stack, &mut findings).await
                {
                    deployed.compare(&pairs, &mut findings);
                    findings.note("alarms", alarms_of(&aws, stack, &deployed.alarms).await);
                }
            }
            let path = place
                .named_config()
                .unwrap_or_else(|| PathBuf::from(DEPLOYED_CONFIG));
            let issuer = told.as_ref().and_then(|told| told.get("CLOAKROOM_ISSUER"));
            let issuer = issuer.map(String::as_str);
            let config = configuration(&path, issuer, &mut findings);
            // Nobody could be asked: that has been said.
            let settings = told.and_then(|told| {
                let settings = environment(&told, config.as_ref());
                findings.complete(settings.map_err(|error| error.faults().to_vec()))
            });
            (config, settings)
        }
    };
    let mut published = None;
    if let Some(settings) = &settings {
        findings.note("table", table(&aws.dynamodb, &settings.table).await);
        findings.note("MAC keys", mac_keys(aws.kms.clone(), settings).await);
        if let Some(config) = &config {
            if config.jwt.mode == SigningMode::DataKey {
                findings.note("key set", key_set(&aws, settings, config).await);
            }
            let keys = public_keys(&aws, settings, config).await;
            findings.note(
                "signing keys",
                keys.as_deref().map(found).map_err(Clone::clone),
            );
            published = keys.ok();
            if args.stack.is_none() {
                findings.note("signature", signature(&aws, settings, config).await);
            }
        }
    }
    if let (Some(url), Some(config)) = (&args.url, &config) {
        outside::look(url, config, published.as_deref(), &mut findings).await?;
    }
    let ok = findings.0.iter().all(|check| check.ok);
    if args.json {
        print::json(&serde_json::json!({ "ok": ok, "checks": findings.0 }));
    } else {
        findings.lines().iter().for_each(|line| print::line(line));
    }
    Ok(ok.into())
}

async fn alarms_of(aws: &Aws, stack: &str, names: &[String]) -> Outcome {
    let client = cloudwatch::CloudWatch::new(aws)?;
    alarms::check(&client, stack, names).await
}

fn configuration(path: &Path, issuer: Option<&str>, findings: &mut Findings) -> Option<Config> {
    let text = match place::read(path) {
        Ok(text) => text,
        Err(failure) => {
            let detail = format!("{}: set CLOAKROOM_CONFIG", failure.lines().join("; "));
            findings.note("configuration", Err(detail));
            return None;
        }
    };
    match Config::parse_with_issuer(&text, issuer) {
        Ok(config) => {
            findings.note("configuration", Ok(path.display().to_string()));
            Some(config)
        }
        Err(error) => {
            for fault in error.faults() {
                findings.note("configuration", Err(fault.clone()));
            }
            None
        }
    }
}

fn environment(source: &impl Source, config: Option<&Config>) -> Result<Settings, SettingsError> {
    let mode = config.map(|config| config.jwt.mode).unwrap_or_default();
    let needs = in_mode(&[Need::Table, Need::ToSign, Need::MacKeys], mode);
    Settings::read(source, &needs)
}

/// Whether the table is there and as setup and template make it.
async fn table(client: &dynamo::Client, name: &str) -> Outcome {
    let described = client.describe_table().table_name(name).send().await;
    let described = described.map_err(|error| {
        let failure = cloakroom_aws::CallFailure::new("DescribeTable", &error);
        told(cloakroom_domain::ports::StoreError::from(failure))
    })?;
    let table = described
        .table()
        .ok_or("DynamoDB does not describe it: check CLOAKROOM_TABLE")?;
    if table.table_status() != Some(&TableStatus::Active) {
        return Err("it is not active: wait until it is".to_owned());
    }
    let keys: Vec<_> = table
        .key_schema()
        .iter()
        .map(|key| (key.attribute_name(), key.key_type()))
        .collect();
    if keys != [("pk", &KeyType::Hash), ("sk", &KeyType::Range)] {
        return Err(
            "its keys are not pk and sk: it is another table; check CLOAKROOM_TABLE".to_owned(),
        );
    }
    let ttl = client.describe_time_to_live().table_name(name).send().await;
    let ttl = ttl.map_err(|error| {
        let failure = cloakroom_aws::CallFailure::new("DescribeTimeToLive", &error);
        told(cloakroom_domain::ports::StoreError::from(failure))
    })?;
    let expires = ttl.time_to_live_description().is_some_and(|ttl| {
        ttl.attribute_name() == Some("ttl")
            && matches!(
                ttl.time_to_live_status(),
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
            )
    });
    if !expires {
        return Err(
            "nothing is ever deleted: enable its time to live on the attribute ttl".to_owned(),
        );
    }
    Ok("active, keys pk and sk, time to live on ttl".to_owned())
}

async fn mac_keys(client: kms::Client, settings: &Settings) -> Outcome {
    let roots = KmsRoots::new(client, settings.mac_keys.clone());
    let roots = roots.roots().await.map_err(told)?;
    Ok(format!("{} usable", roots.iter().count()))
}

async fn public_keys(
    aws: &Aws,
    settings: &Settings,
    config: &Config,
) -> Result<Vec<PublicJwk>, String> {
    let places = places(settings);
    let store = DynamoStore::new(aws.dynamodb.clone(), &settings.table);
    let clock = cloakroom_aws::world().clock;
    JwtPublicKeys::new(config, &places, &aws.kms, store, clock)
        .public_keys()
        .await
        .map_err(told)
}

/// Whether the key set of data-key mode will do for a while, and whether what the
/// environment says about its signer is so.
async fn key_set(aws: &Aws, settings: &Settings, config: &Config) -> Outcome {
    let set = keys::known(aws, settings, config).await;
    let (set, _) = set
        .map_err(told)?
        .ok_or("there is none: `cloakroom keys rotate` makes one")?;
    let now = cloakroom_aws::world().now();
    let end = set.keys.iter().map(|key| key.sign_until).max();
    let left = end.unwrap_or_default().since(now);
    if left < ROTATE_BEFORE {
        return Err(format!(
            "its last key signs for {} more days: `cloakroom keys rotate`",
            left / 86_400
        ));
    }
    let asked = settings.keyset_public_key.is_empty();
    Ok(format!(
        "serial {}, signs for {} more days{}",
        set.serial,
        left / 86_400,
        if asked {
            "; CLOAKROOM_KEYSET_PUBLIC_KEY would spare each cold start a call"
        } else {
            ""
        }
    ))
}

fn found(keys: &[PublicJwk]) -> String {
    let kids: Vec<_> = keys.iter().map(PublicJwk::kid).collect();
    format!("public keys of {}", kids.join(", "))
}

async fn signature(aws: &Aws, settings: &Settings, config: &Config) -> Outcome {
    let places = places(settings);
    let store = DynamoStore::new(aws.dynamodb.clone(), &settings.table);
    let signer = JwtSigner::new(config, &places, &aws.kms, store);
    let now = cloakroom_aws::world().now();
    let key = signer.signing_key(now).await.map_err(told)?;
    // No JWT: it has no dots, so that nobody can use the signature for anything.
    let signature = signer.sign(&key, b"cloakroom doctor").await;
    signature.map_err(told)?;
    Ok(format!("{} signs {}", key.kid, key.algorithm.name()))
}

fn told(error: impl Into<Failure>) -> String {
    error.into().lines().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let mut findings = Findings::default();
        for (name, outcome) in [
            ("configuration", Ok("cloakroom.toml")),
            ("environment", Err("A is not set")),
            ("environment", Err("B is not set")),
            ("table", Err("no credentials")),
            ("keys", Ok("one")),
            ("signature", Err("no credentials")),
        ] {
            let owned = outcome.map(str::to_owned).map_err(str::to_owned);
            findings.note(name, owned);
        }
        assert_eq!(
            findings.lines(),
            [
                "ok    configuration: cloakroom.toml",
                "FAIL  environment:",
                "        A is not set",
                "        B is not set",
                "FAIL  table, signature: no credentials",
                "ok    keys: one",
            ]
        );
    }
}
