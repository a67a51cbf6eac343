use super::*;
use crate::client::hash_chosen;
use crate::testing::{SequenceEntropy, TestClock, world};
use proptest::prelude::*;
use serde_json::json;
use std::cell::Cell;

const NOW: u64 = 1_000;

/// Clients, a clock, and a count of the slow hashes that were computed. Hashes are not
/// really computed here: a secret matches if it is the hash's number.
struct Desk {
    clients: Clients,
    clock: TestClock,
    slow: Cell<u32>,
}

/// `generated` has one fast hash, `one` a slow one, `two` two slow ones and a fast one.
fn desk() -> Desk {
    let phc = |salt: &str| {
        let (salt, hash) = (salt.repeat(22), "A".repeat(43));
        format!("argon2id:$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")
    };
    let chosen = |salt| SecretHash::try_from(phc(salt)).unwrap();
    let generated = SecretHash::of_generated("generated");
    let client = |id: &str, kind: &str, secrets: &[SecretHash]| -> ClientConfig {
        let client = json!({"id": id, "kind": kind, "secrets": secrets, "grants": []});
        serde_json::from_value(client).unwrap()
    };
    let one = chosen("A");
    let mut config = crate::testing::config();
    config.clients = vec![
        client(
            "generated",
            "confidential",
            std::slice::from_ref(&generated),
        ),
        client("one", "confidential", std::slice::from_ref(&one)),
        client("two", "confidential", &[one, generated, chosen("Q")]),
        client("public", "public", &[]),
    ];
    let clock = TestClock::at(NOW);
    Desk {
        clients: Clients::new(Arc::new(config), world(&clock)),
        clock,
        slow: Cell::default(),
    }
}

impl Desk {
    /// What an attempt comes to; `right` names the secret of the slow or the fast hashes.
    fn ask(&self, id: &str, secret: &str) -> Result<String, ClientError> {
        let found = self.clients.by_secret(id, secret, &|hash| {
            self.slow.set(self.slow.get() + u32::from(is_slow(hash)));
            match hash {
                SecretHash::Argon2id(_) => secret == "chosen",
                SecretHash::Sha256(_) => secret == "generated",
            }
        });
        found.map(|client| client.id.clone())
    }

    /// The slow hashes since last asked.
    fn cost(&self) -> u32 {
        self.slow.take()
    }

    fn ids(&self) -> usize {
        lock(&self.clients.attempts).by_id.len()
    }
}

const INVALID: Result<String, ClientError> = Err(ClientError::Invalid);
const LIMITED: Result<String, ClientError> = Err(ClientError::Limited {
    retry_after: WINDOW,
});

/// Counted, not timed: a slow hash takes a hundred thousand times as long as all else.
#[test]
fn d46_a_wrong_secret_costs_as_many_slow_hashes_whosever_it_is() {
    for id in ["stranger", "generated", "one", "two", "public"] {
        let desk = desk();
        for _ in 0..PER_ID {
            assert_eq!(desk.ask(id, "wrong"), INVALID, "{id}");
            assert_eq!(desk.cost(), 2, "{id}");
        }
        assert_eq!(desk.ask(id, "wrong"), LIMITED, "{id}");
        assert_eq!(desk.cost(), 0, "{id}");
    }
    // Who proves who it is need not wait for others' secrets.
    let desk = desk();
    for (id, secret, slow) in [
        ("generated", "generated", 0),
        ("two", "generated", 0),
        ("one", "chosen", 1),
        ("two", "chosen", 2),
    ] {
        assert_eq!(desk.ask(id, secret), Ok(id.to_owned()));
        assert_eq!(desk.cost(), slow, "{id}");
    }
}

#[test]
fn d101_a_flood_on_one_id_costs_a_bounded_number_of_hashes_and_keeps_no_other_client_out() {
    let desk = desk();
    assert_eq!(desk.ask("one", "chosen"), Ok("one".into()));
    assert_eq!(desk.cost(), 1);
    for n in 0..1_000 {
        let refused = desk.ask("one", &format!("wrong {n}"));
        assert_eq!(refused, if n < PER_ID { INVALID } else { LIMITED });
    }
    assert_eq!(desk.cost(), 2 * PER_ID);
    // The secret was verified before, so the flood does not stop its client.
    assert_eq!(desk.ask("one", "chosen"), Ok("one".into()));
    assert_eq!(desk.cost(), 0);
    // Not so under another id, nor another secret under this id.
    assert_eq!(desk.ask("stranger", "chosen"), INVALID);
    assert_eq!(desk.ask("one", "chosen "), LIMITED);
    // Another client is verified as ever, and generated secrets know no limit.
    assert_eq!(desk.ask("two", "chosen"), Ok("two".into()));
    for _ in 0..=PER_ID {
        let _ = desk.ask("generated", "wrong");
    }
    assert_eq!(desk.ask("generated", "wrong"), LIMITED);
    assert_eq!(desk.ask("generated", "generated"), Ok("generated".into()));
    // The window ends.
    desk.clock.advance(WINDOW - 1);
    assert_eq!(
        desk.ask("one", "wrong"),
        Err(ClientError::Limited { retry_after: 1 })
    );
    desk.clock.advance(1);
    assert_eq!(desk.ask("one", "wrong"), INVALID);
}

