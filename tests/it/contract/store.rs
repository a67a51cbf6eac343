//! Laws of the store.

use super::World;
use super::records::{entry, family, random_text, seal, token};
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_aws::dynamo::{DynamoStore, create_table};
use cloakroom_domain::ended::{Ending, Reach, Tombstone};
use cloakroom_domain::family::{
    Change, Condition, FamilyId, FamilyRecord, FamilyState, IndexKey, TokenState, Transition,
};
use cloakroom_domain::ports::{
    CreateError, CreateFamily, FindFamily, OnceName, ReadEpoch, ReadTombstones, StoreError,
    SubjectIndex, UpdateError, UpdateFamily, UseOnce,
};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::TokenKind;

const LATER: UnixTime = UnixTime(4_000_000_000);

pub(super) async fn found(store: &DynamoStore, id: &FamilyId) -> Option<FamilyRecord> {
    store.find_family(id).await.unwrap()
}

pub(super) async fn created(store: &DynamoStore) -> FamilyRecord {
    let family = family();
    store
        .create_family(&family, &[], family.created_at)
        .await
        .unwrap();
    family
}

async fn listed(store: &DynamoStore, key: &IndexKey) -> Vec<FamilyId> {
    let listed = store.families_of(key).await;
    assert!(
        listed.fault.is_none() && listed.unreadable == 0,
        "{listed:?}"
    );
    listed.families
}

fn subject() -> IndexKey {
    IndexKey::Subject(random_text())
}

pub(super) async fn a_family_is_found_as_it_was_written(world: &World) {
    let store = world.store();
    let plain = created(&store).await;
    assert_eq!(found(&store, &plain.id).await.as_ref(), Some(&plain));

    let mut full = family();
    full.client = "app".into();
    full.spent = vec![token(7), token(8)];
    full.state = FamilyState::Revoked;
    full.lease_until = Some(UnixTime(1_500));
    let access = full.tokens.get_mut(&token(1)).unwrap();
    access.jwts.insert("orders".into(), seal("jwt"));
    store.create_family(&full, &[], LATER).await.unwrap();
    assert_eq!(found(&store, &full.id).await.as_ref(), Some(&full));

    assert_eq!(found(&store, &family().id).await, None);
}

pub(super) async fn a_family_is_created_once(world: &World) {
    let store = world.store();
    let first = created(&store).await;
    let second = FamilyRecord {
        client: "another".into(),
        ..first.clone()
    };
    let outcome = store.create_family(&second, &[], LATER).await;
    assert!(matches!(
        outcome,
        Err(CreateError::Store(StoreError::Unavailable(_)))
    ));
    assert_eq!(found(&store, &first.id).await, Some(first));
}

pub(super) async fn each_condition_is_held(world: &World) {
    let store = world.store();
    let cases = [
        (
            Condition::State(FamilyState::Active),
            Condition::State(FamilyState::Ended),
        ),
        (Condition::Generation(0), Condition::Generation(1)),
        (
            Condition::Token(token(1), TokenState::Live),
            Condition::Token(token(1), TokenState::Used),
        ),
        (
            Condition::Token(token(2), TokenState::Used),
            Condition::Token(token(9), TokenState::Used),
        ),
        (
            Condition::TokenExists(token(2)),
            Condition::TokenExists(token(9)),
        ),
        (Condition::ClaimsVersion(0), Condition::ClaimsVersion(1)),
        (
            Condition::LeaseFree(UnixTime(1_500)),
            Condition::LeaseFree(UnixTime(1_499)),
        ),
    ];
    for (right, wrong) in cases {
        let before = FamilyRecord {
            lease_until: Some(UnixTime(1_500)),
            ..family()
        };
        store.create_family(&before, &[], LATER).await.unwrap();
        let transition = |conditions| Transition {
            family: before.id,
            conditions,
            changes: vec![Change::Generation(5), Change::RemoveToken(token(2))],
        };
        for conditions in [
            vec![wrong.clone()],
            vec![right.clone(), wrong.clone()],
            vec![wrong.clone(), right.clone()],
        ] {
            match store.update_family(&transition(conditions)).await {
                Err(UpdateError::Refused(Some(old))) => assert_eq!(*old, before, "{wrong:?}"),
                other => panic!("{wrong:?}: {other:?}"),
            }
            assert_eq!(found(&store, &before.id).await.as_ref(), Some(&before));
        }
        store.update_family(&transition(vec![right])).await.unwrap();
        let after = found(&store, &before.id).await.unwrap();
        assert_eq!((after.generation, after.tokens.len()), (5, 1));
    }
}

