//! D75: a program that can write whatever it likes into the table, but has no MAC
//! key. It can delete and roll back; it cannot mint, and it cannot change a claim, a
//! scope, an audience or an expiry.

use super::forgetful;
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::browser::client;
use cloakroom_tests::swap::{Swap, swap};
use cloakroom_tests::table::{self, Item, Table};
use cloakroom_tests::{logs, oauth};

/// Nothing is remembered, so that every request reads the table.
pub(crate) fn options() -> Options {
    Options {
        config: DEMO_CONFIG.replace("max_latency = 5", "max_latency = 0"),
        ..Options::default()
    }
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
    plant_a_family(system).await;
    change_what_decides(system).await;
    widen_a_scope(system).await;
    plant_a_jwt(system).await;
    damage_items(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_token_of_the_writers_own_is_not_accepted() {
    plant_a_token(&forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_family_made_with_all_our_code_but_not_our_key_admits_nobody() {
    plant_a_family(&forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_nothing_that_decides_can_be_changed() {
    change_what_decides(&forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_wider_scope_of_the_same_login_cannot_be_moved_to_another_token() {
    widen_a_scope(&forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_a_planted_jwt_slot_is_signed_anew() {
    plant_a_jwt(&forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d32_an_item_of_another_shape_admits_nobody() {
    damage_items(&forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_what_was_planted_raises_an_alarm_and_what_is_good_does_not() {
    logs::listen();
    let system = forgetful().await;
    let token = oauth::machine_token(&system).await;
    let alarms = || {
        let mut lines = logs::with(&table::family_tag(&token));
        lines.retain(|line| line.contains("\"SealsBroken\":1"));
        lines.len()
    };
    let good = swap(&system, "/api/profile", &token).await;
    assert!(matches!(good, Swap::Allowed(_)));
    assert_eq!(alarms(), 0);
    let mut item = Table::of(&system).family(&token).await;
    let claims = item["claims"].as_b().unwrap().as_ref().to_vec();
    item.insert("claims".to_owned(), flipped(&claims, 30));
    assert_eq!(with(&system, &item, &token).await, Swap::Unauthorized);
    assert_eq!(alarms(), 1);
}

/// What the token service is shown, and what it says: whether a token is worth something.
#[tokio::test(flavor = "multi_thread")]
async fn d75_a_broken_seal_at_the_token_service_raises_an_alarm_and_gives_nothing() {
    logs::listen();
    let system = forgetful().await;
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let alarms = |function: &str| alarms(&access, function);
    let good = Table::of(&system).family(&access).await;
    let introspected = async || {
        let form = [("token", access.as_str())];
        let request = client()
            .post(system.at("/oauth/introspect"))
            .basic_auth("demo-machine", Some("demo-machine-secret"))
            .form(&form);
        request.send().await.unwrap().text().await.unwrap()
    };
    let exchanged = async || {
        let form = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", access.as_str()),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
        ];
        oauth::machine(&system, &form).await.0
    };
    Table::of(&system)
        .put(&broken(&good, &access, "meta"))
        .await;
    assert_eq!(introspected().await, "{\"active\":false}");
    assert_eq!(alarms("introspect"), 1);
    assert_eq!(exchanged().await, 400);
    assert_eq!(alarms("token"), 1);
    Table::of(&system)
        .put(&broken(&good, &refresh, "meta"))
        .await;
    assert_eq!(oauth::refresh(&system, &refresh).await.0, 400);
    assert_eq!(alarms("token"), 2);
    // Put right, all of it is good; and nothing more is said.
    Table::of(&system).put(&good).await;
    assert!(introspected().await.starts_with("{\"active\":true"));
    assert_eq!(exchanged().await, 200);
    assert_eq!((alarms("introspect"), alarms("token")), (1, 2));
    // Who signs out is signed out, by whatever is left of the login.
    Table::of(&system)
        .put(&broken(&good, &refresh, "meta"))
        .await;
    assert_eq!(oauth::revoke(&system, &refresh).await, 200);
    assert_eq!(alarms("revoke"), 1);
    let after = swap(&system, "/api/profile", &access).await;
    assert_eq!(after, Swap::Unauthorized);
}

/// The same of a code, and of the pair that waits under a used refresh token for
/// whoever lost the answer.
#[tokio::test(flavor = "multi_thread")]
async fn d75_a_broken_code_and_a_broken_pair_raise_an_alarm_and_give_nothing() {
    logs::listen();
    let system = forgetful().await;
    let code = oauth::code(&system, "alice").await;
    let family = async || Table::of(&system).family(&code).await;
    let broken = async |token: &str, name: &str| {
        let good = family().await;
        Table::of(&system).put(&broken(&good, token, name)).await;
        good
    };

    let good = broken(&code, "meta").await;
    let (status, body) = oauth::redeem(&system, &code).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["error"], "invalid_grant");
    assert_eq!(alarms(&code, "token"), 1);
    Table::of(&system).put(&good).await;
    let (status, tokens) = oauth::redeem(&system, &code).await;
    assert_eq!(status, 200, "{tokens}");

    let refresh = oauth::text(&tokens, "refresh_token");
    let (status, rotated) = oauth::refresh(&system, &refresh).await;
    assert_eq!(status, 200, "{rotated}");
    let good = broken(&refresh, "successor").await;
    let (status, body) = oauth::refresh(&system, &refresh).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["error"], "invalid_grant");
    assert_eq!(alarms(&code, "token"), 2);
    Table::of(&system).put(&good).await;
    let (status, healed) = oauth::refresh(&system, &refresh).await;
    assert_eq!(status, 200, "{healed}");
    assert_eq!(healed["refresh_token"], rotated["refresh_token"]);
    assert_eq!(alarms(&code, "token"), 2, "nothing more is said");
}

/// How often `function` has said that something of the token's family was planted.
fn alarms(token: &str, function: &str) -> usize {
    let function = format!("\"{function}\"");
    let mut lines = logs::with(&table::family_tag(token));
    lines.retain(|line| line.contains("\"SealsBroken\":1") && line.contains(&function));
    lines.len()
}

/// A family in which one sealed value of a token's entry has one bit that it had not.
fn broken(family: &Item, token: &str, name: &str) -> Item {
    let mut item = family.clone();
    let entry = table::entry(&mut item, token);
    let sealed = entry[name].as_b().unwrap().as_ref().to_vec();
    entry.insert(name.to_owned(), flipped(&sealed, 30));
    item
}

#[tokio::test(flavor = "multi_thread")]
async fn d75_an_epoch_that_is_none_stops_everything_and_admits_nobody() {
    let system = forgetful().await;
    let token = oauth::machine_token(&system).await;
    let key = |not_before| {
        Item::from([
            ("pk".to_owned(), table::s("epoch")),
            ("sk".to_owned(), table::s("epoch")),
            ("not_before".to_owned(), not_before),
        ])
    };
    // Read for the first time by the first request, and kept for some seconds.
    for (value, expected) in [
        (table::s("0"), Swap::Unavailable),
        (table::n("-1"), Swap::Unavailable),
        (table::n("9999999999"), Swap::Unauthorized),
    ] {
        Table::of(&system).put(&key(value.clone())).await;
        let answer = swap(&system, "/api/profile", &token).await;
        assert_eq!(answer, expected, "{value:?}");
    }
    let system = forgetful().await;
    let token = oauth::machine_token(&system).await;
    Table::of(&system).put(&key(table::n(1))).await;
    let answer = swap(&system, "/api/profile", &token).await;
    assert!(matches!(answer, Swap::Allowed(_)));
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

/// A whole family, as only our own code can make it, with another MAC key.
async fn plant_a_family(system: &System) {
    let writers = System::start(options()).await.unwrap();
    let (token, _) = oauth::native_tokens(&writers, "alice").await;
    let made = swap(&writers, "/api/profile", &token).await;
    assert!(matches!(made, Swap::Allowed(_)), "where its key is the key");
    let table = Table::of(system);
    let mut family = Table::of(&writers).family(&token).await;

    // Under a name that nobody here knows: the key was removed from the list, or it is newer
    // than the list, which depends on when this environment read the list.
    table.put(&family).await;
    let answer = swap(system, "/api/profile", &token).await;
    assert!(
        matches!(answer, Swap::Unauthorized | Swap::Unavailable),
        "sealed under an unknown key: {answer:?}"
    );

    // Under the name of the key that is in use here.
    let ours = oauth::machine_token(system).await;
    let root = table.family(&ours).await["root"].clone();
    assert_ne!(root, family["root"]);
    family.insert("root".to_owned(), root);
    table.put(&family).await;
    let answer = swap(system, "/api/profile", &token).await;
    assert_eq!(answer, Swap::Unauthorized, "sealed under another key");
    let answer = swap(system, "/api/profile", &ours).await;
    assert!(matches!(answer, Swap::Allowed(_)));
}

async fn change_what_decides(system: &System) {
    let token = oauth::machine_token(system).await;
    let original = Table::of(system).family(&token).await;
    let good = swap(system, "/api/profile", &token).await;
    assert!(matches!(good, Swap::Allowed(_)));

    // Clear copies, one by one: what they say is compared with what is sealed.
    for name in ["created_at", "absolute_expires_at", "claims_version"] {
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
    // The same in the token's own entry.
    let mut item = original.clone();
    let entry = table::entry(&mut item, &token);
    let later = table::number(entry, "expires_at") + 1_000_000;
    entry.insert("expires_at".to_owned(), table::n(later));
    let answer = with(system, &item, &token).await;
    assert_eq!(answer, Swap::Unauthorized, "the entry's expires_at");
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

/// Two tokens of one login have one data key, and still what one of them may do
/// cannot become what the other may do.
async fn widen_a_scope(system: &System) {
    let (wide, refresh) = oauth::native_tokens(system, "alice").await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "demo-native"),
        ("refresh_token", refresh.as_str()),
        ("scope", "openid"),
    ];
    let (status, body) = oauth::token(system, &form).await;
    assert_eq!(status, 200, "{body}");
    let narrow = oauth::text(&body, "access_token");
    let orders = "/api/orders";
    assert!(matches!(
        swap(system, orders, &wide).await,
        Swap::Allowed(_)
    ));
    assert_eq!(swap(system, orders, &narrow).await, Swap::Denied);

    let original = Table::of(system).family(&narrow).await;
    let theirs = table::entry(&mut original.clone(), &wide).clone();
    for names in [
        &["meta"][..],
        &["data_key"],
        &["meta", "expires_at"],
        &["meta", "data_key"],
        &["meta", "data_key", "jwts", "expires_at"],
    ] {
        let mut item = original.clone();
        for name in names {
            table::entry(&mut item, &narrow).insert((*name).to_owned(), theirs[*name].clone());
        }
        Table::of(system).put(&item).await;
        let answer = swap(system, orders, &narrow).await;
        assert_eq!(answer, Swap::Unauthorized, "{names:?}");
    }
    // The JWT of the wider token does not even open.
    let mut item = original.clone();
    table::entry(&mut item, &narrow).insert("jwts".to_owned(), theirs["jwts"].clone());
    Table::of(system).put(&item).await;
    assert_eq!(swap(system, orders, &narrow).await, Swap::Denied);
    Table::of(system).put(&original).await;
    assert!(matches!(
        swap(system, orders, &wide).await,
        Swap::Allowed(_)
    ));
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
