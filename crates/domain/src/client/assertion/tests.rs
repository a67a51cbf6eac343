use super::*;
use crate::client::{ClientCredentials, Clients};
use crate::testing::{Fault, MemoryStore, SECRET, TestClock, Verb, system, world};
use std::sync::Arc;

const NOW: u64 = 10_000;

/// A verifier that has already looked at the signature.
struct Signed(Result<AssertionClaims, AssertionFault>);

impl VerifyAssertion for Signed {
    async fn verify_assertion(&self, _: &str) -> Result<AssertionClaims, AssertionFault> {
        self.0.clone()
    }
}

fn config() -> Config {
    let mut config = system();
    for client in &mut config.clients {
        if client.id == "machine" {
            client.secrets.clear();
            client.jwks = Some(r#"{"keys":[]}"#.into());
        }
    }
    config
}

fn claims() -> AssertionClaims {
    AssertionClaims {
        iss: "machine".into(),
        sub: "machine".into(),
        aud: "https://app.example.com".into(),
        jti: "one".into(),
        exp: UnixTime(NOW + 3600),
        iat: Some(UnixTime(NOW)),
        nbf: None,
    }
}

async fn prove_to(
    store: &MemoryStore,
    claims: AssertionClaims,
    id: Option<&str>,
) -> Result<ProvenClient, AssertionError> {
    let now = UnixTime(NOW);
    prove(&config(), &Signed(Ok(claims)), store, id, "a.b.c", now).await
}

async fn refused(edit: impl FnOnce(&mut AssertionClaims)) -> (AssertionError, usize) {
    let store = MemoryStore::default();
    let mut claims = claims();
    edit(&mut claims);
    let error = prove_to(&store, claims, None).await.unwrap_err();
    (error, store.take_calls().once)
}

#[tokio::test]
async fn a_signed_assertion_is_a_clients_proof() {
    for id in [None, Some("machine")] {
        let store = MemoryStore::default();
        let proven = prove_to(&store, claims(), id).await.unwrap();
        let credentials = ClientCredentials::Assertion(&proven);
        let clients = Clients::new(Arc::new(config()), world(&TestClock::at(NOW)));
        assert_eq!(clients.authenticate(&credentials).unwrap().id, "machine");
    }
}

#[tokio::test]
async fn an_assertion_that_differs_in_one_point_is_refused_and_not_remembered_d55() {
    type Edit = fn(&mut AssertionClaims);
    let edits: [(&str, Edit); 16] = [
        ("iss", |c| c.iss = "server".into()),
        ("sub", |c| c.sub = "server".into()),
        ("another client", |c| {
            (c.iss, c.sub) = ("server".into(), "server".into());
        }),
        ("a public client", |c| {
            (c.iss, c.sub) = ("app".into(), "app".into());
        }),
        ("nobody", |c| {
            (c.iss, c.sub) = ("stranger".into(), "stranger".into());
        }),
        ("the token endpoint", |c| c.aud.push_str("/oauth/token")),
        ("almost our issuer", |c| c.aud.push('/')),
        ("no audience", |c| c.aud.clear()),
        ("expired", |c| {
            (c.exp, c.iat) = (UnixTime(NOW - 60), Some(UnixTime(NOW - 100)));
        }),
        ("a year", |c| c.exp = UnixTime(NOW + 31_536_000)),
        ("a second too long", |c| {
            (c.exp, c.iat) = (UnixTime(NOW + 3661), None);
        }),
        ("long, though old", |c| c.iat = Some(UnixTime(NOW - 61))),
        ("made later", |c| {
            (c.iat, c.exp) = (Some(UnixTime(NOW + 61)), UnixTime(NOW + 120));
        }),
        ("not yet", |c| c.nbf = Some(UnixTime(NOW + 61))),
        ("nameless", |c| c.jti.clear()),
        ("long name", |c| c.jti = "j".repeat(257)),
    ];
    for (what, edit) in edits {
        let (error, once) = refused(edit).await;
        assert!(matches!(error, AssertionError::Refused(_)), "{what}");
        assert_eq!(once, 0, "{what}: nothing is written for it");
    }
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    type Edit = fn(&mut AssertionClaims);
    let edits: [Edit; 4] = [
        |c| (c.exp, c.iat) = (UnixTime(NOW + 3660), Some(UnixTime(NOW + 60))),
        |c| (c.exp, c.iat) = (UnixTime(NOW - 59), Some(UnixTime(NOW - 3600))),
        |c| (c.iat, c.nbf) = (None, Some(UnixTime(NOW + 60))),
        |c| c.jti = "j".repeat(256),
    ];
    for edit in edits {
        let mut claims = claims();
        edit(&mut claims);
        let store = MemoryStore::default();
        assert!(prove_to(&store, claims, None).await.is_ok());
    }
}

#[tokio::test]
async fn an_assertion_is_used_once_and_only_by_its_client_d55() {
    let store = MemoryStore::default();
    prove_to(&store, claims(), None).await.unwrap();
    let again = prove_to(&store, claims(), None).await.unwrap_err();
    assert_eq!(again, AssertionError::Replayed);
    let mut other = claims();
    other.jti = "two".into();
    prove_to(&store, other, None).await.unwrap();

    let store = MemoryStore::default();
    let wrong = prove_to(&store, claims(), Some("server")).await;
    assert!(matches!(wrong.unwrap_err(), AssertionError::Refused(_)));
    assert_eq!(store.take_calls().once, 0);
}

#[tokio::test]
async fn what_cannot_be_told_is_unavailable() {
    let store = MemoryStore::default();
    store.fail_next(Verb::Once, Fault::Throttled);
    let error = prove_to(&store, claims(), None).await.unwrap_err();
    assert!(matches!(error, AssertionError::Unavailable(_)));

    let down = Signed(Err(AssertionFault::Unavailable("down")));
    let error = prove(&config(), &down, &store, None, "a.b.c", UnixTime(NOW)).await;
    assert!(matches!(error.unwrap_err(), AssertionError::Unavailable(_)));
}

#[test]
fn a_client_has_one_way_to_prove_who_it_is() {
    let clients = Clients::new(Arc::new(config()), world(&TestClock::at(NOW)));
    let secret = |id| ClientCredentials::Secret { id, secret: SECRET };
    assert!(clients.authenticate(&secret("machine")).is_err(), "D54");
    assert!(
        clients
            .authenticate(&ClientCredentials::Public { id: "machine" })
            .is_err()
    );
    assert!(clients.authenticate(&ClientCredentials::Unproven).is_err());
    for id in ["server", "app"] {
        let proven = ProvenClient(id.into());
        let credentials = ClientCredentials::Assertion(&proven);
        assert!(clients.authenticate(&credentials).is_err(), "{id}");
    }
}
