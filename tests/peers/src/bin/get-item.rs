//! The floor of a miss: reads the login's item, consistently, and does nothing with it.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::value::RawValue;

/// As in `empty`.
const ANSWER: &str = concat!(
    r#"{"principalId":"nobody","policyDocument":{"Version":"2012-10-17","Statement":["#,
    r#"{"Action":"execute-api:Invoke","Effect":"Allow","Resource":"*"}]}}"#
);

/// Where a token's family id begins in an event, and how long it is as text.
const TOKEN: &str = "Bearer cr_at_";
const TOKEN_BODY: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sdk = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let client = Client::new(&sdk);
    let (client, table) = (&client, &table()?);
    run(service_fn(
        move |event: LambdaEvent<Box<RawValue>>| async move {
            let key = key(event.payload.get()).ok_or("no token in the event")?;
            let answer = client
                .get_item()
                .table_name(table)
                .key("pk", AttributeValue::S(key))
                .key("sk", AttributeValue::S("f".to_owned()))
                .consistent_read(true)
                .send()
                .await?;
            answer.item.ok_or("no such item")?;
            Ok::<_, Error>(RawValue::from_string(ANSWER.to_owned())?)
        },
    ))
    .await
}

#[expect(clippy::disallowed_methods, reason = "the peer's whole configuration")]
fn table() -> Result<String, Error> {
    Ok(std::env::var("CLOAKROOM_TABLE")?)
}

/// The family's key: the first 16 bytes of what the token says.
fn key(event: &str) -> Option<String> {
    let (_, rest) = event.split_once(TOKEN)?;
    let body = BASE64URL.decode(rest.get(..TOKEN_BODY)?).ok()?;
    Some(format!("f#{}", BASE64URL.encode(body.get(..16)?)))
}
