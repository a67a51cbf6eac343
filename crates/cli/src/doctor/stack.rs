//! What the functions of a deployed stack were told: the table and the keys that they
//! use, and whether they agree about them.

use super::Findings;
use super::running::Pair;
use crate::failure::Service;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::{LastUpdateStatus, State};
use cloakroom_aws::CallFailure;
use std::collections::BTreeMap;

/// Each is called `<stack>-<function>` by the template.
pub(super) const FUNCTIONS: [&str; 4] = ["authorizer", "login", "token", "jwks"];

/// The alias that the API calls.
pub(super) const ALIAS: &str = "live";

/// What the next version would be made of.
const LATEST: &str = "$LATEST";

/// The template's `PublicUrl` before anybody has set it.
const PENDING: &str = "https://pending.invalid";

/// A function, as one of its versions is.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) version: String,
    pub(super) description: String,
    /// Only ours.
    pub(super) variables: BTreeMap<String, String>,
    /// ARNs of layer versions.
    pub(super) layers: Vec<String>,
    /// The checksum of the code.
    pub(super) code: String,
    /// Memory, time limit, architecture.
    pub(super) size: String,
}

/// The environment of the stack's functions, put together; and each function as it was
/// asked for and as it runs, where Lambda says both.
pub(super) async fn environment(
    client: &Client,
    stack: &str,
    findings: &mut Findings,
) -> (Option<BTreeMap<String, String>>, Vec<Pair>) {
    let mut told = BTreeMap::new();
    let mut pairs = Vec::new();
    let mut faults = Vec::new();
    let mut failed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for function in FUNCTIONS {
        match pair(client, stack, function).await {
            Ok(pair) => {
                faults.extend(join(&mut told, pair.live.variables.clone()));
                pairs.push(pair);
            }
            Err(fault) => failed.entry(fault).or_default().push(function),
        }
    }
    let failed = failed.into_iter();
    faults.extend(failed.map(|(fault, of)| format!("{}: {fault}", of.join(", "))));
    if told.get("CLOAKROOM_ISSUER").map(String::as_str) == Some(PENDING) {
        faults.push(
            "the issuer is not set yet: deploy again with the stack's output PublicUrl".to_owned(),
        );
    }
    if faults.is_empty() {
        let detail = format!("{} functions, told the same", FUNCTIONS.len());
        findings.note("functions", Ok(detail));
    }
    for fault in faults {
        findings.note("functions", Err(fault));
    }
    (Some(told).filter(|told| !told.is_empty()), pairs)
}

async fn pair(client: &Client, stack: &str, name: &'static str) -> Result<Pair, String> {
    let function = format!("{stack}-{name}");
    let live = ask(client, &function, ALIAS).await?;
    let latest = ask(client, &function, LATEST).await?;
    let alias = client.get_alias().function_name(&function).name(ALIAS);
    let alias = alias.send().await;
    let alias =
        alias.map_err(|error| Service::Lambda.said(&CallFailure::new("GetAlias", &error)))?;
    let weights = alias
        .routing_config()
        .and_then(|routing| routing.additional_version_weights());
    Ok(Pair {
        name,
        latest,
        live,
        shifted: weights.and_then(|weights| weights.values().copied().reduce(f64::max)),
    })
}

/// Adds what one function was told; says what the others were told otherwise.
fn join(told: &mut BTreeMap<String, String>, variables: BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in variables {
        if told.get(&name).is_some_and(|other| *other != value) {
            faults.push(format!(
                "{name} is not the same for all: deploy the stack again"
            ));
        }
        told.insert(name, value);
    }
    faults
}

async fn ask(client: &Client, name: &str, qualifier: &str) -> Result<Function, String> {
    let found = client
        .get_function_configuration()
        .function_name(name)
        .qualifier(qualifier)
        .send()
        .await
        .map_err(|error| {
            Service::Lambda.said(&CallFailure::new("GetFunctionConfiguration", &error))
        })?;
    if found.state().is_some_and(|state| *state != State::Active) {
        return Err("it is not active: wait until it is".to_owned());
    }
    if found.last_update_status() == Some(&LastUpdateStatus::Failed) {
        return Err("its last update failed: deploy the stack again".to_owned());
    }
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let variables = found.environment().and_then(|one| one.variables());
    let variables = variables.into_iter().flatten();
    let layers = found.layers().iter();
    Ok(Function {
        version: text(found.version()),
        description: text(found.description()),
        variables: variables
            .filter(|(name, _)| name.starts_with("CLOAKROOM_"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        layers: layers.map(|layer| text(layer.arn())).collect(),
        code: text(found.code_sha256()),
        size: format!(
            "{:?} {:?} {:?}",
            found.memory_size(),
            found.timeout(),
            found.architectures()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_were_told_different_things_are_found() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let mut told = BTreeMap::new();
        let one = of(&[("CLOAKROOM_TABLE", "a"), ("CLOAKROOM_MAC_KEYS", "k")]);
        assert_eq!(join(&mut told, one), Vec::<String>::new());
        // Another needs less, or other things.
        let less = of(&[("CLOAKROOM_MAC_KEYS", "k"), ("CLOAKROOM_CLIENT_KEY", "c")]);
        assert_eq!(join(&mut told, less), Vec::<String>::new());
        let other = of(&[("CLOAKROOM_TABLE", "b")]);
        let faults = join(&mut told, other);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("CLOAKROOM_TABLE"), "{faults:?}");
    }
}
