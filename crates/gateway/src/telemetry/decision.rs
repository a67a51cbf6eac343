//! The one line that a function writes per request.

use super::meter::{Call, Tally};
use super::metric::Metric;
use serde::ser::{Serialize, SerializeMap, Serializer};
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
    fields: Vec<(&'static str, Field)>,
    metrics: BTreeMap<Metric, Vec<Number>>,
}

/// What a field can say.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
enum Field {
    Word(&'static str),
    Words(Vec<&'static str>),
    Number(u64),
    Flag(bool),
    Id(String),
}

/// A value of a metric.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
enum Number {
    Count(u64),
    Millis(f64),
}

impl Decision {
    /// A decision of `function`. `outcome` is a dimension of the metrics: one of few
    /// words.
    pub fn new(function: &'static str, outcome: &'static str) -> Self {
        Self {
            function,
            outcome,
            fields: Vec::new(),
            metrics: BTreeMap::from([(Metric::Decisions, vec![Number::Count(1)])]),
        }
    }

    /// Adds a word of ours.
    pub fn word(self, key: &'static str, word: &'static str) -> Self {
        self.field(key, Field::Word(word))
    }

    /// Adds words of ours.
    pub fn words(self, key: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        self.field(key, Field::Words(words.into_iter().collect()))
    }

    /// Adds a number.
    pub fn number(self, key: &'static str, number: u64) -> Self {
        self.field(key, Field::Number(number))
    }

    /// Adds a yes or no.
    pub fn flag(self, key: &'static str, flag: bool) -> Self {
        self.field(key, Field::Flag(flag))
    }

    /// Adds an identifier that is no secret: of a request, of a client, or the tag of
    /// a family or a subject. What does not look like one is left out, and a token
    /// (76 characters) or a JWT does not fit.
    pub fn id(self, key: &'static str, id: &str) -> Self {
        let fit = id.len() <= 64
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~:/+=|".contains(&b));
        let id = if fit { id } else { "[unfit]" };
        self.field(key, Field::Id(id.to_owned()))
    }

    /// Adds to a metric.
    pub fn count(self, metric: Metric, count: u64) -> Self {
        self.metric(metric, Number::Count(count))
    }

    /// Adds a measured time to a metric.
    pub fn millis(self, metric: Metric, time: Duration) -> Self {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.metric(metric, Number::Millis(f64::from(micros) / 1000.0))
    }

    /// Adds the network calls that it took.
    pub fn calls(mut self, tally: &Tally) -> Self {
        for (call, time) in tally.calls() {
            self = self.millis(call.metric(), *time);
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

    fn field(mut self, key: &'static str, value: Field) -> Self {
        self.fields.push((key, value));
        self
    }

    fn metric(mut self, metric: Metric, value: Number) -> Self {
        let values = self.metrics.entry(metric).or_default();
        if values.len() < MAX_VALUES {
            values.push(value);
        }
        self
    }

    /// CloudWatch's embedded metric format.
    fn document(&self) -> String {
        // What it is made of can be written: words, numbers, and names without a quote.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("_aws", &Directives::of(self))?;
        document.serialize_entry("function", self.function)?;
        document.serialize_entry("outcome", self.outcome)?;
        for (key, value) in &self.fields {
            document.serialize_entry(key, value)?;
        }
        for (metric, values) in &self.metrics {
            match values.as_slice() {
                [value] => document.serialize_entry(metric.name(), value)?,
                values => document.serialize_entry(metric.name(), values)?,
            }
        }
        document.end()
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directives {
    timestamp: u64,
    cloud_watch_metrics: Vec<Directive>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [&'static [&'static str]; 1],
    metrics: Vec<Definition>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

impl Directives {
    /// One directive for each set of dimensions. `stack` is written by [`Lines`], which
    /// alone knows it.
    ///
    /// [`Lines`]: super::lines::Lines
    fn of(decision: &Decision) -> Self {
        let mut directives: Vec<Directive> = Vec::new();
        for metric in decision.metrics.keys() {
            let definition = Definition {
                name: metric.name(),
                unit: metric.unit(),
            };
            let same = |directive: &&mut Directive| directive.dimensions == [metric.dimensions()];
            match directives.iter_mut().find(same) {
                Some(directive) => directive.metrics.push(definition),
                None => directives.push(Directive {
                    namespace: NAMESPACE,
                    dimensions: [metric.dimensions()],
                    metrics: vec![definition],
                }),
            }
        }
        Self {
            timestamp: milliseconds_now(),
            cloud_watch_metrics: directives,
        }
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
    use serde_json::Value;

    fn field(decision: &Decision) -> Value {
        let mut document: Value = serde_json::from_str(&decision.document()).unwrap();
        document["id"].take()
    }

    #[test]
    fn an_identifier_is_kept_and_a_token_is_not() {
        let id = |text: &str| field(&Decision::new("token", "issued").id("id", text));
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
