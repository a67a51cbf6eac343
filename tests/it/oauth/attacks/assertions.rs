//! D55, D60: assertions, and the JSON in and around them.

use super::exchange::{EXCHANGER, exchanged};
use super::forms::is_invalid_client;
use super::*;

/// A good assertion, but for these claims; `null` takes one away.
pub(super) fn assertion(
    key: &ClientKey,
    system: &System,
    id: &str,
    changes: &[(&str, Value)],
) -> String {
    key.sign(r#"{"alg":"ES256"}"#, &claims(system, id, changes))
}

fn claims(system: &System, id: &str, changes: &[(&str, Value)]) -> String {
    let now = cloakroom_aws::world().now().0;
    let jti = BASE64URL.encode(cloakroom_domain::token::sha256(
        format!("{:?}", Instant::now()).as_bytes(),
    ));
    let mut claims = json!({
        "iss": id, "sub": id, "aud": system.url(), "jti": jti, "iat": now, "exp": now + 60,
    });
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims.to_string()
}

/// Two clients that sign.
async fn with_signers(key: &ClientKey, other: &ClientKey) -> System {
    system(&signers(key, other)).await
}

fn signers(key: &ClientKey, other: &ClientKey) -> String {
    let client = |id: &str, key: &ClientKey| {
        format!(
            "[[clients]]\nid = \"{id}\"\nkind = \"confidential\"\njwks = '{}'\n\
             grants = [\"client_credentials\"]\nscopes = [\"orders:read\"]\n",
            key.jwks
        )
    };
    [client("signing", key), client("other", other)].concat()
}

/// What a client is told that shows this assertion.
async fn shown(system: &System, jwt: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", jwt),
    ];
    token(system, &form).await
}

#[tokio::test(flavor = "multi_thread")]
async fn d55_an_assertion_whose_claims_are_wrong_in_one_point_proves_nothing() {
    let (key, other) = (ClientKey::p256(), ClientKey::p256());
    let system = with_signers(&key, &other).await;
    let good = assertion(&key, &system, "signing", &[]);
    assert_eq!(shown(&system, &good).await.status, 200);
    logs::listen();
    is_invalid_client(&shown(&system, &good).await, "replayed");
    let alarms = logs::with("the assertion was used before");
    assert!(alarms.iter().any(|line| line.contains("\"Replay\":1")));
    let now = cloakroom_aws::world().now().0;
    let endpoint = system.at("/oauth/token");
    for (name, value) in [
        ("aud", json!(endpoint)),
        ("aud", json!([system.url(), endpoint])),
        ("aud", json!([system.url()])),
        ("aud", json!(format!("{}/", system.url()))),
        ("aud", Value::Null),
        ("exp", json!(now + 31_536_000)),
        ("exp", json!(now + 3_720)),
        ("exp", json!(now - 61)),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("iat", json!(now + 600)),
        ("nbf", json!(now + 600)),
        ("jti", Value::Null),
        ("jti", json!("")),
        ("sub", json!("other")),
        ("iss", json!("other")),
        ("sub", json!("client|signing")),
    ] {
        let what = format!("{name}: {value}");
        let jwt = assertion(&key, &system, "signing", &[(name, value)]);
        is_invalid_client(&shown(&system, &jwt).await, &what);
    }
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "signing"),
        ("client_assertion_type", ASSERTION),
        (
            "client_assertion",
            &assertion(&other, &system, "other", &[]),
        ),
    ];
    is_invalid_client(&token(&system, &form).await, "another client's");
}

