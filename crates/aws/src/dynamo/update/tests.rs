use super::*;
use cloakroom_domain::family::FamilyId;
use cloakroom_domain::token::TokenKind;

const ID: FamilyId = FamilyId([1; 16]);

/// Tokens by one letter: their text is that letter's digest.
fn token(letter: u8) -> TokenDigest {
    TokenDigest([letter; 32])
}

fn seal(text: &str) -> Sealed {
    Sealed::from_bytes(text.as_bytes().to_vec())
}

fn entry() -> TokenEntry {
    TokenEntry {
        kind: TokenKind::Access,
        state: TokenState::Live,
        expires_at: UnixTime(9),
        data_key: seal("key"),
        meta: seal("meta"),
        used_at: None,
        redeemed_at: None,
        successor: None,
        jwts: BTreeMap::new(),
    }
}

fn transition(conditions: Vec<Condition>, changes: Vec<Change>) -> Transition {
    Transition {
        family: ID,
        conditions,
        changes,
    }
}

/// The expressions with their names and values filled in, tokens by letter.
fn readable(transition: &Transition) -> (String, String) {
    let update = Plan::new(transition).render();
    let show = |value: &AttributeValue| match value {
        AttributeValue::S(text) => format!("'{text}'"),
        AttributeValue::N(number) => number.clone(),
        AttributeValue::B(bytes) => {
            format!("<{}>", String::from_utf8(bytes.as_ref().to_vec()).unwrap())
        }
        AttributeValue::L(list) => format!("[{}]", list.len()),
        _ => "{…}".into(),
    };
    let values = update.values.unwrap_or_default();
    let mut all: Vec<(String, String)> = update.names.into_iter().collect();
    all.extend(
        values
            .iter()
            .map(|(name, value)| (name.clone(), show(value))),
    );
    // Longer placeholders first: `#n1` is the beginning of `#n10`.
    all.sort_by_key(|(placeholder, _)| std::cmp::Reverse(placeholder.len()));
    let fill = |mut text: String| {
        for (placeholder, meaning) in &all {
            assert!(
                update.condition.contains(placeholder) || update.change.contains(placeholder),
                "DynamoDB refuses what is not used: {meaning}"
            );
            text = text.replace(placeholder, meaning);
        }
        for letter in b'A'..=b'Z' {
            let name = char::from(letter).to_string();
            text = text.replace(&token(letter).to_text(), &name);
        }
        text
    };
    (fill(update.condition.clone()), fill(update.change.clone()))
}

#[test]
fn a_rotation_is_one_update() {
    let (condition, change) = readable(&transition(
        vec![
            Condition::State(FamilyState::Active),
            Condition::Generation(4),
            Condition::Token(token(b'R'), TokenState::Live),
        ],
        vec![
            Change::Redeem {
                token: token(b'R'),
                at: UnixTime(7),
                successor: Some(seal("pair")),
            },
            Change::AddToken(token(b'S'), Box::new(entry())),
            Change::RemoveToken(token(b'P')),
            Change::Spent(vec![token(b'P')]),
            Change::Generation(5),
        ],
    ));
    assert_eq!(
        condition,
        "attribute_exists(pk) AND state = 'active' AND gen = 4 AND toks.R.state = 'live'"
    );
    assert_eq!(
        change,
        "SET gen = 5, spent = [1], toks.R.state = 'used', toks.R.redeemed_at = 7, \
         toks.R.successor = <pair>, toks.S = {…} REMOVE toks.P"
    );
}

#[test]
fn a_first_use_and_a_jwt_go_together() {
    let (condition, change) = readable(&transition(
        vec![
            Condition::State(FamilyState::Active),
            Condition::TokenExists(token(b'A')),
        ],
        vec![
            Change::FirstUse(token(b'A'), UnixTime(7)),
            Change::Jwt {
                token: token(b'A'),
                audience: "https://a.b/c d".into(),
                jwt: seal("jwt"),
            },
            Change::DropSuccessor(token(b'R')),
        ],
    ));
    assert_eq!(
        condition,
        "attribute_exists(pk) AND state = 'active' AND attribute_exists(toks.A) \
         AND attribute_exists(toks.R)",
        "every entry below which something changes must be there"
    );
    assert_eq!(
        change,
        "SET toks.A.used_at = if_not_exists(toks.A.used_at, 7), \
         toks.A.jwts.https://a.b/c d = <jwt> REMOVE toks.R.successor"
    );
}

