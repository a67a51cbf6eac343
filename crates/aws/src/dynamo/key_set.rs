//! The key set of data-key mode: one item, `keys`.

use super::item::{self, Item};
use super::{CallFailure, DynamoStore};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::keyset::StoredKeySet;
use cloakroom_domain::ports::{ReadKeySet, StoreError};

/// The item's keys.
const KEYS: &str = "keys";

/// The signed record.
const RECORD: &str = "record";

/// The wrapped private keys by `kid`.
const WRAPPED: &str = "wrapped";

/// Why a key set was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteKeySetError {
    /// It is not the one any more that the new one was made from.
    #[error("the key set has changed meanwhile")]
    Changed,
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DynamoStore {
    /// Puts `next` in the place of `previous` (none: where there was none), if that
    /// is still what is there. No function may do this: IAM gives `PutItem` on
    /// `keys` to whoever runs `cloakroom keys rotate`.
    ///
    /// # Errors
    ///
    /// [`WriteKeySetError::Changed`] if somebody else was faster.
    pub async fn write_key_set(
        &self,
        previous: Option<&StoredKeySet>,
        next: &StoredKeySet,
    ) -> Result<(), WriteKeySetError> {
        let wrapped = next
            .wrapped
            .iter()
            .map(|(kid, key)| (kid.clone(), AttributeValue::B(Blob::new(key.clone()))))
            .collect();
        let mut item = item::key(KEYS, KEYS);
        item.insert(RECORD.into(), item::text(&next.record));
        item.insert(WRAPPED.into(), AttributeValue::M(wrapped));
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .expression_attribute_names("#record", RECORD);
        let request = match previous {
            None => request.condition_expression("attribute_not_exists(#record)"),
            Some(previous) => request
                .condition_expression("#record = :previous")
                .expression_attribute_values(":previous", item::text(&previous.record)),
        };
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Err(WriteKeySetError::Changed)
            }
            Err(error) => Err(StoreError::from(CallFailure::new("PutItem", &error)).into()),
        }
    }
}

impl ReadKeySet for DynamoStore {
    async fn key_set(&self) -> Result<Option<StoredKeySet>, StoreError> {
        let item = self.read(item::key(KEYS, KEYS)).await?;
        item.map(stored).transpose()
    }
}

/// The item may be anybody's; what has not its shape is no key set.
fn stored(mut item: Item) -> Result<StoredKeySet, StoreError> {
    let malformed = || StoreError::Malformed(KEYS);
    let Some(AttributeValue::S(record)) = item.remove(RECORD) else {
        return Err(malformed());
    };
    let Some(AttributeValue::M(wrapped)) = item.remove(WRAPPED) else {
        return Err(malformed());
    };
    let wrapped = wrapped
        .into_iter()
        .map(|(kid, key)| match key {
            AttributeValue::B(key) => Ok((kid, key.into_inner())),
            _ => Err(malformed()),
        })
        .collect::<Result<_, _>>()?;
    Ok(StoredKeySet { record, wrapped })
}
