//! What is fuzzed. Each target takes any bytes, and panics where something is wrong.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a target says by a panic that it has found something"
)]

use cloakroom_domain::config::Config;
use cloakroom_domain::dpop::{self, Occasion};
use cloakroom_domain::target::Reading;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::OpaqueToken;
use cloakroom_gateway::authorizer::AuthorizerEvent;
use cloakroom_gateway::http::{self, Response, StatusCode};
use cloakroom_jose::json::{Document, Error, Value};
use cloakroom_verify::jws::{Algorithm, ClaimSet, Expected, KeySet, Unverified};

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("json", json),
    ("token", token),
    ("jws", jws),
    ("key_set", key_set),
    ("proof", proof),
    ("authorizer_event", authorizer_event),
    ("http_event", http_event),
    ("authorizer", authorizer),
];

/// The bytes in an event that stand for the token that the authorizer knows.
pub const TOKEN: &str = "@TOKEN@";

/// Names that `serde_json` takes for something else.
const MAGIC: &str = "$serde_json::private::";

/// Our reader of JSON beside serde_json's. Every difference that is wanted is named here.
fn json(bytes: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match (Document::read(bytes), theirs) {
        // Equal names, and invalid UTF-8 in what serde_json skips.
        (Err(Error::DuplicateName | Error::NotUtf8), _) | (Err(_), Err(_)) => {}
        (Ok(ours), Ok(theirs)) if is_same(ours.root(), &theirs) => {}
        // Names that are magic there, and names here.
        (Ok(_), _) if contains_magic(bytes) => {}
        (ours, theirs) => panic!("ours {:?}, theirs {theirs:?}", ours.is_ok()),
    }
}

fn contains_magic(bytes: &[u8]) -> bool {
    fn any(value: Value<'_, '_>) -> bool {
        let mut members = value.as_object().into_iter().flatten();
        let mut elements = value.as_array().into_iter().flatten();
        members.any(|(name, value)| name.starts_with(MAGIC) || any(value)) || elements.any(any)
    }
    Document::read(bytes).is_ok_and(|document| any(document.root()))
}

fn is_same(ours: Value<'_, '_>, theirs: &serde_json::Value) -> bool {
    match theirs {
        serde_json::Value::Null => ours.is_null(),
        serde_json::Value::Bool(theirs) => ours.as_bool() == Some(*theirs),
        serde_json::Value::String(theirs) => ours.is(theirs),
        serde_json::Value::Number(theirs) => {
            let ours = ours.as_number().and_then(|ours| ours.parse::<f64>().ok());
            // It does not round all decimals to the nearest double.
            ours.zip(theirs.as_f64())
                .is_some_and(|(ours, theirs)| (ours - theirs).abs() <= theirs.abs() * 1e-15)
        }
        serde_json::Value::Array(theirs) => ours.as_array().is_some_and(|ours| {
            ours.count() == theirs.len()
                && ours.zip(theirs).all(|(ours, theirs)| is_same(ours, theirs))
        }),
        serde_json::Value::Object(theirs) => ours.as_object().is_some_and(|ours| {
            let mut theirs = theirs.iter();
            ours.len() == theirs.len()
                && theirs
                    .all(|(name, theirs)| ours.get(name).is_some_and(|ours| is_same(ours, theirs)))
        }),
    }
}

/// A token that is taken is written as it was.
fn token(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(token) = OpaqueToken::parse(text)
    {
        assert_eq!(token.expose(), text);
    }
}

const ALGORITHMS: &[Algorithm] = &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// No JWT is verified by a key that signed nothing, and none is read in two ways.
fn jws(bytes: &[u8]) {
    let expected = Expected {
        types: &["JWT"],
        untyped: true,
        algorithms: ALGORITHMS,
        key_id_required: false,
    };
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(token) = Unverified::parse(text, &expected) {
        assert!(ALGORITHMS.contains(&token.header().alg));
        let keys = KeySet::parse(KEYS.as_bytes()).expect("a key set");
        assert!(token.verify(&keys).is_err(), "forged");
    }
    if let Some(claims) = ClaimSet::parse_unsigned(bytes) {
        let _ = (
            claims.audiences(),
            claims.time("exp"),
            claims.pointer("/a/b"),
        );
    }
}

/// RFC 8037 appendix A.2, RFC 7515 appendix A.3.
const KEYS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"ec","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// A set never names two keys alike, and never holds a private one.
fn key_set(bytes: &[u8]) {
    if let Ok(set) = KeySet::parse(bytes) {
        let mut names: Vec<_> = set.keys().iter().filter_map(|key| key.kid()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!((1..=KeySet::MAX_KEYS).contains(&set.keys().len()));
    }
}

/// A configuration to judge proofs by.
fn config() -> Config {
    Config::parse("config_version = 1\nissuer = \"https://app.example.com\"\n")
        .expect("a configuration")
}

/// Nothing that is made up is a proof for a request of now.
fn proof(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let occasion = Occasion {
        method: "GET",
        path: "/api/orders",
        reading: Reading::Routed,
        token: None,
    };
    assert!(dpop::judge(&config(), text, &occasion, UnixTime(1_800_000_000)).is_err());
}

/// An event that is taken is JSON to others too.
fn authorizer_event(bytes: &[u8]) {
    if let Ok(event) = AuthorizerEvent::parse(bytes) {
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
        assert!(!event.asker.is_empty());
    }
}

/// Every event is answered in the gateway's shape.
fn http_event(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let answer =
        runtime
            .expect("a runtime")
            .block_on(http::serve("fuzz", bytes, |request| async move {
                let _ = (request.query(), request.form(), request.cookie("a"));
                Response::text(StatusCode::OK, "text/plain", String::new())
            }));
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert!(
        answer
            .get("statusCode")
            .is_some_and(serde_json::Value::is_u64)
    );
}

/// Nobody gets a JWT from the whole function whose event does not hold the token.
fn authorizer(bytes: &[u8]) {
    thread_local! {
        static FUNCTION: (cloakroom_bench::Function, String) = cloakroom_bench::authorizer();
    }
    FUNCTION.with(|(function, token)| {
        let text = String::from_utf8_lossy(bytes);
        let event = text.replace(TOKEN, token);
        let answer = function(event.as_bytes()).unwrap_or_default();
        let holds_jwt = answer.windows(3).any(|part| part == b"eyJ");
        assert!(!holds_jwt || text.contains(TOKEN), "let in without a token");
    });
}
