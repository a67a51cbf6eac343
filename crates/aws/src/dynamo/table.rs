//! The table itself, for setup and local mode. In a deployed stack the template
//! makes it, with recovery and deletion protection.

use super::item::{PK, SK, TTL};
use crate::CallFailure;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use cloakroom_domain::ports::StoreError;
use std::time::Duration;

/// How often, and how many times, a new table is asked whether it is ready.
const POLL: Duration = Duration::from_millis(500);
const POLLS: u32 = 120;

/// Makes the table, if it is not there, and waits until it can be used.
///
/// # Errors
///
/// When the store refuses, or the table does not become ready.
pub async fn create_table(client: &Client, table: &str) -> Result<(), StoreError> {
    let created = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key(PK, KeyType::Hash)?)
        .key_schema(key(SK, KeyType::Range)?)
        .attribute_definitions(attribute(PK)?)
        .attribute_definitions(attribute(SK)?)
        .send()
        .await;
    match created {
        Err(error)
            if !error
                .as_service_error()
                .is_some_and(CreateTableError::is_resource_in_use_exception) =>
        {
            return Err(CallFailure::new("CreateTable", &error).into());
        }
        _ => {}
    }
    wait_until_active(client, table).await?;
    expire_items(client, table).await
}

async fn wait_until_active(client: &Client, table: &str) -> Result<(), StoreError> {
    for _ in 0..POLLS {
        let output = client
            .describe_table()
            .table_name(table)
            .send()
            .await
            .map_err(|error| CallFailure::new("DescribeTable", &error))?;
        let status = output.table().and_then(|table| table.table_status());
        if status == Some(&TableStatus::Active) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(CallFailure::of("DescribeTable", "the table does not become ready").into())
}

/// Switches TTL on; DynamoDB refuses to switch on what is on.
async fn expire_items(client: &Client, table: &str) -> Result<(), StoreError> {
    let output = client
        .describe_time_to_live()
        .table_name(table)
        .send()
        .await
        .map_err(|error| CallFailure::new("DescribeTimeToLive", &error))?;
    let status = output
        .time_to_live_description()
        .and_then(|ttl| ttl.time_to_live_status());
    if matches!(
        status,
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    ) {
        return Ok(());
    }
    let ttl = TimeToLiveSpecification::builder()
        .attribute_name(TTL)
        .enabled(true)
        .build()
        .map_err(incomplete)?;
    client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(ttl)
        .send()
        .await
        .map_err(|error| CallFailure::new("UpdateTimeToLive", &error))?;
    Ok(())
}

fn key(name: &str, kind: KeyType) -> Result<KeySchemaElement, StoreError> {
    KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(kind)
        .build()
        .map_err(incomplete)
}

fn attribute(name: &str) -> Result<AttributeDefinition, StoreError> {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .map_err(incomplete)
}

fn incomplete(_: BuildError) -> StoreError {
    CallFailure::of("CreateTable", "the request is incomplete").into()
}
