//! DynamoDB: where families are kept.
//!
//! One table, `pk` and `sk`, no index. Every read is strongly consistent and
//! every write carries its condition, so that whoever asks last decides nothing.
//! [`item`] is the layout, [`update`] turns a transition into one UpdateItem.

mod answer;
mod expression;
mod item;
mod key_set;
mod scan;
mod table;
mod tombstones;
mod update;

use crate::CallFailure;
use crate::failure::is_throttle;
use answer::WholeAnswers;
pub use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use cloakroom_domain::family::{FamilyId, FamilyRecord, IndexKey, Transition};
use cloakroom_domain::ports::{
    CreateError, CreateFamily, FindFamily, OnceName, ReadEpoch, StoreError, UpdateError,
    UpdateFamily, UseOnce,
};
use cloakroom_domain::time::UnixTime;
use item::{Item, NAMES, PK};
use std::time::Duration;
use update::Plan;

pub use key_set::WriteKeySetError;
pub use scan::{Scan, Seen};
pub use table::create_table;

/// A tombstone's and the epoch's moment.
const NOT_BEFORE: &str = "not_before";

/// Who used a name up.
const OWNER: &str = "owner";

/// How often a family's creation is tried when transactions conflict: two logins
/// of one subject at once check the same tombstone.
const CREATE_ATTEMPTS: u32 = 4;

/// The table.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    /// Uses `table` through `client`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the store is made of it, and callers have no use for it then"
    )]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        let config = client.config().to_builder().interceptor(WholeAnswers);
        Self {
            client: Client::from_conf(config.build()),
            table: table.into(),
        }
    }

    /// Declares dead everything that was issued before `now`, and returns the
    /// epoch in force, which never moves back.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    pub async fn bump_epoch(&self, now: UnixTime) -> Result<UnixTime, StoreError> {
        let key = item::key("epoch", "epoch");
        self.raise(key, NOT_BEFORE, now, None).await?;
        self.epoch().await
    }

    async fn read(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key.clone()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| CallFailure::new("GetItem", &error))?;
        let is_asked_for = |item: &Item| key.iter().all(|(name, key)| item.get(name) == Some(key));
        match output.item {
            Some(item) if !is_asked_for(&item) => {
                Err(CallFailure::of("GetItem", "another item answered").into())
            }
            item => Ok(item),
        }
    }

    async fn carry_out(&self, family: FamilyId, plan: &Plan<'_>) -> Result<(), UpdateError> {
        let update = plan.render();
        let outcome = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::family_key(family)))
            .condition_expression(update.condition)
            .update_expression(update.change)
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(update.values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = outcome else { return Ok(()) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                let old = refusal.item().filter(|item| !item.is_empty());
                let old = old
                    .map(|item| item::read_family(family, item))
                    .transpose()?;
                Err(UpdateError::Refused(old.map(Box::new)))
            }
            _ => Err(StoreError::from(CallFailure::new("UpdateItem", &error)).into()),
        }
    }

    async fn try_create(
        &self,
        items: Vec<TransactWriteItem>,
        first_check: usize,
    ) -> Result<(), CreateError> {
        // The SDK adds a token of its own, so that a second attempt of it finds
        // the first one done.
        let outcome = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await;
        outcome
            .map(drop)
            .map_err(|error| creation_fault(&error, first_check))
    }

    fn put(&self, item: Item) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .build()
            .map_err(|_| CallFailure::of("TransactWriteItems", "a put is incomplete").into())
    }

    fn check(
        &self,
        key: &IndexKey,
        authenticated_at: UnixTime,
    ) -> Result<ConditionCheck, StoreError> {
        ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(item::tombstone_key(key)))
            .condition_expression("attribute_not_exists(#pk) OR #not_before <= :authenticated_at")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#not_before", NOT_BEFORE)
            .expression_attribute_values(":authenticated_at", item::number(authenticated_at.0))
            .build()
            .map_err(|_| CallFailure::of("TransactWriteItems", "a check is incomplete").into())
    }
}

impl FindFamily for DynamoStore {
    async fn find_family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
        let item = self.read(item::family_key(*id)).await?;
        item.map(|item| item::read_family(*id, &item)).transpose()
    }
}

impl UpdateFamily for DynamoStore {
    async fn update_family(&self, transition: &Transition) -> Result<(), UpdateError> {
        let mut plan = Plan::new(transition);
        match self.carry_out(transition.family, &plan).await {
            // DynamoDB has no "change it if it is there" below the first level, so
            // the plan also demands every entry that it changes. When that alone
            // was the fault, the change of an entry that is gone is no change. One
            // second round suffices: entries never come back.
            Err(UpdateError::Refused(Some(old)))
                if transition.apply(&mut old.as_ref().clone()) && plan.forget_absent(&old) =>
            {
                self.carry_out(transition.family, &plan).await
            }
            outcome => outcome,
        }
    }
}

