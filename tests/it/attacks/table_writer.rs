//! D75: a program that can write whatever it likes into the table, but has no MAC
//! key. It can delete and roll back; it cannot mint, and it cannot change a claim, a
//! scope, an audience or an expiry.

use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::oauth;
use cloakroom_tests::swap::{Swap, swap};
use cloakroom_tests::table::{self, Item, Table};

/// Nothing is remembered, so that every request reads the table.
pub(crate) fn options() -> Options {
    Options {
        config: DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0"),
        ..Options::default()
    }
}

async fn system() -> System {
    System::start(options()).await.unwrap()
}

/// Writes `item` and asks with `token`; puts things right again.
async fn with(system: &System, item: &Item, token: &str) -> Swap {
    let original = Table::of(system).family(token).await;
    Table::of(system).put(item).await;
    let answer = swap(system, "/api/profile", token).await;
    Table::of(system).put(&original).await;
    answer
}

/// All of it, through whatever runs the functions.
pub(crate) async fn all(system: &System) {
    plant_a_token(system).await;
    change_what_decides(system).await;
    plant_a_jwt(system).await;
    damage_items(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_token_of_the_writers_own_is_not_accepted() {
    plant_a_token(&system().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_nothing_that_decides_can_be_changed() {
    change_what_decides(&system().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_planted_jwt_slot_is_signed_anew() {
    plant_a_jwt(&system().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d32_an_item_of_another_shape_admits_nobody() {
    damage_items(&system().await).await;
}

async fn plant_a_token(system: &System) {
    let mine = oauth::machine_token(system).await;
    let (alices, _) = oauth::native_tokens(system, "alice").await;
    let table = Table::of(system);
    let (own, mut family) = (table.family(&mine).await, table.family(&alices).await);

    // Its own entry in alice's family.
    let entry = table::map(&mut own.clone(), "toks")
        .remove(&table::digest(&mine))
        .unwrap();
    table::tokens(&mut family).insert(table::digest(&mine), entry.clone());
    let planted = family.clone();
    let mut under_own_key = planted.clone();
    under_own_key.extend(table::family_key(&mine));
    let answer = with(system, &under_own_key, &mine).await;
    assert_eq!(
        answer,
        Swap::Unauthorized,
        "alice's family under its own key"
    );

    // Alice's grant in its own family.
    let mut stolen = own.clone();
    stolen.insert("claims".to_owned(), planted["claims"].clone());
    let answer = with(system, &stolen, &mine).await;
    assert_eq!(
        answer,
        Swap::Unauthorized,
        "alice's claims in its own family"
    );

    // Alice's entry, under the digest of its own token.
    let hers = table::map(&mut table.family(&alices).await, "toks")
        .remove(&table::digest(&alices))
        .unwrap();
    let mut swapped = own.clone();
    table::tokens(&mut swapped).insert(table::digest(&mine), hers);
    let answer = with(system, &swapped, &mine).await;
    assert_eq!(
        answer,
        Swap::Unauthorized,
        "alice's entry for its own token"
    );
    assert!(matches!(
        swap(system, "/api/profile", &mine).await,
        Swap::Allowed(_)
    ));
}

async fn change_what_decides(system: &System) {
    let token = oauth::machine_token(system).await;
    let original = Table::of(system).family(&token).await;
    let good = swap(system, "/api/profile", &token).await;
    assert!(matches!(good, Swap::Allowed(_)));

    // Clear copies, one by one: what they say is compared with what is sealed.
    for name in ["created_at", "absolute_expires_at"] {
        let mut item = original.clone();
        let later = table::number(&item, name) + 1_000_000;
        item.insert(name.to_owned(), table::n(later));
        let answer = with(system, &item, &token).await;
        assert_eq!(answer, Swap::Unauthorized, "{name}");
    }
    for (name, value) in [("client", "demo-native"), ("kind", "session")] {
        let mut item = original.clone();
        item.insert(name.to_owned(), table::s(value));
        let answer = with(system, &item, &token).await;
        assert_eq!(answer, Swap::Unauthorized, "{name}");
    }
    // Every sealed value, one bit at a time in a few places.
    for at in [1, 12, 13, 30] {
        let mut item = original.clone();
        let claims = item["claims"].as_b().unwrap().as_ref().to_vec();
        item.insert("claims".to_owned(), flipped(&claims, at));
        let answer = with(system, &item, &token).await;
        assert_eq!(answer, Swap::Unauthorized, "claims, byte {at}");
        let sealed: Vec<_> = table::entry(&mut original.clone(), &token)
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_b().ok()?.clone())))
            .collect();
        assert!(sealed.len() >= 2, "data key and meta");
        for (name, value) in sealed {
            let mut item = original.clone();
            let bytes = flipped(value.as_ref(), at);
            table::entry(&mut item, &token).insert(name.clone(), bytes);
            let answer = with(system, &item, &token).await;
            assert_eq!(answer, Swap::Unauthorized, "{name}, byte {at}");
        }
    }
}

async fn plant_a_jwt(system: &System) {
    let (alices, _) = oauth::native_tokens(system, "alice").await;
    let (bobs, _) = oauth::native_tokens(system, "bob").await;
    let hers = swap(system, "/api/profile", &alices).await;
    let his = swap(system, "/api/profile", &bobs).await;
    assert_eq!(hers.claims()["sub"], "demo|alice");
    let table = Table::of(system);
    let slots = table::entry(&mut table.family(&alices).await, &alices)["jwts"].clone();
    let mut item = table.family(&bobs).await;
    table::entry(&mut item, &bobs).insert("jwts".to_owned(), slots);
    table.put(&item).await;
    let after = swap(system, "/api/profile", &bobs).await;
    assert_eq!(after.claims()["sub"], "demo|bob");
    assert_ne!(after, his, "signed anew");
    assert_ne!(after, hers);
}

async fn damage_items(system: &System) {
    let token = oauth::machine_token(system).await;
    let original = Table::of(system).family(&token).await;
    for name in ["absolute_expires_at", "created_at", "idle_expires_at"] {
        for value in [
            table::s("soon"),
            table::n("-1"),
            table::n("99999999999999999999"),
            table::b(b"1"),
        ] {
            let mut item = original.clone();
            item.insert(name.to_owned(), value.clone());
            let answer = with(system, &item, &token).await;
            assert_eq!(answer, Swap::Unauthorized, "{name} = {value:?}");
        }
        let mut item = original.clone();
        item.remove(name);
        let answer = with(system, &item, &token).await;
        assert_eq!(answer, Swap::Unauthorized, "no {name}");
    }
}

fn flipped(bytes: &[u8], at: usize) -> aws_sdk_dynamodb::types::AttributeValue {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    table::b(&bytes)
}
