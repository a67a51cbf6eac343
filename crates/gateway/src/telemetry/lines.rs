//! Turns events into lines.

use super::Format;
use super::decision::TARGET;
use cloakroom_jose::json;
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

pub(super) struct Lines<W> {
    format: Format,
    /// How a decision's document begins: with the dimension that is the same for all.
    start: String,
    write: W,
}

impl<W> Lines<W> {
    pub(super) fn new(stack: &str, format: Format, write: W) -> Self {
        Self {
            format,
            start: format!("{{\"stack\":{},", Value::from(stack)),
            write,
        }
    }
}

/// The field in which a decision comes.
const DOCUMENT: &str = "document";

impl<S: Subscriber, W: Fn(&str) + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if self.format == Format::Json && metadata.target() == TARGET {
            // Written on every request, and made of nothing that needs to be escaped.
            event.record(&mut Written(self));
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let document = fields.0.get(DOCUMENT).and_then(Value::as_str);
        let line = match (self.format, document) {
            (Format::Plain, Some(document)) if metadata.target() == TARGET => {
                decision_line(document)
            }
            (Format::Json, _) => {
                fields.set("level", metadata.level().as_str().into());
                fields.set("target", metadata.target().into());
                Value::Object(fields.0).to_string()
            }
            (Format::Plain, _) => {
                let message = fields.0.remove("message");
                let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
                let start = format!("{} {}: {message}", metadata.level(), metadata.target());
                plain(start, &fields.0)
            }
        };
        (self.write)(&(line + "\n"));
    }
}

/// A decision as people like to read it.
fn decision_line(document: &str) -> String {
    let mut fields = match json::to_serde_json(document.as_bytes()) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut take = |name| match fields.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let start = format!("INFO {} {}", take("function"), take("outcome"));
    fields.remove("_aws");
    fields.remove("Decisions");
    plain(start, &fields)
}

fn plain(start: String, fields: &Map<String, Value>) -> String {
    fields
        .iter()
        .fold(start, |line, (name, value)| match value {
            Value::String(text) => line + " " + name + "=" + text,
            other => line + " " + name + "=" + &other.to_string(),
        })
}

/// Hands on a decision's document, with its stack.
struct Written<'a, W>(&'a Lines<W>);

impl<W: Fn(&str)> Visit for Written<'_, W> {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == DOCUMENT
            && let Some(rest) = value.strip_prefix('{')
        {
            (self.0.write)(&[&*self.0.start, rest, "\n"].concat());
        }
    }
}

/// The fields of an event, with nothing in them that a terminal would obey.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), printable(&format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), printable(value).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }
}

/// Escapes line breaks, escape sequences and bidirectional controls (D65). JSON
/// would let some of them through.
fn printable(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => result.push(c),
            _ => result.extend(c.escape_debug()),
        }
    }
    result
}
