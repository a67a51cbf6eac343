//! The one line that a function writes per request.

use super::meter::{Call, Tally};
use super::metric::Metric;
use cloakroom_domain::grant::TokenFault;
use cloakroom_domain::ports::StoreError;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The target of the lines themselves: [`subscriber`] lets them pass at every level.
///
/// [`subscriber`]: super::subscriber
pub(super) const TARGET: &str = "cloakroom::metrics";

/// The target of what a line says beside its metrics: it obeys `CLOAKROOM_LOG`.
const DETAILS: &str = "cloakroom::decision";

/// CloudWatch takes no more values of one metric from one line.
const MAX_VALUES: usize = 100;

/// What was decided, and what it took. Its values are of kinds that cannot carry a
/// secret: our own words, numbers, and short identifiers. No address of a client.
///
/// It is written on every request, so it is put together as the text that it becomes:
/// nothing of it needs to be escaped.
#[derive(Debug)]
#[must_use = "a decision is not logged until it is emitted"]
pub struct Decision {
    /// The line as far as it is known.
    line: String,
    metrics: Vec<(Metric, Number)>,
    /// Whether the line says more than its metrics.
    details: bool,
}

/// A value of a metric.
#[derive(Clone, Copy, Debug)]
enum Number {
    Count(u64),
    Millis(f64),
}

/// Of most lines.
const LENGTH: usize = 1024;
const METRICS: usize = 8;

impl Decision {
    /// A decision of `function`. `outcome` is a dimension of the metrics: one of few
    /// words. `unavailable` is also counted as [`Metric::Unavailable`].
    pub fn new(function: &'static str, outcome: &'static str) -> Self {
        let details = tracing::enabled!(target: DETAILS, tracing::Level::INFO);
        Self::begin(function, outcome, details)
    }

    fn begin(function: &'static str, outcome: &'static str, details: bool) -> Self {
        let mut line = String::with_capacity(LENGTH);
        line.push_str(r#"{"function":""#);
        line.push_str(function);
        line.push_str(r#"","outcome":""#);
        line.push_str(outcome);
        line.push('"');
        let mut metrics = Vec::with_capacity(METRICS);
        metrics.push((Metric::Decisions, Number::Count(1)));
        if outcome == "unavailable" {
            metrics.push((Metric::Unavailable, Number::Count(1)));
        }
        Self {
            line,
            metrics,
            details,
        }
    }

    /// Adds a word of ours.
    pub fn word(self, key: &'static str, word: &'static str) -> Self {
        self.detail(key, |line| line.text(word))
    }

    /// Adds why a request could not be decided. An item that this release cannot read is
    /// counted, too.
    pub fn because(self, why: &'static str) -> Self {
        let line = self.word("reason", why);
        match why {
            TokenFault::UNREADABLE => line.count(Metric::UnknownFormat, 1),
            StoreError::MALFORMED => line.count(Metric::SealsBroken, 1),
            _ => line,
        }
    }

    /// Adds words of ours.
    pub fn words(self, key: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        self.detail(key, |line| line.list(words, Self::text))
    }

    /// Adds a number.
    pub fn number(self, key: &'static str, number: u64) -> Self {
        self.detail(key, |line| line.value(Number::Count(number)))
    }

    /// Adds a yes or no.
    pub fn flag(self, key: &'static str, flag: bool) -> Self {
        self.detail(key, |line| {
            line.line.push_str(if flag { "true" } else { "false" });
        })
    }

    /// Adds an identifier that is no secret: of a request, of a client, or the tag of
    /// a family or a subject. What does not look like one is left out, and a token
    /// (76 characters) or a JWT does not fit.
    pub fn id(self, key: &'static str, id: &str) -> Self {
        let fit = id.len() <= 64
            && id.bytes().all(|b| {
                matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
                    | b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b'+' | b'=' | b'|')
            });
        self.detail(key, |line| line.text(if fit { id } else { "[unfit]" }))
    }

    fn detail(mut self, key: &'static str, write: impl FnOnce(&mut Self)) -> Self {
        if self.details {
            self.key(key);
            write(&mut self);
        }
        self
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

    /// Adds the network calls that it took, and what they said about keys.
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
        if tally.throttled() > 0 {
            self = self.count(Metric::Throttled, tally.throttled());
        }
        match tally.signing_key_days_left() {
            Some(days) => self.count(Metric::SigningKeyDaysLeft, days),
            None => self,
        }
    }

    /// Writes the line.
    pub fn emit(self) {
        if tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            tracing::info!(target: TARGET, document = self.document().as_str());
        }
    }

    fn metric(mut self, metric: Metric, value: Number) -> Self {
        self.metrics.push((metric, value));
        self
    }

