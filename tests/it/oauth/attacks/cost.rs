//! D72 at the token service: what a token that is worth nothing costs us.

use super::*;
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::family::FamilyId;
use cloakroom_domain::token::TokenKind;
use cloakroom_tests::liar::{Liar, Lie};
use cloakroom_tests::table::{Item, Table};
use std::collections::BTreeMap;

const SIGNED: &str = "application/token-introspection+jwt";
const ACCESS_JWT: &str = "application/jwt";

/// A system whose calls to AWS are counted, in a time of its own.
async fn counted(clock: &TestClock) -> (System, Faults) {
    let faults = Faults::default();
    let options = Options {
        faults: Some(faults.clone()),
        clock: Some(Arc::new(clock.clone())),
        ..options(
            r#"
            [[clients]]
            id = "gateway"
            kind = "confidential"
            secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
            grants = ["client_credentials"]
            audience = "orders"
            "#,
        )
    };
    (System::start(options).await.unwrap(), faults)
}

/// Texts that name nothing: of no shape, and of the right shape in no family.
fn garbage() -> Vec<String> {
    let world = cloakroom_aws::world();
    let token = |kind| {
        let family = FamilyId::generate(&world).unwrap();
        OpaqueToken::generate(kind, family, &world)
            .unwrap()
            .expose()
            .to_owned()
    };
    let right = token(TokenKind::Access);
    let mut texts: Vec<_> = TokenKind::ALL.into_iter().map(token).collect();
    texts.extend(
        [
            "x",
            "cr_at_",
            "eyJhbGciOiJub25lIn0.e30.",
            "\u{0}",
            "cr_at_\u{1f9e5}",
            &right[..75],
        ]
        .map(str::to_owned),
    );
    texts.push(format!("{right} "));
    texts.push(right.to_uppercase());
    texts
}

/// Only reads of the table, and no more than two: the epoch, and a family.
fn is_cheap(calls: &BTreeMap<String, usize>, what: &str) {
    assert!(
        calls.keys().all(|operation| operation == "GetItem"),
        "{what}: {calls:?}"
    );
    assert!(calls.values().sum::<usize>() <= 2, "{what}: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d72_a_token_that_is_worth_nothing_costs_no_kms_call_and_no_write() {
    let (system, faults) = counted(&TestClock::default()).await;
    // Whatever is fetched once is fetched now.
    let (access, refresh) = oauth::native_tokens(&system, "alice").await;
    let dead = oauth::native_tokens(&system, "alice").await;
    assert_eq!(oauth::revoke(&system, &dead.1).await, 200);
    introspected(&system, &access).await;
    let mut texts = garbage();
    texts.extend([forged(&access), forged(&refresh), dead.0, dead.1]);
    faults.take_calls();
    for text in &texts {
        let form = [("token", text.as_str())];
        for path in ["/oauth/introspect", "/oauth/revoke"] {
            for accept in ["application/json", ACCESS_JWT] {
                let request = post(&system, path, &form)
                    .basic_auth("demo-machine", Some(SECRET))
                    .header("accept", accept);
                let answer = Answer::to(request).await;
                let status = answer.status.as_u16();
                assert!(
                    matches!(status, 200 | 204),
                    "{path}: {text}: {}",
                    answer.text
                );
                is_cheap(&faults.take_calls(), &format!("{path}: {text}"));
            }
        }
    }
    // Of no shape at all: nothing whatever.
    introspected(&system, "x").await;
    assert_eq!(faults.take_calls(), BTreeMap::new());
    // And what is worth something is seen to cost something.
    assert_eq!(oauth::revoke(&system, &access).await, 200);
    assert!(faults.take_calls().contains_key("UpdateItem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn d72_a_signed_no_is_one_signature_a_minute_for_each_caller() {
    let clock = TestClock::default();
    let (system, faults) = counted(&clock).await;
    let ask = async |caller: &str, text: &str| {
        let request = post(&system, "/oauth/introspect", &[("token", text)])
            .basic_auth(caller, Some(SECRET))
            .header("accept", SIGNED);
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let calls = faults.take_calls();
        (answer.text, calls.get("Sign").copied().unwrap_or_default())
    };
    ask("demo-machine", "warm").await;
    clock.advance(60);
    let (first, signatures) = ask("demo-machine", "x").await;
    assert_eq!(signatures, 1);
    for text in garbage() {
        let (again, signatures) = ask("demo-machine", &text).await;
        assert_eq!((again, signatures), (first.clone(), 0), "{text}");
    }
    let (other, signatures) = ask("gateway", "x").await;
    assert_eq!(signatures, 1, "another caller, another audience");
    assert_ne!(other, first);
    clock.advance(59);
    assert_eq!(ask("demo-machine", "x").await, (first.clone(), 0));
    clock.advance(1);
    let (fresh, signatures) = ask("demo-machine", "x").await;
    assert_eq!(signatures, 1);
    assert_ne!(fresh, first);
}

/// Each refresh leaves an access token that lives on, and JWTs beside it. The table takes
/// no item of more than 400 KB, and is paid for by an item's size.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_refreshes_without_end_does_not_outgrow_its_item() {
    let liar = Liar::bind().await;
    let system = liar.system("", Options::default()).await;
    let many_roles = |claims: &mut Value| {
        claims["roles"] = (0..90).map(|n| format!("role-{n:0>40}")).collect();
    };
    liar.lie("/token", Lie::Claims(many_roles));
    let (mut access, mut refresh) = oauth::native_tokens(&system, "alice").await;
    let mut weights = Vec::new();
    for round in 0..40 {
        for path in ["/api/orders", "/api/profile"] {
            let swapped = swap(&system, path, &access).await;
            assert!(matches!(swapped, Swap::Allowed(_)), "{round}: {swapped:?}");
        }
        let (status, body) = oauth::refresh(&system, &refresh).await;
        assert_eq!(status, StatusCode::OK, "{round}: {body}");
        access = oauth::text(&body, "access_token");
        refresh = oauth::text(&body, "refresh_token");
        weights.push(weight(&Table::of(&system).family(&access).await));
    }
    let grown = |from: usize, to: usize| weights[to] - weights[from];
    assert!(grown(0, 1) > 10_000, "JWTs are shared: {weights:?}");
    assert!(grown(30, 39) < 20_000, "{weights:?}");
    assert!(weights[39] < 200_000, "{weights:?}");
}

/// An item's size, as the service counts it, but for the overhead of each attribute.
fn weight(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::S(text) => text.len(),
        AttributeValue::M(map) => weight(map),
        _ => 0,
    };
    item.iter()
        .map(|(name, each)| name.len() + value(each))
        .sum()
}
