//! `kms` mode: the order of `CLOAKROOM_SIGNING_KEYS`.

use super::{Key, Role, Rotate, now};
use crate::failure::Failure;
use crate::place::Aws;
use crate::{Answer, print, sessions};
use cloakroom_aws::kms::{KmsPublicKeys, create_signing_key, creation_time};
use cloakroom_domain::config::Config;
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::keyset::{lead, tail};
use cloakroom_domain::ports::PublicKeys;
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::Settings;
use serde::Serialize;

/// The variable whose value is to be deployed.
const VARIABLE: &str = "CLOAKROOM_SIGNING_KEYS";

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    key: Key,
    arn: String,
    created_at: UnixTime,
}

/// What is to be deployed now, and what may come after it.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    variable: &'static str,
    value: Option<String>,
    /// When the next step may come, if this one is deployed now.
    #[serde(rename = "earliest_next_step")]
    next_from: Option<UnixTime>,
    then: &'static str,
}

pub(super) async fn list(
    aws: &Aws,
    settings: &Settings,
    config: &Config,
    json: bool,
) -> Result<Answer, Failure> {
    let rows = rows(aws, settings, config).await?;
    if json {
        print::json(&serde_json::json!({ "mode": "kms", "keys": rows }));
    } else {
        for row in &rows {
            print::line(&format!("{}  {}", row.key, row.arn));
        }
    }
    Ok(Answer::Yes)
}

pub(super) async fn rotate(
    aws: &Aws,
    settings: &Settings,
    config: &Config,
    args: &Rotate,
) -> Result<Answer, Failure> {
    let rows = rows(aws, settings, config).await?;
    let new = match &args.new_key {
        Some(arn) if settings.signing_keys.contains(arn) => {
            return Err(Failure::new(
                "--new-key is in CLOAKROOM_SIGNING_KEYS already",
            ));
        }
        // A key that cannot do it must not become the first.
        Some(arn) => {
            public_keys(aws, std::slice::from_ref(arn), &[], config).await?;
            Some(arn.clone())
        }
        None if args.create => Some(create_signing_key(&aws.kms, config.jwt.algorithm).await?),
        None => None,
    };
    let now = now();
    let step = step(&rows, new.as_deref(), args.compromised, config, now)?;
    if args.json {
        print::json(&step);
        return Ok(Answer::Yes);
    }
    print::line(&format!("{}:", step.name));
    if let Some(value) = &step.value {
        print::line(&format!("  deploy {}={value}", step.variable));
    }
    if let Some(at) = step.next_from {
        print::line(&format!(
            "then, not before {} (or {} s after the deployment, if that is later): {}",
            sessions::time(at),
            at.since(now),
            step.then
        ));
    } else {
        print::line(step.then);
    }
    if step.value.is_some() {
        print::line(
            "(with infra/template.yaml that is the parameter SigningKeys, which names the keys A and B)",
        );
    }
    Ok(Answer::Yes)
}

/// The step that follows on `rows`: publish, sign, withdraw.
fn step(
    rows: &[Row],
    new: Option<&str>,
    compromised: bool,
    config: &Config,
    now: UnixTime,
) -> Result<Step, Failure> {
    let with_role = |role| {
        rows.iter()
            .filter(move |row| row.key.role == role)
            .map(|row| row.arn.clone())
    };
    let next: Vec<_> = (new.map(str::to_owned).into_iter())
        .chain(with_role(Role::Next))
        .collect();
    let signs: Vec<_> = with_role(Role::Signs).collect();
    let value = |keys: &[&[String]]| Some(keys.concat().join(","));
    if compromised {
        let next = next.first().cloned().ok_or_else(no_next)?;
        return Ok(Step {
            name: "the next key signs, the others are withdrawn at once",
            variable: VARIABLE,
            value: Some(next),
            next_from: None,
            then: "then `cloakroom epoch bump`, and disable the old keys",
        });
    }
    if new.is_some() {
        let previous: Vec<_> = with_role(Role::Previous).collect();
        return Ok(Step {
            name: "the next key is published",
            variable: VARIABLE,
            value: value(&[&signs, &next, &previous]),
            next_from: Some(now.plus(lead(config))),
            then: "`cloakroom keys rotate` for the step in which it signs",
        });
    }
    if let Some(newest) = rows.iter().find(|row| row.key.role == Role::Next) {
        // It cannot have been published for longer than it has existed.
        let possible = newest.created_at.plus(lead(config));
        if now < possible {
            return Err(Failure::new(format!(
                "the next key was made less than {} s ago, so services cannot all know it: not before {}",
                lead(config),
                sessions::time(possible)
            )));
        }
        return Ok(Step {
            name: "the next key signs",
            variable: VARIABLE,
            value: value(&[&next, &signs]),
            next_from: Some(now.plus(tail(config))),
            then: "`cloakroom keys rotate` for the step in which the old one is withdrawn",
        });
    }
    if rows.iter().any(|row| row.key.role == Role::Previous) {
        return Ok(Step {
            name: "the old keys are withdrawn",
            variable: VARIABLE,
            value: value(&[&signs]),
            next_from: None,
            then: "then disable them, and delete them some weeks later",
        });
    }
    // Which key that will be is not known here: a template makes its own.
    Ok(Step {
        name: "the next key is published",
        variable: VARIABLE,
        value: None,
        next_from: None,
        then: "  with infra/template.yaml: deploy the parameter SigningKeys with the other letter behind the present one (A becomes A,B); elsewhere: `cloakroom keys rotate --new-key ARN`, or --create",
    })
}

