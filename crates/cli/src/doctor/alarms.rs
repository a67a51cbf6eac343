//! Whether each alarm of the stack watches something that exists.
//!
//! CloudWatch lists a metric for two weeks after its last value. One that counts what
//! must not happen has no value until it happens; that is no fault, and no proof either.

use super::Outcome;
use super::cloudwatch::CloudWatch;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const OURS: &str = "Cloakroom";

/// Metrics that are written when something goes wrong, and only then (docs/metrics.md).
const QUIET: [&str; 9] = [
    "CodeReplay",
    "CsrfRefusals",
    "ErrorAnswers",
    "RefreshReuse",
    "Replay",
    "SealsBroken",
    "Throttled",
    "Unavailable",
    "UnknownFormat",
];

/// Namespace, name and dimensions.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Metric {
    namespace: String,
    name: String,
    dimensions: BTreeMap<String, String>,
}

/// An alarm, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Alarm {
    #[serde(rename = "AlarmName")]
    name: String,
    #[serde(rename = "AlarmActions")]
    actions: Vec<String>,
    actions_enabled: bool,
    #[serde(flatten)]
    own: Described,
    metrics: Vec<Query>,
}

/// One of the metrics of an alarm that computes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Query {
    metric_stat: Option<Stat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Stat {
    metric: Described,
}

/// A metric, as CloudWatch writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Described {
    namespace: Option<String>,
    metric_name: Option<String>,
    dimensions: Vec<Dimension>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Dimension {
    name: String,
    value: String,
}

/// Looks at the stack's alarms, by their names.
pub(super) async fn check(client: &CloudWatch<'_>, stack: &str, names: &[String]) -> Outcome {
    if names.is_empty() {
        return Err("the stack has none: deploy it from the template as it is".to_owned());
    }
    let (found, mute) = described(client, names).await?;
    let missing = names.iter().filter(|name| !found.contains_key(*name));
    let missing: Vec<_> = missing.cloned().collect();
    if !missing.is_empty() {
        return Err(format!(
            "no longer there: {}; deploy the stack again",
            missing.join(", ")
        ));
    }
    let of_stack = BTreeMap::from([("stack".to_owned(), stack.to_owned())]);
    let mut present = existing(client, OURS, None, &of_stack).await?;
    let watched: BTreeSet<_> = found.values().flatten().collect();
    for metric in watched.iter().filter(|metric| metric.namespace != OURS) {
        let name = Some(metric.name.as_str());
        present.extend(existing(client, &metric.namespace, name, &metric.dimensions).await?);
    }
    let said = judge(&found, &present)?;
    Ok(if mute == 0 {
        said
    } else {
        format!("{said}; {mute} tell nobody when they ring (AlarmTopicArn)")
    })
}

/// The metrics of each alarm, and how many alarms do nothing when they ring.
async fn described(
    client: &CloudWatch<'_>,
    names: &[String],
) -> Result<(BTreeMap<String, Vec<Metric>>, usize), String> {
    let mut found = BTreeMap::new();
    let mut mute = 0;
    // CloudWatch takes a hundred names at once.
    for part in names.chunks(100) {
        let asked = json!({ "AlarmNames": part, "MaxRecords": 100 });
        for alarm in client
            .list("DescribeAlarms", &asked, "MetricAlarms")
            .await?
        {
            let alarm = Alarm::deserialize(alarm).map_err(|_| STRANGE.to_owned())?;
            mute += usize::from(!alarm.actions_enabled || alarm.actions.is_empty());
            let stats = alarm
                .metrics
                .into_iter()
                .filter_map(|query| query.metric_stat);
            let within = stats.map(|stat| stat.metric);
            let metrics = within.chain([alarm.own]).filter_map(Metric::new);
            found.insert(alarm.name, metrics.collect());
        }
    }
    Ok((found, mute))
}

const STRANGE: &str = "CloudWatch answered what is no alarm and no metric";

impl Metric {
    /// None where an alarm computes and has no metric of its own.
    fn new(described: Described) -> Option<Self> {
        let pairs = described.dimensions.into_iter();
        Some(Self {
            namespace: described.namespace?,
            name: described.metric_name?,
            dimensions: pairs.map(|one| (one.name, one.value)).collect(),
        })
    }

    fn is_quiet(&self) -> bool {
        self.namespace == OURS && QUIET.contains(&self.name.as_str())
    }

    /// `Errors of cloakroom-login`, as a person would say it.
    fn said(&self) -> String {
        let whose: Vec<_> = self.dimensions.values().map(String::as_str).collect();
        format!("{} of {}", self.name, whose.join(" "))
    }
}

