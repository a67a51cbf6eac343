//! Full write access to the table: what an attacker has who must not get further.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_local::system::{System, TABLE};
use std::collections::HashMap;

/// An item, or a map in one.
pub type Item = HashMap<String, AttributeValue>;

/// The table, past all of our rules.
#[derive(Debug)]
pub struct Table(Client);

impl Table {
    /// The table of a system.
    pub fn of(system: &System) -> Self {
        Self(system.backends().dynamodb())
    }

    /// The family of a token.
    pub async fn family(&self, token: &str) -> Item {
        let answer = self
            .0
            .get_item()
            .table_name(TABLE)
            .set_key(Some(family_key(token)))
            .consistent_read(true)
            .send()
            .await
            .unwrap();
        answer.item.expect("a family")
    }

    /// Writes an item, whatever was there.
    pub async fn put(&self, item: &Item) {
        self.0
            .put_item()
            .table_name(TABLE)
            .set_item(Some(item.clone()))
            .send()
            .await
            .unwrap();
    }

    /// How many items there are.
    pub async fn count(&self) -> usize {
        self.items().await.len()
    }

    /// All items.
    pub async fn items(&self) -> Vec<Item> {
        let answer = self.0.scan().table_name(TABLE).send().await.unwrap();
        answer.items.unwrap_or_default()
    }
}

/// Under which key a token's family is.
pub fn family_key(token: &str) -> Item {
    let id = OpaqueToken::parse(token).unwrap().family().to_text();
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(format!("f#{id}"))),
        ("sk".to_owned(), AttributeValue::S("f".to_owned())),
    ])
}

/// Under which name a token's entry is.
pub fn digest(token: &str) -> String {
    OpaqueToken::parse(token).unwrap().digest().to_text()
}

/// How log lines name a token's family.
pub fn family_tag(token: &str) -> String {
    OpaqueToken::parse(token).unwrap().family().tag()
}

/// The entries of a family.
pub fn tokens(item: &mut Item) -> &mut Item {
    map(item, "toks")
}

/// A token's entry.
pub fn entry<'a>(item: &'a mut Item, token: &str) -> &'a mut Item {
    map(tokens(item), &digest(token))
}

/// A map in a map.
pub fn map<'a>(item: &'a mut Item, name: &str) -> &'a mut Item {
    match item.get_mut(name) {
        Some(AttributeValue::M(map)) => map,
        other => panic!("{name} is no map: {other:?}"),
    }
}

/// A number.
pub fn number(item: &Item, name: &str) -> u64 {
    item[name].as_n().unwrap().parse().unwrap()
}

/// Text as it is stored.
pub fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// A number as it is stored.
#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
pub fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Bytes as they are stored.
pub fn b(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}