pub(super) async fn an_update_never_creates(world: &World) {
    let store = world.store();
    let id = family().id;
    let changes = vec![Change::AddToken(
        token(1),
        Box::new(entry(TokenKind::Access)),
    )];
    let unconditional = Transition {
        family: id,
        conditions: vec![],
        changes,
    };
    for transition in [unconditional, Transition::revoke(id)] {
        assert!(matches!(
            store.update_family(&transition).await,
            Err(UpdateError::Refused(None))
        ));
        assert_eq!(found(&store, &id).await, None);
    }
}

pub(super) async fn a_change_of_an_absent_token_is_no_change(world: &World) {
    let store = world.store();
    let before = created(&store).await;
    let mut transition = Transition {
        family: before.id,
        conditions: vec![Condition::State(FamilyState::Active)],
        changes: vec![
            Change::DropSuccessor(token(9)),
            Change::FirstUse(token(1), UnixTime(7)),
            Change::RemoveToken(token(8)),
        ],
    };
    store.update_family(&transition).await.unwrap();
    let mut expected = before.clone();
    assert!(transition.apply(&mut expected));
    assert_eq!(found(&store, &before.id).await, Some(expected));

    // But a condition on it is one.
    transition.conditions.push(Condition::TokenExists(token(9)));
    assert!(matches!(
        store.update_family(&transition).await,
        Err(UpdateError::Refused(Some(_)))
    ));
}

pub(super) async fn a_name_is_used_once(world: &World) {
    let store = world.store();
    let digest = random_text();
    let name = |namespace, digest: &str| OnceName {
        namespace,
        digest: digest.into(),
    };
    let names = [
        name("used", &digest),
        name("jti", &digest),
        name("used", &random_text()),
    ];
    for name in &names {
        assert!(!store.was_used(name).await.unwrap(), "{name:?}");
        assert!(store.use_once(name, LATER).await.unwrap(), "{name:?}");
    }
    for name in &names {
        assert!(store.was_used(name).await.unwrap(), "{name:?}");
        assert!(!store.use_once(name, LATER).await.unwrap(), "{name:?}");
    }
}

pub(super) async fn the_epoch_only_rises(world: &World) {
    let store = world.store();
    assert_eq!(store.epoch().await.unwrap(), UnixTime(0));
    for (bump, expected) in [(100, 100), (50, 100), (100, 100), (200, 200)] {
        let in_force = store.bump_epoch(UnixTime(bump)).await.unwrap();
        assert_eq!(in_force, UnixTime(expected));
        assert_eq!(store.epoch().await.unwrap(), UnixTime(expected));
    }
}