#[test]
fn a_slide_moves_both_copies() {
    let (_, change) = readable(&transition(
        vec![Condition::TokenExists(token(b'A'))],
        vec![Change::Slide {
            token: token(b'A'),
            until: UnixTime(99),
            meta: seal("meta"),
        }],
    ));
    assert_eq!(change, "SET idle_expires_at = 99, toks.A.meta = <meta>");
}

#[test]
fn new_claims_come_with_their_version_and_the_lease_goes() {
    let transition = transition(
        vec![
            Condition::ClaimsVersion(3),
            Condition::LeaseFree(UnixTime(70)),
        ],
        vec![
            Change::Claims {
                grant: seal("grant"),
                version: 4,
            },
            Change::Lease(None),
        ],
    );
    let (condition, change) = readable(&transition);
    assert_eq!(
        condition,
        "attribute_exists(pk) AND claims_version = 3 AND (attribute_not_exists(lease_until) OR lease_until <= 70)"
    );
    assert!(change.contains("claims_version = 4"), "{change}");
    assert!(change.ends_with("REMOVE lease_until"), "{change}");
}

#[test]
fn a_transition_without_changes_only_checks() {
    let (condition, change) = readable(&transition(vec![], vec![]));
    assert_eq!(
        (condition.as_str(), change.as_str()),
        ("attribute_exists(pk)", "SET state = state")
    );
    assert!(
        Plan::new(&transition(vec![], vec![]))
            .render()
            .values
            .is_none()
    );
}

#[test]
fn changes_of_one_token_never_overlap() {
    let token_a = token(b'A');
    let add = || Change::AddToken(token_a, Box::new(entry()));
    let redeem = |successor: Option<&str>| Change::Redeem {
        token: token_a,
        at: UnixTime(7),
        successor: successor.map(seal),
    };
    let cases = [
        (
            vec![add(), Change::FirstUse(token_a, UnixTime(7))],
            "SET toks.A = {…}",
        ),
        (
            vec![Change::FirstUse(token_a, UnixTime(7)), add()],
            "SET toks.A = {…}",
        ),
        (vec![add(), Change::RemoveToken(token_a)], "REMOVE toks.A"),
        (
            vec![Change::RemoveToken(token_a), redeem(Some("x"))],
            "REMOVE toks.A",
        ),
        (
            vec![redeem(Some("x")), Change::RemoveToken(token_a)],
            "REMOVE toks.A",
        ),
        (
            vec![Change::RemoveToken(token_a), add()],
            "SET toks.A = {…}",
        ),
        (
            vec![redeem(Some("x")), Change::DropSuccessor(token_a)],
            "SET toks.A.state = 'used', toks.A.redeemed_at = 7 REMOVE toks.A.successor",
        ),
        (
            vec![redeem(None), redeem(Some("y"))],
            "SET toks.A.state = 'used', toks.A.redeemed_at = 7, toks.A.successor = <y>",
        ),
        (
            vec![
                Change::FirstUse(token_a, UnixTime(7)),
                Change::FirstUse(token_a, UnixTime(9)),
            ],
            "SET toks.A.used_at = if_not_exists(toks.A.used_at, 7)",
        ),
    ];
    for (changes, expected) in cases {
        let (_, change) = readable(&transition(vec![], changes.clone()));
        assert_eq!(change, expected, "{changes:?}");
    }
}

#[test]
fn a_new_token_takes_the_changes_that_follow_it() {
    let transition = transition(
        vec![],
        vec![
            Change::AddToken(token(b'A'), Box::new(entry())),
            Change::FirstUse(token(b'A'), UnixTime(7)),
            Change::Jwt {
                token: token(b'A'),
                audience: "orders".into(),
                jwt: seal("jwt"),
            },
        ],
    );
    let plan = Plan::new(&transition);
    let TokenPlan::Put(put) = &plan.tokens[&token(b'A')] else {
        panic!("{plan:?}")
    };
    assert_eq!(put.used_at, Some(UnixTime(7)));
    assert_eq!(put.jwts["orders"], seal("jwt"));
}
