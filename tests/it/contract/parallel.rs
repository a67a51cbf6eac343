//! Laws of many callers at once, in the embedded world: moto is not atomic.

use super::World;
use super::faults::{Act, CANCELLED, read_request, serve};
use super::records::{entry, family, random_text, seal, token};
use super::store::{created, found};
use super::world::{dynamo_at, listen, url};
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_domain::family::{
    Change, Condition, FamilyKind, FamilyRecord, FamilyState, IndexKey, TokenState, Transition,
};
use cloakroom_domain::ports::{CreateFamily, OnceName, UpdateError, UpdateFamily, UseOnce};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::TokenKind;
use serde_json::Value;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CALLERS: u8 = 50;

/// Runs all at once and returns what became of each.
async fn all<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    call: impl Fn(u8) -> F,
) -> Vec<T> {
    let calls: Vec<_> = (0..CALLERS).map(|n| tokio::spawn(call(n))).collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_rotations_one_takes_place() {
    let store = World::embedded().await.store();
    let before = created(&store).await;
    let id = before.id;
    let outcomes = all(|n| {
        let store = store.clone();
        let pair = seal(&n.to_string());
        async move {
            let transition = Transition {
                family: id,
                conditions: vec![
                    Condition::State(FamilyState::Active),
                    Condition::Generation(0),
                    Condition::Token(token(1), TokenState::Live),
                ],
                changes: vec![
                    Change::Redeem {
                        token: token(1),
                        at: UnixTime(1_500),
                        successor: Some(pair.clone()),
                    },
                    Change::AddToken(token(100 + n), Box::new(entry(TokenKind::Refresh))),
                    Change::Generation(1),
                ],
            };
            (pair, store.update_family(&transition).await)
        }
    })
    .await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, won)| won.is_ok()).collect();
    let [(pair, _)] = winners.as_slice() else {
        panic!("{} winners", winners.len())
    };
    // Each of the others learns in the same call what it was redeemed for.
    for (_, outcome) in &outcomes {
        match outcome {
            Ok(()) => {}
            Err(UpdateError::Refused(Some(old))) => {
                assert_eq!(old.tokens[&token(1)].successor.as_ref(), Some(pair));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let after = found(&store, &id).await.unwrap();
    assert_eq!(after.tokens.len(), before.tokens.len() + 1, "one branch");
}

#[tokio::test(flavor = "multi_thread")]
async fn d49_of_fifty_leases_one_is_given_and_again_when_it_has_run_out() {
    let store = World::embedded().await.store();
    let id = created(&store).await.id;
    for now in [1_000, 1_030] {
        let outcomes = all(|n| {
            let store = store.clone();
            let transition = Transition {
                family: id,
                conditions: vec![
                    Condition::State(FamilyState::Active),
                    Condition::ClaimsVersion(0),
                    Condition::LeaseFree(UnixTime(now)),
                ],
                // Each asks for another end, so that two winners would be seen.
                changes: vec![Change::Lease(Some(UnixTime(now + 30 + u64::from(n))))],
            };
            async move { (n, store.update_family(&transition).await) }
        })
        .await;
        let winners: Vec<_> = outcomes
            .iter()
            .filter(|(_, won)| won.is_ok())
            .map(|(n, _)| now + 30 + u64::from(*n))
            .collect();
        let [until] = winners[..] else {
            panic!("{} winners", winners.len())
        };
        let mut after = found(&store, &id).await.unwrap();
        assert_eq!(after.lease_until, Some(UnixTime(until)));
        let back = Transition {
            family: id,
            conditions: vec![],
            changes: vec![Change::Lease(Some(UnixTime(now + 30)))],
        };
        store.update_family(&back).await.unwrap();
        after = found(&store, &id).await.unwrap();
        assert_eq!(after.lease_until, Some(UnixTime(now + 30)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_uses_one_is_the_first() {
    let store = World::embedded().await.store();
    let digest = random_text();
    let outcomes = all(|_| {
        let store = store.clone();
        let name = OnceName {
            namespace: "used",
            digest: digest.clone(),
        };
        async move {
            store
                .use_once(&name, UnixTime(4_000_000_000))
                .await
                .unwrap()
        }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|first| **first).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_families_with_one_id_one_is_created() {
    let store = World::embedded().await.store();
    let family = family();
    let outcomes = all(|n| {
        let store = store.clone();
        let mut family = family.clone();
        family.client = n.to_string();
        async move {
            let outcome = store.create_family(&family, &[], family.created_at).await;
            outcome.is_ok().then_some(family)
        }
    })
    .await;
    let mut created: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(created.len(), 1);
    assert_eq!(found(&store, &family.id).await, created.pop());
}

/// A machine that starts on fifty computers at once is fifty requests of one subject.
#[tokio::test(flavor = "multi_thread")]
async fn no_machine_waits_for_another_of_its_name() {
    let world = World::embedded().await;
    let dynamo = dynamo_at(&one_transaction_for_each_item(&world.dynamo_url).await).await;
    let store = DynamoStore::new(dynamo, &world.table);
    for (kind, all_at_once) in [(FamilyKind::Client, true), (FamilyKind::Grant, false)] {
        let subject = IndexKey::Subject(random_text());
        let outcomes = all(|_| {
            let (store, subject) = (store.clone(), [subject.clone()]);
            let family = FamilyRecord { kind, ..family() };
            async move {
                let outcome = store.create_family(&family, &subject, UnixTime(1_000));
                outcome.await.is_ok()
            }
        })
        .await;
        let started = outcomes.iter().filter(|started| **started).count();
        assert_eq!(
            started == outcomes.len(),
            all_at_once,
            "{kind:?}: {started}"
        );
        assert!(started > 0);
    }
}

/// Stands before DynamoDB and does what AWS does and the embedded one does not: refuses a
/// transaction that names an item of another one under way, even if only to look at it.
async fn one_transaction_for_each_item(behind: &str) -> String {
    let (listener, address) = listen().await;
    let behind = behind.trim_start_matches("http://").to_owned();
    let under_way = Arc::new(Mutex::new(BTreeSet::new()));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (behind, under_way) = (behind.clone(), Arc::clone(&under_way));
            tokio::spawn(async move {
                let Some(request) = read_request(&mut client).await else {
                    return;
                };
                let items = items_of(&request);
                if !take(&under_way, &items) {
                    return serve(client, &behind, &request, CANCELLED).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                serve(client, &behind, &request, Act::Forward).await;
                let mut under_way = under_way.lock().unwrap();
                for item in &items {
                    under_way.remove(item);
                }
            });
        }
    });
    url(address)
}

/// All of them, or none.
fn take(under_way: &Mutex<BTreeSet<String>>, items: &[String]) -> bool {
    let mut under_way = under_way.lock().unwrap();
    let free = items.iter().all(|item| !under_way.contains(item));
    if free {
        under_way.extend(items.iter().cloned());
    }
    free
}

/// The keys that a TransactWriteItems names.
fn items_of(request: &[u8]) -> Vec<String> {
    let body = request
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let body: Value = serde_json::from_slice(&request[body..]).unwrap();
    let operations = body["TransactItems"].as_array().into_iter().flatten();
    operations
        .map(|operation| {
            let (put, check) = (
                &operation["Put"]["Item"],
                &operation["ConditionCheck"]["Key"],
            );
            let key = if put.is_null() { check } else { put };
            format!("{} {}", key["pk"]["S"], key["sk"]["S"])
        })
        .collect()
}
