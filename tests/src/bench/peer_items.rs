//! The items that the peers in Node and Python look tokens up in, and items that nobody
//! looks up.

use super::Fault;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
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

/// BatchWriteItem takes no more.
const BATCH: usize = 25;

/// Makes the table so much larger.
pub(super) async fn fill(system: &System, count: usize) -> Result<(), Fault> {
    let client = system.backends().dynamodb();
    let mut names = (0..count).map(|n| {
        // Spread as families are.
        BASE64URL.encode(digest(&SHA256, &n.to_le_bytes()))
    });
    loop {
        let batch = names
            .by_ref()
            .take(BATCH)
            .map(|name| {
                let text = |text: &str| AttributeValue::S(text.to_owned());
                let put = PutRequest::builder()
                    .item("pk", text(&format!("f#{name}")))
                    .item("sk", text("f"))
                    .item("state", text("active"))
                    .build()?;
                Ok(WriteRequest::builder().put_request(put).build())
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        let written = client
            .batch_write_item()
            .request_items(TABLE, batch)
            .send()
            .await?;
        if written
            .unprocessed_items()
            .is_some_and(|left| !left.is_empty())
        {
            return Err("the table did not take all items".into());
        }
    }
}