#[tokio::test(flavor = "multi_thread")]
async fn d55_an_assertion_is_not_taken_again_for_as_long_as_it_lives() {
    let (key, other) = (ClientKey::p256(), ClientKey::p256());
    let clock = TestClock::default();
    let system = system_at(&clock, &signers(&key, &other)).await;
    // An hour, as Authlib's are.
    let hour = [("exp", json!(clock.now().0 + 3600))];
    let (used, late) = (
        assertion(&key, &system, "signing", &hour),
        assertion(&key, &system, "signing", &hour),
    );
    assert_eq!(shown(&system, &used).await.status, 200);
    for seconds in [0, 600, 3000, 59] {
        clock.advance(seconds);
        is_invalid_client(&shown(&system, &used).await, "used before");
    }
    assert_eq!(shown(&system, &late).await.status, 200, "but not this one");
    clock.advance(1);
    is_invalid_client(&shown(&system, &late).await, "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn d55_an_assertion_is_signed_with_its_clients_own_key_and_says_how() {
    let (key, other) = (ClientKey::p256(), ClientKey::p256());
    let system = with_signers(&key, &other).await;
    for header in [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","typ":"client-authentication+jwt"}"#,
        r#"{"alg":"ES256","typ":"JWT"}"#,
    ] {
        let jwt = key.sign(header, &claims(&system, "signing", &[]));
        assert_eq!(shown(&system, &jwt).await.status, 200, "{header}");
    }
    let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(8000));
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"es256"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","typ":"logout+jwt"}"#,
        r#"{"alg":"ES256","crit":["x"],"x":1}"#,
        r#"{"alg":"ES256","kid":"../../etc/passwd"}"#,
        r#"{"alg":"ES256","kid":"' OR 1=1 --"}"#,
        r#"{"alg":"ES256","jku":"https://evil.example/jwks.json"}"#,
        &long,
    ] {
        let what: String = header.chars().take(60).collect();
        let jwt = key.sign(header, &claims(&system, "signing", &[]));
        is_invalid_client(&shown(&system, &jwt).await, &what);
    }
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"ES256"}"#] {
        let claims = BASE64URL.encode(claims(&system, "signing", &[]));
        let jwt = format!("{}.{claims}.", BASE64URL.encode(header));
        is_invalid_client(&shown(&system, &jwt).await, "unsigned");
    }
    let embedded = format!(r#"{{"alg":"ES256","jwk":{}}}"#, other.jwks["keys"][0]);
    let claims = claims(&system, "signing", &[]);
    for (what, jwt) in [
        ("an embedded key", other.sign(&embedded, &claims)),
        ("another's key", other.sign(r#"{"alg":"ES256"}"#, &claims)),
        (
            "the public key as secret",
            hmac_with_public_key(&key, &claims),
        ),
        ("no JWT", "x".to_owned()),
        ("five parts", "a.b.c.d.e".to_owned()),
    ] {
        is_invalid_client(&shown(&system, &jwt).await, what);
    }
}

fn hmac_with_public_key(key: &ClientKey, claims: &str) -> String {
    use aws_lc_rs::hmac;
    let header = BASE64URL.encode(r#"{"alg":"HS256"}"#);
    let input = format!("{header}.{}", BASE64URL.encode(claims));
    let secret = key.jwks["keys"][0].to_string();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mac = hmac::sign(&secret, input.as_bytes());
    format!("{input}.{}", BASE64URL.encode(mac.as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn d60_a_key_set_that_is_a_bomb_lets_nobody_in() {
    let key = ClientKey::p256();
    let jwk = key.jwks["keys"][0].to_string();
    let good = key.jwks.to_string();
    let twice = good.replace(r#""kty":"EC""#, r#""kty":"EC","kty":"EC""#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let sets = [
        ("good", good.clone()),
        ("deep", deep),
        (
            "large",
            format!(r#"{{"keys":[{jwk}],"x":"{}"}}"#, "x".repeat(2_000_000)),
        ),
        (
            "many",
            format!(r#"{{"keys":[{}]}}"#, vec![jwk.as_str(); 1000].join(",")),
        ),
        ("byte order mark", format!("\u{feff}{good}")),
        ("twice", twice),
        ("no object", "[]".to_owned()),
        ("nothing", String::new()),
    ];
    let (mut clients, mut serving) = (Vec::new(), Vec::new());
    for (n, (_, set)) in sets.iter().enumerate() {
        let (uri, task) = client_key::publish_text(set.clone()).await;
        serving.push(task);
        clients.push(format!(
            "[[clients]]\nid = \"c{n}\"\nkind = \"confidential\"\njwks_uri = \"{uri}\"\n\
             grants = [\"client_credentials\"]\nscopes = [\"orders:read\"]\n"
        ));
    }
    let system = system(&clients.concat()).await;
    for (n, (what, _)) in sets.iter().enumerate() {
        let answer = shown(&system, &assertion(&key, &system, &format!("c{n}"), &[])).await;
        let status = answer.status.as_u16();
        match *what {
            "good" => assert_eq!(status, 200, "{}", answer.text),
            // Not the client's fault, and never let in.
            _ => assert!(matches!(status, 401 | 503), "{what}: {}", answer.text),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d60_a_jwt_that_is_a_bomb_is_none() {
    let (key, other) = (ClientKey::p256(), ClientKey::p256());
    let clients = format!(
        "{EXCHANGER}\n[[clients]]\nid = \"signing\"\nkind = \"confidential\"\njwks = '{}'\n\
         grants = [\"client_credentials\"]\nscopes = [\"orders:read\"]\n",
        key.jwks
    );
    let system = system(&clients).await;
    let claims = claims(&system, "signing", &[]);
    let (open, close) = ("[".repeat(3000), "]".repeat(3000));
    let added = |more: &str| claims.replacen('{', &format!("{{{more},"), 1);
    let plain = r#"{"alg":"ES256"}"#;
    let deep_header = format!(r#"{{"alg":"ES256","x":{open}{close}}}"#);
    for (what, header, claims) in [
        ("a deep header", deep_header.as_str(), claims.clone()),
        (
            "deep claims",
            plain,
            added(&format!(r#""x":{open}{close}"#)),
        ),
        ("a claim twice", plain, added(r#""iss":"signing""#)),
        (
            "a header twice",
            r#"{"alg":"ES256","alg":"ES256"}"#,
            claims.clone(),
        ),
        ("a byte order mark", plain, format!("\u{feff}{claims}")),
        ("a number without end", plain, added(r#""nbf":1e999"#)),
        ("trailing text", plain, format!("{claims}{{}}")),
        ("no object", plain, "[]".to_owned()),
    ] {
        let jwt = key.sign(header, &claims);
        is_invalid_client(&shown(&system, &jwt).await, what);
        let changes = [("subject_token_type", ID_TOKEN)];
        let answer = exchanged(&system, &jwt, &changes).await;
        assert_eq!(answer.status, 400, "{what}");
        assert_eq!(answer.error(), "invalid_request", "{what}");
    }
    let jwt = other.sign(plain, &added(r#""x":{"y":[1,2,3]}"#));
    is_invalid_client(&shown(&system, &jwt).await, "another's key");
    let jwt = key.sign(plain, &added(r#""x":{"y":[1,2,3]}"#));
    assert_eq!(
        shown(&system, &jwt).await.status,
        200,
        "what is merely unknown is ignored"
    );
}
