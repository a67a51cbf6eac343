//! The one line that a function writes per request.

use super::meter::{Call, Tally};
use super::metric::Metric;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const TARGET: &str = "cloakroom::decision";

const NAMESPACE: &str = "Cloakroom";

/// CloudWatch takes no more values of one metric from one line.
const MAX_VALUES: usize = 100;

/// What was decided, and what it took. Its values are of kinds that cannot carry a
/// secret: our own words, numbers, and short identifiers. No address of a client.
#[derive(Debug)]
#[must_use = "a decision is not logged until it is emitted"]
pub struct Decision {
    function: &'static str,
    outcome: &'static str,
    fields: Vec<(&'static str, Value)>,
    metrics: BTreeMap<Metric, Vec<Value>>,
}

impl Decision {
    /// A decision of `function`. `outcome` is a dimension of the metrics: one of few
    /// words.
    pub fn new(function: &'static str, outcome: &'static str) -> Self {
        Self {
            function,
            outcome,
            fields: Vec::new(),
            metrics: BTreeMap::from([(Metric::Decisions, vec![1.into()])]),
        }
    }

    /// Adds a word of ours.
    pub fn word(self, key: &'static str, word: &'static str) -> Self {
        self.field(key, word.into())
    }

    /// Adds a number.
    pub fn number(self, key: &'static str, number: u64) -> Self {
        self.field(key, number.into())
    }

    /// Adds a yes or no.
    pub fn flag(self, key: &'static str, flag: bool) -> Self {
        self.field(key, flag.into())
    }

    /// Adds an identifier that is no secret: of a request, of a client, or the tag of
    /// a family or a subject. What does not look like one is left out, and a token
    /// (76 characters) or a JWT does not fit.
    pub fn id(self, key: &'static str, id: &str) -> Self {
        let fit = id.len() <= 64
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~:/+=|".contains(&b));
        self.field(key, if fit { id } else { "[unfit]" }.into())
    }

    /// Adds to a metric.
    pub fn count(self, metric: Metric, count: u64) -> Self {
        self.metric(metric, count.into())
    }

    /// Adds a measured time to a metric.
    pub fn millis(self, metric: Metric, time: Duration) -> Self {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.metric(metric, (f64::from(micros) / 1000.0).into())
    }

    /// Adds the network calls that it took.
    pub fn calls(mut self, tally: &Tally) -> Self {
        for (call, time) in tally.calls() {
            let metric = if call.is_kms() {
                Metric::KmsMillis
            } else {
                Metric::StoreMillis
            };
            self = self.millis(metric, *time);
        }
        for (call, metric) in [
            (Call::Sign, Metric::Signatures),
            (Call::ReadEpoch, Metric::EpochReads),
        ] {
            let count = tally.count(call);
            if count > 0 {
                self = self.count(metric, count as u64);
            }
        }
        self
    }

    /// Writes the line.
    pub fn emit(self) {
        if tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            tracing::info!(target: TARGET, document = self.document().as_str());
        }
    }

    fn field(mut self, key: &'static str, value: Value) -> Self {
        self.fields.push((key, value));
        self
    }

    fn metric(mut self, metric: Metric, value: Value) -> Self {
        let values = self.metrics.entry(metric).or_default();
        if values.len() < MAX_VALUES {
            values.push(value);
        }
        self
    }

    /// CloudWatch's embedded metric format.
    fn document(self) -> String {
        let mut document = Map::new();
        document.insert("_aws".to_owned(), self.directives());
        for (key, value) in self.fields {
            document.insert(key.to_owned(), value);
        }
        for (metric, mut values) in self.metrics {
            let value = match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            };
            document.insert(metric.name().to_owned(), value);
        }
        document.insert("function".to_owned(), self.function.into());
        document.insert("outcome".to_owned(), self.outcome.into());
        Value::Object(document).to_string()
    }

    /// Only the number of decisions is split by outcome: every combination of
    /// dimensions is a metric that costs money.
    fn directives(&self) -> Value {
        let directive = |dimensions: &[&str], metrics: Vec<Metric>| {
            let metrics: Vec<_> = metrics
                .into_iter()
                .map(|metric| json!({"Name": metric.name(), "Unit": metric.unit()}))
                .collect();
            json!({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics})
        };
        let mut directives = vec![directive(&["function", "outcome"], vec![Metric::Decisions])];
        let others: Vec<_> = self
            .metrics
            .keys()
            .copied()
            .filter(|metric| *metric != Metric::Decisions)
            .collect();
        if !others.is_empty() {
            directives.push(directive(&["function"], others));
        }
        json!({"Timestamp": milliseconds_now(), "CloudWatchMetrics": directives})
    }
}

/// When the line was written: CloudWatch files the metrics under it. Decides nothing,
/// so it is no port.
#[expect(
    clippy::disallowed_methods,
    reason = "a log line's own time, which no rule reads"
)]
fn milliseconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(decision: Decision) -> Value {
        let mut document: Value = serde_json::from_str(&decision.document()).unwrap();
        document["id"].take()
    }

    #[test]
    fn an_identifier_is_kept_and_a_token_is_not() {
        let id = |text: &str| field(Decision::new("token", "issued").id("id", text));
        assert_eq!(id("demo-machine"), "demo-machine");
        assert_eq!(
            id("8f14e45f-ceea-467f-a8d5-0123456789ab"),
            "8f14e45f-ceea-467f-a8d5-0123456789ab"
        );
        assert_eq!(id(&format!("cr_at_{}", "A".repeat(70))), "[unfit]");
        for odd in ["a b", "a\nb", "é", "\"", "{"] {
            assert_eq!(id(odd), "[unfit]", "{odd}");
        }
    }

    #[test]
    fn the_calls_of_a_tally_become_metrics() {
        let mut tally = Tally::default();
        tally.add(Call::ReadFamily, Duration::from_millis(2));
        tally.add(Call::Sign, Duration::from_millis(9));
        let document: Value = serde_json::from_str(
            &Decision::new("authorizer", "allowed")
                .calls(&tally)
                .document(),
        )
        .unwrap();
        assert_eq!(document["StoreMillis"], 2.0);
        assert_eq!(document["KmsMillis"], 9.0);
        assert_eq!(document["Signatures"], 1);
        assert_eq!(document.get("EpochReads"), None);
    }

    #[test]
    fn one_line_carries_at_most_a_hundred_values_of_a_metric() {
        let mut decision = Decision::new("authorizer", "allowed");
        for _ in 0..150 {
            decision = decision.count(Metric::IdentityHits, 1);
        }
        let document: Value = serde_json::from_str(&decision.document()).unwrap();
        assert_eq!(document["IdentityHits"].as_array().unwrap().len(), 100);
    }
}
