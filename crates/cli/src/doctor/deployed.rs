//! The stack as CloudFormation knows it: whether its last deploy ended well, and whether
//! the functions have the values of its parameters and its newest layer.

use super::running::Pair;
use super::{Findings, Outcome};
use crate::failure::Service;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::StackStatus;
use cloakroom_aws::CallFailure;
use std::collections::BTreeMap;

/// Parameters that a function is told as they are, and by which variable.
const TOLD: [(&str, &str); 6] = [
    ("KeysetPublicKey", "CLOAKROOM_KEYSET_PUBLIC_KEY"),
    ("KeysetSerial", "CLOAKROOM_KEYSET_SERIAL"),
    ("LogLevel", "CLOAKROOM_LOG"),
    ("NotBefore", "CLOAKROOM_NOT_BEFORE"),
    ("PublicUrl", "CLOAKROOM_ISSUER"),
    ("RestoredTable", "CLOAKROOM_TABLE"),
];

/// What of a stack matters here.
#[derive(Debug, Default)]
pub(super) struct Deployed {
    parameters: BTreeMap<String, String>,
    layers: Vec<String>,
    pub(super) alarms: Vec<String>,
}

/// Asks CloudFormation; says how the last deploy ended.
pub(super) async fn ask(client: &Client, stack: &str, findings: &mut Findings) -> Option<Deployed> {
    match described(client, stack).await {
        Ok((deployed, status)) => {
            findings.note("stack", ended(&status));
            Some(deployed)
        }
        Err(fault) => {
            findings.note("stack", Err(fault));
            None
        }
    }
}

async fn described(client: &Client, stack: &str) -> Result<(Deployed, StackStatus), String> {
    let answer = client.describe_stacks().stack_name(stack).send().await;
    let answer = answer.map_err(|error| {
        // An unknown stack is no `NotFound` there, but a request that is not valid.
        let unknown = error
            .as_service_error()
            .is_some_and(|error| error.meta().code() == Some("ValidationError"));
        if unknown {
            return format!(
                "CloudFormation has no stack {stack} here: check --stack and the Region"
            );
        }
        Service::CloudFormation.said(&CallFailure::new("DescribeStacks", &error))
    })?;
    let found = answer
        .stacks()
        .first()
        .ok_or("CloudFormation does not describe it")?;
    let mut deployed = Deployed::default();
    for parameter in found.parameters() {
        if let (Some(key), Some(value)) = (parameter.parameter_key(), parameter.parameter_value()) {
            deployed.parameters.insert(key.to_owned(), value.to_owned());
        }
    }
    let status = found.stack_status().cloned();
    let mut pages = client
        .list_stack_resources()
        .stack_name(stack)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            Service::CloudFormation.said(&CallFailure::new("ListStackResources", &error))
        })?;
        for resource in page.stack_resource_summaries() {
            let Some(id) = resource.physical_resource_id() else {
                continue;
            };
            match resource.resource_type() {
                Some("AWS::CloudWatch::Alarm") => deployed.alarms.push(id.to_owned()),
                Some("AWS::Lambda::LayerVersion") => deployed.layers.push(id.to_owned()),
                _ => {}
            }
        }
    }
    Ok((
        deployed,
        status.ok_or("CloudFormation does not say its status")?,
    ))
}

fn ended(status: &StackStatus) -> Outcome {
    let name = status.as_str();
    if name.ends_with("IN_PROGRESS") {
        return Err(format!(
            "a deploy is under way ({name}): ask again when it has ended"
        ));
    }
    match status {
        StackStatus::CreateComplete | StackStatus::UpdateComplete | StackStatus::ImportComplete => {
            Ok(name.to_owned())
        }
        StackStatus::UpdateRollbackComplete => Err(format!(
            "the last deploy failed and was taken back ({name}): what ran before runs; the stack's events say why"
        )),
        _ => Err(format!("{name}: the stack's events say why")),
    }
}

impl Deployed {
    /// Compares the parameters and the layer with what the functions run with.
    pub(super) fn compare(&self, pairs: &[Pair], findings: &mut Findings) {
        let faults: Vec<_> = pairs
            .iter()
            .flat_map(|pair| self.differences(pair))
            .collect();
        if faults.is_empty() {
            let detail = "the functions have the values of the stack and its layer".to_owned();
            findings.note("parameters", Ok(detail));
        }
        for fault in faults {
            findings.note("parameters", Err(fault));
        }
    }

    fn differences(&self, pair: &Pair) -> Vec<String> {
        let mut what = Vec::new();
        for (parameter, variable) in TOLD {
            let asked = self
                .parameters
                .get(parameter)
                .filter(|value| !value.is_empty());
            // Not every function is told everything.
            if let (Some(asked), Some(runs)) = (asked, pair.live.variables.get(variable))
                && asked != runs
            {
                what.push(parameter);
            }
        }
        if !self.layers.is_empty() && !pair.live.layers.iter().any(|one| self.layers.contains(one))
        {
            what.push("the configuration (layer)");
        }
        if what.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "{}: version {} does not run with the stack's {}: run `sam build && sam deploy`",
            pair.name,
            pair.live.version,
            what.join(", ")
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::super::stack::Function;
    use super::*;

    fn pair(variables: &[(&str, &str)], layer: &str) -> Pair {
        let live = Function {
            version: "3".to_owned(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            layers: vec![layer.to_owned()],
            ..Function::default()
        };
        Pair {
            name: "token",
            latest: live.clone(),
            live,
            shifted: None,
        }
    }

    fn deployed(parameters: &[(&str, &str)]) -> Deployed {
        Deployed {
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            layers: vec!["layer:2".to_owned()],
            alarms: Vec::new(),
        }
    }

    #[test]
    fn each_parameter_that_does_not_run_is_named() {
        for (parameter, variable) in TOLD {
            let pair = pair(&[(variable, "old")], "layer:2");
            let said = deployed(&[(parameter, "new")]).differences(&pair);
            assert!(
                said[0].contains(parameter) && !said[0].contains("new"),
                "{said:?}"
            );
            assert!(
                deployed(&[(parameter, "old")])
                    .differences(&pair)
                    .is_empty()
            );
        }
    }

    #[test]
    fn an_empty_parameter_and_one_that_the_function_is_not_told_make_no_difference() {
        let pair = pair(&[("CLOAKROOM_TABLE", "made-by-the-stack")], "layer:2");
        assert!(
            deployed(&[("RestoredTable", ""), ("NotBefore", "7")])
                .differences(&pair)
                .is_empty()
        );
    }

    #[test]
    fn another_layer_is_named() {
        let said = deployed(&[]).differences(&pair(&[], "layer:1"));
        assert!(said[0].contains("the configuration (layer)"), "{said:?}");
    }

    #[test]
    fn a_deploy_that_failed_or_runs_is_said() {
        for (status, ok) in [
            (StackStatus::CreateComplete, true),
            (StackStatus::UpdateComplete, true),
            (StackStatus::UpdateRollbackComplete, false),
            (StackStatus::RollbackComplete, false),
            (StackStatus::UpdateRollbackFailed, false),
            (StackStatus::UpdateInProgress, false),
            (StackStatus::UpdateCompleteCleanupInProgress, false),
            (StackStatus::DeleteComplete, false),
        ] {
            assert_eq!(ended(&status).is_ok(), ok, "{status:?}");
        }
    }
}
