//! What a function tells its operators: one line per decision, and no secret.
//!
//! In Lambda every line is JSON, and a decision's line is a CloudWatch metric
//! document at the same time, so that metrics cost no call. Libraries never get
//! below `warn`, whatever is asked: the runtime prints whole events at TRACE and the
//! SDK whole requests at DEBUG (D64). No variable but `CLOAKROOM_LOG` is looked at.

mod decision;
mod lines;
mod meter;
mod metric;
mod start;

pub use decision::Decision;
pub use meter::{Call, Meter, Metered, Tally};
pub use metric::Metric;
pub use start::Start;

use lines::Lines;
use std::io::Write as _;
use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt as _};

/// How lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// For CloudWatch.
    Json,
    /// For people, in local mode.
    Plain,
}

/// Starts logging to standard output. A second call changes nothing. `stack` is the
/// dimension that keeps the metrics of two systems in one account apart.
pub fn init(stack: &str, level: Level, format: Format) {
    let subscriber = subscriber(stack, level, format, print);
    let started = tracing::subscriber::set_global_default(subscriber);
    if started.is_ok() && format == Format::Json {
        std::panic::set_hook(Box::new(|panic| {
            // The place alone: a panic's text may quote what it choked on (D64).
            let place = panic.location();
            tracing::error!(
                target: "cloakroom::panic",
                file = place.map_or("", std::panic::Location::file),
                line = place.map_or(0, std::panic::Location::line),
                "panicked"
            );
        }));
    }
}