pub(super) async fn a_subjects_families_are_listed(world: &World) {
    let store = world.store();
    let name = random_text();
    let subject = IndexKey::Subject(name.clone());
    let session = IndexKey::IdpSession(random_text());
    let families = [family(), family(), family()];
    for (n, family) in families.iter().enumerate() {
        let keys = [subject.clone(), session.clone()];
        // The last one is of the subject alone.
        let keys = keys.get(..if n == 2 { 1 } else { 2 }).unwrap();
        store.create_family(family, keys, LATER).await.unwrap();
    }
    let listed = async |key: &IndexKey| {
        let mut ids = listed(&store, key).await;
        ids.sort_unstable();
        ids
    };
    let sorted = |families: &[FamilyRecord]| {
        let mut ids: Vec<_> = families.iter().map(|family| family.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(listed(&subject).await, sorted(&families));
    assert_eq!(listed(&session).await, sorted(&families[..2]));
    // The same name in the other list is another key.
    assert!(listed(&IndexKey::IdpSession(name)).await.is_empty());
}

pub(super) async fn a_tombstone_stops_an_older_login(world: &World) {
    let store = world.store();
    for key in [subject(), IndexKey::IdpSession(random_text())] {
        let keys = [subject(), key.clone()];
        store
            .end_subject(&key, Reach::All, UnixTime(1_000), LATER)
            .await
            .unwrap();
        let late = family();
        let outcome = store.create_family(&late, &keys, UnixTime(999)).await;
        assert!(matches!(outcome, Err(CreateError::Ended)));
        assert_eq!(found(&store, &late.id).await, None);
        for key in &keys {
            assert!(listed(&store, key).await.is_empty());
        }
        for fresh in [1_000, 1_001] {
            store
                .create_family(&family(), &keys, UnixTime(fresh))
                .await
                .unwrap();
        }
        assert_eq!(listed(&store, &key).await.len(), 2);
    }
}

pub(super) async fn a_login_before_the_tombstone_is_listed_for_it(world: &World) {
    let store = world.store();
    let key = subject();
    let family = family();
    let keys = [key.clone()];
    store
        .create_family(&family, &keys, UnixTime(999))
        .await
        .unwrap();
    store
        .end_subject(&key, Reach::All, UnixTime(1_000), LATER)
        .await
        .unwrap();
    assert_eq!(listed(&store, &key).await, [family.id]);
}

pub(super) async fn the_later_tombstone_wins(world: &World) {
    let store = world.store();
    for order in [[1_000, 2_000], [2_000, 1_000]] {
        let key = subject();
        for not_before in order {
            store
                .end_subject(&key, Reach::All, UnixTime(not_before), LATER)
                .await
                .unwrap();
        }
        let keys = [key];
        let outcome = store.create_family(&family(), &keys, UnixTime(1_999)).await;
        assert!(matches!(outcome, Err(CreateError::Ended)), "{order:?}");
        store
            .create_family(&family(), &keys, UnixTime(2_000))
            .await
            .unwrap();
    }
}

pub(super) async fn a_malformed_item_is_said_to_be_that(world: &World) {
    let store = world.store();
    let family = created(&store).await;
    world
        .dynamo
        .update_item()
        .table_name(&world.table)
        .key(
            "pk",
            AttributeValue::S(format!("f#{}", family.id.to_text())),
        )
        .key("sk", AttributeValue::S("f".into()))
        .update_expression("SET gen = :x")
        .expression_attribute_values(":x", AttributeValue::S("many".into()))
        .send()
        .await
        .unwrap();
    assert!(matches!(
        store.find_family(&family.id).await,
        Err(StoreError::Malformed("gen"))
    ));
    let wrong = Transition {
        family: family.id,
        conditions: vec![Condition::Generation(3)],
        changes: vec![],
    };
    assert!(matches!(
        store.update_family(&wrong).await,
        Err(UpdateError::Store(StoreError::Malformed("gen")))
    ));
    // It can still be taken back.
    store
        .update_family(&Transition::revoke(family.id))
        .await
        .unwrap();
}

pub(super) async fn a_table_is_made_once(world: &World) {
    let family = created(&world.store()).await;
    create_table(&world.dynamo, &world.table).await.unwrap();
    assert!(found(&world.store(), &family.id).await.is_some());
    let nowhere = DynamoStore::new(world.dynamo.clone(), "no-such-table");
    assert!(matches!(
        nowhere.find_family(&family.id).await,
        Err(StoreError::Unavailable(_))
    ));
}

pub(super) async fn a_row_that_names_no_family_hides_no_other(world: &World) {
    let store = world.store();
    let (key, family) = (subject(), family());
    let keys = [key.clone()];
    store.create_family(&family, &keys, LATER).await.unwrap();
    for odd in ["f#short", "a", "f"] {
        world
            .dynamo
            .put_item()
            .table_name(&world.table)
            .item("pk", AttributeValue::S(format!("sub#{}", key.name())))
            .item("sk", AttributeValue::S(odd.into()))
            .send()
            .await
            .unwrap();
    }
    let listed = store.families_of(&key).await;
    assert_eq!((listed.families, listed.unreadable), (vec![family.id], 3));
    assert!(listed.fault.is_none());
}

/// Sets an attribute of an item, past all rules.
async fn set(world: &World, pk: String, sk: &str, name: &str, value: AttributeValue) {
    world
        .dynamo
        .update_item()
        .table_name(&world.table)
        .key("pk", AttributeValue::S(pk))
        .key("sk", AttributeValue::S(sk.into()))
        .update_expression("SET #x = :x")
        .expression_attribute_names("#x", name)
        .expression_attribute_values(":x", value)
        .send()
        .await
        .unwrap();
}

pub(super) async fn a_family_is_ended_unread(world: &World) {
    let store = world.store();
    let end = async |id| store.end_unread(id, FamilyState::Revoked).await.unwrap();
    let plain = created(&store).await;
    assert_eq!(end(plain.id).await, Ending::Now);
    let after = found(&store, &plain.id).await.unwrap();
    assert_eq!(
        after,
        FamilyRecord {
            state: FamilyState::Revoked,
            ..plain.clone()
        }
    );
    // What is over stays what it is.
    let ended = store.end_unread(plain.id, FamilyState::Ended).await;
    assert_eq!(ended.unwrap(), Ending::Before);
    let state = found(&store, &plain.id).await.unwrap().state;
    assert_eq!(state, FamilyState::Revoked);
    // Nothing is made where nothing was.
    let nobody = family().id;
    assert_eq!(end(nobody).await, Ending::Gone);
    assert_eq!(found(&store, &nobody).await, None);
    // Whatever is wrong with the item, and with its state.
    for (name, value) in [
        ("gen", AttributeValue::S("many".into())),
        ("toks", AttributeValue::Bool(true)),
        ("state", AttributeValue::N("5".into())),
        ("state", AttributeValue::S("odd".into())),
    ] {
        let odd = created(&store).await;
        let pk = format!("f#{}", odd.id.to_text());
        set(world, pk, "f", name, value).await;
        let read = store.find_family(&odd.id).await;
        assert!(matches!(read, Err(StoreError::Malformed(_))), "{name}");
        assert_eq!(end(odd.id).await, Ending::Now, "{name}");
        assert_eq!(end(odd.id).await, Ending::Before, "{name}");
    }
}

pub(super) async fn tombstones_say_what_was_written_and_what_is_odd_is_no_answer(world: &World) {
    let store = world.store();
    let names = [
        subject(),
        IndexKey::IdpSession(random_text()),
        IndexKey::Provider(random_text()),
        IndexKey::Client(random_text()),
    ];
    let told = async || store.tombstone(&names).await;
    assert_eq!(told().await.unwrap(), Tombstone::default());
    let at = |not_before, offline| Tombstone {
        not_before: UnixTime(not_before),
        offline_not_before: UnixTime(offline),
    };
    for (name, reach, moment, expected) in [
        (0, Reach::Online, 10, at(10, 0)),
        (1, Reach::All, 5, at(10, 5)),
        (2, Reach::All, 20, at(20, 20)),
        (3, Reach::Online, 30, at(30, 20)),
        // The same moment, and more than before.
        (3, Reach::All, 30, at(30, 30)),
        (3, Reach::All, 7, at(30, 30)),
    ] {
        store
            .end_subject(&names[name], reach, UnixTime(moment), LATER)
            .await
            .unwrap();
        assert_eq!(told().await.unwrap(), expected, "{name} {reach:?} {moment}");
    }
    let pk = format!("ended#{}", names[3].name());
    for name in ["not_before", "offline_not_before"] {
        let odd = AttributeValue::S("30".into());
        set(world, pk.clone(), "ended", name, odd).await;
        assert!(
            matches!(told().await, Err(StoreError::Malformed(_))),
            "{name}"
        );
        // Whoever ends it again puts it right.
        store
            .end_subject(&names[3], Reach::All, UnixTime(40), LATER)
            .await
            .unwrap();
        assert_eq!(told().await.unwrap(), at(40, 40), "{name}");
    }
}
