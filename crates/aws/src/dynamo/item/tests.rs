use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

const ID: FamilyId = FamilyId([0x11; 16]);

fn seal(text: &str) -> Sealed {
    Sealed::from_bytes([&[1], text.as_bytes()].concat())
}

fn entry(kind: TokenKind, expires_at: u64, name: &str) -> TokenEntry {
    TokenEntry {
        kind,
        state: TokenState::Live,
        expires_at: UnixTime(expires_at),
        data_key: seal(&format!("{name} key")),
        meta: seal(&format!("{name} meta")),
        used_at: None,
        redeemed_at: None,
        successor: None,
        jwts: BTreeMap::new(),
    }
}

/// What the fixture holds: every attribute there is.
fn family() -> FamilyRecord {
    let code = TokenEntry {
        state: TokenState::Used,
        redeemed_at: Some(UnixTime(1_010)),
        successor: Some(seal("pair")),
        ..entry(TokenKind::Code, 1_060, "code")
    };
    let access = TokenEntry {
        used_at: Some(UnixTime(1_020)),
        jwts: BTreeMap::from([
            ("orders".into(), seal("orders jwt")),
            ("https://profile.example".into(), seal("profile jwt")),
        ]),
        ..entry(TokenKind::Access, 1_910, "access")
    };
    FamilyRecord {
        id: ID,
        state: FamilyState::Active,
        kind: FamilyKind::Grant,
        client: "demo-native".into(),
        root: "root-id".into(),
        created_at: UnixTime(1_000),
        idle_expires_at: UnixTime(90_000),
        absolute_expires_at: UnixTime(100_000),
        generation: 3,
        grant: seal("grant"),
        claims_version: 1,
        lease_until: None,
        tokens: BTreeMap::from([
            (TokenDigest([0xC0; 32]), code),
            (TokenDigest([0xA7; 32]), access),
            (
                TokenDigest([0xF0; 32]),
                entry(TokenKind::Refresh, 90_000, "refresh"),
            ),
        ]),
        spent: vec![TokenDigest([0x5E; 32])],
        forget_after: UnixTime(100_600),
    }
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/family-v1.json")).unwrap()
}

fn attribute(json: &Value) -> AttributeValue {
    let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "B" => AttributeValue::B(Blob::new(BASE64.decode(text()).unwrap())),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        "M" => AttributeValue::M(item(value)),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "NULL" => AttributeValue::Null(true),
        other => panic!("{other}"),
    }
}

fn item(json: &Value) -> Item {
    let members = json.as_object().unwrap().iter();
    members
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect()
}

fn read(json: &Value) -> Result<FamilyRecord, StoreError> {
    read_family(ID, &item(json))
}

#[test]
fn a_family_of_format_1_is_still_read() {
    assert_eq!(read(&fixture()).unwrap(), family());
}

#[test]
fn a_family_is_still_written_in_format_1() {
    assert_eq!(write_family(&family()), item(&fixture()));
}

#[test]
fn a_family_under_another_key_is_refused() {
    let planted = read_family(FamilyId([0x12; 16]), &item(&fixture()));
    assert!(matches!(planted, Err(StoreError::Malformed("pk"))), "D75");
}

/// JSON pointers to everything in the fixture.
fn places(json: &Value, at: &str, places: &mut Vec<String>) {
    if let Some(members) = json.as_object() {
        for (name, value) in members {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            if !matches!(name.as_str(), "S" | "N" | "B" | "L" | "M") {
                places.push(at.clone());
            }
            self::places(value, &at, places);
        }
    }
}

#[test]
fn an_attribute_of_another_type_is_refused() {
    let mut all = Vec::new();
    places(&fixture(), "", &mut all);
    assert!(all.len() > 30, "{all:?}");
    for place in all.iter().filter(|place| *place != "/sk") {
        for wrong in [
            json!({"BOOL": true}),
            json!({"NULL": true}),
            json!({"S": "1\n"}),
            json!({"N": "-1"}),
            json!({"N": "9223372036854775808"}),
            json!({"N": "1e3"}),
            json!({"N": "0.5"}),
            json!({"L": [{"S": "x"}]}),
            json!({"M": {"x": {"S": "x"}}}),
        ] {
            let mut json = fixture();
            *json.pointer_mut(place).unwrap() = wrong.clone();
            // Free text is free; what it says is compared with the seals.
            if wrong.get("S").is_some() && ["/client", "/root"].contains(&place.as_str()) {
                continue;
            }
            assert!(
                matches!(read(&json), Err(StoreError::Malformed(_))),
                "D32: {place} = {wrong}"
            );
        }
    }
}

#[test]
fn a_missing_attribute_is_refused_unless_it_may_be_absent() {
    let mut all = Vec::new();
    places(&fixture(), "", &mut all);
    for place in all {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut json = fixture();
        let parent = json.pointer_mut(parent).unwrap();
        parent
            .as_object_mut()
            .unwrap()
            .remove(&name.replace("~1", "/"));
        let may_be_absent = ["used_at", "redeemed_at", "successor", "sk"].contains(&name)
            // A token, or an audience's JWT.
            || place.ends_with(&format!("/toks/M/{name}"))
            || place.contains("/jwts/M/");
        match read(&json) {
            Ok(_) => assert!(may_be_absent, "{place}"),
            Err(StoreError::Malformed(_)) => assert!(!may_be_absent, "{place}"),
            Err(other) => panic!("{place}: {other}"),
        }
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    // The release after this one may write more.
    let mut json = fixture();
    json["later"] = json!({"S": "x"});
    assert_eq!(read(&json).unwrap(), family());
}

#[test]
fn an_index_item_leads_back_to_its_family() {
    let index = IndexKey::Subject("mac".into());
    let mut item = index_item(&index, &family());
    assert_eq!(item[PK], text("sub#mac"));
    assert_eq!(indexed_family(&item).unwrap(), ID);
    for wrong in ["f#", "f#short", "f", ""] {
        item.insert(SK.into(), text(wrong));
        assert!(indexed_family(&item).is_err(), "{wrong}");
    }
    let session = IndexKey::IdpSession("mac".into());
    assert_eq!(index_pk(&session), "ids#mac");
}