/// What [`init`] installs, with another place for the lines to go. Each comes with its end.
pub fn subscriber<W>(
    stack: &str,
    level: Level,
    format: Format,
    write: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: Fn(&str) + Send + Sync + 'static,
{
    let ours = LevelFilter::from_level(level);
    // Alarms are on metrics, so in Lambda those are written whatever is asked for. A person
    // who asks for less gets less.
    let metrics = match format {
        Format::Json => ours.max(LevelFilter::INFO),
        Format::Plain => ours,
    };
    let targets = Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_target("cloakroom", ours)
        .with_target(decision::TARGET, metrics)
        // Says in other words what the decision's line has said.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
        // The embedded DynamoDB warns of every refused condition, which is how codes and
        // tokens are used once; and of a table that is made and is there.
        .with_target("dynoxide::server", LevelFilter::ERROR);
    Registry::default()
        .with(targets)
        .with(Lines::new(stack, format, write))
}

/// A closed pipe must not end the function, as `println!` would.
fn print(line: &str) {
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// What `run` logs.
    fn logged(level: Level, format: Format, run: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        let subscriber = subscriber("shop", level, format, move |line: &str| {
            let line = line.strip_suffix('\n').expect("an end");
            written.lock().unwrap().push(line.to_owned());
        });
        tracing::subscriber::with_default(subscriber, run);
        lines.lock().unwrap().clone()
    }

    fn decision() -> Decision {
        Decision::new("authorizer", "allowed")
            .id("request_id", "JKJaXmPLvHcESHA=")
            .flag("first_use", true)
            .count(Metric::IdentityHits, 1)
            .millis(Metric::StoreMillis, Duration::from_micros(1500))
            .millis(Metric::StoreMillis, Duration::from_micros(2500))
            .count(Metric::Throttled, 1)
    }

    #[test]
    fn a_decision_is_one_line_of_json_and_a_metric_document() {
        let lines = logged(Level::INFO, Format::Json, || decision().emit());
        let [line] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        let mut document: serde_json::Value = serde_json::from_str(line).unwrap();
        let timestamp = document["_aws"]["Timestamp"].take();
        assert!(
            timestamp.as_u64().unwrap() > 1_600_000_000_000,
            "milliseconds"
        );
        assert_eq!(
            document,
            serde_json::json!({
                "_aws": {
                    "Timestamp": null,
                    "CloudWatchMetrics": [
                        {
                            "Namespace": "Cloakroom",
                            "Dimensions": [["stack", "function", "outcome"]],
                            "Metrics": [{"Name": "Decisions", "Unit": "Count"}],
                        },
                        {
                            "Namespace": "Cloakroom",
                            "Dimensions": [["stack", "function"]],
                            "Metrics": [
                                {"Name": "IdentityHits", "Unit": "Count"},
                                {"Name": "StoreMillis", "Unit": "Milliseconds"},
                            ],
                        },
                        {
                            "Namespace": "Cloakroom",
                            "Dimensions": [["stack"]],
                            "Metrics": [{"Name": "Throttled", "Unit": "Count"}],
                        },
                    ],
                },
                "stack": "shop",
                "function": "authorizer",
                "outcome": "allowed",
                "request_id": "JKJaXmPLvHcESHA=",
                "first_use": true,
                "Decisions": 1,
                "IdentityHits": 1,
                "StoreMillis": [1.5, 2.5],
                "Throttled": 1,
            })
        );
    }

    #[test]
    fn a_decision_in_local_mode_is_a_line_for_people() {
        let lines = logged(Level::INFO, Format::Plain, || decision().emit());
        assert_eq!(
            lines,
            [
                "INFO authorizer allowed IdentityHits=1 StoreMillis=[1.5,2.5] Throttled=1 first_use=true request_id=JKJaXmPLvHcESHA="
            ]
        );
    }

    #[test]
    fn metrics_do_not_obey_the_level_and_details_do() {
        let document = |level| -> serde_json::Value {
            let lines = logged(level, Format::Json, || decision().emit());
            let [line] = lines.as_slice() else {
                panic!("{level}: {lines:?}")
            };
            let mut document: serde_json::Value = serde_json::from_str(line).unwrap();
            document["_aws"]["Timestamp"].take();
            document
        };
        let mut full = document(Level::INFO);
        for level in [Level::DEBUG, Level::TRACE] {
            assert_eq!(document(level), full, "{level}");
        }
        let fields = full.as_object_mut().unwrap();
        fields.remove("request_id").unwrap();
        fields.remove("first_use").unwrap();
        for level in [Level::WARN, Level::ERROR] {
            assert_eq!(document(level), full, "{level}");
        }
    }

    #[test]
    fn a_person_who_asks_for_less_gets_no_decisions() {
        assert!(logged(Level::WARN, Format::Plain, || decision().emit()).is_empty());
    }

    #[test]
    fn libraries_stay_at_warn_whatever_is_asked_d64() {
        let lines = logged(Level::TRACE, Format::Json, || {
            tracing::trace!(target: "lambda_runtime::layers::api_response", "canary");
            tracing::debug!(target: "aws_smithy_runtime::client", "canary");
            tracing::info!(target: "hyper_util", "canary");
            tracing::debug!(target: "reqwest::connect", "canary");
            tracing::debug!(target: "rustls", "canary");
            tracing::debug!(target: "h2", "canary");
            tracing::info!(target: "not_cloakroom", "canary");
            tracing::error!(target: "lambda_runtime::layers::panic", "canary");
            tracing::warn!(target: "dynoxide::server", "canary");
            let _span =
                tracing::info_span!(target: "lambda_runtime", "invoke", canary = 1).entered();
            tracing::warn!(target: "aws_config", "heard");
            tracing::error!(target: "dynoxide::server", "heard");
            tracing::warn!(target: "dynoxide", "heard");
            tracing::trace!(target: "cloakroom_domain", "heard");
        });
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(
            lines
                .iter()
                .all(|line| line.contains("heard") && !line.contains("canary"))
        );
    }

    #[test]
    fn a_level_above_warn_holds_for_libraries_too() {
        let lines = logged(Level::ERROR, Format::Json, || {
            tracing::warn!(target: "aws_config", "quiet");
        });
        assert!(lines.is_empty());
    }

    #[test]
    fn nothing_logged_can_start_a_line_or_an_escape_sequence_d65() {
        const NASTY: &str = "a\r\n{\"outcome\":\"allowed\"}\u{1b}[31m\u{9b}2J\u{202e}\u{0}\u{7f}";
        for format in [Format::Json, Format::Plain] {
            let lines = logged(Level::INFO, format, || {
                tracing::warn!(target: "cloakroom", agent = NASTY, debug = ?NASTY, "{NASTY}");
                Decision::new("token", "refused").id("client", NASTY).emit();
            });
            assert_eq!(lines.len(), 2);
            for line in &lines {
                assert!(
                    line.chars().all(|c| !c.is_control() && c != '\u{202e}'),
                    "{line:?}"
                );
                if format == Format::Json {
                    serde_json::from_str::<serde_json::Value>(line).unwrap();
                }
            }
        }
    }

    #[test]
    fn an_error_keeps_its_fields() {
        let lines = logged(Level::INFO, Format::Json, || {
            tracing::error!(target: "cloakroom::panic", file = "a.rs", line = 7, "panicked");
        });
        assert_eq!(
            lines,
            [
                r#"{"file":"a.rs","level":"ERROR","line":7,"message":"panicked","target":"cloakroom::panic"}"#
            ]
        );
    }
}