#[test]
fn d101_a_flood_of_unknown_ids_is_bounded_and_the_answer_does_not_name_the_known_ones() {
    let desk = desk();
    for n in 0..10_000 {
        let refused = desk.ask(&format!("stranger {n}"), "wrong");
        assert_eq!(refused, if n < TOTAL { INVALID } else { LIMITED });
    }
    assert_eq!(desk.cost(), 2 * TOTAL);
    assert_eq!(desk.ids(), usize::try_from(TOTAL).unwrap());
    // Refused alike, whether there is such a client or not.
    for id in ["stranger", "generated", "public", "one", "two"] {
        assert_eq!(desk.ask(id, "wrong"), LIMITED, "{id}");
    }
    assert_eq!(desk.cost(), 1 + 2, "one, and two");
    // Clients that were never verified here still are.
    assert_eq!(desk.ask("one", "chosen"), Ok("one".into()));
    assert_eq!(desk.ask("generated", "generated"), Ok("generated".into()));
}

#[test]
fn without_a_slow_hash_nothing_is_counted_or_limited() {
    let mut desk = desk();
    let mut config = Config::clone(&desk.clients.config);
    config.clients.retain(|client| client.id == "generated");
    desk.clients = Clients::new(Arc::new(config), world(&desk.clock));
    for id in ["generated", "stranger"] {
        for _ in 0..100 {
            assert_eq!(desk.ask(id, "wrong"), INVALID);
        }
    }
    assert_eq!((desk.cost(), desk.ids()), (0, 0));
}

#[test]
fn a_real_secret_is_verified_once_and_then_remembered_by_a_name_that_is_not_its_own() {
    let entropy = SequenceEntropy::default();
    let mut config = crate::testing::config();
    let hash = hash_chosen("a secret", &entropy).unwrap();
    let client = json!({"id": "one", "kind": "confidential", "secrets": [hash], "grants": []});
    config.clients = vec![serde_json::from_value(client).unwrap()];
    let clients = Clients::new(Arc::new(config), world(&TestClock::at(NOW)));
    let ask = |secret| {
        let id = "one";
        let found = clients.authenticate(&ClientCredentials::Secret { id, secret });
        found.map(|client| client.id.as_str())
    };
    assert_eq!(ask("another"), Err(ClientError::Invalid));
    assert_eq!(ask("a secret"), Ok("one"));
    assert_eq!(ask("a secret"), Ok("one"));
    let verified = lock(&clients.verified).clone();
    assert_eq!(verified.len(), 1);
    assert!(!verified.contains(&sha256(b"a secret")));
    assert!(!verified.contains(&sha256(b"onea secret")));
}

proptest! {
    /// Whoever asks for whatever: the table and the work are bounded, and clients that were
    /// verified once pass at no cost.
    #[test]
    fn d101_no_sequence_of_attempts_exceeds_the_bounds(
        steps in prop::collection::vec((0..40_u32, 0..4_u64, any::<bool>()), 0..600),
    ) {
        let desk = desk();
        prop_assert!(desk.ask("one", "chosen").is_ok());
        prop_assert!(desk.ask("two", "chosen").is_ok());
        desk.cost();
        let (mut windows, mut last) = (1, None);
        for (who, pause, right) in steps {
            desk.clock.advance(pause * 5);
            let id = match who {
                0 => "one".to_owned(),
                1 => "two".to_owned(),
                2 => "generated".to_owned(),
                n => format!("stranger {n}"),
            };
            let secret = if right { "chosen" } else { "wrong" };
            let answer = desk.ask(&id, secret);
            prop_assert_eq!(answer.is_ok(), right && who < 2);
            let since = lock(&desk.clients.attempts).since;
            if last.is_some_and(|last| last != since) {
                windows += 1;
            }
            last = Some(since);
            // Two slow clients, two hashes each refusal.
            prop_assert!(desk.ids() <= usize::try_from(TOTAL + 2).unwrap());
            prop_assert!(desk.slow.get() <= windows * 2 * (TOTAL + 2 * PER_ID));
        }
        for id in ["one", "two"] {
            let before = desk.slow.get();
            prop_assert!(desk.ask(id, "chosen").is_ok());
            prop_assert_eq!(desk.slow.get(), before);
        }
    }
}
