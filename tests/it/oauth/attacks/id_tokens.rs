//! D56: an ID token of a provider as the subject of a token exchange.

use super::exchange::{EXCHANGER, access_token, exchanged, is_refused};
use super::*;
use cloakroom_tests::liar::{Liar, sign};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const KINDS: [&str; 2] = [ID_TOKEN, JWT];

/// A client like the exchanger that takes nobody's word.
const TRUSTS_NOBODY: &str = r#"
    [[clients]]
    id = "trusts-nobody"
    kind = "confidential"
    secrets = ["sha256:tBMUd5NEBG85rIQOyTOA6EqBUa_kK1fjRSOwTNDrY68"]
    grants = ["token_exchange"]
    scopes = ["orders:read"]
    exchanges = ["demo-native"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn d56_the_demo_providers_id_token_gives_its_user_one_access_token() {
    let system = system(&format!("{EXCHANGER}{TRUSTS_NOBODY}")).await;
    let id_token = oauth::id_token(&system, "alice").await;
    let mut given = Vec::new();
    for kind in KINDS {
        let answer = exchanged(&system, &id_token, &[("subject_token_type", kind)]).await;
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(body["issued_token_type"], ACCESS_TOKEN);
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["scope"], "orders:read");
        assert!(body["refresh_token"].is_null(), "{body}");
        given.push(access_token(&answer));
    }
    let claims = swap(&system, "/api/orders", &given[0]).await.claims();
    assert_eq!(claims["sub"], "demo|alice");
    assert_eq!(claims["client_id"], "exchanger");
    assert_eq!(claims["name"], "Alice Example");
    let (status, _) = oauth::call(&system, "/api/profile", &given[0]).await;
    assert_eq!(status, 403, "not for the exchanger's audience");

    // What it is good for is the client's own, and no more.
    let kind = ("subject_token_type", ID_TOKEN);
    for (more, error) in [
        (("scope", "profile"), "invalid_scope"),
        (("audience", "profile"), "invalid_target"),
        (("subject_token_type", ACCESS_TOKEN), "invalid_request"),
        (("client_id", "trusts-nobody"), "invalid_request"),
        (("client_id", "demo-machine"), "invalid_request"),
    ] {
        is_refused(&system, &id_token, &[kind, more], error).await;
    }
    // The two are not one: each dies alone.
    let form = [
        ("token", given[0].as_str()),
        ("client_id", "exchanger"),
        ("client_secret", SECRET),
    ];
    let revoked = Answer::to(post(&system, "/oauth/revoke", &form)).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(called(&system, &given[0]).await.status, 401);
    assert_eq!(called(&system, &given[1]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn d56_an_id_token_is_worth_nothing_after_its_user_was_signed_out() {
    let system = system(EXCHANGER).await;
    let kind = [("subject_token_type", ID_TOKEN)];
    let alice = oauth::id_token(&system, "alice").await;
    let bob = oauth::id_token(&system, "bob").await;
    let given = access_token(&exchanged(&system, &alice, &kind).await);
    system.provider().sign_out("alice").await.unwrap();
    assert_eq!(called(&system, &given).await.status, 401);
    is_refused(&system, &alice, &kind, "invalid_request").await;
    access_token(&exchanged(&system, &bob, &kind).await);
}

/// Makes one thing of an ID token wrong.
type Edit = fn(&mut Value);

#[tokio::test(flavor = "multi_thread")]
async fn d56_an_id_token_that_is_wrong_in_one_point_is_no_subject() {
    let liar = Liar::bind().await;
    let clients = EXCHANGER.replace("[\"demo\"]", "[\"liar\"]");
    let system = liar.system_with("", &clients, options("")).await;
    let now = cloakroom_aws::world().clock.now().0;
    let claims = json!({
        "iss": liar.issuer, "aud": "cloakroom", "sub": "alice", "iat": now, "exp": now + 100,
    });
    let token = |header: &Value, edit: Edit| {
        let mut claims = claims.clone();
        edit(&mut claims);
        sign(header, &claims)
    };
    let plain = json!({});
    let good = token(&plain, |_| {});
    for kind in KINDS {
        let answer = exchanged(&system, &good, &[("subject_token_type", kind)]).await;
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        let left = body["expires_in"].as_u64().expect(&answer.text);
        assert!((1..=100).contains(&left), "as long as the ID token: {left}");
        let swapped = swap(&system, "/api/orders", &access_token(&answer)).await;
        assert_eq!(swapped.claims()["sub"], "liar|alice");
    }
    let edits: [(&str, Edit); 18] = [
        ("another issuer", |c| {
            c["iss"] = json!("https://evil.example");
        }),
        ("a slash more", |c| {
            c["iss"] = json!(format!("{}/", c["iss"].as_str().unwrap()));
        }),
        ("no issuer", |c| c["iss"] = Value::Null),
        ("our own name", |c| {
            c["iss"] = json!("http://localhost:3000");
        }),
        ("another audience", |c| c["aud"] = json!("another")),
        ("an audience more", |c| {
            c["aud"] = json!(["cloakroom", "another"]);
        }),
        ("no audience", |c| c["aud"] = Value::Null),
        ("the exchanger for audience", |c| {
            c["aud"] = json!("exchanger");
        }),
        ("another party", |c| c["azp"] = json!("another")),
        ("expired", |c| {
            c["exp"] = json!(c["iat"].as_u64().unwrap() - 60);
        }),
        ("no expiry", |c| c["exp"] = Value::Null),
        ("from the future", |c| {
            c["iat"] = json!(c["iat"].as_u64().unwrap() + 90);
        }),
        ("about nobody", |c| c["sub"] = json!("")),
        ("an access token", |c| c["scope"] = json!("openid")),
        ("a logout token", |c| c["events"] = json!({})),
        ("a delegated one", |c| c["act"] = json!({"sub": "another"})),
        ("somebody else may act", |c| {
            c["may_act"] = json!({"sub": "client|another"});
        }),
        ("roles of another shape", |c| {
            c["roles"] = json!({"admin": true});
        }),
    ];
    let mut wrong: Vec<_> = edits
        .into_iter()
        .map(|(what, edit)| (what, token(&plain, edit)))
        .collect();
    for (what, header) in [
        ("signed by nobody", json!({"alg": "none"})),
        ("signed with the public key", json!({"alg": "HS256"})),
        ("signed by an unknown key", json!({"kid": "unknown"})),
        ("typed as an access token", json!({"typ": "at+jwt"})),
        ("typed as a logout token", json!({"typ": "logout+jwt"})),
        (
            "with what must be understood",
            json!({"crit": ["x"], "x": 1}),
        ),
        (
            "with a key of its own",
            json!({"jwk": cloakroom_tests::liar::jwk()}),
        ),
    ] {
        wrong.push((what, token(&header, |_| {})));
    }
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = token(&plain, |c| c["sub"] = json!("bob"));
    let (other, _) = other.rsplit_once('.').unwrap();
    wrong.push(("another's signature", format!("{other}.{signature}")));
    wrong.push(("no signature", format!("{signed}.")));
    let table = cloakroom_tests::table::Table::of(&system);
    let before = table.count().await;
    for (what, token) in &wrong {
        for kind in KINDS {
            let answer = exchanged(&system, token, &[("subject_token_type", kind)]).await;
            assert_eq!(answer.status, 400, "{what}: {}", answer.text);
            assert_eq!(answer.error(), "invalid_request", "{what}");
        }
    }
    assert_eq!(table.count().await, before, "nothing is written for them");
    // The neighbour is still let in.
    access_token(&exchanged(&system, &good, &[("subject_token_type", ID_TOKEN)]).await);
}
