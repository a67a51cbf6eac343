//! What the functions of a deployed stack were told: the table and the keys that they
//! use, and whether they agree about them.

use super::Findings;
use crate::failure::Service;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::types::{LastUpdateStatus, State};
use cloakroom_aws::CallFailure;
use std::collections::BTreeMap;

/// Each is called `<stack>-<function>` by the template.
const FUNCTIONS: [&str; 4] = ["authorizer", "login", "token", "jwks"];

/// The alias that the API calls.
const ALIAS: &str = "live";

/// The template's `PublicUrl` before anybody has set it.
const PENDING: &str = "https://pending.invalid";

/// The environment of the stack's functions, put together.
pub(super) async fn environment(
    client: &Client,
    stack: &str,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let mut told = BTreeMap::new();
    let mut faults = Vec::new();
    let mut failed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for function in FUNCTIONS {
        match ask(client, &format!("{stack}-{function}")).await {
            Ok(variables) => faults.extend(join(&mut told, variables)),
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
    Some(told).filter(|told| !told.is_empty())
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

async fn ask(client: &Client, name: &str) -> Result<BTreeMap<String, String>, String> {
    let found = client
        .get_function_configuration()
        .function_name(name)
        .qualifier(ALIAS)
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
    let variables = found
        .environment()
        .and_then(|environment| environment.variables());
    Ok(variables
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("CLOAKROOM_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect())
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