    /// CloudWatch's embedded metric format.
    fn document(mut self) -> String {
        // In the order of their declaration, and within one in that of time.
        self.metrics.sort_by_key(|(metric, _)| *metric);
        let metrics = std::mem::take(&mut self.metrics);
        let metrics: Vec<_> = metrics
            .chunk_by(|(one, _), (other, _)| one == other)
            .filter_map(|values| Some((values.first()?.0, values)))
            .collect();
        for (metric, values) in &metrics {
            self.key(metric.name());
            match values {
                [(_, value)] => self.value(*value),
                values => self.list(values.iter().take(MAX_VALUES), |line, (_, value)| {
                    line.value(*value);
                }),
            }
        }
        self.key("_aws");
        self.line.push_str(r#"{"Timestamp":"#);
        self.value(Number::Count(milliseconds_now()));
        self.line.push_str(r#","CloudWatchMetrics":"#);
        let alike = metrics.chunk_by(|(one, _), (other, _)| one.dimensions() == other.dimensions());
        self.list(alike, Self::directive);
        self.line.push_str("}}");
        self.line
    }

    /// One for each set of dimensions. `stack` is written by [`Lines`], which alone knows
    /// it.
    ///
    /// [`Lines`]: super::lines::Lines
    fn directive<T>(&mut self, metrics: &[(Metric, T)]) {
        let dimensions = metrics
            .first()
            .map_or(&[][..], |(metric, _)| metric.dimensions());
        self.line
            .push_str(r#"{"Namespace":"Cloakroom","Dimensions":["#);
        self.list(dimensions, |line, name| line.text(name));
        self.line.push_str(r#"],"Metrics":"#);
        self.list(metrics, |line, (metric, _)| {
            line.line.push_str(r#"{"Name":"#);
            line.text(metric.name());
            line.line.push_str(r#","Unit":"#);
            line.text(metric.unit());
            line.line.push('}');
        });
        self.line.push('}');
    }

    fn key(&mut self, key: &'static str) {
        self.line.push(',');
        self.text(key);
        self.line.push(':');
    }

    /// What needs no escape: see [`Decision`].
    fn text(&mut self, text: &str) {
        self.line.push('"');
        self.line.push_str(text);
        self.line.push('"');
    }

    fn value(&mut self, number: Number) {
        // Writing to a string does not fail.
        let _ = match number {
            Number::Count(number) => write!(self.line, "{number}"),
            Number::Millis(number) => write!(self.line, "{number}"),
        };
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.line.push('[');
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                self.line.push(',');
            }
            write(self, item);
        }
        self.line.push(']');
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

    fn field(decision: Decision) -> Value {
        let mut document: Value = serde_json::from_str(&decision.document()).unwrap();
        document["id"].take()
    }

    #[test]
    fn an_identifier_is_kept_and_a_token_is_not() {
        let id = |text: &str| field(Decision::begin("token", "issued", true).id("id", text));
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
            &Decision::begin("authorizer", "allowed", true)
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
    fn a_line_is_json_whatever_is_in_it() {
        let line = Decision::begin("token", "issued", true)
            .word("reason", "policy")
            .words("none", [])
            .words("some", ["a", "b"])
            .number("number", u64::MAX)
            .flag("yes", true)
            .flag("no", false)
            .id("id", "a\\")
            .count(Metric::Signatures, 2)
            .millis(Metric::StoreMillis, Duration::from_secs(10_000))
            .millis(Metric::StoreMillis, Duration::ZERO)
            .count(Metric::IdentityHits, 1);
        let mut document: Value = serde_json::from_str(&line.document()).unwrap();
        let metrics = document["_aws"]["CloudWatchMetrics"][1]["Metrics"].take();
        let names: Vec<_> = metrics.as_array().unwrap().iter().collect();
        let names: Vec<_> = names.iter().map(|each| each["Name"].as_str()).collect();
        assert_eq!(
            names,
            [
                Some("IdentityHits"),
                Some("Signatures"),
                Some("StoreMillis")
            ]
        );
        document["_aws"].take();
        assert_eq!(
            document,
            serde_json::json!({
                "_aws": null,
                "function": "token",
                "outcome": "issued",
                "reason": "policy",
                "none": [],
                "some": ["a", "b"],
                "number": u64::MAX,
                "yes": true,
                "no": false,
                "id": "[unfit]",
                "Decisions": 1,
                "IdentityHits": 1,
                "Signatures": 2,
                "StoreMillis": [4_294_967.295, 0],
            })
        );
    }

    #[test]
    fn one_line_carries_at_most_a_hundred_values_of_a_metric() {
        let mut decision = Decision::begin("authorizer", "allowed", true);
        for _ in 0..150 {
            decision = decision.count(Metric::IdentityHits, 1);
        }
        let document: Value = serde_json::from_str(&decision.document()).unwrap();
        assert_eq!(document["IdentityHits"].as_array().unwrap().len(), 100);
    }

    #[test]
    fn without_details_a_line_still_has_its_dimensions_and_metrics() {
        let line = Decision::begin("token", "unavailable", false)
            .because(TokenFault::UNREADABLE)
            .words("some", ["a"])
            .number("number", 1)
            .flag("yes", true)
            .id("client", "demo-machine");
        let mut document: Value = serde_json::from_str(&line.document()).unwrap();
        document["_aws"].take();
        assert_eq!(
            document,
            serde_json::json!({
                "_aws": null,
                "function": "token",
                "outcome": "unavailable",
                "Decisions": 1,
                "Unavailable": 1,
                "UnknownFormat": 1,
            })
        );
    }

    #[test]
    fn what_is_wrong_with_an_item_is_counted_by_its_kind() {
        for (why, metric) in [
            (TokenFault::UNREADABLE, Some("UnknownFormat")),
            (StoreError::MALFORMED, Some("SealsBroken")),
            ("the store throttled", None),
        ] {
            let line = Decision::begin("session", "unavailable", true).because(why);
            let document: Value = serde_json::from_str(&line.document()).unwrap();
            for name in ["UnknownFormat", "SealsBroken"] {
                assert_eq!(document.get(name).is_some(), metric == Some(name), "{why}");
            }
            assert_eq!(document["reason"], why);
        }
    }
}
