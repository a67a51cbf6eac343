//! The items that the peers in Node and Python look tokens up in.

use super::Fault;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::system::{System, TABLE};

/// An end of 2099.
const EXPIRES: &str = "4102444799";

/// Gives every token an item of the peers' own.
pub(super) async fn plant(system: &System, tokens: &[String]) -> Result<(), Fault> {
    let client = system.backends().dynamodb();
    for token in tokens {
        let name = BASE64URL.encode(digest(&SHA256, token.as_bytes()));
        let mut put = client.put_item().table_name(TABLE);
        for (attribute, value) in [
            ("pk", format!("peer#{name}")),
            ("sk", "peer".to_owned()),
            ("state", "active".to_owned()),
            ("sub", "client|demo-machine".to_owned()),
            ("client_id", "demo-machine".to_owned()),
            ("scope", "orders:read".to_owned()),
        ] {
            put = put.item(attribute, AttributeValue::S(value));
        }
        put.item("exp", AttributeValue::N(EXPIRES.to_owned()))
            .send()
            .await?;
    }
    Ok(())
}