impl CreateFamily for DynamoStore {
    async fn create_family(
        &self,
        family: &FamilyRecord,
        index: &[IndexKey],
        authenticated_at: UnixTime,
    ) -> Result<(), CreateError> {
        let listed = || index.iter().filter(|key| key.is_listed());
        let entries = listed().map(|key| item::index_item(key, family));
        let mut items = Vec::with_capacity(1 + 2 * index.len());
        let mut item = item::write_family(family);
        item.insert(NAMES.into(), item::short_names(index));
        for item in std::iter::once(item).chain(entries) {
            items.push(TransactWriteItem::builder().put(self.put(item)?).build());
        }
        let first_check = items.len();
        // Transactions that name one item refuse each other, even if they only look at it.
        let checks = listed().filter(|_| family.kind.follows_a_sign_in());
        for key in checks {
            let check = self.check(key, authenticated_at)?;
            items.push(TransactWriteItem::builder().condition_check(check).build());
        }
        let mut attempt = 1;
        loop {
            match self.try_create(items.clone(), first_check).await {
                Err(CreateError::Store(StoreError::Throttled(_))) if attempt < CREATE_ATTEMPTS => {
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

impl UseOnce for DynamoStore {
    async fn use_once(&self, name: &OnceName, forget_after: UnixTime) -> Result<bool, StoreError> {
        // Names this call, so that its own second attempt, after an answer that
        // was lost, does not take itself for a replay.
        let mut owner = [0; 16];
        aws_lc_rs::rand::fill(&mut owner).map_err(|_| CallFailure::of("PutItem", "no entropy"))?;
        let owner = AttributeValue::B(owner.to_vec().into());
        let mut item = item::key(&format!("{}#{}", name.namespace, name.digest), "once");
        item.insert(OWNER.into(), owner.clone());
        item.insert(item::TTL.into(), item::number(forget_after.0));
        let outcome = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk) OR #owner = :owner")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_values(":owner", owner)
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(CallFailure::new("PutItem", &error).into()),
        }
    }

    async fn was_used(&self, name: &OnceName) -> Result<bool, StoreError> {
        let key = item::key(&format!("{}#{}", name.namespace, name.digest), "once");
        Ok(self.read(key).await?.is_some())
    }
}

impl ReadEpoch for DynamoStore {
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        let item = self.read(item::key("epoch", "epoch")).await?;
        item.map_or(Ok(UnixTime(0)), |item| item::time(&item, NOT_BEFORE))
    }
}

/// Reads why a transaction was cancelled: the reasons are in the order of its
/// items, and from `first_check` on they are about tombstones.
fn creation_fault(error: &SdkError<TransactWriteItemsError>, first_check: usize) -> CreateError {
    let failure = CallFailure::new("TransactWriteItems", error);
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return StoreError::from(failure).into();
    };
    judge_cancellation(cancelled.cancellation_reasons(), first_check).unwrap_or_else(|throttled| {
        let failure = if throttled {
            failure.into_throttle()
        } else {
            failure
        };
        StoreError::from(failure).into()
    })
}

/// A tombstone speaks first; a conflict or a throttle is worth another try, and
/// the rest (an id that is taken) is not.
fn judge_cancellation(
    reasons: &[CancellationReason],
    first_check: usize,
) -> Result<CreateError, bool> {
    let refused = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    if reasons.iter().skip(first_check).any(refused) {
        return Ok(CreateError::Ended);
    }
    Err(!reasons.iter().any(refused)
        && reasons
            .iter()
            .any(|reason| reason.code().is_some_and(is_throttle)))
}

/// Longer each time and never the same, so that two that met do not meet again.
fn pause(attempt: u32) -> Duration {
    let mut random = [0; 1];
    // Without entropy the pause is merely not random.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    Duration::from_millis(u64::from(10 + u32::from(random) / 8 * attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes
            .iter()
            .map(|code| CancellationReason::builder().code(*code).build())
            .collect()
    }

    #[test]
    fn a_cancelled_creation_says_why() {
        const REFUSED: &str = "ConditionalCheckFailed";
        let judge = |codes: &[&str]| match judge_cancellation(&reasons(codes), 2) {
            Ok(CreateError::Ended) => "ended",
            Ok(CreateError::Store(_)) => "?",
            Err(true) => "throttled",
            Err(false) => "unavailable",
        };
        assert_eq!(judge(&["None", "None", REFUSED]), "ended");
        assert_eq!(judge(&["None", "TransactionConflict", REFUSED]), "ended");
        assert_eq!(judge(&["None", "None", "TransactionConflict"]), "throttled");
        assert_eq!(judge(&["ThrottlingError", "None", "None"]), "throttled");
        assert_eq!(judge(&[REFUSED, "None", "None"]), "unavailable");
        assert_eq!(
            judge(&[REFUSED, "None", "TransactionConflict"]),
            "unavailable"
        );
        assert_eq!(judge(&["ValidationError", "None", "None"]), "unavailable");
        assert_eq!(judge(&[]), "unavailable");
    }
}