/// Those that have had values in the last two weeks.
async fn existing(
    client: &CloudWatch<'_>,
    namespace: &str,
    name: Option<&str>,
    dimensions: &BTreeMap<String, String>,
) -> Result<BTreeSet<Metric>, String> {
    let dimensions = dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| json!({ "Name": name, "Value": value }));
    let mut asked =
        json!({ "Namespace": namespace, "Dimensions": dimensions.collect::<Vec<Value>>() });
    if let (Some(name), Some(asked)) = (name, asked.as_object_mut()) {
        asked.insert("MetricName".to_owned(), name.into());
    }
    let mut found = BTreeSet::new();
    for metric in client.list("ListMetrics", &asked, "Metrics").await? {
        let metric = Described::deserialize(metric).map_err(|_| STRANGE.to_owned())?;
        found.extend(Metric::new(metric));
    }
    Ok(found)
}

/// What the absence of a metric means, by what else there is.
fn judge(alarms: &BTreeMap<String, Vec<Metric>>, present: &BTreeSet<Metric>) -> Outcome {
    let count = alarms.len();
    let called = present.iter().any(|metric| metric.namespace != OURS);
    let writes = present.iter().any(|metric| metric.namespace == OURS);
    if !called && !writes {
        return Ok(format!(
            "{count} there; nothing has called this stack in two weeks, so none of their metrics has a value: call it, and ask again in a quarter of an hour"
        ));
    }
    if !writes {
        return Err(
            "requests arrive, and no function has written a metric: alarms on those can never ring; look at the functions' logs".to_owned(),
        );
    }
    let absent: BTreeSet<_> = alarms
        .values()
        .flatten()
        .filter(|metric| !present.contains(metric))
        .collect();
    let names = |of: &dyn Fn(&&&Metric) -> bool| -> Vec<String> {
        absent
            .iter()
            .filter(of)
            .map(|metric| metric.said())
            .collect()
    };
    let ours = names(&|metric| metric.namespace == OURS && !metric.is_quiet());
    if !ours.is_empty() {
        return Err(format!(
            "{}: an alarm watches it, and no function writes it: deploy the stack again, or see docs/metrics.md",
            ours.join(", ")
        ));
    }
    let mut said = vec![format!("{count} there")];
    let quiet: BTreeSet<_> = absent
        .iter()
        .filter(|metric| metric.is_quiet())
        .map(|metric| metric.name.as_str())
        .collect();
    if !quiet.is_empty() {
        let quiet: Vec<_> = quiet.into_iter().collect();
        said.push(format!(
            "has not happened, so that nothing shows yet that it would be counted: {}",
            quiet.join(", ")
        ));
    }
    let uncalled = names(&|metric| metric.namespace != OURS);
    if !uncalled.is_empty() {
        said.push(format!(
            "without a value in two weeks, since nobody called: {}",
            uncalled.join(", ")
        ));
    }
    Ok(said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(namespace: &str, name: &str, of: &str) -> Metric {
        Metric {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: BTreeMap::from([("stack".to_owned(), of.to_owned())]),
        }
    }

    fn alarms() -> BTreeMap<String, Vec<Metric>> {
        BTreeMap::from([
            ("reuse".to_owned(), vec![metric(OURS, "RefreshReuse", "s")]),
            (
                "synthetic".to_owned(),
                vec![metric(OURS, "SyntheticSuccess", "s")],
            ),
            (
                "login".to_owned(),
                vec![metric("AWS/Lambda", "Errors", "s-login")],
            ),
        ])
    }

    #[test]
    fn a_stack_that_nobody_called_is_no_fault() {
        let said = judge(&alarms(), &BTreeSet::new()).unwrap();
        assert!(said.contains("nothing has called this stack"), "{said}");
    }

    #[test]
    fn what_must_not_happen_may_be_absent_and_that_is_said() {
        let present = BTreeSet::from([
            metric(OURS, "SyntheticSuccess", "s"),
            metric("AWS/Lambda", "Errors", "s-login"),
        ]);
        let said = judge(&alarms(), &present).unwrap();
        assert!(
            said.contains("has not happened") && said.contains("RefreshReuse"),
            "{said}"
        );
        let mut all = present;
        all.insert(metric(OURS, "RefreshReuse", "s"));
        assert_eq!(judge(&alarms(), &all).unwrap(), "3 there");
    }

    #[test]
    fn a_metric_that_nobody_writes_is_found() {
        // Another stack's has the same name.
        let present = BTreeSet::from([
            metric(OURS, "RefreshReuse", "s"),
            metric(OURS, "SyntheticSuccess", "t"),
            metric("AWS/Lambda", "Errors", "s-login"),
        ]);
        let said = judge(&alarms(), &present).unwrap_err();
        assert!(said.starts_with("SyntheticSuccess of s:"), "{said}");
    }

    #[test]
    fn functions_that_run_and_write_nothing_are_found() {
        let present = BTreeSet::from([metric("AWS/Lambda", "Errors", "s-login")]);
        let said = judge(&alarms(), &present).unwrap_err();
        assert!(said.starts_with("requests arrive"), "{said}");
    }

    #[test]
    fn a_function_that_nobody_called_is_named() {
        let present = BTreeSet::from([metric(OURS, "SyntheticSuccess", "s")]);
        let said = judge(&alarms(), &present).unwrap();
        assert!(said.ends_with("Errors of s-login"), "{said}");
    }
}
