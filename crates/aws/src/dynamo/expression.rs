//! Placeholders of an expression: every name and value goes through one, since
//! many of our names are reserved words and no value may become syntax.

use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;

/// The names and values behind an expression's placeholders.
#[derive(Default)]
pub(super) struct Placeholders {
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

impl Placeholders {
    /// A document path of these steps.
    pub(super) fn path(&mut self, steps: &[&str]) -> String {
        let steps: Vec<_> = steps.iter().map(|step| self.name(step)).collect();
        steps.join(".")
    }

    /// A value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        self.values.push(value);
        format!(":v{}", self.values.len() - 1)
    }

    /// What the request says of them. DynamoDB refuses an empty map.
    pub(super) fn finish(
        self,
    ) -> (
        HashMap<String, String>,
        Option<HashMap<String, AttributeValue>>,
    ) {
        let names = self.names.into_iter().enumerate();
        let values = self.values.into_iter().enumerate();
        let values: HashMap<_, _> = values.map(|(i, value)| (format!(":v{i}"), value)).collect();
        (
            names.map(|(i, name)| (format!("#n{i}"), name)).collect(),
            Some(values).filter(|values| !values.is_empty()),
        )
    }

    fn name(&mut self, name: &str) -> String {
        let known = self.names.iter().position(|each| each == name);
        let at = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        format!("#n{at}")
    }
}