fn no_next() -> Failure {
    Failure::new("there is no next key: --new-key ARN says which, or --create makes one")
}

/// The keys in their order. The first signs; one that is younger is the next, one
/// that is older has signed before.
async fn rows(aws: &Aws, settings: &Settings, config: &Config) -> Result<Vec<Row>, Failure> {
    let arns = &settings.signing_keys;
    let keys = public_keys(aws, arns, &settings.signing_algorithms, config).await?;
    let mut rows: Vec<Row> = Vec::with_capacity(arns.len());
    for (key, arn) in keys.iter().zip(arns) {
        let created_at = creation_time(&aws.kms, arn).await?;
        let role = match rows.first() {
            None => Role::Signs,
            Some(first) if created_at > first.created_at => Role::Next,
            Some(_) => Role::Previous,
        };
        rows.push(Row {
            key: Key::new(key.kid(), Some(key), role),
            arn: arn.clone(),
            created_at,
        });
    }
    Ok(rows)
}

async fn public_keys(
    aws: &Aws,
    arns: &[String],
    algorithms: &[Algorithm],
    config: &Config,
) -> Result<Vec<cloakroom_domain::jwk::PublicJwk>, Failure> {
    let keys = KmsPublicKeys::new(aws.kms.clone(), arns.to_vec(), config.jwt.algorithm)
        .of_algorithms(algorithms.to_vec());
    Ok(keys.public_keys().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000_000);

    fn config() -> Config {
        Config::parse("config_version = 1\nissuer = \"https://app.example\"\n").unwrap()
    }

    /// Keys with the ages at which they were made, in their order.
    fn rows(made: &[(&str, u64)]) -> Vec<Row> {
        let first = made[0].1;
        made.iter()
            .enumerate()
            .map(|(i, (arn, at))| {
                let role = match i {
                    0 => Role::Signs,
                    _ if *at > first => Role::Next,
                    _ => Role::Previous,
                };
                Row {
                    key: Key::new(arn, None, role),
                    arn: (*arn).into(),
                    created_at: UnixTime(*at),
                }
            })
            .collect()
    }

    fn taken(made: &[(&str, u64)], new: Option<&str>, compromised: bool) -> Result<Step, Failure> {
        step(&rows(made), new, compromised, &config(), NOW)
    }

    #[test]
    fn a_key_is_published_then_signs_then_is_withdrawn() {
        let config = config();
        let published = taken(&[("a", 10)], Some("b"), false).unwrap();
        assert_eq!(published.value.as_deref(), Some("a,b"));
        assert_eq!(published.next_from, Some(NOW.plus(lead(&config))));
        let signs = taken(&[("a", 10), ("b", 20)], None, false).unwrap();
        assert_eq!(signs.value.as_deref(), Some("b,a"));
        assert_eq!(signs.next_from, Some(NOW.plus(tail(&config))));
        let withdrawn = taken(&[("b", 20), ("a", 10)], None, false).unwrap();
        assert_eq!(withdrawn.value.as_deref(), Some("b"));
        // And then it begins again, with a key that is still to be named.
        assert_eq!(taken(&[("b", 20)], None, false).unwrap().value, None);
    }

    #[test]
    fn a_previous_key_stays_published_while_the_next_one_comes() {
        let published = taken(&[("b", 20), ("a", 10)], Some("c"), false).unwrap();
        assert_eq!(published.value.as_deref(), Some("b,c,a"));
    }

    #[test]
    fn a_key_that_services_cannot_know_yet_does_not_sign() {
        let lead = lead(&config());
        let made = |ago: u64| taken(&[("a", 10), ("b", NOW.0 - ago)], None, false);
        assert!(made(lead - 1).is_err());
        assert_eq!(made(lead).unwrap().value.as_deref(), Some("b,a"));
    }

    #[test]
    fn keys_in_other_hands_are_withdrawn_in_one_step() {
        let step = taken(&[("a", 10), ("b", NOW.0 - 1)], None, true).unwrap();
        assert_eq!(step.value.as_deref(), Some("b"));
        assert!(taken(&[("a", 10)], None, true).is_err());
    }
}
