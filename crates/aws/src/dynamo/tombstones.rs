//! Tombstones and the index: how logins are ended from outside.

use super::item::{self, Item, PK, SK, STATE, TTL};
use super::{DynamoStore, NOT_BEFORE};
use crate::CallFailure;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use cloakroom_domain::ended::{Ending, Listed, Reach, Tombstone};
use cloakroom_domain::family::{FamilyId, FamilyState, IndexKey};
use cloakroom_domain::ports::{ReadTombstones, StoreError, SubjectIndex};
use cloakroom_domain::time::UnixTime;
use item::Named;
use tokio::task::JoinSet;

/// A tombstone's moment for clients with `offline_access`.
const OFFLINE_NOT_BEFORE: &str = "offline_not_before";

impl DynamoStore {
    /// Sets a moment, unless it is as late already. What is no moment is replaced: it
    /// would forbid nothing.
    pub(super) async fn raise(
        &self,
        key: Item,
        attribute: &str,
        moment: UnixTime,
        forget_after: Option<UnixTime>,
    ) -> Result<(), StoreError> {
        let mut update = "SET #moment = :moment".to_owned();
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .condition_expression(
                "attribute_not_exists(#moment) OR NOT attribute_type(#moment, :number) OR #moment < :moment",
            )
            .expression_attribute_names("#moment", attribute)
            .expression_attribute_values(":number", item::text("N"))
            .expression_attribute_values(":moment", item::number(moment.0));
        if let Some(ttl) = forget_after {
            update.push_str(", #ttl = :ttl");
            request = request
                .expression_attribute_names("#ttl", TTL)
                .expression_attribute_values(":ttl", item::number(ttl.0));
        }
        match request.update_expression(update).send().await {
            Err(error)
                if !error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Err(CallFailure::new("UpdateItem", &error).into())
            }
            _ => Ok(()),
        }
    }
}

fn read_tombstone(item: &Item) -> Result<Tombstone, StoreError> {
    let moment = |name| {
        if item.contains_key(name) {
            item::time(item, name)
        } else {
            Ok(UnixTime(0))
        }
    };
    Ok(Tombstone {
        not_before: moment(NOT_BEFORE)?,
        offline_not_before: moment(OFFLINE_NOT_BEFORE)?,
    })
}

impl ReadTombstones for DynamoStore {
    async fn tombstone(&self, names: &[IndexKey]) -> Result<Tombstone, StoreError> {
        // All at once: a refresh waits for one of them, and not for one after the other.
        let mut reads = JoinSet::new();
        for name in names {
            let (store, key) = (self.clone(), item::tombstone_key(name));
            reads.spawn(async move { store.read(key).await });
        }
        let mut all = Tombstone::default();
        while let Some(read) = reads.join_next().await {
            let read = read.map_err(|_| CallFailure::of("GetItem", "a read did not end"))?;
            if let Some(item) = read? {
                all = all.and(read_tombstone(&item)?);
            }
        }
        Ok(all)
    }
}

impl SubjectIndex for DynamoStore {
    async fn families_of(&self, key: &IndexKey) -> Listed {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk")
            .projection_expression("#sk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", item::text(&item::index_pk(key)))
            .into_paginator()
            .items()
            .send();
        let mut listed = Listed::default();
        while let Some(item) = pages.next().await {
            match item.map(|item| item::indexed_family(&item)) {
                Ok(Ok(family)) => listed.families.push(family),
                Ok(Err(_)) => listed.unreadable += 1,
                Err(error) => {
                    listed.fault = Some(CallFailure::new("Query", &error).into());
                    break;
                }
            }
        }
        listed
    }

    async fn end_subject(
        &self,
        key: &IndexKey,
        reach: Reach,
        not_before: UnixTime,
        forget_after: UnixTime,
    ) -> Result<(), StoreError> {
        let moments = match reach {
            Reach::Online => &[NOT_BEFORE][..],
            Reach::All => &[NOT_BEFORE, OFFLINE_NOT_BEFORE],
        };
        for moment in moments {
            let key = item::tombstone_key(key);
            self.raise(key, moment, not_before, Some(forget_after))
                .await?;
        }
        Ok(())
    }

    async fn end_unread(&self, id: FamilyId, state: FamilyState) -> Result<Ending, StoreError> {
        let over = [FamilyState::Revoked, FamilyState::Ended].map(Named::name);
        let outcome = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::family_key(id)))
            // Whatever else the state may be: only what is over is left as it is.
            .condition_expression("attribute_exists(#pk) AND NOT (#state IN (:revoked, :ended))")
            .update_expression("SET #state = :state")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":revoked", item::text(over[0]))
            .expression_attribute_values(":ended", item::text(over[1]))
            .expression_attribute_values(":state", item::text(state.name()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = outcome else {
            return Ok(Ending::Now);
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                let is_there = refusal.item().is_some_and(|item| !item.is_empty());
                Ok(if is_there {
                    Ending::Before
                } else {
                    Ending::Gone
                })
            }
            _ => Err(CallFailure::new("UpdateItem", &error).into()),
        }
    }
}
