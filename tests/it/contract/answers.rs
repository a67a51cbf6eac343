//! D90: a table whose answers cannot be read, or are about something else. It has said
//! nothing then: neither that there is such an item, nor that there is none.

use super::faults::{Act, Gate};
use super::records::family;
use cloakroom_aws::dynamo::DynamoStore;
use cloakroom_domain::family::{FamilyId, IndexKey};
use cloakroom_domain::ports::{
    CreateError, CreateFamily, FindFamily, OnceName, ReadEpoch, ReadKeySet, StoreError,
    SubjectIndex, UseOnce,
};
use cloakroom_domain::time::UnixTime;

const LATER: UnixTime = UnixTime(4_000_000_000);

const UNREADABLE: [&str; 12] = [
    "",
    "null",
    "[]",
    "5",
    "{",
    "{}{}",
    r#"{"message":"later"}"#,
    r#"{"Item":5}"#,
    r#"{"Item":null}"#,
    r#"{"Item":[]}"#,
    "<html>Sign in to the network</html>",
    "{\"Item\":{}}",
];

async fn store(answer: &'static str) -> DynamoStore {
    Gate::alone(Act::Answer(200, answer)).await.store().await
}

fn is_unavailable<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_)))
}

fn once() -> OnceName {
    OnceName {
        namespace: "jti",
        digest: "d".into(),
    }
}

#[tokio::test]
async fn d90_what_cannot_be_read_is_not_taken_for_absent() {
    let id = FamilyId([7; 16]);
    let whole = store("{}").await;
    assert!(whole.find_family(&id).await.unwrap().is_none());
    assert_eq!(whole.epoch().await.unwrap(), UnixTime(0));
    assert!(whole.key_set().await.unwrap().is_none());
    assert!(!whole.was_used(&once()).await.unwrap());

    let others = [
        r#"{"Item":{"pk":{"N":"1"},"sk":{"S":"f"}}}"#,
        r#"{"Item":{"sk":{"S":"f"},"state":{"S":"active"}}}"#,
        r#"{"Item":{"pk":{"S":"f#another"},"sk":{"S":"f"}}}"#,
        r#"{"Item":{"pk":{"S":"epoch"},"sk":{"S":"another"},"not_before":{"N":"0"}}}"#,
    ];
    for answer in UNREADABLE.into_iter().chain(others) {
        let store = store(answer).await;
        let found = store.find_family(&id).await;
        assert!(is_unavailable(&found), "{answer}: {found:?}");
        assert!(is_unavailable(&store.epoch().await), "{answer}");
        assert!(is_unavailable(&store.key_set().await), "{answer}");
        assert!(is_unavailable(&store.was_used(&once()).await), "{answer}");
    }
}

#[tokio::test]
async fn d90_a_page_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let key = IndexKey::Subject("s".into());
    let empty = store(r#"{"Items":[],"Count":0,"ScannedCount":0}"#).await;
    let listed = empty.families_of(&key).await;
    assert!(listed.families.is_empty() && listed.fault.is_none());
    for answer in UNREADABLE.into_iter().chain([
        "{}",
        r#"{"Items":null,"Count":0}"#,
        r#"{"Items":[],"Count":2}"#,
    ]) {
        let fault = store(answer).await.families_of(&key).await.fault;
        assert!(
            matches!(fault, Some(StoreError::Unavailable(_))),
            "{answer}: {fault:?}"
        );
    }
}

#[tokio::test]
async fn d90_a_write_whose_answer_cannot_be_read_is_not_taken_for_done() {
    assert!(store("{}").await.use_once(&once(), LATER).await.unwrap());
    for answer in UNREADABLE {
        let store = store(answer).await;
        let used = store.use_once(&once(), LATER).await;
        assert!(is_unavailable(&used), "{answer}: {used:?}");
        let created = store.create_family(&family(), &[], LATER).await;
        assert!(
            matches!(created, Err(CreateError::Store(StoreError::Unavailable(_)))),
            "{answer}: {created:?}"
        );
    }
}
